//! Files in and out of containers: cp.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use anyhow::{Context, ensure};
use tar::{Builder, EntryType, Header};

use super::{checks, inspect};
use crate::Bed;

checks![
    a_file_is_copied_in_and_out,
    folders_are_copied_by_dockers_rules,
    a_stopped_container_has_its_volumes,
    read_only_places_are_refused,
    missing_paths_are_errors_in_dockers_words,
    a_folder_does_not_take_the_place_of_a_file,
    links_are_kept_or_followed_and_stay_inside,
    archives_go_through_standard_streams,
    owners_are_kept_only_when_asked_for,
    special_files_keep_what_they_are,
    a_tmpfs_is_not_seen_from_outside,
    hostile_archives_are_refused_and_change_nothing_else,
    packed_archives_are_taken,
    a_large_file_and_many_files_arrive_whole,
];

/// A tar of entries: name, kind, content or link target.
fn archive(entries: &[(&str, EntryType, &str)]) -> anyhow::Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, content) in entries {
        let is_link = matches!(kind, EntryType::Link | EntryType::Symlink);
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(if *kind == EntryType::Directory {
            0o755
        } else {
            0o644
        });
        header.set_mtime(1_000_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header.set_device_major(0)?;
        header.set_device_minor(0)?;
        let gnu = header.as_gnu_mut().context("gnu")?;
        // Names are written raw: the builder would refuse the hostile ones.
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        if is_link {
            gnu.linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        let content = if is_link { "" } else { content };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes())?;
    }
    Ok(builder.into_inner()?)
}

pub(super) fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a plain path")
}

pub(super) fn exec(bed: &Bed, container: &str, script: &str) -> anyhow::Result<String> {
    bed.docker.ok(&["exec", container, "sh", "-c", script])
}

fn a_file_is_copied_in_and_out(bed: &Bed) -> anyhow::Result<()> {
    let folder = bed.folder()?;
    fs::write(folder.join("file"), "content")?;
    let file = folder.join("file");
    let running = bed.start(&[], &["sleep", "1000"])?;
    let name = &running.name;
    bed.docker
        .ok(&["cp", text(&file)?, &format!("{name}:/tmp/new")])?;
    bed.docker
        .ok(&["cp", text(&file)?, &format!("{name}:/tmp")])?;
    bed.docker
        .ok(&["cp", text(&file)?, &format!("{name}:root/")])?;
    let seen = exec(
        bed,
        name,
        "cat /tmp/new /tmp/file /root/file; echo changed >/tmp/new",
    )?;
    ensure!(seen == "contentcontentcontent", "{seen}");
    let back = folder.join("back");
    bed.docker
        .ok(&["cp", &format!("{name}:/tmp/new"), text(&back)?])?;
    ensure!(fs::read_to_string(&back)? == "changed\n");
    bed.docker.ok(&["kill", name])?;
    bed.docker.ok(&["wait", name])?;
    // The same while it does not run, and it is there when it does again.
    bed.docker
        .ok(&["cp", text(&file)?, &format!("{name}:/tmp/later")])?;
    bed.docker.ok(&[
        "cp",
        &format!("{name}:/tmp/new"),
        text(&folder.join("still"))?,
    ])?;
    ensure!(fs::read_to_string(folder.join("still"))? == "changed\n");
    bed.docker.ok(&["start", name])?;
    ensure!(exec(bed, name, "cat /tmp/later")? == "content");
    let created = bed.named("created");
    bed.docker.ok(&[
        "create",
        "--name",
        &created.name,
        "busybox",
        "cat",
        "/tmp/early",
    ])?;
    bed.docker
        .ok(&["cp", text(&file)?, &format!("{}:/tmp/early", created.name)])?;
    ensure!(bed.docker.ok(&["start", "-a", &created.name])? == "content");
    Ok(())
}

