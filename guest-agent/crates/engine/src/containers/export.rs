//! A container's root as one archive, without its volumes.

use std::sync::Arc;

use errdefs::Result;

use super::tree::{Ending, bare_tree};
use crate::{Engine, ports::ByteReader};

impl Engine {
    /// Opens a container's root as a tar. Docker API: GET /containers/{id}/export.
    ///
    /// # Errors
    /// `Conflict` for one that is being removed.
    pub async fn export_container(self: &Arc<Self>, reference: &str) -> Result<ByteReader> {
        let container = self.containers.find(reference)?;
        container.refuse_on_its_way_out("export")?;
        let archive = self
            .ports
            .files
            .export(&bare_tree(&container))
            .await
            .map_err(|error| error.context(format!("Error exporting container {reference}")))?;
        let engine = Arc::clone(self);
        let told = move || engine.tell_container(&container, "export", &[]);
        Ok(Box::new(Ending::new(archive, told)))
    }
}
