//! What a container changed, and images made of it: diff, export, import, commit.

use std::fs;

use anyhow::{Context, ensure};
use tar::{Builder, Header};

use super::{
    checks,
    files::{exec, text},
    inspect, raw,
};
use crate::Bed;

checks![
    diff_tells_what_changed,
    an_export_has_all_files_and_can_be_imported,
    an_import_takes_changes_and_a_name,
    a_commit_is_an_image_of_the_container,
    changes_of_a_commit_are_dockers_instructions,
    a_commit_of_a_running_container_and_its_events,
];

fn diff_tells_what_changed(bed: &Bed) -> anyhow::Result<()> {
    let script = "mkdir -p /new/sub; echo x >/new/sub/f; rm /bin/yes; echo y >>/etc/passwd; rm -r /root; mkdir /root; touch /root/n; chmod 700 /var; mkdir /bin2; mv /bin2 /bin3; cp /etc/group /tmp/g; touch /tmp/ready; sleep 1000";
    let running = bed.start(&["-v", "/data", "--tmpfs", "/mem"], &["sh", "-c", script])?;
    let name = &running.name;
    exec(
        bed,
        name,
        "until [ -e /tmp/ready ]; do :; done; touch /mem/t /data/d",
    )?;
    let look = || -> anyhow::Result<Vec<String>> {
        let mut lines: Vec<String> = bed
            .docker
            .ok(&["diff", name])?
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        Ok(lines)
    };
    let expected = [
        "A /bin3",
        "A /data",
        "A /mem",
        "A /new",
        "A /new/sub",
        "A /new/sub/f",
        "A /root/n",
        "A /tmp/g",
        "A /tmp/ready",
        "C /bin",
        "C /etc",
        "C /etc/passwd",
        "C /root",
        "C /tmp",
        "C /var",
        "D /bin/yes",
    ];
    let seen = look()?;
    ensure!(seen == expected, "{seen:?}");
    bed.docker.ok(&["kill", name])?;
    bed.docker.ok(&["wait", name])?;
    ensure!(look()? == expected, "the same when it has ended");
    let fresh = bed.named("fresh");
    bed.docker
        .ok(&["create", "--name", &fresh.name, "busybox", "true"])?;
    ensure!(bed.docker.ok(&["diff", &fresh.name])?.is_empty());
    Ok(())
}

fn an_export_has_all_files_and_can_be_imported(bed: &Bed) -> anyhow::Result<()> {
    let folder = bed.folder()?;
    let running = bed.start(
        &["-v", "/data"],
        &[
            "sh",
            "-c",
            "echo own >/own; rm /bin/yes; echo v >/data/v; touch /ready; sleep 1000",
        ],
    )?;
    let name = &running.name;
    exec(bed, name, "until [ -e /ready ]; do :; done")?;
    let file = folder.join("export.tar");
    bed.docker.ok(&["export", "-o", text(&file)?, name])?;
    let mut names = Vec::new();
    for entry in tar::Archive::new(fs::File::open(&file)?).entries()? {
        names.push(entry?.path()?.display().to_string());
    }
    for expected in ["bin/busybox", "etc/passwd", "own", "data/"] {
        ensure!(
            names.iter().any(|name| name == expected),
            "{expected}: {names:?}"
        );
    }
    for unexpected in ["bin/yes", "data/v", "proc/1", "./", "/"] {
        ensure!(!names.iter().any(|name| name == unexpected), "{unexpected}");
    }
    let image = bed.name("imported");
    let id = bed.docker.ok(&["import", text(&file)?, &image])?;
    ensure!(
        id.starts_with("sha256:") && inspect(bed, &image, "Id")? == id.as_str(),
        "{id}"
    );
    let output = bed
        .docker
        .run(&["run", "--rm", &image, "sh", "-c", "cat /own; ls /bin/yes"])?;
    ensure!(output.text() == "own" && output.code != 0, "{output:?}");
    let output = bed.docker.fails(&["run", "--rm", &image])?;
    ensure!(output.stderr.contains("no command specified"), "{output:?}");
    bed.docker.ok(&["rmi", &image])?;
    Ok(())
}

