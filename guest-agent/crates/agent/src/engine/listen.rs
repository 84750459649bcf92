//! Where the API is served: sockets of this machine, and TCP with or without TLS.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use api_server::Accept;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};

/// Ports of Docker without and with TLS.
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;
/// How long dockerd makes one wait who serves everybody, and who does so without having said that this is meant.
const WAIT: Duration = Duration::from_secs(1);
const LONG_WAIT: Duration = Duration::from_secs(15);

/// How TCP is served.
#[derive(Clone)]
pub(super) struct Tls {
    acceptor: Option<TlsAcceptor>,
    /// Clients have to prove who they are.
    verify: bool,
    /// The user said that TLS is not wanted.
    declined: bool,
}

/// Settings of TLS: what was said, and the files.
#[derive(Debug, Default)]
pub(super) struct TlsSettings<'a> {
    pub(super) tls: Option<bool>,
    pub(super) verify: Option<bool>,
    pub(super) authorities: &'a str,
    pub(super) certificate: &'a str,
    pub(super) key: &'a str,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// TLS is wanted and a file is missing or makes no sense.
    pub(super) fn new(settings: &TlsSettings<'_>) -> Result<Self> {
        let verify = settings.verify == Some(true);
        let declined = settings.tls == Some(false) || settings.verify == Some(false);
        if !verify && settings.tls != Some(true) {
            return Ok(Self {
                acceptor: None,
                verify: false,
                declined,
            });
        }
        let config = server(settings, verify).context("invalid TLS configuration")?;
        Ok(Self {
            acceptor: Some(TlsAcceptor::from(Arc::new(config))),
            verify,
            declined,
        })
    }
}

fn server(settings: &TlsSettings<'_>, verify: bool) -> Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let certificates = certificates(settings.certificate)?;
    let key = std::fs::read(settings.key)
        .with_context(|| format!("could not read the key {}", settings.key))?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .with_context(|| format!("the key {} makes no sense", settings.key))?;
    let builder = if verify {
        let mut roots = RootCertStore::empty();
        for authority in self::certificates(settings.authorities)? {
            roots.add(authority)?;
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>> {
    let bytes =
        std::fs::read(path).with_context(|| format!("could not read the certificates {path}"))?;
    let all: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .with_context(|| format!("the certificates {path} make no sense"))?;
    if all.is_empty() {
        bail!("there is no certificate in {path}");
    }
    Ok(all)
}

/// A listener of any kind.
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener, Option<TlsAcceptor>),
}

impl Listener {
    /// Listens at `unix:///PATH` or `tcp://HOST[:PORT]`.
    ///
    /// # Errors
    /// The address makes no sense or is taken.
    pub(super) async fn open(address: &str, tls: &Tls) -> Result<Self> {
        match address.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => unix(path).map(Self::Unix),
            Some(("tcp", authority)) => {
                let authority = with_port(authority, tls.acceptor.is_some());
                warn_of_plain(address, &authority, tls).await;
                let listener = TcpListener::bind(&authority)
                    .await
                    .with_context(|| format!("listen on {address}"))?;
                Ok(Self::Tcp(listener, tls.acceptor.clone()))
            }
            Some(_) => bail!(
                "cannot listen on {address}: only unix:///PATH and tcp://HOST:PORT are served"
            ),
            None => bail!("bad format {address}, expected PROTO://ADDR"),
        }
    }
}

fn with_port(authority: &str, tls: bool) -> String {
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && !port.contains(']'));
    if has_port {
        return match authority.strip_prefix(':') {
            Some(port) => format!("0.0.0.0:{port}"),
            None => authority.to_owned(),
        };
    }
    let host = authority.trim_end_matches(':');
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    format!("{host}:{}", if tls { TLS_PORT } else { PLAIN_PORT })
}

