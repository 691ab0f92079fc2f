//! What one request may say: the longest text, the most rows and the largest body are taken at every door, one more is told.

use muster_server::limits;
use muster_tests::lecture::Lecture;
use muster_tests::phone::{Item, Phone};
use muster_tests::{Client, Reply, TestServer};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::evidence::session;

fn letters(n: usize) -> String {
    "x".repeat(n)
}

/// Sends the longest and one that is longer; gives what the first one led to.
async fn edge(client: &Client, (method, path): (Method, &str), most: usize, body: impl Fn(usize) -> Value) -> Value {
    let send = |n: usize| Reply::of(client.request(method.clone(), path).json(&body(n)));
    let told = send(most + 1).await.expect_error(422, "VALIDATION_ERROR");
    assert!(!told["message"].as_str().unwrap().is_empty(), "{path}");
    let reply = send(most).await;
    assert!(reply.status.is_success(), "{path} {most}: {}", String::from_utf8_lossy(&reply.bytes));
    serde_json::from_slice(&reply.bytes).unwrap_or_default()
}

#[tokio::test]
async fn texts_about_people_and_courses_are_so_long_and_no_longer() {
    let server = TestServer::start().await;
    let (admin, lecturer) = (server.client("admin").await, server.client("lecturer").await);
    let users = "/api/v1/admin/users";
    for (field, most) in
        [("display_name", 120), ("given_name", 120), ("family_name", 120), ("section", 120), ("external_id", 255)]
    {
        let body = |n: usize| {
            let mut body = json!({"email": format!("{field}@x.example"), "display_name": "Ada", "role": "student"});
            body[field] = json!(letters(n));
            body
        };
        let user = edge(&admin, (Method::POST, users), most, body).await;
        assert_eq!(user[field].as_str().map(str::len), Some(most), "{field}: {user}");
        let path = format!("{users}/{}", user["id"].as_str().unwrap());
        edge(&admin, (Method::PATCH, &path), most, |n| json!({field: letters(n)})).await;
    }
    edge(&lecturer, (Method::PUT, "/api/v1/auth/profile"), 120, |n| json!({"family_name": letters(n)})).await;
    let courses = "/api/v1/courses";
    edge(&lecturer, (Method::POST, courses), 32, |n| json!({"code": letters(n), "title": "A course"})).await;
    let course = edge(&lecturer, (Method::POST, courses), 200, |n| json!({"code": "CS7", "title": letters(n)})).await;
    let session = |n: usize| json!({"course_id": course["id"], "title": letters(n)});
    edge(&lecturer, (Method::POST, "/api/v1/lecturers/sessions"), 200, session).await;
    let search = |n: usize| format!("{users}?q={}", letters(n));
    admin.get(&search(120)).await.expect(200);
    admin.get(&search(121)).await.expect_error(422, "VALIDATION_ERROR");
    let named = |n: usize| json!({"emails": (0..n).map(|n| format!("p{n}@x.example")).collect::<Vec<_>>()});
    let path = format!("{courses}/{}/students", course["id"].as_str().unwrap());
    lecturer.post(&path, &named(501)).await.expect_error(422, "VALIDATION_ERROR");
    assert_ne!(lecturer.post(&path, &named(500)).await.status, 422, "500 people may be named, known or not");
}

#[tokio::test]
async fn texts_about_records_and_phones_are_so_long_and_no_longer() {
    let lecture = Lecture::begin().await;
    let student = lecture.student(1).await.client;
    let claim = lecture.claim().await;
    let code = format!("{}-{}", claim.locator, claim.code);
    let send = |text: String, key: String| {
        let form = reqwest::multipart::Form::new().text("session_code", code.clone()).text("unknown", text);
        let request = student.request(Method::POST, "/api/v1/students/attendance").header("Idempotency-Key", key);
        Reply::of(request.multipart(form))
    };
    send(letters(257), letters(128)).await.expect_error(422, "VALIDATION_ERROR");
    send(letters(256), letters(129)).await.expect_error(422, "VALIDATION_ERROR");
    let record = send(letters(256), letters(128)).await.expect(201);
    let decide = format!("/api/v1/lecturers/attendance/{}/confirm", record["id"].as_str().unwrap());
    edge(&lecture.lecturer, (Method::POST, &decide), 2_000, |n| json!({"note": letters(n)})).await;
    let other = lecture.server.client("student").await;
    let bind = "/api/v1/students/device/bind";
    edge(&other, (Method::POST, bind), 64, |n| json!({"imei": "1".repeat(n)})).await;
}

