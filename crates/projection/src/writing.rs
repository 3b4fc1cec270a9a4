//! Writing down: the changes that wait in memory go into the database, on a thread of their own.
//!
//! sled makes a batch of rows whole by letting nobody read or write meanwhile, in this database or any other of the process. So rows
//! go in one by one, and what makes them whole is a file beside the database, the *redo* file: it has all changes and the position
//! they lead to, and is durable before the first row changes and until the last one is durable. Whoever opens the database and finds
//! it carries it out again, which changes nothing where it was carried out already.
//!
//! The row that says where the database is says first that it is not whole, and only after all others where it has come to. A database
//! that lost the end of what was written, as a damaged one may have, is then either at an earlier event, or not whole and thrown away.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sled::IVec;

use crate::keys;
use crate::rows::{self, MetaRow};
use crate::table::Layer;
use crate::view::Rows;

/// The redo file.
const REDO: &str = "redo";
const UNFINISHED: &str = "redo.new";
/// A checksum is before the rest.
const CHECKSUM_BYTES: usize = 4;

#[derive(Serialize, Deserialize)]
struct RedoRow {
    from: MetaRow,
    to: MetaRow,
    changes: Vec<(Bytes, Option<Bytes>)>,
}

/// A key or a value, which sled's own type does not know how to put into words.
struct Bytes(IVec);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(|bytes| Self(bytes.into()))
    }
}

/// What is to be written down.
pub(crate) struct Writing {
    pub(crate) directory: PathBuf,
    pub(crate) db: sled::Db,
    /// The oldest first.
    pub(crate) layers: Vec<Arc<Layer>>,
}

impl Writing {
    /// Writes it down. When it returns, it is durable, and `rows` have it no more in memory.
    pub(crate) fn carry_out(self, rows: &RwLock<Rows>) -> Result<(), String> {
        let (directory, db) = (self.directory.clone(), self.db.clone());
        let redo = self.keep().map_err(|e| e.to_string())?;
        redo.carry_out(&db).map_err(|e| e.to_string())?;
        rows.write().unwrap_or_else(PoisonError::into_inner).table.written();
        finish(&directory, &db)
    }

    /// Makes the redo file durable under its name.
    fn keep(self) -> io::Result<RedoRow> {
        let from = meta(&self.db).map_err(io::Error::other)?;
        let mut changes = Layer::new();
        for layer in &self.layers {
            changes.extend(layer.iter().map(|(key, change)| (key.clone(), change.clone())));
        }
        let to = changes.remove(&*keys::table(keys::META)).flatten();
        let to = to.and_then(|to| rows::decode(&to)).expect("each commit says where it leads to");
        let changes = changes.into_iter().map(|(key, change)| (Bytes(key), change.map(Bytes))).collect();
        let redo = RedoRow { from, to, changes };
        let body = rows::encode(&redo);
        let unfinished = self.directory.join(UNFINISHED);
        let mut file = File::create(&unfinished)?;
        file.write_all(&crc32c::crc32c(&body).to_le_bytes())?;
        file.write_all(&body)?;
        file.sync_all()?;
        fs::rename(&unfinished, self.directory.join(REDO))?;
        File::open(&self.directory)?.sync_all()?;
        Ok(redo)
    }

    /// Stops after so many rows. Gives how many there were.
    #[cfg(test)]
    pub(crate) fn stop_after(self, rows: usize) -> usize {
        let db = self.db.clone();
        let redo = self.keep().expect("it is kept");
        let all = redo.changes.len();
        match rows {
            0 => {}
            _ if rows > all => redo.carry_out(&db).expect("the disk is well"),
            _ => redo.change(&db, rows - 1).expect("the disk is well"),
        }
        all
    }
}

impl RedoRow {
    fn carry_out(&self, db: &sled::Db) -> sled::Result<()> {
        self.change(db, self.changes.len())?;
        put_meta(db, &self.to)
    }

    fn change(&self, db: &sled::Db, rows: usize) -> sled::Result<()> {
        put_meta(db, &MetaRow { whole: false, ..self.from.clone() })?;
        for (Bytes(key), change) in self.changes.iter().take(rows) {
            match change {
                Some(Bytes(value)) => db.insert(key, value.clone())?,
                None => db.remove(key)?,
            };
        }
        Ok(())
    }
}

/// Where a database is.
pub(crate) fn meta(db: &sled::Db) -> Result<MetaRow, String> {
    let meta = db.get(keys::table(keys::META)).map_err(|e| e.to_string())?;
    rows::decode(&meta.ok_or("it is empty")?).ok_or_else(|| "its version is unknown".into())
}

pub(crate) fn put_meta(db: &sled::Db, meta: &MetaRow) -> sled::Result<()> {
    db.insert(keys::table(keys::META), rows::encode(meta)).map(drop)
}

/// Carries out what was being written down when the process ended, if anything was.
pub(crate) fn redo(directory: &Path, db: &sled::Db) -> Result<(), String> {
    let bytes = match fs::read(directory.join(REDO)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    let whole = bytes.split_first_chunk::<CHECKSUM_BYTES>();
    let (_, body) = whole
        .filter(|(checksum, body)| crc32c::crc32c(body).to_le_bytes() == **checksum)
        .ok_or("what it was to become is damaged")?;
    let redo: RedoRow = rows::decode(body).ok_or("what it was to become cannot be read")?;
    let at = meta(db)?;
    // Another version throws the rows away. A damaged database may have come out at an earlier event, from which this does not lead on.
    if at.version != rows::VERSION || !(at.is_at(&redo.from) || at.is_at(&redo.to)) {
        return Ok(());
    }
    redo.carry_out(db).map_err(|e| e.to_string())?;
    finish(directory, db)
}

/// The rows are durable before what could bring them back goes.
fn finish(directory: &Path, db: &sled::Db) -> Result<(), String> {
    db.flush().map_err(|e| e.to_string())?;
    fs::remove_file(directory.join(REDO)).map_err(|e| e.to_string())
}
