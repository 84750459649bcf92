//! Which mounts of the host appear in a container, and the other way round.
//!
//! The container's namespace begins as a copy of the host's, whose mounts stay peers of the copies. Before anything is mounted all copies become
//! slaves, or what the spec asks for its root: a bind of one that is to be shared with the host has to be made from a peer. The new root itself
//! and the mount it stands on are private until the old root is left, so nothing that is mounted in it appears outside.
//!
//! Spec: OCI runtime, config-linux, rootfs mount propagation. Linux: Documentation/filesystems/sharedsubtree.rst.

use std::{io, os::fd::BorrowedFd, path::Path};

use oci_spec::runtime::Spec;
use rustix::{
    io::Errno,
    mount::{MountPropagationFlags, mount_change},
};

use super::Failure;
use crate::sys;

/// How a mount passes on what is mounted below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Propagation {
    kind: MountPropagationFlags,
    recursive: bool,
}

impl Propagation {
    /// An option of a mount; with an `r` in front it holds for all mounts below.
    pub(super) fn parse(word: &str) -> Option<Self> {
        let kind = |word| match word {
            "private" => Some(MountPropagationFlags::PRIVATE),
            "shared" => Some(MountPropagationFlags::SHARED),
            "slave" => Some(MountPropagationFlags::DOWNSTREAM),
            "unbindable" => Some(MountPropagationFlags::UNBINDABLE),
            _ => None,
        };
        let recursive = word.strip_prefix('r').and_then(kind);
        Some(Self {
            kind: recursive.or_else(|| kind(word))?,
            recursive: recursive.is_some(),
        })
    }

    /// What a spec asks for its root.
    pub(super) fn of_root(spec: &Spec) -> Result<Option<Self>, Failure> {
        let word = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.rootfs_propagation().as_deref())
            .filter(|word| !word.is_empty());
        word.map(|word| {
            Self::parse(word)
                .ok_or_else(|| Failure(format!("rootfsPropagation={word} is not supported")))
        })
        .transpose()
    }

    fn change(self, path: &str) -> Result<(), Errno> {
        let recursive = if self.recursive {
            MountPropagationFlags::REC
        } else {
            MountPropagationFlags::empty()
        };
        mount_change(path, self.kind | recursive)
    }

    /// Sets it on a mount that may be detached.
    pub(super) fn set(self, mount: BorrowedFd<'_>) -> io::Result<()> {
        let kind = u64::from(self.kind.bits());
        sys::set_mount_attributes(mount, 0, 0, kind, self.recursive)
    }
}

/// Ours before the container's own mounts are made.
pub(super) fn leave_the_hosts(of_root: Option<Propagation>, stage: &Path) -> Result<(), Failure> {
    let slaves = Propagation {
        kind: MountPropagationFlags::DOWNSTREAM,
        recursive: true,
    };
    of_root
        .unwrap_or(slaves)
        .change("/")
        .map_err(|error| Failure::of("set the propagation of mounts", error))?;
    // The mount that a path is in is that of its nearest ancestor that is one's root.
    for ancestor in stage.ancestors() {
        match mount_change(ancestor, MountPropagationFlags::PRIVATE) {
            Err(Errno::INVAL) => {}
            result => {
                return result.map_err(|error| {
                    Failure::of(
                        format!("make the mount of {} private", stage.display()),
                        error,
                    )
                });
            }
        }
    }
    Err(Failure(format!("{} is in no mount", stage.display())))
}

/// What is unmounted at "." from now on stays mounted outside.
pub(super) fn let_go_here() -> Result<(), Errno> {
    mount_change(
        ".",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
}

/// The new root's own, when it is `/`; the mounts below have theirs from their own options.
pub(super) fn of_the_new_root(of_root: Option<Propagation>) -> Result<(), Failure> {
    of_root.map_or(Ok(()), |propagation| {
        mount_change("/", propagation.kind)
            .map_err(|error| Failure::of("set the propagation of the root", error))
    })
}

/// For mounts of the new root: no peer, no master.
pub(super) const PRIVATE: Propagation = Propagation {
    kind: MountPropagationFlags::PRIVATE,
    recursive: true,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_r_makes_it_recursive() {
        let parsed = |word| Propagation::parse(word).map(|one| (one.kind, one.recursive));
        let shared = MountPropagationFlags::SHARED;
        assert_eq!(parsed("shared"), Some((shared, false)));
        assert_eq!(parsed("rshared"), Some((shared, true)));
        assert_eq!(parsed("rrshared"), None);
        assert_eq!(parsed("ro"), None);
    }
}
