//! A session of somebody who signed in, and the tokens that stand for it.
//!
//! A user has one session per class of client. Its refresh token is replaced each time it is used; its access tokens name
//! the session, and are refused once it is revoked. `end_all` and a new epoch of the user end every session.

mod begin;
mod end;
pub(super) mod logout;
mod queries;
pub(super) mod refresh;
mod refresh_token;
pub(super) mod verify;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::state::AuthState;
use super::token::Subject;
use super::users::User;
use crate::app::App;
use crate::config::Secret;
use crate::db::{Cell, FromCell};
use crate::error::AppResult;
use crate::ids::AuthSessionId;

pub(super) use begin::begin;
pub(crate) use begin::begin_on_phone;
pub(super) use end::end_all_and_devices;
pub(crate) use end::{device_is_signed_out, device_may_sign_in, end_all, end_on_phones, is_revoked, look_again};
pub(super) use refresh_token::RefreshKeys;

/// With which class of client somebody signs in. Each class of a user has a session of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientClass {
    /// The app on a phone.
    Phone,
    /// A browser, and whatever does not say.
    #[default]
    Web,
}

impl ClientClass {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Web => "web",
        }
    }
}

impl FromCell for ClientClass {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Text("phone") => Some(Self::Phone),
            Cell::Text("web") => Some(Self::Web),
            _ => None,
        }
    }
}

/// What somebody who signed in gets.
#[derive(Serialize, ToSchema)]
pub(crate) struct Tokens {
    /// Send it as `Authorization: Bearer ...`.
    access_token: String,
    /// For `POST /auth/refresh`, once: the answer holds its successor.
    #[schema(value_type = String)]
    #[serde(serialize_with = "revealed")]
    refresh_token: Secret,
    /// Always `bearer`.
    token_type: &'static str,
    /// Seconds until the access token expires.
    expires_in: i64,
}

fn revealed<S: serde::Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.reveal())
}

/// Why a session ended. The words stand in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// A newer sign-in of the same class. The access tokens run out.
    Superseded,
    /// The user signed out.
    SignOut,
    /// An old refresh token was used again.
    Reuse,
    /// The account changed: password, role, status, or signed out everywhere.
    Account,
    /// The phone is not the user's any more.
    Device,
}

impl EndReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Superseded => "superseded",
            Self::SignOut => "sign_out",
            Self::Reuse => "reuse",
            Self::Account => "account",
            Self::Device => "device",
        }
    }
}

fn access_token_lifetime_s(app: &App) -> i64 {
    i64::from(app.config.tokens.access_token_expire_minutes) * 60
}

fn refresh_token_lifetime_ms(app: &App) -> i64 {
    i64::from(app.config.tokens.refresh_token_expire_days) * 86_400_000
}

fn access_token(app: &App, user: &User, session: AuthSessionId) -> AppResult<String> {
    let subject = Subject { user: user.id, tenant: &user.tenant, role: user.role, epoch: user.epoch, session };
    let mut draw = [0; 4];
    app.entropy.fill(&mut draw);
    AuthState::of(app)?.token_key.issue(&subject, draw, app.clock.now_s(), access_token_lifetime_s(app))
}

/// A token for a user, for programs that run the server in their own process and need no password. It belongs to no
/// stored session, so that only what ends all tokens of the user ends it.
///
/// # Errors
/// When the app was built without its token key.
pub fn issue_token(app: &App, user: &User) -> AppResult<String> {
    access_token(app, user, AuthSessionId::from_bytes(app.new_uuid()))
}
