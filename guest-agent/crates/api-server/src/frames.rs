//! The 8-byte frames that carry stdout and stderr over one connection.

/// Bytes before each payload: stream, three zeros, big-endian length.
pub const HEADER_BYTES: usize = 8;

/// Which stream a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard input, echoed.
    Stdin = 0,
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
    /// An error of the engine, in the middle of a stream.
    System = 3,
}

/// A frame's header. `None` when the payload does not fit in 32 bits.
pub fn encode_header(stream: Stream, payload_bytes: usize) -> Option<[u8; HEADER_BYTES]> {
    let [a, b, c, d] = u32::try_from(payload_bytes).ok()?.to_be_bytes();
    Some([stream as u8, 0, 0, 0, a, b, c, d])
}

/// Reads a header back. `None` for an unknown stream.
pub fn decode_header(header: [u8; HEADER_BYTES]) -> Option<(Stream, u32)> {
    let [stream, _, _, _, a, b, c, d] = header;
    let stream = match stream {
        0 => Stream::Stdin,
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        3 => Stream::System,
        _ => return None,
    };
    Some((stream, u32::from_be_bytes([a, b, c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back_as_written() {
        for stream in [
            Stream::Stdin,
            Stream::Stdout,
            Stream::Stderr,
            Stream::System,
        ] {
            let header = encode_header(stream, 0x0102_0304).unwrap();
            assert_eq!(header[4..], [1, 2, 3, 4]);
            assert_eq!(decode_header(header), Some((stream, 0x0102_0304)));
        }
        assert_eq!(decode_header([9; 8]), None);
    }
}
