//! Publishing: a port is taken among ours, then with the host, then led to the container by the rules.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use engine::ports::host::{Host, ReserveRequest};
use errdefs::{Error, ErrorKind, Result};

use crate::{
    netlink::{Socket, nft::Element},
    ports::{Ports, Wish},
    record::Published,
};

/// Ports tried with the host when any of several would do. As Docker does.
const ATTEMPTS: usize = 10;

/// Hands out host ports.
pub(crate) struct Publisher {
    pub(crate) host: Arc<dyn Host>,
    /// Ports without an address are published at `::`, too.
    pub(crate) ipv6: bool,
    ports: Mutex<Ports>,
    netfilter: Mutex<Socket>,
}

impl Publisher {
    pub(crate) fn new(host: Arc<dyn Host>, ipv6: bool, ports: Ports, netfilter: Socket) -> Self {
        Self {
            host,
            ipv6,
            ports: Mutex::new(ports),
            netfilter: Mutex::new(netfilter),
        }
    }

    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All wishes, or none.
    ///
    /// # Errors
    /// Docker's texts.
    pub(crate) async fn reserve(
        &self,
        wishes: &[Wish],
        container: Ipv4Addr,
    ) -> Result<Vec<Published>> {
        let mut all = Vec::new();
        for wish in wishes {
            match self.reserve_one(wish, container).await {
                Ok(published) => all.extend(published),
                Err(error) => {
                    self.release(&all).await;
                    return Err(error);
                }
            }
        }
        Ok(all)
    }

    async fn reserve_one(&self, wish: &Wish, container: Ipv4Addr) -> Result<Vec<Published>> {
        let addresses = match wish.address {
            Some(address) => vec![address],
            None if self.ipv6 => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            None => vec![Ipv4Addr::UNSPECIFIED.into()],
        };
        let target = SocketAddr::from((container, wish.container_port));
        let mut rest = wish.ports.clone();
        let mut failure = Error::new(ErrorKind::System, "all ports are allocated");
        for _ in 0..ATTEMPTS {
            let port = match &rest {
                Some(range) if range.start() == range.end() && rest == wish.ports => {
                    let port = *range.start();
                    let taken = self.ports().take(wish.protocol, &addresses, port);
                    taken.map_err(crate::ports::Taken::error)?;
                    Some(port)
                }
                Some(range) => self
                    .ports()
                    .take_from(wish.protocol, &addresses, range.clone()),
                None => self.ports().take_any(wish.protocol, &addresses),
            };
            let Some(port) = port else {
                return Err(failure);
            };
            match self.bind(wish, &addresses, port, target).await {
                Ok(published) => return Ok(published),
                Err(error) => failure = error,
            }
            self.ports().free(wish.protocol, &addresses, port);
            if let Some(range) = &rest {
                let Some(next) = port.checked_add(1).filter(|next| next <= range.end()) else {
                    return Err(failure);
                };
                rest = Some(next..=*range.end());
            }
        }
        Err(failure)
    }

    async fn bind(
        &self,
        wish: &Wish,
        addresses: &[IpAddr],
        port: u16,
        target: SocketAddr,
    ) -> Result<Vec<Published>> {
        let mut all: Vec<Published> = Vec::new();
        for address in addresses {
            let request = ReserveRequest {
                protocol: wish.protocol,
                host_address: *address,
                host_ports: port..=port,
                target,
            };
            match self.host.reserve(request).await {
                Ok(reservation) => all.push(Published {
                    key: wish.key.clone(),
                    protocol: wish.protocol,
                    address: *address,
                    port,
                    target,
                    reservation: Some(reservation.id),
                }),
                Err(error) => {
                    for published in &all {
                        self.release_host(published).await;
                    }
                    return Err(error);
                }
            }
        }
        Ok(all)
    }

    /// Gives host ports back.
    pub(crate) async fn release(&self, published: &[Published]) {
        for one in published {
            self.release_host(one).await;
            self.ports().free(one.protocol, &[one.address], one.port);
        }
    }

    async fn release_host(&self, published: &Published) {
        if let Some(reservation) = published.reservation {
            self.host.release(reservation).await;
        }
    }

    /// Takes what an earlier engine had published, so that nobody else gets it.
    pub(crate) fn mark(&self, published: &[Published]) {
        for one in published {
            if let Err(taken) = self.ports().take(one.protocol, &[one.address], one.port) {
                tracing::warn!(port = taken.port, "two sandboxes have the same port");
            }
        }
    }

    /// Reserves with the host what is [`Publisher::mark`]ed.
    pub(crate) async fn reserve_again(&self, published: &mut [Published]) {
        for one in published {
            if one.reservation.is_some() {
                continue;
            }
            let request = ReserveRequest {
                protocol: one.protocol,
                host_address: one.address,
                host_ports: one.port..=one.port,
                target: one.target,
            };
            match self.host.reserve(request).await {
                Ok(reservation) => one.reservation = Some(reservation.id),
                Err(error) => tracing::warn!(%error, "publish a port again"),
            }
        }
    }

    /// Leads connections to the container. Blocks for microseconds.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn lead(&self, elements: &[Element]) -> io::Result<()> {
        self.netfilter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add_elements(elements)
    }

    /// Leads them no more.
    pub(crate) fn forget(&self, elements: &[Element]) {
        let mut netfilter = self
            .netfilter
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for element in elements {
            if let Err(error) = netfilter.delete_element(element) {
                tracing::warn!(?element, %error, "remove a published port");
            }
        }
    }
}
