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
    let mut stream = connect(bed)?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
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
