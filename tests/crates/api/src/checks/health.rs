//! Health checks: what probes see, say and change.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{checks, events_until, inspect};
use crate::Bed;

checks![
    a_container_becomes_healthy_and_unhealthy,
    a_probe_that_takes_too_long_is_killed,
    a_probe_that_cannot_run_says_why,
    long_output_is_cut_and_five_probes_are_kept,
    a_paused_container_is_not_probed,
    failures_in_the_start_period_do_not_count,
    the_images_health_check_is_taken_over,
    health_is_a_filter,
];

const FAST: [&str; 2] = ["--health-interval", "100ms"];

fn healthy(action: &str) -> bool {
    action == "health_status: healthy"
}

fn unhealthy(action: &str) -> bool {
    action == "health_status: unhealthy"
}

fn status_line(bed: &Bed, name: &str) -> anyhow::Result<String> {
    let filter = format!("name=^/{name}$");
    bed.docker
        .ok(&["ps", "-a", "--filter", &filter, "--format", "{{.Status}}"])
}

fn log(bed: &Bed, name: &str) -> anyhow::Result<Vec<Value>> {
    let log = inspect(bed, name, "State/Health/Log")?;
    Ok(log.as_array().context("a list")?.clone())
}

fn a_container_becomes_healthy_and_unhealthy(bed: &Bed) -> anyhow::Result<()> {
    let probe = "echo seen; test ! -e /ill";
    let options = [&FAST[..], &["--health-cmd", probe, "--health-retries", "2"]].concat();
    let container = bed.start(&options, &["sleep", "600"])?;
    let name = &container.name;
    let actions = events_until(bed, name, healthy)?;
    ensure!(
        actions
            == [
                "create",
                "start",
                "exec_create: /bin/sh -c echo seen; test ! -e /ill",
                "exec_start: /bin/sh -c echo seen; test ! -e /ill",
                "exec_die",
                "health_status: healthy"
            ],
        "{actions:?}"
    );
    ensure!(status_line(bed, name)?.ends_with(" (healthy)"));
    let health = inspect(bed, name, "State/Health")?;
    ensure!(
        health["Status"] == "healthy" && health["FailingStreak"] == 0,
        "{health}"
    );
    ensure!(
        health["Log"][0]["ExitCode"] == 0 && health["Log"][0]["Output"] == "seen\n",
        "{health}"
    );
    bed.docker.ok(&["exec", name, "touch", "/ill"])?;
    events_until(bed, name, unhealthy)?;
    ensure!(status_line(bed, name)?.ends_with(" (unhealthy)"));
    ensure!(inspect(bed, name, "State/Health/FailingStreak")?.as_u64() >= Some(2));
    bed.docker.ok(&["kill", name])?;
    ensure!(inspect(bed, name, "State/Health/Status")? == "unhealthy");
    ensure!(status_line(bed, name)?.starts_with("Exited (137)"));
    Ok(())
}

fn a_probe_that_takes_too_long_is_killed(bed: &Bed) -> anyhow::Result<()> {
    let options = [
        &FAST[..],
        &[
            "--health-cmd",
            "echo begun; sleep 100",
            "--health-timeout",
            "1s",
            "--health-retries",
            "1",
        ],
    ]
    .concat();
    let container = bed.start(&options, &["sleep", "600"])?;
    events_until(bed, &container.name, unhealthy)?;
    let first = &log(bed, &container.name)?[0];
    ensure!(
        first["ExitCode"] == -1 && first["Output"] == "Health check exceeded timeout (1s): begun\n",
        "{first}"
    );
    Ok(())
}

fn a_probe_that_cannot_run_says_why(bed: &Bed) -> anyhow::Result<()> {
    let options = [&FAST[..], &["--health-cmd", "x", "--health-retries", "1"]].concat();
    let image = harness::busybox()?.with_settings(
        &json!({"Cmd": ["sleep", "600"], "Healthcheck": {"Test": ["CMD", "/nope"]}}),
    )?;
    bed.load(&image, "no-probe:latest")?;
    let shell = bed.start(&options, &["sleep", "600"])?;
    let direct = bed.named("direct");
    let arguments = [
        &["run", "-d", "--name", &direct.name, "--health-retries", "1"],
        &FAST[..],
        &["no-probe"],
    ]
    .concat();
    bed.docker.ok(&arguments)?;
    events_until(bed, &shell.name, unhealthy)?;
    let first = &log(bed, &shell.name)?[0];
    ensure!(
        first["ExitCode"] == 127 && first["Output"] == "/bin/sh: x: not found\n",
        "{first}"
    );
    events_until(bed, &direct.name, unhealthy)?;
    let first = &log(bed, &direct.name)?[0];
    ensure!(
        first["ExitCode"] == -1
            && first["Output"]
                == "OCI runtime exec failed: exec failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory",
        "{first}"
    );
    Ok(())
}

fn long_output_is_cut_and_five_probes_are_kept(bed: &Bed) -> anyhow::Result<()> {
    let probe = "head -c 5000 /dev/zero | tr '\\0' a; test $(ls / | grep -c run-) -ge 6 || { mktemp /run-XXXXXX; false; }";
    let options = [
        &FAST[..],
        &["--health-cmd", probe, "--health-retries", "100"],
    ]
    .concat();
    let container = bed.start(&options, &["sleep", "600"])?;
    events_until(bed, &container.name, healthy)?;
    let log = log(bed, &container.name)?;
    ensure!(log.len() == 5, "{log:?}");
    let output = log[4]["Output"].as_str().context("text")?;
    ensure!(
        output == format!("{}...", "a".repeat(4096)),
        "{} bytes",
        output.len()
    );
    Ok(())
}

