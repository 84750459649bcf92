//! Networks, as users handle them. Networks that users make are not there yet.

use docker_api::network::{Ipam, IpamConfig, NetworkContainer, NetworkResource, NetworksPruned};
use errdefs::{Error, ErrorKind, Result};

use crate::{
    Engine,
    containers::{
        list::{Filters, check_names, labels_fit, values},
        prune::until,
    },
    ports::network::NetworkInfo,
    time::rfc3339,
};

/// Networks that are always there.
const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

impl Engine {
    /// Lists them. Docker API: GET /networks.
    ///
    /// # Errors
    /// `InvalidParameter` for a bad filter.
    pub async fn list_networks(&self, filters: &Filters) -> Result<Vec<NetworkResource>> {
        check_names(
            filters,
            &["dangling", "driver", "id", "label", "name", "scope", "type"],
        )?;
        let any = |name: &str, fits: &dyn Fn(&str) -> bool| {
            !filters.contains_key(name) || values(filters, name).any(fits)
        };
        if let Some(kind) =
            values(filters, "type").find(|kind| !matches!(*kind, "builtin" | "custom"))
        {
            return Err(Error::new(
                ErrorKind::System,
                format!("invalid filter: 'type'='{kind}'"),
            ));
        }
        let all = self.ports.networks.list().await?.into_iter();
        let listed = all.filter(|network| {
            let builtin = PREDEFINED.contains(&network.name.as_str());
            any("name", &|part| network.name.contains(part))
                && any("id", &|part| network.id.as_str().contains(part))
                && any("driver", &|driver| network.driver == driver)
                && any("scope", &|scope| scope == "local")
                && any("type", &|kind| (kind == "builtin") == builtin)
                && any("dangling", &|wanted| {
                    matches!(wanted, "0" | "false")
                        == (builtin || !self.ends_in(network).is_empty())
                })
                && labels_fit(filters, "label", Some(&network.labels))
        });
        Ok(listed.map(shown).collect())
    }

    /// Shows one, with who is connected. Docker API: GET /networks/{id}.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn inspect_network(&self, name: &str) -> Result<NetworkResource> {
        let network = self.ports.networks.get(name).await?;
        let containers = self.ends_in(&network);
        Ok(NetworkResource {
            containers,
            ..shown(network)
        })
    }

    /// Removes one. Docker API: DELETE /networks/{id}.
    ///
    /// # Errors
    /// `Forbidden` for those that are always there.
    pub async fn remove_network(&self, name: &str) -> Result<()> {
        let network = self.ports.networks.get(name).await?;
        Err(Error::new(
            ErrorKind::Forbidden,
            format!(
                "{} is a pre-defined network and cannot be removed",
                network.name
            ),
        ))
    }

    /// Removes those of users that nobody is in: none, until users can make some. Docker API: POST /networks/prune.
    ///
    /// # Errors
    /// `InvalidParameter` for a bad filter.
    pub fn prune_networks(&self, filters: &Filters) -> Result<NetworksPruned> {
        check_names(filters, &["label", "label!", "until"])?;
        until(filters, self.ports.world.now())?;
        self.tell("network", "prune", "", &[("reclaimed", "0")]);
        Ok(NetworksPruned::default())
    }

    fn ends_in(
        &self,
        network: &NetworkInfo,
    ) -> std::collections::BTreeMap<String, NetworkContainer> {
        let mut ends = std::collections::BTreeMap::new();
        for container in self.containers.all() {
            let Some(sandbox) = container.sandbox() else {
                continue;
            };
            for (_, end) in sandbox
                .endpoints
                .iter()
                .filter(|(name, _)| *name == network.name)
            {
                let with_prefix = |address: &str, length: i64| {
                    if address.is_empty() {
                        String::new()
                    } else {
                        format!("{address}/{length}")
                    }
                };
                let shown = NetworkContainer {
                    name: container.record().name.clone(),
                    endpoint_id: end.endpoint_id.clone(),
                    mac_address: end.mac_address.clone(),
                    ipv4_address: with_prefix(&end.ip_address, end.ip_prefix_len),
                    ipv6_address: with_prefix(&end.global_ipv6_address, end.global_ipv6_prefix_len),
                };
                ends.insert(container.id.to_string(), shown);
            }
        }
        ends
    }
}

fn shown(network: NetworkInfo) -> NetworkResource {
    let config: Vec<IpamConfig> = network
        .subnets
        .into_iter()
        .map(|(subnet, gateway)| IpamConfig {
            subnet,
            gateway: gateway.unwrap_or_default(),
        })
        .collect();
    NetworkResource {
        name: network.name,
        id: network.id.to_string(),
        created: rfc3339(network.created),
        scope: "local".to_owned(),
        driver: network.driver,
        enable_ipv4: true,
        enable_ipv6: network.ipv6,
        ipam: Ipam {
            driver: "default".to_owned(),
            options: None,
            config: (!config.is_empty()).then_some(config),
        },
        internal: network.internal,
        options: network.options,
        labels: network.labels,
        ..NetworkResource::default()
    }
}