fn folders_are_copied_by_dockers_rules(bed: &Bed) -> anyhow::Result<()> {
    let folder = bed.folder()?;
    fs::create_dir_all(folder.join("tree/sub"))?;
    fs::write(folder.join("tree/a"), "a")?;
    fs::write(folder.join("tree/sub/b"), "b")?;
    let tree = folder.join("tree");
    let tree = text(&tree)?;
    let running = bed.start(&[], &["sleep", "1000"])?;
    let name = &running.name;
    bed.docker.ok(&["cp", tree, &format!("{name}:/tmp")])?;
    bed.docker
        .ok(&["cp", tree, &format!("{name}:/tmp/other")])?;
    bed.docker
        .ok(&["cp", &format!("{tree}/."), &format!("{name}:/root")])?;
    let seen = exec(
        bed,
        name,
        "cat /tmp/tree/a /tmp/tree/sub/b /tmp/other/a /tmp/other/sub/b /root/a /root/sub/b",
    )?;
    ensure!(seen == "ababab", "{seen}");
    let out = folder.join("out");
    fs::create_dir(&out)?;
    bed.docker
        .ok(&["cp", &format!("{name}:/tmp/tree"), text(&out)?])?;
    bed.docker
        .ok(&["cp", &format!("{name}:/tmp/tree/."), text(&out)?])?;
    bed.docker.ok(&[
        "cp",
        &format!("{name}:/tmp/tree"),
        text(&folder.join("renamed"))?,
    ])?;
    for path in ["out/tree/sub/b", "out/sub/b", "renamed/sub/b"] {
        ensure!(fs::read_to_string(folder.join(path))? == "b", "{path}");
    }
    let output = bed
        .docker
        .fails(&["cp", tree, &format!("{name}:/etc/passwd")])?;
    ensure!(
        output.stderr.contains("cannot copy directory"),
        "{output:?}"
    );
    Ok(())
}

fn a_stopped_container_has_its_volumes(bed: &Bed) -> anyhow::Result<()> {
    let folder = bed.folder()?;
    fs::write(folder.join("host"), "host")?;
    let volume = bed.name("copied");
    let container = bed.named("mounted");
    let name = &container.name;
    bed.docker.ok(&[
        "create",
        "--name",
        name,
        "-v",
        &format!("{volume}:/data"),
        "-v",
        &format!("{}:/host", folder.display()),
        "busybox",
        "cat",
        "/data/file",
    ])?;
    let file = folder.join("host");
    bed.docker
        .ok(&["cp", text(&file)?, &format!("{name}:/data/file")])?;
    let seen = bed.busybox(&["-v", &format!("{volume}:/v")], &["cat", "/v/file"])?;
    ensure!(seen == "host", "it went into the volume: {seen}");
    bed.docker
        .ok(&["cp", text(&file)?, &format!("{name}:/host/new")])?;
    ensure!(fs::read_to_string(folder.join("new"))? == "host");
    bed.docker.ok(&[
        "cp",
        &format!("{name}:/host/new"),
        text(&folder.join("back"))?,
    ])?;
    ensure!(bed.docker.ok(&["start", "-a", name])? == "host");
    bed.docker.ok(&[
        "cp",
        &format!("{name}:/data/file"),
        text(&folder.join("again"))?,
    ])?;
    ensure!(fs::read_to_string(folder.join("again"))? == "host");
    // The network's files are the container's own.
    bed.docker.ok(&[
        "cp",
        &format!("{name}:/etc/hostname"),
        text(&folder.join("hostname"))?,
    ])?;
    let id = inspect(bed, name, "Id")?;
    let hostname = fs::read_to_string(folder.join("hostname"))?;
    ensure!(id.to_string().contains(hostname.trim()), "{hostname}");
    bed.docker.ok(&["rm", "-v", name])?;
    bed.docker.ok(&["volume", "rm", &volume])?;
    Ok(())
}

