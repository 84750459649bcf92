//! Bad input: one clear error, nothing half-made.

use anyhow::ensure;

use super::checks;
use crate::Bed;

checks![
    what_is_not_there_is_named,
    impossible_settings_are_refused_in_dockers_words,
    a_bad_mount_is_refused_in_dockers_words,
    a_file_over_a_folder_is_refused_and_the_container_can_be_removed,
];

fn what_is_not_there_is_named(bed: &Bed) -> anyhow::Result<()> {
    for command in ["start", "stop", "kill", "logs", "rm", "wait", "restart"] {
        let output = bed.docker.fails(&[command, "nobody-knows-it"])?;
        ensure!(
            output.stderr.contains("No such container: nobody-knows-it"),
            "{command}: {output:?}"
        );
    }
    Ok(())
}

fn impossible_settings_are_refused_in_dockers_words(bed: &Bed) -> anyhow::Result<()> {
    for (options, want) in [
        (
            vec!["--memory", "1000"],
            "Minimum memory limit allowed is 6MB",
        ),
        (
            vec!["--restart", "sometimes"],
            "invalid restart policy: unknown policy 'sometimes'",
        ),
        (
            vec!["--name", "-bad"],
            "Invalid container name (-bad), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
        ),
        (
            vec!["--network", "no-such-network"],
            "network no-such-network not found",
        ),
        (vec!["--stop-signal", "SIGNONE"], "invalid signal: SIGNONE"),
    ] {
        let container = bed.named("bad");
        let mut arguments = vec!["run", "-d"];
        if options[0] != "--name" {
            arguments.extend(["--name", &container.name]);
        }
        arguments.extend(&options);
        arguments.extend(["busybox", "true"]);
        let output = bed.docker.fails(&arguments)?;
        ensure!(output.stderr.contains(want), "{options:?}: {output:?}");
    }
    Ok(())
}

fn a_bad_mount_is_refused_in_dockers_words(bed: &Bed) -> anyhow::Result<()> {
    let output = bed
        .docker
        .fails(&["run", "--rm", "-v", "/etc:relative", "busybox", "true"])?;
    ensure!(
        output
            .stderr
            .contains("invalid mount path: 'relative' mount path must be absolute"),
        "{output:?}"
    );
    let output = bed
        .docker
        .fails(&["run", "--rm", "-v", "/etc:/", "busybox", "true"])?;
    ensure!(
        output.stderr.contains("destination can't be '/'"),
        "{output:?}"
    );
    Ok(())
}

fn a_file_over_a_folder_is_refused_and_the_container_can_be_removed(
    bed: &Bed,
) -> anyhow::Result<()> {
    let file = bed.folder()?.join("file");
    std::fs::write(&file, "x")?;
    let container = bed.named("mismatch");
    let output = bed.docker.fails(&[
        "run",
        "--name",
        &container.name,
        "-v",
        &format!("{}:/etc", file.display()),
        "busybox",
        "true",
    ])?;
    ensure!(output.stderr.contains("not a directory"), "{output:?}");
    bed.docker.ok(&["rm", &container.name])?;
    Ok(())
}
