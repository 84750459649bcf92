//! Time, chance and tasks.

use std::{future::Future, pin::Pin, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Nanoseconds since 1970-01-01 UTC. Shown as RFC 3339 with nine fraction digits (Go's `RFC3339Nano` drops trailing zeros).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(pub i64);

/// The world outside of pure decisions.
#[async_trait]
pub trait World: Send + Sync {
    /// Wall clock.
    fn now(&self) -> Timestamp;
    /// 32 bytes nobody can guess.
    fn random(&self) -> [u8; 32];
    /// The machine's own /etc/resolv.conf; empty when there is none.
    fn resolv_conf(&self) -> String;
    /// The machine's own /etc/hosts; none: it cannot be read.
    fn hosts(&self) -> Option<String> {
        None
    }
    /// The machine's name.
    fn host_name(&self) -> String;
    /// Ends after `duration`.
    async fn sleep(&self, duration: Duration);
    /// Runs a task to its end, whoever asked for it leaves or not. The caller's shutdown waits for it.
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>);
}
