//! The writer on a log in memory and a read model of its own.

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use futures_util::FutureExt;

use tagtrail_domain::TagName;
use tagtrail_domain::command::SetTag;
use tagtrail_domain::tag::{Entries, ImportPolicy, ReferencePolicy, SourceKind, TagSource};
use tagtrail_event_log::{AppendError, LogId, MemoryLog, ReadError, Stored};
use tagtrail_projection::Opened;

use super::*;

/// A log whose disk can fail: 0 works, 1 loses what it is given, 2 keeps it and says otherwise, 3 panics, 4 is full.
struct Disk {
    log: MemoryLog,
    mood: Arc<AtomicU8>,
}

impl Log for Disk {
    fn id(&self) -> LogId {
        self.log.id()
    }

    fn head(&self) -> u64 {
        self.log.head()
    }

    fn append(&self, head: u64, runs: &[tagtrail_event_log::Run]) -> Result<u64, AppendError> {
        let mood = self.mood.load(Ordering::SeqCst);
        assert!(mood != 3, "a bug");
        if mood == 4 {
            return Err(AppendError::Full { left: 0, needed: 1 });
        }
        if mood != 1 {
            self.log.append(head, runs)?;
        }
        if mood == 0 { Ok(self.log.head()) } else { Err(AppendError::Uncertain { reason: "no disk".into() }) }
    }

    fn read(&self, from: u64, events: usize, bytes: usize) -> Result<Vec<Stored>, ReadError> {
        self.log.read(from, events, bytes)
    }

    fn follow(&self) -> watch::Receiver<u64> {
        self.log.follow()
    }
}

/// How many writes may wait.
const QUEUE: usize = 512;

struct Bench {
    dir: tempfile::TempDir,
    log: MemoryLog,
    view: Arc<View>,
    tail: Arc<Tail>,
    writer: Writer,
    queue: Option<Queue>,
    mood: Arc<AtomicU8>,
    clock: Arc<AtomicI64>,
    alive: watch::Receiver<bool>,
    says: Option<watch::Sender<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Bench {
    /// Everything but the thread: what is written waits.
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let log = MemoryLog::new(LogId::from_bytes([3; 16]));
        let (view, _) = View::open(&dir.path().join("view"), &log).expect("opens");
        let (writer, queue) = Writer::new(QUEUE);
        let (says, alive) = watch::channel(true);
        Self {
            dir,
            log,
            view: Arc::new(view),
            tail: Arc::new(Tail::new(std::time::Duration::from_secs(1))),
            writer,
            queue: Some(queue),
            mood: Arc::default(),
            clock: Arc::new(AtomicI64::new(100)),
            alive,
            says: Some(says),
            thread: None,
        }
    }

    fn start(&mut self) {
        let clock = self.clock.clone();
        let outside = Outside::of(move || Timestamp::new(clock.load(Ordering::SeqCst), 0), || [7; 16]);
        let log = Arc::new(Disk { log: self.log.clone(), mood: self.mood.clone() });
        let work = Arc::new(Work::new(crate::config::Intervals::default(), || 0.5));
        let commits = Commits { log, view: self.view.clone(), tail: self.tail.clone(), work };
        let rules = Rules { internal_registry: None, tags_per_stream: 10_000 };
        let (queue, says) = (self.queue.take().expect("once"), self.says.take().expect("once"));
        let started = queue.start(commits, outside, rules, says);
        self.thread = Some(started.expect("a thread"));
    }

    fn started() -> Self {
        let mut bench = Self::new();
        bench.start();
        bench
    }

    async fn write(&self, stream: &str, command: Command, origin: Origin) -> Result<Written, WriteError> {
        self.writer.write(Write::one(key(stream), command, origin)).await
    }

    /// What the events of the log are about, in order.
    fn streams(&self) -> Vec<String> {
        let events = self.log.read(1, usize::MAX, usize::MAX).expect("memory reads");
        let name =
            |stored: &Stored| codec::decode(&stored.payload).expect("an event").stream.name.to_string();
        events.iter().map(name).collect()
    }
}

fn key(name: &str) -> StreamKey {
    StreamKey::parse("test", name).expect("valid")
}

fn create() -> Command {
    Command::CreateStream { lookup_local: false, labels: Entries::new(), annotations: Entries::new() }
}

