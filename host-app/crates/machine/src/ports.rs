//! Published ports: listeners on the host whose connections become streams to containers.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
};

use agent_api::Service;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, socket_with,
    sockopt::{set_ipv6_v6only, set_socket_reuseaddr},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use crate::guest::Guest;

/// Most ports at a time; a guest that wants more is broken.
const MAX_RESERVATIONS: usize = 8192;

/// Connections the kernel takes before we do.
const BACKLOG: i32 = 1024;

/// Bytes moved at a time in each direction of a connection.
const SPLICE_BYTES: usize = 64 << 10;

/// What a reservation is for: an engine that was started again asks for the same once more.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    protocol: String,
    address: IpAddr,
    port: u16,
    target: SocketAddr,
}

struct Reservation {
    key: Key,
    shown: String,
    task: AbortHandle,
}

/// The ports that are held.
pub(crate) struct Ports {
    guest: Arc<Guest>,
    held: BTreeMap<u64, Reservation>,
    next: u64,
}

impl Ports {
    pub(crate) fn new(guest: Arc<Guest>) -> Self {
        Self {
            guest,
            held: BTreeMap::new(),
            next: 1,
        }
    }

    /// Takes the first free port of a range (0: any); the error is text for the user, in Docker's words.
    pub(crate) async fn reserve(
        &mut self,
        protocol: &str,
        address: IpAddr,
        ports: RangeInclusive<u16>,
        target: SocketAddr,
    ) -> Result<(u64, u16), String> {
        let refused = |port: u16, reason: &str| {
            format!(
                "failed to bind host port for {}:{target}/{protocol}: {reason}",
                SocketAddr::new(address, port)
            )
        };
        if protocol != "tcp" {
            return Err(refused(
                *ports.start(),
                "this version of Berth publishes TCP ports only",
            ));
        }
        if self.held.len() >= MAX_RESERVATIONS {
            return Err(refused(*ports.start(), "too many published ports"));
        }
        let same = self.held.iter().find(|(_, held)| {
            let Key { port, .. } = held.key;
            ports.contains(&port)
                && held.key
                    == Key {
                        protocol: protocol.to_owned(),
                        address,
                        port,
                        target,
                    }
        });
        if let Some((&id, held)) = same {
            return Ok((id, held.key.port));
        }
        let mut last = refused(*ports.start(), "no port in the range");
        for port in ports {
            match listen(SocketAddr::new(address, port)) {
                Ok(listener) => {
                    let bound = listener
                        .local_addr()
                        .map_err(|error| refused(port, &error.to_string()))?;
                    let id = self.next;
                    self.next += 1;
                    let task = tokio::spawn(carry_all(listener, Arc::clone(&self.guest), target))
                        .abort_handle();
                    self.held.insert(
                        id,
                        Reservation {
                            key: Key {
                                protocol: protocol.to_owned(),
                                address,
                                port: bound.port(),
                                target,
                            },
                            shown: format!("{bound}/{protocol}"),
                            task,
                        },
                    );
                    self.show();
                    return Ok((id, bound.port()));
                }
                Err(error) => last = refused(port, &reason(&error)),
            }
        }
        Err(last)
    }

    /// Gives a port back. Connections that are open go on until their container ends.
    pub(crate) fn release(&mut self, id: u64) {
        if let Some(reservation) = self.held.remove(&id) {
            reservation.task.abort();
            self.show();
        }
    }

    /// Gives back all but these.
    pub(crate) fn keep(&mut self, ids: &[u64]) {
        let others: Vec<u64> = self
            .held
            .keys()
            .filter(|id| !ids.contains(id))
            .copied()
            .collect();
        others.into_iter().for_each(|id| self.release(id));
    }

    fn show(&self) {
        self.guest
            .state()
            .set_ports(self.held.values().map(|held| held.shown.clone()).collect());
    }
}

/// IPv6 alone where it is IPv6: Docker publishes both families, each at an address of its own.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Docker's word for the commonest reason, the system's for others.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        std::io::ErrorKind::PermissionDenied => {
            "permission denied (ports below 1024 are not for ordinary users: choose a higher one)"
                .to_owned()
        }
        std::io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
        _ => error.to_string(),
    }
}

async fn carry_all(listener: TcpListener, guest: Arc<Guest>, target: SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let guest = Arc::clone(&guest);
                tokio::spawn(async move {
                    if let Err(error) = carry(client, &guest, target).await {
                        tracing::debug!(%target, "a published connection: {error:#}");
                    }
                });
            }
            Err(error) => {
                tracing::error!(%error, "accept on a published port");
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn carry(mut client: TcpStream, guest: &Guest, target: SocketAddr) -> anyhow::Result<()> {
    client.set_nodelay(true)?;
    let mut inside = guest.dial(Service::Forward { target }).await?;
    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut inside, SPLICE_BYTES, SPLICE_BYTES)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_refused_in_dockers_words() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let error =
            std::net::TcpListener::bind(taken.local_addr().expect("bound")).expect_err("taken");
        assert_eq!(reason(&error), "address already in use");
    }
}
