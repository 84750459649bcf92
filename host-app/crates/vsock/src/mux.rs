//! Connections: opening, credit, half-close, the end.
//!
//! ```text
//!   connect ──► Opening ──Response──► Open ──both directions ended, all delivered──► (gone, Reset sent)
//!   Request ──► Asked ────accept────►  │
//!                 └── refuse ──► (gone, Reset sent)      any state ──Reset or nonsense──► (gone)
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{HOST_CID, Header, MAX_PAYLOAD_BYTES, Operation};

/// Our buffer for each connection: what the guest may send before we have delivered it.
const BUFFER_BYTES: u32 = 256 << 10;

/// Most connections at a time, open or opening; one more is refused.
const MAX_CONNECTIONS: usize = 4096;

/// Most control packets that wait for the guest to take them. A guest that takes none is broken, and further ones are dropped.
const MAX_CONTROL_PACKETS: usize = 4 * MAX_CONNECTIONS;

/// First port of connections that the host opens; low ones are services.
const FIRST_EPHEMERAL_PORT: u32 = 1 << 30;

/// Flag bits of [`Operation::Shutdown`].
const NO_MORE_RECEIVING: u32 = 1;
const NO_MORE_SENDING: u32 = 2;

/// Names a connection: host port, guest port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection {
    /// Port at the host's end.
    pub host_port: u32,
    /// Port at the guest's end.
    pub guest_port: u32,
}

/// What the device has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The guest asks to connect to `host_port`: answer with [`Mux::accept`] or [`Mux::refuse`].
    Asked(Connection),
    /// What [`Mux::connect`] began is open.
    Opened(Connection),
    /// Give the packet's payload to the host's end; then [`Mux::delivered`].
    Deliver(Connection),
    /// The guest sends no more: shut down the writing side once all is delivered.
    GuestEnded(Connection),
    /// It is gone; what is not yet delivered still goes when `orderly`.
    Closed {
        /// Which.
        connection: Connection,
        /// Both sides had ended, rather than one having broken off.
        orderly: bool,
    },
}

/// What to put into the guest's next buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A packet without payload.
    Control(Header),
    /// Read up to `most` bytes from the host's end, then [`Mux::sent`] (or [`Mux::ended`], [`Mux::not_readable`]) gives the header.
    Data {
        /// From which.
        connection: Connection,
        /// Bound by credit and by the packet.
        most: u32,
    },
}

#[derive(Debug)]
struct State {
    open: bool,
    /// Guest's buffer, what it took out of it, and what we sent: all wrapping.
    guest_buffer: u32,
    guest_forwarded: u32,
    sent: u32,
    /// What we delivered, and what of it the guest was told.
    delivered: u32,
    told: u32,
    /// Received and not yet delivered.
    pending: u32,
    host_ended: bool,
    guest_flags: u32,
}

/// All connections of one guest.
#[derive(Debug)]
pub struct Mux {
    guest_cid: u64,
    connections: BTreeMap<Connection, State>,
    control: VecDeque<Header>,
    /// Connections whose host end has bytes or an end to read.
    readable: BTreeSet<Connection>,
    last_read: Option<Connection>,
    next_port: u32,
}

impl Mux {
    /// No connections yet.
    pub fn new(guest_cid: u64) -> Self {
        Self {
            guest_cid,
            connections: BTreeMap::new(),
            control: VecDeque::new(),
            readable: BTreeSet::new(),
            last_read: None,
            next_port: FIRST_EPHEMERAL_PORT,
        }
    }

    /// Opens a connection to a port of the guest; [`Action::Opened`] or [`Action::Closed`] follows. `None`: there are too many.
    pub fn connect(&mut self, guest_port: u32) -> Option<Connection> {
        if self.connections.len() >= MAX_CONNECTIONS {
            return None;
        }
        let connection = loop {
            let host_port = self.next_port;
            self.next_port = self
                .next_port
                .checked_add(1)
                .unwrap_or(FIRST_EPHEMERAL_PORT);
            let candidate = Connection {
                host_port,
                guest_port,
            };
            if !self.connections.contains_key(&candidate) {
                break candidate;
            }
        };
        self.connections.insert(connection, State::new(false, 0, 0));
        self.say(connection, Operation::Request, 0);
        Some(connection)
    }

