//! `POST /auth/password-reset/request` and `/confirm`: a new password for whoever reads the account's mail.
//!
//! The request is answered before anybody looks whether there is an account: every request writes the same one row, a
//! job, and a worker does the rest. So the answer's bytes and its time cannot tell one address from another.
//! A new password signs nobody in: the second factor, where there is one, is asked for as ever.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::confirm_email;
use super::fields::Email;
use super::mailed_token::{MailedToken, Owner, Presented, Purpose};
use super::rates::locks;
use super::rates::{self, Key, KeyHash, Rate};
use super::users::{self, Status, User, remember};
use super::voucher::Voucher;
use super::{auth_session, first_password, hashing, passwords, queries};
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::config::Secret;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{ClientIp, Holder, Json, RequestId};
use crate::ids::TenantId;
use crate::jobs::{self, Job};
use crate::mail::{self, Message, Notice, Template};
use crate::telemetry::SecurityEvent;

/// The job that looks for the account and queues the mail.
pub const RESET_JOB: &str = "password-reset";

/// For which account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetRequest {
    /// The e-mail address of the account.
    email: String,
}

/// What happens next.
#[derive(Serialize, ToSchema)]
pub(super) struct Said {
    /// A sentence.
    message: &'static str,
}

/// The link's token and the new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetConfirm {
    /// From the link in the mail.
    #[schema(value_type = String)]
    token: Secret,
    /// At least 8 bytes; `password` is accepted for it.
    #[serde(alias = "password")]
    #[schema(value_type = String)]
    new_password: Secret,
}

/// The subject of the job.
#[derive(Serialize, Deserialize)]
struct Asked {
    email: String,
    request_id: String,
}

/// Asks for a link to set a new password. The answer is the same whether there is such an account or not.
#[utoipa::path(
    post, path = "/auth/password-reset/request", tag = "auth", security(()), request_body = ResetRequest,
    responses(
        (status = 202, body = Said),
        (status = 429, description = "asked too often", body = ErrorEnvelope)
    )
)]
pub(super) async fn request_reset(
    State(app): State<App>,
    client: ClientIp,
    request: RequestId,
    Json(asked): Json<ResetRequest>,
) -> AppResult<(StatusCode, Json<Said>)> {
    let email = Email::parse(&asked.email)?;
    let (tenant, now_ms) = (TenantId::default_tenant(), app.now_ms());
    let account = Key::Account(&tenant, email.as_str());
    rates::take(&app, &[(Rate::ResetAddress, Key::Address(client)), (Rate::ResetAccount, account)]).await?;
    let asked = Asked { email: email.as_str().to_owned(), request_id: request.as_str().to_owned() };
    let subject = serde_json::to_vec(&asked).map_err(AppError::internal)?;
    let noted: Result<(), DbError> =
        app.db.write(move |tx| jobs::enqueue(tx, &tenant, RESET_JOB, &subject, now_ms)).await;
    noted?;
    app.wake_jobs();
    let message = "if there is an account with this address, a message with a link is on its way";
    Ok((StatusCode::ACCEPTED, Json(Said { message })))
}

/// Does the work of these requests.
pub async fn reset_batch(app: App, jobs: Vec<Job>) -> Vec<Result<(), String>> {
    let mut results = Vec::with_capacity(jobs.len());
    for job in jobs {
        results.push(prepare_mail(&app, &job).await.map_err(|error| error.to_string()));
    }
    app.wake_jobs();
    results
}

async fn prepare_mail(app: &App, job: &Job) -> AppResult<()> {
    let asked: Asked = serde_json::from_slice(&job.subject).map_err(AppError::internal)?;
    let email = Email::parse(&asked.email)?;
    let lifetime = Duration::from_secs(u64::from(app.config.tokens.password_reset_expire_minutes) * 60);
    let token = MailedToken::draw(app, Purpose::PasswordReset, lifetime)?;
    let link = mail::link(app, "reset-password", &token.text);
    let template = Template::PasswordReset { link, expires_at_ms: token.expires_at_ms };
    let message = Message::new(app, email.as_str(), template)?;
    let (tenant, now_ms) = (job.tenant.clone(), app.now_ms());
    let actor = nobody(&tenant, asked.request_id);
    let queued: Result<(), DbError> = app
        .db
        .write(move |tx| {
            let user = users::find_by_email(tx, &tenant, &email)?;
            let id = user.as_ref().map(|user| user.id.to_string()).unwrap_or_default();
            let result = match &user {
                None => "no_account",
                Some(user) if user.status != Status::Active => "disabled",
                Some(user) => {
                    let owner = Owner { tenant: tenant.clone(), user: user.id, email: user.email.clone() };
                    token.store(tx, &owner, now_ms)?;
                    mail::enqueue(tx, &tenant, &message, now_ms)?;
                    "queued"
                }
            };
            let event = Event { action: Action::PasswordResetRequest, kind: "user", id: &id, reason: None, result };
            audit::record(tx, &actor, &event, now_ms)
        })
        .await;
    Ok(queued?)
}

