//! A real log: what `decide` makes of some three hundred events' worth of wishes, with blobs, tree, key and checkpoints.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use tagtrail_domain::apply::Position;
use tagtrail_domain::command::{
    Command, Context, Import, ImportOrigin, ImportTarget, ImportedImage, Restore, RestoredTag, Rollback,
    SetTag,
};
use tagtrail_domain::image::{Failure, FailureKind, Image, Platform};
use tagtrail_domain::state::HoldTerms;
use tagtrail_domain::tag::{ImportPolicy, ReferencePolicy, SourceKind, TagSource};
use tagtrail_domain::{
    Actor, Digest, Event, Model, Recorded, Run, StreamKey, TagName, Timestamp, World as _, decide_together,
};
use tagtrail_event_log::blobs::BlobStore;
use tagtrail_event_log::tree::Tree;
use tagtrail_event_log::{Log as _, LogId, Options, SledLog, codec};
use tagtrail_transparency::{Checkpoint, Frontier, SigningKey, VerifierKey, hash};

/// The log of every test.
pub(crate) const ID: LogId = LogId::from_bytes([0x5A; 16]);

/// At how many events, roughly, a checkpoint was kept somewhere else.
const KEPT_AT: [u64; 2] = [100, 200];

/// How many events the history has at least.
const EVENTS: u64 = 300;

/// The name of the log.
pub(crate) fn origin() -> String {
    format!("tagtrail/{ID}")
}

/// The key that the log signs with.
pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed(origin(), &[7; 32]).unwrap()
}

pub(crate) fn vkey() -> VerifierKey {
    key().verifier()
}

/// A log that nobody has laid hands on.
pub(crate) struct History {
    dir: tempfile::TempDir,
    /// The events.
    pub(crate) payloads: Vec<Bytes>,
    /// What they make.
    pub(crate) model: Model,
    /// Checkpoints that somebody kept, by their size.
    pub(crate) kept: BTreeMap<u64, Vec<u8>>,
}

impl History {
    pub(crate) fn size(&self) -> u64 {
        self.payloads.len() as u64
    }

    /// A copy of its data directory, to lay hands on.
    pub(crate) fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_all(self.dir.path(), copy.path());
        copy
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_all(&path, &copy);
        } else {
            fs::copy(&path, &copy).unwrap();
        }
    }
}

/// The history that all tests look at.
pub(crate) fn history() -> &'static History {
    static HISTORY: OnceLock<History> = OnceLock::new();
    HISTORY.get_or_init(|| Writer::new().write())
}

/// The signed checkpoint over these events.
pub(crate) fn checkpoint(payloads: &[Bytes], key: &SigningKey) -> Vec<u8> {
    let mut tree = Frontier::new();
    payloads.iter().for_each(|payload| tree.push(hash::leaf(payload)));
    let checkpoint = Checkpoint::new(key.name(), tree.size(), tree.root()).unwrap();
    checkpoint.sign(key).unwrap().to_string().into_bytes()
}

/// Writes the files `tree/<level>` anew, as they follow from these events.
pub(crate) fn write_tree(dir: &Path, payloads: &[Bytes]) {
    let mut levels: Vec<Vec<u8>> = vec![Vec::new()];
    let mut tree = Frontier::new();
    for payload in payloads {
        tree.push_and_keep(hash::leaf(payload), |level, _, hash| {
            levels.resize(levels.len().max(usize::from(level) + 1), Vec::new());
            levels[usize::from(level)].extend_from_slice(hash.as_bytes());
        });
    }
    fs::remove_dir_all(dir.join("tree")).unwrap();
    fs::create_dir(dir.join("tree")).unwrap();
    for (level, bytes) in levels.iter().enumerate() {
        fs::write(dir.join("tree").join(level.to_string()), bytes).unwrap();
    }
}

/// Decides, envelopes and appends, as a server does.
struct Writer {
    dir: tempfile::TempDir,
    log: SledLog,
    blobs: BlobStore,
    model: Model,
    payloads: Vec<Bytes>,
    kept: BTreeMap<u64, Vec<u8>>,
    wishes: i64,
    /// A small generator: the same history each time.
    random: u64,
}

