//! Fluentd's forward protocol, message mode: `[tag, time, record, option]`. Spec: Forward Protocol v1.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use engine::ports::logging::{FluentdAddress, FluentdSettings, TlsFiles};

use crate::{
    Driver, Resolve,
    dial::{self, Stream},
    message::Message,
    msgpack,
};

const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const MAX_RETRY_WAIT_MS: u64 = 60_000;
/// What the protocol's usual library takes for a zero.
const ZERO_RETRIES: u32 = 13;
const ZERO_RETRY_WAIT_MS: u64 = 500;
const ZERO_BUFFER: u64 = 8 * 1024;
/// Bytes that may wait when asynchronous, whatever the number of events may be.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// Longest answer.
const MAX_ANSWER_BYTES: usize = 4096;
/// Fields of a record.
const MAX_FIELDS: usize = 60_000;

/// How events look.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) tag: String,
    pub(crate) record: BTreeMap<String, String>,
}

/// Connects, or begins to when that must not be waited for.
pub(crate) fn open(
    address: FluentdAddress,
    form: Form,
    mut settings: FluentdSettings,
    resolve: Resolve,
) -> Result<Box<dyn Driver>, String> {
    if settings.max_retries == 0 {
        settings.max_retries = ZERO_RETRIES;
    }
    if settings.retry_wait_ms == 0 {
        settings.retry_wait_ms = ZERO_RETRY_WAIT_MS;
    }
    if settings.buffer_limit == 0 {
        settings.buffer_limit = ZERO_BUFFER;
    }
    let mut connection = Connection {
        address,
        settings,
        resolve,
        stream: None,
        since: Instant::now(),
    };
    if settings.asynchronous {
        return Ok(Box::new(Waiting::new(connection, form)));
    }
    connection.connect().map_err(|error| error.to_string())?;
    Ok(Box::new(Direct { connection, form }))
}

struct Direct {
    connection: Connection,
    form: Form,
}

impl Driver for Direct {
    fn log(&mut self, message: &Message<'_>) -> io::Result<()> {
        let event = self.form.event(message, &self.connection.settings)?;
        self.connection.send_with_retry(&event)
    }
}

/// Events go through a queue to a thread; what does not fit is dropped, and what waits at the end too.
struct Waiting {
    sender: SyncSender<Event>,
    bytes: Arc<AtomicUsize>,
    form: Form,
    settings: FluentdSettings,
}

impl Waiting {
    fn new(mut connection: Connection, form: Form) -> Self {
        let settings = connection.settings;
        let limit = usize::try_from(settings.buffer_limit).unwrap_or(usize::MAX);
        let (sender, receiver) = sync_channel::<Event>(limit.min(1 << 20));
        let bytes = Arc::new(AtomicUsize::new(0));
        let waiting = Arc::clone(&bytes);
        std::thread::spawn(move || {
            for event in receiver {
                waiting.fetch_sub(event.bytes.len(), Ordering::Relaxed);
                let interval = connection.settings.reconnect_interval_ms;
                if interval > 0 && connection.since.elapsed() > Duration::from_millis(interval) {
                    connection.stream = None;
                }
                if let Err(error) = connection.send_with_retry(&event) {
                    tracing::error!(%error, "unable to send logs to fluentd");
                }
            }
        });
        Self {
            sender,
            bytes,
            form,
            settings,
        }
    }
}

impl Driver for Waiting {
    fn log(&mut self, message: &Message<'_>) -> io::Result<()> {
        let event = self.form.event(message, &self.settings)?;
        let length = event.bytes.len();
        let full = || {
            io::Error::other(format!(
                "fluent#appendBuffer: Buffer full, limit {}",
                self.settings.buffer_limit
            ))
        };
        if self.bytes.load(Ordering::Relaxed) + length > MAX_WAITING_BYTES {
            return Err(full());
        }
        self.bytes.fetch_add(length, Ordering::Relaxed);
        self.sender.try_send(event).map_err(|_| {
            self.bytes.fetch_sub(length, Ordering::Relaxed);
            full()
        })
    }
}

