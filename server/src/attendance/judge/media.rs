//! Images that a record names and that are still on their way.

use std::time::Duration;

use muster_sync_core::{DocumentId, evidence::ImagePurpose};

use super::super::project::JUDGE_JOB;
use super::super::{RecordRow, SubmissionRow, queries};
use super::facts::Seen;
use crate::app::App;
use crate::db::{DbError, Tx};
use crate::evidence;
use crate::ids::TenantId;
use crate::jobs;

/// What a document waits for.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    document: DocumentId,
    student: String,
    /// What the record said before.
    was_awaiting: bool,
    missing: Vec<[u8; 32]>,
    /// When to stop waiting.
    until_ms: Option<i64>,
}

impl Waiting {
    pub(super) fn of(record: &RecordRow) -> Self {
        Self {
            document: record.document,
            student: record.student.clone(),
            was_awaiting: record.awaiting_media,
            missing: Vec::new(),
            until_ms: None,
        }
    }

    /// Notes what a submission waits for; true if it is the selfie, without which there is nothing to judge yet.
    pub(super) fn note(&mut self, app: &App, submission: &SubmissionRow, seen: &Seen) -> bool {
        let timeout = Duration::from_secs(u64::from(app.config.media_timeout_hours) * 3600);
        let until_ms = submission.received_at_ms.saturating_add(timeout.as_millis() as i64);
        if seen.missing.is_empty() || app.now_ms() >= until_ms {
            return false;
        }
        self.missing.extend(seen.missing.iter().map(|(_, sha256)| *sha256));
        self.until_ms = Some(self.until_ms.map_or(until_ms, |known| known.min(until_ms)));
        seen.missing.iter().any(|(purpose, _)| *purpose == ImagePurpose::Selfie)
    }

    pub(super) fn has_something_to_say(&self) -> bool {
        self.was_awaiting != self.until_ms.is_some() || self.until_ms.is_some()
    }

    /// Says so in the record, and asks for another look at the end of the wait, or at once if an image came meanwhile.
    pub(super) fn write(&self, tx: &Tx<'_>, tenant: &TenantId, now_ms: i64) -> Result<(), DbError> {
        queries::set_awaiting_media(tx, self.document, self.until_ms.is_some(), now_ms)?;
        let Some(until_ms) = self.until_ms else { return Ok(()) };
        let mut run_at_ms = until_ms;
        for sha256 in &self.missing {
            let row = evidence::image(tx, tenant, &self.student, sha256)?;
            if row.is_none_or(|row| row.stored_at_ms.is_some()) {
                run_at_ms = now_ms;
            }
        }
        jobs::enqueue(tx, tenant, JUDGE_JOB, &self.document.0, run_at_ms)
    }
}
