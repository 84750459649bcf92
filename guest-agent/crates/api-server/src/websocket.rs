//! An attached process over a websocket: output in messages, input from messages. Spec: RFC 6455.
//!
//! A websocket keeps messages apart, so output has no frames of Docker's own: both streams come as they are.

use axum::body::Body;
use bytes::Bytes;
use engine::{
    containers::Attachment,
    ports::{BoxStream, ByteStream, containers::LogEntry},
};
use errdefs::{Error, ErrorKind, Result};
use futures_util::{
    SinkExt, StreamExt,
    future::{Either, select},
    stream::{SplitSink, SplitStream},
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

use crate::{frames, keys::Watch, splice::BUFFER_BYTES};

/// Longest message of a client; more is cut off.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// The only version there is.
const VERSION: &str = "13";

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What a client gets.
pub(crate) struct Plan {
    pub(crate) attachment: Attachment,
    /// Stay for what comes.
    pub(crate) stream: bool,
    /// What was said before.
    pub(crate) before: Option<BoxStream<Result<LogEntry>>>,
    /// In binary messages, not in text.
    pub(crate) binary: bool,
    /// Keys that leave the process running.
    pub(crate) keys: Option<Vec<u8>>,
}

/// Checks that a client speaks the protocol; gives the answer to its key.
///
/// # Errors
/// `InvalidParameter` when it does not.
pub(crate) fn accept(headers: &HeaderMap) -> Result<String> {
    let has = |name: header::HeaderName, word: &str| {
        let values = headers.get_all(name).into_iter();
        values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    let refuse = |text: &str| Err(Error::new(ErrorKind::InvalidParameter, text));
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        return refuse("not websocket protocol");
    }
    if !has(header::SEC_WEBSOCKET_VERSION, VERSION) {
        return refuse("missing or bad WebSocket Version");
    }
    match headers.get(header::SEC_WEBSOCKET_KEY) {
        Some(key) if !key.is_empty() => Ok(derive_accept_key(key.as_bytes())),
        _ => refuse("mismatch challenge/response"),
    }
}

/// Answers with the websocket and serves it in a task of its own.
///
/// # Errors
/// `InvalidParameter` when the connection cannot be taken over.
pub(crate) fn take_over(
    upgrade: Option<OnUpgrade>,
    accept: &str,
    plan: Plan,
) -> Result<Response<Body>> {
    let invalid = |text: &str| Error::new(ErrorKind::InvalidParameter, text);
    let upgrade = upgrade.ok_or_else(|| invalid("not websocket protocol"))?;
    let accept =
        HeaderValue::from_str(accept).map_err(|_| invalid("mismatch challenge/response"))?;
    tokio::spawn(async move {
        match upgrade.await {
            Ok(client) => {
                let limits = WebSocketConfig::default()
                    .max_message_size(Some(MAX_MESSAGE_BYTES))
                    .max_frame_size(Some(MAX_MESSAGE_BYTES));
                let client = TokioIo::new(client);
                serve(
                    WebSocketStream::from_raw_socket(client, Role::Server, Some(limits)).await,
                    plan,
                )
                .await;
            }
            Err(error) => tracing::debug!(%error, "take a websocket over"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

async fn serve(socket: Socket, plan: Plan) {
    let (mut sink, input) = socket.split();
    let Plan {
        attachment,
        stream,
        before,
        binary,
        keys,
    } = plan;
    if let Some(mut before) = before {
        while let Some(Ok(entry)) = before.next().await {
            if sink.send(message(entry.line.into(), binary)).await.is_err() {
                return;
            }
        }
    }
    if stream {
        let framed = !attachment.tty;
        match attachment.stream.await {
            Ok(Some(engine)) => {
                let (from_engine, to_engine) = tokio::io::split(engine);
                let output = write_output(&mut sink, from_engine, framed, binary);
                let input = read_input(input, to_engine, keys);
                futures_util::pin_mut!(output, input);
                // The end of the client is the end of its place, as is the end of the process.
                if let Either::Right((true, _)) = select(output, input).await {
                    (attachment.detached)();
                }
            }
            Ok(None) => {}
            Err(error) => {
                let text = format!("Error attaching: {}\n", error.message());
                let _ = sink.send(message(text.into(), binary)).await;
            }
        }
    }
    // It may be gone already.
    let _ = sink.close().await;
}

fn message(bytes: Bytes, binary: bool) -> Message {
    if binary {
        Message::Binary(bytes)
    } else {
        Message::text(String::from_utf8_lossy(&bytes).into_owned())
    }
}

async fn write_output(
    sink: &mut SplitSink<Socket, Message>,
    mut from: tokio::io::ReadHalf<ByteStream>,
    framed: bool,
    binary: bool,
) {
    loop {
        match next_output(&mut from, framed).await {
            Ok(Some(bytes)) => {
                if sink.send(message(bytes, binary)).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => return tracing::debug!(%error, "the output of an attached process broke"),
        }
    }
}

/// The next piece of output without Docker's frame around it; none: its end.
async fn next_output(
    from: &mut (impl AsyncRead + Unpin),
    framed: bool,
) -> std::io::Result<Option<Bytes>> {
    if !framed {
        let mut buffer = vec![0; BUFFER_BYTES];
        let count = from.read(&mut buffer).await?;
        buffer.truncate(count);
        return Ok((count > 0).then(|| buffer.into()));
    }
    let mut header = [0; frames::HEADER_BYTES];
    match from.read_exact(&mut header).await {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    let (_, length) = frames::decode_header(header)
        .ok_or_else(|| std::io::Error::other("a frame of no known stream"))?;
    let mut bytes = Vec::new();
    from.take(u64::from(length)).read_to_end(&mut bytes).await?;
    Ok(Some(bytes.into()))
}

/// Hands on what the client says, until it leaves; true: by its keys.
async fn read_input(
    mut from: SplitStream<Socket>,
    mut to: impl AsyncWrite + Unpin,
    keys: Option<Vec<u8>>,
) -> bool {
    let mut watch = keys.map(Watch::new);
    while let Some(Ok(message)) = from.next().await {
        if !(message.is_binary() || message.is_text()) {
            continue;
        }
        let bytes = message.into_data();
        let (passed, leaves) = match &mut watch {
            Some(watch) => watch.pass(&bytes),
            None => (bytes.to_vec(), false),
        };
        // A process that takes no input does not end the place of who watches its output.
        if let Err(error) = async {
            to.write_all(&passed).await?;
            to.flush().await
        }
        .await
        {
            tracing::debug!(%error, "the input of an attached process broke");
        }
        if leaves {
            return true;
        }
    }
    let _ = to.shutdown().await;
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: header::HeaderName = name.parse().unwrap();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_handshake_is_answered_as_the_standard_says() {
        let good = [
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert_eq!(
            accept(&headers(&good)).unwrap(),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        for missing in 0..good.len() {
            let mut pairs = good.to_vec();
            pairs.remove(missing);
            assert!(accept(&headers(&pairs)).is_err(), "{pairs:?}");
        }
    }

    #[tokio::test]
    async fn output_comes_without_frames() {
        let mut bytes = &[
            &[1, 0, 0, 0, 0, 0, 0, 2][..],
            b"ab",
            &[2, 0, 0, 0, 0, 0, 0, 1],
            b"c",
        ]
        .concat()[..];
        assert_eq!(next_output(&mut bytes, true).await.unwrap().unwrap(), "ab");
        assert_eq!(next_output(&mut bytes, true).await.unwrap().unwrap(), "c");
        assert_eq!(next_output(&mut bytes, true).await.unwrap(), None);
        assert!(next_output(&mut &[9; 8][..], true).await.is_err());
        assert_eq!(
            next_output(&mut &b"raw"[..], false).await.unwrap().unwrap(),
            "raw"
        );
    }
}
