//! Granted host folders, served over FUSE behind a name guard.
//!
//! ```text
//! virtqueue ─► FuseServer ─► Shares ──┬─ grant 1: PassthroughFs of a folder
//!             (decodes)     (guards,  ├─ grant 2: the same, read-only
//!                            routes)  └─ grant 3: one file of its folder
//! ```
//! [`policy`] says what may be granted, [`name`] which names a guest may send at all, [`folder`] opens what was judged and nothing else,
//! [`Shares`] is the one file system whose root lists the grants, and [`FuseServer`] answers FUSE requests in guest memory. The passthrough
//! beneath is the crate virtiofsd, which relies on a sandbox around it; here every name is checked before it gets there instead.
//!
//! It does not know virtqueues' kicks and interrupts, the guest's words for asking, or where the guest mounts it.
//! Spec: virtio 1.2, 5.11 (file system device); Linux: include/uapi/linux/fuse.h.

pub mod folder;
mod grant;
mod hidden;
pub mod hostile;
mod ids;
mod listing;
pub mod name;
pub mod policy;
mod server;
mod shares;
mod sys;

pub use grant::Owner;
pub use server::{FuseServer, Memory};
pub use shares::{Granted, Shares, Wish};
pub use sys::become_worker;

fn errno(code: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(code)
}
