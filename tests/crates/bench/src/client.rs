//! The API, raw: HTTP/1.1 on one connection that is kept.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// No answer may take longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// A connection to an engine.
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
}

/// How a body is delimited.
#[derive(Debug, PartialEq)]
enum Framing {
    None,
    Length(usize),
    Chunked,
}

impl Client {
    pub(crate) fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).context("connect to the engine")?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self {
            stream: BufReader::with_capacity(64 << 10, stream),
        })
    }

    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.ask("GET", path, b"")
    }

    pub(crate) fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Vec<u8>> {
        let body = if body.is_null() {
            Vec::new()
        } else {
            serde_json::to_vec(body)?
        };
        self.ask("POST", path, &body)
    }

    pub(crate) fn delete(&mut self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.ask("DELETE", path, b"")
    }

    /// One request; the answer's body when its status says it was done.
    fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut request = format!(
            "{method} /v1.51{path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request)?;
        let (status, answer) = self
            .answer()
            .with_context(|| format!("{method} {path}: read the answer"))?;
        ensure!(
            (200..300).contains(&status),
            "{method} {path}: {status} {}",
            String::from_utf8_lossy(&answer)
        );
        Ok(answer)
    }

    fn answer(&mut self) -> anyhow::Result<(u16, Vec<u8>)> {
        let first = self.line()?;
        let status = first
            .split(' ')
            .nth(1)
            .with_context(|| format!("no status in {first:?}"))?
            .parse()?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            headers.push(line);
        }
        let body = match framing(status, &headers)? {
            Framing::None => Vec::new(),
            Framing::Length(length) => self.exactly(length)?,
            Framing::Chunked => self.chunks()?,
        };
        Ok((status, body))
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(
            self.stream.read_line(&mut line)? > 0,
            "the connection ended"
        );
        Ok(line.trim_end().to_owned())
    }

    fn exactly(&mut self, length: usize) -> anyhow::Result<Vec<u8>> {
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    fn chunks(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(&self.line()?, 16).context("a chunk's length")?;
            body.append(&mut self.exactly(length)?);
            self.line()?;
            if length == 0 {
                return Ok(body);
            }
        }
    }
}

fn framing(status: u16, headers: &[String]) -> anyhow::Result<Framing> {
    if status == 204 || status == 304 {
        return Ok(Framing::None);
    }
    let value = |name: &str| {
        headers.iter().find_map(|header| {
            let (key, value) = header.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    match (value("transfer-encoding"), value("content-length")) {
        (Some("chunked"), _) => Ok(Framing::Chunked),
        (_, Some(length)) => Ok(Framing::Length(length.parse()?)),
        _ => bail!("an answer without length"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_delimited_by_its_headers() {
        for (status, header, expected) in [
            (200, "Content-Length: 12", Framing::Length(12)),
            (200, "transfer-encoding: chunked", Framing::Chunked),
            (204, "X: y", Framing::None),
        ] {
            let found = framing(status, &[header.to_owned()]).expect("understood");
            assert_eq!(found, expected);
        }
        assert!(framing(200, &[]).is_err());
    }
}
