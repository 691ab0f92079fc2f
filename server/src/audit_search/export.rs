//! `GET /admin/audit/export`: the same rows as CSV (RFC 4180), page by page, so that no file is ever in memory.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::stream::{self, Stream};

use super::queries::{self, Place, Wanted};
use super::{Filter, note, start};
use crate::app::App;
use crate::audit::{Action, AuditRow};
use crate::auth::Allowed;
use crate::auth::permission::SystemAdmin;
use crate::clock::iso_utc;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Query, RequestId, csv_cell, streamed};
use crate::ids::TenantId;

/// Rows in one file.
const EXPORTED_ROWS_MAX: u32 = 1_000_000;
/// Rows that are read, and in memory, at a time.
const ROWS_PER_READ: u32 = 1_000;
const HEADER: &str = "number,at,actor_id,actor_role,action,object_kind,object_id,reason,request_id,result,hash\r\n";

/// Exports the audit log, the newest rows first; leaves a row itself. A file of 1,000,000 rows is continued with the
/// number of its last row as `after`.
#[utoipa::path(
    get, path = "/admin/audit/export", tag = "audit", params(Filter),
    responses(
        (status = 200, content_type = "text/csv", body = String, headers(("Content-Disposition" = String, description = "the file's name"))),
        (status = 403, body = ErrorEnvelope),
        (status = 422, body = ErrorEnvelope)
    )
)]
pub(super) async fn export_audit(
    State(app): State<App>,
    allowed: Allowed<SystemAdmin>,
    request: RequestId,
    Query(filter): Query<Filter>,
) -> AppResult<Response> {
    let (wanted, before, after) = (filter.wanted()?, filter.before()?, filter.after);
    let tenant = allowed.tenant.clone();
    let asked = tenant.clone();
    let place = app.db.read(move |tx: &Tx<'_>| start(tx, &asked, before, after)).await?;
    note(&app, allowed.actor(&request), Action::AuditExport, &filter).await?;
    let rows_left = filter.limit.unwrap_or(EXPORTED_ROWS_MAX).clamp(1, EXPORTED_ROWS_MAX);
    let pages = pages(Pages { app, tenant, wanted, place, rows_left, is_first: true });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"audit.csv\"")),
    ];
    Ok(streamed((headers, Body::from_stream(pages)), "no-store, no-transform"))
}

/// Where an export is.
struct Pages {
    app: App,
    tenant: TenantId,
    wanted: Wanted,
    place: Place,
    rows_left: u32,
    is_first: bool,
}

/// A failure ends the stream without its end, so that nobody takes half a file for a whole one.
fn pages(begin: Pages) -> impl Stream<Item = Result<Bytes, AppError>> {
    stream::try_unfold(begin, |mut pages| async move {
        if pages.rows_left == 0 {
            return Ok(None);
        }
        let limit = pages.rows_left.min(ROWS_PER_READ);
        let (tenant, wanted, place) = (pages.tenant.clone(), pages.wanted.clone(), pages.place);
        let read = pages.app.db.read(move |tx: &Tx<'_>| queries::search(tx, &tenant, &wanted, place, limit));
        let rows: Vec<AuditRow> = read.await.map_err(|error: DbError| AppError::from(error))?;
        let is_last = rows.len() < limit as usize;
        pages.rows_left = if is_last { 0 } else { pages.rows_left - limit };
        if let Some(last) = rows.last() {
            pages.place = (last.at_ms, last.number);
        }
        let start = if pages.is_first { HEADER.as_bytes().to_vec() } else { Vec::new() };
        pages.is_first = false;
        Ok::<_, AppError>(Some((csv(start, &rows)?, pages)))
    })
}

fn csv(start: Vec<u8>, rows: &[AuditRow]) -> AppResult<Bytes> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(start);
    for row in rows {
        let cells = [
            &row.number.to_string(),
            &iso_utc(row.at_ms),
            &row.actor_id,
            &row.actor_role,
            &row.action,
            &row.object_kind,
            &row.object_id,
            row.reason.as_deref().unwrap_or(""),
            &row.request_id,
            &row.result,
            &data_encoding::HEXLOWER.encode(&row.hash),
        ];
        writer.write_record(cells.map(csv_cell)).map_err(AppError::internal)?;
    }
    writer.into_inner().map(Bytes::from).map_err(AppError::internal)
}
