//! Pull secrets: what the people of a namespace have handed over so that its imports may open registries (spec §3.5).
//!
//! They are beside the log, not in it: an event is for ever, and a credential must be able to go. Each is a file,
//! `secrets/<namespace>/<name>` in the data directory: a Docker configuration as it was handed over, for its owner's eyes
//! only. Its time is the file's. All of them are in memory, so that an import does not wait for the disk.
//!
//! *Kept* and *gone* mean: on the disk, before anybody is told.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use tagtrail_domain::{Namespace, Timestamp};
use tagtrail_importer::{PullSecret, PullSecretError, PullSecrets};

/// Most secrets of one namespace: each of them is looked through for every import.
const PER_NAMESPACE: usize = 100;
/// Longest name, in bytes (Kubernetes).
const NAME_BYTES: usize = 253;
/// The file that is being written. No secret has a name that begins with a dot.
const BEING_WRITTEN: &str = ".new";

/// Why a secret is not kept, or not gone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// There is one of that name.
    #[error("secrets \"{0}\" already exists")]
    Exists(String),
    /// There is none.
    #[error("secrets \"{0}\" not found")]
    NotFound(String),
    /// Not a name for one.
    #[error("{0}")]
    Name(String),
    /// Not a value for one.
    #[error("{0}")]
    Value(#[from] PullSecretError),
    /// The namespace has enough.
    #[error("namespace \"{0}\" has {PER_NAMESPACE} secrets already: delete one that is not needed any more")]
    TooMany(Namespace),
    /// The disk did not take it, or not for certain: it may be there after a restart, or not.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

/// What is shown of a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Listed {
    /// Whose it is.
    pub(crate) namespace: Namespace,
    /// Its name.
    pub(crate) name: String,
    /// When it was handed over.
    pub(crate) created: Timestamp,
}

/// All secrets of a data directory.
pub(crate) struct Secrets {
    directory: PathBuf,
    /// Held while the disk is changed: one at a time, and memory follows in the same order.
    changing: Mutex<()>,
    kept: RwLock<Kept>,
}

/// By namespace and name.
type Kept = BTreeMap<(Namespace, String), (Timestamp, Arc<PullSecret>)>;

impl Secrets {
    /// Reads the secrets of a data directory. A file that is not one is left where it is, and told of in a sentence.
    ///
    /// # Errors
    /// If the directory is there and cannot be read.
    pub(crate) fn open(data_dir: &Path) -> io::Result<(Self, Vec<String>)> {
        let directory = data_dir.join("secrets");
        let (mut kept, mut findings) = (Kept::new(), Vec::new());
        for (path, namespace) in entries(&directory)? {
            let Ok(namespace) = Namespace::parse(&namespace) else {
                findings
                    .push(format!("{} is not the directory of a namespace; it is not used", path.display()));
                continue;
            };
            for (path, name) in entries(&path)? {
                if name == BEING_WRITTEN {
                    fs::remove_file(&path)?; // Nobody was told that it is kept.
                    continue;
                }
                match read(&path, &name) {
                    Ok(secret) => drop(kept.insert((namespace.clone(), name), secret)),
                    Err(why) => findings.push(format!(
                        "the pull secret {} is damaged and not used ({why}); delete it, and hand it over again",
                        path.display()
                    )),
                }
            }
        }
        Ok((Self { directory, changing: Mutex::default(), kept: RwLock::new(kept) }, findings))
    }

    /// The secrets that imports into a namespace may use.
    pub(crate) fn of(&self, namespace: &Namespace) -> PullSecrets {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let own = kept.range((namespace.clone(), String::new())..);
        own.take_while(|((of, _), _)| of == namespace).map(|(_, (_, secret))| secret.clone()).collect()
    }

