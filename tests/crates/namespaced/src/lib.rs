//! For test programs of rooms that work on namespaces, mounts and cgroups: each runs again in mount, net and pid namespaces of its own.
#![allow(clippy::print_stdout, reason = "a test runner prints")]

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const INSIDE: &str = "BERTH_TEST_NAMESPACED";

/// Goes on inside: this program is run again there, and only there is the result `Ok`.
///
/// # Errors
/// How the program is to end outside: without root the tests are skipped, and said so; a list of tests is empty, since they are one program.
pub fn enter() -> Result<(), ExitCode> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root\n0 passed, 0 failed, 1 skipped");
        return Err(ExitCode::SUCCESS);
    }
    if std::env::args().any(|argument| argument == "--list") {
        return Err(ExitCode::SUCCESS);
    }
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let error = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child"])
        .args(["--mount-proc", "--propagation", "private"])
        .arg(std::env::current_exe().expect("this program"))
        .env(INSIDE, "1")
        .exec();
    println!("unshare: {error}");
    Err(ExitCode::FAILURE)
}

/// Says how a test ended; true when it passed.
pub fn told(name: &str, passed: bool) -> bool {
    println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
    passed
}

/// The line of counts, and how the program ends.
pub fn end(results: &[bool]) -> ExitCode {
    let failed = results.iter().filter(|passed| !**passed).count();
    println!("{} passed, {failed} failed", results.len() - failed);
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs a program to its end.
///
/// # Panics
/// When it fails.
pub fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(
        status.expect("it runs").success(),
        "{program} {arguments:?}"
    );
}

/// An empty /run.
///
/// # Panics
/// When it cannot be mounted.
pub fn mount_run() {
    run("mount", &["-t", "tmpfs", "none", "/run"]);
}

/// A new group of this name in a cgroup hierarchy mounted below /run.
///
/// # Panics
/// When it cannot be made.
pub fn cgroup(name: &str) -> PathBuf {
    let root = Path::new("/run/cgroup");
    fs::create_dir(root).expect("made");
    run("mount", &["-t", "cgroup2", "none", "/run/cgroup"]);
    let group = root.join(name);
    fs::create_dir(&group).expect("a group");
    group
}

/// Makes a folder the root of a busybox system.
///
/// # Panics
/// Without Debian's busybox-static.
pub fn busybox_root(root: &Path) {
    for name in ["bin", "dev", "proc", "sys", "tmp", "etc", "w"] {
        fs::create_dir_all(root.join(name)).expect("made");
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    let path = root.to_str().expect("a plain path");
    run("chroot", &[path, "/bin/busybox", "--install", "-s", "/bin"]);
}
