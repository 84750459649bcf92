//! What a guest may say at all: flags, ids, names of attributes, ranges and handles that are let through to a grant.

use std::{ffi::CStr, io};

use virtiofsd::{
    filesystem::Context,
    soft_idmap::{GuestGid, GuestUid, Id},
};

use crate::{errno, grant::Grant, ids};

/// What a guest may ask of `open`; everything else in the flags is dropped. `O_PATH` and `O_TMPFILE` above all are not for it.
const OPEN_FLAGS: i32 = libc::O_ACCMODE
    | libc::O_APPEND
    | libc::O_CREAT
    | libc::O_EXCL
    | libc::O_TRUNC
    | libc::O_NONBLOCK
    | libc::O_DSYNC
    | libc::O_SYNC;

/// What a guest may ask of `rename`: no whiteouts.
pub(super) const RENAME_FLAGS: u32 = libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE;

/// A file of the user's that runs as the user for everybody on the host is nothing a guest may make.
pub(super) const SET_ID_BITS: u32 = libc::S_ISUID | libc::S_ISGID;

/// Attributes with names like these are the guest's to use; others mean something to the host.
pub(super) const OWN_XATTRS: &[u8] = b"user.";

/// A handle of the grant's; one of another grant is none.
pub(super) fn own_handle(grant: &Grant, handle: u64) -> io::Result<u64> {
    match ids::unpack(handle) {
        (number, local) if number == grant.id => Ok(local),
        _ => Err(errno(libc::EBADF)),
    }
}

pub(super) fn pack_handle(grant: &Grant, handle: Option<u64>) -> io::Result<Option<u64>> {
    handle
        .map(|handle| ids::pack(grant.id, handle).ok_or_else(|| errno(libc::EOVERFLOW)))
        .transpose()
}

pub(super) fn open_flags(flags: u32) -> u32 {
    flags & OPEN_FLAGS.cast_unsigned()
}

/// A grant's number as the root spells it; one spelling each.
pub(super) fn parse_number(name: &CStr) -> Option<u32> {
    let text = name.to_str().ok()?;
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// The largest id means "no change" in system calls and is in no map; a caller with it is anybody else.
pub(super) fn named(mut context: Context) -> Context {
    if context.uid.into_inner() == u32::MAX {
        context.uid = GuestUid::from(0);
    }
    if context.gid.into_inner() == u32::MAX {
        context.gid = GuestGid::from(0);
    }
    context
}

pub(super) fn own_xattr(name: &CStr) -> io::Result<()> {
    if name.to_bytes().starts_with(OWN_XATTRS) {
        Ok(())
    } else {
        Err(errno(libc::ENOTSUP))
    }
}

/// Offsets are signed on the host, and virtiofsd takes it for granted that they fit.
pub(super) fn check_range(offset: u64, size: u32) -> io::Result<()> {
    match offset.checked_add(u64::from(size)) {
        Some(end) if i64::try_from(end).is_ok() => Ok(()),
        _ => Err(errno(libc::EINVAL)),
    }
}
