//! The text language of the rules. Only this file knows the API, so a hundred cases survive its redesign.
//!
//! Commands are separated by `;`. Streams are `p`, or `other/p` in another namespace than `test`; tags are `p:a`.
//! A capital letter is an image: `A` has the digest `sha256:aaa…`. A source with a dot before its first slash is a
//! container image, one with `@` an image of a stream, one with `:` a tag of a stream; `docker:` makes anything a
//! container image, `-` is no source, `istag:` and `isimage:` take the rest as it stands.
//!
//! ```text
//! create p [--local] [key=value...]        delete p           lookup p on|off
//! tag SOURCE p:a [--alias] [--reference] [--scheduled] [--interval=5m] [--insecure] [--preserve] [--local] [--create] [key=value...]
//! hold p:a [--by=ana] [--why=word] [--until=9]      release p:a      expire p:a      (a command takes a second)
//! rollback p:a --to=A|SEQUENCE [--planned=SEQUENCE] [--by=ana] [--why=word] [--until=9]
//! restore p[:a] [--at=SEQUENCE]            promote p:a=SOURCE[?A] q:b=SOURCE[?none]   (all of it or nothing)
//! untag p:a                                annotate p[:a] key=value key- [--overwrite]      label p key=value key-
//! import p[:a] [--from=X] [--all] [--confirm] [--scheduled] [--interval=5m] [--insecure[=false]] [--preserve] [--local] = ANSWERS
//! background p = ANSWERS                   schedule p = ANSWERS                    retry p = ANSWERS
//! ask IMPORT = ANSWERS                     land          (the same in two steps: the world may move in between)
//! follows p:a p:b                          (an event of an older log: `p:b` follows `p:a`, whatever is right today)
//! told p [--generation=5] [--created=7] [--from=base/q] [--envelope=BYTES] [--local] [key=value...] = TAG|SOURCE|GENERATION|ITEMS|FAILURE ...
//! ```
//! Of what a document tells, a tag's source is as in `tag`, and `none` where it has no spec; its items are `B3@20,A2@10`, newest
//! first: image, generation and time, `_2@10` for a reference tag; its failure is `!Reason:3@20`. Nothing is `.`.
//! `retry` tries the tags again that failed and are not on the schedule. Answers go to the planned images in turn: `A`,
//! or `!Reason`, `!Reason:message`, and `!Reason:message:busy` for another kind of failure. For a repository
//! `v1:A v2:!Reason +3`, the last being tags left out, or `!Reason` where all of it failed; for an index kept whole
//! `L(AB)`, for an image chosen from one `A<L`. `--at-revision=N` after any command expects a revision. `--most-tags=N` makes a server that is stricter than the log.
//! `--expect=A` and `--expect=none` say what the tag must point to; in a promotion that stands behind each `?`.
//!
//! Facts are told as `G<generation>: fact; fact`. `a := x.io/a:1 g1` sets what a tag follows. On its history `+` is
//! a new item on top, `~` an item edited in place, `=` one renewed: `a + x.io/a@A g1`, and behind it `<L` the index.
//! What a held tag is kept from is `a withheld x.io/a@B g1`. Where several streams change, each says its name: `p G2: …; q G1: …`.

use std::collections::{BTreeMap, BTreeSet};

use tagtrail_domain::apply::Position;
use tagtrail_domain::check::{self, Reason};
use tagtrail_domain::command::{
    Expectation, Import, ImportOrigin, ImportTarget, ImportedImage, Restore, RestoredTag, Rollback, SetTag,
    Testimony, ToldFailure, ToldTag, UpdateMetadata,
};
use tagtrail_domain::event::{HistoryChange, MoveCause, TestimonyTaken};
use tagtrail_domain::import_plan::{self, ImportPlan, ImportWish, PlannedImage, PlannedRepository};
use tagtrail_domain::state::{Current, HoldTerms};
use tagtrail_domain::tag::{
    Entries, ImportMode, ImportPolicy, ReferencePolicy, SourceKind, TagSource, TagSpec,
};
use tagtrail_domain::*;

/// Host of the internal registry in all rules.
const INTERNAL: &str = "registry.internal:5000";

/// After `given`, what does `when` do? `then` is the facts, or the refusal.
#[track_caller]
pub(crate) fn check(given: &str, when: &str, then: &str) {
    let mut world = Story::default();
    world.tell(given);
    assert_eq!(world.run(when), then, "\n given: {given}\n when:  {when}");
}

/// After `commands`, what is true of stream `p`? One line for each tag, history newest first.
#[track_caller]
pub(crate) fn after(commands: &str, then: &[&str]) {
    let mut world = Story::default();
    world.tell(commands);
    assert_eq!(world.show("p"), then, "\n after: {commands}");
}