fn read_only_places_are_refused(bed: &Bed) -> anyhow::Result<()> {
    let folder = bed.folder()?;
    fs::write(folder.join("file"), "x")?;
    let file = folder.join("file");
    let file = text(&file)?;
    for command in ["create", "run"] {
        let container = bed.named("readonly");
        let name = &container.name;
        let mount = format!("{}:/ro:ro", folder.display());
        let mut arguments = vec![
            command,
            "--name",
            name,
            "--read-only",
            "-v",
            &mount,
            "-v",
            "/rw",
        ];
        if command == "run" {
            arguments.push("-d");
        }
        arguments.extend(["busybox", "sleep", "1000"]);
        bed.docker.ok(&arguments)?;
        let output = bed.docker.fails(&["cp", file, &format!("{name}:/tmp/x")])?;
        ensure!(
            output
                .stderr
                .contains("container rootfs is marked read-only"),
            "{output:?}"
        );
        let output = bed.docker.fails(&["cp", file, &format!("{name}:/ro/x")])?;
        ensure!(
            output.stderr.contains("mounted volume is marked read-only"),
            "{output:?}"
        );
        ensure!(!folder.join("x").exists());
        bed.docker.ok(&["cp", file, &format!("{name}:/rw/x")])?;
        bed.docker
            .ok(&["cp", &format!("{name}:/rw/x"), text(&folder.join("out"))?])?;
    }
    // A parent that is writable leads to no read-only mount either.
    let container = bed.named("readonly");
    let name = &container.name;
    bed.docker.ok(&[
        "create",
        "--name",
        name,
        "-v",
        &format!("{}:/ro:ro", folder.display()),
        "busybox",
        "true",
    ])?;
    let tar = archive(&[("ro/through", EntryType::Regular, "x")])?;
    let output = bed
        .docker
        .run_with(&["cp", "-", &format!("{name}:/")], &tar)?;
    ensure!(
        output.code != 0 && output.stderr.contains("read-only file system"),
        "{output:?}"
    );
    ensure!(!folder.join("through").exists());
    Ok(())
}

fn missing_paths_are_errors_in_dockers_words(bed: &Bed) -> anyhow::Result<()> {
    let folder = bed.folder()?;
    fs::write(folder.join("file"), "x")?;
    let file = folder.join("file");
    let file = text(&file)?;
    let container = bed.named("missing");
    let name = &container.name;
    bed.docker
        .ok(&["create", "--name", name, "busybox", "true"])?;
    let check = |arguments: &[&str], expected: &str| -> anyhow::Result<()> {
        let output = bed.docker.fails(arguments)?;
        ensure!(
            output.stderr.contains(expected),
            "{arguments:?}: {output:?}"
        );
        Ok(())
    };
    let at = |path: &str| format!("{name}:{path}");
    check(
        &["cp", &at("/no/such"), "."],
        &format!("Could not find the file /no/such in container {name}"),
    )?;
    check(
        &["cp", file, &at("/no/such")],
        &format!("Could not find the file /no in container {name}"),
    )?;
    check(&["cp", file, &at("/etc/passwd/")], "no such directory")?;
    check(&["cp", &at("/etc/passwd/"), "."], "not a directory")?;
    check(
        &["cp", file, "nosuch-container:/tmp"],
        "No such container: nosuch-container",
    )?;
    check(
        &["diff", "nosuch-container"],
        "No such container: nosuch-container",
    )?;
    check(
        &[
            "export",
            "-o",
            text(&folder.join("none"))?,
            "nosuch-container",
        ],
        "No such container: nosuch-container",
    )?;
    check(
        &["commit", "nosuch-container"],
        "No such container: nosuch-container",
    )?;
    Ok(())
}

