//! Passes TCP connections on.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Connections at once; more wait in the backlog.
const MOST_CONNECTIONS: usize = 4096;
/// Pause when no descriptor is left.
const RETRY: Duration = Duration::from_millis(50);

/// Until it is aborted; its connections go with it.
pub(super) async fn serve(listener: TcpListener, target: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                Ok((stream, _)) => { connections.spawn(pass(stream, target)); }
                Err(error) => {
                    tracing::debug!(%target, %error, "accept");
                    tokio::time::sleep(RETRY).await;
                }
            },
        }
    }
}

async fn pass(mut stream: TcpStream, target: SocketAddr) {
    let result = async {
        let mut container = TcpStream::connect(target).await?;
        tokio::io::copy_bidirectional(&mut stream, &mut container).await
    };
    if let Err(error) = result.await {
        tracing::debug!(%target, %error, "pass a connection on");
    }
}
