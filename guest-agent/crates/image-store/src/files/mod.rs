//! The port of containers' files, served: each operation on a thread of its own, with the container's mounts in its own mount namespace.

pub(crate) mod changes;
pub(crate) mod read;
mod stat;
pub(crate) mod tarball;
mod view;
pub(crate) mod write;

use std::{
    io::{self, BufReader, BufWriter, Write},
    os::fd::AsFd,
    path::Path,
};

use async_trait::async_trait;
use engine::{
    id::ContainerId,
    ports::{
        ByteReader,
        files::{Change, Files, GetRequest, Packing, PathStat, PutRequest, Tree},
    },
};
use errdefs::Result;
use rustix::fs::FileType;
use tokio::sync::oneshot;

use self::{
    read::Reader,
    view::{Purpose, View},
};
use crate::{
    error::system,
    store::ImageStore,
    stream::{Blocking, CHUNK_BYTES, PipeWriter, decoder, pipe},
};

impl ImageStore {
    /// Runs work with a view of a container on a thread of its own. What it has to say it says through the channel, once; it may go on after.
    async fn within<T: Send + 'static>(
        &self,
        tree: &Tree,
        purpose: Purpose,
        work: impl FnOnce(&View, oneshot::Sender<Result<T>>) + Send + 'static,
    ) -> Result<T> {
        let (done, result) = oneshot::channel();
        let (inner, tree) = (std::sync::Arc::clone(&self.inner), tree.clone());
        std::thread::Builder::new()
            .name("container-files".to_owned())
            .spawn(move || match inner.enter(&tree, purpose) {
                Ok(view) => work(&view, done),
                // Nobody waiting needs no error.
                Err(error) => drop(done.send(Err(error))),
            })
            .map_err(|error| system("start a thread", error))?;
        result
            .await
            .unwrap_or_else(|_| Err(system("look into a container", "the thread was lost")))
    }
}

#[async_trait]
impl Files for ImageStore {
    async fn stat(&self, tree: &Tree, path: &str) -> Result<PathStat> {
        let path = path.to_owned();
        self.within(tree, Purpose::Look, move |view, done| {
            let found =
                stat::look(view, &path).and_then(|(_, found)| stat::describe(view, &path, &found));
            // Nobody waiting needs no answer.
            let _ = done.send(found);
        })
        .await
    }

    async fn get(&self, tree: &Tree, request: GetRequest) -> Result<(PathStat, ByteReader)> {
        self.within(tree, Purpose::Look, move |view, done| {
            let path = &request.path;
            let found = stat::look(view, path)
                .and_then(|(_, found)| Ok((stat::describe(view, path, &found)?, found)));
            let (described, found) = match found {
                Ok(found) => found,
                Err(error) => return drop(done.send(Err(error))),
            };
            let (writer, reader) = pipe();
            if done.send(Ok((described, reader))).is_err() {
                return;
            }
            let is_folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            send(writer, request.packing, |tar| {
                read_path(view, path, request.name.as_bytes(), is_folder, tar)
            });
        })
        .await
    }

    async fn put(&self, tree: &Tree, request: PutRequest, archive: ByteReader) -> Result<()> {
        let archive = BufReader::with_capacity(CHUNK_BYTES, Blocking::new(archive));
        self.within(tree, Purpose::Change, move |view, done| {
            // Nobody waiting needs no answer.
            let _ = done.send(put(view, request, archive));
        })
        .await
    }

    async fn export(&self, tree: &Tree) -> Result<ByteReader> {
        self.within(tree, Purpose::Look, move |view, done| {
            let (writer, reader) = pipe();
            if done.send(Ok(reader)).is_err() {
                return;
            }
            send(writer, Packing::Plain, |tar| tar.content(view.root.as_fd()));
        })
        .await
    }

    async fn changes(&self, container: &ContainerId) -> Result<Vec<Change>> {
        let container = container.clone();
        self.blocking(move |inner| inner.changes_of(&container))
            .await
    }
}

fn put(view: &View, request: PutRequest, archive: impl io::Read) -> Result<()> {
    let (_, mut plain) = decoder(archive).map_err(|error| system("unpack", error))?;
    write::put(view, request, &mut plain)?;
    // What follows the archive's end is not the client's fault.
    let _ = io::copy(&mut plain, &mut io::sink());
    Ok(())
}

fn read_path(
    view: &View,
    path: &str,
    name: &[u8],
    is_folder: bool,
    tar: &mut Reader<&mut dyn Write>,
) -> io::Result<()> {
    if is_folder {
        let folder = view.root.folder(Path::new(path))?;
        return tar.folder(folder.as_fd(), name);
    }
    let (folder, base) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = view.root.folder(Path::new(folder))?;
    tar.one(folder.as_fd(), Path::new(base), name).map(drop)
}

/// Writes an archive to where it is read; an error cuts it, so that nobody takes it for whole.
fn send(
    writer: PipeWriter,
    packing: Packing,
    write: impl FnOnce(&mut Reader<&mut dyn Write>) -> io::Result<()>,
) {
    let sink = BufWriter::with_capacity(CHUNK_BYTES, &writer);
    let all = |sink: &mut dyn Write| -> io::Result<()> {
        let mut tar = Reader::new(sink);
        write(&mut tar)?;
        tar.finish()?.flush()
    };
    let level = flate2::Compression::default();
    let written = match packing {
        Packing::Plain => {
            let mut sink = sink;
            all(&mut sink)
        }
        Packing::Gzip => {
            let mut packed = flate2::write::GzEncoder::new(sink, level);
            all(&mut packed).and_then(|()| packed.finish()?.flush())
        }
        Packing::Deflate => {
            let mut packed = flate2::write::DeflateEncoder::new(sink, level);
            all(&mut packed).and_then(|()| packed.finish()?.flush())
        }
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            tracing::warn!(%error, "read the files of a container");
            writer.fail(error);
        }
        _ => {}
    }
}
