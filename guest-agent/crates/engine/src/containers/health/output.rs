//! What a probe writes: both of its streams as they come, the first bytes only.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of a probe's output that are kept.
const MAX_OUTPUT_BYTES: usize = 4096;
/// One read.
const BUFFER_BYTES: usize = 4096;
/// Stream, three zeros, length. Docker API: POST /containers/{id}/attach, stream format.
const HEADER_BYTES: usize = 8;

/// Output in frames, taken apart and bounded.
#[derive(Debug, Default)]
pub(super) struct Output {
    kept: Vec<u8>,
    cut: bool,
    header: Vec<u8>,
    /// Bytes of the frame that are still to come.
    left: usize,
}

impl Output {
    /// Reads to the end of a stream. What came before it was given up is kept.
    pub(super) async fn read(&mut self, mut from: impl AsyncRead + Unpin) {
        let mut buffer = [0; BUFFER_BYTES];
        // A stream that breaks is one that has ended: the exit code is told elsewhere.
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            self.push(&buffer[..count]);
        }
    }

    fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left == 0 {
                let missing = HEADER_BYTES - self.header.len();
                let (head, rest) = bytes.split_at(missing.min(bytes.len()));
                self.header.extend_from_slice(head);
                bytes = rest;
                if let [.., a, b, c, d] = self.header[..]
                    && self.header.len() == HEADER_BYTES
                {
                    self.left =
                        usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                    self.header.clear();
                }
                continue;
            }
            let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
            let room = MAX_OUTPUT_BYTES - self.kept.len();
            self.cut |= payload.len() > room;
            self.kept
                .extend_from_slice(&payload[..payload.len().min(room)]);
            self.left -= payload.len();
            bytes = rest;
        }
    }

    /// As text; each byte that is none becomes a replacement character, and `...` says that there was more.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for chunk in self.kept.utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
        }
        if self.cut {
            text.push_str("...");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0][..], &length, payload].concat()
    }

    #[test]
    fn both_streams_are_kept_whatever_the_pieces_they_come_in() {
        let bytes = [frame(1, b"out\n"), frame(2, b""), frame(2, b"err\xff\xfe")].concat();
        for size in 1..bytes.len() {
            let mut output = Output::default();
            bytes.chunks(size).for_each(|piece| output.push(piece));
            assert_eq!(output.text(), "out\nerr\u{fffd}\u{fffd}", "{size}");
        }
    }

    #[test]
    fn output_has_a_bound_that_is_shown() {
        let mut output = Output::default();
        output.push(&frame(1, &[b'a'; MAX_OUTPUT_BYTES]));
        assert_eq!(output.text().len(), MAX_OUTPUT_BYTES);
        output.push(&frame(1, b"b"));
        assert_eq!(
            output.text(),
            format!("{}...", "a".repeat(MAX_OUTPUT_BYTES))
        );
    }
}
