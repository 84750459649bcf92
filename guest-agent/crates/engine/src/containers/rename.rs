//! Gives a container another name.

use std::sync::Arc;

use errdefs::{Error, ErrorKind, Result};

use super::name;
use crate::Engine;

impl Engine {
    /// Renames it. Docker API: POST /containers/{id}/rename. Durable when it returns.
    ///
    /// # Errors
    /// `InvalidParameter` for no name or a bad one, `Conflict` for one that is taken.
    pub async fn rename_container(self: &Arc<Self>, reference: &str, new: &str) -> Result<()> {
        let invalid = |text: &str| Error::new(ErrorKind::InvalidParameter, text);
        if reference.is_empty() || new.is_empty() {
            return Err(invalid("Neither old nor new names may be empty"));
        }
        let container = self.containers.find(reference)?;
        // Shown with its slash when it is refused.
        let slashed = format!("/{}", new.strip_prefix('/').unwrap_or(new));
        let new = name::check(&slashed)
            .map_err(|error| error.context("Error when allocating new name"))?
            .to_owned();
        let engine = Arc::clone(self);
        self.to_the_end(async move {
            let _run = container.run.lock().await;
            let mut record = (*container.record()).clone();
            if record.name == new {
                return Err(invalid(
                    "Renaming a container with the same name as its current name",
                ));
            }
            engine
                .containers
                .reserve(&new, &record.id)
                .map_err(|error| error.context("Error when allocating new name"))?;
            let old = std::mem::replace(&mut record.name, new.clone());
            if let Err(error) = engine.ports.store.put(&record).await {
                engine.containers.release(&new, &record.id);
                return Err(error);
            }
            engine.containers.release(&old, &record.id);
            container.set_record(record);
            engine.tell_container(&container, "rename", &[("oldName", format!("/{old}"))]);
            Ok(())
        })
        .await
    }
}