/// Sets a new password by the token of a mailed link, and ends every sign-in. Sign in afterwards as usual.
#[utoipa::path(
    post, path = "/auth/password-reset/confirm", tag = "auth", security(()), request_body = ResetConfirm,
    responses(
        (status = 200, body = Said),
        (status = 400, description = "the token is wrong, used or expired", body = ErrorEnvelope)
    )
)]
pub(super) async fn confirm_reset(
    State(app): State<App>,
    request: RequestId,
    Json(confirm): Json<ResetConfirm>,
) -> AppResult<Json<Said>> {
    let password = confirm.new_password.reveal();
    passwords::check_new("new_password", password, &[])?;
    let presented = Presented::new(&app, Purpose::PasswordReset, confirm.token.reveal())?.ok_or_else(invalid)?;
    let now_ms = app.now_ms();
    let user: Result<Option<User>, DbError> = app.db.read(move |tx| bearer(tx, &presented, now_ms)).await;
    let user = user?.ok_or_else(invalid)?;
    passwords::check_new("new_password", password, &passwords::about(&user))?;
    // Hashing is dear, so only who holds a token gets it done.
    let hash = hashing::hash_password(&app, confirm.new_password, Holder::Person(user.id)).await?;
    let reset = Reset {
        presented,
        hash,
        failures: locks::user_key(&app, user.id)?,
        tries: rates::login_counts(&app, &user.tenant, &names_of(&user))?,
        makes_students: confirm_email::makes_students(&app),
        request_id: request.as_str().to_owned(),
        now_ms: app.now_ms(),
    };
    let user: Result<Option<User>, DbError> = app.db.write(move |tx| reset.carry_out(tx)).await;
    let user = user?.ok_or_else(invalid)?;
    remember(&app, &user)?;
    first_password::forget(&app, &user.email).await;
    app.security_event(SecurityEvent::PasswordChanged, request.as_str(), Some(&user.id.to_string()));
    app.wake_jobs();
    Ok(Json(Said { message: "the password is set; sign in with it" }))
}

/// Whose token it is, if it is good and the account is as it was when the mail was sent.
fn bearer(tx: &Tx<'_>, presented: &Presented, now_ms: i64) -> Result<Option<User>, DbError> {
    let Some(owner) = presented.owner(tx, now_ms)? else { return Ok(None) };
    let user = users::find(tx, &owner.tenant, owner.user)?;
    Ok(user.filter(|user| user.status == Status::Active && user.email == owner.email))
}

/// A new password on its way into the database.
struct Reset {
    presented: Presented,
    hash: String,
    failures: KeyHash,
    tries: Vec<KeyHash>,
    makes_students: bool,
    request_id: String,
    now_ms: i64,
}

impl Reset {
    /// `None` when the token is no longer good.
    fn carry_out(&self, tx: &Tx<'_>) -> Result<Option<User>, DbError> {
        let now_ms = self.now_ms;
        let Some(user) = bearer(tx, &self.presented, now_ms)? else { return Ok(None) };
        if self.presented.take(tx, now_ms)?.is_none() {
            return Ok(None);
        }
        auth_session::end_all_and_devices(tx, &user.tenant, user.id, now_ms)?;
        queries::set_password(tx, &user.tenant, user.id, &self.hash, now_ms)?;
        // Whoever has the link reads mail there, and need not wait for what others failed at.
        locks::clear(tx, &self.failures)?;
        rates::drop_counts(tx, &self.tries)?;
        mail::notify(tx, &user.tenant, &user.email, Notice::PasswordReset, now_ms)?;
        let id = user.id.to_string();
        let (tenant, role) = (user.tenant.clone(), user.role.to_string());
        let actor = Actor { tenant, id: id.clone(), role, request_id: self.request_id.clone() };
        let (action, reason) = (Action::PasswordReset, Some("mailed_link"));
        audit::record(tx, &actor, &Event { action, kind: "user", id: &id, reason, result: "ok" }, now_ms)?;
        if user.email_confirmed_at_ms.is_none() {
            unsettle(tx, &actor, &user, now_ms)?;
        }
        confirm_email::note_confirmed(tx, &actor, &user, (Voucher::Mail, self.makes_students), now_ms)?;
        users::find(tx, &user.tenant, user.id)
    }
}

/// The job that ends what was bound to an account before its owner proved to be its owner. Its subject is the account's id.
pub const OWNER_PROVEN_JOB: &str = "owner_proven";

/// Until now nobody had proved that the address is theirs: whoever linked identities to the account may have signed up
/// with the address of somebody else, and must not come back through them.
fn unsettle(tx: &Tx<'_>, actor: &Actor, user: &User, now_ms: i64) -> Result<(), DbError> {
    // Their phones are not bound to the owner's account either: `devices` ends them, in signed entries.
    jobs::enqueue(tx, &user.tenant, OWNER_PROVEN_JOB, user.id.to_string().as_bytes(), now_ms)?;
    if queries::forget_identities(tx, &user.tenant, user.id)? == 0 {
        return Ok(());
    }
    let (action, reason) = (Action::OauthUnlink, Some("unconfirmed_address"));
    audit::record(tx, actor, &Event { action, kind: "user", id: &actor.id, reason, result: "unlinked" }, now_ms)
}

/// What the user may type to sign in.
fn names_of(user: &User) -> Vec<&str> {
    std::iter::once(user.email.as_str()).chain(user.username.as_deref()).collect()
}

/// Somebody who is not signed in.
fn nobody(tenant: &TenantId, request_id: String) -> Actor {
    Actor { tenant: tenant.clone(), id: "anonymous".to_owned(), role: "none".to_owned(), request_id }
}

fn invalid() -> AppError {
    let text = "the link is wrong, was used or has expired; ask for a new one";
    AppError::new(StatusCode::BAD_REQUEST, "RESET_TOKEN_INVALID", text)
}
