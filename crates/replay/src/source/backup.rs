//! The file of a backup. It is read whole when it is opened: only then is it known whether it is whole.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::vec;

use tagtrail_event_log::backup::{BackupError, Header, Part, Reader, is_one};
use tagtrail_event_log::blobs::BlobError;
use tagtrail_event_log::{LogId, Stored};
use tagtrail_transparency::VerifierKey;

use super::{Blobs, Entries, Entry, Source, SourceError, StoredHashes};
use crate::wrong::Wrong;

/// A backup, whole.
#[derive(Debug)]
pub struct Backup {
    name: String,
    header: Header,
    size: u64,
    blobs: InFile,
}

/// The blobs of the file, by digest: they were hashed when it was opened.
#[derive(Debug)]
struct InFile {
    path: PathBuf,
    there: BTreeSet<String>,
}

impl Backup {
    /// Whether this is the file of a backup.
    #[must_use]
    pub fn is_one(path: &Path) -> bool {
        let mut beginning = Vec::new();
        let read = path.is_file().then(|| File::open(path)?.take(8).read_to_end(&mut beginning));
        matches!(read, Some(Ok(_))) && is_one(&beginning)
    }

    /// Reads a backup through.
    ///
    /// # Errors
    /// [`SourceError::Wrong`] if it is not whole, or not what was signed. What goes on from another backup cannot be looked at
    /// by itself.
    pub fn open(path: &Path) -> Result<Backup, SourceError> {
        let mut parts = read(path)?;
        let mut there = BTreeSet::new();
        for part in parts.by_ref() {
            if let Part::Blob { digest, .. } = part.map_err(|error| told(path, error))? {
                there.insert(digest);
            }
        }
        let (header, size) =
            (parts.header().clone(), parts.contents().map_or(0, |contents| contents.tree.size()));
        let (path, name) = (path.to_owned(), path.display().to_string());
        if header.first > 1 {
            return Err(SourceError::Unreadable(format!(
                "{name} is whole and was signed, but goes on from another backup, and begins with event {}: restore it together \
                 with the backups before it, and look at that directory",
                header.first
            )));
        }
        Ok(Backup { name, header, size, blobs: InFile { path, there } })
    }
}

fn read(path: &Path) -> Result<Reader<BufReader<File>>, SourceError> {
    let file = File::open(path).map_err(|error| told(path, error.into()))?;
    Reader::open(BufReader::new(file), None).map_err(|error| told(path, error))
}

fn told(path: &Path, error: BackupError) -> SourceError {
    match error {
        BackupError::Io(_) | BackupError::Newer(_) => {
            SourceError::Unreadable(format!("{}: {error}", path.display()))
        }
        BackupError::NotOne | BackupError::Damaged(_) | BackupError::Contradiction(_) => {
            Wrong::BackupDamaged { file: path.to_owned(), why: error.to_string() }.into()
        }
    }
}

impl Blobs for InFile {
    fn check(&self, digest: &str) -> Result<(), BlobError> {
        if !digest.starts_with("sha256:") {
            return Err(BlobError::InvalidDigest(digest.to_owned()));
        }
        if self.there.contains(digest) {
            return Ok(());
        }
        Err(BlobError::Missing { digest: digest.to_owned(), path: self.path.clone() })
    }
}

impl Source for Backup {
    fn name(&self) -> &str {
        &self.name
    }

    fn log_id(&self) -> Option<LogId> {
        Some(self.header.log_id)
    }

    fn checkpoint(&self) -> Option<&[u8]> {
        Some(self.header.checkpoint.as_bytes())
    }

    fn own_key(&self) -> Result<Option<VerifierKey>, SourceError> {
        match self.header.vkey.parse() {
            Ok(key) => Ok(Some(key)),
            Err(_) => Err(Wrong::KeyUnreadable { file: self.blobs.path.clone() }.into()),
        }
    }

    fn about(&self) -> Option<u64> {
        Some(self.size)
    }

    fn entries(&self, from: u64) -> Result<Box<dyn Entries + '_>, SourceError> {
        let path = &self.blobs.path;
        Ok(Box::new(FromBackup {
            path,
            parts: read(path)?,
            events: Vec::new().into_iter(),
            from,
            over: false,
        }))
    }

    fn hashes(&self) -> Option<&dyn StoredHashes> {
        None
    }

    fn blobs(&self) -> Option<&dyn Blobs> {
        Some(&self.blobs)
    }

    fn not_looked_at(&self) -> &'static [&'static str] {
        &[]
    }
}

/// The events of a backup.
struct FromBackup<'b> {
    path: &'b Path,
    parts: Reader<BufReader<File>>,
    events: vec::IntoIter<Stored>,
    from: u64,
    over: bool,
}