impl Writer {
    fn new() -> Writer {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 24 * 1024, ..Options::new(ID) };
        let (log, _) = SledLog::open(dir.path(), options).unwrap();
        let blobs = BlobStore::open(dir.path()).unwrap();
        Writer {
            dir,
            log,
            blobs,
            model: Model::default(),
            payloads: Vec::new(),
            kept: BTreeMap::new(),
            wishes: 0,
            random: 1,
        }
    }

    fn write(mut self) -> History {
        self.open();
        while self.log.head() < EVENTS {
            self.wish_something();
            let size = self.log.head();
            let due = KEPT_AT.iter().any(|at| size >= *at && !self.kept.keys().any(|kept| kept >= at));
            if due {
                self.kept.insert(size, checkpoint(&self.payloads, &key()));
            }
        }
        let dir = self.dir.path();
        let (mut tree, _) = Tree::open(dir, &self.log).unwrap();
        tree.catch_up(&self.log, |_, _| ()).unwrap();
        tree.sync().unwrap();
        fs::write(dir.join("checkpoint"), checkpoint(&self.payloads, &key())).unwrap();
        fs::write(dir.join("log.key"), format!("{}\n", key().to_private_text())).unwrap();
        self.log.close().unwrap();
        History { dir: self.dir, payloads: self.payloads, model: self.model, kept: self.kept }
    }

    /// One of so many.
    fn pick(&mut self, of: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % of
    }

    /// A world where something can happen: tags with images, and some that follow them.
    fn open(&mut self) {
        for stream in 0..2 {
            for tag in 0..2 {
                let import =
                    self.import(stream, tag, tag, ImportPolicy { scheduled: tag == 0, ..Default::default() });
                self.run(vec![import]);
            }
            let alias = set(stream, 2, SourceKind::ImageStreamTag, "t0", true);
            self.run(vec![alias]);
            let alias = set(stream, 3, SourceKind::ImageStreamTag, "t2", true);
            self.run(vec![alias]);
        }
    }

    fn wish_something(&mut self) {
        let (stream, tag, other) = (self.pick(2), self.pick(4), self.pick(4));
        let hold = HoldTerms { held_by: "ana".into(), reason: "release".into(), expires_at: None };
        let wishes = match self.pick(16) {
            0..=5 => {
                let image = self.pick(12);
                let scheduled = self.pick(2) == 0;
                vec![self.import(stream, tag, image, ImportPolicy { scheduled, ..ImportPolicy::default() })]
            }
            6 => vec![self.failed(stream, tag)],
            7 | 8 => vec![set(
                stream,
                4 + tag,
                SourceKind::ImageStreamTag,
                &format!("s{}:t{other}", 1 - stream),
                false,
            )],
            9 => vec![
                set(0, 8 + tag, SourceKind::ImageStreamTag, &format!("s1:t{other}"), false),
                set(1, 8 + tag, SourceKind::ImageStreamTag, &format!("s0:t{other}"), false),
            ],
            10 => vec![(name(stream), Command::Hold { tag: tag_of(tag), terms: hold, expect: None })],
            11 => vec![(name(stream), Command::Release { tag: tag_of(tag), expired: false })],
            12 => {
                let past = self.model.history(&name(stream), &tag_of(tag)).first().cloned();
                let Some(to) = past else { return };
                let wish = Rollback { tag: tag_of(tag), to, terms: hold, expect: None, planned: 0 };
                vec![(name(stream), Command::Rollback(wish))]
            }
            13 => vec![(name(stream), Command::SetLookupPolicy { local: self.pick(2) == 0 })],
            14 => vec![(name(stream), Command::DeleteTag { tag: format!("t{}", 4 + tag), expect: None })],
            _ => return self.delete_and_restore(stream, 8 + tag),
        };
        self.run(wishes);
    }

    fn delete_and_restore(&mut self, stream: u64, tag: u64) {
        let (key, tag) = (name(stream), tag_of(tag));
        let state = self.model.stream(&key);
        let (Some(life), Some(was)) = (&state.life, state.tag(&tag)) else { return };
        let items = self.model.history(&key, &tag).iter().rev().map(|current| current.item.clone()).collect();
        let restore = Restore {
            lookup_local: life.lookup_local,
            labels: life.labels.clone(),
            annotations: life.annotations.clone(),
            whole: false,
            tags: vec![RestoredTag { tag: tag.clone(), spec: was.spec.clone(), items, hold: None }],
            as_of: self.log.head(),
        };
        self.run(vec![(key.clone(), Command::DeleteTag { tag: tag.to_string(), expect: None })]);
        self.run(vec![(key, Command::Restore(restore))]);
    }

    /// An import that finds an image, whose blobs are there before.
    fn import(&mut self, stream: u64, tag: u64, image: u64, policy: ImportPolicy) -> (StreamKey, Command) {
        let digest = self.blobs.put(format!("manifest {image}").as_bytes()).unwrap();
        let config = self.blobs.put(format!("configuration {image}").as_bytes()).unwrap();
        let digest = Digest::parse(&digest).unwrap();
        let image = Image {
            reference: format!("quay.io/acme/s{stream}@{digest}"),
            digest,
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            config: Some(Digest::parse(&config).unwrap()),
            size: 1,
            platform: Platform { os: "linux".into(), architecture: "amd64".into(), variant: String::new() },
            built_at: None,
            layers: Vec::new(),
            manifests: Vec::new(),
        };
        self.answered(stream, tag, policy, Ok(ImportedImage { image, children: Vec::new(), index: None }))
    }

    fn failed(&mut self, stream: u64, tag: u64) -> (StreamKey, Command) {
        let (reason, message) = ("NotFound".to_owned(), "manifest unknown".to_owned());
        let failure = Failure { kind: FailureKind::NotFound, reason, message };
        self.answered(stream, tag, ImportPolicy::default(), Err(failure))
    }

    fn answered(
        &mut self,
        stream: u64,
        tag: u64,
        policy: ImportPolicy,
        outcome: Result<ImportedImage, Failure>,
    ) -> (StreamKey, Command) {
        let (key, tag) = (name(stream), tag_of(tag));
        let state = self.model.stream(&key);
        let planned = state.tag(&tag).and_then(|state| state.spec.clone());
        let target = ImportTarget {
            from: format!("quay.io/acme/s{stream}:{tag}"),
            tag,
            policy,
            reference_policy: ReferencePolicy::Source,
            from_repository: false,
            planned,
            outcome,
        };
        let import = Import {
            targets: vec![target],
            repository: String::new(),
            repository_failure: None,
            additional_tags: 0,
            create_stream: true,
            origin: ImportOrigin::Request,
            planned_uid: state.life.as_ref().map(|stream| stream.uid.clone()),
        };
        (key, Command::Import(import))
    }

    /// Carries out wishes in one run, unless they are refused.
    fn run(&mut self, wishes: Vec<(StreamKey, Command)>) {
        self.wishes += 1;
        let first = self.log.head() + 1;
        let now = Timestamp::new(1_795_000_000 + self.wishes, 0);
        let context = Context {
            now,
            next_sequence: first,
            fresh_uids: (0..wishes.len()).map(|n| format!("uid-{}-{n}", self.wishes)).collect(),
            expected_revision: None,
            internal_registry: None,
            tags_per_stream: usize::MAX,
        };
        let Ok(events) = decide_together(&self.model, &context, &wishes) else { return };
        if events.is_empty() {
            return;
        }
        let run = Run { first_sequence: first, length: events.len() as u32 };
        let mut stored = Vec::new();
        for (sequence, (key, event)) in (first..).zip(events) {
            let revision = self.model.stream(&key).revision + 1;
            self.model.apply(&key, &event, Position { sequence, recorded_at: now });
            stored.push(codec::encode(&envelope(sequence, revision, now, run, key, event, self.wishes)));
        }
        self.log.append(first - 1, &[stored.clone()]).unwrap();
        self.payloads.extend(stored);
    }
}

