//! `POST /auth/mfa/complete`: the second half of a sign-in, and what the first half hands out for it.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::factor::{self, Attempt, Given, Judgement};
use super::pending::{Claims, Issuer, Kind, audience};
use super::queries::{self, Owner};
use super::{actor_of, enrolment_of};
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::auth::auth_session::{self, Tokens};
use crate::auth::limits::TOKEN_LEEWAY_S;
use crate::auth::sign_in::{Method, SignIn};
use crate::auth::state::AuthState;
use crate::auth::users::{self, Status, User};
use crate::config::Secret;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, RequestId};
use crate::ids::{TenantId, uuid_text};
use crate::mail::{self, Notice};

/// What somebody gets who proved the first factor and must prove, or set up, a second one.
#[derive(Serialize, ToSchema)]
pub(crate) struct MfaRequired {
    /// Always true.
    mfa_required: bool,
    /// Whether there is no second factor yet, and the role needs one.
    enrollment_required: bool,
    /// Send it to `/auth/mfa/complete` with a code, or to `/auth/mfa/required/enroll`. It opens nothing else.
    mfa_token: String,
    /// `mfa_pending`, or `mfa_enroll` where enrolment is required.
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
}

/// The token of a sign-in under way, and either `code` or `backup_code`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Complete {
    /// As the sign-in handed it out.
    #[schema(value_type = String)]
    mfa_token: Secret,
    /// The code that the authenticator app shows.
    #[schema(value_type = Option<String>)]
    code: Option<Secret>,
    /// One of the codes for the day on which the app is lost.
    #[schema(value_type = Option<String>)]
    backup_code: Option<Secret>,
}

/// What to answer to a user who proved the first factor and needs a second one; `None` for all others.
pub(in crate::auth) async fn required(app: &App, user: &User, sign_in: &SignIn) -> AppResult<Option<MfaRequired>> {
    let owner = Owner { tenant: user.tenant.clone(), user: user.id };
    let active = enrolment_of(app, &owner).await?.is_some_and(|enrolment| enrolment.confirmed_at_ms.is_some());
    let kind = match (active, AuthState::of(app)?.mfa.is_required_of(user.role)) {
        (true, _) => Kind::MfaPending,
        (false, true) => Kind::MfaEnroll,
        (false, false) => return Ok(None),
    };
    half(app, user, sign_in, kind).map(Some)
}

fn half(app: &App, user: &User, sign_in: &SignIn, kind: Kind) -> AppResult<MfaRequired> {
    let expires_in = i64::from(app.config.mfa.mfa_token_expire_minutes) * 60;
    let now_s = app.clock.now_s();
    let claims = Claims {
        kind,
        sub: user.id,
        tid: user.tenant.to_string(),
        ep: user.epoch,
        iat: now_s,
        exp: now_s + expires_in,
        jti: uuid_text(&app.new_uuid()),
        cls: sign_in.class,
        mth: sign_in.method,
        iss: Issuer::Muster,
        aud: audience(),
    };
    Ok(MfaRequired {
        mfa_required: true,
        enrollment_required: kind == Kind::MfaEnroll,
        mfa_token: AuthState::of(app)?.mfa.pending.issue(&claims)?,
        token_type: kind.as_str(),
        expires_in,
    })
}

/// What became of the second half.
enum Outcome {
    /// Tokens may follow, for the user as the database has them now.
    Complete(Box<User>),
    /// The sign-in is void: completed before, or something changed since.
    Ended,
    /// The code was not taken.
    Refused(Judgement),
}