fn a_folder_does_not_take_the_place_of_a_file(bed: &Bed) -> anyhow::Result<()> {
    let folder = bed.folder()?;
    fs::create_dir_all(folder.join("x/y"))?;
    fs::create_dir_all(folder.join("z"))?;
    fs::write(folder.join("z/y"), "file")?;
    let running = bed.start(
        &[],
        &[
            "sh",
            "-c",
            "mkdir -p /t/x /u/z/y; echo file >/t/x/y; sleep 1000",
        ],
    )?;
    let name = &running.name;
    bed.docker
        .ok(&["exec", name, "sh", "-c", "until [ -e /t/x/y ]; do :; done"])?;
    let output = bed
        .docker
        .fails(&["cp", text(&folder.join("x"))?, &format!("{name}:/t")])?;
    ensure!(
        output
            .stderr
            .contains("cannot overwrite non-directory \"x/y\" with directory \"/t\""),
        "{output:?}"
    );
    let output = bed
        .docker
        .fails(&["cp", text(&folder.join("z"))?, &format!("{name}:/u")])?;
    ensure!(
        output
            .stderr
            .contains("cannot overwrite directory \"z/y\" with non-directory \"/u\""),
        "{output:?}"
    );
    ensure!(exec(bed, name, "cat /t/x/y; ls -d /u/z/y")? == "file\n/u/z/y");
    Ok(())
}

fn links_are_kept_or_followed_and_stay_inside(bed: &Bed) -> anyhow::Result<()> {
    let folder = bed.folder()?;
    fs::write(folder.join("target"), "target")?;
    symlink("target", folder.join("link"))?;
    let running = bed.start(&[], &["sleep", "1000"])?;
    let name = &running.name;
    let link = folder.join("link");
    bed.docker
        .ok(&["cp", text(&link)?, &format!("{name}:/tmp/kept")])?;
    bed.docker
        .ok(&["cp", "-L", text(&link)?, &format!("{name}:/tmp/followed")])?;
    let seen = exec(bed, name, "readlink /tmp/kept; cat /tmp/followed")?;
    ensure!(seen == "target\ntarget", "{seen}");
    // Links of the container, absolute ones and those that climb, end in the container.
    let outside = folder.join("outside");
    fs::create_dir(&outside)?;
    let script = format!(
        "echo inside >/tmp/f; ln -s /tmp/f /abs; ln -s ../../../../../tmp/f /tmp/up; ln -s {0} /out; ln -s /tmp /folder; mkdir /tmp/deep; ln -s ../../../../../../../..{0} /tmp/deep/out",
        outside.display()
    );
    exec(bed, name, &script)?;
    for path in ["/abs", "/tmp/up"] {
        let out = folder.join(bed.name("out"));
        bed.docker
            .ok(&["cp", "-L", &format!("{name}:{path}"), text(&out)?])?;
        ensure!(fs::read_to_string(&out)? == "inside\n", "{path}");
    }
    let kept = folder.join("kept");
    bed.docker
        .ok(&["cp", &format!("{name}:/abs"), text(&kept)?])?;
    ensure!(fs::read_link(&kept)? == Path::new("/tmp/f"));
    bed.docker.ok(&[
        "cp",
        text(&folder.join("target"))?,
        &format!("{name}:/folder/through"),
    ])?;
    ensure!(exec(bed, name, "cat /tmp/through")? == "target");
    for path in ["/out", "/tmp/deep/out"] {
        let output = bed.docker.fails(&[
            "cp",
            text(&folder.join("target"))?,
            &format!("{name}:{path}/x"),
        ])?;
        ensure!(
            output.stderr.contains("Could not find the file"),
            "{output:?}"
        );
    }
    ensure!(fs::read_dir(&outside)?.count() == 0, "nothing came out");
    Ok(())
}

