//! One container's shim: the parent of its processes, with one thread and one loop.
//!
//! ```text
//!   launch ─► container made ─► reply ─► loop: processes' output ─► log, clients      ─► all ended: log closed, group removed,
//!                                              clients' input ─► processes                exit.json by rename, event, end
//! ```

mod connection;
mod poll;
mod queue;
mod requests;
mod streams;
mod task;

use std::{
    collections::BTreeMap,
    fs, io,
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    time::{Duration, Instant},
};

use engine::ports::{containers::Exit, rootfs::Rootfs, world::Timestamp};
use runtime::{Cgroup, Container, CreateError, CreateOptions, Filter, Stdio};
use rustix::event::epoll::EventFlags;

use self::{
    connection::{Connection, Role},
    poll::{Poll, Token},
    queue::Queue,
    task::Task,
};
use crate::{
    address::Address,
    log::writer::Writer,
    protocol::{self, Event, Failure, Launch, Reply},
};

/// The container's first process among the tasks.
const FIRST: u32 = 0;
/// One read.
const BUFFER_BYTES: usize = 64 << 10;
/// How long the kernel may take to empty a killed group.
const EMPTY_WITHIN: Duration = Duration::from_secs(10);
/// What a log that cannot be opened is called, in Docker's words.
const LOG_FAILED: &str = "failed to initialize logging driver";
/// How long a log service may take for what is left when the container has ended, as in Docker.
const LOG_WITHIN: Duration = Duration::from_secs(10);
/// Written by rename once all has ended: an [`Exit`].
pub(crate) const EXIT_FILE: &str = "exit.json";
/// Where the container's root is mounted, in its own namespace.
pub(crate) const ROOT_FOLDER: &str = "rootfs";

/// Serves one container from its launch to its end.
///
/// # Errors
/// The engine or the system fails before there is a container.
pub(crate) fn run(control: UnixStream, events: UnixStream) -> io::Result<()> {
    let launch: Launch = match protocol::read(&control) {
        // The engine went before it had a container for this shim.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
        read => read?,
    };
    rustix::thread::set_name(c"berth-shim")?;
    let run_at_once = launch.run_at_once;
    match Shim::launch(launch) {
        Ok(mut shim) => {
            // An engine that has gone meanwhile has left a container to its next one, who asks by the socket.
            if let Err(error) = protocol::write(&control, &Reply::Done) {
                tracing::warn!(%error, "tell the engine that the container is made");
            }
            let control = shim.connect(control, Role::Control(Vec::new()))?;
            shim.connect(events, Role::Events)?;
            if run_at_once {
                shim.serve_start(control);
            }
            shim.serve()
        }
        Err((kind, text)) => protocol::write(&control, &Reply::Failed { kind, text }),
    }
}

struct Shim {
    poll: Poll,
    listener: UnixListener,
    /// For execs.
    filter: Option<Filter>,
    launch: Settings,
    container: Option<Container>,
    cgroup: Cgroup,
    log: Option<Writer>,
    /// Until when a log service may keep a container from its end.
    log_deadline: Option<Instant>,
    started: bool,
    paused: bool,
    tasks: BTreeMap<u32, Task>,
    connections: BTreeMap<u32, Connection>,
    next: u32,
    buffer: Vec<u8>,
    /// Control connections that wait for the end of everything.
    deleting: Vec<u32>,
    /// The first process's end was told; only clients that still read are left.
    over: bool,
}

/// What is kept of the launch.
struct Settings {
    run: std::path::PathBuf,
    folder: std::path::PathBuf,
}

type Refusal = (Failure, String);

fn system(what: &str) -> impl Fn(io::Error) -> Refusal + '_ {
    move |error| (Failure::System, format!("{what}: {error}"))
}

