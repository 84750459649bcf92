//! The binary as a container's first process, by its name and by its first argument.

use std::{os::unix::process::CommandExt, process::Command};

const AGENT: &str = env!("CARGO_BIN_EXE_berth-agent");

fn check(command: &mut Command, code: i32, said: &str) {
    let output = command.output().expect("it runs");
    let got = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        (output.status.code(), got.as_str()),
        (Some(code), said),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_name_picks_the_face() {
    let mut command = Command::new(AGENT);
    let command = command.arg0("/sbin/docker-init").args(["--", "sh", "-c"]);
    check(command.arg("echo $0; exit 7").arg("engine"), 7, "engine\n");
}

#[test]
fn the_first_argument_picks_the_face() {
    let mut command = Command::new(AGENT);
    check(
        command.args(["docker-init", "--", "echo", "init"]),
        0,
        "init\n",
    );
}

#[test]
fn a_missing_program_ends_with_127() {
    let mut command = Command::new(AGENT);
    check(command.args(["docker-init", "--", "/nope"]), 127, "");
}
