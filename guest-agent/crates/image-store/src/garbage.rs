//! What goes, and when: content that no name, no container and nothing that is coming in or going out needs.
//!
//! Needed by reference, worked out anew each time from the documents themselves: there is no count that could be wrong. On doubt (a document
//! that should be there cannot be read) nothing is removed.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::MutexGuard,
    time::{Duration, SystemTime},
};

use errdefs::Result;
use oci::Digest;

use crate::{
    blobs::{Content, ReadError},
    document::{Document, chain_ids},
    error::system,
    layers::Draft,
    store::Inner,
};

/// How long a blob whose transfer broke off is kept to be gone on with.
const PARTIAL_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Prefix of such blobs among what is coming in.
pub(crate) const PARTIAL: &str = "blob-";

#[derive(Default)]
struct Needed {
    blobs: HashSet<Digest>,
    chains: HashSet<Digest>,
}

impl Needed {
    /// A document with all it leads to; what is not there leads nowhere.
    fn add(&mut self, content: Content<'_>, digest: &Digest) -> Result<(), ReadError> {
        let mut open = vec![digest.clone()];
        while let Some(digest) = open.pop() {
            if !self.blobs.insert(digest.clone()) {
                continue;
            }
            match content.document(&digest) {
                // An entry of an index that was not taken, or is no document at all.
                Err(ReadError::Missing | ReadError::Nonsense(_)) => {}
                Err(error) => return Err(error),
                Ok(Document::Index(entries)) => {
                    open.extend(entries.into_iter().map(|entry| entry.descriptor.digest));
                }
                Ok(Document::Manifest { config, layers }) => {
                    match content.config(&config.digest) {
                        Err(ReadError::Missing | ReadError::Nonsense(_)) => {}
                        result => self.chains.extend(chain_ids(&result?.diff_ids)),
                    }
                    self.blobs.insert(config.digest);
                    self.blobs
                        .extend(layers.into_iter().map(|layer| layer.descriptor.digest));
                }
            }
        }
        Ok(())
    }
}

impl Inner {
    /// At the start: removes what a crash left half made or half removed, and layers that nothing names. Blobs are left for a pull that is tried
    /// again.
    pub(crate) fn clear_leftovers(&self) -> Result<()> {
        let failed = |error: io::Error| system("clear what is left of earlier", error);
        for entry in fs::read_dir(self.root.join("ingest")).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !entry.file_name().to_string_lossy().starts_with(PARTIAL) {
                drop(Draft(entry.path()));
            } else if is_old(&entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
        let changes = self.changes();
        self.collect(&changes, false);
        drop(changes);
        for entry in fs::read_dir(self.root.join("trash")).map_err(failed)? {
            self.empty_trash(&entry.map_err(failed)?.path());
        }
        Ok(())
    }

    /// Removes what nobody needs.
    pub(crate) fn collect_garbage(&self) {
        let changes = self.changes();
        let trash = self.collect(&changes, true);
        drop(changes);
        for path in trash {
            self.empty_trash(&path);
        }
    }

    /// Moves what nobody needs to the trash. Failures cost space only.
    fn collect(&self, _changes: &MutexGuard<'_, ()>, with_blobs: bool) -> Vec<PathBuf> {
        let needed = match self.needed() {
            Ok(Some(needed)) => needed,
            Ok(None) => return Vec::new(),
            Err(error) => {
                tracing::warn!(?error, "a document cannot be read; nothing is removed");
                return Vec::new();
            }
        };
        let mut trash = Vec::new();
        let mut discard = |from: PathBuf| {
            let to = self.trash();
            match fs::rename(&from, &to) {
                Ok(()) => trash.push(to),
                Err(error) => {
                    tracing::warn!(path = %from.display(), %error, "could not be removed");
                }
            }
        };
        {
            let mut state = self.state_mut();
            state.layers.retain(|chain, layer| {
                let is_needed = needed.chains.contains(chain);
                if !is_needed {
                    discard(layer.folder(&self.root));
                }
                is_needed
            });
        }
        if with_blobs {
            match self.blobs.list() {
                Ok(blobs) => blobs
                    .iter()
                    .filter(|digest| !needed.blobs.contains(*digest))
                    .for_each(|digest| discard(self.blobs.path(digest))),
                Err(error) => tracing::warn!(%error, "blobs could not be listed"),
            }
        }
        trash
    }

    /// None: nobody knows. Holds and containers are added under `changes` only, so they stay what they are.
    fn needed(&self) -> Result<Option<Needed>, ReadError> {
        let mut needed = Needed::default();
        let mut roots = Vec::new();
        {
            let state = self.state();
            if state.keeps_all {
                return Ok(None);
            }
            roots.extend(state.names.iter().map(|(_, t)| t.descriptor.digest.clone()));
            for container in state.containers.values() {
                roots.extend([container.image.clone(), container.manifest.clone()]);
                needed.chains.extend(container.chains.iter().cloned());
            }
        }
        let content = Content::stored(&self.blobs);
        for digest in roots {
            needed.add(content, &digest)?;
        }
        // Last: what is unpacking now is added to holds first, and to the layers later.
        for hold in self.state().holds.values() {
            needed.blobs.extend(hold.blobs.iter().cloned());
            needed.chains.extend(hold.chains.iter().cloned());
        }
        Ok(Some(needed))
    }

    /// Removes a file or folder that was moved to the trash.
    pub(crate) fn empty_trash(&self, path: &Path) {
        let result = match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::warn!(path = %path.display(), %error, "trash could not be emptied");
        }
    }
}

fn is_old(path: &Path) -> bool {
    let modified = File::open(path).and_then(|file| file.metadata()?.modified());
    modified.is_ok_and(|time| {
        SystemTime::now()
            .duration_since(time)
            .is_ok_and(|age| age > PARTIAL_KEPT)
    })
}
