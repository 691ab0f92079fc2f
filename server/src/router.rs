//! Every route of the server under its prefixes, and the OpenAPI description that is made from them.

use axum::{Router, middleware};
use utoipa::openapi::path::{HttpMethod, Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HeaderBuilder, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
    Required, Response, ResponseBuilder, Schema, SecurityRequirement, Type,
};
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::{
    accounts, attendance, audit_search, auth, class_sessions, courses, devices, docs, face, health, http, oidc, roster,
    settings, sync, uploads,
};

/// The prefix that documentation and our own clients use.
pub const CANONICAL_PREFIX: &str = "/api/v1";
/// The prefix of one of the systems that Muster replaces.
const LEGACY_PREFIX: &str = "/v1";
/// The security scheme of every operation that does not say otherwise.
const BEARER: &str = "bearer";

/// The server's routes, ready to serve.
pub fn router(app: App) -> Router {
    let (router, mut openapi) = described().split_for_parts();
    complete(&mut openapi);
    let router = router.merge(aliases(app.config.web.prefix())).merge(auth::pages());
    let router = router.merge(docs::routes(openapi_json(&openapi))).merge(health::metrics_route());
    // Inside of the limit, so that what it refuses is counted, too.
    let router = router.layer(middleware::from_fn(http::check_content));
    let router = router.layer(middleware::from_fn_with_state(app.clone(), auth::limit_traffic));
    // Outside of the limit, so that what it refuses is counted by route, too.
    let router = router.route_layer(middleware::from_fn(http::note_route));
    // Checked before the app was built: a setting that cannot be read did not come this far.
    let router = match http::cors(&app.config.web, &http::CrossOrigin::of(&openapi)) {
        Ok(Some(cors)) => router.layer(cors),
        _ => router,
    };
    router.with_state(app)
}

/// The description alone, for tests and for documentation.
pub fn openapi() -> OpenApi {
    let (_, mut openapi) = described().split_for_parts();
    complete(&mut openapi);
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

fn openapi_json(openapi: &OpenApi) -> String {
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

/// The name of a request, which it may bring along.
const REQUEST_ID: &str = "X-Request-ID";
/// The headers of an answer, whatever the operation: with which status, which one, and what it says.
const REPLY_HEADERS: [(&str, &str, &str); 4] = [
    ("401", "WWW-Authenticate", "how to sign in"),
    ("415", "Accept-Encoding", "what the body may be encoded in, where it came with a Content-Encoding"),
    ("429", "Retry-After", "seconds after which to come back"),
    ("503", "Retry-After", "seconds after which to come back"),
];

/// What is the same for every operation. Handlers of different slices may have one name; their operations may not. Any of
/// them may fail. Every request may name itself, and every answer says under which name it is in the log.
fn complete(openapi: &mut OpenApi) {
    for item in openapi.paths.paths.values_mut() {
        for (_, operation) in operations_mut(item) {
            if let (Some(tags), Some(id)) = (&operation.tags, &mut operation.operation_id)
                && let Some(tag) = tags.first()
            {
                *id = format!("{tag}_{id}");
            }
            operation.parameters.get_or_insert_with(Vec::new).push(RefOr::T(request_id()));
            let responses = &mut operation.responses.responses;
            responses.entry("default".to_owned()).or_insert_with(|| failure().into());
            for (status, response) in responses {
                if let RefOr::T(response) = response {
                    describe_headers(status, response);
                }
            }
        }
    }
}

fn describe_headers(status: &str, response: &mut Response) {
    let header = |text: &str| HeaderBuilder::new().schema(Some(text_schema())).description(Some(text)).build();
    for (of, name, text) in REPLY_HEADERS {
        if status == of || status == "default" {
            response.headers.insert(name.to_owned(), RefOr::T(header(text)));
        }
    }
    let names = header("the name of the request in the log and in the envelope");
    response.headers.insert(REQUEST_ID.to_owned(), RefOr::T(names));
}

fn request_id() -> Parameter {
    let text = "names the request in the log; one that is no plain name of at most 64 characters is replaced";
    ParameterBuilder::new()
        .name(REQUEST_ID)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(text))
        .schema(Some(text_schema()))
        .build()
}

fn text_schema() -> Schema {
    ObjectBuilder::new().schema_type(Type::String).build().into()
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
