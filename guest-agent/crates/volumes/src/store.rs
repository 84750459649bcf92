//! The folder of volumes.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use engine::ports::{
    volumes::{NewVolume, Volume, Volumes},
    world::Timestamp,
};
use errdefs::{Error, ErrorKind, Result};

use crate::{inside, metadata::Metadata, mounting, options, size};

const DRIVER: &str = "local";
const NEW_PREFIX: &str = ".new-";
const TRASH_PREFIX: &str = ".trash-";

/// Volumes of the driver `local`, below one folder.
#[derive(Debug, Clone)]
pub struct LocalVolumes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    /// Mounts of volumes with options: how many users each has. Also serialises everything that adds or removes a volume.
    mounts: Mutex<HashMap<String, u32>>,
}

impl LocalVolumes {
    /// Opens the folder, making it if needed, and sweeps what a crash left half made or half removed.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o701)
            .create(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(NEW_PREFIX) || name.starts_with(TRASH_PREFIX) {
                sweep(&entry.path());
            }
        }
        Ok(Self {
            inner: Arc::new(Inner {
                folder,
                mounts: Mutex::default(),
            }),
        })
    }

    /// File work, away from the runtime's workers.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|error| {
                Error::new(ErrorKind::System, format!("volume work was lost: {error}"))
            })?
    }
}

#[async_trait]
impl Volumes for LocalVolumes {
    async fn ensure(&self, request: NewVolume) -> Result<(Volume, bool)> {
        self.blocking(move |inner| inner.ensure(&request)).await
    }

    async fn get(&self, name: &str) -> Result<Volume> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.get(&name)).await
    }

    async fn list(&self) -> Result<Vec<Volume>> {
        self.blocking(Inner::list).await
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.remove(&name)).await
    }

    async fn mount(&self, name: &str) -> Result<PathBuf> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.mount(&name)).await
    }

    async fn unmount(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.unmount(&name)).await
    }

    async fn open_inside(&self, folder: &Path, path: &str) -> Result<OwnedFd> {
        let (folder, path) = (folder.to_owned(), path.to_owned());
        self.blocking(move |_| inside::open_inside(&folder, &path))
            .await
    }

    async fn mount_memory(&self, folder: &Path, size_bytes: i64) -> Result<()> {
        let folder = folder.to_owned();
        self.blocking(move |_| mounting::ensure_memory(&folder, size_bytes))
            .await
    }

    async fn unmount_memory(&self, folder: &Path) -> Result<()> {
        let folder = folder.to_owned();
        self.blocking(move |_| {
            mounting::ensure_unmounted(&folder)
                .map_err(|error| system(&format!("unmount {}", folder.display()), &error))
        })
        .await
    }

    async fn usage(&self, name: &str) -> Result<u64> {
        let name = name.to_owned();
        self.blocking(move |inner| {
            let volume = inner.get(&name)?;
            size::of_folder(&volume.mountpoint)
                .map_err(|error| system(&format!("measure volume {name}"), &error))
        })
        .await
    }
}