fn archives_go_through_standard_streams(bed: &Bed) -> anyhow::Result<()> {
    let running = bed.start(
        &[],
        &[
            "sh",
            "-c",
            "mkdir /t; echo x >/t/a; ln /t/a /t/b; touch /t/ready; sleep 1000",
        ],
    )?;
    let name = &running.name;
    exec(bed, name, "until [ -e /t/ready ]; do :; done")?;
    let output = bed.docker.run(&["cp", &format!("{name}:/t"), "-"])?;
    ensure!(output.code == 0, "{output:?}");
    let mut names = Vec::new();
    let mut tar = tar::Archive::new(&output.stdout[..]);
    for entry in tar.entries()? {
        let entry = entry?;
        names.push((
            entry.path()?.display().to_string(),
            entry.header().entry_type(),
        ));
    }
    let expected = [
        ("t/", EntryType::Directory),
        ("t/a", EntryType::Regular),
        ("t/b", EntryType::Link),
        ("t/ready", EntryType::Regular),
    ];
    ensure!(
        names == expected.map(|(name, kind)| (name.to_owned(), kind)),
        "{names:?}"
    );
    let other = bed.start(&[], &["sleep", "1000"])?;
    let output = bed.docker.run_with(
        &["cp", "-", &format!("{}:/root", other.name)],
        &output.stdout,
    )?;
    ensure!(output.code == 0, "{output:?}");
    let seen = exec(bed, &other.name, "cat /root/t/b; stat -c %h /root/t/a")?;
    ensure!(seen == "x\n2", "{seen}");
    let output = bed.docker.run_with(
        &["cp", "-", &format!("{}:/root", other.name)],
        &b"garbage".repeat(200),
    )?;
    ensure!(
        output.code != 0 && output.stderr.contains("archive/tar: invalid tar header"),
        "{output:?}"
    );
    Ok(())
}

fn owners_are_kept_only_when_asked_for(bed: &Bed) -> anyhow::Result<()> {
    let folder = bed.folder()?;
    fs::write(folder.join("file"), "x")?;
    std::os::unix::fs::chown(folder.join("file"), Some(1234), Some(1235))?;
    fs::set_permissions(folder.join("file"), fs::Permissions::from_mode(0o4751))?;
    let file = folder.join("file");
    let running = bed.start(&["-u", "33:34"], &["sleep", "1000"])?;
    let name = &running.name;
    bed.docker
        .ok(&["cp", text(&file)?, &format!("{name}:/tmp/plain")])?;
    bed.docker
        .ok(&["cp", "-a", text(&file)?, &format!("{name}:/tmp/archive")])?;
    let seen = exec(bed, name, "stat -c '%u:%g %a' /tmp/plain /tmp/archive")?;
    ensure!(seen == "1234:1235 4751\n33:34 4751", "{seen}");
    let back = folder.join("back");
    bed.docker
        .ok(&["cp", &format!("{name}:/tmp/plain"), text(&back)?])?;
    let mode = fs::metadata(&back)?.mode();
    ensure!(mode & 0o777 == 0o751, "{mode:o}");
    let unknown = bed.named("unknown");
    bed.docker.ok(&[
        "create",
        "--name",
        &unknown.name,
        "-u",
        "nosuch",
        "busybox",
        "true",
    ])?;
    let output = bed.docker.fails(&[
        "cp",
        "-a",
        text(&file)?,
        &format!("{}:/tmp/x", unknown.name),
    ])?;
    ensure!(
        output.stderr.contains(
            "failed to look up user \"nosuch\" in container: no matching entries in passwd file"
        ),
        "{output:?}"
    );
    Ok(())
}

