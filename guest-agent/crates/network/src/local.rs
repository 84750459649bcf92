//! The networks of this machine.

use std::{
    collections::HashMap,
    fmt, io,
    net::Ipv4Addr,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use docker_api::EndpointSettings;
use engine::{
    id::ContainerId,
    ports::{
        host::Host,
        network::{ConnectRequest, NetworkInfo, Networks, Sandbox},
    },
};
use errdefs::{Classify, Error, ErrorKind, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use tokio::sync::Semaphore;

use crate::{
    arp,
    bridge::{self, MTU},
    namespace::{self, Bridge, Eth0, Namespace, Plan, Pool},
    netlink::{
        Socket,
        route::{self, Mac},
    },
    networks::{BridgeFacts, Kind, Table},
    ports::{Ports, wishes},
    publish::Publisher,
    random,
    reaper::{Reaper, Remains},
    record::{self, Record},
    rules::Rules,
    subnet::{Addresses, Subnet},
};

/// Namespaces that may be on their way out; who brings one more waits.
const MAX_GOING: u32 = 64;

/// How the networks are opened.
#[derive(Clone)]
pub struct Options {
    /// Durable: ids of the networks.
    pub state: PathBuf,
    /// Gone after a boot (a tmpfs): pins of namespaces, records of sandboxes.
    pub run: PathBuf,
    /// Name of the default bridge.
    pub bridge: String,
    /// Subnet of a new default bridge; `None`: 172.17.0.0/16, or another of Docker's that is free.
    pub subnet: Option<Subnet>,
    /// Publish ports without an address at `::`, too ([`crate::ipv6_listenable`] natively).
    pub ipv6_ports: bool,
    /// Namespaces on the bridge that wait for containers (at least 2), see [`Options::new`].
    pub warm: usize,
    /// Holds published ports.
    pub host: Arc<dyn Host>,
}

impl Options {
    /// `docker0`, with three warm namespaces.
    pub fn new(state: impl Into<PathBuf>, run: impl Into<PathBuf>, host: Arc<dyn Host>) -> Self {
        Self {
            state: state.into(),
            run: run.into(),
            bridge: "docker0".to_owned(),
            subnet: None,
            ipv6_ports: crate::ipv6_listenable(),
            warm: 3,
            host,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("state", &self.state)
            .field("run", &self.run)
            .field("bridge", &self.bridge)
            .finish_non_exhaustive()
    }
}

/// The networks of this machine: `bridge`, `host` and `none`.
///
/// Dropping it takes the warm namespaces away and leaves sandboxes, bridge and rules to the next engine.
pub struct Local(Arc<Inner>);

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Local").field(&self.0.records).finish()
    }
}

struct Inner {
    records: PathBuf,
    networks: Table,
    bridge: bridge::Link,
    publisher: Publisher,
    state: Mutex<State>,
    /// Rtnetlink of the machine, and its door for single frames.
    route: Mutex<Socket>,
    frames: OwnedFd,
    on_bridge: Pool,
    alone: Pool,
    reaper: Reaper,
    /// Places for namespaces that are being taken away.
    going: Arc<Semaphore>,
}

struct State {
    addresses: Addresses,
    sandboxes: HashMap<ContainerId, Entry>,
}

enum Entry {
    /// Being connected.
    Coming,
    Connected(Record),
}

fn failed(what: &str) -> impl Fn(io::Error) -> Error {
    move |error| Error::new(ErrorKind::System, format!("{what}: {error}")).with_source(error)
}

impl Local {
    /// Waits until the namespaces and links of what was disconnected are gone.
    pub async fn settled(&self) {
        // Closed never.
        let _all = self.0.going.acquire_many(MAX_GOING).await;
    }

    /// Makes bridge and rules, or finds those of an earlier engine; reads its sandboxes. Blocks for some ten milliseconds.
    ///
    /// # Errors
    /// When the system refuses, `nft` is missing, or every subnet is in use.
    pub fn open(options: Options) -> Result<Arc<Self>> {
        if !bridge::is_link_name(&options.bridge) {
            let text = format!("invalid bridge name {:?}", options.bridge);
            return Err(Error::new(ErrorKind::InvalidParameter, text));
        }
        Self::make(options)
            .map(|inner| Arc::new(Self(Arc::new(inner))))
            .map_err(failed("open the networks"))
    }

    fn make(options: Options) -> io::Result<Inner> {
        let pins = options.run.join("netns");
        let records = options.run.join("sandboxes");
        for folder in [&options.state, &pins, &records] {
            std::fs::create_dir_all(folder)?;
        }
        let mut route = Socket::route()?;
        let mut netfilter = Socket::netfilter()?;
        let bridge = bridge::ensure(&mut route, &options.bridge, options.subnet)?;
        let rules = Rules {
            bridge: &options.bridge,
            subnet: bridge.subnet,
            only_router_for_us: bridge::ensure_forwarding(&options.run.join("was-no-router"))?,
        };
        let loaded = rules.ensure(&mut netfilter, &options.run.join("rules.nft"))?;
        let facts = BridgeFacts {
            name: options.bridge.clone(),
            subnet: bridge.subnet.to_string(),
            gateway: bridge.gateway.to_string(),
            mtu: MTU,
        };
        let networks = Table::open(&options.state.join("networks.json"), &facts)?;
        let ports = Ports::new(ephemeral_ports());
        let publisher = Publisher::new(options.host, options.ipv6_ports, ports, netfilter);
        let mut addresses = Addresses::new(bridge.subnet, bridge.gateway);
        let mut sandboxes = HashMap::new();
        for record in record::load_all(&records)? {
            if let Some(address) = record.address {
                addresses.mark(address);
            }
            publisher.mark(&record.published);
            if loaded && let Err(error) = publisher.lead(&record.elements()) {
                tracing::warn!(%error, "publish ports of an earlier engine");
            }
            if let Some(container) = record.container() {
                sandboxes.insert(container, Entry::Connected(record));
            }
        }
        remove_orphans(&pins, &sandboxes)?;
        let plan = Plan {
            folder: pins,
            bridge: None,
        };
        let on_bridge = Plan {
            bridge: Some(Bridge {
                index: bridge.index,
                mtu: MTU,
            }),
            ..plan.clone()
        };
        let kind = (AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC);
        Ok(Inner {
            records,
            networks,
            bridge,
            publisher,
            state: Mutex::new(State {
                addresses,
                sandboxes,
            }),
            route: Mutex::new(route),
            frames: socket_with(kind.0, kind.1, kind.2, None)?,
            on_bridge: Pool::new(on_bridge, options.warm)?,
            alone: Pool::new(plan, 2)?,
            reaper: Reaper::new()?,
            going: Arc::new(Semaphore::new(MAX_GOING as usize)),
        })
    }
}

/// From where Docker takes ports that nobody named.
fn ephemeral_ports() -> std::ops::RangeInclusive<u16> {
    let read = || {
        let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
        let (first, last) = text.trim().split_once(char::is_whitespace)?;
        let range = first.parse().ok()?..=last.trim().parse().ok()?;
        (!range.is_empty()).then_some(range)
    };
    read().unwrap_or(49153..=65535)
}

/// Pins without a record: an earlier engine's warm ones, or of a connect that it did not live to end. Their links go with them.
fn remove_orphans(
    pins: &std::path::Path,
    sandboxes: &HashMap<ContainerId, Entry>,
) -> io::Result<()> {
    for entry in std::fs::read_dir(pins)? {
        let path = entry?.path();
        let known = sandboxes
            .values()
            .any(|entry| matches!(entry, Entry::Connected(record) if record.path == path));
        if !known {
            namespace::remove_pin(&path);
        }
    }
    Ok(())
}

/// One network that was asked for, checked.
struct Wanted<'a> {
    kind: Kind,
    info: &'a NetworkInfo,
    settings: EndpointSettings,
    mac: Option<Mac>,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wanted(&self, request: &ConnectRequest) -> Result<Option<Wanted<'_>>> {
        let invalid = |text: &str| Error::new(ErrorKind::InvalidParameter, text);
        let (name, settings) = match &request.networks[..] {
            [] => return Ok(None),
            [one] => one,
            _ => {
                return Err(Error::new(
                    ErrorKind::NotImplemented,
                    "a container in several networks is not supported yet",
                ));
            }
        };
        let name = if name == "default" { "bridge" } else { name };
        let (kind, info) = self.networks.find(name)?;
        if kind == Kind::Host {
            return Err(invalid("the host's network is no sandbox"));
        }
        let static_address = settings
            .ipam_config
            .as_ref()
            .is_some_and(|c| !c.ipv4_address.is_empty() || !c.ipv6_address.is_empty());
        if static_address {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!(
                    "invalid config for network {name}: invalid endpoint settings:\n\
                     * user specified IP address is supported on user defined networks only\n\
                     * user specified IP address is supported only when connecting to networks with user configured subnets"
                ),
            ));
        }
        let mac = match settings.mac_address.as_str() {
            "" => None,
            text => Some(
                parse_mac(text).ok_or_else(|| invalid(&format!("invalid MAC address: {text}")))?,
            ),
        };
        Ok(Some(Wanted {
            kind,
            info,
            settings: settings.clone(),
            mac,
        }))
    }

    async fn connect(self: &Arc<Self>, request: &ConnectRequest) -> Result<Sandbox> {
        let wanted = self.wanted(request)?;
        let (wishes, exposed) = wishes(request)?;
        self.announce(request)?;
        let result = match wanted {
            Some(wanted) if wanted.kind == Kind::Bridge => {
                let exposed = exposed.into_keys().collect();
                self.connect_bridge(request, wanted, &wishes, exposed).await
            }
            other => self.connect_alone(request, other).await,
        };
        match result {
            Ok(record) => {
                let sandbox = record.sandbox();
                let entry = Entry::Connected(record);
                self.state()
                    .sandboxes
                    .insert(request.container.clone(), entry);
                Ok(sandbox)
            }
            Err(error) => {
                self.state().sandboxes.remove(&request.container);
                Err(error)
            }
        }
    }

    /// One sandbox a container.
    fn announce(&self, request: &ConnectRequest) -> Result<()> {
        let mut state = self.state();
        if state.sandboxes.contains_key(&request.container) {
            let text = format!("container {} is connected already", request.container);
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        state
            .sandboxes
            .insert(request.container.clone(), Entry::Coming);
        Ok(())
    }

    async fn connect_alone(
        &self,
        request: &ConnectRequest,
        wanted: Option<Wanted<'_>>,
    ) -> Result<Record> {
        let fail = failed("make a network namespace");
        let namespace = self.alone.take().await.map_err(&fail)?;
        let endpoints = wanted.map(|wanted| {
            let settings = EndpointSettings {
                network_id: wanted.info.id.to_string(),
                endpoint_id: random::hex::<32>(),
                ..wanted.settings
            };
            (wanted.info.name.clone(), settings)
        });
        let record = Record {
            container: request.container.to_string(),
            name: request.name.clone(),
            id: namespace.id,
            path: namespace.pin.path().to_owned(),
            link: None,
            address: None,
            endpoints: endpoints.into_iter().collect(),
            exposed: Vec::new(),
            published: Vec::new(),
        };
        record.store(&self.records).map_err(&fail)?;
        namespace.pin.keep();
        Ok(record)
    }

    async fn connect_bridge(
        self: &Arc<Self>,
        request: &ConnectRequest,
        wanted: Wanted<'_>,
        wishes: &[crate::ports::Wish],
        exposed: Vec<String>,
    ) -> Result<Record> {
        let fail = failed("make a network namespace");
        let namespace = self.on_bridge.take().await.map_err(&fail)?;
        let Some(eth0) = namespace.eth0.clone() else {
            return Err(fail(io::Error::other("it has no link")));
        };
        let mac = wanted.mac.unwrap_or(eth0.mac);
        let address = self.state().addresses.take().ok_or_else(|| {
            let text = format!(
                "no available IPv4 addresses on this network's address pools: {} ({})",
                wanted.info.name, wanted.info.id
            );
            Error::new(ErrorKind::System, text)
        })?;
        let endpoint_id = random::hex::<32>();
        let published = match self.publisher.reserve(wishes, address).await {
            Ok(published) => published,
            Err(error) => {
                let remains = Remains {
                    link: Some(eth0.link),
                    pin: None,
                };
                drop(namespace);
                self.take_away(remains, Some(address)).await;
                let kind = error.kind();
                let text = format!(
                    "driver failed programming external connectivity on endpoint {} ({endpoint_id}): {error}",
                    request.name
                );
                return Err(Error::new(kind, text).with_source(error));
            }
        };
        let settings = EndpointSettings {
            mac_address: mac_text(mac),
            network_id: wanted.info.id.to_string(),
            endpoint_id,
            gateway: self.bridge.gateway.to_string(),
            ip_address: address.to_string(),
            ip_prefix_len: self.bridge.subnet.prefix().into(),
            ..wanted.settings
        };
        let record = Record {
            container: request.container.to_string(),
            name: request.name.clone(),
            id: namespace.id.clone(),
            path: namespace.pin.path().to_owned(),
            link: Some(eth0.link.clone()),
            address: Some(address),
            endpoints: vec![(wanted.info.name.clone(), settings)],
            exposed,
            published,
        };
        let furnish = {
            let (inner, record) = (self.clone(), record.clone());
            move || inner.furnish(namespace, &eth0, mac, address, &record)
        };
        let done = tokio::task::spawn_blocking(furnish).await;
        match done.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => Ok(record),
            Err(error) => {
                self.remove(record).await;
                Err(failed("set up the network namespace")(error))
            }
        }
    }

    /// Gives a namespace its address and everybody the way to it.
    fn furnish(
        &self,
        mut namespace: Namespace,
        eth0: &Eth0,
        mac: Mac,
        address: Ipv4Addr,
        record: &Record,
    ) -> io::Result<()> {
        record.store(&self.records)?;
        let mut messages = Vec::with_capacity(3);
        if mac != eth0.mac {
            messages.push(route::set_mac(eth0.index, mac));
        }
        messages.push(route::new_address(eth0.index, address, self.bridge.subnet));
        messages.push(route::new_default_route(eth0.index, self.bridge.gateway));
        let given = namespace.inside.transact(messages);
        given.map_err(|(_, error)| error)?;
        self.publisher.lead(&record.elements())?;
        self.tell_neighbours(address, mac)?;
        namespace.pin.keep();
        Ok(())
    }

    /// Whoever knew the address's last owner would speak to nobody.
    fn tell_neighbours(&self, address: Ipv4Addr, mac: Mac) -> io::Result<()> {
        let index = self.bridge.index;
        let known = route::correct_neighbour(index, address, mac);
        let mut route = self.route.lock().unwrap_or_else(PoisonError::into_inner);
        match route.ask(known) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        arp::announce(&self.frames, index, address, mac)
    }

    /// Takes everything of a sandbox away; its ports first.
    async fn remove(self: &Arc<Self>, record: Record) {
        let elements = record.elements();
        if !elements.is_empty() {
            let inner = self.clone();
            let forget = move || inner.publisher.forget(&elements);
            let _ = tokio::task::spawn_blocking(forget).await;
        }
        self.publisher.release(&record.published).await;
        // Nothing leads to it or names it any more, which is all that anybody waits for: the kernel needs tens of milliseconds for the rest.
        // An engine that is killed meanwhile leaves a pin without record, which the next one removes.
        let file = record.path_in(&self.records);
        if let Err(error) = std::fs::remove_file(&file)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %file.display(), %error, "remove the record of a network namespace");
        }
        let remains = Remains {
            link: record.link,
            pin: Some(record.path),
        };
        let (inner, address) = (self.clone(), record.address);
        // Closed never.
        let place = self.going.clone().acquire_owned().await;
        tokio::spawn(async move {
            inner.take_away(remains, address).await;
            drop(place);
        });
    }

    async fn take_away(&self, remains: Remains, address: Option<Ipv4Addr>) {
        let _ = self.reaper.take_away(remains).await;
        if let Some(address) = address {
            self.state().addresses.free(address);
        }
    }

    async fn disconnect(self: &Arc<Self>, container: &ContainerId) {
        let taken = {
            let mut state = self.state();
            match state.sandboxes.get(container) {
                Some(Entry::Connected(_)) => state.sandboxes.remove(container),
                _ => None,
            }
        };
        if let Some(Entry::Connected(record)) = taken {
            self.remove(record).await;
        }
    }

    async fn recover(self: &Arc<Self>, running: &[ContainerId]) {
        let all: Vec<(ContainerId, Record)> = {
            let state = self.state();
            let connected = |(id, entry): (&ContainerId, &Entry)| match entry {
                Entry::Connected(record) => Some((id.clone(), record.clone())),
                Entry::Coming => None,
            };
            state.sandboxes.iter().filter_map(connected).collect()
        };
        let mut kept = Vec::new();
        for (container, mut record) in all {
            if !running.contains(&container) || !namespace::is_pinned(&record.path) {
                self.disconnect(&container).await;
                continue;
            }
            self.publisher.reserve_again(&mut record.published).await;
            kept.extend(record.published.iter().filter_map(|one| one.reservation));
            // Its container may have ended, and been disconnected, meanwhile.
            let mut state = self.state();
            match state.sandboxes.get_mut(&container) {
                Some(entry @ Entry::Connected(_)) => *entry = Entry::Connected(record),
                _ => tracing::debug!(%container, "disconnected while its ports were taken again"),
            }
        }
        self.publisher.host.keep(&kept).await;
    }
}

