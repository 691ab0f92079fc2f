//! `GET /admin/mail`: what waits in the outbox, and what could not be sent.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::current_user::Allowed;
use super::permission::SystemAdmin;
use crate::app::App;
use crate::db::DbError;
use crate::error::AppResult;
use crate::http::Json;
use crate::mail::{self, Counts, Troubled};

/// The outbox.
#[derive(Serialize, ToSchema)]
pub(super) struct Outbox {
    #[serde(flatten)]
    counts: Counts,
    /// Messages that failed at least once, newest first, at most 200.
    items: Vec<Troubled>,
}

/// Shows the messages that could not be sent so far or were given up, and why.
#[utoipa::path(get, path = "/admin/mail", tag = "admin", responses((status = 200, body = Outbox)))]
pub(super) async fn outbox(State(app): State<App>, admin: Allowed<SystemAdmin>) -> AppResult<Json<Outbox>> {
    let tenant = admin.tenant.clone();
    let outbox: Result<Outbox, DbError> = app
        .db
        .read(move |tx| Ok(Outbox { counts: mail::counts(tx, &tenant)?, items: mail::troubled(tx, &tenant)? }))
        .await;
    Ok(Json(outbox?))
}
