//! The guest's log: what init says and what the engine writes, kept in a bounded ring and shown to whoever asks.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::broadcast,
};

/// Bytes of the past that are kept.
const RING_BYTES: usize = 1 << 20;

/// Pieces a follower may lag behind before it loses some.
const FOLLOW_PIECES: usize = 1024;

/// Longest piece read from a child at once.
const PIECE_BYTES: usize = 8 << 10;

type Piece = Arc<[u8]>;

/// A cheap handle on the log.
#[derive(Debug, Clone)]
pub(super) struct Log {
    ring: Arc<Mutex<VecDeque<u8>>>,
    pieces: broadcast::Sender<Piece>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            ring: Arc::default(),
            pieces: broadcast::Sender::new(FOLLOW_PIECES),
        }
    }

    /// Appends, dropping the oldest bytes beyond the bound.
    pub(super) fn append(&self, bytes: &[u8]) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.extend(bytes);
        let excess = ring.len().saturating_sub(RING_BYTES);
        ring.drain(..excess);
        // Under the ring's lock, so that a new follower sees each piece either in the ring or in the channel.
        let _no_follower = self.pieces.send(Arc::from(bytes));
    }

    /// Reads a child's output to its end.
    pub(super) async fn take_in(&self, mut output: impl AsyncRead + Unpin) {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(length @ 1..) = output.read(&mut piece).await {
            self.append(&piece[..length]);
        }
    }

    /// Writes the past, and what comes when `follow`, until the reader leaves.
    pub(super) async fn show(
        &self,
        mut to: impl AsyncWrite + Unpin,
        follow: bool,
    ) -> io::Result<()> {
        let (past, mut pieces) = {
            let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            (
                ring.iter().copied().collect::<Vec<u8>>(),
                self.pieces.subscribe(),
            )
        };
        to.write_all(&past).await?;
        if !follow {
            return to.shutdown().await;
        }
        loop {
            match pieces.recv().await {
                Ok(piece) => to.write_all(&piece).await?,
                Err(broadcast::error::RecvError::Lagged(pieces)) => {
                    to.write_all(format!("[{pieces} pieces of the log lost]\n").as_bytes())
                        .await?;
                }
                Err(broadcast::error::RecvError::Closed) => return to.shutdown().await,
            }
        }
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes);
        // The console is for the case that nobody can ask any more; a failure to write to it has no other place to go.
        let _console = io::stderr().write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_log_forgets_its_oldest_bytes() {
        let log = Log::new();
        log.append(b"first");
        log.append(&vec![b'x'; RING_BYTES]);
        let mut shown = Vec::new();
        log.show(&mut shown, false)
            .await
            .expect("a vector takes all");
        assert_eq!(shown.len(), RING_BYTES);
        assert!(shown.iter().all(|byte| *byte == b'x'));
    }

    #[tokio::test]
    async fn a_follower_sees_what_comes_after_what_was() {
        let log = Log::new();
        log.append(b"was ");
        let (near, mut far) = tokio::io::duplex(64);
        let shower = tokio::spawn({
            let log = log.clone();
            async move { log.show(near, true).await }
        });
        let mut four = [0; 4];
        far.read_exact(&mut four).await.expect("the past");
        log.append(b"next");
        far.read_exact(&mut four).await.expect("the present");
        assert_eq!(&four, b"next");
        shower.abort();
    }
}
