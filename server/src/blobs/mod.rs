//! Where sealed blobs are kept: one trait and its two stores, a local folder and S3. What a blob means, who may see it
//! and which table lists it belongs to the slices.
//!
//! - [`BlobStore`] keeps opaque bytes under a [`BlobKey`]; it never sees a picture in clear.
//! - [`crypt`] seals those bytes under a subject's key, so that erasing the key erases the evidence.
//! - [`picture`] decides whether bytes are a JPEG or PNG that is safe to decode, and makes the copy that people see.

pub mod crypt;
pub mod disk;
mod error;
mod key;
pub mod master_key;
pub mod picture;
pub mod reseal;
pub mod s3;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

pub use disk::DiskStore;
pub use error::BlobError;
pub use key::{BlobKey, ID_BYTES_MAX};
pub use s3::{S3Config, S3Store};

/// The largest blob that a store takes, in bytes: the largest picture of any server, sealed, with room to spare.
pub const BLOB_BYTES_MAX: usize = muster_sync_core::limits::IMAGE_SIZE_BYTES_MAX as usize + 1024 * 1024;

/// What every operation of a [`BlobStore`] returns.
pub type BlobFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BlobError>> + Send + 'a>>;

/// A place that keeps blobs. Every operation may be repeated: the second time changes nothing.
pub trait BlobStore: Debug + Send + Sync {
    /// Keeps `bytes` under `key`. They are durable once this returns.
    ///
    /// Putting a key again replaces what was there: a key names its plain content, so both versions open to the same
    /// bytes, and the newest is the one sealed under the key that the subject has now.
    fn put<'a>(&'a self, key: &'a BlobKey, bytes: Bytes) -> BlobFuture<'a, ()>;

    /// Reads the blob, or `None` if it is not there.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] if it is larger than `bytes_max`; no more than that is ever read into memory.
    fn get<'a>(&'a self, key: &'a BlobKey, bytes_max: usize) -> BlobFuture<'a, Option<Vec<u8>>>;

    /// Whether the blob is there.
    fn exists<'a>(&'a self, key: &'a BlobKey) -> BlobFuture<'a, bool>;

    /// Removes the blob. It does not come back after a power cut; a blob that is not there is removed already.
    fn delete<'a>(&'a self, key: &'a BlobKey) -> BlobFuture<'a, ()>;

    /// Whether the store can be used now: it answers, and takes our credentials.
    fn health(&self) -> BlobFuture<'_, ()>;
}

/// Refuses a blob that no store takes.
fn check_size(bytes: &[u8]) -> Result<(), BlobError> {
    if bytes.len() > BLOB_BYTES_MAX {
        return Err(BlobError::TooLarge { size_bytes: bytes.len() as u64, bytes_max: BLOB_BYTES_MAX as u64 });
    }
    Ok(())
}
