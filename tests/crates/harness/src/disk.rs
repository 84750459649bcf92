//! A disk whose power can be cut: it knows what was flushed and what was only written.
//!
//! ```text
//!   ext4 ─ loop device ─ file of a FUSE file system ─ this process: writes ─► current, and in order into the queue
//!                                                                   flush  ─► queue into durable
//! ```
//! [`Disk::cut`] makes what a disk may hold that loses its power now: all that was flushed, and of each write since then any of its sectors.
//! The loop device turns the flushes of ext4 into those of the file.
//!
//! Linux: include/uapi/linux/fuse.h, the few requests that a file system of one file gets.

use std::{
    collections::VecDeque,
    fs::File,
    hash::{BuildHasher, RandomState},
    io::{Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, ensure};

use crate::Sandbox;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 4096;
/// Longest write of the kernel.
const MAX_WRITE_BYTES: u32 = 128 << 10;
/// Header of a request, and of an answer.
const REQUEST_BYTES: usize = 40;
const ANSWER_BYTES: usize = 16;
/// `fuse_write_in`.
const WRITE_BYTES: usize = 40;

const ENOSYS: i32 = 38;

mod opcode {
    pub(super) const FORGET: u32 = 2;
    pub(super) const GETATTR: u32 = 3;
    pub(super) const SETATTR: u32 = 4;
    pub(super) const OPEN: u32 = 14;
    pub(super) const READ: u32 = 15;
    pub(super) const WRITE: u32 = 16;
    pub(super) const STATFS: u32 = 17;
    pub(super) const RELEASE: u32 = 18;
    pub(super) const FSYNC: u32 = 20;
    pub(super) const FLUSH: u32 = 25;
    pub(super) const INIT: u32 = 26;
    pub(super) const INTERRUPT: u32 = 36;
    pub(super) const BATCH_FORGET: u32 = 42;
}

/// The disk. It has to outlive the sandbox it is mounted in.
#[derive(Debug)]
pub struct Disk {
    medium: Arc<Mutex<Medium>>,
    durable: PathBuf,
    place: PathBuf,
    bytes: u64,
}

#[derive(Debug)]
struct Medium {
    /// What a reader sees.
    current: File,
    /// What is safe.
    durable: File,
    /// What is not yet.
    queue: VecDeque<(u64, Vec<u8>)>,
    flushes: u64,
}

impl Disk {
    /// Makes one with an empty ext4 on it, its files in a folder.
    ///
    /// # Errors
    /// When the folder or `mkfs.ext4` fail.
    pub fn new(folder: &Path, bytes: u64) -> anyhow::Result<Self> {
        let [durable, current, place] =
            ["durable", "current", "place"].map(|name| folder.join(name));
        make(&durable, bytes, &[])?;
        File::create(&place)?;
        copy_sparse(&durable, &current)?;
        let open = |path: &Path| File::options().read(true).write(true).open(path);
        let medium = Medium {
            current: open(&current)?,
            durable: open(&durable)?,
            queue: VecDeque::new(),
            flushes: 0,
        };
        Ok(Self {
            medium: Arc::new(Mutex::new(medium)),
            durable,
            place,
            bytes,
        })
    }

    /// Mounts it in a sandbox.
    ///
    /// # Errors
    /// Without FUSE or loop devices.
    pub fn mount(&self, sandbox: &Sandbox, at: &Path) -> anyhow::Result<()> {
        let fuse = File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .context("open /dev/fuse")?;
        let mounted = sandbox
            .command("mount")
            .args(["-i", "-t", "fuse", "-o"])
            // Its root is a file: there is nothing else in it.
            .arg(format!(
                "fd=0,rootmode=100600,user_id=0,group_id=0,max_read={MAX_WRITE_BYTES}"
            ))
            .arg("disk")
            .arg(&self.place)
            .stdin(Stdio::from(fuse.try_clone()?))
            .status()?;
        ensure!(mounted.success(), "mount the disk's file");
        let (medium, bytes) = (Arc::clone(&self.medium), self.bytes);
        // It ends with the mount, which ends with the sandbox.
        std::thread::spawn(move || serve(fuse, &medium, bytes));
        mount(sandbox, &self.place, at)
    }

    /// What the disk may hold if its power is cut now, as a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn cut(&self, to: &Path) -> anyhow::Result<()> {
        let queue = {
            let medium = lock(&self.medium);
            copy_sparse(&self.durable, to)?;
            medium.queue.clone()
        };
        let file = File::options().write(true).open(to)?;
        let chance = RandomState::new();
        // Of some cuts nothing that was not flushed is left, of some all, of most a part.
        let share = chance.hash_one("share") % 5;
        for (number, (offset, bytes)) in queue.iter().enumerate() {
            for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                if chance.hash_one((number, index)) % 4 < share {
                    file.write_all_at(sector, offset + (index * SECTOR_BYTES) as u64)?;
                }
            }
        }
        Ok(())
    }

    /// How often it was flushed.
    pub fn flushes(&self) -> u64 {
        lock(&self.medium).flushes
    }
}

