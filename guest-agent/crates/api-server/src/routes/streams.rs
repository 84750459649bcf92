//! Attached streams, logs, and what they have in common.

use std::{collections::BTreeMap, sync::Arc};

use axum::body::Body;
use engine::{
    Engine,
    containers::{AttachOptions, Attachment, prune::seconds},
    ports::{
        BoxStream, ByteStream,
        containers::{AttachRequest, LogEntry, LogQuery},
        world::Timestamp,
    },
    time::write_rfc3339,
};
use errdefs::{Classify, Error, ErrorKind, Result};
use futures_util::StreamExt;
use http::{HeaderValue, Response, header::CONTENT_TYPE};
use tokio::io::AsyncWriteExt;

use super::{Answer, streaming};
use crate::{
    call::{Call, body_of},
    frames,
    head::Head,
    keys,
    splice::{self, Output},
};

/// Zeros that Go's nine-digit time has and its shorter form leaves out.
const TIME_BYTES: usize = "2006-01-02T15:04:05.000000000Z".len();

/// `POST /containers/{id}/attach`. An error is told as a line of the stream, as dockerd has it.
pub(super) async fn attach(engine: &Arc<Engine>, call: Call) -> Answer {
    let version = call.version;
    try_attach(engine, call).await.or_else(|error| {
        let content_type = HeaderValue::from_static(splice::content_type(version, true));
        let mut response = Response::new(Body::from(format!("{}\r\n", error.message())));
        *response.status_mut() = crate::error::status(error.kind());
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        Ok(response)
    })
}

async fn try_attach(engine: &Arc<Engine>, call: Call) -> Answer {
    let streams = AttachRequest {
        stdin: call.query.flag("stdin"),
        stdout: call.query.flag("stdout"),
        stderr: call.query.flag("stderr"),
    };
    let keys = keys::parse(call.query.get("detachKeys").unwrap_or_default())?;
    let live = call.query.flag("stream");
    let mut attachment = engine
        .attach_container(&call.name, AttachOptions { streams })
        .await?;
    let before = said_before(engine, &call, streams).await?;
    if before.is_some() || !live {
        attachment = after_the_log(attachment, before, live);
    }
    let keys = (attachment.tty && streams.stdin).then_some(keys);
    hand_over(call, attachment, keys, Output::AsItComes)
}

/// What the log has of these streams, when the client asks for it (`logs`).
pub(super) async fn said_before(
    engine: &Arc<Engine>,
    call: &Call,
    streams: AttachRequest,
) -> Result<Option<BoxStream<Result<LogEntry>>>> {
    if !call.query.flag("logs") || !(streams.stdout || streams.stderr) {
        return Ok(None);
    }
    let query = LogQuery {
        stdout: streams.stdout,
        stderr: streams.stderr,
        ..LogQuery::default()
    };
    let (_tty, entries) = engine.container_logs(&call.name, query).await?;
    Ok(Some(entries))
}

/// What was said before, then what is said now, if it is wanted.
fn after_the_log(
    attachment: Attachment,
    before: Option<BoxStream<Result<LogEntry>>>,
    live: bool,
) -> Attachment {
    let shown = Shown {
        timestamps: false,
        details: false,
        tty: attachment.tty,
    };
    let stream = attachment.stream;
    let stream = async move {
        let now = if live { stream.await? } else { None };
        let (near, mut far) = tokio::io::duplex(splice::BUFFER_BYTES);
        tokio::spawn(async move {
            if let Some(mut before) = before {
                while let Some(Ok(entry)) = before.next().await {
                    let mut bytes = Vec::new();
                    write_entry(&entry, shown, &mut bytes);
                    far.write_all(&bytes).await?;
                }
            }
            match now {
                Some(mut engine) => {
                    tokio::io::copy_bidirectional(&mut far, &mut engine).await?;
                    Ok(())
                }
                None => far.shutdown().await,
            }
        });
        Ok(Some(Box::new(near) as ByteStream))
    };
    Attachment {
        stream: Box::pin(stream),
        ..attachment
    }
}

/// Gives the client the stream: its whole connection when it asked for that, else a body without end.
pub(super) fn hand_over(
    mut call: Call,
    attachment: Attachment,
    keys: Option<Vec<u8>>,
    output: Output,
) -> Answer {
    if let Some(upgrade) = call.upgrade.take() {
        let bare = output.is_bare(attachment.tty);
        let content_type = splice::content_type(call.version, bare);
        return Ok(splice::take_over(
            upgrade,
            content_type,
            attachment,
            keys,
            output,
            call.head,
        ));
    }
    // A client without upgrade sends its input as the request's body.
    let (ours, theirs) = tokio::io::duplex(splice::BUFFER_BYTES);
    let input = call.reader();
    tokio::spawn(async move {
        let Attachment {
            tty, stream, known, ..
        } = attachment;
        let mut ours = ours;
        let ended = match stream.await {
            Ok(Some(stream)) => {
                splice::splice(
                    tokio::io::join(input, ours),
                    stream,
                    None,
                    (output, Head::default()),
                    known,
                )
                .await
            }
            Ok(None) => ours.shutdown().await,
            Err(error) => {
                ours.write_all(&splice::told(&error, output.is_bare(tty)))
                    .await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an attached client left");
        }
    });
    let mut response = Response::new(body_of(theirs));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/vnd.docker.raw-stream"),
    );
    Ok(response)
}

/// `h` and `w`.
pub(super) fn size(call: &Call) -> Result<(u16, u16)> {
    let cells = |name: &str, word: &str| {
        let text = call.query.get(name).unwrap_or_default();
        cells(text).map_err(|why| {
            Error::new(
                ErrorKind::InvalidParameter,
                format!("invalid resize {word} {text:?}: {why}"),
            )
        })
    };
    Ok((cells("h", "height")?, cells("w", "width")?))
}

