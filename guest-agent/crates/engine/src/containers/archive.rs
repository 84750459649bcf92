//! Files in and out of a container, whether it runs or not: `docker cp`.

use std::sync::Arc;

use errdefs::{Classify, Error, ErrorKind, Result};

use super::{
    container::Container,
    paths::{absolute, base, trailing},
    tree::{Ending, HeldTree, bare_tree, guard},
};
use crate::{
    Engine,
    ports::{
        ByteReader,
        files::{GetRequest, Packing, PathStat, PutRequest},
    },
    spec,
};

/// How an archive is unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// A folder does not take the place of anything else, nor anything else that of a folder.
    pub keep_kinds: bool,
    /// What is made belongs to the container's user.
    pub to_user: bool,
}

/// What is at a path, under the name that clients know it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedStat {
    /// The last part of the path.
    pub name: String,
    /// What is there.
    pub stat: PathStat,
}

impl Engine {
    /// Looks at a path. Docker API: HEAD /containers/{id}/archive.
    ///
    /// # Errors
    /// `NotFound`: `Could not find the file /x in container NAME`.
    pub async fn stat_path(self: &Arc<Self>, reference: &str, path: &str) -> Result<NamedStat> {
        let container = self.containers.find(reference)?;
        let held = self.hold_tree(&container).await?;
        let stat = self.ports.files.stat(&held.tree, path).await;
        Ok(NamedStat {
            name: base(path).to_owned(),
            stat: stat.map_err(|error| told(error, reference, path))?,
        })
    }

    /// Opens a path as a tar. Docker API: GET /containers/{id}/archive.
    ///
    /// # Errors
    /// As [`Engine::stat_path`].
    pub async fn get_archive(
        self: &Arc<Self>,
        reference: &str,
        path: &str,
        packing: Packing,
    ) -> Result<(NamedStat, ByteReader)> {
        let container = self.containers.find(reference)?;
        let held = self.hold_tree(&container).await?;
        let whole = absolute(path);
        let name = base(&whole).to_owned();
        let request = GetRequest {
            path: whole.clone(),
            name: if name == "/" {
                String::new()
            } else {
                name.clone()
            },
            packing,
        };
        let (stat, archive) = self
            .ports
            .files
            .get(&held.tree, request)
            .await
            .map_err(|error| told(error, reference, path))?;
        self.tell_container(&container, "archive-path", &[]);
        let archive: ByteReader = Box::new(Ending::new(archive, move || drop(held)));
        Ok((NamedStat { name, stat }, archive))
    }

    /// Unpacks a tar into a folder. What was made before an error stays. Docker API: PUT /containers/{id}/archive.
    ///
    /// # Errors
    /// `NotFound` as [`Engine::stat_path`]; `InvalidParameter` when it is no folder, or read-only; else in Docker's words.
    pub async fn put_archive(
        self: &Arc<Self>,
        reference: &str,
        path: &str,
        options: PutOptions,
        archive: ByteReader,
    ) -> Result<()> {
        let container = self.containers.find(reference)?;
        let request = PutRequest {
            path: spec::clean_path(&format!("/{path}")),
            trailing: trailing(path),
            guard: guard(&container.record()),
            keep_kinds: options.keep_kinds,
            owner: self.owner(&container, options).await,
        };
        let (engine, user) = (Arc::clone(self), (reference.to_owned(), path.to_owned()));
        self.to_the_end(async move {
            // One that is still stays so until its own layer is let go: nobody else may mount it.
            let run = container.run.lock().await;
            let still = bare_tree(&container).pid.is_none().then_some(run);
            let held: HeldTree = engine.hold_tree(&container).await?;
            let done = engine.ports.files.put(&held.tree, request, archive).await;
            drop(still);
            done.map_err(|error| told(error, &user.0, &user.1))?;
            engine.tell_container(&container, "extract-to-dir", &[]);
            Ok(())
        })
        .await
    }

    /// Whom unpacked files belong to; nobody: whom the archive says.
    async fn owner(
        &self,
        container: &Container,
        options: PutOptions,
    ) -> Result<Option<(u32, u32)>> {
        let record = container.record();
        if !options.to_user || record.config.user.is_empty() {
            return Ok(None);
        }
        let file = |path: &'static str| self.ports.rootfs.read_file(&container.id, path.as_ref());
        let (passwd, group) = futures_util::try_join!(file("/etc/passwd"), file("/etc/group"))?;
        spec::owner(&record.config.user, passwd.as_deref(), group.as_deref()).map(Some)
    }
}

/// What a client reads when nothing is there.
fn told(error: Error, reference: &str, path: &str) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    let text = format!("Could not find the file {path} in container {reference}");
    Error::new(ErrorKind::NotFound, text).with_source(error)
}
