//! The files of a container as its users see them, from outside. Served by `image-store`.
//!
//! What is seen is the container's root with its volumes and bind mounts, whether it runs or not: never its tmpfs mounts, `/proc`, `/sys` or `/dev`.

use std::path::PathBuf;

use async_trait::async_trait;
use errdefs::{Error, ErrorKind, Result};

use super::{ByteReader, world::Timestamp};
use crate::id::ContainerId;

/// How a container's files are put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Whose.
    pub container: ContainerId,
    /// Its first process, when it runs: its own root is used then.
    pub pid: Option<u32>,
    /// What is mounted in it, in order.
    pub mounts: Vec<TreeMount>,
}

/// A file or folder of this machine that is seen in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeMount {
    /// Where it is.
    pub source: PathBuf,
    /// Path inside the source, where links lead no further than the source; empty: all of it.
    pub inside: String,
    /// Where it is seen.
    pub destination: String,
    /// It may not be changed.
    pub read_only: bool,
    /// Mounts below the source come along.
    pub recursive: bool,
    /// It may be missing, and is left out then.
    pub optional: bool,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// Bytes.
    pub size: i64,
    /// Kind and permissions as the kernel has them.
    pub mode: u32,
    /// When its content changed.
    pub modified: Timestamp,
    /// Where a link ends, worked out as far as there is something; empty: it is no link.
    pub link_target: String,
}

/// How an archive is packed on its way out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    #[default]
    Plain,
    /// gzip.
    Gzip,
    /// Raw deflate, as Go's `compress/flate` writes it.
    Deflate,
}

/// An archive that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetRequest {
    /// Absolute and cleaned; a trailing `/` or `/.` asks for a folder.
    pub path: String,
    /// What stands in place of the path in the archive's names.
    pub name: String,
    /// How it is packed.
    pub packing: Packing,
}

/// An archive that is to be unpacked.
#[derive(Debug)]
pub struct PutRequest {
    /// Absolute and cleaned.
    pub path: String,
    /// `/` or `/.` that stood behind it, or nothing: the path must be a folder by itself then.
    pub trailing: &'static str,
    /// Where nothing may be written.
    pub guard: Guard,
    /// A folder does not take the place of anything else, nor anything else that of a folder.
    pub keep_kinds: bool,
    /// Owner and group of what is made, whatever the archive says; an error is told when it would be used.
    pub owner: Result<Option<(u32, u32)>>,
}

/// Where users may not write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    /// The root is read-only.
    pub read_only_root: bool,
    /// Mounts with whether they are writable.
    pub mounts: Vec<(String, bool)>,
}

impl Guard {
    /// Checks an absolute path without links.
    ///
    /// # Errors
    /// `InvalidParameter` in Docker's words.
    pub fn check(&self, path: &str) -> Result<()> {
        let is_below = |mount: &str| {
            let mount = mount.trim_end_matches('/');
            path == mount
                || path
                    .strip_prefix(mount)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        let mounts = self.mounts.iter().filter(|(mount, _)| is_below(mount));
        let refused = match mounts.max_by_key(|(mount, _)| mount.len()) {
            Some((_, true)) => return Ok(()),
            Some((_, false)) => "mounted volume is marked read-only",
            None if self.read_only_root => "container rootfs is marked read-only",
            None => return Ok(()),
        };
        Err(Error::new(ErrorKind::InvalidParameter, refused))
    }
}

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is another, or something below it is.
    Modified,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

/// One difference between a container and its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Absolute.
    pub path: String,
    /// What became of it.
    pub kind: ChangeKind,
}

/// Files of containers. Nothing here leads out of a container, whatever its links and the archives say.
#[async_trait]
pub trait Files: Send + Sync {
    /// Looks at a path, which may be relative to the root; a link at its end is not followed.
    ///
    /// # Errors
    /// `NotFound`; else with Go's words, `lstat /etc/passwd/: not a directory`.
    async fn stat(&self, tree: &Tree, path: &str) -> Result<PathStat>;

    /// Opens a path as a tar; the tree is held until it was read or dropped.
    ///
    /// # Errors
    /// As [`Files::stat`].
    async fn get(&self, tree: &Tree, request: GetRequest) -> Result<(PathStat, ByteReader)>;

    /// Unpacks a tar, packed or not, into a folder. What was made before an error stays. The caller sees to it that the container neither
    /// starts nor goes meanwhile, unless it runs.
    ///
    /// # Errors
    /// `NotFound`; `InvalidParameter` when the path is no folder or guarded; else with Docker's words.
    async fn put(&self, tree: &Tree, request: PutRequest, archive: ByteReader) -> Result<()>;

    /// Opens the whole root as a tar, without a name of its own.
    async fn export(&self, tree: &Tree) -> Result<ByteReader>;

    /// How a container differs from its image, parents before what is below them.
    async fn changes(&self, container: &ContainerId) -> Result<Vec<Change>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_decides_and_else_the_root() {
        let guard = Guard {
            read_only_root: true,
            mounts: vec![
                ("/data".into(), true),
                ("/data/ro".into(), false),
                ("/x".into(), false),
            ],
        };
        let refused = |path: &str| {
            guard
                .check(path)
                .map_err(|error| error.message().to_owned())
        };
        assert_eq!(refused("/data"), Ok(()));
        assert_eq!(refused("/data/a"), Ok(()));
        assert_eq!(
            refused("/data/ro/a"),
            Err("mounted volume is marked read-only".into())
        );
        assert_eq!(
            refused("/database"),
            Err("container rootfs is marked read-only".into())
        );
        assert_eq!(
            refused("/"),
            Err("container rootfs is marked read-only".into())
        );
        assert!(Guard::default().check("/").is_ok());
    }
}
