//! Taking in an image from a registry, blob by blob.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::PathBuf,
    sync::Arc,
};

use async_trait::async_trait;
use engine::ports::images::{BlobWriter, Descriptor, Ingest, ProgressSender};
use errdefs::{Error, ErrorKind, Result};
use oci::{Digest, Reference};
use sha2::{Digest as _, Sha256};
use tokio::{sync::OwnedMutexGuard, task::JoinHandle};

use crate::{
    blobs::{Content, ReadError},
    document::{Document, chain_ids},
    error::{LayerError, damaged, invalid, system},
    garbage::PARTIAL,
    image::unreadable,
    layers::Source,
    names::Target,
    store::{Held, Inner, blocking, keyed, now},
    stream::Hashing,
};

/// Bytes gathered before they are hashed and written, on a thread that may block.
const BLOCK_BYTES: usize = 1 << 20;

/// An image that is coming in.
#[derive(Debug)]
pub(crate) struct Session {
    inner: Arc<Inner>,
    held: Arc<Held>,
}

impl Session {
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        Self {
            inner: Arc::clone(inner),
            held: Arc::new(inner.hold()),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, &Held) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let held = Arc::clone(&self.held);
        blocking(&self.inner, move |inner| work(inner, &held)).await
    }
}

#[async_trait]
impl Ingest for Session {
    async fn document(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let digest = digest.clone();
        self.blocking(move |inner, held| {
            let _changes = inner.changes();
            held.add([digest.clone()], []);
            match Content::stored(&inner.blobs).read(&digest) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(ReadError::Missing) => Ok(None),
                Err(error) => Err(unreadable(&digest, error)),
            }
        })
        .await
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn BlobWriter>>> {
        let lock: Arc<tokio::sync::Mutex<()>> = keyed(&self.inner.writing, &descriptor.digest);
        let turn = lock.lock_owned().await;
        let descriptor = descriptor.clone();
        let inner = Arc::clone(&self.inner);
        let writer = self
            .blocking(move |_, held| {
                {
                    let _changes = inner.changes();
                    held.add([descriptor.digest.clone()], []);
                    if inner.blobs.has(&descriptor.digest) {
                        return Ok(None);
                    }
                }
                let path = inner.partial(&descriptor.digest);
                let (work, offset) = Work::open(&path, descriptor.size, turn)
                    .map_err(|error| system(format!("write blob {}", descriptor.digest), error))?;
                Ok(Some(Writer {
                    inner,
                    path,
                    descriptor,
                    offset,
                    buffer: Vec::new(),
                    work: Some(work),
                    pending: None,
                }))
            })
            .await?;
        Ok(writer.map(|writer| Box::new(writer) as Box<dyn BlobWriter>))
    }

    async fn has_layer(&self, diff_ids: &[Digest]) -> Result<bool> {
        let chains = chain_ids(diff_ids);
        self.blocking(move |inner, held| {
            let _changes = inner.changes();
            held.add([], chains.iter().cloned());
            let state = inner.state();
            Ok(chains.iter().all(|chain| state.layers.contains_key(chain)))
        })
        .await
    }

    async fn unpack(
        &self,
        descriptor: &Descriptor,
        diff_ids: &[Digest],
        progress: ProgressSender,
    ) -> Result<()> {
        let (digest, diff_ids) = (descriptor.digest.clone(), diff_ids.to_vec());
        self.blocking(move |inner, held| {
            {
                let _changes = inner.changes();
                held.add([digest.clone()], chain_ids(&diff_ids));
            }
            let source = Source {
                path: &inner.blobs.path(&digest),
                digest: &digest,
                diff_ids: &diff_ids,
            };
            inner
                .unpack_layer(&source, Some(&progress))
                .map_err(|error| {
                    if matches!(error, LayerError::Content(_)) {
                        inner.discard_if_damaged(&digest);
                    }
                    error.into_error(ErrorKind::DataLoss)
                })
        })
        .await
    }

    async fn finish(&self, name: &Reference, target: &Descriptor, manifest: &Digest) -> Result<()> {
        let (name, target, manifest) = (name.clone(), target.clone(), manifest.clone());
        self.blocking(move |inner, held| inner.finish(held, &name, target, &manifest))
            .await
    }
}

impl Inner {
    fn partial(&self, digest: &Digest) -> PathBuf {
        self.root
            .join("ingest")
            .join(format!("{PARTIAL}{}", digest.hex()))
    }

    /// A blob that does not fit its own digest goes. One that only does not fit somebody's config stays: another image may need it.
    fn discard_if_damaged(&self, digest: &Digest) {
        let path = self.blobs.path(digest);
        let Ok((actual, _)) = File::open(&path).and_then(|file| Hashing::new(file).finish()) else {
            return;
        };
        if actual != *digest {
            let _changes = self.changes();
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%digest, %error, "a damaged blob could not be removed");
            }
        }
    }

    fn finish(
        &self,
        held: &Held,
        name: &Reference,
        target: Descriptor,
        manifest: &Digest,
    ) -> Result<()> {
        let changes = self.changes();
        held.add([target.digest.clone(), manifest.clone()], []);
        let content = Content::stored(&self.blobs);
        let document = |digest: &Digest| {
            content
                .document(digest)
                .map_err(|error| unreadable(digest, error))
        };
        if target.digest != *manifest {
            let Document::Index(entries) = document(&target.digest)? else {
                return Err(invalid(format!("{}: it is no index", target.digest)));
            };
            if entries
                .iter()
                .all(|entry| entry.descriptor.digest != *manifest)
            {
                return Err(invalid(format!("{}: it has no {manifest}", target.digest)));
            }
        }
        let Document::Manifest { config, .. } = document(manifest)? else {
            return Err(invalid(format!("{manifest}: it is no manifest")));
        };
        content
            .config(&config.digest)
            .map_err(|error| unreadable(&config.digest, error))?;
        let target = Target::new(target, now());
        self.rename(&changes, |names| names.assign(name, target))
    }
}