    /// At most `size` secrets of a namespace, or of all, in order, behind `after`.
    pub(crate) fn list(
        &self,
        namespace: Option<&Namespace>,
        after: Option<(Namespace, String)>,
        size: usize,
    ) -> Vec<Listed> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let of = kept.range((start, Bound::Unbounded));
        of.filter(|((of, _), _)| namespace.is_none_or(|namespace| of == namespace))
            .take(size)
            .map(|((namespace, name), (created, _))| Listed {
                namespace: namespace.clone(),
                name: name.clone(),
                created: *created,
            })
            .collect()
    }

    /// Keeps a secret. Blocks until it is durable; in a dry run, only looks whether it could be.
    ///
    /// # Errors
    /// [`SecretError`]. It is then not used.
    pub(crate) fn create(
        &self,
        namespace: &Namespace,
        name: &str,
        config: &[u8],
        dry_run: bool,
    ) -> Result<Listed, SecretError> {
        check_name(name)?;
        let secret = Arc::new(PullSecret::parse(config)?);
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.clone(), name.to_owned());
        if self.kept.read().unwrap_or_else(PoisonError::into_inner).contains_key(&key) {
            return Err(SecretError::Exists(key.1));
        }
        if self.list(Some(namespace), None, PER_NAMESPACE).len() >= PER_NAMESPACE {
            return Err(SecretError::TooMany(namespace.clone()));
        }
        let created =
            if dry_run { timestamp(SystemTime::now()) } else { self.write(namespace, name, config)? };
        let listed = Listed { namespace: namespace.clone(), name: name.to_owned(), created };
        if !dry_run {
            self.kept.write().unwrap_or_else(PoisonError::into_inner).insert(key, (created, secret));
        }
        Ok(listed)
    }

    /// Puts a secret on the disk, under its name only when it is whole.
    fn write(&self, namespace: &Namespace, name: &str, config: &[u8]) -> io::Result<Timestamp> {
        let directory = self.directory.join(namespace.as_str());
        let new = directory.join(BEING_WRITTEN);
        let data_dir = self.directory.parent().expect("secrets/ is in the data directory");
        create_directory(&self.directory, data_dir)?;
        create_directory(&directory, &self.directory)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(config)?;
        file.sync_all()?;
        let created = timestamp(file.metadata()?.modified()?);
        fs::rename(&new, directory.join(name))?;
        sync(&directory)?;
        Ok(created)
    }

    /// Deletes a secret, also one that is damaged. Blocks until it is gone; in a dry run, only looks whether it is there.
    ///
    /// # Errors
    /// [`SecretError::NotFound`], [`SecretError::Disk`].
    pub(crate) fn delete(&self, namespace: &Namespace, name: &str, dry_run: bool) -> Result<(), SecretError> {
        // What is no name is no path either.
        check_name(name).map_err(|_| SecretError::NotFound(name.to_owned()))?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = self.directory.join(namespace.as_str());
        let file = directory.join(name);
        let found = if dry_run { fs::symlink_metadata(&file).map(drop) } else { fs::remove_file(&file) };
        match found {
            Ok(()) if dry_run => return Ok(()),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SecretError::NotFound(name.to_owned()));
            }
            Err(error) => return Err(error.into()),
        }
        // Not used any more, even if the disk should bring it back.
        let key = (namespace.clone(), name.to_owned());
        self.kept.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
        sync(&directory)?;
        Ok(())
    }
}

/// What is in a directory, by name; nothing if it is not there.
fn entries(directory: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let found = match fs::read_dir(directory) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        // A file where a directory should be holds nothing of ours.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut entries = found
        .map(|entry| entry.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned())))
        .collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}

/// Reads a secret, or says what is wrong with it, without a word of it.
fn read(path: &Path, name: &str) -> Result<(Timestamp, Arc<PullSecret>), String> {
    check_name(name).map_err(|error| error.to_string())?;
    let io = |error: io::Error| error.to_string();
    let created = fs::metadata(path).and_then(|metadata| metadata.modified()).map_err(io)?;
    let secret = PullSecret::parse(&fs::read(path).map_err(io)?).map_err(|error| error.to_string())?;
    Ok((timestamp(created), Arc::new(secret)))
}

/// A DNS subdomain (RFC 1123), in Kubernetes' words if it is not.
fn check_name(name: &str) -> Result<(), SecretError> {
    let of_label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(of_label) && !label.starts_with('-') && !label.ends_with('-')
    };
    let why = if name.len() > NAME_BYTES {
        format!("must be no more than {NAME_BYTES} bytes")
    } else if !name.split('.').all(label) {
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and \
         end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            .to_owned()
    } else {
        return Ok(());
    };
    Err(SecretError::Name(format!("metadata.name: Invalid value: \"{name}\": {why}")))
}

