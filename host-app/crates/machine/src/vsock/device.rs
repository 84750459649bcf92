//! The device: moves bytes between virtqueues and host streams, as the mux says.
//!
//! One thread, the vhost-user worker's. Host streams sit in an epoll of our own whose descriptor is registered with the worker's, since the
//! worker knows only 16-bit event ids. Each packet is copied out of guest memory once, header first, then its payload gathered over as many
//! descriptors as the driver used.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    os::fd::{AsRawFd, RawFd},
    os::unix::net::UnixStream,
    sync::Arc,
};

use anyhow::Context;
use tokio::sync::oneshot;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackendMut, VringRwLock, VringT, bitmap::BitmapMmapRegion};
use virtio_bindings::bindings::{
    virtio_config::VIRTIO_F_VERSION_1, virtio_ring::VIRTIO_RING_F_EVENT_IDX,
};
use virtio_queue::{QueueOwnedT, QueueT};
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::{
    epoll::{ControlOperation, Epoll, EpollEvent, EventSet},
    eventfd::EventFd,
};
use vsock::{Action, Connection, HEADER_BYTES, Header, MAX_PAYLOAD_BYTES, Mux, Next};

use super::{GUEST_CID, Inbox, Request, end::End, pair};

pub(super) type Memory = GuestMemoryAtomic<GuestMemoryMmap<BitmapMmapRegion>>;
type Vring = VringRwLock<Memory>;

/// Receive and transmit; the event queue stays in QEMU.
const QUEUES: usize = 2;
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const QUEUE_SIZE: usize = 1024;

/// The worker's id for our epoll; ids up to the number of queues are its own.
pub(super) const HOST_EVENTS: u64 = 16;

/// Id of the inbox's eventfd in our epoll.
const INBOX: u64 = 0;

/// Most streams that still deliver after their connection is gone; each holds at most the mux's buffer. Further ones are cut off.
const MAX_DRAINING: usize = 1024;

/// Host events handled in one go.
const EVENTS_AT_ONCE: usize = 64;

pub(super) struct Device {
    mux: Mux,
    memory: Option<Memory>,
    event_idx: bool,
    epoll: Epoll,
    inbox: Arc<Inbox>,
    wake: Arc<EventFd>,
    /// The driver is up: before that a packet could not be delivered.
    driver_up: bool,
    ends: HashMap<Connection, End>,
    names: HashMap<u64, Connection>,
    /// Ends whose connection is gone in order and that still have bytes to write.
    draining: HashMap<u64, End>,
    opening: HashMap<Connection, oneshot::Sender<bool>>,
    next_id: u64,
    buffer: Vec<u8>,
}

impl Device {
    pub(super) fn new(inbox: Arc<Inbox>, wake: Arc<EventFd>) -> anyhow::Result<Self> {
        let epoll = Epoll::new().context("make an epoll")?;
        epoll
            .ctl(
                ControlOperation::Add,
                wake.as_raw_fd(),
                EpollEvent::new(EventSet::IN, INBOX),
            )
            .context("watch the inbox")?;
        Ok(Self {
            mux: Mux::new(GUEST_CID),
            memory: None,
            event_idx: false,
            epoll,
            inbox,
            wake,
            driver_up: false,
            ends: HashMap::new(),
            names: HashMap::new(),
            draining: HashMap::new(),
            opening: HashMap::new(),
            next_id: INBOX + 1,
            buffer: vec![0; MAX_PAYLOAD_BYTES as usize],
        })
    }

    pub(super) fn epoll_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    fn take_requests(&mut self) {
        if !self.driver_up {
            return;
        }
        let requests = std::mem::take(&mut *self.inbox.requests.lock().expect("no holder panics"));
        for Request {
            guest_port,
            host_end,
            opened,
        } in requests
        {
            match self.mux.connect(guest_port) {
                Some(connection) => {
                    self.opening.insert(connection, opened);
                    self.add_end(connection, host_end);
                }
                None => {
                    let _ = opened.send(false);
                }
            }
        }
    }

    fn add_end(&mut self, connection: Connection, stream: UnixStream) {
        let id = self.next_id;
        self.next_id += 1;
        self.names.insert(id, connection);
        self.ends.insert(connection, End::new(id, stream));
    }

    fn host_events(&mut self) {
        let mut events = [EpollEvent::default(); EVENTS_AT_ONCE];
        let count = self.epoll.wait(0, &mut events).unwrap_or(0);
        for event in &events[..count] {
            if event.data() == INBOX {
                let _ = self.wake.read();
                self.take_requests();
                continue;
            }
            if let Some(&connection) = self.names.get(&event.data()) {
                let set = event.event_set();
                if set.intersects(EventSet::IN | EventSet::HANG_UP | EventSet::ERROR) {
                    self.mux.readable(connection);
                }
                self.flush(connection);
            } else {
                self.drain(event.data());
            }
        }
    }

