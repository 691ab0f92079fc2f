//! `GET /admin/users` and `GET /students`.

use axum::extract::State;

use crate::app::App;
use crate::auth::permission::{StudentsRead, UsersRead};
use crate::auth::{self, Allowed, CurrentUser, Role, Users};
use crate::error::{AppError, AppResult};
use crate::http::{Json, Page, Query};

/// Lists accounts.
#[utoipa::path(get, path = "/admin/users", tag = "accounts", params(Page), responses((status = 200, body = Users)))]
pub(super) async fn list_users(
    State(app): State<App>,
    allowed: Allowed<UsersRead>,
    Query(page): Query<Page>,
) -> AppResult<Json<Users>> {
    list(&app, &allowed, None, &page).await
}

/// Lists students.
#[utoipa::path(get, path = "/students", tag = "accounts", params(Page), responses((status = 200, body = Users)))]
pub(super) async fn list_students(
    State(app): State<App>,
    allowed: Allowed<StudentsRead>,
    Query(page): Query<Page>,
) -> AppResult<Json<Users>> {
    list(&app, &allowed, Some(Role::Student), &page).await
}

async fn list(app: &App, by: &CurrentUser, role: Option<Role>, page: &Page) -> AppResult<Json<Users>> {
    let (tenant, after, limit) = (by.tenant.clone(), page.after()?, page.limit());
    app.db.read(move |tx| auth::list(tx, &tenant, role, after, limit).map_err(AppError::from)).await.map(Json)
}