struct Event {
    bytes: Vec<u8>,
    /// What the server has to say when it has it.
    acknowledgement: Option<String>,
}

impl Form {
    fn event(&self, message: &Message<'_>, settings: &FluentdSettings) -> io::Result<Event> {
        let seconds = message.at.0.div_euclid(1_000_000_000);
        let nanoseconds = u32::try_from(message.at.0.rem_euclid(1_000_000_000)).unwrap_or(0);
        let acknowledgement = settings.acknowledge.then(unique).transpose()?;
        let mut out = Vec::with_capacity(message.text.len() + 256);
        msgpack::array(&mut out, 4);
        msgpack::text(&mut out, self.tag.as_bytes());
        if settings.sub_second {
            msgpack::event_time(&mut out, seconds, nanoseconds);
        } else {
            msgpack::integer(&mut out, seconds);
        }
        let source: &[u8] = if message.stderr { b"stderr" } else { b"stdout" };
        let mut fields: Vec<(&str, Vec<u8>)> =
            vec![("source", source.to_vec()), ("log", message.text.to_vec())];
        if let Some(partial) = message.partial {
            fields.push(("partial_message", b"true".to_vec()));
            fields.push(("partial_id", partial.id.as_bytes().to_vec()));
            fields.push(("partial_ordinal", partial.ordinal.to_string().into_bytes()));
            fields.push(("partial_last", partial.last.to_string().into_bytes()));
        }
        // A label of the same name wins over a driver's own field, as in Docker; a piece's do not give way.
        fields.retain(|(name, _)| name.starts_with("partial_") || !self.record.contains_key(*name));
        let named = self.record.iter().take(MAX_FIELDS);
        let named: Vec<_> = named
            .filter(|(name, _)| !fields.iter().any(|(own, _)| own == name))
            .collect();
        msgpack::map(&mut out, fields.len() + named.len());
        for (name, value) in named {
            msgpack::text(&mut out, name.as_bytes());
            msgpack::text(&mut out, value.as_bytes());
        }
        for (name, value) in fields {
            msgpack::text(&mut out, name.as_bytes());
            msgpack::text(&mut out, &value);
        }
        msgpack::map(&mut out, usize::from(acknowledgement.is_some()));
        if let Some(id) = &acknowledgement {
            msgpack::text(&mut out, b"chunk");
            msgpack::text(&mut out, id.as_bytes());
        }
        Ok(Event {
            bytes: out,
            acknowledgement,
        })
    }
}

