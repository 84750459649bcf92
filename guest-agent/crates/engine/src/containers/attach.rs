//! Connects clients to a container's streams.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
};

use errdefs::{Error, ErrorKind, Result};

use super::{container::Container, state::Phase};
use crate::{
    Engine,
    ports::{ByteStream, containers::AttachRequest},
};

/// What a client wants. Docker API: POST /containers/{id}/attach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Which streams.
    pub streams: AttachRequest,
}

/// A client's place at a process: the stream comes when the process is there, which may be after its next start.
pub struct Attachment {
    /// It has a terminal: the stream is raw, without frames.
    pub tty: bool,
    /// The stream. None: there will be none any more. An error is told in the stream's place.
    pub stream: Pin<Box<dyn Future<Output = Result<Option<ByteStream>>> + Send>>,
    /// Ends once the end of the process is known to whoever asks; the client is let go after that.
    pub known: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// To be called when the client left by its keys: told as an event.
    pub detached: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Attachment(tty: {})", self.tty)
    }
}

impl Engine {
    /// Attaches to a container, running or not yet. To a running one the client is attached when this returns: it misses nothing from then on.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` while it is paused or restarting.
    pub async fn attach_container(
        self: &Arc<Self>,
        reference: &str,
        options: AttachOptions,
    ) -> Result<Attachment> {
        let container = self.attachable(reference)?;
        let record = container.record();
        let streams = AttachRequest {
            // A container without standard input has nothing to feed.
            stdin: options.streams.stdin && record.config.open_stdin,
            ..options.streams
        };
        let stream: Pin<Box<dyn Future<Output = _> + Send>> = match container.shim_or_wait(streams)
        {
            Ok(shim) => {
                let stream = shim.attach(streams).await;
                let counted = stream.map(|stream| Some(container.clients.count(stream)));
                Box::pin(ready(counted))
            }
            Err(arrival) => Box::pin(async move { Ok(arrival.await.ok()) }),
        };
        self.tell_container(&container, "attach", &[]);
        let engine = Arc::clone(self);
        Ok(Attachment {
            tty: record.tty(),
            stream,
            known: Box::pin(ready(())),
            detached: Box::new(move || engine.tell_container(&container, "detach", &[])),
        })
    }

    /// Whether [`Engine::attach_container`] would attach.
    ///
    /// # Errors
    /// As it has them.
    pub fn may_attach(&self, reference: &str) -> Result<()> {
        self.attachable(reference).map(|_| ())
    }

    fn attachable(&self, reference: &str) -> Result<Arc<Container>> {
        let container = self.containers.find(reference)?;
        let refuse = |text: String| Err(Error::new(ErrorKind::Conflict, text));
        match container.state().phase {
            Phase::Paused => refuse(format!(
                "container {reference} is paused, unpause the container before attach"
            )),
            Phase::Restarting => refuse(format!(
                "container {reference} is restarting, wait until the container is running"
            )),
            _ => Ok(container),
        }
    }

    /// Sets the size of a container's terminal. Docker API: POST /containers/{id}/resize.
    ///
    /// # Errors
    /// `Conflict` when it does not run.
    pub async fn resize_container(&self, reference: &str, rows: u16, columns: u16) -> Result<()> {
        let container = self.containers.find(reference)?;
        let shim = container
            .shim()
            .filter(|_| container.state().is_running())
            .ok_or_else(|| super::signals::not_running(&container))?;
        // Without a terminal there is nothing to do, and that is fine.
        if container.record().tty() {
            shim.resize(None, rows, columns).await?;
        }
        let size = [("height", rows.to_string()), ("width", columns.to_string())];
        self.tell_container(&container, "resize", &size);
        Ok(())
    }
}
