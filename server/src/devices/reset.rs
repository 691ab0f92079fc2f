//! `POST /admin/approve-imei-reset`: the new device takes the place of the old one. The name is older than the keys.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::decide::{Answer, Said, decide, own_request, parse_hash, parse_reason};
use super::queries::{self, RequestRow};
use super::rules::RequestStatus;
use super::view::DeviceRequest;
use crate::app::App;
use crate::auth::permission::DevicesApprove;
use crate::auth::{self, Allowed, Email, User};
use crate::config::MailTransport;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, RequestId};
use crate::ids::UserId;

/// Waiting requests of one user that are looked at, newest first.
const REQUESTS_SEEN_MAX: u32 = 20;

/// One of `request_id`, `user_id`, `student_id` and `email`; a user's newest reset request is meant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApproveReset {
    /// The request, in hexadecimal.
    request_id: Option<String>,
    /// The user who asks.
    user_id: Option<UserId>,
    /// The student who asks, by the id in the university's registry; one of the replaced systems sends `user_id` as this.
    student_id: Option<String>,
    /// The user who asks, by address.
    #[serde(alias = "student_email")]
    email: Option<String>,
    /// A code.
    reason: Option<String>,
    /// Says that you know who asks, although nobody has confirmed their address.
    #[serde(default)]
    accept_unconfirmed: bool,
}

/// Approves a reset: binds the device that asks and ends every other binding of the user.
#[utoipa::path(
    post, path = "/admin/approve-imei-reset", tag = "devices", request_body = ApproveReset,
    responses(
        (status = 200, body = DeviceRequest),
        (status = 403, description = "`OWN_REQUEST`", body = ErrorEnvelope),
        (status = 404, description = "`NO_PENDING_RESET`, or no such user", body = ErrorEnvelope),
        (status = 409, description = "`OWNER_UNCONFIRMED`: send `accept_unconfirmed` if you know who asks; `NOT_A_RESET`, \
            `ALREADY_DECIDED`, `REQUEST_SUPERSEDED`, `KEY_BOUND_ELSEWHERE` or `EMAIL_UNCONFIRMED`", body = ErrorEnvelope)
    )
)]
pub(super) async fn approve_reset(
    State(app): State<App>,
    allowed: Allowed<DevicesApprove>,
    request: RequestId,
    Json(body): Json<ApproveReset>,
) -> AppResult<Json<DeviceRequest>> {
    let reason = body.reason.as_deref().map(parse_reason).transpose()?;
    let hash = match (&body.request_id, body.user_id, &body.student_id, &body.email) {
        (Some(hash), None, None, None) => parse_hash(hash)?,
        (None, Some(user), None, None) => pending_of(&app, &allowed, user).await?,
        (None, None, Some(id), None) => {
            let user = match id.parse() {
                Ok(user) => user,
                Err(_) => {
                    let (tenant, id) = (allowed.tenant.clone(), id.trim().to_owned());
                    found(app.db.read(move |tx: &Tx<'_>| auth::find_by_external_id(tx, &tenant, &id)).await)?
                }
            };
            pending_of(&app, &allowed, user).await?
        }
        (None, None, None, Some(email)) => {
            let (tenant, email) = (allowed.tenant.clone(), Email::parse(email)?);
            let user: Option<User> = app.db.read(move |tx: &Tx<'_>| auth::find_by_email(tx, &tenant, &email)).await?;
            // Where no mail leaves, nobody can have confirmed an address: the admin sees so beside the request.
            let can_confirm = app.config.mail.transport() == MailTransport::Smtp;
            if can_confirm && user.as_ref().is_some_and(|user| user.email_confirmed_at_ms.is_none()) {
                let text = "nobody confirmed that this address is the account's; name it by request_id or user_id";
                return Err(AppError::conflict("EMAIL_UNCONFIRMED", text));
            }
            pending_of(&app, &allowed, found(Ok(user))?).await?
        }
        _ => return Err(AppError::validation("send one of request_id, user_id, student_id and email")),
    };
    let said = Said { answer: Answer::Reset, accepts_unconfirmed: body.accept_unconfirmed, reason };
    decide(&app, &allowed.actor(&request), &allowed, hash, said).await.map(Json)
}

fn found(user: Result<Option<User>, DbError>) -> AppResult<UserId> {
    Ok(user?.ok_or_else(|| AppError::not_found("the user"))?.id)
}

/// The user's newest waiting request, preferring one that is a reset.
async fn pending_of(app: &App, admin: &Allowed<DevicesApprove>, user: UserId) -> AppResult<[u8; 32]> {
    if user == admin.id {
        return Err(own_request());
    }
    let (tenant, pending) = (admin.tenant.clone(), Some(RequestStatus::Pending));
    let read = app.db.read(move |tx: &Tx<'_>| queries::requests_of(tx, &tenant, user, pending, REQUESTS_SEEN_MAX));
    let rows: Vec<RequestRow> = read.await.map_err(|error: DbError| AppError::from(error))?;
    let chosen = rows.iter().find(|row| row.is_reset()).or(rows.first());
    chosen.map(|row| row.hash).ok_or_else(|| {
        AppError::new(StatusCode::NOT_FOUND, "NO_PENDING_RESET", "this user asks for no reset at the moment")
    })
}
