//! `docker run` and its options.

use anyhow::ensure;

use super::{checks, inspect};
use crate::Bed;

checks![
    a_container_knows_that_it_is_one,
    output_comes_back,
    exit_codes_come_back,
    a_missing_program_ends_with_127_and_says_so,
    a_file_that_is_no_program_ends_with_126,
    environment_folder_user_and_host_name_are_set,
    a_user_of_the_images_files_is_resolved,
    entrypoint_and_command_are_joined,
    rm_leaves_nothing,
    labels_are_kept,
    init_is_process_one,
    a_name_in_use_is_refused_in_dockers_words,
    an_unknown_image_is_refused_in_dockers_words,
];

fn output_comes_back(bed: &Bed) -> anyhow::Result<()> {
    let output = bed.docker.run(&[
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "echo out; echo err >&2",
    ])?;
    ensure!(output.code == 0, "{output:?}");
    ensure!(output.stdout == b"out\n", "{output:?}");
    ensure!(output.stderr == "err\n", "{output:?}");
    Ok(())
}

fn exit_codes_come_back(bed: &Bed) -> anyhow::Result<()> {
    for (script, want) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -TERM $$; sleep 9", 143),
    ] {
        // A shell as PID 1 is protected from its own signals, so it runs below another.
        let script = format!("sh -c '{script}'; exit $?");
        let code = bed
            .docker
            .run(&["run", "--rm", "busybox", "sh", "-c", &script])?
            .code;
        ensure!(code == want, "{script}: {code}, not {want}");
    }
    Ok(())
}

fn a_missing_program_ends_with_127_and_says_so(bed: &Bed) -> anyhow::Result<()> {
    let output = bed
        .docker
        .fails(&["run", "--rm", "busybox", "no-such-program"])?;
    ensure!(output.code == 127, "{output:?}");
    ensure!(
        output
            .stderr
            .contains("exec: \"no-such-program\": executable file not found in $PATH"),
        "{output:?}"
    );
    Ok(())
}

fn a_file_that_is_no_program_ends_with_126(bed: &Bed) -> anyhow::Result<()> {
    let output = bed
        .docker
        .fails(&["run", "--rm", "busybox", "/etc/passwd"])?;
    ensure!(output.code == 126, "{output:?}");
    ensure!(output.stderr.contains("permission denied"), "{output:?}");
    Ok(())
}

fn environment_folder_user_and_host_name_are_set(bed: &Bed) -> anyhow::Result<()> {
    let options = [
        "-e",
        "A=b c",
        "-w",
        "/var/new",
        "-u",
        "7:8",
        "--hostname",
        "here",
    ];
    let text = bed.busybox(
        &options,
        &["sh", "-c", "echo \"$A|$PWD|$(id -u):$(id -g)|$(hostname)\""],
    )?;
    ensure!(text == "b c|/var/new|7:8|here", "{text}");
    let text = bed.busybox(
        &[],
        &[
            "sh",
            "-c",
            "echo $PATH $HOME; [ \"$(hostname)\" = \"$HOSTNAME\" ] && expr length $HOSTNAME",
        ],
    )?;
    ensure!(
        text == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /root\n12",
        "{text}"
    );
    Ok(())
}

fn a_user_of_the_images_files_is_resolved(bed: &Bed) -> anyhow::Result<()> {
    let text = bed.busybox(
        &["-u", "www"],
        &["sh", "-c", "id -u; id -g; id -G; echo $HOME"],
    )?;
    ensure!(text == "33\n33\n33 50\n/var/www", "{text}");
    let output = bed
        .docker
        .fails(&["run", "--rm", "-u", "nobody-here", "busybox", "true"])?;
    ensure!(
        output
            .stderr
            .contains("unable to find user nobody-here: no matching entries in passwd file"),
        "{output:?}"
    );
    Ok(())
}

fn entrypoint_and_command_are_joined(bed: &Bed) -> anyhow::Result<()> {
    let text = bed.busybox(&["--entrypoint", "echo"], &["a", "b c"])?;
    ensure!(text == "a b c", "{text}");
    Ok(())
}

fn rm_leaves_nothing(bed: &Bed) -> anyhow::Result<()> {
    let name = bed.name("gone");
    bed.busybox(&["--name", &name], &["true"])?;
    let listed = bed
        .docker
        .ok(&["ps", "-a", "-q", "--filter", &format!("name={name}")])?;
    ensure!(listed.is_empty(), "{listed}");
    Ok(())
}

fn labels_are_kept(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&["--label", "a=b", "--label", "empty"], &["sleep", "600"])?;
    let labels = inspect(bed, &container.name, "Config/Labels")?;
    ensure!(
        labels == serde_json::json!({"a": "b", "empty": ""}),
        "{labels}"
    );
    let listed = bed.docker.ok(&[
        "ps",
        "-q",
        "--no-trunc",
        "--filter",
        "label=a=b",
        "--filter",
        &format!("name={}", container.name),
    ])?;
    ensure!(listed == container.id, "{listed}");
    Ok(())
}

fn init_is_process_one(bed: &Bed) -> anyhow::Result<()> {
    let text = bed.busybox(&["--init"], &["sh", "-c", "cat /proc/1/comm; echo $$"])?;
    ensure!(text.starts_with("docker-init"), "{text}");
    ensure!(!text.ends_with("\n1"), "{text}");
    let code = bed
        .docker
        .run(&["run", "--rm", "--init", "busybox", "sh", "-c", "exit 9"])?
        .code;
    ensure!(code == 9, "{code}");
    Ok(())
}

fn a_name_in_use_is_refused_in_dockers_words(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "600"])?;
    let output = bed
        .docker
        .fails(&["run", "--name", &container.name, "busybox", "true"])?;
    ensure!(output.code == 125, "{output:?}");
    let want = format!(
        "Conflict. The container name \"/{}\" is already in use by container \"{}\". You have to remove (or rename) that container to be able to reuse that name.",
        container.name, container.id
    );
    ensure!(output.stderr.contains(&want), "{output:?}");
    Ok(())
}

fn an_unknown_image_is_refused_in_dockers_words(bed: &Bed) -> anyhow::Result<()> {
    let output = bed
        .docker
        .fails(&["run", "--pull", "never", "no-such-image", "true"])?;
    ensure!(output.code == 125, "{output:?}");
    ensure!(
        output
            .stderr
            .contains("No such image: no-such-image:latest"),
        "{output:?}"
    );
    Ok(())
}

/// `/.dockerenv` is there, and is nothing that the container made.
fn a_container_knows_that_it_is_one(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "60"])?;
    let seen = bed.docker.ok(&[
        "exec",
        &container.name,
        "stat",
        "-c",
        "%F %s %u:%g",
        "/.dockerenv",
    ])?;
    ensure!(seen == "regular empty file 0 0:0", "{seen}");
    let changed = bed.docker.ok(&["diff", &container.name])?;
    ensure!(changed.is_empty(), "{changed}");
    let archive = bed.docker.run(&["export", &container.name])?.stdout;
    let mut archive = tar::Archive::new(&archive[..]);
    let mut names = Vec::new();
    for entry in archive.entries()? {
        names.push(entry?.path()?.display().to_string());
    }
    ensure!(
        names
            .iter()
            .any(|name| name.trim_start_matches("./") == ".dockerenv"),
        "{names:?}"
    );
    // A program may take it away.
    bed.docker
        .ok(&["exec", &container.name, "rm", "/.dockerenv"])?;
    ensure!(bed.docker.ok(&["diff", &container.name])? == "D /.dockerenv");
    Ok(())
}
