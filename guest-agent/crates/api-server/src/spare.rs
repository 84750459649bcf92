//! A descriptor in spare: when there is no other left, a client is taken with it, told so, and let go.

use std::{fs::File, io, time::Duration};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::server::Accept;

/// How long a client may take to be told and let go; others wait meanwhile.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// What it is told.
const MESSAGE: &str = "too many open files: the engine has no file descriptor left for this request; end some containers or clients, or raise its limit of open files";

/// Open on nothing; none while it is in use, or when it could not be had back.
#[derive(Debug)]
pub(crate) struct Spare(Option<File>);

impl Spare {
    pub(crate) fn new() -> Self {
        let mut spare = Self(None);
        spare.renew();
        spare
    }

    /// Whether an error is that of a process, or a machine, without descriptors.
    pub(crate) fn is_for(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
    }

    /// Takes the next client, tells it that there are no descriptors, and lets it go. False: there was no spare either.
    pub(crate) async fn refuse_next<A: Accept>(&mut self, listener: &A) -> bool {
        if self.0.take().is_none() {
            self.renew();
            return false;
        }
        let told = async {
            if let Ok(mut client) = listener.accept().await {
                let _ = tell(&mut client).await;
            }
        };
        // The client may be gone already, and no other may come.
        let _ = tokio::time::timeout(TOLD_WITHIN, told).await;
        self.renew();
        true
    }

    fn renew(&mut self) {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
    }
}

/// An answer to whatever the client asks.
async fn tell(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let body = serde_json::json!({ "message": MESSAGE }).to_string();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await?;
    // Who cannot write its request to the end would say that, and not what it was told.
    tokio::io::copy(client, &mut tokio::io::sink())
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::AsyncReadExt,
        net::{UnixListener, UnixStream},
    };

    #[tokio::test]
    async fn a_client_is_told_and_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let mut spare = Spare::new();
        let mut client = UnixStream::connect(&path).await.unwrap();
        let asked = async {
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            drop(client);
            answer
        };
        let (refused, answer) = tokio::join!(spare.refuse_next(&listener), asked);
        assert!(refused);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("too many open files"), "{answer}");
        assert!(spare.0.is_some());
    }

    #[test]
    fn only_a_lack_of_descriptors_counts() {
        let is_for = |number| Spare::is_for(&io::Error::from_raw_os_error(number));
        assert!(is_for(libc::EMFILE) && is_for(libc::ENFILE) && !is_for(libc::ECONNABORTED));
    }
}