fn an_import_takes_changes_and_a_name(bed: &Bed) -> anyhow::Result<()> {
    let folder = bed.folder()?;
    let busybox = fs::read("/bin/busybox")?;
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_ustar();
    header.set_path("busybox")?;
    header.set_mode(0o755);
    header.set_size(busybox.len() as u64);
    header.set_cksum();
    builder.append(&header, &busybox[..])?;
    let tar = builder.into_inner()?;
    let name = format!("{}:v1", bed.name("import"));
    let output = bed.docker.run_with(
        &[
            "import",
            "-m",
            "a message",
            "-c",
            "ENTRYPOINT [\"/busybox\"]",
            "-c",
            "CMD [\"echo\", \"hello\"]",
            "-c",
            "ENV A=1",
            "--platform",
            "linux/amd64",
            "-",
            &name,
        ],
        &tar,
    )?;
    ensure!(
        output.code == 0 && output.text().starts_with("sha256:"),
        "{output:?}"
    );
    ensure!(bed.docker.ok(&["run", "--rm", &name])? == "hello");
    ensure!(inspect(bed, &name, "Config/Env/0")? == "A=1");
    ensure!(
        bed.docker
            .ok(&["history", "--format", "{{.Comment}}", &name])?
            == "a message"
    );
    let packed = folder.join("layer.tar");
    fs::write(&packed, &tar)?;
    let status = std::process::Command::new("gzip").arg(&packed).status()?;
    ensure!(status.success());
    let other = bed.name("import");
    bed.docker
        .ok(&["import", text(&folder.join("layer.tar.gz"))?, &other])?;
    ensure!(
        bed.docker
            .ok(&["run", "--rm", &other, "/busybox", "echo", "packed"])?
            == "packed"
    );
    let output =
        bed.docker
            .fails(&["import", "-c", "RUN x", text(&folder.join("layer.tar.gz"))?])?;
    ensure!(
        output.stderr.contains("RUN is not a valid change command"),
        "{output:?}"
    );
    let output =
        bed.docker
            .fails(&["import", text(&folder.join("layer.tar.gz"))?, "Upper:case"])?;
    ensure!(output.stderr.contains("must be lowercase"), "{output:?}");
    let output = bed
        .docker
        .run_with(&["import", "-"], &b"garbage".repeat(200))?;
    ensure!(output.code != 0, "{output:?}");
    bed.docker.ok(&["rmi", &name, &other])?;
    Ok(())
}

fn a_commit_is_an_image_of_the_container(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.named("committed");
    let name = &container.name;
    bed.docker.ok(&["run", "--name", name, "-e", "KEPT=1", "busybox", "sh", "-c", "echo new >/new; rm /bin/yes; mkdir -p /etc/deep/folder; rm -r /root; mkdir /root; echo r >/root/r; chown 5:6 /new; ln /new /hard; mkfifo /fifo"])?;
    let image = format!("{}:v1", bed.name("commit"));
    let id = bed
        .docker
        .ok(&["commit", "-a", "An Author", "-m", "a message", name, &image])?;
    ensure!(
        id.starts_with("sha256:") && inspect(bed, &image, "Id")? == id.as_str(),
        "{id}"
    );
    let look = "cat /new; ls -d /bin/yes /etc/deep/folder /fifo; ls /root; stat -c '%u:%g %h' /hard; echo $KEPT";
    let output = bed.docker.run(&["run", "--rm", &image, "sh", "-c", look])?;
    ensure!(
        output.text() == "new\n/etc/deep/folder\n/fifo\nr\n5:6 2\n1",
        "{output:?}"
    );
    ensure!(inspect(bed, &image, "Author")? == "An Author");
    ensure!(inspect(bed, &image, "Parent")? == inspect(bed, "busybox", "Id")?);
    let listed = raw::get(
        bed,
        &format!("/images/json?filters={{%22reference%22:[%22{image}%22]}}"),
    )?;
    let listed: serde_json::Value = serde_json::from_str(&listed.1)?;
    ensure!(
        listed[0]["ParentId"] == inspect(bed, "busybox", "Id")?,
        "{listed}"
    );
    ensure!(inspect(bed, &image, "Config/Cmd/0")? == "sh");
    let layers = |image: &str| -> anyhow::Result<usize> {
        Ok(inspect(bed, image, "RootFS/Layers")?
            .as_array()
            .context("layers")?
            .len())
    };
    ensure!(layers(&image)? == layers("busybox")? + 1);
    let history = bed.docker.ok(&[
        "history",
        "--no-trunc",
        "--format",
        "{{.Comment}}|{{.CreatedBy}}",
        &image,
    ])?;
    ensure!(
        history
            .lines()
            .next()
            .unwrap_or_default()
            .starts_with("a message|sh -c echo new"),
        "{history}"
    );
    // A second one on top, with nothing new in it but its settings.
    let again = bed.named("again");
    bed.docker
        .ok(&["create", "--name", &again.name, &image, "cat", "/new"])?;
    let second = bed.name("commit");
    bed.docker.ok(&["commit", &again.name, &second])?;
    ensure!(bed.docker.ok(&["run", "--rm", &second])? == "new");
    ensure!(layers(&second)? == layers(&image)?);
    // It goes through save and load as any other.
    let file = bed.folder()?.join("image.tar");
    bed.docker.ok(&["save", "-o", text(&file)?, &image])?;
    let nameless = bed.docker.ok(&["commit", name])?;
    ensure!(bed.docker.ok(&["run", "--rm", &nameless, "cat", "/new"])? == "new");
    bed.docker.ok(&["rm", name, &again.name])?;
    bed.docker.ok(&["rmi", &second, &image, &nameless])?;
    bed.docker.ok(&["load", "-i", text(&file)?])?;
    ensure!(bed.docker.ok(&["run", "--rm", &image, "cat", "/new"])? == "new");
    bed.docker.ok(&["rmi", &image])?;
    Ok(())
}

