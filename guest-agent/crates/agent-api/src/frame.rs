//! Frames as bytes, and over readers and writers of either colour. Nothing here opens anything; tokio is here for its traits only.

use std::io::{self, Read, Write};

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::MAX_FRAME_BYTES;

/// A frame could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME_BYTES`].
    #[error("frame of {0} bytes is over the bound of {MAX_FRAME_BYTES}")]
    TooLong(usize),
    /// Not the JSON that was expected.
    #[error("frame is not the message expected here")]
    Malformed(#[source] serde_json::Error),
}

/// A message with its length before it.
///
/// # Errors
/// [`FrameError::TooLong`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message).map_err(FrameError::Malformed)?;
    let length = bytes.len() - 4;
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong(length));
    }
    let length = u32::try_from(length).map_err(|_| FrameError::TooLong(length))?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// The length that four header bytes announce.
///
/// # Errors
/// [`FrameError::TooLong`].
pub fn length(header: [u8; 4]) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(header) as usize;
    if length > MAX_FRAME_BYTES {
        Err(FrameError::TooLong(length))
    } else {
        Ok(length)
    }
}

/// The message in a frame's body.
///
/// # Errors
/// [`FrameError::Malformed`].
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(body).map_err(FrameError::Malformed)
}

/// Reads one message from a blocking reader; `None` at a clean end before a frame.
///
/// # Errors
/// What the reader says; `InvalidData` with a [`FrameError`] in it.
pub fn read_from<T: DeserializeOwned>(reader: &mut impl Read) -> io::Result<Option<T>> {
    let mut header = [0; 4];
    if reader.read(&mut header[..1])? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut header[1..])?;
    let mut body = vec![0; length(header).map_err(invalid)?];
    reader.read_exact(&mut body)?;
    decode(&body).map(Some).map_err(invalid)
}

/// Writes one message to a blocking writer.
///
/// # Errors
/// What the writer says; `InvalidData` with a [`FrameError`] in it.
pub fn write_to<T: Serialize>(writer: &mut impl Write, message: &T) -> io::Result<()> {
    writer.write_all(&encode(message).map_err(invalid)?)
}

/// [`read_from`] for an asynchronous reader. Not cancel-safe.
///
/// # Errors
/// As [`read_from`].
pub async fn receive<T: DeserializeOwned>(
    reader: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let mut header = [0; 4];
    if reader.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut header[1..]).await?;
    let mut body = vec![0; length(header).map_err(invalid)?];
    reader.read_exact(&mut body).await?;
    decode(&body).map(Some).map_err(invalid)
}

/// [`write_to`] for an asynchronous writer.
///
/// # Errors
/// As [`write_to`].
pub async fn send<T: Serialize>(
    writer: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> io::Result<()> {
    writer.write_all(&encode(message).map_err(invalid)?).await
}

fn invalid(error: FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back() {
        let bytes = encode(&"hello").expect("short");
        let (header, body) = bytes.split_at(4);
        assert_eq!(
            length(header.try_into().expect("four")).expect("in bounds"),
            body.len()
        );
        assert_eq!(decode::<String>(body).expect("same"), "hello");
    }

    #[test]
    fn a_length_over_the_bound_is_refused() {
        assert!(length(u32::MAX.to_le_bytes()).is_err());
    }

    #[test]
    fn a_cut_frame_is_an_error_and_an_empty_stream_is_the_end() {
        let bytes = encode(&"hello").expect("short");
        assert_eq!(
            read_from::<String>(&mut &bytes[..]).expect("whole"),
            Some("hello".to_owned())
        );
        assert!(read_from::<String>(&mut &bytes[..6]).is_err());
        assert_eq!(read_from::<String>(&mut &[][..]).expect("end"), None);
    }
}
