//! What whoever runs the server relies on: headers, origins, prefixes, documentation, metrics and logs.

use muster_tests::process::{ServerProcess, lines};
use muster_tests::{PASSWORD, Reply, TestServer};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_load");

async fn from_origin(server: &TestServer, method: Method, path: &str, origin: &str) -> Reply {
    let mut request = server.anonymous().request(method.clone(), path).header("Origin", origin);
    if method == Method::OPTIONS {
        request = request
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization,content-type,x-request-id,idempotency-key");
    }
    Reply::of(request).await
}

#[tokio::test]
async fn pages_of_listed_origins_may_call_and_others_may_not() {
    for list in ["https://campus.edu,http://localhost:3000", r#"["https://campus.edu/","http://localhost:3000"]"#] {
        let server = TestServer::builder()
            .option("--cors-origins", list)
            .option("--cors-allow-credentials", "true")
            .start()
            .await;
        for origin in ["https://campus.edu", "http://localhost:3000"] {
            let asked = from_origin(&server, Method::OPTIONS, "/api/v1/auth/login", origin).await;
            assert_eq!(asked.status, 200);
            assert_eq!(asked.headers["access-control-allow-origin"], origin);
            assert_eq!(asked.headers["access-control-allow-credentials"], "true");
            let allowed = asked.headers["access-control-allow-headers"].to_str().unwrap();
            assert!(allowed.contains("idempotency-key") && !allowed.contains("tus-"), "{allowed}");
            let answered = from_origin(&server, Method::GET, "/api/v1/courses", origin).await;
            assert_eq!(answered.status, 401);
            assert_eq!(answered.headers["access-control-allow-origin"], origin, "also on a refusal");
            let exposed = answered.headers["access-control-expose-headers"].to_str().unwrap();
            assert!(exposed.contains("x-request-id") && exposed.contains("retry-after"), "{exposed}");
        }
        for origin in ["https://campus.edu.evil.example", "http://campus.edu", "https://campus.edu:8443", "null"] {
            for method in [Method::OPTIONS, Method::GET] {
                let reply = from_origin(&server, method, "/health", origin).await;
                assert!(!reply.headers.contains_key("access-control-allow-origin"), "{origin}");
            }
        }
    }
    let closed = TestServer::start().await;
    let reply = from_origin(&closed, Method::GET, "/health", "https://campus.edu").await;
    assert!(!reply.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn transport_is_secured_for_good_in_production_over_https_only() {
    let has = |headers: &HeaderMap| headers.contains_key("strict-transport-security");
    let public = TestServer::builder().production().start().await;
    assert!(has(&public.anonymous().get("/health").await.headers), "PUBLIC_URL begins with https");
    let proxied =
        TestServer::builder().option("--env", "staging").option("--trusted-proxies", "127.0.0.1").start().await;
    let over =
        |server: &TestServer| server.anonymous().request(Method::GET, "/health").header("X-Forwarded-Proto", "https");
    assert!(!has(&Reply::of(over(&proxied)).await.headers), "only in production");
    let development = TestServer::builder().option("--public-url", "https://dev.example").start().await;
    assert!(!has(&Reply::of(over(&development)).await.headers));
}

#[tokio::test]
async fn everything_answers_below_the_prefix_that_is_asked_for() {
    for prefix in ["/campus/api", "/v1", "/api/v1"] {
        let server = TestServer::builder().option("--api-prefix", prefix).start().await;
        let lecturer = server.client("lecturer").await;
        for path in ["/health", "/ready", "/auth/me", "/courses"] {
            lecturer.get(&format!("{prefix}{path}")).await.expect(200);
        }
        lecturer.get("/api/v1/courses").await.expect(200);
        lecturer.get("/v1/auth/me").await.expect(200);
    }
    let server = TestServer::start().await;
    let without = server.client("lecturer").await;
    without.get("/campus/api/courses").await.expect_error(404, "NOT_FOUND");
    without.get("/v1/courses").await.expect_error(404, "NOT_FOUND");
}

const DOCS: [&str; 3] = ["/docs", "/redoc", "/openapi.json"];

#[tokio::test]
async fn the_documentation_is_whole_and_runs_no_script_but_its_own() {
    let server = TestServer::start().await;
    for (path, program) in [("/docs", "SwaggerUIBundle("), ("/redoc", "Redoc.init(")] {
        let reply = server.anonymous().get(path).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.headers["content-type"], "text/html; charset=utf-8");
        let policy = reply.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("http"), "{policy}");
        let page = String::from_utf8(reply.bytes).unwrap();
        assert!(page.contains(program) && page.contains("openapi.json"));
        assert!(!page.contains("<script src=") && !page.contains("<link"), "nothing is fetched from elsewhere");
    }
}

