//! FUSE requests: each finds its grant, is guarded, and goes on to the grant's own file system.

use std::{
    ffi::{CStr, CString},
    io,
    sync::Arc,
    time::Duration,
};

use virtiofsd::{
    filesystem::{
        Context, Entry, Extensions, FileSystem, FsOptions, GetxattrReply, ListxattrReply,
        OpenOptions, ROOT_ID, SetattrValid, SetxattrFlags, ZeroCopyReader, ZeroCopyWriter,
    },
    fuse::{ATTR_SUBMOUNT, Attr, SetattrIn},
};

use super::{
    Shares,
    guard::{
        OWN_XATTRS, RENAME_FLAGS, SET_ID_BITS, check_range, named, open_flags, own_handle,
        own_xattr, pack_handle, parse_number,
    },
};
use crate::{
    errno,
    grant::{Act, BELIEVED, Grant, is_kind, on},
    ids,
    listing::{Item, Listing},
    sys,
};

impl Shares {
    /// The grant of a node, and the node's own number. The root is none: what gets here is not for it.
    fn at(&self, node: u64) -> io::Result<(Arc<Grant>, u64)> {
        match ids::unpack(node) {
            (0, ROOT_ID) => Err(errno(libc::EPERM)),
            (0, _) => Err(errno(libc::ESTALE)),
            (number, local) => Ok((self.find(number).ok_or_else(|| errno(libc::ESTALE))?, local)),
        }
    }

    fn entry_of(&self, context: Context, number: u32) -> io::Result<Entry> {
        let grant = self.find(number).ok_or_else(|| errno(libc::ENOENT))?;
        let (mut attr, _) = on!(grant, fs => fs.getattr(context, ROOT_ID, None))?;
        if self
            .read_book()
            .session
            .is_some_and(|capable| capable.contains(FsOptions::SUBMOUNTS))
        {
            attr.flags |= ATTR_SUBMOUNT;
        }
        Ok(Entry {
            inode: ids::pack(number, ROOT_ID).ok_or_else(|| errno(libc::EOVERFLOW))?,
            generation: 0,
            attr,
            attr_timeout: BELIEVED,
            entry_timeout: BELIEVED,
        })
    }

    fn list_root(&self, context: Context, offset: u64) -> Listing {
        let numbers: Vec<u32> = {
            let book = self.read_book();
            let after = |number: &u32| u64::from(*number) > offset;
            book.grants.keys().copied().filter(after).collect()
        };
        let item = |number: u32| {
            let entry = self.entry_of(context, number).ok()?;
            Some(Item {
                inode: entry.attr.ino,
                offset: u64::from(number),
                kind: u32::from(libc::DT_DIR),
                name: CString::new(number.to_string()).ok()?,
            })
        };
        Listing::of(numbers.into_iter().filter_map(item).collect())
    }

    fn open_existing(
        &self,
        context: Context,
        grant: &Grant,
        folder: u64,
        name: &CStr,
        kill_priv: bool,
        flags: u32,
    ) -> io::Result<(Entry, Option<u64>, OpenOptions)> {
        let entry = grant.lookup(context, folder, name)?;
        let (_, local) = ids::unpack(entry.inode);
        let opened = grant
            .check_open(context, local)
            .and_then(|()| on!(grant, fs => fs.open(context, local, kill_priv, flags)))
            .and_then(|(handle, options)| Ok((pack_handle(grant, handle)?, options)));
        match opened {
            Ok((handle, options)) => Ok((entry, handle, options)),
            Err(error) => {
                on!(grant, fs => fs.forget(context, local, 1));
                Err(error)
            }
        }
    }
}

fn root_attributes() -> Attr {
    Attr {
        ino: ROOT_ID,
        mode: libc::S_IFDIR | 0o755,
        nlink: 2,
        blksize: 4096,
        ..Attr::default()
    }
}

fn unsupported<T>() -> io::Result<T> {
    Err(errno(libc::ENOSYS))
}

/// Every method is here: one that is not would quietly be the trait's own.
impl FileSystem for Shares {
    type Inode = u64;
    type Handle = u64;
    type DirIter = Listing;

    fn init(&self, capable: FsOptions) -> io::Result<FsOptions> {
        let mut book = self.write();
        for grant in book.grants.values() {
            if let Err(error) = on!(grant, fs => fs.init(capable)) {
                // Its nodes are errors then; the others are served.
                tracing::warn!(path = %grant.key.path.display(), %error, "a shared folder cannot be opened");
            }
        }
        book.session = Some(capable);
        Ok(FsOptions::DO_READDIRPLUS
            | FsOptions::READDIRPLUS_AUTO
            | FsOptions::SUBMOUNTS & capable
            | FsOptions::HANDLE_KILLPRIV_V2 & capable)
    }

