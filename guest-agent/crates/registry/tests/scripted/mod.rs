//! A server that says what a test wants it to say.

#![allow(dead_code, reason = "each test uses its part")]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Method and target, `GET /v2/`.
    pub(crate) line: String,
    /// The head, names in lower case.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

impl Asked {
    /// A field of the head.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(&prefix))
    }
}

/// A server on the loopback, for as long as the test's process lives; each connection carries one request.
pub(crate) struct Server {
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// `script` gets the server's own address and what is asked, and gives the bytes of the answer. Bytes that end in [`HANG`] are all that
    /// ever comes.
    pub(crate) fn start(script: impl Fn(&str, &Asked) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, log, own) = (Arc::new(script), Arc::clone(&asked), address.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, log, own) = (Arc::clone(&script), Arc::clone(&log), own.clone());
                std::thread::spawn(move || serve(stream, &log, |asked| script(&own, asked)));
            }
        });
        Self { address, asked }
    }

    /// Everything that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How often something was asked whose line begins so.
    pub(crate) fn count(&self, line: &str) -> usize {
        let asked = self.asked();
        asked
            .iter()
            .filter(|one| one.line.starts_with(line))
            .count()
    }
}

/// The end of an answer after which the server says nothing more and does not hang up.
pub(crate) const HANG: &[u8] = b"<hang>";

fn serve(mut stream: TcpStream, log: &Mutex<Vec<Asked>>, script: impl Fn(&Asked) -> Vec<u8>) {
    let mut first = [0];
    if stream.peek(&mut first).unwrap_or(0) == 0 {
        return;
    }
    if first[0] == 0x16 {
        // TLS: answered as Go's server does.
        let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request");
        return;
    }
    let Some(asked) = read(&mut stream) else {
        return;
    };
    log.lock().unwrap().push(asked.clone());
    let answer = script(&asked);
    if let Some(answer) = answer.strip_suffix(HANG) {
        let _ = stream.write_all(answer);
        // Until the client has had enough.
        let _ = stream.read(&mut first);
        return;
    }
    let _ = stream.write_all(&answer);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let _ = stream.read(&mut first);
}

fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).ok()?;
    let (line, rest) = head.split_once("\r\n")?;
    let fields = rest.lines().map(|line| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}\n", name.to_ascii_lowercase()),
        None => String::new(),
    });
    let mut asked = Asked {
        line: line.trim_end_matches(" HTTP/1.1").to_owned(),
        head: fields.collect(),
        body: String::new(),
    };
    let length = asked.field("content-length").unwrap_or("0").parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    asked.body = String::from_utf8(body).ok()?;
    Some(asked)
}

/// An answer with a length, closing.
pub(crate) fn answer(status: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !fields.iter().any(|(name, _)| *name == "Content-Length") {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
