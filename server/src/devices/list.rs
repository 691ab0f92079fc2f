//! `GET /students/device`, `GET /admin/device-requests` and `GET /admin/devices`.

use axum::extract::State;
use muster_sync_core::DeviceKey;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::queries::{self, DeviceRow, RequestRow};
use super::rules::RequestStatus;
use super::view::{Device, DeviceRequest};
use crate::app::App;
use crate::auth::Allowed;
use crate::auth::permission::{DevicesApprove, DevicesBind};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::http::{Json, Query};
use crate::ids::UserId;
use crate::limits;

/// Devices and requests of one's own that are shown, newest first.
const OWN_ROWS_MAX: u32 = 50;

/// One's own devices.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OwnDevices {
    /// `bound`, `pending`, `denied`, `revoked` or `none`: the best of what is below.
    status: &'static str,
    /// The same in words.
    state: &'static str,
    /// Bound ones first.
    devices: Vec<Device>,
    /// Newest first.
    requests: Vec<DeviceRequest>,
}

/// Shows one's own devices and requests.
#[utoipa::path(get, path = "/students/device", tag = "devices", responses((status = 200, body = OwnDevices)))]
pub(super) async fn own_devices(State(app): State<App>, allowed: Allowed<DevicesBind>) -> AppResult<Json<OwnDevices>> {
    let (tenant, user) = (allowed.tenant.clone(), allowed.id);
    let read = app.db.read(move |tx: &Tx<'_>| {
        let devices = queries::devices_of(tx, &tenant, user, OWN_ROWS_MAX)?;
        let requests = queries::requests_of(tx, &tenant, user, None, OWN_ROWS_MAX)?;
        Ok::<_, DbError>((devices, requests))
    });
    let (devices, requests) = read.await.map_err(AppError::from)?;
    let (status, state) = in_words(&devices, &requests);
    Ok(Json(OwnDevices {
        status,
        state,
        devices: devices.into_iter().map(Device::from).collect(),
        requests: requests.into_iter().map(DeviceRequest::from).collect(),
    }))
}

fn in_words(devices: &[DeviceRow], requests: &[RequestRow]) -> (&'static str, &'static str) {
    let bound = devices.iter().any(|device| device.bound);
    let newest = requests.first().map(|request| request.status);
    let waits = requests.iter().any(|request| request.status == RequestStatus::Pending);
    match (bound, waits, newest) {
        (true, true, _) => ("bound", "a device is bound, and another one waits for an admin"),
        (true, false, _) => ("bound", "a device is bound"),
        (false, true, _) => ("pending", "waits for an admin; what is captured meanwhile is kept and counts afterwards"),
        (false, false, Some(RequestStatus::Approved)) if devices.is_empty() => {
            ("bound", "an identifier of an older app is known")
        }
        (false, false, Some(RequestStatus::Denied)) => ("denied", "an admin said no to the last request"),
        (false, false, _) if !devices.is_empty() => ("revoked", "no device is bound any more"),
        _ => ("none", "no device was ever bound"),
    }
}

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestsPage {
    /// `pending` unless it says `approved`, `denied` or `superseded`.
    status: Option<String>,
    /// Rows, at most 200.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page of requests.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeviceRequests {
    /// Oldest first.
    items: Vec<DeviceRequest>,
    /// Send it as `after` for the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Lists requests.
#[utoipa::path(
    get, path = "/admin/device-requests", tag = "devices", params(RequestsPage),
    responses((status = 200, body = DeviceRequests))
)]
pub(super) async fn list_requests(
    State(app): State<App>,
    allowed: Allowed<DevicesApprove>,
    Query(page): Query<RequestsPage>,
) -> AppResult<Json<DeviceRequests>> {
    let status = page.status.as_deref().unwrap_or("pending");
    let status = RequestStatus::parse(status)
        .ok_or_else(|| AppError::field("status", "expected pending, approved, denied or superseded"))?;
    let after = page.after.as_deref().map(parse_after).transpose()?;
    let (tenant, limit) = (allowed.tenant.clone(), rows(page.limit));
    let read = app.db.read(move |tx: &Tx<'_>| queries::requests(tx, &tenant, status, after, limit + 1));
    let mut rows: Vec<RequestRow> = read.await.map_err(|error: DbError| AppError::from(error))?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let last = rows.last().filter(|_| more);
    let next = last.map(|row| format!("{}.{}", row.created_at_ms, data_encoding::HEXLOWER.encode(&row.hash)));
    Ok(Json(DeviceRequests { items: rows.into_iter().map(DeviceRequest::from).collect(), next }))
}

fn parse_after(after: &str) -> AppResult<(i64, [u8; 32])> {
    let parsed = after.split_once('.').and_then(|(time_ms, hash)| {
        let hash = data_encoding::HEXLOWER.decode(hash.as_bytes()).ok()?;
        Some((time_ms.parse().ok()?, hash.try_into().ok()?))
    });
    parsed.ok_or_else(|| AppError::field("after", "this is not the next of a page"))
}

fn rows(limit: Option<u32>) -> u32 {
    limit.unwrap_or(limits::PAGE_ROWS_DEFAULT).clamp(1, limits::PAGE_ROWS_MAX)
}

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct DevicesPage {
    /// Only this user's.
    user_id: Option<UserId>,
    /// Rows, at most 200.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page of devices.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Devices {
    /// In the order of their keys.
    items: Vec<Device>,
    /// Send it as `after` for the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Lists devices, bound and revoked.
#[utoipa::path(
    get, path = "/admin/devices", tag = "devices", params(DevicesPage), responses((status = 200, body = Devices))
)]
pub(super) async fn list_devices(
    State(app): State<App>,
    allowed: Allowed<DevicesApprove>,
    Query(page): Query<DevicesPage>,
) -> AppResult<Json<Devices>> {
    let after = match page.after.as_deref() {
        Some(after) => {
            DeviceKey::from_hex(after).ok_or_else(|| AppError::field("after", "this is not the next of a page"))?
        }
        None => DeviceKey([0; 32]),
    };
    let (tenant, user, limit) = (allowed.tenant.clone(), page.user_id, rows(page.limit));
    let read = app.db.read(move |tx: &Tx<'_>| queries::devices(tx, &tenant, user, after, limit + 1));
    let mut rows: Vec<DeviceRow> = read.await.map_err(|error: DbError| AppError::from(error))?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| more).map(|row| row.key.to_string());
    Ok(Json(Devices { items: rows.into_iter().map(Device::from).collect(), next }))
}
