//! What the kernel says of running containers, as it says it.
//!
//! Reads files of /proc and of the unified cgroup hierarchy and hands their text on; what it means is known to `engine` only. Nothing is
//! kept between two looks, and nothing is read when nobody asks. What a file holds may be in the hands of a container: every one is read to
//! a bound.
//!
//! Standards: Linux, Documentation/filesystems/proc.rst and Documentation/admin-guide/cgroup-v2.rst.

mod bounded;
mod group;
mod processes;

use std::path::PathBuf;

use async_trait::async_trait;
use engine::ports::observe::{Observer, ProcessTable, SampleFiles, SampleRequest};
use errdefs::{Error, ErrorKind, Result};

/// Looks at this machine.
#[derive(Debug)]
pub struct LocalObserver {
    cgroup_root: PathBuf,
}

impl LocalObserver {
    /// With the mount of the unified cgroup hierarchy.
    pub fn new(cgroup_root: PathBuf) -> Self {
        Self { cgroup_root }
    }
}

#[async_trait]
impl Observer for LocalObserver {
    async fn processes(&self, pids: &[u32]) -> Result<ProcessTable> {
        let pids = pids.to_vec();
        blocking(move || processes::read(&pids)).await
    }

    async fn sample(&self, request: &SampleRequest<'_>) -> Result<SampleFiles> {
        let path = request.cgroup.strip_prefix("/").unwrap_or(request.cgroup);
        let (folder, network_of) = (self.cgroup_root.join(path), request.network_of);
        blocking(move || group::read(&folder, network_of)).await
    }
}

/// Reading these files can wait for locks in the kernel.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::new(
            ErrorKind::System,
            format!("look at a container: {error}"),
        )),
    }
}