fn with_id(id: &str, digest: u8) -> Origin {
    Origin { name: "test", request_id: id.into(), request_digest: vec![digest; 32], ..Origin::default() }
}

/// Gives the others a turn until so many writes wait.
async fn until_waiting(writer: &Writer, writes: usize) {
    while writer.jobs.max_capacity() - writer.jobs.capacity() < writes {
        tokio::task::yield_now().await;
    }
}

/// What waits is decided in order, each on what the one before it did, and shares one append.
#[tokio::test]
async fn many_share_a_commit_and_a_refusal_among_them_changes_nothing() {
    let mut bench = Bench::new();
    let names = ["a", "b", "a", "c"];
    let writes = names.map(|name| {
        let writer = bench.writer.clone();
        let write = Write::one(key(name), create(), Origin::default());
        async move { writer.write(write).await }
    });
    let writes = futures_util::future::join_all(writes);
    let mut head = bench.log.follow();
    let (answers, ()) = tokio::join!(writes, async {
        until_waiting(&bench.writer, 4).await;
        bench.start();
    });
    let sequences: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().map(Written::sequence).ok()).collect();
    assert_eq!(sequences, [Some(1), Some(2), None, Some(3)]);
    assert!(matches!(&answers[2], Err(WriteError::Refused(Refusal::AlreadyExists { .. }))));
    assert_eq!(bench.streams(), ["a", "b", "c"]);
    assert_eq!(*head.borrow_and_update(), 3);
    assert_eq!(bench.view.position(), 3);
}

#[tokio::test]
async fn what_was_acknowledged_can_be_read() {
    let bench = Bench::started();
    for n in 0..50 {
        let name = format!("s{n}");
        let written = bench.write(&name, create(), Origin::default()).await.expect("written");
        assert!(bench.view.position() >= written.sequence());
        assert!(bench.view.stream(&key(&name)).life.is_some());
    }
}

/// On a failing disk everybody who waits is answered, nothing more is taken, and the server hears of it. What was
/// not acknowledged may be in the log or not; nobody has seen it.
#[tokio::test]
async fn a_failing_disk_ends_it() {
    for (mood, events) in [(1, 1), (2, 3)] {
        let mut bench = Bench::new();
        bench.mood.store(0, Ordering::SeqCst);
        bench.start();
        bench.write("a", create(), Origin::default()).await.expect("written");
        let pause = bench.writer.pause().await.expect("pauses");
        bench.mood.store(mood, Ordering::SeqCst);
        let writes = ["b", "c"].map(|name| bench.write(name, create(), Origin::default()));
        let writes = futures_util::future::join_all(writes);
        let (answers, ()) = tokio::join!(writes, async {
            until_waiting(&bench.writer, 2).await;
            drop(pause);
        });
        for answer in answers {
            assert!(matches!(answer, Err(WriteError::Stopped)));
        }
        bench.alive.wait_for(|alive| !alive).await.expect("told");
        bench.thread.take().expect("started").join().expect("an end, not a panic");
        let late = bench.write("d", create(), Origin::default()).await;
        assert!(matches!(late, Err(WriteError::Stopped)));
        assert_eq!((bench.log.head(), bench.view.position()), (events, 1));
        assert!(bench.view.stream(&key("b")).life.is_none());
    }
}

/// A full disk is a refusal of the whole round, also of what was decided on what did not come about; then it goes on.
#[tokio::test]
async fn a_full_disk_refuses_until_there_is_room() {
    let mut bench = Bench::new();
    bench.start();
    bench.write("a", create(), Origin::default()).await.expect("written");
    let pause = bench.writer.pause().await.expect("pauses");
    bench.mood.store(4, Ordering::SeqCst);
    let writes = ["b", "b"].map(|name| bench.write(name, create(), Origin::default()));
    let writes = futures_util::future::join_all(writes);
    let (answers, ()) = tokio::join!(writes, async {
        until_waiting(&bench.writer, 2).await;
        drop(pause);
    });
    for answer in answers {
        assert!(matches!(answer, Err(WriteError::Full(_))), "the second did not meet the first");
    }
    assert_eq!((bench.log.head(), bench.view.position()), (1, 1));
    assert!(bench.view.stream(&key("b")).life.is_none());
    bench.mood.store(0, Ordering::SeqCst);
    assert_eq!(bench.write("b", create(), Origin::default()).await.expect("written").sequence(), 2);
}

