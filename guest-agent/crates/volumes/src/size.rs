//! How much a folder holds.

use std::{collections::HashSet, fs, io, os::unix::fs::MetadataExt, path::Path};

/// Bytes in the files below `folder`; a file with several names counts once, folders and what they are made of do not count.
pub(crate) fn of_folder(folder: &Path) -> io::Result<u64> {
    let mut linked = HashSet::new();
    let mut folders = vec![folder.to_owned()];
    let mut bytes = 0_u64;
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            // A container may delete files while we count.
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.nlink() == 1 || linked.insert((metadata.dev(), metadata.ino())) {
                bytes = bytes.saturating_add(metadata.len());
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_links_count_once_and_symlinks_are_not_followed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path();
        fs::create_dir(path.join("sub")).expect("mkdir");
        fs::write(path.join("a"), [0; 100]).expect("write");
        fs::hard_link(path.join("a"), path.join("sub/b")).expect("link");
        fs::write(path.join("sub/c"), [0; 10]).expect("write");
        std::os::unix::fs::symlink("/", path.join("r")).expect("symlink");
        assert_eq!(of_folder(path).expect("size"), 100 + 10 + 1);
    }
}
