//! What a registry has under a name, without fetching it.

use docker_api::{
    image::DistributionInspect,
    inspect::{OciDescriptor, OciPlatform},
};
use errdefs::{Error, ErrorKind, Result};
use oci::Reference;
use tokio::io::AsyncReadExt;

use super::{pull::parse, reference};
use crate::{
    Engine,
    ports::{images::Descriptor, registry::Credentials},
};

/// Largest config of an image that is looked into.
const MAX_CONFIG_BYTES: u64 = 8 << 20;

impl Engine {
    /// Asks the registry what the name points at, and for which platforms. Docker API: GET /distribution/{name}/json.
    ///
    /// # Errors
    /// `InvalidParameter` for a bad name; else the registry's, in Docker's words.
    pub async fn inspect_distribution(
        &self,
        name: &str,
        credentials: Option<&Credentials>,
    ) -> Result<DistributionInspect> {
        let is_id = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id {
            return Err(Error::new(
                ErrorKind::System,
                "no manifest found for full image ID",
            ));
        }
        let name = reference(name)?.or_latest();
        let (target, bytes) = self.ports.registry.manifest(&name, credentials).await?;
        let document = parse(&bytes, &target.digest)?;
        let platforms = match &document.config {
            None => {
                let listed = document.manifests.iter();
                listed
                    .filter_map(|entry| entry.platform.as_ref())
                    .map(shown)
                    .collect()
            }
            Some(config) => {
                let own = self
                    .platform_of(&name, &config.descriptor(), credentials)
                    .await?;
                own.into_iter().collect()
            }
        };
        Ok(DistributionInspect {
            descriptor: OciDescriptor {
                size: bytes.len() as u64,
                ..super::descriptor(&target)
            },
            platforms,
        })
    }

    /// The platform an image's config names; none: it is no image's.
    async fn platform_of(
        &self,
        name: &Reference,
        config: &Descriptor,
        credentials: Option<&Credentials>,
    ) -> Result<Option<OciPlatform>> {
        let (reader, _) = self
            .ports
            .registry
            .blob(name, config, 0, credentials)
            .await?;
        let mut bytes = Vec::new();
        reader
            .take(MAX_CONFIG_BYTES)
            .read_to_end(&mut bytes)
            .await
            .map_err(|error| {
                Error::new(
                    ErrorKind::System,
                    format!("read config {}: {error}", config.digest),
                )
            })?;
        let platform: Option<OciPlatform> = serde_json::from_slice(&bytes).ok();
        Ok(
            platform
                .filter(|platform| !platform.os.is_empty() || !platform.architecture.is_empty()),
        )
    }
}

fn shown(platform: &oci::Platform) -> OciPlatform {
    OciPlatform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
    }
}
