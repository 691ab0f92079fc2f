//! `GET /auth/oauth/providers`: by whom one can sign in here.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::state::OidcState;
use crate::app::App;
use crate::error::AppResult;
use crate::http::Json;

/// Every provider.
#[derive(Serialize, ToSchema)]
pub(super) struct Providers {
    /// In the order of their names.
    items: Vec<Listed>,
}

/// A provider.
#[derive(Serialize, ToSchema)]
pub(super) struct Listed {
    /// In paths.
    name: String,
    /// For people.
    label: String,
}

/// Lists the providers.
#[utoipa::path(
    get, path = "/auth/oauth/providers", tag = "oauth", security(()), responses((status = 200, body = Providers))
)]
pub(super) async fn providers(State(app): State<App>) -> AppResult<Json<Providers>> {
    let providers = OidcState::of(&app)?.providers();
    let listed = providers.map(|provider| Listed { name: provider.name.clone(), label: provider.label.clone() });
    Ok(Json(Providers { items: listed.collect() }))
}