fn a_paused_container_is_not_probed(bed: &Bed) -> anyhow::Result<()> {
    let options = [&FAST[..], &["--health-cmd", "true"]].concat();
    let container = bed.start(&options, &["sleep", "600"])?;
    let name = &container.name;
    events_until(bed, name, healthy)?;
    bed.docker.ok(&["pause", name])?;
    ensure!(inspect(bed, name, "State/Health/Status")? == "unhealthy");
    ensure!(status_line(bed, name)?.ends_with(" (Paused)"));
    let before = log(bed, name)?;
    // Five intervals: nothing happens in them.
    std::thread::sleep(std::time::Duration::from_millis(500));
    ensure!(log(bed, name)? == before);
    bed.docker.ok(&["unpause", name])?;
    let thawed = std::cell::Cell::new(false);
    events_until(bed, name, |action| {
        thawed.set(thawed.get() || action == "unpause");
        thawed.get() && healthy(action)
    })?;
    Ok(())
}

fn failures_in_the_start_period_do_not_count(bed: &Bed) -> anyhow::Result<()> {
    let probe = "test -e /ready || { mktemp /try-XXXXXX; test $(ls / | grep -c try-) -ge 4 && touch /ready; false; }";
    let options = [
        "--health-cmd",
        probe,
        "--health-retries",
        "1",
        "--health-start-period",
        "600s",
        "--health-start-interval",
        "100ms",
        "--health-interval",
        "600s",
    ];
    let container = bed.start(&options, &["sleep", "600"])?;
    let starting = status_line(bed, &container.name)?;
    ensure!(starting.ends_with(" (health: starting)"), "{starting}");
    let actions = events_until(bed, &container.name, |action| {
        action.starts_with("health_status")
    })?;
    ensure!(
        actions.last().is_some_and(|action| healthy(action)),
        "{actions:?}"
    );
    Ok(())
}

fn the_images_health_check_is_taken_over(bed: &Bed) -> anyhow::Result<()> {
    let check = json!({"Test": ["CMD-SHELL", "true"], "Interval": 200_000_000, "Retries": 7});
    let image = harness::busybox()?.with_settings(&json!({
        "Cmd": ["sleep", "600"], "Healthcheck": check, "OnBuild": ["RUN true"], "Shell": ["/bin/ash", "-c"],
    }))?;
    bed.load(&image, "with-health:latest")?;
    let shown = bed.docker.ok(&[
        "image",
        "inspect",
        "with-health",
        "--format",
        "{{json .Config}}",
    ])?;
    let shown: Value = serde_json::from_str(&shown)?;
    ensure!(
        shown["Healthcheck"] == check
            && shown["OnBuild"] == json!(["RUN true"])
            && shown["Shell"] == json!(["/bin/ash", "-c"]),
        "{shown}"
    );
    let container = bed.named("inherits");
    let name = &container.name;
    bed.docker.ok(&[
        "run",
        "-d",
        "--name",
        name,
        "--health-interval",
        "100ms",
        "with-health",
    ])?;
    ensure!(
        inspect(bed, name, "Config/Healthcheck")?
            == json!({"Test": ["CMD-SHELL", "true"], "Interval": 100_000_000, "Retries": 7})
    );
    let actions = events_until(bed, name, healthy)?;
    ensure!(
        actions.contains(&"exec_create: /bin/sh -c true".to_owned()),
        "{actions:?}"
    );
    let off = bed.named("off");
    bed.docker.ok(&[
        "run",
        "-d",
        "--name",
        &off.name,
        "--no-healthcheck",
        "with-health",
    ])?;
    ensure!(
        inspect(bed, &off.name, "Config/Healthcheck")?
            == json!({"Test": ["NONE"], "Interval": 200_000_000, "Retries": 7})
    );
    ensure!(inspect(bed, &off.name, "State")?.get("Health").is_none());
    Ok(())
}

fn health_is_a_filter(bed: &Bed) -> anyhow::Result<()> {
    let options = [&FAST[..], &["--health-cmd", "true"]].concat();
    let well = bed.start(&options, &["sleep", "600"])?;
    let plain = bed.start(&[], &["sleep", "600"])?;
    events_until(bed, &well.name, healthy)?;
    let listed = |filter: &str| {
        bed.docker
            .ok(&["ps", "--filter", filter, "--format", "{{.Names}}"])
    };
    let has = |list: &str, name: &str| list.lines().any(|line| line == name);
    let (with, without) = (listed("health=healthy")?, listed("health=none")?);
    ensure!(has(&with, &well.name) && !has(&with, &plain.name), "{with}");
    ensure!(
        !has(&without, &well.name) && has(&without, &plain.name),
        "{without}"
    );
    let output = bed.docker.fails(&["ps", "--filter", "health=bogus"])?;
    ensure!(
        output.stderr.contains("invalid filter 'health=bogus': invalid value for health (bogus): must be one of none, starting, healthy, unhealthy"),
        "{output:?}"
    );
    Ok(())
}
