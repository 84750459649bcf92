//! Cuts what a container writes into messages, as Docker does: at line ends, and after 16 KiB without one.

use engine::ports::world::Timestamp;

use log_drivers::message::{Message, Partial};

/// Longest text of one message.
pub(super) const MAX_TEXT_BYTES: usize = 16 * 1024;

/// One of a container's streams.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    stderr: bool,
    /// The start of a line or of a piece.
    begun: Vec<u8>,
    line: Option<LongLine>,
}

/// A line of which pieces were given out.
#[derive(Debug)]
struct LongLine {
    id: String,
    at: Timestamp,
    ordinal: i32,
}

impl Cutter {
    pub(super) fn new(stderr: bool) -> Self {
        Self {
            stderr,
            ..Self::default()
        }
    }

    /// Takes what was read, and gives whole lines and full pieces.
    pub(super) fn cut(
        &mut self,
        at: Timestamp,
        mut bytes: &[u8],
        id: impl Fn() -> String,
        mut give: impl FnMut(&Message<'_>),
    ) {
        while !bytes.is_empty() {
            let room = MAX_TEXT_BYTES - self.begun.len();
            let window = &bytes[..bytes.len().min(room)];
            let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
                let full = window.len() == room;
                self.begun.extend_from_slice(window);
                bytes = &bytes[window.len()..];
                if full {
                    self.piece(at, &id, &mut give);
                }
                continue;
            };
            let text = &window[..end];
            bytes = &bytes[end + 1..];
            if self.begun.is_empty() {
                self.line_end(at, text, &mut give);
            } else {
                let mut whole = std::mem::take(&mut self.begun);
                whole.extend_from_slice(text);
                self.line_end(at, &whole, &mut give);
                whole.clear();
                self.begun = whole;
            }
        }
    }

    /// The stream is over: what has no line end is given as it is.
    pub(super) fn finish(
        &mut self,
        at: Timestamp,
        id: impl Fn() -> String,
        mut give: impl FnMut(&Message<'_>),
    ) {
        if !self.begun.is_empty() {
            self.piece(at, &id, &mut give);
        }
    }

    fn line_end(&mut self, at: Timestamp, text: &[u8], give: &mut impl FnMut(&Message<'_>)) {
        let line = self.line.take();
        give(&Message {
            stderr: self.stderr,
            at: line.as_ref().map_or(at, |line| line.at),
            text,
            partial: line.as_ref().map(|line| Partial {
                id: &line.id,
                ordinal: line.ordinal,
                last: true,
            }),
        });
    }

    fn piece(
        &mut self,
        at: Timestamp,
        id: &impl Fn() -> String,
        give: &mut impl FnMut(&Message<'_>),
    ) {
        let line = self.line.get_or_insert_with(|| LongLine {
            id: id(),
            at,
            ordinal: 1,
        });
        give(&Message {
            stderr: self.stderr,
            at: line.at,
            text: &self.begun,
            partial: Some(Partial {
                id: &line.id,
                ordinal: line.ordinal,
                last: false,
            }),
        });
        line.ordinal = line.ordinal.saturating_add(1);
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Told = (i64, Vec<u8>, Option<(i32, bool)>);

    fn told(message: &Message<'_>) -> Told {
        let partial = message
            .partial
            .map(|partial| (partial.ordinal, partial.last));
        (message.at.0, message.text.to_vec(), partial)
    }

    #[test]
    fn lines_are_cut_at_line_ends_and_at_the_bound_whatever_the_reads_were() {
        let long = vec![b'x'; MAX_TEXT_BYTES];
        let text = [b"one\n", &long[..], &long[..], b"end\n\ntail"].concat();
        for read_bytes in [1, 7, 4096, text.len()] {
            let mut cutter = Cutter::new(false);
            let mut all = Vec::new();
            for read in text.chunks(read_bytes) {
                cutter.cut(Timestamp(5), read, String::new, |message| {
                    all.push(told(message))
                });
            }
            cutter.finish(Timestamp(6), String::new, |message| all.push(told(message)));
            let expected: Vec<Told> = vec![
                (5, b"one".to_vec(), None),
                (5, long.clone(), Some((1, false))),
                (5, long.clone(), Some((2, false))),
                (5, b"end".to_vec(), Some((3, true))),
                (5, Vec::new(), None),
                (6, b"tail".to_vec(), Some((1, false))),
            ];
            assert!(all == expected, "reads of {read_bytes}");
        }
    }

    #[test]
    fn pieces_carry_the_time_of_the_first() {
        let mut cutter = Cutter::new(true);
        let mut all = Vec::new();
        cutter.cut(Timestamp(1), &[b'x'; MAX_TEXT_BYTES], String::new, |m| {
            all.push(told(m))
        });
        cutter.cut(Timestamp(2), b"\nnext\n", String::new, |m| {
            all.push(told(m))
        });
        assert_eq!((all[1].0, &all[1].2), (1, &Some((2, true))));
        assert_eq!((all[2].0, &all[2].2), (2, &None));
    }
}
