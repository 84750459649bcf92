//! Lists and their filters, waits, and what is refused in Go's words.

use std::collections::BTreeSet;

use anyhow::ensure;
use serde_json::{Value, json};

use super::{checks, files, raw};
use crate::Bed;

checks![
    filters_pick_containers,
    bad_filters_are_refused_in_dockers_words,
    sizes_are_shown_when_asked_for,
    signals_of_no_use_are_refused,
    numbers_are_refused_in_gos_words,
    every_condition_of_a_wait_is_met,
    pruning_has_filters,
];

/// A query's value.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn listed(bed: &Bed, query: &str, filters: &Value) -> anyhow::Result<(u16, Value)> {
    let path = format!(
        "/containers/json?{query}&filters={}",
        encoded(&filters.to_string())
    );
    let (status, body) = raw::get(bed, &path)?;
    Ok((status, serde_json::from_str(&body)?))
}

fn filters_pick_containers(bed: &Bed) -> anyhow::Result<()> {
    let label = bed.name("picked");
    let mark = format!("mark={label}");
    let volume = bed.name("volume");
    let running = bed.start(
        &[
            "--label",
            &mark,
            "--label",
            "a=1",
            "-p",
            "127.0.0.1:0:80",
            "-v",
            &format!("{volume}:/data"),
        ],
        &["sleep", "600"],
    )?;
    let failed = bed.start(&["--label", &mark], &["sh", "-c", "exit 3"])?;
    bed.docker.ok(&["wait", &failed.name])?;
    let made = bed.named("made");
    bed.docker.ok(&[
        "create", "--name", &made.name, "--label", &mark, "busybox", "true",
    ])?;
    let port = bed.published(&running.name, "80/tcp")?;
    let pick = |all: &str, name: &str, value: &str| -> anyhow::Result<BTreeSet<String>> {
        let mut filters = json!({"label": [mark]});
        if name == "label" {
            filters["label"] = json!([mark, value]);
        } else {
            filters[name] = json!([value]);
        }
        let (status, listed) = listed(bed, all, &filters)?;
        ensure!(status == 200, "{name}={value}: {listed}");
        let names = listed.as_array().into_iter().flatten();
        Ok(names
            .filter_map(|one| one["Names"][0].as_str())
            .map(|name| name[1..].to_owned())
            .collect())
    };
    let (r, f, m) = (&running.name, &failed.name, &made.name);
    for (all, name, value, want) in [
        ("all=0", "name", "", vec![r]),
        ("all=1", "name", "", vec![r, f, m]),
        ("limit=1", "name", "", vec![m]),
        ("all=0", "status", "exited", vec![f]),
        ("all=1", "exited", "3", vec![f]),
        ("all=0", "exited", "3", vec![]),
        ("all=1", "exited", "0", vec![]),
        ("all=1", "before", f, vec![r]),
        ("all=1", "since", r, vec![f, m]),
        ("all=0", "since", r, vec![]),
        ("all=1", "id", &running.id[..12], vec![r]),
        ("all=1", "id", "zz", vec![]),
        ("all=1", "name", &format!("^/{f}$"), vec![f]),
        ("all=1", "name", "(", vec![]),
        ("all=1", "label", "a=1", vec![r]),
        ("all=1", "ancestor", "busybox", vec![r, f, m]),
        ("all=1", "ancestor", "no-such", vec![]),
        ("all=1", "expose", "80", vec![r]),
        ("all=1", "expose", "70-90/tcp", vec![r]),
        ("all=1", "expose", "80/udp", vec![]),
        ("all=1", "publish", &port.to_string(), vec![r]),
        ("all=1", "publish", "80", vec![]),
        ("all=1", "volume", &volume, vec![r]),
        ("all=1", "volume", "/data", vec![r]),
        ("all=1", "network", "bridge", vec![r, f, m]),
        ("all=1", "network", "no-such", vec![]),
        ("all=1", "health", "none", vec![r, f, m]),
        ("all=1", "is-task", "false", vec![r, f, m]),
        ("all=1", "is-task", "true", vec![]),
        ("all=1", "isolation", "default", vec![r, f, m]),
    ] {
        let got = pick(all, name, value)?;
        let want: BTreeSet<String> = want.into_iter().cloned().collect();
        ensure!(got == want, "{all} {name}={value}: {got:?}, not {want:?}");
    }
    bed.docker.ok(&["rm", "-f", r])?;
    bed.docker.ok(&["volume", "rm", &volume])?;
    Ok(())
}

