//! Granted host folders, served over FUSE behind a name guard.
//!
//! So far the two decisions that everything else will hang on, both pure: [`name`] says which names a guest may send at all, [`policy`] which
//! host paths may be granted. Serving them over virtio-fs comes next; until then berth-vmm refuses every grant.

pub mod name;
pub mod policy;
