//! What a check has to work with.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use harness::{Docker, Image, Kind, Registry};

/// How long a published port may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Whose loopback the published ports are on.
#[derive(Debug, Clone, Copy)]
pub enum Network {
    /// This machine's.
    Host,
    /// That of the namespace of a process.
    Of(u32),
}

/// An engine under test with all that checks need.
#[derive(Debug)]
pub struct Bed {
    /// Which engine: a few texts differ on purpose.
    pub kind: Kind,
    /// The CLI.
    pub docker: Docker,
    /// Reachable from the engine at its `address()`.
    pub registry: Registry,
    /// The same with a login.
    pub private_registry: Registry,
    /// A folder on this machine that containers may mount.
    pub scratch: PathBuf,
    /// Bytes for streaming checks.
    pub stream_bytes: usize,
    network: Network,
    counter: AtomicU32,
}

impl Bed {
    /// Loads the test images (`busybox`, `debian`) and puts them into the registries as well.
    ///
    /// # Errors
    /// When the images cannot be made or loaded.
    pub fn new(
        kind: Kind,
        docker: Docker,
        registry: Registry,
        private_registry: Registry,
        scratch: &Path,
        network: Network,
        stream_bytes: usize,
    ) -> anyhow::Result<Self> {
        let scratch = scratch.join("scratch");
        std::fs::create_dir_all(&scratch)?;
        let busybox = harness::busybox()?;
        load(&docker, &busybox, "busybox:latest", &scratch)?;
        registry.push("busybox", "latest", &busybox)?;
        private_registry.push("busybox", "latest", &busybox)?;
        registry.push("debian", "latest", &harness::debian()?)?;
        let counter = AtomicU32::new(0);
        Ok(Self {
            kind,
            docker,
            registry,
            private_registry,
            scratch,
            stream_bytes,
            network,
            counter,
        })
    }

    /// Loads an image under a name.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn load(&self, image: &Image, name: &str) -> anyhow::Result<()> {
        load(&self.docker, image, name, &self.folder()?)
    }

    /// A name nobody else uses.
    pub fn name(&self, about: &str) -> String {
        format!("{about}-{}", self.counter.fetch_add(1, Ordering::Relaxed))
    }

    /// A new folder that containers may mount.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self) -> anyhow::Result<PathBuf> {
        let folder = self.scratch.join(self.name("folder"));
        std::fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(folder)
    }

    /// `docker run --rm busybox …`, its output.
    ///
    /// # Errors
    /// When it fails.
    pub fn busybox(&self, options: &[&str], command: &[&str]) -> anyhow::Result<String> {
        let mut arguments = vec!["run", "--rm"];
        arguments.extend_from_slice(options);
        arguments.push("busybox");
        arguments.extend_from_slice(command);
        self.docker.ok(&arguments)
    }

    /// A started container that is removed with its guard.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, options: &[&str], command: &[&str]) -> anyhow::Result<Container<'_>> {
        let name = self.name("c");
        let mut arguments = vec!["run", "-d", "--name", &name];
        arguments.extend_from_slice(options);
        arguments.push("busybox");
        arguments.extend_from_slice(command);
        let id = self.docker.ok(&arguments)?;
        Ok(Container {
            bed: self,
            name,
            id,
        })
    }

    /// A container that is only removed with its guard, under a name the check uses itself.
    pub fn named(&self, about: &str) -> Container<'_> {
        Container {
            bed: self,
            name: self.name(about),
            id: String::new(),
        }
    }

    /// Connects to a port on the loopback where ports are published.
    ///
    /// # Errors
    /// When nothing listens.
    pub fn connect(&self, port: u16) -> anyhow::Result<TcpStream> {
        let network = self.network;
        std::thread::spawn(move || {
            if let Network::Of(pid) = network {
                harness::enter_network(pid)?;
            }
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(ANSWER_WITHIN))?;
            anyhow::Ok(stream)
        })
        .join()
        .map_err(|_| anyhow::anyhow!("the connecting thread panicked"))?
    }

    /// Does something in the network where the engine is, as making a socket there.
    ///
    /// # Errors
    /// When it fails.
    pub fn in_network<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let network = self.network;
        std::thread::spawn(move || {
            if let Network::Of(pid) = network {
                harness::enter_network(pid)?;
            }
            work()
        })
        .join()
        .map_err(|_| anyhow::anyhow!("the thread in the network panicked"))?
    }

    /// A path of the engine's file system, seen from here.
    pub fn outside(&self, path: &str) -> PathBuf {
        match self.network {
            Network::Host => PathBuf::from(path),
            Network::Of(pid) => PathBuf::from(format!("/proc/{pid}/root{path}")),
        }
    }

    /// Takes a port there until the guard goes.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn occupy(&self) -> anyhow::Result<std::net::TcpListener> {
        let network = self.network;
        std::thread::spawn(move || {
            if let Network::Of(pid) = network {
                harness::enter_network(pid)?;
            }
            anyhow::Ok(std::net::TcpListener::bind("0.0.0.0:0")?)
        })
        .join()
        .map_err(|_| anyhow::anyhow!("the listening thread panicked"))?
    }

    /// `GET /path` at a published port; the body.
    ///
    /// # Errors
    /// When there is no answer with status 200.
    pub fn fetch(&self, port: u16, path: &str) -> anyhow::Result<String> {
        let mut stream = self.connect(port)?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("no end of the head")?;
        ensure!(head.contains(" 200 "), "answer: {head}");
        Ok(body.to_owned())
    }

    /// The one host port of a container port.
    ///
    /// # Errors
    /// When it is not published.
    pub fn published(&self, container: &str, port: &str) -> anyhow::Result<u16> {
        let text = self.docker.ok(&["port", container, port])?;
        let line = text.lines().next().context("nothing is published")?;
        Ok(line.rsplit(':').next().context("no port")?.parse()?)
    }
}

fn load(docker: &Docker, image: &Image, name: &str, scratch: &Path) -> anyhow::Result<()> {
    let archive = scratch.join("load.tar");
    image.write_archive(&format!("library/{name}"), &archive)?;
    let said = docker.ok(&["load", "-i", archive.to_str().context("a plain path")?])?;
    if !said.contains("Loaded image") {
        bail!("docker load said: {said}");
    }
    Ok(())
}

/// A container that is removed when a check is done with it.
#[derive(Debug)]
pub struct Container<'a> {
    bed: &'a Bed,
    /// Its name.
    pub name: String,
    /// Its id, when the bed started it.
    pub id: String,
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.bed.docker.run(&["rm", "-f", "-v", &self.name]);
    }
}
