//! Tells that a container joined or left networks.

use super::record::ContainerRecord;
use crate::{Engine, ports::network::Sandbox};

impl Engine {
    /// Tells `action` of every network the container is in. One that shares another's network is in none itself.
    pub(super) async fn tell_networks(
        &self,
        record: &ContainerRecord,
        sandbox: Option<&Sandbox>,
        action: &str,
    ) {
        let ends = sandbox.map(|sandbox| &sandbox.endpoints);
        let names: Vec<&str> = match record.host.network_mode.as_str() {
            mode if mode.starts_with("container:") => Vec::new(),
            mode @ ("host" | "none") => vec![mode],
            _ => ends
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str())
                .collect(),
        };
        for name in names {
            // Removed meanwhile: nobody can look for it.
            let Ok(network) = self.ports.networks.get(name).await else {
                continue;
            };
            let attributes = [
                ("container", record.id.as_str()),
                ("name", network.name.as_str()),
                ("type", network.driver.as_str()),
            ];
            self.tell("network", action, network.id.as_str(), &attributes);
        }
    }
}
