//! One container, live.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use errdefs::{Error, ErrorKind, Result};
use tokio::sync::{Notify, oneshot, watch};

use super::{
    clients::Clients,
    health::Monitor,
    record::ContainerRecord,
    state::{Phase, State},
};
use crate::{
    id::ContainerId,
    ports::{
        ByteStream,
        containers::{AttachRequest, Shim},
        network::Sandbox,
    },
    stats::Sampler,
};

/// What those who wait for a container see.
#[derive(Debug, Clone, Default)]
pub(crate) struct Life {
    pub(crate) state: State,
    /// How often it ended, so that an end between two looks is seen.
    pub(crate) ends: u64,
    /// The same without starts that failed.
    pub(crate) exits: u64,
    /// Its removal is under way.
    pub(crate) removing: bool,
    /// It is gone.
    pub(crate) removed: bool,
    /// It is stopped in order to be started again: its own removal waits.
    pub(crate) keep: bool,
}

/// A client that attached before there was a shim.
pub(crate) struct Early {
    pub(crate) request: AttachRequest,
    pub(crate) stream: oneshot::Sender<ByteStream>,
}

/// The way to the shim; clients that come before it wait here.
#[derive(Default)]
struct Link {
    shim: Option<Arc<dyn Shim>>,
    early: Vec<Early>,
}

/// What belongs to one run, owned by whoever holds the lock.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// How long the next restart waits.
    pub(crate) backoff: std::time::Duration,
    /// Volumes that are mounted.
    pub(crate) volumes: Vec<String>,
}

/// A container. Its life is changed under `run` only; everything else reads.
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    record: RwLock<Arc<ContainerRecord>>,
    life: watch::Sender<Life>,
    link: Mutex<Link>,
    sandbox: RwLock<Option<Arc<Sandbox>>>,
    /// Start, exit and removal, one at a time.
    pub(crate) run: tokio::sync::Mutex<Run>,
    /// Those attached to it.
    pub(crate) clients: Clients,
    /// Ends the wait before a restart.
    pub(crate) hurry: Notify,
    /// Who samples what it uses.
    pub(crate) sampler: Sampler,
    /// Who probes its health.
    pub(super) monitor: Monitor,
}

impl Container {
    /// Refuses to read one that is on its way out; `action`: what was asked, `export`.
    ///
    /// # Errors
    /// `Conflict`.
    pub(crate) fn refuse_on_its_way_out(&self, action: &str) -> Result<()> {
        let life = self.life();
        let why = if life.state.phase == Phase::Dead {
            "Dead"
        } else if life.removing {
            "being removed"
        } else {
            return Ok(());
        };
        let text = format!("You cannot {action} container {} which is {why}", self.id);
        Err(Error::new(ErrorKind::Conflict, text))
    }

    pub(crate) fn new(record: ContainerRecord, state: State) -> Arc<Self> {
        let (life, _) = watch::channel(Life {
            state,
            ..Life::default()
        });
        Arc::new(Self {
            id: record.id.clone(),
            record: RwLock::new(Arc::new(record)),
            life,
            link: Mutex::default(),
            sandbox: RwLock::default(),
            run: tokio::sync::Mutex::default(),
            clients: Clients::default(),
            hurry: Notify::new(),
            sampler: Sampler::default(),
            monitor: Monitor::default(),
        })
    }

    pub(crate) fn record(&self) -> Arc<ContainerRecord> {
        Arc::clone(&self.record.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_record(&self, record: ContainerRecord) {
        *self.record.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(record);
    }

    pub(crate) fn life(&self) -> Life {
        self.life.borrow().clone()
    }

    pub(crate) fn state(&self) -> State {
        self.life.borrow().state.clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    /// Changes the life and tells those who wait.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Life) -> T) -> T {
        let mut result = None;
        self.life.send_modify(|life| result = Some(change(life)));
        // send_modify calls it exactly once.
        result.unwrap_or_else(|| unreachable!("send_modify did not call its closure"))
    }

    pub(crate) fn sandbox(&self) -> Option<Arc<Sandbox>> {
        self.sandbox
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_sandbox(&self, sandbox: Option<Sandbox>) {
        *self.sandbox.write().unwrap_or_else(PoisonError::into_inner) = sandbox.map(Arc::new);
    }

    pub(crate) fn shim(&self) -> Option<Arc<dyn Shim>> {
        self.link().shim.clone()
    }

    pub(crate) fn set_shim(&self, shim: Option<Arc<dyn Shim>>) {
        self.link().shim = shim;
    }

    /// The shim, or a place in the queue for the next one.
    pub(crate) fn shim_or_wait(
        &self,
        request: AttachRequest,
    ) -> Result<Arc<dyn Shim>, oneshot::Receiver<ByteStream>> {
        let mut link = self.link();
        if let Some(shim) = &link.shim {
            return Ok(Arc::clone(shim));
        }
        let (stream, arrival) = oneshot::channel();
        link.early.retain(|client| !client.stream.is_closed());
        link.early.push(Early { request, stream });
        Err(arrival)
    }

    /// Those who came early; when there are none, the shim is open to all from now on.
    pub(crate) fn take_early_or_open(&self, shim: &Arc<dyn Shim>) -> Vec<Early> {
        let mut link = self.link();
        if link.early.is_empty() {
            link.shim = Some(Arc::clone(shim));
        }
        std::mem::take(&mut link.early)
    }

    /// Whether anybody waits for the shim.
    pub(crate) fn has_early(&self) -> bool {
        let mut link = self.link();
        link.early.retain(|client| !client.stream.is_closed());
        !link.early.is_empty()
    }

    /// Sends those who came early away.
    pub(crate) fn drop_early(&self) {
        self.link().early.clear();
    }

    fn link(&self) -> std::sync::MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
