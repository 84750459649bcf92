//! System calls that no safe crate wraps.
#![expect(unsafe_code, reason = "raw system calls, one a function")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// Moves the calling thread into a new network namespace.
///
/// # Errors
/// What the kernel says.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: a network namespace is the thread's own; descriptors, memory and files stay shared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }?;
    Ok(())
}

/// Sends one frame out of a link through a packet socket. Linux: packet(7).
///
/// # Errors
/// What the kernel says.
pub(crate) fn send_frame(socket: BorrowedFd<'_>, link: u32, frame: &[u8]) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain numbers; all zeroes is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_ifindex = i32::try_from(link).map_err(io::Error::other)?;
    let length = u32::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: the buffer and the address live until the call returns and are given with their own sizes.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            length,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
