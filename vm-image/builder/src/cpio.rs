//! The `newc` archives that Linux unpacks as its initramfs. Linux: Documentation/driver-api/early-userspace/buffer-format.rst

use anyhow::{Context, Result};

use crate::tree::{Node, Tree};

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// The archive of a tree: inode numbers by order, no times, all of root.
///
/// # Errors
/// A file is longer than the format can say (4 GiB).
pub fn archive(tree: &Tree) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (number, (path, node)) in (1..).zip(tree.iter()) {
        let (mode, links, content) = match node {
            Node::Folder { mode } => (FOLDER | mode, 2, &[][..]),
            Node::File { mode, content } => (FILE | mode, 1, content.as_slice()),
            Node::Link { target } => (LINK | 0o777, 1, target.as_bytes()),
        };
        entry(&mut bytes, number, mode, links, path, content)?;
    }
    entry(&mut bytes, 0, 0, 1, "TRAILER!!!", &[])?;
    Ok(bytes)
}

fn entry(
    bytes: &mut Vec<u8>,
    number: u32,
    mode: u32,
    links: u32,
    path: &str,
    content: &[u8],
) -> Result<()> {
    let size = u32::try_from(content.len())
        .with_context(|| format!("{path} is too long for an initramfs"))?;
    let name_size =
        u32::try_from(path.len() + 1).with_context(|| format!("{path} is too long a name"))?;
    bytes.extend(b"070701");
    // inode mode uid gid links time size, device and file's device (major, minor), name size, checksum
    for field in [number, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0] {
        bytes.extend(format!("{field:08X}").bytes());
    }
    bytes.extend(path.bytes());
    bytes.push(0);
    pad(bytes);
    bytes.extend(content);
    pad(bytes);
    Ok(())
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.file("bin/tool", 0o755, "abc");
        tree.link("bin/other", "tool");
        tree.folder("proc", 0o555);
        tree
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes() {
        assert_eq!(
            archive(&tree()).expect("short"),
            archive(&tree()).expect("short")
        );
    }

    #[test]
    fn other_programs_read_it() {
        let Ok(mut cpio) = Command::new("busybox")
            .args(["cpio", "-t"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
        else {
            println!("skipped: needs busybox");
            return;
        };
        let mut stdin = cpio.stdin.take().expect("piped");
        std::io::Write::write_all(&mut stdin, &archive(&tree()).expect("short"))
            .expect("busybox reads");
        drop(stdin);
        let output = cpio.wait_with_output().expect("busybox ends");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "bin\nbin/other\nbin/tool\nproc\n"
        );
    }
}
