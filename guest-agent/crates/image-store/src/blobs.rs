//! Blobs: bytes in files named by their digest.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use oci::Digest;

use crate::document::{self, Config, Document, MAX_DOCUMENT_BYTES};

/// The folder of blobs.
#[derive(Debug)]
pub(crate) struct Blobs {
    folder: PathBuf,
}

/// Blobs that are there, with those of an archive that are not in their place yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content<'a> {
    pub(crate) blobs: &'a Blobs,
    pub(crate) staged: Option<&'a HashMap<Digest, PathBuf>>,
}

/// Why a document could not be had.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// It is not there.
    Missing,
    /// It is not what it should be.
    Nonsense(String),
    /// The disk failed.
    Io(io::Error),
}

impl Blobs {
    /// The folder `blobs` below a root, made if needed.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let folder = root.join("blobs/sha256");
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// Every blob.
    pub(crate) fn list(&self) -> io::Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            digests.extend(format!("sha256:{}", name.to_string_lossy()).parse::<Digest>());
        }
        Ok(digests)
    }

    /// Makes the names of blobs durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

impl<'a> Content<'a> {
    /// What is in its place.
    pub(crate) fn stored(blobs: &'a Blobs) -> Self {
        Self {
            blobs,
            staged: None,
        }
    }

    /// Where a blob is, if it is there.
    pub(crate) fn path(&self, digest: &Digest) -> Option<PathBuf> {
        match self.staged.and_then(|staged| staged.get(digest)) {
            Some(path) => Some(path.clone()),
            None => Some(self.blobs.path(digest)).filter(|path| path.exists()),
        }
    }

    /// Reads a small blob.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Vec<u8>, ReadError> {
        let path = self.path(digest).ok_or(ReadError::Missing)?;
        read_bounded(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ReadError::Missing,
            io::ErrorKind::FileTooLarge => {
                ReadError::Nonsense(format!("{digest}: document is too large"))
            }
            _ => ReadError::Io(error),
        })
    }

    /// Reads an index or a manifest.
    pub(crate) fn document(&self, digest: &Digest) -> Result<Document, ReadError> {
        document::parse(&self.read(digest)?)
            .map_err(|error| ReadError::Nonsense(format!("{digest}: {error}")))
    }

    /// Reads a config.
    pub(crate) fn config(&self, digest: &Digest) -> Result<Config, ReadError> {
        document::parse_config(&self.read(digest)?)
            .map_err(|error| ReadError::Nonsense(format!("{digest}: {error}")))
    }
}

/// A whole file of at most [`MAX_DOCUMENT_BYTES`].
pub(crate) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_DOCUMENT_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}