/// After `given`, which questions does an import put to registries? Or how is it refused?
#[track_caller]
pub(crate) fn plans(given: &str, import: &str, then: &str) {
    let mut world = Story::default();
    world.tell(given);
    let told = match world.plan(&Words::of(import)) {
        Ok((_, plan, _)) => say_plan(&plan),
        Err(refusal) => say_refusal(&refusal),
    };
    assert_eq!(told, then, "\n given: {given}\n plan:  {import}");
}

#[derive(Default)]
struct Story {
    model: Model,
    log: Vec<(StreamKey, Event, Position)>,
    commands: i64,
    asked: Option<(StreamKey, Command)>,
}

impl Story {
    #[track_caller]
    fn tell(&mut self, commands: &str) {
        for command in commands.split(';').map(str::trim).filter(|c| !c.is_empty()) {
            let facts = self.run(command);
            assert!(!facts.starts_with("refused"), "given `{command}`: {facts}");
        }
    }

    fn run(&mut self, command: &str) -> String {
        self.commands += 1;
        let words = Words::of(command.strip_prefix("ask ").unwrap_or(command));
        if words.plain[0] == "follows" {
            return self.follows(&words);
        }
        let wishes = match words.wishes(self) {
            Ok(wishes) => wishes,
            Err(refusal) => return say_refusal(&refusal),
        };
        if command.starts_with("ask ") {
            self.asked = wishes.into_iter().next();
            return String::new();
        }
        let now = Timestamp::new(self.commands, 0);
        let context = Context {
            now,
            next_sequence: self.next_sequence(),
            fresh_uids: (0..wishes.len()).map(|n| format!("uid-{}-{n}", self.commands)).collect(),
            expected_revision: words.option("at-revision").map(|n| n.parse().expect("a revision")),
            internal_registry: Some(INTERNAL.into()),
            tags_per_stream: words.option("most-tags").map_or(usize::MAX, |n| n.parse().expect("a number")),
        };
        let decided = match wishes.as_slice() {
            [(key, wish)] => decide(&self.model, key, &context, wish)
                .map(|events| events.into_iter().map(|event| (key.clone(), event)).collect()),
            wishes => decide_together(&self.model, &context, wishes),
        };
        match decided {
            Ok(events) => {
                events.iter().for_each(|(key, event)| self.happen(key, event));
                say_run(&events)
            }
            Err(refusal) => say_refusal(&refusal),
        }
    }

    fn next_sequence(&self) -> u64 {
        self.log.len() as u64 + 1
    }

    fn happen(&mut self, key: &StreamKey, event: &Event) {
        if let Fact::StreamCreated { .. } = event.fact {
            let lived = self.log.iter().any(|(_, before, _)| before.stream_uid == event.stream_uid);
            assert!(!lived, "each life of a stream has an id of its own");
        }
        let at = Position { sequence: self.next_sequence(), recorded_at: Timestamp::new(self.commands, 0) };
        self.model.apply(key, event, at);
        self.log.push((key.clone(), event.clone(), at));
    }

    /// The event that brought an image to a tag the last time, or the event of this sequence; with what it brought.
    fn past(&self, key: &StreamKey, tag: &TagName, text: &str) -> Current {
        let brought = self.log.iter().rev().filter(|(of, ..)| of == key).filter_map(|(_, event, at)| {
            let item = match &event.fact {
                Fact::TagMoved(moved) if moved.tag == *tag => &moved.item,
                Fact::TagRestored(restored) if restored.tag == *tag => restored.items.first()?,
                _ => return None,
            };
            Some(Current { item: item.clone(), sequence: at.sequence })
        });
        let wanted = |current: &Current| match text.parse::<u64>() {
            Ok(sequence) => current.sequence == sequence,
            Err(_) => letters(&current.item.reference).ends_with(text),
        };
        brought.into_iter().find(wanted).expect("the tag has pointed there")
    }

    /// A stream, or one of its tags, as it was right after an event, or before it was last deleted.
    fn restore(&self, key: &StreamKey, tag: Option<&TagName>, at: Option<u64>) -> Restore {
        let ends = |(of, event, at): &(StreamKey, Event, Position)| {
            let ends = match &event.fact {
                Fact::StreamDeleted { .. } => true,
                Fact::TagDeleted { tag: gone, .. } => Some(gone) == tag,
                _ => false,
            };
            (of == key && ends).then_some(at.sequence - 1)
        };
        let as_of = at.or_else(|| self.log.iter().rev().find_map(ends)).expect("something was deleted");
        let mut past = Model::default();
        for (of, event, at) in self.log.iter().filter(|(_, _, at)| at.sequence <= as_of) {
            past.apply(of, event, *at);
        }
        let stream = past.stream(key).life.clone().expect("it lived then");
        let tags = stream.tags.iter().filter(|(name, _)| tag.is_none_or(|tag| tag == *name));
        let tags = tags.map(|(tag, state)| RestoredTag {
            tag: tag.clone(),
            spec: state.spec.clone(),
            items: past.history(key, tag).iter().rev().map(|current| current.item.clone()).collect(),
            hold: state.hold.as_ref().map(|hold| hold.terms.clone()),
        });
        Restore {
            tags: tags.collect(),
            lookup_local: stream.lookup_local,
            labels: stream.labels,
            annotations: stream.annotations,
            whole: tag.is_none(),
            as_of,
        }
    }

