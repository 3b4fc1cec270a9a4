//! All rows: those of a sled database, and over them what was changed since and is not in it yet.
//!
//! sled takes some ten microseconds for a row, which is more than all the rest of a write. So a commit puts what it changes into
//! memory, as a layer over the database, and layers are written down together now and then. A row that changed often is then written
//! once, and rows that stand side by side are written side by side.
//!
//! Whoever has cloned a [`Table`] keeps its layers: what was committed by then stays as it was, whatever is committed and written down
//! meanwhile. What was in the database by then may change under it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use sled::IVec;

/// Rows that changed. `None`: the row is gone.
pub(crate) type Layer = BTreeMap<IVec, Option<IVec>>;

/// A row that changed, and what it is now.
type Change = (IVec, Option<IVec>);

/// A layer takes the one under it in, unless that has more than so many times its rows. So there are few layers, and a row is
/// moved from one to another only a few times.
const LARGER: usize = 4;

#[derive(Clone)]
pub(crate) struct Table {
    db: sled::Db,
    /// The oldest first.
    layers: Vec<Arc<Layer>>,
    /// How many of them, from the oldest, are being written into the database.
    leaving: usize,
}

impl Table {
    pub(crate) fn new(db: sled::Db) -> Self {
        Self { db, layers: Vec::new(), leaving: 0 }
    }

    pub(crate) fn db(&self) -> &sled::Db {
        &self.db
    }

    pub(crate) fn push(&mut self, mut layer: Layer) {
        while let [.., under] = &self.layers[self.leaving..]
            && under.len() <= LARGER * layer.len()
        {
            let mut both = self.layers.pop().map(Arc::unwrap_or_clone).unwrap_or_default();
            both.append(&mut layer);
            layer = both;
        }
        self.layers.push(Arc::new(layer));
    }

    /// How many changes are not being written yet.
    pub(crate) fn waiting(&self) -> usize {
        self.layers[self.leaving..].iter().map(|layer| layer.len()).sum()
    }

    /// All changes that are not in the database, for whoever writes them down. They stay here until [`Table::written`].
    pub(crate) fn leave(&mut self) -> Vec<Arc<Layer>> {
        self.leaving = self.layers.len();
        self.layers.clone()
    }

    /// What was leaving is in the database.
    pub(crate) fn written(&mut self) {
        self.layers.drain(..self.leaving);
        self.leaving = 0;
    }

    pub(crate) fn get(&self, key: &[u8]) -> sled::Result<Option<IVec>> {
        match self.layers.iter().rev().find_map(|layer| layer.get(key)) {
            Some(change) => Ok(change.clone()),
            None => self.db.get(key),
        }
    }

    /// The rows from `from` on, up to before `to`, in order.
    pub(crate) fn range(&self, from: Vec<u8>, to: Bound<Vec<u8>>) -> Rows {
        Rows::new(self, from, to, Way::Up)
    }

    /// The same from the last to the first.
    pub(crate) fn range_back(&self, from: Vec<u8>, to: Bound<Vec<u8>>) -> Rows {
        Rows::new(self, from, to, Way::Down)
    }

    /// All rows that start with `prefix`, in order.
    pub(crate) fn scan(&self, prefix: &[u8]) -> Rows {
        self.range(prefix.to_vec(), after_all(prefix))
    }
}

