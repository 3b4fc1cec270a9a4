//! The client's own file, `$TAGTRAIL_CONFIG` or `~/.config/tagtrail/config.toml`: which server, which namespace.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// What the file says. A missing file says nothing.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientFile {
    /// URL of the server.
    pub(crate) server: Option<String>,
    /// The namespace commands act in.
    pub(crate) namespace: Option<String>,
}

/// Why the file is of no use. One sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration file {0}: {1}")]
    Read(PathBuf, #[source] io::Error),
    /// It is not what it should be.
    #[error("the configuration file {0} is not understood: {1}")]
    Parse(PathBuf, String),
    /// It cannot be written.
    #[error("cannot write the configuration file {0}: {1}")]
    Write(PathBuf, #[source] io::Error),
    /// Nobody knows where it is.
    #[error("cannot tell where the configuration file is: set TAGTRAIL_CONFIG or HOME")]
    NoHome,
}

/// Where the file is. `None` where neither the file nor a home is named.
pub(crate) fn path() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("TAGTRAIL_CONFIG").or_else(|| {
        let base = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
        Some(base.join("tagtrail/config.toml"))
    })
}

impl ClientFile {
    /// Reads the file.
    ///
    /// # Errors
    /// [`ConfigError::Read`], [`ConfigError::Parse`].
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        match fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text)
                .map_err(|error| ConfigError::Parse(path.to_owned(), error.message().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(ConfigError::Read(path.to_owned(), error)),
        }
    }

    /// Writes the file whole: whoever reads it meanwhile sees the old one or the new one.
    ///
    /// # Errors
    /// [`ConfigError::Write`].
    pub(crate) fn save(&self, path: &Path) -> Result<(), ConfigError> {
        let write = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let fresh = path.with_extension("toml.new");
            fs::write(&fresh, self.to_toml())?;
            fs::rename(&fresh, path)
        };
        write().map_err(|error| ConfigError::Write(path.to_owned(), error))
    }

    fn to_toml(&self) -> String {
        let line = |key: &str, value: &Option<String>| {
            let quoted = value.as_ref().map(|text| text.replace('\\', "\\\\").replace('"', "\\\""));
            quoted.map(|text| format!("{key} = \"{text}\"\n")).unwrap_or_default()
        };
        line("server", &self.server) + &line("namespace", &self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let file = ClientFile { server: Some("http://h\"\\:1".into()), namespace: Some("test".into()) };
        assert_eq!(toml::from_str::<ClientFile>(&file.to_toml()), Ok(file));
        assert_eq!(toml::from_str::<ClientFile>(""), Ok(ClientFile::default()));
        assert!(toml::from_str::<ClientFile>("nmespace = \"x\"").is_err());
    }
}
