//! One granted folder, and what a guest may do with names in it.

use std::{
    ffi::{CStr, CString, OsString},
    io,
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::PathBuf,
    time::Duration,
};

use rustix::fs::fstat;
use virtiofsd::{
    filesystem::{Context, Entry, FileSystem, ROOT_ID},
    passthrough::{
        CachePolicy, Config, NegotiationMode, PassthroughFs, read_only::PassthroughFsRo,
    },
    soft_idmap::cmdline::IdMap,
};

use crate::{
    errno,
    folder::Source,
    hidden::{Hidden, Place},
    ids,
    listing::{self, Item, Listing},
    name, sys,
};

/// How long the guest may believe what it was told about an entry: the host changes files too.
pub(crate) const BELIEVED: Duration = Duration::from_secs(1);

/// Whom the guest's users are on the host: all of them one user, who is the guest's root when looked at from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Owner {
    /// The user of this process.
    pub fn of_process() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }
}

/// What is done with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Looked up.
    Find,
    /// Made as a file.
    Create,
    /// Made as anything else, or renamed to.
    Make,
    /// Removed.
    Remove,
    /// Renamed from: the entry itself goes elsewhere.
    Move,
}

/// The passthrough beneath.
pub(crate) enum Served {
    Writable(PassthroughFs),
    ReadOnly(PassthroughFsRo),
}

/// Calls the passthrough, whichever it is.
macro_rules! on {
    ($grant:expr, $fs:ident => $call:expr) => {
        match &$grant.served {
            $crate::grant::Served::Writable($fs) => $call,
            $crate::grant::Served::ReadOnly($fs) => $call,
        }
    };
}
pub(crate) use on;

/// What makes two wishes the same grant: the place, and that the same folder is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) path: PathBuf,
    pub(crate) read_only: bool,
    device: u64,
    inode: u64,
}

impl Key {
    pub(crate) fn new(source: &Source, read_only: bool) -> io::Result<Self> {
        let status = fstat(&source.folder)?;
        Ok(Self {
            path: source.path.clone(),
            read_only,
            device: status.st_dev,
            inode: status.st_ino,
        })
    }
}

/// A grant. Node ids and handles here are its own.
pub(crate) struct Grant {
    pub(crate) id: u32,
    pub(crate) key: Key,
    /// The one file that is to be seen.
    pub(crate) file: Option<OsString>,
    pub(crate) served: Served,
    hidden: Hidden,
}

impl Grant {
    /// Serves a folder. `hidden` are paths below it.
    pub(crate) fn new(
        id: u32,
        key: Key,
        source: Source,
        hidden: Vec<PathBuf>,
        owner: Owner,
        descriptors: u64,
    ) -> io::Result<Self> {
        let config = config(&source, owner, descriptors)?;
        let read_only = key.read_only;
        let served = sys::as_worker(|| {
            Ok(if read_only {
                Served::ReadOnly(PassthroughFsRo::new(config)?)
            } else {
                Served::Writable(PassthroughFs::new(config)?)
            })
        })?;
        Ok(Self {
            id,
            key,
            file: source.file,
            served,
            // The descriptor lives here; the passthrough opens it anew at each mount of the guest's.
            hidden: Hidden::new(source.folder, hidden),
        })
    }

    /// Whether a name in a folder may be used like this.
    pub(crate) fn check(
        &self,
        context: Context,
        folder: u64,
        name: &CStr,
        act: Act,
    ) -> io::Result<()> {
        let name = name.to_bytes();
        name::check(name).map_err(|error| errno(error.errno()))?;
        if let Some(file) = &self.file
            && folder == ROOT_ID
        {
            return match act {
                Act::Find | Act::Create if file.as_bytes() == name => Ok(()),
                Act::Find => Err(errno(libc::ENOENT)),
                _ => Err(errno(libc::EPERM)),
            };
        }
        if self.hidden.is_empty() {
            return Ok(());
        }
        let place = self
            .hidden
            .place(name, || self.inode_number(context, folder))?;
        match (place, act) {
            (Place::Hidden, Act::Find | Act::Remove | Act::Move) => Err(errno(libc::ENOENT)),
            (Place::Hidden, Act::Create | Act::Make) | (Place::OnTheWay, Act::Move) => {
                Err(errno(libc::EPERM))
            }
            (Place::OnTheWay | Place::Open, _) => Ok(()),
        }
    }

    /// Whether a node itself, not its content, may be changed: the folder of a granted file was not granted.
    pub(crate) fn check_node(&self, node: u64) -> io::Result<()> {
        if self.file.is_some() && node == ROOT_ID {
            return Err(errno(libc::EPERM));
        }
        Ok(())
    }

