//! Byte streams between a client that took over its connection and the engine.

use std::{io, pin::pin, time::Duration};

use axum::body::Body;
use engine::{containers::Attachment, ports::ByteStream};
use futures_util::future::{Either, select};
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{ext::ReasonPhrase, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
    copy_buf, split,
};

use crate::{frames, head::Head, keys::Watch, version::ApiVersion};

/// Per direction; large enough that a fast stream is not bound by system calls, and all that a client that never reads can hold.
pub(crate) const BUFFER_BYTES: usize = 64 << 10;

/// How long a client that has all its output may take to leave.
const LEAVES_WITHIN: Duration = Duration::from_secs(5);

/// From this version on, framed output has a type of its own.
const MULTIPLEXED_TYPE_SINCE: ApiVersion = ApiVersion::v1(42);

/// The type of an attached stream: frames unless it is a terminal, told apart since 1.42.
pub(crate) fn content_type(version: ApiVersion, tty: bool) -> &'static str {
    if tty || version < MULTIPLEXED_TYPE_SINCE {
        "application/vnd.docker.raw-stream"
    } else {
        "application/vnd.docker.multiplexed-stream"
    }
}

/// How the engine's output reaches the client. An exec's start decides that, whatever its process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// As it comes: a terminal's bytes, or frames.
    AsItComes,
    /// A terminal's bytes in frames of standard output.
    Framed,
    /// Frames without their headers.
    Bare,
}

impl Output {
    /// Whether the client gets no frames; `tty`: what the engine's output is.
    pub(crate) fn is_bare(self, tty: bool) -> bool {
        match self {
            Self::AsItComes => tty,
            Self::Framed => false,
            Self::Bare => true,
        }
    }
}

/// Whether the client asks to take its connection over.
pub(crate) fn wants_upgrade<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(header::UPGRADE)
}

