//! `cargo xtask setup`: what building and testing need from Debian, installed when missing.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};
use builder::debian::Architecture;

use crate::{
    image::apt,
    paths,
    progress::{quietly, say, step},
};

/// Debian packages, and why each is needed.
const PACKAGES: &[(&str, &str)] = &[
    ("gcc", "links everything"),
    ("libc6-dev", "the static guest binary"),
    ("libcap-ng-dev", "shared folders (virtiofsd)"),
    ("qemu-system-x86", "runs the machine where KVM cannot"),
    ("xz-utils", "unpacks Debian packages"),
    ("e2fsprogs", "data disks in tests"),
    ("kmod", "lists of the kernel's modules (depmod)"),
    ("busybox-static", "test images"),
    ("docker-registry", "the registry that tests pull from"),
    ("runc", "the reference that our runtime is compared with"),
    ("iproute2", "namespaces in tests"),
    ("iptables", "the reference engine"),
    ("nftables", "looks at rules in tests"),
];

/// Packages of the reference engine and its clients, from the newest suite; runc is this release's, since newer ones need a newer libc.
const REFERENCE: &[&str] = &[
    "docker.io",
    "docker-cli",
    "docker-compose",
    "docker-buildx",
    "containerd",
    "tini-static",
];
const REFERENCE_SUITE: &str = "sid";

/// Installs what is missing; says what and why.
pub(crate) fn run() -> Result<()> {
    if !Path::new("/etc/debian_version").exists() {
        say("This system is not Debian-like. Building and testing Berth needs:");
        for (package, reason) in PACKAGES {
            say(&format!("  {package:<18} {reason} (Debian's name)"));
        }
        bail!("install these with your system's own tools, then build without `setup`");
    }
    let missing: Vec<_> = PACKAGES
        .iter()
        .filter(|(package, _)| !installed(package))
        .collect();
    if !missing.is_empty() {
        for (package, reason) in &missing {
            say(&format!("  will install {package}: {reason}"));
        }
        step("install Debian packages", || {
            quietly(as_root("apt-get").args(["-qq", "update"]))?;
            quietly(
                as_root("env")
                    .args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
                    .args(["-qq", "install", "-y", "--no-install-recommends"])
                    .args(missing.iter().map(|(package, _)| package)),
            )
        })?;
    }
    if Command::new("cargo-nextest")
        .arg("--version")
        .output()
        .is_err()
    {
        step("install cargo-nextest", || {
            quietly(Command::new(env!("CARGO")).args(["install", "--locked", "cargo-nextest"]))
        })?;
    }
    if !paths::reference().join("bin/docker").exists() {
        step(
            "unpack the reference engine and docker CLI",
            unpack_reference,
        )?;
    }
    say("setup is complete");
    Ok(())
}

fn installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status}", package])
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}

fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

/// Debian's Docker, unpacked and not installed: nothing of it is ever started but by tests, in namespaces of their own.
fn unpack_reference() -> Result<()> {
    let (apt, architecture) = (apt(), Architecture::native());
    let folder = paths::reference();
    let tree = folder.join("tree");
    std::fs::create_dir_all(&tree).with_context(|| format!("make {}", tree.display()))?;
    for package in REFERENCE {
        let newest = apt.newest(REFERENCE_SUITE, package, architecture)?;
        apt.unpack(&apt.fetch(&newest, architecture, false)?, &tree)?;
    }
    let work = tempfile::tempdir_in(&folder)?;
    quietly(
        Command::new("apt-get")
            .args(["-o", "APT::Sandbox::User=root", "-qq", "download", "runc"])
            .current_dir(work.path()),
    )?;
    for entry in std::fs::read_dir(work.path())? {
        apt.unpack(&entry?.path(), &tree)?;
    }
    let bin = folder.join("bin.new");
    std::fs::create_dir_all(&bin)?;
    for from in ["usr/sbin", "usr/bin", "usr/libexec/docker"] {
        link_files(&tree.join(from), &bin)?;
    }
    link(&tree.join("usr/bin/tini-static"), &bin.join("docker-init"))?;
    let plugins = folder.join("cli-plugins");
    std::fs::create_dir_all(&plugins)?;
    link_files(&tree.join("usr/libexec/docker/cli-plugins"), &plugins)?;
    std::fs::rename(&bin, folder.join("bin")).context("put the reference in place")
}

fn link_files(from: &Path, into: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(from) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            link(&path, &into.join(name))?;
        }
    }
    Ok(())
}

fn link(target: &Path, at: &Path) -> Result<()> {
    let _not_there = std::fs::remove_file(at);
    std::os::unix::fs::symlink(target, at).with_context(|| format!("link {}", at.display()))
}
