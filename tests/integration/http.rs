//! What holds for every request, whatever it asks for.

use muster_tests::{Reply, TestServer};
use reqwest::Method;

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
