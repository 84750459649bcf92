//! Requests that the docker CLI does not make.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::Context;

use crate::Bed;

/// How long an engine may take for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A connection to the engine.
pub(super) fn connect(bed: &Bed) -> anyhow::Result<UnixStream> {
    let path = bed
        .docker
        .host()
        .strip_prefix("unix://")
        .context("a socket")?;
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    Ok(stream)
}

/// One request with a JSON body; the status and the body of its answer.
pub(super) fn request(
    bed: &Bed,
    method: &str,
    path: &str,
    body: &str,
) -> anyhow::Result<(u16, String)> {
    request_of(bed, method, path, Some("application/json"), body)
}

/// One request with a body of a type, or of none.
pub(super) fn request_of(
    bed: &Bed,
    method: &str,
    path: &str,
    content_type: Option<&str>,
    body: &str,
) -> anyhow::Result<(u16, String)> {
    let mut stream = connect(bed)?;
    let content_type = content_type
        .map(|content_type| format!("Content-Type: {content_type}\r\n"))
        .unwrap_or_default();
    let length = body.len();
    // In one piece: an engine that refuses the head does not read on.
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: docker\r\n{content_type}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("no end of the head")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}

/// `GET`.
pub(super) fn get(bed: &Bed, path: &str) -> anyhow::Result<(u16, String)> {
    request(bed, "GET", path, "")
}

/// A connection that was taken over by a `POST`: raw from here on.
pub(super) fn take_over(bed: &Bed, path: &str, body: &str) -> anyhow::Result<UnixStream> {
    let mut stream = connect(bed)?;
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    anyhow::ensure!(
        head.starts_with(b"HTTP/1.1 101 "),
        "{}",
        String::from_utf8_lossy(&head)
    );
    Ok(stream)
}
