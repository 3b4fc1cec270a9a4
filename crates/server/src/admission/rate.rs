//! How often each client may ask: a token bucket each, of which only the moment is kept at which it will be full again (the
//! generic cell rate algorithm).
//!
//! The crate `governor` does the same, and keeps every client it has ever seen until somebody sweeps. Here the table has a fixed
//! size, and whoever has been silent for longest is forgotten: to forget a client is to give it a full bucket, which it has by
//! then anyway, unless more clients ask at once than the table holds.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

use crate::config::limits::Rate;

/// How many clients are remembered, at about 100 bytes each.
const CLIENTS: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Client(IpAddr);

impl Client {
    /// Who comes from an address. Of IPv6, a household has 2^64 addresses, and is one client.
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Self([a, b, c, d, 0, 0, 0, 0].into())
            }
            v4 => Self(v4),
        }
    }
}

/// The buckets of all clients.
pub(super) struct Rates {
    rate: Rate,
    /// How much of a bucket one request takes, as the time it needs to come back.
    each: Duration,
    /// When each bucket will be full.
    full: Mutex<LruCache<Client, Instant>>,
}

impl Rates {
    pub(super) fn new(rate: Rate) -> Self {
        Self::of(rate, CLIENTS)
    }

    fn of(rate: Rate, clients: NonZeroUsize) -> Self {
        let each = Duration::from_secs_f64(rate.per_second.recip());
        Self { rate, each, full: Mutex::new(LruCache::new(clients)) }
    }

    /// Takes one request out of a client's bucket.
    ///
    /// # Errors
    /// How long it takes until there is one in it.
    pub(super) fn take(&self, client: Client, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let full = buckets.get(&client).map_or(now, |full| (*full).max(now)) + self.each;
        // So long does an empty bucket take.
        let wait = (full - now).saturating_sub(self.each * self.rate.burst);
        if !wait.is_zero() {
            return Err(wait);
        }
        buckets.put(client, full);
        Ok(())
    }

    /// What somebody hears whose bucket is empty.
    pub(super) fn text(&self) -> String {
        format!(
            "{} requests a second are allowed from one address; come back more slowly",
            self.rate.per_second
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Client {
        Client::of(text.parse().expect("an address"))
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let rates = Rates::of(Rate { per_second: 10.0, burst: 3 }, CLIENTS);
        let start = Instant::now();
        let check = |address: &str, at_ms: u64, want: Result<(), u64>| {
            let told = rates.take(client(address), start + Duration::from_millis(at_ms));
            assert_eq!(told.map_err(|wait| wait.as_millis() as u64), want, "{address} at {at_ms}");
        };
        //    client        at      heard
        check("10.0.0.1", 0, Ok(()));
        check("10.0.0.1", 0, Ok(()));
        check("10.0.0.1", 0, Ok(()));
        check("10.0.0.1", 0, Err(100));
        check("10.0.0.1", 60, Err(40)); // To be turned away costs nothing.
        check("10.0.0.2", 60, Ok(())); // Nobody else notices.
        check("10.0.0.1", 100, Ok(()));
        check("10.0.0.1", 100, Err(100));
        check("10.0.0.1", 60_000, Ok(())); // A long silence fills the bucket, and no more.
        check("10.0.0.1", 60_000, Ok(()));
        check("10.0.0.1", 60_000, Ok(()));
        check("10.0.0.1", 60_000, Err(100));
    }

    #[test]
    fn who_is_one_client() {
        let check = |one: &str, other: &str, same: bool| {
            assert_eq!(client(one) == client(other), same, "{one} {other}");
        };
        check("10.0.0.1", "10.0.0.1", true);
        check("10.0.0.1", "10.0.0.2", false);
        check("10.0.0.1", "::ffff:10.0.0.1", true);
        check("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true);
        check("2001:db8:1:2::1", "2001:db8:1:3::1", false);
    }

    #[test]
    fn the_table_stays_small() {
        let rates = Rates::of(Rate { per_second: 1.0, burst: 1 }, NonZeroUsize::new(4).expect("not zero"));
        let now = Instant::now();
        for last in 0..=255 {
            rates.take(Client(IpAddr::from([10, 0, 0, last])), now).expect("everybody's first");
        }
        assert_eq!(rates.full.lock().expect("nobody panicked").len(), 4);
        assert!(rates.take(client("10.0.0.255"), now).is_err(), "the last ones are remembered");
    }
}