#[tokio::test]
async fn a_panic_ends_it_and_its_rows_are_not_trusted_again() {
    let mut bench = Bench::started();
    bench.write("a", create(), Origin::default()).await.expect("written");
    bench.mood.store(3, Ordering::SeqCst);
    let answer = bench.write("b", create(), Origin::default()).await;
    assert!(matches!(answer, Err(WriteError::Stopped)));
    bench.alive.wait_for(|alive| !alive).await.expect("told");
    bench.thread.take().expect("started").join().expect_err("a panic");
    drop(bench.view);
    let (_, opened) = View::open(&bench.dir.path().join("view"), &bench.log).expect("opens");
    assert!(matches!(&opened, Opened::Discarded(why) if why.contains("the writer panicked")), "{opened:?}");
}

#[tokio::test]
async fn it_stops_after_what_waits() {
    let mut bench = Bench::started();
    let pause = bench.writer.pause().await.expect("pauses");
    let (written, ()) = tokio::join!(bench.write("a", create(), Origin::default()), async {
        until_waiting(&bench.writer, 1).await;
        bench.writer.stop().await;
        drop(pause);
    });
    assert_eq!(written.expect("it came before").sequence(), 1);
    // Although somebody still holds the way to it.
    bench.thread.take().expect("started").join().expect("ends well");
    assert!(*bench.alive.borrow());
    let late = bench.write("b", create(), Origin::default()).await;
    assert!(matches!(late, Err(WriteError::Stopped)));
}

#[tokio::test]
async fn a_pause_that_nobody_wants_any_more_holds_nobody_up() {
    let bench = Bench::started();
    let first = bench.writer.pause().await.expect("pauses");
    let mut second = Box::pin(bench.writer.pause());
    assert!((&mut second).now_or_never().is_none());
    drop(second); // The request was broken off while it waited.
    drop(first);
    bench.write("a", create(), Origin::default()).await.expect("goes on");
}

#[tokio::test]
async fn a_full_queue_says_so() {
    let bench = Bench::new();
    let write = |n: usize| {
        let write = Write::one(key(&format!("s{n}")), create(), Origin::default());
        let writer = bench.writer.clone();
        async move { writer.write(write).await }
    };
    let mut waiting: Vec<_> = (0..QUEUE).map(|n| Box::pin(write(n))).collect();
    for write in &mut waiting {
        assert!(write.now_or_never().is_none());
    }
    assert!(matches!(write(QUEUE).await, Err(WriteError::Busy)));
}

#[tokio::test]
async fn a_request_happens_once() {
    let mut bench = Bench::new();
    // The second is a repeat within the same group commit, the third another request under the same id.
    let writes = [1, 1, 2].map(|digest| {
        let write = Write::one(key("a"), create(), with_id("r", digest));
        let writer = bench.writer.clone();
        async move { writer.write(write).await }
    });
    let (answers, ()) = tokio::join!(futures_util::future::join_all(writes), async {
        until_waiting(&bench.writer, 3).await;
        bench.start();
    });
    let [first, second, third] = answers.try_into().ok().expect("three");
    assert_eq!(first.map(|written| (written.sequence(), written.repeated)).ok(), Some((1, false)));
    assert_eq!(second.map(|written| (written.sequence(), written.repeated)).ok(), Some((1, true)));
    assert!(matches!(third, Err(WriteError::Refused(Refusal::RequestIdReused(_)))));
    let again = bench.write("a", create(), with_id("r", 1)).await.expect("written");
    assert_eq!((again.repeated, again.sequence()), (true, 1));
    let other = bench.write("a", create(), with_id("r", 2)).await;
    assert!(matches!(other, Err(WriteError::Refused(Refusal::RequestIdReused(_)))));
    // What made no event is decided again.
    let refused = bench.write("b", Command::DeleteStream, with_id("s", 1)).await;
    assert!(matches!(refused, Err(WriteError::Refused(Refusal::NotFound { .. }))));
    bench.write("b", create(), Origin::default()).await.expect("written");
    assert!(!bench.write("b", Command::DeleteStream, with_id("s", 1)).await.expect("written").repeated);
    let unchanged = || Command::SetLookupPolicy { local: false };
    assert_eq!(bench.write("a", unchanged(), with_id("t", 1)).await.expect("nothing").sequence(), 0);
    assert!(!bench.write("a", unchanged(), with_id("t", 1)).await.expect("nothing").repeated);
}

