//! Folders watched for changes: one inotify instance for all followers, since the kernel gives a user 128 of them.

use std::{
    collections::HashMap,
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::sync::watch;

/// What is told of a folder.
const CHANGES: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CREATE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM);

/// Room for the events of one read.
const BUFFER_BYTES: usize = 16 << 10;

/// The one instance, made for the first follower and kept.
static HUB: Mutex<Option<&'static Hub>> = Mutex::new(None);

struct Hub {
    inotify: OwnedFd,
    /// By the kernel's number.
    folders: Mutex<HashMap<i32, Folder>>,
}

struct Folder {
    followers: usize,
    changes: watch::Sender<()>,
}

/// A watched folder; the last to drop it ends the watching.
pub(super) struct Watched {
    hub: &'static Hub,
    number: i32,
    changes: watch::Receiver<()>,
}

/// Watches a folder from now on.
///
/// # Errors
/// The folder is not there, or the kernel has no more watches.
pub(super) fn watch(folder: &Path) -> io::Result<Watched> {
    let hub = hub()?;
    let mut folders = hub.folders();
    // The same folder has the same number.
    let number = inotify::add_watch(&hub.inotify, folder, CHANGES)?;
    let folder = folders.entry(number).or_insert_with(|| Folder {
        followers: 0,
        changes: watch::Sender::new(()),
    });
    folder.followers += 1;
    Ok(Watched {
        hub,
        number,
        changes: folder.changes.subscribe(),
    })
}

impl Watched {
    /// Returns once something has changed since the last time.
    pub(super) async fn changed(&mut self) {
        // The sender is gone with the folder: there is nothing to wait for, and who follows learns so from the file.
        if self.changes.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut folders = self.hub.folders();
        let Some(folder) = folders.get_mut(&self.number) else {
            return;
        };
        folder.followers -= 1;
        if folder.followers == 0 {
            folders.remove(&self.number);
            // It may have gone with its folder.
            let _ = inotify::remove_watch(&self.hub.inotify, self.number);
        }
    }
}

impl Hub {
    fn folders(&self) -> MutexGuard<'_, HashMap<i32, Folder>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self) {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match events.next() {
                Ok(event) => self.tell(event.wd(), event.events()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "followers of logs hear of no more changes");
                    return;
                }
            }
        }
    }

    fn tell(&self, number: i32, events: ReadFlags) {
        let mut folders = self.folders();
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            // Any of them may have changed.
            folders
                .values()
                .for_each(|folder| folder.changes.send_replace(()));
        } else if let Some(folder) = folders.get(&number) {
            folder.changes.send_replace(());
            if events.contains(ReadFlags::IGNORED) {
                folders.remove(&number);
            }
        }
    }
}

fn hub() -> io::Result<&'static Hub> {
    let mut made = HUB.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(hub) = *made {
        return Ok(hub);
    }
    let hub: &'static Hub = Box::leak(Box::new(Hub {
        inotify: inotify::init(CreateFlags::CLOEXEC)?,
        folders: Mutex::default(),
    }));
    std::thread::Builder::new()
        .name("log-watches".to_owned())
        .spawn(|| hub.listen())?;
    *made = Some(hub);
    Ok(hub)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_hears_of_a_change_in_his_folder_only() {
        let [one, other] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let mut followers: Vec<_> = (0..300)
            .map(|_| watch(one.path()).expect("watched"))
            .collect();
        let mut stranger = watch(other.path()).expect("watched");
        std::fs::write(one.path().join("file"), "x").expect("written");
        for follower in &mut followers {
            follower.changed().await;
        }
        drop(followers);
        let again = watch(one.path()).expect("watched");
        std::fs::write(other.path().join("file"), "x").expect("written");
        stranger.changed().await;
        assert!(!again.changes.has_changed().expect("there"));
    }
}
