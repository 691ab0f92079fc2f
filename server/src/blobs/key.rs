//! The name of a blob, as a type that is safe to use as a path.

use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::BlobError;

/// The longest tenant or subject id in a key, in bytes.
pub const ID_BYTES_MAX: usize = 128;

const NAME_CONTEXT: &[u8] = b"muster/blob-name/v1";

/// Whose blob it is, and the SHA-256 of its plain bytes.
///
/// Stores never see those three. They see [`BlobKey::name`], a digest of them: it is always a safe path whatever the
/// ids contain, no two keys share one, and a name that outlives its blob tells neither whose it was nor what it showed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BlobKey {
    tenant: String,
    subject: String,
    sha256: [u8; 32],
}

impl BlobKey {
    /// Names the blob of `subject` whose plain bytes have this SHA-256.
    ///
    /// # Errors
    /// [`BlobError::InvalidKey`] if an id is empty or longer than [`ID_BYTES_MAX`].
    pub fn new(tenant: &str, subject: &str, sha256: [u8; 32]) -> Result<Self, BlobError> {
        for (part, id) in [("tenant", tenant), ("subject", subject)] {
            if id.is_empty() || id.len() > ID_BYTES_MAX {
                return Err(BlobError::InvalidKey { part, size_bytes: id.len() });
            }
        }
        Ok(Self { tenant: tenant.to_owned(), subject: subject.to_owned(), sha256 })
    }

    /// Names the blob of `subject` that holds `plain`.
    ///
    /// # Errors
    /// As [`BlobKey::new`].
    pub fn of(tenant: &str, subject: &str, plain: &[u8]) -> Result<Self, BlobError> {
        Self::new(tenant, subject, Sha256::digest(plain).into())
    }

    /// The tenant that the blob belongs to.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The person whom the blob is about.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The SHA-256 of the plain bytes.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The SHA-256 of the plain bytes in lower-case hex: the name to bind a sealed blob to.
    pub fn sha256_hex(&self) -> String {
        HEXLOWER.encode(&self.sha256)
    }

    /// The name that stores use, `aa/aabbcc..`: 64 hex digits under one of 256 folders.
    pub fn name(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(NAME_CONTEXT);
        for id in [&self.tenant, &self.subject] {
            // Ids are at most 128 bytes, so their length is one byte and `ab|c` is not `a|bc`.
            hasher.update([id.len() as u8]);
            hasher.update(id.as_bytes());
        }
        hasher.update(self.sha256);
        let digits = HEXLOWER.encode(&hasher.finalize());
        format!("{}/{digits}", &digits[..2])
    }
}

impl fmt::Debug for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobKey({})", self.name())
    }
}

impl fmt::Display for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(tenant: &str, subject: &str) -> String {
        BlobKey::new(tenant, subject, [7; 32]).unwrap().name()
    }

    #[test]
    fn a_name_is_a_safe_path_whatever_the_ids_contain() {
        for (tenant, subject) in [("../..", "/etc/passwd"), ("a\0b", "."), ("é", "CON"), ("t", "a/b\\c")] {
            let name = name(tenant, subject);
            let (folder, file) = name.split_once('/').unwrap();
            assert_eq!((folder.len(), file.len()), (2, 64));
            assert!(folder.chars().chain(file.chars()).all(|c| matches!(c, '0'..='9' | 'a'..='f')));
        }
    }

    #[test]
    fn every_part_of_the_key_changes_the_name() {
        assert_ne!(name("ab", "c"), name("a", "bc"));
        assert_ne!(name("a", "b"), name("b", "a"));
        assert_ne!(name("a", "b"), BlobKey::new("a", "b", [8; 32]).unwrap().name());
    }

    #[test]
    fn an_id_is_one_to_128_bytes_long() {
        for length in [1, ID_BYTES_MAX] {
            assert!(BlobKey::new(&"t".repeat(length), &"s".repeat(length), [0; 32]).is_ok());
        }
        for (tenant, subject, part) in [("", "s", "tenant"), ("t", "", "subject")] {
            let error = BlobKey::new(tenant, subject, [0; 32]).unwrap_err();
            assert_eq!(error, BlobError::InvalidKey { part, size_bytes: 0 });
        }
        let error = BlobKey::new("t", &"s".repeat(ID_BYTES_MAX + 1), [0; 32]).unwrap_err();
        assert_eq!(error.code(), "invalid_key");
    }

    #[test]
    fn debug_shows_neither_tenant_nor_subject() {
        let text = format!("{:?}", BlobKey::of("tenant-a", "student-42", b"x").unwrap());
        assert!(!text.contains("tenant-a") && !text.contains("student-42"), "{text}");
    }
}