    /// Writes what waits for a connection's host end and watches it for what comes next.
    fn flush(&mut self, connection: Connection) {
        let Some(end) = self.ends.get_mut(&connection) else {
            return;
        };
        let action = match end.flush() {
            Ok(written) => self
                .mux
                .delivered(connection, u32::try_from(written).unwrap_or(u32::MAX)),
            Err(_) => {
                // The host's end does not want any more: the guest learns by a reset.
                self.mux.refuse(connection);
                Some(Action::Closed {
                    connection,
                    orderly: false,
                })
            }
        };
        if let Some(action) = action {
            self.act(action, &[]);
        }
        self.watch(connection);
    }

    fn watch(&mut self, connection: Connection) {
        let readable = self.mux.wants_readable(connection);
        let Some(end) = self.ends.get_mut(&connection) else {
            return;
        };
        if let Err(error) = end.watch(&self.epoll, readable) {
            tracing::warn!(%error, "watch a host stream");
            self.mux.refuse(connection);
            self.act(
                Action::Closed {
                    connection,
                    orderly: false,
                },
                &[],
            );
        }
    }

    fn drain(&mut self, id: u64) {
        let Some(end) = self.draining.get_mut(&id) else {
            return;
        };
        if end.flush().is_err() || !end.has_waiting() {
            self.draining.remove(&id);
        }
    }

    fn act(&mut self, action: Action, payload: &[u8]) {
        match action {
            Action::Asked(connection) => self.asked(connection),
            Action::Opened(connection) => {
                if let Some(opened) = self.opening.remove(&connection) {
                    let _ = opened.send(true);
                }
                self.watch(connection);
            }
            Action::Deliver(connection) => {
                if let Some(end) = self.ends.get_mut(&connection) {
                    end.take_in(payload);
                }
                self.flush(connection);
            }
            Action::GuestEnded(connection) => {
                if let Some(end) = self.ends.get_mut(&connection) {
                    end.guest_ended();
                }
                self.flush(connection);
            }
            Action::Closed {
                connection,
                orderly,
            } => self.closed(connection, orderly),
        }
    }

    fn asked(&mut self, connection: Connection) {
        let listeners = self.inbox.listeners.lock().expect("no holder panics");
        let taken = listeners.get(&connection.host_port).and_then(|listener| {
            let (theirs, ours) = pair().ok()?;
            listener.try_send(theirs).ok()?;
            Some(ours)
        });
        drop(listeners);
        match taken {
            Some(stream) => {
                self.mux.accept(connection);
                self.add_end(connection, stream);
                self.watch(connection);
            }
            None => self.mux.refuse(connection),
        }
    }

    fn closed(&mut self, connection: Connection, orderly: bool) {
        if let Some(opened) = self.opening.remove(&connection) {
            let _ = opened.send(false);
        }
        let Some(mut end) = self.ends.remove(&connection) else {
            return;
        };
        self.names.remove(&end.id);
        end.guest_ended();
        let unfinished = end.flush().is_ok() && end.has_waiting();
        let watched = end.watch(&self.epoll, false);
        let room = self.draining.len() < MAX_DRAINING;
        if orderly && unfinished && watched.is_ok() && room {
            self.draining.insert(end.id, end);
        }
    }

    /// Packets from the guest.
    fn transmit(&mut self, vring: &Vring) -> io::Result<()> {
        let Some(memory) = self.memory.clone() else {
            return Ok(());
        };
        let guard = memory.memory();
        loop {
            if self.event_idx {
                let _ = vring.disable_notification();
            }
            let mut used = false;
            loop {
                let Some(chain) = vring
                    .get_mut()
                    .get_queue_mut()
                    .pop_descriptor_chain(guard.clone())
                else {
                    break;
                };
                let head = chain.head_index();
                match chain
                    .reader(&*guard)
                    .map_err(io::Error::other)
                    .and_then(read_packet)
                {
                    Ok((header, payload)) => {
                        if let Some(action) = self.mux.guest_packet(&header) {
                            self.act(action, &payload);
                        }
                    }
                    Err(error) => tracing::debug!(%error, "a packet that is none"),
                }
                let _ = vring.add_used(head, 0);
                used = true;
            }
            self.notify(vring, used)?;
            if !self.event_idx || !vring.enable_notification().unwrap_or(false) {
                return Ok(());
            }
        }
    }