fn create_directory(directory: &Path, parent: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => sync(parent),
        // It may be there and not yet durable, if whoever made it was killed in the middle.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => sync(parent),
        Err(error) => Err(error),
    }
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn timestamp(time: SystemTime) -> Timestamp {
    let time = chrono::DateTime::<chrono::Utc>::from(time);
    Timestamp::new(time.timestamp(), time.timestamp_subsec_nanos().min(999_999_999))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const CONFIG: &[u8] = br#"{"auths":{"quay.io":{"username":"u","password":"canary"}}}"#;

    fn open(data_dir: &Path) -> Secrets {
        let (secrets, findings) = Secrets::open(data_dir).expect("opened");
        assert_eq!(findings, [""; 0]);
        secrets
    }

    fn namespace(text: &str) -> Namespace {
        Namespace::parse(text).expect(text)
    }

    /// `namespace/name`, all of them.
    fn names(secrets: &Secrets) -> String {
        let list = secrets.list(None, None, usize::MAX);
        list.iter().map(|l| format!("{}/{}", l.namespace, l.name)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn secrets_are_kept_until_they_are_deleted() {
        let dir = tempfile::tempdir().expect("a directory");
        let (one, other) = (namespace("one"), namespace("other"));
        let secrets = open(dir.path());
        assert!(!dir.path().join("secrets").exists(), "nothing is made before it is needed");
        secrets.create(&one, "b", CONFIG, false).expect("kept");
        let created = secrets.create(&one, "a.b-c", CONFIG, false).expect("kept");
        secrets.create(&other, "a", CONFIG, false).expect("kept");
        secrets.create(&other, "dry", CONFIG, true).expect("could be kept");
        assert_eq!(names(&secrets), "one/a.b-c one/b other/a");
        let again = open(dir.path());
        assert_eq!(names(&again), "one/a.b-c one/b other/a");
        assert_eq!(again.list(Some(&one), None, 1), [created], "with its time");
        let after = Some((one.clone(), "a.b-c".to_owned()));
        assert_eq!(again.list(None, after, 1)[0].name, "b");
        assert_eq!(format!("{:?}", again.of(&one)), "PullSecrets([[pull secret], [pull secret]])");
        assert_eq!(format!("{:?}", again.of(&namespace("on"))), "PullSecrets([])");

        again.delete(&one, "b", true).expect("could be deleted");
        again.delete(&one, "b", false).expect("deleted");
        assert_eq!(names(&again), "one/a.b-c other/a");
        assert_eq!(names(&open(dir.path())), "one/a.b-c other/a");
        assert_eq!(format!("{:?}", again.of(&one)), "PullSecrets([[pull secret]])");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let (secrets, here) = (open(dir.path()), namespace("test"));
        secrets.create(&here, "a", CONFIG, false).expect("kept");
        let create = |name: &str, config: &[u8], expected: &str| {
            let told = secrets.create(&here, name, config, false).expect_err(name).to_string();
            assert!(told.contains(expected), "{told}");
        };
        create("a", CONFIG, "secrets \"a\" already exists");
        create("b", b"canary", "line 1, column 1 is not as expected");
        for name in ["", ".", "..", "a/b", "../a", ".new", "A", "a_b", "-a", "a-", "a..b", "ä"] {
            create(name, CONFIG, "a lowercase RFC 1123 subdomain must consist of");
            let told = secrets.delete(&here, name, false).expect_err(name).to_string();
            assert_eq!(told, format!("secrets \"{name}\" not found"));
        }
        create(&"a".repeat(254), CONFIG, "must be no more than 253 bytes");
        secrets.create(&here, &"a".repeat(253), CONFIG, false).expect("as long as can be");
        for n in 2..PER_NAMESPACE {
            secrets.create(&here, &format!("n{n}"), CONFIG, false).expect("kept");
        }
        create("one-more", CONFIG, "namespace \"test\" has 100 secrets already");
        secrets.create(&namespace("other"), "a", CONFIG, false).expect("another namespace has room");
    }

    #[test]
    fn they_are_for_their_owners_eyes_only() {
        let dir = tempfile::tempdir().expect("a directory");
        open(dir.path()).create(&namespace("test"), "a", CONFIG, false).expect("kept");
        let check = |path: &str, expected: u32| {
            let mode = fs::metadata(dir.path().join(path)).expect(path).permissions().mode();
            assert_eq!(mode & 0o777, expected, "{path}");
        };
        check("secrets", 0o700);
        check("secrets/test", 0o700);
        check("secrets/test/a", 0o600);
    }

    #[test]
    fn a_damaged_secret_is_named_and_the_others_are_used() {
        let dir = tempfile::tempdir().expect("a directory");
        let here = namespace("test");
        open(dir.path()).create(&here, "good", CONFIG, false).expect("kept");
        let place = |name: &str| dir.path().join("secrets/test").join(name);
        fs::write(place("half"), &CONFIG[..CONFIG.len() - 9]).expect("written");
        fs::write(place(BEING_WRITTEN), &CONFIG[..9]).expect("written");
        fs::create_dir(place("folder")).expect("made");
        fs::create_dir(dir.path().join("secrets/No_Namespace")).expect("made");
        fs::write(dir.path().join("secrets/file"), "").expect("written");

        let (secrets, findings) = Secrets::open(dir.path()).expect("opened");
        assert_eq!(names(&secrets), "test/good");
        assert!(!place(BEING_WRITTEN).exists(), "nobody was told that it is kept");
        assert_eq!(findings.len(), 3, "{findings:?}");
        assert!(findings[0].contains("secrets/No_Namespace is not the directory of a namespace"));
        assert!(findings[1].contains("secrets/test/folder is damaged and not used"), "{findings:?}");
        assert!(findings[2].contains("secrets/test/half is damaged and not used"), "{findings:?}");
        assert!(!findings.concat().contains("canary"));

        secrets.delete(&here, "half", false).expect("it can be deleted");
        secrets.create(&here, "half", CONFIG, false).expect("and handed over again");
    }
}
