//! The event bus: whatever happens is told to all who listen, and the last events are kept for those who ask later.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use docker_api::EventMessage;
use tokio::sync::broadcast;

/// Events that are kept, as many as Docker keeps.
const KEPT_EVENTS: usize = 256;
/// Events that a slow listener may be behind before it loses the oldest.
const WAITING_EVENTS: usize = 1024;

/// Tells events to listeners.
#[derive(Debug)]
pub struct EventBus {
    kept: Mutex<VecDeque<Arc<EventMessage>>>,
    sender: broadcast::Sender<Arc<EventMessage>>,
}

/// What a listener gets: what was kept when it came, then all that follows, with nothing between them lost or told twice.
#[derive(Debug)]
pub struct Listener {
    /// Oldest first.
    pub kept: Vec<Arc<EventMessage>>,
    receiver: broadcast::Receiver<Arc<EventMessage>>,
}

impl Default for EventBus {
    fn default() -> Self {
        let (sender, _) = broadcast::channel(WAITING_EVENTS);
        Self {
            kept: Mutex::default(),
            sender,
        }
    }
}

impl EventBus {
    /// Tells an event. Never waits for a listener.
    pub fn publish(&self, event: EventMessage) {
        let event = Arc::new(event);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_EVENTS {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&event));
        // Nobody listening is fine. Sent under the lock, so that a new listener sees it in exactly one of the two.
        let _ = self.sender.send(event);
    }

    /// Listens from now on.
    pub fn listen(&self) -> Listener {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Listener {
            kept: kept.iter().cloned().collect(),
            receiver: self.sender.subscribe(),
        }
    }
}

impl Listener {
    /// The next event; `None` when the bus is gone. A listener that fell too far behind goes on with the oldest that is left.
    pub async fn next(&mut self) -> Option<Arc<EventMessage>> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    tracing::warn!(lost, "an event listener is too slow")
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn event(time: i64) -> EventMessage {
        EventMessage {
            time,
            ..EventMessage::default()
        }
    }

    #[test]
    fn a_listener_gets_what_was_kept_and_then_what_follows() {
        let bus = EventBus::default();
        (0..300).for_each(|time| bus.publish(event(time)));
        let mut listener = bus.listen();
        assert_eq!(
            listener.kept.iter().map(|e| e.time).collect::<Vec<_>>(),
            (44..300).collect::<Vec<_>>()
        );
        assert!(listener.next().now_or_never().is_none());
        bus.publish(event(300));
        assert_eq!(listener.next().now_or_never().unwrap().unwrap().time, 300);
        drop(bus);
        assert_eq!(listener.next().now_or_never(), Some(None));
    }

    #[test]
    fn a_slow_listener_loses_the_oldest_and_goes_on() {
        let bus = EventBus::default();
        let mut listener = bus.listen();
        (0..2000).for_each(|time| bus.publish(event(time)));
        assert_eq!(
            listener.next().now_or_never().unwrap().unwrap().time,
            2000 - 1024
        );
    }
}
