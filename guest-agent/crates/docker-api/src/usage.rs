//! Use of disk. Docker API: GET /system/df.

use serde::Serialize;

/// What one kind of things takes; since 1.52.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Usage<T> {
    /// Things in use.
    pub active_count: usize,
    /// All of them.
    pub total_count: usize,
    /// Bytes that removing those not in use gives back.
    pub reclaimable: u64,
    /// Bytes.
    pub total_size: u64,
    /// The things; none: not asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<T>,
}
