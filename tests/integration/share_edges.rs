//! The last of what somebody may take of the server at once: it is served, the next one is told, and somebody else is served.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use muster_server::limits::{self, ConnectionLimits, MemoryLimits, budgets};
use muster_tests::oidc::{Browser, PUBLIC_URL};
use muster_tests::{Client, PASSWORD, TestServer};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::shares::{GET, LIMITS, LONG, answer, ask, connect, unfinished};

/// What nobody has to be signed in for, and what is counted.
const PROVIDERS: &str = "GET /api/v1/auth/oauth/providers HTTP/1.1\r\nHost: x\r\n\r\n";

/// As shipped, but for what bodies and replies may take.
fn memory(change: impl Fn(&mut MemoryLimits)) -> ConnectionLimits {
    let mut limits = LIMITS;
    change(&mut limits.memory);
    limits
}

#[tokio::test]
async fn who_waits_too_long_behind_their_own_requests_is_told() {
    let limits = ConnectionLimits { turn_wait: Duration::from_millis(200), ..LIMITS };
    let server = TestServer::builder().connection_limits(limits).start().await;
    let client = server.client("student").await;
    let token = client.token().unwrap();
    let head = format!(
        "POST /api/v1/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/cbor\r\nContent-Length: 5\r\n\r\n"
    );
    let mut own = Vec::new();
    for _ in 0..budgets::REQUESTS_PER_PERSON.count() {
        let mut socket = connect(&server, 2).await;
        socket.write_all(head.as_bytes()).await.unwrap();
        own.push(socket);
    }
    // The places are taken when the requests have been read, which nobody sees from outside: then one more waits in vain.
    let refused = until_refused(&client).await;
    assert!(refused.headers.contains_key("retry-after"));
    refused.expect_error(429, "RATE_LIMITED");
    server.client("student").await.get("/api/v1/auth/me").await.expect(200);
    ask(&mut own[0], "12345").await;
    client.get("/api/v1/auth/me").await.expect(200);

    let mut address = Vec::new();
    for _ in 0..budgets::REQUESTS_PER_ADDRESS.count() {
        address.push(unfinished(&server, 3, 2).await);
    }
    let refused = async {
        loop {
            let told = ask(&mut connect(&server, 3).await, PROVIDERS).await;
            if told.starts_with("HTTP/1.1 429") {
                break told;
            }
        }
    };
    let told = tokio::time::timeout(LONG, refused).await.expect("it is told");
    assert!(told.contains("RATE_LIMITED") && told.contains("retry-after: "), "{told}");
    assert!(ask(&mut connect(&server, 4).await, GET).await.starts_with("HTTP/1.1 200"));
    // Most of these have a place, and are answered.
    let mut answered = false;
    for socket in &mut address {
        answered |= !ask(socket, "x").await.starts_with("HTTP/1.1 429");
    }
    assert!(answered);
}

async fn until_refused(client: &Client) -> muster_tests::Reply {
    let asked = async {
        loop {
            let reply = client.get("/api/v1/auth/me").await;
            if reply.status != 200 {
                return reply;
            }
        }
    };
    tokio::time::timeout(LONG, asked).await.expect("it is told")
}

/// What the first of these connections is told that is told anything.
async fn first_told(sockets: &mut [TcpStream]) -> String {
    futures_util::future::select_all(sockets.iter_mut().map(|socket| Box::pin(answer(socket)))).await.0
}

