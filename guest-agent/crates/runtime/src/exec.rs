//! One more process in a running container.
//!
//! ```text
//!   caller ── clone3(into cgroup) ─► helper: setns(pidfd, all) ── clone3(CLONE_PARENT) ─► process: terminal, user, exec
//!      ◄─────────── pid and pidfd of the process ──┘ (ends)                                  │ its parent is the caller
//!      ◄─────────── terminal, then end of channel, or why not ───────────────────────────────┘
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci_spec::runtime::Process;
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions, pidfd_send_signal, waitpid};

use crate::{
    cgroup::Cgroup,
    channel::{Channel, Message},
    child,
    container::Stdio,
    error::CreateError,
    seccomp::Filter,
    sys::{self, Cloned},
};

/// What is run, and where.
#[derive(Debug)]
pub struct ExecOptions<'a> {
    /// The container's filter, which holds here too: [`crate::Container::take_filter`].
    pub filter: Option<&'a Filter>,
    /// What to run.
    pub process: &'a Process,
    /// The container's first process.
    pub container: BorrowedFd<'a>,
    /// The container's group.
    pub cgroup: &'a Cgroup,
    /// Standard streams.
    pub stdio: Stdio<'a>,
}

/// A process that runs in a container besides its first one. The caller is its parent and reaps it.
#[derive(Debug)]
pub struct Exec {
    pid: i32,
    pidfd: OwnedFd,
    terminal: Option<OwnedFd>,
}

impl Exec {
    /// Runs it; returns once exec has succeeded.
    ///
    /// # Errors
    /// [`CreateError::Child`] has the text clients of Docker know, e.g. `exec: "nope": executable file not found in $PATH`. Nothing is left
    /// to reap then.
    pub fn start(options: &ExecOptions<'_>) -> Result<Self, CreateError> {
        let system = |what| move |source| CreateError::System { what, source };
        if options.process.args().as_ref().is_none_or(Vec::is_empty) {
            return Err(CreateError::Invalid("no program to run".to_owned()));
        }
        let group = options.cgroup.open().map_err(system("open the cgroup"))?;
        let (ours, theirs) = Channel::pair().map_err(system("make a socket pair"))?;
        let helper = match sys::clone_into(0, group.as_fd()).map_err(system("clone3"))? {
            Cloned::Child => {
                drop(ours);
                helper_main(options, &theirs)
            }
            Cloned::Parent(pid, _) => pid,
        };
        drop(theirs);
        let heard = hear(&ours);
        reap(helper);
        heard.map_err(system("hear the process"))?
    }

    /// Its number, in the caller's pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The caller's end of the terminal; once.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Sends a signal to it.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> std::io::Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, signal)?)
    }
}

/// Helper and process speak each for itself: the process may be ready, or have failed, before the helper has told its number. It is reaped
/// when it failed, or the container's end would wait for it for ever.
fn hear(channel: &Channel) -> std::io::Result<Result<Exec, CreateError>> {
    let mut heard = Heard::default();
    loop {
        match channel.receive()? {
            Some((Message::Child(pid), Some(pidfd))) => heard.process = Some((pid, pidfd)),
            Some((Message::Ready, terminal)) => heard.terminal = terminal,
            Some((Message::Failed(text), _)) => heard.failed = Some(text),
            Some(_) => return Err(std::io::ErrorKind::InvalidData.into()),
            // Closed by exec, or by death: the caller learns of that from the pidfd.
            None => return Ok(heard.end()),
        }
    }
}

/// What was said, in whatever order.
#[derive(Default)]
struct Heard {
    process: Option<(i32, OwnedFd)>,
    terminal: Option<OwnedFd>,
    failed: Option<String>,
}

impl Heard {
    fn end(self) -> Result<Exec, CreateError> {
        let ended_before = || "the container ended before the process ran".to_owned();
        match (self.process, self.failed) {
            (Some((pid, pidfd)), None) => Ok(Exec {
                pid,
                pidfd,
                terminal: self.terminal,
            }),
            (process, failed) => {
                if let Some((pid, _)) = process {
                    reap(pid);
                }
                Err(CreateError::Child(failed.unwrap_or_else(ended_before)))
            }
        }
    }
}

fn reap(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = waitpid(Some(pid), WaitOptions::empty());
    }
}

fn helper_main(options: &ExecOptions<'_>, channel: &Channel) -> ! {
    let entered = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(std::io::Error::from)
        .and_then(|()| child::set_oom_score(options.process))
        .and_then(|()| sys::enter_namespaces(options.container));
    let failed = match entered.and_then(|()| sys::clone_sibling()) {
        Ok(Cloned::Child) => {
            child::exec_main(options.process, &options.stdio, options.filter, channel)
        }
        Ok(Cloned::Parent(pid, pidfd)) => {
            // Without a parent there is nobody to tell.
            let _ = channel.send(&Message::Child(pid), Some(pidfd.as_fd()));
            sys::exit(0)
        }
        Err(error) => error,
    };
    let text = format!("enter the container: {failed}");
    let _ = channel.send(&Message::Failed(text), None);
    sys::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is heard of messages in this order; the number is that of a process that ended long ago.
    fn hear_all(messages: &[Message]) -> Result<Exec, CreateError> {
        let (ours, theirs) = Channel::pair().expect("a pair");
        let file = std::fs::File::open("/dev/null").expect("there");
        for message in messages {
            theirs.send(message, Some(file.as_fd())).expect("sent");
        }
        drop(theirs);
        hear(&ours).expect("heard")
    }

    #[test]
    fn helper_and_process_may_speak_in_any_order() {
        let pid = i32::MAX;
        for order in [
            [Message::Child(pid), Message::Ready],
            [Message::Ready, Message::Child(pid)],
        ] {
            let exec = hear_all(&order).expect("it runs");
            assert!(exec.pid == pid && exec.terminal.is_some());
        }
        let failed = || Message::Failed("why".to_owned());
        for order in [
            [Message::Child(pid), failed()],
            [failed(), Message::Child(pid)],
        ] {
            let error = hear_all(&order).expect_err("it failed");
            assert_eq!(error.to_string(), "why");
        }
        let error = hear_all(&[]).expect_err("nobody spoke");
        assert!(error.to_string().contains("ended before"), "{error}");
    }
}
