//! One server for one SQLite file: each keeps much in memory that the other one would not hear of.
//!
//! The lock is the operating system's, on a file beside the database. It ends with the process, however that ends, and
//! nothing is left that somebody would have to remove.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::app::StartError;
use crate::config::{DataConfig, DatabaseUrl};
use crate::durable;

/// Held while it lives, or until it is released.
pub struct DataLock(Mutex<Option<File>>);

impl DataLock {
    /// Takes the lock of the database; `None` for one that servers may share. Blocks.
    ///
    /// # Errors
    /// When another process, or another server in this one, holds it.
    pub fn take(data: &DataConfig) -> Result<Option<Self>, StartError> {
        let DatabaseUrl::Sqlite(database) = data.database()? else { return Ok(None) };
        let path = beside(&database);
        let failed = |error| StartError::Io(path.display().to_string(), error);
        durable::create_folder(durable::parent_of(&path)).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(Mutex::new(Some(file))))),
            Err(TryLockError::WouldBlock) => Err(StartError::Other(format!(
                "another server, or a command that needs it stopped, uses {}: stop it first, or give this one a DATA_DIR \
                 or DATABASE_URL of its own",
                database.display()
            ))),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Lets others have it: the database is closed.
    pub fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The name of the file that is locked. Not the database itself: SQLite's own locks would go with ours.
fn beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
