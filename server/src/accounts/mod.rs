//! Accounts as the office sees them: creating, listing and changing them. Signing in is in `auth`, which owns the rows.

mod create;
mod list;
mod update;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;

pub use crate::auth::{User, find, find_by_email};

/// `/admin/users` and `/students`.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list_users, create::create_user))
        .routes(routes!(update::update_user))
        .routes(routes!(list::list_students, create::create_student))
}
