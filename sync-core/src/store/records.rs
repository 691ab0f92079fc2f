//! What a person sees: every capture of this phone, its state, and the reason while it is not accepted.

use super::{DeviceStore, StoreError, changes, error::damaged, outbox::ChangeState, reason_in_words};
use crate::{
    ChangeHash, DocumentId, Locator,
    decision::{Fold, RecordState},
    document::Outcome,
    evidence::{CheckOutcome, Checks},
    time::Receipt,
};
use rusqlite::{Row, params};

/// A capture on this phone; stays the same when its change is signed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub i64);

/// The state of a capture as a person sees it. Nothing here says "present" before the server or a person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordStatus {
    /// Not sent yet.
    OnThisPhone,
    /// Sent, not answered.
    Sent,
    /// A relay says that it carries a copy. This phone still sends it by itself.
    HandedOver,
    /// The server has it: the receipt verified.
    Received,
    /// Every check passed.
    Accepted,
    /// A check flagged it, or people disagree.
    InReview,
    /// A person decided.
    Decided,
    /// In the server's quarantine.
    Waiting,
    /// Not taken.
    Refused,
}

impl RecordStatus {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnThisPhone => "on_this_phone",
            Self::Sent => "sent",
            Self::HandedOver => "handed_over",
            Self::Received => "received",
            Self::Accepted => "accepted",
            Self::InReview => "in_review",
            Self::Decided => "decided",
            Self::Waiting => "waiting",
            Self::Refused => "refused",
        }
    }
}

/// One capture as a person sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordView {
    /// The capture.
    pub id: RecordId,
    /// The signed change.
    pub change: ChangeHash,
    /// The class session.
    pub locator: Locator,
    /// The student.
    pub student: String,
    /// The phone's wall clock at capture, Unix milliseconds.
    pub captured_at_ms: i64,
    /// The state.
    pub status: RecordStatus,
    /// What the whole document says, once the server has the record.
    pub judgement: Option<RecordState>,
    /// Why it is not accepted; nothing for an accepted one.
    pub reason: Option<String>,
    /// The reason as a sentence that says what to do.
    pub reason_in_words: Option<String>,
    /// The server's receipt, once it verified.
    pub receipt: Option<Receipt>,
    /// Images that are not uploaded yet.
    pub images_waiting: u64,
    /// Why an image will never be taken, if one was refused.
    pub image_reason: Option<String>,
}

struct RecordRow {
    id: i64,
    change: ChangeHash,
    document: DocumentId,
    locator: Locator,
    student: String,
    captured_at_ms: i64,
    state: ChangeState,
    reason: Option<String>,
    receipt: Option<Vec<u8>>,
    handed_over: bool,
}

const SELECT: &str = "SELECT r.outbox_id, o.change_hash, r.document, r.locator, r.student, r.captured_at_ms,
        o.state, o.reason, o.receipt, EXISTS (SELECT 1 FROM handed_over h WHERE h.change_hash = o.change_hash)
    FROM records r JOIN outbox o ON o.id = r.outbox_id";