    /// Puts an event into the log that no command would make today.
    fn follows(&mut self, words: &Words<'_>) -> String {
        let ((key, tag), followed) = (stream_and_tag(words.plain[2]), words.plain[1]);
        let state = self.model.stream(&key);
        let stream = state.life.as_ref().expect("an alias has a stream");
        let generation = stream.generation + 1;
        let spec = TagSpec { source: source(followed), generation, ..TagSpec::default() };
        let tag = TagName::parse(tag.expect("a tag")).expect("a tag");
        let event = Event { stream_uid: stream.uid.clone(), generation, fact: Fact::TagSet { tag, spec } };
        self.happen(&key, &event);
        say_events(&[&event])
    }

    fn plan(&self, words: &Words<'_>) -> Result<(StreamKey, ImportPlan, ImportOrigin), Refusal> {
        let (key, tag) = stream_and_tag(words.plain[1]);
        let state = self.model.stream(&key);
        let stream = || state.life.as_ref().expect("a background import has a stream");
        match words.plain[0] {
            "background" => Ok((key, import_plan::plan_pending(stream()), ImportOrigin::Background)),
            "schedule" => Ok((key, plan_checks(stream(), Reason::Scheduled), ImportOrigin::Schedule)),
            "retry" => Ok((key, plan_checks(stream(), Reason::Failed), ImportOrigin::Background)),
            _ => {
                let policy = words.policy();
                let insecure = words.option("insecure").map(|value| value != "false");
                let wish = ImportWish {
                    tag: tag.map(|tag| TagName::parse(tag).expect("a tag")),
                    target_text: words.plain[1].into(),
                    from: words.option("from").map(digests).unwrap_or_default(),
                    all: words.has("all"),
                    confirm: words.has("confirm"),
                    scheduled: policy.scheduled,
                    interval: policy.interval,
                    insecure: insecure.or(words.has("insecure").then_some(true)),
                    mode: policy.mode,
                    reference_policy: words.reference_policy(),
                };
                let plan = import_plan::plan(&key, state.life.as_ref(), &wish)?;
                Ok((key, plan, ImportOrigin::Request))
            }
        }
    }

    fn show(&self, name: &str) -> Vec<String> {
        let key = stream_and_tag(name).0;
        let state = self.model.stream(&key);
        let Some(stream) = &state.life else { return vec!["none".into()] };
        let mut lines = vec![format!("G{}", stream.generation)];
        if stream.checked_at.is_some() {
            lines[0] += " checked";
        }
        if self.log.iter().any(|(_, event, _)| matches!(event.fact, Fact::TestimonyTaken(_))) {
            lines[0] += &format!(" t{}", stream.created.seconds);
        }
        for (tag, state) in &stream.tags {
            let spec = state.spec.as_ref().map_or("no spec".into(), say_spec);
            let history: Vec<String> = self
                .model
                .history(&key, tag)
                .iter()
                .rev()
                .map(|at| format!("{} t{}", say_item(&at.item), at.item.created.seconds))
                .collect();
            assert_eq!(state.history_length, history.len() as u64);
            let condition = state.condition.as_ref().map(|condition| {
                format!(
                    " !{} g{} t{}",
                    condition.failure.reason, condition.generation, condition.since.seconds
                )
            });
            let history = history.join(", ");
            let held = state.hold.as_ref().map(|hold| {
                let withheld = hold.withheld.as_ref().map(|item| format!(" from {}", say_item(item)));
                format!(
                    " held{} t{}{}",
                    say_terms(&hold.terms),
                    hold.since.seconds,
                    withheld.unwrap_or_default()
                )
            });
            let more = condition.unwrap_or_default() + &held.unwrap_or_default();
            lines.push(format!("{tag} := {spec} [{history}]{more}"));
        }
        lines
    }
}

/// One command, taken apart.
struct Words<'a> {
    plain: Vec<&'a str>,
    flags: BTreeMap<&'a str, Option<&'a str>>,
    answers: Vec<&'a str>,
}

impl<'a> Words<'a> {
    fn of(command: &'a str) -> Self {
        let (command, answers) = command.split_once(" = ").unwrap_or((command, ""));
        let mut words = Words {
            plain: Vec::new(),
            flags: BTreeMap::new(),
            answers: answers.split_whitespace().collect(),
        };
        for word in command.split_whitespace() {
            match word.strip_prefix("--") {
                Some(flag) => match flag.split_once('=') {
                    Some((name, value)) => words.flags.insert(name, Some(value)),
                    None => words.flags.insert(flag, None),
                },
                None => {
                    words.plain.push(word);
                    None
                }
            };
        }
        words
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.contains_key(flag)
    }