impl Shim {
    fn launch(launch: Launch) -> Result<Self, Refusal> {
        let process = launch.spec.process().as_ref();
        let terminal = process.is_some_and(|process| process.terminal().unwrap_or(false));
        let mount_point = launch.run.join(ROOT_FOLDER);
        let default_group = Path::new("docker").join(&launch.id);
        let group = launch
            .spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.cgroups_path().clone())
            .unwrap_or_else(|| default_group.clone());
        let cgroup =
            Cgroup::new(&launch.cgroup_root, &group).map_err(system("the container's cgroup"))?;
        let root = match launch.root {
            Rootfs::Overlay { lower, upper, work } => runtime::Root::Overlay { lower, upper, work },
            Rootfs::Folder(folder) => runtime::Root::Folder(folder),
        };
        let log = Writer::open(&launch.log).map_err(system(LOG_FAILED))?;
        let poll = Poll::new().map_err(system("epoll"))?;
        let listener = listen(&launch.run).map_err(system("listen for the engine"))?;
        let (rows, columns) = launch.terminal_size;
        let (mut ends, inherited) =
            task::pipes(launch.open_stdin).map_err(system("make the container's pipes"))?;
        let options = CreateOptions {
            spec: &launch.spec,
            root: &root,
            mount_point: &mount_point,
            stdio: if terminal {
                Stdio::Terminal { rows, columns }
            } else {
                Stdio::Streams(inherited.borrow())
            },
            cgroup_root: &launch.cgroup_root,
            default_group: &default_group,
        };
        let mut container = Container::create(&options).map_err(refusal)?;
        drop(inherited);
        for warning in container.warnings() {
            tracing::warn!(container = launch.id, "{warning}");
        }
        if let Some(outside) = container.take_terminal() {
            ends = task::terminal(outside).map_err(system("the container's terminal"))?;
        }
        let pidfd = container.pidfd().try_clone_to_owned();
        let first = Task {
            exec: None,
            pid: container.pid(),
            pidfd: pidfd.map_err(system("the container's process"))?,
            terminal,
            ends,
            typed: std::collections::VecDeque::new(),
            input_over: false,
            stdin_once: launch.stdin_once,
            ended: None,
        };
        Ok(Self {
            poll,
            listener,
            filter: container.take_filter(),
            launch: Settings {
                run: launch.run,
                folder: launch.folder,
            },
            container: Some(container),
            cgroup,
            log,
            log_deadline: None,
            started: false,
            paused: false,
            tasks: BTreeMap::from([(FIRST, first)]),
            connections: BTreeMap::new(),
            next: FIRST,
            buffer: vec![0; BUFFER_BYTES],
            deleting: Vec::new(),
            over: false,
        })
    }

    fn connect(&mut self, stream: UnixStream, role: Role) -> io::Result<u32> {
        self.next += 1;
        let queue = Queue::new(&self.launch.folder);
        let connection = Connection::new(stream, role, queue)?;
        self.connections.insert(self.next, connection);
        Ok(self.next)
    }

    fn serve(mut self) -> io::Result<()> {
        while !self.is_done() {
            let timeout = self.set_interests()?;
            for token in self.poll.wait(timeout)? {
                match token {
                    Token::Listener => self.accept(),
                    Token::Connection(number) => self.connection_ready(number),
                    Token::Ended(number) => self.process_ended(number),
                    Token::Output(number, errors) => self.output_ready(number, errors),
                    Token::Input(number) => self.input_ready(number),
                    Token::Log => self.log_ready(),
                }
            }
            self.finish_what_ended();
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.over
            && self.tasks.is_empty()
            && self
                .connections
                .values()
                .all(|connection| connection.queue.is_empty())
    }

    fn accept(&mut self) {
        match self.listener.accept() {
            Ok((stream, _)) => {
                if let Err(error) = self.connect(stream, Role::Control(Vec::new())) {
                    tracing::warn!(%error, "take a connection");
                }
            }
            Err(error) => tracing::warn!(%error, "accept a connection"),
        }
    }

    /// Tells the poll what is waited for now; gives how long at most.
    fn set_interests(&mut self) -> io::Result<Option<Duration>> {
        let now = Instant::now();
        self.poll
            .set(self.listener.as_fd(), Token::Listener, EventFlags::IN)?;
        let mut held: BTreeMap<u32, Instant> = BTreeMap::new();
        for (number, connection) in &self.connections {
            let mut flags = EventFlags::empty();
            let reads = match &connection.role {
                Role::Control(_) | Role::Events => true,
                Role::Attached { task, streams, .. } => {
                    !streams.stdin || self.tasks.get(task).is_none_or(Task::takes_input)
                }
            };
            if reads && !connection.input_over {
                flags |= EventFlags::IN;
            }
            if !connection.queue.is_empty() {
                flags |= EventFlags::OUT;
            }
            if flags.is_empty() {
                // Its end is told even then.
                flags = EventFlags::HUP;
            }
            self.poll
                .set(connection.stream.as_fd(), Token::Connection(*number), flags)?;
            if let (Role::Attached { task, .. }, Some(until)) =
                (&connection.role, connection.queue.holds_back_until(now))
            {
                let latest = held.entry(*task).or_insert(until);
                *latest = until.max(*latest);
            }
        }
        if let Some(until) = self.wait_for_log(now)? {
            held.insert(FIRST, until);
        }
        for (number, task) in &self.tasks {
            if task.ended.is_none() {
                self.poll
                    .set(task.pidfd.as_fd(), Token::Ended(*number), EventFlags::IN)?;
            }
            let output = if held.contains_key(number) {
                EventFlags::empty()
            } else {
                EventFlags::IN
            };
            if let Some(fd) = &task.ends.output {
                self.poll
                    .set(fd.as_fd(), Token::Output(*number, false), output)?;
            }
            if let Some(fd) = &task.ends.errors {
                self.poll
                    .set(fd.as_fd(), Token::Output(*number, true), output)?;
            }
            if let Some(fd) = &task.ends.input {
                let input = if task.typed.is_empty() {
                    EventFlags::empty()
                } else {
                    EventFlags::OUT
                };
                self.poll.set(fd.as_fd(), Token::Input(*number), input)?;
            }
        }
        let soonest = held.values().min();
        Ok(soonest.map(|until| until.saturating_duration_since(now) + Duration::from_millis(1)))
    }

    /// Waits for the log driver when it has to; until when at most the container's output is not read because of it.
    fn wait_for_log(&mut self, now: Instant) -> io::Result<Option<Instant>> {
        let Some(log) = &mut self.log else {
            return Ok(None);
        };
        if log.is_broken() {
            if let Some((pipe, _)) = log.pipe() {
                self.poll.forget(pipe);
            }
            log.renew();
        }
        if log.blocks() && self.log_deadline.is_some_and(|deadline| now >= deadline) {
            tracing::warn!("the log service did not take all in time: logs may be truncated");
            log.abandon();
        }
        let Some((pipe, waits)) = log.pipe() else {
            return Ok(None);
        };
        let wanted = if waits {
            EventFlags::OUT
        } else {
            EventFlags::empty()
        };
        self.poll.set(pipe, Token::Log, wanted)?;
        let far = now + LOG_WITHIN;
        Ok(log
            .blocks()
            .then(|| self.log_deadline.map_or(far, |deadline| deadline.min(far))))
    }

    fn log_ready(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    fn process_ended(&mut self, number: u32) {
        let oom_killed = self.cgroup.memory_kills() > 0;
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        let Some(code) = task.reap() else { return };
        self.poll.forget(task.pidfd.as_fd());
        task.ended = Some(Exit {
            code,
            at: now(),
            oom_killed,
        });
        if number == FIRST {
            self.log_deadline = Some(Instant::now() + LOG_WITHIN);
            // With the host's pid namespace its children would live on.
            let _ = self.cgroup.kill();
        } else {
            // What it wrote is there; who else has its pipe open is not waited for.
            self.output_ready(number, false);
            self.output_ready(number, true);
            self.close_output(number, false);
            self.close_output(number, true);
        }
    }

    /// Tells of processes that have ended and whose output was read.
    fn finish_what_ended(&mut self) {
        let done: Vec<u32> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.ended.is_some() && task.is_drained())
            .map(|(number, _)| *number)
            .collect();
        for number in done {
            let Some(mut task) = self.tasks.remove(&number) else {
                continue;
            };
            let Some(ended) = task.ended else { continue };
            if let Some(input) = task.ends.input.take() {
                self.poll.forget(input.as_fd());
            }
            if number == FIRST {
                self.first_ended(ended);
            } else if let Some(id) = task.exec {
                self.tell(&Event::ExecExited(id, ended));
            }
            self.close_clients(number);
        }
    }

    fn first_ended(&mut self, ended: Exit) {
        if let Some(log) = &mut self.log {
            if let Some((pipe, _)) = log.pipe() {
                self.poll.forget(pipe);
            }
            if let Err(error) = log.finish(now(), self.log_deadline.unwrap_or_else(Instant::now)) {
                tracing::error!(%error, "write the container's log");
            }
        }
        if let Err(error) = remove_group(&self.cgroup) {
            tracing::warn!(%error, cgroup = %self.cgroup.folder().display(), "remove the container's cgroup");
        }
        if self.started {
            if let Err(error) = write_exit(&self.launch.run, ended) {
                tracing::error!(%error, "write how the container ended");
            }
            self.tell(&Event::Exited(ended));
        }
        self.over = true;
        for number in std::mem::take(&mut self.deleting) {
            self.reply(number, &Reply::Done);
        }
    }
}