fn special_files_keep_what_they_are(bed: &Bed) -> anyhow::Result<()> {
    let one = bed.start(&[], &["sleep", "1000"])?;
    let script = "mkdir /s; cd /s; mkfifo fifo; mknod device c 5 3; echo x >suid; chmod 4755 suid; chown 7:8 suid; mkdir sticky; chmod 1777 sticky; ln -s nowhere broken; ln suid second; echo y >\"with ümlaut\"; touch -d '2001-02-03 04:05:06' suid; n=$(head -c 120 /dev/zero | tr '\\0' l); echo z >$n; truncate -s 100M holes 2>/dev/null || dd if=/dev/zero of=holes bs=1 count=0 seek=104857600 2>/dev/null";
    exec(bed, &one.name, script)?;
    let look = "cd /s; for f in *; do stat -c '%n %F %a %u:%g %h %s %Y %t:%T' \"$f\"; done | grep -v ^holes | sed 's/^\\(sticky.*\\) [0-9]* \\([0-9]*:[0-9]*\\)$/\\1 \\2/'; stat -c %s holes; cat with*";
    let before = exec(bed, &one.name, look)?;
    let output = bed
        .docker
        .run(&["cp", "-a", &format!("{}:/s", one.name), "-"])?;
    ensure!(output.code == 0, "{}", output.stderr);
    let two = bed.start(&[], &["sleep", "1000"])?;
    let put = bed
        .docker
        .run_with(&["cp", "-", &format!("{}:/", two.name)], &output.stdout)?;
    ensure!(put.code == 0, "{put:?}");
    let after = exec(bed, &two.name, look)?;
    ensure!(before == after, "before:\n{before}\nafter:\n{after}");
    ensure!(before.contains("981173106"), "{before}");
    // Capabilities of a file go in and out.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut builder = Builder::new(Vec::new());
    builder.append_pax_extensions([("SCHILY.xattr.security.capability", &capability[..])])?;
    let mut header = Header::new_ustar();
    header.set_path("capable")?;
    header.set_mode(0o755);
    header.set_size(1);
    header.set_cksum();
    builder.append(&header, &b"x"[..])?;
    let put = bed.docker.run_with(
        &["cp", "-", &format!("{}:/s", two.name)],
        &builder.into_inner()?,
    )?;
    ensure!(put.code == 0, "{put:?}");
    let output = bed
        .docker
        .run(&["cp", &format!("{}:/s/capable", two.name), "-"])?;
    let mut tar = tar::Archive::new(&output.stdout[..]);
    let mut entry = tar.entries()?.next().context("an entry")??;
    let mut found = false;
    for extension in entry.pax_extensions()?.context("records")? {
        let extension = extension?;
        found |= extension.key_bytes() == b"SCHILY.xattr.security.capability"
            && extension.value_bytes() == capability;
    }
    ensure!(found, "the capability is there");
    Ok(())
}

fn a_tmpfs_is_not_seen_from_outside(bed: &Bed) -> anyhow::Result<()> {
    let folder = bed.folder()?;
    fs::write(folder.join("file"), "x")?;
    let running = bed.start(
        &["--tmpfs", "/mem"],
        &["sh", "-c", "echo t >/mem/own; sleep 1000"],
    )?;
    let name = &running.name;
    exec(bed, name, "until [ -e /mem/own ]; do :; done")?;
    let output = bed
        .docker
        .fails(&["cp", &format!("{name}:/mem/own"), "."])?;
    ensure!(
        output.stderr.contains("Could not find the file /mem/own"),
        "{output:?}"
    );
    bed.docker.ok(&[
        "cp",
        text(&folder.join("file"))?,
        &format!("{name}:/mem/below"),
    ])?;
    ensure!(exec(bed, name, "ls /mem")? == "own");
    bed.docker.ok(&[
        "cp",
        &format!("{name}:/mem/below"),
        text(&folder.join("out"))?,
    ])?;
    for path in ["/proc/1/status", "/sys/kernel", "/dev/null"] {
        bed.docker.fails(&["cp", &format!("{name}:{path}"), "."])?;
    }
    Ok(())
}

