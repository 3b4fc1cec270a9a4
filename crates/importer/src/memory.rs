//! A small memory in which everything fades.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits;

/// Values that hold for a while. Bounded: when it is full of what still holds, it takes nothing new.
pub(crate) struct Memory<K, V>(Mutex<HashMap<K, (Instant, V)>>);

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Memory<K, V> {
    /// The value, if it still holds.
    pub(crate) fn recall(&self, key: &K) -> Option<V> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.get(key).filter(|(until, _)| Instant::now() < *until).map(|(_, value)| value.clone())
    }

    /// Keeps a value for a while.
    pub(crate) fn remember(&self, key: K, value: V, time: Duration) {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if map.len() >= limits::REMEMBERED {
            map.retain(|_, (until, _)| now < *until);
        }
        if map.len() < limits::REMEMBERED || map.contains_key(&key) {
            map.insert(key, (now + time, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_fade_and_are_few() {
        let memory = Memory::default();
        memory.remember("gone", 1, Duration::ZERO);
        memory.remember("here", 2, Duration::from_secs(60));
        assert_eq!((memory.recall(&"gone"), memory.recall(&"here")), (None, Some(2)));

        let full = Memory::default();
        for n in 0..=limits::REMEMBERED {
            full.remember(n, (), Duration::from_secs(60));
        }
        assert_eq!(full.recall(&limits::REMEMBERED), None);
        assert_eq!(full.recall(&0), Some(()));
    }
}
