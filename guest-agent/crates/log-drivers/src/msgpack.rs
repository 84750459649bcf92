//! The little of MessagePack that fluentd's protocol needs. Pure. Spec: msgpack.org, spec.md.

/// An array of up to 15 things follows.
pub(crate) fn array(out: &mut Vec<u8>, length: u8) {
    out.push(0x90 | length & 0x0f);
}

/// A map of so many pairs follows.
pub(crate) fn map(out: &mut Vec<u8>, length: usize) {
    match u16::try_from(length) {
        Ok(length @ 0..=15) => out.push(0x80 | length.to_le_bytes()[0]),
        Ok(length) => {
            out.push(0xde);
            out.extend_from_slice(&length.to_be_bytes());
        }
        // More labels than anybody has; the rest is left out by the caller's bound.
        Err(_) => out.extend_from_slice(&[0xde, 0xff, 0xff]),
    }
}

/// Text, as it is: fluentd takes bytes that are no UTF-8.
pub(crate) fn text(out: &mut Vec<u8>, text: &[u8]) {
    let length = text.len();
    if let Ok(length) = u8::try_from(length) {
        if length < 32 {
            out.push(0xa0 | length);
        } else {
            out.extend_from_slice(&[0xd9, length]);
        }
    } else if let Ok(length) = u16::try_from(length) {
        out.push(0xda);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(0xdb);
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }
    out.extend_from_slice(text);
}

/// Whole seconds.
pub(crate) fn integer(out: &mut Vec<u8>, value: i64) {
    if let Ok(value) = i32::try_from(value) {
        out.push(0xd2);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Fluentd's time with nanoseconds: extension 0.
pub(crate) fn event_time(out: &mut Vec<u8>, seconds: i64, nanoseconds: u32) {
    out.extend_from_slice(&[0xd7, 0]);
    // The protocol has 32 bits.
    let seconds = u32::try_from(seconds & 0xffff_ffff).unwrap_or(0);
    out.extend_from_slice(&seconds.to_be_bytes());
    out.extend_from_slice(&nanoseconds.to_be_bytes());
}

/// The text under a key of a map of texts, when all of the map is there. None: more is needed. An error: it is something else.
pub(crate) fn text_of_map<'a>(
    mut bytes: &'a [u8],
    key: &str,
) -> Result<Option<Option<&'a [u8]>>, ()> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if first & 0xf0 != 0x80 {
        return Err(());
    }
    bytes = rest;
    let mut found = None;
    for _ in 0..first & 0x0f {
        let Some((name, rest)) = take_text(bytes)? else {
            return Ok(None);
        };
        let Some((value, rest)) = take_text(rest)? else {
            return Ok(None);
        };
        if name == key.as_bytes() {
            found = Some(value);
        }
        bytes = rest;
    }
    Ok(Some(found))
}

type Taken<'a> = Option<(&'a [u8], &'a [u8])>;

fn take_text(bytes: &[u8]) -> Result<Taken<'_>, ()> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let (length, rest) = match first {
        0xa0..=0xbf => (usize::from(first & 0x1f), rest),
        0xd9 | 0xc4 => match rest.split_first() {
            Some((&length, rest)) => (usize::from(length), rest),
            None => return Ok(None),
        },
        0xda | 0xc5 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => (usize::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        _ => return Err(()),
    };
    Ok(rest.split_at_checked(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_specification() {
        let mut out = Vec::new();
        array(&mut out, 4);
        map(&mut out, 1);
        text(&mut out, b"ab");
        text(&mut out, &[b'x'; 32]);
        integer(&mut out, 1);
        event_time(&mut out, 1, 2);
        assert_eq!(out[..6], [0x94, 0x81, 0xa2, b'a', b'b', 0xd9]);
        assert_eq!(out[6..8], [32, b'x']);
        assert_eq!(
            out[39..],
            [0xd2, 0, 0, 0, 1, 0xd7, 0, 0, 0, 0, 1, 0, 0, 0, 2]
        );
    }

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        let mut out = Vec::new();
        map(&mut out, 1);
        text(&mut out, b"ack");
        text(&mut out, b"id");
        for end in 0..out.len() {
            assert_eq!(text_of_map(&out[..end], "ack"), Ok(None));
        }
        assert_eq!(text_of_map(&out, "ack"), Ok(Some(Some(&b"id"[..]))));
        assert_eq!(text_of_map(&[0x81, 0xff], "ack"), Err(()));
        assert_eq!(text_of_map(&[0x01], "ack"), Err(()));
    }
}
