//! Names and extended attributes of tars as they are, whatever bytes they have.
//!
//! The `tar` crate takes PAX records apart at line ends, which a value may have in it: a name may, and an attribute that is a capability of two bits does.
//! So before the crate sees them, attributes with line ends are written in hex, under another key, and names with line ends as GNU's long names. Any
//! other record with a line end is left out. Everything else passes as it came; what makes no sense, too.
//!
//! Spec: POSIX, pax, "pax Extended Header"; GNU tar manual, "Storing Sparse Files", "Basic Tar Format" (long names).

use std::io::{self, Read};

use crate::files::tarball::{Head, header, push_record};

/// Prefix of attributes in PAX records.
const ATTRIBUTE: &str = "SCHILY.xattr.";
/// The same for values in hex.
const HEX_ATTRIBUTE: &str = "BERTH.xattr.";

const BLOCK_BYTES: usize = 512;
/// Most bytes of records that are looked at; more than the crate is given anyway.
const MAX_RECORDS_BYTES: u64 = 4 << 20;

/// An attribute of a record: its name and value.
pub(crate) fn attribute(key: &str, value: &[u8]) -> Option<(String, Vec<u8>)> {
    if let Some(name) = key.strip_prefix(ATTRIBUTE) {
        return Some((name.to_owned(), value.to_vec()));
    }
    let name = key.strip_prefix(HEX_ATTRIBUTE)?;
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let bytes = value.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    Some((name.to_owned(), bytes.collect::<Option<_>>()?))
}

/// A tar with its records rewritten.
pub(crate) struct Pax<R> {
    inner: R,
    state: State,
    /// What goes out before anything else.
    out: Vec<u8>,
    at: usize,
    /// The size that a record gave the next entry.
    size: Option<u64>,
}

enum State {
    Header,
    /// So many bytes of content.
    Content(u64),
    /// A further block of an old GNU sparse map, then content of that size.
    Map(u64),
    /// Whatever it is.
    Rest,
}

impl<R: Read> Pax<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            state: State::Header,
            out: Vec::new(),
            at: 0,
            size: None,
        }
    }

    /// Takes bytes to be given out; fewer than asked for are the end of the archive.
    fn take(&mut self, count: u64) -> io::Result<bool> {
        let before = self.out.len();
        (&mut self.inner).take(count).read_to_end(&mut self.out)?;
        let is_whole = (self.out.len() - before) as u64 == count;
        if !is_whole {
            self.state = State::Rest;
        }
        Ok(is_whole)
    }

    fn header(&mut self) -> io::Result<()> {
        if !self.take(BLOCK_BYTES as u64)? || self.out.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let Some(size) = number(&self.out[124..136]) else {
            self.state = State::Rest;
            return Ok(());
        };
        match self.out[156] {
            b'x' if size <= MAX_RECORDS_BYTES => self.records(size)?,
            b'g' | b'L' | b'K' | b'x' => self.state = State::Content(padded(size)),
            kind => {
                let size = self.size.take().unwrap_or(size);
                self.state = if kind == b'S' && self.out[482] == 1 {
                    State::Map(size)
                } else {
                    State::Content(padded(size))
                };
            }
        }
        Ok(())
    }

    fn records(&mut self, size: u64) -> io::Result<()> {
        if !self.take(padded(size))? {
            return Ok(());
        }
        let end = BLOCK_BYTES + usize::try_from(size).unwrap_or_default();
        let Some(rewritten) = rewritten(&self.out[BLOCK_BYTES..end]) else {
            return Ok(());
        };
        self.size = rewritten.size;
        if rewritten.records == self.out[BLOCK_BYTES..end] {
            return Ok(());
        }
        let mut extended = Head {
            name: b"records".to_vec(),
            kind: b'x',
            ..Head::default()
        };
        self.out.clear();
        for (kind, name) in [(b'L', rewritten.name), (b'K', rewritten.link)] {
            if let Some(mut name) = name {
                name.push(0);
                extended.kind = kind;
                self.entry(&extended, &name);
            }
        }
        extended.kind = b'x';
        self.entry(&extended, &rewritten.records);
        Ok(())
    }

    /// Gives out an entry that belongs to the next one.
    fn entry(&mut self, head: &Head, content: &[u8]) {
        let head = Head {
            size: content.len() as u64,
            ..head.clone()
        };
        self.out.extend(header(&head));
        self.out.extend(content);
        let whole = self.out.len().next_multiple_of(BLOCK_BYTES);
        self.out.resize(whole, 0);
    }

    fn map(&mut self, size: u64) -> io::Result<()> {
        if self.take(BLOCK_BYTES as u64)? && self.out[504] != 1 {
            self.state = State::Content(padded(size));
        }
        Ok(())
    }
}

impl<R: Read> Read for Pax<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.at < self.out.len() {
                let count = buffer.len().min(self.out.len() - self.at);
                buffer[..count].copy_from_slice(&self.out[self.at..self.at + count]);
                self.at += count;
                return Ok(count);
            }
            self.out.clear();
            self.at = 0;
            match self.state {
                State::Rest => return self.inner.read(buffer),
                State::Content(0) => self.state = State::Header,
                State::Content(left) => {
                    let most = usize::try_from(left)
                        .unwrap_or(usize::MAX)
                        .min(buffer.len());
                    let count = self.inner.read(&mut buffer[..most])?;
                    self.state = State::Content(left - count as u64);
                    return Ok(count);
                }
                State::Header => {
                    self.header()?;
                    if self.out.is_empty() {
                        return Ok(0);
                    }
                }
                State::Map(size) => self.map(size)?,
            }
        }
    }
}

