//! How many attached clients have not had all output: an end is told after they have.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
};

use crate::ports::ByteStream;

/// The clients attached to one container.
#[derive(Debug, Clone)]
pub(crate) struct Clients(Arc<watch::Sender<usize>>);

impl Default for Clients {
    fn default() -> Self {
        Self(Arc::new(watch::channel(0).0))
    }
}

impl Clients {
    /// A client counts until it drops its stream.
    pub(crate) fn count(&self, stream: ByteStream) -> ByteStream {
        self.0.send_modify(|clients| *clients += 1);
        Box::new(Counted {
            stream,
            clients: self.clone(),
        })
    }

    /// Ends when there are none.
    pub(crate) async fn gone(&self) {
        // The sender is here, so it cannot fail.
        let _ = self.0.subscribe().wait_for(|clients| *clients == 0).await;
    }
}

struct Counted {
    stream: ByteStream,
    clients: Clients,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.clients.0.send_modify(|clients| *clients -= 1);
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Of what has nothing to wait for.
    fn now<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("ready")
    }

    #[test]
    fn a_client_counts_until_it_drops_its_stream() {
        let clients = Clients::default();
        now(clients.gone());
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut stream = clients.count(Box::new(ours));
        now(theirs.write_all(b"out")).unwrap();
        now(stream.write_all(b"in")).unwrap();
        now(stream.shutdown()).unwrap();
        drop(theirs);
        let mut output = String::new();
        now(stream.read_to_string(&mut output)).unwrap();
        assert_eq!(output, "out");
        assert_eq!(clients.gone().now_or_never(), None);
        drop(stream);
        now(clients.gone());
    }
}