    fn option(&self, flag: &str) -> Option<&'a str> {
        self.flags.get(flag).copied().flatten()
    }

    fn policy(&self) -> ImportPolicy {
        let mode = if self.has("preserve") { ImportMode::PreserveOriginal } else { ImportMode::Legacy };
        let interval = self.option("interval").map(|text| Interval::parse(text).expect("an interval"));
        ImportPolicy { insecure: self.has("insecure"), scheduled: self.has("scheduled"), mode, interval }
    }

    fn expectation(&self) -> Option<Expectation> {
        expectation(self.option("expect"))
    }

    fn reference_policy(&self) -> ReferencePolicy {
        if self.has("local") { ReferencePolicy::Local } else { ReferencePolicy::Source }
    }

    /// `key=value` and `key-` from the word `first` on.
    fn entries(&self, first: usize) -> (Entries, Vec<String>) {
        let mut set = Entries::new();
        let mut remove = Vec::new();
        for word in &self.plain[first..] {
            match word.split_once('=') {
                Some((key, value)) => {
                    set.insert(key.into(), value.into());
                }
                None => remove.push(word.trim_end_matches('-').into()),
            }
        }
        (set, remove)
    }

    fn wishes(&self, story: &mut Story) -> Result<Vec<(StreamKey, Command)>, Refusal> {
        if self.plain[0] != "promote" {
            return Ok(vec![self.command(story)?]);
        }
        let promotion = |word: &&str| {
            let (target, from) = word.split_once('=').expect("what is promoted, and from where");
            let (from, expect) = from.split_once('?').map_or((from, None), |(from, at)| (from, Some(at)));
            let (key, tag) = stream_and_tag(target);
            let tag = TagName::parse(tag.expect("a tag")).expect("a tag");
            (key, Command::SetTag(SetTag { expect: expectation(expect), ..set_tag(tag, source(from)) }))
        };
        Ok(self.plain[1..].iter().map(promotion).collect())
    }

    /// Who holds a tag, why, and until when.
    fn terms(&self) -> HoldTerms {
        let until = self.option("until").map(|second| second.parse().expect("a second"));
        HoldTerms {
            held_by: self.option("by").unwrap_or("me").into(),
            reason: self.option("why").unwrap_or_default().into(),
            expires_at: until.map(|second| Timestamp::new(second, 0)),
        }
    }

    fn command(&self, story: &mut Story) -> Result<(StreamKey, Command), Refusal> {
        if self.plain[0] == "land" {
            return Ok(story.asked.take().expect("something was asked"));
        }
        let target = self.plain[if self.plain[0] == "tag" { 2 } else { 1 }];
        let (key, tag) = stream_and_tag(target);
        let command = match self.plain[0] {
            "told" => Command::TakeTestimony(Box::new(self.testimony())),
            "create" => {
                let (annotations, _) = self.entries(2);
                let lookup_local = self.has("local");
                Command::CreateStream { lookup_local, labels: Entries::new(), annotations }
            }
            "delete" => Command::DeleteStream,
            "lookup" => Command::SetLookupPolicy { local: self.plain[2] == "on" },
            "untag" => Command::DeleteTag { tag: tag.expect("a tag").into(), expect: self.expectation() },
            "tag" => Command::SetTag(SetTag {
                alias: self.has("alias"),
                reference: self.has("reference"),
                import_policy: self.policy(),
                reference_policy: self.reference_policy(),
                annotations: self.entries(3).0,
                create: self.has("create"),
                expect: self.expectation(),
                ..set_tag(
                    TagName::parse(tag.expect("a tag")).map_err(|error| Refusal::bad_name(&error))?,
                    source(self.plain[1]),
                )
            }),
            "hold" => Command::Hold { tag: named(tag), terms: self.terms(), expect: self.expectation() },
            "release" | "expire" => Command::Release { tag: named(tag), expired: self.plain[0] == "expire" },
            "rollback" => Command::Rollback(Rollback {
                to: story.past(&key, &named(tag), self.option("to").expect("where to")),
                tag: named(tag),
                terms: self.terms(),
                expect: self.expectation(),
                planned: self.option("planned").map_or(0, |sequence| sequence.parse().expect("a sequence")),
            }),
            "restore" => {
                let at = self.option("at").map(|sequence| sequence.parse().expect("a sequence"));
                let tag = tag.map(|tag| TagName::parse(tag).expect("a tag"));
                Command::Restore(story.restore(&key, tag.as_ref(), at))
            }
            "annotate" | "label" => {
                let (set, remove) = self.entries(2);
                let tag = tag.map(|tag| TagName::parse(tag).expect("a tag"));
                let mut update =
                    UpdateMetadata { tag, overwrite: self.has("overwrite"), ..Default::default() };
                if self.plain[0] == "label" {
                    (update.set_labels, update.remove_labels) = (set, remove);
                } else {
                    (update.set_annotations, update.remove_annotations) = (set, remove);
                }
                Command::UpdateMetadata(update)
            }
            "import" | "background" | "schedule" | "retry" => {
                let (_, plan, origin) = story.plan(self)?;
                Command::Import(self.answered(story, &key, plan, origin))
            }
            other => panic!("no such command: {other}"),
        };
        Ok((key, command))
    }

    /// What a document tells.
    fn testimony(&self) -> Testimony {
        let number = |option: &str| self.option(option).map_or(0, |text| text.parse().expect("a number"));
        let time = |seconds| Timestamp::new(seconds, 0);
        let (namespace, name) = self.option("from").unwrap_or("test/p").split_once('/').expect("a stream");
        Testimony {
            told: TestimonyTaken {
                document: "f".into(),
                document_digest: digest('F'),
                namespace: namespace.into(),
                name: name.into(),
                uid: String::new(),
                resource_version: String::new(),
                created: self.option("created").map(|text| time(text.parse().expect("a time"))),
                checked_at: self.option("checked").map(|text| time(text.parse().expect("a time"))),
                items_left_out: 0,
            },
            generation: number("generation"),
            lookup_local: self.has("local"),
            labels: Entries::new(),
            annotations: self.entries(2).0,
            tags: self.answers.iter().map(|text| told_tag(text)).collect(),
            envelope_bytes: usize::try_from(number("envelope")).expect("a size"),
        }
    }

    fn answered(&self, story: &Story, key: &StreamKey, plan: ImportPlan, origin: ImportOrigin) -> Import {
        let mut import = Import {
            targets: Vec::new(),
            repository: plan.repository.as_ref().map(|r| r.from.clone()).unwrap_or_default(),
            repository_failure: None,
            additional_tags: 0,
            create_stream: plan.create_stream,
            origin,
            planned_uid: plan.uid,
        };
        let mut images = plan.images.into_iter();
        for answer in &self.answers {
            if let Some(more) = answer.strip_prefix('+') {
                import.additional_tags = more.parse().expect("a number of tags");
                continue;
            }
            if let (Some(reason), Some(_)) = (answer.strip_prefix('!'), &plan.repository) {
                import.repository_failure = Some(failure(reason));
                continue;
            }
            let target = match &plan.repository {
                Some(repository) => {
                    let (tag, answer) = answer.split_once(':').expect("tag:answer");
                    repository_target(story, key, repository, tag, answer)
                }
                None => image_target(images.next().expect("no more answers than questions"), answer),
            };
            import.targets.push(target);
        }
        assert!(images.next().is_none(), "a question without answer");
        import
    }
}

