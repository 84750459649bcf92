//! The store: its folder, what is known of it in memory, and who holds what.
//!
//! ```text
//! names                     which digest each name means, replaced as a whole
//! blobs/sha256/<hex>        content as it travelled
//! l/<n>/{d,meta.json}       one unpacked layer: short paths, overlayfs' options are limited
//! containers/<id>/{upper,work,image.json}
//! ingest/…                  what is coming in; blobs that broke off are gone on with later
//! trash/…                   what is being removed
//! lock                      held as long as a process uses the store
//! ```
//!
//! Two locks, in this order: `changes` (everything that adds a hold, changes a name or removes content; held over disk writes), then `state` (memory
//! only, for moments). Starting a container takes the second alone, for reading.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use engine::{id::ContainerId, ports::world::Timestamp};
use errdefs::{Error, ErrorKind, Result};
use oci::{Digest, Platform};

use crate::{
    blobs::Blobs,
    containers::{self, Container},
    error::system,
    layers::Layer,
    names::Names,
};

/// Images and containers' own layers below one folder.
#[derive(Debug, Clone)]
pub struct ImageStore {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) blobs: Blobs,
    pub(crate) host: Platform,
    changes: Mutex<()>,
    state: RwLock<State>,
    /// One at a time unpacks a layer, and one at a time writes a blob.
    pub(crate) unpacking: Mutex<HashMap<Digest, Weak<Mutex<()>>>>,
    pub(crate) writing: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    next: AtomicU64,
    next_layer: AtomicU64,
    _lock: File,
}

/// What is known without the disk.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) names: Names,
    /// By chain ID.
    pub(crate) layers: HashMap<Digest, Layer>,
    pub(crate) containers: HashMap<ContainerId, Container>,
    pub(crate) holds: HashMap<u64, Hold>,
    /// Names were damaged: what they meant is unknown, so nothing is removed as garbage until the next start.
    pub(crate) keeps_all: bool,
}

/// Content that may not go.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    pub(crate) blobs: HashSet<Digest>,
    pub(crate) chains: HashSet<Digest>,
}

/// A hold that ends with the value.
#[derive(Debug)]
pub(crate) struct Held {
    inner: Arc<Inner>,
    number: u64,
}

impl ImageStore {
    /// Opens the store below a folder, making it if needed, and clears what a crash left half done.
    ///
    /// # Errors
    /// When the folder cannot be used, or another process uses it.
    pub fn open(root: &Path) -> Result<Arc<Self>> {
        let inner = Inner::open(root)?;
        let store = Arc::new(Self {
            inner: Arc::new(inner),
        });
        store.inner.clear_leftovers()?;
        Ok(store)
    }

    /// File work, away from the runtime's workers.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Inner>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        blocking(&self.inner, work).await
    }
}

/// File work, away from the runtime's workers.
pub(crate) async fn blocking<T: Send + 'static>(
    inner: &Arc<Inner>,
    work: impl FnOnce(&Arc<Inner>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let inner = Arc::clone(inner);
    tokio::task::spawn_blocking(move || work(&inner))
        .await
        .map_err(|error| Error::new(ErrorKind::System, format!("image work was lost: {error}")))?
}

impl Inner {
    fn open(root: &Path) -> Result<Self> {
        let failed = |error: io::Error| system(format!("open images in {}", root.display()), error);
        for folder in ["l", "containers", "ingest", "trash"] {
            fs::create_dir_all(root.join(folder)).map_err(failed)?;
        }
        let lock = File::create(root.join("lock")).map_err(failed)?;
        lock.try_lock().map_err(|_| {
            Error::new(
                ErrorKind::Unavailable,
                format!("images in {} are used by another engine", root.display()),
            )
        })?;
        let root = root.canonicalize().map_err(failed)?;
        containers::make_init_layer(&root).map_err(failed)?;
        let (names, is_damaged) = Names::load(&root).map_err(failed)?;
        if is_damaged {
            tracing::error!(root = %root.display(), "some names of images are damaged; kept in names.damaged, no image content is removed until the next start");
        }
        let state = State {
            names,
            layers: Layer::load_all(&root).map_err(failed)?,
            containers: Container::load_all(&root).map_err(failed)?,
            holds: HashMap::new(),
            keeps_all: is_damaged,
        };
        let newest = state.layers.values().map(|layer| layer.number).max();
        Ok(Self {
            blobs: Blobs::open(&root).map_err(failed)?,
            host: Platform::host(),
            changes: Mutex::default(),
            state: RwLock::new(state),
            unpacking: Mutex::default(),
            writing: Mutex::default(),
            // Names what goes to the trash, where an earlier start may have left something: the clock goes on.
            next: AtomicU64::new(u64::try_from(now().0).unwrap_or_default()),
            next_layer: AtomicU64::new(newest.unwrap_or_default() + 1),
            root,
            _lock: lock,
        })
    }

    /// Everything that changes what is kept takes this first.
    pub(crate) fn changes(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For reading; no disk while it is held.
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For changing; no disk while it is held, but for renames.
    pub(crate) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that was not given before.
    pub(crate) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The next layer's number: small, for short paths.
    pub(crate) fn next_layer(&self) -> u64 {
        self.next_layer.fetch_add(1, Ordering::Relaxed)
    }

    /// A fresh name in the trash.
    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash").join(self.next().to_string())
    }

    /// Begins to hold content; nothing yet.
    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        let number = self.next();
        self.state_mut().holds.insert(number, Hold::default());
        Held {
            inner: Arc::clone(self),
            number,
        }
    }

    /// Changes names, durably: all of it or nothing. `changes` is held by the caller.
    pub(crate) fn rename(
        &self,
        _changes: &MutexGuard<'_, ()>,
        change: impl FnOnce(&mut Names),
    ) -> Result<()> {
        let mut names = self.state().names.clone();
        change(&mut names);
        // What a name means is there before the name.
        self.blobs
            .sync()
            .and_then(|()| File::open(self.root.join("l"))?.sync_all())
            .and_then(|()| names.store(&self.root))
            .map_err(|error| system("write the names of images", error))?;
        self.state_mut().names = names;
        Ok(())
    }
}

impl Held {
    /// Adds to what is held. The caller has `changes`, or holds the content otherwise.
    pub(crate) fn add(
        &self,
        blobs: impl IntoIterator<Item = Digest>,
        chains: impl IntoIterator<Item = Digest>,
    ) {
        let mut state = self.inner.state_mut();
        let hold = state.holds.entry(self.number).or_default();
        hold.blobs.extend(blobs);
        hold.chains.extend(chains);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.inner.state_mut().holds.remove(&self.number);
    }
}

/// The lock of one of many things, made when it is asked for and forgotten when nobody has it.
pub(crate) fn keyed<K: std::hash::Hash + Eq + Clone, L: Default>(
    locks: &Mutex<HashMap<K, Weak<L>>>,
    key: &K,
) -> Arc<L> {
    let mut locks = locks.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(lock) = locks.get(key).and_then(Weak::upgrade) {
        return lock;
    }
    locks.retain(|_, lock| lock.strong_count() > 0);
    let lock = Arc::new(L::default());
    locks.insert(key.clone(), Arc::downgrade(&lock));
    lock
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
}
