//! Granted host folders served over FUSE, behind a name guard.
