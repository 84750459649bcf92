//! Frames as bytes: pure, for whatever moves them.

use serde::{Serialize, de::DeserializeOwned};

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
}
