//! One shim, as the engine holds it.

use std::{io, path::PathBuf};

use async_trait::async_trait;
use engine::{
    id::ExecId,
    ports::{
        ByteStream,
        containers::{AttachRequest, ExecRequest, Shim, ShimEvent},
    },
};
use errdefs::{Error, ErrorKind, Result};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::Mutex,
};

use super::connect;
use crate::protocol::{self, Event, Reply, Request};

#[derive(Debug)]
pub(super) struct ShimClient {
    folder: PathBuf,
    control: Mutex<Control>,
    events: Mutex<UnixStream>,
}

/// The connection for requests.
#[derive(Debug)]
struct Control {
    stream: UnixStream,
    start: Start,
}

/// How the start of the program went, which the shim says without being asked when it was told to at launch.
#[derive(Debug)]
enum Start {
    /// It is asked for like anything else.
    Asked,
    /// The next message says it.
    Coming,
    /// Read by somebody who wanted the message after it.
    Known(Result<Reply>),
}

impl Control {
    async fn ask(&mut self, request: &Request) -> Result<Reply> {
        if matches!(self.start, Start::Coming) {
            self.start = Start::Known(reply(&mut self.stream).await);
        }
        exchange(&mut self.stream, request).await
    }

    async fn start(&mut self) -> Result<Reply> {
        match std::mem::replace(&mut self.start, Start::Asked) {
            Start::Asked => exchange(&mut self.stream, &Request::Start).await,
            Start::Coming => reply(&mut self.stream).await,
            Start::Known(reply) => reply,
        }
    }
}

impl ShimClient {
    pub(super) fn new(
        folder: PathBuf,
        control: UnixStream,
        events: UnixStream,
        run_at_once: bool,
    ) -> Self {
        let start = if run_at_once {
            Start::Coming
        } else {
            Start::Asked
        };
        let stream = control;
        Self {
            folder,
            control: Mutex::new(Control { stream, start }),
            events: Mutex::new(events),
        }
    }

    async fn ask(&self, request: &Request) -> Result<Reply> {
        self.control.lock().await.ask(request).await
    }

    async fn done(&self, request: &Request) -> Result<()> {
        match self.ask(request).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// A connection of its own, which becomes a stream.
    async fn open(&self, request: &Request) -> Result<(UnixStream, Reply)> {
        let mut stream = connect(&self.folder).await.map_err(|error| gone(&error))?;
        let reply = exchange(&mut stream, request).await?;
        Ok((stream, reply))
    }
}

async fn exchange(stream: &mut UnixStream, request: &Request) -> Result<Reply> {
    send(stream, request).await.map_err(|error| gone(&error))?;
    reply(stream).await
}

async fn reply(stream: &mut UnixStream) -> Result<Reply> {
    match receive(stream).await {
        Ok(Reply::Failed { kind, text }) => Err(Error::new(kind.into(), text)),
        Ok(reply) => Ok(reply),
        Err(error) => Err(gone(&error)),
    }
}

fn gone(error: &io::Error) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("the container's shim is gone: {error}"),
    )
}

pub(super) fn unexpected(reply: &Reply) -> Error {
    Error::new(
        ErrorKind::System,
        format!("the shim's answer makes no sense: {reply:?}"),
    )
}

pub(super) async fn send(stream: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    stream.write_all(&protocol::encode(message)?).await
}

pub(super) async fn receive<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<T> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    let mut bytes = vec![0; protocol::length(header)?];
    stream.read_exact(&mut bytes).await?;
    Ok(serde_json::from_slice(&bytes)?)
}

#[async_trait]
impl Shim for ShimClient {
    async fn attach(&self, request: AttachRequest) -> Result<ByteStream> {
        let (stream, _) = self.open(&Request::Attach(request)).await?;
        Ok(Box::new(stream))
    }

    async fn start(&self) -> Result<u32> {
        match self.control.lock().await.start().await? {
            Reply::Pid(pid) => Ok(pid),
            other => Err(unexpected(&other)),
        }
    }

    async fn next_event(&self) -> ShimEvent {
        let mut events = self.events.lock().await;
        match receive::<Reply>(&mut events).await {
            Ok(Reply::Event(Event::Exited(exit))) => ShimEvent::Exited(exit),
            Ok(Reply::Event(Event::ExecExited(id, exit))) => match id.parse::<ExecId>() {
                Ok(id) => ShimEvent::ExecExited(id, exit),
                Err(_) => ShimEvent::Lost,
            },
            _ => ShimEvent::Lost,
        }
    }

    async fn signal(&self, signal: i32, all: bool) -> Result<()> {
        self.done(&Request::Signal {
            exec: None,
            signal,
            all,
        })
        .await
    }

    async fn pause(&self) -> Result<()> {
        self.done(&Request::Freeze(true)).await
    }

    async fn resume(&self) -> Result<()> {
        self.done(&Request::Freeze(false)).await
    }

    async fn exec(&self, request: ExecRequest) -> Result<(u32, Option<ByteStream>)> {
        let streams = request.attach;
        let ask = Request::Exec {
            id: request.id.to_string(),
            process: Box::new(request.process),
            streams,
        };
        let (stream, reply) = self.open(&ask).await?;
        let Reply::Pid(pid) = reply else {
            return Err(unexpected(&reply));
        };
        let stream: Option<ByteStream> = if streams.any() {
            Some(Box::new(stream))
        } else {
            None
        };
        Ok((pid, stream))
    }

    async fn exec_signal(&self, exec: &ExecId, signal: i32) -> Result<()> {
        self.done(&Request::Signal {
            exec: Some(exec.to_string()),
            signal,
            all: false,
        })
        .await
    }

    async fn resize(&self, exec: Option<&ExecId>, rows: u16, columns: u16) -> Result<()> {
        self.done(&Request::Resize {
            exec: exec.map(ToString::to_string),
            rows,
            columns,
        })
        .await
    }

    async fn limit(&self, limits: oci_spec::runtime::LinuxResources) -> Result<()> {
        self.done(&Request::Limit(Box::new(limits))).await
    }

    async fn pids(&self) -> Result<Vec<u32>> {
        match self.ask(&Request::Pids).await? {
            Reply::Pids(pids) => Ok(pids),
            other => Err(unexpected(&other)),
        }
    }

    async fn delete(&self) -> Result<()> {
        match self.done(&Request::Delete).await {
            // Gone: so is its container.
            Err(error) if errdefs::Classify::kind(&error) == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}
