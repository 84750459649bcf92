//! One small process a container: stdio, logs, exit status. And the engine's side of it.
//!
//! ```text
//!   engine ─ Shims (client) ─► spawner ─ fork ─► shim ─ runtime ─► container
//!      └────── Shim (client) ── socket ────────────┘ └─► <id>-json.log ─► Logs (reader) ─ engine
//! ```

mod address;
pub mod client;
pub mod frame;
pub mod hostile;
pub mod log;
mod process;
mod protocol;
pub mod spawner;
mod sys;
