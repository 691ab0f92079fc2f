//! The OpenAPI description beyond what the slices say of themselves: every route that is served stands in it, under each of
//! its prefixes and names, and every operation has a name of its own.

use std::collections::HashSet;

use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, ContentBuilder, HeaderBuilder, InfoBuilder, Object, ObjectBuilder, OpenApi,
    OpenApiBuilder, Ref, RefOr, Required, Response, ResponseBuilder, Schema, SecurityRequirement, Type,
};

/// The security scheme of every operation that does not say otherwise.
const BEARER: &str = "bearer";

/// Other names of operations: the end of such a path, and of the path that the slice describes.
pub(crate) const OTHER_NAMES: &[(&str, &str)] =
    &[("/auth/signup", "/auth/register"), ("/auth/mfa/enrol", "/auth/mfa/enroll")];

/// What is read by browsers and programs outside of the API: path, name of the operation, type of the content, sentence.
const BESIDE: &[(&str, &str, &str, &str)] = &[
    ("/openapi.json", "description", "application/json", "This description. With ENV=prod for admins, if at all."),
    ("/docs", "swagger", "text/html", "The description in Swagger UI. With ENV=prod for admins, if at all."),
    ("/redoc", "redoc", "text/html", "The description in ReDoc. With ENV=prod for admins, if at all."),
    ("/metrics", "metrics", "application/openmetrics-text", "What is counted, for Prometheus; see METRICS_TOKEN."),
    ("/reset-password", "reset_password_page", "text/html", "The page that a link in a mail opens."),
    ("/confirm-email", "confirm_email_page", "text/html", "The page that a link in a mail opens."),
    ("/account.js", "account_script", "text/javascript", "What those pages load."),
    ("/account.css", "account_style", "text/css", "What those pages load."),
];

/// A description without operations.
pub(crate) fn base() -> OpenApi {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let info = InfoBuilder::new()
        .title("Muster")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Attendance evidence: admission, verdicts, review."));
    OpenApiBuilder::new()
        .info(info)
        .components(Some(ComponentsBuilder::new().security_scheme(BEARER, SecurityScheme::Http(bearer)).build()))
        .security(Some([SecurityRequirement::new(BEARER, [""; 0])]))
        .build()
}

/// Adds what the slices do not say: other names, what is beside the API, failures, and names of operations.
pub(crate) fn complete(openapi: &mut OpenApi, canonical_prefix: &str) {
    tell_other_names(openapi);
    for (path, id, kind, sentence) in BESIDE {
        openapi.paths.paths.insert((*path).to_owned(), PathItem::new(HttpMethod::Get, beside(id, kind, sentence)));
    }
    name_operations(openapi, canonical_prefix);
}

fn tell_other_names(openapi: &mut OpenApi) {
    for (other, described) in OTHER_NAMES {
        let items: Vec<(String, PathItem)> = openapi.paths.paths.iter().fold(Vec::new(), |mut items, (path, item)| {
            items.extend(path.strip_suffix(described).map(|prefix| (format!("{prefix}{other}"), item.clone())));
            items
        });
        openapi.paths.paths.extend(items);
    }
}

fn beside(id: &str, kind: &str, sentence: &str) -> Operation {
    let schema = Object::with_type(if kind == "application/json" { Type::Object } else { Type::String });
    let content: Content = ContentBuilder::new().schema(Some(schema)).build();
    let found = ResponseBuilder::new().description(sentence).content(kind, content);
    OperationBuilder::new()
        .operation_id(Some(id))
        .tag("beside the API")
        .summary(Some(sentence))
        .securities(Some([SecurityRequirement::default(), SecurityRequirement::new(BEARER, [""; 0])]))
        .response("200", found)
        .build()
}

/// What every other answer looks like.
fn failure() -> Response {
    let envelope = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorEnvelope"))).build();
    ResponseBuilder::new().description("a failure, in the envelope").content("application/json", envelope).build()
}

/// Handlers of different slices may have one name, and one handler several paths; their operations may not have one name.
/// The canonical path has the short one. And any of them may fail.
fn name_operations(openapi: &mut OpenApi, canonical_prefix: &str) {
    let mut taken = HashSet::new();
    for is_canonical in [true, false] {
        for (path, item) in &mut openapi.paths.paths {
            if path.starts_with(canonical_prefix) != is_canonical {
                continue;
            }
            for operation in operations_mut(item) {
                let tag = operation.tags.as_ref().and_then(|tags| tags.first());
                if let (Some(tag), Some(id)) = (tag, &mut operation.operation_id) {
                    let short = format!("{}_{id}", slug(tag));
                    *id = if taken.contains(&short) { format!("{short}_at_{}", slug(path)) } else { short };
                    taken.insert(id.clone());
                }
                operation.responses.responses.entry("default".to_owned()).or_insert_with(|| failure().into());
                describe_responses(operation);
                tell_headers(operation);
            }
        }
    }
}

/// What a status says where a slice says nothing more. The standard wants a sentence of every response.
const STATUSES: [(&str, &str); 9] = [
    ("400", "the request is malformed"),
    ("401", "nobody is signed in, or not any more"),
    ("403", "whoever asks may not do this"),
    ("404", "there is no such thing, or not for whoever asks"),
    ("409", "this contradicts what is stored"),
    ("413", "larger than this address takes"),
    ("415", "this address does not take that type of content"),
    ("422", "a field is wrong; the message, and often `details.field`, say which"),
    ("503", "not now; come back after Retry-After"),
];

/// Of a success the operation's own sentence says enough.
fn describe_responses(operation: &mut Operation) {
    let done = operation.summary.clone().unwrap_or_else(|| "it is done".to_owned());
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        if response.description.is_empty() {
            let known = STATUSES.iter().find(|(of, _)| status == of);
            response.description = known.map_or_else(|| done.clone(), |(_, text)| (*text).to_owned());
        }
    }
}

/// The name of a request, which it may bring along.
const REQUEST_ID: &str = "X-Request-ID";
/// The headers of an answer, whatever the operation: with which status, which one, and what it says.
const REPLY_HEADERS: [(&str, &str, &str); 5] = [
    ("401", "WWW-Authenticate", "how to sign in"),
    ("415", "Accept-Encoding", "what the body may be encoded in, where it came with a Content-Encoding"),
    ("429", "Retry-After", "seconds after which to come back"),
    ("503", "Retry-After", "seconds after which to come back"),
    ("507", "Retry-After", "seconds after which to come back"),
];

/// Every request may name itself, and every answer says under which name it is in the log.
fn tell_headers(operation: &mut Operation) {
    let header = |text: &str| HeaderBuilder::new().schema(Some(text_schema())).description(Some(text)).build();
    operation.parameters.get_or_insert_with(Vec::new).push(RefOr::T(request_id()));
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        for (_, name, text) in REPLY_HEADERS.iter().filter(|(of, ..)| status == of || status == "default") {
            response.headers.insert((*name).to_owned(), RefOr::T(header(text)));
        }
        let names = header("the name of the request in the log and in the envelope");
        response.headers.insert(REQUEST_ID.to_owned(), RefOr::T(names));
    }
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

/// Letters and digits of a text, with `_` for everything between them.
fn slug(text: &str) -> String {
    let words = text.split(|sign: char| !sign.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_")
}

/// The operations of one path.
fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, post, put, patch, delete, head, .. } = item;
    [get, post, put, patch, delete, head].into_iter().filter_map(Option::as_mut)
}
