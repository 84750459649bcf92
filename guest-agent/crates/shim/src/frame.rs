//! The multiplexed stream of attach, exec and logs without a TTY. Docker API: POST /containers/{id}/attach, stream format.
//!
//! ```text
//!   0        1..4   4..8                 8..
//!   stream   zero   length, big endian   payload
//! ```

/// Bytes before each payload.
pub const HEADER_BYTES: usize = 8;

/// Which stream a frame carries, with its number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
}

/// The header of a frame with a payload of this length.
#[must_use]
pub fn header(stream: Stream, payload_bytes: u32) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = payload_bytes.to_be_bytes();
    [stream as u8, 0, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_dockers() {
        assert_eq!(header(Stream::Stdout, 5), [1, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(
            header(Stream::Stderr, 0x0102_0304),
            [2, 0, 0, 0, 1, 2, 3, 4]
        );
    }
}
