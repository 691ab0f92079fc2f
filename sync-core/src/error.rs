//! Why a change is refused: one variant per cause, each with a stable code that reaches the phone and the console.

/// The reason why bytes from outside were not taken. Nothing of the input is kept inside but small numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The change is larger than [`crate::limits::CHANGE_SIZE_BYTES_MAX`].
    #[error("change of {size_bytes} bytes is over the limit of {limit_bytes} bytes")]
    ChangeTooLarge {
        /// Size of the change.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The bytes end before the change does.
    #[error("change ends early, at byte {at}")]
    ChangeTruncated {
        /// Where the next byte was expected.
        at: usize,
    },
    /// Not an Automerge chunk, or bytes that no encoder writes.
    #[error("malformed change: {what}")]
    ChangeMalformed {
        /// Which part.
        what: &'static str,
    },
    /// A document or a compressed chunk instead of a plain change.
    #[error("chunk kind {kind} instead of a plain change (1)")]
    ChangeKind {
        /// The kind that came.
        kind: u8,
    },
    /// The checksum is not the first four bytes of the hash.
    #[error("checksum does not match the content")]
    ChecksumMismatch,
    /// The bytes are not what Automerge itself writes for the same operations.
    #[error("not in canonical encoding")]
    NotCanonical,
    /// More operations than one entry can have.
    #[error("change claims {claimed} operations, the limit is {limit}")]
    TooManyOps {
        /// How many the run lengths claim.
        claimed: u64,
        /// The limit.
        limit: usize,
    },
    /// The public key is not a point of the curve, or is of small order.
    #[error("weak or invalid public key")]
    KeyWeak,
    /// The signature does not verify under the writer's key for this document and change.
    #[error("signature does not verify")]
    SignatureInvalid,
    /// The change belongs to another document than the one that it was pushed for.
    #[error("change was written for another document")]
    DocumentMismatch,
    /// The document's name is malformed or over a limit.
    #[error("document name is malformed: {what}")]
    DocumentName {
        /// Which part.
        what: &'static str,
    },
    /// `start_op` or `deps` do not continue the writer's chain.
    #[error("does not continue the writer's chain: {what}")]
    ChainBroken {
        /// Which part.
        what: &'static str,
    },
    /// The change edits, deletes or shadows something that exists, or writes outside one fresh entry.
    #[error("outside the write scope: {what}")]
    Scope {
        /// Which rule.
        what: &'static str,
    },
    /// A field is missing, of the wrong type, or over its limit.
    #[error("field {field}: {what}")]
    Field {
        /// Name of the field in the schema.
        field: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The author's role may not write into this container.
    #[error("this writer may not write {container}")]
    WriterNotAllowed {
        /// The container.
        container: &'static str,
    },
    /// The sealed evidence manifest does not open.
    #[error("sealed evidence manifest: {what}")]
    ManifestSealed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The evidence manifest is malformed or over its limit.
    #[error("evidence manifest: {what}")]
    Manifest {
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Refusal {
    /// The stable code of the reason, as it stands in fates, in the console and in tests.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ChangeTooLarge { .. } => "change_too_large",
            Self::ChangeTruncated { .. } => "change_truncated",
            Self::ChangeMalformed { .. } => "change_malformed",
            Self::ChangeKind { .. } => "change_kind",
            Self::ChecksumMismatch => "checksum_mismatch",
            Self::NotCanonical => "not_canonical",
            Self::TooManyOps { .. } => "too_many_ops",
            Self::KeyWeak => "key_weak",
            Self::SignatureInvalid => "signature_invalid",
            Self::DocumentMismatch => "document_mismatch",
            Self::DocumentName { .. } => "document_name",
            Self::ChainBroken { .. } => "chain_broken",
            Self::Scope { .. } => "out_of_scope",
            Self::Field { .. } => "field_invalid",
            Self::WriterNotAllowed { .. } => "writer_not_allowed",
            Self::ManifestSealed { .. } => "manifest_not_opened",
            Self::Manifest { .. } => "manifest_invalid",
        }
    }
}