/// The error texts of Docker's, which clients compare.
fn refusal(error: CreateError) -> Refusal {
    let kind = match &error {
        CreateError::Child(_) | CreateError::Invalid(_) | CreateError::Unsupported(_) => {
            Failure::Invalid
        }
        CreateError::Cgroup { .. } | CreateError::System { .. } => Failure::System,
    };
    (kind, errdefs::chain(&error))
}

fn now() -> Timestamp {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Timestamp(now.tv_sec * 1_000_000_000 + now.tv_nsec)
}

fn listen(folder: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(Address::of(folder)?.path())?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn write_exit(folder: &Path, ended: Exit) -> io::Result<()> {
    let new = folder.join("exit.new");
    fs::write(&new, serde_json::to_vec(&ended)?)?;
    fs::rename(new, folder.join(EXIT_FILE))
}

/// Removes a group whose processes were killed, as soon as the kernel has let go of them.
pub(crate) fn remove_group(cgroup: &Cgroup) -> io::Result<()> {
    let end = Instant::now() + EMPTY_WITHIN;
    loop {
        match cgroup.remove() {
            Err(error)
                if Instant::now() < end
                    && error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) =>
            {
                await_change(cgroup)?;
            }
            result => return result,
        }
    }
}

/// Waits until the group's `populated` changes, at most a moment: the change may have been before.
fn await_change(cgroup: &Cgroup) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let events = fs::File::open(cgroup.folder().join("cgroup.events"))?;
    let mut text = String::new();
    io::Read::read_to_string(&mut &events, &mut text)?;
    let moment = Timespec {
        tv_sec: 0,
        tv_nsec: if text.contains("populated 1") {
            50_000_000
        } else {
            1_000_000
        },
    };
    let mut ready = [PollFd::new(&events, PollFlags::PRI)];
    poll(&mut ready, Some(&moment))?;
    Ok(())
}
