//! A packet's header. Spec: virtio 1.2, 5.10.6 (struct virtio_vsock_hdr).

/// Bytes of a header.
pub const HEADER_BYTES: usize = 44;

/// Most payload a packet may have. Linux: include/linux/virtio_vsock.h, VIRTIO_VSOCK_MAX_PKT_BUF_SIZE.
pub const MAX_PAYLOAD_BYTES: u32 = 64 << 10;

/// VIRTIO_VSOCK_TYPE_STREAM.
const TYPE_STREAM: u16 = 1;

/// What a packet asks. Values of `op`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Operation {
    /// Open a connection.
    Request = 1,
    /// It is open.
    Response = 2,
    /// It is over, or never was.
    Reset = 3,
    /// One or both directions end.
    Shutdown = 4,
    /// Data.
    ReadWrite = 5,
    /// How much may be sent.
    CreditUpdate = 6,
    /// Tell me how much I may send.
    CreditRequest = 7,
}

/// A header, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Sender.
    pub source_cid: u64,
    /// Receiver.
    pub destination_cid: u64,
    /// Sender's port.
    pub source_port: u32,
    /// Receiver's port.
    pub destination_port: u32,
    /// Bytes of payload that follow, ≤ [`MAX_PAYLOAD_BYTES`].
    pub length: u32,
    /// What it asks.
    pub operation: Operation,
    /// For [`Operation::Shutdown`]: 1 no more receiving, 2 no more sending.
    pub flags: u32,
    /// Sender's buffer for this connection.
    pub buffer_bytes: u32,
    /// Bytes the sender has taken out of it, wrapping.
    pub forwarded: u32,
}

/// A packet that cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// `op` out of range.
    #[error("operation {0} is not one of virtio 1.2")]
    Operation(u16),
    /// Not a stream.
    #[error("socket type {0} is not stream")]
    Type(u16),
    /// More payload than a packet may have.
    #[error("payload of {0} bytes is over {MAX_PAYLOAD_BYTES}")]
    Length(u32),
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// When it has values that no driver may send.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, PacketError> {
        let [u16_at, u32_at] = [2_usize, 4].map(|size| {
            move |at: usize| {
                bytes[at..at + size]
                    .iter()
                    .rev()
                    .fold(0_u64, |all, &byte| all << 8 | u64::from(byte))
            }
        });
        // The folds above take 2 or 4 bytes, so nothing is cut off here.
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let short = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
        let u64_at = |at: usize| u32_at(at) | u32_at(at + 4) << 32;
        let kind = short(u16_at(28));
        if kind != TYPE_STREAM {
            return Err(PacketError::Type(kind));
        }
        let operation = match short(u16_at(30)) {
            1 => Operation::Request,
            2 => Operation::Response,
            3 => Operation::Reset,
            4 => Operation::Shutdown,
            5 => Operation::ReadWrite,
            6 => Operation::CreditUpdate,
            7 => Operation::CreditRequest,
            other => return Err(PacketError::Operation(other)),
        };
        let length = narrow(u32_at(24));
        if length > MAX_PAYLOAD_BYTES {
            return Err(PacketError::Length(length));
        }
        Ok(Self {
            source_cid: u64_at(0),
            destination_cid: u64_at(8),
            source_port: narrow(u32_at(16)),
            destination_port: narrow(u32_at(20)),
            length,
            operation,
            flags: narrow(u32_at(32)),
            buffer_bytes: narrow(u32_at(36)),
            forwarded: narrow(u32_at(40)),
        })
    }

    /// Writes it.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &self.source_cid.to_le_bytes());
        put(8, &self.destination_cid.to_le_bytes());
        put(16, &self.source_port.to_le_bytes());
        put(20, &self.destination_port.to_le_bytes());
        put(24, &self.length.to_le_bytes());
        put(28, &TYPE_STREAM.to_le_bytes());
        put(30, &(self.operation as u16).to_le_bytes());
        put(32, &self.flags.to_le_bytes());
        put(36, &self.buffer_bytes.to_le_bytes());
        put(40, &self.forwarded.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_parses_is_written_the_same(bytes in proptest::array::uniform32(any::<u8>()), tail in proptest::array::uniform12(any::<u8>()), op in 0_u16..9) {
            let mut raw = [0; HEADER_BYTES];
            raw[..32].copy_from_slice(&bytes);
            raw[32..].copy_from_slice(&tail);
            raw[26..28].fill(0);
            raw[28..30].copy_from_slice(&1_u16.to_le_bytes());
            raw[30..32].copy_from_slice(&op.to_le_bytes());
            match Header::parse(&raw) {
                Ok(header) => prop_assert_eq!(header.encode(), raw),
                Err(error) => prop_assert_eq!(error, PacketError::Operation(op)),
            }
        }
    }

    #[test]
    fn a_payload_over_the_bound_is_refused() {
        let mut raw = [0; HEADER_BYTES];
        raw[28] = 1;
        raw[30] = 5;
        raw[24..28].copy_from_slice(&(MAX_PAYLOAD_BYTES + 1).to_le_bytes());
        assert_eq!(
            Header::parse(&raw),
            Err(PacketError::Length(MAX_PAYLOAD_BYTES + 1))
        );
        raw[24..28].copy_from_slice(&MAX_PAYLOAD_BYTES.to_le_bytes());
        assert!(Header::parse(&raw).is_ok());
    }

    #[test]
    fn datagrams_are_refused() {
        let mut raw = [0; HEADER_BYTES];
        raw[28] = 2;
        assert_eq!(Header::parse(&raw), Err(PacketError::Type(2)));
    }
}
