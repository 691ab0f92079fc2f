//! Checks a whole log: every row on all cores, the ends of the log, and the signed head beside the keys.
//!
//! Receipts need no check of their own. A receipt is a deterministic signature over (document, hash, log index, time
//! of arrival); the hash chain covers these four of every row, and the signed head covers the chain. A row whose
//! receipt would come out differently today breaks the chain at that row.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_sync_core::{
    change,
    document::{BindingAction, Container, Entry},
    sync::head::LogHead,
};
use serde::Serialize;

use super::pages::{self, Bad};
use super::queries::{self, Owners, Span};
use super::row::Facts;
use crate::clock::{Stopwatch, iso_utc};
use crate::db::{Db, DbError, Tx};
use crate::ids::TenantId;
use crate::log::{self, Head, HeadFile, Loss, ServerKey, chain};

/// Bad rows of one log that a report names.
pub const NAMED_MAX: usize = 100;
/// Device-binding documents that are read at once.
const DOCUMENTS_AT_ONCE: i64 = 1_000;

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The tenant.
    pub tenant: String,
    /// The row, if it is about one.
    pub log_index: Option<i64>,
    /// What is wrong.
    pub what: String,
}

/// One tenant's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TenantReport {
    /// The tenant.
    pub tenant: String,
    /// Rows that were checked.
    pub rows: u64,
    /// Rows that are wrong or missing. The findings name the first of them, the oldest first.
    pub bad_rows: u64,
    /// Which life of the log.
    pub generation: i64,
    /// The newest index that the signed head beside the keys covers.
    pub covered_index: Option<u64>,
}

/// What came out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Rows that were checked.
    pub rows: u64,
    /// How long it took, milliseconds.
    pub elapsed_ms: u64,
    /// Threads that checked.
    pub workers: usize,
    /// Every tenant that has a log.
    pub tenants: Vec<TenantReport>,
    /// What is wrong: of each log its bad rows, at most [`NAMED_MAX`] of them, and what is wrong with its ends.
    pub findings: Vec<Finding>,
    /// What is worth knowing and not wrong.
    pub notes: Vec<String>,
}

impl Report {
    /// Rows per second.
    pub fn rows_per_s(&self) -> u64 {
        self.rows.saturating_mul(1000) / self.elapsed_ms.max(1)
    }

    fn find(&mut self, tenant: &str, log_index: Option<i64>, what: impl Into<String>) {
        self.findings.push(Finding { tenant: tenant.to_owned(), log_index, what: what.into() });
    }
}

