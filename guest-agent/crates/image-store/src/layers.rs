//! Unpacked layers, each in a folder of its own that overlayfs can use.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

use engine::ports::images::{Progress, ProgressSender};
use oci::Digest;
use rustix::fs::syncfs;
use serde::{Deserialize, Serialize};

use crate::{
    document::chain_ids,
    error::{LayerError, system},
    store::{Inner, State, keyed},
    stream::{CHUNK_BYTES, Compression, Hashing, ahead, decoder},
    unpack,
};

const META: &str = "meta.json";

/// Bytes between two steps of progress.
const STEP_BYTES: u64 = 1 << 20;

/// A layer that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) number: u64,
    /// Bytes of its files.
    pub(crate) size: u64,
}

#[derive(Serialize, Deserialize)]
struct Meta {
    chain: String,
    size: u64,
}

/// A layer that is to be unpacked.
pub(crate) struct Source<'a> {
    /// The file it travelled in.
    pub(crate) path: &'a Path,
    /// That file's digest.
    pub(crate) digest: &'a Digest,
    /// Base first, its own last.
    pub(crate) diff_ids: &'a [Digest],
}

impl Layer {
    /// Its folder.
    pub(crate) fn folder(&self, root: &Path) -> PathBuf {
        root.join("l").join(self.number.to_string())
    }

    /// What overlayfs takes.
    pub(crate) fn diff(&self, root: &Path) -> PathBuf {
        self.folder(root).join("d")
    }

    /// Every layer by chain ID. What cannot be read is no layer: it is unpacked again when it is needed.
    pub(crate) fn load_all(root: &Path) -> io::Result<HashMap<Digest, Self>> {
        let mut layers = HashMap::new();
        for entry in fs::read_dir(root.join("l"))? {
            let entry = entry?;
            let number = entry.file_name().to_string_lossy().parse();
            let meta = fs::read(entry.path().join(META))
                .ok()
                .and_then(|bytes| serde_json::from_slice::<Meta>(&bytes).ok());
            let chain = meta.as_ref().and_then(|meta| meta.chain.parse().ok());
            match (number, meta, chain) {
                (Ok(number), Some(meta), Some(chain)) => {
                    layers.insert(
                        chain,
                        Self {
                            number,
                            size: meta.size,
                        },
                    );
                }
                _ => {
                    tracing::warn!(folder = %entry.path().display(), "not a layer; removed");
                    let name = format!("l-{}", entry.file_name().to_string_lossy());
                    fs::rename(entry.path(), root.join("trash").join(name))?;
                }
            }
        }
        Ok(layers)
    }
}

impl State {
    /// The folders of layers, the topmost first. None: one is missing.
    pub(crate) fn lower(&self, root: &Path, chains: &[Digest]) -> Option<Vec<PathBuf>> {
        chains
            .iter()
            .rev()
            .map(|chain| Some(self.layers.get(chain)?.diff(root)))
            .collect()
    }
}

/// A folder that is removed unless it was moved away.
#[derive(Debug)]
pub(crate) struct Draft(pub(crate) PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(folder = %self.0.display(), %error, "could not be removed");
            }
            _ => {}
        }
    }
}