#[tokio::test]
async fn bodies_of_many_leave_something_for_the_next() {
    let size = limits::BODY_BYTES_MAX;
    let limits = memory(|memory| (memory.bodies, memory.bodies_per_address) = (8 * size as u64, 4 * size as u64));
    let server = TestServer::builder().connection_limits(limits).start().await;
    // Half of everything, then half of what is left, and so on: 4, 2 and 1 of 8.
    let mut held = Vec::new();
    for (host, n) in [(2, 4), (3, 2), (4, 1)] {
        let mut own = Vec::new();
        for _ in 0..n {
            own.push(unfinished(&server, host, size).await);
        }
        // All but the last byte of each is counted when the server has read it.
        let mut more = vec![unfinished(&server, host, size).await];
        let told = tokio::select! {
            told = first_told(&mut own) => told,
            told = first_told(&mut more) => told,
        };
        let whose = if host == 2 { ("429", "RATE_LIMITED") } else { ("503", "BUSY") };
        assert!(told.contains(whose.0) && told.contains(whose.1), "{host}: {told}");
        assert!(told.to_lowercase().contains("retry-after: "), "{told}");
        held.push((own, more));
    }
    assert!(ask(&mut unfinished(&server, 5, 100).await, " ").await.starts_with("HTTP/1.1 400"), "small ones find room");
    drop(held);
    let whole = async {
        loop {
            if ask(&mut unfinished(&server, 5, size).await, " ").await.starts_with("HTTP/1.1 400") {
                break;
            }
        }
    };
    tokio::time::timeout(LONG, whole).await.expect("what was held is given back");
}

#[tokio::test]
async fn a_campus_has_its_share_of_bodies_and_no_more() {
    let size = limits::BODY_BYTES_MAX;
    let limits = memory(|memory| memory.bodies_per_campus = 6 * size as u64);
    let server = TestServer::builder().connection_limits(limits).option("--campus-networks", "127.0.0.3/32");
    let server = server.start().await;
    let mut campus = Vec::new();
    for _ in 0..7 {
        campus.push(unfinished(&server, 3, size).await);
    }
    let told = first_told(&mut campus).await;
    assert!(told.starts_with("HTTP/1.1 429") && told.contains("RATE_LIMITED"), "{told}");
    assert!(ask(&mut unfinished(&server, 4, size).await, " ").await.starts_with("HTTP/1.1 400"));
}

/// Asks for a large page again and again, and reads no more of the answers than the first word of their heads. The system
/// takes some of them from the server; one stays with it.
async fn unread(server: &TestServer, host: u8) -> (TcpStream, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), 0)).unwrap();
    let mut socket = socket.connect(server.address()).await.unwrap();
    let request = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(40);
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    tokio::time::timeout(LONG, socket.read_exact(&mut head)).await.expect("in time").unwrap();
    (socket, String::from_utf8_lossy(&head).into_owned())
}

/// What an address is told that takes one answer too many. Between two of its answers a connection holds none, so one more
/// may find room for a moment.
async fn until_too_many(server: &TestServer, host: u8) -> String {
    let told = async {
        loop {
            let (mut socket, head) = unread(server, host).await;
            if !head.ends_with("200") {
                return head + &answer(&mut socket).await;
            }
        }
    };
    tokio::time::timeout(LONG, told).await.expect("it is told")
}

#[tokio::test]
async fn replies_that_nobody_reads_are_bounded_for_each_and_for_all() {
    let page = TestServer::start().await.anonymous().get("/openapi.json").await.bytes.len() as u64;
    let limits = memory(|memory| (memory.replies, memory.replies_per_holder) = (4 * page + 4_096, 2 * page));
    let server = TestServer::builder().connection_limits(limits).start().await;
    let mut held = Vec::new();
    // Two are one address's share; then half of what is left: one, and no more.
    for (host, n, whose) in [(2, 2, ("429", "RATE_LIMITED")), (3, 1, ("503", "BUSY"))] {
        for _ in 0..n {
            let (socket, head) = unread(&server, host).await;
            assert!(head.ends_with("200"), "{host}: {head}");
            held.push(socket);
        }
        let told = until_too_many(&server, host).await;
        assert!(told.contains(whose.0) && told.contains(whose.1), "{host}: {told}");
        assert!(told.contains("retry-after: "), "{told}");
    }
    assert!(ask(&mut connect(&server, 4).await, GET).await.starts_with("HTTP/1.1 200"), "small ones find room");
    drop(held);
    let again = async { while !unread(&server, 2).await.1.ends_with("200") {} };
    tokio::time::timeout(LONG, again).await.expect("what was held is given back");
}

