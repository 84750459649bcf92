//! Reads a container's output back.

use errdefs::{Error, ErrorKind, Result};

use crate::{
    Engine, logging,
    ports::{
        BoxStream,
        containers::{LogEntry, LogQuery},
    },
};

impl Engine {
    /// Opens the log. Docker API: GET /containers/{id}/logs. The first part says whether the container has a terminal.
    ///
    /// # Errors
    /// `NotFound`; `InvalidParameter` when no stream was chosen; `NotImplemented` for a log that cannot be read.
    pub async fn container_logs(
        &self,
        reference: &str,
        mut query: LogQuery,
    ) -> Result<(bool, BoxStream<Result<LogEntry>>)> {
        if !(query.stdout || query.stderr) {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "Bad parameters: you must choose at least one stream",
            ));
        }
        let container = self.containers.find(reference)?;
        let record = container.record();
        let mut life = container.watch();
        let (ends, running) = {
            let life = life.borrow_and_update();
            (
                life.ends,
                life.state.is_running() || life.state.phase == super::state::Phase::Restarting,
            )
        };
        query.follow &= running;
        let ended = Box::pin(async move {
            // A restart goes on in the same log: only the last end counts.
            let over = |life: &super::container::Life| {
                life.removed
                    || life.ends != ends
                        && !life.state.is_running()
                        && life.state.phase != super::state::Phase::Restarting
            };
            let _ = life.wait_for(over).await;
        });
        let target = logging::target(
            &record,
            &self.ports.world.host_name(),
            &self.ports.store.folder(&record.id),
        )?;
        let entries = self.ports.logs.read(&target, query, ended).await?;
        Ok((record.tty(), entries))
    }
}