/// What comes after everything that starts with `prefix`.
pub(crate) fn after_all(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// Rows in order, from all layers and the database.
pub(crate) struct Rows {
    way: Way,
    from: Vec<u8>,
    to: Bound<Vec<u8>>,
    stored: sled::Iter,
    next_stored: Option<(IVec, IVec)>,
    /// The newest first, each with its next change.
    layers: Vec<(Arc<Layer>, Option<Change>)>,
    failed: Option<sled::Error>,
}

impl Rows {
    fn new(table: &Table, from: Vec<u8>, to: Bound<Vec<u8>>, way: Way) -> Self {
        let empty = matches!(&to, Bound::Excluded(to) if *to <= from);
        let to = if empty { Bound::Excluded(from.clone()) } else { to };
        let stored = table.db.range::<Vec<u8>, _>((Bound::Included(from.clone()), to.clone()));
        let mut rows = Self { way, from, to, stored, next_stored: None, layers: Vec::new(), failed: None };
        if !empty {
            rows.advance_stored();
            let first = |layer: &Arc<Layer>| Some((layer.clone(), Some(rows.change(layer, None)?)));
            rows.layers = table.layers.iter().rev().filter_map(first).collect();
        }
        rows
    }

    /// The change of a layer that comes next, after one that was taken.
    fn change(&self, layer: &Layer, taken: Option<&IVec>) -> Option<Change> {
        let (mut from, mut to) = (Bound::Included(&*self.from), self.to.as_ref().map(|to| &**to));
        let change = match self.way {
            Way::Up => {
                from = taken.map_or(from, |taken| Bound::Excluded(taken));
                layer.range::<[u8], _>((from, to)).next()
            }
            Way::Down => {
                to = taken.map_or(to, |taken| Bound::Excluded(taken));
                layer.range::<[u8], _>((from, to)).next_back()
            }
        };
        change.map(|(key, value)| (key.clone(), value.clone()))
    }

    fn advance_stored(&mut self) {
        let next = match self.way {
            Way::Up => self.stored.next(),
            Way::Down => self.stored.next_back(),
        };
        match next.transpose() {
            Ok(next) => self.next_stored = next,
            Err(error) => {
                self.next_stored = None;
                self.failed = Some(error);
            }
        }
    }
}

impl Iterator for Rows {
    type Item = sled::Result<(IVec, IVec)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(error) = self.failed.take() {
                // It would be the same for ever.
                self.layers.clear();
                return Some(Err(error));
            }
            let changed = self.layers.iter().filter_map(|(_, next)| next.as_ref().map(|(key, _)| key));
            let keys = changed.chain(self.next_stored.as_ref().map(|(key, _)| key));
            let key = match self.way {
                Way::Up => keys.min(),
                Way::Down => keys.max(),
            };
            let key = key?.clone();
            // The newest layer that knows the row knows what it is; all that have it go on to their next.
            let mut row: Option<Option<IVec>> = None;
            for at in 0..self.layers.len() {
                let (layer, next) = &mut self.layers[at];
                let Some((_, value)) = next.take_if(|(next, _)| *next == key) else { continue };
                let layer = layer.clone();
                row.get_or_insert(value);
                self.layers[at].1 = self.change(&layer, Some(&key));
            }
            if let Some((_, value)) = self.next_stored.take_if(|(next, _)| *next == key) {
                row.get_or_insert(Some(value));
                self.advance_stored();
            }
            if let Some(Some(value)) = row {
                return Some(Ok((key, value)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A key of one to two letters of three: many are alike, and many start alike.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(vec![0_u8, 1, u8::MAX]), 1..3)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Commit(Vec<(Vec<u8>, Option<u8>)>),
        Leave,
        Write,
    }

    fn step() -> impl Strategy<Value = Step> {
        let change = (key(), prop::option::of(any::<u8>()));
        prop_oneof![
            4 => prop::collection::vec(change, 1..6).prop_map(Step::Commit),
            1 => Just(Step::Leave),
            1 => Just(Step::Write),
        ]
    }

    fn write(db: &sled::Db, layers: &[Arc<Layer>]) {
        for (key, change) in layers.iter().flat_map(|layer| layer.iter()) {
            match change {
                Some(value) => db.insert(key, value.clone()).map(drop).expect("memory takes everything"),
                None => db.remove(key).map(drop).expect("memory takes everything"),
            }
        }
    }

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    fn pairs(rows: Rows) -> Pairs {
        rows.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).expect("it is in memory"))
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever was committed, is leaving or was written down, the table shows the rows that a map shows.
        #[test]
        fn it_is_a_map(
            steps in prop::collection::vec(step(), 1..30),
            from in key(),
            to in prop::option::of(key()),
        ) {
            let db = sled::Config::new().temporary(true).open().expect("a database");
            let (mut table, mut map) = (Table::new(db), BTreeMap::new());
            let mut leaving = Vec::new();
            for step in steps {
                match step {
                    Step::Commit(changes) => {
                        for (key, value) in &changes {
                            match value {
                                Some(value) => map.insert(key.clone(), vec![*value]),
                                None => map.remove(key),
                            };
                        }
                        let change = |(key, value): (Vec<u8>, Option<u8>)| {
                            (key.into(), value.map(|value| vec![value].into()))
                        };
                        table.push(changes.into_iter().map(change).collect());
                    }
                    Step::Leave if leaving.is_empty() => leaving = table.leave(),
                    // Half of it, so that the database is somewhere between two commits.
                    Step::Leave => write(table.db(), &leaving[..leaving.len() / 2]),
                    Step::Write => {
                        write(table.db(), &std::mem::take(&mut leaving));
                        table.written();
                    }
                }
                for (key, value) in &map {
                    prop_assert_eq!(table.get(key).expect("it is in memory").map(|v| v.to_vec()), Some(value.clone()));
                }
                let end = to.clone().map_or(Bound::Unbounded, Bound::Excluded);
                let within = |key: &Vec<u8>| *key >= from && to.as_ref().is_none_or(|to| key < to);
                let mut expected: Pairs = map.iter().filter(|(k, _)| within(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
                prop_assert_eq!(pairs(table.range(from.clone(), end.clone())), expected.clone());
                expected.reverse();
                prop_assert_eq!(pairs(table.range_back(from.clone(), end)), expected);
                let starts: Pairs =
                    map.iter().filter(|(k, _)| k.starts_with(&from)).map(|(k, v)| (k.clone(), v.clone())).collect();
                prop_assert_eq!(pairs(table.scan(&from)), starts);
            }
        }

        /// What was committed when a table was cloned is seen in it as it was, whatever is committed and written down then.
        #[test]
        fn a_clone_keeps_its_layers(before in prop::collection::vec((key(), any::<u8>()), 1..20), after in key()) {
            let db = sled::Config::new().temporary(true).open().expect("a database");
            let mut table = Table::new(db);
            for (key, value) in before {
                table.push([(key.into(), Some(vec![value].into()))].into());
            }
            let moment = table.clone();
            let seen = pairs(moment.scan(&[]));
            let all = table.leave();
            for (key, _) in &seen {
                table.push([(key.clone().into(), None)].into());
            }
            table.push([(after.into(), Some(vec![0].into()))].into());
            write(table.db(), &all);
            table.written();
            prop_assert_eq!(pairs(moment.scan(&[])), seen);
        }
    }
}
