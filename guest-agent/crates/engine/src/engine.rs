//! The engine: its ports, what it knows, and what happens in it.

use std::{
    collections::BTreeMap,
    future::Future,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use docker_api::{EventActor, EventMessage};
use errdefs::{Error, ErrorKind, Result};
use tokio::sync::{RwLock, oneshot};

use crate::{
    Defaults,
    containers::{Index, container::Container},
    events::EventBus,
    exec::Execs,
    ports::{
        commits::Commits,
        containers::{Logs, Shims},
        files::Files,
        host::Host,
        images::Images,
        network::Networks,
        observe::Observer,
        registry::Registry,
        rootfs::RootfsStore,
        store::Store,
        volumes::Volumes,
        world::World,
    },
    spec::Machine,
    system::reload::Reloadable,
};

/// Everything the engine works with.
#[derive(Clone)]
pub struct Ports {
    /// Keeps containers.
    pub store: Arc<dyn Store>,
    /// Images.
    pub images: Arc<dyn Images>,
    /// Images as containers need them.
    pub rootfs: Arc<dyn RootfsStore>,
    /// Files of containers.
    pub files: Arc<dyn Files>,
    /// Images made here.
    pub commits: Arc<dyn Commits>,
    /// Registries.
    pub registry: Arc<dyn Registry>,
    /// Running containers.
    pub shims: Arc<dyn Shims>,
    /// Logs.
    pub logs: Arc<dyn Logs>,
    /// What the kernel says of running containers.
    pub observer: Arc<dyn Observer>,
    /// Networks.
    pub networks: Arc<dyn Networks>,
    /// Volumes.
    pub volumes: Arc<dyn Volumes>,
    /// What lies outside of the machine.
    pub host: Arc<dyn Host>,
    /// Facts about the machine.
    pub machine: Arc<dyn Machine>,
    /// Time, chance and tasks.
    pub world: Arc<dyn World>,
}

/// What does not change while the engine runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Parent of containers' cgroups, below the root of the hierarchy.
    pub cgroup_parent: String,
    /// Program that becomes process 1 of containers with `--init`.
    pub init: PathBuf,
    /// Folder of everything that survives, as `info` shows it.
    pub root: PathBuf,
    /// Version of the engine.
    pub version: String,
    /// Release of the running kernel.
    pub kernel: String,
    /// Id of the engine, for `info`.
    pub id: String,
    /// What `host-gateway` stands for; none: the gateway of the container's network.
    pub host_gateway: Option<std::net::IpAddr>,
    /// What containers get that say nothing themselves.
    pub defaults: Defaults,
    /// What may change while the engine runs.
    pub reloadable: Reloadable,
    /// The engine takes experimental commands, as `info` shows it.
    pub experimental: bool,
}

/// The engine. Shared by everything that calls it; its operations run to their end whether the caller waits or not.
pub struct Engine {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    pub(crate) events: EventBus,
    pub(crate) containers: Index,
    pub(crate) execs: Execs,
    /// The machine is going down: what stops now was not stopped by its user, and nothing starts any more.
    pub(crate) going_down: AtomicBool,
    pub(crate) reloadable: std::sync::RwLock<Reloadable>,
    /// Held for reading while a container takes volumes into use, for writing while one is removed.
    pub(crate) volumes_in_use: RwLock<()>,
    /// Held for reading while a container takes an image into use, for writing while one is removed.
    pub(crate) images_in_use: RwLock<()>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({:?})", self.containers)
    }
}

impl Engine {
    /// An engine without containers; [`Engine::recover`] finds those that are there.
    pub fn new(ports: Ports, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            ports,
            reloadable: settings.reloadable.clone().into(),
            settings,
            events: EventBus::default(),
            containers: Index::default(),
            execs: Execs::default(),
            going_down: AtomicBool::default(),
            volumes_in_use: RwLock::default(),
            images_in_use: RwLock::default(),
        })
    }

    /// What happens from now on, and what happened of late.
    pub fn events(&self) -> &EventBus {
        &self.events
    }

    pub(crate) fn is_going_down(&self) -> bool {
        self.going_down.load(Ordering::Acquire)
    }

    /// Runs an operation to its end even when its caller leaves.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (done, result) = oneshot::channel();
        self.ports.world.spawn(Box::pin(async move {
            // The caller may have left.
            let _ = done.send(operation.await);
        }));
        result.await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Unavailable,
                "the engine is going down: try again when it is back",
            ))
        })
    }

    /// Tells an event of a container, with its labels, image and name.
    pub(crate) fn tell_container(
        &self,
        container: &Container,
        action: &str,
        more: &[(&str, String)],
    ) {
        let record = container.record();
        let mut attributes: BTreeMap<String, String> = more
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        // Labels win over what is told of the action, name and image over labels: as in Docker.
        attributes.extend(record.config.labels.clone().unwrap_or_default());
        attributes.insert("name".to_owned(), record.name.clone());
        if !record.image_label().is_empty() {
            attributes.insert("image".to_owned(), record.image_label().to_owned());
        }
        let event = self.event("container", action, record.id.to_string(), attributes);
        self.events.publish(EventMessage {
            status: action.to_owned(),
            id: record.id.to_string(),
            from: record.image_label().to_owned(),
            ..event
        });
    }

    /// Tells an event of anything else.
    pub(crate) fn tell(&self, kind: &str, action: &str, id: &str, attributes: &[(&str, &str)]) {
        let attributes = attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let event = self.event(kind, action, id.to_owned(), attributes.collect());
        self.events.publish(if kind == "image" {
            EventMessage {
                status: action.to_owned(),
                id: id.to_owned(),
                ..event
            }
        } else {
            event
        });
    }

    fn event(
        &self,
        kind: &str,
        action: &str,
        id: String,
        attributes: BTreeMap<String, String>,
    ) -> EventMessage {
        let now = self.ports.world.now().0;
        EventMessage {
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor: EventActor { id, attributes },
            scope: "local".to_owned(),
            time: now.div_euclid(1_000_000_000),
            time_nano: now,
            ..EventMessage::default()
        }
    }
}
