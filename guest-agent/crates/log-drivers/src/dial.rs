//! Connecting, with errors as Go words them.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    os::unix::net::{UnixDatagram, UnixStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use engine::ports::logging::TlsFiles;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use crate::Resolve;

/// How long one address may take to answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// Certificates of this system's authorities.
const TRUSTED: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Largest file of certificates.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// A stream of bytes to a service.
pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// An error without the number that Rust adds, small as Go writes it.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    if error.raw_os_error().is_none() {
        return text;
    }
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// Host and port of `host:port`.
fn split(address: &str) -> io::Result<(&str, u16)> {
    let (host, port) = address
        .rsplit_once(':')
        .ok_or_else(|| io::Error::other(format!("address {address}: missing port in address")))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    let port = port
        .parse()
        .map_err(|_| io::Error::other(format!("address {port}: invalid port")))?;
    Ok((host, port))
}

fn addresses(kind: &str, address: &str, resolve: Resolve) -> io::Result<Vec<SocketAddr>> {
    let failed = |error: io::Error| io::Error::other(format!("dial {kind}: {error}"));
    let (host, port) = split(address).map_err(failed)?;
    let found = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => resolve(host).map_err(failed)?,
    };
    Ok(found
        .into_iter()
        .map(|address| SocketAddr::new(address, port))
        .collect())
}

/// Connects to the first address that answers.
pub(crate) fn tcp(
    address: &str,
    resolve: Resolve,
    within: Option<Duration>,
) -> io::Result<TcpStream> {
    let mut last = io::Error::other(format!("dial tcp {address}: no address"));
    for one in addresses("tcp", address, resolve)? {
        match TcpStream::connect_timeout(&one, within.unwrap_or(CONNECT_WITHIN)) {
            Ok(stream) => {
                // A line that waits for the next one to fill a packet is late.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                last = io::Error::other(format!("dial tcp {one}: i/o timeout"));
            }
            Err(error) => {
                last = io::Error::other(format!("dial tcp {one}: connect: {}", reason(&error)));
            }
        }
    }
    Err(last)
}

/// A datagram socket that sends there.
pub(crate) fn udp(address: &str, resolve: Resolve) -> io::Result<UdpSocket> {
    let found = addresses("udp", address, resolve)?;
    let to = found
        .first()
        .ok_or_else(|| io::Error::other(format!("dial udp {address}: no address")))?;
    let any: SocketAddr = if to.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let connected = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(to)?;
        Ok(socket)
    });
    connected
        .map_err(|error| io::Error::other(format!("dial udp {to}: connect: {}", reason(&error))))
}

pub(crate) fn unix(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).map_err(|error| unix_error("unix", path, &error))
}

pub(crate) fn unix_datagram(path: &Path) -> io::Result<UnixDatagram> {
    let connected = UnixDatagram::unbound().and_then(|socket| {
        socket.connect(path)?;
        Ok(socket)
    });
    connected.map_err(|error| unix_error("unixgram", path, &error))
}

fn unix_error(kind: &str, path: &Path, error: &io::Error) -> io::Error {
    let reason = reason(error);
    io::Error::other(format!("dial {kind} {}: connect: {reason}", path.display()))
}

/// Connects over TLS, the handshake done.
pub(crate) fn tls(
    address: &str,
    files: &TlsFiles,
    resolve: Resolve,
    within: Option<Duration>,
) -> io::Result<Box<dyn Stream>> {
    let config = config(files)?;
    let (host, _) = split(address)?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut tcp = tcp(address, resolve, within)?;
    tcp.set_read_timeout(Some(within.unwrap_or(CONNECT_WITHIN)))?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection
            .complete_io(&mut tcp)
            .map_err(|error| io::Error::other(format!("tls: {error}")))?;
    }
    tcp.set_read_timeout(None)?;
    Ok(Box::new(StreamOwned::new(connection, tcp)))
}

fn config(files: &TlsFiles) -> io::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = if files.skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else {
        builder.with_root_certificates(roots(&files.authorities)?)
    };
    if files.certificate.is_empty() && files.key.is_empty() {
        return Ok(builder.with_no_client_auth());
    }
    let could_not = |error: &dyn std::fmt::Display| {
        io::Error::other(format!("could not load X509 key pair: {error}"))
    };
    let key =
        PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| could_not(&error))?;
    builder
        .with_client_auth_cert(certificates(&files.certificate)?, key)
        .map_err(|error| could_not(&error))
}

/// The system's authorities and one more file's.
fn roots(more: &str) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // A system without authorities is no error: the built-in ones are taken.
    roots.add_parsable_certificates(certificates(TRUSTED).unwrap_or_default());
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if !more.is_empty() {
        let own = certificates(more).map_err(|error| {
            io::Error::other(format!("could not read CA certificate {more:?}: {error}"))
        })?;
        roots.add_parsable_certificates(own);
    }
    Ok(roots)
}

fn certificates(path: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let bytes = read(path)?;
    CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(io::Error::other)
}

fn read(path: &str) -> io::Result<Vec<u8>> {
    let named = |error: io::Error| io::Error::other(format!("open {path}: {}", reason(&error)));
    let file = std::fs::File::open(path).map_err(named)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)
        .map_err(named)?;
    Ok(bytes)
}

/// The user said that it does not matter who the server is.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
