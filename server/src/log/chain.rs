//! The hash chain over the log: editing, deleting, moving or inserting a row breaks it at that row.
//!
//! `chain(0) = SHA-256("muster/log/v1" ‖ 0 ‖ tenant)` and
//! `chain(n) = SHA-256(chain(n - 1) ‖ n ‖ document ‖ writer ‖ seq ‖ max_op ‖ hash ‖ signature ‖ received_at)`, with
//! numbers as 8 bytes, most significant first. The change's own bytes are covered by `hash`, which is their SHA-256.

use sha2::{Digest, Sha256};

use crate::ids::TenantId;

/// The columns of a row that its chain value covers.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// Place in the log.
    pub log_index: i64,
    /// The document.
    pub document: &'a [u8; 16],
    /// The writer's key.
    pub writer: &'a [u8; 32],
    /// Place in the writer's chain.
    pub seq: i64,
    /// Counter of the last operation.
    pub max_op: i64,
    /// The change.
    pub hash: &'a [u8; 32],
    /// The writer's signature.
    pub signature: &'a [u8; 64],
    /// When the server had it, Unix milliseconds.
    pub received_at_ms: i64,
}

/// The value before the first row.
pub fn first(tenant: &TenantId) -> [u8; 32] {
    Sha256::new().chain_update(b"muster/log/v1\0").chain_update(tenant.as_str()).finalize().into()
}

/// The value at a row, from the value before it.
pub fn next(before: &[u8; 32], link: &Link<'_>) -> [u8; 32] {
    Sha256::new()
        .chain_update(before)
        .chain_update(link.log_index.to_be_bytes())
        .chain_update(link.document)
        .chain_update(link.writer)
        .chain_update(link.seq.to_be_bytes())
        .chain_update(link.max_op.to_be_bytes())
        .chain_update(link.hash)
        .chain_update(link.signature)
        .chain_update(link.received_at_ms.to_be_bytes())
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_covered_column_and_the_row_before_change_the_value() {
        let tenant: TenantId = "default".parse().unwrap();
        let before = first(&tenant);
        let link = Link {
            log_index: 1,
            document: &[1; 16],
            writer: &[2; 32],
            seq: 3,
            max_op: 4,
            hash: &[5; 32],
            signature: &[6; 64],
            received_at_ms: 7,
        };
        let edited = [
            Link { log_index: 2, ..link },
            Link { document: &[9; 16], ..link },
            Link { writer: &[9; 32], ..link },
            Link { seq: 9, ..link },
            Link { max_op: 9, ..link },
            Link { hash: &[9; 32], ..link },
            Link { signature: &[9; 64], ..link },
            Link { received_at_ms: 9, ..link },
        ];
        let value = next(&before, &link);
        assert!(edited.iter().all(|edited| next(&before, edited) != value));
        assert_ne!(next(&first(&"other".parse().unwrap()), &link), value);
        assert_eq!(next(&before, &link), value);
    }
}