/// What goes to and fro between the writer and threads that may block. Whoever has it is the only one that writes this blob.
#[derive(Debug)]
struct Work {
    file: File,
    hash: Sha256,
    /// Empty; its room is used again.
    spare: Vec<u8>,
    _turn: OwnedMutexGuard<()>,
}

impl Work {
    /// Goes on where an earlier try ended.
    fn open(
        path: &std::path::Path,
        size: u64,
        turn: OwnedMutexGuard<()>,
    ) -> io::Result<(Self, u64)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut work = Self {
            file,
            hash: Sha256::new(),
            spare: Vec::new(),
            _turn: turn,
        };
        if work.file.metadata()?.len() > size {
            work.restart()?;
        }
        let mut offset = 0;
        let mut buffer = vec![0; BLOCK_BYTES];
        loop {
            let count = work.file.read(&mut buffer)?;
            if count == 0 {
                return Ok((work, offset));
            }
            work.hash.update(&buffer[..count]);
            offset += count as u64;
        }
    }

    fn write(mut self, mut buffer: Vec<u8>) -> io::Result<Self> {
        self.file.write_all(&buffer)?;
        self.hash.update(&buffer);
        buffer.clear();
        self.spare = buffer;
        Ok(self)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hash = Sha256::new();
        Ok(())
    }
}

#[derive(Debug)]
struct Writer {
    inner: Arc<Inner>,
    path: PathBuf,
    descriptor: Descriptor,
    /// Bytes taken, written or not.
    offset: u64,
    buffer: Vec<u8>,
    /// None while a thread has it, and after it failed.
    work: Option<Work>,
    pending: Option<JoinHandle<io::Result<Work>>>,
}

impl Writer {
    fn failed(&self, error: impl std::fmt::Display) -> Error {
        system(format!("write blob {}", self.descriptor.digest), error)
    }

    /// Waits until the thread is done. Cancel-safe.
    async fn settle(&mut self) -> Result<()> {
        if let Some(pending) = &mut self.pending {
            let done = pending.await;
            self.pending = None;
            let work = done.map_err(|error| self.failed(error))?;
            self.work = Some(work.map_err(|error| self.failed(error))?);
        }
        Ok(())
    }

    /// Gives what was gathered to a thread.
    async fn flush(&mut self) -> Result<()> {
        self.settle().await?;
        let mut work = self
            .work
            .take()
            .ok_or_else(|| self.failed("an earlier write failed"))?;
        let buffer = std::mem::replace(&mut self.buffer, std::mem::take(&mut work.spare));
        self.pending = Some(tokio::task::spawn_blocking(move || work.write(buffer)));
        Ok(())
    }
}

#[async_trait]
impl BlobWriter for Writer {
    fn offset(&self) -> u64 {
        self.offset
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let offset = self.offset + bytes.len() as u64;
        if offset > self.descriptor.size {
            return Err(damaged(format!(
                "blob {}: more than its {} bytes came",
                self.descriptor.digest, self.descriptor.size
            )));
        }
        self.buffer.extend_from_slice(bytes);
        self.offset = offset;
        if self.buffer.len() >= BLOCK_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn restart(&mut self) -> Result<()> {
        self.settle().await?;
        self.buffer.clear();
        let result = match &mut self.work {
            Some(work) => work.restart(),
            None => Err(io::Error::other("an earlier write failed")),
        };
        result.map_err(|error| self.failed(error))?;
        self.offset = 0;
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        self.flush().await?;
        self.settle().await?;
        let Some(work) = self.work.take() else {
            return Err(self.failed("an earlier write failed"));
        };
        let (inner, path) = (Arc::clone(&self.inner), self.path.clone());
        let (descriptor, offset) = (self.descriptor.clone(), self.offset);
        blocking(&inner, move |inner| {
            let digest = Digest::from_sha256(&work.hash.clone().finalize().into());
            let failed =
                |error: io::Error| system(format!("keep blob {}", descriptor.digest), error);
            if digest != descriptor.digest || offset != descriptor.size {
                fs::remove_file(&path).map_err(failed)?;
                return Err(damaged(format!(
                    "blob {}: {offset} bytes of digest {digest} came, and its descriptor says {}",
                    descriptor.digest, descriptor.size
                )));
            }
            work.file.sync_data().map_err(failed)?;
            let _changes = inner.changes();
            fs::rename(&path, inner.blobs.path(&digest)).map_err(failed)
        })
        .await
    }
}

impl Drop for Writer {
    /// What was gathered is kept for the next try.
    fn drop(&mut self) {
        if let Some(work) = self.work.take()
            && !self.buffer.is_empty()
        {
            let buffer = std::mem::take(&mut self.buffer);
            if let Err(error) = work.write(buffer) {
                tracing::debug!(blob = %self.descriptor.digest, %error, "not all that came is kept");
            }
        }
    }
}
