//! How fast a registry host is asked: a bucket of tokens for each, one token a request.
//!
//! Background work waits for its [`Turn`]. People do not wait: their requests are charged too, into debt if need
//! be, and background work goes on when the debt is paid. A host that asked to be left alone (`Retry-After`) gives
//! no turns until then. Every function takes the time from its caller.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits;

/// Leave to ask a registry host once. It pays for the first request that is sent to this host with it; whatever
/// else that takes (a ping, a token) is charged to the hosts it goes to.
#[derive(Debug)]
#[must_use = "it has been taken out of the budget"]
pub struct Turn {
    /// As [`key`] makes it. Empty: for nobody.
    host: String,
    spent: AtomicBool,
}

impl Turn {
    /// A turn for work that turns out to ask nobody.
    pub(crate) fn for_nobody() -> Self {
        Self { host: String::new(), spent: AtomicBool::new(false) }
    }

    /// Whether this turn pays for a request to a host: once, and only to its own.
    fn pays(&self, host: &str) -> bool {
        self.host == host && !self.spent.swap(true, Ordering::Relaxed)
    }
}

/// The buckets of all hosts.
#[derive(Default)]
pub(crate) struct Pace(Mutex<HashMap<String, Bucket>>);

struct Bucket {
    /// Tokens a second.
    rate: f64,
    /// Tokens at `at`. Below zero: debt.
    tokens: f64,
    at: Instant,
    /// The host wants to be left alone until then.
    hold: Option<Instant>,
}

impl Bucket {
    fn full(rate: f64, now: Instant) -> Self {
        Self { rate, tokens: burst(rate), at: now, hold: None }
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.rate).min(burst(self.rate));
        self.at = self.at.max(now);
        self.hold = self.hold.filter(|until| now < *until);
    }

    /// Whether it says nothing that a new one would not say.
    fn is_idle(&self) -> bool {
        self.hold.is_none() && self.tokens >= burst(self.rate)
    }
}

/// One second's worth, and at least one.
fn burst(rate: f64) -> f64 {
    rate.max(1.0)
}

impl Pace {
    /// Takes a token of a host that gives `rate` a second. The error is how long it will take until there is one.
    pub(crate) fn turn(&self, host: &str, rate: f64, now: Instant) -> Result<Turn, Duration> {
        let host = key(host);
        self.with(&host, rate, now, |bucket| {
            if let Some(until) = bucket.hold {
                return Err(until - now);
            }
            if bucket.tokens < 1.0 {
                let seconds = (1.0 - bucket.tokens) / bucket.rate;
                // Rounded up: whoever comes back then finds a whole token.
                let wait = Duration::from_secs_f64(seconds.min(limits::LONGEST_HOLD.as_secs_f64()));
                return Err(wait + Duration::from_micros(1));
            }
            bucket.tokens -= 1.0;
            Ok(())
        })?;
        Ok(Turn { host, spent: AtomicBool::new(false) })
    }

    /// Charges a request that is sent now, unless the turn pays for it.
    pub(crate) fn charge(&self, host: &str, rate: f64, turn: Option<&Turn>, now: Instant) {
        let host = key(host);
        if turn.is_some_and(|turn| turn.pays(&host)) {
            return;
        }
        self.with(&host, rate, now, |bucket| {
            let deepest = -bucket.rate * limits::DEEPEST_DEBT.as_secs_f64();
            bucket.tokens = (bucket.tokens - 1.0).max(deepest);
        });
    }

