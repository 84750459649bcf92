//! Host services inside the guest: the host keeps one connection to init; whoever in the guest needs the host talks to [`SOCKET`].
//!
//! ```text
//! engine ── unix socket ──► init ── vsock ──► berth-vmm       HostRequest, with an id of init's own
//! engine ◄──────────────── init ◄────────────────────         HostReply, given back its first id
//! ```
//!
//! Either side may be restarted without the other noticing more than failed answers to what was under way.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex, PoisonError},
};

use agent_api::{HostAnswer, HostReply, HostRequest, frame};
use anyhow::{Context, Result};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixListener,
    sync::{Mutex as AsyncMutex, mpsc},
};

use super::Machine;

/// Where the engine finds us.
pub(super) const SOCKET: &str = "/run/berth/host.sock";

/// Requests that wait for the host's connection to take them.
const QUEUE: usize = 64;

/// Requests that may be without an answer.
const MAX_PENDING: usize = 1024;

/// Replies that wait for a slow client.
const REPLIES: usize = 64;

#[derive(Debug)]
struct Pending {
    /// The id the client gave.
    id: u64,
    client: mpsc::Sender<HostReply>,
    sent: bool,
}

#[derive(Debug, Default)]
struct Book {
    last_id: u64,
    pending: HashMap<u64, Pending>,
}

/// The relay.
#[derive(Debug)]
pub(super) struct HostRelay {
    book: Mutex<Book>,
    queue: mpsc::Sender<HostRequest>,
    /// Held by the one host connection in use.
    queued: AsyncMutex<mpsc::Receiver<HostRequest>>,
}

impl Default for HostRelay {
    fn default() -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        Self {
            book: Mutex::default(),
            queue,
            queued: AsyncMutex::new(queued),
        }
    }
}

impl HostRelay {
    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses a connection of the host's until it ends.
    pub(super) async fn serve(&self, host: impl AsyncRead + AsyncWrite) {
        let mut queued = self.queued.lock().await;
        let (mut from_host, mut to_host) = tokio::io::split(host);
        let asking = async {
            while let Some(request) = queued.recv().await {
                if let Some(pending) = self.book().pending.get_mut(&request.id) {
                    pending.sent = true;
                }
                frame::send(&mut to_host, &request).await?;
            }
            Ok(())
        };
        let hearing = async {
            while let Some(reply) = frame::receive::<HostReply>(&mut from_host).await? {
                self.answer(reply).await;
            }
            Ok(())
        };
        let end: std::io::Result<()> = tokio::select! {
            end = asking => end,
            end = hearing => end,
        };
        if let Err(error) = end {
            tracing::warn!(%error, "the host's service connection broke");
        }
        self.fail_sent().await;
    }

    async fn answer(&self, reply: HostReply) {
        let pending = self.book().pending.remove(&reply.id);
        match pending {
            Some(Pending { id, client, .. }) => {
                let answer = reply.answer;
                let _client_left = client.send(HostReply { id, answer }).await;
            }
            None => tracing::warn!(id = reply.id, "the host answered a question nobody asked"),
        }
    }

    async fn fail_sent(&self) {
        let lost: Vec<u64> = self
            .book()
            .pending
            .iter()
            .filter_map(|(id, pending)| pending.sent.then_some(*id))
            .collect();
        for id in lost {
            let message = "the connection to the host broke; try again".to_owned();
            self.answer(HostReply {
                id,
                answer: HostAnswer::Failed { message },
            })
            .await;
        }
    }

    /// Serves one client in the guest until it leaves.
    async fn client(&self, stream: impl AsyncRead + AsyncWrite) {
        let (mut from_client, mut to_client) = tokio::io::split(stream);
        let (replies, mut replied) = mpsc::channel(REPLIES);
        let asking = async {
            while let Some(request) = frame::receive::<HostRequest>(&mut from_client).await? {
                self.ask(request, &replies).await;
            }
            Ok(())
        };
        let answering = async {
            while let Some(reply) = replied.recv().await {
                frame::send(&mut to_client, &reply).await?;
            }
            Ok(())
        };
        let end: std::io::Result<()> = tokio::select! {
            end = asking => end,
            end = answering => end,
        };
        if let Err(error) = end {
            tracing::debug!(%error, "a client of host services left");
        }
    }

