//! What `readdir` answers with: a folder as the kernel lists it, or chosen entries.

use std::{ffi::CString, io};

use virtiofsd::{
    filesystem::{DirEntry, DirectoryIterator},
    read_dir::ReadDir,
};

/// One entry, owned.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) inode: u64,
    /// Where the next entry begins; not 0.
    pub(crate) offset: u64,
    pub(crate) kind: u32,
    pub(crate) name: CString,
}

/// A part of a folder.
pub enum Listing {
    /// As it is on the host.
    Whole(ReadDir<Vec<u8>>),
    /// What the guest may see of it.
    Chosen(Chosen),
}

/// Entries one after the other.
pub struct Chosen {
    items: Vec<Item>,
    next: usize,
}

impl Listing {
    pub(crate) fn of(items: Vec<Item>) -> Self {
        Self::Chosen(Chosen { items, next: 0 })
    }
}

impl DirectoryIterator for Listing {
    fn next(&mut self) -> Option<DirEntry<'_>> {
        match self {
            Self::Whole(entries) => entries.next(),
            Self::Chosen(chosen) => {
                let item = chosen.items.get(chosen.next)?;
                chosen.next += 1;
                Some(DirEntry {
                    ino: item.inode,
                    offset: item.offset,
                    type_: item.kind,
                    name: &item.name,
                })
            }
        }
    }
}

/// Reads parts of a folder, each from an offset, until one has an entry that is kept: an empty part would mean the folder's end.
pub(crate) fn filter(
    mut offset: u64,
    read: impl Fn(u64) -> io::Result<ReadDir<Vec<u8>>>,
    keep: impl Fn(&[u8]) -> bool,
) -> io::Result<Listing> {
    loop {
        let mut part = read(offset)?;
        let mut kept = Vec::new();
        let mut any = false;
        while let Some(entry) = part.next() {
            any = true;
            offset = entry.offset;
            if keep(entry.name.to_bytes()) {
                kept.push(Item {
                    inode: entry.ino,
                    offset: entry.offset,
                    kind: entry.type_,
                    name: entry.name.to_owned(),
                });
            }
        }
        if !kept.is_empty() || !any {
            return Ok(Listing::of(kept));
        }
    }
}
