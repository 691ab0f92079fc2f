//! Every reply beside the server's own description of it.
//!
//! The tests ask more, and more deliberately, than a fuzzer whose time is up. So what any of them is told is compared
//! with `/openapi.json`: the operation, the status, the type of the content and every field of the body. A field that
//! the description does not name is a mismatch, too.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jsonschema::Validator;
use muster_server::router::{self, CANONICAL_PREFIX};
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::Reply;

/// Headers that HTTP, or the guard of every answer, puts there: programs read them and pages do not.
const EVERYWHERE: [&str; 18] = [
    "allow",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-security-policy",
    "content-type",
    "cross-origin-opener-policy",
    "date",
    "permissions-policy",
    "referrer-policy",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "vary",
    "x-accel-buffering",
    "x-content-type-options",
    "x-frame-options",
];
/// What an address may answer that takes no such request: nothing is there, too many asked, or the server is busy.
const NOTHING_HERE: [u16; 4] = [404, 405, 429, 503];

const JSON: &str = "application/json";
/// Segments of the longest `API_PREFIX` that a test uses.
const PREFIX_SEGMENTS_MAX: usize = 2;
/// Mismatches of one body that are told.
const TOLD_MAX: usize = 5;
/// Characters of one of them that are told: some quote the whole body.
const REASON_CHARS_MAX: usize = 300;

/// Checks that a reply is as the server describes it. `is_read` says whether its bytes are there.
///
/// # Panics
/// When it is not, with everything that it takes to find the place.
pub fn check(method: &Method, path: &str, reply: &Reply, is_read: bool) {
    let mismatch = mismatch(method, path, reply, is_read);
    let status = reply.status.as_u16();
    assert_eq!(mismatch, None, "{method} {path} answers {status}, and the description does not");
}

/// Where a reply is not as the server describes it; nothing if it is.
pub fn mismatch(method: &Method, path: &str, reply: &Reply, is_read: bool) -> Option<String> {
    static DESCRIPTION: OnceLock<Description> = OnceLock::new();
    DESCRIPTION.get_or_init(Description::of_the_server).compare(method, path, reply, is_read).err()
}

/// Whether a reply with this head has a body of JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|kind| kind == JSON)
}

/// The type of the content without its parameters.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(|kind| kind.trim().to_ascii_lowercase())
}

/// The description, prepared for questions.
struct Description {
    /// Path templates, those with literal segments before those with a variable in the same place.
    templates: Vec<(Vec<String>, Value)>,
    /// The components, in which no object takes a property without a name.
    components: Value,
    /// By schema: the operations share most of them.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Description {
    fn of_the_server() -> Self {
        let text = router::openapi().to_json().expect("the description can be written");
        let mut description: Value = serde_json::from_str(&text).expect("the description is JSON");
        let mut components = description["components"].take();
        for schema in components["schemas"].as_object_mut().expect("schemas").values_mut() {
            close_below(schema);
        }
        let paths = description["paths"].as_object().expect("paths");
        let mut templates: Vec<_> = paths.iter().map(|(path, item)| (segments(path), item.clone())).collect();
        templates
            .sort_by_key(|(template, _)| Reverse(template.iter().map(|part| !is_variable(part)).collect::<Vec<_>>()));
        Self { templates, components, validators: Mutex::default() }
    }

    fn compare(&self, method: &Method, path: &str, reply: &Reply, is_read: bool) -> Result<(), String> {
        let (status, is_head) = (reply.status.as_u16(), method == Method::HEAD);
        // A preflight is the browser's question, not one of an operation, and CORS answers it.
        if method == Method::OPTIONS {
            return Ok(());
        }
        let Some(operation) = self.operation(method, path) else {
            expect(NOTHING_HERE.contains(&status), || "there is no such operation".to_owned())?;
            return if is_head { Ok(()) } else { self.compare_body(&envelope(), reply, is_read) };
        };
        let response = response(operation, reply.status)?;
        compare_headers(response, &reply.headers)?;
        match response.get("content").and_then(Value::as_object) {
            _ if is_head => Ok(()),
            None => expect(reply.bytes.is_empty(), || "there is a body".to_owned()),
            Some(content) => self.compare_body(content, reply, is_read),
        }
    }

    fn compare_body(&self, content: &Map<String, Value>, reply: &Reply, is_read: bool) -> Result<(), String> {
        let kind = media_type(&reply.headers).ok_or("the reply says no type of its content")?;
        let described = content.get(&kind).ok_or_else(|| format!("{kind} is none of its types of content"))?;
        if kind != JSON || !is_read || reply.headers.contains_key(header::CONTENT_ENCODING) {
            return Ok(());
        }
        let body = serde_json::from_slice(&reply.bytes).map_err(|error| format!("the body is no JSON: {error}"))?;
        let validator = self.validator(described.get("schema").ok_or("there is no schema")?)?;
        let mismatches: Vec<String> = validator
            .iter_errors(&body)
            .take(TOLD_MAX)
            .map(|error| {
                let reason: String = error.to_string().chars().take(REASON_CHARS_MAX).collect();
                format!("at {:?}: {reason} (by {})", error.instance_path().as_str(), error.schema_path())
            })
            .collect();
        expect(mismatches.is_empty(), || mismatches.join("; "))
    }

