//! Writes tars as Docker writes them: POSIX headers, with PAX records only for what does not fit in.
//!
//! Spec: POSIX, pax, "ustar Interchange Format" and "pax Extended Header".

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

const BLOCK_BYTES: usize = 512;

/// Largest numbers of a header's fields of 8 and 12 bytes: octal, with their end.
const MAX_SMALL: u64 = 0o7_777_777;
const MAX_LARGE: u64 = 0o77_777_777_777;

/// Longest name that fits in.
const MAX_NAME_BYTES: usize = 100;

/// What a header says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: u8,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) seconds: i64,
    pub(crate) device: (u32, u32),
    /// Extended attributes.
    pub(crate) attributes: Vec<(String, Vec<u8>)>,
}

pub(crate) const FILE: u8 = b'0';
pub(crate) const LINK: u8 = b'1';
pub(crate) const SYMLINK: u8 = b'2';
pub(crate) const CHARACTER_DEVICE: u8 = b'3';
pub(crate) const BLOCK_DEVICE: u8 = b'4';
pub(crate) const FOLDER: u8 = b'5';
pub(crate) const FIFO: u8 = b'6';
const EXTENDED: u8 = b'x';

/// A tar that is being written.
pub(crate) struct Tarball<W> {
    to: W,
}

impl<W: Write> Tarball<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to }
    }

    /// Begins an entry; its content, if any, follows through [`Tarball::write`], then [`Tarball::pad`].
    pub(crate) fn begin(&mut self, head: &Head) -> io::Result<()> {
        let records = records(head);
        if !records.is_empty() {
            let mut text = Vec::new();
            for (key, value) in &records {
                push_record(&mut text, key, value);
            }
            let extended = Head {
                name: extended_name(&head.name),
                kind: EXTENDED,
                size: text.len() as u64,
                ..Head::default()
            };
            self.to.write_all(&header(&extended))?;
            self.to.write_all(&text)?;
            self.pad(extended.size)?;
        }
        self.to.write_all(&header(head))
    }

    /// Content.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)
    }

    /// Fills up the last block of content of that size.
    pub(crate) fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = usize::try_from(size % BLOCK_BYTES as u64).unwrap_or_default();
        if over > 0 {
            self.to.write_all(&[0; BLOCK_BYTES][over..])?;
        }
        Ok(())
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&[0; 2 * BLOCK_BYTES])?;
        Ok(self.to)
    }
}

/// What does not fit into the header.
fn records(head: &Head) -> BTreeMap<String, Vec<u8>> {
    let mut records = BTreeMap::new();
    let fits = |text: &[u8]| text.len() <= MAX_NAME_BYTES && text.is_ascii();
    if !fits(&head.name) {
        records.insert("path".to_owned(), head.name.clone());
    }
    if !fits(&head.link) {
        records.insert("linkpath".to_owned(), head.link.clone());
    }
    for (key, number, most) in [
        ("uid", u64::from(head.uid), MAX_SMALL),
        ("gid", u64::from(head.gid), MAX_SMALL),
        ("size", head.size, MAX_LARGE),
    ] {
        if number > most {
            records.insert(key.to_owned(), number.to_string().into_bytes());
        }
    }
    if u64::try_from(head.seconds).map_or(true, |seconds| seconds > MAX_LARGE) {
        records.insert("mtime".to_owned(), head.seconds.to_string().into_bytes());
    }
    for (name, value) in &head.attributes {
        records.insert(format!("SCHILY.xattr.{name}"), value.clone());
    }
    records
}

/// `<length> <key>=<value>\n`, where the length counts itself.
pub(crate) fn push_record(text: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    text.extend_from_slice(length.to_string().as_bytes());
    text.push(b' ');
    text.extend_from_slice(key.as_bytes());
    text.push(b'=');
    text.extend_from_slice(value);
    text.push(b'\n');
}

/// The name of an entry that only carries records.
fn extended_name(name: &[u8]) -> Vec<u8> {
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let (folder, base) = match name.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => name.split_at(slash + 1),
        None => (&b""[..], name),
    };
    let mut whole = [folder, b"PaxHeaders.0/", base].concat();
    whole.retain(|byte| byte.is_ascii() && *byte != 0);
    whole.truncate(MAX_NAME_BYTES);
    whole
}

pub(crate) fn header(head: &Head) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    put_text(&mut block[0..100], &head.name);
    put_number(&mut block[100..108], u64::from(head.mode));
    put_number(&mut block[108..116], u64::from(head.uid));
    put_number(&mut block[116..124], u64::from(head.gid));
    put_number(&mut block[124..136], head.size);
    put_number(
        &mut block[136..148],
        u64::try_from(head.seconds).unwrap_or(0),
    );
    block[156] = head.kind;
    put_text(&mut block[157..257], &head.link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    put_number(&mut block[329..337], u64::from(head.device.0));
    put_number(&mut block[337..345], u64::from(head.device.1));
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    put_number(&mut block[148..155], sum);
    block
}

/// What does not fit is cut: a record says it whole.
fn put_text(field: &mut [u8], text: &[u8]) {
    let ascii = text.iter().copied().filter(u8::is_ascii);
    for (byte, ascii) in field.iter_mut().zip(ascii) {
        *byte = ascii;
    }
}

/// Octal with leading zeros and an end; 0 when it does not fit.
fn put_number(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    let mut text = format!("{number:0digits$o}");
    if text.len() > digits {
        text = "0".repeat(digits);
    }
    field[..digits].copy_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written is read again, by the crate that reads archives everywhere else.
    #[test]
    fn names_and_numbers_of_any_size_come_back() {
        let long = "d/".repeat(300) + "x";
        for (name, uid, seconds) in [
            ("short", 0, 1_000_000_000),
            ("with ümlaut", 7, 0),
            (&*long, u32::MAX - 1, i64::from(u32::MAX) * 9),
        ] {
            let head = Head {
                name: name.as_bytes().to_vec(),
                kind: FILE,
                mode: 0o4755,
                uid,
                gid: 5,
                size: 3,
                seconds,
                attributes: vec![("security.capability".into(), vec![1, 0, 2, 61])],
                ..Head::default()
            };
            let mut tar = Tarball::new(Vec::new());
            tar.begin(&head).expect("begun");
            tar.write(b"abc").expect("written");
            tar.pad(3).expect("padded");
            let bytes = tar.finish().expect("finished");
            assert_eq!(bytes.len() % BLOCK_BYTES, 0);
            let mut archive = tar::Archive::new(&bytes[..]);
            let mut entries = archive.entries().expect("entries");
            let mut entry = entries.next().expect("one").expect("read");
            assert_eq!(&*entry.path_bytes(), name.as_bytes());
            assert_eq!(entry.header().mode().expect("mode"), 0o4755);
            let mut value = None;
            for extension in entry.pax_extensions().expect("read").expect("some") {
                let extension = extension.expect("one");
                if extension.key() == Ok("SCHILY.xattr.security.capability") {
                    value = Some(extension.value_bytes().to_vec());
                }
            }
            assert_eq!(value.as_deref(), Some(&[1, 0, 2, 61][..]));
        }
    }

    #[test]
    fn a_records_length_counts_itself() {
        for length in 0..2000 {
            let mut text = Vec::new();
            push_record(&mut text, "k", &vec![b'v'; length]);
            let digits = text.iter().position(|byte| *byte == b' ').expect("a space");
            let said: usize = std::str::from_utf8(&text[..digits])
                .expect("text")
                .parse()
                .expect("a number");
            assert_eq!(said, text.len());
        }
    }
}
