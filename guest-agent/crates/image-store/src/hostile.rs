//! The parsers of what strangers write, for fuzzing.

use std::{
    fs, io,
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, chown},
    },
    path::{Path, PathBuf},
    thread,
};

use oci::Platform;
use rustix::{
    fs::{Gid, Uid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use crate::{
    archive,
    document::{Document, chain_ids, parse, parse_config, parse_legacy},
    files::write::put_into,
    root::{Root, children, remove_all},
    unpack::unpack_into,
};

/// Who unpacks hostile archives: nobody, who may make no device and give no file away.
const NOBODY: u32 = 65_534;

/// Zeros of sparse files that are looked at: more takes time and finds nothing.
const MOST_ZEROS: u64 = 16 << 20;

/// Feeds bytes to every parser of documents. None may panic, and what they make is bounded.
pub fn feed(bytes: &[u8]) {
    if let Ok(
        Document::Index(entries)
        | Document::Manifest {
            layers: entries, ..
        },
    ) = parse(bytes)
    {
        assert!(entries.len() <= bytes.len());
    }
    if let Ok(config) = parse_config(bytes) {
        assert_eq!(chain_ids(&config.diff_ids).len(), config.diff_ids.len());
    }
    let _ = parse_legacy(bytes);
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(platform) = Platform::parse(text)
    {
        assert_eq!(platform.normalized(), platform);
    }
}

/// Takes bytes for a tar in an empty folder: as a layer, as what a user copies into a container, and as an archive of images.
///
/// This runs on a thread of its own, as nobody where it is root, with `outside` beside the folders that are unpacked into.
///
/// # Errors
/// When the folders cannot be made, or root not be given up.
///
/// # Panics
/// When anything but the folders has changed: that is what it is for.
pub fn tars(folder: &Path, bytes: &[u8]) -> io::Result<()> {
    // All of it is nobody's: whoever gets out can do harm there, and is seen.
    let given = |path: &Path| match rustix::process::geteuid().is_root() {
        true => chown(path, Some(NOBODY), Some(NOBODY)),
        false => Ok(()),
    };
    given(folder)?;
    let names = ["copied", "images", "layer", "outside"];
    for name in names {
        fs::create_dir(folder.join(name))?;
        given(&folder.join(name))?;
    }
    let outside = folder.join("outside");
    fs::write(outside.join("file"), "untouched")?;
    given(&outside.join("file"))?;
    let before = look(&outside)?;
    let done = thread::scope(|scope| scope.spawn(|| unpack_all(folder, bytes)).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    assert_eq!(look(&outside)?, before, "something outside was changed");
    let root = Root::plain(folder)?;
    let mut found = children(root.as_fd())?;
    found.sort();
    assert_eq!(found, names.map(PathBuf::from));
    for name in names {
        remove_all(root.as_fd(), Path::new(name))?;
    }
    Ok(())
}

fn unpack_all(folder: &Path, bytes: &[u8]) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        // Of this thread alone, and for good.
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        set_thread_groups(&[])?;
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)?;
    }
    let layer = folder.join("layer");
    if let Ok(size) = unpack_into(bytes, Root::plain(&layer)?, true, MOST_ZEROS) {
        assert!(size <= bytes.len() as u64, "{size} bytes of data");
    }
    let copied = folder.join("copied");
    for keep_kinds in [false, true] {
        let _ = put_into(Root::plain(&copied)?, keep_kinds, MOST_ZEROS, bytes);
    }
    let images = folder.join("images");
    if let Ok(mut archive) = archive::Archive::read(bytes, &images) {
        assert!(archive.blobs().len() <= bytes.len() / 512);
        let _ = archive.offered();
    }
    Ok(())
}

/// Name, size, mode, links and time.
type Trace = (String, u64, u32, u64, i64);

/// What would tell that somebody was there.
fn look(outside: &Path) -> io::Result<Vec<Trace>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(outside)? {
        let entry = entry?;
        let stat = entry.path().symlink_metadata()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        all.push((name, stat.size(), stat.mode(), stat.nlink(), stat.mtime()));
    }
    let stat = outside.metadata()?;
    all.push((String::new(), 0, stat.mode(), stat.nlink(), stat.mtime()));
    Ok(all)
}
