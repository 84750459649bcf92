//! The engine's requests.

use std::{collections::VecDeque, io, os::fd::AsFd};

use engine::ports::containers::AttachRequest;
use oci_spec::runtime::Process;
use runtime::{Exec, ExecOptions, StartError, Stdio};

use super::{
    FIRST, Refusal, Shim,
    connection::Role,
    refusal, system,
    task::{self, Task},
};
use crate::{
    protocol::{self, Event, Failure, Reply, Request},
    sys,
};

impl Shim {
    pub(super) fn serve_requests(&mut self, number: u32) {
        loop {
            let Some(connection) = self.connections.get_mut(&number) else {
                return;
            };
            let Role::Control(pending) = &mut connection.role else {
                return;
            };
            let request = match protocol::take::<Request>(pending) {
                Ok(None) => return,
                Ok(Some(request)) => request,
                Err(error) => {
                    tracing::warn!(%error, "a request that cannot be read");
                    return self.disconnect(number);
                }
            };
            match self.serve_request(number, request) {
                Ok(Some(reply)) => self.reply(number, &reply),
                Ok(None) => {}
                Err((kind, text)) => self.reply(number, &Reply::Failed { kind, text }),
            }
        }
    }

    /// As if it had been asked to start.
    pub(super) fn serve_start(&mut self, from: u32) {
        match self.start() {
            Ok(reply) => self.reply(from, &reply),
            Err((kind, text)) => self.reply(from, &Reply::Failed { kind, text }),
        }
    }

    /// `None`: answered already, or later.
    fn serve_request(&mut self, from: u32, request: Request) -> Result<Option<Reply>, Refusal> {
        match request {
            Request::Start => self.start().map(Some),
            Request::Attach(streams) => {
                self.reply(from, &Reply::Done);
                self.attach(from, FIRST, streams);
                Ok(None)
            }
            Request::Exec {
                id,
                process,
                streams,
            } => {
                let (task, pid) = self.exec(id, &process, streams)?;
                self.reply(from, &Reply::Pid(pid));
                if streams.any() {
                    self.attach(from, task, streams);
                }
                Ok(None)
            }
            Request::Signal { exec, signal, all } => {
                self.signal(exec.as_deref(), signal, all)?;
                Ok(Some(Reply::Done))
            }
            Request::Resize {
                exec,
                rows,
                columns,
            } => {
                let task = self.task(exec.as_deref())?;
                let terminal = task.ends.output.as_ref().filter(|_| task.terminal);
                let terminal = terminal
                    .ok_or_else(|| (Failure::Invalid, "the process has no terminal".to_owned()))?;
                let size = rustix::termios::Winsize {
                    ws_row: rows,
                    ws_col: columns,
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                };
                rustix::termios::tcsetwinsize(terminal, size)
                    .map_err(|error| system("resize the terminal")(error.into()))?;
                Ok(Some(Reply::Done))
            }
            Request::Freeze(frozen) => {
                self.cgroup.freeze(frozen).map_err(system("freeze"))?;
                self.paused = frozen;
                Ok(Some(Reply::Done))
            }
            Request::Limit(limits) => {
                let warnings = self.cgroup.limit(&limits).map_err(system("set limits"))?;
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                Ok(Some(Reply::Done))
            }
            Request::Pids => Ok(Some(Reply::Pids(
                self.cgroup.processes().map_err(system("list processes"))?,
            ))),
            Request::State => Ok(Some(Reply::State {
                pid: self
                    .tasks
                    .get(&FIRST)
                    .map_or(0, |task| task.pid.unsigned_abs()),
                started: self.started,
                paused: self.paused,
            })),
            Request::Events => {
                self.reply(from, &Reply::Done);
                if let Some(connection) = self.connections.get_mut(&from) {
                    connection.role = Role::Events;
                }
                Ok(None)
            }
            Request::Delete => {
                if self.over {
                    return Ok(Some(Reply::Done));
                }
                // A frozen process does not die.
                let _ = self.cgroup.freeze(false);
                self.cgroup.kill().map_err(system("kill the container"))?;
                self.deleting.push(from);
                Ok(None)
            }
        }
    }

