//! `POST /auth/confirm-email` and `/request`: whether somebody reads mail at the address of an account.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::current_user::CurrentUser;
use super::limits;
use super::mailed_token::{MailedToken, Owner, Presented, Purpose};
use super::queries;
use super::rates::{self, Key, Rate};
use super::role::Role;
use super::users::{self, User, remember};
use super::voucher::Voucher;
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::config::{Secret, SignUp};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, RequestId};
use crate::mail::{self, Message, Template};

/// A link that is ready to be stored and sent.
pub(super) struct Confirmation {
    token: MailedToken,
    message: Message,
}

/// Makes the link for an address. Call it before the transaction.
pub(super) fn prepare(app: &App, email: &str) -> AppResult<Confirmation> {
    let token = MailedToken::draw(app, Purpose::ConfirmEmail, limits::CONFIRMATION_LIFETIME)?;
    let link = mail::link(app, "confirm-email", &token.text);
    let template = Template::ConfirmEmail { link, expires_at_ms: token.expires_at_ms };
    Ok(Confirmation { message: Message::new(app, email, template)?, token })
}

/// Stores the link of a user, whose older one ends, and queues the mail. Wake the jobs after the commit.
pub(super) fn request(tx: &Tx<'_>, owner: &Owner, confirmation: &Confirmation, now_ms: i64) -> Result<(), DbError> {
    confirmation.token.store(tx, owner, now_ms)?;
    mail::enqueue(tx, &owner.tenant, &confirmation.message, now_ms)
}

/// The token of a link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmEmail {
    /// From the link in the mail.
    #[schema(value_type = String)]
    token: Secret,
}

/// How the address stands.
#[derive(Serialize, ToSchema)]
pub(super) struct Confirmed {
    /// `confirmed`, or `sent` when a link is on its way.
    status: &'static str,
}

/// Confirms an e-mail address by the token of a mailed link.
#[utoipa::path(
    post, path = "/auth/confirm-email", tag = "auth", security(()), request_body = ConfirmEmail,
    responses(
        (status = 200, body = Confirmed),
        (status = 400, description = "the token is wrong, used or expired", body = ErrorEnvelope)
    )
)]
pub(super) async fn confirm_email(
    State(app): State<App>,
    request: RequestId,
    Json(confirm): Json<ConfirmEmail>,
) -> AppResult<Json<Confirmed>> {
    let presented = Presented::new(&app, Purpose::ConfirmEmail, confirm.token.reveal())?.ok_or_else(invalid)?;
    let (now_ms, request_id) = (app.now_ms(), request.as_str().to_owned());
    let makes_students = makes_students(&app);
    let confirmed: Result<Option<User>, DbError> =
        app.db.write(move |tx| take(tx, &presented, &request_id, makes_students, now_ms)).await;
    remember(&app, &confirmed?.ok_or_else(invalid)?)?;
    Ok(Json(Confirmed { status: "confirmed" }))
}

/// The user, if the token was good, for the address that the account still has.
fn take(
    tx: &Tx<'_>,
    presented: &Presented,
    request_id: &str,
    makes_students: bool,
    now_ms: i64,
) -> Result<Option<User>, DbError> {
    let Some(owner) = presented.take(tx, now_ms)? else { return Ok(None) };
    let user = users::find(tx, &owner.tenant, owner.user)?;
    let Some(user) = user.filter(|user| user.email == owner.email) else { return Ok(None) };
    let id = user.id.to_string();
    let (tenant, role) = (owner.tenant, user.role.to_string());
    let actor = Actor { tenant, id: id.clone(), role, request_id: request_id.to_owned() };
    let event = Event { action: Action::EmailConfirm, kind: "user", id: &id, reason: None, result: "ok" };
    audit::record(tx, &actor, &event, now_ms)?;
    note_confirmed(tx, &actor, &user, (Voucher::Link, makes_students), now_ms)?;
    users::find(tx, &actor.tenant, user.id)
}

/// Whether confirming an address makes a student of a guest.
pub(super) fn makes_students(app: &App) -> bool {
    app.config.sign_up == SignUp::Confirmed
}

/// Notes that the user reads mail at the address, and makes a student of a guest who waited for that. Whoever calls this
/// hands the user to `remember` after the commit.
pub(super) fn note_confirmed(
    tx: &Tx<'_>,
    actor: &Actor,
    user: &User,
    (by, makes_students): (Voucher, bool),
    now_ms: i64,
) -> Result<(), DbError> {
    queries::confirm_email(tx, &user.tenant, user.id, by, now_ms)?;
    // Whom somebody made a guest stays one.
    if !makes_students || user.role != Role::Guest || !user.waits_for_confirmation {
        return Ok(());
    }
    queries::set_waiting(tx, &user.tenant, user.id, false)?;
    queries::set_role_and_status(tx, &user.tenant, user.id, Role::Student, user.status, now_ms)?;
    let (id, before) = (user.id.to_string(), Some(Role::Guest.as_str()));
    let event =
        Event { action: Action::UserRole, kind: "user", id: &id, reason: before, result: Role::Student.as_str() };
    audit::record(tx, actor, &event, now_ms)
}

/// Sends a new link to the address of the account that is signed in.
#[utoipa::path(
    post, path = "/auth/confirm-email/request", tag = "auth",
    responses(
        (status = 202, body = Confirmed),
        (status = 429, description = "asked too often", body = ErrorEnvelope)
    )
)]
pub(super) async fn request_confirmation(
    State(app): State<App>,
    current: CurrentUser,
    request: RequestId,
) -> AppResult<(StatusCode, Json<Confirmed>)> {
    let (tenant, id) = (current.tenant.clone(), current.id);
    let user = app.db.read(move |tx| users::find(tx, &tenant, id)).await?;
    let user = user.ok_or_else(|| AppError::not_found("the account"))?;
    if user.email_confirmed_at_ms.is_some() {
        return Ok((StatusCode::ACCEPTED, Json(Confirmed { status: "confirmed" })));
    }
    rates::take(&app, &[(Rate::ResetAccount, Key::User(user.id))]).await?;
    let confirmation = prepare(&app, &user.email)?;
    let (actor, now_ms) = (current.actor(&request), app.now_ms());
    let owner = Owner { tenant: current.tenant, user: user.id, email: user.email };
    let queued: Result<(), DbError> = app
        .db
        .write(move |tx| {
            self::request(tx, &owner, &confirmation, now_ms)?;
            let id = owner.user.to_string();
            let event =
                Event { action: Action::EmailConfirmRequest, kind: "user", id: &id, reason: None, result: "queued" };
            audit::record(tx, &actor, &event, now_ms)
        })
        .await;
    queued?;
    app.wake_jobs();
    Ok((StatusCode::ACCEPTED, Json(Confirmed { status: "sent" })))
}

fn invalid() -> AppError {
    let text = "the link is wrong, was used or has expired; ask for a new one";
    AppError::new(StatusCode::BAD_REQUEST, "CONFIRMATION_TOKEN_INVALID", text)
}
