//! The engine's own log, on standard error.

use tracing_subscriber::{
    Registry, filter::LevelFilter, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

/// How much is written, changed while the engine runs.
pub(super) struct Level(reload::Handle<LevelFilter, Registry>);

impl Level {
    pub(super) fn set(&self, level: tracing::Level) {
        // It fails only when there is no log any more.
        let _ = self.0.reload(LevelFilter::from_level(level));
    }
}

/// Begins to write.
pub(super) fn begin(level: tracing::Level) -> Level {
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(level));
    let lines = fmt::layer().with_ansi(false).with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    Level(handle)
}
