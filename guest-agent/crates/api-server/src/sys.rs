//! A question to the kernel that no safe crate of ours asks.
#![expect(unsafe_code, reason = "one ioctl that fills one integer")]

use std::os::fd::{AsFd, AsRawFd};

/// Bytes (with the kernel's own around them) that were written to a socket and not yet read at its other end. Linux: SIOCOUTQ, for unix
/// sockets; of TCP it tells what is not acknowledged. 0 when it cannot be known.
pub(crate) fn not_taken(socket: &impl AsFd) -> i32 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, which is the same number, writes one `int`, which outlives the call.
    let asked = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if asked == 0 { bytes } else { 0 }
}
