//! Signing in, and what a token opens.

use std::time::Duration;

use muster_tests::{PASSWORD, Reply, TestServer};
use reqwest::Method;
use serde_json::json;

const NOW_MS: i64 = 1_763_640_000_000;

/// Operations that need no token.
const PUBLIC: &[(&str, &str)] = &[
    ("get", "/"),
    ("get", "/account.css"),
    ("get", "/account.js"),
    ("get", "/confirm-email"),
    ("get", "/docs"),
    ("get", "/metrics"),
    ("get", "/openapi.json"),
    ("get", "/redoc"),
    ("get", "/reset-password"),
    ("get", "/api/v1/health"),
    ("get", "/api/v1/health/full"),
    ("get", "/api/v1/ready"),
    ("post", "/api/v1/auth/device/challenge"),
    ("post", "/api/v1/auth/device/token"),
    ("post", "/api/v1/auth/login"),
    ("post", "/api/v1/auth/logout"),
    ("post", "/api/v1/auth/refresh"),
    ("post", "/api/v1/auth/register"),
    ("post", "/api/v1/auth/password-reset/request"),
    ("post", "/api/v1/auth/password-reset/confirm"),
    ("post", "/api/v1/auth/confirm-email"),
    ("post", "/api/v1/auth/mfa/complete"),
    ("post", "/api/v1/auth/mfa/required/enroll"),
    ("post", "/api/v1/auth/mfa/required/confirm"),
    ("get", "/api/v1/auth/oauth/providers"),
    ("get", "/api/v1/auth/oauth/{provider}/start"),
    ("get", "/api/v1/auth/oauth/{provider}/callback"),
    ("post", "/api/v1/auth/oauth/exchange"),
];

/// Whether it is one of them, under whichever of its prefixes and names.
fn is_public(method: &str, path: &str) -> bool {
    let bare = path.trim_start_matches("/api").trim_start_matches("/v1");
    let canonical = format!("/api/v1{}", bare.replace("/auth/signup", "/auth/register"));
    PUBLIC.contains(&(method, path)) || PUBLIC.contains(&(method, &canonical))
}

#[tokio::test]
async fn every_operation_but_the_public_ones_asks_for_a_token() {
    let server = TestServer::start().await;
    let openapi = server.anonymous().get("/openapi.json").await.expect(200);
    let mut operation_ids = std::collections::BTreeSet::new();
    for (path, item) in openapi["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let operation_id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(operation_ids.insert(operation_id), "{method} {path} shares its operation id");
            let public = is_public(method, path);
            let says_public = operation["security"].as_array().is_some_and(|schemes| schemes.contains(&json!({})));
            assert_eq!(says_public, public, "{method} {path} in the description");
            if !public {
                asks_for_a_token(&server, method, path).await;
            }
        }
    }
}

async fn asks_for_a_token(server: &TestServer, method: &str, path: &str) {
    let id = "0190e1f4-0000-7000-8000-000000000001";
    let concrete: String =
        path.split('/').map(|part| if part.starts_with('{') { id } else { part }).collect::<Vec<_>>().join("/");
    let verb: Method = method.to_uppercase().parse().unwrap();
    // The aliases are the same handlers; where one is mounted it must refuse as well.
    for alias in [concrete.clone(), concrete.replacen("/api/v1", "/v1", 1), concrete.replacen("/api/v1", "", 1)] {
        for token in [None, Some("Bearer nonsense"), Some("Basic eDp5")] {
            let mut request = server.anonymous().request(verb.clone(), &alias);
            if let Some(token) = token {
                request = request.header("Authorization", token);
            }
            let reply = Reply::of(request).await;
            let missing_alias = alias != concrete && reply.status == 404;
            assert!(reply.status == 401 || missing_alias, "{method} {alias} answered {}", reply.status);
        }
    }
}

#[tokio::test]
async fn signing_in_works_by_address_and_by_user_name_under_every_prefix() {
    let server = TestServer::start().await;
    let body = json!({
        "email": "Student@Example.com", "username": "Student1", "password": "secure123",
        "first_name": "John", "last_name": "Doe", "role": "student",
    });
    let user = server.anonymous().post("/auth/register", &body).await.expect(201);
    assert_eq!(user["email"], "student@example.com");
    assert_eq!(user["display_name"], "John Doe");
    assert_eq!(user["role"], "student");
    assert!(user.get("password_hash").is_none());
    for path in ["/auth/login", "/v1/auth/login", "/api/v1/auth/login"] {
        for name in [json!({"email": "student@example.com"}), json!({"username": "STUDENT1"})] {
            let mut login = name;
            login["password"] = json!("secure123");
            let reply = server.anonymous().post(path, &login).await.expect(200);
            assert_eq!(reply["token_type"], "bearer");
            assert_eq!(reply["expires_in"], 900);
            let token = reply["access_token"].as_str().unwrap();
            let me = server.with_token(token).get("/v1/auth/me").await.expect(200);
            assert_eq!(me["id"], user["id"]);
            assert_eq!(me["permissions"][0], "attendance.submit");
        }
    }
}

