//! The key that signs: made once, and kept to itself.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use tagtrail_transparency::SigningKey;

use super::kept::sync_parent;

/// Why there is no key.
pub(super) enum KeyError {
    /// It cannot be read, written or understood.
    Io(io::Error),
    /// It is not the one that has signed.
    Gone(String),
}

/// Reads the key, or makes one where nothing was ever signed. Beside it a sentence, if there is something to tell.
pub(super) fn load(
    path: &Path,
    origin: &str,
    seed: impl FnOnce() -> [u8; 32],
    may_make: bool,
) -> Result<(SigningKey, Option<String>), KeyError> {
    let shown = path.display();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !may_make {
                return Err(KeyError::Gone(format!(
                    "checkpoints were signed before, and the key that did it is not in {shown}"
                )));
            }
            let key = make(path, origin, &seed()).map_err(KeyError::Io)?;
            tracing::info!(key = %key.verifier(), file = %shown, "made the key that signs checkpoints");
            return Ok((key, None));
        }
        Err(error) => return Err(KeyError::Io(about(path, &error))),
    };
    let key: SigningKey = text
        .trim()
        .parse()
        .map_err(|error| KeyError::Gone(format!("{shown} holds no key that could be used ({error})")))?;
    if key.name() != origin {
        return Err(KeyError::Gone(format!(
            "the key in {shown} is of the log {}, and this is {origin}; the configuration's audit.name cannot be changed for a log that there is",
            key.name()
        )));
    }
    let mode = fs::metadata(path).map_err(|error| KeyError::Io(about(path, &error)))?.permissions().mode();
    let open = (mode & 0o077 != 0).then(|| {
        format!(
            "others than its owner may read {shown}, which signs for this log: chmod 600 it, and ask who has"
        )
    });
    Ok((key, open))
}

/// Makes a key and keeps it, durable before it signs anything.
fn make(path: &Path, origin: &str, seed: &[u8; 32]) -> io::Result<SigningKey> {
    let key = SigningKey::from_seed(origin, seed).map_err(|error| io::Error::other(error.to_string()))?;
    let write = || {
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        writeln!(file, "{}", key.to_private_text())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_parent(path)
    };
    write().map_err(|error| about(path, &error))?;
    Ok(key)
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the key {}: {error}", path.display()))
}