/// Records without line ends in their values, and what has its place elsewhere.
#[derive(Default)]
struct Rewritten {
    records: Vec<u8>,
    /// The size of the entry's content.
    size: Option<u64>,
    /// Names with line ends.
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// `None`: they make no sense.
fn rewritten(mut left: &[u8]) -> Option<Rewritten> {
    let mut out = Rewritten::default();
    while !left.is_empty() {
        let space = left.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&left[..space]).ok()?.parse().ok()?;
        let record = left.get(..length)?;
        let pair = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (&pair[..equals], &pair[equals + 1..]);
        let key = std::str::from_utf8(key).ok()?;
        if value.contains(&b'\n') {
            match (key, key.strip_prefix(ATTRIBUTE)) {
                (_, Some(name)) => {
                    let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
                    let key = format!("{HEX_ATTRIBUTE}{name}");
                    push_record(&mut out.records, &key, hex.as_bytes());
                }
                // A sparse file's real name wins over its made-up one, wherever it stands.
                ("GNU.sparse.name", _) => out.name = Some(value.to_vec()),
                ("path", _) => out.name = out.name.or_else(|| Some(value.to_vec())),
                ("linkpath", _) => out.link = Some(value.to_vec()),
                _ => {}
            }
        } else {
            out.records.extend_from_slice(record);
        }
        if key == "size" {
            out.size = std::str::from_utf8(value).ok()?.parse().ok();
        }
        left = &left[length..];
    }
    Some(out)
}

/// A number of a header: octal, or GNU's binary.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len() - 8);
        let is_small = high.iter().all(|byte| matches!(byte, 0 | 0x80));
        return is_small.then(|| u64::from_be_bytes(low.try_into().unwrap_or_default()));
    }
    let text = std::str::from_utf8(field).ok()?;
    let text = text.trim_matches(|c: char| c == '\0' || c == ' ');
    if text.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(text, 8).ok()
}

fn padded(size: u64) -> u64 {
    size.checked_next_multiple_of(BLOCK_BYTES as u64)
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tarball::{FILE, SYMLINK, Tarball};

    fn archive(value: &[u8]) -> Vec<u8> {
        let mut tar = Tarball::new(Vec::new());
        for name in ["one", "two"] {
            let head = Head {
                name: name.as_bytes().to_vec(),
                kind: FILE,
                size: 3,
                attributes: vec![("security.capability".into(), value.to_vec())],
                ..Head::default()
            };
            tar.begin(&head).expect("begun");
            tar.write(b"abc").expect("written");
            tar.pad(3).expect("padded");
        }
        tar.finish().expect("finished")
    }

    #[test]
    fn an_attribute_with_line_ends_is_read_whole() {
        for value in [&b"\x01\n\n=2"[..], b"plain", b"\n", b""] {
            let bytes = archive(value);
            let mut tar = tar::Archive::new(Pax::new(&bytes[..]));
            let mut count = 0;
            for entry in tar.entries().expect("entries") {
                let mut entry = entry.expect("an entry");
                let mut found = None;
                for extension in entry.pax_extensions().expect("read").expect("some") {
                    let extension = extension.expect("a record");
                    let key = extension.key().expect("text");
                    found = found.or(attribute(key, extension.value_bytes()));
                }
                let expected = ("security.capability".to_owned(), value.to_vec());
                assert_eq!(found, Some(expected));
                let mut content = Vec::new();
                entry.read_to_end(&mut content).expect("read");
                assert_eq!(content, b"abc");
                count += 1;
            }
            assert_eq!(count, 2);
        }
    }

    #[test]
    fn names_with_line_ends_are_read_whole() {
        let long = b"folder/".repeat(40);
        for name in [&b"a\nb"[..], b"\n", &[&long[..], b"12 path=x\n"].concat()] {
            let mut tar = Tarball::new(Vec::new());
            for kind in [FILE, SYMLINK] {
                let mut text = Vec::new();
                push_record(&mut text, "comment", b"two\nlines");
                push_record(&mut text, "path", name);
                push_record(&mut text, "linkpath", name);
                push_record(&mut text, "SCHILY.xattr.user.a", b"b");
                let records = Head {
                    kind: b'x',
                    size: text.len() as u64,
                    ..Head::default()
                };
                tar.begin(&records).expect("begun");
                tar.write(&text).expect("written");
                tar.pad(text.len() as u64).expect("padded");
                let head = Head {
                    name: b"cut".to_vec(),
                    kind,
                    ..Head::default()
                };
                tar.begin(&head).expect("begun");
            }
            let bytes = tar.finish().expect("finished");
            let mut archive = tar::Archive::new(Pax::new(&bytes[..]));
            let mut count = 0;
            for entry in archive.entries().expect("entries") {
                let mut entry = entry.expect("an entry");
                assert_eq!(&*entry.path_bytes(), name);
                assert_eq!(entry.link_name_bytes().as_deref(), Some(name));
                let extensions = entry.pax_extensions().expect("read").expect("some");
                let keys: Vec<_> = extensions
                    .map(|one| one.expect("a record").key().expect("text").to_owned())
                    .collect();
                assert_eq!(keys, ["SCHILY.xattr.user.a"]);
                count += 1;
            }
            assert_eq!(count, 2);
        }
    }

    #[test]
    fn all_else_passes_as_it_came() {
        let plain = archive(b"plain");
        let mut garbage = vec![b'x'; 3000];
        garbage[124..136].copy_from_slice(b"00000000100\0");
        for bytes in [
            &plain[..],
            &plain[..700],
            &plain[..1600],
            &garbage,
            b"short",
            b"",
        ] {
            let mut read = Vec::new();
            Pax::new(bytes).read_to_end(&mut read).expect("read");
            assert!(read == bytes, "{} bytes", bytes.len());
        }
    }
}