    fn destroy(&self) {
        let mut book = self.write();
        book.session = None;
        for grant in book.grants.values() {
            on!(grant, fs => fs.destroy());
        }
    }

    fn lookup(&self, ctx: Context, parent: u64, name: &CStr) -> io::Result<Entry> {
        if parent == ROOT_ID {
            let number = parse_number(name).ok_or_else(|| errno(libc::ENOENT))?;
            return self.entry_of(ctx, number);
        }
        let (grant, parent) = self.at(parent)?;
        grant.lookup(ctx, parent, name)
    }

    fn forget(&self, ctx: Context, inode: u64, count: u64) {
        // A grant's root is there as long as the grant.
        if let Ok((grant, local)) = self.at(inode)
            && local != ROOT_ID
        {
            on!(grant, fs => fs.forget(ctx, local, count));
        }
    }

    fn batch_forget(&self, ctx: Context, requests: Vec<(u64, u64)>) {
        for (inode, count) in requests {
            self.forget(ctx, inode, count);
        }
    }

    fn getattr(
        &self,
        ctx: Context,
        inode: u64,
        handle: Option<u64>,
    ) -> io::Result<(Attr, Duration)> {
        if inode == ROOT_ID {
            return Ok((root_attributes(), BELIEVED));
        }
        let (grant, inode) = self.at(inode)?;
        let handle = handle
            .map(|handle| own_handle(&grant, handle))
            .transpose()?;
        on!(grant, fs => fs.getattr(ctx, inode, handle))
    }

    fn setattr(
        &self,
        ctx: Context,
        inode: u64,
        mut attr: SetattrIn,
        handle: Option<u64>,
        valid: SetattrValid,
    ) -> io::Result<(Attr, Duration)> {
        let (grant, inode) = self.at(inode)?;
        grant.check_node(inode)?;
        let handle = handle
            .map(|handle| own_handle(&grant, handle))
            .transpose()?;
        let (now, _) = on!(grant, fs => fs.getattr(ctx, inode, None))?;
        if valid.contains(SetattrValid::SIZE) && !is_kind(now.mode, libc::S_IFREG) {
            return Err(errno(libc::EINVAL));
        }
        if valid.contains(SetattrValid::MODE) && !is_kind(now.mode, libc::S_IFDIR) {
            attr.mode &= !SET_ID_BITS;
        }
        on!(grant, fs => fs.setattr(ctx, inode, attr, handle, valid))
    }

    fn readlink(&self, ctx: Context, inode: u64) -> io::Result<Vec<u8>> {
        let (grant, inode) = self.at(inode)?;
        on!(grant, fs => fs.readlink(ctx, inode))
    }

    fn symlink(
        &self,
        ctx: Context,
        linkname: &CStr,
        parent: u64,
        name: &CStr,
        _extensions: Extensions,
    ) -> io::Result<Entry> {
        let ctx = named(ctx);
        let (grant, parent) = self.at(parent)?;
        grant.check(ctx, parent, name, Act::Make)?;
        let extensions = Extensions::default();
        let entry = on!(grant, fs => fs.symlink(ctx, linkname, parent, name, extensions))?;
        grant.entry(ctx, entry)
    }

    fn mknod(
        &self,
        ctx: Context,
        parent: u64,
        name: &CStr,
        mode: u32,
        _rdev: u32,
        umask: u32,
        _extensions: Extensions,
    ) -> io::Result<Entry> {
        let ctx = named(ctx);
        let (grant, parent) = self.at(parent)?;
        // The host may run us as root after all: no devices.
        if !matches!(
            mode & libc::S_IFMT,
            0 | libc::S_IFREG | libc::S_IFIFO | libc::S_IFSOCK
        ) {
            return Err(errno(libc::EPERM));
        }
        let act = if is_kind(mode, libc::S_IFREG) {
            Act::Create
        } else {
            Act::Make
        };
        grant.check(ctx, parent, name, act)?;
        let (mode, extensions) = (mode & !SET_ID_BITS, Extensions::default());
        let entry = on!(grant, fs => fs.mknod(ctx, parent, name, mode, 0, umask, extensions))?;
        grant.entry(ctx, entry)
    }