impl Inner {
    fn ensure(&self, request: &NewVolume) -> Result<(Volume, bool)> {
        options::check_name(&request.name)?;
        if !matches!(request.driver.as_str(), "" | DRIVER) {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "create {}: error looking up volume plugin {}: plugin {:?} not found",
                    request.name, request.driver, request.driver
                ),
            ));
        }
        let _held = self.lock();
        if let Some(volume) = self.load(&request.name) {
            return Ok((volume, false));
        }
        options::parse(&request.name, &request.options)?;
        self.create(request)
            .map_err(|error| system(&format!("create {}", request.name), &error))?;
        self.get(&request.name).map(|volume| (volume, true))
    }

    /// Built under another name, then renamed. Synced after the rename: on journalling file systems the first sync carries all, the
    /// others find nothing left to do.
    fn create(&self, request: &NewVolume) -> io::Result<()> {
        let target = self.folder.join(&request.name);
        let draft = self.folder.join(format!("{NEW_PREFIX}{}", request.name));
        sweep(&draft);
        fs::DirBuilder::new().mode(0o701).create(&draft)?;
        let data = draft.join("_data");
        fs::create_dir(&data)?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o755))?;
        let file = Metadata::from(request).store(&draft)?;
        fs::rename(&draft, &target)?;
        file.sync_all()?;
        File::open(&target)?.sync_all()?;
        File::open(&self.folder)?.sync_all()
    }

    fn get(&self, name: &str) -> Result<Volume> {
        self.load(name)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("get {name}: no such volume")))
    }

    fn load(&self, name: &str) -> Option<Volume> {
        if !options::is_name(name) {
            return None;
        }
        let folder = self.folder.join(name);
        let mountpoint = folder.join("_data");
        if !fs::symlink_metadata(&mountpoint).is_ok_and(|metadata| metadata.is_dir()) {
            return None;
        }
        let metadata = Metadata::load(&folder);
        Some(Volume {
            name: name.to_owned(),
            driver: DRIVER.to_owned(),
            mountpoint,
            labels: metadata.labels,
            options: metadata.options,
            created: Timestamp(metadata.created_ns),
        })
    }

    fn list(&self) -> Result<Vec<Volume>> {
        let failed = |error: io::Error| system("list volumes", &error);
        let mut volumes = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            volumes.extend(name.to_str().and_then(|name| self.load(name)));
        }
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    fn remove(&self, name: &str) -> Result<()> {
        let failed = |error: io::Error| system(&format!("remove {name}"), &error);
        let mut mounts = self.lock();
        let Some(volume) = self.load(name) else {
            return Ok(());
        };
        if !volume.options.is_empty() {
            mounting::ensure_unmounted(&volume.mountpoint).map_err(failed)?;
        }
        mounts.remove(name);
        let trash = self.folder.join(format!("{TRASH_PREFIX}{name}-{}", now()));
        fs::rename(self.folder.join(name), &trash).map_err(failed)?;
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)?;
        drop(mounts);
        sweep(&trash);
        Ok(())
    }

    fn mount(&self, name: &str) -> Result<PathBuf> {
        let mut mounts = self.lock();
        let volume = self.get(name)?;
        if let Some(mount) = options::parse(name, &volume.options)? {
            mounting::ensure_mounted(&mount, &volume.mountpoint)?;
            *mounts.entry(name.to_owned()).or_default() += 1;
        }
        Ok(volume.mountpoint)
    }

    fn unmount(&self, name: &str) -> Result<()> {
        let mut mounts = self.lock();
        let Some(users) = mounts.get_mut(name) else {
            return Ok(());
        };
        *users -= 1;
        if *users == 0 {
            mounts.remove(name);
            let target = self.folder.join(name).join("_data");
            mounting::ensure_unmounted(&target)
                .map_err(|error| system(&format!("unmount volume {name}"), &error))?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        // Every change under the lock is one step: a panic leaves nothing half done.
        self.mounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Deletes a folder that is no volume any more. What cannot be deleted now is tried again at the next start.
fn sweep(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "could not delete what is left of a volume");
        }
        _ => {}
    }
}

fn now() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos())
}

