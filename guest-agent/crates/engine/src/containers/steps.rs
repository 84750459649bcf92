//! How long each step of an operation took, for the log of an engine that is asked to say much.

use std::fmt;

use crate::ports::world::{Timestamp, World};

/// Steps that are done, in their order.
pub(super) struct Steps<'a> {
    world: &'a dyn World,
    last: Timestamp,
    done: Vec<(&'static str, i64)>,
}

impl<'a> Steps<'a> {
    /// The first one begins now.
    pub(super) fn begin(world: &'a dyn World) -> Self {
        Self {
            world,
            last: world.now(),
            done: Vec::new(),
        }
    }

    /// One ends and the next begins.
    pub(super) fn end(&mut self, step: &'static str) {
        let now = self.world.now();
        self.done.push((step, now.0 - self.last.0));
        self.last = now;
    }
}

/// `network 120 µs, spec 80 µs`
impl fmt::Display for Steps<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (step, nanoseconds)) in self.done.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(to, "{comma}{step} {} µs", nanoseconds / 1000)?;
        }
        Ok(())
    }
}