    /// Takes the connection that the guest asked for.
    pub fn accept(&mut self, connection: Connection) {
        if let Some(state) = self.connections.get_mut(&connection) {
            state.open = true;
            self.say(connection, Operation::Response, 0);
        }
    }

    /// Refuses it, or breaks off an open one.
    pub fn refuse(&mut self, connection: Connection) {
        self.forget(connection);
        self.say(connection, Operation::Reset, 0);
    }

    /// A packet from the guest whose payload was copied; `None`: nothing to do.
    pub fn guest_packet(&mut self, header: &Header) -> Option<Action> {
        if header.source_cid != self.guest_cid || header.destination_cid != HOST_CID {
            return None;
        }
        let connection = Connection {
            host_port: header.destination_port,
            guest_port: header.source_port,
        };
        let Some(state) = self.connections.get_mut(&connection) else {
            return self.unknown(connection, header);
        };
        state.guest_buffer = header.buffer_bytes;
        state.guest_forwarded = header.forwarded;
        match header.operation {
            Operation::Response if !state.open => {
                state.open = true;
                Some(Action::Opened(connection))
            }
            Operation::Reset => {
                // Linux resets a few seconds after it has closed, whether the host has read all or not: what came before the end is whole.
                let orderly = state.guest_flags & NO_MORE_SENDING != 0;
                self.forget(connection);
                Some(Action::Closed {
                    connection,
                    orderly,
                })
            }
            Operation::Shutdown if state.open => {
                state.guest_flags |= header.flags & (NO_MORE_RECEIVING | NO_MORE_SENDING);
                let ended = state.guest_flags & NO_MORE_SENDING != 0;
                if let Some(closed) = self.close_if_over(connection) {
                    return Some(closed);
                }
                ended.then_some(Action::GuestEnded(connection))
            }
            Operation::ReadWrite if state.open && state.takes(header.length) => {
                state.pending += header.length;
                (header.length > 0).then_some(Action::Deliver(connection))
            }
            Operation::CreditUpdate if state.open => None,
            Operation::CreditRequest if state.open => {
                self.say(connection, Operation::CreditUpdate, 0);
                None
            }
            // A second request, data before the answer or over its credit, an answer nobody asked for.
            _ => {
                self.refuse(connection);
                Some(Action::Closed {
                    connection,
                    orderly: false,
                })
            }
        }
    }

    fn unknown(&mut self, connection: Connection, header: &Header) -> Option<Action> {
        match header.operation {
            Operation::Request if self.connections.len() < MAX_CONNECTIONS => {
                let state = State::new(false, header.buffer_bytes, header.forwarded);
                self.connections.insert(connection, state);
                Some(Action::Asked(connection))
            }
            Operation::Reset => None,
            _ => {
                self.say(connection, Operation::Reset, 0);
                None
            }
        }
    }

    /// The host's end has something to read.
    pub fn readable(&mut self, connection: Connection) {
        if self
            .connections
            .get(&connection)
            .is_some_and(|state| state.open && !state.host_ended)
        {
            self.readable.insert(connection);
        }
    }

    /// It has not, after all.
    pub fn not_readable(&mut self, connection: Connection) {
        self.readable.remove(&connection);
    }

    /// The device should watch the host's end for bytes: it is open, has not ended, and is not known to have some.
    pub fn wants_readable(&self, connection: Connection) -> bool {
        self.connections
            .get(&connection)
            .is_some_and(|state| state.open && !state.host_ended)
            && !self.readable.contains(&connection)
    }

    /// Whether [`Mux::next`] would give something for a buffer of any size.
    pub fn has_next(&self) -> bool {
        !self.control.is_empty()
            || self.readable.iter().any(|one| {
                self.connections
                    .get(one)
                    .is_some_and(|state| state.credit() > 0)
            })
    }

