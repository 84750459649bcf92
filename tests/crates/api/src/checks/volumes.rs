//! Volumes, bind mounts and tmpfs.

use anyhow::{Context, ensure};

use super::{checks, inspect};
use crate::Bed;

checks![
    a_named_volume_outlives_its_containers,
    a_volume_takes_over_the_images_content,
    anonymous_volumes_go_with_their_container,
    a_bind_mount_is_seen_both_ways,
    a_read_only_mount_refuses_writes,
    a_single_file_is_mounted,
    a_part_of_a_volume_is_mounted,
    a_part_of_a_volume_is_inside_it,
    a_missing_source_is_an_error_for_mount_and_made_for_v,
    a_volume_in_use_is_not_removed,
    invalid_volume_names_are_refused_in_dockers_words,
];

fn a_named_volume_outlives_its_containers(bed: &Bed) -> anyhow::Result<()> {
    let volume = bed.name("volume");
    let mount = format!("{volume}:/data");
    bed.busybox(&["-v", &mount], &["sh", "-c", "echo kept >/data/file"])?;
    let text = bed.busybox(
        &[
            "--mount",
            &format!("type=volume,source={volume},target=/other,readonly"),
        ],
        &["cat", "/other/file"],
    )?;
    ensure!(text == "kept", "{text}");
    ensure!(
        bed.docker
            .ok(&["volume", "ls", "-q", "--filter", &format!("name={volume}")])?
            == volume
    );
    ensure!(bed.docker.ok(&["volume", "rm", &volume])? == volume);
    let output = bed.docker.fails(&["volume", "inspect", &volume])?;
    ensure!(output.stderr.contains("no such volume"), "{output:?}");
    Ok(())
}

fn a_volume_takes_over_the_images_content(bed: &Bed) -> anyhow::Result<()> {
    let volume = bed.name("copied");
    let text = bed.busybox(
        &["-v", &format!("{volume}:/etc")],
        &["sh", "-c", "head -c 4 /etc/passwd; touch /etc/new"],
    )?;
    ensure!(text == "root", "{text}");
    let text = bed.busybox(
        &["-v", &format!("{volume}:/v")],
        &["sh", "-c", "ls /v | grep -c -e passwd -e new"],
    )?;
    ensure!(text == "2", "{text}");
    bed.docker.ok(&["volume", "rm", &volume])?;
    let text = bed.busybox(
        &["-v", &format!("{volume}:/etc:nocopy")],
        &["sh", "-c", "ls /etc | grep -c passwd; true"],
    )?;
    ensure!(text == "0", "{text}");
    bed.docker.ok(&["volume", "rm", &volume])?;
    Ok(())
}

fn anonymous_volumes_go_with_their_container(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&["-v", "/anonymous"], &["sleep", "600"])?;
    let volume = inspect(bed, &container.name, "Mounts/0/Name")?;
    let volume = volume.as_str().context("a name")?.to_owned();
    ensure!(volume.len() == 64, "{volume}");
    bed.docker.ok(&["rm", "-f", "-v", &container.name])?;
    bed.docker.fails(&["volume", "inspect", &volume])?;
    Ok(())
}

fn a_bind_mount_is_seen_both_ways(bed: &Bed) -> anyhow::Result<()> {
    let folder = bed.folder()?;
    std::fs::write(folder.join("from-host"), "host\n")?;
    let mount = format!("{}:/w", folder.display());
    let container = bed.start(&["-v", &mount], &["sleep", "600"])?;
    ensure!(
        bed.docker
            .ok(&["exec", &container.name, "cat", "/w/from-host"])?
            == "host"
    );
    bed.docker.ok(&[
        "exec",
        &container.name,
        "sh",
        "-c",
        "echo guest >/w/from-guest; mkdir /w/sub",
    ])?;
    ensure!(std::fs::read_to_string(folder.join("from-guest"))? == "guest\n");
    ensure!(folder.join("sub").is_dir());
    std::fs::write(folder.join("later"), "later\n")?;
    ensure!(
        bed.docker
            .ok(&["exec", &container.name, "cat", "/w/later"])?
            == "later"
    );
    Ok(())
}

fn a_read_only_mount_refuses_writes(bed: &Bed) -> anyhow::Result<()> {
    let folder = bed.folder()?;
    let output = bed.docker.fails(&[
        "run",
        "--rm",
        "-v",
        &format!("{}:/w:ro", folder.display()),
        "busybox",
        "touch",
        "/w/x",
    ])?;
    ensure!(
        output.stderr.contains("Read-only file system"),
        "{output:?}"
    );
    ensure!(!folder.join("x").exists());
    Ok(())
}

fn a_single_file_is_mounted(bed: &Bed) -> anyhow::Result<()> {
    let folder = bed.folder()?;
    std::fs::write(folder.join("file"), "one\n")?;
    std::fs::write(folder.join("secret"), "other\n")?;
    let text = bed.busybox(
        &["-v", &format!("{}:/etc/one", folder.join("file").display())],
        &["sh", "-c", "cat /etc/one; echo two >>/etc/one"],
    )?;
    ensure!(text == "one", "{text}");
    ensure!(std::fs::read_to_string(folder.join("file"))? == "one\ntwo\n");
    Ok(())
}

