//! The data disk: found, recognised, formatted only when it is blank and the host allows it, checked when it cannot be mounted.
//!
//! Nothing here ever writes to a disk that carries anything: a disk with another identity, or one that cannot be read, is an error that
//! leaves it as it is.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use agent_api::BootSettings;
use anyhow::{Context, Result, bail, ensure};
use rustix::mount::{MountFlags, mount};

use super::{children::Children, mounts};

/// Where it is mounted.
pub(super) const MOUNT_POINT: &str = "/var/lib/berth";

/// How much of each end of a disk must be zero for it to count as blank.
const BLANK_BYTES: usize = 1 << 20;

/// Where an ext4 superblock begins. Linux: Documentation/filesystems/ext4/super.rst
const SUPERBLOCK: usize = 1024;
const MAGIC: usize = SUPERBLOCK + 0x38;
const UUID: usize = SUPERBLOCK + 0x68;

/// What is on a disk.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    Blank,
    Ext4 { identity: String },
    Unknown,
}

/// Mounts it; makes its file system on a new one.
pub(super) async fn mount_data_disk(settings: &BootSettings, children: &Children) -> Result<()> {
    ensure!(
        is_identity(&settings.disk_identity),
        "the host gave the disk identity `{}`, which is not a UUID in lower case",
        settings.disk_identity
    );
    let disk = find().context("look for the data disk")?;
    match content(&disk).with_context(|| format!("read the data disk {}", disk.display()))? {
        Content::Ext4 { identity } if identity == settings.disk_identity => {}
        Content::Ext4 { identity } => bail!(
            "this is another machine's data disk: it has the identity {identity}, expected {}; nothing was changed on it",
            settings.disk_identity
        ),
        Content::Unknown => bail!(
            "the data disk holds no file system of ours and is not blank; nothing was changed on it: restore it from a copy, or move it away to start afresh"
        ),
        Content::Blank if !settings.format_blank_disk => bail!(
            "the data disk is blank although it was in use before; it was not formatted: restore it from a copy, or move it away to start afresh"
        ),
        Content::Blank => format(&disk, &settings.disk_identity, children).await?,
    }
    mounts::make_folder(MOUNT_POINT)?;
    if attach(&disk).is_err() {
        check(&disk, children).await?;
        attach(&disk).context("mount the data disk after its check; nothing was formatted")?;
    }
    grow(&disk, children).await;
    Ok(())
}

fn attach(disk: &Path) -> rustix::io::Result<()> {
    mount(
        disk,
        MOUNT_POINT,
        "ext4",
        MountFlags::NOATIME | MountFlags::NODEV,
        c"discard",
    )
}

/// The machine has two disks at most: the read-only system image, and this one.
fn find() -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir("/sys/block")? {
        let entry = entry?;
        let name = entry.file_name();
        let writable = fs::read_to_string(entry.path().join("ro"))?.trim() == "0";
        if name.to_string_lossy().starts_with("vd") && writable {
            found.push(Path::new("/dev").join(name));
        }
    }
    found.sort();
    match found.as_slice() {
        [disk] => Ok(disk.clone()),
        [] => bail!("the machine has no writable virtio disk"),
        many => bail!(
            "the machine has {} writable virtio disks, expected one",
            many.len()
        ),
    }
}

fn content(disk: &Path) -> Result<Content> {
    let mut file = File::open(disk)?;
    let mut head = vec![0; BLANK_BYTES];
    file.read_exact(&mut head)?;
    let mut tail = vec![0; BLANK_BYTES];
    file.seek(SeekFrom::End(-i64::try_from(BLANK_BYTES)?))?;
    file.read_exact(&mut tail)?;
    Ok(recognise(&head, &tail))
}

fn recognise(head: &[u8], tail: &[u8]) -> Content {
    if head.iter().chain(tail).all(|byte| *byte == 0) {
        return Content::Blank;
    }
    match (head.get(MAGIC..MAGIC + 2), head.get(UUID..UUID + 16)) {
        (Some([0x53, 0xef]), Some(uuid)) => Content::Ext4 {
            identity: identity_text(uuid),
        },
        _ => Content::Unknown,
    }
}