    fn mkdir(
        &self,
        ctx: Context,
        parent: u64,
        name: &CStr,
        mode: u32,
        umask: u32,
        _extensions: Extensions,
    ) -> io::Result<Entry> {
        let ctx = named(ctx);
        let (grant, parent) = self.at(parent)?;
        grant.check(ctx, parent, name, Act::Make)?;
        let extensions = Extensions::default();
        let entry = on!(grant, fs => fs.mkdir(ctx, parent, name, mode, umask, extensions))?;
        grant.entry(ctx, entry)
    }

    fn unlink(&self, ctx: Context, parent: u64, name: &CStr) -> io::Result<()> {
        let (grant, parent) = self.at(parent)?;
        grant.check(ctx, parent, name, Act::Remove)?;
        on!(grant, fs => fs.unlink(ctx, parent, name))
    }

    fn rmdir(&self, ctx: Context, parent: u64, name: &CStr) -> io::Result<()> {
        let (grant, parent) = self.at(parent)?;
        grant.check(ctx, parent, name, Act::Remove)?;
        on!(grant, fs => fs.rmdir(ctx, parent, name))
    }

    fn rename(
        &self,
        ctx: Context,
        olddir: u64,
        oldname: &CStr,
        newdir: u64,
        newname: &CStr,
        flags: u32,
    ) -> io::Result<()> {
        let (grant, olddir) = self.at(olddir)?;
        let (other, newdir) = self.at(newdir)?;
        if grant.id != other.id {
            return Err(errno(libc::EXDEV));
        }
        if flags & !RENAME_FLAGS != 0 {
            return Err(errno(libc::EINVAL));
        }
        let arrives = if flags & libc::RENAME_EXCHANGE == 0 {
            Act::Make
        } else {
            Act::Move
        };
        grant.check(ctx, olddir, oldname, Act::Move)?;
        grant.check(ctx, newdir, newname, arrives)?;
        on!(grant, fs => fs.rename(ctx, olddir, oldname, newdir, newname, flags))
    }

    fn link(&self, ctx: Context, inode: u64, newparent: u64, newname: &CStr) -> io::Result<Entry> {
        let (grant, inode) = self.at(inode)?;
        let (other, newparent) = self.at(newparent)?;
        if grant.id != other.id {
            return Err(errno(libc::EXDEV));
        }
        grant.check(ctx, newparent, newname, Act::Make)?;
        let entry = on!(grant, fs => fs.link(ctx, inode, newparent, newname))?;
        grant.entry(ctx, entry)
    }

    fn open(
        &self,
        ctx: Context,
        inode: u64,
        kill_priv: bool,
        flags: u32,
    ) -> io::Result<(Option<u64>, OpenOptions)> {
        let (grant, inode) = self.at(inode)?;
        grant.check_open(ctx, inode)?;
        let flags = open_flags(flags);
        let (handle, options) = on!(grant, fs => fs.open(ctx, inode, kill_priv, flags))?;
        Ok((pack_handle(&grant, handle)?, options))
    }

