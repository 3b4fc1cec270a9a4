//! What a log has named so far, each with a number: as much as the log has events, so that the texts are not kept themselves.
//!
//! Nobody sees a key or an order of the table: all that is asked of it is whether something came before. So it may be what the
//! domain otherwise has not.
#![allow(clippy::disallowed_types)]

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

/// Numbers for names, in the order in which they came, from 0. A name is known by 128 bits of SipHash under keys that nobody outside
/// has: no two are taken for one another by chance, and none can be made to be.
#[derive(Clone, Default, Debug)]
pub(super) struct Seen {
    keys: [RandomState; 2],
    numbers: HashMap<u128, u32>,
}

impl Seen {
    /// The number of a name that came before.
    pub(super) fn number(&self, name: impl Hash) -> Option<u32> {
        self.numbers.get(&self.fingerprint(name)).copied()
    }

    /// Takes a name in. Gives its number, and whether it is new.
    pub(super) fn take(&mut self, name: impl Hash) -> (u32, bool) {
        let next = u32::try_from(self.numbers.len()).expect("no log has so many");
        let number = *self.numbers.entry(self.fingerprint(name)).or_insert(next);
        (number, number == next)
    }

    fn fingerprint(&self, name: impl Hash) -> u128 {
        let [high, low] = [&self.keys[0], &self.keys[1]].map(|key| u128::from(key.hash_one(&name)));
        (high << 64) | low
    }
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn a_text_keeps_its_number() {
        let mut seen = Seen::default();
        assert_eq!([seen.take("a"), seen.take("b"), seen.take("a")], [(0, true), (1, true), (0, false)]);
        assert_eq!([seen.number("b"), seen.number("c")], [Some(1), None]);
    }
}