fn system(what: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::System, format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use errdefs::Classify;

    use super::*;

    fn request(name: &str, options: &[(&str, &str)]) -> NewVolume {
        NewVolume {
            name: name.to_owned(),
            options: options
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            created: Timestamp(7),
            ..NewVolume::default()
        }
    }

    #[tokio::test]
    async fn a_volume_is_there_after_the_store_is_opened_again() {
        let root = tempfile::tempdir().expect("folder");
        let volumes = LocalVolumes::open(root.path().join("volumes")).expect("open");
        let (made, new) = volumes.ensure(request("web", &[])).await.expect("made");
        assert!(new);
        let volumes = LocalVolumes::open(root.path().join("volumes")).expect("open again");
        let (found, new) = volumes
            .ensure(NewVolume {
                name: "web".to_owned(),
                ..NewVolume::default()
            })
            .await
            .expect("found");
        assert!(!new);
        assert_eq!(found, made);
        assert_eq!(found.created, Timestamp(7));
        assert_eq!(found.labels["a"], "b");
        assert_eq!(volumes.list().await.expect("list"), vec![found]);
    }

    #[tokio::test]
    async fn a_damaged_or_hand_made_folder_is_still_a_volume_and_other_things_are_none() {
        let root = tempfile::tempdir().expect("folder");
        let volumes = LocalVolumes::open(root.path().join("volumes")).expect("open");
        let folder = root.path().join("volumes");
        fs::create_dir_all(folder.join("by-hand/_data")).expect("mkdir");
        fs::create_dir_all(folder.join("damaged/_data")).expect("mkdir");
        fs::write(folder.join("damaged/volume.json"), b"{oops").expect("write");
        fs::create_dir(folder.join("no-data")).expect("mkdir");
        fs::write(folder.join("a-file"), b"").expect("write");
        fs::create_dir_all(folder.join("..name/_data")).expect("mkdir");
        std::os::unix::fs::symlink("/tmp", folder.join("link")).expect("symlink");
        let names: Vec<String> = volumes
            .list()
            .await
            .expect("list")
            .into_iter()
            .map(|v| v.name)
            .collect();
        assert_eq!(names, ["by-hand", "damaged"]);
    }

    #[tokio::test]
    async fn removal_is_idempotent_and_leaves_nothing() {
        let root = tempfile::tempdir().expect("folder");
        let volumes = LocalVolumes::open(root.path().join("volumes")).expect("open");
        let (volume, _) = volumes.ensure(request("v1", &[])).await.expect("made");
        fs::write(volume.mountpoint.join("x"), [0; 5]).expect("write");
        assert_eq!(volumes.usage("v1").await.expect("usage"), 5);
        volumes.remove("v1").await.expect("removed");
        volumes.remove("v1").await.expect("removed again");
        let error = volumes.get("v1").await.expect_err("gone");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.message(), "get v1: no such volume");
        assert_eq!(
            fs::read_dir(root.path().join("volumes"))
                .expect("dir")
                .count(),
            0
        );
    }

    #[tokio::test]
    async fn what_a_crash_left_is_swept_at_start() {
        let root = tempfile::tempdir().expect("folder");
        for name in [".new-a/_data", ".trash-b-1/_data", "kept/_data"] {
            fs::create_dir_all(root.path().join("volumes").join(name)).expect("mkdir");
        }
        let volumes = LocalVolumes::open(root.path().join("volumes")).expect("open");
        assert_eq!(volumes.list().await.expect("list").len(), 1);
        assert_eq!(
            fs::read_dir(root.path().join("volumes"))
                .expect("dir")
                .count(),
            1
        );
    }

    #[tokio::test]
    async fn an_unknown_driver_is_refused_in_dockers_words() {
        let root = tempfile::tempdir().expect("folder");
        let volumes = LocalVolumes::open(root.path().join("volumes")).expect("open");
        let asked = NewVolume {
            driver: "nodrv".to_owned(),
            ..request("v1", &[])
        };
        let error = volumes.ensure(asked).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(
            error.message(),
            "create v1: error looking up volume plugin nodrv: plugin \"nodrv\" not found"
        );
    }

    /// Mounts stay in the namespace of this thread's process: run under `unshare -m` when that matters.
    #[tokio::test]
    async fn a_tmpfs_volume_is_mounted_while_somebody_uses_it() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let root = tempfile::tempdir().expect("folder");
        let volumes = LocalVolumes::open(root.path().join("volumes")).expect("open");
        let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")];
        volumes.ensure(request("t1", &options)).await.expect("made");
        let path = volumes.mount("t1").await.expect("mounted");
        volumes.mount("t1").await.expect("mounted twice");
        fs::write(path.join("x"), b"x").expect("write");
        volumes.unmount("t1").await.expect("one user left");
        assert!(path.join("x").exists());
        volumes.unmount("t1").await.expect("no user left");
        assert!(!path.join("x").exists());
        volumes.unmount("t1").await.expect("idempotent");

        let options = [("type", "nofs"), ("device", "x")];
        volumes.ensure(request("t2", &options)).await.expect("made");
        let error = volumes.mount("t2").await.expect_err("no such fs");
        let target = root.path().join("volumes/t2/_data");
        assert_eq!(
            error.message(),
            format!(
                "error while mounting volume '{t}': failed to mount local volume: mount x:{t}: no such device (this machine's kernel has no file system \"nofs\")",
                t = target.display()
            )
        );
    }
}