/// The answer that gives the connection to the client; from then on it is spliced with the attachment's stream, in a task of its own. An
/// error of the stream is told in its place. `keys` leave the process running.
pub(crate) fn take_over(
    upgrade: OnUpgrade,
    content_type: &'static str,
    attachment: Attachment,
    keys: Option<Vec<u8>>,
    output: Output,
    head: Head,
) -> Response<Body> {
    tokio::spawn(async move {
        let ended = match upgrade.await {
            Ok(client) => serve(TokioIo::new(client), attachment, keys, output, head).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an attached client left");
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    // Docker's own word for it, which some clients compare.
    response
        .extensions_mut()
        .insert(ReasonPhrase::from_static(b"UPGRADED"));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    response
}

async fn serve<C>(
    mut client: C,
    attachment: Attachment,
    keys: Option<Vec<u8>>,
    output: Output,
    head: Head,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    match attachment.stream.await {
        Ok(Some(engine)) => {
            let leave = keys.map(|keys| (Watch::new(keys), attachment.detached));
            splice(client, engine, leave, (output, head), attachment.known).await
        }
        Ok(None) => client.shutdown().await,
        Err(error) => {
            let bare = output.is_bare(attachment.tty);
            head.taken().await;
            client.write_all(&told(&error, bare)).await?;
            client.shutdown().await
        }
    }
}

/// An error in a stream's place: Docker writes it as output of the process.
pub(crate) fn told(error: &errdefs::Error, tty: bool) -> Vec<u8> {
    let text = format!("{}\r\n", error.message());
    let header = frames::encode_header(frames::Stream::Stdout, text.len()).filter(|_| !tty);
    [
        header.as_ref().map_or(&[][..], |header| header),
        text.as_bytes(),
    ]
    .concat()
}

/// Copies both ways until the engine's output has ended, then waits until its end is `known`. The end of the client's input is handed on
/// as the end of the engine's input only: such a client still gets all output, as it does when a process does not take its input.
///
/// # Errors
/// When the output cannot be read, or the client does not take it.
pub(crate) async fn splice<C>(
    client: C,
    engine: ByteStream,
    leave: Option<(Watch, Box<dyn FnOnce() + Send>)>,
    (output, head): (Output, Head),
    known: impl Future<Output = ()>,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite,
{
    let (from_client, mut to_client) = split(client);
    let (from_engine, mut to_engine) = split(engine);
    let mut from_client = BufReader::with_capacity(BUFFER_BYTES, from_client);
    let ended = {
        let output = pin!(async {
            let mut from_engine = BufReader::with_capacity(BUFFER_BYTES, from_engine);
            from_engine.fill_buf().await?;
            head.taken().await;
            match output {
                Output::AsItComes => drop(copy_buf(&mut from_engine, &mut to_client).await?),
                Output::Framed => copy_framed(&mut from_engine, &mut to_client).await?,
                Output::Bare => copy_bare(&mut from_engine, &mut to_client).await?,
            }
            known.await;
            to_client.shutdown().await
        });
        // True: the client typed the keys that leave.
        let input = pin!(async {
            match leave {
                None => drop(copy_buf(&mut from_client, &mut to_engine).await?),
                Some((mut watch, detached)) => {
                    if copy_watched(&mut from_client, &mut to_engine, &mut watch).await? {
                        detached();
                        return Ok(true);
                    }
                }
            }
            to_engine.shutdown().await?;
            Ok::<_, io::Error>(false)
        });
        match select(output, input).await {
            Either::Left((ended, _)) => ended,
            Either::Right((Ok(true), _)) => Ok(()),
            Either::Right((input, output)) => {
                if let Err(error) = input {
                    tracing::debug!(%error, "the input of an attached stream broke");
                }
                output.await
            }
        }
    };
    // The client has all there is: its place at the process is free.
    drop(to_engine);
    // A connection that is closed with input unread is reset, and the client would lose the end of its output.
    let _ = tokio::time::timeout(LEAVES_WITHIN, drain(&mut from_client)).await;
    ended
}

async fn copy_framed(
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    loop {
        let bytes = from.fill_buf().await?;
        let count = bytes.len();
        if count == 0 {
            return Ok(());
        }
        let header = frames::encode_header(frames::Stream::Stdout, count)
            .ok_or(io::ErrorKind::InvalidData)?;
        to.write_all(&[&header, bytes].concat()).await?;
        from.consume(count);
    }
}

async fn copy_bare(
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    while !from.fill_buf().await?.is_empty() {
        let mut header = [0; frames::HEADER_BYTES];
        from.read_exact(&mut header).await?;
        let (_, length) = frames::decode_header(header).ok_or(io::ErrorKind::InvalidData)?;
        copy_buf(&mut from.take(length.into()), to).await?;
    }
    Ok(())
}

/// Takes what still comes, until the client leaves.
async fn drain(from: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> io::Result<()> {
    loop {
        let count = from.fill_buf().await?.len();
        if count == 0 {
            return Ok(());
        }
        from.consume(count);
    }
}

async fn copy_watched(
    from: &mut (impl tokio::io::AsyncBufRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    watch: &mut Watch,
) -> io::Result<bool> {
    loop {
        let typed = from.fill_buf().await?;
        if typed.is_empty() {
            return Ok(false);
        }
        let count = typed.len();
        let (passed, leaves) = watch.pass(typed);
        from.consume(count);
        to.write_all(&passed).await?;
        to.flush().await?;
        if leaves {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_client_that_ends_its_input_still_gets_all_output() {
        let (mut client, server_side) = tokio::io::duplex(16);
        let (engine_side, mut process) = tokio::io::duplex(16);
        let engine_side: ByteStream = Box::new(engine_side);
        let copying = tokio::spawn(splice(
            server_side,
            engine_side,
            None,
            (Output::AsItComes, Head::default()),
            std::future::ready(()),
        ));
        client.write_all(b"in").await.unwrap();
        client.shutdown().await.unwrap();
        let mut input = String::new();
        process.read_to_string(&mut input).await.unwrap();
        assert_eq!(input, "in");
        let writing = tokio::spawn(async move {
            process.write_all(&[7; 100_000]).await.unwrap();
            process.shutdown().await.unwrap();
        });
        let mut output = Vec::new();
        client.read_to_end(&mut output).await.unwrap();
        writing.await.unwrap();
        assert_eq!(output.len(), 100_000);
        copying.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn output_is_framed_or_bared_as_the_client_wants_it() {
        let (mut framed, mut bare) = (Vec::new(), Vec::new());
        copy_framed(&mut &b"hi"[..], &mut framed).await.unwrap();
        assert_eq!(framed, [&[1, 0, 0, 0, 0, 0, 0, 2][..], b"hi"].concat());
        let frames = [&framed[..], &[2, 0, 0, 0, 0, 0, 0, 1], b"!"].concat();
        copy_bare(&mut &frames[..], &mut bare).await.unwrap();
        assert_eq!(bare, b"hi!");
        assert!(copy_bare(&mut &frames[..10], &mut bare).await.is_ok());
        assert!(copy_bare(&mut &frames[..5], &mut bare).await.is_err());
    }

    #[tokio::test]
    async fn the_end_of_output_ends_a_client_that_keeps_its_input_open() {
        let (mut client, server_side) = tokio::io::duplex(16);
        let (engine_side, process) = tokio::io::duplex(16);
        drop(process);
        splice(
            server_side,
            Box::new(engine_side),
            None,
            (Output::AsItComes, Head::default()),
            std::future::ready(()),
        )
        .await
        .unwrap();
        let mut output = Vec::new();
        client.read_to_end(&mut output).await.unwrap();
        assert!(output.is_empty());
    }

    #[tokio::test]
    async fn a_taken_over_connection_carries_both_directions() {
        let (client_side, server_side) = tokio::io::duplex(1024);
        let (engine_side, mut process) = tokio::io::duplex(1024);
        let engine_side = std::sync::Mutex::new(Some(engine_side));
        let service = hyper::service::service_fn(|mut request: Request<hyper::body::Incoming>| {
            assert!(wants_upgrade(&request));
            let stream: ByteStream = Box::new(engine_side.lock().unwrap().take().unwrap());
            let attachment = Attachment {
                tty: false,
                stream: Box::pin(async move { Ok(Some(stream)) }),
                known: Box::pin(std::future::ready(())),
                detached: Box::new(|| ()),
            };
            let response = take_over(
                hyper::upgrade::on(&mut request),
                content_type(crate::version::MAX, false),
                attachment,
                None,
                Output::AsItComes,
                Head::default(),
            );
            async move { Ok::<_, std::convert::Infallible>(response) }
        });
        let serving = hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .serve_connection(TokioIo::new(server_side), service)
            .with_upgrades();
        let talking = async move {
            let mut client = client_side;
            client
                .write_all(
                    b"POST /x HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhi",
                )
                .await
                .unwrap();
            client.shutdown().await.unwrap();
            let mut input = String::new();
            process.read_to_string(&mut input).await.unwrap();
            assert_eq!(input, "hi");
            process.write_all(b"out").await.unwrap();
            drop(process);
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let (served, answer) = futures_util::future::join(serving, talking).await;
        served.unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{answer}");
        assert!(
            answer.contains("content-type: application/vnd.docker.multiplexed-stream\r\n"),
            "{answer}"
        );
        assert!(answer.ends_with("\r\n\r\nout"), "{answer}");
    }

    #[test]
    fn the_framed_type_is_told_since_1_42() {
        let old = ApiVersion::v1(41);
        assert!(content_type(old, false).ends_with("raw-stream"));
        assert!(content_type(MULTIPLEXED_TYPE_SINCE, false).ends_with("multiplexed-stream"));
        assert!(content_type(MULTIPLEXED_TYPE_SINCE, true).ends_with("raw-stream"));
    }
}
