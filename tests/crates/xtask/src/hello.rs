//! The first container: an image of Debian's busybox, made here, that shows a mounted folder and serves a page.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::Image;
use serde_json::json;

use crate::{paths, progress::say};

/// The image's name.
pub(crate) const NAME: &str = "berth/hello:latest";

/// Where the page is published, if it is free.
const USUAL_PORT: u16 = 8080;

/// How long the page may take to be served.
const SERVED_WITHIN: Duration = Duration::from_secs(60);

/// What the container runs: a greeting into the mounted folder, the same as a page.
const PROGRAM: &str = "#!/bin/sh
echo \"Hello from a container of Berth, on Linux $(uname -r).\" >/tmp/index.html
if [ -d /w ]; then
    cat /w/from-host >>/tmp/index.html
    cp /tmp/index.html /w/from-container
fi
exec httpd -f -p 80 -h /tmp
";

/// A docker CLI with the machine's engine.
pub(crate) struct Docker {
    pub(crate) program: PathBuf,
    pub(crate) host: String,
}

impl Docker {
    fn output(&self, arguments: &[&str]) -> Result<Output> {
        Command::new(&self.program)
            .args(arguments)
            .env("DOCKER_HOST", &self.host)
            .env_remove("DOCKER_CONTEXT")
            .output()
            .with_context(|| format!("start {}", self.program.display()))
    }

    /// Standard output when it succeeded.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments)?;
        ensure!(
            output.status.success(),
            "docker {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// Loads the image, runs it with a mounted folder and a published port, reads both, and removes the container.
pub(crate) fn show(docker: &Docker) -> Result<()> {
    load(docker)?;
    let folder = folder()?;
    std::fs::write(folder.join("from-host"), "It reads a folder of the host.\n")
        .with_context(|| format!("write into {}", folder.display()))?;
    let port = free_port()?;
    let (mount, publish) = (
        format!("{}:/w", folder.display()),
        format!("127.0.0.1:{port}:80"),
    );
    let id = docker.ok(&["run", "-d", "--rm", "-v", &mount, "-p", &publish, NAME])?;
    let page = page(port);
    docker.ok(&["stop", "-t", "1", &id])?;
    let page = page?;
    let written = std::fs::read_to_string(folder.join("from-container"))
        .context("read what the container wrote")?;
    ensure!(
        page == written && page.lines().count() == 2,
        "the container served {page:?} and wrote {written:?}"
    );
    say(&format!(
        "http://127.0.0.1:{port} and {} said:",
        folder.join("from-container").display()
    ));
    page.lines().for_each(|line| say(&format!("  {line}")));
    Ok(())
}

fn load(docker: &Docker) -> Result<()> {
    let layer = harness::busybox_layer(&[("hello", PROGRAM.as_bytes())])?;
    let settings = json!({"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["sh", "/hello"], "ExposedPorts": {"80/tcp": {}}});
    let archive = paths::target().join("hello.tar");
    Image::new(vec![layer], &settings)?.write_archive(NAME, &archive)?;
    docker.ok(&["load", "-i", &archive.to_string_lossy()])?;
    Ok(())
}

/// A folder that the settings' defaults allow to be mounted: below the user's home.
fn folder() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).context(
        "HOME is not set: containers mount folders below it unless settings.toml says otherwise",
    )?;
    let target = paths::target();
    let base = if target.starts_with(&home) {
        target
    } else {
        home.join(".cache/berth")
    };
    let folder = base.join("hello");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", USUAL_PORT))
        .or_else(|_| TcpListener::bind("127.0.0.1:0"))
        .context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// The page, as soon as the program in the container serves it: the port takes connections before.
fn page(port: u16) -> Result<String> {
    let end = Instant::now() + SERVED_WITHIN;
    loop {
        match fetch(port) {
            Ok(page) => return Ok(page),
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn fetch(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(SERVED_WITHIN))?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.contains(" 200 "), "the container answered {head}");
    Ok(body.to_owned())
}

/// How a user may call the docker CLI.
pub(crate) fn shown(program: &Path) -> String {
    if program.starts_with(paths::target()) {
        return program.display().to_string();
    }
    "docker".to_owned()
}
