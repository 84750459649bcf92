//! Takes links and namespaces away: the kernel needs milliseconds for a link, and its address is free only then.

use std::{
    io,
    path::PathBuf,
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
};

use tokio::sync::oneshot;

use crate::{
    namespace,
    netlink::{Socket, route},
};

/// What is left of a sandbox.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    pub(crate) link: Option<String>,
    pub(crate) pin: Option<PathBuf>,
}

struct Job {
    remains: Remains,
    done: oneshot::Sender<()>,
}

/// A thread that takes away one after another; ends, with everything done, when it is dropped.
#[derive(Debug)]
pub(crate) struct Reaper {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Reaper {
    /// # Errors
    /// When no socket or thread can be had.
    pub(crate) fn new() -> io::Result<Self> {
        let (jobs, receiver) = channel();
        let socket = Socket::route()?;
        let thread = std::thread::Builder::new()
            .name("reaper".to_owned())
            .spawn(move || run(&receiver, socket))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Done when the receiver hears of it, and also when nobody listens.
    pub(crate) fn take_away(&self, remains: Remains) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Job { remains, done });
        }
        receiver
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(jobs: &Receiver<Job>, mut socket: Socket) {
    while let Ok(Job { remains, done }) = jobs.recv() {
        if let Some(link) = &remains.link {
            delete_link(&mut socket, link);
        }
        if let Some(pin) = &remains.pin {
            namespace::remove_pin(pin);
        }
        let _ = done.send(());
    }
}

fn delete_link(socket: &mut Socket, link: &str) {
    match socket.ask(route::delete_link(link)) {
        Err(error) if error.raw_os_error() != Some(libc::ENODEV) => {
            tracing::warn!(link, %error, "remove a link");
        }
        _ => {}
    }
}
