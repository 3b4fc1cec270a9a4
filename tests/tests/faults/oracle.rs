//! The judge. It remembers every event it has seen and every answer that anybody was given, and holds the log against them:
//!
//! | what a writer heard | what the log holds                                                                       |
//! |---------------------|------------------------------------------------------------------------------------------|
//! | an acknowledgement  | the command's events, ending at the acknowledged sequence; what it expected was so       |
//! | a refusal           | nothing                                                                                  |
//! | nothing             | all of the command's events or none; and once, when it is sent again                     |
//!
//! All of it is a function of what was heard and what is there, so that its own tests can show that it finds fault.

use std::collections::{BTreeMap, HashMap};

use tagtrail_api::v1::Event;
use tagtrail_api::v1::event::Fact;

/// What a writer heard of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// It is done; its last event has this sequence, or nothing had to change (0).
    Done(u64),
    /// It will never be done.
    Refused,
    /// The connection broke, or the server could not say.
    Nothing,
}

/// What somebody was told of one command.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) id: String,
    /// The tag it was to move, as `stream:tag`, and the image that had to be there: a compare-and-swap.
    pub(crate) expected: Option<(String, String)>,
    pub(crate) heard: Heard,
}

/// The log as far as it was ever seen.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) events: Vec<Event>,
    /// The first and the last sequence of each request's run.
    runs: HashMap<String, (u64, u64)>,
    /// The run that the newest event belongs to, while it is not complete.
    open: Option<(u64, u64, String)>,
    /// What each tag pointed to, by the sequences at which that changed.
    tags: HashMap<String, BTreeMap<u64, String>>,
}

impl Ledger {
    pub(crate) fn head(&self) -> u64 {
        self.events.len() as u64
    }

    /// Takes events that follow what is known: no gap, nothing twice, no request done twice, runs whole.
    pub(crate) fn extend(&mut self, events: Vec<Event>) -> Result<(), String> {
        for event in events {
            let sequence = event.sequence;
            if sequence != self.head() + 1 {
                return Err(format!("event {sequence} follows event {}", self.head()));
            }
            let run = event.run.as_ref().ok_or(format!("event {sequence} names no run"))?;
            let (first, last) = (run.first_sequence, run.first_sequence + u64::from(run.length) - 1);
            let run = (first, last, event.request_id.clone());
            match self.open.take() {
                None if first != sequence => return Err(format!("the run {first}-{last} has no beginning")),
                Some(begun) if begun != run => {
                    return Err(format!("the run {}-{} is cut off", begun.0, begun.1));
                }
                _ => {}
            }
            if sequence < last {
                self.open = Some(run);
            } else if !event.request_id.is_empty()
                && self.runs.insert(event.request_id.clone(), (first, last)).is_some()
            {
                return Err(format!("{} is in the log twice", event.request_id));
            }
            self.note_tag(&event);
            self.events.push(event);
        }
        Ok(())
    }

    fn note_tag(&mut self, event: &Event) {
        let (tag, image) = match &event.fact {
            Some(Fact::TagMoved(moved)) => {
                (&moved.tag, moved.item.as_ref().map(|item| item.image.clone()).unwrap_or_default())
            }
            Some(Fact::TagDeleted(deleted)) => (&deleted.tag, String::new()),
            _ => return,
        };
        self.tags.entry(format!("{}:{tag}", event.stream)).or_default().insert(event.sequence, image);
    }

    /// The log ends where a server says that it ends, and not in the middle of a command.
    pub(crate) fn ends(&self, head: u64) -> Result<(), String> {
        match &self.open {
            Some((first, last, _)) => Err(format!("the log ends within the run {first}-{last}")),
            None if self.head() != head => {
                Err(format!("the log ends at {}, and its head is {head}", self.head()))
            }
            None => Ok(()),
        }
    }

    /// The last sequence of the run that a request has made.
    pub(crate) fn run_of(&self, id: &str) -> Option<u64> {
        self.runs.get(id).map(|(_, last)| *last)
    }

    /// Everything that anybody was told is so.
    pub(crate) fn account<'a>(&self, told: impl IntoIterator<Item = &'a Told>) -> Result<(), String> {
        for Told { id, expected, heard } in told {
            let run = self.runs.get(id);
            match (heard, run) {
                (Heard::Done(0), Some(_)) => {
                    return Err(format!("{id} is said to have changed nothing, and has"));
                }
                (Heard::Done(sequence @ 1..), None) => {
                    return Err(format!("{id}, acknowledged at {sequence}, is lost"));
                }
                (Heard::Done(sequence @ 1..), Some((_, last))) if last != sequence => {
                    return Err(format!("{id}, acknowledged at {sequence}, ends at {last}"));
                }
                (Heard::Refused, Some(_)) => return Err(format!("{id} was refused, and is done")),
                _ => {}
            }
            if let (Some((tag, image)), Some((first, _))) = (expected, run) {
                let before = self.tags.get(tag).and_then(|moves| moves.range(..first).next_back());
                let before = before.map_or("", |(_, image)| image);
                if before != image {
                    return Err(format!("{id} expected {tag} at {image}, and it was at {before:?}"));
                }
            }
        }
        Ok(())
    }

    /// Another copy of the log, or of its beginning, is the same, byte for byte.
    pub(crate) fn same(&self, who: &str, events: &[Event]) -> Result<(), String> {
        let differs = self.events.iter().zip(events).position(|(ours, theirs)| ours != theirs);
        match differs {
            Some(at) => Err(format!("{who} has another event {}", at + 1)),
            None if self.events.len() != events.len() => {
                Err(format!("{who} has {} of {} events", events.len(), self.events.len()))
            }
            None => Ok(()),
        }
    }

    /// What came over the broker is the log, as JSON.
    pub(crate) fn published(&self, payloads: &BTreeMap<u64, Vec<u8>>) -> Result<(), String> {
        for event in &self.events {
            match payloads.get(&event.sequence) {
                None => return Err(format!("event {} was not published", event.sequence)),
                Some(payload) if *payload != tagtrail_api::json::event(event).into_bytes() => {
                    return Err(format!("another event {} was published", event.sequence));
                }
                Some(_) => {}
            }
        }
        match payloads.len() == self.events.len() {
            true => Ok(()),
            false => Err(format!("{} events were published, of {}", payloads.len(), self.events.len())),
        }
    }
}

