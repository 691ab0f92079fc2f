//! A store of images that has outages. It stands for a store on another machine: power cuts of the server spare it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use muster_server::blobs::{BlobError, BlobFuture, BlobKey, BlobStore};

/// Images in memory.
#[derive(Debug, Default)]
pub(crate) struct SimulatedStore {
    kept: Mutex<BTreeMap<String, Vec<u8>>>,
    out: AtomicBool,
    failures: AtomicU64,
}

impl SimulatedStore {
    /// Begins or ends an outage.
    pub(crate) fn set_out(&self, out: bool) {
        self.out.store(out, Ordering::SeqCst);
    }

    /// Operations that failed so far.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::SeqCst)
    }

    fn check(&self, operation: &'static str) -> Result<MutexGuard<'_, BTreeMap<String, Vec<u8>>>, BlobError> {
        if self.out.load(Ordering::SeqCst) {
            self.failures.fetch_add(1, Ordering::SeqCst);
            return Err(BlobError::Unavailable { operation, cause: "a simulated outage".to_owned() });
        }
        Ok(self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl BlobStore for SimulatedStore {
    fn put<'a>(&'a self, key: &'a BlobKey, bytes: Bytes) -> BlobFuture<'a, ()> {
        Box::pin(async move { self.check("put").map(|mut kept| drop(kept.insert(key.name(), bytes.to_vec()))) })
    }

    fn get<'a>(&'a self, key: &'a BlobKey, _: usize) -> BlobFuture<'a, Option<Vec<u8>>> {
        Box::pin(async move { self.check("get").map(|kept| kept.get(&key.name()).cloned()) })
    }

    fn exists<'a>(&'a self, key: &'a BlobKey) -> BlobFuture<'a, bool> {
        Box::pin(async move { self.check("exists").map(|kept| kept.contains_key(&key.name())) })
    }

    fn delete<'a>(&'a self, key: &'a BlobKey) -> BlobFuture<'a, ()> {
        Box::pin(async move { self.check("delete").map(|mut kept| drop(kept.remove(&key.name()))) })
    }

    fn health(&self) -> BlobFuture<'_, ()> {
        Box::pin(async move { self.check("health").map(drop) })
    }
}
