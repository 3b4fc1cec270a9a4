//! What the server takes from outside of itself: the time, and fresh ids. In one place, so that a simulation can
//! give others.

use std::sync::Arc;

use tagtrail_domain::Timestamp;

/// The time and fresh ids.
#[derive(Clone)]
pub(crate) struct Outside {
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    fresh_id: Arc<dyn Fn() -> [u8; 16] + Send + Sync>,
}

/// 32 bytes that nobody can guess, for a key.
pub(crate) fn secret() -> [u8; 32] {
    let mut bytes = [0; 32];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

impl Outside {
    /// The machine's clock and random numbers.
    #[must_use]
    pub(crate) fn real() -> Self {
        let now = || {
            let now = chrono::Utc::now();
            Timestamp::new(now.timestamp(), now.timestamp_subsec_nanos().min(999_999_999))
        };
        Self { now: Arc::new(now), fresh_id: Arc::new(|| *uuid::Uuid::new_v4().as_bytes()) }
    }

    /// Times and ids that a test gives.
    #[cfg(test)]
    pub(crate) fn of(
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
        fresh_id: impl Fn() -> [u8; 16] + Send + Sync + 'static,
    ) -> Self {
        Self { now: Arc::new(now), fresh_id: Arc::new(fresh_id) }
    }

    /// What time it is.
    #[must_use]
    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// 128 bits that were never drawn before.
    #[must_use]
    pub(crate) fn fresh_bits(&self) -> [u8; 16] {
        (self.fresh_id)()
    }

    /// A random number of at least 0 and less than 1.
    #[must_use]
    pub(crate) fn fraction(&self) -> f64 {
        let bits = self.fresh_bits();
        // Bytes in which a UUID has nothing but chance.
        f64::from(u32::from_le_bytes([bits[0], bits[1], bits[2], bits[3]])) / (f64::from(u32::MAX) + 1.0)
    }

    /// The same as a UUID's text.
    #[must_use]
    pub(crate) fn fresh_uid(&self) -> String {
        uuid::Uuid::from_bytes(self.fresh_bits()).to_string()
    }
}