/// `TAG|SOURCE|GENERATION|ITEMS|FAILURE`.
fn told_tag(text: &str) -> ToldTag {
    let mut parts = text.split('|').map(|part| if part == "." { "" } else { part });
    let mut part = || parts.next().unwrap_or_default();
    let (tag, from, generation, items, failed) = (part(), part(), part(), part(), part());
    let number = |text: &str| text.parse::<i64>().unwrap_or(0);
    let spec = TagSpec {
        source: source(from.trim_end_matches('*')),
        generation: number(generation),
        ..TagSpec::default()
    };
    let spec = TagSpec {
        import_policy: ImportPolicy { scheduled: from.ends_with('*'), ..ImportPolicy::default() },
        ..spec
    };
    let item = |text: &str| {
        let (what, created) = text.split_once('@').expect("when");
        let letter = what.chars().next().expect("an image");
        let image = (letter != '_').then(|| digest(letter));
        HistoryItem {
            created: Timestamp::new(number(created), 0),
            reference: image.as_ref().map_or("x.io/a:1".into(), |image| format!("x.io/a@{image}")),
            image,
            generation: number(&what[1..]),
            media_type: String::new(),
            platform: None,
            index: None,
        }
    };
    let failure = failed.strip_prefix('!').map(|text| {
        let (reason, rest) = text.split_once(':').expect("a generation");
        let (generation, since) = rest.split_once('@').unwrap_or((rest, ""));
        let since = (!since.is_empty()).then(|| Timestamp::new(number(since), 0));
        ToldFailure { failure: failure(reason), generation: number(generation), since }
    });
    ToldTag {
        tag: TagName::parse(tag).expect("a tag"),
        spec: (from != "none").then_some(spec),
        items: items.split(',').filter(|text| !text.is_empty()).map(item).collect(),
        failure,
    }
}

/// What a tag must point to: `A`, or `none`.
fn expectation(text: Option<&str>) -> Option<Expectation> {
    let image = |text: &str| Expectation::Image(digest(text.chars().next().expect("an image")));
    text.map(|text| if text == "none" { Expectation::Nothing } else { image(text) })
}

fn named(tag: Option<&str>) -> TagName {
    TagName::parse(tag.expect("a tag")).expect("a tag")
}