impl DeviceStore {
    /// Every capture of this phone, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn records(&self) -> Result<Vec<RecordView>, StoreError> {
        let mut statement = self.db.prepare_cached(&format!("{SELECT} ORDER BY r.outbox_id"))?;
        let mut rows = statement.query([])?;
        let mut views = Vec::new();
        while let Some(row) = rows.next()? {
            views.push(self.view(read(row)?)?);
        }
        Ok(views)
    }

    /// One capture.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn record(&self, id: RecordId) -> Result<Option<RecordView>, StoreError> {
        let mut statement = self.db.prepare_cached(&format!("{SELECT} WHERE r.outbox_id = ?1"))?;
        let mut rows = statement.query([id.0])?;
        match rows.next()? {
            Some(row) => self.view(read(row)?).map(Some),
            None => Ok(None),
        }
    }

    fn view(&self, row: RecordRow) -> Result<RecordView, StoreError> {
        let own = |code: &str| Some(code.to_owned());
        // A receipt of a log that lost the change is void.
        let receipt = row.receipt.as_deref().filter(|_| row.state == ChangeState::Accepted);
        let (mut judgement, receipt) = (None, receipt.map(minicbor::decode).transpose());
        let (status, reason) = match row.state {
            ChangeState::Queued | ChangeState::Sent if row.handed_over => {
                (RecordStatus::HandedOver, own("handed_over"))
            }
            ChangeState::Queued => (RecordStatus::OnThisPhone, row.reason.or(own("not_sent_yet"))),
            ChangeState::Sent => (RecordStatus::Sent, own("not_answered_yet")),
            ChangeState::Quarantined => (RecordStatus::Waiting, row.reason),
            ChangeState::Refused => (RecordStatus::Refused, row.reason),
            ChangeState::Accepted => {
                let entries = changes::entries(&self.db, row.document, 2)?;
                let fold = entries.fold();
                judgement = fold.state;
                judged(&fold, &entries)
            }
        };
        let (images_waiting, image_reason) = self.images(row.id)?;
        Ok(RecordView {
            id: RecordId(row.id),
            change: row.change,
            locator: row.locator,
            student: row.student,
            captured_at_ms: row.captured_at_ms,
            status,
            judgement,
            reason_in_words: reason.as_deref().map(reason_in_words),
            reason,
            receipt: receipt.map_err(|_| damaged("a receipt is not a receipt"))?,
            images_waiting,
            image_reason,
        })
    }

    fn images(&self, outbox_id: i64) -> Result<(u64, Option<String>), StoreError> {
        let sql = "SELECT count(*) FILTER (WHERE b.state = 'waiting'),
                max(CASE WHEN b.state = 'failed' THEN coalesce(b.reason, 'image_refused') END)
            FROM record_images i JOIN blobs b ON b.sha256 = i.sha256 WHERE i.outbox_id = ?1";
        Ok(self.db.prepare_cached(sql)?.query_row(params![outbox_id], |row| Ok((row.get(0)?, row.get(1)?)))?)
    }
}

fn read(row: &Row<'_>) -> Result<RecordRow, StoreError> {
    let locator: String = row.get(3)?;
    Ok(RecordRow {
        id: row.get(0)?,
        change: ChangeHash(row.get(1)?),
        document: DocumentId(row.get(2)?),
        locator: Locator::parse(&locator).ok_or_else(|| damaged("a record has no locator"))?,
        student: row.get(4)?,
        captured_at_ms: row.get(5)?,
        state: ChangeState::parse(&row.get::<_, String>(6)?)?,
        reason: row.get(7)?,
        receipt: row.get(8)?,
        handed_over: row.get(9)?,
    })
}

/// The status and reason of a record that the server has.
fn judged(fold: &Fold, entries: &changes::Entries) -> (RecordStatus, Option<String>) {
    match fold.state {
        Some(RecordState::Accepted) => (RecordStatus::Accepted, None),
        Some(RecordState::Flagged) => {
            let reason = flags(fold, entries).into_iter().next().unwrap_or_else(|| "in_review".to_owned());
            (RecordStatus::InReview, Some(reason))
        }
        Some(RecordState::Escalated | RecordState::Disputed) => (RecordStatus::InReview, Some("in_review".to_owned())),
        Some(RecordState::Confirmed) => (RecordStatus::Decided, None),
        Some(RecordState::Late | RecordState::Excused | RecordState::Rejected) => {
            let reason = fold.deciding.and_then(|step| entries.reason_of(step));
            (RecordStatus::Decided, reason.map(|code| code.as_str().to_owned()))
        }
        Some(RecordState::Received) | None => (RecordStatus::Received, Some("not_judged_yet".to_owned())),
    }
}

/// The reason codes of the checks that are no pass, of the verdict that counts.
pub(super) fn flags(fold: &Fold, entries: &changes::Entries) -> Vec<String> {
    let counting = entries.verdicts.iter().find(|found| Some(found.hash) == fold.verdict);
    let Some(verdict) = counting.filter(|verdict| verdict.entry.outcome == Outcome::Flagged) else {
        return Vec::new();
    };
    let Some(checks) = Checks::from_bytes(&verdict.entry.checks) else { return Vec::new() };
    let flagged = checks.0.into_iter().filter(|check| {
        matches!(check.outcome, CheckOutcome::Flag)
            || (check.outcome == CheckOutcome::Unavailable && check.reason.is_some())
    });
    flagged.map(|check| check.reason.unwrap_or(check.name)).collect()
}
