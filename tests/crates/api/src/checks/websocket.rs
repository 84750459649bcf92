//! Attaching over a websocket. The client is made by hand: the docker CLI has none.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use anyhow::{Context, bail, ensure};

use super::{checks, events_until, inspect, raw};
use crate::Bed;

checks![
    input_and_output_travel_in_messages,
    what_was_said_before_comes_from_the_log,
    refusals_come_before_the_handshake,
];

/// The end of a connection, as the other side says it.
const CLOSE: u8 = 8;
const BINARY: u8 = 2;

struct Client(UnixStream);

impl Client {
    fn open(bed: &Bed, name: &str, query: &str) -> anyhow::Result<Self> {
        let mut stream = raw::connect(bed)?;
        write!(
            stream,
            "GET /v1.51/containers/{name}/attach/ws?{query} HTTP/1.1\r\nHost: docker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: http://docker\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
        ensure!(
            head.to_lowercase()
                .contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{head}"
        );
        Ok(Self(stream))
    }

    /// A message of a client is masked; here with zeros.
    fn send(&mut self, text: &str) -> anyhow::Result<()> {
        let length = u8::try_from(text.len())
            .ok()
            .filter(|length| *length < 126)
            .context("a short text")?;
        self.0
            .write_all(&[&[0x80 | BINARY, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat())?;
        Ok(())
    }

    /// The next message's kind and bytes.
    fn receive(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head)?;
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.0.read_exact(&mut length)?;
                usize::from(u16::from_be_bytes(length))
            }
            length @ 0..126 => usize::from(length),
            _ => bail!("a long message"),
        };
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes)?;
        Ok((head[0] & 0x0f, bytes))
    }

    /// Binary messages until so much text has come.
    fn text(&mut self, bytes: usize) -> anyhow::Result<String> {
        let mut text = Vec::new();
        while text.len() < bytes {
            let (kind, more) = self.receive()?;
            ensure!(kind == BINARY, "a message of kind {kind}");
            text.extend(more);
        }
        Ok(String::from_utf8(text)?)
    }
}

fn input_and_output_travel_in_messages(bed: &Bed) -> anyhow::Result<()> {
    let script =
        "while read -r line; do echo out $line; echo err >&2; [ \"$line\" = end ] && exit 7; done";
    let container = bed.start(&["-i"], &["sh", "-c", script])?;
    let mut client = Client::open(bed, &container.name, "stdin=1&stdout=1&stderr=1&stream=1")?;
    client.send("hello\n")?;
    let text = client.text("out hello\nerr\n".len())?;
    ensure!(
        text.contains("out hello\n") && text.contains("err\n"),
        "{text}"
    );
    // Only what was asked for.
    let mut quiet = Client::open(bed, &container.name, "stderr=1&stream=1")?;
    client.send("end\n")?;
    ensure!(quiet.text(4)? == "err\n");
    client.text("out end\nerr\n".len())?;
    let end = client.receive();
    ensure!(end.is_err() || end.is_ok_and(|(kind, _)| kind == CLOSE));
    ensure!(bed.docker.ok(&["wait", &container.name])? == "7");
    let actions = events_until(bed, &container.name, |action| action == "die")?;
    ensure!(
        actions == ["create", "start", "attach", "attach", "die"],
        "{actions:?}"
    );
    Ok(())
}

fn what_was_said_before_comes_from_the_log(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(
        &[],
        &["sh", "-c", "echo one; echo two; touch /said; sleep 600"],
    )?;
    bed.docker.ok(&[
        "exec",
        &container.name,
        "sh",
        "-c",
        "until [ -e /said ]; do sleep 0.05; done",
    ])?;
    // Without `stream` it ends with the log.
    let mut client = Client::open(bed, &container.name, "stdout=1&logs=1")?;
    ensure!(client.text(8)? == "one\ntwo\n");
    let end = client.receive();
    ensure!(end.is_err() || end.is_ok_and(|(kind, _)| kind == CLOSE));
    ensure!(inspect(bed, &container.name, "State/Running")? == true);
    Ok(())
}

fn refusals_come_before_the_handshake(bed: &Bed) -> anyhow::Result<()> {
    let refused = |name: &str, query: &str| -> anyhow::Result<String> {
        match Client::open(bed, name, query) {
            Ok(_) => bail!("{name} was attached"),
            Err(error) => Ok(error.to_string()),
        }
    };
    ensure!(refused("no-such", "stream=1")?.contains("404"));
    let container = bed.start(&[], &["sleep", "600"])?;
    bed.docker.ok(&["pause", &container.name])?;
    ensure!(refused(&container.name, "stream=1")?.contains("409"));
    bed.docker.ok(&["unpause", &container.name])?;
    ensure!(refused(&container.name, "stream=1&detachKeys=bogus")?.contains("400"));
    Ok(())
}