/// Completes a sign-in with a code.
#[utoipa::path(
    post, path = "/auth/mfa/complete", tag = "auth", security(()), request_body = Complete,
    responses(
        (status = 200, body = Tokens),
        (status = 401, description = "the token has ended or the code is wrong", body = ErrorEnvelope),
        (status = 429, description = "too many wrong codes", body = ErrorEnvelope)
    )
)]
pub(super) async fn complete(
    State(app): State<App>,
    request: RequestId,
    Json(body): Json<Complete>,
) -> AppResult<Json<Tokens>> {
    let given = match (body.code, body.backup_code) {
        (Some(code), None) => Given::Code(code),
        (None, Some(code)) => Given::BackupCode(code),
        _ => return Err(AppError::validation("send either code or backup_code")),
    };
    let pending = &AuthState::of(&app)?.mfa.pending;
    let claims = pending.verify(body.mfa_token.reveal(), Kind::MfaPending, app.clock.now_s())?;
    let owner = owner_of_half(&claims)?;
    let enrolment = enrolment_of(&app, &owner).await?.filter(|enrolment| enrolment.confirmed_at_ms.is_some());
    let enrolment = enrolment.ok_or_else(ended)?;
    let attempt = factor::prepare(&app, &owner, &enrolment, &given)?;
    let sign_in = SignIn { class: claims.cls, method: Method::Mfa, request };
    let (request_id, now_ms) = (sign_in.request.as_str().to_owned(), app.now_ms());
    let user_id = owner.user.to_string();
    let judge = move |tx: &Tx<'_>| judge(tx, &claims, &attempt, &request_id, now_ms).map_err(AppError::from);
    match app.db.write(judge).await? {
        Outcome::Complete(user) => {
            Judgement::Right.tell(&app, sign_in.request.as_str(), &user_id);
            app.wake_jobs();
            auth_session::begin(&app, &user, &sign_in).await.map(Json)
        }
        Outcome::Ended => Err(ended()),
        Outcome::Refused(judgement) => {
            judgement.tell(&app, sign_in.request.as_str(), &user_id);
            Err(judgement.or(wrong_code).err().unwrap_or_else(ended))
        }
    }
}

/// Everything that decides, in one transaction.
fn judge(tx: &Tx<'_>, claims: &Claims, attempt: &Attempt, request_id: &str, now_ms: i64) -> Result<Outcome, DbError> {
    let owner = &attempt.owner;
    let Some(user) = holder(tx, claims, owner)? else { return Ok(Outcome::Ended) };
    let judged = attempt.judge(tx)?;
    let result = match judged {
        Judgement::Right => attempt.by(),
        Judgement::Wrong => "wrong_code",
        Judgement::TooMany { .. } => return Ok(Outcome::Refused(judged)),
    };
    let actor = actor_of(&user, request_id);
    let event =
        Event { action: Action::MfaComplete, kind: "user", id: &actor.id, reason: Some(claims.mth.as_str()), result };
    audit::record(tx, &actor, &event, now_ms)?;
    if judged != Judgement::Right {
        return Ok(Outcome::Refused(judged));
    }
    use_up(tx, claims, now_ms)?;
    if attempt.is_backup_code() {
        let left = queries::codes_left(tx, owner)?;
        mail::notify(tx, &owner.tenant, &user.email, Notice::BackupCodeUsed { left }, now_ms)?;
        let left = left.to_string();
        let event = Event { action: Action::MfaBackupUsed, kind: "user", id: &actor.id, reason: None, result: &left };
        audit::record(tx, &actor, &event, now_ms)?;
    }
    Ok(Outcome::Complete(Box::new(user)))
}

/// Whose sign-in it is.
pub(super) fn owner_of_half(claims: &Claims) -> AppResult<Owner> {
    let tenant: TenantId = claims.tid.parse().map_err(|_| ended())?;
    Ok(Owner { tenant, user: claims.sub })
}

/// The user, unless the sign-in is void: completed before, or the account changed since.
pub(super) fn holder(tx: &Tx<'_>, claims: &Claims, owner: &Owner) -> Result<Option<User>, DbError> {
    let user = users::find(tx, &owner.tenant, owner.user)?;
    let user = user.filter(|user| user.status == Status::Active && user.epoch == claims.ep);
    if user.is_some() && queries::token_was_used(tx, &claims.jti)? { Ok(None) } else { Ok(user) }
}

/// Makes the sign-in void.
pub(super) fn use_up(tx: &Tx<'_>, claims: &Claims, now_ms: i64) -> Result<(), DbError> {
    queries::use_token(tx, &claims.jti, (claims.exp + TOKEN_LEEWAY_S) * 1000, now_ms)
}

pub(super) fn ended() -> AppError {
    AppError::unauthorized("TOKEN_REVOKED", "this sign-in has ended; sign in again")
}

pub(super) fn wrong_code() -> AppError {
    AppError::unauthorized("MFA_CODE_INVALID", "the code is wrong, too old, or was used before")
}
