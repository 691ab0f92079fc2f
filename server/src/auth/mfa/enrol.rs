//! `POST /auth/mfa/enroll`, `POST /auth/mfa/confirm`, `GET /auth/mfa`: setting up an authenticator app.

use axum::extract::State;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::backup_codes::{self, BackupCodes};
use super::complete::{ended, holder, use_up};
use super::factor::{self, Attempt, Given, Judgement, refused};
use super::pending::Claims;
use super::queries::{self, Enrolment, Owner};
use super::totp::{self, Authenticator};
use super::{already_active, enrolment_of, owner_of, prove_password, qr};
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::current_user::CurrentUser;
use crate::auth::notify;
use crate::auth::state::AuthState;
use crate::auth::users;
use crate::config::Secret;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, RequestId};
use crate::ids::uuid_text;
use crate::mail::Notice;

/// Proof that it is not somebody at an unlocked screen.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Enroll {
    /// The account's password; `current_password` is accepted for it.
    #[serde(alias = "current_password")]
    #[schema(value_type = String)]
    password: Secret,
}

/// What an authenticator app needs. It is shown once; asking again makes another secret.
#[derive(Serialize, ToSchema)]
pub(super) struct Enrolling {
    /// In base32, to be typed where nothing can be scanned.
    secret: String,
    /// What the QR code says.
    #[schema(example = "otpauth://totp/Muster:ada%40uni.example?secret=...&issuer=Muster")]
    otpauth_url: String,
    /// The QR code, a PNG image as a `data:` address.
    #[schema(example = "data:image/png;base64,iVBORw0KGgo...")]
    qr_png: String,
    /// Always `SHA1`, which every app knows.
    algorithm: &'static str,
    /// Digits of a code.
    digits: u32,
    /// Seconds that a code stands.
    period: u32,
}

/// The first code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmMfa {
    /// The code that the authenticator app shows.
    #[schema(value_type = String)]
    code: Secret,
}

/// How the second factor stands.
#[derive(Serialize, ToSchema)]
pub(super) struct MfaStatus {
    /// Whether signing in asks for a code.
    enabled: bool,
    /// Since when, milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Since when.
    #[serde(rename = "enabled_at", serialize_with = "crate::clock::as_iso_or_null")]
    #[schema(value_type = Option<String>, format = DateTime)]
    enabled_at_ms: Option<i64>,
    /// Backup codes that still open.
    backup_codes_left: u32,
}

/// Says whether signing in asks for a code.
#[utoipa::path(get, path = "/auth/mfa", tag = "auth", responses((status = 200, body = MfaStatus)))]
pub(super) async fn mfa_status(State(app): State<App>, current: CurrentUser) -> AppResult<Json<MfaStatus>> {
    let owner = owner_of(&current);
    let read = move |tx: &Tx<'_>| {
        let enrolment = queries::enrolment(tx, &owner)?;
        Ok::<_, AppError>((enrolment, queries::codes_left(tx, &owner)?))
    };
    let (enrolment, backup_codes_left) = app.db.read(read).await?;
    let enabled_at_ms = enrolment.and_then(|enrolment| enrolment.confirmed_at_ms);
    Ok(Json(MfaStatus { enabled: enabled_at_ms.is_some(), enabled_at_ms, backup_codes_left }))
}

/// Begins to set up an authenticator app. Nothing asks for codes until one was confirmed.
#[utoipa::path(
    post, path = "/auth/mfa/enroll", tag = "auth", request_body = Enroll,
    responses(
        (status = 200, body = Enrolling),
        (status = 403, description = "the password is wrong", body = ErrorEnvelope),
        (status = 409, description = "an app is active already, or the account has no password", body = ErrorEnvelope),
        (status = 429, description = "too many failures", body = ErrorEnvelope)
    )
)]
pub(super) async fn enroll(
    State(app): State<App>,
    current: CurrentUser,
    request: RequestId,
    Json(body): Json<Enroll>,
) -> AppResult<Json<Enrolling>> {
    prove_password(&app, &current, body.password, &request).await?;
    begin(&app, &owner_of(&current), current.actor(&request)).await.map(Json)
}

/// Turns the second factor on.
#[utoipa::path(
    post, path = "/auth/mfa/confirm", tag = "auth", request_body = ConfirmMfa,
    responses(
        (status = 200, body = BackupCodes),
        (status = 403, description = "the code is wrong", body = ErrorEnvelope),
        (status = 409, description = "nothing waits for a code, or an app is active already", body = ErrorEnvelope),
        (status = 429, description = "too many wrong codes", body = ErrorEnvelope)
    )
)]
pub(super) async fn confirm(
    State(app): State<App>,
    current: CurrentUser,
    request: RequestId,
    Json(body): Json<ConfirmMfa>,
) -> AppResult<Json<BackupCodes>> {
    let activated = activate(&app, &owner_of(&current), current.actor(&request), body.code, None).await?;
    activated.codes(refused).map(Json)
}