    fn start(&mut self) -> Result<Reply, Refusal> {
        let Some(container) = &mut self.container else {
            return Err((
                Failure::Conflict,
                "the container was started before".to_owned(),
            ));
        };
        let pid = container.pid().unsigned_abs();
        let started = container.start();
        self.container = None;
        match started {
            Ok(()) => {
                self.started = true;
                Ok(Reply::Pid(pid))
            }
            Err(error) => {
                // The runtime has reaped it: nothing will tell of its end.
                if let Some(task) = self.tasks.remove(&FIRST) {
                    self.poll.forget(task.pidfd.as_fd());
                    for end in [&task.ends.input, &task.ends.output, &task.ends.errors]
                        .into_iter()
                        .flatten()
                    {
                        self.poll.forget(end.as_fd());
                    }
                }
                let _ = self.cgroup.kill();
                let _ = super::remove_group(&self.cgroup);
                self.over = true;
                self.close_clients(FIRST);
                let kind = match error {
                    StartError::Exec(_) => Failure::Invalid,
                    StartError::Started | StartError::Gone => Failure::System,
                };
                Err((kind, error.to_string()))
            }
        }
    }

    fn exec(
        &mut self,
        id: String,
        process: &Process,
        streams: AttachRequest,
    ) -> Result<(u32, u32), Refusal> {
        let first = self
            .tasks
            .get(&FIRST)
            .filter(|task| self.started && task.ended.is_none())
            .ok_or_else(|| (Failure::Conflict, "the container is not running".to_owned()))?;
        if self.paused {
            // It would be frozen before it could say that it runs, and the only thread would wait for that.
            let text = "the container is paused: unpause it before exec";
            return Err((Failure::Conflict, text.to_owned()));
        }
        let terminal = process.terminal().unwrap_or(false);
        let (rows, columns) = process.console_size().map_or((0, 0), |size| {
            let cells = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
            (cells(size.height()), cells(size.width()))
        });
        let (mut ends, inherited) = task::pipes(streams.stdin).map_err(system("make pipes"))?;
        let options = ExecOptions {
            filter: self.filter.as_ref(),
            process,
            container: first.pidfd.as_fd(),
            cgroup: &self.cgroup,
            stdio: if terminal {
                Stdio::Terminal { rows, columns }
            } else {
                Stdio::Streams(inherited.borrow())
            },
        };
        let mut exec = Exec::start(&options).map_err(refusal)?;
        drop(inherited);
        if let Some(outside) = exec.take_terminal() {
            ends = task::terminal(outside).map_err(system("the terminal"))?;
        }
        let task = Task {
            exec: Some(id),
            pid: exec.pid(),
            pidfd: exec
                .pidfd()
                .try_clone_to_owned()
                .map_err(system("the process"))?,
            terminal,
            ends,
            typed: VecDeque::new(),
            input_over: false,
            stdin_once: true,
            ended: None,
        };
        self.next += 1;
        self.tasks.insert(self.next, task);
        Ok((self.next, exec.pid().unsigned_abs()))
    }

    fn attach(&mut self, number: u32, task: u32, streams: AttachRequest) {
        let framed = self.tasks.get(&task).is_some_and(|task| !task.terminal);
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        connection.role = Role::Attached {
            task,
            streams,
            framed,
        };
        if !self.tasks.contains_key(&task) {
            self.close_clients(task);
        }
    }

    fn task(&self, exec: Option<&str>) -> Result<&Task, Refusal> {
        let found = match exec {
            None => self.tasks.get(&FIRST),
            Some(id) => self
                .tasks
                .values()
                .find(|task| task.exec.as_deref() == Some(id)),
        };
        found
            .filter(|task| task.ended.is_none())
            .ok_or_else(|| (Failure::NotFound, "the process has ended".to_owned()))
    }

    fn signal(&self, exec: Option<&str>, signal: i32, all: bool) -> Result<(), Refusal> {
        let failed = |error: io::Error| match error.raw_os_error() {
            Some(libc::ESRCH) => (Failure::NotFound, "the process has ended".to_owned()),
            _ => system("signal the process")(error),
        };
        if all {
            for pid in self.cgroup.processes().map_err(system("list processes"))? {
                // Ended meanwhile is fine.
                let _ = sys::signal(pid, signal);
            }
            return Ok(());
        }
        // Not reaped yet, so the number is still its own.
        sys::signal(self.task(exec)?.pid.unsigned_abs(), signal).map_err(failed)
    }

    pub(super) fn reply(&mut self, number: u32, reply: &Reply) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        let sent = protocol::encode(reply)
            .and_then(|bytes| connection.queue.push(&connection.stream, &bytes));
        if let Err(error) = sent {
            drop::<io::Error>(error);
            self.disconnect(number);
        }
    }

    pub(super) fn tell(&mut self, event: &Event) {
        let listeners: Vec<u32> = self
            .connections
            .iter()
            .filter(|(_, connection)| matches!(connection.role, Role::Events))
            .map(|(number, _)| *number)
            .collect();
        for number in listeners {
            self.reply(number, &Reply::Event(event.clone()));
        }
    }
}
