//! One probe: an exec whose output is read here.

use std::{pin::pin, sync::Arc, time::Duration};

use docker_api::exec::{ExecConfig, ExecStartConfig};
use errdefs::{Error, ErrorKind, Result};
use futures_util::future::{Either, select};

use super::{Check, ProbeResult, output::Output};
use crate::{Engine, containers::container::Container, duration::go_duration};

/// How long a probe may take until its program runs; that time does not count as the program's.
const BEGINS_WITHIN: Duration = Duration::from_secs(30);
const SIGKILL: i32 = 9;
/// Exit code of a probe that has none.
const NO_CODE: i32 = -1;

impl Engine {
    /// Probes once. When `given_up` ends, the program is killed and the result is worth nothing.
    pub(super) async fn probe(
        self: &Arc<Self>,
        container: &Arc<Container>,
        check: &Check,
        given_up: impl Future<Output = ()>,
    ) -> ProbeResult {
        let start = self.ports.world.now();
        let (exit_code, output) = match self.run_probe(container, check, given_up).await {
            Ok(result) => result,
            Err(error) => {
                tracing::debug!(id = container.id.as_str(), %error, "probe a container's health");
                (NO_CODE, error.message().to_owned())
            }
        };
        ProbeResult {
            start,
            end: self.ports.world.now(),
            exit_code,
            output,
        }
    }

    async fn run_probe(
        self: &Arc<Self>,
        container: &Arc<Container>,
        check: &Check,
        given_up: impl Future<Output = ()>,
    ) -> Result<(i32, String)> {
        let record = container.record();
        let config = ExecConfig {
            user: record.config.user.clone(),
            working_dir: record.config.working_dir.clone(),
            attach_stdout: true,
            attach_stderr: true,
            cmd: Some(check.command.clone()),
            ..ExecConfig::default()
        };
        let id = self.create_exec(container.id.as_str(), config).await?;
        let started = self.start_exec(id.as_str(), &ExecStartConfig::default())?;
        let begun = select(started.stream, self.ports.world.sleep(BEGINS_WITHIN));
        let stream = match begun.await {
            Either::Left((stream, _)) => stream?,
            Either::Right(_) => {
                return Err(Error::new(
                    ErrorKind::System,
                    format!(
                        "timed out starting health check for container {}",
                        container.id
                    ),
                ));
            }
        };
        let mut output = Output::default();
        let in_time = {
            let reading = pin!(async {
                if let Some(stream) = stream {
                    output.read(stream).await;
                }
                started.known.await;
            });
            let given_up = pin!(given_up);
            let patience = pin!(select(self.ports.world.sleep(check.timeout), given_up));
            match select(reading, patience).await {
                Either::Left(_) => true,
                Either::Right((_, reading)) => {
                    if let Some(shim) = container.shim()
                        && let Err(error) = shim.exec_signal(&id, SIGKILL).await
                    {
                        tracing::debug!(id = container.id.as_str(), %error, "kill a health probe");
                    }
                    // Probes that die slowly do not pile up.
                    reading.await;
                    false
                }
            }
        };
        let text = output.text();
        if !in_time {
            let what = format!(
                "Health check exceeded timeout ({})",
                go_duration(check.timeout)
            );
            let text = if text.is_empty() {
                what
            } else {
                format!("{what}: {text}")
            };
            return Ok((NO_CODE, text));
        }
        let code = self.inspect_exec(id.as_str())?.exit_code.ok_or_else(|| {
            Error::new(
                ErrorKind::System,
                format!(
                    "healthcheck for container {} has no exit code",
                    container.id
                ),
            )
        })?;
        Ok((code, text))
    }
}
