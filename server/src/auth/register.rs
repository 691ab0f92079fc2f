//! `POST /auth/register`, also `/auth/signup`: a new account, which is a student's unless an admin says otherwise.
//!
//! Whoever signs up gets one answer whether or not there is an account with the address or the user name already: it is
//! made from what was sent, and never from what is stored.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::confirm_email::{self, Confirmation};
use super::current_user::{CurrentUser, MaybeUser};
use super::fields::{DisplayName, Email, NAME_CHARS_MAX, Username, optional};
use super::mailed_token::Owner;
use super::permission::UsersWrite;
use super::profile::Profile;
use super::rates::locks::anonymous;
use super::rates::{self, Key, Rate};
use super::role::Role;
use super::users::{self, NO_SECTION, NewUser, Person, Status, User};
use super::voucher::Voucher;
use super::{hashing, passwords, queries};
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::config::{Secret, SignUp};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{ClientIp, Holder, Json, RequestId};
use crate::ids::{TenantId, UserId};
use crate::mail::{self, Message, Template};

/// The new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Register {
    /// The e-mail address.
    email: String,
    /// At least 8 bytes.
    #[schema(value_type = String)]
    password: Secret,
    /// Optional; another name to sign in with.
    username: Option<String>,
    /// The name as others see it; `full_name` and `name` are accepted for it.
    #[serde(alias = "full_name", alias = "name")]
    display_name: Option<String>,
    /// The given name; `given_name` is accepted for it. With `last_name` the display name, when there is none.
    #[serde(alias = "given_name")]
    first_name: Option<String>,
    /// The family name; `family_name` is accepted for it.
    #[serde(alias = "family_name")]
    last_name: Option<String>,
    /// `student`, unless an admin registers somebody.
    role: Option<Role>,
}

/// Creates an account. Whoever is no admin cannot tell from the answer whether the address was taken.
#[utoipa::path(
    post, path = "/auth/register", tag = "auth", security((), ("bearer" = [])), request_body = Register,
    responses(
        (status = 201, body = Profile),
        (status = 403, description = "only admins choose a role, or nobody signs up here", body = ErrorEnvelope),
        (status = 409, description = "for admins: the address or the name is taken", body = ErrorEnvelope),
        (status = 422, description = "the password is too short, too long or too common", body = ErrorEnvelope),
        (status = 429, description = "too many sign-ups from this address or with this e-mail", body = ErrorEnvelope)
    )
)]
pub(super) async fn register(
    State(app): State<App>,
    MaybeUser(caller): MaybeUser,
    client: ClientIp,
    request: RequestId,
    Json(register): Json<Register>,
) -> AppResult<(StatusCode, Json<Profile>)> {
    let admin = caller.filter(|caller| caller.may::<UsersWrite>());
    let role = role(&app, admin.as_ref(), register.role)?;
    let tenant = admin.as_ref().map_or_else(TenantId::default_tenant, |admin| admin.tenant.clone());
    let (new, password) = parse(&app, tenant, role, register)?;
    if admin.is_none() {
        // Counted whether there is an account or not, so that it tells nothing.
        let account = Key::Account(&new.tenant, new.email.as_str());
        rates::take(&app, &[(Rate::SignUpAddress, Key::Address(client)), (Rate::SignUpAccount, account)]).await?;
    }
    let holder = admin.as_ref().map_or(Holder::Address(client.key()), |admin| Holder::Person(admin.id));
    let new = NewUser { password_hash: Some(hashing::hash_password(&app, password, holder).await?), ..new };
    let user = match admin {
        Some(admin) => create(&app, new, admin.actor(&request)).await?,
        None => sign_up(&app, new, &request).await?,
    };
    Ok((StatusCode::CREATED, Json(user.into())))
}

/// The role of the new account: only an admin chooses one above what everybody gets.
fn role(app: &App, admin: Option<&CurrentUser>, wanted: Option<Role>) -> AppResult<Role> {
    if admin.is_some() {
        return Ok(wanted.unwrap_or(Role::Student));
    }
    let own = match app.config.sign_up {
        SignUp::Off => return Err(AppError::forbidden("SIGNUP_DISABLED", "the institution creates the accounts here")),
        SignUp::Student => Role::Student,
        SignUp::Guest | SignUp::Confirmed => Role::Guest,
    };
    match wanted {
        None | Some(Role::Student) => Ok(own),
        Some(_) => Err(AppError::forbidden("ROLE_NOT_SELF_ASSIGNABLE", "only an admin gives this role")),
    }
}

