//! One entry of a json-file log, as bytes and as a value. Pure; the decoder reads what others may have written and never panics.
//!
//! ```text
//!   {"log":"hello\n","stream":"stdout","time":"2026-01-02T03:04:05.6Z"}\n
//! ```
//! Escapes are those of Docker's writer: `\n`, `\r`, `\\`, `\"`, everything else below 0x20 and `<`, `>`, `&`, U+2028, U+2029 as `\u....`;
//! bytes that are no UTF-8 become U+FFFD.

use engine::ports::world::Timestamp;

use engine::time::{parse_rfc3339, write_rfc3339};

/// Longest text of one entry; what has no line end before is cut here, as Docker cuts it.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;
/// Longest line of a file that is decoded: every byte of the text escaped as `\u....`, and room for the other fields.
pub const MAX_ENCODED_BYTES: usize = MAX_TEXT_BYTES * 6 + 1024;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// From standard error.
    pub stderr: bool,
    /// When it was read from the container.
    pub at: Timestamp,
    /// Its text with the line end, if it had one.
    pub text: Vec<u8>,
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

/// Appends one encoded entry, line end included.
pub fn encode(out: &mut Vec<u8>, stderr: bool, at: Timestamp, text: &[u8]) {
    out.reserve(text.len() + 80);
    out.extend_from_slice(b"{\"log\":\"");
    escape(out, text);
    out.extend_from_slice(if stderr {
        b"\",\"stream\":\"stderr\",\"time\":\""
    } else {
        b"\",\"stream\":\"stdout\",\"time\":\""
    });
    write_rfc3339(at, out);
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
        time: String,
    }
    let entry: Entry = serde_json::from_slice(line).map_err(|_| LineError::Malformed)?;
    let at = parse_rfc3339(entry.time.as_bytes()).ok_or(LineError::Malformed)?;
    Ok(Line {
        stderr: entry.stream == "stderr",
        at,
        text: entry.log.into_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(1_767_323_045_600_000_000);

    fn check(text: &[u8], encoded_text: &str) {
        let mut out = Vec::new();
        encode(&mut out, false, AT, text);
        let expected = format!(
            "{{\"log\":\"{encoded_text}\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05.6Z\"}}\n"
        );
        assert_eq!(String::from_utf8_lossy(&out), expected);
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
        for text in ["", "plain\n", "q\"\\\t\r\n<&>\u{1}", "é€\u{2028}𝄞"] {
            let mut out = Vec::new();
            encode(&mut out, true, AT, text.as_bytes());
            let expected = Line {
                stderr: true,
                at: AT,
                text: text.as_bytes().to_vec(),
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
                text: "𝄞".into()
            })
        );
    }

    #[test]
    fn torn_and_hostile_lines_are_errors() {
        let mut whole = Vec::new();
        encode(&mut whole, false, AT, b"a \"quoted\" <line>\n");
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
