//! A signed change in fields that a person can read.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use muster_sync_core::{
    ChangeHash, DocumentName,
    change::{self, Scalar, SignedChange},
    document::Container,
    evidence::Manifest,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::queries;
use crate::app::App;
use crate::clock::iso_utc;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::evidence;
use crate::ids::TenantId;

/// A document.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DocumentView {
    /// `class-session`, `attendance` or `device-binding`.
    kind: &'static str,
    /// Its natural key.
    key: Vec<String>,
}

impl DocumentView {
    /// From the columns of a row.
    pub(super) fn new(kind: u8, key1: &str, key2: &str) -> Self {
        let kind_name = match kind {
            1 => "class-session",
            2 => "attendance",
            _ => "device-binding",
        };
        let parts = [key1, key2].into_iter().filter(|part| !part.is_empty());
        Self { kind: kind_name, key: parts.map(str::to_owned).collect() }
    }
}

/// What a change says.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntryView {
    /// The change, in hexadecimal.
    hash: String,
    /// Which container it writes into, such as `submissions`.
    container: Option<&'static str>,
    /// Its place in its writer's chain in this document.
    seq: u64,
    /// The change that it follows, in hexadecimal; for the first one, genesis.
    follows: String,
    /// The writer's wall clock, which proves nothing.
    claimed_at: String,
    /// Every field: texts, numbers and flags as they are, bytes in hexadecimal.
    #[schema(value_type = Object)]
    fields: BTreeMap<String, Value>,
    /// When the server first had it.
    received_at: String,
    /// Its place in the log, if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_index: Option<i64>,
    size_bytes: usize,
}

impl EntryView {
    /// Decodes a change that was checked when it came; `None` if it does not read any more.
    pub(super) fn new(kind: u8, signed: &SignedChange, received_at_ms: i64, log_index: Option<i64>) -> Option<Self> {
        let (hash, body) = change::decode(&signed.bytes).ok()?;
        let fields = body.fields.iter().map(|(name, scalar)| ((*name).to_owned(), value(*scalar)));
        Some(Self {
            hash: hash.to_string(),
            container: Container::at(kind, body.container_op).map(Container::name),
            seq: body.seq,
            follows: body.dep.to_string(),
            claimed_at: iso_utc(body.time_s.saturating_mul(1000)),
            fields: fields.collect(),
            received_at: iso_utc(received_at_ms),
            log_index,
            size_bytes: signed.bytes.len(),
        })
    }
}

fn value(scalar: Scalar<'_>) -> Value {
    match scalar {
        Scalar::Bool(value) => value.into(),
        Scalar::Int(value) => value.into(),
        Scalar::Uint(value) => value.into(),
        Scalar::Text(value) => value.into(),
        Scalar::Bytes(value) => HEXLOWER.encode(value).into(),
    }
}

/// The manifest of a submission: the record's, or that which waits with the change in quarantine.
pub(super) async fn manifest_of(
    app: &App,
    tenant: &TenantId,
    hash: ChangeHash,
    student: &str,
    commitment: [u8; 32],
) -> AppResult<Option<Manifest>> {
    let asked = tenant.clone();
    let read = app.db.read(move |tx: &Tx<'_>| queries::waiting_evidence(tx, &asked, hash, commitment)).await;
    match read.map_err(|error: DbError| AppError::from(error))? {
        Some(kept) => evidence::open_manifest(app, tenant, student, commitment, &kept.sealed).await.map(Some),
        None => evidence::manifest(app, tenant, student, commitment).await,
    }
}

/// The student whose attendance a document is, and the commitment of the submission that a change makes in it.
pub(super) fn commitment_of(kind: u8, key: [&str; 2], signed: &SignedChange) -> Option<(String, [u8; 32])> {
    let Ok(DocumentName::Attendance { student, .. }) = DocumentName::from_parts(kind, key) else { return None };
    let (_, body) = change::decode(&signed.bytes).ok()?;
    let field = body.fields.iter().find(|(name, _)| *name == "commitment")?;
    match field.1 {
        Scalar::Bytes(bytes) => Some((student, bytes.try_into().ok()?)),
        _ => None,
    }
}