/// A number of rows or columns; more than a terminal can have is as many as it can. The error is Go's text.
fn cells(text: &str) -> std::result::Result<u16, &'static str> {
    let (digits, negative) = text
        .strip_prefix('-')
        .map_or((text, false), |digits| (digits, true));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("invalid syntax");
    }
    match digits.parse::<u32>() {
        Ok(cells) if !negative => Ok(u16::try_from(cells).unwrap_or(u16::MAX)),
        _ => Err("value out of range"),
    }
}

/// `GET /containers/{id}/logs`.
pub(super) async fn logs(engine: &Arc<Engine>, call: Call) -> Answer {
    let time = |name: &str| -> Result<Option<Timestamp>> {
        let text = call.query.get(name).unwrap_or_default();
        if matches!(text, "" | "0") {
            return Ok(None);
        }
        // A whole number of seconds may have a fraction; nothing else is a time here.
        let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
        seconds(text).map(Some).ok_or_else(|| {
            let why = match whole.parse::<i64>() {
                Err(error) if *error.kind() == std::num::IntErrorKind::PosOverflow => {
                    "value out of range"
                }
                _ => "invalid syntax",
            };
            Error::new(
                ErrorKind::System,
                format!("strconv.ParseInt: parsing {whole:?}: {why}"),
            )
        })
    };
    let query = LogQuery {
        stdout: call.query.flag("stdout"),
        stderr: call.query.flag("stderr"),
        // What is no number is all, as in Docker.
        tail: call.query.get("tail").and_then(|text| text.parse().ok()),
        since: time("since")?,
        until: time("until")?,
        follow: call.query.flag("follow"),
    };
    let shown = Shown {
        timestamps: call.query.flag("timestamps"),
        details: call.query.flag("details"),
        tty: false,
    };
    let (tty, entries) = engine.container_logs(&call.name, query).await?;
    let shown = Shown { tty, ..shown };
    let chunks = entries.ready_chunks(64).map(move |entries| {
        let mut bytes = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => write_entry(&entry, shown, &mut bytes),
                Err(error) => {
                    tracing::warn!(%error, "read a log");
                    return Err(std::io::Error::other(error));
                }
            }
        }
        Ok(bytes::Bytes::from(bytes))
    });
    streaming(
        splice::content_type(call.version, tty),
        Body::from_stream(chunks),
    )
}

/// What is shown of an entry.
#[derive(Debug, Clone, Copy)]
struct Shown {
    timestamps: bool,
    details: bool,
    tty: bool,
}

fn write_entry(entry: &LogEntry, shown: Shown, out: &mut Vec<u8>) {
    let mut stamp = Vec::new();
    if shown.timestamps {
        write_rfc3339(entry.at, &mut stamp);
        pad(&mut stamp);
        stamp.push(b' ');
    }
    if shown.details {
        write_details(&entry.attributes, &mut stamp);
    }
    let stream = if entry.stderr {
        frames::Stream::Stderr
    } else {
        frames::Stream::Stdout
    };
    if !shown.tty
        && let Some(header) = frames::encode_header(stream, stamp.len() + entry.line.len())
    {
        out.extend_from_slice(&header);
    }
    out.extend_from_slice(&stamp);
    out.extend_from_slice(&entry.line);
}

/// `name=value,…` in the form of a query, and a space even when there is nothing to show.
fn write_details(attributes: &BTreeMap<String, String>, out: &mut Vec<u8>) {
    for (index, (name, value)) in attributes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        query_escape(name, out);
        out.push(b'=');
        query_escape(value, out);
    }
    out.push(b' ');
}

/// As Go's `url.QueryEscape`.
fn query_escape(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte),
            b' ' => out.push(b'+'),
            _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}

/// Logs show all nine digits.
fn pad(stamp: &mut Vec<u8>) {
    stamp.pop();
    if stamp.len() == "2006-01-02T15:04:05".len() {
        stamp.push(b'.');
    }
    stamp.resize(TIME_BYTES - 1, b'0');
    stamp.push(b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_go_reads_them() {
        assert_eq!((cells("24"), cells("70000")), (Ok(24), Ok(u16::MAX)));
        for text in ["", "x", "-", "+1", "1.5"] {
            assert_eq!(cells(text), Err("invalid syntax"), "{text}");
        }
        for text in ["-1", "99999999999"] {
            assert_eq!(cells(text), Err("value out of range"), "{text}");
        }
    }

    #[test]
    fn stamps_have_nine_digits() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (500_000_000, "1970-01-01T00:00:00.500000000Z"),
        ] {
            let entry = LogEntry {
                stderr: true,
                at: Timestamp(at),
                line: b"x\n".to_vec(),
                attributes: BTreeMap::new(),
            };
            let mut out = Vec::new();
            let shown = Shown {
                timestamps: true,
                details: false,
                tty: false,
            };
            write_entry(&entry, shown, &mut out);
            assert_eq!(&out[..8], [2, 0, 0, 0, 0, 0, 0, 33]);
            assert_eq!(out[8..], *format!("{text} x\n").as_bytes());
        }
    }

    #[test]
    fn details_are_a_query_and_a_space() {
        let entry = LogEntry {
            stderr: false,
            at: Timestamp(0),
            line: b"x\n".to_vec(),
            attributes: [("a b", "1,2"), ("c", "ä")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        };
        let mut out = Vec::new();
        let shown = Shown {
            timestamps: false,
            details: true,
            tty: true,
        };
        write_entry(&entry, shown, &mut out);
        assert_eq!(out, b"a+b=1%2C2,c=%C3%A4 x\n");
    }
}
