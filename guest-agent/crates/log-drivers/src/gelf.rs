//! Graylog's GELF 1.1: JSON in datagrams, compressed and in chunks when long, or in a stream with zero bytes between.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::{TcpStream, UdpSocket},
    time::Duration,
};

use engine::ports::logging::{Compression, GelfAddress};
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};

use crate::{Driver, Resolve, dial, message::Message};

/// Longest datagram.
const CHUNK_BYTES: usize = 1420;
const CHUNK_HEADER_BYTES: usize = 12;
const CHUNK_MAGIC: [u8; 2] = [0x1e, 0x0f];
const MAX_CHUNKS: usize = 128;
const LEVEL_ERROR: u8 = 3;
const LEVEL_INFO: u8 = 6;

/// A connection to a GELF server.
pub(crate) struct Gelf {
    address: GelfAddress,
    host_name: String,
    extra: BTreeMap<String, String>,
    resolve: Resolve,
    connection: Connection,
}

enum Connection {
    Udp(UdpSocket),
    /// None: it broke.
    Tcp(Option<TcpStream>),
}

impl Gelf {
    pub(crate) fn open(
        address: GelfAddress,
        host_name: String,
        extra: BTreeMap<String, String>,
        resolve: Resolve,
    ) -> Result<Self, String> {
        let (to, connection) = match &address {
            GelfAddress::Udp { address, .. } => {
                (address, dial::udp(address, resolve).map(Connection::Udp))
            }
            GelfAddress::Tcp { address, .. } => {
                let stream = dial::tcp(address, resolve, None);
                (address, stream.map(|stream| Connection::Tcp(Some(stream))))
            }
        };
        let connection = connection
            .map_err(|error| format!("gelf: cannot connect to GELF endpoint: {to} {error}"))?;
        Ok(Self {
            address,
            host_name,
            extra,
            resolve,
            connection,
        })
    }

    fn document(&self, message: &Message<'_>) -> Vec<u8> {
        let milliseconds = message.at.0.div_euclid(1_000_000);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of this age fit")]
        let timestamp = milliseconds as f64 / 1000.0;
        let level = if message.stderr {
            LEVEL_ERROR
        } else {
            LEVEL_INFO
        };
        let mut document = json!({
            "version": "1.1",
            "host": self.host_name,
            "short_message": String::from_utf8_lossy(message.text),
            "timestamp": timestamp,
            "level": level,
        });
        if let Value::Object(fields) = &mut document {
            let extra = self.extra.iter();
            fields.extend(extra.map(|(name, value)| (name.clone(), value.clone().into())));
        }
        document.to_string().into_bytes()
    }
}

impl Driver for Gelf {
    fn log(&mut self, message: &Message<'_>) -> io::Result<()> {
        if message.text.is_empty() {
            return Ok(());
        }
        let document = self.document(message);
        match (&mut self.connection, &self.address) {
            (
                Connection::Udp(socket),
                GelfAddress::Udp {
                    compression, level, ..
                },
            ) => {
                let packed = compressed(&document, *compression, *level)?;
                for chunk in chunks(packed, random()?)? {
                    socket.send(&chunk)?;
                }
                Ok(())
            }
            (
                Connection::Tcp(stream),
                GelfAddress::Tcp {
                    address,
                    max_reconnect,
                    reconnect_delay_seconds,
                },
            ) => {
                let bytes = [&document[..], &[0]].concat();
                for _ in 0..=*max_reconnect {
                    if let Some(open) = stream
                        && open.write_all(&bytes).is_ok()
                    {
                        return Ok(());
                    }
                    std::thread::sleep(Duration::from_secs(*reconnect_delay_seconds));
                    *stream = dial::tcp(address, self.resolve, None).ok();
                }
                Err(io::Error::other(
                    "gelf: cannot send GELF message: Maximum reconnection attempts was reached; giving up",
                ))
            }
            // A connection is made from its address.
            _ => Ok(()),
        }
    }
}

fn compressed(document: &[u8], compression: Compression, level: i8) -> io::Result<Vec<u8>> {
    let level = u32::try_from(level)
        .map_or_else(|_| flate2::Compression::default(), flate2::Compression::new);
    match compression {
        Compression::None => Ok(document.to_vec()),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(document)?;
            encoder.finish()
        }
        Compression::Zlib => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(document)?;
            encoder.finish()
        }
    }
}

/// One datagram, or several with a header each: magic, id, number, count.
fn chunks(packed: Vec<u8>, id: [u8; 8]) -> io::Result<Vec<Vec<u8>>> {
    if packed.len() <= CHUNK_BYTES {
        return Ok(vec![packed]);
    }
    let parts = packed.chunks(CHUNK_BYTES - CHUNK_HEADER_BYTES);
    let count = parts.len();
    let count = u8::try_from(count)
        .ok()
        .filter(|_| count <= MAX_CHUNKS)
        .ok_or_else(|| io::Error::other(format!("msg too large, would need {count} chunks")))?;
    Ok(parts
        .zip(0u8..)
        .map(|(part, number)| [&CHUNK_MAGIC[..], &id, &[number, count], part].concat())
        .collect())
}

fn random() -> io::Result<[u8; 8]> {
    let mut bytes = [0u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_documents_go_in_numbered_chunks() {
        assert_eq!(chunks(vec![1; 1420], [7; 8]).unwrap(), [vec![1; 1420]]);
        let parts = chunks(vec![1; 3000], [7; 8]).unwrap();
        assert_eq!(parts.len(), 3);
        for (number, part) in parts.iter().enumerate() {
            assert_eq!(part[..2], CHUNK_MAGIC);
            assert_eq!(part[2..10], [7; 8]);
            assert_eq!(part[10..12], [u8::try_from(number).unwrap(), 3]);
        }
        let whole: Vec<u8> = parts.iter().flat_map(|part| &part[12..]).copied().collect();
        assert_eq!(whole, vec![1; 3000]);
        assert!(chunks(vec![1; 1408 * 128 + 1], [7; 8]).is_err());
    }
}
