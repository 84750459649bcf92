//! Questions and answers on the wire. Pure; answers are hostile. Spec: RFC 1035, 4.1.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HEADER_BYTES: usize = 12;
const CLASS_IN: u16 = 1;
/// Longest name, in its encoding.
const MAX_NAME_BYTES: usize = 255;
const MAX_LABEL_BYTES: usize = 63;
/// Addresses that are taken of one answer.
const MAX_ADDRESSES: usize = 32;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    V4 = 1,
    V6 = 28,
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Addresses; none: the name has none of this kind.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// The whole answer wants TCP.
    Truncated,
    /// The server cannot or will not: its code.
    Failed(u8),
}

/// A question for a recursive server; `None` when the name cannot be one.
pub(super) fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + name.len() + 6);
    bytes.extend(id.to_be_bytes());
    // Recursion desired; one question.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok()?;
        if label.is_empty() || label.len() > MAX_LABEL_BYTES {
            return None;
        }
        bytes.push(length);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    if bytes.len() - HEADER_BYTES > MAX_NAME_BYTES {
        return None;
    }
    bytes.extend((kind as u16).to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    Some(bytes)
}

/// Reads the answer to a question; `None` when it is not one, or is broken.
pub(super) fn answer(question: &[u8], bytes: &[u8], kind: Kind) -> Option<Answer> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let asked = question.get(HEADER_BYTES..)?;
    let is_answer = header[2] & 0x80 != 0;
    let echoed = bytes.get(HEADER_BYTES..HEADER_BYTES + asked.len())?;
    if header[..2] != question[..2] || !is_answer || !echoed.eq_ignore_ascii_case(asked) {
        return None;
    }
    match header[3] & 0x0f {
        0 => {}
        3 => return Some(Answer::NoSuchName),
        code => return Some(Answer::Failed(code)),
    }
    if header[2] & 0x02 != 0 {
        return Some(Answer::Truncated);
    }
    let count = u16::from_be_bytes([header[6], header[7]]);
    let mut rest = Input(&bytes[HEADER_BYTES + asked.len()..]);
    let mut addresses = Vec::new();
    for _ in 0..count {
        let (record, data) = rest.record()?;
        // Names before the last of a chain of aliases are the server's matter.
        if record != (kind as u16, CLASS_IN) || addresses.len() == MAX_ADDRESSES {
            continue;
        }
        addresses.push(match kind {
            Kind::V4 => Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into(),
            Kind::V6 => Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into(),
        });
    }
    Some(Answer::Addresses(addresses))
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// Passes over a name. A pointer ends one and is never followed, so that none can lead in a circle.
    fn name(&mut self) -> Option<()> {
        loop {
            match self.take(1)?[0] {
                0 => return Some(()),
                length @ 1..=63 => _ = self.take(length.into())?,
                192.. => return self.take(1).map(|_| ()),
                _ => return None,
            }
        }
    }

    /// Type and class of a record, and its data.
    fn record(&mut self) -> Option<((u16, u16), &'a [u8])> {
        self.name()?;
        let kind = (self.number()?, self.number()?);
        // Time to live: nothing is kept.
        self.take(4)?;
        let length = self.number()?;
        Some((kind, self.take(length.into())?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reply(question: &[u8], flags: [u8; 2], records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = question.to_vec();
        bytes[2] = flags[0] | 0x80;
        bytes[3] = flags[1];
        bytes[7] = u8::try_from(records.len()).unwrap();
        for (kind, data) in records {
            bytes.extend([0xc0, 12]);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1, 0, 0, 0, 60, 0]);
            bytes.push(u8::try_from(data.len()).unwrap());
            bytes.extend(*data);
        }
        bytes
    }

    #[test]
    fn addresses_are_read_past_an_alias() {
        let asked = question(7, "reg.example", Kind::V4).unwrap();
        let bytes = reply(
            &asked,
            [1, 0x80],
            &[(5, b"\x01a\xc0\x0c"), (1, &[10, 0, 0, 7])],
        );
        assert_eq!(
            answer(&asked, &bytes, Kind::V4),
            Some(Answer::Addresses(vec![Ipv4Addr::new(10, 0, 0, 7).into()]))
        );
    }

    #[test]
    fn codes_and_truncation_are_told() {
        let asked = question(7, "reg.example", Kind::V6).unwrap();
        let check = |flags, expected| {
            assert_eq!(
                answer(&asked, &reply(&asked, flags, &[]), Kind::V6),
                Some(expected)
            );
        };
        check([1, 3], Answer::NoSuchName);
        check([1, 2], Answer::Failed(2));
        check([3, 0], Answer::Truncated);
        check([1, 0], Answer::Addresses(Vec::new()));
    }

    #[test]
    fn an_answer_to_something_else_is_none() {
        let asked = question(7, "reg.example", Kind::V4).unwrap();
        let other = question(8, "reg.example", Kind::V4).unwrap();
        assert_eq!(
            answer(&asked, &reply(&other, [1, 0], &[]), Kind::V4),
            None,
            "id"
        );
        let other = question(7, "bad.example", Kind::V4).unwrap();
        assert_eq!(
            answer(&asked, &reply(&other, [1, 0], &[]), Kind::V4),
            None,
            "name"
        );
        assert_eq!(answer(&asked, &asked, Kind::V4), None, "no answer at all");
    }

    #[test]
    fn names_that_cannot_be_asked_for_are_refused() {
        for bad in ["", "a..b", &"a".repeat(64), &"abc.".repeat(80)] {
            assert_eq!(question(1, bad, Kind::V4), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(tail in proptest::collection::vec(any::<u8>(), 0..200), counts in any::<[u8; 10]>()) {
            let asked = question(7, "reg.example", Kind::V4).unwrap();
            let mut bytes = asked.clone();
            bytes[2..12].copy_from_slice(&counts);
            bytes.extend(tail);
            if let Some(Answer::Addresses(found)) = answer(&asked, &bytes, Kind::V4) {
                prop_assert!(found.len() <= MAX_ADDRESSES);
            }
        }
    }
}
