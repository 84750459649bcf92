//! The machine's boot files and our sibling programs: found beside the running program or where the environment says.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Kernel and images of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assets {
    /// Kernel.
    pub kernel: PathBuf,
    /// Initial RAM file system.
    pub initrd: PathBuf,
    /// Read-only system image, when the build has one.
    pub system_image: Option<PathBuf>,
}

impl Assets {
    /// Looks in `BERTH_IMAGE`, then in `image` beside the program and in the folders above it, then where packages put it.
    ///
    /// # Errors
    /// When there is none, with the places that were looked at.
    pub fn find() -> anyhow::Result<Self> {
        if let Some(folder) = std::env::var_os("BERTH_IMAGE") {
            return Self::in_folder(Path::new(&folder))
                .with_context(|| format!("BERTH_IMAGE is {}", Path::new(&folder).display()));
        }
        let program = std::env::current_exe().context("find the running program")?;
        let mut folders: Vec<PathBuf> = program
            .ancestors()
            .skip(1)
            .take(4)
            .map(|folder| folder.join("image"))
            .collect();
        folders.push(PathBuf::from("/usr/lib/berth/image"));
        match folders
            .iter()
            .find_map(|folder| Self::in_folder(folder).ok())
        {
            Some(assets) => Ok(assets),
            None => bail!(
                "the machine's image is not there (looked in {}): build it with `cargo xtask image`, or set BERTH_IMAGE to its folder",
                folders
                    .iter()
                    .map(|f| f.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }
    }

    fn in_folder(folder: &Path) -> anyhow::Result<Self> {
        let file = |name: &str| {
            let path = folder.join(name);
            if path.is_file() {
                Ok(path)
            } else {
                bail!("{} is missing", path.display())
            }
        };
        Ok(Self {
            kernel: file("vmlinuz")?,
            initrd: file("initrd")?,
            system_image: file("system.erofs").ok(),
        })
    }
}

/// A program that is installed with this one.
///
/// # Errors
/// When it is not beside the running program.
pub fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find the running program")?;
    let path = own.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    bail!(
        "{} is missing beside {}: install Berth again, or build all of it",
        name,
        own.display()
    )
}
