//! The engine's side: makes shims, finds them again, and talks to them.

mod shim;
mod spawner;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use engine::{
    id::ContainerId,
    ports::containers::{Exit, LaunchRequest, Recovered, Shim, Shims},
};
use errdefs::{Error, ErrorKind, Result};
use runtime::Cgroup;
use tokio::net::UnixStream;

use self::{shim::ShimClient, spawner::Spawner};
use crate::{
    address::Address,
    process::{EXIT_FILE, ROOT_FOLDER, remove_group},
    protocol::{Launch, Reply, Request},
};

/// Where shims keep their things and how they are started.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the shims' sockets and exit files, lost with the machine: one folder a container.
    pub run: PathBuf,
    /// Mount of the unified cgroup hierarchy.
    pub cgroup_root: PathBuf,
    /// The program that [`crate::spawner::run`]s with these arguments, its socket as standard input.
    pub spawner: (PathBuf, Vec<std::ffi::OsString>),
}

/// Makes and finds shims.
#[derive(Debug)]
pub struct LocalShims {
    config: Config,
    spawner: Spawner,
}

impl LocalShims {
    /// Starts the spawner.
    ///
    /// # Errors
    /// The folder cannot be made or the spawner not be started.
    pub fn start(config: Config) -> io::Result<Self> {
        std::fs::create_dir_all(&config.run)?;
        let spawner = Spawner::new(config.spawner.clone())?;
        Ok(Self { config, spawner })
    }

    fn folder(&self, id: &ContainerId) -> PathBuf {
        self.config.run.join(id.as_str())
    }

    /// The two connections of a shim that has made its container; the inner error: it ended before.
    async fn try_launch(
        &self,
        id: &ContainerId,
        launch: &Launch,
    ) -> Result<io::Result<(UnixStream, UnixStream)>> {
        self.make_folder(id)?;
        let connect = |error| system("start a shim", &error);
        let (control, events) = self.spawner.spawn().map_err(connect)?;
        let mut control = UnixStream::from_std(control).map_err(connect)?;
        let events = UnixStream::from_std(events).map_err(connect)?;
        let sent = shim::send(&mut control, launch).await;
        // What it said before it ended is heard even so.
        let answer = shim::receive::<Reply>(&mut control).await;
        // After this one has what it needs: the next shim is not to compete with it.
        self.spawner.prepare();
        match answer {
            Ok(Reply::Done) => Ok(Ok((control, events))),
            Ok(Reply::Failed { kind, text }) => Err(Error::new(kind.into(), text)),
            Ok(other) => Err(shim::unexpected(&other)),
            Err(error) => Ok(Err(sent.err().unwrap_or(error))),
        }
    }

    /// In memory and small, so that it costs less than to ask another thread.
    fn make_folder(&self, id: &ContainerId) -> Result<()> {
        let folder = self.folder(id);
        let make = || {
            match std::fs::create_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // Left by an earlier run of the same container.
                    std::fs::remove_dir_all(&folder)?;
                    std::fs::create_dir(&folder)?;
                }
                made => made?,
            }
            std::fs::create_dir(folder.join(ROOT_FOLDER))
        };
        make().map_err(|error| system(format!("make folder {}", folder.display()), &error))
    }
}

#[async_trait]
impl Shims for LocalShims {
    async fn launch(&self, request: LaunchRequest) -> Result<Arc<dyn Shim>> {
        let (id, run_at_once) = (request.id, request.run_at_once);
        let launch = Launch {
            id: id.to_string(),
            spec: request.spec,
            root: request.rootfs,
            open_stdin: request.open_stdin,
            stdin_once: request.stdin_once,
            log: request.log,
            terminal_size: request.terminal_size,
            run: self.folder(&id),
            folder: request.folder,
            cgroup_root: self.config.cgroup_root.clone(),
            run_at_once,
        };
        let mut made = self.try_launch(&id, &launch).await?;
        if let Err(error) = &made {
            // The shim was killed, or the spawner with what it had not yet read. Nothing ran, so another one may try.
            tracing::warn!(%id, %error, "a shim ended before it made its container");
            let group = launch.spec.linux().as_ref();
            if let Some(group) = group.and_then(|linux| linux.cgroups_path().as_ref()) {
                self.sweep(&id, group).await?;
            }
            made = self.try_launch(&id, &launch).await?;
        }
        let (control, events) =
            made.map_err(|error| system("the shim ended before it made the container", &error))?;
        Ok(Arc::new(ShimClient::new(
            launch.run,
            control,
            events,
            run_at_once,
        )))
    }

    async fn recover(&self, id: &ContainerId) -> Result<Recovered> {
        let folder = self.folder(id);
        if let Ok(mut control) = connect(&folder).await {
            let found = async {
                let mut events = connect(&folder).await?;
                shim::send(&mut events, &Request::Events).await?;
                let _: Reply = shim::receive(&mut events).await?;
                shim::send(&mut control, &Request::State).await?;
                Ok::<_, io::Error>((events, shim::receive::<Reply>(&mut control).await?))
            };
            if let Ok((
                events,
                Reply::State {
                    pid,
                    started,
                    paused,
                },
            )) = found.await
            {
                let shim = Arc::new(ShimClient::new(folder.clone(), control, events, false));
                if started {
                    return Ok(Recovered::Running { shim, pid, paused });
                }
                // Made, but nobody was told that it runs.
                shim.delete().await?;
                return Ok(Recovered::Unknown);
            }
        }
        // The shim is gone, or went while it was asked: then its last word is there.
        let exit = tokio::fs::read(folder.join(EXIT_FILE)).await;
        Ok(
            match exit
                .ok()
                .and_then(|bytes| serde_json::from_slice::<Exit>(&bytes).ok())
            {
                Some(exit) => Recovered::Exited(exit),
                None => Recovered::Unknown,
            },
        )
    }

    async fn sweep(&self, id: &ContainerId, cgroup: &Path) -> Result<()> {
        let group = Cgroup::new(&self.config.cgroup_root, cgroup)
            .map_err(|error| system("the container's cgroup", &error))?;
        if group.folder().exists() {
            let removed = tokio::task::spawn_blocking(move || {
                let _ = group.freeze(false);
                let _ = group.kill();
                remove_group(&group)
            });
            removed
                .await
                .map_err(io::Error::other)
                .and_then(|removed| removed)
                .map_err(|error| system(format!("remove cgroup of container {id}"), &error))?;
        }
        Ok(())
    }

    async fn forget(&self, id: &ContainerId) -> Result<()> {
        let folder = self.folder(id);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(system(
                format!("remove folder {}", folder.display()),
                &error,
            )),
            _ => Ok(()),
        }
    }
}

/// Connects to the shim of a folder.
async fn connect(folder: &Path) -> io::Result<UnixStream> {
    let address = Address::of(folder)?;
    UnixStream::connect(address.path()).await
}

fn system(what: impl std::fmt::Display, error: &io::Error) -> Error {
    Error::new(ErrorKind::System, format!("{what}: {error}"))
}
