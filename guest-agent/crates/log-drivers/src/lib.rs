//! Services that take the output of containers: syslog, GELF, fluentd, the journal.
//!
//! A driver runs in a small process of its own beside the container's shim and may block: it reads messages from a pipe ([`serve`]) and sends
//! one after the other. What it knows of the container was worked out by the engine; names are looked up by whoever opens it.
//!
//! ```text
//!   shim ─ pipe of entries ─► serve ─► Driver ─► the service
//! ```
//! Formats are those of dockerd's drivers, since people have rules for them.

mod dial;
pub mod entry;
mod fluentd;
mod gelf;
mod journald;
pub mod message;
mod msgpack;
mod sys;
mod syslog;

use std::{
    io::{self, Read},
    net::IpAddr,
};

use engine::ports::logging::{Protocol, Remote};

use self::{entry::Found, message::Message};

/// Looks a host's addresses up.
pub type Resolve = fn(&str) -> io::Result<Vec<IpAddr>>;

/// One read of the pipe.
const BLOCK_BYTES: usize = 64 << 10;

/// Sends messages to a service.
pub trait Driver {
    /// Sends one, and returns when the service has it as far as its protocol says so.
    ///
    /// # Errors
    /// It was not sent; the next one is tried all the same.
    fn log(&mut self, message: &Message<'_>) -> io::Result<()>;
}

/// Connects to a service.
///
/// # Errors
/// In dockerd's words: the container is not started.
pub fn open(remote: &Remote, resolve: Resolve) -> Result<Box<dyn Driver>, String> {
    let host_name = remote.host_name.clone();
    Ok(match remote.protocol.clone() {
        Protocol::Syslog {
            address,
            facility,
            format,
            tag,
        } => {
            let form = syslog::Form {
                host_name,
                facility,
                format,
                tag,
            };
            Box::new(syslog::Syslog::open(address, form, resolve)?)
        }
        Protocol::Gelf { address, extra } => {
            Box::new(gelf::Gelf::open(address, host_name, extra, resolve)?)
        }
        Protocol::Fluentd {
            address,
            tag,
            record,
            settings,
        } => {
            let form = fluentd::Form { tag, record };
            fluentd::open(address, form, settings, resolve)?
        }
        Protocol::Journald { fields } => Box::new(journald::Journald::open(fields)?),
    })
}

/// Hands messages on until the pipe's end.
///
/// # Errors
/// The pipe broke, or what comes out of it is no message.
pub fn serve(mut entries: impl Read, driver: &mut dyn Driver) -> io::Result<()> {
    let mut begun = Vec::new();
    let mut block = vec![0; BLOCK_BYTES];
    let mut failing = false;
    loop {
        let mut rest = begun.as_slice();
        loop {
            match entry::decode(rest) {
                Found::Entry(entry, used) => {
                    let sent = driver.log(&entry.message());
                    // Told once, not for every line.
                    match (&sent, failing) {
                        (Err(error), false) => {
                            tracing::error!(%error, "a log service takes nothing");
                        }
                        (Ok(()), true) => tracing::info!("the log service takes output again"),
                        _ => {}
                    }
                    failing = sent.is_err();
                    rest = &rest[used..];
                }
                Found::More => break,
                Found::Broken => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the pipe of entries is out of step",
                    ));
                }
            }
        }
        begun = rest.to_vec();
        match entries.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(read) => begun.extend_from_slice(&block[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
