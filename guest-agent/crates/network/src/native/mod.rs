//! The host when the engine runs on it: paths are themselves, ports are held by sockets.
//!
//! Most connections never reach the sockets, since the rules lead them to the container; what does (IPv6, above all) is passed on.

mod tcp;
mod udp;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use engine::ports::host::{Host, Protocol, Reservation, ReserveRequest};
use errdefs::{Error, ErrorKind, Result};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt},
};
use tokio::task::JoinHandle;

use crate::ports::protocol_name;

/// Connections that wait for the proxy.
const BACKLOG: i32 = 128;

/// The host we run on.
#[derive(Debug, Default)]
pub struct NativeHost {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    last: u64,
    ports: HashMap<u64, Port>,
}

/// A held port; dropping it lets it go.
#[derive(Debug)]
enum Port {
    Proxied(JoinHandle<()>),
    Held(#[expect(dead_code, reason = "held for its being open")] OwnedFd),
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Self::Proxied(task) = self {
            task.abort();
        }
    }
}

impl NativeHost {
    /// Holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Host for NativeHost {
    async fn grant(&self, path: &str, _read_only: bool, create: bool) -> Result<PathBuf> {
        let path = PathBuf::from(path);
        let looked_at = path.clone();
        let work = move || match looked_at.symlink_metadata() {
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(&looked_at)
            }
            other => other.map(drop),
        };
        let result = tokio::task::spawn_blocking(work).await;
        let shown = path.display();
        match result.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => Ok(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::new(
                ErrorKind::InvalidParameter,
                format!(
                    "invalid mount config for type \"bind\": bind source path does not exist: {shown}"
                ),
            )),
            Err(error) if create => Err(Error::new(
                ErrorKind::System,
                format!(
                    "error while creating mount source path '{shown}': mkdir {shown}: {}",
                    reason(&error)
                ),
            )),
            Err(error) => Err(Error::new(
                ErrorKind::InvalidParameter,
                format!(
                    "invalid mount config for type \"bind\": stat {shown}: {}",
                    reason(&error)
                ),
            )),
        }
    }

    async fn reserve(&self, request: ReserveRequest) -> Result<Reservation> {
        let mut last = None;
        for port in request.host_ports.clone() {
            let address = SocketAddr::new(request.host_address, port);
            match hold(request.protocol, address, request.target) {
                Ok((host_port, port)) => {
                    let mut held = self.held();
                    held.last += 1;
                    let id = held.last;
                    held.ports.insert(id, port);
                    return Ok(Reservation { id, host_port });
                }
                Err(error) => last = Some((address, error)),
            }
        }
        let Some((address, error)) = last else {
            return Err(Error::new(ErrorKind::InvalidParameter, "no port asked for"));
        };
        let text = format!(
            "failed to bind host port for {address}:{}/{}: {}",
            request.target,
            protocol_name(request.protocol),
            reason(&error)
        );
        Err(Error::new(ErrorKind::System, text).with_source(error))
    }

    async fn release(&self, reservation: u64) {
        let port = self.held().ports.remove(&reservation);
        if let Some(mut port) = port
            && let Port::Proxied(task) = &mut port
        {
            task.abort();
            // The socket is closed when the task is gone, and whoever releases a port may want it at once.
            let _ = task.await;
        }
    }
}

