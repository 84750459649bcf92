//! The system a machine starts with: a few tools of Debian's, name and certificate files, mount points.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::tree::Tree;

/// Mount points and folders that have to exist on a read-only root.
const FOLDERS: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var/lib/berth", 0o755),
];

/// Programs of `busybox` that people and scripts expect in a shell.
const APPLETS: &[&str] = &[
    "awk", "base64", "basename", "blkid", "cat", "chmod", "chown", "cp", "cut", "date", "dd", "df",
    "dirname", "dmesg", "du", "echo", "env", "expr", "false", "find", "free", "grep", "gunzip",
    "gzip", "head", "hexdump", "hostname", "id", "ifconfig", "ip", "kill", "less", "ln", "ls",
    "lsmod", "mkdir", "mknod", "modprobe", "mount", "mv", "nc", "netstat", "nslookup", "ping",
    "printf", "ps", "pwd", "readlink", "rm", "rmdir", "route", "sed", "sh", "sleep", "sort",
    "stat", "stty", "sync", "sysctl", "tail", "tar", "tee", "test", "time", "top", "touch", "tr",
    "true", "umount", "uname", "uniq", "uptime", "vi", "wc", "wget", "which", "xargs",
];

/// Programs that init runs on the data disk (`e2fsprogs`) and the engine on its network rules (`nftables`).
const TOOLS: &[&str] = &["mke2fs", "e2fsck", "resize2fs", "nft"];

/// Libraries these need, as the loader looks for them.
const LIBRARIES: &[&str] = &[
    "libblkid.so.1",
    "libbsd.so.0",
    "libc.so.6",
    "libcom_err.so.2",
    "libe2p.so.2",
    "libedit.so.2",
    "libext2fs.so.2",
    "libgmp.so.10",
    "libjansson.so.4",
    "libmd.so.0",
    "libmnl.so.0",
    "libnftables.so.1",
    "libnftnl.so.11",
    "libtinfo.so.6",
    "libuuid.so.1",
    "libxtables.so.12",
];

/// Puts the system into a tree. `packages` is where they are unpacked, all in one.
///
/// # Errors
/// A package lacks what is expected of it.
pub fn add(tree: &mut Tree, packages: &Path) -> Result<()> {
    for (path, mode) in FOLDERS {
        tree.folder(path, *mode);
    }
    tree.copy(
        "bin/busybox",
        &first(packages, &["bin/busybox", "usr/bin/busybox"])?,
    )?;
    for applet in APPLETS {
        tree.link(&format!("bin/{applet}"), "busybox");
    }
    for tool in TOOLS {
        let path = first(
            packages,
            &[&format!("sbin/{tool}"), &format!("usr/sbin/{tool}")],
        )?;
        tree.copy(&format!("usr/sbin/{tool}"), &path)?;
    }
    tree.copy("etc/mke2fs.conf", &packages.join("etc/mke2fs.conf"))?;
    libraries(tree, packages)?;
    tree.file(
        "etc/ssl/certs/ca-certificates.crt",
        0o644,
        certificates(packages)?,
    );
    names(tree);
    Ok(())
}

fn names(tree: &mut Tree) {
    tree.file(
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    );
    tree.file(
        "etc/group",
        0o644,
        "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    );
    tree.file(
        "etc/os-release",
        0o644,
        "NAME=Berth\nID=berth\nPRETTY_NAME=\"Berth\"\n",
    );
    tree.link("etc/resolv.conf", "/run/resolv.conf");
    tree.link("etc/hosts", "/run/hosts");
    tree.link("etc/mtab", "/proc/self/mounts");
    tree.link("var/run", "/run");
    tree.link("var/tmp", "/tmp");
}

/// The loader and the libraries, each at the one place where the loader of the architecture looks.
fn libraries(tree: &mut Tree, packages: &Path) -> Result<()> {
    let (triplet, loader) = [
        ("x86_64-linux-gnu", "lib64/ld-linux-x86-64.so.2"),
        ("aarch64-linux-gnu", "lib/ld-linux-aarch64.so.1"),
    ]
    .into_iter()
    .find(|(triplet, _)| packages.join("usr/lib").join(triplet).exists())
    .context("the packages are of no known architecture")?;
    let folder = packages.join("usr/lib").join(triplet);
    let loader_file = loader.rsplit('/').next().unwrap_or(loader);
    tree.copy(loader, &folder.join(loader_file))?;
    for library in LIBRARIES {
        let path = first(
            packages,
            &[
                &format!("usr/lib/{triplet}/{library}"),
                &format!("lib/{triplet}/{library}"),
            ],
        )?;
        tree.copy(&format!("usr/lib/{triplet}/{library}"), &path)?;
    }
    Ok(())
}

/// Mozilla's certificates in one file, in the order of their names.
fn certificates(packages: &Path) -> Result<Vec<u8>> {
    let folder = packages.join("usr/share/ca-certificates/mozilla");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| format!("look into {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    files.sort();
    let mut bundle = Vec::new();
    for file in files {
        bundle.extend(fs::read(file)?);
    }
    Ok(bundle)
}

fn first(packages: &Path, paths: &[&str]) -> Result<PathBuf> {
    paths
        .iter()
        .map(|path| packages.join(path))
        .find(|path| path.exists())
        .with_context(|| format!("the packages have no {}", paths.join(" or ")))
}
