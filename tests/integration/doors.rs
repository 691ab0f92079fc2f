//! What every door has in common: what a body says of itself, what pages of other origins may send and read, streams that
//! no proxy holds back, and addresses with and without a slash at their end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::extract::Request as AxumRequest;
use axum::http::StatusCode as AxumStatus;
use muster_tests::lecture::Lecture;
use muster_tests::{Reply, TestServer};
use reqwest::Method;
use serde_json::{Value, json};

const ORIGIN: &str = "https://portal.uni.example";
const OPERATIONS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// A list in a header, in lower case.
fn listed(reply: &Reply, header: &str) -> BTreeSet<String> {
    let text = reply.headers[header].to_str().unwrap().to_ascii_lowercase();
    text.split(',').map(|word| word.trim().to_owned()).collect()
}

async fn description(server: &TestServer) -> Value {
    server.anonymous().get("/openapi.json").await.expect(200)
}

/// Every operation: its method, its path and its description.
fn operations(description: &Value) -> Vec<(&'static str, &str, &Value)> {
    let paths = description["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, item)| OPERATIONS.map(|method| (method, path.as_str(), &item[method])));
    all.filter(|(.., operation)| operation.is_object()).collect()
}

#[tokio::test]
async fn a_page_of_another_origin_may_send_and_read_what_is_described_and_nothing_else() {
    let server = TestServer::builder().option("--cors-origins", ORIGIN).start().await;
    let description = description(&server).await;
    let (mut methods, mut sent, mut read) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (method, _, operation) in operations(&description) {
        methods.insert(method.to_owned());
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let in_header = parameters.filter(|parameter| parameter["in"] == "header");
        sent.extend(in_header.map(|parameter| parameter["name"].as_str().unwrap().to_ascii_lowercase()));
        let responses = operation["responses"].as_object().unwrap().values();
        let headers = responses.filter_map(|response| response["headers"].as_object());
        read.extend(headers.flat_map(|headers| headers.keys().map(|name| name.to_ascii_lowercase())));
    }
    // What goes with every body, and with everybody who is signed in.
    sent.extend(["content-type", "authorization"].map(str::to_owned));
    methods.insert("head".to_owned());
    for name in ["idempotency-key", "x-request-id"] {
        assert!(sent.contains(name), "{name} is not described");
    }
    for name in ["retry-after", "x-request-id", "content-disposition", "idempotency-replayed", "www-authenticate"] {
        assert!(read.contains(name), "{name} is not described");
    }
    let ask = server.anonymous().request(Method::OPTIONS, "/api/v1/students/attendance").header("Origin", ORIGIN);
    let asked = Reply::of(ask.header("Access-Control-Request-Method", "POST")).await;
    assert_eq!(listed(&asked, "access-control-allow-headers"), sent);
    assert_eq!(listed(&asked, "access-control-allow-methods"), methods);
    let answered = Reply::of(server.anonymous().request(Method::GET, "/health").header("Origin", ORIGIN)).await;
    assert_eq!(listed(&answered, "access-control-expose-headers"), read);
}

#[tokio::test]
async fn a_body_that_is_packed_is_refused_at_every_door_before_it_is_read() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let description = description(&server).await;
    let mut doors = 0;
    for (method, path, operation) in operations(&description) {
        let Some(content) = operation["requestBody"]["content"].as_object() else { continue };
        let kind = content.keys().next().unwrap();
        let path = path.replace(['{', '}'], "");
        let send = |encoding: &'static [&'static str]| {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let request = admin.request(method, &path).header("Content-Type", kind).body("\u{1f}packed");
            encoding.iter().fold(request, |request, value| request.header("Content-Encoding", *value))
        };
        for packed in [&["gzip"][..], &["GZIP"], &["identity, br"], &["identity", "zstd"], &["deflate"], &["x"]] {
            let refused = Reply::of(send(packed)).await;
            assert_eq!(refused.headers["accept-encoding"], "identity", "{method} {path} {packed:?}");
            refused.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
        }
        for plain in [&[][..], &["identity"], &["Identity"], &[""]] {
            let reply = Reply::of(send(plain)).await;
            assert!(!reply.headers.contains_key("accept-encoding"), "{method} {path} {plain:?}: {}", reply.status);
        }
        doors += 1;
    }
    assert!(doors > 20, "{doors} doors take a body");
    // Where nothing is sent, nothing is packed.
    let empty = server.anonymous().request(Method::GET, "/health").header("Content-Encoding", "gzip");
    Reply::of(empty).await.expect(200);
}

