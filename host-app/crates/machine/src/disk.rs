//! The data disk: a sparse raw file, made once, with an identity beside it.
//!
//! The identity file is written after the guest has said that it formatted the disk. A disk that has one is never formatted again, and a disk
//! file without one is formatted only when we made it ourselves just now.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

/// A data disk as the machine is told about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataDisk {
    /// Its identity: a UUID.
    pub(crate) identity: String,
    /// The guest may format it if it is blank.
    pub(crate) format_blank: bool,
    path: PathBuf,
}

impl DataDisk {
    /// Opens the disk, making it when neither it nor its identity is there.
    pub(crate) fn ensure(path: &Path, bytes: u64) -> anyhow::Result<Self> {
        let identity_file = identity_file(path);
        let new_file = new_file(path);
        match (path.exists(), fs::read_to_string(&identity_file)) {
            (true, Ok(identity)) => {
                let identity = identity.trim().to_owned();
                if identity.is_empty() {
                    bail!(
                        "{} is empty: the disk {} is left as it is; write its ext4 UUID into that file",
                        identity_file.display(),
                        path.display()
                    );
                }
                // Still there when the guest never said that it formatted the disk.
                let format_blank = new_file.exists();
                Ok(Self {
                    identity,
                    format_blank,
                    path: path.to_owned(),
                })
            }
            (true, Err(_)) => bail!(
                "the disk {} has no identity file {} and is left as it is: move it away to start with a new one",
                path.display(),
                identity_file.display()
            ),
            (false, Ok(_)) => bail!(
                "the disk {} is gone but its identity file is there: put the disk back, or remove {} to start with a new one",
                path.display(),
                identity_file.display()
            ),
            (false, Err(_)) => Self::make(path, bytes),
        }
    }

    fn make(path: &Path, bytes: u64) -> anyhow::Result<Self> {
        let identity = random_uuid()?;
        fs::write(new_file(path), "")
            .with_context(|| format!("write {}", new_file(path).display()))?;
        fs::write(identity_file(path), &identity).context("write the disk's identity")?;
        let file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(path);
        let file = file.with_context(|| format!("make the disk {}", path.display()))?;
        file.set_len(bytes)
            .with_context(|| format!("size the disk {}", path.display()))?;
        file.sync_all().context("sync the new disk")?;
        if let Some(folder) = path.parent() {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .context("sync the disk's folder")?;
        }
        Ok(Self {
            identity,
            format_blank: true,
            path: path.to_owned(),
        })
    }

    /// The guest mounted it: from now on it is never formatted.
    pub(crate) fn is_in_use(&self) {
        match fs::remove_file(new_file(&self.path)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::error!(%error, "note that the data disk is in use");
            }
            _ => {}
        }
    }
}

fn identity_file(disk: &Path) -> PathBuf {
    disk.with_extension("id")
}

/// Stands from the making of a disk until the guest has mounted it.
fn new_file(disk: &Path) -> PathBuf {
    disk.with_extension("new")
}

fn random_uuid() -> anyhow::Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid").context("make an identity")?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_made_once_and_never_formatted_after_its_first_use() {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("data.raw");
        let made = DataDisk::ensure(&path, 1 << 20).expect("made");
        assert!(made.format_blank);
        // Not used yet: still blank, so it may still be formatted, under the same identity.
        let again = DataDisk::ensure(&path, 1 << 20).expect("there");
        assert_eq!(again, made);
        made.is_in_use();
        let used = DataDisk::ensure(&path, 1 << 20).expect("there");
        assert_eq!((used.format_blank, used.identity), (false, made.identity));
    }

    #[test]
    fn half_a_disk_is_an_error_that_keeps_it() {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("data.raw");
        fs::write(&path, "precious").expect("written");
        assert!(
            DataDisk::ensure(&path, 1 << 20)
                .expect_err("no identity")
                .to_string()
                .contains("left as it is")
        );
        assert_eq!(fs::read(&path).expect("there"), b"precious");
        fs::remove_file(&path).expect("removed");
        fs::write(path.with_extension("id"), "x").expect("written");
        assert!(DataDisk::ensure(&path, 1 << 20).is_err());
    }
}
