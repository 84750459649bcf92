//! The little of the Docker API that init itself uses: whether the engine answers.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use http_body_util::Empty;
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustix::fs::inotify;
use tokio::{io::Interest, net::UnixStream};

/// Waits until `GET /_ping` is answered. Nothing is polled: what happens in the socket's folder says when to try again.
pub(super) async fn wait_until_it_answers(socket: &str) -> Result<()> {
    let folder = Path::new(socket)
        .parent()
        .context("the socket has no folder")?;
    let watcher = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)
        .context("make an inotify watcher")?;
    // A socket is made, then its mode is set or it is moved to its name: after the last of these it is listened on.
    let changes =
        inotify::WatchFlags::CREATE | inotify::WatchFlags::ATTRIB | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&watcher, folder, changes).context("watch the socket's folder")?;
    let watcher = super::sys::watch_readable(watcher).context("watch the watcher")?;
    loop {
        if ping(socket).await.is_ok() {
            return Ok(());
        }
        watcher
            .async_io(Interest::READABLE, |watcher| {
                let mut events = [0; 4096];
                Ok(rustix::io::read(watcher, &mut events)?)
            })
            .await
            .context("read the watcher")?;
    }
}

async fn ping(socket: &str) -> Result<()> {
    let stream = UnixStream::connect(socket)
        .await
        .context("connect to the engine")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .uri("/_ping")
        .header("Host", "docker")
        .body(Empty::<Bytes>::new())?;
    let status = sender.send_request(request).await?.status();
    connection.abort();
    ensure!(status.is_success(), "the engine answered {status}");
    Ok(())
}
