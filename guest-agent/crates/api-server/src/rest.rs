//! What is left of a body when its operation has failed.
//!
//! A client that is still sending when its connection is closed loses the answer, so what it has to say is heard to the end first, within bounds.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// Most that is heard.
const MAX_BYTES: u64 = 64 << 20;
/// Longest that is listened.
const MAX_TIME: Duration = Duration::from_secs(5);

/// A body that two have in hand: who reads it, and who hears the rest of it.
#[derive(Debug)]
pub(crate) struct Shared<R>(Arc<Mutex<R>>);

impl<R: AsyncRead + Unpin> Shared<R> {
    /// The same body twice.
    pub(crate) fn pair(reader: R) -> (Self, Self) {
        let reader = Arc::new(Mutex::new(reader));
        (Self(Arc::clone(&reader)), Self(reader))
    }

    /// Hears the rest, if it comes soon.
    pub(crate) async fn hear(self) {
        let (mut rest, mut nothing) = (self.take(MAX_BYTES), tokio::io::sink());
        let heard = tokio::io::copy(&mut rest, &mut nothing);
        // Whoever sends more, or nothing, has had its time.
        let _ = tokio::time::timeout(MAX_TIME, heard).await;
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Shared<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut reader = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *reader).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_rest_is_heard_after_a_part_was_read() {
        let (mut sender, receiver) = tokio::io::duplex(16);
        let (mut one, other) = Shared::pair(receiver);
        let sending = tokio::spawn(async move {
            tokio::io::AsyncWriteExt::write_all(&mut sender, &[7; 1000]).await
        });
        let mut part = [0; 10];
        one.read_exact(&mut part).await.expect("a part");
        other.hear().await;
        sending.await.expect("ended").expect("all was taken");
    }
}