#[tokio::test]
async fn nobody_gives_themselves_a_role() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let lecturer = server.client("lecturer").await;
    for role in ["admin", "lecturer", "teacher", "staff", "guest"] {
        let body = json!({"email": format!("{role}@x.example"), "password": PASSWORD, "name": "X", "role": role});
        for client in [&server.anonymous(), &lecturer] {
            client.post("/api/v1/auth/register", &body).await.expect_error(403, "ROLE_NOT_SELF_ASSIGNABLE");
        }
        let user = admin.post("/v1/auth/signup", &body).await.expect(201);
        assert_eq!(user["role"], if role == "teacher" { "lecturer" } else { role });
    }
    let root = json!({"email": "r@x.example", "password": PASSWORD, "name": "X", "role": "root"});
    server.anonymous().post("/api/v1/auth/register", &root).await.expect_error(422, "VALIDATION_ERROR");
}

#[tokio::test]
async fn an_admin_is_told_that_an_address_or_name_is_taken() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let first = json!({"email": "a@x.example", "username": "ada", "password": PASSWORD, "name": "Ada"});
    admin.post("/api/v1/auth/register", &first).await.expect(201);
    let same_address = json!({"email": "A@X.example", "password": PASSWORD, "name": "Eve"});
    let same_name = json!({"email": "e@x.example", "username": "ADA", "password": PASSWORD, "name": "Eve"});
    for body in [same_address, same_name] {
        admin.post("/api/v1/auth/register", &body).await.expect_error(409, "ACCOUNT_EXISTS");
    }
}

#[tokio::test]
async fn malformed_bodies_are_refused_in_the_envelope() {
    let server = TestServer::start().await;
    let client = server.anonymous();
    let path = "/api/v1/auth/register";
    let good = json!({"email": "a@x.example", "password": PASSWORD, "name": "A"});
    for (field, value) in [
        ("email", json!("nobody")),
        ("email", json!(7)),
        ("password", json!("short")),
        ("password", json!("x".repeat(1025))),
        ("name", json!("")),
        ("is_admin", json!(true)),
        ("username", json!("a@b.c")),
    ] {
        let mut body = good.clone();
        body[field] = value;
        client.post(path, &body).await.expect_error(422, "VALIDATION_ERROR");
    }
    let raw = |content_type: &'static str, body: String| {
        Reply::of(client.request(Method::POST, path).header("Content-Type", content_type).body(body))
    };
    raw("application/json", "{".to_owned()).await.expect_error(400, "MALFORMED_JSON");
    raw("text/plain", "{}".to_owned()).await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    let twice = r#"{"email":"a@x.example","email":"b@x.example","password":"12345678","name":"A"}"#;
    raw("application/json", twice.to_owned()).await.expect_error(422, "VALIDATION_ERROR");
    let huge = format!("{{\"email\":\"{}\"}}", "x".repeat(300_000));
    raw("application/json", huge).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    client.post(path, &good).await.expect(201);
}

#[tokio::test]
async fn unknown_wrong_and_disabled_get_one_answer() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    server.create_user("known@x.example", "student").await;
    let disabled = server.create_user("disabled@x.example", "student").await;
    let status = json!({"status": "disabled"});
    admin.patch(&format!("/api/v1/admin/users/{disabled}"), &status).await.expect(200);
    let mut messages = Vec::new();
    for (email, password) in [
        ("known@x.example", "wrong password"),
        ("unknown@x.example", PASSWORD),
        ("disabled@x.example", PASSWORD),
        ("known@x.example", &"x".repeat(5000)),
    ] {
        let body = json!({"email": email, "password": password});
        let reply = server.anonymous().post("/api/v1/auth/login", &body).await;
        messages.push(reply.expect_error(401, "INVALID_CREDENTIALS")["message"].clone());
    }
    messages.dedup();
    assert_eq!(messages.len(), 1);
}

#[tokio::test]
async fn a_token_ends_with_its_time() {
    let server = TestServer::builder().manual_clock(NOW_MS).start().await;
    let student = server.client("student").await;
    server.clock().advance(Duration::from_secs(15 * 60));
    student.get("/api/v1/auth/me").await.expect(200);
    server.clock().advance(Duration::from_secs(5));
    student.get("/api/v1/auth/me").await.expect_error(401, "TOKEN_EXPIRED");
    server.clock().set(NOW_MS - 6_000);
    student.get("/api/v1/auth/me").await.expect_error(401, "TOKEN_INVALID");
}

#[tokio::test]
async fn a_token_of_another_server_is_refused() {
    let (ours, theirs) = (TestServer::start().await, TestServer::start().await);
    let foreign = theirs.client("admin").await;
    let client = ours.with_token(foreign.token().unwrap());
    client.get("/api/v1/auth/me").await.expect_error(401, "TOKEN_INVALID");
}

