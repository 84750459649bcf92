//! Asking.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    files::{ResolvConf, hosts},
    message::{Answer, Kind, answer, question},
};

/// How long one server may take for one question.
const SERVER_TIMEOUT: Duration = Duration::from_secs(5);
/// Every server is asked this often.
const ROUNDS: usize = 2;
/// Largest answer by UDP: more than any server sends unasked.
const MAX_UDP_BYTES: usize = 4096;
/// Largest settings file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why a name has no address. Texts are those of Go's resolver, which Docker shows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("lookup {name} on {server}: no such host")]
    NoSuchHost { name: String, server: SocketAddr },
    #[error("lookup {name} on {server}: server misbehaving")]
    Refused { name: String, server: SocketAddr },
    #[error("lookup {name} on {server}: dial udp {server}: connect: network is unreachable")]
    Unreachable { name: String, server: SocketAddr },
    #[error("lookup {name} on {server}: i/o timeout")]
    Silent { name: String, server: SocketAddr },
    #[error("lookup {0}: no such host")]
    NotAName(String),
}

/// Where the settings are.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    hosts: PathBuf,
    resolv_conf: PathBuf,
}

impl Resolver {
    /// The files are read anew for each name: a machine's may change.
    pub(crate) fn new(hosts: PathBuf, resolv_conf: PathBuf) -> Self {
        Self { hosts, resolv_conf }
    }

    /// Addresses of a host, IPv4 first; never none.
    pub(crate) async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        if let Some(known) = without_asking(host) {
            return Ok(known);
        }
        let listed = hosts(&read(&self.hosts), host.trim_end_matches('.'));
        if !listed.is_empty() {
            return Ok(listed);
        }
        let conf = ResolvConf::parse(&read(&self.resolv_conf));
        let mut last = LookupError::NotAName(host.to_owned());
        for name in conf.candidates(host) {
            match ask_all(&conf.servers, &name).await {
                Ok(found) => return Ok(found),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Addresses of a host by this machine's own settings, IPv4 first; never none.
///
/// # Errors
/// Nobody knows it, in the words of Go's resolver.
pub async fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    let resolver = Resolver::new("/etc/hosts".into(), "/etc/resolv.conf".into());
    resolver.lookup(host).await.map_err(io::Error::other)
}

/// Addresses and the loopback's names need nobody.
fn without_asking(host: &str) -> Option<Vec<IpAddr>> {
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(address) = literal.parse() {
        return Some(vec![address]);
    }
    crate::endpoint::is_localhost_name(host)
        .then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
}

/// A file that is missing says nothing.
fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        let _ = file.take(MAX_FILE_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn ask_all(servers: &[SocketAddr], name: &str) -> Result<Vec<IpAddr>, LookupError> {
    let mut last = LookupError::NotAName(name.to_owned());
    for &server in servers.iter().cycle().take(servers.len() * ROUNDS) {
        let (v4, v6) = tokio::join!(ask(server, name, Kind::V4), ask(server, name, Kind::V6));
        let name = name.to_owned();
        last = match (v4, v6) {
            (Ok(Answer::Addresses(mut found)), v6) => {
                if let Ok(Answer::Addresses(more)) = v6 {
                    found.extend(more);
                }
                if !found.is_empty() {
                    return Ok(found);
                }
                return Err(LookupError::NoSuchHost { name, server });
            }
            (_, Ok(Answer::Addresses(found))) if !found.is_empty() => return Ok(found),
            (Ok(Answer::NoSuchName), _) => return Err(LookupError::NoSuchHost { name, server }),
            (Ok(_), _) => LookupError::Refused { name, server },
            (Err(error), _) if error.kind() == io::ErrorKind::InvalidInput => {
                return Err(LookupError::NotAName(name));
            }
            (Err(error), _) if error.kind() == io::ErrorKind::NetworkUnreachable => {
                LookupError::Unreachable { name, server }
            }
            (Err(_), _) => LookupError::Silent { name, server },
        };
    }
    Err(last)
}

async fn ask(server: SocketAddr, name: &str, kind: Kind) -> io::Result<Answer> {
    let asked = question(id(), name, kind).ok_or(io::ErrorKind::InvalidInput)?;
    timeout(SERVER_TIMEOUT, async {
        match by_udp(server, &asked, kind).await? {
            Answer::Truncated => by_tcp(server, &asked, kind).await,
            answer => Ok(answer),
        }
    })
    .await?
}

/// Not to be guessed by who cannot see the question; the kernel adds a port that is as hard to guess.
fn id() -> u16 {
    let bytes = RandomState::new().build_hasher().finish().to_ne_bytes();
    u16::from_ne_bytes([bytes[0], bytes[1]])
}

async fn by_udp(server: SocketAddr, asked: &[u8], kind: Kind) -> io::Result<Answer> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Connected: only the server's packets come in.
    socket.connect(server).await?;
    socket.send(asked).await?;
    let mut buffer = vec![0; MAX_UDP_BYTES];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = answer(asked, &buffer[..length], kind) {
            return Ok(answer);
        }
    }
}

async fn by_tcp(server: SocketAddr, asked: &[u8], kind: Kind) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(asked.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_u16(length).await?;
    stream.write_all(asked).await?;
    let mut bytes = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut bytes).await?;
    answer(asked, &bytes, kind).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_the_loopbacks_names_need_nobody() {
        let check = |host: &str, expected: &[&str]| {
            let expected: Vec<IpAddr> = expected.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(without_asking(host).unwrap_or_default(), expected, "{host}");
        };
        check("10.0.0.1", &["10.0.0.1"]);
        check("[::1]", &["::1"]);
        check("localhost", &["127.0.0.1", "::1"]);
        check("Reg.LOCALHOST", &["127.0.0.1", "::1"]);
        check("notlocalhost", &[]);
    }

    /// A server of one answer on the loopback.
    async fn ask_here(
        reply: impl Fn(&mut Vec<u8>) + Send + 'static,
    ) -> Result<Vec<IpAddr>, LookupError> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = socket.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut buffer = vec![0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let mut bytes = buffer[..length].to_vec();
                bytes[2] |= 0x80;
                reply(&mut bytes);
                socket.send_to(&bytes, from).await.unwrap();
            }
        });
        let found = ask_all(&[server], "reg.example").await;
        serving.abort();
        found
    }

    #[tokio::test]
    async fn a_server_is_asked() {
        let found = ask_here(|bytes| {
            // A question for A ends in 0, 1, 0, 1.
            if bytes.ends_with(&[0, 1, 0, 1]) {
                bytes[7] = 1;
                bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 7]);
            }
        })
        .await
        .unwrap();
        assert_eq!(found, ["10.0.0.7".parse::<IpAddr>().unwrap()]);
    }

    #[tokio::test]
    async fn a_name_that_is_not_there_is_said_in_gos_words() {
        let error = ask_here(|bytes| bytes[3] |= 3)
            .await
            .expect_err("no such name");
        let text = error.to_string();
        assert!(
            text.starts_with("lookup reg.example on 127.0.0.1:")
                && text.ends_with(": no such host"),
            "{text}"
        );
    }
}
