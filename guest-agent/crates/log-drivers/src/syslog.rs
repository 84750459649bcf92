//! Syslog. Spec: RFC 3164, RFC 5424, RFC 5425; forms as dockerd's.

use std::{
    fmt::Write as _,
    io::{self, Write},
    net::UdpSocket,
    os::unix::net::UnixDatagram,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use engine::ports::logging::{SyslogAddress, SyslogFormat};

use crate::{
    Driver, Resolve,
    dial::{self, Stream, reason},
    message::Message,
    sys::{self, Local},
};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const SEVERITY_ERROR: u8 = 3;
const SEVERITY_INFO: u8 = 6;
/// Where this machine's own server may be.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// How messages look.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) host_name: String,
    pub(crate) facility: u8,
    pub(crate) format: SyslogFormat,
    pub(crate) tag: String,
}

/// A connection to a syslog server.
pub(crate) struct Syslog {
    address: SyslogAddress,
    form: Form,
    resolve: Resolve,
    connection: Option<Connection>,
}

enum Connection {
    Stream(Box<dyn Stream>),
    Udp(UdpSocket),
    Datagram(UnixDatagram),
}

impl Syslog {
    pub(crate) fn open(
        address: SyslogAddress,
        form: Form,
        resolve: Resolve,
    ) -> Result<Self, String> {
        let connection = connect(&address, resolve).map_err(|error| error.to_string())?;
        Ok(Self {
            address,
            form,
            resolve,
            connection: Some(connection),
        })
    }
}

impl Driver for Syslog {
    fn log(&mut self, message: &Message<'_>) -> io::Result<()> {
        if message.text.is_empty() {
            return Ok(());
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(0);
        let at = (sys::local(seconds), now.subsec_micros());
        let mut bytes = self
            .form
            .head(message.stderr, at, std::process::id())
            .into_bytes();
        bytes.extend_from_slice(message.text);
        if !bytes.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        let framed = matches!(self.address, SyslogAddress::Tls(..))
            && matches!(
                self.form.format,
                SyslogFormat::Rfc5424 | SyslogFormat::Rfc5424Micro
            );
        if framed {
            bytes = [format!("{} ", bytes.len()).as_bytes(), &bytes].concat();
        }
        if let Some(connection) = &mut self.connection
            && connection.send(&bytes).is_ok()
        {
            return Ok(());
        }
        // The server may have been started anew.
        self.connection = None;
        let connection = self
            .connection
            .insert(connect(&self.address, self.resolve)?);
        connection.send(&bytes)
    }
}

impl Connection {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stream(stream) => {
                stream.write_all(bytes)?;
                stream.flush()
            }
            Self::Udp(socket) => socket.send(bytes).map(drop),
            Self::Datagram(socket) => socket.send(bytes).map(drop),
        }
    }
}

fn connect(address: &SyslogAddress, resolve: Resolve) -> io::Result<Connection> {
    Ok(match address {
        SyslogAddress::Local => return local(),
        SyslogAddress::Unix(path) => {
            stat(path)?;
            Connection::Stream(Box::new(dial::unix(path)?))
        }
        SyslogAddress::UnixDatagram(path) => {
            stat(path)?;
            Connection::Datagram(dial::unix_datagram(path)?)
        }
        SyslogAddress::Udp(address) => Connection::Udp(dial::udp(address, resolve)?),
        SyslogAddress::Tcp(address) => {
            Connection::Stream(Box::new(dial::tcp(address, resolve, None)?))
        }
        SyslogAddress::Tls(address, files) => {
            Connection::Stream(dial::tls(address, files, resolve, None)?)
        }
    })
}

fn stat(path: &Path) -> io::Result<()> {
    let found = std::fs::metadata(path);
    found
        .map(drop)
        .map_err(|error| io::Error::other(format!("stat {}: {}", path.display(), reason(&error))))
}

fn local() -> io::Result<Connection> {
    for path in LOCAL {
        if let Ok(socket) = dial::unix_datagram(Path::new(path)) {
            return Ok(Connection::Datagram(socket));
        }
    }
    for path in LOCAL {
        if let Ok(stream) = dial::unix(Path::new(path)) {
            return Ok(Connection::Stream(Box::new(stream)));
        }
    }
    Err(io::Error::other("Unix syslog delivery error"))
}

impl Form {
    /// All before the text.
    fn head(&self, stderr: bool, (at, microseconds): (Local, u32), pid: u32) -> String {
        let severity = if stderr {
            SEVERITY_ERROR
        } else {
            SEVERITY_INFO
        };
        let priority = self.facility << 3 | severity;
        let (host, tag) = (&self.host_name, &self.tag);
        match self.format {
            SyslogFormat::Unix => format!("<{priority}>{} {tag}[{pid}]: ", stamp(at)),
            SyslogFormat::Rfc3164 => format!("<{priority}>{} {host} {tag}[{pid}]: ", stamp(at)),
            SyslogFormat::Rfc5424 => {
                format!(
                    "<{priority}>1 {} {host} {tag} {pid} {tag} - ",
                    rfc3339(at, None)
                )
            }
            SyslogFormat::Rfc5424Micro => format!(
                "<{priority}>1 {} {host} {tag} {pid} {tag} - ",
                rfc3339(at, Some(microseconds))
            ),
        }
    }
}

/// `Jan  2 15:04:05`.
fn stamp(at: Local) -> String {
    let month = MONTHS.get(at.month).copied().unwrap_or_default();
    format!(
        "{month} {:>2} {:02}:{:02}:{:02}",
        at.day, at.hour, at.minute, at.second
    )
}

fn rfc3339(at: Local, microseconds: Option<u32>) -> String {
    let mut out = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        at.year,
        at.month + 1,
        at.day,
        at.hour,
        at.minute,
        at.second
    );
    // Writing into a String cannot fail.
    if let Some(microseconds) = microseconds {
        let _ = write!(out, ".{microseconds:06}");
    }
    if at.offset_seconds == 0 {
        out.push('Z');
    } else {
        let (sign, offset) = if at.offset_seconds < 0 {
            ('-', -at.offset_seconds)
        } else {
            ('+', at.offset_seconds)
        };
        let _ = write!(out, "{sign}{:02}:{:02}", offset / 3600, offset / 60 % 60);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Local = Local {
        year: 2026,
        month: 0,
        day: 2,
        hour: 3,
        minute: 4,
        second: 5,
        offset_seconds: -5400,
    };

    #[test]
    fn heads_are_dockers() {
        for (format, head) in [
            (SyslogFormat::Unix, "<30>Jan  2 03:04:05 t[7]: "),
            (SyslogFormat::Rfc3164, "<30>Jan  2 03:04:05 h t[7]: "),
            (
                SyslogFormat::Rfc5424,
                "<30>1 2026-01-02T03:04:05-01:30 h t 7 t - ",
            ),
            (
                SyslogFormat::Rfc5424Micro,
                "<30>1 2026-01-02T03:04:05.000042-01:30 h t 7 t - ",
            ),
        ] {
            let form = Form {
                host_name: "h".to_owned(),
                facility: 3,
                format,
                tag: "t".to_owned(),
            };
            assert_eq!(form.head(false, (AT, 42), 7), head);
            assert!(form.head(true, (AT, 42), 7).starts_with("<27>"));
        }
    }
}