/// Whoever reaches the port owns the machine: said as loudly as dockerd says it.
async fn warn_of_plain(address: &str, authority: &str, tls: &Tls) {
    if tls.verify {
        return;
    }
    tracing::warn!(
        host = address,
        "Binding to IP address without --tlsverify is insecure and gives root access on this machine to everyone who has access to your network."
    );
    tracing::warn!(
        host = address,
        "Binding to an IP address, even on localhost, can also give access to scripts run in a browser. Be safe out there!"
    );
    tokio::time::sleep(WAIT).await;
    let local = authority.starts_with("127.")
        || authority.starts_with("localhost:")
        || authority.starts_with("[::1]:");
    if !tls.declined && !local {
        tracing::warn!(
            host = address,
            "Binding to an IP address without --tlsverify is deprecated. Startup is intentionally being slowed down to show this message"
        );
        tracing::warn!(
            host = address,
            "Please consider generating tls certificates with client validation to prevent exposing unauthenticated root access to your network"
        );
        tracing::warn!(
            host = address,
            "You can override this by explicitly specifying '--tls=false' or '--tlsverify=false'"
        );
        tokio::time::sleep(LONG_WAIT).await;
    }
}

/// A socket that a killed engine left is replaced: the lock on the root says that nobody serves it.
fn unix(path: &str) -> Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove stale socket {path}"));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("listen on {path}"))?;
    std::fs::set_permissions(Path::new(path), std::fs::Permissions::from_mode(0o660))
        .with_context(|| format!("set mode of {path}"))?;
    Ok(listener)
}

impl Accept for Listener {
    type Connection = Connection;

    fn descriptor(connection: &Connection) -> Option<OwnedFd> {
        match connection {
            Connection::Unix(stream) => stream.as_fd().try_clone_to_owned().ok(),
            _ => None,
        }
    }

    async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Connection::Unix(stream))
            }
            Self::Tcp(listener, tls) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(match tls {
                    // Agreed on when the connection is first used: a slow client keeps nobody else waiting.
                    Some(acceptor) => Connection::Agreeing(Box::new(acceptor.accept(stream))),
                    None => Connection::Tcp(stream),
                })
            }
        }
    }
}

/// A connection of any kind.
pub(super) enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
    Agreeing(Box<tokio_rustls::Accept<TcpStream>>),
    Tls(Box<TlsStream<TcpStream>>),
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

impl Connection {
    /// The stream, TLS agreed on.
    fn poll_stream(
        &mut self,
        context: &mut TaskContext<'_>,
    ) -> Poll<io::Result<Pin<&mut dyn Stream>>> {
        if let Self::Agreeing(accept) = self {
            let stream = ready!(Pin::new(&mut **accept).poll(context))?;
            *self = Self::Tls(Box::new(stream));
        }
        Poll::Ready(match self {
            Self::Unix(stream) => Ok(Pin::new(stream)),
            Self::Tcp(stream) => Ok(Pin::new(stream)),
            Self::Tls(stream) => Ok(Pin::new(&mut **stream)),
            Self::Agreeing(_) => Err(io::Error::other("TLS is not agreed on")),
        })
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_stream(context))?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.get_mut().poll_stream(context))?.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // Nothing was written yet.
            Self::Agreeing(_) => Poll::Ready(Ok(())),
            connection => ready!(connection.poll_stream(context))?.poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // The peer never agreed: there is nobody to say goodbye to.
            Self::Agreeing(_) => Poll::Ready(Ok(())),
            connection => ready!(connection.poll_stream(context))?.poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_dockers_ports() {
        for (authority, tls, full) in [
            ("127.0.0.1", false, "127.0.0.1:2375"),
            ("127.0.0.1", true, "127.0.0.1:2376"),
            ("", false, "127.0.0.1:2375"),
            (":4", false, "0.0.0.0:4"),
            ("[::1]", false, "[::1]:2375"),
            ("[::1]:5", false, "[::1]:5"),
        ] {
            assert_eq!(with_port(authority, tls), full);
        }
    }
}
