//! A guest that sends anything at all as FUSE requests: what the fuzz target and the test of its corpus share.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
};

use virtio_bindings::bindings::virtio_ring::{VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress};

use crate::{FuseServer, Memory, Owner, Shares, Wish, become_worker, policy::Policy};

/// Most requests of one feeding.
const MAX_REQUESTS: usize = 64;

/// Room for a request and for its answer each.
const ROOM_BYTES: u32 = 64 << 10;

/// Bytes before a request: its length and the room for its answer, little-endian.
const PREFIX_BYTES: usize = 4;

/// Opcodes that are left out: `FUSE_FALLOCATE` fills the disk of whoever fuzzes, `FUSE_SYNCFS` waits for it.
const LEFT_OUT: [u32; 2] = [43, 50];

/// `FUSE_INIT` of Linux 6.12 with everything it can do.
const INIT: [u8; 104] = {
    let mut request = [0; 104];
    request[0] = 104;
    request[4] = 26;
    request[8] = 1;
    request[40] = 7;
    request[44] = 39;
    let mut flags = 52;
    while flags < 60 {
        request[flags] = 0xff;
        flags += 1;
    }
    request
};

/// A driver's side of one virtqueue, with one request at a time.
pub struct Driver {
    memory: Memory,
    queue: Queue,
    offered: u16,
}

impl Driver {
    const SIZE: u16 = 16;
    const TABLE: u64 = 0;
    const AVAILABLE: u64 = 0x1000;
    const USED: u64 = 0x2000;
    const REQUEST: u64 = 0x1_0000;
    const ANSWER: u64 = 0x2_0000;

    /// # Errors
    /// When there is no memory.
    pub fn new() -> io::Result<Self> {
        let memory =
            Memory::from_ranges(&[(GuestAddress(0), 0x4_0000)]).map_err(io::Error::other)?;
        let mut queue = Queue::new(Self::SIZE).map_err(io::Error::other)?;
        let low = |address: u64| u32::try_from(address).ok();
        queue.set_desc_table_address(low(Self::TABLE), None);
        queue.set_avail_ring_address(low(Self::AVAILABLE), None);
        queue.set_used_ring_address(low(Self::USED), None);
        queue.set_ready(true);
        Ok(Self {
            memory,
            queue,
            offered: 0,
        })
    }

    /// Offers a request with some room for the answer, and has it answered: what was written.
    ///
    /// # Errors
    /// When the request does not fit.
    pub fn ask(&mut self, server: &FuseServer, request: &[u8], room: u32) -> io::Result<Vec<u8>> {
        let fits = u32::try_from(request.len())
            .ok()
            .filter(|&length| length <= ROOM_BYTES);
        let length = fits.ok_or(io::ErrorKind::InvalidInput)?;
        let memory = &self.memory;
        let put = |bytes: &[u8], address: u64| {
            memory
                .write_slice(bytes, GuestAddress(address))
                .map_err(io::Error::other)
        };
        put(request, Self::REQUEST)?;
        let room = room.min(ROOM_BYTES);
        for (index, (address, length, flags)) in [
            (Self::REQUEST, length, VRING_DESC_F_NEXT),
            (Self::ANSWER, room, VRING_DESC_F_WRITE),
        ]
        .into_iter()
        .enumerate()
        {
            let mut descriptor = address.to_le_bytes().to_vec();
            descriptor.extend(length.to_le_bytes());
            descriptor.extend(&flags.to_le_bytes()[..2]);
            descriptor.extend(1_u16.to_le_bytes());
            put(&descriptor, Self::TABLE + 16 * index as u64)?;
        }
        // Every entry of the available ring is chain 0.
        self.offered = self.offered.wrapping_add(1);
        put(&self.offered.to_le_bytes(), Self::AVAILABLE + 2)?;
        let chain = self
            .queue
            .pop_descriptor_chain(memory)
            .ok_or_else(|| io::Error::other("no chain"))?;
        let written = server.answer(memory, chain);
        assert!(written <= room, "{written} bytes were written into {room}");
        let mut answer = vec![0; written as usize];
        memory
            .read_slice(&mut answer, GuestAddress(Self::ANSWER))
            .map_err(io::Error::other)?;
        Ok(answer)
    }
}

