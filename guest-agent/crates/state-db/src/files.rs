//! Small files, replaced whole.

use std::{fs, io, path::Path};

/// Makes a folder unless it is there. True: it was made.
pub(crate) fn ensure_folder(folder: &Path) -> io::Result<bool> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        made => made.map(|()| true),
    }
}

/// The same, on disk when it returns.
pub(crate) fn replace_durably(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    replace(folder, name, content)?;
    fs::File::open(folder.join(name))?.sync_all()?;
    fs::File::open(folder)?.sync_all()
}

/// Replaces a file by rename: a reader, and an engine that is killed, sees the old one or the new one.
pub(crate) fn replace(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.new"));
    fs::write(&temporary, content)?;
    fs::rename(temporary, folder.join(name))
}
