//! Waiting for something to become true, with a deadline instead of a guess.

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often a condition is looked at. Short enough not to be noticed, long enough to leave the machine to others.
const INTERVAL: Duration = Duration::from_millis(15);

/// Looks until `look` gives something, and gives `None` when `deadline` has passed since the first look.
pub fn until<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() >= deadline {
            return None;
        }
        sleep(INTERVAL);
    }
}

/// Returns just after a new second of the wall clock began.
///
/// OpenShift keeps times in whole seconds and sorts by them, so runs that are to be compared put each change into a
/// second of its own.
pub fn for_a_new_second() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    sleep(Duration::from_secs(now.as_secs() + 1) - now + Duration::from_millis(5));
}
