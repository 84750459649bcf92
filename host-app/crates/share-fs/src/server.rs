//! FUSE requests in guest memory, answered.

use std::{
    io::Read as _,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, Ordering},
};

use vhost_user_backend::bitmap::BitmapMmapRegion;
use virtio_queue::DescriptorChain;
use virtiofsd::{
    descriptor_utils::{Reader, Writer},
    server::Server,
};
use vm_memory::{GuestMemory, GuestMemoryMmap};

use crate::Shares;

/// Guest memory as virtiofsd takes it.
pub type Memory = GuestMemoryMmap<BitmapMmapRegion>;

/// An answer's header. Linux: include/uapi/linux/fuse.h, struct fuse_out_header.
const ANSWER_HEADER_BYTES: usize = 16;

/// Requests that have no answer: FUSE_FORGET, FUSE_INTERRUPT, FUSE_BATCH_FORGET.
const WITHOUT_ANSWER: [u32; 3] = [2, 36, 42];

/// Decodes requests and answers them from [`Shares`]. Many threads may use it, each after [`crate::become_worker`].
pub struct FuseServer {
    server: Server<Shares>,
    complained: AtomicBool,
}

impl FuseServer {
    /// Serves these.
    pub fn new(shares: Shares) -> Self {
        Self {
            server: Server::new(shares),
            complained: AtomicBool::new(false),
        }
    }

    /// Answers the request of one descriptor chain into the same chain: how many bytes were written. A chain that holds no request, which a
    /// sane guest does not send, is answered with nothing.
    pub fn answer<M>(&self, memory: &Memory, chain: DescriptorChain<M>) -> u32
    where
        M: Deref + Clone,
        M::Target: GuestMemory + Sized,
    {
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let reader = Reader::new(memory, chain.clone()).map_err(|error| error.to_string())?;
            let writer = Writer::new(memory, chain.clone()).map_err(|error| error.to_string())?;
            if writer.available_bytes() < ANSWER_HEADER_BYTES {
                check_without_room(memory, chain)?;
            }
            self.server
                .handle_message(reader, writer, None::<&mut ()>)
                .map_err(|error| error.to_string())
        }));
        match answered {
            Ok(Ok(written)) => u32::try_from(written).unwrap_or(0),
            Ok(Err(error)) => {
                self.complain(&error);
                0
            }
            // virtiofsd's own promises, broken by what the guest sent: the request is lost, and nothing else.
            Err(_) => {
                self.complain("a panic");
                0
            }
        }
    }

    /// Once: the guest could fill the log.
    fn complain(&self, error: &str) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error,
                "the guest sent what is no FUSE request; further ones are not logged"
            );
        }
    }
}

/// virtiofsd takes it for granted that there is room for the header of an answer where there is an answer.
fn check_without_room<M>(memory: &Memory, chain: DescriptorChain<M>) -> Result<(), String>
where
    M: Deref,
    M::Target: GuestMemory + Sized,
{
    let mut reader = Reader::new(memory, chain).map_err(|error| error.to_string())?;
    let mut start = [0; 8];
    reader
        .read_exact(&mut start)
        .map_err(|error| error.to_string())?;
    let [.., a, b, c, d] = start;
    if WITHOUT_ANSWER.contains(&u32::from_le_bytes([a, b, c, d])) {
        Ok(())
    } else {
        Err("no room for an answer".to_owned())
    }
}