/// Everything that does not depend on what is stored, so that it is refused for everybody alike.
fn parse(app: &App, tenant: TenantId, role: Role, register: Register) -> AppResult<(NewUser, Secret)> {
    let email = Email::parse(&register.email)?;
    let username = register.username.as_deref().map(Username::parse).transpose()?;
    let display_name = DisplayName::parse(&given_name(&register, &email))?;
    let person = Person {
        given_name: optional("first_name", register.first_name.as_deref(), NAME_CHARS_MAX)?,
        family_name: optional("last_name", register.last_name.as_deref(), NAME_CHARS_MAX)?,
        ..Person::default()
    };
    let mut about = vec![email.as_str(), display_name.as_str()];
    about.extend(username.as_ref().map(Username::as_str));
    passwords::check_new("password", register.password.reveal(), &about)?;
    let id = UserId::generate(&*app.clock, &*app.entropy);
    let (password_hash, created_at_ms) = (None, app.now_ms());
    let new = NewUser { id, tenant, email, username, display_name, role, password_hash, person, created_at_ms };
    Ok((new, register.password))
}

fn given_name(register: &Register, email: &Email) -> String {
    if let Some(name) = &register.display_name {
        return name.clone();
    }
    let parts = [register.first_name.as_deref(), register.last_name.as_deref()];
    let joined = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let local = email.as_str().split('@').next().unwrap_or_default();
    if joined.trim().is_empty() { local.to_owned() } else { joined }
}

/// An admin vouches for the address, and is told that it or the name is taken.
async fn create(app: &App, new: NewUser, actor: Actor) -> AppResult<User> {
    let stored = app.db.write(move |tx| {
        if !users::insert_by(tx, &new, Voucher::of(&actor))? {
            return Ok(None);
        }
        note(tx, &actor, new.id, "created", new.created_at_ms)?;
        users::find(tx, &new.tenant, new.id).map_err(AppError::from)
    });
    let taken = || AppError::conflict("ACCOUNT_EXISTS", "there is an account with this e-mail address or user name");
    stored.await?.ok_or_else(taken)
}

/// Whoever signs up is not. An account whose user name is taken goes without one.
async fn sign_up(app: &App, new: NewUser, request: &RequestId) -> AppResult<User> {
    let user = as_sent(&new);
    let actor = anonymous(&new.tenant, request);
    let confirmation = confirm_email::prepare(app, &user.email)?;
    let already = Message::new(app, &user.email, Template::AlreadyRegistered)?;
    let letters = Letters { confirmation, already, waits: app.config.sign_up == SignUp::Confirmed };
    app.db.write(move |tx| insert_or_note(tx, &actor, &new, &letters)).await?;
    app.wake_jobs();
    Ok(user)
}

/// What the address hears, whichever it is; both are made, so that making them tells nothing.
struct Letters {
    confirmation: Confirmation,
    already: Message,
    /// Whether confirming the address makes a student of the guest.
    waits: bool,
}

fn insert_or_note(tx: &Tx<'_>, actor: &Actor, new: &NewUser, letters: &Letters) -> Result<(), DbError> {
    let nameless = NewUser { username: None, ..new.clone() };
    if insert(tx, actor, new)? || (new.username.is_some() && insert(tx, actor, &nameless)?) {
        let (tenant, email) = (new.tenant.clone(), new.email.as_str().to_owned());
        let owner = Owner { tenant, user: new.id, email };
        queries::set_waiting(tx, &new.tenant, new.id, letters.waits)?;
        return confirm_email::request(tx, &owner, &letters.confirmation, new.created_at_ms);
    }
    let Some(owner) = users::find_by_email(tx, &new.tenant, &new.email)? else { return Ok(()) };
    mail::enqueue(tx, &new.tenant, &letters.already, new.created_at_ms)?;
    note(tx, actor, owner.id, "taken", new.created_at_ms)
}

fn insert(tx: &Tx<'_>, actor: &Actor, new: &NewUser) -> Result<bool, DbError> {
    let inserted = users::insert(tx, new)?;
    if inserted {
        note(tx, actor, new.id, "created", new.created_at_ms)?;
    }
    Ok(inserted)
}

fn note(tx: &Tx<'_>, actor: &Actor, id: UserId, result: &'static str, now_ms: i64) -> Result<(), DbError> {
    let event = Event { action: Action::SignUp, kind: "account", id: &id.to_string(), reason: None, result };
    audit::record(tx, actor, &event, now_ms)
}

fn as_sent(new: &NewUser) -> User {
    let section = (new.role == Role::Student).then(|| NO_SECTION.to_owned());
    User {
        id: new.id,
        tenant: new.tenant.clone(),
        email: new.email.as_str().to_owned(),
        username: new.username.as_ref().map(|username| username.as_str().to_owned()),
        display_name: new.display_name.as_str().to_owned(),
        role: new.role,
        status: Status::Active,
        person: Person { section, ..new.person.clone() },
        email_confirmed_at_ms: None,
        email_confirmed_by: None,
        email_lost_at_ms: None,
        external_id_by: None,
        waits_for_confirmation: false,
        epoch: 0,
        created_at_ms: new.created_at_ms,
    }
}