fn envelope(
    sequence: u64,
    revision: u64,
    recorded_at: Timestamp,
    run: Run,
    stream: StreamKey,
    event: Event,
    wish: i64,
) -> Recorded {
    Recorded {
        sequence,
        revision,
        recorded_at,
        run,
        stream,
        actor: Actor { name: "ana".into(), authenticated: false },
        reason: format!("wish {wish}"),
        command: "test".into(),
        request_id: format!("request-{wish}"),
        request_digest: vec![1; 32],
        caused_by: 0,
        traceparent: String::new(),
        event,
    }
}

pub(crate) fn name(stream: u64) -> StreamKey {
    StreamKey::parse("test", &format!("s{stream}")).unwrap()
}

pub(crate) fn tag_of(tag: u64) -> TagName {
    TagName::parse(&format!("t{tag}")).unwrap()
}

fn set(stream: u64, tag: u64, kind: SourceKind, from: &str, alias: bool) -> (StreamKey, Command) {
    let wish = SetTag {
        tag: tag_of(tag),
        source: Some(TagSource { kind, namespace: None, name: from.into() }),
        alias,
        reference: false,
        import_policy: ImportPolicy::default(),
        reference_policy: ReferencePolicy::Source,
        annotations: BTreeMap::new(),
        create: false,
        expect: None,
    };
    (name(stream), Command::SetTag(wish))
}

