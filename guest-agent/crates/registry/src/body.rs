//! Bodies, bounded in bytes and in silence.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{Method, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Instant, Sleep, sleep, timeout},
};

use crate::failure::{Failure, UnexpectedStatus, shown};

/// Most that is read of a refusal's text. As containerd does.
const MAX_REFUSAL_BYTES: usize = 64_000;

/// The whole body, of at most `limit_bytes`.
pub(crate) async fn read(
    url: &Uri,
    body: Incoming,
    limit_bytes: usize,
    idle: Duration,
) -> Result<Vec<u8>, Failure> {
    let too_large = || Failure::TooLarge {
        url: shown(url),
        limit_bytes,
    };
    if body.size_hint().lower() > limit_bytes as u64 {
        return Err(too_large());
    }
    let mut body = body;
    let mut bytes = Vec::new();
    while let Some(frame) = next(&mut body, idle).await.map_err(Failure::Body)? {
        if bytes.len() + frame.len() > limit_bytes {
            return Err(too_large());
        }
        bytes.extend_from_slice(&frame);
    }
    Ok(bytes)
}

/// An answer that is no success, with as much of its text as may be.
pub(crate) async fn unexpected(
    method: &Method,
    url: &Uri,
    response: Response<Incoming>,
    idle: Duration,
) -> Failure {
    let status = response.status();
    let mut incoming = response.into_body();
    let mut body = Vec::new();
    // The status is what counts: a text that breaks off is as good as none.
    while let Ok(Some(frame)) = next(&mut incoming, idle).await {
        let room = MAX_REFUSAL_BYTES - body.len();
        body.extend_from_slice(&frame[..frame.len().min(room)]);
        if body.len() == MAX_REFUSAL_BYTES {
            break;
        }
    }
    Failure::Status(UnexpectedStatus {
        method: method.clone(),
        url: shown(url),
        status,
        body,
    })
}

async fn next(body: &mut Incoming, idle: Duration) -> io::Result<Option<Bytes>> {
    loop {
        let frame = timeout(idle, body.frame())
            .await
            .map_err(|_| silent())?
            .transpose()
            .map_err(broken)?;
        match frame.map(hyper::body::Frame::into_data) {
            None => return Ok(None),
            Some(Ok(data)) => return Ok(Some(data)),
            // Trailers are of no interest.
            Some(Err(_)) => {}
        }
    }
}

fn silent() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "net/http: timeout reading response body",
    )
}

fn broken(error: hyper::Error) -> io::Error {
    let cause =
        std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<io::Error>());
    let ended = cause.is_some_and(|cause| cause.kind() == io::ErrorKind::UnexpectedEof);
    if error.is_incomplete_message() || ended {
        return cut_off();
    }
    io::Error::other(errdefs::chain(&error))
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected EOF")
}

/// A blob as it comes: exactly so many bytes, or an error.
#[derive(Debug)]
pub(crate) struct BlobReader {
    body: Incoming,
    chunk: Bytes,
    left: u64,
    idle: Duration,
    /// Set while somebody waits: that nobody reads is no silence of the registry.
    alarm: Pin<Box<Sleep>>,
    waiting: bool,
}

impl BlobReader {
    pub(crate) fn new(body: Incoming, bytes: u64, idle: Duration) -> Self {
        Self {
            body,
            chunk: Bytes::new(),
            left: bytes,
            idle,
            alarm: Box::pin(sleep(idle)),
            waiting: false,
        }
    }

    /// The next bytes of the body; `None`: its end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(broken(error))),
                Poll::Ready(Some(Ok(frame))) => {
                    self.waiting = false;
                    match frame.into_data() {
                        Ok(data) if !data.is_empty() => return Poll::Ready(Ok(Some(data))),
                        _ => {}
                    }
                }
                Poll::Pending => {
                    if !self.waiting {
                        self.alarm.as_mut().reset(Instant::now() + self.idle);
                        self.waiting = true;
                    }
                    ready!(self.alarm.as_mut().poll(cx));
                    return Poll::Ready(Err(silent()));
                }
            }
        }
    }
}

impl AsyncRead for BlobReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.chunk.is_empty() {
            match ready!(this.poll_chunk(cx))? {
                None if this.left == 0 => return Poll::Ready(Ok(())),
                None => return Poll::Ready(Err(cut_off())),
                Some(chunk) => {
                    let length = chunk.len() as u64;
                    this.left = this.left.checked_sub(length).ok_or_else(|| {
                        io::Error::new(
                            io::ErrorKind::InvalidData,
                            "the registry sent more bytes than the descriptor says",
                        )
                    })?;
                    this.chunk = chunk;
                }
            }
        }
        let length = this.chunk.len().min(buffer.remaining());
        buffer.put_slice(&this.chunk[..length]);
        this.chunk.advance(length);
        Poll::Ready(Ok(()))
    }
}