/// A sign-in all of which is there but its last byte.
async fn signing_in(server: &TestServer, host: u8, email: &str) -> (TcpStream, String) {
    let body = json!({"email": email, "password": PASSWORD}).to_string();
    let (begin, end) = body.split_at(body.len() - 1);
    let mut socket = connect(server, host).await;
    let head = format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{begin}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    (socket, end.to_owned())
}

#[tokio::test]
async fn a_flood_of_sign_ins_from_one_address_keeps_no_other_address_out() {
    let server = TestServer::builder().connection_limits(LIMITS).start().await;
    let own = budgets::PASSWORDS_WAITING_PER_ADDRESS.count();
    // Each for an account of its own: tries of one account would have to wait for each other.
    let email = |number: usize| format!("student{number}@x.example");
    let mut flood = Vec::new();
    for number in 0..2 * own {
        server.create_user(&email(number), "student").await;
        flood.push(signing_in(&server, 2, &email(number)).await);
    }
    server.create_user("ada@x.example", "student").await;
    let mut honest = signing_in(&server, 3, "ada@x.example").await;
    for (socket, end) in &mut flood {
        socket.write_all(end.as_bytes()).await.unwrap();
    }
    let told = ask(&mut honest.0, &honest.1).await;
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    let told = join_all(flood.iter_mut().map(|(socket, _)| answer(socket))).await;
    let (served, refused): (Vec<_>, Vec<_>) = told.into_iter().partition(|told| told.starts_with("HTTP/1.1 200"));
    assert!(served.len() >= own, "{} were served", served.len());
    assert!(!refused.is_empty(), "twice as many at once were too many");
    for told in refused {
        assert!(told.starts_with("HTTP/1.1 429") && told.contains("RATE_LIMITED"), "{told}");
        assert!(told.to_lowercase().contains("retry-after: "), "{told}");
    }
}

#[tokio::test]
async fn passwords_of_one_person_are_looked_at_a_few_at_a_time() {
    let server = TestServer::start().await;
    let (admin, other) = (server.client("admin").await, server.client("admin").await);
    let create = |client: &Client, number: usize| {
        let body = json!({
            "email": format!("{number}@x.example"), "display_name": "Ada", "role": "student",
            "password": "blue kettle nine",
        });
        let client = client.clone();
        async move { client.post("/api/v1/admin/users", &body).await }
    };
    let own = budgets::PASSWORDS_WAITING_PER_PERSON.count();
    // As many as may wait are taken, also at once.
    for reply in join_all((0..own).map(|number| create(&admin, number))).await {
        reply.expect(201);
    }
    let many = join_all((100..100 + 10 * own).map(|number| create(&admin, number)));
    let (replies, others) = tokio::join!(many, create(&other, 1_000));
    others.expect(201);
    let (created, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 201);
    assert!(created.len() >= own && !refused.is_empty(), "{} were created", created.len());
    for reply in refused {
        assert!(reply.headers.contains_key("retry-after"));
        reply.expect_error(429, "RATE_LIMITED");
    }
}

/// The request of a browser that comes back from the provider.
async fn way_back(browser: &Browser<'_>) -> String {
    let begun = browser.begin("campus", "").await;
    let back = browser.authorize(&begun).await;
    let path = back.strip_prefix(PUBLIC_URL).unwrap();
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n", begun.cookie)
}

