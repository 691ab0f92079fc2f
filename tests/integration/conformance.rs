//! The check that every reply meets in these tests: it lets pass what the server describes, and nothing else.

use std::collections::HashMap;

use muster_tests::conformance::mismatch;
use muster_tests::{Reply, TestServer};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::tidy::{rust_files, source};

fn reply(status: u16, content_type: &str, body: &Value) -> Reply {
    let headers = [(reqwest::header::CONTENT_TYPE, content_type.parse().unwrap())].into_iter().collect();
    Reply { status: StatusCode::from_u16(status).unwrap(), headers, bytes: body.to_string().into_bytes() }
}

/// What the check says about a reply with a body of JSON.
fn of(method: &Method, path: &str, status: u16, body: &Value) -> Option<String> {
    mismatch(method, path, &reply(status, "application/json", body), true)
}

fn failure() -> Value {
    json!({ "error": { "code": "X", "message": "x", "details": { "anything": 1 }, "request_id": "r" } })
}

#[tokio::test]
async fn a_reply_passes_as_it_came_and_not_with_a_field_more_less_or_of_another_type() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    for path in ["/api/v1/auth/me", "/v1/auth/me", "/auth/me", "/api/v1/auth/profile", "/api/v1/admin/users"] {
        let body = admin.get(path).await.expect(200);
        let get = |body: &Value| of(&Method::GET, path, 200, body);
        assert_eq!(get(&body), None);
        let mut more = body.clone();
        more["nobody_described_this"] = json!(1);
        assert!(get(&more).unwrap().contains("nobody_described_this"), "{path}");
        for field in body.as_object().unwrap().keys() {
            let mut other = body.clone();
            other[field] = json!({ "nobody": "described this" });
            assert!(get(&other).is_some(), "{path} with another {field}");
        }
        assert!(get(&json!({})).is_some(), "{path} without anything");
        assert!(get(&json!([])).is_some(), "{path} as a list");
    }
    // Deep in a list, and in the part that a schema takes from another one.
    let mut users = admin.get("/api/v1/admin/users").await.expect(200);
    users["items"][0]["nobody_described_this"] = json!(1);
    let told = of(&Method::GET, "/api/v1/admin/users", 200, &users).unwrap();
    assert!(told.contains("/items/0") && told.contains("nobody_described_this"), "{told}");
}

#[test]
fn a_status_or_a_type_of_content_that_is_not_described_is_a_mismatch() {
    let health = json!({ "status": "ok", "version": "1", "log": "whole" });
    assert_eq!(of(&Method::GET, "/health", 200, &health), None);
    assert!(of(&Method::GET, "/health", 201, &health).is_some(), "another success");
    assert!(of(&Method::GET, "/health", 302, &health).is_some(), "a redirect");
    assert!(of(&Method::GET, "/health", 503, &health).is_some(), "a failure outside of the envelope");
    assert_eq!(of(&Method::GET, "/health", 503, &failure()), None);
    let text = reply(200, "text/plain", &health);
    assert!(mismatch(&Method::GET, "/health", &text, true).unwrap().contains("text/plain"));
    let image = reply(200, "image/jpeg", &json!(1));
    let path = "/api/v1/lecturers/attendance/a/images/b";
    assert_eq!(mismatch(&Method::GET, path, &image, true), None);
    assert!(of(&Method::DELETE, "/api/v1/students/face", 204, &json!({})).is_some(), "a body with 204");
}

#[test]
fn only_failures_come_from_addresses_that_nobody_described() {
    assert_eq!(of(&Method::GET, "/nothing", 404, &failure()), None);
    assert_eq!(of(&Method::PUT, "/health", 405, &failure()), None);
    assert!(of(&Method::GET, "/nothing", 404, &json!({ "detail": "Not Found" })).is_some(), "another envelope");
    assert!(of(&Method::GET, "/nothing", 200, &failure()).is_some(), "a success");
    assert!(of(&Method::GET, "/docs", 200, &failure()).is_some(), "a page that is none");
}

#[test]
fn two_schemas_never_have_one_name() {
    let mut files = Vec::new();
    rust_files(&source(), &mut files);
    let mut places: HashMap<String, Vec<String>> = HashMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut lines = text.lines();
        while lines.any(|line| line.starts_with("#[derive(") && line.contains("ToSchema")) {
            let declared = lines.find_map(|line| {
                let (_, name) = line.split_once("struct ").or_else(|| line.split_once("enum "))?;
                name.split(|c: char| !c.is_alphanumeric()).next()
            });
            places.entry(declared.unwrap().to_owned()).or_default().push(file.display().to_string());
        }
    }
    assert!(places.len() > 100, "the derives are found");
    // The description keeps one of them, and the operations of the other one tell a lie.
    places.retain(|_, files| files.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}

/// The properties that a schema names, those of its parts included; one that two parts name is there twice.
fn properties(schema: &Value, schemas: &Value) -> Vec<String> {
    let schema = schema["$ref"].as_str().map_or(schema, |to| &schemas[to.rsplit('/').next().unwrap()]);
    let own = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
    let parts = schema["allOf"].as_array().into_iter().flatten();
    own.chain(parts.flat_map(|part| properties(part, schemas))).collect()
}

#[test]
fn no_part_of_a_schema_names_what_another_one_names() {
    let description: Value = serde_json::from_str(&muster_server::router::openapi().to_json().unwrap()).unwrap();
    let schemas = &description["components"]["schemas"];
    for (name, schema) in schemas.as_object().unwrap() {
        let mut names = properties(schema, schemas);
        names.sort();
        // Such an answer has two members of one name, and nobody knows which of them a client reads.
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{name}: {names:?}");
    }
}
