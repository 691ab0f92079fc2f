//! Who somebody is and what they may do: sign-in, tokens, roles, permissions, and the rows of `users`.
//!
//! Every handler names its permission in its signature: `Allowed<SessionsManage>`, or `CurrentUser` for anybody who is
//! signed in. What names neither is public, and the test of all routes knows each public one.

mod auth_session;
mod current_user;
mod default_accounts;
mod fields;
mod hashing;
mod limits;
mod login;
mod me;
mod password;
pub mod permission;
mod queries;
mod register;
mod role;
mod sign_in;
mod state;
mod throttle;
mod token;
mod users;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;

pub use auth_session::issue_token;
pub use current_user::{Allowed, CurrentUser, MaybeUser};
pub use default_accounts::{DEMO_ACCOUNTS, open_to_everybody};
pub use fields::{DisplayName, Email, Username};
pub use hashing::{generate_password, hash_password_blocking};
pub use permission::Permission;
pub use role::Role;
pub use state::AuthState;
pub use users::{
    NewUser, Person, Status, User, UserChange, Users, find, find_by_email, insert, list, none_exists, update,
};

pub(crate) use hashing::hash_password;
pub(crate) use users::remember;

/// `/auth/...`
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(login::login))
        .routes(routes!(register::register))
        .routes(routes!(me::me))
        .routes(routes!(password::change_password))
}

/// Names that other systems had for the same handlers, below the same prefixes.
pub fn alias_routes() -> axum::Router<App> {
    axum::Router::new().route("/auth/signup", axum::routing::post(register::register))
}
