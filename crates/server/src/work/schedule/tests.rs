//! A schedule with a clock, a budget and chance that the tests give.

use std::cell::RefCell;
use std::sync::Arc;

use tagtrail_domain::tag::{ImportCondition, ImportPolicy, SourceKind, TagSource, TagSpec};
use tagtrail_domain::{FailureKind, HistoryItem, Stream, state::Current};

use super::*;

fn key(name: &str) -> StreamKey {
    StreamKey::parse("test", name).expect("valid")
}

fn tag(name: &str) -> TagName {
    TagName::parse(name).expect("valid")
}

fn failure(text: &str) -> Failure {
    Failure { kind: FailureKind::NotFound, reason: "NotFound".into(), message: text.into() }
}

/// A stream in a few words: its life, then tags, each `name=source`: `!` behind it for those on the schedule, `?` for
/// those that failed at the start of the day.
fn stream(words: &str) -> StreamState {
    let mut words = words.split_whitespace();
    let Some(uid) = words.next() else { return StreamState::default() };
    let tags = words.map(|word| {
        let (name, source) = word.split_once('=').expect("name=source");
        let spec = TagSpec {
            source: Some(TagSource {
                kind: SourceKind::DockerImage,
                namespace: None,
                name: source.trim_end_matches(['!', '?']).into(),
            }),
            generation: 1,
            import_policy: ImportPolicy { scheduled: source.contains('!'), ..ImportPolicy::default() },
            ..TagSpec::default()
        };
        let condition = source.ends_with('?').then(|| ImportCondition {
            failure: failure("not found"),
            generation: 1,
            since: Timestamp::new(10_000, 0),
        });
        (tag(name), Arc::new(TagState { spec: Some(spec), condition, ..TagState::default() }))
    });
    let life = Stream {
        uid: uid.into(),
        created: Timestamp::default(),
        generation: 1,
        lookup_local: false,
        labels: Default::default(),
        annotations: Default::default(),
        checked_at: None,
        tags: tags.collect(),
    };
    StreamState { revision: 1, sequence: 1, life: Some(life) }
}

struct Day {
    schedule: Schedule,
    start: Instant,
    under_way: RefCell<BTreeMap<String, Check>>,
    /// Hosts that give no turn.
    closed: BTreeMap<&'static str, Wait>,
}

