//! New images: of a container, or of an archive of files.

use std::sync::Arc;

use docker_api::ContainerConfig;
use errdefs::{Error, ErrorKind, Result};
use oci::{Digest, Reference};

use super::{
    config_of::{complete, config_of},
    instructions, reference,
};
use crate::{
    Engine,
    containers::{container::Container, state::Phase},
    ports::{ByteReader, commits::NewImage},
    time::rfc3339,
};

/// An image that is asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CommitRequest {
    /// Repository of its name; empty: it gets none.
    pub repository: String,
    /// Tag of its name.
    pub tag: String,
    /// Who made it.
    pub author: String,
    /// What is said of it.
    pub comment: String,
    /// Instructions of a Dockerfile that change its settings.
    pub changes: Vec<String>,
}

impl CommitRequest {
    fn name(&self) -> Result<Option<Reference>> {
        if self.repository.is_empty() {
            return Ok(None);
        }
        let name = if self.tag.is_empty() {
            reference(&self.repository)?
        } else {
            reference(&format!("{}:{}", self.repository, self.tag))?
        };
        if name.digest().is_some() {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "cannot import digest reference",
            ));
        }
        Ok(Some(name.or_latest()))
    }
}

impl Engine {
    /// Makes an image of a container; `config` stands in for the container's settings. Docker API: POST /commit.
    ///
    /// # Errors
    /// `InvalidParameter` for the name and the instructions, `Conflict` for a container that is being removed.
    pub async fn commit_container(
        self: &Arc<Self>,
        container: &str,
        config: Option<ContainerConfig>,
        pause: bool,
        request: CommitRequest,
    ) -> Result<Digest> {
        let name = request.name()?;
        let (engine, container) = (Arc::clone(self), self.containers.find(container)?);
        self.to_the_end(async move {
            container.refuse_on_its_way_out("commit")?;
            let record = container.record();
            let mut config = config.unwrap_or_else(|| record.config.clone());
            instructions::apply(&mut config, &request.changes)?;
            complete(&mut config, &record.config);
            let created_by = record.config.cmd.clone().unwrap_or_default().join(" ");
            let image = engine.new_image(&config, request, created_by, name.clone(), None);
            let id = container.id.as_str();
            // It may have ended since, which is as good.
            let is_paused = pause
                && container.state().phase == Phase::Running
                && engine.pause_container(id).await.is_ok();
            let made = engine.commit_still(&container, image, name).await;
            if is_paused && let Err(error) = engine.unpause_container(id).await {
                tracing::warn!(id, %error, "thaw a container after its commit");
            }
            made
        })
        .await
    }

    /// Makes the image, and tells of it.
    async fn commit_still(
        &self,
        container: &Container,
        image: NewImage,
        name: Option<Reference>,
    ) -> Result<Digest> {
        let comment = image.comment.clone();
        let digest = self.ports.commits.commit(&container.id, image).await?;
        let shown = digest.to_string();
        self.tell("image", "create", &shown, &[("name", &shown)]);
        let familiar = name.map(|name| name.familiar()).unwrap_or_default();
        if !familiar.is_empty() {
            self.tell("image", "tag", &shown, &[("name", &familiar)]);
        }
        let attributes = [
            ("comment", comment),
            ("imageID", shown),
            ("imageRef", familiar),
        ];
        self.tell_container(container, "commit", &attributes);
        Ok(digest)
    }

    /// Makes an image of one layer. Docker API: POST /images/create with `fromSrc=-`.
    ///
    /// # Errors
    /// `InvalidParameter` for the name, the instructions, the platform and the archive.
    pub async fn import_image(
        self: &Arc<Self>,
        request: CommitRequest,
        platform: Option<String>,
        archive: ByteReader,
    ) -> Result<Digest> {
        let name = request.name()?;
        let mut config = ContainerConfig::default();
        instructions::apply(&mut config, &request.changes)?;
        let image = self.new_image(&config, request, String::new(), name, platform);
        let engine = Arc::clone(self);
        self.to_the_end(async move {
            let digest = engine.ports.commits.import(archive, image).await?;
            let shown = digest.to_string();
            engine.tell("image", "import", &shown, &[("name", &shown)]);
            Ok(digest)
        })
        .await
    }

    fn new_image(
        &self,
        config: &ContainerConfig,
        request: CommitRequest,
        created_by: String,
        name: Option<Reference>,
        platform: Option<String>,
    ) -> NewImage {
        NewImage {
            created: rfc3339(self.ports.world.now()),
            author: request.author,
            comment: request.comment,
            created_by,
            config: config_of(config),
            name,
            platform,
        }
    }
}