fn hostile_archives_are_refused_and_change_nothing_else(bed: &Bed) -> anyhow::Result<()> {
    use EntryType::{Directory, Link, Regular, Symlink};
    let running = bed.start(&[], &["sh", "-c", "mkdir /box; sleep 1000"])?;
    let name = &running.name;
    exec(bed, name, "until [ -d /box ]; do :; done")?;
    let before = exec(bed, name, "ls /; md5sum /etc/passwd")?;
    let put = |entries: &[(&str, EntryType, &str)]| {
        bed.docker
            .run_with(&["cp", "-", &format!("{name}:/box")], &archive(entries)?)
    };
    for (entries, expected) in [
        (
            &[("../up", Regular, "x")][..],
            "invalid entry name \"../up\"",
        ),
        (&[("a/../../up", Regular, "x")], "invalid entry name"),
        (&[("..", Directory, "")], "invalid entry name"),
        (
            &[("h", Link, "../etc/passwd")],
            "invalid hardlink target \"../etc/passwd\"",
        ),
        (&[("h", Link, "nosuch")], "Could not find the file /box"),
        (&[("c", EntryType::Char, "")], "operation not permitted"),
        (
            &[("u", EntryType::new(b'Z'), "")],
            "unhandled tar header type 90",
        ),
    ] {
        let output = put(entries)?;
        ensure!(
            output.code != 0 && output.stderr.contains(expected),
            "{entries:?}: {output:?}"
        );
    }
    // Absolute names and links are taken from the folder.
    let output = put(&[
        ("/absolute", Regular, "x"),
        ("link", Symlink, "/etc"),
        ("link/inside", Regular, "x"),
        ("etc/passwd", Regular, "mine"),
        ("hard", Link, "/etc/passwd"),
        ("new/parents/are/made", Regular, "x"),
    ])?;
    ensure!(output.code == 0, "{output:?}");
    let seen = exec(
        bed,
        name,
        "cd /box; ls absolute etc/inside new/parents/are/made; cat hard; readlink link",
    )?;
    ensure!(
        seen == "absolute\netc/inside\nnew/parents/are/made\nmine/etc",
        "{seen}"
    );
    let after = exec(bed, name, "ls /; md5sum /etc/passwd")?;
    ensure!(before == after, "{before}\n{after}");
    Ok(())
}

fn packed_archives_are_taken(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.named("packed");
    let name = &container.name;
    bed.docker
        .ok(&["create", "--name", name, "busybox", "ls", "/root"])?;
    for (file, program) in [
        ("gz", "gzip"),
        ("bz2", "bzip2"),
        ("xz", "xz"),
        ("zst", "zstd"),
    ] {
        let folder = bed.folder()?;
        fs::write(
            folder.join("tar"),
            archive(&[(file, EntryType::Regular, "x")])?,
        )?;
        let packed = std::process::Command::new(program)
            .arg("-c")
            .stdin(fs::File::open(folder.join("tar"))?)
            .output();
        // dockerd needs some of these programs as well.
        let Ok(packed) = packed else { continue };
        let output = bed
            .docker
            .run_with(&["cp", "-", &format!("{name}:/root")], &packed.stdout)?;
        ensure!(output.code == 0, "{program}: {output:?}");
        let listed = bed.docker.ok(&["start", "-a", name])?;
        ensure!(
            listed.lines().any(|line| line == file),
            "{program}: {listed}"
        );
    }
    Ok(())
}

fn a_large_file_and_many_files_arrive_whole(bed: &Bed) -> anyhow::Result<()> {
    let folder = bed.folder()?;
    let large: Vec<u8> = (0..bed.stream_bytes as u64)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2])
        .collect();
    fs::write(folder.join("large"), &large)?;
    fs::create_dir(folder.join("many"))?;
    for number in 0..5000 {
        fs::write(folder.join(format!("many/{number}")), number.to_string())?;
    }
    let container = bed.named("large");
    let name = &container.name;
    bed.docker
        .ok(&["create", "--name", name, "busybox", "true"])?;
    bed.docker.ok(&[
        "cp",
        text(&folder.join("large"))?,
        &format!("{name}:/large"),
    ])?;
    bed.docker
        .ok(&["cp", text(&folder.join("many"))?, &format!("{name}:/many")])?;
    bed.docker.ok(&[
        "cp",
        &format!("{name}:/large"),
        text(&folder.join("large.back"))?,
    ])?;
    bed.docker.ok(&[
        "cp",
        &format!("{name}:/many"),
        text(&folder.join("many.back"))?,
    ])?;
    ensure!(
        fs::read(folder.join("large.back"))? == large,
        "the large file is another"
    );
    for number in 0..5000 {
        let back = fs::read_to_string(folder.join(format!("many.back/{number}")))?;
        ensure!(back == number.to_string(), "{number}: {back}");
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}
