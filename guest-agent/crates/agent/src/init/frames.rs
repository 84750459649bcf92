//! Frames of `agent-api` over tokio's streams.

use std::io;

use agent_api::frame;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The next message; `None` at a clean end before a frame.
pub(crate) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let mut header = [0; 4];
    if from.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut header[1..]).await?;
    let mut body = vec![0; frame::length(header).map_err(invalid)?];
    from.read_exact(&mut body).await?;
    frame::decode(&body).map(Some).map_err(invalid)
}

/// Writes one message.
pub(crate) async fn write<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> io::Result<()> {
    to.write_all(&frame::encode(message).map_err(invalid)?)
        .await
}

fn invalid(error: frame::FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