    /// Takes back a turn. One that has paid is worth nothing any more.
    pub(crate) fn give_back(&self, turn: Turn) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(&turn.host)
            && !turn.spent.into_inner()
        {
            bucket.tokens += 1.0;
        }
    }

    /// The host asks to be left alone for so long.
    pub(crate) fn hold(&self, host: &str, rate: f64, time: Duration, now: Instant) {
        self.with(&key(host), rate, now, |bucket| bucket.hold = Some(now + time));
    }

    /// Whether a host wants to be left alone now, and for how much longer.
    pub(crate) fn held(&self, host: &str, now: Instant) -> Option<Duration> {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = buckets.get(&key(host))?.hold?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    fn with<T>(&self, host: &str, rate: f64, now: Instant, work: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= limits::PACED_HOSTS && !buckets.contains_key(host) {
            buckets.retain(|_, bucket| {
                bucket.refill(now);
                !bucket.is_idle()
            });
            if buckets.len() >= limits::PACED_HOSTS {
                // Memory has an end. To forget all is a burst too much for each host, once.
                buckets.clear();
            }
        }
        let bucket = buckets.entry(host.to_owned()).or_insert_with(|| Bucket::full(rate, now));
        bucket.refill(now);
        work(bucket)
    }
}

/// A host's name among the buckets: one for each registry, however it is written and with whatever scheme.
pub(crate) fn key(host: &str) -> String {
    let host = host.strip_suffix(":443").or_else(|| host.strip_suffix(":80")).unwrap_or(host);
    host.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn turns_come_at_the_rate_after_a_second_worth_at_once() {
        let (pace, start) = (Pace::default(), Instant::now());
        let turn =
            |after: u64| pace.turn("r", 4.0, start + millis(after)).map(drop).map_err(|d| d.as_millis());
        for _ in 0..4 {
            assert_eq!(turn(0), Ok(()));
        }
        assert_eq!(turn(0), Err(250));
        assert_eq!(turn(200), Err(50));
        assert_eq!(turn(250), Ok(()));
        assert_eq!(turn(250), Err(250));
        assert_eq!(turn(60_000), Ok(())); // However long it was quiet, the bucket holds four.
        assert_eq!((turn(60_000), turn(60_000), turn(60_000)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(turn(60_000), Err(250));
        // Another host is another matter; the same one in another spelling is not.
        assert!(pace.turn("other", 4.0, start + millis(60_000)).is_ok());
        assert!(pace.turn("R:443", 4.0, start + millis(60_000)).is_err());
        assert!(pace.turn("r:5000", 4.0, start + millis(60_000)).is_ok());
    }

    #[test]
    fn a_slow_host_still_gives_one() {
        let (pace, start) = (Pace::default(), Instant::now());
        assert!(pace.turn("r", 0.1, start).is_ok());
        assert_eq!(pace.turn("r", 0.1, start).expect_err("spent").as_secs(), 10);
        let almost_never = f64::MIN_POSITIVE;
        assert!(pace.turn("slow", almost_never, start).is_ok());
        assert_eq!(pace.turn("slow", almost_never, start).expect_err("spent").as_secs(), 3600);
    }

    #[test]
    fn a_request_is_paid_by_its_turn_once_and_at_its_own_host() {
        let (pace, now) = (Pace::default(), Instant::now());
        let turn = pace.turn("r", 2.0, now).expect("full");
        pace.charge("elsewhere", 2.0, Some(&turn), now);
        pace.charge("r", 2.0, Some(&turn), now);
        assert!(pace.turn("r", 2.0, now).is_ok(), "the turn has paid");
        assert!(pace.turn("elsewhere", 2.0, now).is_ok());
        assert!(pace.turn("elsewhere", 2.0, now).is_err(), "what went elsewhere was charged there");
        pace.charge("r", 2.0, Some(&turn), now);
        assert_eq!(pace.turn("r", 2.0, now).expect_err("a turn pays once").as_millis(), 1000);
        pace.charge("r", 2.0, Some(&Turn::for_nobody()), now);
        assert_eq!(pace.turn("r", 2.0, now).expect_err("charged").as_millis(), 1500);
    }

    #[test]
    fn a_turn_that_was_not_used_can_be_given_back() {
        let (pace, now) = (Pace::default(), Instant::now());
        let turn = pace.turn("r", 1.0, now).expect("full");
        assert!(pace.turn("r", 1.0, now).is_err());
        pace.give_back(turn);
        let turn = pace.turn("r", 1.0, now).expect("given back");
        pace.charge("r", 1.0, Some(&turn), now);
        pace.give_back(turn);
        assert!(pace.turn("r", 1.0, now).is_err(), "it has paid");
        pace.give_back(Turn::for_nobody());
    }

    #[test]
    fn people_go_into_debt_and_background_work_waits_for_it() {
        let (pace, now) = (Pace::default(), Instant::now());
        for _ in 0..8 {
            pace.charge("r", 2.0, None, now);
        }
        let wait = pace.turn("r", 2.0, now).expect_err("in debt");
        assert_eq!(wait.as_millis(), 3500); // Two were there, six are owed, one is wanted.
        assert!(pace.turn("r", 2.0, now + wait).is_ok(), "the time told is the time it takes");
        for _ in 0..1_000 {
            pace.charge("r", 2.0, None, now + wait);
        }
        let wait = pace.turn("r", 2.0, now + wait).expect_err("deep in debt");
        assert_eq!(wait.as_millis(), 10_500, "debt has an end");
    }

    #[test]
    fn a_host_that_asked_for_quiet_gets_it() {
        let (pace, now) = (Pace::default(), Instant::now());
        pace.hold("r", 20.0, millis(600), now);
        assert_eq!(pace.held("R:443", now), Some(millis(600)));
        assert_eq!(pace.turn("r", 20.0, now + millis(100)).expect_err("held"), millis(500));
        assert_eq!(pace.held("r", now + millis(600)), None);
        assert!(pace.turn("r", 20.0, now + millis(600)).is_ok());
        assert_eq!(pace.held("never heard of", now), None);
    }

    #[test]
    fn buckets_are_few() {
        let (pace, now) = (Pace::default(), Instant::now());
        let count = || pace.0.lock().expect("no test panicked here").len();
        pace.hold("busy", 1.0, millis(60_000), now);
        for n in 1..limits::PACED_HOSTS {
            pace.charge(&n.to_string(), 1.0, None, now);
        }
        assert_eq!(count(), limits::PACED_HOSTS);
        pace.charge("new", 1.0, None, now + millis(1_000));
        assert_eq!(count(), 2, "those at rest are forgotten: they say nothing");
        assert!(pace.held("busy", now + millis(1_000)).is_some());
        for n in 0..limits::PACED_HOSTS {
            pace.hold(&n.to_string(), 1.0, millis(60_000), now);
        }
        assert!(count() <= limits::PACED_HOSTS);
    }

    proptest! {
        #[test]
        fn no_window_holds_more_turns_than_the_rate_and_a_burst(
            rate in 0.2..50.0_f64,
            steps in prop::collection::vec((0..400_u64, 0..6_u8), 1..300),
        ) {
            let (pace, start) = (Pace::default(), Instant::now());
            let mut now = start;
            let mut granted = Vec::new();
            for (pause, wish) in steps {
                now += millis(pause);
                match wish {
                    0 => pace.charge("r", rate, None, now),
                    _ => (0..wish).for_each(|_| granted.extend(pace.turn("r", rate, now).ok().map(|_| now))),
                }
            }
            for (first, from) in granted.iter().enumerate() {
                for (last, to) in granted.iter().enumerate().skip(first) {
                    let allowed = burst(rate) + rate * (*to - *from).as_secs_f64() + 1e-6;
                    prop_assert!((last - first + 1) as f64 <= allowed);
                }
            }
        }

        #[test]
        fn whoever_waits_as_told_gets_a_turn(rate in 0.2..50.0_f64, charges in 0..200_u32) {
            let (pace, now) = (Pace::default(), Instant::now());
            (0..charges).for_each(|_| pace.charge("r", rate, None, now));
            if let Err(wait) = pace.turn("r", rate, now) {
                prop_assert!(pace.turn("r", rate, now + wait).is_ok());
            }
        }
    }
}
