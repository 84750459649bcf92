//! Debian's docker-registry, on the loopback of a sandbox or of this machine.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::{Image, Sandbox, image};

/// How long the registry may take to answer.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Who may use a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// Anybody.
    Anonymous,
    /// `tester` with the password `secret`, by basic authentication.
    Basic,
}

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    port: u16,
    storage: PathBuf,
    login: Login,
    enter: Option<u32>,
    _folder: TempDir,
}

impl Registry {
    /// Starts one inside a sandbox, or on this machine's loopback.
    ///
    /// # Errors
    /// When docker-registry is not installed or does not answer.
    pub fn start(sandbox: Option<&Sandbox>, login: Login) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("berth-registry.")
            .tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let storage = folder.path().join("storage");
        let auth = match login {
            Login::Anonymous => String::new(),
            Login::Basic => {
                let file = folder.path().join("htpasswd");
                // bcrypt of "secret", cost 5.
                std::fs::write(
                    &file,
                    "tester:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n",
                )?;
                format!(
                    "auth:\n  htpasswd:\n    realm: tests\n    path: {}\n",
                    file.display()
                )
            }
        };
        let config = folder.path().join("config.yml");
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n{auth}",
                storage.display()
            ),
        )?;
        let mut command = match sandbox {
            Some(sandbox) => sandbox.command("docker-registry"),
            None => Command::new("docker-registry"),
        };
        let log = std::fs::File::create(folder.path().join("log"))?;
        let process = command
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("start docker-registry")?;
        let registry = Self {
            process,
            port,
            storage,
            login,
            enter: sandbox.map(Sandbox::pid),
            _folder: folder,
        };
        registry.wait_ready()?;
        Ok(registry)
    }

    fn wait_ready(&self) -> anyhow::Result<()> {
        let end = Instant::now() + READY_WITHIN;
        // It gives no sign when it listens: the pause is the poll's.
        while self.request("GET", "/v2/", "", b"").is_err() {
            if Instant::now() > end {
                bail!("docker-registry does not answer (is it installed?)");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where its files are, to damage them.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.storage.join(format!(
            "docker/registry/v2/blobs/sha256/{}/{hex}/data",
            &hex[..2]
        ))
    }

    /// Puts an image in; its reference comes back (`127.0.0.1:PORT/name:tag`).
    ///
    /// # Errors
    /// When the registry refuses a part.
    pub fn push(&self, name: &str, tag: &str, image: &Image) -> anyhow::Result<String> {
        for blob in image.layers.iter().chain([&image.config]) {
            let (status, head) =
                self.request("POST", &format!("/v2/{name}/blobs/uploads/"), "", b"")?;
            let location = head
                .lines()
                .find_map(|line| line.strip_prefix("Location: "))
                .with_context(|| format!("upload refused: {status}"))?;
            let path = location
                .trim()
                .trim_start_matches("http://")
                .trim_start_matches(&self.address());
            let path = format!("{path}&digest={}", image::digest(blob));
            self.expect(201, "PUT", &path, "application/octet-stream", blob)?;
        }
        self.expect(
            201,
            "PUT",
            &format!("/v2/{name}/manifests/{tag}"),
            Image::MANIFEST_TYPE,
            &image.manifest,
        )?;
        Ok(format!("{}/{name}:{tag}", self.address()))
    }

    fn expect(
        &self,
        want: u16,
        method: &str,
        path: &str,
        kind: &str,
        body: &[u8],
    ) -> anyhow::Result<()> {
        let (status, head) = self.request(method, path, kind, body)?;
        if status == want {
            Ok(())
        } else {
            bail!("{method} {path}: {status}\n{head}")
        }
    }

    /// One request; status and head of the answer.
    fn request(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: &[u8],
    ) -> anyhow::Result<(u16, String)> {
        let mut stream = self.connect()?;
        let auth = match self.login {
            Login::Anonymous => "",
            // tester:secret
            Login::Basic => "Authorization: Basic dGVzdGVyOnNlY3JldA==\r\n",
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{auth}Content-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.address(),
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer
            .split(' ')
            .nth(1)
            .context("no status line")?
            .parse()?;
        Ok((status, answer))
    }

    /// Connects from inside of the sandbox's network, on a thread that joins it and ends.
    fn connect(&self) -> anyhow::Result<TcpStream> {
        let (port, enter) = (self.port, self.enter);
        std::thread::spawn(move || {
            if let Some(pid) = enter {
                crate::enter_network(pid)?;
            }
            anyhow::Ok(TcpStream::connect(("127.0.0.1", port))?)
        })
        .join()
        .map_err(|_| anyhow::anyhow!("the connecting thread panicked"))?
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // The whole group: in a sandbox the registry is a child of nsenter.
        if let Some(group) = i32::try_from(self.process.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.process.wait();
    }
}