#[tokio::test]
async fn in_production_the_documentation_is_for_admins_if_it_is_there_at_all() {
    let hidden = TestServer::builder().production().start().await;
    let shown = TestServer::builder().production().option("--docs-enabled", "true").start().await;
    let (stranger, admin) = (hidden.anonymous(), hidden.client("admin").await);
    let (other, lecturer, reader) = (shown.anonymous(), shown.client("lecturer").await, shown.client("admin").await);
    for path in DOCS {
        for client in [&stranger, &admin, &other, &lecturer, &shown.with_token("nonsense")] {
            client.get(path).await.expect_error(404, "NOT_FOUND");
        }
        assert_eq!(reader.get(path).await.status, 200, "{path}");
    }
}

async fn metrics(server: &TestServer) -> String {
    let reply = server.anonymous().get("/metrics").await;
    assert_eq!(reply.status, 200);
    assert!(reply.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    String::from_utf8(reply.bytes).unwrap()
}

/// The value of the one line that begins like this.
#[track_caller]
fn value(text: &str, line: &str) -> f64 {
    let found = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("{line} is not in\n{text}")).parse().unwrap()
}

#[tokio::test]
async fn what_happens_is_counted_by_route_and_never_by_person() {
    let server = TestServer::start().await;
    let student = server.client("student").await;
    let course = "/api/v1/courses/0190e1f4-0000-7000-8000-000000000001";
    for _ in 0..3 {
        assert!(student.get(course).await.status.is_client_error());
    }
    student.get("/nothing/like/this").await.expect(404);
    student.get("/api/v1/admin/users").await;
    student.post("/api/v1/courses", &json!({"code": "X", "title": "X"})).await.expect_error(403, "FORBIDDEN");
    let text = metrics(&server).await;
    let requests = r#"muster_http_requests_total{method="GET",route="/api/v1/courses/{id}",status="4xx"}"#;
    assert!(value(&text, requests) >= 3.0);
    let latency = r#"muster_http_request_seconds_count{method="GET",route="/api/v1/courses/{id}"}"#;
    assert!(value(&text, latency) >= 3.0);
    assert!(value(&text, r#"muster_http_requests_total{method="GET",route="unmatched",status="4xx"}"#) >= 1.0);
    assert!(value(&text, r#"muster_security_events_total{event_type="permission.denied"}"#) >= 1.0);
    assert!(value(&text, "muster_http_connections") >= 1.0);
    assert_eq!(value(&text, "muster_http_requests_in_flight"), 1.0, "this one");
    assert!(value(&text, "muster_db_write_group_requests_count") >= 1.0);
    assert!(value(&text, "muster_job_workers") >= 4.0);
    assert!(text.contains(concat!(r#"muster_build_info{version=""#, env!("CARGO_PKG_VERSION"))));
    for personal in [student.user_id(), "student1", "0190e1f4", "/nothing"] {
        assert!(!text.contains(personal), "{personal} is in\n{text}");
    }
}

#[tokio::test]
async fn what_happens_to_accounts_is_counted() {
    let server = TestServer::start().await;
    server.create_user("ada@uni.example", "student").await;
    let login = |password: &str| json!({"email": "ada@uni.example", "password": password});
    let tokens = server.anonymous().post("/auth/login", &login(PASSWORD)).await.expect(200);
    server.anonymous().post("/auth/login", &login("a wrong password")).await.expect_error(401, "INVALID_CREDENTIALS");
    let first = json!({"refresh_token": tokens["refresh_token"]});
    let second = server.anonymous().post("/auth/refresh", &first).await.expect(200);
    server.anonymous().post("/auth/refresh", &json!({"refresh_token": second["refresh_token"]})).await.expect(200);
    server.anonymous().post("/auth/refresh", &first).await.expect_error(401, "REFRESH_TOKEN_REUSED");
    for _ in 0..12 {
        server.anonymous().post("/auth/login", &login("a wrong password")).await;
    }
    let text = metrics(&server).await;
    let counted =
        |event_type: &str| value(&text, &format!(r#"muster_security_events_total{{event_type="{event_type}"}}"#));
    assert_eq!(counted("sign_in.success"), 1.0);
    assert!(counted("sign_in.failure") >= 8.0, "{text}");
    assert_eq!(counted("account.locked"), 1.0);
    assert_eq!(counted("token.refreshed"), 2.0);
    assert_eq!(counted("token.reuse"), 1.0);
}

#[tokio::test]
async fn in_production_the_metrics_are_for_those_who_may_know() {
    let token = "a-token-of-the-scraper";
    let near = TestServer::builder().production().option("--metrics-token", token).start().await;
    let far = TestServer::builder()
        .production()
        .option("--metrics-token", token)
        .option("--metrics-networks", "192.0.2.0/24")
        .start()
        .await;
    let proxied = near.anonymous().request(Method::GET, "/metrics").header("X-Forwarded-For", "203.0.113.9");
    assert_eq!(Reply::of(proxied).await.status, 401, "a proxy on this machine is not the machine");
    assert_eq!(near.anonymous().get("/metrics").await.status, 200);
    far.anonymous().get("/metrics").await.expect_error(401, "UNAUTHORIZED");
    far.with_token("a-token-of-the-scrapes").get("/metrics").await.expect_error(401, "UNAUTHORIZED");
    assert_eq!(far.with_token(token).get("/metrics").await.status, 200);
}

#[tokio::test]
async fn a_request_leaves_one_line_with_the_fields_of_the_sources() {
    let dir = tempfile::tempdir().unwrap();
    let log_file = dir.path().join("muster.log");
    let log_file = log_file.to_str().unwrap();
    let server = ServerProcess::start(
        BINARY,
        dir.path(),
        &[("LOG_FILE", log_file), ("LOG_LEVEL", "INFO"), ("DB_SLOW_QUERY_MS", "0"), ("SEED_DEMO_ACCOUNTS", "true")],
    );
    let client = muster_tests::http::client().build().unwrap();
    let login = json!({"email": "student@example.com", "password": "Student123!"});
    let reply = Reply::of(client.post(server.url("/auth/login")).json(&login)).await;
    let token = reply.json()["access_token"].as_str().unwrap().to_owned();
    let me = client.get(server.url("/api/v1/auth/me?secret=canary")).bearer_auth(&token).header("X-Request-ID", "r-me");
    let me = Reply::of(me).await.json();
    let denied = client.post(server.url("/api/v1/courses")).bearer_auth(&token).header("X-Request-ID", "r-denied");
    assert_eq!(Reply::of(denied.json(&json!({"code": "X", "title": "X"}))).await.status, 403);
    Reply::of(client.get(server.url("/nothing")).header("X-Request-ID", "r-nothing")).await;
    server.stop();
    let (console, file) =
        (std::fs::read_to_string(dir.path().join("console.log")).unwrap(), std::fs::read_to_string(log_file).unwrap());
    let lines = lines(&file);
    assert_eq!(console.lines().count(), file.lines().count(), "the file says what the console says");
    assert_eq!(lines.len(), file.lines().count(), "every line is JSON");
    for line in &lines {
        for field in ["timestamp", "level", "logger", "module", "function", "message"] {
            assert!(line[field].as_str().is_some_and(|text| !text.is_empty()), "{field} is missing: {line}");
        }
    }
    let answered = |id: &str| {
        let mut found = lines.iter().filter(|line| line["request_id"] == id && !line["latency_ms"].is_null());
        let line = found.next().unwrap_or_else(|| panic!("no line for {id}")).clone();
        assert!(found.next().is_none(), "one line per request");
        line
    };
    let line = answered("r-me");
    for (field, expected) in [
        ("level", json!("INFO")),
        ("message", json!("GET /api/v1/auth/me - 200")),
        ("method", json!("GET")),
        ("path", json!("/api/v1/auth/me")),
        ("request_method", json!("GET")),
        ("request_path", json!("/api/v1/auth/me")),
        ("status_code", json!(200)),
        ("user_id", me["id"].clone()),
    ] {
        assert_eq!(line[field], expected, "{field} of {line}");
    }
    assert!(line["latency_ms"].as_f64().is_some_and(|latency_ms| latency_ms > 0.0));
    assert_eq!(answered("r-nothing")["path"], "/nothing");
    let denied = lines.iter().find(|line| line["event_type"] == "permission.denied").unwrap();
    assert_eq!((&denied["request_id"], &denied["level"]), (&json!("r-denied"), &json!("WARNING")));
    assert_eq!(denied["user_id"], me["id"]);
    let slow = lines.iter().find(|line| line["operation"] == "database_query" && line["request_id"] == "r-me");
    let slow = slow.unwrap_or_else(|| panic!("no slow statement of the request in {file}"));
    assert!(slow["duration_ms"].is_number() && slow["statement"].as_str().unwrap().starts_with("SELECT"), "{slow}");
    assert!(!file.contains("canary") && !file.contains(&token) && !file.contains("Student123!"));
    assert!(!file.contains(PASSWORD));
}
