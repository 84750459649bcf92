//! What needs a raw call.
#![expect(
    unsafe_code,
    reason = "a thread's own umask and working folder, and a C struct of zeros"
)]

use std::{io, thread};

use rustix::{
    fs::Mode,
    thread::{UnshareFlags, unshare_unsafe},
};

/// Makes the calling thread one that may answer requests: with a working folder and a umask of its own, the latter empty, since the guest's
/// kernel has applied the caller's. Other threads of the process keep theirs.
///
/// # Errors
/// What the kernel says.
pub fn become_worker() -> io::Result<()> {
    // SAFETY: only the working folder, root folder and umask are no longer shared; descriptors still are.
    unsafe { unshare_unsafe(UnshareFlags::FS) }?;
    rustix::process::umask(Mode::empty());
    Ok(())
}

/// Runs something that changes the umask on a thread that can afford it.
pub(crate) fn as_worker<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("share".to_owned())
            .spawn_scoped(scope, || {
                become_worker()?;
                work()
            })?
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the passthrough panicked")))
    })
}

/// The root's answer to `statfs`.
pub(crate) fn root_statistics() -> libc::statvfs64 {
    // SAFETY: `statvfs64` is plain integers; all zero is a valid value.
    let mut statistics: libc::statvfs64 = unsafe { std::mem::zeroed() };
    statistics.f_namemax = crate::name::MAX_NAME_BYTES as libc::c_ulong;
    statistics.f_bsize = 4096;
    statistics
}
