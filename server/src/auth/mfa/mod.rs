//! The second factor: authenticator apps (RFC 6238), backup codes, and the step between password and tokens.
//!
//! Who has one gets no token for the password alone, but a short one that `complete` takes with a code. Secrets are
//! sealed at rest, backup codes are keyed hashes. Adding another kind of factor is not in here.

mod again;
mod backup_codes;
mod complete;
mod disable;
mod enrol;
mod factor;
mod limits;
mod pending;
mod qr;
mod queries;
mod required;
mod reseal;
mod reset;
mod secret;
mod totp;

use axum::routing::post;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::pending::PendingTokens;
use self::queries::{Enrolment, Owner};
use self::secret::SecretKeys;
use super::current_user::CurrentUser;
use super::password;
use super::pepper::{HashKey, Pepper};
use super::queries as accounts;
use super::role::{Role, UnknownRole};
use super::users::User;
use crate::app::{App, StartError};
use crate::audit::Actor;
use crate::clock::Entropy;
use crate::config::{Config, ConfigError, Secret};
use crate::error::{AppError, AppResult};
use crate::http::RequestId;

pub(crate) use again::Proof;
pub(super) use complete::{MfaRequired, required};
pub use reseal::SealedSecret;
pub use reset::{MfaReset, reset_mfa};
pub use secret::check_mfa_key;

/// The keys of this part of the slice.
pub(super) struct MfaState {
    keys: SecretKeys,
    pending: PendingTokens,
    backup_codes: HashKey,
    required_roles: Vec<Role>,
}

impl MfaState {
    pub(super) fn open(config: &Config, pepper: &Pepper, entropy: &dyn Entropy) -> Result<Self, StartError> {
        let keys = SecretKeys::open(config, entropy)?;
        let pending = PendingTokens::new(&keys);
        let roles = config.mfa.required_roles().map(str::parse).collect::<Result<_, UnknownRole>>();
        let unknown = |error: UnknownRole| ConfigError::Invalid("MFA_REQUIRED_ROLES", error.to_string());
        let (backup_codes, required_roles) = (pepper.key("mfa-backup-code"), roles.map_err(unknown)?);
        Ok(Self { keys, pending, backup_codes, required_roles })
    }

    fn is_required_of(&self, role: Role) -> bool {
        self.required_roles.contains(&role)
    }
}

/// `/auth/mfa/...`
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(enrol::mfa_status))
        .routes(routes!(enrol::enroll))
        .route("/auth/mfa/enrol", post(enrol::enroll))
        .routes(routes!(enrol::confirm))
        .routes(routes!(complete::complete))
        .routes(routes!(required::enroll_required))
        .routes(routes!(required::confirm_required))
        .routes(routes!(backup_codes::regenerate))
        .routes(routes!(disable::disable))
        .routes(routes!(reset::reset_user_mfa))
}

fn owner_of(current: &CurrentUser) -> Owner {
    Owner { tenant: current.tenant.clone(), user: current.id }
}

/// Somebody who is not signed in yet, as the audit log names them.
fn actor_of(user: &User, request_id: &str) -> Actor {
    Actor {
        tenant: user.tenant.clone(),
        id: user.id.to_string(),
        role: user.role.to_string(),
        request_id: request_id.to_owned(),
    }
}

async fn enrolment_of(app: &App, owner: &Owner) -> AppResult<Option<Enrolment>> {
    let owner = owner.clone();
    app.db.read(move |tx| queries::enrolment(tx, &owner).map_err(AppError::from)).await
}

async fn active_enrolment(app: &App, owner: &Owner) -> AppResult<Enrolment> {
    let active = enrolment_of(app, owner).await?.filter(|enrolment| enrolment.confirmed_at_ms.is_some());
    active.ok_or_else(|| AppError::conflict("MFA_NOT_ENABLED", "this account has no second factor"))
}

fn already_active() -> AppError {
    AppError::conflict("MFA_ALREADY_ENABLED", "an authenticator app is active already; disable it first")
}

/// Asks for the password of somebody who is signed in, as often as a sign-in would.
async fn prove_password(app: &App, current: &CurrentUser, password: Secret, request: &RequestId) -> AppResult<()> {
    let (tenant, id) = (current.tenant.clone(), current.id);
    let hash = app.db.read(move |tx| accounts::password_hash(tx, &tenant, id)).await?;
    if hash.is_none() {
        let text = "this account has no password: set one by mail first";
        return Err(AppError::conflict("PASSWORD_NOT_SET", text));
    }
    password::prove(app, current, (password, hash), "the password is wrong", request).await
}
