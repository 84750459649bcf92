//! Byte streams between a client that took over its connection and the engine.

use std::io;

use engine::ports::ByteStream;
use tokio::io::{AsyncRead, AsyncWrite};

/// Per direction; large enough that a fast stream is not bound by system calls, and all that a client that never reads can hold.
pub const BUFFER_BYTES: usize = 64 << 10;

/// Copies both ways until both sides have ended. The end of one direction is handed on as the end of that direction only: a client that
/// ends its input still gets all output.
///
/// # Errors
/// When either side breaks.
pub async fn splice<C>(client: &mut C, engine: &mut ByteStream) -> io::Result<(u64, u64)>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    tokio::io::copy_bidirectional_with_sizes(client, engine, BUFFER_BYTES, BUFFER_BYTES).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_client_that_ends_its_input_still_gets_all_output() {
        let (mut client, mut server_side) = tokio::io::duplex(16);
        let (engine_side, mut process) = tokio::io::duplex(16);
        let mut engine_side: ByteStream = Box::new(engine_side);
        let copying = tokio::spawn(async move { splice(&mut server_side, &mut engine_side).await });
        client.write_all(b"in").await.unwrap();
        client.shutdown().await.unwrap();
        let mut input = String::new();
        process.read_to_string(&mut input).await.unwrap();
        assert_eq!(input, "in");
        let writing = tokio::spawn(async move {
            process.write_all(&[7; 100_000]).await.unwrap();
            process.shutdown().await.unwrap();
        });
        let mut output = Vec::new();
        client.read_to_end(&mut output).await.unwrap();
        writing.await.unwrap();
        assert_eq!(output.len(), 100_000);
        assert_eq!(copying.await.unwrap().unwrap(), (2, 100_000));
    }
}
