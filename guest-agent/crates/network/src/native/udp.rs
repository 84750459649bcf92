//! Passes UDP datagrams on, and answers back to who asked.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    sync::mpsc::{self, error::TrySendError},
    task::JoinSet,
};

/// A client that is silent for so long, and is not answered, is forgotten. As Docker's proxy does.
const IDLE: Duration = Duration::from_secs(90);
/// Clients at once; datagrams of others are lost.
const MOST_CLIENTS: usize = 1024;
/// Datagrams of one client that wait; more are lost.
const WAITING: usize = 64;
const LARGEST_DATAGRAM: usize = 65_535;

/// Until it is aborted; its clients go with it.
pub(super) async fn serve(socket: UdpSocket, target: SocketAddr) {
    let socket = Arc::new(socket);
    let mut clients: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; LARGEST_DATAGRAM];
    loop {
        let (length, from) = tokio::select! {
            Some(_) = tasks.join_next() => {
                clients.retain(|_, sender| !sender.is_closed());
                continue;
            }
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                Err(error) => {
                    tracing::debug!(%target, %error, "receive"); // an ICMP error of an earlier answer
                    continue;
                }
            },
        };
        let datagram = buffer[..length].to_vec();
        let datagram = match clients
            .get(&from)
            .map(|sender| sender.try_send(datagram.clone()))
        {
            Some(Ok(()) | Err(TrySendError::Full(_))) => continue,
            Some(Err(TrySendError::Closed(datagram))) => datagram,
            None if clients.len() >= MOST_CLIENTS => continue,
            None => datagram,
        };
        let (sender, receiver) = mpsc::channel(WAITING);
        let _ = sender.try_send(datagram);
        clients.insert(from, sender);
        tasks.spawn(client(socket.clone(), from, target, receiver));
    }
}

async fn client(
    socket: Arc<UdpSocket>,
    from: SocketAddr,
    target: SocketAddr,
    mut datagrams: mpsc::Receiver<Vec<u8>>,
) {
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let Ok(container) = UdpSocket::bind(any).await else {
        return;
    };
    if container.connect(target).await.is_err() {
        return;
    }
    let mut buffer = vec![0; LARGEST_DATAGRAM];
    loop {
        tokio::select! {
            datagram = datagrams.recv() => match datagram {
                Some(datagram) => { let _ = container.send(&datagram).await; }
                None => return,
            },
            answer = container.recv(&mut buffer) => if let Ok(length) = answer {
                let _ = socket.send_to(&buffer[..length], from).await;
            },
            () = tokio::time::sleep(IDLE) => return,
        }
    }
}
