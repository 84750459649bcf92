//! Takes links and namespaces away: the kernel needs tens of milliseconds, and the address is free only then.

use std::{
    io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    namespace,
    netlink::{Socket, route},
};

/// Sandboxes that are taken away together.
const MAX_BATCH: usize = 32;
/// A link that is there after so long does not go with its namespace.
const GONE_WITHIN: Duration = Duration::from_millis(250);

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

/// A thread that takes away what it is given, together what comes together; ends, with everything done, when it is dropped.
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
    while let Ok(first) = jobs.recv() {
        let batch: Vec<Job> = std::iter::once(first)
            .chain(jobs.try_iter())
            .take(MAX_BATCH)
            .collect();
        let pins = batch.iter().filter_map(|job| job.remains.pin.as_deref());
        let links = batch.iter().filter_map(|job| job.remains.link.as_deref());
        take_away(&mut socket, pins.collect(), links.collect());
        for job in batch {
            let _ = job.done.send(());
        }
    }
}

/// A namespace takes its links along, and the kernel takes down many namespaces at a time for little more than one. A link that does not go
/// (another container is in the namespace, or it never had one) is removed by its name.
fn take_away(socket: &mut Socket, pins: Vec<&Path>, mut links: Vec<&str>) {
    let changes = Socket::of_link_changes();
    for pin in &pins {
        namespace::remove_pin(pin);
    }
    let end = Instant::now() + GONE_WITHIN;
    while let Ok(changes) = &changes {
        links.retain(|link| !is_gone(socket, link));
        let left = end.saturating_duration_since(Instant::now());
        if links.is_empty() || left.is_zero() || !changes.wait(left).unwrap_or(false) {
            break;
        }
    }
    for link in links {
        delete_link(socket, link);
    }
}

fn is_gone(socket: &mut Socket, link: &str) -> bool {
    socket
        .link(link)
        .is_err_and(|error| error.raw_os_error() == Some(libc::ENODEV))
}

fn delete_link(socket: &mut Socket, link: &str) {
    match socket.ask(route::delete_link(link)) {
        Err(error) if error.raw_os_error() != Some(libc::ENODEV) => {
            tracing::warn!(link, %error, "remove a link");
        }
        _ => {}
    }
}