fn changes_of_a_commit_are_dockers_instructions(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.named("changed");
    let name = &container.name;
    bed.docker.ok(&[
        "create", "--name", name, "-e", "X=1", "-w", "/tmp", "busybox", "true",
    ])?;
    let image = bed.name("commit");
    let mut arguments = vec!["commit"];
    for change in [
        "CMD echo $X $Y",
        "ENV Y=\"two words\" Z=${X}3",
        "EXPOSE 80 90-91/udp",
        "LABEL a=b \"c d\"=e",
        "USER 33:34",
        "WORKDIR sub",
        "VOLUME [\"/v\"]",
        "STOPSIGNAL SIGINT",
    ] {
        arguments.extend(["-c", change]);
    }
    arguments.extend([name.as_str(), image.as_str()]);
    bed.docker.ok(&arguments)?;
    ensure!(bed.docker.ok(&["run", "--rm", &image])? == "1 two words");
    let config = inspect(bed, &image, "Config")?;
    ensure!(
        config["Cmd"] == serde_json::json!(["/bin/sh", "-c", "echo $X $Y"]),
        "{config}"
    );
    ensure!(
        config["ExposedPorts"] == serde_json::json!({"80/tcp": {}, "90/udp": {}, "91/udp": {}}),
        "{config}"
    );
    ensure!(
        config["Labels"]["c d"] == "e" && config["User"] == "33:34",
        "{config}"
    );
    ensure!(
        config["WorkingDir"] == "/tmp/sub" && config["StopSignal"] == "SIGINT",
        "{config}"
    );
    ensure!(
        config["Env"].to_string().contains("Z=13") && config["Volumes"]["/v"].is_object(),
        "{config}"
    );
    for (change, expected) in [
        ("RUN x", "RUN is not a valid change command"),
        ("ENV A", "ENV must have two arguments"),
        ("EXPOSE bad", "Invalid containerPort: bad"),
        ("STOPSIGNAL NOPE", "invalid signal: NOPE"),
    ] {
        let output = bed.docker.fails(&["commit", "-c", change, name])?;
        ensure!(output.stderr.contains(expected), "{output:?}");
    }
    let output = bed.docker.fails(&["commit", name, "Upper:case"])?;
    ensure!(output.stderr.contains("must be lowercase"), "{output:?}");
    bed.docker.ok(&["rmi", &image])?;
    Ok(())
}

fn a_commit_of_a_running_container_and_its_events(bed: &Bed) -> anyhow::Result<()> {
    let running = bed.start(&["-l", "mine=yes"], &["sh", "-c", "echo r >/r; sleep 1000"])?;
    let name = &running.name;
    exec(bed, name, "until [ -e /r ]; do :; done")?;
    let folder = bed.folder()?;
    let image = bed.name("commit");
    let id = bed.docker.ok(&["commit", "-m", "words", name, &image])?;
    ensure!(inspect(bed, name, "State/Status")? == "running");
    ensure!(bed.docker.ok(&["run", "--rm", &image, "cat", "/r"])? == "r");
    bed.docker
        .ok(&["cp", &format!("{name}:/r"), text(&folder.join("r"))?])?;
    bed.docker
        .ok(&["cp", text(&folder.join("r"))?, &format!("{name}:/tmp")])?;
    bed.docker
        .ok(&["export", "-o", text(&folder.join("export"))?, name])?;
    // Whole seconds are all it takes.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let until = (now.as_secs() + 1).to_string();
    let told = bed.docker.ok(&[
        "events", "--since", "5m", "--until", &until, "--filter", &format!("container={name}"),
        "--format", "{{.Action}} {{.Actor.Attributes.imageRef}} {{.Actor.Attributes.imageID}} {{.Actor.Attributes.comment}} {{.Actor.Attributes.mine}}",
    ])?;
    let actions: Vec<&str> = told
        .lines()
        .map(|line| line.split(' ').next().unwrap_or_default())
        .collect();
    let expected = [
        "create",
        "start",
        "pause",
        "commit",
        "unpause",
        "archive-path",
        "extract-to-dir",
        "export",
    ];
    let actions: Vec<&str> = actions
        .into_iter()
        .filter(|action| expected.contains(action))
        .collect();
    ensure!(actions == expected, "{told}");
    let commit = told
        .lines()
        .find(|line| line.starts_with("commit "))
        .context("told")?;
    ensure!(
        commit == format!("commit {image}:latest {id} words yes"),
        "{commit}"
    );
    bed.docker.ok(&["commit", "--pause=false", name, &image])?;
    bed.docker.ok(&["rmi", &image, &id])?;
    Ok(())
}