#[tokio::test]
async fn text_is_utf_8_and_json_says_that_it_is_json() {
    let server = TestServer::start().await;
    let login = |kind: &'static str| {
        let body = json!({"email": "nobody@x.example", "password": "wrong horse battery"}).to_string();
        let request = server.anonymous().request(Method::POST, "/api/v1/auth/login").body(body);
        Reply::of(request.header("Content-Type", kind))
    };
    for right in [
        "application/json",
        "Application/JSON; Charset=\"UTF-8\"",
        "application/json;charset=utf8",
        "application/json; charset=us-ascii",
        "application/problem+json",
    ] {
        login(right).await.expect_error(401, "INVALID_CREDENTIALS");
    }
    for wrong in [
        "application/json; charset=iso-8859-1",
        "application/json; charset=\"utf-16\"",
        "application/x-www-form-urlencoded; charset=windows-1252",
        "text/plain",
        "",
    ] {
        login(wrong).await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    // Doors whose body may be missing look at it, too.
    let student = server.client("student").await;
    for path in ["/api/v1/auth/logout", "/auth/logout"] {
        let text = student.request(Method::POST, path).header("Content-Type", "text/plain").body("{}");
        Reply::of(text).await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    Reply::of(student.request(Method::POST, "/api/v1/auth/logout")).await.expect(200);
    let lecture = Lecture::begin().await;
    let path = "/api/v1/lecturers/attendance/00000000000000000000000000000000/confirm";
    let text = lecture.lecturer.request(Method::POST, path).header("Content-Type", "text/plain").body("{}");
    Reply::of(text).await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    let long = json!({"note": "x".repeat(70_000)});
    lecture.lecturer.post(path, &long).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    lecture.lecturer.post(path, &json!({})).await.expect_error(404, "NOT_FOUND");
}

#[tokio::test]
async fn an_answer_that_is_written_bit_by_bit_is_held_back_by_no_proxy() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    for (path, cached) in [("/api/v1/sync/live", "no-cache"), ("/api/v1/admin/audit/export", "no-store")] {
        let begun = admin.request(Method::GET, path).send().await.unwrap();
        assert_eq!(begun.status(), 200, "{path}");
        assert_eq!(begun.headers()["x-accel-buffering"], "no", "{path}");
        let told = begun.headers()["cache-control"].to_str().unwrap();
        assert!(told.contains(cached) && told.contains("no-transform"), "{path}: {told}");
    }
    assert!(!admin.get("/health").await.headers.contains_key("x-accel-buffering"));
}

#[tokio::test]
async fn the_bucket_stands_below_the_path_of_the_store_with_and_without_a_slash_at_its_end() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    let store = axum::Router::new().fallback(move |request: AxumRequest| {
        seen.lock().unwrap().push(request.uri().path().trim_end_matches('/').to_owned());
        std::future::ready(AxumStatus::OK)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, store).await });
    for (path, bucket) in [
        ("", "/pics"),
        ("/", "/pics"),
        ("/storage/v1/s3", "/storage/v1/s3/pics"),
        ("/storage/v1/s3/", "/storage/v1/s3/pics"),
        ("/storage/v1/s3//", "/storage/v1/s3/pics"),
    ] {
        let server = TestServer::builder()
            .option("--storage-backend", "s3")
            .option("--s3-bucket", "pics")
            .option("--s3-endpoint", &format!("http://{address}{path}"))
            .option("--s3-access-key", "key")
            .option("--s3-secret-key", "secret")
            .start()
            .await;
        server.anonymous().get("/ready").await;
        let places: BTreeSet<String> = asked.lock().unwrap().drain(..).collect();
        assert_eq!(places, BTreeSet::from([bucket.to_owned()]), "{path:?}");
        server.stop().await;
    }
}