impl Iterator for FromBackup<'_> {
    type Item = Result<Entry, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over {
            if let Some(stored) = self.events.find(|stored| stored.sequence >= self.from) {
                let Stored { sequence, last_of_run, payload } = stored;
                return Some(Ok(Entry { sequence, last_of_run: Some(last_of_run), payload }));
            }
            match self.parts.next() {
                Some(Ok(Part::Events(events))) => self.events = events.into_iter(),
                Some(Ok(Part::Blob { .. } | Part::Lost { .. })) => {}
                Some(Err(error)) => {
                    self.over = true;
                    return Some(Err(told(self.path, error)));
                }
                None => self.over = true,
            }
        }
        None
    }
}

impl Entries for FromBackup<'_> {}

#[cfg(test)]
mod tests {
    use std::fs;

    use tagtrail_domain::event::{Actor, Event, Fact, Run};
    use tagtrail_domain::{Recorded, StreamKey, Timestamp};
    use tagtrail_event_log::backup::write;
    use tagtrail_event_log::blobs::BlobStore;
    use tagtrail_event_log::{Log as _, MemoryLog, codec};
    use tagtrail_transparency::{Checkpoint, Frontier, SigningKey, hash};

    use super::*;
    use crate::source::open;
    use crate::{Against, Trust, verify};

    const ID: LogId = LogId::from_bytes([7; 16]);

    fn event(sequence: u64) -> Recorded {
        let fact = match sequence {
            1 => Fact::StreamCreated {
                lookup_local: false,
                labels: Default::default(),
                annotations: Default::default(),
            },
            _ => Fact::LookupPolicySet { local: sequence.is_multiple_of(2) },
        };
        Recorded {
            sequence,
            revision: sequence,
            recorded_at: Timestamp { seconds: 1_700_000_000, nanos: 0 },
            run: Run { first_sequence: sequence, length: 1 },
            stream: StreamKey::parse("test", "app").expect("a name"),
            actor: Actor { name: "me".into(), authenticated: false },
            reason: String::new(),
            command: "test".into(),
            request_id: String::new(),
            request_digest: Vec::new(),
            caused_by: 0,
            traceparent: String::new(),
            event: Event { stream_uid: "uid".into(), generation: sequence as i64, fact },
        }
    }

    /// The backup of the events from `first` to 4, as a file.
    fn backup(dir: &Path, first: u64) -> PathBuf {
        let (log, mut tree, mut peaks) = (MemoryLog::new(ID), Frontier::new(), Vec::new());
        for sequence in 1..=4 {
            if sequence == first {
                peaks = tree.peaks().to_vec();
            }
            let payload = codec::encode(&event(sequence));
            tree.push(hash::leaf(&payload));
            log.append(sequence - 1, &[vec![payload]]).expect("it is the next one");
        }
        let key = SigningKey::from_seed(format!("test/{ID}"), &[3; 32]).expect("a key");
        let checkpoint = Checkpoint::new(key.name(), 4, tree.root()).expect("a checkpoint");
        let checkpoint = checkpoint.sign(&key).expect("its key").to_string();
        let header = Header { log_id: ID, first, peaks, vkey: key.verifier().to_string(), checkpoint };
        let blobs = BlobStore::open(dir).expect("a directory");
        let (bytes, _) = write(Vec::new(), &header, &log, &blobs, |_| ()).expect("a backup");
        let path = dir.join(format!("{first}.backup"));
        fs::write(&path, bytes).expect("a file");
        path
    }

    fn opened(path: &Path) -> Result<Box<dyn Source>, SourceError> {
        open(&path.display().to_string())
    }

    #[test]
    fn a_backup_is_audited_like_any_log() {
        let dir = tempfile::tempdir().expect("a directory");
        let source = opened(&backup(dir.path(), 1)).expect("a backup");
        let trust = Trust::of(None, &*source).expect("a key");
        let verdict = verify(&*source, Against { trust, checkpoints: Vec::new() }, &mut |_| ());
        let verdict = verdict.expect("it can be read");
        assert_eq!(
            (verdict.is_fine(), verdict.size, verdict.signed()),
            (Some(true), 4, 4),
            "{:?}",
            verdict.wrong
        );
        let later: Vec<u64> =
            source.entries(3).expect("events").map(|entry| entry.expect("an event").sequence).collect();
        assert_eq!(later, [3, 4]);
    }

    #[test]
    fn what_is_damaged_or_only_a_part_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let told = opened(&backup(dir.path(), 3)).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains("goes on from another backup, and begins with event 3"), "{told}");
        let path = backup(dir.path(), 1);
        let mut bytes = fs::read(&path).expect("a file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).expect("a file");
        match opened(&path).err() {
            Some(SourceError::Wrong(wrong)) => assert_eq!(wrong.kind(), "BackupDamaged"),
            other => panic!("{other:?}"),
        }
    }
}
