//! Finds containers by id, name or the beginning of an id.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use errdefs::{Error, ErrorKind, Result};

use super::container::Container;
use crate::id::ContainerId;

/// All containers.
#[derive(Default)]
pub struct Index(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    by_id: BTreeMap<String, Arc<Container>>,
    names: HashMap<String, ContainerId>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({})", self.tables().by_id.len())
    }
}

impl Index {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a name for a container that is being made or renamed.
    ///
    /// # Errors
    /// `Conflict` in Docker's words.
    pub(crate) fn reserve(&self, name: &str, id: &ContainerId) -> Result<()> {
        let mut tables = self.tables();
        if let Some(holder) = tables.names.get(name) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
                ),
            ));
        }
        tables.names.insert(name.to_owned(), id.clone());
        Ok(())
    }

    /// Gives a name back, if it is still this container's.
    pub(crate) fn release(&self, name: &str, id: &ContainerId) {
        let mut tables = self.tables();
        if tables.names.get(name) == Some(id) {
            tables.names.remove(name);
        }
    }

    pub(crate) fn insert(&self, container: Arc<Container>) {
        self.tables()
            .by_id
            .insert(container.id.to_string(), container);
    }

    pub(crate) fn remove(&self, id: &ContainerId) {
        self.tables().by_id.remove(id.as_str());
    }

    /// All, in no order that means anything.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.tables().by_id.values().cloned().collect()
    }

    pub(crate) fn by_id(&self, id: &ContainerId) -> Option<Arc<Container>> {
        self.tables().by_id.get(id.as_str()).cloned()
    }

    /// By full id, name (with or without slash) or unique beginning of an id.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidParameter` when several ids begin so.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Container>> {
        let tables = self.tables();
        if let Some(container) = tables.by_id.get(reference) {
            return Ok(Arc::clone(container));
        }
        let name = reference.strip_prefix('/').unwrap_or(reference);
        if let Some(container) = tables
            .names
            .get(name)
            .and_then(|id| tables.by_id.get(id.as_str()))
        {
            return Ok(Arc::clone(container));
        }
        // A link is a name, too.
        let linked = name.split_once('/').and_then(|(parent, alias)| {
            let parent = tables.by_id.get(tables.names.get(parent)?.as_str())?;
            let record = parent.record();
            let link = record.links.iter().find(|link| link.alias == alias)?;
            tables.by_id.get(link.child.as_str())
        });
        if let Some(container) = linked {
            return Ok(Arc::clone(container));
        }
        let mut matches = tables
            .by_id
            .range(reference.to_owned()..)
            .take_while(|(id, _)| !reference.is_empty() && id.starts_with(reference));
        match (matches.next(), matches.next()) {
            (Some((_, container)), None) => Ok(Arc::clone(container)),
            (Some(_), Some(_)) => Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("multiple IDs found with provided prefix: {reference}"),
            )),
            (None, _) => Err(Error::new(
                ErrorKind::NotFound,
                format!("No such container: {reference}"),
            )),
        }
    }
}
