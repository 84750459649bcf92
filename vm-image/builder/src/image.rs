//! The image as a folder: `vmlinuz`, `initrd`, and what is in them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    cpio,
    debian::{Apt, Architecture},
    kernel::{self, Kernel},
    lock::Lock,
    system,
    tree::Tree,
};

/// What is put together.
#[derive(Debug, Clone)]
pub struct Ingredients<'a> {
    /// The packages.
    pub lock: &'a Lock,
    /// Where they come from.
    pub apt: &'a Apt,
    /// For which machine.
    pub architecture: Architecture,
    /// The static agent.
    pub agent: &'a Path,
    /// A folder for unpacked packages; kept between builds.
    pub work: &'a Path,
}

/// Builds the image into a folder. Files are replaced whole, so that a machine that starts meanwhile sees old or new ones.
///
/// # Errors
/// A package cannot be fetched or lacks something, or the folder cannot be written.
pub fn build(ingredients: &Ingredients<'_>, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("make the folder {}", into.display()))?;
    let (kernel, packages) = unpack(ingredients)?;
    let mut tree = Tree::default();
    system::add(&mut tree, &packages)?;
    tree.copy("init", ingredients.agent)?;
    kernel.add_modules(&mut tree, "vsock", kernel::VSOCK)?;
    kernel.add_modules(&mut tree, "rest", kernel::REST)?;
    replace(&into.join("initrd"), &cpio::archive(&tree)?)?;
    replace(&into.join("vmlinuz"), &fs::read(&kernel.image)?)?;
    Ok(())
}

/// Unpacks kernel and system packages; what was unpacked from the same packages before is used again.
fn unpack(ingredients: &Ingredients<'_>) -> Result<(Kernel, PathBuf)> {
    let mut kernel = None;
    let mut debs = Vec::new();
    for (role, locked) in ingredients.lock.packages(ingredients.architecture)? {
        let is_kernel = role == "kernel";
        let deb = ingredients
            .apt
            .fetch(locked, ingredients.architecture, is_kernel)?;
        if is_kernel {
            kernel = Some(deb);
        } else {
            debs.push(deb);
        }
    }
    let kernel = kernel.context("the lock file names no kernel")?;
    let kernel = unpack_together(ingredients, "kernel", &[kernel])?;
    let packages = unpack_together(ingredients, "system", &debs)?;
    Ok((Kernel::open(&kernel)?, packages))
}

fn unpack_together(ingredients: &Ingredients<'_>, name: &str, debs: &[PathBuf]) -> Result<PathBuf> {
    let folder = ingredients
        .work
        .join(format!("{name}-{}", ingredients.architecture));
    let stamp = folder.with_extension("unpacked");
    let wanted: String = debs
        .iter()
        .map(|deb| format!("{}\n", deb.display()))
        .collect();
    if fs::read_to_string(&stamp).is_ok_and(|unpacked| unpacked == wanted) && folder.exists() {
        return Ok(folder);
    }
    let _not_there = fs::remove_file(&stamp);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("make the folder {}", folder.display()))?;
    for deb in debs {
        ingredients.apt.unpack(deb, &folder)?;
    }
    fs::write(&stamp, wanted).context("note what was unpacked")?;
    Ok(folder)
}

/// Writes a file beside its place and moves it there.
fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content).with_context(|| format!("write {}", new.display()))?;
    fs::rename(&new, path).with_context(|| format!("replace {}", path.display()))
}
