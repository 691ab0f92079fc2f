//! Who somebody is and what they may do: sign-in, tokens, roles, permissions, and the rows of `users`.
//!
//! Every handler names its permission in its signature: `Allowed<SessionsManage>`, or `CurrentUser` for anybody who is
//! signed in. What names neither is public, and the test of all routes knows each public one.

mod auth_session;
mod confirm_email;
mod current_user;
mod default_accounts;
mod fields;
pub mod first_password;
mod forms;
mod hashing;
mod imported_hashes;
mod limits;
mod login;
mod mailed_token;
mod me;
mod mfa;
mod notices;
mod pages;
mod password;
mod password_reset;
mod pepper;
pub(crate) mod passwords;
pub mod permission;
mod previous_key;
mod profile;
mod queries;
pub(crate) mod rates;
mod register;
mod registry;
mod role;
mod shown;
mod sign_in;
mod state;
mod token;
mod undelivered;
mod traffic;
mod users;
mod voucher;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;

pub use auth_session::issue_token;
pub use current_user::{Allowed, CurrentUser, MaybeUser};
pub use default_accounts::{DEMO_ACCOUNTS, open_to_everybody};
pub use fields::{DisplayName, EXTERNAL_ID_CHARS_MAX, Email, NAME_CHARS_MAX, Username, bounded, optional};
pub use forms::{FORMS_JOB, forms_batch, settle_forms};
pub use hashing::{ImportedHash, generate_password, hash_password_blocking};
pub use mfa::{MfaReset, SealedSecret, check_mfa_key, reset_mfa};
pub use password_reset::{OWNER_PROVEN_JOB, RESET_JOB, reset_batch};
pub use permission::Permission;
pub use previous_key::{drop_token_key, keep_token_key};
pub use rates::unlock::Locks;
pub use registry::{
    KnownUser, RegistryChange, Withdrawal, change_from_registry, count_users, known_users, make_room, send_user,
    withdraw,
};
pub use role::Role;
pub use shown::{OWNER_UNCONFIRMED, ShownUser, shown};
pub use state::AuthState;
pub use traffic::{Traffic, limit as limit_traffic};
pub use users::{
    Filter, NO_SECTION, NewUser, Person, Profile, Status, Updated, User, UserChange, Users, find, find_by_any_name,
    find_by_email, find_by_external_id, insert, insert_by, list, none_exists, take_address, update,
};
pub use voucher::Voucher;

pub(crate) use auth_session::{
    ClientClass, Tokens, begin_on_phone, device_is_signed_out, device_may_sign_in, end_on_phones, is_revoked,
    look_again,
};
pub(crate) use current_user::SignedIn;
pub(crate) use hashing::hash_password;
pub(crate) use mfa::Proof;
pub(crate) use notices::notify;
pub(crate) use pepper::{HashKey, hash_key};
pub(crate) use sign_in::{Method, SignIn, SignInReply, complete as complete_sign_in};
pub(crate) use users::{confirm_email, has_password, remember};

/// `/auth/...`
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(login::login))
        .routes(routes!(register::register))
        .routes(routes!(auth_session::refresh::refresh))
        .routes(routes!(auth_session::logout::logout))
        .routes(routes!(auth_session::logout::logout_all))
        .routes(routes!(auth_session::verify::verify))
        .routes(routes!(me::me))
        .routes(routes!(profile::profile, profile::update_profile))
        .routes(routes!(password::change_password))
        .routes(routes!(password_reset::request_reset))
        .routes(routes!(password_reset::confirm_reset))
        .routes(routes!(confirm_email::confirm_email))
        .routes(routes!(confirm_email::request_confirmation))
        .routes(routes!(rates::unlock::unlock_user))
        .merge(mfa::routes())
}

/// `/admin/mail`
pub fn admin_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(undelivered::outbox))
}

/// Names that other systems had for the same handlers, below the same prefixes.
pub fn alias_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().route("/auth/signup", axum::routing::post(register::register))
}

/// The pages that links in mail open; outside of every prefix.
pub fn pages() -> axum::Router<App> {
    pages::routes()
}