impl Day {
    /// Chance always draws `chance`.
    fn new(chance: f64) -> Self {
        let schedule = Schedule::new(Intervals::default(), move || chance);
        Self { schedule, start: Instant::now(), under_way: RefCell::default(), closed: BTreeMap::new() }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn changed(&self, seconds: u64, name: &str, words: &str) {
        self.schedule.changed(&key(name), &stream(words), None, self.at(seconds));
    }

    fn filled(&self, seconds: u64, name: &str, words: &str, wall: i64) {
        self.schedule.fill(&key(name), &stream(words), Timestamp::new(wall, 0), self.at(seconds));
    }

    /// What comes next, in a few words.
    fn next(&self, seconds: u64) -> String {
        let turn = |reference: &ImageReference| match self.closed.get(host(reference).as_str()) {
            Some(wait) => Err(*wait),
            None => Ok(()),
        };
        match self.schedule.next(self.at(seconds), turn) {
            Next::Check(check, ()) => {
                let name = format!("{}:{}", check.key.name, check.tag);
                self.under_way.borrow_mut().insert(name.clone(), *check);
                name
            }
            Next::WaitUntil(None) => "wait".into(),
            Next::WaitUntil(Some(at)) => format!("at {}", (at - self.start).as_secs()),
        }
    }

    fn done(&self, seconds: u64, name: &str, outcome: Outcome) {
        let check = self.under_way.borrow_mut().remove(name).expect("it is under way");
        self.schedule.done(&check, outcome, None, Timestamp::default(), self.at(seconds));
    }

    fn list(&self, seconds: u64) -> Vec<Listed> {
        self.schedule.list(Place::Namespace(""), None, 100, self.at(seconds))
    }
}

#[test]
fn a_tag_is_checked_once_in_its_interval() {
    let day = Day::new(0.0);
    day.changed(0, "p", "u a=quay.io/a/b! b=quay.io/a/c");
    assert_eq!(day.next(0), "at 450", "between half an interval and a whole one after it was set");
    assert_eq!(day.next(450), "p:a");
    assert_eq!(day.next(450), "wait", "it is under way, and the other is not on the schedule");
    day.done(452, "p:a", Outcome::Unchanged);
    assert_eq!(day.next(452), "at 1350", "counted from when it began, not from when it ended");
    // Far too late: not twice in a row.
    assert_eq!(day.next(5000), "p:a");
    day.done(5001, "p:a", Outcome::Unchanged);
    assert_eq!(day.next(5001), "at 5900");
}

#[test]
fn what_is_set_together_is_not_checked_together() {
    let fractions = [0.0, 0.25, 0.5, 0.75];
    let drawn = std::sync::atomic::AtomicUsize::new(0);
    let draw = move || fractions[drawn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 4];
    let day = Day { schedule: Schedule::new(Intervals::default(), draw), ..Day::new(0.0) };
    day.changed(0, "p", "u a=quay.io/x! b=quay.io/x! c=quay.io/x! d=quay.io/x!");
    let due: Vec<u64> = day.list(0).iter().map(|t| t.due_in.expect("waits").as_secs()).collect();
    assert_eq!(due, [450, 562, 675, 787]);
    // A start spreads over the whole interval.
    day.filled(0, "q", "u a=quay.io/x! b=quay.io/x! c=quay.io/x! d=quay.io/x!", 10_000);
    let due: Vec<u64> = day.list(0).iter().skip(4).map(|t| t.due_in.expect("waits").as_secs()).collect();
    assert_eq!(due, [0, 225, 450, 675]);
}

#[test]
fn a_failed_tag_is_tried_again_after_longer_and_longer_times() {
    let day = Day::new(0.0);
    day.changed(0, "p", "u a=quay.io/a/b?");
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..9 {
        let due = day.next(now).trim_start_matches("at ").parse().expect("a time");
        waits.push((due - now) / 60);
        now = due;
        assert_eq!(day.next(now), "p:a");
        day.done(now, "p:a", Outcome::Failed(failure("not found")));
    }
    assert_eq!(waits, [1, 1, 2, 4, 8, 16, 32, 60, 60]);
    // It works at last: there is no failure any more, and nothing to check.
    day.changed(now, "p", "u a=quay.io/a/b");
    assert_eq!(day.next(now), "wait");
}

#[test]
fn a_restart_goes_on_with_the_longer_times() {
    for (failing_for, first) in [(0, 60), (59, 60), (60, 120), (125, 240), (600, 960), (100_000, 3600)] {
        let day = Day::new(0.999);
        day.filled(0, "p", "u a=quay.io/a/b?", 10_000 + failing_for);
        let [listed] = &day.list(0)[..] else { panic!("one tag") };
        let due = listed.due_in.expect("waits").as_secs();
        // Half as long again is the most that chance adds.
        assert!(due >= first.min(3590) && due <= first * 3 / 2, "{failing_for}: {due}");
    }
}

#[test]
fn a_scheduled_tag_that_fails_is_tried_sooner_and_never_later() {
    let day = Day::new(0.0);
    day.filled(0, "p", "u a=quay.io/a/b!", 10_000);
    assert_eq!(day.next(0), "p:a");
    let mut now = 0;
    for wait in [1, 2, 4, 8, 15, 15] {
        day.done(now, "p:a", Outcome::Failed(failure("no")));
        now += wait * 60;
        assert_eq!(day.next(now - 1), format!("at {now}"));
        assert_eq!(day.next(now), "p:a");
    }
    day.done(now, "p:a", Outcome::Unchanged);
    assert_eq!(day.next(now), format!("at {}", now + 900));
}

#[test]
fn a_registry_that_wants_to_be_left_alone_holds_up_no_other() {
    let mut day = Day::new(0.0);
    day.filled(0, "p", "u a=quay.io/a! b=ghcr.io/b!", 10_000);
    day.closed.insert("quay.io", Wait::Asked(Duration::from_secs(300)));
    assert_eq!(day.next(0), "p:b");
    assert_eq!(day.next(0), "at 300");
    let late: Vec<String> = day
        .list(60)
        .into_iter()
        .filter_map(|listed| listed.late)
        .map(|(by, why)| format!("{}: {why}", by.as_secs()))
        .collect();
    assert_eq!(late, ["60: quay.io has asked to be left alone for another 4m 1s"]);
    day.closed.clear();
    assert_eq!(day.next(299), "at 300");
    assert_eq!(day.next(300), "p:a");
}

#[test]
fn what_has_been_due_the_longest_comes_first_when_there_are_few_turns() {
    let mut day = Day::new(0.0);
    for name in ["c", "a", "b"] {
        day.filled(0, name, "u t=quay.io/a!", 10_000);
    }
    let mut order = Vec::new();
    // One turn in 400 s, where three tags want 900 s each: all get their share.
    for round in 1..=9 {
        let now = round * 400;
        day.closed.clear();
        let name = day.next(now);
        day.closed.insert("quay.io", Wait::Budget(Duration::from_secs(400)));
        assert!(day.next(now).starts_with("at "), "one turn");
        day.done(now, &name, Outcome::Unchanged);
        order.push(name);
    }
    for name in ["a:t", "b:t", "c:t"] {
        assert_eq!(order.iter().filter(|checked| *checked == name).count(), 3, "{order:?}");
    }
    let late = day.list(4_200).into_iter().filter_map(|listed| listed.late).map(|(_, why)| why);
    let late: Vec<String> = late.collect();
    assert!(late.iter().any(|why| why.ends_with("; checks before it: 1")), "{late:?}");
}

/// Behind a mirror, several hosts have one budget.
#[test]
fn hosts_that_share_a_budget_share_it_by_what_is_due() {
    let day = Day::new(0.0);
    for (name, source) in [("a", "a.io/x!"), ("b", "b.io/x!")] {
        day.filled(0, name, &format!("u t1={source} t2={source} t3={source}"), 10_000);
    }
    let mut order = Vec::new();
    for round in 0..60 {
        let now = day.at(round * 400);
        let mut turns = true;
        let mut turn = |_: &ImageReference| {
            let wait = Wait::Budget(Duration::from_secs(400));
            std::mem::take(&mut turns).then_some(()).ok_or(wait)
        };
        let Next::Check(check, ()) = day.schedule.next(now, &mut turn) else { panic!("one turn") };
        assert!(matches!(day.schedule.next(now, &mut turn), Next::WaitUntil(Some(_))));
        day.schedule.done(&check, Outcome::Unchanged, None, Timestamp::default(), now);
        order.push(check.key.name.to_string());
    }
    let (a, b) = order.iter().partition::<Vec<_>, _>(|name| *name == "a");
    assert_eq!((a.len(), b.len()), (30, 30), "{order:?}");
}

#[test]
fn few_checks_are_under_way_at_one_registry() {
    let mut day = Day::new(0.0);
    let tags: Vec<String> = (0..20).map(|n| format!("t{n:02}=quay.io/a!")).collect();
    day.filled(0, "p", &format!("u {}", tags.join(" ")), 10_000);
    for _ in 0..AT_ONCE_PER_HOST {
        assert!(day.next(0).starts_with("p:t"));
    }
    assert_eq!(day.next(0), "wait");
    let late = day.list(10).into_iter().filter_map(|listed| listed.late).map(|(_, why)| why).next();
    assert_eq!(late.as_deref(), Some("quay.io answers slowly: 8 checks are under way there"));
    day.done(1, "p:t00", Outcome::Unchanged);
    assert_eq!(day.next(1), "p:t08");
    // As many are under way, but it is the budget that they wait for.
    day.done(2, "p:t01", Outcome::Unchanged);
    day.closed.insert("quay.io", Wait::Budget(Duration::from_secs(7)));
    assert_eq!(day.next(2), "at 9");
    day.closed.clear();
    assert_eq!(day.next(9), "p:t09");
    let late = day.list(10).into_iter().filter_map(|listed| listed.late).map(|(_, why)| why).next();
    assert!(late.as_ref().is_some_and(|why| why.starts_with("it waits for its turn at quay.io")), "{late:?}");
    assert_eq!(day.schedule.load(day.at(5)), (20, Duration::from_secs(5)));
}

#[test]
fn many_silent_registries_do_not_starve_one_that_answers() {
    let day = Day::new(0.0);
    let silent = AT_ONCE / AT_ONCE_PER_HOST;
    for n in 0..silent {
        let tags: Vec<String> =
            (0..2 * AT_ONCE_PER_HOST).map(|tag| format!("t{tag}=silent{n}.io/a!")).collect();
        day.filled(0, &format!("p{n}"), &format!("u {}", tags.join(" ")), 10_000);
    }
    let taken: Vec<String> = (0..AT_ONCE).map(|_| day.next(0)).collect();
    day.filled(1, "q", "u a=quay.io/a! b=quay.io/a!", 10_000);
    assert_eq!(day.next(1), "wait", "as much is under way as may be");
    day.done(60, &taken[0], Outcome::Failed(failure("no answer")));
    for name in ["q:a", "q:b"] {
        assert_eq!(day.next(60), name);
        assert_eq!(day.next(60), "wait");
        day.done(60, name, Outcome::Unchanged);
    }
    assert!(day.next(60).starts_with('p'), "what is left goes to those that have waited longer");
}

#[test]
fn a_tag_that_changes_while_it_is_checked() {
    let day = Day::new(0.0);
    day.filled(0, "p", "u a=quay.io/a!", 10_000);
    assert_eq!(day.next(0), "p:a");
    // Another source: what comes of the check says nothing of it.
    day.changed(1, "p", "u a=ghcr.io/b!");
    assert_eq!(day.next(1), "at 451");
    day.done(2, "p:a", Outcome::Unchanged);
    let [listed] = &day.list(2)[..] else { panic!("one tag") };
    assert_eq!(listed.source, "ghcr.io/b");
    assert!(listed.last.is_none());
    assert_eq!(day.next(2), "at 451");
    // Gone, and with it whatever was kept for it.
    assert_eq!(day.next(451), "p:a");
    day.changed(452, "p", "");
    day.done(453, "p:a", Outcome::Unchanged);
    assert_eq!(day.next(453), "wait");
    let table = day.schedule.lock();
    assert!(table.streams.is_empty() && table.tags == 0 && table.under_way == 0);
    assert!(table.lanes.is_empty(), "{:?}", table.lanes.keys());
}

#[test]
fn a_tag_that_changes_and_changes_back_while_it_is_checked_is_not_checked_twice_at_a_time() {
    let day = Day::new(0.0);
    day.filled(0, "p", "u a=quay.io/a!", 10_000);
    assert_eq!(day.next(0), "p:a");
    let first = day.under_way.borrow_mut().remove("p:a").expect("it is under way");
    day.changed(1, "p", "u a=ghcr.io/b!");
    day.changed(2, "p", "u a=quay.io/a!");
    assert_eq!(day.next(452), "p:a");
    day.schedule.done(&first, Outcome::Failed(failure("old")), None, Timestamp::default(), day.at(453));
    let [listed] = &day.list(453)[..] else { panic!("one tag") };
    assert!(listed.due_in.is_none(), "the second check is still under way: {listed:?}");
    assert!(listed.last.is_none(), "the first one was of what the tag was before");
    assert_eq!(day.next(100_000), "wait");
    day.done(100_000, "p:a", Outcome::Unchanged);
    let table = day.schedule.lock();
    assert_eq!((table.under_way, table.lanes["quay.io"].under_way), (0, 0));
}

#[test]
fn what_was_mended_by_hand_has_not_failed() {
    let day = Day::new(0.0);
    day.filled(0, "p", "u a=quay.io/a!?", 10_600);
    assert_eq!(day.list(0)[0].failures, 4);
    day.changed(1, "p", "u a=quay.io/a!");
    assert_eq!(day.list(1)[0].failures, 0);
}

#[test]
fn another_life_of_the_name_is_another_tag() {
    let day = Day::new(0.0);
    day.filled(0, "p", "old a=quay.io/a!", 10_000);
    assert_eq!(day.next(0), "p:a");
    day.changed(1, "p", "new a=quay.io/a!");
    day.done(2, "p:a", Outcome::Failed(failure("of the old one")));
    let [listed] = &day.list(2)[..] else { panic!("one tag") };
    assert!(listed.last.is_none() && listed.failures == 0);
}

#[test]
fn a_failure_of_ours_is_mended_soon() {
    let day = Day::new(0.0);
    day.filled(0, "p", "u a=quay.io/a!", 10_000);
    assert_eq!(day.next(0), "p:a");
    day.done(1, "p:a", Outcome::Ours("the disk is full".into()));
    assert_eq!(day.next(1), "at 11");
    // What cannot be taken over at all is not fetched for ever at this pace.
    let mut now = 11;
    for wait in [20, 40, 80, 160, 320, 640, 900, 900] {
        assert_eq!(day.next(now), "p:a");
        day.done(now, "p:a", Outcome::Ours("it would make too large an event".into()));
        now += wait;
        assert_eq!(day.next(now - 1), format!("at {now}"));
    }
}

#[test]
fn the_list_goes_on_where_it_ended() {
    let day = Day::new(0.0);
    day.filled(0, "a", "u x=quay.io/a! y=quay.io/a!", 10_000);
    day.filled(0, "b", "u x=quay.io/a!", 10_000);
    let mut after = None;
    let mut seen = Vec::new();
    while let [listed] = &day.schedule.list(Place::Namespace("test"), after.as_ref(), 1, day.start)[..] {
        after = Some((listed.key.clone(), listed.tag.clone()));
        seen.push(format!("{}:{}", listed.key.name, listed.tag));
    }
    assert_eq!(seen, ["a:x", "a:y", "b:x"]);
    assert_eq!(day.schedule.list(Place::Stream(&key("b")), None, 9, day.start).len(), 1);
    assert!(day.schedule.list(Place::Namespace("other"), None, 9, day.start).is_empty());
}

/// An image named by its digest cannot change: imported once, it is not checked any more (spec §3.8).
#[test]
fn a_digest_is_not_checked_for_ever() {
    let day = Day::new(0.0);
    let source = format!("quay.io/a@sha256:{}", "0".repeat(64));
    let mut state = stream(&format!("u a={source}!"));
    day.schedule.changed(&key("p"), &state, None, day.start);
    assert_eq!(day.list(0).len(), 1);
    let life = state.life.as_mut().expect("it lives");
    let tag = Arc::make_mut(life.tags.values_mut().next().expect("one"));
    let item = HistoryItem {
        created: Timestamp::default(),
        reference: source,
        image: None,
        index: None,
        generation: 1,
        media_type: String::new(),
        platform: None,
    };
    tag.current = Some(Current { item, sequence: 1 });
    day.schedule.changed(&key("p"), &state, None, day.start);
    assert!(day.list(0).is_empty());
}
