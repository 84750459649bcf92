//! Keys that leave a container running (`ctrl-p,ctrl-q`). Pure.

use errdefs::{Error, ErrorKind, Result};

/// What Docker takes when nobody said other keys.
const DEFAULT: [u8; 2] = [16, 17];

/// Reads `ctrl-p,ctrl-q`; empty: the default.
///
/// # Errors
/// `InvalidParameter` for a key nobody knows.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>> {
    if text.is_empty() {
        return Ok(DEFAULT.into());
    }
    let key = |key: &str| match key.as_bytes() {
        [byte] => Some(*byte),
        _ => match key.strip_prefix("ctrl-").map(str::as_bytes) {
            Some([byte @ b'a'..=b'z']) => Some(byte - b'a' + 1),
            Some([byte @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]) => Some(byte - b'@'),
            _ => None,
        },
    };
    let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
    keys.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidParameter,
            format!("Invalid detach keys ({text}) provided"),
        )
    })
}

/// Looks for the keys in what a client types.
#[derive(Debug)]
pub(crate) struct Watch {
    keys: Vec<u8>,
    seen: usize,
}

impl Watch {
    pub(crate) fn new(keys: Vec<u8>) -> Self {
        Self { keys, seen: 0 }
    }

    /// What of these bytes goes on to the process; true: the keys were typed, and the client leaves.
    pub(crate) fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for byte in typed {
            if self.keys.get(self.seen) == Some(byte) {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&self.keys[..self.seen]);
            self.seen = 0;
            if self.keys.first() == Some(byte) {
                self.seen = 1;
            } else {
                passed.push(*byte);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_or_refused() {
        assert_eq!(parse("").unwrap(), [16, 17]);
        assert_eq!(parse("ctrl-a,x,ctrl-[").unwrap(), [1, b'x', 27]);
        assert!(parse("ctrl-A").is_err() && parse("xy").is_err());
    }

    #[test]
    fn only_the_whole_sequence_leaves() {
        let mut watch = Watch::new(DEFAULT.into());
        assert_eq!(watch.pass(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(watch.pass(b"b"), (b"\x10b".to_vec(), false));
        assert_eq!(watch.pass(b"\x10\x10\x11c"), (b"\x10".to_vec(), true));
    }
}