fn identity_text(uuid: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn is_identity(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

async fn format(disk: &Path, identity: &str, children: &Children) -> Result<()> {
    tracing::info!(disk = %disk.display(), identity, "making the file system of a new data disk");
    let mut command = Command::new("/usr/sbin/mke2fs");
    command
        .args([
            "-q",
            "-F",
            "-t",
            "ext4",
            "-m",
            "0",
            "-L",
            "berth-data",
            "-U",
            identity,
        ])
        .args(["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"])
        .arg(disk);
    let code = run(&mut command, children).await.context("run mke2fs")?;
    ensure!(
        code == 0,
        "mke2fs could not make a file system on {}: exit code {code}",
        disk.display()
    );
    Ok(())
}

async fn check(disk: &Path, children: &Children) -> Result<()> {
    tracing::warn!(disk = %disk.display(), "the data disk cannot be mounted; checking it");
    let code = run(
        Command::new("/usr/sbin/e2fsck").arg("-p").arg(disk),
        children,
    )
    .await
    .context("run e2fsck")?;
    // Bits 0 and 1: errors corrected. From bit 2 on: errors left, or no check at all.
    ensure!(
        code < 4,
        "the data disk has errors that cannot be repaired without loss (e2fsck: {code}); it was left as it is: copy it, then repair it with `e2fsck` or move it away to start afresh"
    );
    Ok(())
}

/// The host may have made the disk longer. Not having the room is no reason not to start.
async fn grow(disk: &Path, children: &Children) {
    let Ok(device) = fs::read_to_string(
        Path::new("/sys/class/block")
            .join(disk.file_name().unwrap_or_default())
            .join("size"),
    ) else {
        return;
    };
    let device_bytes = device.trim().parse::<u64>().unwrap_or(0) * 512;
    let used_bytes = rustix::fs::statvfs(MOUNT_POINT)
        .map(|stat| stat.f_blocks * stat.f_frsize)
        .unwrap_or(u64::MAX);
    // File-system tables take some percent of the disk; only a real difference is worth a resize.
    if device_bytes / 8 * 7 <= used_bytes {
        return;
    }
    match run(Command::new("/usr/sbin/resize2fs").arg(disk), children).await {
        Ok(0) => {}
        Ok(code) => tracing::warn!(code, "resize2fs could not grow the data disk"),
        Err(error) => tracing::warn!(%error, "resize2fs could not be run"),
    }
}

async fn run(command: &mut Command, children: &Children) -> Result<i32> {
    let started = children.spawn(command.stdin(Stdio::null()))?;
    Ok(started.wait().await)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: &str = "00112233-4455-6677-8899-aabbccddeeff";

    fn ext4() -> Vec<u8> {
        let mut head = vec![0; 4096];
        head[MAGIC..MAGIC + 2].copy_from_slice(&[0x53, 0xef]);
        for (index, byte) in head[UUID..UUID + 16].iter_mut().enumerate() {
            *byte = u8::try_from(index * 0x11).expect("16 steps of 17");
        }
        head
    }

    #[test]
    fn only_zeroes_at_both_ends_are_blank() {
        assert_eq!(recognise(&[0; 4096], &[0; 512]), Content::Blank);
        assert_eq!(recognise(&[0; 4096], &[1; 512]), Content::Unknown);
    }

    #[test]
    fn an_ext4_disk_tells_its_identity() {
        assert_eq!(
            recognise(&ext4(), &[0; 512]),
            Content::Ext4 {
                identity: IDENTITY.to_owned()
            }
        );
    }

    #[test]
    fn something_else_is_never_taken_for_ours() {
        assert_eq!(recognise(&[b'x'; 4096], &[0; 512]), Content::Unknown);
        assert_eq!(recognise(b"x", &[]), Content::Unknown);
    }

    #[test]
    fn an_identity_is_a_uuid_in_lower_case() {
        assert!(is_identity(IDENTITY));
        assert!(!is_identity(&IDENTITY.to_uppercase()));
        assert!(!is_identity("machine"));
    }
}
