//! What waits for a client that reads slower than the container writes.
//!
//! Up to [`MAX_WAITING_BYTES`] wait in memory. A client that still reads then slows the container down, as a pipe would. One that has taken
//! nothing for [`STALLED_AFTER`] does not: what comes for it waits in a file without name, and past [`MAX_SPOOLED_BYTES`] the client is cut off.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::FileExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags},
    net::{SendFlags, send},
};

/// Bytes that wait in memory.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// Bytes that wait on disk.
const MAX_SPOOLED_BYTES: u64 = 1 << 30;
/// Without any progress for so long, a client does not slow its container any more.
const STALLED_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<u8>,
    spool: Option<Spool>,
    progress: Instant,
    folder: PathBuf,
}

#[derive(Debug)]
struct Spool {
    file: File,
    read: u64,
    written: u64,
}

impl Queue {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            waiting: VecDeque::new(),
            spool: None,
            progress: Instant::now(),
            folder: folder.to_owned(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.spool.is_none()
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING_BYTES || self.spool.is_some()
    }

    /// Until when the container has to wait for this client; none: it need not.
    pub(super) fn holds_back_until(&self, now: Instant) -> Option<Instant> {
        let until = self.progress + STALLED_AFTER;
        (self.is_full() && until > now).then_some(until)
    }

    /// Adds bytes, and sends at once what can be sent.
    ///
    /// # Errors
    /// The client is gone, or too far behind.
    pub(super) fn push(&mut self, to: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
        if self.is_empty() {
            self.progress = Instant::now();
            let sent = send_some(&to, bytes)?;
            bytes = &bytes[sent..];
        }
        if self.spool.is_none() && self.waiting.len() < MAX_WAITING_BYTES {
            self.waiting.extend(bytes);
            return Ok(());
        }
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => none.insert(Spool::new(&self.folder)?),
        };
        if spool.written - spool.read > MAX_SPOOLED_BYTES {
            return Err(io::Error::other("the client is too far behind"));
        }
        spool.file.write_all_at(bytes, spool.written)?;
        spool.written += bytes.len() as u64;
        Ok(())
    }

    /// Sends what the client takes now.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) fn flush(&mut self, to: impl AsFd) -> io::Result<()> {
        loop {
            if self.waiting.is_empty() && !self.refill()? {
                return Ok(());
            }
            let (first, _) = self.waiting.as_slices();
            let sent = send_some(&to, first)?;
            if sent == 0 {
                return Ok(());
            }
            self.progress = Instant::now();
            self.waiting.drain(..sent);
        }
    }

    /// Takes from the file; false: nothing is left.
    fn refill(&mut self) -> io::Result<bool> {
        let Some(spool) = &mut self.spool else {
            self.waiting.shrink_to(64 << 10);
            return Ok(false);
        };
        let length = (spool.written - spool.read).min(MAX_WAITING_BYTES as u64);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        spool.file.read_exact_at(&mut bytes, spool.read)?;
        spool.read += length;
        if spool.read == spool.written {
            self.spool = None;
        }
        self.waiting = bytes.into();
        Ok(!self.waiting.is_empty())
    }
}

impl Spool {
    fn new(folder: &Path) -> io::Result<Self> {
        let file = rustix::fs::open(
            folder,
            OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )?;
        Ok(Self {
            file: file.into(),
            read: 0,
            written: 0,
        })
    }
}

/// 0: the client takes nothing now.
fn send_some(to: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match send(&to, bytes, flags) {
            Ok(sent) => return Ok(sent),
            Err(rustix::io::Errno::AGAIN) => return Ok(0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, os::unix::net::UnixStream};

    #[test]
    fn nothing_is_lost_when_a_client_stalls_and_reads_again() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, mut client) = UnixStream::pair().unwrap();
        let mut queue = Queue::new(folder.path());
        let block: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        for _ in 0..30 {
            queue.push(&ours, &block).unwrap();
        }
        assert!(
            queue.spool.is_some(),
            "3 MB are more than what waits in memory"
        );
        assert!(queue.holds_back_until(Instant::now()).is_some());
        assert!(
            queue
                .holds_back_until(Instant::now() + STALLED_AFTER)
                .is_none()
        );
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            client.read_to_end(&mut all).unwrap();
            all
        });
        while !queue.is_empty() {
            let mut ready = [rustix::event::PollFd::new(
                &ours,
                rustix::event::PollFlags::OUT,
            )];
            rustix::event::poll(&mut ready, None).unwrap();
            queue.flush(&ours).unwrap();
        }
        drop(ours);
        assert_eq!(reader.join().unwrap(), block.repeat(30));
    }

    #[test]
    fn a_client_that_left_is_an_error() {
        let (ours, client) = UnixStream::pair().unwrap();
        drop(client);
        assert!(Queue::new(Path::new("/nowhere")).push(&ours, b"x").is_err());
    }
}