#[tokio::test]
async fn a_token_survives_a_restart() {
    let server = TestServer::start().await;
    let student = server.client("student").await;
    let token = student.token().unwrap().to_owned();
    let again = TestServer::builder().data(server.stop().await).start().await;
    again.with_token(&token).get("/api/v1/auth/me").await.expect(200);
}

#[tokio::test]
async fn a_change_of_role_or_status_ends_tokens_at_once() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let path = |id: &str| format!("/api/v1/admin/users/{id}");
    let lecturer = server.client("lecturer").await;
    lecturer.get("/api/v1/students").await.expect(200);
    admin.patch(&path(lecturer.user_id()), &json!({"role": "student"})).await.expect(200);
    lecturer.get("/api/v1/students").await.expect_error(401, "TOKEN_REVOKED");
    let email = "lecturer2@muster.example";
    let student = server.sign_in(email).await;
    student.get("/api/v1/students").await.expect_error(403, "FORBIDDEN");
    admin.patch(&path(lecturer.user_id()), &json!({"display_name": "Still me"})).await.expect(200);
    student.get("/api/v1/auth/me").await.expect(200);
    admin.patch(&path(lecturer.user_id()), &json!({"status": "disabled"})).await.expect(200);
    student.get("/api/v1/auth/me").await.expect_error(401, "TOKEN_REVOKED");
    admin.patch(&path(admin.user_id()), &json!({"role": "student"})).await.expect_error(409, "OWN_ACCOUNT");
}

#[tokio::test]
async fn changing_the_password_ends_the_old_one_and_its_tokens() {
    let server = TestServer::start().await;
    server.create_user("ada@x.example", "student").await;
    let (here, elsewhere) = (server.sign_in("ada@x.example").await, server.sign_in("ada@x.example").await);
    let path = "/api/v1/auth/change-password";
    let change = |old: &str, new: &str| json!({"current_password": old, "new_password": new});
    here.post(path, &change("wrong password", "a new password")).await.expect_error(403, "INVALID_CREDENTIALS");
    here.post(path, &change(PASSWORD, "short")).await.expect_error(422, "VALIDATION_ERROR");
    let reply = here.post(path, &change(PASSWORD, "a new password")).await.expect(200);
    for client in [&here, &elsewhere] {
        client.get("/api/v1/auth/me").await.expect_error(401, "TOKEN_REVOKED");
    }
    server.with_token(reply["access_token"].as_str().unwrap()).get("/api/v1/auth/me").await.expect(200);
    let login = |password: &str| json!({"email": "ada@x.example", "password": password});
    let path = "/api/v1/auth/login";
    server.anonymous().post(path, &login(PASSWORD)).await.expect_error(401, "INVALID_CREDENTIALS");
    server.anonymous().post(path, &login("a new password")).await.expect(200);
}

#[tokio::test]
async fn only_those_with_the_permission_manage_accounts() {
    let server = TestServer::start().await;
    let new = |email: &str, role: &str| json!({"email": email, "full_name": "New", "role": role});
    for role in ["guest", "student", "lecturer", "reviewer", "staff"] {
        let client = server.client(role).await;
        let body = new("x@x.example", "student");
        let error = client.post("/api/v1/admin/users", &body).await.expect_error(403, "FORBIDDEN");
        assert_eq!(error["details"]["permission"], "users.write");
        let status = client.get("/api/v1/admin/users").await.status.as_u16();
        assert_eq!(status, if role == "staff" { 200 } else { 403 }, "{role}");
        let status = client.get("/api/v1/students").await.status.as_u16();
        assert_eq!(status, if matches!(role, "guest" | "student") { 403 } else { 200 }, "{role}");
        let student = json!({"email": format!("{role}.s@x.example"), "name": "S", "username": format!("s/{role}")});
        let status = client.post("/api/v1/students", &student).await.status.as_u16();
        assert_eq!(status, if role == "staff" { 201 } else { 403 }, "{role}");
    }
    let admin = server.client("admin").await;
    let created = admin.post("/api/v1/admin/users", &new("l@x.example", "teacher")).await.expect(201);
    assert_eq!(created["role"], "lecturer");
    let login = json!({"email": "l@x.example", "password": created["initial_password"]});
    server.anonymous().post("/api/v1/auth/login", &login).await.expect(200);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let server = TestServer::start().await;
    let staff = server.client("staff").await;
    for number in 0..5 {
        server.create_user(&format!("s{number}@x.example"), "student").await;
    }
    let mut seen = Vec::new();
    let mut path = "/api/v1/students?limit=2".to_owned();
    loop {
        let page = staff.get(&path).await.expect(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(|user| user["email"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/students?limit=2&after={next}");
    }
    seen.sort();
    assert_eq!(seen, ["s0@x.example", "s1@x.example", "s2@x.example", "s3@x.example", "s4@x.example"]);
    staff.get("/api/v1/students?after=x").await.expect_error(422, "VALIDATION_ERROR");
    staff.get("/api/v1/students?offset=1").await.expect_error(422, "VALIDATION_ERROR");
}