    /// What goes into a guest buffer with `room` bytes beside the header: control first, then connections in turn.
    pub fn next(&mut self, room: u32) -> Option<Next> {
        if let Some(header) = self.control.pop_front() {
            return Some(Next::Control(header));
        }
        let after =
            |last: &Connection| (std::ops::Bound::Excluded(*last), std::ops::Bound::Unbounded);
        let ready = |one: &&Connection| {
            room > 0
                && self
                    .connections
                    .get(*one)
                    .is_some_and(|state| state.credit() > 0)
        };
        let turn = match &self.last_read {
            Some(last) => self
                .readable
                .range(after(last))
                .find(ready)
                .or_else(|| self.readable.iter().find(ready)),
            None => self.readable.iter().find(ready),
        };
        let connection = *turn?;
        let credit = self.connections.get(&connection)?.credit();
        Some(Next::Data {
            connection,
            most: credit.min(room).min(MAX_PAYLOAD_BYTES),
        })
    }

    /// `length` bytes were read for [`Next::Data`]; their header.
    pub fn sent(&mut self, connection: Connection, length: u32) -> Option<Header> {
        self.last_read = Some(connection);
        let state = self.connections.get_mut(&connection)?;
        state.sent = state.sent.wrapping_add(length);
        state.told = state.delivered;
        Some(Header {
            length,
            ..self.header(connection, Operation::ReadWrite, 0)
        })
    }

    /// The host's end has ended; the header that tells the guest. The other direction goes on.
    pub fn ended(&mut self, connection: Connection) -> Option<Header> {
        self.readable.remove(&connection);
        self.connections.get_mut(&connection)?.host_ended = true;
        Some(self.header(connection, Operation::Shutdown, NO_MORE_SENDING))
    }

    /// `length` bytes of the guest's were given to the host's end. Closes the connection when that was the last of it.
    pub fn delivered(&mut self, connection: Connection, length: u32) -> Option<Action> {
        let state = self.connections.get_mut(&connection)?;
        state.pending = state.pending.saturating_sub(length);
        state.delivered = state.delivered.wrapping_add(length);
        if state.delivered.wrapping_sub(state.told) >= BUFFER_BYTES / 4 {
            state.told = state.delivered;
            self.say(connection, Operation::CreditUpdate, 0);
        }
        self.close_if_over(connection)
    }

    /// The guest has ended both directions, or its own after ours: all is said once all is delivered.
    fn close_if_over(&mut self, connection: Connection) -> Option<Action> {
        let state = self.connections.get(&connection)?;
        let guest_ended = state.guest_flags & NO_MORE_SENDING != 0;
        let nobody_reads = state.host_ended || state.guest_flags & NO_MORE_RECEIVING != 0;
        if !(guest_ended && nobody_reads && state.pending == 0) {
            return None;
        }
        self.refuse(connection);
        Some(Action::Closed {
            connection,
            orderly: true,
        })
    }

    /// Ends every connection: the guest has reset.
    pub fn clear(&mut self) -> Vec<Connection> {
        self.control.clear();
        self.readable.clear();
        std::mem::take(&mut self.connections).into_keys().collect()
    }

    fn forget(&mut self, connection: Connection) {
        self.connections.remove(&connection);
        self.readable.remove(&connection);
    }

    fn say(&mut self, connection: Connection, operation: Operation, flags: u32) {
        if self.control.len() < MAX_CONTROL_PACKETS {
            let header = self.header(connection, operation, flags);
            self.control.push_back(header);
        }
    }

    fn header(&self, connection: Connection, operation: Operation, flags: u32) -> Header {
        Header {
            source_cid: HOST_CID,
            destination_cid: self.guest_cid,
            source_port: connection.host_port,
            destination_port: connection.guest_port,
            length: 0,
            operation,
            flags,
            buffer_bytes: BUFFER_BYTES,
            forwarded: self
                .connections
                .get(&connection)
                .map_or(0, |state| state.delivered),
        }
    }
}