/// Sets a tag without any flag.
fn set_tag(tag: TagName, source: Option<TagSource>) -> SetTag {
    SetTag {
        tag,
        source,
        alias: false,
        reference: false,
        import_policy: ImportPolicy::default(),
        reference_policy: ReferencePolicy::Source,
        annotations: Entries::new(),
        create: false,
        expect: None,
    }
}

fn image_target(image: PlannedImage, answer: &str) -> ImportTarget {
    ImportTarget {
        tag: image.tag,
        outcome: outcome(&image.reference, answer),
        from: image.from,
        policy: image.policy,
        reference_policy: image.reference_policy,
        from_repository: false,
        planned: image.planned,
    }
}

fn repository_target(
    story: &Story,
    key: &StreamKey,
    repository: &PlannedRepository,
    tag: &str,
    answer: &str,
) -> ImportTarget {
    let name = TagName::parse(tag).expect("a tag");
    let state = story.model.stream(key);
    let planned = state.life.as_ref().and_then(|s| s.tags.get(&name)?.spec.clone());
    ImportTarget {
        outcome: outcome(&repository.reference, answer),
        from: repository.reference.at_tag(tag).to_string(),
        tag: name,
        policy: repository.policy,
        reference_policy: repository.reference_policy,
        from_repository: true,
        planned,
    }
}

fn outcome(from: &ImageReference, answer: &str) -> Result<ImportedImage, Failure> {
    if let Some(reason) = answer.strip_prefix('!') {
        return Err(failure(reason));
    }
    let (answer, index) = match answer.split_once('<') {
        Some((answer, index)) => (answer, index.chars().next().map(digest)),
        None => (answer, None),
    };
    let image = |letter: char, index: bool| Image {
        digest: digest(letter),
        reference: from.at_digest(&digest(letter)).to_string(),
        media_type: if index { "index" } else { "manifest" }.into(),
        config: None,
        size: 1,
        platform: Platform { os: "linux".into(), ..Default::default() },
        built_at: None,
        layers: Vec::new(),
        manifests: Vec::new(),
    };
    let mut letters = answer.chars().filter(char::is_ascii_uppercase);
    let top = image(letters.next().expect("an image"), answer.contains('('));
    Ok(ImportedImage { image: top, children: letters.map(|letter| image(letter, false)).collect(), index })
}

/// `Reason`, `Reason:message`, or `Reason:message:busy`.
fn failure(text: &str) -> Failure {
    let (text, kind) = match text.strip_suffix(":busy") {
        Some(text) => (text, FailureKind::RateLimited),
        None => (text, FailureKind::NotFound),
    };
    let (reason, message) = text.split_once(':').unwrap_or((text, text));
    Failure { kind, reason: reason.into(), message: message.into() }
}

fn digest(letter: char) -> Digest {
    Digest::parse(&digests(&format!("@{letter}"))[1..]).expect("a digest")
}

/// `x.io/a@A` with the letter written out.
fn digests(text: &str) -> String {
    match text.split_once('@') {
        Some((name, letter)) if letter.len() == 1 && letter.starts_with(|c: char| c.is_ascii_uppercase()) => {
            // Any letter becomes two hex digits: `A` is aaa…, `L` is 4c4c….
            let hex = match letter.as_bytes()[0] {
                b @ b'A'..=b'F' => (b as char).to_lowercase().to_string().repeat(2),
                b => format!("{b:02x}"),
            };
            format!("{name}@sha256:{}", hex.repeat(32))
        }
        _ => text.into(),
    }
}

/// The opposite: digests as letters again, wherever they stand.
fn letters(text: &str) -> String {
    let letters = ('A'..='Z').map(|letter| (digests(&format!("@{letter}")), letter));
    letters.fold(text.into(), |text: String, (long, letter)| {
        text.replace(&long, &format!("@{letter}")).replace(&long[1..], &letter.to_string())
    })
}

fn stream_and_tag(text: &str) -> (StreamKey, Option<&str>) {
    let (namespace, rest) = text.split_once('/').unwrap_or(("test", text));
    let (name, tag) = rest.split_once(':').map_or((rest, None), |(name, tag)| (name, Some(tag)));
    (StreamKey::parse(namespace, name).expect("a stream"), tag)
}

fn source(text: &str) -> Option<TagSource> {
    let docker =
        |name: &str| TagSource { kind: SourceKind::DockerImage, namespace: None, name: digests(name) };
    let registry = text.split_once('/').is_some_and(|(host, _)| host.contains('.'));
    if text == "-" {
        return None;
    } else if registry {
        return Some(docker(text));
    } else if let Some(name) = text.strip_prefix("docker:") {
        return Some(docker(name));
    } else if let Some(name) = text.strip_prefix("istag:") {
        return Some(TagSource { kind: SourceKind::ImageStreamTag, namespace: None, name: name.into() });
    } else if let Some(name) = text.strip_prefix("isimage:") {
        return Some(TagSource { kind: SourceKind::ImageStreamImage, namespace: None, name: digests(name) });
    }
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(Namespace::parse(namespace).expect("a namespace")), name),
        None => (None, text),
    };
    let kind = if name.contains('@') { SourceKind::ImageStreamImage } else { SourceKind::ImageStreamTag };
    Some(TagSource { kind, namespace, name: digests(name) })
}

