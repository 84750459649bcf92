//! The lock file: which Debian packages go into the image, to the byte.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::debian::{Apt, Architecture};

/// Packages of the image and the suite they come from.
pub const SUITE: &str = "trixie";

/// The package that names the newest cloud kernel of an architecture.
#[must_use]
pub fn kernel_meta_package(architecture: Architecture) -> String {
    format!("linux-image-cloud-{architecture}")
}

/// What the system image is made of beside kernel and agent.
pub const SYSTEM_PACKAGES: &[&str] = &[
    "busybox-static",
    "ca-certificates",
    "e2fsprogs",
    "libblkid1",
    "libbsd0",
    "libc6",
    "libcom-err2",
    "libedit2",
    "libext2fs2t64",
    "libgmp10",
    "libjansson4",
    "libmd0",
    "libmnl0",
    "libnftables1",
    "libnftnl11",
    "libtinfo6",
    "libuuid1",
    "libxtables12",
    "nftables",
];

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Lock {
    /// By architecture, then by role (`kernel`) or package name.
    #[serde(flatten)]
    pub architectures: BTreeMap<String, BTreeMap<String, Locked>>,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locked {
    /// Its name.
    pub package: String,
    /// The suite it is looked for in.
    pub suite: String,
    /// Its version.
    pub version: String,
    /// Of the `.deb` file, in hexadecimal.
    pub sha256: String,
}

impl Lock {
    /// Reads it.
    ///
    /// # Errors
    /// The file is missing or not a lock file.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("read the lock file {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("read the lock file {}", path.display()))
    }

    /// The packages of an architecture.
    ///
    /// # Errors
    /// The architecture is not in the file.
    pub fn packages(&self, architecture: Architecture) -> Result<&BTreeMap<String, Locked>> {
        self.architectures
            .get(architecture.debian())
            .with_context(|| format!("the lock file has no packages for {architecture}; run `cargo xtask image --update-lock`"))
    }
}

/// Moves every package to the newest version and writes the file.
///
/// # Errors
/// apt does not know a package, or the file cannot be written.
pub fn update(path: &Path, apt: &Apt, architectures: &[Architecture]) -> Result<Lock> {
    let mut lock = Lock::default();
    for &architecture in architectures {
        let mut packages = BTreeMap::new();
        let kernel = apt.newest_kernel(SUITE, &kernel_meta_package(architecture), architecture)?;
        packages.insert("kernel".to_owned(), kernel);
        for name in SYSTEM_PACKAGES {
            packages.insert((*name).to_owned(), apt.newest(SUITE, name, architecture)?);
        }
        lock.architectures
            .insert(architecture.debian().to_owned(), packages);
    }
    let text = format!(
        "# Debian packages of the machine's image. Moved by `cargo xtask image --update-lock`.\n\n{}",
        toml::to_string(&lock).context("write the lock file")?
    );
    fs::write(path, text).with_context(|| format!("write the lock file {}", path.display()))?;
    Ok(lock)
}
