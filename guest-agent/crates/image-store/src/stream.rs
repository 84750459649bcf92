//! Streams between the async world and threads that may block, and through hashes and decoders.

use std::{
    io::{self, Cursor, Read, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use engine::ports::ByteReader;
use oci::Digest;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt, ReadBuf},
    runtime::Handle,
    sync::mpsc,
};

/// Bytes read at once from a file or a client.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;

/// Most memory that unpacking xz may take: what its strongest preset needs, and some.
const MAX_XZ_BYTES: u64 = 128 << 20;

/// Chunks under way to a reader.
const CHUNKS: usize = 4;

/// Pieces read ahead of a thread, and the most bytes of one: clients send many small ones, and a wake for each would cost more than the work.
const AHEAD_PIECES: usize = 16;
const PIECE_BYTES: usize = 64 << 10;

/// An async reader, read by a thread that may block.
pub(crate) struct Blocking {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Blocking {
    /// For the runtime that is running.
    pub(crate) fn new(mut reader: ByteReader) -> Self {
        let (sender, pieces) = mpsc::channel(AHEAD_PIECES);
        Handle::current().spawn(async move {
            loop {
                let mut piece = BytesMut::with_capacity(PIECE_BYTES);
                let piece = match reader.read_buf(&mut piece).await {
                    Ok(0) => return,
                    Ok(_) => Ok(piece.freeze()),
                    Err(error) => Err(error),
                };
                let is_last = piece.is_err();
                if sender.send(piece).await.is_err() || is_last {
                    return;
                }
            }
        });
        Self {
            pieces,
            piece: Bytes::new(),
        }
    }
}

impl Read for Blocking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.piece = piece?,
            }
        }
        let count = self.piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.piece[..count]);
        self.piece.advance(count);
        Ok(count)
    }
}

/// The other way round: what a thread writes is read by the async world.
pub(crate) fn pipe() -> (PipeWriter, ByteReader) {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let reader = PipeReader {
        receiver,
        chunk: Bytes::new(),
    };
    (PipeWriter(sender), Box::new(reader))
}

/// Written by a thread; wrap it in a buffer.
pub(crate) struct PipeWriter(mpsc::Sender<io::Result<Bytes>>);

impl PipeWriter {
    /// Ends the stream with an error instead of its end.
    pub(crate) fn fail(&self, error: io::Error) {
        // Nobody reading needs no error.
        let _ = self.0.blocking_send(Err(error));
    }
}

impl io::Write for &PipeWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0
            .blocking_send(Ok(Bytes::copy_from_slice(buffer)))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct PipeReader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
}

impl AsyncRead for PipeReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.chunk.is_empty() {
            match ready!(self.receiver.poll_recv(context)) {
                None => return Poll::Ready(Ok(())),
                Some(chunk) => self.chunk = chunk?,
            }
        }
        let count = self.chunk.len().min(buffer.remaining());
        buffer.put_slice(&self.chunk[..count]);
        self.chunk.advance(count);
        Poll::Ready(Ok(()))
    }
}

/// Hashes and counts what is read through it.
pub(crate) struct Hashing<R> {
    inner: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: Read> Hashing<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    /// Reads what is left and tells the digest of all.
    pub(crate) fn finish(mut self) -> io::Result<(Digest, u64)> {
        let mut buffer = vec![0; 64 << 10];
        while self.read(&mut buffer)? > 0 {}
        Ok((
            Digest::from_sha256(&self.hash.finalize().into()),
            self.bytes,
        ))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

/// How bytes are packed, by their first four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Bzip2,
    Gzip,
    Xz,
    Zstd,
}

impl Compression {
    pub(crate) fn of(head: &[u8]) -> Self {
        match head {
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Unpacks gzip, zstd, bzip2 and xz, told by the first bytes; anything else is passed on as it is.
pub(crate) fn decoder<'a>(
    mut reader: impl Read + 'a,
) -> io::Result<(Compression, Box<dyn Read + 'a>)> {
    let mut head = [0; 4];
    let mut count = 0;
    while count < head.len() {
        match reader.read(&mut head[count..])? {
            0 => break,
            more => count += more,
        }
    }
    let compression = Compression::of(&head[..count]);
    let whole = Read::chain(Read::take(Cursor::new(head), count as u64), reader);
    let whole = io::BufReader::with_capacity(64 << 10, whole);
    let decoder: Box<dyn Read + 'a> = match compression {
        Compression::None => Box::new(whole),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(whole)),
        Compression::Xz => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(MAX_XZ_BYTES, flags)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(whole, stream))
        }
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(whole)?),
    };
    Ok((compression, decoder))
}

/// Runs a writer in a thread of its own, ahead of the reader of what it writes. An error of the writer is its result only; the reader sees an end, and must not
/// take that for a good one.
pub(crate) fn ahead<W: Send, R>(
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<W> + Send,
    read: impl FnOnce(AheadReader) -> R,
) -> (R, io::Result<W>) {
    let (full, chunks) = std::sync::mpsc::sync_channel(CHUNKS);
    let (used, spares) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let sink = AheadWriter { full, spares };
            let mut sink = io::BufWriter::with_capacity(CHUNK_BYTES, sink);
            let result = write(&mut sink);
            result.and_then(|result| sink.flush().map(|()| result))
        });
        let read = read(AheadReader {
            chunks,
            used,
            chunk: Vec::new(),
            position: 0,
        });
        let written = writer
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread ahead was lost")));
        (read, written)
    })
}

struct AheadWriter {
    full: std::sync::mpsc::SyncSender<Vec<u8>>,
    spares: std::sync::mpsc::Receiver<Vec<u8>>,
}

impl Write for AheadWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut chunk = self.spares.try_recv().unwrap_or_default();
        chunk.clear();
        chunk.extend_from_slice(buffer);
        self.full
            .send(chunk)
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reader's end of [`ahead`].
pub(crate) struct AheadReader {
    chunks: std::sync::mpsc::Receiver<Vec<u8>>,
    used: std::sync::mpsc::Sender<Vec<u8>>,
    chunk: Vec<u8>,
    position: usize,
}

impl Read for AheadReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.chunk.len() {
            let Ok(next) = self.chunks.recv() else {
                return Ok(0);
            };
            // The writer being gone needs no spare.
            let _ = self.used.send(std::mem::replace(&mut self.chunk, next));
            self.position = 0;
        }
        let left = &self.chunk[self.position..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.position += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_and_plain_bytes_read_the_same() {
        let plain = b"some bytes".repeat(100);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).expect("packed");
        let gzip = gzip.finish().expect("packed");
        let two_members = [&gzip[..], &gzip[..]].concat();
        let zstd = zstd::encode_all(&plain[..], 3).expect("packed");
        for (bytes, expected) in [
            (&plain[..], plain.clone()),
            (&gzip, plain.clone()),
            (&two_members, plain.repeat(2)),
            (&zstd, plain.clone()),
            (b"ab", b"ab".to_vec()),
            (b"", Vec::new()),
        ] {
            let mut read = Vec::new();
            decoder(bytes)
                .expect("decoder")
                .1
                .read_to_end(&mut read)
                .expect("read");
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn cut_streams_are_errors() {
        let zstd = zstd::encode_all(&b"some bytes".repeat(100)[..], 3).expect("packed");
        let (_, mut reader) = decoder(&zstd[..zstd.len() - 3]).expect("decoder");
        assert!(reader.read_to_end(&mut Vec::new()).is_err());
    }
}