fn say_refusal(refusal: &Refusal) -> String {
    let what = match refusal {
        Refusal::NotFound { .. } => "not found".into(),
        Refusal::AlreadyExists { .. } => "exists".into(),
        Refusal::Conflict(_) => "conflict".into(),
        Refusal::Moved { image, sequence, .. } => format!("is {} #{sequence}", letters(image)),
        Refusal::Held(_) => "held".into(),
        Refusal::RequestIdReused(_) => "request id reused".into(),
        Refusal::Invalid { subject, .. } => format!("invalid {} {}", subject.kind, subject.name),
        Refusal::BadRequest(_) => "bad request".into(),
        Refusal::Malformed(_) => "malformed".into(),
        Refusal::TooManyTags(_) => "too many tags".into(),
        Refusal::Usage(_) => "usage".into(),
    };
    format!("refused ({what}): {}", letters(&refusal.to_string()))
}

/// What happened in one run: where it is about several streams, each says its name.
fn say_run(events: &[(StreamKey, Event)]) -> String {
    let streams: Vec<&[(StreamKey, Event)]> = events.chunk_by(|one, other| one.0 == other.0).collect();
    let say = |events: &&[(StreamKey, Event)]| {
        let told = say_events(&events.iter().map(|(_, event)| event).collect::<Vec<_>>());
        if streams.len() > 1 { format!("{} {told}", events[0].0.name) } else { told }
    };
    streams.iter().map(say).collect::<Vec<_>>().join("; ")
}

fn say_events(events: &[&Event]) -> String {
    let Some(last) = events.last() else { return String::new() };
    let generations: BTreeSet<i64> = events.iter().map(|event| event.generation).collect();
    assert_eq!(generations.len(), 1, "a command takes a stream to one generation: {generations:?}");
    let facts: Vec<String> = events.iter().map(|event| say_fact(&event.fact)).collect();
    format!("G{}: {}", last.generation, facts.join("; "))
}

fn say_fact(fact: &Fact) -> String {
    let pairs = |entries: &Entries| entries.iter().map(|(k, v)| format!(" {k}={v}")).collect::<String>();
    match fact {
        Fact::StreamCreated { lookup_local, annotations, .. } => {
            format!("created{}{}", if *lookup_local { " local" } else { "" }, pairs(annotations))
        }
        Fact::StreamDeleted { tags } => format!("deleted {tags:?}"),
        Fact::StreamMetadataSet { labels, annotations } => {
            format!("annotations{}, labels{}", pairs(annotations), pairs(labels))
        }
        Fact::LookupPolicySet { local } => format!("lookup {}", if *local { "on" } else { "off" }),
        Fact::TagSet { tag, spec } => format!("{tag} := {}", say_spec(spec)),
        Fact::TagDeleted { tag, had_spec, last } => {
            let last = last.as_ref().map_or("nothing".into(), say_item);
            format!("{tag} deleted, was {last}{}", if *had_spec { "" } else { ", no spec" })
        }
        Fact::TagMoved(moved) => {
            let sign = match moved.change {
                HistoryChange::Added => '+',
                HistoryChange::Replaced => '~',
                HistoryChange::Renewed => '=',
            };
            let cause = say_cause(&moved.cause, moved.copied_from);
            format!("{} {sign} {}{cause}", moved.tag, say_item(&moved.item))
        }
        Fact::MoveWithheld(withheld) => {
            let cause = say_cause(&withheld.cause, withheld.copied_from);
            format!("{} withheld {}{cause}", withheld.tag, say_item(&withheld.item))
        }
        Fact::TagHeld { tag, terms } => format!("{tag} held{}", say_terms(terms)),
        Fact::TagReleased { tag, expired } => {
            format!("{tag} released{}", if *expired { ", its time is up" } else { "" })
        }
        Fact::TagRestored(restored) => {
            let spec = restored.spec.as_ref().map_or("no spec".into(), say_spec);
            let items: Vec<String> = restored.items.iter().map(say_item).collect();
            let held = restored.hold.as_ref().map(|terms| format!(" held{}", say_terms(terms)));
            let held = held.unwrap_or_default();
            format!("{} back as of {} := {spec} [{}]{held}", restored.tag, restored.as_of, items.join(", "))
        }
        Fact::ImportFailed { tag, failure, generation, told_since, .. } => {
            let since = told_since.map(|at| format!(" since {}", at.seconds)).unwrap_or_default();
            format!("{tag} !{} g{generation}{since}", failure.reason)
        }
        Fact::FailureCleared { tag } => format!("{tag} no failure"),
        Fact::ImageRecorded(image) => format!("new {}", letters(image.digest.as_str())),
        Fact::ImportFinished(import) => {
            let more = match import.additional_tags {
                0 => String::new(),
                more => format!(" +{more}"),
            };
            let told = match import.outcomes.len() {
                limits::OUTCOMES_PER_IMPORT => format!(", the first {} told", limits::OUTCOMES_PER_IMPORT),
                _ => String::new(),
            };
            format!("checked{more}{}{told}", if import.scheduled { " by schedule" } else { "" })
        }
        Fact::RepositoryImportFailed { repository, failure } => {
            format!("all of {repository} !{}", failure.reason)
        }
        Fact::TestimonyTaken(told) => {
            let left_out = match told.items_left_out {
                0 => String::new(),
                items => format!(", without {items}"),
            };
            format!("told by {}{left_out}", told.document)
        }
        Fact::LogContinued(_) => unreachable!("no command makes it"),
    }
}

