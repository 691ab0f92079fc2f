//! Connections that do nothing, or too little, are closed; requests that have begun are finished.

use std::time::Duration;

use muster_server::limits::{self, ConnectionLimits};
use muster_tests::TestServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(60);
/// Long limits, of which each test shortens one.
const LIMITS: ConnectionLimits = ConnectionLimits {
    head_timeout: LONG,
    body_timeout: LONG,
    idle_timeout: LONG,
    write_stall_timeout: LONG,
    check_every: Duration::from_millis(20),
    ..limits::CONNECTION
};

const GET: &[u8] = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
const POST_HEAD: &[u8] =
    b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 42\r\n\r\n";

async fn server(limits: ConnectionLimits) -> TestServer {
    TestServer::builder().connection_limits(limits).start().await
}

async fn connect(server: &TestServer) -> TcpStream {
    TcpStream::connect(server.address()).await.unwrap()
}

/// Everything until the server closes, which it must do well before the long limits.
async fn until_closed(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    tokio::time::timeout(LONG / 2, socket.read_to_end(&mut bytes)).await.expect("closed in time").unwrap();
    String::from_utf8(bytes).unwrap()
}

/// One reply whose body ends with a brace.
async fn reply(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while bytes.last() != Some(&b'}') {
        bytes.push(tokio::time::timeout(LONG / 2, socket.read_u8()).await.expect("in time").unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn half_a_head_is_not_waited_for() {
    let server = server(ConnectionLimits { head_timeout: SHORT, ..LIMITS }).await;
    let (mut silent, mut half) = (connect(&server).await, connect(&server).await);
    half.write_all(&GET[..20]).await.unwrap();
    assert_eq!(until_closed(&mut silent).await, "");
    assert_eq!(until_closed(&mut half).await, "");
    let mut second = connect(&server).await;
    second.write_all(GET).await.unwrap();
    reply(&mut second).await;
    second.write_all(&GET[..20]).await.unwrap();
    assert_eq!(until_closed(&mut second).await, "", "also after a whole request");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_used_one_is_kept() {
    // Pauses that come to more than the limit, each far below it, also on a busy machine.
    let server = server(ConnectionLimits { idle_timeout: 4 * SHORT, ..LIMITS }).await;
    let mut socket = connect(&server).await;
    for _ in 0..5 {
        socket.write_all(GET).await.unwrap();
        assert!(reply(&mut socket).await.starts_with("HTTP/1.1 200"));
        tokio::time::sleep(SHORT).await;
    }
    assert_eq!(until_closed(&mut socket).await, "");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_and_closed() {
    let server = server(ConnectionLimits { body_timeout: SHORT, ..LIMITS }).await;
    let mut socket = connect(&server).await;
    socket.write_all(POST_HEAD).await.unwrap();
    socket.write_all(b"{\"email\":").await.unwrap();
    let answer = until_closed(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("REQUEST_TIMEOUT"), "{answer}");
}

#[tokio::test]
async fn one_request_too_many_is_told_to_come_back() {
    let full = server(ConnectionLimits { requests_in_flight_max: 0, ..LIMITS }).await;
    let refused = full.anonymous().get("/health").await;
    let retry_after: u32 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=8).contains(&retry_after));
    refused.expect_error(503, "BUSY");
    let server = server(ConnectionLimits { requests_in_flight_max: 1, ..LIMITS }).await;
    server.anonymous().get("/health").await.expect(200);
}

#[tokio::test]
async fn bodies_that_trickle_take_no_place_from_others() {
    let server = server(ConnectionLimits { requests_in_flight_max: 3, ..LIMITS }).await;
    let mut slow = Vec::new();
    for _ in 0..6 {
        let mut socket = connect(&server).await;
        socket.write_all(POST_HEAD).await.unwrap();
        socket.write_all(b"{\"email\":").await.unwrap();
        slow.push(socket);
        server.anonymous().get("/health").await.expect(200);
    }
    for socket in &mut slow {
        socket.write_all(b"\"a@b.example\",\"password\":\"12345\"}").await.unwrap();
        assert!(reply(socket).await.contains("INVALID_CREDENTIALS"), "a slow request is answered all the same");
        server.anonymous().get("/health").await.expect(200);
    }
}

#[tokio::test]
async fn one_connection_too_many_is_told_to_come_back() {
    let server = server(ConnectionLimits { connections_max: 2, ..LIMITS }).await;
    let client = server.client("student").await;
    // The pooled connection makes room for the second stream, because nothing happens on it; a stream does not.
    let _streams = [
        client.request(reqwest::Method::GET, "/api/v1/sync/live").send().await.unwrap(),
        client.request(reqwest::Method::GET, "/api/v1/sync/live").send().await.unwrap(),
    ];
    let answer = until_closed(&mut connect(&server).await).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("Retry-After"), "{answer}");
    assert!(answer.contains("BUSY"), "{answer}");
}

#[tokio::test]
async fn stopping_finishes_what_has_begun() {
    let server = server(LIMITS).await;
    let (mut slow, mut idle) = (connect(&server).await, connect(&server).await);
    idle.write_all(GET).await.unwrap();
    reply(&mut idle).await;
    slow.write_all(POST_HEAD).await.unwrap();
    tokio::time::sleep(SHORT).await;
    let address = server.address();
    let stopping = tokio::spawn(server.stop());
    assert_eq!(until_closed(&mut idle).await, "");
    slow.write_all(b"{\"email\":\"a@b.example\",\"password\":\"12345\"}").await.unwrap();
    let answer = until_closed(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("INVALID_CREDENTIALS"), "{answer}");
    stopping.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