#[tokio::test]
async fn a_person_who_settles_what_waits_gives_so_long_a_reason_for_so_many() {
    let server = super::budgets::server().await;
    let admin = server.client("admin").await;
    let mut phone = Phone::new(server.client("student").await, 1);
    let items: Vec<Item> = (0..101).map(|index| phone.submission(session(index), "1", server.clock_ms())).collect();
    phone.push(&items[..100]).await;
    phone.push(&items[100..]).await;
    let path = "/api/v1/admin/quarantine/discard";
    let body = |n: usize| json!({"reason": letters(n), "user_id": phone.client.user_id()});
    let told = admin.post(path, &body(55)).await.expect_error(422, "VALIDATION_ERROR");
    assert_eq!(told["details"]["field"], "reason");
    let done = admin.post(path, &body(54)).await.expect(200);
    assert_eq!((done["items"].as_array().unwrap().len(), &done["more"]), (100, &json!(true)), "{done}");
    let done = admin.post(path, &body(54)).await.expect(200);
    assert_eq!((done["items"].as_array().unwrap().len(), &done["more"]), (1, &json!(false)), "{done}");
}

#[tokio::test]
async fn a_page_of_a_list_has_so_many_rows_and_the_next_one_the_rest() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let most = limits::PAGE_ROWS_MAX as usize;
    let mut roster = "email,name\n".to_owned();
    (0..=most).for_each(|n| roster.push_str(&format!("s{n}@page.example,S\n")));
    let import = admin.request(Method::POST, "/api/v1/admin/roster/import").header("content-type", "text/csv");
    Reply::of(import.body(roster)).await.expect(200);
    let page = |limit: usize| {
        let path = format!("/api/v1/admin/users?q=page&limit={limit}");
        let admin = admin.clone();
        async move { admin.get(&path).await.expect(200) }
    };
    for limit in [most, most + 1, 1_000_000] {
        let first = page(limit).await;
        assert_eq!(first["items"].as_array().unwrap().len(), most, "{limit}");
        let path = format!("/api/v1/admin/users?q=page&limit={limit}&after={}", first["next"].as_str().unwrap());
        assert_eq!(admin.get(&path).await.expect(200)["items"].as_array().unwrap().len(), 1);
    }
    assert_eq!(page(most - 1).await["items"].as_array().unwrap().len(), most - 1);
}

#[tokio::test]
async fn a_body_is_so_large_and_no_larger() {
    let server = TestServer::start().await;
    let body = |size: usize| {
        let mut body = json!({"email": "nobody@x.example", "password": "not this one"}).to_string();
        body.push_str(&" ".repeat(size - body.len()));
        body
    };
    for path in ["/api/v1/auth/login", "/auth/login", "/v1/auth/login"] {
        let send = |size: usize| {
            let request = server.anonymous().request(Method::POST, path).header("content-type", "application/json");
            Reply::of(request.body(body(size)))
        };
        send(limits::BODY_BYTES_MAX).await.expect_error(401, "INVALID_CREDENTIALS");
        send(limits::BODY_BYTES_MAX + 1).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    }
}

#[tokio::test]
async fn a_head_is_so_large_and_no_larger_and_a_name_of_a_request_so_long() {
    let server = TestServer::start().await;
    let told = |size: usize| {
        let address = server.address();
        async move {
            let (begin, end) = ("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-filler: ", "\r\n\r\n");
            let request = format!("{begin}{}{end}", letters(size - begin.len() - end.len()));
            let mut socket = TcpStream::connect(address).await.unwrap();
            let _ = socket.write_all(request.as_bytes()).await;
            let mut told = String::new();
            let _ = socket.read_to_string(&mut told).await;
            told
        }
    };
    assert!(told(limits::HEAD_BYTES_MAX).await.starts_with("HTTP/1.1 200"));
    let refused = told(limits::HEAD_BYTES_MAX + 1).await;
    assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");

    let named = |n: usize| {
        let request = server.anonymous().request(Method::GET, "/health").header("X-Request-ID", letters(n));
        async move { Reply::of(request).await.headers["x-request-id"].len() }
    };
    assert_eq!(named(limits::REQUEST_ID_CHARS_MAX).await, limits::REQUEST_ID_CHARS_MAX);
    assert_eq!(named(limits::REQUEST_ID_CHARS_MAX + 1).await, 16, "another one is made");
}
