//! Checks the audit logs of all tenants: every row, the head in the database, and the signed head beside the keys.

use std::time::Duration;

use data_encoding::HEXLOWER;
use muster_sync_core::DeviceKey;
use serde::Serialize;

use super::head_file::{self, AuditHead, AuditHeadFile};
use super::{chain, queries};
use crate::clock::Stopwatch;
use crate::db::{Db, DbError, Tx};
use crate::ids::TenantId;

/// One tenant's audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TenantReport {
    /// The tenant.
    pub tenant: String,
    /// Rows that are whole, from the first one on.
    pub rows: i64,
    /// Rows that are missing, were changed or were put in.
    pub bad_rows: u64,
    /// The hash of the newest row, in hexadecimal, if all are whole.
    pub head: Option<String>,
    /// The first number that is missing, or whose row was changed.
    pub broken_at: Option<i64>,
    /// Rows that the signed head beside the keys covers.
    pub covered_rows: Option<i64>,
}

/// What came out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Rows that were checked.
    pub rows: i64,
    /// How long it took, milliseconds.
    pub elapsed_ms: u64,
    /// Every tenant that has an audit log.
    pub tenants: Vec<TenantReport>,
    /// What is wrong: of each log its bad rows, the first 100 by number, and what is wrong with its end.
    pub findings: Vec<String>,
    /// What is worth knowing and not wrong.
    pub notes: Vec<String>,
}

impl Report {
    /// Rows per second.
    pub fn rows_per_s(&self) -> u64 {
        self.rows.unsigned_abs().saturating_mul(1000) / self.elapsed_ms.max(1)
    }
}

/// Checks everything. Blocks.
///
/// # Errors
/// When the database fails; what is wrong with the log is in the report.
pub fn verify(db: &Db, server: &DeviceKey, file: &AuditHeadFile) -> Result<Report, DbError> {
    let watch = Stopwatch::start();
    let mut report = Report::default();
    // The file first: what it proves was committed before it was written, so a running server is never ahead of it.
    let proven = match file.read(server) {
        Ok(Some(read)) => {
            if !read.is_whole {
                let what = "is of an earlier release and not signed as a whole: whether a line was taken out of it cannot be seen";
                report.notes.push(format!("the list in {} {what}", file.path().display()));
            }
            read.heads
        }
        Ok(None) => {
            report.notes.push(format!("there is no {}: a lost tail cannot be seen", file.path().display()));
            Vec::new()
        }
        Err(error) => {
            report.findings.push(error.to_string());
            Vec::new()
        }
    };
    let mut tenants: Vec<TenantId> = db.read_blocking::<_, DbError, _>(queries::tenants)?;
    tenants.extend(proven.iter().filter(|head| head.rows > 0).map(|head| head.tenant.clone()));
    tenants.sort();
    tenants.dedup();
    for tenant in tenants {
        let head = proven.iter().find(|head| head.tenant == tenant);
        check_tenant(db, &tenant, head, &mut report)?;
    }
    report.elapsed_ms = watch.elapsed().max(Duration::from_millis(1)).as_millis() as u64;
    Ok(report)
}

fn check_tenant(db: &Db, tenant: &TenantId, head: Option<&AuditHead>, report: &mut Report) -> Result<(), DbError> {
    let (asked, proven) = (tenant.clone(), head.cloned());
    let (walk, is_held, late_ms) = db.read_blocking::<_, DbError, _>(move |tx: &Tx<'_>| {
        let is_held = proven.as_ref().map_or(Ok(true), |head| head_file::holds(tx, head))?;
        let covered = proven.as_ref().map(|head| head.rows);
        let late_ms = covered.map_or(Ok(None), |rows| head_file::late_ms(tx, &asked, rows))?;
        Ok((chain::walk(tx, &asked)?, is_held, late_ms))
    })?;
    let broken_at = walk.bad.first().copied();
    let rows = broken_at.map_or(walk.rows, |number| number - 1);
    let newest = broken_at.is_none().then(|| HEXLOWER.encode(&walk.head));
    for number in &walk.bad {
        report.findings.push(format!("{tenant}: row {number} is missing, was changed, or was put in"));
    }
    let named = walk.bad.len() as u64;
    if walk.bad_count > named {
        let what = format!("{tenant}: {} rows are wrong; the first {named} of them are named", walk.bad_count);
        report.findings.push(what);
    }
    match head {
        Some(head) if !is_held => report.findings.push(format!(
            "{tenant}: the audit log is not the one of its signed head, which covers {} rows; there are {rows}",
            head.rows
        )),
        None => report.notes.push(format!("no signed head covers the audit log of {tenant}")),
        Some(_) => report.notes.extend(late_ms.map(|late_ms| {
            let seconds = late_ms / 1_000;
            let what = "is an old one, put back perhaps: the log went on for";
            format!("the signed head of {tenant}'s audit log {what} {seconds} s without it")
        })),
    }
    report.rows += walk.rows;
    report.tenants.push(TenantReport {
        tenant: tenant.to_string(),
        rows,
        bad_rows: walk.bad_count,
        head: newest,
        broken_at,
        covered_rows: head.map(|head| head.rows),
    });
    Ok(())
}
