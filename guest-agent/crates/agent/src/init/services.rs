//! The door: connections from the host, one service each.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use agent_api::{GUEST_PORT, Hello, HelloReply, Service, VERSION, frame};
use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncWriteExt, Interest, copy_bidirectional_with_sizes, unix::AsyncFd},
    net::{TcpStream, UnixStream},
    sync::Semaphore,
    time::timeout,
};

use super::{Machine, boot_line, control, engine, shell, sys};

/// Connections served at once; more wait in the kernel.
const MAX_CONNECTIONS: usize = 4096;

/// How long a host may take to say hello.
const HELLO_TIME: Duration = Duration::from_secs(10);

/// How long a container may take to accept a forwarded connection.
const FORWARD_TIME: Duration = Duration::from_secs(10);

/// Bytes in flight in each direction of a spliced stream.
const SPLICE_BYTES: usize = 64 << 10;

/// Our vsock port.
#[derive(Debug)]
pub(super) struct Listener {
    socket: AsyncFd<OwnedFd>,
}

impl Listener {
    pub(super) fn bind() -> Result<Self> {
        let socket = sys::vsock_listen(GUEST_PORT).context("listen on vsock")?;
        let socket = sys::watch_readable(socket).context("watch the vsock listener")?;
        Ok(Self { socket })
    }

    async fn accept(&self) -> std::io::Result<(OwnedFd, u32)> {
        self.socket
            .async_io(Interest::READABLE, |socket| {
                sys::vsock_accept(socket.as_raw_fd())
            })
            .await
    }
}

/// Serves for ever.
pub(super) async fn serve(listener: Listener, machine: Arc<Machine>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((socket, sys::HOST_CID)) => {
                let machine = machine.clone();
                tokio::spawn(async move {
                    if let Err(error) = connection(socket, &machine).await {
                        tracing::debug!("connection from the host: {error:#}");
                    }
                    drop(place);
                });
            }
            Ok((_, cid)) => {
                tracing::warn!(cid, "a vsock connection that is not the host's was dropped")
            }
            Err(error) => {
                tracing::warn!(%error, "accept on vsock");
                // Out of descriptors or memory: the listener stays readable, so without a pause this would spin.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(socket: OwnedFd, machine: &Arc<Machine>) -> Result<()> {
    let mut host = boot_line::stream(socket)?;
    let hello: Hello = timeout(HELLO_TIME, frame::receive(&mut host))
        .await
        .context("no hello in time")?
        .context("read hello")?
        .context("the host left without a hello")?;
    match service(&mut host, hello, machine).await {
        Ok(()) => Ok(()),
        Err(refusal) => {
            let reason = format!("{refusal:#}");
            frame::send(&mut host, &HelloReply::Refused { reason }).await?;
            host.shutdown().await?;
            Err(refusal)
        }
    }
}

/// Serves the connection; an error is one from before the welcome, and is told to the host.
async fn service(host: &mut UnixStream, hello: Hello, machine: &Arc<Machine>) -> Result<()> {
    if hello.version != VERSION {
        bail!(
            "the machine's image speaks version {VERSION} of the agent's language, the host version {}: restart the machine with the host's image",
            hello.version
        );
    }
    let settings = machine
        .settings
        .subscribe()
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|settings| settings.clone())
        .context("the machine is going down")?;
    if !same_secret(hello.secret.as_bytes(), settings.secret.as_bytes()) {
        bail!("wrong secret");
    }
    match hello.service {
        Service::Docker => {
            let engine = UnixStream::connect(engine::SOCKET)
                .await
                .context("the engine does not run yet")?;
            welcome(host).await?;
            splice(host, engine).await;
        }
        Service::Forward { target } => {
            let container = timeout(FORWARD_TIME, TcpStream::connect(target))
                .await
                .with_context(|| format!("{target} did not answer in time"))?
                .with_context(|| format!("connect to {target}"))?;
            container.set_nodelay(true).context("set TCP_NODELAY")?;
            welcome(host).await?;
            splice(host, container).await;
        }
        Service::Control => {
            welcome(host).await?;
            log_end("control", control::serve(host, machine).await);
        }
        Service::HostServices => {
            welcome(host).await?;
            machine.host.serve(host).await;
        }
        Service::Shell {
            arguments,
            terminal,
        } => {
            let shell = shell::Shell::start(&machine.children, &arguments, terminal)?;
            welcome(host).await?;
            log_end("shell", shell.serve(host).await);
        }
        Service::Logs { follow } => {
            welcome(host).await?;
            log_end(
                "logs",
                machine.log.show(host, follow).await.map_err(Into::into),
            );
        }
    }
    Ok(())
}

async fn welcome(host: &mut UnixStream) -> Result<()> {
    frame::send(host, &HelloReply::Welcome)
        .await
        .context("welcome the host")
}

/// Copies both ways until both sides are done; one side's end is passed on as a half-close.
async fn splice(
    host: &mut UnixStream,
    mut inner: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
) {
    let copied = copy_bidirectional_with_sizes(host, &mut inner, SPLICE_BYTES, SPLICE_BYTES).await;
    if let Err(error) = copied {
        tracing::debug!(%error, "a spliced stream broke");
    }
}

fn log_end(service: &'static str, end: Result<()>) {
    if let Err(error) = end {
        tracing::debug!("{service} ended: {error:#}");
    }
}

/// Compares in a time that depends only on the lengths.
fn same_secret(given: &[u8], expected: &[u8]) -> bool {
    let difference = given
        .iter()
        .zip(expected)
        .fold(0, |difference, (given, expected)| {
            difference | (given ^ expected)
        });
    given.len() == expected.len() && !expected.is_empty() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_is_the_same() {
        assert!(same_secret(b"secret", b"secret"));
        assert!(!same_secret(b"secreT", b"secret"));
        assert!(!same_secret(b"secre", b"secret"));
        assert!(!same_secret(b"", b"secret"));
    }

    #[test]
    fn no_secret_opens_nothing() {
        assert!(!same_secret(b"", b""));
    }
}
