//! The Docker socket: every connection becomes a stream to the engine in the guest.

use std::sync::Arc;

use agent_api::Service;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use crate::{machine::Machine, wire};

/// Most of a request's head that is read before it is answered without the engine.
const MAX_HEAD_BYTES: usize = 64 << 10;

pub(crate) async fn serve(listener: UnixListener, machine: Arc<Machine>) {
    loop {
        let client = wire::accept(&listener).await;
        tokio::spawn(carry(client, Arc::clone(&machine)));
    }
}

async fn carry(mut client: UnixStream, machine: Arc<Machine>) {
    match machine.dial(Service::Docker).await {
        Ok(mut engine) => {
            if let Err(error) = wire::splice(&mut client, &mut engine).await {
                tracing::debug!(%error, "docker connection");
            }
        }
        Err(error) => {
            let _ = refuse(&mut client, &format!("{error:#}")).await;
        }
    }
}

/// Says, in the words of the Docker API, why there is no engine.
async fn refuse(client: &mut UnixStream, reason: &str) -> std::io::Result<()> {
    // The head is read first: closing with unread input would reset the client before it reads the answer.
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") && head.len() < MAX_HEAD_BYTES {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let body = serde_json::json!({ "message": format!("berth: {reason}") }).to_string();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_an_engine_the_client_reads_why() {
        let (mut client, mut server) = UnixStream::pair().expect("pair");
        client
            .write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
            .await
            .expect("sent");
        refuse(&mut server, "machine default is not running")
            .await
            .expect("answered");
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("read");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with(r#"{"message":"berth: machine default is not running"}"#));
    }
}
