//! One entry of a json-file log, as bytes and as a value. Pure; the decoder reads what others may have written and never panics.
//!
//! ```text
//!   {"log":"hello\n","stream":"stdout","attrs":{"k":"v"},"time":"2026-01-02T03:04:05.6Z"}\n
//! ```
//! Escapes are those of Docker's writer: `\n`, `\r`, `\\`, `\"`, everything else below 0x20 and `<`, `>`, `&`, U+2028, U+2029 as `\u....`;
//! bytes that are no UTF-8 become U+FFFD.

use std::collections::BTreeMap;

use engine::{
    ports::world::Timestamp,
    time::{parse_rfc3339, write_rfc3339},
};

use log_drivers::message::Message;

use super::cutter::MAX_TEXT_BYTES;

/// Longest line of a file that is decoded: every byte of the text escaped as `\u....`, and room for labels and the other fields.
pub const MAX_ENCODED_BYTES: usize = MAX_TEXT_BYTES * 6 + (1 << 20);

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// From standard error.
    pub stderr: bool,
    /// When it was read from the container.
    pub at: Timestamp,
    /// Its text with the line end, if it had one.
    pub text: Vec<u8>,
    /// Labels and the like.
    pub attributes: BTreeMap<String, String>,
}

/// Why a line of a file is no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Longer than [`MAX_ENCODED_BYTES`].
    #[error("log line is longer than {MAX_ENCODED_BYTES} bytes")]
    TooLong,
    /// Not JSON of the expected shape.
    #[error("log line is not a json-file entry")]
    Malformed,
}

/// Attributes as [`encode`] takes them.
#[must_use]
pub fn encode_attributes(attributes: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, (name, value)) in attributes.iter().enumerate() {
        out.extend_from_slice(if index == 0 {
            b",\"attrs\":{\""
        } else {
            b",\""
        });
        escape(&mut out, name.as_bytes());
        out.extend_from_slice(b"\":\"");
        escape(&mut out, value.as_bytes());
        out.push(b'"');
    }
    if !out.is_empty() {
        out.push(b'}');
    }
    out
}

/// Appends one encoded entry, line end included.
pub fn encode(out: &mut Vec<u8>, message: &Message<'_>, attributes: &[u8]) {
    out.reserve(message.text.len() + attributes.len() + 80);
    let ends_line = message.ends_line();
    out.push(b'{');
    if ends_line || !message.text.is_empty() {
        out.extend_from_slice(b"\"log\":\"");
        escape(out, message.text);
        out.extend_from_slice(if ends_line { b"\\n\"," } else { b"\"," });
    }
    out.extend_from_slice(if message.stderr {
        b"\"stream\":\"stderr\""
    } else {
        b"\"stream\":\"stdout\""
    });
    out.extend_from_slice(attributes);
    out.extend_from_slice(b",\"time\":\"");
    write_rfc3339(message.at, out);
    out.extend_from_slice(b"\"}\n");
}

/// Reads one line of a log file, with or without its line end.
///
/// # Errors
/// The line is too long or not an entry; the caller skips it.
pub fn decode(line: &[u8]) -> Result<Line, LineError> {
    if line.len() > MAX_ENCODED_BYTES {
        return Err(LineError::TooLong);
    }
    decode_own_order(line).map_or_else(|| decode_any_order(line), Ok)
}

fn escape(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        escape_valid(out, chunk.valid());
        // Go walks byte by byte through what is not UTF-8, one replacement for each.
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

fn escape_valid(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        let separator =
            byte == 0xe2 && matches!(bytes.get(index + 1..index + 3), Some([0x80, 0xa8 | 0xa9]));
        if byte >= 0x20 && !separator && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&') {
            continue;
        }
        out.extend_from_slice(&bytes[plain_from..index]);
        plain_from = index + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0xe2 => {
                out.extend_from_slice(if bytes[index + 2] == 0xa8 {
                    b"\\u2028"
                } else {
                    b"\\u2029"
                });
                plain_from = index + 3;
            }
            _ => out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
    }
    out.extend_from_slice(&bytes[plain_from..]);
}

/// The order every known writer keeps, without a general JSON parser: what `docker logs` of a gigabyte goes through.
fn decode_own_order(line: &[u8]) -> Option<Line> {
    let rest = line.strip_prefix(b"{\"log\":\"")?;
    let (text, rest) = unescape(rest)?;
    let rest = rest.strip_prefix(b",\"stream\":\"std")?;
    let (stderr, rest) = match (rest.strip_prefix(b"out"), rest.strip_prefix(b"err")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return None,
    };
    let rest = rest.strip_prefix(b"\",\"time\":\"")?;
    let time = rest
        .strip_suffix(b"\n")
        .unwrap_or(rest)
        .strip_suffix(b"\"}")?;
    Some(Line {
        stderr,
        at: parse_rfc3339(time)?,
        text,
        attributes: BTreeMap::new(),
    })
}

