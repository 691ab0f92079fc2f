//! Nobody takes so much of the server that others wait: connections, memory and places are shares of somebody.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use muster_server::limits::{self, ConnectionLimits, budgets};
use muster_sync_core::limits::CURSORS_MAX;
use muster_sync_core::sync::message::CONTENT_TYPE;
use muster_tests::lecture::{Lecture, picture, upload};
use muster_tests::{Client, Reply, TestServer};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

pub(crate) const LONG: Duration = Duration::from_secs(60);
/// Timeouts that no test waits for.
pub(crate) const LIMITS: ConnectionLimits = ConnectionLimits {
    head_timeout: LONG,
    body_timeout: LONG,
    idle_timeout: LONG,
    write_stall_timeout: LONG,
    ..limits::CONNECTION
};

pub(crate) const GET: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

/// A connection from 127.0.0.`host`.
pub(crate) async fn connect(server: &TestServer, host: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), 0)).unwrap();
    socket.connect(server.address()).await.unwrap()
}

/// What the server says, until a body ends with a brace or the connection ends.
pub(crate) async fn answer(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while bytes.last() != Some(&b'}') {
        let read = tokio::time::timeout(LONG / 2, socket.read_u8()).await.expect("in time");
        let Ok(byte) = read else { break };
        bytes.push(byte);
    }
    String::from_utf8(bytes).unwrap()
}

pub(crate) async fn ask(socket: &mut TcpStream, request: &str) -> String {
    // A connection that is closed shows so in what it answers.
    let _ = socket.write_all(request.as_bytes()).await;
    answer(socket).await
}