impl State {
    fn new(open: bool, guest_buffer: u32, guest_forwarded: u32) -> Self {
        Self {
            open,
            guest_buffer,
            guest_forwarded,
            sent: 0,
            delivered: 0,
            told: 0,
            pending: 0,
            host_ended: false,
            guest_flags: 0,
        }
    }

    /// Bytes we may send. A guest that lies about what it took gets no more than its buffer, and harms only itself.
    fn credit(&self) -> u32 {
        let in_flight = self.sent.wrapping_sub(self.guest_forwarded);
        self.guest_buffer.saturating_sub(in_flight)
    }

    fn takes(&self, length: u32) -> bool {
        self.pending
            .checked_add(length)
            .is_some_and(|pending| pending <= BUFFER_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GUEST: u64 = 3;

    fn packet(connection: Connection, operation: Operation, length: u32, flags: u32) -> Header {
        Header {
            source_cid: GUEST,
            destination_cid: HOST_CID,
            source_port: connection.guest_port,
            destination_port: connection.host_port,
            length,
            operation,
            flags,
            buffer_bytes: 1000,
            forwarded: 0,
        }
    }

    fn control(mux: &mut Mux) -> Option<(Operation, u32)> {
        match mux.next(100)? {
            Next::Control(header) => Some((header.operation, header.flags)),
            Next::Data { .. } => None,
        }
    }

    fn open(mux: &mut Mux) -> Connection {
        let connection = mux.connect(1024).expect("few connections");
        assert_eq!(control(mux), Some((Operation::Request, 0)));
        let opened = mux.guest_packet(&packet(connection, Operation::Response, 0, 0));
        assert_eq!(opened, Some(Action::Opened(connection)));
        connection
    }

    #[test]
    fn the_hosts_end_is_passed_on_and_the_guest_still_delivers() {
        let mut mux = Mux::new(GUEST);
        let connection = open(&mut mux);
        let header = mux.ended(connection).expect("open");
        assert_eq!(
            (header.operation, header.flags),
            (Operation::Shutdown, NO_MORE_SENDING)
        );
        let data = mux.guest_packet(&packet(connection, Operation::ReadWrite, 10, 0));
        assert_eq!(data, Some(Action::Deliver(connection)));
        // The guest ends while ten bytes are still on their way: closed only when they are delivered.
        let end = mux.guest_packet(&packet(connection, Operation::Shutdown, 0, 3));
        assert_eq!(end, Some(Action::GuestEnded(connection)));
        assert_eq!(
            mux.delivered(connection, 10),
            Some(Action::Closed {
                connection,
                orderly: true
            })
        );
        assert_eq!(control(&mut mux), Some((Operation::Reset, 0)));
    }

    #[test]
    fn credit_bounds_what_is_sent() {
        let mut mux = Mux::new(GUEST);
        let connection = open(&mut mux);
        mux.readable(connection);
        assert_eq!(
            mux.next(5000),
            Some(Next::Data {
                connection,
                most: 1000
            })
        );
        mux.sent(connection, 1000);
        assert_eq!(mux.next(5000), None);
        let mut update = packet(connection, Operation::CreditUpdate, 0, 0);
        update.forwarded = 400;
        assert_eq!(mux.guest_packet(&update), None);
        assert_eq!(
            mux.next(5000),
            Some(Next::Data {
                connection,
                most: 400
            })
        );
    }

    #[test]
    fn a_guest_that_breaks_its_credit_is_cut_off() {
        let mut mux = Mux::new(GUEST);
        let connection = open(&mut mux);
        for _ in 0..BUFFER_BYTES / MAX_PAYLOAD_BYTES {
            let data = packet(connection, Operation::ReadWrite, MAX_PAYLOAD_BYTES, 0);
            assert_eq!(mux.guest_packet(&data), Some(Action::Deliver(connection)));
        }
        let over = mux.guest_packet(&packet(connection, Operation::ReadWrite, 1, 0));
        assert_eq!(
            over,
            Some(Action::Closed {
                connection,
                orderly: false
            })
        );
    }

    #[test]
    fn a_reset_after_the_guests_end_leaves_what_was_sent_before() {
        let mut mux = Mux::new(GUEST);
        let connection = open(&mut mux);
        mux.guest_packet(&packet(connection, Operation::ReadWrite, 10, 0));
        let end = mux.guest_packet(&packet(connection, Operation::Shutdown, 0, 3));
        assert_eq!(end, Some(Action::GuestEnded(connection)));
        let reset = packet(connection, Operation::Reset, 0, 0);
        let closed = Action::Closed {
            connection,
            orderly: true,
        };
        assert_eq!(mux.guest_packet(&reset), Some(closed));
    }

    #[test]
    fn a_reset_without_an_end_is_a_break() {
        let mut mux = Mux::new(GUEST);
        let connection = open(&mut mux);
        mux.guest_packet(&packet(connection, Operation::ReadWrite, 10, 0));
        let reset = packet(connection, Operation::Reset, 0, 0);
        let closed = Action::Closed {
            connection,
            orderly: false,
        };
        assert_eq!(mux.guest_packet(&reset), Some(closed));
    }

    #[test]
    fn connections_take_turns() {
        let mut mux = Mux::new(GUEST);
        let (a, b) = (open(&mut mux), open(&mut mux));
        mux.readable(a);
        mux.readable(b);
        let mut turns = Vec::new();
        for _ in 0..4 {
            let Some(Next::Data { connection, .. }) = mux.next(10) else {
                panic!("both have credit")
            };
            mux.sent(connection, 10);
            turns.push(connection);
        }
        assert_eq!(turns, [a, b, a, b]);
    }

    #[test]
    fn a_guest_may_ask_and_is_answered() {
        let mut mux = Mux::new(GUEST);
        let connection = Connection {
            host_port: 1025,
            guest_port: 7,
        };
        let asked = mux.guest_packet(&packet(connection, Operation::Request, 0, 0));
        assert_eq!(asked, Some(Action::Asked(connection)));
        mux.accept(connection);
        assert_eq!(control(&mut mux), Some((Operation::Response, 0)));
        // Asking again on an open connection breaks it.
        let again = mux.guest_packet(&packet(connection, Operation::Request, 0, 0));
        assert_eq!(
            again,
            Some(Action::Closed {
                connection,
                orderly: false
            })
        );
    }

    proptest! {
        /// Whatever the guest sends: no panic, no more connections or waiting packets than the bounds, no more credit than the buffer.
        #[test]
        fn nonsense_is_survived(packets in proptest::collection::vec((0_u32..4, 0_u32..4, 1_u16..8, 0_u32..=MAX_PAYLOAD_BYTES, any::<u32>(), any::<u32>(), any::<u32>()), 0..200)) {
            let mut mux = Mux::new(GUEST);
            let own = mux.connect(1).expect("few");
            for (host, guest, operation, length, flags, buffer, forwarded) in packets {
                let operations = [Operation::Request, Operation::Response, Operation::Reset, Operation::Shutdown, Operation::ReadWrite, Operation::CreditUpdate, Operation::CreditRequest];
                let connection = if host == 0 { own } else { Connection { host_port: host, guest_port: guest } };
                let mut header = packet(connection, operations[usize::from(operation) - 1], length, flags);
                header.buffer_bytes = buffer;
                header.forwarded = forwarded;
                match mux.guest_packet(&header) {
                    Some(Action::Asked(one)) => mux.accept(one),
                    Some(Action::Deliver(one)) => { mux.delivered(one, length); }
                    _ => {}
                }
                mux.readable(connection);
                if let Some(Next::Data { connection, most }) = mux.next(u32::MAX) {
                    prop_assert!(most <= buffer.max(MAX_PAYLOAD_BYTES));
                    mux.sent(connection, most);
                }
                prop_assert!(mux.connections.len() <= 13);
                prop_assert!(mux.connections.values().all(|state| state.pending <= BUFFER_BYTES));
            }
        }
    }
}
