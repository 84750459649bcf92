//! One entry of a `local` log, as bytes and as a value. Pure; the decoder never panics.
//!
//! ```text
//!   length (u32, big endian) · protobuf LogEntry · the same length again
//!     1 source "stdout"  2 time in ns  3 line without its end  4 is partial  5 { 1 last  2 id  3 ordinal }
//! ```
//! Spec: Docker, api/types/plugins/logdriver/entry.proto; protocol buffers, encoding.

use engine::ports::world::Timestamp;

use super::message::{Message, Partial};

/// Bytes of a length.
pub const LENGTH_BYTES: usize = 4;
/// Longest message that is decoded, as in Docker.
pub const MAX_MESSAGE_BYTES: usize = 1_000_000;

/// An entry that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// From standard error.
    pub stderr: bool,
    /// When it was written.
    pub at: Timestamp,
    /// Without a line end.
    pub text: Vec<u8>,
    /// It is a piece of a line.
    pub is_partial: bool,
    /// The line's id.
    pub partial_id: String,
    /// Which piece.
    pub ordinal: i32,
    /// The last piece.
    pub last: bool,
}

impl Entry {
    /// The entry as a message.
    #[must_use]
    pub fn message(&self) -> Message<'_> {
        Message {
            stderr: self.stderr,
            at: self.at,
            text: &self.text,
            partial: self.is_partial.then_some(Partial {
                id: &self.partial_id,
                ordinal: self.ordinal,
                last: self.last,
            }),
        }
    }
}

/// Appends one entry with both lengths.
pub fn encode(out: &mut Vec<u8>, message: &Message<'_>) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    let source: &[u8] = if message.stderr { b"stderr" } else { b"stdout" };
    bytes_field(out, 1, source);
    number_field(out, 2, message.at.0.cast_unsigned());
    bytes_field(out, 3, message.text);
    if let Some(partial) = message.partial {
        number_field(out, 4, 1);
        let mut inner = Vec::with_capacity(partial.id.len() + 16);
        number_field(&mut inner, 1, u64::from(partial.last));
        bytes_field(&mut inner, 2, partial.id.as_bytes());
        number_field(&mut inner, 3, i64::from(partial.ordinal).cast_unsigned());
        key(out, 5, 2);
        varint(out, inner.len() as u64);
        out.extend_from_slice(&inner);
    }
    // A text has at most 16 KiB, so the length fits.
    let length = u32::try_from(out.len() - start - LENGTH_BYTES).unwrap_or(u32::MAX);
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
}

fn key(out: &mut Vec<u8>, field: u8, wire_type: u8) {
    out.push(field << 3 | wire_type);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

/// Left out when it is zero.
fn number_field(out: &mut Vec<u8>, field: u8, value: u64) {
    if value != 0 {
        key(out, field, 0);
        varint(out, value);
    }
}

/// Left out when it is empty.
fn bytes_field(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    if !value.is_empty() {
        key(out, field, 2);
        varint(out, value.len() as u64);
        out.extend_from_slice(value);
    }
}

/// What is at the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// An entry and how many bytes it took.
    Entry(Entry, usize),
    /// Not all of it is there.
    More,
    /// No entry: the rest cannot be made sense of.
    Broken,
}

/// Reads the first entry of a buffer.
#[must_use]
pub fn decode(buffer: &[u8]) -> Found {
    let Some(length) = length(buffer) else {
        return Found::More;
    };
    // No entry is empty; zeros are what a power cut leaves of what was not written.
    if length == 0 || length > MAX_MESSAGE_BYTES {
        return Found::Broken;
    }
    let end = LENGTH_BYTES + length;
    let Some(trailer) = buffer.get(end..end + LENGTH_BYTES) else {
        return Found::More;
    };
    if trailer != &buffer[..LENGTH_BYTES] {
        return Found::Broken;
    }
    match decode_message(&buffer[LENGTH_BYTES..end]) {
        Some(entry) => Found::Entry(entry, end + LENGTH_BYTES),
        None => Found::Broken,
    }
}

