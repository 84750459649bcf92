//! The log driver and its options: [`crate::logging`] knows them.

use docker_api::LogConfig;
use errdefs::Result;

/// Names the default driver and checks the options.
pub(super) fn check(log: &mut LogConfig) -> Result<()> {
    crate::logging::merge_and_check(log, &LogConfig::default())
}