/// A request whose answer lasts, so that its connection is never idle: a stream of events.
async fn busy(server: &TestServer, host: u8, client: &Client) -> TcpStream {
    let mut socket = connect(server, host).await;
    let token = client.token().unwrap();
    let request = format!("GET /api/v1/sync/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 15];
    socket.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    socket
}

#[tokio::test]
async fn a_new_request_takes_the_place_of_an_idle_connection_of_whoever_has_most() {
    let limits = ConnectionLimits { connections_max: 4, connections_per_address_max: 4, ..LIMITS };
    let server = TestServer::builder().connection_limits(limits).start().await;
    let mut one = connect(&server, 3).await;
    assert!(ask(&mut one, GET).await.starts_with("HTTP/1.1 200"));
    let mut many = Vec::new();
    for _ in 0..3 {
        let mut socket = connect(&server, 2).await;
        assert!(ask(&mut socket, GET).await.starts_with("HTTP/1.1 200"));
        many.push(socket);
    }
    let mut late = connect(&server, 4).await;
    assert!(ask(&mut late, GET).await.starts_with("HTTP/1.1 200"), "somebody else is served");
    assert_eq!(answer(&mut many[0]).await, "", "the oldest of the address that has most is closed");
    assert!(ask(&mut one, GET).await.starts_with("HTTP/1.1 200"), "and nobody else's");
    assert!(ask(&mut many[2], GET).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_address_with_all_its_connections_busy_is_told_and_another_one_is_served() {
    let limits = ConnectionLimits { connections_max: 8, connections_per_address_max: 2, ..LIMITS };
    let server = TestServer::builder().connection_limits(limits).start().await;
    // Signed in over a pooled connection of the usual address.
    let client = server.client("student").await;
    let _first = busy(&server, 2, &client).await;
    let mut second = connect(&server, 2).await;
    assert!(ask(&mut second, GET).await.starts_with("HTTP/1.1 200"), "its second connection is served");
    let _third = busy(&server, 2, &client).await;
    assert_eq!(answer(&mut second).await, "", "an idle one makes room");
    let mut refused = connect(&server, 2).await;
    let told = ask(&mut refused, GET).await;
    assert!(told.starts_with("HTTP/1.1 429") && told.contains("Retry-After: "), "{told}");
    assert!(told.contains("RATE_LIMITED"), "{told}");
    let mut other = connect(&server, 3).await;
    assert!(ask(&mut other, GET).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_campus_has_as_many_connections_as_there_are() {
    let limits = ConnectionLimits { connections_max: 8, connections_per_address_max: 1, ..LIMITS };
    let server = TestServer::builder().connection_limits(limits).option("--campus-networks", "127.0.0.0/8");
    let server = server.start().await;
    let mut phones = Vec::new();
    for _ in 0..3 {
        phones.push(connect(&server, 2).await);
    }
    for phone in &mut phones {
        assert!(ask(phone, GET).await.starts_with("HTTP/1.1 200"));
    }
}

/// Sends all of an upload but its last byte.
async fn stalled_upload(server: &TestServer, client: &Client, sha256: &str, size_bytes: usize) -> TcpStream {
    let mut socket = connect(server, 2).await;
    let token = client.token().unwrap();
    let head = format!(
        "PUT /api/v1/blobs/{sha256} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {size_bytes}\r\n\r\n"
    );
    let _ = socket.write_all(head.as_bytes()).await;
    let _ = socket.write_all(&vec![0; size_bytes - 1]).await;
    socket
}

#[tokio::test]
async fn what_one_student_has_under_way_is_bounded_and_others_send_beside_it() {
    let lecture = Lecture::on(TestServer::builder().connection_limits(LIMITS)).await;
    let mut phone = lecture.student(1).await;
    let mut manifest = lecture.manifest(None);
    // Three images of 5 MiB are 15 MiB, and a fourth one is more than 16.
    for seed in 0..4 {
        let mut image = muster_tests::lecture::image_ref(&picture(seed));
        image.size_bytes = 5 * 1024 * 1024;
        manifest.images.push(image);
    }
    lecture.capture(&mut phone, &manifest).await;
    let mut stalled = Vec::new();
    for image in &manifest.images[..3] {
        let sha256 = data_encoding::HEXLOWER.encode(&image.sha256);
        stalled.push(stalled_upload(&lecture.server, &phone.client, &sha256, 5 * 1024 * 1024).await);
    }
    let sha256 = data_encoding::HEXLOWER.encode(&manifest.images[3].sha256);
    stalled.push(stalled_upload(&lecture.server, &phone.client, &sha256, 5 * 1024 * 1024).await);
    // They are read side by side: whichever comes last is one too many.
    let told = futures_util::future::select_all(stalled.iter_mut().map(|socket| Box::pin(answer(socket)))).await.0;
    assert!(told.starts_with("HTTP/1.1 429"), "{told}");
    let mut other = lecture.student(2).await;
    let selfie = picture(9);
    lecture.capture(&mut other, &lecture.manifest(Some(&selfie))).await;
    upload(&other.client, &selfie).await.expect(201);
    drop(stalled);
}

#[tokio::test]
async fn an_image_that_nobody_expects_is_refused_before_it_is_sent() {
    let server = TestServer::start().await;
    let client = server.client("student").await;
    let mut socket = connect(&server, 2).await;
    let head = format!(
        "PUT /api/v1/blobs/{} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 5000000\r\n\r\n",
        "ab".repeat(32),
        client.token().unwrap()
    );
    let told = ask(&mut socket, &head).await;
    assert!(told.starts_with("HTTP/1.1 404") && told.contains("IMAGE_NOT_EXPECTED"), "{told}");
}

#[tokio::test]
async fn forms_that_trickle_keep_no_student_waiting() {
    let lecture = Lecture::on(TestServer::builder().connection_limits(LIMITS)).await;
    let slow = lecture.student(1).await;
    let mut trickling = Vec::new();
    for _ in 0..80 {
        let mut socket = connect(&lecture.server, 2).await;
        let token = slow.client.token().unwrap();
        let head = format!(
            "POST /api/v1/students/attendance HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000\r\n\r\n--b\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        trickling.push(socket);
    }
    let honest = lecture.student(2).await;
    let form = reqwest::multipart::Form::new().text("session_code", {
        let claim = lecture.claim().await;
        format!("{}-{}", claim.locator, claim.code)
    });
    let request = honest.client.request(Method::POST, "/api/v1/students/attendance").multipart(form);
    Reply::of(request).await.expect(201);
}

#[tokio::test]
async fn hundreds_of_requests_of_one_person_keep_nobody_else_waiting() {
    let lecture = Lecture::on(TestServer::builder().connection_limits(LIMITS)).await;
    let busy = lecture.student(1).await;
    // More than a person's share, and each waits for its body: the others wait behind these.
    let mut sockets = Vec::new();
    for _ in 0..=budgets::REQUESTS_PER_PERSON.count() {
        let mut socket = connect(&lecture.server, 2).await;
        let token = busy.client.token().unwrap();
        let head = format!(
            "POST /api/v1/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: {CONTENT_TYPE}\r\nContent-Length: 5\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        sockets.push(socket);
    }
    let other = lecture.student(2).await;
    other.client.get("/api/v1/auth/me").await.expect(200);
    // What waited is answered when there is a place.
    for socket in &mut sockets {
        assert!(ask(socket, "12345").await.starts_with("HTTP/1.1 400"), "it is no message, and that is told");
    }
    busy.client.get("/api/v1/auth/me").await.expect(200);
}

/// A request of nobody whose body of `size_bytes` lacks its last byte.
pub(crate) async fn unfinished(server: &TestServer, host: u8, size_bytes: usize) -> TcpStream {
    let mut socket = connect(server, host).await;
    let head = format!(
        "POST /api/v1/auth/refresh HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {size_bytes}\r\n\r\n"
    );
    let _ = socket.write_all(head.as_bytes()).await;
    let _ = socket.write_all(&vec![b' '; size_bytes - 1]).await;
    socket
}

#[tokio::test]
async fn requests_of_an_address_that_wait_keep_no_other_address_waiting() {
    let server = TestServer::builder().connection_limits(LIMITS).start().await;
    let mut sockets = Vec::new();
    for _ in 0..=budgets::REQUESTS_PER_ADDRESS.count() {
        sockets.push(unfinished(&server, 2, 2).await);
    }
    assert!(ask(&mut connect(&server, 3).await, GET).await.starts_with("HTTP/1.1 200"));
    for socket in &mut sockets {
        assert!(ask(socket, "x").await.starts_with("HTTP/1.1 4"), "what waited is answered when there is a place");
    }
}

#[tokio::test]
async fn what_an_address_has_under_way_is_bounded_and_a_campus_has_more() {
    let server = TestServer::builder().connection_limits(LIMITS).option("--campus-networks", "127.0.0.3/32");
    let server = server.start().await;
    let size_bytes = limits::BODY_BYTES_MAX;
    let fit = budgets::BODY_BYTES_PER_ADDRESS.count() / size_bytes;
    let (mut sockets, mut campus) = (Vec::new(), Vec::new());
    for _ in 0..fit {
        sockets.push(unfinished(&server, 2, size_bytes).await);
        campus.push(unfinished(&server, 3, size_bytes).await);
    }
    // Bodies are read in their own time: whichever comes last is one too many.
    let mut late = unfinished(&server, 2, size_bytes).await;
    let told = tokio::select! {
        told = answer(&mut late) => told,
        told = futures_util::future::select_all(sockets.iter_mut().map(|socket| Box::pin(answer(socket)))) => told.0,
    };
    assert!(told.starts_with("HTTP/1.1 429") && told.contains("RATE_LIMITED"), "{told}");
    campus.push(unfinished(&server, 3, size_bytes).await);
    for socket in &mut campus {
        assert!(ask(socket, " ").await.starts_with("HTTP/1.1 400"), "it is no JSON, and that is told");
    }
}

#[tokio::test]
async fn one_stream_too_many_ends_the_oldest_of_the_same_person() {
    let server = TestServer::builder().connection_limits(LIMITS).start().await;
    let (ada, bob) = (server.client("student").await, server.client("student").await);
    let mut others = busy(&server, 2, &bob).await;
    let mut streams = Vec::new();
    for _ in 0..budgets::STREAMS_PER_PERSON.count() {
        streams.push(busy(&server, 2, &ada).await);
    }
    let _newest = busy(&server, 2, &ada).await;
    // The last chunk of a body: the connection itself may be used again.
    let mut rest = Vec::new();
    while !rest.ends_with(b"\r\n0\r\n\r\n") {
        rest.push(tokio::time::timeout(LONG / 2, streams[0].read_u8()).await.expect("it ends").unwrap());
    }
    for stream in [&mut others, &mut streams[1]] {
        let mut bytes = [0; 4096];
        while let Ok(read) = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut bytes)).await {
            assert_ne!(read.unwrap(), 0, "this one goes on");
        }
    }
}

#[tokio::test]
async fn a_request_names_its_host_and_its_address_has_an_end() {
    let server = TestServer::start().await;
    let told = |request: String| {
        let server = &server;
        async move { ask(&mut connect(server, 2).await, &request).await }
    };
    assert!(
        told("GET /health HTTP/1.1\r\nHost: uni.example:8000\r\n\r\n".to_owned()).await.starts_with("HTTP/1.1 200")
    );
    assert!(told("GET /health HTTP/1.0\r\n\r\n".to_owned()).await.contains(" 200 "));
    for hosts in ["", "Host: a\r\nHost: b\r\n", "Host: a b\r\n", "Host: u@x\r\n"] {
        let answer = told(format!("GET /health HTTP/1.1\r\n{hosts}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("HOST_INVALID"), "{hosts}: {answer}");
    }
    let long = |path: usize, query: usize| {
        format!("GET /{}?{} HTTP/1.1\r\nHost: x\r\n\r\n", "p".repeat(path - 1), "q".repeat(query))
    };
    assert!(told(long(limits::PATH_BYTES_MAX, limits::QUERY_BYTES_MAX)).await.starts_with("HTTP/1.1 404"));
    for (path, query) in [(limits::PATH_BYTES_MAX + 1, 0), (1, limits::QUERY_BYTES_MAX + 1)] {
        let answer = told(long(path, query)).await;
        assert!(answer.starts_with("HTTP/1.1 414") && answer.contains("URI_TOO_LONG"), "{answer}");
    }
    let headers = |n: usize| (0..n).map(|number| format!("x-{number}: 1\r\n")).collect::<String>();
    let with = |n: usize| format!("GET /health HTTP/1.1\r\nHost: x\r\n{}\r\n", headers(n - 1));
    assert!(told(with(limits::HEADERS_MAX)).await.starts_with("HTTP/1.1 200"));
    let mut socket = connect(&server, 2).await;
    socket.write_all(with(limits::HEADERS_MAX + 1).as_bytes()).await.unwrap();
    let mut refused = String::new();
    tokio::time::timeout(LONG / 2, socket.read_to_string(&mut refused)).await.expect("in time").unwrap();
    assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");
}

#[tokio::test]
async fn a_path_that_ends_like_one_that_is_not_counted_is_counted() {
    let server = TestServer::builder().limits_as_shipped().start().await;
    let client = server.anonymous();
    let paths = ["/students/health", "/api/v1/lecturers/sessions/health", "/x/auth/device/y", "/api/v1/x/ready"];
    let mut refused = 0;
    for number in 0..200 {
        refused += usize::from(client.get(paths[number % paths.len()]).await.status == 429);
    }
    assert!(refused > 0, "an address has 60 requests a minute, whatever their paths look like");
    for path in ["/", "/health", "/v1/health", "/api/v1/ready", "/health/full"] {
        assert_ne!(client.get(path).await.status, 429, "{path}");
    }
    let asked = client.post("/api/v1/auth/device/challenge", &json!({})).await;
    assert_ne!(asked.status, 429);
}

#[tokio::test]
async fn a_form_has_so_many_parts_and_their_names_so_many_bytes() {
    let lecture = Lecture::begin().await;
    let student = lecture.student(1).await;
    let claim = lecture.claim().await;
    let form = || reqwest::multipart::Form::new().text("session_code", format!("{}-{}", claim.locator, claim.code));
    let send = |form| Reply::of(student.client.request(Method::POST, "/api/v1/students/attendance").multipart(form));
    let fits = "n".repeat(limits::FORM_NAME_BYTES_MAX);
    send(form().text(fits.clone(), "1")).await.expect(201);
    send(form().text(fits + "n", "1")).await.expect_error(422, "VALIDATION_ERROR");
    let parts = |n| (0..n).fold(form(), |form, number| form.text(format!("part{number}"), "1"));
    send(parts(31)).await.expect(201);
    send(parts(32)).await.expect_error(422, "VALIDATION_ERROR");
}

#[tokio::test]
async fn a_sync_request_is_one_message_whose_lists_are_counted_before_they_are_read() {
    let lecture = Lecture::begin().await;
    let phone = lecture.student(1).await;
    let cursors = |n: usize| (0..n).map(|number| (format!("c{number}"), 0)).collect();
    assert_eq!(phone.send(phone.body(&[], &cursors(CURSORS_MAX), true)).await.status, 200);
    phone.send(phone.body(&[], &cursors(CURSORS_MAX + 1), true)).await.expect_error(422, "SYNC_LIMIT");
    // A list that says that it has 350,000 items, and holds none of them.
    let mut claims = vec![0xa2, 0x00, 0x01, 0x03, 0x9a];
    claims.extend(350_000_u32.to_be_bytes());
    phone.send(claims).await.expect_error(422, "SYNC_LIMIT");
    let mut longer = phone.body(&[], &cursors(1), true);
    longer.push(0);
    phone.send(longer).await.expect_error(400, "SYNC_MALFORMED");
    let one = |number: u64| phone.body(&[], &[("c".to_owned(), number)].into(), true);
    assert_eq!(phone.send(one(i64::MAX as u64)).await.status, 200);
    phone.send(one(i64::MAX as u64 + 1)).await.expect_error(400, "SYNC_MALFORMED");
}
