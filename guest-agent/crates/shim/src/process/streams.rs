//! Bytes between processes, clients and the log.

use std::os::fd::AsFd;

use super::{
    Shim,
    connection::{Input, Role},
    now,
};
use crate::frame;

impl Shim {
    /// Reads what a process wrote, once, and hands it on.
    pub(super) fn output_ready(&mut self, number: u32, errors: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if let Some(task) = self.tasks.get(&number) {
            match task.read_output(errors, &mut buffer) {
                None => {}
                Some(0) => self.close_output(number, errors),
                Some(read) => self.hand_on(number, errors, &buffer[..read]),
            }
        }
        self.buffer = buffer;
    }

    fn hand_on(&mut self, number: u32, errors: bool, bytes: &[u8]) {
        if number == super::FIRST
            && let Some(log) = &mut self.log
            && let Err(error) = log.write(errors, now(), bytes)
        {
            tracing::error!(%error, "write the container's log");
        }
        let stream = if errors {
            frame::Stream::Stderr
        } else {
            frame::Stream::Stdout
        };
        // Once for all who want it.
        let mut in_frame: Option<Vec<u8>> = None;
        let mut lost = Vec::new();
        for (client, connection) in &mut self.connections {
            let Role::Attached {
                task,
                streams,
                framed,
            } = &connection.role
            else {
                continue;
            };
            let wanted = if errors {
                streams.stderr
            } else {
                streams.stdout
            };
            if *task != number || !wanted || connection.closing {
                continue;
            }
            let bytes = if *framed {
                in_frame.get_or_insert_with(|| {
                    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                    [&frame::header(stream, length), bytes].concat()
                })
            } else {
                bytes
            };
            let pushed = connection.queue.push(&connection.stream, bytes);
            if pushed.is_err() {
                lost.push(*client);
            }
        }
        for client in lost {
            self.disconnect(client);
        }
    }

    pub(super) fn close_output(&mut self, number: u32, errors: bool) {
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        let end = if errors {
            task.ends.errors.take()
        } else {
            task.ends.output.take()
        };
        if let Some(end) = end {
            self.poll.forget(end.as_fd());
        }
    }

    /// Gives a process what clients typed.
    pub(super) fn input_ready(&mut self, number: u32) {
        if let Some(task) = self.tasks.get_mut(&number)
            && task.write_input()
            && let Some(input) = task.ends.input.take()
        {
            self.poll.forget(input.as_fd());
        }
    }

    pub(super) fn connection_ready(&mut self, number: u32) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        if connection.queue.flush(&connection.stream).is_err() {
            return self.disconnect(number);
        }
        if connection.closing && connection.queue.is_empty() {
            return self.disconnect(number);
        }
        if connection.input_over {
            // Its end of input was seen before: this is the end of the whole, unless it only takes more.
            if is_hung_up(connection.stream.as_fd()) {
                self.disconnect(number);
            }
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = connection.read(&mut buffer);
        match read {
            Err(_) => self.disconnect(number),
            Ok(Input::Nothing) => {}
            Ok(Input::End) => self.client_input_over(number),
            Ok(Input::Bytes(read)) => self.client_input(number, &buffer[..read]),
        }
        self.buffer = buffer;
    }

    fn client_input(&mut self, number: u32, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        match &connection.role {
            Role::Attached { task, streams, .. } => {
                let (task, feeds) = (*task, streams.stdin);
                if feeds && let Some(process) = self.tasks.get_mut(&task) {
                    process.feed(bytes);
                    self.input_ready(task);
                }
            }
            Role::Events => {}
            Role::Control(_) => match connection.gather(bytes) {
                Ok(()) => self.serve_requests(number),
                Err(error) => {
                    tracing::warn!(%error, "a client is cut off");
                    self.disconnect(number);
                }
            },
        }
    }

    fn client_input_over(&mut self, number: u32) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        match &connection.role {
            Role::Attached { task, streams, .. } => {
                let (task, feeds) = (*task, streams.stdin);
                connection.input_over = true;
                if feeds {
                    self.end_input(task);
                }
            }
            Role::Control(_) | Role::Events => self.disconnect(number),
        }
    }

    /// A client with input has ended its own.
    fn end_input(&mut self, number: u32) {
        if let Some(task) = self.tasks.get_mut(&number)
            && task.stdin_once
        {
            task.input_over = true;
            self.input_ready(number);
        }
    }

    pub(super) fn disconnect(&mut self, number: u32) {
        let Some(connection) = self.connections.remove(&number) else {
            return;
        };
        self.poll.forget(connection.stream.as_fd());
        if let Role::Attached { task, streams, .. } = connection.role
            && streams.stdin
            && !connection.input_over
        {
            self.end_input(task);
        }
    }

    /// A process is over: its clients get what waits for them, and the end.
    pub(super) fn close_clients(&mut self, number: u32) {
        let mut ended = Vec::new();
        for (client, connection) in &mut self.connections {
            if matches!(connection.role, Role::Attached { task, .. } if task == number) {
                connection.closing = true;
                if connection.queue.is_empty() {
                    ended.push(*client);
                }
            }
        }
        for client in ended {
            self.disconnect(client);
        }
    }
}

fn is_hung_up(fd: std::os::fd::BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut ready = [PollFd::new(&fd, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut ready, Some(&now)).is_ok()
        && ready[0]
            .revents()
            .intersects(PollFlags::HUP | PollFlags::ERR)
}