fn parse_mac(text: &str) -> Option<Mac> {
    let mut mac = Mac::default();
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        // Numbers may have a sign for Rust; hardware addresses have none.
        let digits = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
        let part = parts.next().filter(digits)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    (parts.next().is_none() && mac[0] & 1 == 0).then_some(mac)
}

fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Runs to its end, whoever asked for it leaves or not.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(work)
        .await
        .unwrap_or_else(|error| Err(failed("work on a network")(io::Error::other(error))))
}

#[async_trait]
impl Networks for Local {
    async fn list(&self) -> Result<Vec<NetworkInfo>> {
        Ok(self.0.networks.list())
    }

    async fn get(&self, name: &str) -> Result<NetworkInfo> {
        self.0.networks.find(name).map(|(_, info)| info.clone())
    }

    async fn connect(&self, request: ConnectRequest) -> Result<Sandbox> {
        let inner = self.0.clone();
        whole(async move { inner.connect(&request).await }).await
    }

    async fn sandbox(&self, container: &ContainerId) -> Result<Option<Sandbox>> {
        Ok(match self.0.state().sandboxes.get(container) {
            Some(Entry::Connected(record)) => Some(record.sandbox()),
            _ => None,
        })
    }

    async fn disconnect(&self, container: &ContainerId) -> Result<()> {
        let (inner, container) = (self.0.clone(), container.clone());
        whole(async move {
            inner.disconnect(&container).await;
            Ok(())
        })
        .await
    }

    async fn recover(&self, running: &[ContainerId]) -> Result<()> {
        let (inner, running) = (self.0.clone(), running.to_vec());
        whole(async move {
            inner.recover(&running).await;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_and_written() {
        let mac = parse_mac("02:42:ac:11:00:99").expect("good");
        assert_eq!(mac_text(mac), "02:42:ac:11:00:99");
        for text in [
            "",
            "02:42",
            "01:42:ac:11:00:99",
            "02:42:ac:11:00:99:1",
            "+2:42:ac:11:00:99",
        ] {
            assert_eq!(parse_mac(text), None, "{text}");
        }
    }
}
