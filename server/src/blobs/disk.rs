//! Blobs in a local folder: 256 folders of files, each written aside, flushed, and renamed into place.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::{BlobError, BlobFuture, BlobKey, BlobStore, check_size};
use crate::durable::{create_folder, parent_of, sync_folder, write_new};

/// Where files are written before they are renamed into place.
const ASIDE: &str = "tmp";

/// A [`BlobStore`] on a local folder.
#[derive(Debug, Clone)]
pub struct DiskStore {
    folder: Arc<Folder>,
}

#[derive(Debug)]
struct Folder {
    root: PathBuf,
    n_written: AtomicU64,
}

impl DiskStore {
    /// Opens the folder, creating it if it is not there, and clears what an interrupted write left behind.
    ///
    /// One process uses a folder at a time.
    ///
    /// # Errors
    /// If the folder cannot be created or written to.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let folder = Folder { root: root.into(), n_written: AtomicU64::new(0) };
        folder.prepare().map_err(|error| BlobError::from_io("open", &error))?;
        Ok(Self { folder: Arc::new(folder) })
    }

    /// Runs file operations off the async threads.
    fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Folder) -> Result<T, BlobError> + Send + 'static,
    ) -> BlobFuture<'_, T> {
        let folder = Arc::clone(&self.folder);
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || work(&folder)).await {
                Ok(result) => result,
                Err(error) => Err(BlobError::Unavailable { operation, cause: error.to_string() }),
            }
        })
    }
}

impl BlobStore for DiskStore {
    fn put<'a>(&'a self, key: &'a BlobKey, bytes: Bytes) -> BlobFuture<'a, ()> {
        let name = key.name();
        self.run("put", move |folder| {
            check_size(&bytes)?;
            folder.put(&name, &bytes).map_err(|error| BlobError::from_io("put", &error))
        })
    }

    fn get<'a>(&'a self, key: &'a BlobKey, bytes_max: usize) -> BlobFuture<'a, Option<Vec<u8>>> {
        let name = key.name();
        self.run("get", move |folder| folder.get(&name, bytes_max))
    }

    fn exists<'a>(&'a self, key: &'a BlobKey) -> BlobFuture<'a, bool> {
        let name = key.name();
        self.run("exists", move |folder| {
            folder.root.join(name).try_exists().map_err(|error| BlobError::from_io("exists", &error))
        })
    }

    fn delete<'a>(&'a self, key: &'a BlobKey) -> BlobFuture<'a, ()> {
        let name = key.name();
        self.run("delete", move |folder| folder.delete(&name).map_err(|error| BlobError::from_io("delete", &error)))
    }

    fn health(&self) -> BlobFuture<'_, ()> {
        self.run("health", |folder| folder.probe().map_err(|error| BlobError::from_io("health", &error)))
    }
}

impl Folder {
    /// Makes every folder that a blob can land in, so that a put has one entry to flush and not a chain of them.
    fn prepare(&self) -> io::Result<()> {
        create_folder(&self.root)?;
        create_folder(&self.root.join(ASIDE))?;
        for index in 0..=u8::MAX {
            let folder = self.root.join(format!("{index:02x}"));
            if !folder.is_dir() {
                fs::create_dir(folder)?;
            }
        }
        sync_folder(&self.root)?;
        sync_folder(parent_of(&self.root))?;
        for entry in fs::read_dir(self.root.join(ASIDE))? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let aside = self.aside();
        let path = self.root.join(name);
        write_new(&aside, bytes)?;
        if let Err(error) = fs::rename(&aside, &path) {
            let _ = fs::remove_file(&aside);
            return Err(error);
        }
        sync_folder(parent_of(&path))
    }

    fn get(&self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, BlobError> {
        match read_bounded(&self.root.join(name), bytes_max as u64) {
            Ok(Ok(bytes)) => Ok(Some(bytes)),
            Ok(Err(too_large)) => Err(too_large),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BlobError::from_io("get", &error)),
        }
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let path = self.root.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // Flushed also when the file is gone already: the call that removed it may not have come that far.
            _ => {}
        }
        sync_folder(parent_of(&path))
    }

    /// Writes, flushes and removes a small file.
    fn probe(&self) -> io::Result<()> {
        let aside = self.aside();
        write_new(&aside, b"probe")?;
        fs::remove_file(aside)
    }

    /// A path that no other write of this process uses; an earlier process's were cleared at the start.
    fn aside(&self) -> PathBuf {
        let count = self.n_written.fetch_add(1, Ordering::Relaxed);
        self.root.join(ASIDE).join(format!("{}-{count}", std::process::id()))
    }
}

/// Reads a file of at most `bytes_max` bytes, also if it grows meanwhile.
fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Result<Vec<u8>, BlobError>> {
    let file = File::open(path)?;
    let size_bytes = file.metadata()?.len();
    if size_bytes > bytes_max {
        return Ok(Err(BlobError::TooLarge { size_bytes, bytes_max }));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or_default());
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Ok(Err(BlobError::TooLarge { size_bytes: bytes.len() as u64, bytes_max }));
    }
    Ok(Ok(bytes))
}
