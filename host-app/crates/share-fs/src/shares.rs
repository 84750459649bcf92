//! The one file system the guest mounts: a root that lists the grants by their numbers, and below each entry the grant.
//!
//! Each grant is announced as a submount, so that the guest gives it a device number of its own and inode numbers of two grants cannot be
//! taken for one another. The root itself is made up: nothing in it can be changed.

mod file_system;
mod guard;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use virtiofsd::filesystem::{FileSystem, FsOptions};

use crate::{
    folder::{self, GrantError},
    grant::{Grant, Key, Owner, on},
    ids,
    policy::Policy,
};

/// Most grants at a time.
const MAX_GRANTS: usize = 4096;

/// What is asked to be shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Absolute path on the host.
    pub path: PathBuf,
    /// No changes.
    pub read_only: bool,
    /// Make the folder if it is missing.
    pub create: bool,
}

/// Where a grant is below the mounted root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Names it in [`Shares::revoke`]; the entry's name.
    pub number: u32,
    /// The file's name below the entry; empty for a folder.
    pub rest: String,
}

/// The grants. Clones are handles on the same ones.
#[derive(Clone)]
pub struct Shares {
    owner: Owner,
    descriptors: u64,
    book: Arc<RwLock<Book>>,
}

#[derive(Default)]
struct Book {
    /// What the guest's kernel can do; known while the guest has it mounted.
    session: Option<FsOptions>,
    grants: BTreeMap<u32, Arc<Grant>>,
    /// Numbers are used once, so that a node of a grant that has gone is not one of another.
    last: u32,
}

impl Shares {
    /// Nothing shared yet. `descriptors`: most files and folders that the guest may keep known or open in one grant.
    pub fn new(owner: Owner, descriptors: u64) -> Self {
        Self {
            owner,
            descriptors,
            book: Arc::default(),
        }
    }

    /// Shares a folder or file if policy allows it. The same place, shared the same way, is the same grant.
    ///
    /// # Errors
    /// [`GrantError`], whose text is for the user.
    pub fn grant(&self, policy: &Policy, wish: &Wish) -> Result<Granted, GrantError> {
        let failed = |source| GrantError::Io {
            path: wish.path.clone(),
            source,
        };
        let source = folder::open(&wish.path, wish.create, policy)?;
        let rest = match &source.file {
            None => String::new(),
            Some(name) => name
                .to_str()
                .ok_or_else(|| failed(io::Error::other("its name is not UTF-8")))?
                .to_owned(),
        };
        let key = Key::new(&source, wish.read_only).map_err(failed)?;
        let hidden = policy
            .hidden_below(&source.path)
            .filter_map(|denied| Some(denied.strip_prefix(&source.path).ok()?.to_owned()))
            .collect();
        let mut book = self.write();
        if let Some(known) = book.grants.values().find(|grant| grant.key == key) {
            return Ok(Granted {
                number: known.id,
                rest,
            });
        }
        if book.grants.len() >= MAX_GRANTS || book.last == ids::MAX_GRANT {
            return Err(GrantError::TooMany {
                path: wish.path.clone(),
                bound: MAX_GRANTS,
            });
        }
        let number = book.last + 1;
        let grant = Grant::new(number, key, source, hidden, self.owner, self.descriptors)
            .map_err(failed)?;
        if let Some(capable) = book.session {
            on!(grant, fs => fs.init(capable)).map_err(failed)?;
        }
        book.last = number;
        book.grants.insert(number, Arc::new(grant));
        Ok(Granted { number, rest })
    }

    /// Takes a grant back: from now on its nodes are stale for the guest. Idempotent.
    pub fn revoke(&self, number: u32) {
        self.write().grants.remove(&number);
    }

    /// What is shared, as host paths.
    pub fn paths(&self) -> Vec<PathBuf> {
        let book = self.read_book();
        book.grants
            .values()
            .map(|grant| grant.key.path.clone())
            .collect()
    }

    fn read_book(&self) -> RwLockReadGuard<'_, Book> {
        self.book.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Book> {
        self.book.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, number: u32) -> Option<Arc<Grant>> {
        self.read_book().grants.get(&number).cloned()
    }
}
