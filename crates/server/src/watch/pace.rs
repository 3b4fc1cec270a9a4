//! How fast a watcher has to be, and when it hears that nothing happens.

use std::time::{Duration, Instant};

/// The pace of one watcher.
pub(crate) struct Pace {
    /// How long an answer may lie ready for it.
    patience: Duration,
    /// After how long without an answer it gets a bookmark.
    bookmarks: Duration,
    /// When it took the last answer, or began.
    taken: Instant,
}

impl Pace {
    pub(crate) fn new(patience: Duration, bookmarks: Duration, now: Instant) -> Self {
        Self { patience, bookmarks, taken: now }
    }

    /// When the next bookmark is due.
    pub(crate) fn due(&self) -> Instant {
        self.taken + self.bookmarks
    }

    /// Hands over an answer. `ready` tells since when it has lain there; `None`: since before the last one. False: the watcher
    /// has let it lie for too long. An answer could not be taken before the one ahead of it was, so who has just taken
    /// that one is in time, and nobody is asked.
    #[must_use]
    pub(crate) fn hand_over(&mut self, ready: impl FnOnce() -> Option<Instant>, now: Instant) -> bool {
        let patient = |since: Instant| now.saturating_duration_since(since) <= self.patience;
        let in_time = patient(self.taken) || ready().is_some_and(patient);
        self.taken = now;
        in_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lets_an_answer_lie_is_too_slow() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        // When the last answer was taken, when the next was ready, when it was taken; whether that is in time.
        let check = |taken, ready: Option<u64>, now, in_time| {
            let mut pace = Pace::new(Duration::from_secs(30), Duration::from_secs(10), at(taken));
            assert_eq!(pace.hand_over(|| ready.map(at), at(now)), in_time, "{taken} {ready:?} {now}");
            assert_eq!(pace.due(), at(now + 10));
        };
        check(0, Some(0), 30, true);
        check(0, Some(0), 31, false);
        check(0, None, 31, false);
        check(0, Some(100), 130, true); // Nothing was there to be taken before.
        check(0, Some(100), 131, false);
        check(100, Some(0), 130, true); // Old, but the one ahead of it was taken just now.
        check(100, Some(200), 150, true); // A bookmark that is not even due.
    }
}