    fn create(
        &self,
        ctx: Context,
        parent: u64,
        name: &CStr,
        mode: u32,
        kill_priv: bool,
        flags: u32,
        umask: u32,
        _extensions: Extensions,
    ) -> io::Result<(Entry, Option<u64>, OpenOptions)> {
        let ctx = named(ctx);
        let (grant, parent) = self.at(parent)?;
        let flags = open_flags(flags);
        let (creat, excl) = (libc::O_CREAT.cast_unsigned(), libc::O_EXCL.cast_unsigned());
        // What is there already is opened by us and not by the passthrough, which would open a pipe and wait.
        let existing = || {
            let flags = flags & !(creat | excl);
            self.open_existing(ctx, &grant, parent, name, kill_priv, flags)
        };
        if grant.key.read_only {
            if flags & excl != 0 {
                return Err(errno(libc::EROFS));
            }
            return match existing() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(errno(libc::EROFS)),
                result => result,
            };
        }
        grant.check(ctx, parent, name, Act::Create)?;
        let (mode, extensions) = (mode & !SET_ID_BITS, Extensions::default());
        let made = on!(grant, fs => {
            fs.create(ctx, parent, name, mode, kill_priv, flags | creat | excl, umask, extensions)
        });
        match made {
            Ok((entry, handle, options)) => Ok((
                grant.entry(ctx, entry)?,
                pack_handle(&grant, handle)?,
                options,
            )),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && flags & excl == 0 => {
                existing()
            }
            Err(error) => Err(error),
        }
    }

    fn read<W: ZeroCopyWriter>(
        &self,
        ctx: Context,
        inode: u64,
        handle: u64,
        w: W,
        size: u32,
        offset: u64,
        lock_owner: Option<u64>,
        flags: u32,
    ) -> io::Result<usize> {
        let (grant, inode) = self.at(inode)?;
        let handle = own_handle(&grant, handle)?;
        check_range(offset, size)?;
        on!(grant, fs => fs.read(ctx, inode, handle, w, size, offset, lock_owner, flags))
    }

    fn write<R: ZeroCopyReader>(
        &self,
        ctx: Context,
        inode: u64,
        handle: u64,
        r: R,
        size: u32,
        offset: u64,
        lock_owner: Option<u64>,
        delayed_write: bool,
        kill_priv: bool,
        flags: u32,
    ) -> io::Result<usize> {
        let (grant, inode) = self.at(inode)?;
        let handle = own_handle(&grant, handle)?;
        check_range(offset, size)?;
        on!(grant, fs => {
            fs.write(ctx, inode, handle, r, size, offset, lock_owner, delayed_write, kill_priv, flags)
        })
    }

    fn flush(&self, ctx: Context, inode: u64, handle: u64, lock_owner: u64) -> io::Result<()> {
        let (grant, inode) = self.at(inode)?;
        let handle = own_handle(&grant, handle)?;
        on!(grant, fs => fs.flush(ctx, inode, handle, lock_owner))
    }

    fn fsync(&self, ctx: Context, inode: u64, datasync: bool, handle: u64) -> io::Result<()> {
        let (grant, inode) = self.at(inode)?;
        let handle = own_handle(&grant, handle)?;
        on!(grant, fs => fs.fsync(ctx, inode, datasync, handle))
    }

    fn fallocate(
        &self,
        ctx: Context,
        inode: u64,
        handle: u64,
        mode: u32,
        offset: u64,
        length: u64,
    ) -> io::Result<()> {
        let (grant, inode) = self.at(inode)?;
        let handle = own_handle(&grant, handle)?;
        on!(grant, fs => fs.fallocate(ctx, inode, handle, mode, offset, length))
    }

    fn release(
        &self,
        ctx: Context,
        inode: u64,
        flags: u32,
        handle: u64,
        flush: bool,
        flock_release: bool,
        lock_owner: Option<u64>,
    ) -> io::Result<()> {
        let (grant, inode) = self.at(inode)?;
        let handle = own_handle(&grant, handle)?;
        on!(grant, fs => fs.release(ctx, inode, flags, handle, flush, flock_release, lock_owner))
    }

    fn statfs(&self, ctx: Context, inode: u64) -> io::Result<libc::statvfs64> {
        if inode == ROOT_ID {
            return Ok(sys::root_statistics());
        }
        let (grant, inode) = self.at(inode)?;
        on!(grant, fs => fs.statfs(ctx, inode))
    }

    fn setxattr(
        &self,
        ctx: Context,
        inode: u64,
        name: &CStr,
        value: &[u8],
        flags: u32,
        extra_flags: SetxattrFlags,
    ) -> io::Result<()> {
        let (grant, inode) = self.at(inode)?;
        grant.check_node(inode)?;
        own_xattr(name)?;
        on!(grant, fs => fs.setxattr(ctx, inode, name, value, flags, extra_flags))
    }

    fn getxattr(
        &self,
        ctx: Context,
        inode: u64,
        name: &CStr,
        size: u32,
    ) -> io::Result<GetxattrReply> {
        own_xattr(name)?;
        let (grant, inode) = self.at(inode)?;
        grant.check_node(inode)?;
        on!(grant, fs => fs.getxattr(ctx, inode, name, size))
    }

    fn listxattr(&self, ctx: Context, inode: u64, size: u32) -> io::Result<ListxattrReply> {
        let (grant, inode) = self.at(inode)?;
        grant.check_node(inode)?;
        match on!(grant, fs => fs.listxattr(ctx, inode, size))? {
            ListxattrReply::Names(names) => {
                let own = names
                    .split_inclusive(|&byte| byte == 0)
                    .filter(|name| name.starts_with(OWN_XATTRS));
                Ok(ListxattrReply::Names(own.flatten().copied().collect()))
            }
            count @ ListxattrReply::Count(_) => Ok(count),
        }
    }

    fn removexattr(&self, ctx: Context, inode: u64, name: &CStr) -> io::Result<()> {
        let (grant, inode) = self.at(inode)?;
        grant.check_node(inode)?;
        own_xattr(name)?;
        on!(grant, fs => fs.removexattr(ctx, inode, name))
    }

    fn opendir(
        &self,
        ctx: Context,
        inode: u64,
        _flags: u32,
    ) -> io::Result<(Option<u64>, OpenOptions)> {
        if inode == ROOT_ID {
            return Ok((None, OpenOptions::empty()));
        }
        let (grant, inode) = self.at(inode)?;
        grant.check_open(ctx, inode)?;
        // A folder is only ever read, whatever the flags say.
        let (handle, options) = on!(grant, fs => fs.opendir(ctx, inode, 0))?;
        Ok((pack_handle(&grant, handle)?, options))
    }

    fn readdir(
        &self,
        ctx: Context,
        inode: u64,
        handle: u64,
        size: u32,
        offset: u64,
    ) -> io::Result<Listing> {
        if inode == ROOT_ID {
            return Ok(self.list_root(ctx, offset));
        }
        let (grant, inode) = self.at(inode)?;
        let handle = own_handle(&grant, handle)?;
        grant.list(ctx, inode, handle, size, offset)
    }

    fn fsyncdir(&self, ctx: Context, inode: u64, datasync: bool, handle: u64) -> io::Result<()> {
        if inode == ROOT_ID {
            return Ok(());
        }
        let (grant, inode) = self.at(inode)?;
        let handle = own_handle(&grant, handle)?;
        on!(grant, fs => fs.fsyncdir(ctx, inode, datasync, handle))
    }

    fn releasedir(&self, ctx: Context, inode: u64, flags: u32, handle: u64) -> io::Result<()> {
        if inode == ROOT_ID {
            return Ok(());
        }
        let (grant, inode) = self.at(inode)?;
        let handle = own_handle(&grant, handle)?;
        on!(grant, fs => fs.releasedir(ctx, inode, flags, handle))
    }

    fn access(&self, ctx: Context, inode: u64, mask: u32) -> io::Result<()> {
        if inode == ROOT_ID {
            return if mask & libc::W_OK.cast_unsigned() == 0 {
                Ok(())
            } else {
                Err(errno(libc::EPERM))
            };
        }
        let (grant, inode) = self.at(inode)?;
        on!(grant, fs => fs.access(ctx, inode, mask))
    }

    fn lseek(
        &self,
        ctx: Context,
        inode: u64,
        handle: u64,
        offset: u64,
        whence: u32,
    ) -> io::Result<u64> {
        let (grant, inode) = self.at(inode)?;
        let handle = own_handle(&grant, handle)?;
        on!(grant, fs => fs.lseek(ctx, inode, handle, offset, whence))
    }

    fn copyfilerange(
        &self,
        ctx: Context,
        inode_in: u64,
        handle_in: u64,
        offset_in: u64,
        inode_out: u64,
        handle_out: u64,
        offset_out: u64,
        len: u64,
        flags: u64,
    ) -> io::Result<usize> {
        let (grant, inode_in) = self.at(inode_in)?;
        let (other, inode_out) = self.at(inode_out)?;
        if grant.id != other.id {
            return Err(errno(libc::EXDEV));
        }
        let handle_in = own_handle(&grant, handle_in)?;
        let handle_out = own_handle(&grant, handle_out)?;
        on!(grant, fs => {
            fs.copyfilerange(
                ctx, inode_in, handle_in, offset_in, inode_out, handle_out, offset_out, len, flags,
            )
        })
    }

    fn syncfs(&self, ctx: Context, inode: u64) -> io::Result<()> {
        if inode == ROOT_ID {
            return Ok(());
        }
        let (grant, inode) = self.at(inode)?;
        if grant.key.read_only {
            return Ok(());
        }
        on!(grant, fs => fs.syncfs(ctx, inode))
    }

    fn getlk(&self) -> io::Result<()> {
        unsupported()
    }

    fn setlk(&self) -> io::Result<()> {
        unsupported()
    }

    fn setlkw(&self) -> io::Result<()> {
        unsupported()
    }

    fn ioctl(&self) -> io::Result<()> {
        unsupported()
    }

    fn bmap(&self) -> io::Result<()> {
        unsupported()
    }

    fn poll(&self) -> io::Result<()> {
        unsupported()
    }

    fn notify_reply(&self) -> io::Result<()> {
        unsupported()
    }

    fn tmpfile(&self) -> io::Result<(Entry, Option<u64>, OpenOptions)> {
        unsupported()
    }
}