fn say_cause(cause: &MoveCause, copied_from: u64) -> String {
    match cause {
        MoveCause::Import | MoveCause::Tag => String::new(),
        MoveCause::ScheduledImport => " by schedule".into(),
        MoveCause::Alias(source) => format!(" with {source}"),
        MoveCause::Rollback => format!(" back to {copied_from}"),
        MoveCause::Testimony => " told".into(),
    }
}

/// Nothing for what I hold for no reason and with no end.
fn say_terms(terms: &HoldTerms) -> String {
    let by = if terms.held_by == "me" { String::new() } else { format!(" by {}", terms.held_by) };
    let why = if terms.reason.is_empty() { String::new() } else { format!(" ({})", terms.reason) };
    let until = terms.expires_at.map(|at| format!(" until {}", at.seconds)).unwrap_or_default();
    by + &why + &until
}

fn say_spec(spec: &TagSpec) -> String {
    let mut text = match &spec.source {
        None => "-".into(),
        Some(source) => {
            let kind = match source.kind {
                SourceKind::DockerImage => "",
                SourceKind::ImageStreamTag => "istag ",
                SourceKind::ImageStreamImage => "isimage ",
            };
            let namespace = source.namespace.as_ref().map(|n| format!("{n}/")).unwrap_or_default();
            format!("{kind}{namespace}{}", letters(&source.name))
        }
    };
    text += &format!(" g{}", spec.generation);
    text += if spec.reference { " reference" } else { "" };
    text += &say_policy(spec.import_policy, spec.reference_policy);
    for (key, value) in &spec.annotations {
        text += &format!(" {key}={value}");
    }
    text
}

fn say_policy(import: ImportPolicy, reference: ReferencePolicy) -> String {
    let words = [
        (import.insecure, " insecure"),
        (import.scheduled, " scheduled"),
        (import.mode == ImportMode::PreserveOriginal, " preserve"),
        (reference == ReferencePolicy::Local, " local"),
    ];
    let words: String = words.iter().filter(|(holds, _)| *holds).map(|(_, word)| *word).collect();
    words + &import.interval.map(|interval| format!(" every {interval}")).unwrap_or_default()
}

fn say_item(item: &HistoryItem) -> String {
    let reference = letters(&item.reference);
    let image = item.image.as_ref().map(|image| letters(image.as_str())).unwrap_or_default();
    let unusual = !image.is_empty() && !reference.ends_with(&format!("@{image}"));
    let image = if unusual { format!(" is {image}") } else { String::new() };
    let index = item.index.as_ref().map(|index| format!(" <{}", letters(index.as_str())));
    format!("{reference}{image} g{}{}", item.generation, index.unwrap_or_default())
}

/// What a check of each tag on the schedule asks for, all in one.
fn plan_checks(stream: &Stream, reason: Reason) -> ImportPlan {
    let checked = stream.tags.iter().filter(|(_, state)| check::reason(state) == Some(reason));
    let images = checked.filter_map(|(tag, state)| import_plan::plan_tag(tag, state)).collect();
    ImportPlan { images, uid: Some(stream.uid.clone()), ..ImportPlan::default() }
}

fn say_plan(plan: &ImportPlan) -> String {
    let mut questions = Vec::new();
    if let Some(repository) = &plan.repository {
        let policy = say_policy(repository.policy, repository.reference_policy);
        questions.push(format!("all of {}{policy}", repository.from));
    }
    for image in &plan.images {
        let mut text = format!("{} from {}", image.tag, letters(&image.from));
        text += &say_policy(image.policy, image.reference_policy);
        for (what, wanted) in [("os", &image.prefer_os), ("arch", &image.prefer_architecture)] {
            text += &wanted.as_ref().map(|wanted| format!(" {what}={wanted}")).unwrap_or_default();
        }
        questions.push(text);
    }
    if plan.create_stream {
        questions.push("create".into());
    }
    questions.join("; ")
}