    async fn ask(&self, request: HostRequest, replies: &mpsc::Sender<HostReply>) {
        let numbered = {
            let mut book = self.book();
            if book.pending.len() >= MAX_PENDING {
                None
            } else {
                book.last_id += 1;
                let id = book.last_id;
                let client = replies.clone();
                book.pending.insert(
                    id,
                    Pending {
                        id: request.id,
                        client,
                        sent: false,
                    },
                );
                Some(HostRequest {
                    id,
                    request: request.request,
                })
            }
        };
        match numbered {
            Some(numbered) => {
                let _never_closed = self.queue.send(numbered).await;
            }
            None => {
                let message = "too many questions to the host are without an answer".to_owned();
                let _client_left = replies
                    .send(HostReply {
                        id: request.id,
                        answer: HostAnswer::Failed { message },
                    })
                    .await;
            }
        }
    }
}

/// Listens for clients in the guest.
pub(super) fn listen(machine: Arc<Machine>) -> Result<()> {
    fs::create_dir_all("/run/berth").context("make /run/berth")?;
    let listener = UnixListener::bind(SOCKET).with_context(|| format!("listen on {SOCKET}"))?;
    fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o600))
        .context("close the socket to others")?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((client, _)) => {
                    let machine = machine.clone();
                    tokio::spawn(async move { machine.host.client(client).await });
                }
                Err(error) => {
                    tracing::error!(%error, "host services are closed to the guest");
                    return;
                }
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use agent_api::HostCall;

    use super::*;

    async fn ask(client: &mut (impl AsyncWrite + Unpin), id: u64) {
        let request = HostCall::Release { reservation: id };
        frame::send(client, &HostRequest { id, request })
            .await
            .expect("the relay reads");
    }

    #[tokio::test]
    async fn clients_with_equal_ids_get_their_own_answers() {
        let relay = Arc::new(HostRelay::default());
        let (mut host, far) = tokio::io::duplex(4096);
        tokio::spawn({
            let relay = relay.clone();
            async move { relay.serve(far).await }
        });
        let mut clients = Vec::new();
        for _ in 0..2 {
            let (near, far) = tokio::io::duplex(4096);
            let relay = relay.clone();
            tokio::spawn(async move { relay.client(far).await });
            clients.push(near);
        }
        let mut ids = Vec::new();
        for client in &mut clients {
            ask(client, 7).await;
            let request: HostRequest = frame::receive(&mut host)
                .await
                .expect("reads")
                .expect("a request");
            ids.push(request.id);
        }
        assert_ne!(ids[0], ids[1]);
        for (index, id) in ids.into_iter().enumerate().rev() {
            let answer = HostAnswer::Missing {
                message: index.to_string(),
            };
            frame::send(&mut host, &HostReply { id, answer })
                .await
                .expect("the relay reads");
        }
        for (index, client) in clients.iter_mut().enumerate() {
            let reply: HostReply = frame::receive(client)
                .await
                .expect("reads")
                .expect("a reply");
            let message = index.to_string();
            assert_eq!(
                (reply.id, reply.answer),
                (7, HostAnswer::Missing { message })
            );
        }
    }

    #[tokio::test]
    async fn a_lost_host_fails_what_was_sent_and_a_new_one_gets_what_was_not() {
        let relay = Arc::new(HostRelay::default());
        let (mut client, far) = tokio::io::duplex(4096);
        tokio::spawn({
            let relay = relay.clone();
            async move { relay.client(far).await }
        });
        let (mut host, far) = tokio::io::duplex(4096);
        let serving = tokio::spawn({
            let relay = relay.clone();
            async move { relay.serve(far).await }
        });
        ask(&mut client, 1).await;
        frame::receive::<HostRequest>(&mut host)
            .await
            .expect("reads")
            .expect("a request");
        drop(host);
        serving.await.expect("no panic");
        let reply: HostReply = frame::receive(&mut client)
            .await
            .expect("reads")
            .expect("a reply");
        assert!(matches!(reply.answer, HostAnswer::Failed { .. }));

        ask(&mut client, 2).await;
        let (mut host, far) = tokio::io::duplex(4096);
        tokio::spawn(async move { relay.serve(far).await });
        let request: HostRequest = frame::receive(&mut host)
            .await
            .expect("reads")
            .expect("a request");
        assert_eq!(request.request, HostCall::Release { reservation: 2 });
    }
}
