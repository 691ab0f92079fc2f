//! SHA-256 as lower-case hex: what a pin is compared with.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

/// The digest of bytes in memory.
#[must_use]
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

/// The digest of a file, read in pieces.
pub(crate) fn of_file(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n_bytes = file.read(&mut buffer)?;
        if n_bytes == 0 {
            return Ok(data_encoding::HEXLOWER.encode(&hasher.finalize()));
        }
        hasher.update(&buffer[..n_bytes]);
    }
}