    /// Packets to the guest, while there are packets and buffers.
    fn receive(&mut self, vring: &Vring) -> io::Result<()> {
        let Some(memory) = self.memory.clone() else {
            return Ok(());
        };
        let guard = memory.memory();
        loop {
            if self.event_idx {
                let _ = vring.disable_notification();
            }
            let (mut used, mut starved) = (false, false);
            while self.mux.has_next() {
                let Some(chain) = vring
                    .get_mut()
                    .get_queue_mut()
                    .pop_descriptor_chain(guard.clone())
                else {
                    starved = true;
                    break;
                };
                let head = chain.head_index();
                let length = match chain.writer(&*guard) {
                    Ok(mut writer) if writer.available_bytes() >= HEADER_BYTES => {
                        let room = writer.available_bytes() - HEADER_BYTES;
                        let Some(header) = self.fill(room) else {
                            vring.get_mut().get_queue_mut().go_to_previous_position();
                            break;
                        };
                        let payload = &self.buffer[..header.length as usize];
                        let _ = writer
                            .write_all(&header.encode())
                            .and_then(|()| writer.write_all(payload));
                        u32::try_from(HEADER_BYTES + payload.len())
                            .expect("a packet is at most 64 KiB and its header")
                    }
                    // Too short for a header: given back empty.
                    _ => 0,
                };
                let _ = vring.add_used(head, length);
                used = true;
            }
            self.notify(vring, used)?;
            if !self.event_idx {
                return Ok(());
            }
            let more = vring.enable_notification().unwrap_or(false);
            if !(more && (starved || self.mux.has_next())) {
                return Ok(());
            }
        }
    }

    /// Tells the driver that buffers were used, if any were and it wants to know.
    fn notify(&self, vring: &Vring, used: bool) -> io::Result<()> {
        if used && (!self.event_idx || vring.needs_notification().unwrap_or(true)) {
            vring.signal_used_queue()?;
        }
        Ok(())
    }

    /// The next packet for a buffer with `room` bytes beside the header, its payload in `self.buffer`.
    fn fill(&mut self, room: usize) -> Option<Header> {
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        loop {
            let (connection, most) = match self.mux.next(room)? {
                Next::Control(header) => return Some(header),
                Next::Data { connection, most } => (connection, most),
            };
            let Some(end) = self.ends.get_mut(&connection) else {
                self.mux.not_readable(connection);
                continue;
            };
            match end.stream.read(&mut self.buffer[..most as usize]) {
                Ok(0) => {
                    let header = self.mux.ended(connection);
                    self.watch(connection);
                    if header.is_some() {
                        return header;
                    }
                }
                Ok(read) => {
                    return self
                        .mux
                        .sent(connection, u32::try_from(read).unwrap_or(most));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.mux.not_readable(connection);
                    self.watch(connection);
                }
                Err(_) => {
                    self.mux.refuse(connection);
                    self.closed(connection, false);
                }
            }
        }
    }
}

fn read_packet(mut reader: impl Read) -> io::Result<(Header, Vec<u8>)> {
    let mut raw = [0; HEADER_BYTES];
    reader.read_exact(&mut raw)?;
    let header = Header::parse(&raw).map_err(io::Error::other)?;
    let mut payload = vec![0; header.length as usize];
    reader.read_exact(&mut payload)?;
    Ok((header, payload))
}

impl VhostUserBackendMut for Device {
    type Bitmap = BitmapMmapRegion;
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_F_VERSION_1
            | 1 << VIRTIO_RING_F_EVENT_IDX
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::CONFIG | VhostUserProtocolFeatures::REPLY_ACK
    }

    fn set_event_idx(&mut self, enabled: bool) {
        self.event_idx = enabled;
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let cid = GUEST_CID.to_le_bytes();
        cid.iter()
            .skip(offset as usize)
            .take(size as usize)
            .copied()
            .collect()
    }

    fn update_memory(&mut self, memory: Memory) -> io::Result<()> {
        self.memory = Some(memory);
        Ok(())
    }

    fn handle_event(
        &mut self,
        event: u16,
        _set: EventSet,
        vrings: &[Vring],
        _thread: usize,
    ) -> io::Result<()> {
        match usize::from(event) {
            RECEIVE => self.driver_up = true,
            TRANSMIT => {
                self.driver_up = true;
                self.transmit(&vrings[TRANSMIT])?;
            }
            _ => self.host_events(),
        }
        self.take_requests();
        self.receive(&vrings[RECEIVE])
    }
}
