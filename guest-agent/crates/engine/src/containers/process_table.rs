//! The processes of a container (`docker top`).

use docker_api::inspect::ContainerTop;

/// Makes the table of `ps` for some processes. Served by the rim: it reads /proc.
pub trait ProcessTable: Send + Sync {
    /// The rows of these processes.
    ///
    /// # Errors
    /// Options it does not know.
    fn rows(&self, pids: &[u32], arguments: &str) -> errdefs::Result<ContainerTop>;
}
