//! One answer of [`Log::read`](crate::Log::read), filled within its limits.

use crate::Stored;

/// At least one event if there is one, then as many as the limits allow.
pub(crate) struct Page {
    events: Vec<Stored>,
    events_left: usize,
    bytes_left: usize,
}

impl Page {
    pub(crate) fn new(max_events: usize, max_bytes: usize) -> Page {
        Page { events: Vec::new(), events_left: max_events.max(1), bytes_left: max_bytes }
    }

    /// Whether not even an empty event fits.
    pub(crate) fn is_full(&self) -> bool {
        self.events_left == 0
    }

    /// Takes one more event if it fits. After a `false` the page is full.
    pub(crate) fn take(&mut self, stored: Stored) -> bool {
        let size = stored.payload.len();
        let first = self.events.is_empty();
        if self.is_full() || (size > self.bytes_left && !first) {
            return false;
        }
        self.events_left -= 1;
        self.bytes_left = self.bytes_left.saturating_sub(size);
        self.events.push(stored);
        true
    }

    pub(crate) fn into_events(self) -> Vec<Stored> {
        self.events
    }
}
