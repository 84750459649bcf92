//! Where things are in the workspace.

use std::path::{Path, PathBuf};

/// The workspace's top folder.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(3)
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// cargo's build folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// The machine's image.
pub(crate) fn image() -> PathBuf {
    target().join("image")
}

/// Debian's Docker, unpacked.
pub(crate) fn reference() -> PathBuf {
    target().join("tools/reference")
}