fn hold(protocol: Protocol, address: SocketAddr, target: SocketAddr) -> io::Result<(u16, Port)> {
    let family = match address.ip() {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, kind, flags, Some(number))?;
    if family == AddressFamily::INET6 {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol != Protocol::Udp {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    match protocol {
        Protocol::Tcp => {
            listen(&socket, BACKLOG)?;
            let listener = tokio::net::TcpListener::from_std(socket.into())?;
            let port = listener.local_addr()?.port();
            let task = tokio::spawn(tcp::serve(listener, target));
            Ok((port, Port::Proxied(task)))
        }
        Protocol::Udp => {
            let socket = tokio::net::UdpSocket::from_std(socket.into())?;
            let port = socket.local_addr()?.port();
            let task = tokio::spawn(udp::serve(socket, target));
            Ok((port, Port::Proxied(task)))
        }
        Protocol::Sctp => {
            listen(&socket, BACKLOG)?;
            let bound = rustix::net::getsockname(&socket)?;
            let port = SocketAddr::try_from(bound)?.port();
            Ok((port, Port::Held(socket)))
        }
    }
}

/// An error of the system as Docker's texts have it: Go's words.
fn reason(error: &io::Error) -> String {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    match errno {
        Some(Errno::ADDRINUSE) => "address already in use".to_owned(),
        Some(Errno::ADDRNOTAVAIL) => "cannot assign requested address".to_owned(),
        Some(Errno::ACCESS) => "permission denied".to_owned(),
        Some(Errno::PROTONOSUPPORT) => "protocol not supported".to_owned(),
        Some(Errno::AFNOSUPPORT) => "address family not supported by protocol".to_owned(),
        Some(Errno::NOTDIR) => "not a directory".to_owned(),
        Some(Errno::ROFS) => "read-only file system".to_owned(),
        _ => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            text.to_lowercase()
        }
    }
}

/// Can this machine listen on IPv6 addresses?
pub fn ipv6_listenable() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn request(protocol: Protocol, port: u16, target: SocketAddr) -> ReserveRequest {
        ReserveRequest {
            protocol,
            host_address: "127.0.0.1".parse().expect("an address"),
            host_ports: port..=port,
            target,
        }
    }

    fn nowhere() -> SocketAddr {
        "172.17.0.2:80".parse().expect("an address")
    }

    #[tokio::test]
    async fn a_port_is_held_until_it_is_released() {
        let host = NativeHost::new();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let first = host.reserve(request(protocol, 0, nowhere())).await;
            let first = first.expect("any port");
            let again = request(protocol, first.host_port, nowhere());
            let error = host.reserve(again.clone()).await.expect_err("it is taken");
            assert_eq!(
                error.message(),
                format!(
                    "failed to bind host port for 127.0.0.1:{}:172.17.0.2:80/{}: address already in use",
                    first.host_port,
                    protocol_name(protocol)
                )
            );
            host.release(first.id).await;
            host.release(first.id).await;
            host.reserve(again).await.expect("it is free");
        }
    }

    #[tokio::test]
    async fn tcp_goes_both_ways_and_keeps_half_closes() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("listen");
        let host = NativeHost::new();
        let target = server.local_addr().expect("an address");
        let held = host.reserve(request(Protocol::Tcp, 0, target)).await;
        let port = held.expect("any port").host_port;
        let serve = async {
            let (mut stream, _) = server.accept().await.expect("accept");
            let mut text = String::new();
            stream.read_to_string(&mut text).await.expect("read");
            stream.write_all(text.to_uppercase().as_bytes()).await
        };
        let ask = async {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            let mut stream = stream.expect("connect");
            stream.write_all(b"hello").await.expect("write");
            stream.shutdown().await.expect("half close");
            let mut text = String::new();
            stream.read_to_string(&mut text).await.expect("read");
            text
        };
        let (served, text) = tokio::join!(serve, ask);
        served.expect("write");
        assert_eq!(text, "HELLO");
    }

    #[tokio::test]
    async fn udp_answers_go_to_who_asked() {
        let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await;
        let server = server.expect("bind");
        let host = NativeHost::new();
        let target = server.local_addr().expect("an address");
        let held = host.reserve(request(Protocol::Udp, 0, target)).await;
        let port = held.expect("any port").host_port;
        let mut clients = Vec::new();
        for text in ["one", "two"] {
            let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await;
            let client = client.expect("bind");
            client.connect(("127.0.0.1", port)).await.expect("connect");
            client.send(text.as_bytes()).await.expect("send");
            clients.push((client, text));
        }
        let mut buffer = [0; 64];
        for _ in 0..2 {
            let (length, from) = server.recv_from(&mut buffer).await.expect("receive");
            buffer[..length].make_ascii_uppercase();
            server.send_to(&buffer[..length], from).await.expect("send");
        }
        for (client, text) in clients {
            let length = client.recv(&mut buffer).await.expect("receive");
            assert_eq!(buffer[..length], *text.to_uppercase().as_bytes());
        }
    }

    #[tokio::test]
    async fn a_missing_folder_is_made_or_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let host = NativeHost::new();
        let path = folder.path().join("a/b");
        let text = path.to_str().expect("text");
        let error = host.grant(text, true, false).await.expect_err("missing");
        assert_eq!(
            error.message(),
            format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {text}"
            )
        );
        assert_eq!(host.grant(text, false, true).await.expect("made"), path);
        assert!(path.is_dir());
    }
}
