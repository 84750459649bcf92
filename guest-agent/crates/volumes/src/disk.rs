//! Volumes as folders. Blocking.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use engine::ports::{
    volumes::{NewVolume, Volume},
    world::Timestamp,
};
use errdefs::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::name;

const DRIVER: &str = "local";
const CONTENT: &str = "_data";
const RECORD: &str = "volume.json";
const REMOVED: &str = ".removed-";

/// Largest record that is read back.
const MAX_RECORD_BYTES: u64 = 4 << 20;

/// What is kept of a volume beside its content.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    created_ns: i64,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    options: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
    /// Making and removing exclude each other.
    changing: Mutex<()>,
    removals: AtomicU64,
}

impl Disk {
    pub(crate) fn open(root: PathBuf) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o701)
            .create(&root)?;
        for entry in fs::read_dir(&root)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(REMOVED) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(Self {
            root,
            changing: Mutex::new(()),
            removals: AtomicU64::new(0),
        })
    }

    pub(crate) fn ensure(&self, request: &NewVolume) -> Result<(Volume, bool)> {
        if !request.driver.is_empty() && request.driver != DRIVER {
            let text = format!(
                "error looking up volume plugin {0}: plugin {0:?} not found",
                request.driver
            );
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        let name = &request.name;
        name::check(name).map_err(|error| {
            Error::from_classified(error).context(format_args!("create {name}"))
        })?;
        if let Some(option) = request.options.keys().next() {
            // Mounting by options (type, o, device) is not there yet; a volume that ignores them would be a lie.
            return Err(Error::new(
                ErrorKind::NotImplemented,
                format!(
                    "create {name}: option {option:?} of the local driver is not supported yet"
                ),
            ));
        }
        let _one = self.changing.lock().expect("no holder panics");
        match self.get(name) {
            Ok(volume) => return Ok((volume, false)),
            Err(error) if errdefs::Classify::kind(&error) == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.make(request)
            .map_err(|error| failed(&format!("create {name}"), error))?;
        Ok((self.get(name)?, true))
    }

    /// Made under another name and renamed, so that a volume that is seen is whole.
    fn make(&self, request: &NewVolume) -> io::Result<()> {
        let record = Record {
            created_ns: request.created.0,
            labels: request.labels.clone(),
            options: request.options.clone(),
        };
        let new = self.leaving();
        DirBuilder::new().mode(0o701).create(&new)?;
        DirBuilder::new().mode(0o755).create(new.join(CONTENT))?;
        // The umask was in the way.
        fs::set_permissions(new.join(CONTENT), Permissions::from_mode(0o755))?;
        let file = File::create(new.join(RECORD))?;
        serde_json::to_writer(&file, &record).map_err(io::Error::other)?;
        file.sync_all()?;
        File::open(&new)?.sync_all()?;
        // Something of somebody else's that has this name stays: the rename fails over it.
        let place = self.root.join(&request.name);
        fs::rename(&new, &place)?;
        File::open(&self.root)?.sync_all()
    }

    /// A name in the root that is not a volume's and is swept up at the next start.
    fn leaving(&self) -> PathBuf {
        let number = self.removals.fetch_add(1, Ordering::Relaxed);
        self.root
            .join(format!("{REMOVED}{}-{number}", std::process::id()))
    }

    pub(crate) fn get(&self, name: &str) -> Result<Volume> {
        let missing = || Error::new(ErrorKind::NotFound, format!("get {name}: no such volume"));
        // A name that no volume can have is also no path to look at.
        name::check(name).map_err(|_| missing())?;
        let folder = self.root.join(name);
        match read_record(&folder) {
            Ok(record) => Ok(volume(name, &folder, record)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
            Err(error) => Err(failed(&format!("get {name}"), error)),
        }
    }

    pub(crate) fn list(&self) -> Result<Vec<Volume>> {
        let entries = fs::read_dir(&self.root).map_err(|error| failed("list volumes", error))?;
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        // What cannot be read as a volume is not shown; `get` says why.
        let mut volumes: Vec<Volume> = names.filter_map(|name| self.get(&name).ok()).collect();
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let _one = self.changing.lock().expect("no holder panics");
        match self.get(name) {
            Err(error) if errdefs::Classify::kind(&error) == ErrorKind::NotFound => return Ok(()),
            result => result?,
        };
        let leaving = self.leaving();
        fs::rename(self.root.join(name), &leaving)
            .and_then(|()| File::open(&self.root)?.sync_all())
            .and_then(|()| fs::remove_dir_all(&leaving))
            .map_err(|error| failed(&format!("remove {name}"), error))
    }

    pub(crate) fn usage(&self, name: &str) -> Result<u64> {
        let volume = self.get(name)?;
        tree_bytes(&volume.mountpoint).map_err(|error| failed(&format!("size of {name}"), error))
    }
}

fn read_record(folder: &Path) -> io::Result<Record> {
    use io::Read;
    let mut text = Vec::new();
    File::open(folder.join(RECORD))?
        .take(MAX_RECORD_BYTES)
        .read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn volume(name: &str, folder: &Path, record: Record) -> Volume {
    Volume {
        name: name.to_owned(),
        driver: DRIVER.to_owned(),
        mountpoint: folder.join(CONTENT),
        labels: record.labels,
        options: record.options,
        created: Timestamp(record.created_ns),
    }
}

/// Bytes of all files below a folder; one with several names counts once.
fn tree_bytes(root: &Path) -> io::Result<u64> {
    let mut seen = std::collections::HashSet::new();
    let (mut folders, mut bytes) = (vec![root.to_owned()], 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // Removed meanwhile: it takes no room any more.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.nlink() == 1 || seen.insert((metadata.dev(), metadata.ino())) {
                bytes += metadata.len();
            }
        }
    }
    Ok(bytes)
}

fn failed(what: &str, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::InvalidData => ErrorKind::DataLoss,
        _ => ErrorKind::System,
    };
    Error::new(kind, format!("{what}: {error}")).with_source(error)
}

