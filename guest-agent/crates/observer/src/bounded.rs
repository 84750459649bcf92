//! Files read to a bound.

use std::{fs::File, io::Read, path::Path};

/// The first bytes of a file; what is not there, or cannot be read, is none.
pub(crate) fn bytes(path: &Path, most: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    File::open(path)
        .ok()?
        .take(most)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

/// The same as text.
pub(crate) fn text(path: &Path, most: usize) -> Option<String> {
    bytes(path, most).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
