//! Containers, kept over ends of the engine and of the machine.
//!
//! ```text
//!   ROOT/state.redb               what a container is: one durable commit for creation, rename, removal
//!   ROOT/containers/ID/state.json how it stands: replaced by rename, not synced; lost at most by a power cut
//!   ROOT/containers/ID/…          log, resolv.conf, hosts, hostname
//! ```
//! It refuses to know what the records mean.

mod files;
mod reserve;

use std::{
    io,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use engine::{
    containers::{record::ContainerRecord, state::State},
    id::ContainerId,
    ports::store::{Kept, Store},
};
use errdefs::{Error, ErrorKind, Result};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

/// Id to record, as JSON.
const CONTAINERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("containers");
/// Pages kept in memory: records are small and read once.
const CACHE_BYTES: usize = 1 << 20;
/// Most that is read of a file a container may write.
const MAX_FILE_BYTES: u64 = 1 << 20;
const STATE_FILE: &str = "state.json";

use self::reserve::Reserve;

/// The store in a folder.
#[derive(Debug)]
pub struct StateDb {
    shared: Arc<Shared>,
    folders: PathBuf,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is changed on threads that may block.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// None: it failed and could not be opened again.
    database: RwLock<Option<Database>>,
    reserve: Reserve,
}

impl Shared {
    /// One durable change. A database whose disk failed takes no other one, so it is opened anew. A change that `frees` gets the reserve.
    fn change(
        &self,
        frees: bool,
        change: &impl Fn(&mut Containers<'_>) -> Result<(), redb::StorageError>,
    ) -> Result<(), Failure> {
        let changed = self.with(|database| try_change(database, change));
        let Err(error) = changed else {
            self.reserve.keep();
            return Ok(());
        };
        tracing::warn!(%error, "the state could not be kept: its file is opened anew");
        if frees {
            self.reserve.release();
        }
        self.open_anew()?;
        if frees {
            return self.with(|database| try_change(database, change));
        }
        Err(error)
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Failure>) -> Result<T, Failure> {
        if self.lock_is_empty() {
            self.open_anew()?;
        }
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        match &*database {
            Some(database) => work(database),
            None => Err("the file could not be opened again".into()),
        }
    }

    fn lock_is_empty(&self) -> bool {
        let database = self.database.read();
        database.unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn open_anew(&self) -> Result<(), Failure> {
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // Its lock goes with it.
        *database = None;
        let opened = open_file(&self.path).or_else(|_| {
            self.reserve.release();
            open_file(&self.path)
        });
        *database = Some(opened?);
        Ok(())
    }
}

type Containers<'a> = redb::Table<'a, &'static str, &'static [u8]>;

fn open_file(path: &Path) -> Result<Database, redb::DatabaseError> {
    Database::builder().set_cache_size(CACHE_BYTES).create(path)
}

fn try_change(
    database: &Database,
    change: &impl Fn(&mut Containers<'_>) -> Result<(), redb::StorageError>,
) -> Result<(), Failure> {
    let write = database.begin_write()?;
    change(&mut write.open_table(CONTAINERS)?)?;
    Ok(write.commit()?)
}

fn failed(what: &'static str) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> Error {
    move |error| Error::new(ErrorKind::System, format!("{what}: {error}")).with_source(error)
}

fn at_path(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::new(
        ErrorKind::System,
        format!("{what} {}: {error}", path.display()),
    )
}

impl StateDb {
    /// Opens it; what a killed engine left is mended.
    ///
    /// # Errors
    /// The file cannot be opened or is damaged: it is left as it is.
    pub fn open(root: &Path) -> Result<Self> {
        let folders = root.join("containers");
        std::fs::create_dir_all(&folders)
            .map_err(|error| at_path("make folder", &folders, &error))?;
        let path = root.join("state.redb");
        let database = open_file(&path).map_err(|error| {
            Error::new(
                ErrorKind::DataLoss,
                format!("open {}: {error}: restore it from a copy, or move it away to start without containers", path.display()),
            )
        })?;
        let write = database
            .begin_write()
            .map_err(|error| failed("open the state")(error.into()))?;
        write
            .open_table(CONTAINERS)
            .map_err(|error| failed("open the state")(error.into()))?;
        write
            .commit()
            .map_err(|error| failed("open the state")(error.into()))?;
        sweep(&database, &folders).map_err(failed("look through the containers' folders"))?;
        let shared = Shared {
            path,
            database: RwLock::new(Some(database)),
            reserve: Reserve::new(root),
        };
        Ok(Self {
            shared: Arc::new(shared),
            folders,
        })
    }

    /// One durable change; `frees`: on a full disk it gets the room that is kept for it.
    async fn change(
        &self,
        frees: bool,
        change: impl Fn(&mut Containers<'_>) -> Result<(), redb::StorageError> + Send + 'static,
    ) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        match tokio::task::spawn_blocking(move || shared.change(frees, &change)).await {
            Ok(changed) => changed.map_err(failed("keep the state")),
            Err(error) => Err(failed("keep the state")(error.into())),
        }
    }

    fn read(database: &Database, folders: &Path) -> Result<Vec<Kept>, Failure> {
        let table = database.begin_read()?.open_table(CONTAINERS)?;
        let mut kept = Vec::new();
        for entry in table.iter()? {
            let (id, bytes) = entry?;
            let record: ContainerRecord = match serde_json::from_slice(bytes.value()) {
                Ok(record) => record,
                Err(error) => {
                    // Kept for a version that can read it.
                    tracing::error!(id = id.value(), %error, "a container cannot be read");
                    continue;
                }
            };
            let state = std::fs::read(folders.join(id.value()).join(STATE_FILE)).ok();
            let state = state
                .and_then(|bytes| serde_json::from_slice::<State>(&bytes).ok())
                .unwrap_or_default();
            kept.push(Kept { record, state });
        }
        kept.sort_by_key(|kept| kept.record.created);
        Ok(kept)
    }
}

/// A container that is gone needs nothing of it; what cannot be removed is told.
fn remove_folder(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(folder = %folder.display(), %error, "remove a container's folder");
    }
}

/// Removes folders of containers that are not in the table.
fn sweep(
    database: &Database,
    folders: &Path,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let table = database.begin_read()?.open_table(CONTAINERS)?;
    for entry in std::fs::read_dir(folders)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(id) = name
            .to_str()
            .filter(|name| name.parse::<ContainerId>().is_ok())
        else {
            continue;
        };
        if table.get(id)?.is_none() {
            remove_folder(&entry.path());
        }
    }
    Ok(())
}

#[async_trait]
impl Store for StateDb {
    async fn containers(&self) -> Result<Vec<Kept>> {
        let (shared, folders) = (Arc::clone(&self.shared), self.folders.clone());
        let read = move || shared.with(|database| Self::read(database, &folders));
        match tokio::task::spawn_blocking(read).await {
            Ok(kept) => kept.map_err(failed("read the state")),
            Err(error) => Err(failed("read the state")(error.into())),
        }
    }

    async fn put(&self, record: &ContainerRecord) -> Result<()> {
        let folder = self.folder(&record.id);
        let is_new = files::ensure_folder(&folder)
            .map_err(|error| at_path("make folder", &folder, &error))?;
        let id = record.id.to_string();
        let bytes = serde_json::to_vec(record)
            .map_err(|error| failed("write a container down")(error.into()))?;
        let kept = self
            .change(false, move |table| {
                table.insert(id.as_str(), bytes.as_slice()).map(drop)
            })
            .await;
        if kept.is_err() && is_new {
            remove_folder(&folder);
        }
        kept
    }

    async fn remove(&self, id: &ContainerId) -> Result<()> {
        let key = id.to_string();
        self.change(true, move |table| table.remove(key.as_str()).map(drop))
            .await?;
        // Its log may be large. What the engine's end leaves of it goes when it is next opened.
        let folder = self.folder(id);
        tokio::task::spawn_blocking(move || remove_folder(&folder));
        Ok(())
    }

    async fn save_state(&self, id: &ContainerId, state: &State, durable: bool) -> Result<()> {
        let bytes = serde_json::to_vec(state)
            .map_err(|error| failed("write a state down")(error.into()))?;
        let folder = self.folder(id);
        let written = if durable {
            let folder = folder.clone();
            let write = move || files::replace_durably(&folder, STATE_FILE, &bytes);
            tokio::task::spawn_blocking(write)
                .await
                .map_err(std::io::Error::other)
                .and_then(|written| written)
        } else {
            files::replace(&folder, STATE_FILE, &bytes)
        };
        written.map_err(|error| at_path("write a state to", &folder, &error))
    }

    fn folder(&self, id: &ContainerId) -> PathBuf {
        self.folders.join(id.as_str())
    }

    async fn write_file(&self, id: &ContainerId, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.folder(id).join(name);
        // Written in place: a container that has the file mounted goes on seeing it.
        std::fs::write(&path, content).map_err(|error| at_path("write", &path, &error))?;
        Ok(path)
    }

    async fn read_file(&self, id: &ContainerId, name: &str) -> Result<Vec<u8>> {
        let path = self.folder(id).join(name);
        let mut content = Vec::new();
        std::fs::File::open(&path)
            .and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut content))
            .map_err(|error| at_path("read", &path, &error))?;
        Ok(content)
    }
}

