//! `GET /admin/users`, `GET /students`, and one account of each.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::limits;
use crate::app::App;
use crate::auth::permission::{StudentsRead, UsersRead};
use crate::auth::{self, Allowed, CurrentUser, Filter, Role, Status, User, Users};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Page, Path, Query};
use crate::ids::UserId;

/// Which accounts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Up to three words. Each must stand somewhere in the e-mail address, the user name, the name or the registry's id;
    /// capitals do not matter.
    q: Option<String>,
    /// Of one role.
    role: Option<Role>,
    /// Of one status.
    status: Option<Status>,
    /// Rows, at most 200.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// Which students.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedStudents {
    /// As in `/admin/users`.
    q: Option<String>,
    /// Of one status.
    status: Option<Status>,
    /// Rows, at most 200.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// Lists accounts, in the order in which they were created.
#[utoipa::path(
    get, path = "/admin/users", tag = "accounts", params(Wanted),
    responses((status = 200, body = Users), (status = 422, body = ErrorEnvelope))
)]
pub(super) async fn list_users(
    State(app): State<App>,
    allowed: Allowed<UsersRead>,
    Query(wanted): Query<Wanted>,
) -> AppResult<Json<Users>> {
    list(&app, &allowed, wanted).await
}

/// Lists students, in the order in which they were created.
#[utoipa::path(
    get, path = "/students", tag = "accounts", params(WantedStudents),
    responses((status = 200, body = Users), (status = 422, body = ErrorEnvelope))
)]
pub(super) async fn list_students(
    State(app): State<App>,
    allowed: Allowed<StudentsRead>,
    Query(wanted): Query<WantedStudents>,
) -> AppResult<Json<Users>> {
    let WantedStudents { q, status, limit, after } = wanted;
    list(&app, &allowed, Wanted { q, role: Some(Role::Student), status, limit, after }).await
}

/// Shows an account.
#[utoipa::path(
    get, path = "/admin/users/{id}", tag = "accounts", params(("id" = UserId, Path)),
    responses((status = 200, body = User), (status = 404, body = ErrorEnvelope))
)]
pub(super) async fn show_user(
    State(app): State<App>,
    allowed: Allowed<UsersRead>,
    Path(id): Path<UserId>,
) -> AppResult<Json<User>> {
    one(&app, &allowed, id).await?.map(Json).ok_or_else(|| AppError::not_found("the account"))
}

/// Shows a student.
#[utoipa::path(
    get, path = "/students/{id}", tag = "accounts", params(("id" = UserId, Path)),
    responses((status = 200, body = User), (status = 404, body = ErrorEnvelope))
)]
pub(super) async fn show_student(
    State(app): State<App>,
    allowed: Allowed<StudentsRead>,
    Path(id): Path<UserId>,
) -> AppResult<Json<User>> {
    let found = one(&app, &allowed, id).await?.filter(|user| user.role == Role::Student);
    found.map(Json).ok_or_else(|| AppError::not_found("the student"))
}

async fn one(app: &App, by: &CurrentUser, id: UserId) -> AppResult<Option<User>> {
    let tenant = by.tenant.clone();
    app.db.read(move |tx| auth::find(tx, &tenant, id).map_err(AppError::from)).await
}

async fn list(app: &App, by: &CurrentUser, wanted: Wanted) -> AppResult<Json<Users>> {
    let q = wanted.q.unwrap_or_default();
    if q.chars().count() > limits::SEARCH_CHARS_MAX || q.contains('\0') {
        return Err(AppError::field("q", "a search has at most 120 characters"));
    }
    let filter = Filter { role: wanted.role, status: wanted.status, words: Vec::new() }.search(&q);
    let page = Page::new(wanted.limit, wanted.after);
    let (tenant, after, limit) = (by.tenant.clone(), page.after()?, page.limit());
    app.db.read(move |tx| auth::list(tx, &tenant, &filter, after, limit).map_err(AppError::from)).await.map(Json)
}