fn a_missing_source_is_an_error_for_mount_and_made_for_v(bed: &Bed) -> anyhow::Result<()> {
    let missing = bed.folder()?.join("missing");
    let output = bed.docker.fails(&[
        "run",
        "--rm",
        "--mount",
        &format!("type=bind,source={},target=/w", missing.display()),
        "busybox",
        "true",
    ])?;
    let want = format!(
        "invalid mount config for type \"bind\": bind source path does not exist: {}",
        missing.display()
    );
    ensure!(output.stderr.contains(&want), "{output:?}");
    bed.busybox(
        &["-v", &format!("{}:/w", missing.display())],
        &["touch", "/w/x"],
    )?;
    ensure!(missing.join("x").exists());
    Ok(())
}

fn a_volume_in_use_is_not_removed(bed: &Bed) -> anyhow::Result<()> {
    let volume = bed.name("used");
    let container = bed.start(&["-v", &format!("{volume}:/v")], &["sleep", "600"])?;
    let output = bed.docker.fails(&["volume", "rm", &volume])?;
    let want = format!("remove {volume}: volume is in use - [{}]", container.id);
    ensure!(output.stderr.contains(&want), "{output:?}");
    bed.docker.ok(&["rm", "-f", &container.name])?;
    bed.docker.ok(&["volume", "rm", &volume])?;
    Ok(())
}

fn invalid_volume_names_are_refused_in_dockers_words(bed: &Bed) -> anyhow::Result<()> {
    let output = bed.docker.fails(&["volume", "create", "a/b"])?;
    ensure!(
        output
            .stderr
            .contains("includes invalid characters for a local volume name"),
        "{output:?}"
    );
    Ok(())
}

/// A volume with folders, a file, and links that stay inside or lead out.
fn parts(bed: &Bed) -> anyhow::Result<String> {
    let volume = bed.name("parts");
    let script = "cd /v; mkdir sub bin hack; echo hi >sub/hello; echo foo >bar; ln -s ../sub hack/good; ln -s / hack/root; ln -s ../../../.. hack/up; ln -s up hack/again";
    bed.busybox(&["-v", &format!("{volume}:/v")], &["sh", "-c", script])?;
    Ok(volume)
}

fn a_part_of_a_volume_is_mounted(bed: &Bed) -> anyhow::Result<()> {
    let volume = parts(bed)?;
    let part = |path: &str, place: &str| {
        format!("type=volume,source={volume},target={place},volume-subpath={path}")
    };
    for (path, place, command, expected) in [
        ("sub", "/p", &["ls", "/p"][..], "hello"),
        ("hack/good", "/p", &["ls", "/p"], "hello"),
        ("bar", "/p", &["cat", "/p"], "foo"),
        // The image's content fills a part that is empty.
        ("bin", "/bin", &["ls", "/bin/busybox"], "/bin/busybox"),
    ] {
        let text = bed.busybox(&["--mount", &part(path, place)], command)?;
        ensure!(text == expected, "{path}: {text}");
    }
    let container = bed.start(&["--mount", &part("sub", "/p")], &["sleep", "600"])?;
    let name = &container.name;
    bed.docker.ok(&["exec", name, "touch", "/p/new"])?;
    let text = bed.busybox(&["-v", &format!("{volume}:/v")], &["ls", "/v/sub"])?;
    ensure!(text == "hello\nnew", "{text}");
    let copied = bed.scratch.join(bed.name("hello"));
    let copied = copied.to_str().context("a path")?;
    bed.docker
        .ok(&["cp", &format!("{name}:/p/hello"), copied])?;
    ensure!(std::fs::read(copied)? == b"hi\n");
    ensure!(inspect(bed, name, "HostConfig/Mounts/0/VolumeOptions/Subpath")? == "sub");
    bed.docker.ok(&["restart", "-t", "0", name])?;
    ensure!(bed.docker.ok(&["exec", name, "ls", "/p"])? == "hello\nnew");
    bed.docker.ok(&["stop", "-t", "0", name])?;
    bed.docker
        .ok(&["cp", &format!("{name}:/p/hello"), copied])?;
    Ok(())
}

fn a_part_of_a_volume_is_inside_it(bed: &Bed) -> anyhow::Result<()> {
    let volume = parts(bed)?;
    let refused = |path: &str| -> anyhow::Result<(i32, String)> {
        let mount = format!("type=volume,source={volume},target=/p,volume-subpath={path}");
        let output = bed
            .docker
            .fails(&["run", "--rm", "--mount", &mount, "busybox", "ls", "/p"])?;
        Ok((output.code, output.stderr))
    };
    let text = refused("../../etc")?;
    ensure!(
        text.0 == 125
            && text
                .1
                .contains("subpath must be a relative path within the volume"),
        "{text:?}"
    );
    let text = refused("nothing")?;
    ensure!(text.0 == 127, "{text:?}");
    let place = inspect_volume(bed, &volume)?;
    let expected = format!(
        "cannot access path {place}/nothing: lstat {place}/nothing: no such file or directory"
    );
    ensure!(text.1.contains(&expected), "{text:?}");
    for path in ["hack/root", "hack/up", "hack/again", "hack/root/etc"] {
        let text = refused(path)?;
        ensure!(
            text.0 == 125
                && text
                    .1
                    .contains("path concatenation escapes the base directory"),
            "{path}: {text:?}"
        );
        // The container is made all the same: the volume may change until it starts.
        let mount = format!("type=volume,source={volume},target=/p,volume-subpath={path}");
        let made = bed.named("made");
        bed.docker
            .ok(&["create", "--name", &made.name, "--mount", &mount, "busybox"])?;
    }
    Ok(())
}

fn inspect_volume(bed: &Bed, name: &str) -> anyhow::Result<String> {
    bed.docker
        .ok(&["volume", "inspect", "--format", "{{.Mountpoint}}", name])
}
