//! Whose identity somebody proved: an account that has it, a new one, or nobody's yet. Never an account that merely has the
//! same e-mail address.

use super::flow::{self, Flow, LinkTo};
use super::limits;
use super::providers::Provider;
use super::queries::{self, Code, Identity};
use super::refusal::Refusal;
use super::verify::Proven;
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::{self, DisplayName, Email, NewUser, Person, Role, Status, User, Voucher};
use crate::config::SignUp;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::http::RequestId;
use crate::ids::{TenantId, UserId};
use crate::mail::{self, Notice};

/// What came of a callback.
pub(super) enum Arrived {
    /// Who signs in, and the code that an app exchanges if the browser goes on to one.
    SignedIn { user: Box<User>, code: String },
    /// The identity belongs to whoever asked.
    Linked,
}

impl Arrived {
    pub(super) fn event(&self) -> &'static str {
        match self {
            Self::SignedIn { .. } => Action::OauthSignIn.as_str(),
            Self::Linked => Action::OauthLink.as_str(),
        }
    }
}

/// What the database says.
enum Found {
    User(Box<User>),
    /// Whether somebody confirmed that the address is the account's.
    LinkRequired(bool),
    EmailUnproven,
    SignUpClosed,
    Disabled,
}

/// Everything that the write needs.
#[derive(Clone)]
struct Arrival {
    identity: Identity,
    /// If the provider vouches for it.
    email: Option<Email>,
    new: Option<NewUser>,
    code: Option<([u8; 32], Code)>,
    link_hash: [u8; 32],
    link_expires_at_ms: i64,
    request_id: String,
    now_ms: i64,
}

/// Finds or makes the account of an identity.
pub(super) async fn signed_in(
    app: &App,
    provider: &Provider,
    flow: &Flow,
    proven: Proven,
    request: &RequestId,
) -> Result<Arrived, Refusal> {
    let (code, link_token) = (flow::random_text(&*app.entropy), flow::random_text(&*app.entropy));
    let link_ttl_s = app.config.oauth.oauth_link_ttl;
    let mut arrival = arrival(app, provider, &proven, request);
    arrival.link_hash = flow::hash(&link_token);
    if flow.redirect_uri.is_some() {
        arrival.code = Some((flow::hash(&code), code_of(flow, arrival.now_ms)));
    }
    let found = app.db.write(move |tx| find_or_create(tx, &arrival)).await;
    match found.map_err(|error: DbError| AppError::from(error))? {
        Found::User(user) => Ok(Arrived::SignedIn { user, code }),
        Found::LinkRequired(confirmed) => Err(Refusal::link_required(&link_token, link_ttl_s, confirmed)),
        Found::EmailUnproven => Err(Refusal::email_unproven()),
        Found::SignUpClosed => Err(Refusal::sign_up_closed()),
        Found::Disabled => Err(Refusal::disabled()),
    }
}

fn arrival(app: &App, provider: &Provider, proven: &Proven, request: &RequestId) -> Arrival {
    let now_ms = app.now_ms();
    let email = vouched(proven);
    let new = email.clone().filter(|_| provider.sign_up).and_then(|email| new_user(app, email, proven));
    Arrival {
        identity: identity(provider, proven),
        email,
        new,
        code: None,
        link_hash: [0; 32],
        link_expires_at_ms: now_ms.saturating_add(i64::from(app.config.oauth.oauth_link_ttl) * 1000),
        request_id: request.as_str().to_owned(),
        now_ms,
    }
}

/// The address, if the provider vouches for it.
fn vouched(proven: &Proven) -> Option<Email> {
    proven.email.as_deref().filter(|_| proven.email_proven).and_then(|email| Email::parse(email).ok())
}

fn identity(provider: &Provider, proven: &Proven) -> Identity {
    Identity { provider: provider.name.clone(), issuer: proven.issuer.clone(), subject: proven.subject.clone() }
}

