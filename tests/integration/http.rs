//! What holds for every request, whatever it asks for.

use muster_server::db::DbError;
use muster_tests::{Reply, TestServer};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn health_answers_under_every_prefix() {
    let server = TestServer::start().await;
    for path in ["/health", "/v1/health", "/api/v1/health", "/v1/ready", "/api/v1/ready"] {
        let body = server.anonymous().get(path).await.expect(200);
        assert_eq!(body["status"], "ok", "{path}");
    }
    assert_eq!(server.anonymous().get("/").await.expect(200)["name"], "Muster");
}

#[tokio::test]
async fn a_request_id_is_taken_over_if_it_is_sane_and_made_if_it_is_not() {
    let server = TestServer::start().await;
    let client = server.anonymous();
    let sane = client.request(Method::GET, "/health").header("X-Request-ID", "phone-7.A_b");
    assert_eq!(Reply::of(sane).await.headers["x-request-id"], "phone-7.A_b");
    for insane in ["", "a b", &"x".repeat(65), "<script>"] {
        let reply = Reply::of(client.request(Method::GET, "/health").header("X-Request-ID", insane)).await;
        let made = reply.headers["x-request-id"].to_str().unwrap();
        assert_eq!(made.len(), 16, "{insane}");
    }
    let two = (client.get("/health").await, client.get("/health").await);
    assert_ne!(two.0.headers["x-request-id"], two.1.headers["x-request-id"]);
}

#[tokio::test]
async fn unknown_paths_and_methods_get_the_envelope() {
    let server = TestServer::start().await;
    let client = server.anonymous();
    client.get("/nothing/here").await.expect_error(404, "NOT_FOUND");
    client.delete("/health").await.expect_error(405, "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones_and_head_is_get_without_its_body() {
    let server = TestServer::start().await;
    let client = server.anonymous();
    for (method, path, allowed) in [
        (Method::PUT, "/api/v1/auth/login", "POST"),
        (Method::TRACE, "/api/v1/health", "GET,HEAD"),
        (Method::DELETE, "/api/v1/courses/x", "GET,HEAD,PATCH"),
    ] {
        let reply = Reply::of(client.request(method, path)).await;
        assert_eq!(reply.headers["allow"], allowed, "{path}");
        reply.expect_error(405, "METHOD_NOT_ALLOWED");
    }
    let (get, head) = (client.get("/health").await, Reply::of(client.request(Method::HEAD, "/health")).await);
    assert_eq!((get.status, head.status), (head.status, get.status));
    assert_eq!((head.bytes.len(), &head.headers["content-type"]), (0, &get.headers["content-type"]));
    let head = Reply::of(client.request(Method::HEAD, "/api/v1/auth/me")).await;
    assert_eq!((head.status.as_u16(), head.bytes.len()), (401, 0));
    for path in ["/api/v1", "/api/v1/", "/api/v2/health", "/v1/courses", "/api/v1/health/", "/api/v1/%2e%2e/health"] {
        client.get(path).await.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn a_refused_body_or_query_names_the_field() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let course = json!({"code": "CS101", "title": "T"});
    let id = admin.post("/api/v1/courses", &course).await.expect(201)["id"].as_str().unwrap().to_owned();
    let students = format!("/api/v1/courses/{id}/students");
    for (path, body, field) in [
        ("/v1/auth/signup", json!({"name": "X"}), "email"),
        ("/v1/auth/signup", json!({"email": 5}), "email"),
        ("/api/v1/courses", json!({"code": "X", "title": "X", "colour": "red"}), "colour"),
        (students.as_str(), json!({"emails": ["a@x.example", 7]}), "emails[1]"),
    ] {
        let error = admin.post(path, &body).await.expect_error(422, "VALIDATION_ERROR");
        assert_eq!(error["details"]["field"], field, "{body}: {error}");
    }
    for (query, field) in [("limit=x", "limit"), ("role=king", "role"), ("page=2", "page")] {
        let reply = admin.get(&format!("/api/v1/admin/users?{query}")).await;
        assert_eq!(reply.expect_error(422, "VALIDATION_ERROR")["details"]["field"], field);
    }
    let secret = json!({"my-s3cret": 1});
    let error = admin.post("/v1/auth/signup", &secret).await.expect_error(422, "VALIDATION_ERROR");
    assert_eq!(error["details"], json!({}), "what stands in place of a name may be a secret");
}

#[tokio::test]
async fn a_failure_of_ours_is_told_by_its_code_and_its_request_alone() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let broken: Result<(), DbError> = server.app().db.write(|tx| tx.batch("ALTER TABLE courses RENAME TO gone")).await;
    broken.unwrap();
    let reply = Reply::of(admin.request(Method::GET, "/api/v1/courses").header("X-Request-ID", "r-500")).await;
    assert_eq!(reply.headers["x-request-id"], "r-500");
    let error = reply.expect_error(500, "INTERNAL_ERROR");
    assert_eq!((&error["request_id"], &error["details"]), (&json!("r-500"), &json!({})));
    assert!(!error.to_string().contains("courses"), "{error}");
}

#[tokio::test]
async fn every_reply_carries_the_security_headers() {
    let server = TestServer::start().await;
    for path in ["/health", "/nothing"] {
        let headers = server.anonymous().get(path).await.headers;
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(headers["referrer-policy"], "strict-origin-when-cross-origin");
        assert_eq!(headers["permissions-policy"], "camera=(), microphone=(), geolocation=(), interest-cohort=()");
        assert!(
            headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'; frame-ancestors")
        );
        assert!(!headers.contains_key("strict-transport-security"), "this is no production, and not encrypted");
        assert_eq!(headers["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn the_description_of_the_operations_is_served() {
    let server = TestServer::start().await;
    let body = server.anonymous().get("/openapi.json").await.expect(200);
    assert!(body["openapi"].as_str().unwrap().starts_with("3.1"), "{}", body["openapi"]);
    assert_eq!(body["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    assert_eq!(body["paths"]["/api/v1/health"]["get"]["operationId"], "health_health");
}
