//! The virtio-fs device as QEMU's vhost-user back end: takes requests off the virtqueues and lets a few threads answer them, so that one slow
//! disk access does not hold up everybody. Spec: virtio 1.2, 5.11; QEMU itself answers for the tag.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use share_fs::FuseServer;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VringMutex, VringT, bitmap::BitmapMmapRegion};
use virtio_bindings::bindings::{
    virtio_config::VIRTIO_F_VERSION_1,
    virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC},
};
use virtio_queue::{DescriptorChain, QueueOwnedT};
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryLoadGuard};
use vmm_sys_util::epoll::EventSet;

type Memory = GuestMemoryAtomic<share_fs::Memory>;
type Loaded = GuestMemoryLoadGuard<share_fs::Memory>;
type Vring = VringMutex<Memory>;

/// High priority (forgets) and requests.
const QUEUES: usize = 2;

/// What QEMU is told to make the queues; see `qemu`.
pub(crate) const QUEUE_SIZE: usize = 1024;

/// Threads that answer.
const WORKERS: usize = 4;

/// A request that waits for a thread.
struct Job {
    memory: Loaded,
    chain: DescriptorChain<Loaded>,
    vring: Vring,
    event_idx: bool,
}

/// The device.
pub(super) struct Device {
    memory: RwLock<Option<Memory>>,
    event_idx: AtomicBool,
    /// Bounded: a driver that offers faster than we answer waits.
    jobs: SyncSender<Job>,
}

impl Device {
    /// Starts the threads; they end with the device.
    pub(super) fn start(server: FuseServer) -> io::Result<Arc<Self>> {
        let (jobs, queue) = sync_channel(QUEUE_SIZE);
        let (server, queue) = (Arc::new(server), Arc::new(Mutex::new(queue)));
        for number in 0..WORKERS {
            let (server, queue) = (Arc::clone(&server), Arc::clone(&queue));
            thread::Builder::new()
                .name(format!("shares-{number}"))
                .spawn(move || match share_fs::become_worker() {
                    Ok(()) => work(&server, &queue),
                    Err(error) => tracing::error!(%error, "a thread of shares cannot work"),
                })?;
        }
        Ok(Arc::new(Self {
            memory: RwLock::default(),
            event_idx: AtomicBool::new(false),
            jobs,
        }))
    }

    /// Hands over what the driver has made available.
    fn take(&self, vring: &Vring, memory: &Memory) -> io::Result<()> {
        let event_idx = self.event_idx.load(Ordering::Relaxed);
        while let Some(chain) = next(vring, memory)? {
            let job = Job {
                memory: memory.memory(),
                chain,
                vring: vring.clone(),
                event_idx,
            };
            self.jobs
                .send(job)
                .map_err(|_| io::Error::other("the threads of shares have ended"))?;
        }
        Ok(())
    }
}

/// The lock on the queue ends here: the threads need it to answer.
fn next(vring: &Vring, memory: &Memory) -> io::Result<Option<DescriptorChain<Loaded>>> {
    let mut state = vring.get_mut();
    let mut available = state
        .get_queue_mut()
        .iter(memory.memory())
        .map_err(io::Error::other)?;
    Ok(available.next())
}

fn work(server: &FuseServer, queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else {
            return;
        };
        let head = job.chain.head_index();
        let written = server.answer(&job.memory, job.chain);
        if let Err(error) = give_back(&job.vring, head, written, job.event_idx) {
            tracing::debug!(%error, "give an answer to the guest");
        }
    }
}

fn give_back(vring: &Vring, head: u16, written: u32, event_idx: bool) -> io::Result<()> {
    let mut state = vring.get_mut();
    state.add_used(head, written).map_err(io::Error::other)?;
    if !event_idx || state.needs_notification().unwrap_or(true) {
        state.signal_used_queue()?;
    }
    Ok(())
}

impl VhostUserBackend for Device {
    type Bitmap = BitmapMmapRegion;
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_F_VERSION_1
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | 1 << VIRTIO_RING_F_EVENT_IDX
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::REPLY_ACK
    }

    fn set_event_idx(&self, enabled: bool) {
        self.event_idx.store(enabled, Ordering::Relaxed);
    }

    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        *self.memory.write().unwrap_or_else(PoisonError::into_inner) = Some(memory);
        Ok(())
    }

    fn handle_event(
        &self,
        event: u16,
        _set: EventSet,
        vrings: &[Vring],
        _thread: usize,
    ) -> io::Result<()> {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        let (Some(vring), Some(memory)) = (vrings.get(usize::from(event)), memory.as_ref()) else {
            return Ok(());
        };
        if !self.event_idx.load(Ordering::Relaxed) {
            return self.take(vring, memory);
        }
        // The queue reads the available index once: what came while it was read is found by looking again.
        loop {
            vring.disable_notification().map_err(io::Error::other)?;
            self.take(vring, memory)?;
            if !vring.enable_notification().map_err(io::Error::other)? {
                return Ok(());
            }
        }
    }
}