/// What somebody becomes who signs up, without a password. More than that only an admin makes of them.
fn new_user(app: &App, email: Email, proven: &Proven) -> Option<NewUser> {
    let role = match app.config.sign_up {
        SignUp::Off => return None,
        // Only an address that the provider vouches for comes this far.
        SignUp::Student | SignUp::Confirmed => Role::Student,
        SignUp::Guest => Role::Guest,
    };
    let local = email.as_str().split('@').next().unwrap_or_default().to_owned();
    let named = proven.name.as_deref().and_then(|name| DisplayName::parse(name).ok());
    Some(NewUser {
        id: UserId::generate(&*app.clock, &*app.entropy),
        tenant: TenantId::default_tenant(),
        display_name: named.or_else(|| DisplayName::parse(&local).ok())?,
        email,
        username: None,
        role,
        person: Person {
            given_name: name_of(proven.given_name.as_deref()),
            family_name: name_of(proven.family_name.as_deref()),
            ..Person::default()
        },
        password_hash: None,
        created_at_ms: app.now_ms(),
    })
}

/// A name as it is stored; what is none is left out, because nobody can correct it here.
fn name_of(claimed: Option<&str>) -> Option<String> {
    DisplayName::parse(claimed?).ok().map(|name| name.as_str().to_owned())
}

/// Whose it is, the write says.
fn code_of(flow: &Flow, now_ms: i64) -> Code {
    Code {
        tenant: TenantId::default_tenant(),
        user: UserId::from_bytes([0; 16]),
        epoch: 0,
        client: flow.client,
        challenge: flow.challenge.clone(),
        expires_at_ms: now_ms.saturating_add(limits::EXCHANGE_TTL_MS),
    }
}

fn find_or_create(tx: &Tx<'_>, arrival: &Arrival) -> Result<Found, DbError> {
    let tenant = TenantId::default_tenant();
    if let Some(id) = queries::owner(tx, &tenant, &arrival.identity)? {
        let Some(user) = auth::find(tx, &tenant, id)? else { return Ok(Found::Disabled) };
        if user.status != Status::Active {
            return Ok(Found::Disabled);
        }
        queries::touch(tx, &tenant, &arrival.identity, arrival.now_ms)?;
        return let_in(tx, arrival, user);
    }
    let Some(email) = &arrival.email else { return Ok(Found::EmailUnproven) };
    if let Some(user) = auth::find_by_email(tx, &tenant, email)? {
        let times = (arrival.now_ms, arrival.link_expires_at_ms);
        queries::put_link_token(tx, &tenant, user.id, &arrival.link_hash, &arrival.identity, times)?;
        return Ok(Found::LinkRequired(user.email_confirmed_at_ms.is_some()));
    }
    let Some(new) = &arrival.new else { return Ok(Found::SignUpClosed) };
    if !auth::insert(tx, new)? {
        return Ok(Found::SignUpClosed);
    }
    queries::link(tx, &tenant, new.id, &arrival.identity, arrival.now_ms)?;
    auth::confirm_email(tx, &tenant, new.id, Voucher::Provider, arrival.now_ms)?;
    let user = auth::find(tx, &tenant, new.id)?.ok_or_else(|| DbError::Other("a new user is gone".to_owned()))?;
    note(tx, arrival, Action::OauthSignUp, &user)?;
    let_in(tx, arrival, user)
}

fn let_in(tx: &Tx<'_>, arrival: &Arrival, user: User) -> Result<Found, DbError> {
    if let Some((hash, code)) = &arrival.code {
        let code = Code { tenant: user.tenant.clone(), user: user.id, epoch: user.epoch, ..code.clone() };
        queries::put_code(tx, hash, &code, arrival.now_ms)?;
    }
    note(tx, arrival, Action::OauthSignIn, &user)?;
    Ok(Found::User(Box::new(user)))
}

fn note(tx: &Tx<'_>, arrival: &Arrival, action: Action, user: &User) -> Result<(), DbError> {
    let actor = actor(user, &arrival.request_id);
    let id = user.id.to_string();
    let event = Event { action, kind: "user", id: &id, reason: Some(&arrival.identity.provider), result: "ok" };
    audit::record(tx, &actor, &event, arrival.now_ms)
}

