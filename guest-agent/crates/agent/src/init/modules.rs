//! Kernel modules, loaded in the order that the image's lists give (dependencies first).

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Context, Result};

/// Where the image keeps modules and lists.
const MODULES: &str = "/lib/berth/modules";

/// `MODULE_INIT_COMPRESSED_FILE`. Linux: include/uapi/linux/module.h
const COMPRESSED: i32 = 4;

/// Loads every module of `LIST.list`. One that is there already is fine.
pub(super) fn load(list: &str) -> Result<()> {
    let folder = Path::new(MODULES);
    let path = folder.join(format!("{list}.list"));
    let names = fs::read_to_string(&path)
        .with_context(|| format!("read the module list {}", path.display()))?;
    for name in names.lines() {
        insert(&folder.join(name)).with_context(|| format!("load the kernel module {name}"))?;
    }
    Ok(())
}

fn insert(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let compressed = path.extension().is_some_and(|extension| extension != "ko");
    match rustix::system::finit_module(&file, c"", if compressed { COMPRESSED } else { 0 }) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