/// Makes a folder with the owner and mode of the one below it: what a root's metadata is when nothing says otherwise.
pub(crate) fn make_root_folder(path: &Path, below: Option<&PathBuf>) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o755).create(path)?;
    let mut mode = 0o755;
    if let Some(below) = below {
        let metadata = fs::metadata(below)?;
        mode = metadata.mode() & 0o7777;
        if rustix::process::geteuid().is_root() {
            chown(path, Some(metadata.uid()), Some(metadata.gid()))?;
        }
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

impl Inner {
    /// A fresh folder among what is coming in.
    pub(crate) fn draft(&self, what: &str) -> Result<Draft, errdefs::Error> {
        let path = self
            .root
            .join("ingest")
            .join(format!("{what}-{}", self.next()));
        fs::create_dir(&path).map_err(|error| system(format!("make {}", path.display()), error))?;
        Ok(Draft(path))
    }

    /// Writes out everything of the store's file system.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(syncfs(File::open(&self.root)?)?)
    }

    /// Unpacks a layer on those below it, which are there; durable when it returns. One that is there already is left alone. The caller holds the
    /// chain.
    pub(crate) fn unpack_layer(
        &self,
        source: &Source<'_>,
        progress: Option<&ProgressSender>,
    ) -> Result<(), LayerError> {
        let chains = chain_ids(source.diff_ids);
        let (Some((chain, below)), Some(diff_id)) = (chains.split_last(), source.diff_ids.last())
        else {
            return Err(LayerError::Content("a layer needs a diff ID".to_owned()));
        };
        let lock: Arc<std::sync::Mutex<()>> = keyed(&self.unpacking, chain);
        let _one_at_a_time = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let lower = {
            let state = self.state();
            if state.layers.contains_key(chain) {
                return Ok(());
            }
            state.lower(&self.root, below)
        };
        let lower = lower.ok_or_else(|| {
            LayerError::System(system(
                format!("unpack layer {}", source.digest),
                "a layer below it is not unpacked",
            ))
        })?;
        let failed = |error: io::Error| {
            LayerError::System(system(format!("unpack layer {}", source.digest), error))
        };
        let draft = self.draft("layer").map_err(LayerError::System)?;
        let (diff, work) = (draft.0.join("d"), draft.0.join("work"));
        make_root_folder(&diff, lower.first()).map_err(failed)?;
        fs::create_dir(&work).map_err(failed)?;
        let size = self.fill(source, diff_id, &lower, &diff, &work, progress)?;
        fs::remove_dir_all(&work).map_err(failed)?;
        let meta = Meta {
            chain: chain.to_string(),
            size,
        };
        fs::write(
            draft.0.join(META),
            serde_json::to_vec(&meta).map_err(|error| failed(error.into()))?,
        )
        .map_err(failed)?;
        self.sync().map_err(failed)?;
        let layer = Layer {
            number: self.next_layer(),
            size,
        };
        let mut state = self.state_mut();
        fs::rename(&draft.0, layer.folder(&self.root)).map_err(failed)?;
        state.layers.insert(chain.clone(), layer);
        Ok(())
    }

    fn fill(
        &self,
        source: &Source<'_>,
        diff_id: &Digest,
        lower: &[PathBuf],
        diff: &Path,
        work: &Path,
        progress: Option<&ProgressSender>,
    ) -> Result<u64, LayerError> {
        let unread = |error: io::Error| {
            let message = format!("layer {}: {error}", source.digest);
            match error.raw_os_error() {
                Some(_) => LayerError::System(system("read", message)),
                None => LayerError::Content(message),
            }
        };
        let file = File::open(source.path).map_err(unread)?;
        let watched = Watched {
            total: file.metadata().map_err(unread)?.len(),
            inner: io::BufReader::with_capacity(CHUNK_BYTES, file),
            done: 0,
            told: 0,
            id: &diff_id.hex()[..12],
            progress,
        };
        // One thread hashes and decodes, the other one makes files.
        let (size, digests) = ahead(
            |sink| decode(watched, sink),
            |mut plain| {
                let size = unpack(&mut plain, lower, diff, work)?;
                // What follows the archive's end counts, too.
                io::copy(&mut plain, &mut io::sink()).map_err(unread)?;
                Ok::<u64, LayerError>(size)
            },
        );
        let (travelled, plain) = match digests {
            // It went on until nobody read any more: the other side knows why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                size?;
                return Err(unread(error));
            }
            result => result.map_err(unread)?,
        };
        let size = size?;
        if plain != *diff_id {
            return Err(LayerError::Content(format!(
                "layer {}: its content has diff ID {plain}, and its config says {diff_id}",
                source.digest
            )));
        }
        if travelled != *source.digest {
            return Err(LayerError::Content(format!(
                "layer {}: its content has digest {travelled}",
                source.digest
            )));
        }
        Ok(size)
    }
}

/// Decodes a layer into a sink; tells the digests of what travelled and of what it is.
fn decode(travelled: impl Read, sink: &mut dyn io::Write) -> io::Result<(Digest, Digest)> {
    let mut travelled = Hashing::new(travelled);
    let (compression, decoder) = decoder(&mut travelled)?;
    if compression == Compression::None {
        // The same bytes need one hash only.
        let mut decoder = decoder;
        io::copy(&mut decoder, sink)?;
        drop(decoder);
        let (digest, _) = travelled.finish()?;
        return Ok((digest.clone(), digest));
    }
    let mut plain = Hashing::new(decoder);
    io::copy(&mut plain, sink)?;
    let (plain, _) = plain.finish()?;
    Ok((travelled.finish()?.0, plain))
}

/// Tells how far a file was read.
struct Watched<'a, R> {
    inner: R,
    done: u64,
    told: u64,
    total: u64,
    id: &'a str,
    progress: Option<&'a ProgressSender>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        let is_end = count == 0 || self.done == self.total;
        if let Some(progress) = self.progress
            && (self.done - self.told >= STEP_BYTES || (is_end && self.told < self.done))
        {
            self.told = self.done;
            // Nobody listening, or too slowly, only loses a step.
            let _ = progress.try_send(Progress {
                id: self.id.to_owned(),
                status: "Extracting".to_owned(),
                bytes: Some((self.done, Some(self.total))),
            });
        }
        Ok(count)
    }
}