/// The events of one append: whether each is the last of its run, and its bytes.
pub(crate) type Record = Vec<(bool, Bytes)>;

/// The journal of a data directory, as records of events, to be changed and written back with all checksums right.
#[derive(Clone)]
pub(crate) struct Journal {
    dir: PathBuf,
    /// For each segment its records, and of each of these the events: whether the last of a run, and the bytes.
    pub(crate) segments: Vec<Vec<Record>>,
}

impl Journal {
    pub(crate) fn read(data_dir: &Path) -> Journal {
        let dir = data_dir.join("journal");
        let mut segments = Vec::new();
        for path in segment_files(data_dir) {
            let bytes = Bytes::from(fs::read(path).unwrap());
            let (mut at, mut records) = (40, Vec::new());
            while at < bytes.len() {
                let number =
                    |from: usize| u32::from_be_bytes(bytes[from..from + 4].try_into().unwrap()) as usize;
                let (length, count) = (number(at + 4), number(at + 16));
                let (mut frame, mut events) = (at + 24, Vec::new());
                for _ in 0..count {
                    let payload = number(frame + 10);
                    let last = bytes[frame + 1] & 1 == 1;
                    events.push((last, bytes.slice(frame + 18..frame + 18 + payload)));
                    frame += 18 + payload;
                }
                at += 24 + length;
                records.push(events);
            }
            segments.push(records);
        }
        Journal { dir, segments }
    }

    /// All records, of whatever segment.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.segments.concat()
    }

    /// Puts these records in place of all there are, in as many segments.
    pub(crate) fn set_records(&mut self, records: Vec<Record>) {
        let lengths: Vec<usize> = self.segments.iter().map(Vec::len).collect();
        let mut records = records.into_iter();
        self.segments = lengths.iter().map(|length| records.by_ref().take(*length).collect()).collect();
        self.segments.last_mut().unwrap().extend(records);
    }

    pub(crate) fn payloads(&self) -> Vec<Bytes> {
        self.records().into_iter().flatten().map(|(_, payload)| payload).collect()
    }

    /// Writes it, as whoever knows the format would.
    pub(crate) fn write(&self) {
        for entry in fs::read_dir(&self.dir).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let mut next = 1_u64;
        for records in &self.segments {
            if records.is_empty() && next > 1 {
                continue;
            }
            let mut out = b"tagtrail".to_vec();
            out.extend(1_u32.to_be_bytes());
            out.extend(ID.as_bytes());
            out.extend(next.to_be_bytes());
            out.extend(crc32c::crc32c(&out).to_be_bytes());
            let path = self.dir.join(format!("{next:020}.seg"));
            for events in records {
                let mut frames = Vec::new();
                for (sequence, (last, payload)) in (next..).zip(events) {
                    let mut frame = vec![1, u8::from(*last)];
                    frame.extend(sequence.to_be_bytes());
                    frame.extend((payload.len() as u32).to_be_bytes());
                    frame.extend(crc32c::crc32c_append(crc32c::crc32c(&frame), payload).to_be_bytes());
                    frame.extend(payload);
                    frames.extend(frame);
                }
                let mut header = vec![0xF7, b'r', b'e', b'c'];
                header.extend((frames.len() as u32).to_be_bytes());
                header.extend(next.to_be_bytes());
                header.extend((events.len() as u32).to_be_bytes());
                let crc = crc32c::crc32c_append(crc32c::crc32c(ID.as_bytes()), &header);
                header.extend(crc32c::crc32c_append(crc, &frames).to_be_bytes());
                out.extend(header);
                out.extend(frames);
                next += events.len() as u64;
            }
            fs::write(path, out).unwrap();
        }
    }
}

/// The files of a journal, in order.
pub(crate) fn segment_files(data_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data_dir.join("journal")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
