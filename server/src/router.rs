//! Every route of the server under its prefixes, and the OpenAPI description that is made from them.

use axum::{Router, middleware};
use utoipa::openapi::path::{HttpMethod, Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, Response, ResponseBuilder,
    SecurityRequirement,
};
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::{
    accounts, attendance, audit_search, auth, class_sessions, courses, devices, docs, face, health, http, oidc, roster,
    settings, sync, uploads,
};

pub use crate::http::CANONICAL_PREFIX;
use crate::http::LEGACY_PREFIX;

/// The security scheme of every operation that does not say otherwise.
const BEARER: &str = "bearer";

/// The server's routes, ready to serve.
pub fn router(app: App) -> Router {
    let (router, openapi) = described().split_for_parts();
    let router = router.merge(aliases(app.config.web.prefix())).merge(auth::pages());
    let router = router.merge(docs::routes(openapi_json(openapi))).merge(health::metrics_route());
    let router = router.layer(middleware::from_fn_with_state(app.clone(), auth::limit_traffic));
    // Outside of the limit, so that what it refuses is counted by route, too.
    let router = router.route_layer(middleware::from_fn(http::note_route));
    // Checked before the app was built: a setting that cannot be read did not come this far.
    let router = match http::cors(&app.config.web) {
        Ok(Some(cors)) => router.layer(cors),
        _ => router,
    };
    router.with_state(app)
}

/// The description alone, for tests and for documentation.
pub fn openapi() -> OpenApi {
    let (_, mut openapi) = described().split_for_parts();
    name_operations(&mut openapi);
    openapi
}

/// The slices, whose paths begin after the prefix.
fn slices() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(health::routes())
        .merge(auth::routes())
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

fn described() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(base()).merge(health::root_routes()).nest(CANONICAL_PREFIX, slices())
}

/// The same handlers under the literal paths of the systems that Muster replaces, and all of them under API_PREFIX.
fn aliases(prefix: Option<&str>) -> Router<App> {
    let health: Router<App> = health::routes().into();
    let auth: Router<App> = auth::routes().merge(oidc::routes()).into();
    let device: Router<App> = devices::auth_routes().into();
    let both = health.merge(auth).merge(device).merge(auth::alias_routes());
    let everything = || Router::from(slices()).merge(auth::alias_routes());
    let router = Router::new().merge(both.clone());
    match prefix {
        None | Some(CANONICAL_PREFIX) => router.nest(LEGACY_PREFIX, both),
        Some(LEGACY_PREFIX) => router.nest(LEGACY_PREFIX, everything()),
        Some(prefix) => router.nest(LEGACY_PREFIX, both).nest(prefix, everything()),
    }
}

fn base() -> OpenApi {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let info = InfoBuilder::new()
        .title("Muster")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Attendance and exam evidence: admission, verdicts, review."));
    OpenApiBuilder::new()
        .info(info)
        .components(Some(ComponentsBuilder::new().security_scheme(BEARER, SecurityScheme::Http(bearer)).build()))
        .security(Some([SecurityRequirement::new(BEARER, [""; 0])]))
        .build()
}

fn openapi_json(mut openapi: OpenApi) -> String {
    name_operations(&mut openapi);
    openapi.to_json().unwrap_or_else(|error| {
        tracing::error!(%error, "The OpenAPI description cannot be written");
        "{}".to_owned()
    })
}

/// What every other answer looks like.
fn failure() -> Response {
    let envelope = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorEnvelope"))).build();
    ResponseBuilder::new().description("a failure, in the envelope").content("application/json", envelope).build()
}

/// Handlers of different slices may have one name; their operations may not. And any of them may fail.
fn name_operations(openapi: &mut OpenApi) {
    for item in openapi.paths.paths.values_mut() {
        for (_, operation) in operations_mut(item) {
            if let (Some(tags), Some(id)) = (&operation.tags, &mut operation.operation_id)
                && let Some(tag) = tags.first()
            {
                *id = format!("{tag}_{id}");
            }
            operation.responses.responses.entry("default".to_owned()).or_insert_with(|| failure().into());
        }
    }
}

/// The operations of one path.
fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    [
        (HttpMethod::Get, item.get.as_mut()),
        (HttpMethod::Post, item.post.as_mut()),
        (HttpMethod::Put, item.put.as_mut()),
        (HttpMethod::Patch, item.patch.as_mut()),
        (HttpMethod::Delete, item.delete.as_mut()),
        (HttpMethod::Head, item.head.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.map(|operation| (method, operation)))
}