fn bad_filters_are_refused_in_dockers_words(bed: &Bed) -> anyhow::Result<()> {
    for (name, value, status, want) in [
        ("bogus", "x", 400, "invalid filter 'bogus'"),
        (
            "exited",
            "x",
            400,
            "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        ("is-task", "x", 400, "invalid filter 'is-task=[x]'"),
        (
            "expose",
            "x",
            500,
            "error while looking up for expose x: strconv.ParseUint: parsing \"x\": invalid syntax",
        ),
        (
            "publish",
            "80:80",
            500,
            "filter for 'publish' should not contain ':': 80:80",
        ),
        (
            "publish",
            "90-80",
            500,
            "error while looking up for publish 90-80: Invalid range specified for the Port: 90-80",
        ),
        ("before", "no-such", 404, "No such container: no-such"),
    ] {
        let (got, answer) = listed(bed, "all=1", &json!({name: [value]}))?;
        ensure!(
            got == status && answer == json!({"message": want}),
            "{name}={value}: {got} {answer}"
        );
    }
    Ok(())
}

fn sizes_are_shown_when_asked_for(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(
        &[],
        &["sh", "-c", "head -c 100000 /dev/zero >/big; sleep 600"],
    )?;
    let name = &container.name;
    files::exec(
        bed,
        name,
        "until [ \"$(wc -c </big)\" = 100000 ]; do sleep 0.05; done",
    )?;
    let (_, body) = raw::get(bed, &format!("/containers/{name}/json?size=1"))?;
    let shown: Value = serde_json::from_str(&body)?;
    let (own, all) = (shown["SizeRw"].as_u64(), shown["SizeRootFs"].as_u64());
    // Whole blocks on disk, and a few folders.
    ensure!(
        own >= Some(100_000) && own < Some(200_000) && all > own,
        "{own:?} {all:?}"
    );
    let (_, listed) = listed(bed, "size=1", &json!({"name": [format!("^/{name}$")]}))?;
    ensure!(
        listed[0]["SizeRw"].as_u64() == own && listed[0]["SizeRootFs"].as_u64() == all,
        "{listed}"
    );
    let (_, body) = raw::get(bed, &format!("/containers/{name}/json"))?;
    ensure!(!body.contains("SizeRw"), "{body}");
    Ok(())
}

fn signals_of_no_use_are_refused(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "600"])?;
    let name = &container.name;
    for (signal, want) in [
        ("99", "the linux daemon does not support signal 99"),
        ("-1", "the linux daemon does not support signal -1"),
        ("0", "invalid signal: 0"),
    ] {
        let output = bed
            .docker
            .fails(&["kill", &format!("--signal={signal}"), name])?;
        ensure!(
            output
                .stderr
                .contains(&format!("cannot kill container: {name}: {want}")),
            "{output:?}"
        );
    }
    let output = bed.docker.fails(&["stop", "-s", "SIGBOGUS", name])?;
    ensure!(
        output.stderr.contains(&format!(
            "cannot stop container: {name}: invalid signal: SIGBOGUS"
        )),
        "{output:?}"
    );
    // A stop signal that cannot be sent leaves the kill.
    bed.docker.ok(&["stop", "-s", "99", "-t", "60", name])?;
    Ok(())
}