#[tokio::test]
async fn a_provider_that_hangs_is_asked_so_often_for_one_address_and_for_the_next() {
    let (server, provider) = super::oidc::start("").await;
    provider.person(super::oidc::person("ada")).await;
    let browser = Browser::new(&server);
    assert_eq!(browser.sign_in("campus").await.status, 200);
    let own = budgets::PROVIDER_QUESTIONS_PER_ADDRESS.count();
    let all = budgets::PROVIDER_QUESTIONS.count();
    let mut ways = Vec::new();
    for _ in 0..own + 8 + all {
        ways.push(way_back(&browser).await);
    }
    let asked = provider.count("token").await;
    provider.misbehave("hanging_token_endpoint").await;
    // More than one address may ask, then another one has what is left, and nobody asks more than there are places for.
    let mut waiting = Vec::new();
    for (host, n, then) in [(2, own + 4, own), (3, 4, own + 4), (4, all, all)] {
        for _ in 0..n {
            let mut socket = connect(&server, host).await;
            socket.write_all(ways.pop().unwrap().as_bytes()).await.unwrap();
            waiting.push(socket);
        }
        let arrives = async {
            while provider.count("token").await < asked + then as u64 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, arrives).await.expect("so many are asked");
        assert_eq!(provider.count("token").await, asked + then as u64);
    }
    for told in join_all(waiting.iter_mut().map(answer)).await {
        assert!(told.contains(" 503 ") && told.contains("OAUTH_PROVIDER_UNAVAILABLE"), "{told}");
    }
    provider.misbehave("honest").await;
    assert_eq!(browser.sign_in("campus").await.status, 200);
}

/// An import all of which is there but its last byte.
async fn importing(server: &TestServer, client: &Client) -> TcpStream {
    let mut socket = connect(server, 2).await;
    let token = client.token().unwrap();
    let head = format!(
        "POST /api/v1/admin/roster/import?dry_run=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: text/csv\r\nContent-Length: 26\r\n\r\nemail,name\na@x.example,Ad"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

#[tokio::test]
async fn rosters_under_way_are_bounded_for_each_admin_and_for_all() {
    let server = TestServer::builder().connection_limits(LIMITS).start().await;
    let mut under_way = Vec::new();
    let mut admins = Vec::new();
    for _ in 0..budgets::IMPORTS_RECEIVED.count() {
        let admin = server.client("admin").await;
        under_way.push(importing(&server, &admin).await);
        // One of the same admin is one too many, as soon as the first one is being received.
        let mut second = importing(&server, &admin).await;
        let mut first = under_way.pop().unwrap();
        let told = tokio::select! {
            told = answer(&mut first) => { under_way.push(second); told }
            told = answer(&mut second) => { under_way.push(first); told }
        };
        assert!(told.starts_with("HTTP/1.1 409") && told.contains("IMPORT_RUNNING"), "{told}");
        admins.push(admin);
    }
    let late = server.client("admin").await;
    let told = answer(&mut importing(&server, &late).await).await;
    assert!(told.starts_with("HTTP/1.1 409") && told.contains("IMPORT_RUNNING"), "{told}");
    let told = ask(&mut under_way[0], "a").await;
    assert!(told.starts_with("HTTP/1.1 200"), "what is received is imported: {told}");
    let told = ask(&mut importing(&server, &late).await, "a").await;
    assert!(told.starts_with("HTTP/1.1 200"), "and its place is free: {told}");
}

#[tokio::test]
async fn json_is_so_deep_and_no_deeper_at_every_door() {
    let server = TestServer::start().await;
    let (client, nobody) = (server.client("lecturer").await, server.anonymous());
    let nested = |n: usize| format!("{{\"unknown\":{}{}}}", "[".repeat(n - 1), "]".repeat(n - 1));
    for (client, method, path) in [
        (&nobody, reqwest::Method::POST, "/api/v1/auth/login"),
        (&nobody, reqwest::Method::POST, "/api/v1/auth/refresh"),
        (&client, reqwest::Method::POST, "/api/v1/courses"),
        (&client, reqwest::Method::POST, "/api/v1/auth/logout"),
    ] {
        for (depth, is_read) in [(limits::JSON_DEPTH_MAX, true), (limits::JSON_DEPTH_MAX + 1, false), (30_000, false)] {
            let request = client.request(method.clone(), path).header("content-type", "application/json");
            let reply = muster_tests::Reply::of(request.body(nested(depth))).await;
            let told = String::from_utf8_lossy(&reply.bytes).into_owned();
            assert_eq!(told.contains("JSON_TOO_DEEP"), !is_read, "{path} {depth}: {told}");
            assert_eq!(reply.status == 400, !is_read, "{path} {depth}: {told}");
        }
    }
}
