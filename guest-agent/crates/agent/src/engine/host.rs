//! The host as the engine in a machine sees it: asked through init, one connection a question.

use std::path::PathBuf;

use agent_api::{HostAnswer, HostCall, HostReply, HostRequest, frame};
use async_trait::async_trait;
use engine::ports::host::{Host, Protocol, Reservation, ReserveRequest};
use errdefs::{Error, ErrorKind, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// Where the shares' entries are.
const SHARES: &str = "/run/berth/shares";
/// What users mount to let a container use the engine, and where its socket is.
const DOCKER_SOCKETS: [&str; 2] = ["/var/run/docker.sock", "/run/docker.sock"];

/// The host outside of the machine.
#[derive(Debug)]
pub(super) struct MachineHost {
    socket: PathBuf,
}

impl MachineHost {
    /// `address`: `unix:///PATH` of init's relay.
    pub(super) fn new(address: &str) -> Self {
        Self {
            socket: address.strip_prefix("unix://").unwrap_or(address).into(),
        }
    }

    async fn ask(&self, request: HostCall) -> Result<HostAnswer> {
        let asked = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            let bytes =
                frame::encode(&HostRequest { id: 1, request }).map_err(std::io::Error::other)?;
            stream.write_all(&bytes).await?;
            let mut header = [0; 4];
            stream.read_exact(&mut header).await?;
            let length = frame::length(header).map_err(std::io::Error::other)?;
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            let reply: HostReply = frame::decode(&body).map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(reply.answer)
        };
        match asked.await {
            Ok(HostAnswer::Forbidden { message }) => Err(Error::new(ErrorKind::Forbidden, message)),
            Ok(HostAnswer::Missing { message }) => {
                Err(Error::new(ErrorKind::InvalidParameter, message))
            }
            Ok(HostAnswer::Failed { message }) => Err(Error::new(ErrorKind::System, message)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("ask the host: {error}: look at `berth status` on the host"),
            )),
        }
    }
}

fn unexpected(answer: &HostAnswer) -> Error {
    Error::new(
        ErrorKind::System,
        format!("the host's answer makes no sense: {answer:?}"),
    )
}

#[async_trait]
impl Host for MachineHost {
    async fn grant(&self, path: &str, read_only: bool, create: bool) -> Result<PathBuf> {
        if DOCKER_SOCKETS.contains(&path) {
            return Ok(DOCKER_SOCKETS[1].into());
        }
        let request = HostCall::Grant {
            path: path.to_owned(),
            read_only,
            create,
        };
        match self.ask(request).await? {
            HostAnswer::Granted { entry, rest } => {
                let place = PathBuf::from(SHARES).join(entry);
                Ok(if rest.is_empty() {
                    place
                } else {
                    place.join(rest)
                })
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn reserve(&self, request: ReserveRequest) -> Result<Reservation> {
        let ReserveRequest {
            protocol,
            host_address,
            host_ports,
            target,
        } = request;
        let call = HostCall::Reserve {
            protocol: match protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
                Protocol::Sctp => "sctp",
            }
            .to_owned(),
            address: host_address,
            first_port: *host_ports.start(),
            last_port: *host_ports.end(),
            target,
        };
        match self.ask(call).await? {
            HostAnswer::Reserved { reservation, port } => Ok(Reservation {
                id: reservation,
                host_port: port,
            }),
            other => Err(unexpected(&other)),
        }
    }

    async fn release(&self, reservation: u64) {
        if let Err(error) = self.ask(HostCall::Release { reservation }).await {
            tracing::warn!(reservation, %error, "give a host port back");
        }
    }

    async fn keep(&self, reservations: &[u64]) {
        let reservations = reservations.to_vec();
        if let Err(error) = self.ask(HostCall::Keep { reservations }).await {
            tracing::warn!(%error, "give back the host ports of an earlier engine");
        }
    }
}
