//! `POST /auth/login`: a password for an access token.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth_session::ClientClass;
use super::hashing::{self, Verified};
use super::rates::locks::{self, Account, Attempt};
use super::rates::{self, Key, Rate};
use super::sign_in::{self, Method, SignIn, SignInReply};
use super::users::{Status, User};
use super::{limits, queries};
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::config::Secret;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{ClientIp, Json, RequestId};
use crate::ids::TenantId;

/// Either `email` or `username`, and the password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// The e-mail address.
    email: Option<String>,
    /// The user name.
    username: Option<String>,
    /// The password.
    #[schema(value_type = String)]
    password: Secret,
    /// `phone` or `web`, which is the default.
    #[serde(default)]
    client: ClientClass,
}

/// Signs in.
#[utoipa::path(
    post, path = "/auth/login", tag = "auth", security(()), request_body = Login,
    responses(
        (status = 200, body = SignInReply),
        (status = 401, description = "unknown, wrong, locked or disabled: the answer does not say which",
            body = ErrorEnvelope),
        (status = 429, description = "too many tries of this name, or too many failures of this address",
            body = ErrorEnvelope)
    )
)]
pub(super) async fn login(
    State(app): State<App>,
    client: ClientIp,
    request: RequestId,
    Json(login): Json<Login>,
) -> AppResult<Json<SignInReply>> {
    let name = match (&login.email, &login.username) {
        (Some(name), None) | (None, Some(name)) => name.trim().to_lowercase(),
        _ => return Err(AppError::validation("send either email or username")),
    };
    let tenant = TenantId::default_tenant();
    let tries = [(Rate::LoginAddress, Key::Address(client)), (Rate::LoginAccount, Key::Account(&tenant, &name))];
    rates::take(&app, &tries).await?;
    let (lookup, lookup_tenant) = (name.clone(), tenant.clone());
    let found = app.db.read(move |tx| queries::by_login(tx, &lookup_tenant, &lookup)).await?;
    let account = found.as_ref().map_or(Account::Unknown(name), |(user, _)| Account::User(user.id));
    let attempt = locks::attempt(&app, &tenant, &account, client, &request).await?;
    let judged = judge(&app, found, &login.password, &attempt).await?;
    match judged {
        Judged::Right(user, old_hash) => {
            attempt.succeeded(&app).await?;
            if let Some(old_hash) = old_hash {
                hashing::upgrade(&app, &user, login.password, old_hash, &request).await?;
            }
            let sign_in = SignIn { class: login.client, method: Method::Password, request };
            sign_in::complete(&app, &user, sign_in).await.map(Json)
        }
        Judged::Wrong(reason) => {
            note_failure(&app, &tenant, &account, &attempt, reason, &request).await?;
            Err(wrong_credentials())
        }
    }
}

enum Judged {
    /// With the hash that a stronger one should replace, if there is such.
    Right(Box<User>, Option<String>),
    /// For the audit log; the client is not told.
    Wrong(&'static str),
}

/// Every way takes as long as the others: where there is nothing to evaluate, a hash of nobody is.
async fn judge(
    app: &App,
    found: Option<(User, Option<String>)>,
    password: &Secret,
    attempt: &Attempt,
) -> AppResult<Judged> {
    // No password can be longer; that the answer comes at once says nothing about the account.
    if password.reveal().len() > *limits::PASSWORD_BYTES.end() {
        return Ok(Judged::Wrong("too_long"));
    }
    let (user, hash) = found.unzip();
    let hash = hash.flatten();
    // A guess at an account that waits must not be evaluated, however right it is.
    let locked = attempt.account_waits_ms > 0;
    let evaluated = if locked { None } else { hash.clone() };
    let verified = hashing::verify(app, password.clone(), evaluated).await?;
    Ok(match (user, verified) {
        (_, _) if locked => Judged::Wrong("locked"),
        (None, _) => Judged::Wrong("unknown"),
        (Some(_), _) if hash.is_none() => Judged::Wrong("no_password"),
        (Some(_), Verified::Wrong) => Judged::Wrong("wrong"),
        (Some(user), _) if user.status != Status::Active => Judged::Wrong("disabled"),
        (Some(user), Verified::Right) => Judged::Right(Box::new(user), None),
        (Some(user), Verified::Weak) => Judged::Right(Box::new(user), hash),
    })
}

async fn note_failure(
    app: &App,
    tenant: &TenantId,
    account: &Account,
    attempt: &Attempt,
    reason: &'static str,
    request: &RequestId,
) -> AppResult<()> {
    let actor = locks::anonymous(tenant, request);
    let (id, now_ms) = (shown(account, attempt), app.now_ms());
    tracing::info!(request_id = request.as_str(), account = id, reason, "Refused a sign-in");
    app.db
        .write(move |tx| {
            let event =
                Event { action: Action::SignInFail, kind: "account", id: &id, reason: Some(reason), result: "refused" };
            audit::record(tx, &actor, &event, now_ms).map_err(AppError::from)
        })
        .await
}

/// The account as logs name it: its id, or what is left of a hash of the name.
fn shown(account: &Account, attempt: &Attempt) -> String {
    match account {
        Account::User(user) => user.to_string(),
        Account::Unknown(_) => attempt.shown(),
    }
}

fn wrong_credentials() -> AppError {
    let message = "the account or the password is wrong, or there were too many tries; after some of them wait a while";
    AppError::unauthorized("INVALID_CREDENTIALS", message)
}
