//! The little of the Docker API that init itself uses: whether the engine answers.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Method, Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustix::fs::inotify;
use tokio::{io::Interest, net::UnixStream};

/// Longest answer that is read.
const MAX_ANSWER_BYTES: usize = 16 << 20;

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
        if ask(socket, Method::GET, "/_ping").await.is_ok() {
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

async fn ask(socket: &str, method: Method, path: &str) -> Result<Bytes> {
    let stream = UnixStream::connect(socket)
        .await
        .context("connect to the engine")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("Host", "docker")
        .body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await
        .map_err(anyhow::Error::from_boxed)?
        .to_bytes();
    connection.abort();
    ensure!(
        status.is_success() || status.as_u16() == 304,
        "the engine answered {status}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(body)
}