/// The length a buffer begins with.
#[must_use]
pub fn length(buffer: &[u8]) -> Option<usize> {
    let first = buffer.first_chunk::<LENGTH_BYTES>()?;
    usize::try_from(u32::from_be_bytes(*first)).ok()
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn decode_message(mut bytes: &[u8]) -> Option<Entry> {
    let mut entry = Entry::default();
    while !bytes.is_empty() {
        match take_field(&mut bytes)? {
            (1, Value::Bytes(source)) => entry.stderr = source == b"stderr",
            (2, Value::Number(time)) => entry.at = Timestamp(time.cast_signed()),
            (3, Value::Bytes(text)) => entry.text = text.to_vec(),
            (4, Value::Number(partial)) => entry.is_partial = partial != 0,
            (5, Value::Bytes(mut inner)) => {
                while !inner.is_empty() {
                    match take_field(&mut inner)? {
                        (1, Value::Number(last)) => entry.last = last != 0,
                        (2, Value::Bytes(id)) => {
                            entry.partial_id = String::from_utf8_lossy(id).into_owned();
                        }
                        (3, Value::Number(ordinal)) => {
                            entry.ordinal = i32::try_from(ordinal.cast_signed()).ok()?;
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(entry)
}

/// Takes a field; fixed-size ones, which no known field is, are skipped as bytes.
fn take_field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let key = take_varint(bytes)?;
    let value = match key & 7 {
        0 => Value::Number(take_varint(bytes)?),
        1 => Value::Bytes(take(bytes, 8)?),
        2 => {
            let length = usize::try_from(take_varint(bytes)?).ok()?;
            Value::Bytes(take(bytes, length)?)
        }
        5 => Value::Bytes(take(bytes, 4)?),
        _ => return None,
    };
    Some((key >> 3, value))
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<'a>(text: &'a [u8], partial: Option<Partial<'a>>) -> Message<'a> {
        Message {
            stderr: true,
            at: Timestamp(1_700_000_000_123_456_789),
            text,
            partial,
        }
    }

    #[test]
    fn bytes_are_dockers() {
        let mut out = Vec::new();
        encode(
            &mut out,
            &Message {
                stderr: false,
                at: Timestamp(300),
                text: b"hi",
                partial: None,
            },
        );
        let expected = [
            &[0, 0, 0, 15, 0x0a, 6][..],
            b"stdout",
            &[0x10, 0xac, 0x02, 0x1a, 2],
            b"hi",
            &[0, 0, 0, 15],
        ];
        assert_eq!(out, expected.concat());
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let partial = Partial {
            id: "ab",
            ordinal: 3,
            last: true,
        };
        for message in [message(b"", None), message(b"text", Some(partial))] {
            let mut out = Vec::new();
            encode(&mut out, &message);
            let Found::Entry(entry, used) = decode(&out) else {
                panic!()
            };
            assert_eq!((entry.message(), used), (message, out.len()));
            for end in 0..out.len() {
                assert_eq!(decode(&out[..end]), Found::More, "cut at {end}");
            }
        }
    }

    #[test]
    fn nonsense_is_no_entry() {
        assert_eq!(decode(&[0xff; 64]), Found::Broken);
        assert_eq!(decode(&[0; 64]), Found::Broken);
        assert_eq!(decode(&[0, 0, 0, 1, 0xff, 0, 0, 0, 1]), Found::Broken);
        assert_eq!(decode(&[0, 0, 0, 1, 8, 0, 0, 0, 2]), Found::Broken);
        for seed in 0..2000u32 {
            let body: Vec<u8> = (0..20u32)
                .map(|i| (seed.wrapping_mul(2_654_435_761) >> (i % 24)).to_le_bytes()[0])
                .collect();
            let mut bytes = 20u32.to_be_bytes().to_vec();
            bytes.extend_from_slice(&body);
            bytes.extend_from_slice(&20u32.to_be_bytes());
            let _ = decode(&bytes);
        }
    }
}
