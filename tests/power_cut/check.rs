//! After the power is back: is everything there that was acknowledged, and is what is there sound?

use std::net::SocketAddr;
use std::path::Path;

use data_encoding::HEXLOWER;
use muster_server::clock::Stopwatch;
use muster_tests::wire::Connection;
use rusqlite::{Connection as Database, OpenFlags};
use sha2::{Digest, Sha256};

use crate::Result;
use crate::load::{Phones, Record, Upload, accept, draw_picture, upload};

/// Records of one push.
const AT_ONCE: usize = 50;

/// What was promised since the phones began.
#[derive(Default)]
pub(crate) struct Promises {
    /// Records with receipts that were checked after an earlier cut.
    pub(crate) old: Vec<Record>,
    /// Records with receipts since the last cut.
    pub(crate) fresh: Vec<Record>,
    /// Records that were sent, and whose answer did not come.
    pub(crate) in_flight: Vec<Record>,
    /// Acknowledged uploads that were checked after an earlier cut.
    pub(crate) old_uploads: Vec<Upload>,
    /// Acknowledged uploads since the last cut.
    pub(crate) uploads: Vec<Upload>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Records whose receipt was not honoured.
    pub(crate) lost: usize,
    /// Uploads that the server does not have any more.
    pub(crate) lost_uploads: usize,
    /// Anything else that must not be.
    pub(crate) wrong: Vec<String>,
}

/// Checks every promise against a server that was started after the cut. Fresh records are pushed again and must get
/// the receipts that they had; older ones are looked up in the log. Lost ones count, and are acknowledged anew.
pub(crate) fn check(phones: &Phones, promises: &mut Promises, address: SocketAddr, data: &Path) -> Result<Findings> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut findings = Findings::default();
    find_in_log(&mut promises.old, &mut findings, data)?;
    find_in_log(&mut promises.fresh, &mut findings, data)?;
    let (lost, old) = std::mem::take(&mut promises.old).into_iter().partition(|record| record.receipt.is_none());
    (promises.fresh, promises.old) =
        (std::mem::take(&mut promises.fresh).into_iter().chain::<Vec<_>>(lost).collect(), old);
    runtime.block_on(async {
        let mut connection = Connection::open(address).await?;
        let fresh = std::mem::take(&mut promises.fresh);
        promises.old.extend(push_again(&mut connection, phones, fresh, &mut findings).await?);
        let in_flight = std::mem::take(&mut promises.in_flight);
        promises.old.extend(push_again(&mut connection, phones, in_flight, &mut findings).await?);
        // Every cut looks at what is new, and at every eighth of what is older.
        let uploads = std::mem::take(&mut promises.uploads);
        for upload in uploads.iter().chain(promises.old_uploads.iter().step_by(8)) {
            look_at_upload(&mut connection, phones, upload, &mut findings).await?;
        }
        promises.old_uploads.extend(uploads);
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    look_at_database(promises, &mut findings, data)?;
    Ok(findings)
}

/// A record without its row is lost; its receipt is worth nothing, so it is forgotten.
fn find_in_log(records: &mut [Record], findings: &mut Findings, data: &Path) -> Result<()> {
    let database = open(data)?;
    let mut statement =
        database.prepare("SELECT log_index, received_at FROM change_log WHERE document_id = ?1 AND hash = ?2")?;
    for record in records.iter_mut() {
        let Some(receipt) = &record.receipt else { continue };
        let mut rows = statement.query((&record.document.0[..], &record.hash.0[..]))?;
        let found = match rows.next()? {
            Some(row) => Some((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?)),
            None => None,
        };
        if found != Some((receipt.log_index, receipt.received_at_ms)) {
            findings.lost += 1;
            record.receipt = None;
        }
    }
    Ok(())
}

async fn push_again(
    connection: &mut Connection,
    phones: &Phones,
    mut records: Vec<Record>,
    findings: &mut Findings,
) -> Result<Vec<Record>> {
    let mut honoured = Vec::with_capacity(records.len());
    records.sort_by_key(|record| record.student);
    for same in records.chunk_by(|one, other| one.student == other.student).flat_map(|same| same.chunks(AT_ONCE)) {
        let request = phones.push(same[0].student, same.iter());
        let reply = connection.exchange(&request, Stopwatch::start()).await?;
        let again = accept(same.to_vec(), reply.body(), phones.campus.server_key)?;
        for (before, after) in same.iter().zip(&again) {
            if before.receipt.is_some() && before.receipt != after.receipt {
                findings.lost += 1;
                findings
                    .wrong
                    .push(format!("another receipt for {}: {:?} {:?}", before.hash, before.receipt, after.receipt));
            }
        }
        honoured.extend(again);
    }
    Ok(honoured)
}

/// The lecturer sees the picture, and pushing it again says that it was there.
async fn look_at_upload(
    connection: &mut Connection,
    phones: &Phones,
    one: &Upload,
    findings: &mut Findings,
) -> Result<()> {
    let sha256 = HEXLOWER.encode(&Sha256::digest(draw_picture(one.picture)));
    let lecturer = phones.campus.lecturer.token().ok_or("a lecturer without a token")?;
    let request = format!(
        "GET /api/v1/lecturers/attendance/{}/images/{sha256} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {lecturer}\r\n\r\n",
        one.document
    );
    let seen = connection.exchange(request.as_bytes(), Stopwatch::start()).await;
    let again = connection.exchange(&upload(phones.token(one.student), one.picture), Stopwatch::start()).await?;
    let seen = seen.is_ok_and(|reply| image::load_from_memory(reply.body()).is_ok());
    if !seen || again.status != 200 {
        findings.lost_uploads += 1;
    }
    Ok(())
}

fn open(data: &Path) -> Result<Database> {
    Ok(Database::open_with_flags(data.join("muster.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)?)
}

/// Integrity, foreign keys, log indexes without a gap, and no index that was promised twice.
fn look_at_database(promises: &Promises, findings: &mut Findings, data: &Path) -> Result<()> {
    let database = open(data)?;
    let integrity: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if integrity != "ok" {
        findings.wrong.push(format!("integrity_check says {integrity}"));
    }
    if database.prepare("PRAGMA foreign_key_check")?.exists([])? {
        findings.wrong.push("a foreign key points nowhere".to_owned());
    }
    let sql = "SELECT count(*), min(log_index), max(log_index), (SELECT last_index FROM log_heads) FROM change_log";
    let (rows, first, last, head): (i64, i64, i64, i64) =
        database.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    // The server goes on writing verdicts, so the head is read in the same statement.
    if first != 1 || last != rows || head != rows {
        findings.wrong.push(format!("{rows} rows in the log, from {first} to {last}, and its head is {head}"));
    }
    let mut promised: Vec<u64> =
        promises.old.iter().filter_map(|record| record.receipt.as_ref()).map(|receipt| receipt.log_index).collect();
    let n_promised = promised.len();
    promised.sort_unstable();
    promised.dedup();
    if promised.len() != n_promised {
        findings.wrong.push("two records have one log index".to_owned());
    }
    Ok(())
}
