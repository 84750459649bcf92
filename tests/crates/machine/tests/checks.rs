//! The checks of the native lane, through a machine: the docker CLI outside of the VM, run by an ordinary user, our engine inside.
//!
//! One boot for all of them. Needs QEMU and the image (`cargo xtask image`); skipped loudly without them.
#![allow(clippy::print_stdout, reason = "a test runner prints")]

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use checks::{Bed, Network};
use harness::{Kind, Login, Registry};
use libtest_mimic::{Arguments, Failed, Trial};
use test_machine::{Berth, NOBODY, missing};

/// Bytes through a stream; every one crosses an emulated vsock device twice.
const STREAM_BYTES: usize = 100 << 20;

/// Bound of one command: emulation is slow, and several checks share it.
const COMMAND_WITHIN: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if let Some(reason) = missing() {
        println!("skipped: {reason}");
        return ExitCode::SUCCESS;
    }
    // More at once only wait for each other.
    arguments.test_threads.get_or_insert(4);
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    if arguments.list {
        return Ok(!libtest_mimic::run(arguments, trials(None)).has_failed());
    }
    let shared = tempfile::Builder::new().prefix("berth-share.").tempdir()?;
    let shared_folder = shared.path().canonicalize()?;
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&shared_folder, Some(NOBODY), Some(NOBODY))?;
    }
    let settings = format!(
        "cpus = 2\nmemory_mib = 2048\nbackend = \"qemu-tcg\"\nshare_roots = [\"{}\"]\n",
        shared_folder.display()
    );
    let berth = Berth::new(&settings)?;
    berth.ok(&["start"])?;
    // What checks put into folders that they mount is for the containers, who are an ordinary user here, to write as well.
    rustix::process::umask(rustix::fs::Mode::empty());
    let bed = Bed::new(
        Kind::Ours,
        berth.docker()?.within(COMMAND_WITHIN),
        Registry::start(None, Login::Anonymous)?,
        Registry::start(None, Login::Basic)?,
        &shared_folder,
        Network::Host,
        STREAM_BYTES,
    )?;
    let conclusion = libtest_mimic::run(arguments, trials(Some(Arc::new(bed))));
    if conclusion.has_failed() {
        let log = berth.ok(&["logs"]).context("read the machine's log")?;
        println!("--- log of the machine\n{log}");
    }
    Ok(!conclusion.has_failed())
}

fn trials(bed: Option<Arc<Bed>>) -> Vec<Trial> {
    checks::all()
        .into_iter()
        .filter(checks::Check::is_for_outside)
        .map(|check| {
            let bed = bed.clone();
            let name = check.name.trim_start_matches("checks::checks::");
            Trial::test(format!("machine::{name}"), move || match &bed {
                Some(bed) => (check.run)(bed).map_err(|error| Failed::from(format!("{error:#}"))),
                None => Ok(()),
            })
        })
        .collect()
}
