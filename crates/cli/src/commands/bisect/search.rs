//! The search for the first bad image among those that a tag pointed to. Asks nobody anything.

use std::collections::{BTreeSet, HashMap};

/// What a test says of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Good,
    Bad,
    /// It cannot be told.
    Skip,
}

/// What is to be done next. Numbers are places in the row of images.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Test this one.
    Test(usize),
    /// This one is bad, and the one before it good.
    Found(usize),
    /// The first bad one is one of these: all but the last could not be tested.
    OneOf(Vec<usize>),
}

/// A row of images, the first of them good and the last bad.
pub(super) struct Search {
    images: Vec<String>,
    /// A good one, and a bad one behind it: the search is between them.
    good: usize,
    bad: usize,
    /// What is known. The same image may stand in the row many times.
    verdicts: HashMap<String, Verdict>,
}

impl Search {
    /// Begins with what is known: the first is good, and the last, which is another image, bad.
    pub(super) fn new(images: Vec<String>) -> Self {
        let (good, bad) = (0, images.len().saturating_sub(1));
        let known = [(good, Verdict::Good), (bad, Verdict::Bad)];
        let verdicts = known.into_iter().filter_map(|(at, verdict)| Some((images.get(at)?.clone(), verdict)));
        Self { verdicts: verdicts.collect(), images, good, bad }
    }

    /// What is to be done next. An image of which something is known is not asked for again.
    pub(super) fn next(&mut self) -> Step {
        loop {
            if self.bad - self.good <= 1 {
                return Step::Found(self.bad);
            }
            let middle = self.good + (self.bad - self.good) / 2;
            let open = (self.good + 1..self.bad).filter(|at| self.verdict(*at) != Some(Verdict::Skip));
            // Beside one that cannot be tested the next one is tried.
            let Some(at) = open.min_by_key(|at| at.abs_diff(middle)) else {
                return Step::OneOf((self.good + 1..=self.bad).collect());
            };
            match self.verdict(at) {
                None => return Step::Test(at),
                Some(Verdict::Good) => self.good = at,
                Some(Verdict::Bad | Verdict::Skip) => self.bad = at,
            }
        }
    }

    /// Takes note of what a test has said.
    pub(super) fn tell(&mut self, at: usize, verdict: Verdict) {
        self.verdicts.insert(self.images[at].clone(), verdict);
    }

    /// How many images may still have to be tested besides the one that is tested now.
    pub(super) fn left(&self) -> usize {
        let open = (self.good + 1..self.bad).filter(|at| self.verdict(*at).is_none());
        let images: BTreeSet<&str> = open.map(|at| self.images[at].as_str()).collect();
        images.len().saturating_sub(1)
    }

    fn verdict(&self, at: usize) -> Option<Verdict> {
        self.verdicts.get(&self.images[at]).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a row of images, each one letter. `bad`: those that are; `skip`: those that cannot be tested. Gives what was
    /// tested, and what was found.
    fn search(row: &str, bad: &str, skip: &str) -> String {
        let images: Vec<String> = row.chars().map(String::from).collect();
        let mut search = Search::new(images.clone());
        let mut tested = String::new();
        loop {
            match search.next() {
                Step::Test(at) => {
                    let image = &images[at];
                    assert!(!tested.contains(image.as_str()), "{image} is tested twice in {row}");
                    tested += image;
                    let verdict = match image {
                        image if skip.contains(image.as_str()) => Verdict::Skip,
                        image if bad.contains(image.as_str()) => Verdict::Bad,
                        _ => Verdict::Good,
                    };
                    search.tell(at, verdict);
                }
                Step::Found(at) => return format!("{tested}: {}", images[at]),
                Step::OneOf(list) => {
                    let list: String = list.into_iter().map(|at| images[at].as_str()).collect();
                    return format!("{tested}: one of {list}");
                }
            }
        }
    }

    #[test]
    fn the_first_bad_one_is_found() {
        let check = |row: &str, bad: &str, skip: &str, want: &str| {
            assert_eq!(search(row, bad, skip), want, "{row}, bad: {bad}, skip: {skip}");
        };
        check("ab", "b", "", ": b");
        check("abc", "bc", "", "b: b");
        check("abc", "c", "", "b: c");
        check("abcdefgh", "fgh", "", "dfe: f");
        check("abcdefgh", "bcdefgh", "", "db: b");
        check("abcdefgh", "h", "", "dfg: h");
        // The same image again: what is known of it counts.
        check("abacb", "b", "", "c: b");
        check("abcbd", "d", "", "cb: d");
        check("aabb", "b", "", ": b");
        // What cannot be tested is passed by, and in the end it may be any of those.
        check("abcde", "cde", "c", "cbd: one of cd");
        check("abc", "c", "b", "b: one of bc");
        check("abcdefg", "efg", "d", "dce: one of de");
        check("abcd", "d", "bc", "bc: one of bcd");
    }

    #[test]
    fn every_row_is_searched_in_few_steps() {
        let row: String = ('a'..='z').chain('A'..='Z').collect();
        for first in 1..row.len() {
            let found = search(&row, &row[first..], "");
            let (tested, found) = found.split_once(": ").expect("a colon");
            assert_eq!(found, &row[first..=first]);
            assert!(tested.len() <= 6, "{first}: {tested}");
        }
    }

    #[test]
    fn what_is_left_counts_images() {
        let left = |row: &str| Search::new(row.chars().map(String::from).collect()).left();
        for (row, want) in [("ab", 0), ("abc", 0), ("abcd", 1), ("abcbd", 1), ("abcdefgh", 5)] {
            assert_eq!(left(row), want, "{row}");
        }
    }
}
