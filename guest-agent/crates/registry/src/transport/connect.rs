//! A host to a connection.
//!
//! URLs say https. A registry that is insecure is tried with TLS first and, when it does not speak it, without: as dockerd does. Which one it was is
//! remembered, so that the next connection costs one attempt only.

use std::{
    collections::HashSet,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, CertificateError, InvalidMessage, pki_types::ServerName},
};

use super::{stream::Stream, tls::Trust};
use crate::{
    Settings, Timeouts,
    dns::{LookupError, Resolver},
    endpoint::{Insecure, host},
};

/// Hosts whose plain HTTP is remembered.
const MAX_PLAIN_HOSTS: usize = 256;
/// Addresses of one host that are tried.
const MAX_ADDRESSES: usize = 8;

/// Why there is no connection. Texts are Go's, which Docker shows; each has its cause's in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("no host in the URL")]
    NoHost,
    #[error("dial tcp: {0}")]
    Lookup(LookupError),
    #[error("dial tcp {address}: {}", go_text(.cause))]
    Dial {
        address: SocketAddr,
        cause: io::Error,
    },
    #[error("{}", tls_text(.0))]
    Tls(io::Error),
    #[error("net/http: TLS handshake timeout")]
    TlsTimeout,
}

fn go_text(error: &io::Error) -> String {
    let known = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset by peer",
        io::ErrorKind::HostUnreachable => "no route to host",
        io::ErrorKind::NetworkUnreachable => "network is unreachable",
        io::ErrorKind::TimedOut => return "i/o timeout".to_owned(),
        _ => return error.to_string(),
    };
    format!("connect: {known}")
}

fn tls_text(error: &io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
                .to_owned()
        }
        Some(rustls::Error::InvalidCertificate(why)) => {
            format!("tls: failed to verify certificate: x509: {why}")
        }
        Some(other) => format!("tls: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        None => error.to_string(),
    }
}

/// Who was seen to speak plain HTTP.
#[derive(Debug, Default)]
pub(crate) struct PlainHosts(Mutex<HashSet<String>>);

impl PlainHosts {
    pub(crate) fn contains(&self, authority: &str) -> bool {
        self.lock().contains(authority)
    }

    fn insert(&self, authority: &str) {
        let mut hosts = self.lock();
        if hosts.len() >= MAX_PLAIN_HOSTS {
            hosts.clear();
        }
        hosts.insert(authority.to_owned());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes connections for the pool.
#[derive(Debug, Clone)]
pub(super) struct Connector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    resolver: Resolver,
    trust: Arc<Trust>,
    insecure: Arc<Insecure>,
    plain: Arc<PlainHosts>,
    host_loopback: Option<IpAddr>,
    timeouts: Timeouts,
}

impl Connector {
    pub(super) fn new(
        settings: &Settings,
        insecure: Arc<Insecure>,
        plain: Arc<PlainHosts>,
    ) -> Self {
        Self(Arc::new(Inner {
            resolver: Resolver::new(settings.hosts.clone(), settings.resolv_conf.clone()),
            trust: Arc::new(Trust::new(
                settings.trusted.clone(),
                settings.certificates.clone(),
            )),
            insecure,
            plain,
            host_loopback: settings.host_loopback,
            timeouts: settings.timeouts,
        }))
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.connect(&url).await })
    }
}

impl Inner {
    async fn connect(&self, url: &Uri) -> Result<Stream, ConnectError> {
        let authority = url.authority().ok_or(ConnectError::NoHost)?;
        let (name, host) = (authority.as_str(), host(authority.as_str()));
        let plain = url.scheme_str() == Some("http");
        let port = authority.port_u16();
        let insecure = self.insecure.matches(name);
        if plain || (insecure && self.plain.contains(name)) {
            let socket = self.dial(host, port.unwrap_or(80)).await?;
            return Ok(Stream::Plain(TokioIo::new(socket)));
        }
        let error = match self.secure(name, host, port.unwrap_or(443), insecure).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        // With a port named, a refused connection would be refused again.
        let worth_it =
            port.is_none() || matches!(error, ConnectError::Tls(_) | ConnectError::TlsTimeout);
        if !insecure || !worth_it {
            return Err(error);
        }
        let Ok(socket) = self.dial(host, port.unwrap_or(80)).await else {
            return Err(error);
        };
        self.plain.insert(name);
        Ok(Stream::Plain(TokioIo::new(socket)))
    }

    async fn secure(
        &self,
        authority: &str,
        host: &str,
        port: u16,
        insecure: bool,
    ) -> Result<Stream, ConnectError> {
        let socket = self.dial(host, port).await?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| ConnectError::Tls(io::Error::other(error)))?;
        let (trust, authority) = (Arc::clone(&self.trust), authority.to_owned());
        let config = tokio::task::spawn_blocking(move || trust.config(&authority, insecure))
            .await
            .map_err(|error| ConnectError::Tls(io::Error::other(error)))?
            .map_err(|error| ConnectError::Tls(io::Error::other(error)))?;
        let handshake = TlsConnector::from(config).connect(name, socket);
        match timeout(self.timeouts.handshake, handshake).await {
            Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(TokioIo::new(stream)))),
            Ok(Err(error)) => Err(ConnectError::Tls(error)),
            Err(_) => Err(ConnectError::TlsTimeout),
        }
    }

    /// The first of the host's addresses that answers; else why the first did not.
    async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let addresses = self
            .resolver
            .lookup(host)
            .await
            .map_err(ConnectError::Lookup)?;
        let mut first = None;
        let on_the_host = self
            .host_loopback
            .filter(|_| addresses.iter().any(IpAddr::is_loopback));
        for address in addresses.into_iter().take(MAX_ADDRESSES).chain(on_the_host) {
            let address = SocketAddr::new(address, port);
            let tried = timeout(self.timeouts.connect, TcpStream::connect(address)).await;
            let cause = match tried {
                Ok(Ok(socket)) => {
                    // Requests are small and waited for.
                    let _ = socket.set_nodelay(true);
                    return Ok(socket);
                }
                Ok(Err(error)) => error,
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            first.get_or_insert(ConnectError::Dial { address, cause });
        }
        Err(first.unwrap_or(ConnectError::NoHost))
    }
}