/// A judge that finds no fault with anything would make every test here pass.
#[cfg(test)]
mod finds {
    use tagtrail_api::v1::{HistoryItem, Run, TagMoved};

    use super::*;

    /// Three commands: `a` moves `app:live` from nothing to `x`, `b` makes two events, `c` moves `x` to `y`.
    fn log() -> Vec<Event> {
        let event = |sequence, first_sequence, length, id: &str, image: &str| Event {
            sequence,
            run: Some(Run { first_sequence, length }),
            stream: "app".into(),
            request_id: id.into(),
            fact: Some(Fact::TagMoved(TagMoved {
                tag: if image.is_empty() { "other".into() } else { "live".into() },
                item: Some(HistoryItem { image: image.into(), ..HistoryItem::default() }),
                ..TagMoved::default()
            })),
            ..Event::default()
        };
        vec![
            event(1, 1, 1, "a", "x"),
            event(2, 2, 2, "b", ""),
            event(3, 2, 2, "b", ""),
            event(4, 4, 1, "c", "y"),
        ]
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.extend(log()).expect("the log is well");
        ledger
    }

    fn told(id: &str, heard: Heard) -> Told {
        Told { id: id.into(), expected: None, heard }
    }

    #[test]
    fn nothing_wrong_with_a_good_log() {
        let ledger = ledger();
        let swap = Told { expected: Some(("app:live".into(), "x".into())), ..told("c", Heard::Done(4)) };
        let answers = [told("a", Heard::Done(1)), told("b", Heard::Done(3)), swap, told("d", Heard::Refused)];
        assert_eq!(ledger.account(&answers), Ok(()));
        assert_eq!(ledger.account(&[told("b", Heard::Nothing), told("e", Heard::Nothing)]), Ok(()));
        assert_eq!(ledger.same("a watcher", &log()), Ok(()));
        assert_eq!(ledger.ends(4), Ok(()));
    }

    #[test]
    fn every_broken_log() {
        let broken = |change: &dyn Fn(&mut Vec<Event>)| {
            let mut events = log();
            change(&mut events);
            let mut ledger = Ledger::default();
            ledger.extend(events).and_then(|()| ledger.ends(ledger.head())).expect_err("it is broken")
        };
        assert_eq!(broken(&|log| drop(log.remove(1))), "event 3 follows event 1");
        assert_eq!(broken(&|log| log.swap(0, 1)), "event 2 follows event 0");
        assert_eq!(broken(&|log| log.truncate(2)), "the log ends within the run 2-3");
        assert_eq!(broken(&|log| log[3].request_id = "a".into()), "a is in the log twice");
        assert_eq!(broken(&|log| log[2] = Event { sequence: 3, ..log[3].clone() }), "the run 2-3 is cut off");
        assert_eq!(broken(&|log| log[0].run = log[1].run), "the run 2-3 has no beginning");
    }

    #[test]
    fn every_broken_answer() {
        let ledger = ledger();
        let broken = |told: Told| ledger.account(&[told]).expect_err("it is broken");
        assert_eq!(broken(told("d", Heard::Done(5))), "d, acknowledged at 5, is lost");
        assert_eq!(broken(told("b", Heard::Done(2))), "b, acknowledged at 2, ends at 3");
        assert_eq!(broken(told("b", Heard::Refused)), "b was refused, and is done");
        assert_eq!(broken(told("b", Heard::Done(0))), "b is said to have changed nothing, and has");
        let swap = Told { expected: Some(("app:live".into(), "z".into())), ..told("c", Heard::Done(4)) };
        assert_eq!(broken(swap), "c expected app:live at z, and it was at \"x\"");
        assert_eq!(ledger.ends(5), Err("the log ends at 4, and its head is 5".into()));
    }

    #[test]
    fn every_broken_copy() {
        let ledger = ledger();
        let mut other = log();
        other[1].reason = "changed".into();
        assert_eq!(ledger.same("a watcher", &other), Err("a watcher has another event 2".into()));
        assert_eq!(ledger.same("a watcher", &log()[..3]), Err("a watcher has 3 of 4 events".into()));
        let mut sent: BTreeMap<u64, Vec<u8>> = log()
            .iter()
            .map(|event| (event.sequence, tagtrail_api::json::event(event).into_bytes()))
            .collect();
        assert_eq!(ledger.published(&sent), Ok(()));
        sent.insert(5, Vec::new());
        assert_eq!(ledger.published(&sent), Err("5 events were published, of 4".into()));
        sent.remove(&5);
        sent.insert(2, Vec::new());
        assert_eq!(ledger.published(&sent), Err("another event 2 was published".into()));
        sent.remove(&2);
        assert_eq!(ledger.published(&sent), Err("event 2 was not published".into()));
    }
}