/// Feeds bytes as requests, one after the other, to a server that shares folders which are made in an empty folder: one to write to with a
/// hidden folder in it, one to read, one file.
///
/// This tries to leave the share, and where a guard is broken it will. So it runs on a thread of its own whose root is the folder, which takes
/// root; without root it is only kept from what the user may not change, and should be run as a user who has nothing to lose.
///
/// # Errors
/// When the folders cannot be made, or root cannot be confined.
///
/// # Panics
/// When anything changed that was not shared for writing: that is what it is for.
pub fn feed(folder: &Path, requests: &[u8]) -> io::Result<()> {
    let fed = thread::scope(|scope| scope.spawn(|| feed_here(folder, requests)).join());
    fed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn feed_here(folder: &Path, requests: &[u8]) -> io::Result<()> {
    become_worker()?;
    let root = folder.canonicalize()?;
    for path in ["written/hidden", "written/in", "read", "outside"] {
        fs::create_dir_all(root.join(path))?;
    }
    for path in [
        "written/hidden/key",
        "written/in/file",
        "read/file",
        "outside/file",
        "outside/one",
    ] {
        fs::write(root.join(path), path)?;
    }
    let policy = Policy::new(vec![root.clone()], vec![root.join("written/hidden")]);
    let shares = Shares::new(Owner::of_process(), 256);
    for (path, read_only) in [("written", false), ("read", true), ("outside/one", true)] {
        let wish = Wish {
            path: root.join(path),
            read_only,
            create: false,
        };
        shares.grant(&policy, &wish).map_err(io::Error::other)?;
    }
    let (server, mut driver) = (FuseServer::new(shares), Driver::new()?);
    driver.ask(&server, &INIT, ROOM_BYTES)?;
    // Nothing hostile has been sent yet.
    let root = confine(root)?;
    let before = guarded(&root)?;
    feed_all(&server, &mut driver, requests)?;
    assert_eq!(
        guarded(&root)?,
        before,
        "a guest changed what is not its own"
    );
    fs::remove_dir_all(root.join("written"))
}

/// Makes the folder the root of this thread where that can be done, and says where the folder is from now on.
fn confine(root: PathBuf) -> io::Result<PathBuf> {
    if !rustix::process::geteuid().is_root() {
        return Ok(root);
    }
    // The thread's root is its own: see `become_worker`.
    rustix::process::chroot(&root)?;
    rustix::process::chdir("/")?;
    Ok(PathBuf::from("/"))
}

fn feed_all(server: &FuseServer, driver: &mut Driver, requests: &[u8]) -> io::Result<()> {
    let mut rest = requests;
    for _ in 0..MAX_REQUESTS {
        let Some((&[length_low, length_high, room_low, room_high], after)) =
            rest.split_first_chunk::<PREFIX_BYTES>()
        else {
            break;
        };
        let length = usize::from(u16::from_le_bytes([length_low, length_high]));
        let room = u16::from_le_bytes([room_low, room_high]);
        let (request, after) = after.split_at(length.min(after.len()));
        rest = after;
        let opcode = request
            .get(4..8)
            .and_then(|bytes| Some(u32::from_le_bytes(bytes.try_into().ok()?)));
        if opcode.is_some_and(|opcode| LEFT_OUT.contains(&opcode)) {
            continue;
        }
        driver.ask(server, request, u32::from(room))?;
    }
    Ok(())
}

/// Everything but what the guest may change.
fn guarded(root: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut all = Vec::new();
    for part in ["", "read", "outside", "written/hidden"] {
        for entry in fs::read_dir(root.join(part))? {
            let path = entry?.path();
            let content = if path.is_file() {
                fs::read(&path)?
            } else {
                Vec::new()
            };
            all.push((path, content));
        }
    }
    all.sort();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fed_as_root_sees_nothing_of_the_host() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can be confined");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let outside = folder.path().join("outside");
        let inside = folder.path().join("inside");
        for path in [&outside, &inside] {
            fs::create_dir(path).expect("made");
        }
        let seen = thread::scope(|scope| {
            let confined = || {
                become_worker()?;
                confine(inside.clone())?;
                Ok::<_, io::Error>([
                    outside.exists(),
                    Path::new("../outside").exists(),
                    Path::new("/proc").exists(),
                ])
            };
            scope
                .spawn(confined)
                .join()
                .expect("no panic")
                .expect("confined")
        });
        assert_eq!(seen, [false; 3]);
        assert!(outside.exists(), "the other threads' root is theirs");
    }
}
