//! Whether a client has taken the head of its answer before its stream begins.
//!
//! Docker's own engine needs some ten milliseconds until a process says something. Clients came to rely on it: docker-py reads the head through a
//! buffer and then the stream without it, so what arrives together with the head is lost. We are faster than that client's thread is woken.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::sys;

/// How often it is looked at, and the pause between: no event tells of it.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// A client's connection, if it is one that can be asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head(Option<Arc<OwnedFd>>);

impl Head {
    pub(crate) fn of(connection: Option<OwnedFd>) -> Self {
        Self(connection.map(Arc::new))
    }

    /// Returns when the client has taken all that was written to it, or has had its time.
    pub(crate) async fn taken(&self) {
        let Some(connection) = &self.0 else { return };
        for _ in 0..LOOKS {
            if sys::not_taken(connection) == 0 {
                return;
            }
            sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::{fd::AsFd, unix::net::UnixStream};

    #[tokio::test]
    async fn it_is_waited_for_while_the_client_has_not_read() {
        let (mut ours, mut client) = UnixStream::pair().unwrap();
        let head = Head::of(Some(ours.as_fd().try_clone_to_owned().unwrap()));
        head.taken().await;
        ours.write_all(b"head").unwrap();
        let reading = std::thread::spawn(move || {
            let mut bytes = [0; 4];
            client.read_exact(&mut bytes).unwrap();
            client
        });
        head.taken().await;
        assert_eq!(sys::not_taken(&ours), 0);
        drop(reading.join().unwrap());
    }

    #[tokio::test]
    async fn one_that_never_reads_has_its_time() {
        let (mut ours, _client) = UnixStream::pair().unwrap();
        ours.write_all(b"head").unwrap();
        Head::of(Some(ours.as_fd().try_clone_to_owned().unwrap()))
            .taken()
            .await;
        assert!(sys::not_taken(&ours) > 0);
        Head::default().taken().await;
    }
}
