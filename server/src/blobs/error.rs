//! What can go wrong with a blob store. "Not found" is not here: that is `None`.

use std::io;

/// Why a blob operation failed. Messages carry no secrets and no subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// A tenant or subject id that cannot be part of a key.
    #[error("{part} id of {size_bytes} bytes cannot name a blob")]
    InvalidKey {
        /// Which part of the key: `tenant` or `subject`.
        part: &'static str,
        /// How long the id is.
        size_bytes: usize,
    },
    /// More bytes than the caller, or any store, takes.
    #[error("blob of {size_bytes} bytes exceeds the limit of {bytes_max}")]
    TooLarge {
        /// How large it is; at least this much when the end was not read.
        size_bytes: u64,
        /// The limit that it exceeds.
        bytes_max: u64,
    },
    /// The store does not answer, or answers that it cannot now. Trying again later may help.
    #[error("blob store is unavailable to {operation}: {cause}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// What the store or the network said.
        cause: String,
    },
    /// The store refused our credentials, or they may not do this.
    #[error("blob store denied {operation}: {cause}")]
    Denied {
        /// What was tried.
        operation: &'static str,
        /// What the store said.
        cause: String,
    },
    /// There is no room left.
    #[error("blob store is full")]
    Full,
    /// What the store holds is not what was given to it.
    #[error("blob store holds other bytes than were put")]
    Damaged,
    /// The store's settings are wrong: an operator has to change them.
    #[error("blob store is misconfigured: {cause}")]
    Misconfigured {
        /// Which setting, and why.
        cause: String,
    },
}

impl BlobError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidKey { .. } => "invalid_key",
            Self::TooLarge { .. } => "too_large",
            Self::Unavailable { .. } => "unavailable",
            Self::Denied { .. } => "denied",
            Self::Full => "full",
            Self::Damaged => "damaged",
            Self::Misconfigured { .. } => "misconfigured",
        }
    }

    /// Whether the same call may succeed later with nobody doing anything about it.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Full | Self::Damaged)
    }

    /// Says what an error of the file system means.
    pub(super) fn from_io(operation: &'static str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Denied { operation, cause: error.kind().to_string() }
            }
            _ => Self::Unavailable { operation, cause: error.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_a_closed_folder_and_a_broken_one_are_told_apart() {
        for (kind, code, is_retryable) in [
            (io::ErrorKind::StorageFull, "full", true),
            (io::ErrorKind::QuotaExceeded, "full", true),
            (io::ErrorKind::PermissionDenied, "denied", false),
            (io::ErrorKind::ReadOnlyFilesystem, "denied", false),
            (io::ErrorKind::NotFound, "unavailable", true),
            (io::ErrorKind::Other, "unavailable", true),
        ] {
            let error = BlobError::from_io("put", &kind.into());
            assert_eq!((error.code(), error.is_retryable()), (code, is_retryable), "{kind}");
        }
    }
}