/// Stores a new secret that waits for its first code.
pub(super) async fn begin(app: &App, owner: &Owner, actor: Actor) -> AppResult<Enrolling> {
    let (config, keys) = (&app.config.mfa, &AuthState::of(app)?.mfa.keys);
    let authenticator = Authenticator {
        secret: totp::new_secret(&*app.entropy),
        period_s: config.mfa_totp_period,
        digits: config.mfa_totp_digits,
    };
    let id = uuid_text(&app.new_uuid());
    let (key_id, sealed) = keys.seal(owner, &id, &authenticator.secret, &*app.entropy);
    let (period_s, digits) = (authenticator.period_s, authenticator.digits);
    let new = Enrolment { id, key_id, sealed, period_s, digits, confirmed_at_ms: None };
    let (owner, now_ms) = (owner.clone(), app.now_ms());
    let user = app
        .db
        .write(move |tx| {
            if !queries::start(tx, &owner, &new, now_ms)? {
                return Ok(None);
            }
            let event = Event { action: Action::MfaEnroll, kind: "user", id: &actor.id, reason: None, result: "ok" };
            audit::record(tx, &actor, &event, now_ms)?;
            users::find(tx, &owner.tenant, owner.user).map_err(AppError::from)
        })
        .await?
        .ok_or_else(already_active)?;
    let otpauth_url = authenticator.otpauth_url(&config.mfa_totp_issuer, &user.email)?;
    let qr_png = format!("data:image/png;base64,{}", BASE64.encode(&qr::png(&otpauth_url)?));
    Ok(Enrolling {
        secret: authenticator.secret_text(),
        otpauth_url,
        qr_png,
        algorithm: "SHA1",
        digits,
        period: period_s,
    })
}

/// What became of the first code.
pub(super) enum Activation {
    /// The second factor is on; these are shown once.
    Done(BackupCodes),
    /// Another request was faster.
    AlreadyActive,
    /// The sign-in that began it is void.
    Ended,
    /// The code was not taken.
    Refused(Judgement),
}

impl Activation {
    /// The codes, or why there are none; `wrong` is the answer to a wrong code.
    pub(super) fn codes(self, wrong: impl FnOnce() -> AppError) -> AppResult<BackupCodes> {
        match self {
            Self::Done(codes) => Ok(codes),
            Self::AlreadyActive => Err(already_active()),
            Self::Ended => Err(ended()),
            Self::Refused(judged) => Err(judged.or(wrong).err().unwrap_or_else(ended)),
        }
    }

    /// Lets whoever watches over accounts know, and the mail go.
    fn tell(&self, app: &App, request_id: &str, user_id: &str) {
        match self {
            Self::Done(_) => {
                Judgement::Right.tell(app, request_id, user_id);
                app.wake_jobs();
            }
            Self::Refused(judged) => judged.tell(app, request_id, user_id),
            Self::AlreadyActive | Self::Ended => {}
        }
    }
}

/// Takes the first code for proof that the app has the secret. With `half`, it also completes that sign-in.
pub(super) async fn activate(
    app: &App,
    owner: &Owner,
    actor: Actor,
    code: Secret,
    half: Option<Claims>,
) -> AppResult<Activation> {
    let waiting = enrolment_of(app, owner).await?;
    let nothing_waits = || AppError::conflict("MFA_NOT_STARTED", "nothing waits for a code: begin with enroll");
    let waiting = waiting.ok_or_else(nothing_waits)?;
    if waiting.confirmed_at_ms.is_some() {
        return Ok(Activation::AlreadyActive);
    }
    let attempt = factor::prepare(app, owner, &waiting, &Given::Code(code))?;
    let (backup_codes, hashes) = backup_codes::draw(app, owner)?;
    let (request_id, now_ms) = (actor.request_id.clone(), app.now_ms());
    let judge = move |tx: &Tx<'_>| {
        judge(tx, &attempt, half.as_ref(), &actor, &hashes, now_ms)
            .map(|refused| {
                refused.unwrap_or_else(|| Activation::Done(BackupCodes { backup_codes: backup_codes.clone() }))
            })
            .map_err(AppError::from)
    };
    let activation = app.db.write(judge).await?;
    activation.tell(app, &request_id, &owner.user.to_string());
    Ok(activation)
}

/// Everything that decides, in one transaction; `None` when the second factor is on.
fn judge(
    tx: &Tx<'_>,
    attempt: &Attempt,
    half: Option<&Claims>,
    actor: &Actor,
    hashes: &[[u8; 32]],
    now_ms: i64,
) -> Result<Option<Activation>, DbError> {
    let owner = &attempt.owner;
    if let Some(half) = half
        && holder(tx, half, owner)?.is_none()
    {
        return Ok(Some(Activation::Ended));
    }
    let now = queries::enrolment(tx, owner)?;
    if !now.is_some_and(|now| now.id == attempt.enrolment() && now.confirmed_at_ms.is_none()) {
        return Ok(Some(Activation::AlreadyActive));
    }
    let judged = attempt.judge(tx)?;
    let result = match judged {
        Judgement::Right => "ok",
        Judgement::Wrong => "wrong_code",
        Judgement::TooMany { .. } => return Ok(Some(Activation::Refused(judged))),
    };
    let event = Event { action: Action::MfaConfirm, kind: "user", id: &actor.id, reason: None, result };
    audit::record(tx, actor, &event, now_ms)?;
    if judged != Judgement::Right {
        return Ok(Some(Activation::Refused(judged)));
    }
    queries::confirm(tx, owner, attempt.enrolment(), now_ms)?;
    queries::replace_codes(tx, owner, hashes, now_ms)?;
    notify(tx, &owner.tenant, owner.user, Notice::MfaEnabled, now_ms)?;
    half.map_or(Ok(()), |half| use_up(tx, half, now_ms))?;
    Ok(None)
}
