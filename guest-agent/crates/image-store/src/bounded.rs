//! Bounded memory for reading tars: names and PAX records of an entry are read whole, and a hostile archive has gigabytes of them.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

use tar::{Entries, Entry, EntryType};

/// Most bytes of an entry's headers, with its long names, PAX records and the map of a sparse file.
const MAX_HEADER_BYTES: u64 = 4 << 20;

/// A reader that gives no more than it is told to.
pub(crate) struct Bounded<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

/// Tells it.
pub(crate) struct Bound {
    left: Rc<Cell<u64>>,
    /// Content of sparse files that may still come, over all entries.
    zeros_left: Cell<u64>,
}

impl<R: Read> Bounded<R> {
    /// `most_zeros`: how large all sparse files of GNU's oldest kind may be together. A block of such an archive stands for terabytes, which are read whether
    /// or not anything is made of them.
    pub(crate) fn new(inner: R, most_zeros: u64) -> (Self, Bound) {
        let left = Rc::new(Cell::new(u64::MAX));
        let bound = Bound {
            left: Rc::clone(&left),
            zeros_left: Cell::new(most_zeros),
        };
        (Self { inner, left }, bound)
    }
}

impl Bound {
    /// The next entry. The one before must have been read to its end.
    pub(crate) fn next<'a, R: Read>(
        &self,
        entries: &mut Entries<'a, R>,
    ) -> Option<io::Result<Entry<'a, R>>> {
        self.left.set(MAX_HEADER_BYTES);
        let entry = entries.next();
        self.left.set(u64::MAX);
        if let Some(Ok(entry)) = &entry
            && entry.header().entry_type() == EntryType::GNUSparse
        {
            let Some(left) = self.zeros_left.get().checked_sub(entry.size()) else {
                return Some(Err(io::Error::other("its sparse files are too large")));
            };
            self.zeros_left.set(left);
        }
        entry
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        let count = self.inner.read(buffer)?;
        let Some(rest) = left.checked_sub(count as u64) else {
            return Err(io::Error::other("an entry's headers are too large"));
        };
        if left != u64::MAX {
            self.left.set(rest);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_gigabytes_is_not_read() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(8 << 30);
        header.set_cksum();
        let name = io::repeat(b'x').take(8 << 30);
        let (reader, bound) = Bounded::new(Cursor(header.as_bytes().to_vec(), 0).chain(name), 0);
        let mut archive = tar::Archive::new(reader);
        let mut entries = archive.entries().expect("entries");
        let error = bound
            .next(&mut entries)
            .expect("an entry")
            .err()
            .expect("refused");
        assert!(error.to_string().contains("too large"), "{error}");
    }

    struct Cursor(Vec<u8>, usize);

    impl Read for Cursor {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(self.0.len() - self.1);
            buffer[..count].copy_from_slice(&self.0[self.1..self.1 + count]);
            self.1 += count;
            Ok(count)
        }
    }
}
