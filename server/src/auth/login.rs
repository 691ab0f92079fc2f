//! `POST /auth/login`: a password for an access token. As JSON, or as the form that clients of OAuth 2 send.

use axum::extract::State;
use serde::Deserialize;
use tracing::Instrument;
use utoipa::ToSchema;

use super::auth_session::ClientClass;
use super::fields::sign_in_name;
use super::hashing::{self, Place, Verified};
use super::rates::locks::{self, Account, Attempt};
use super::rates::{self, Key, Rate};
use super::sign_in::{self, Method, SignIn, SignInReply};
use super::users::{Status, User};
use super::{limits, queries};
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::config::Secret;
use crate::db::DbError;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{ClientIp, Holder, Json, JsonOrForm, RequestId};
use crate::ids::TenantId;

/// Either `email` or `username`, and the password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// The e-mail address.
    email: Option<String>,
    /// The user name, or the e-mail address: clients of OAuth 2 know only this field.
    username: Option<String>,
    /// The password.
    #[schema(value_type = String)]
    password: Secret,
    /// `phone` or `web`, which is the default.
    #[serde(default)]
    client: ClientClass,
    /// `password`, from clients of OAuth 2. Their other fields are taken and say nothing here.
    grant_type: Option<String>,
    #[serde(rename = "scope")]
    _scope: Option<String>,
    #[serde(rename = "client_id")]
    _client_id: Option<String>,
    #[schema(value_type = Option<String>)]
    #[serde(rename = "client_secret")]
    _client_secret: Option<Secret>,
}

/// Signs in.
#[utoipa::path(
    post, path = "/auth/login", tag = "auth", security(()),
    request_body(content((Login = "application/json"), (Login = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, body = SignInReply),
        (status = 401, description = "unknown, wrong, locked or disabled: the answer does not say which",
            body = ErrorEnvelope),
        (status = 429, description = "too many tries of this name, too many failures of this address, or too many of its \
            passwords under way", body = ErrorEnvelope),
        (status = 503, description = "BUSY: too many people sign in at once", body = ErrorEnvelope)
    )
)]
pub(super) async fn login(
    State(app): State<App>,
    client: ClientIp,
    request: RequestId,
    JsonOrForm(login): JsonOrForm<Login>,
) -> AppResult<Json<SignInReply>> {
    let name = login.name()?;
    let tenant = TenantId::default_tenant();
    let place = hashing::place(&app, Holder::Address(client.key()))?;
    let tries = [(Rate::LoginAddress, Key::Address(client)), (Rate::LoginAccount, Key::Account(&tenant, &name))];
    rates::take(&app, &tries).await?;
    let (lookup, lookup_tenant) = (name.clone(), tenant.clone());
    let found = app.db.read(move |tx| queries::by_login(tx, &lookup_tenant, &lookup)).await?;
    let account = found.as_ref().map_or(Account::Unknown(name), |(user, _)| Account::User(user.id));
    let attempt = locks::attempt(&app, &tenant, &account, client).await?;
    // On its own, because whoever hangs up must not keep a failure out of the audit log.
    let counted = Try { tenant, account, attempt, request };
    let evaluated = tokio::spawn(counted.evaluate(app, place, found, login).in_current_span());
    evaluated.await.map_err(AppError::internal)?.map(Json)
}

/// A try that was counted.
struct Try {
    tenant: TenantId,
    account: Account,
    attempt: Attempt,
    request: RequestId,
}

impl Try {
    async fn evaluate(
        self,
        app: App,
        place: Place,
        found: Option<(User, Option<String>)>,
        login: Login,
    ) -> AppResult<SignInReply> {
        match judge(&app, place, found, &login.password, &self.attempt).await? {
            Judged::Right(user, old_hash) => {
                self.attempt.succeeded(&app).await?;
                if let Some(old_hash) = old_hash {
                    hashing::upgrade(&app, &user, login.password, old_hash, &self.request).await?;
                }
                let sign_in = SignIn { class: login.client, method: Method::Password, request: self.request };
                sign_in::complete(&app, &user, sign_in).await
            }
            Judged::Wrong(reason) => {
                self.note_failure(&app, reason).await?;
                Err(wrong_credentials())
            }
        }
    }

    async fn note_failure(&self, app: &App, reason: &'static str) -> AppResult<()> {
        let actor = locks::anonymous(&self.tenant, &self.request);
        let (id, now_ms) = (self.shown(), app.now_ms());
        tracing::info!(request_id = self.request.as_str(), account = id, reason, "Refused a sign-in");
        let (failed, whose) = (self.attempt.clone(), self.account.clone());
        let (action, kind) = (Action::SignInFail, "account");
        let noted: Result<(), DbError> = app
            .db
            .write(move |tx| {
                failed.note_failed(tx, &actor, &whose, now_ms)?;
                let event = Event { action, kind, id: &id, reason: Some(reason), result: "refused" };
                audit::record(tx, &actor, &event, now_ms)
            })
            .await;
        noted?;
        self.attempt.tell_failed(app, &self.account, &self.request);
        Ok(())
    }

    /// The account as logs name it: its id, or what is left of a hash of the name.
    fn shown(&self) -> String {
        match &self.account {
            Account::User(user) => user.to_string(),
            Account::Unknown(_) => self.attempt.shown(),
        }
    }
}

impl Login {
    /// The address or the user name, as it would be stored.
    fn name(&self) -> AppResult<String> {
        if self.grant_type.as_deref().is_some_and(|grant| !matches!(grant, "" | "password")) {
            return Err(AppError::field("grant_type", "expected password; POST /auth/refresh renews tokens"));
        }
        let filled = |name: &Option<String>| name.as_deref().map(sign_in_name).filter(|name| !name.is_empty());
        match (filled(&self.email), filled(&self.username)) {
            (Some(name), None) | (None, Some(name)) => Ok(name),
            _ => Err(AppError::validation("send either email or username")),
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
    place: Place,
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
    let verified = hashing::verify(app, place, password.clone(), evaluated).await?;
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

fn wrong_credentials() -> AppError {
    let message = "the account or the password is wrong, or there were too many tries; after some of them wait a while";
    AppError::unauthorized("INVALID_CREDENTIALS", message)
}