fn numbers_are_refused_in_gos_words(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "600"])?;
    let name = &container.name;
    for (method, path, status, want) in [
        (
            "GET",
            "/containers/json?limit=x".to_owned(),
            500,
            "strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "POST",
            format!("/containers/{name}/stop?t=x"),
            500,
            "strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "POST",
            format!("/containers/{name}/resize?h=x&w=1"),
            400,
            "invalid resize height \"x\": invalid syntax",
        ),
        (
            "POST",
            format!("/containers/{name}/resize?h=1&w=-1"),
            400,
            "invalid resize width \"-1\": value out of range",
        ),
        (
            "POST",
            format!("/containers/{name}/resize?h=1"),
            400,
            "invalid resize width \"\": invalid syntax",
        ),
    ] {
        let (got, body) = raw::request(bed, method, &path, "")?;
        let answer: Value = serde_json::from_str(&body)?;
        ensure!(
            got == status && answer == json!({"message": want}),
            "{path}: {got} {answer}"
        );
    }
    // Without a terminal there is nothing to resize, and that is no error.
    let (status, body) = raw::request(
        bed,
        "POST",
        &format!("/containers/{name}/resize?h=10&w=20"),
        "",
    )?;
    ensure!(status == 200, "{status} {body}");
    Ok(())
}

fn every_condition_of_a_wait_is_met(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(
        &[],
        &["sh", "-c", "until [ -e /end ]; do sleep 0.05; done; exit 4"],
    )?;
    let name = &container.name;
    let answers = std::thread::scope(|scope| -> anyhow::Result<Vec<(u16, String)>> {
        let waits: Vec<_> = ["not-running", "next-exit", "removed"]
            .iter()
            .map(|condition| {
                let path = format!("/containers/{name}/wait?condition={condition}");
                scope.spawn(move || raw::request(bed, "POST", &path, ""))
            })
            .collect();
        // Each has begun when its own answer's head is there; the end comes later than that.
        std::thread::sleep(std::time::Duration::from_millis(300));
        bed.docker.ok(&["exec", name, "touch", "/end"])?;
        bed.docker.ok(&["wait", name])?;
        ensure!(!waits[2].is_finished(), "the removal was not waited for");
        bed.docker.ok(&["rm", name])?;
        let joined = waits.into_iter().map(|wait| match wait.join() {
            Ok(answer) => answer,
            Err(_) => anyhow::bail!("a waiting thread panicked"),
        });
        joined.collect()
    })?;
    for (status, body) in answers {
        ensure!(
            status == 200 && serde_json::from_str::<Value>(&body)? == json!({"StatusCode": 4}),
            "{status} {body}"
        );
    }
    let (status, body) = raw::request(bed, "POST", "/containers/no-such/wait?condition=bogus", "")?;
    ensure!(
        status == 400 && body.contains("invalid condition: \\\"bogus\\\""),
        "{status} {body}"
    );
    Ok(())
}

fn pruning_has_filters(bed: &Bed) -> anyhow::Result<()> {
    let label = bed.name("prune");
    let kept = bed.named("kept");
    let gone = bed.named("gone");
    for (container, keep) in [(&kept, "keep=1"), (&gone, "keep=0")] {
        bed.docker.ok(&[
            "create",
            "--name",
            &container.name,
            "--label",
            &label,
            "--label",
            keep,
            "busybox",
            "true",
        ])?;
    }
    let by = format!("label={label}");
    let said = bed.docker.ok(&[
        "container",
        "prune",
        "-f",
        "--filter",
        &by,
        "--filter",
        "until=10m",
    ])?;
    ensure!(said.starts_with("Total reclaimed space: 0B"), "{said}");
    let said = bed.docker.ok(&[
        "container",
        "prune",
        "-f",
        "--filter",
        &by,
        "--filter",
        "label!=keep=1",
    ])?;
    ensure!(said.starts_with("Deleted Containers:"), "{said}");
    let left = bed
        .docker
        .ok(&["ps", "-a", "--filter", &by, "--format", "{{.Names}}"])?;
    ensure!(left == kept.name, "{left}");
    for (filters, want) in [
        (
            json!({"until": ["x"]}),
            "failed to parse value as time or duration: \"x\"",
        ),
        (
            json!({"until": ["1m", "2m"]}),
            "more than one until filter specified",
        ),
        (json!({"bogus": ["1"]}), "invalid filter 'bogus'"),
    ] {
        let path = format!(
            "/containers/prune?filters={}",
            encoded(&filters.to_string())
        );
        let (status, body) = raw::request(bed, "POST", &path, "")?;
        ensure!(
            status == 400 && serde_json::from_str::<Value>(&body)? == json!({"message": want}),
            "{status} {body}"
        );
    }
    Ok(())
}