#[cfg(test)]
mod tests {

    use engine::ports::world::Timestamp;

    use super::*;

    fn record(number: u8, name: &str) -> ContainerRecord {
        let created = Timestamp(i64::from(number));
        ContainerRecord::new(ContainerId::from_random([number; 32]), name, created)
    }

    #[tokio::test]
    async fn what_was_kept_is_there_again_and_what_was_removed_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let db = StateDb::open(folder.path()).unwrap();
        let (kept, gone) = (record(2, "kept"), record(1, "gone"));
        db.put(&kept).await.unwrap();
        db.put(&gone).await.unwrap();
        let mut state = State::default();
        state.start(42, Timestamp(7));
        db.save_state(&kept.id, &state, true).await.unwrap();
        db.remove(&gone.id).await.unwrap();
        db.remove(&gone.id).await.unwrap();
        drop(db);
        let db = StateDb::open(folder.path()).unwrap();
        let all = db.containers().await.unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].record.clone(), all[0].state.clone()), (kept, state));
        assert!(!db.folder(&gone.id).exists());
    }

    #[tokio::test]
    async fn folders_of_removed_containers_are_swept_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let db = StateDb::open(folder.path()).unwrap();
        let kept = record(1, "kept");
        db.put(&kept).await.unwrap();
        // An engine that was killed after the commit leaves this.
        let left = db.folder(&ContainerId::from_random([2; 32]));
        let foreign = folder.path().join("containers/lost+found");
        for folder in [&left, &foreign] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("log"), "x").unwrap();
        }
        drop(db);
        let db = StateDb::open(folder.path()).unwrap();
        assert!(!left.exists() && foreign.exists() && db.folder(&kept.id).exists());
    }

    #[tokio::test]
    async fn a_state_that_cannot_be_read_is_as_if_it_never_ran() {
        let folder = tempfile::tempdir().unwrap();
        let db = StateDb::open(folder.path()).unwrap();
        let kept = record(1, "kept");
        db.put(&kept).await.unwrap();
        std::fs::write(db.folder(&kept.id).join(STATE_FILE), "{").unwrap();
        assert_eq!(db.containers().await.unwrap()[0].state, State::default());
    }

    #[test]
    fn a_damaged_file_is_an_error_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        std::fs::write(&path, vec![7; 8192]).unwrap();
        let error = StateDb::open(folder.path()).unwrap_err();
        assert!(
            error.message().contains("restore it from a copy"),
            "{error}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), vec![7; 8192]);
    }
}