fn actor(user: &User, request_id: &str) -> Actor {
    Actor {
        tenant: user.tenant.clone(),
        id: user.id.to_string(),
        role: user.role.to_string(),
        request_id: request_id.to_owned(),
    }
}

/// How giving an identity to an account ended.
pub(super) enum Linking {
    Done,
    Taken,
    TooMany,
    Ended,
}

/// Gives an identity to the account that asked for it, if its session still stands.
pub(super) async fn linked(
    app: &App,
    provider: &Provider,
    to: &LinkTo,
    proven: Proven,
    request: &RequestId,
) -> Result<Arrived, Refusal> {
    let (tenant, to) = (to.tenant()?, to.clone());
    let (identity, request_id) = (identity(provider, &proven), request.as_str().to_owned());
    let gift = Gift { identity, request_id, now_ms: app.now_ms() };
    let vouched = vouched(&proven);
    let linking = app.db.write(move |tx| match auth::find(tx, &tenant, to.user)? {
        _ if auth::is_revoked(tx, to.session)? => Ok(Linking::Ended),
        Some(user) if user.status == Status::Active && user.epoch == to.epoch => {
            let linking = gift.give(tx, &user)?;
            let is_theirs = vouched.as_ref().is_some_and(|email| email.as_str() == user.email);
            if is_theirs && matches!(linking, Linking::Done) {
                auth::confirm_email(tx, &tenant, user.id, Voucher::Provider, gift.now_ms)?;
            }
            Ok(linking)
        }
        _ => Ok(Linking::Ended),
    });
    match linking.await.map_err(|error: DbError| AppError::from(error))? {
        Linking::Done => {
            app.wake_jobs();
            Ok(Arrived::Linked)
        }
        Linking::Taken => Err(Refusal::identity_taken()),
        Linking::TooMany => Err(Refusal::too_many_identities()),
        Linking::Ended => Err(Refusal::session_ended()),
    }
}

/// An identity for an account.
pub(super) struct Gift {
    pub(super) identity: Identity,
    pub(super) request_id: String,
    pub(super) now_ms: i64,
}

impl Gift {
    /// Gives it and tells the owner. That it is there already is no refusal.
    pub(super) fn give(&self, tx: &Tx<'_>, user: &User) -> Result<Linking, DbError> {
        match queries::owner(tx, &user.tenant, &self.identity)? {
            Some(owner) if owner == user.id => return Ok(Linking::Done),
            Some(_) => return Ok(Linking::Taken),
            None => {}
        }
        if queries::linked(tx, &user.tenant, user.id, limits::IDENTITIES_MAX)?.len() >= limits::IDENTITIES_MAX {
            return Ok(Linking::TooMany);
        }
        if !queries::link(tx, &user.tenant, user.id, &self.identity, self.now_ms)? {
            return Ok(Linking::Taken);
        }
        let (id, reason) = (user.id.to_string(), Some(self.identity.provider.as_str()));
        let event = Event { action: Action::OauthLink, kind: "user", id: &id, reason, result: "linked" };
        audit::record(tx, &actor(user, &self.request_id), &event, self.now_ms)?;
        let provider = self.identity.provider.clone();
        mail::notify(tx, &user.tenant, &user.email, Notice::ProviderLinked { provider }, self.now_ms)?;
        Ok(Linking::Done)
    }
}

/// A refusal of a sign-in that was begun here leaves a row; the browser could make only one per beginning.
pub(super) async fn note_refusal(
    app: &App,
    provider: &Provider,
    reason: &'static str,
    request: &RequestId,
) -> AppResult<()> {
    let actor = Actor {
        tenant: TenantId::default_tenant(),
        id: "anonymous".to_owned(),
        role: "none".to_owned(),
        request_id: request.as_str().to_owned(),
    };
    let (name, now_ms) = (provider.name.clone(), app.now_ms());
    let noted = app.db.write(move |tx| {
        let action = Action::OauthRefuse;
        let event = Event { action, kind: "provider", id: &name, reason: Some(reason), result: "refused" };
        audit::record(tx, &actor, &event, now_ms)
    });
    noted.await.map_err(|error: DbError| AppError::from(error))
}
