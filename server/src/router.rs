//! Every route of the server under its prefixes, and the OpenAPI description that is made from them.

use std::sync::Arc;

use axum::{Router, middleware};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::docs::Description;
use crate::{
    accounts, attendance, audit_search, auth, class_sessions, courses, description, devices, docs, face, health, http,
    oidc, roster, settings, sync, uploads,
};

pub use crate::http::CANONICAL_PREFIX;
use crate::http::LEGACY_PREFIX;

/// The server's routes, ready to serve.
pub fn router(app: App) -> Router {
    let (router, openapi) = described(app.config.web.prefix()).split_for_parts();
    let openapi = Arc::new(Description::new(Box::new(|| completed(openapi))));
    let router = router.merge(auth::pages());
    let router = router.merge(docs::routes(Arc::clone(&openapi))).merge(health::metrics_route());
    // Inside of the limit, so that what it refuses is counted, too.
    let router = router.layer(middleware::from_fn(http::check_content));
    let router = router.layer(middleware::from_fn_with_state(app.clone(), auth::limit_traffic));
    // Outside of the limit, so that what it refuses is counted by route, too.
    let router = router.route_layer(middleware::from_fn(http::note_route));
    // Checked before the app was built: a setting that cannot be read did not come this far.
    let router = match http::cors(&app.config.web, || http::CrossOrigin::of(&openapi)) {
        Ok(Some(cors)) => router.layer(cors),
        _ => router,
    };
    router.with_state(app)
}

/// The description alone, for tests and for documentation: of a server without an API_PREFIX of its own.
pub fn openapi() -> OpenApi {
    completed(described(None).split_for_parts().1)
}

fn completed(mut openapi: OpenApi) -> OpenApi {
    description::complete(&mut openapi, CANONICAL_PREFIX);
    openapi
}

/// The slices, whose paths begin after the prefix.
fn slices() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(health::routes())
        .merge(auth::routes())
        .merge(auth::alias_routes())
        .merge(auth::admin_routes())
        .merge(oidc::routes())
        .merge(accounts::routes())
        .merge(courses::routes())
        .merge(roster::routes())
        .merge(devices::routes())
        .merge(class_sessions::routes())
        .merge(face::routes())
        .merge(settings::routes())
        .merge(audit_search::routes())
        .merge(attendance::routes())
        .merge(sync::routes())
        .merge(uploads::routes())
}

/// Everything that is described, under every prefix.
fn described(prefix: Option<&str>) -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(description::base())
        .merge(health::root_routes())
        .nest(CANONICAL_PREFIX, slices())
        .merge(aliases(prefix))
}

/// The same handlers under the literal paths of the systems that Muster replaces, and all of them under API_PREFIX.
fn aliases(prefix: Option<&str>) -> OpenApiRouter<App> {
    let sign_in = || auth::routes().merge(auth::alias_routes()).merge(oidc::routes()).merge(devices::auth_routes());
    let both = || health::routes().merge(sign_in());
    let router = OpenApiRouter::new().merge(both());
    match prefix {
        None | Some(CANONICAL_PREFIX) => router.nest(LEGACY_PREFIX, both()),
        Some(LEGACY_PREFIX) => router.nest(LEGACY_PREFIX, slices()),
        Some(prefix) => router.nest(LEGACY_PREFIX, both()).nest(prefix, slices()),
    }
}
