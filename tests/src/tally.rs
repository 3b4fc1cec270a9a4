//! How many recorded cases pass, and what of them is not compared with what was recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// A field of a command in which Tagtrail departs from the recording, as it is meant to.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Departure {
    /// The case's name.
    pub case: String,
    /// The step, counted from 1.
    pub step: usize,
    /// `stdout`, `stderr`, `rc` or `state`.
    pub field: String,
    /// Whether it is compared with nothing. If not: with what Tagtrail has to show instead.
    pub set_aside: bool,
    /// Words of `docs/differences-from-openshift.md` that explain it.
    pub because: String,
    /// The command line, or what else the step was.
    pub what: String,
}

/// The outcome of cases, each played in a process of its own.
#[derive(Default, Debug)]
pub struct Tally {
    passed: BTreeMap<String, bool>,
    departures: BTreeSet<Departure>,
}

/// What a line with a [`Departure`] begins with.
const DEPARTURE: &str = "departs: ";

impl Departure {
    /// The line by which the process that plays a case tells of it.
    pub fn line(&self) -> String {
        format!("{DEPARTURE}{}", serde_json::to_string(self).expect("its keys are text"))
    }
}

impl Tally {
    /// Counts a case, by what the process that played it printed.
    pub fn add(&mut self, case: &str, passed: bool, printed: &str) {
        self.passed.insert(case.to_owned(), passed);
        let lines = printed.lines().filter_map(|line| line.strip_prefix(DEPARTURE));
        self.departures.extend(lines.filter_map(|line| serde_json::from_str(line).ok()));
    }

    /// What was not compared with the recording, in order.
    pub fn departures(&self) -> impl Iterator<Item = &Departure> {
        self.departures.iter()
    }

    /// How many cases were counted.
    pub fn cases(&self) -> usize {
        self.passed.len()
    }

    /// How many of them pass.
    pub fn passes(&self) -> usize {
        self.passed.values().filter(|passed| **passed).count()
    }

    /// `18 fields of 7 commands in 3 cases`
    fn extent(&self, set_aside: bool) -> String {
        let departures = || self.departures.iter().filter(|departure| departure.set_aside == set_aside);
        // Two reasons may explain one field.
        let fields: BTreeSet<_> = departures().map(|d| (&d.case, d.step, &d.field)).collect();
        let commands: BTreeSet<_> = departures().map(|d| (&d.case, d.step)).collect();
        let cases: BTreeSet<_> = departures().map(|d| &d.case).collect();
        let count =
            |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
        format!(
            "{} of {} in {}",
            count(fields.len(), "field"),
            count(commands.len(), "command"),
            count(cases.len(), "case")
        )
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} of {} recorded cases pass", self.passes(), self.cases())?;
        writeln!(f, "set aside: {}", self.extent(true))?;
        let mut commands: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        for departure in self.departures.iter().filter(|departure| departure.set_aside) {
            let command = (&departure.case, departure.step, &departure.because, &departure.what);
            commands.entry(command).or_default().push(&departure.field);
        }
        for ((case, step, because, what), fields) in commands {
            let what: String = what.chars().take(60).collect();
            writeln!(f, "  {case}, step {step}, {what}: {} ({because})", fields.join(", "))?;
        }
        writeln!(f, "compared with what is meant instead: {}", self.extent(false))?;
        writeln!(f, "why: docs/differences-from-openshift.md")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_and_departures_are_counted() {
        let departs = |case: &str, step, field: &str, set_aside| {
            let (because, what) = ("Users".to_owned(), "tagtrail login".to_owned());
            Departure { case: case.to_owned(), step, field: field.to_owned(), set_aside, because, what }
                .line()
        };
        let mut tally = Tally::default();
        let lines =
            [departs("a", 1, "rc", true), departs("a", 1, "stdout", true), departs("a", 2, "rc", true)];
        tally.add("a", true, &format!("something\n{}\n", lines.join("\n")));
        tally.add("b", true, &departs("b", 3, "state", false));
        tally.add("c", false, "step 1 differs");
        let want = "2 of 3 recorded cases pass\n\
                    set aside: 3 fields of 2 commands in 1 case\n  \
                      a, step 1, tagtrail login: rc, stdout (Users)\n  \
                      a, step 2, tagtrail login: rc (Users)\n\
                    compared with what is meant instead: 1 field of 1 command in 1 case\n\
                    why: docs/differences-from-openshift.md\n";
        assert_eq!(tally.to_string(), want);
    }
}