/// Text up to the closing quote, and what follows the quote. None: anything unusual, left to the general parser.
fn unescape(input: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::with_capacity(input.len());
    let mut rest = input;
    loop {
        let special = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        text.extend_from_slice(&rest[..special]);
        if rest[special] == b'"' {
            // JSON strings are UTF-8 without control characters; a file that is not is somebody else's and goes the strict way.
            return std::str::from_utf8(&text)
                .is_ok()
                .then_some((text, &rest[special + 1..]));
        }
        let (escaped, used) = match rest.get(special + 1)? {
            b'n' => ('\n', 2),
            b'r' => ('\r', 2),
            b't' => ('\t', 2),
            same @ (b'"' | b'\\' | b'/') => (char::from(*same), 2),
            b'u' => (unescape_unit(rest.get(special + 2..special + 6)?)?, 6),
            _ => return None,
        };
        text.extend_from_slice(escaped.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[special + used..];
    }
}

/// One `\u` escape that is no half of a surrogate pair.
fn unescape_unit(digits: &[u8]) -> Option<char> {
    let value = digits.iter().try_fold(0, |value, &digit| {
        Some(value * 16 + char::from(digit).to_digit(16)?)
    })?;
    char::from_u32(value)
}

fn decode_any_order(line: &[u8]) -> Result<Line, LineError> {
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        log: String,
        #[serde(default)]
        stream: String,
        #[serde(default)]
        attrs: BTreeMap<String, String>,
        time: String,
    }
    let entry: Entry = serde_json::from_slice(line).map_err(|_| LineError::Malformed)?;
    let at = parse_rfc3339(entry.time.as_bytes()).ok_or(LineError::Malformed)?;
    Ok(Line {
        stderr: entry.stream == "stderr",
        at,
        text: entry.log.into_bytes(),
        attributes: entry.attrs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use log_drivers::message::Partial;

    const AT: Timestamp = Timestamp(1_767_323_045_600_000_000);

    fn encoded(stderr: bool, text: &[u8], attributes: &[(&str, &str)]) -> Vec<u8> {
        let (text, partial) = match text.strip_suffix(b"\n") {
            Some(text) => (text, None),
            None => {
                let partial = Partial {
                    id: "x",
                    ordinal: 1,
                    last: false,
                };
                (text, Some(partial))
            }
        };
        let message = Message {
            stderr,
            at: AT,
            text,
            partial,
        };
        let attributes = attributes
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let mut out = Vec::new();
        encode(
            &mut out,
            &message,
            &encode_attributes(&attributes.collect()),
        );
        out
    }

    fn check(text: &[u8], encoded_text: &str) {
        let expected = format!(
            "{{\"log\":\"{encoded_text}\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05.6Z\"}}\n"
        );
        assert_eq!(
            String::from_utf8_lossy(&encoded(false, text, &[])),
            expected
        );
    }

    #[test]
    fn attributes_stand_before_the_time() {
        let out = encoded(false, b"x\n", &[("a", "1"), ("b\"", "<")]);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "{\"log\":\"x\\n\",\"stream\":\"stdout\",\"attrs\":{\"a\":\"1\",\"b\\\"\":\"\\u003c\"},\"time\":\"2026-01-02T03:04:05.6Z\"}\n"
        );
        assert_eq!(decode(&out).unwrap().attributes["b\""], "<");
    }

    #[test]
    fn text_is_escaped_as_docker_escapes_it() {
        check(b"hello\n", "hello\\n");
        check(b"a\"b\\c\r\t\x1b", "a\\\"b\\\\c\\r\\u0009\\u001b");
        check(b"<&>", "\\u003c\\u0026\\u003e");
        check("é\u{2028}\u{2029}€".as_bytes(), "é\\u2028\\u2029€");
        check(b"x\xff\xfey", "x\\ufffd\\ufffdy");
    }

    #[test]
    fn what_was_encoded_is_decoded_by_the_fast_way() {
        for text in ["x", "plain\n", "q\"\\\t\r\n<&>\u{1}", "é€\u{2028}𝄞"] {
            let out = encoded(true, text.as_bytes(), &[]);
            let expected = Line {
                stderr: true,
                at: AT,
                text: text.as_bytes().to_vec(),
                attributes: BTreeMap::new(),
            };
            assert_eq!(decode_own_order(&out), Some(expected));
        }
    }

    #[test]
    fn other_orders_spaces_and_surrogates_are_decoded_too() {
        let line =
            br#"{ "time": "2026-01-02T03:04:05.6Z", "stream": "stderr", "log": "\ud834\udd1e" }"#;
        assert_eq!(
            decode(line),
            Ok(Line {
                stderr: true,
                at: AT,
                text: "𝄞".into(),
                attributes: BTreeMap::new(),
            })
        );
    }

    #[test]
    fn torn_and_hostile_lines_are_errors() {
        let whole = encoded(false, b"a \"quoted\" <line>\n", &[("k", "v")]);
        for end in 0..whole.len() - 2 {
            assert_eq!(
                decode(&whole[..end]),
                Err(LineError::Malformed),
                "cut at {end}"
            );
        }
        assert_eq!(
            decode(&vec![b'x'; MAX_ENCODED_BYTES + 1]),
            Err(LineError::TooLong)
        );
        assert_eq!(
            decode(b"{\"log\":\"\xff\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05Z\"}"),
            Err(LineError::Malformed)
        );
    }
}