/// Checks the log of every tenant. `progress` is told how many rows are done and how many there are. Blocks.
///
/// # Errors
/// When the database fails; what is wrong with the log is in the report.
pub fn verify(
    db: &Db,
    key: &ServerKey,
    file: &HeadFile,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Report, DbError> {
    let watch = Stopwatch::start();
    let heads: Vec<Head> = db.read_blocking(log::heads)?;
    let spans: Vec<Span> = db.read_blocking(queries::spans)?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut report = Report { workers, ..Report::default() };
    let proofs = read_file(key, file, &heads, &mut report);
    let total = heads.iter().map(|head| head.log_index.max(0).unsigned_abs()).sum();
    let done = AtomicU64::new(0);
    for span in &spans {
        if !heads.iter().any(|head| head.tenant.as_str() == span.tenant) {
            report.find(&span.tenant, Some(span.first), "this tenant's log has rows and no head");
        }
    }
    for head in &heads {
        let span = spans.iter().find(|span| span.tenant == head.tenant.as_str());
        check_ends(head, span, &mut report);
        let facts = Facts { tenant: head.tenant.clone(), server: key.public(), owners: owners(db, &head.tenant)? };
        let tell = |rows: u64| progress(done.fetch_add(rows, Ordering::Relaxed) + rows, total);
        let bad = pages::check(db, &facts, head.log_index, workers, &tell)?;
        let bad_rows = bad.count;
        tell_bad(head.tenant.as_str(), bad, &mut report);
        let proof = proofs.iter().find(|(tenant, _)| *tenant == head.tenant).map(|(_, proof)| proof);
        check_proof(db, head, proof, &mut report)?;
        report.tenants.push(TenantReport {
            tenant: head.tenant.to_string(),
            rows: head.log_index.max(0).unsigned_abs(),
            bad_rows,
            generation: head.generation,
            covered_index: proof.map(|proof| proof.log_index),
        });
    }
    note_losses(db, &mut report)?;
    report.rows = done.into_inner();
    report.elapsed_ms = watch.elapsed().max(Duration::from_millis(1)).as_millis() as u64;
    Ok(report)
}

/// The heads beside the keys, and what is wrong with the file as a whole.
fn read_file(key: &ServerKey, file: &HeadFile, heads: &[Head], report: &mut Report) -> Vec<(TenantId, LogHead)> {
    let proofs = match file.read(&key.public()) {
        Ok(Some(read)) => {
            if !read.is_whole {
                report.notes.push(format!(
                    "the list in {} is of an earlier release and not signed as a whole: whether a line was taken out of it \
                     cannot be seen",
                    file.path().display()
                ));
            }
            read.proofs
        }
        Ok(None) => {
            report.notes.push(format!("there is no {}: a lost tail cannot be seen", file.path().display()));
            return Vec::new();
        }
        Err(error) => {
            report.find("", None, error.to_string());
            return Vec::new();
        }
    };
    for (tenant, proof) in &proofs {
        if proof.log_index > 0 && !heads.iter().any(|head| head.tenant == *tenant) {
            let what = format!("the whole log is gone: its signed head says {}", proof.log_index);
            report.find(tenant.as_str(), None, what);
        }
    }
    proofs
}

/// Names what is wrong with rows: one edit must not hide another one behind it, and a log that is wrong throughout must
/// not become a report of its length.
fn tell_bad(tenant: &str, bad: Bad, report: &mut Report) {
    let named = bad.named.len() as u64;
    for (log_index, what) in bad.named {
        report.find(tenant, Some(log_index), what);
    }
    if bad.count > named {
        let what = format!("{} rows are wrong; the first {named} of them are named", bad.count);
        report.find(tenant, None, what);
    }
    if let Some(first) = bad.unproven.first() {
        report.notes.push(format!(
            "{} rows of {tenant}, the first of them {first}, stand behind a row that is missing or unreadable, so that \
             nothing proves their place",
            bad.unproven.len()
        ));
    }
    if bad.unknown_writers > 0 {
        report.notes.push(format!(
            "whose {} rows of {tenant} are is not known, because a row about devices before them cannot be read",
            bad.unknown_writers
        ));
    }
}

/// The head counts what is there.
fn check_ends(head: &Head, span: Option<&Span>, report: &mut Report) {
    let (first, last) = span.map_or((1, 0), |span| (span.first, span.last));
    if first < 1 {
        report.find(head.tenant.as_str(), Some(first), "a row stands before the beginning of the log");
    }
    if last > head.log_index {
        let what = format!("a row stands beyond the head of the log, which is {}", head.log_index);
        report.find(head.tenant.as_str(), Some(last), what);
    }
    if head.generation == 0 {
        report.find(head.tenant.as_str(), None, "the log has no hash chain yet: start the server once");
    }
}

/// The signed head beside the keys proves nothing that the log does not have.
fn check_proof(db: &Db, head: &Head, proof: Option<&LogHead>, report: &mut Report) -> Result<(), DbError> {
    let tenant = head.tenant.as_str();
    let Some(proof) = proof else {
        report.notes.push(format!("no signed head covers the log of {tenant}"));
        return Ok(());
    };
    let (generation, last) = (head.generation.unsigned_abs(), head.log_index.unsigned_abs());
    if proof.generation < generation {
        report.notes.push(format!("the signed head of {tenant} is of an earlier generation"));
        return Ok(());
    }
    if proof.generation > generation {
        report.find(tenant, None, "the database is older than the signed head: it is of a later generation");
        return Ok(());
    }
    if proof.log_index > last {
        let what = format!("the log lost its tail: it ends at {last}, its signed head says {}", proof.log_index);
        report.find(tenant, Some(head.log_index), what);
        return Ok(());
    }
    let (asked, log_index) = (head.tenant.clone(), proof.log_index as i64);
    let value: Option<Vec<u8>> = if log_index == 0 {
        Some(chain::first(&asked).to_vec())
    } else {
        db.read_blocking::<_, DbError, _>(move |tx: &Tx<'_>| queries::chain_at(tx, &asked, log_index))?
    };
    if value.as_deref() != Some(&proof.chain[..]) {
        report.find(tenant, Some(log_index), "the log up to here is not the one of its signed head");
    } else if proof.log_index < last {
        let what = format!("the newest {} rows of {tenant} are not covered by the signed head", last - proof.log_index);
        report.notes.push(what);
        let (asked, index) = (head.tenant.clone(), proof.log_index as i64);
        let late_ms: Option<i64> = db.read_blocking(move |tx: &Tx<'_>| log::late_ms(tx, &asked, index))?;
        if let Some(late_ms) = late_ms {
            let seconds = late_ms / 1_000;
            report.notes.push(format!(
                "the signed head of {tenant} is an old one, put back perhaps: the log went on for {seconds} s without it"
            ));
        }
    }
    Ok(())
}

fn note_losses(db: &Db, report: &mut Report) -> Result<(), DbError> {
    let losses: Vec<Loss> = db.read_blocking(|tx: &Tx<'_>| log::losses(tx, None))?;
    for loss in losses {
        report.notes.push(format!(
            "{} lost rows before {}: {} was proven by a {}, {} were left",
            loss.tenant,
            iso_utc(loss.noticed_at_ms),
            loss.proven_index,
            loss.noticed_by.as_str().replace('_', " "),
            loss.kept_index
        ));
    }
    Ok(())
}

/// Who every key was bound to, by the log itself: the tables are projections, and this is about the log.
fn owners(db: &Db, tenant: &TenantId) -> Result<Owners, DbError> {
    let (mut owners, mut after) = (Owners::new(), [0; 16]);
    loop {
        let asked = tenant.clone();
        let rows: Vec<queries::BindingRow> =
            db.read_blocking(move |tx: &Tx<'_>| queries::bindings(tx, &asked, &after, DOCUMENTS_AT_ONCE))?;
        let Some(last) = rows.last() else { return Ok(owners) };
        after = last.document;
        for row in &rows {
            // What does not decode is named when its row is checked.
            let Ok((_, body)) = change::decode(&row.change) else { continue };
            let Some(container) = Container::at(3, body.container_op) else { continue };
            if let Ok(Entry::Bindings(binding)) = Entry::read(container, &body.fields)
                && binding.action == BindingAction::Bind
            {
                owners.entry(binding.key).or_default().push(row.user.clone());
            }
        }
    }
}
