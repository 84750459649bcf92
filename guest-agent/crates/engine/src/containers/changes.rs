//! How a container differs from its image: `docker diff`.

use docker_api::files::FilesystemChange;
use errdefs::Result;

use crate::{Engine, ports::files::ChangeKind};

impl Engine {
    /// Lists the differences; none when there are none. Docker API: GET /containers/{id}/changes.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn container_changes(
        &self,
        reference: &str,
    ) -> Result<Option<Vec<FilesystemChange>>> {
        let container = self.containers.find(reference)?;
        let changes = self.ports.files.changes(&container.id).await?;
        let shown = changes.into_iter().map(|change| FilesystemChange {
            path: change.path,
            kind: match change.kind {
                ChangeKind::Modified => 0,
                ChangeKind::Added => 1,
                ChangeKind::Deleted => 2,
            },
        });
        Ok(Some(shown.collect::<Vec<_>>()).filter(|changes| !changes.is_empty()))
    }
}