fn unique() -> io::Result<String> {
    let mut random = [0u8; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let mut id = String::new();
    for byte in random {
        // Writing into a String cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    Ok(id)
}

struct Connection {
    address: FluentdAddress,
    settings: FluentdSettings,
    resolve: Resolve,
    stream: Option<Box<dyn Stream>>,
    since: Instant,
}

impl Connection {
    fn connect(&mut self) -> io::Result<()> {
        let within = Some(CONNECT_WITHIN);
        let host = |host: &str, port: u16| {
            if host.contains(':') {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            }
        };
        self.stream = Some(match &self.address {
            FluentdAddress::Tcp(name, port) => {
                let stream = dial::tcp(&host(name, *port), self.resolve, within)?;
                self.bound_tcp(&stream)?;
                Box::new(stream)
            }
            FluentdAddress::Tls(name, port) => dial::tls(
                &host(name, *port),
                &TlsFiles::default(),
                self.resolve,
                within,
            )?,
            FluentdAddress::Unix(path) => {
                let stream = dial::unix(path)?;
                self.bound_unix(&stream)?;
                Box::new(stream)
            }
        });
        self.since = Instant::now();
        Ok(())
    }

    fn write_timeout(&self) -> Option<Duration> {
        let milliseconds = self.settings.write_timeout_ms;
        (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
    }

    fn bound_tcp(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_write_timeout(self.write_timeout())
    }

    fn bound_unix(&self, stream: &UnixStream) -> io::Result<()> {
        stream.set_write_timeout(self.write_timeout())
    }

    /// Tries until it is taken or all attempts are used up.
    fn send_with_retry(&mut self, event: &Event) -> io::Result<()> {
        let mut last = io::Error::other("fluent#write: no attempt was made");
        for _ in 0..self.settings.max_retries {
            self.ensure_connected()?;
            match self.send(event) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    self.stream = None;
                    last = error;
                }
            }
        }
        Err(last)
    }

    fn ensure_connected(&mut self) -> io::Result<()> {
        let mut attempt = 0;
        while self.stream.is_none() {
            let Err(error) = self.connect() else { break };
            attempt += 1;
            if attempt >= self.settings.max_retries {
                return Err(io::Error::other(format!(
                    "fluent#write: could not connect to fluentd after {attempt} retries: {error}"
                )));
            }
            std::thread::sleep(wait_before(attempt, self.settings.retry_wait_ms));
        }
        Ok(())
    }

    fn send(&mut self, event: &Event) -> io::Result<()> {
        let stream = self
            .stream
            .as_mut()
            .ok_or_else(|| io::Error::other("not connected"))?;
        stream.write_all(&event.bytes)?;
        stream.flush()?;
        let Some(expected) = &event.acknowledgement else {
            return Ok(());
        };
        let mut answer = Vec::new();
        let mut block = [0; 512];
        loop {
            match msgpack::text_of_map(&answer, "ack") {
                Ok(Some(Some(id))) if id == expected.as_bytes() => return Ok(()),
                Ok(None) if answer.len() < MAX_ANSWER_BYTES => {}
                _ => return Err(io::Error::other("the acknowledgement is not the event's")),
            }
            match stream.read(&mut block)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => answer.extend_from_slice(&block[..read]),
            }
        }
    }
}

/// Half as long again after each attempt, in whole steps; the second attempt follows at once.
fn wait_before(attempt: u32, retry_wait_ms: u64) -> Duration {
    let exponent = i32::try_from(attempt).unwrap_or(i32::MAX).min(64) - 2;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and bounded by the exponent"
    )]
    let steps = 1.5f64.powi(exponent) as u64;
    Duration::from_millis(retry_wait_ms.saturating_mul(steps).min(MAX_RETRY_WAIT_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ports::world::Timestamp;

    const SETTINGS: FluentdSettings = FluentdSettings {
        asynchronous: false,
        buffer_limit: 10,
        retry_wait_ms: 1000,
        max_retries: 3,
        reconnect_interval_ms: 0,
        sub_second: false,
        acknowledge: false,
        write_timeout_ms: 0,
    };

    #[test]
    fn waits_grow_as_those_of_the_usual_library() {
        let waits: Vec<_> = (1..8).map(|n| wait_before(n, 1000).as_millis()).collect();
        assert_eq!(waits, [0, 1000, 1000, 2000, 3000, 5000, 7000]);
        assert_eq!(wait_before(1000, 1000).as_millis(), 60_000);
    }

    #[test]
    fn an_event_is_an_array_of_four() {
        let form = Form {
            tag: "t".to_owned(),
            record: [("k".to_owned(), "v".to_owned())].into(),
        };
        let message = Message {
            stderr: true,
            at: Timestamp(5_000_000_000),
            text: b"x",
            partial: None,
        };
        let event = form.event(&message, &SETTINGS).unwrap();
        let expected = [
            &[0x94, 0xa1, b't', 0xd2, 0, 0, 0, 5, 0x83][..],
            b"\xa1k\xa1v",
            b"\xa6source\xa6stderr",
            b"\xa3log\xa1x",
            &[0x80],
        ];
        assert_eq!(event.bytes, expected.concat());
    }
}