#[cfg(test)]
mod tests {
    use errdefs::Classify;

    use super::*;

    fn disk() -> (tempfile::TempDir, Disk) {
        let folder = tempfile::tempdir().expect("temp folder");
        let disk = Disk::open(folder.path().join("volumes")).expect("opened");
        (folder, disk)
    }

    fn request(name: &str) -> NewVolume {
        NewVolume {
            name: name.to_owned(),
            created: Timestamp(7),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            ..NewVolume::default()
        }
    }

    #[test]
    fn a_volume_is_new_once_and_comes_back_after_a_restart() {
        let (folder, disk) = disk();
        let (made, new) = disk.ensure(&request("data")).expect("made");
        assert!(new && made.mountpoint.is_dir() && made.labels["a"] == "b");
        fs::write(made.mountpoint.join("kept"), "12345").expect("written");
        assert_eq!(
            disk.ensure(&request("data")).expect("there"),
            (made.clone(), false)
        );
        let again = Disk::open(folder.path().join("volumes")).expect("opened");
        assert_eq!(again.list().expect("listed"), [made]);
        assert_eq!(again.usage("data").expect("there"), 5);
    }

    #[test]
    fn removal_is_whole_and_idempotent() {
        let (folder, disk) = disk();
        disk.ensure(&request("data")).expect("made");
        disk.remove("data").expect("removed");
        disk.remove("data").expect("gone already");
        assert_eq!(
            disk.get("data").expect_err("gone").to_string(),
            "get data: no such volume"
        );
        // A removal that was cut off after its first step is finished at the next start.
        let cut = folder.path().join("volumes/.removed-1-1/_data");
        fs::create_dir_all(&cut).expect("made");
        Disk::open(folder.path().join("volumes")).expect("opened");
        assert!(!cut.exists());
    }

    #[test]
    fn what_is_no_volume_is_left_alone_and_not_shown() {
        let (folder, disk) = disk();
        let root = folder.path().join("volumes");
        fs::create_dir(root.join("stray")).expect("made");
        fs::write(root.join("file"), "x").expect("written");
        fs::create_dir(root.join("broken")).expect("made");
        fs::write(root.join("broken/volume.json"), "{oops").expect("written");
        assert!(disk.list().expect("listed").is_empty());
        assert_eq!(
            disk.get("broken").expect_err("broken").kind(),
            ErrorKind::DataLoss
        );
        assert_eq!(
            disk.get("../x").expect_err("no name").kind(),
            ErrorKind::NotFound
        );
        assert!(
            disk.ensure(&request("broken")).is_err(),
            "a damaged volume is not replaced"
        );
        fs::write(root.join("stray/precious"), "x").expect("written");
        assert!(
            disk.ensure(&request("stray")).is_err(),
            "somebody's folder is not taken over"
        );
        for kept in ["broken/volume.json", "file", "stray/precious"] {
            assert!(root.join(kept).exists(), "{kept}");
        }
    }

    #[test]
    fn unknown_drivers_options_and_names_are_refused() {
        let (_folder, disk) = disk();
        let other = NewVolume {
            driver: "nope".to_owned(),
            ..request("data")
        };
        let error = disk.ensure(&other).expect_err("no driver").to_string();
        assert_eq!(
            error,
            "error looking up volume plugin nope: plugin \"nope\" not found"
        );
        let with_options = NewVolume {
            options: [("type".to_owned(), "nfs".to_owned())].into(),
            ..request("data")
        };
        assert_eq!(
            disk.ensure(&with_options).expect_err("no options").kind(),
            ErrorKind::NotImplemented
        );
        let error = disk
            .ensure(&request("a/b"))
            .expect_err("no name")
            .to_string();
        assert!(
            error.starts_with("create a/b: \"a/b\" includes invalid characters"),
            "{error}"
        );
        assert!(disk.list().expect("listed").is_empty());
    }

    #[test]
    fn asked_for_by_many_at_once_it_is_made_once() {
        let (_folder, disk) = disk();
        let new = std::thread::scope(|scope| {
            let tasks: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| disk.ensure(&request("data")).expect("there").1))
                .collect();
            tasks
                .into_iter()
                .map(|task| task.join().expect("no panic"))
                .filter(|new| *new)
                .count()
        });
        assert_eq!(new, 1);
    }
}