/// Whatever the clock does, also while the server was down.
#[tokio::test]
async fn time_never_goes_back() {
    let bench = Bench::started();
    let at = |written: Result<Written, WriteError>| written.expect("written").events[0].recorded_at.seconds;
    assert_eq!(at(bench.write("a", create(), Origin::default()).await), 100);
    bench.clock.store(50, Ordering::SeqCst);
    assert_eq!(at(bench.write("b", create(), Origin::default()).await), 100);

    // Another writer, on a read model that was built anew.
    let (view, _) = View::open(&bench.dir.path().join("other"), &bench.log).expect("opens");
    view.catch_up(&bench.log, bench.log.head(), &mut |_| {}).expect("catches up");
    let mut next = Bench::new();
    (next.log, next.view) = (bench.log.clone(), Arc::new(view));
    next.clock.store(20, Ordering::SeqCst);
    next.start();
    assert_eq!(at(next.write("c", create(), Origin::default()).await), 100);
}

/// One command of more than an append can hold was once taken for a failing disk, and stopped the server.
#[tokio::test]
async fn what_is_too_large_for_the_log_is_refused_and_the_next_goes_on() {
    let bench = Bench::started();
    let source = |kind, name: &str| TagSource { kind, namespace: None, name: name.into() };
    let set = |tag: &str, source| {
        Command::SetTag(SetTag {
            tag: TagName::parse(tag).expect("valid"),
            source: Some(source),
            alias: true,
            reference: true,
            import_policy: ImportPolicy::default(),
            reference_policy: ReferencePolicy::Source,
            annotations: Entries::new(),
            create: false,
            expect: None,
        })
    };
    // A tag that many others follow moves them all, each with the reason why.
    let followers = (0..350).map(|n| {
        let follower = set(&format!("t{n}"), source(SourceKind::ImageStreamTag, "a:main"));
        bench.write("a", follower, Origin::default())
    });
    for answer in futures_util::future::join_all(followers).await {
        answer.expect("written");
    }
    let head = bench.log.head();
    let moved = set("main", source(SourceKind::DockerImage, "quay.io/a/b:c"));
    let because = |bytes| Origin { reason: "r".repeat(bytes), ..Origin::default() };
    let refused = bench.write("a", moved.clone(), because(50_000)).await.map(|written| written.run.length);
    let words = refused.expect_err("too large").to_string();
    assert!(words.starts_with("this would make 352 events of"), "{words}");
    let refused = bench.write("a", moved.clone(), because(70_000)).await.map(|written| written.run.length);
    let words = refused.expect_err("too large").to_string();
    assert!(words.starts_with("this would make an event of"), "{words}");
    assert_eq!(bench.log.head(), head);
    assert_eq!(bench.write("a", moved, because(10)).await.expect("written").run.length, 352);
}

/// Whoever was told that it took too long, or has gone away, can rely on it that nothing happens afterwards.
#[tokio::test]
async fn what_nobody_waits_for_is_not_begun() {
    let mut bench = Bench::new();
    let write = |name: &str, deadline| {
        let write = Write::one(key(name), create(), Origin { deadline, ..Origin::default() });
        let writer = bench.writer.clone();
        Box::pin(async move { writer.write(write).await })
    };
    let now = Instant::now();
    let mut late = write("late", Some(now));
    let mut gone = write("gone", None);
    let mut timely = write("timely", Some(now + std::time::Duration::from_secs(600)));
    let mut patient = write("patient", None);
    for waiting in [&mut late, &mut gone, &mut timely, &mut patient] {
        assert!(waiting.now_or_never().is_none(), "nobody writes yet");
    }
    drop(gone);
    bench.start();
    assert!(matches!(late.await, Err(WriteError::TooLate)));
    timely.await.expect("it is in time");
    patient.await.expect("it has no end");
    assert_eq!(bench.streams(), ["timely", "patient"]);
}