    pub(crate) fn lookup(&self, context: Context, folder: u64, name: &CStr) -> io::Result<Entry> {
        self.check(context, folder, name, Act::Find)?;
        let entry = on!(self, fs => fs.lookup(context, folder, name))?;
        // A folder has taken the place of the granted file.
        if self.file.is_some() && is_kind(entry.attr.mode, libc::S_IFDIR) {
            on!(self, fs => fs.forget(context, entry.inode, 1));
            return Err(errno(libc::ENOENT));
        }
        self.entry(context, entry)
    }

    /// An entry as the guest sees it.
    pub(crate) fn entry(&self, context: Context, mut entry: Entry) -> io::Result<Entry> {
        let local = entry.inode;
        match ids::pack(self.id, local) {
            Some(packed) => entry.inode = packed,
            None => {
                on!(self, fs => fs.forget(context, local, 1));
                return Err(errno(libc::EOVERFLOW));
            }
        }
        Ok(entry)
    }

    /// Whether a node may be opened. The guest's kernel opens pipes and devices itself; opening the host's would block us, or do worse.
    pub(crate) fn check_open(&self, context: Context, node: u64) -> io::Result<()> {
        let (attributes, _) = on!(self, fs => fs.getattr(context, node, None))?;
        match attributes.mode & libc::S_IFMT {
            libc::S_IFREG | libc::S_IFDIR => Ok(()),
            libc::S_IFLNK => Err(errno(libc::ELOOP)),
            _ => Err(errno(libc::ENXIO)),
        }
    }

    /// Part of a folder.
    pub(crate) fn list(
        &self,
        context: Context,
        folder: u64,
        handle: u64,
        size: u32,
        offset: u64,
    ) -> io::Result<Listing> {
        let read = |offset| on!(self, fs => fs.readdir(context, folder, handle, size, offset));
        if let Some(file) = &self.file
            && folder == ROOT_ID
        {
            return self.list_file(context, file, offset);
        }
        let names = if self.hidden.is_empty() {
            Vec::new()
        } else {
            self.hidden.names_in(self.inode_number(context, folder)?)?
        };
        if names.is_empty() {
            return read(offset).map(Listing::Whole);
        }
        listing::filter(offset, read, |name| {
            !names
                .iter()
                .any(|hidden| hidden.as_bytes().eq_ignore_ascii_case(name))
        })
    }

    fn list_file(&self, context: Context, file: &OsString, offset: u64) -> io::Result<Listing> {
        let name = CString::new(file.as_bytes())?;
        if offset > 0 {
            return Ok(Listing::of(Vec::new()));
        }
        let entry = match on!(self, fs => fs.lookup(context, ROOT_ID, &name)) {
            Ok(entry) => entry,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Listing::of(Vec::new()));
            }
            Err(error) => return Err(error),
        };
        on!(self, fs => fs.forget(context, entry.inode, 1));
        if is_kind(entry.attr.mode, libc::S_IFDIR) {
            return Ok(Listing::of(Vec::new()));
        }
        Ok(Listing::of(vec![Item {
            inode: entry.attr.ino,
            offset: 1,
            kind: (entry.attr.mode & libc::S_IFMT) >> 12,
            name,
        }]))
    }

    fn inode_number(&self, context: Context, node: u64) -> io::Result<u64> {
        let (attributes, _) = on!(self, fs => fs.getattr(context, node, None))?;
        Ok(attributes.ino)
    }
}

/// Whether a mode is of a kind of file.
pub(crate) fn is_kind(mode: u32, kind: u32) -> bool {
    mode & libc::S_IFMT == kind
}

fn config(source: &Source, owner: Owner, descriptors: u64) -> io::Result<Config> {
    let map = |id: u32| -> io::Result<Option<Vec<IdMap>>> {
        [
            format!("squash-guest:0:{id}:{}", u32::MAX),
            format!("host:{id}:0:1"),
        ]
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|_| io::Error::other(format!("{text} is no id map")))
        })
        .collect::<io::Result<Vec<IdMap>>>()
        .map(Some)
    };
    Ok(Config {
        entry_timeout: BELIEVED,
        attr_timeout: BELIEVED,
        cache_policy: CachePolicy::Auto,
        writeback: false,
        // The folder that was judged, not what may lie at its path by now. The last dot is what `O_NOFOLLOW` looks at.
        root_dir: format!("/proc/self/fd/{}/.", source.folder.as_raw_fd()),
        xattr: true,
        announce_submounts: true,
        killpriv_v2: true,
        posix_acl: NegotiationMode::Never,
        security_label: NegotiationMode::Never,
        uid_map: map(owner.uid)?,
        gid_map: map(owner.gid)?,
        guest_fd_limit: descriptors,
        ..Config::default()
    })
}