/// Makes a file with an empty ext4 on it, with further options of `mkfs.ext4`.
///
/// # Errors
/// When `mkfs.ext4` fails.
pub fn make(file: &Path, bytes: u64, options: &[&str]) -> anyhow::Result<()> {
    File::create(file)?.set_len(bytes)?;
    let made = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-E", "nodiscard"])
        .args(options)
        .arg(file)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .status();
    let made = made.context("start mkfs.ext4")?;
    ensure!(made.success(), "mkfs.ext4 failed");
    Ok(())
}

/// Mounts a file with an ext4 on it in a sandbox; the loop device goes with the mount.
///
/// # Errors
/// When it cannot be mounted.
pub fn mount(sandbox: &Sandbox, file: &Path, at: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(at)?;
    let output = sandbox
        .command("mount")
        .args(["-t", "ext4", "-o", "loop,noinit_itable"])
        .args([file, at])
        .output()?;
    ensure!(
        output.status.success(),
        "mount {}: {}",
        file.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn copy_sparse(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = Command::new("cp")
        .arg("--sparse=always")
        .args([from, to])
        .status()?;
    ensure!(copied.success(), "copy {}", from.display());
    Ok(())
}

fn lock(medium: &Mutex<Medium>) -> MutexGuard<'_, Medium> {
    medium.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut fuse: File, medium: &Mutex<Medium>, bytes: u64) {
    let mut buffer = vec![0; REQUEST_BYTES + WRITE_BYTES + MAX_WRITE_BYTES as usize + SECTOR_BYTES];
    loop {
        let length = match fuse.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => length,
            // A request that was taken back.
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::Interrupted | std::io::ErrorKind::NotFound
                ) =>
            {
                continue;
            }
            // The mount is gone.
            Err(_) => return,
        };
        let request = &buffer[..length];
        let (code, unique) = (u32_at(request, 4), u64_at(request, 8));
        if matches!(
            code,
            opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT
        ) {
            continue;
        }
        let (error, body) = match answer(code, &request[REQUEST_BYTES..], medium, bytes) {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let size = u32::try_from(ANSWER_BYTES + body.len()).unwrap_or_default();
        let mut answer = size.to_le_bytes().to_vec();
        answer.extend(error.to_le_bytes());
        answer.extend(unique.to_le_bytes());
        answer.extend(body);
        // It may have been taken back.
        let _ = fuse.write(&answer);
    }
}

fn answer(code: u32, body: &[u8], medium: &Mutex<Medium>, bytes: u64) -> Result<Vec<u8>, i32> {
    let failed = |error: std::io::Error| error.raw_os_error().unwrap_or(5);
    Ok(match code {
        opcode::INIT => {
            let mut init = Vec::new();
            // Version 7.31, the readahead that was offered, no feature but large writes.
            for word in [
                7,
                31,
                u32_at(body, 8),
                1 << 5,
                16 | 12 << 16,
                MAX_WRITE_BYTES,
                1,
            ] {
                init.extend(word.to_le_bytes());
            }
            init.resize(64, 0);
            init
        }
        opcode::GETATTR | opcode::SETATTR => attributes(bytes),
        // A handle of 0; the kernel keeps what it has read.
        opcode::OPEN => [0, 0, 2, 0].map(u32::to_le_bytes).concat(),
        opcode::READ => {
            let mut content = vec![0; u32_at(body, 16).min(MAX_WRITE_BYTES) as usize];
            let count = lock(medium)
                .current
                .read_at(&mut content, u64_at(body, 8))
                .map_err(failed)?;
            content.truncate(count);
            content
        }
        opcode::WRITE => {
            let (offset, content) = (u64_at(body, 8), &body[WRITE_BYTES..]);
            let mut medium = lock(medium);
            medium
                .current
                .write_all_at(content, offset)
                .map_err(failed)?;
            medium.queue.push_back((offset, content.to_vec()));
            [u32_at(body, 16), 0].map(u32::to_le_bytes).concat()
        }
        opcode::FSYNC => {
            let mut medium = lock(medium);
            medium.flushes += 1;
            while let Some((offset, content)) = medium.queue.pop_front() {
                medium
                    .durable
                    .write_all_at(&content, offset)
                    .map_err(failed)?;
            }
            Vec::new()
        }
        opcode::STATFS => vec![0; 80],
        opcode::FLUSH | opcode::RELEASE => Vec::new(),
        _ => return Err(ENOSYS),
    })
}

/// `fuse_attr_out` of the one file.
fn attributes(bytes: u64) -> Vec<u8> {
    // Valid for a day, 0 ns.
    let mut out = [86_400, 0, 1, bytes, bytes / 512, 0, 0, 0]
        .map(u64::to_le_bytes)
        .concat();
    // Times' nanoseconds, mode, links, owner, device, block size, flags.
    let words = [0, 0, 0, 0o100_600, 1, 0, 0, 0, 4096, 0];
    out.extend(words.map(u32::to_le_bytes).concat());
    out
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|part| part.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|part| part.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}
