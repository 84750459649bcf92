//! A body on its way to an operation that runs elsewhere.
//!
//! The body is read in the task of its connection: clients send many small pieces, and each would wake another thread otherwise. When the operation
//! fails, what the client is still sending is heard within bounds: one whose connection is closed meanwhile loses the answer.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use errdefs::Result;
use futures_util::future::{Either, select};
use tokio::{
    io::{AsyncRead, AsyncReadExt, ReadBuf},
    sync::mpsc,
};

/// Pieces under way, and the most bytes of one.
const PIECES: usize = 16;
const PIECE_BYTES: usize = 64 << 10;

/// Most that is heard after a failure, and for how long.
const MAX_BYTES: u64 = 64 << 20;
const MAX_TIME: Duration = Duration::from_secs(5);

/// Runs an operation on a body.
pub(crate) async fn relay<T, F: Future<Output = Result<T>>>(
    mut body: impl AsyncRead + Unpin,
    operation: impl FnOnce(Relayed) -> F,
) -> Result<T> {
    let (sender, pieces) = mpsc::channel(PIECES);
    let relayed = Relayed {
        pieces,
        piece: Bytes::new(),
        has_ended: false,
    };
    let result = {
        let operation = pin!(operation(relayed));
        let feeding = pin!(feed(&mut body, sender));
        match select(operation, feeding).await {
            Either::Left((result, _)) => result,
            Either::Right(((), operation)) => operation.await,
        }
    };
    if result.is_err() {
        let (mut rest, mut nothing) = (body.take(MAX_BYTES), tokio::io::sink());
        let heard = tokio::io::copy(&mut rest, &mut nothing);
        // Whoever sends more, or nothing, has had its time.
        let _ = tokio::time::timeout(MAX_TIME, heard).await;
    }
    result
}

/// Sends a body piece by piece; an empty piece is its end.
async fn feed(body: &mut (impl AsyncRead + Unpin), pieces: mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        let read = body.read_buf(&mut piece).await;
        let is_last = !matches!(read, Ok(1..));
        let sent = pieces.send(read.map(|_| piece.freeze())).await;
        if is_last || sent.is_err() {
            return;
        }
    }
}

/// The operation's end of a body. One whose client has left ends with an error.
#[derive(Debug)]
pub(crate) struct Relayed {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
    has_ended: bool,
}

impl AsyncRead for Relayed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.piece.is_empty() && !self.has_ended {
            let next = ready!(self.pieces.poll_recv(context));
            self.piece = next.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))?;
            self.has_ended = self.piece.is_empty();
        }
        // As much as there is, so that whoever reads is woken less often.
        while !self.piece.is_empty() && buffer.remaining() > 0 {
            let count = self.piece.len().min(buffer.remaining());
            buffer.put_slice(&self.piece[..count]);
            self.piece.advance(count);
            if self.piece.is_empty()
                && let Ok(Ok(more)) = self.pieces.try_recv()
            {
                self.has_ended = more.is_empty();
                self.piece = more;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use errdefs::{Error, ErrorKind};
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_body_arrives_whole() {
        let (mut sender, receiver) = tokio::io::duplex(16);
        let sending = tokio::spawn(async move { sender.write_all(&[7; 1000]).await });
        let read = relay(receiver, |mut body| async move {
            let mut all = Vec::new();
            body.read_to_end(&mut all).await.expect("read");
            Ok(all)
        });
        assert_eq!(read.await.expect("read"), [7; 1000]);
        sending.await.expect("ended").expect("sent");
    }

    #[tokio::test]
    async fn the_rest_is_heard_when_the_operation_fails() {
        let (mut sender, receiver) = tokio::io::duplex(16);
        let sending = tokio::spawn(async move { sender.write_all(&[7; 1000]).await });
        let failed: Result<()> = relay(receiver, |mut body| async move {
            let mut part = [0; 10];
            body.read_exact(&mut part).await.expect("a part");
            Err(Error::new(ErrorKind::Conflict, "no"))
        })
        .await;
        assert!(failed.is_err());
        sending.await.expect("ended").expect("all was taken");
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_no_good_end() {
        let (sender, pieces) = mpsc::channel(1);
        let mut body = Relayed {
            pieces,
            piece: Bytes::new(),
            has_ended: false,
        };
        sender
            .send(Ok(Bytes::from_static(b"part")))
            .await
            .expect("sent");
        drop(sender);
        let mut all = Vec::new();
        let error = body.read_to_end(&mut all).await.expect_err("cut");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(all, b"part");
    }
}