    /// The operation of a path, whichever of its prefixes it is asked for under.
    fn operation(&self, method: &Method, path: &str) -> Option<&Value> {
        let method = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_ascii_lowercase() };
        let (asked, canonical) = (segments(path), segments(CANONICAL_PREFIX));
        let under_another_prefix = (0..=PREFIX_SEGMENTS_MAX.min(asked.len()))
            .map(|prefix| canonical.iter().chain(&asked[prefix..]).cloned().collect::<Vec<_>>());
        std::iter::once(asked.clone()).chain(under_another_prefix).find_map(|path| {
            let (_, item) =
                self.templates.iter().find(|(template, item)| matches(template, &path) && item[&method].is_object())?;
            item.get(&method)
        })
    }

    fn validator(&self, schema: &Value) -> Result<Arc<Validator>, String> {
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        let key = schema.to_string();
        if let Some(validator) = validators.get(&key) {
            return Ok(Arc::clone(validator));
        }
        let mut root = schema.clone();
        close(&mut root);
        root["components"] = self.components.clone();
        let options = jsonschema::draft202012::options().should_validate_formats(true);
        let validator = Arc::new(options.build(&root).map_err(|error| format!("the schema is none: {error}"))?);
        validators.insert(key, Arc::clone(&validator));
        Ok(validator)
    }
}

/// What a page of another origin may read is made from the description, so a header that is not there cannot be read.
fn compare_headers(response: &Value, headers: &HeaderMap) -> Result<(), String> {
    let described = response.get("headers").and_then(Value::as_object);
    let is_described =
        |name: &str| described.is_some_and(|all| all.keys().any(|known| known.eq_ignore_ascii_case(name)));
    let is_everywhere = |name: &str| EVERYWHERE.contains(&name) || name.starts_with("access-control-");
    let stray = headers.keys().map(header::HeaderName::as_str).find(|name| !is_everywhere(name) && !is_described(name));
    stray.map_or(Ok(()), |name| Err(format!("nobody described the header {name}")))
}

/// The description of this status. Only a failure may be told as "any other".
fn response(operation: &Value, status: StatusCode) -> Result<&Value, String> {
    let responses = &operation["responses"];
    let is_failure = status.is_client_error() || status.is_server_error();
    let any_other = responses.get("default").filter(|_| is_failure);
    responses.get(status.as_str()).or(any_other).ok_or_else(|| "this status is not there".to_owned())
}

/// What a failure looks like where no operation describes it.
fn envelope() -> Map<String, Value> {
    let schema = json!({ "schema": { "$ref": "#/components/schemas/ErrorEnvelope" } });
    Map::from_iter([(JSON.to_owned(), schema)])
}

fn expect(holds: bool, reason: impl Fn() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(reason()) }
}

fn segments(path: &str) -> Vec<String> {
    path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

fn is_variable(segment: &str) -> bool {
    segment.starts_with('{')
}

fn matches(template: &[String], path: &[String]) -> bool {
    template.len() == path.len() && template.iter().zip(path).all(|(part, asked)| is_variable(part) || part == asked)
}

/// Lets an object have no other properties than those that its schema names, whichever part of the schema does so.
fn close(schema: &mut Value) {
    close_below(schema);
    let names_some = ["$ref", "allOf", "anyOf", "oneOf", "properties"].iter().any(|word| schema.get(word).is_some());
    if let Some(schema) = schema.as_object_mut().filter(|_| names_some) {
        schema.insert("unevaluatedProperties".to_owned(), Value::Bool(false));
    }
}

/// The same for everything below. The schema itself may be one part of a larger one, and does not know the others.
fn close_below(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    for word in ["allOf", "anyOf", "oneOf"] {
        schema.get_mut(word).and_then(Value::as_array_mut).into_iter().flatten().for_each(close_below);
    }
    for word in ["items", "additionalProperties"] {
        schema.get_mut(word).into_iter().for_each(close);
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(close);
    }
    let says_more = ["$ref", "allOf", "anyOf", "oneOf", "properties", "additionalProperties"];
    if !says_more.iter().any(|word| schema.contains_key(*word)) {
        // An object of which nothing is said may have anything.
        schema.insert("additionalProperties".to_owned(), Value::Bool(true));
    }
}
