//! Whether the time of an answer tells who has an account: sign-ins, sign-ups and requests for a new
//! password of every kind, one after the other in turns, so that whatever else the machine does touches all kinds alike.

use std::time::Duration;

use muster_server::auth::{self, DisplayName, Email, NewUser, Person};
use muster_server::clock::Stopwatch;
use muster_server::db::DbError;
use muster_server::ids::{TenantId, UserId};
use muster_tests::{Client, PASSWORD, TestServer};
use serde_json::{Value, json};

use crate::Result;
use crate::figures::{percentile_ms, say};

/// Failures after which an account waits, as shipped.
const FAILURES_MAX: usize = 8;
/// How far the medians may lie apart, in per cent of the lower one.
const GAP_PERCENT_MAX: f64 = 5.0;

/// One kind of account and how long its answers took.
struct Class {
    name: &'static str,
    latencies: Vec<Duration>,
}

/// Measures `each` answers of every kind and prints the distributions.
pub(crate) fn run(each: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        // All of it comes from one address, and what is asked for again and again is never too often.
        let roomy = ["--rl-reset-ip-limit", "--rl-reset-email-limit", "--rl-signup-ip-limit", "--rl-login-email-limit"];
        let builder = roomy.iter().fold(TestServer::builder(), |builder, name| builder.option(name, "1000000"));
        let server = builder.start().await;
        let sign_ins = sign_ins(&server, each).await?;
        let sign_ups = sign_ups(&server, each).await?;
        let resets = resets(&server, each).await?;
        let gaps = [print("sign-in", sign_ins), print("sign-up", sign_ups), print("reset", resets)];
        server.stop().await;
        match gaps.into_iter().find(|gap| *gap > GAP_PERCENT_MAX) {
            Some(gap) => Err(format!("the medians lie {gap:.1} % apart").into()),
            None => Ok(()),
        }
    })
}

async fn sign_ins(server: &TestServer, each: usize) -> Result<Vec<Class>> {
    let client = server.anonymous();
    server.create_user("locked@x.example", "student").await;
    for _ in 0..FAILURES_MAX {
        sign_in(&client, "locked@x.example", 401).await?;
    }
    let without_password = insert_without_password(server, "provider@x.example").await?;
    if !without_password {
        return Err("the account without a password was there already".into());
    }
    let disabled = server.create_user("disabled@x.example", "student").await;
    let admin = server.client("admin").await;
    admin.patch(&format!("/api/v1/admin/users/{disabled}"), &json!({ "status": "disabled" })).await.expect(200);
    for number in 0..each {
        server.create_user(&format!("wrong{number}@x.example"), "student").await;
    }
    let kinds = ["unknown", "wrong", "locked", "without password", "disabled"];
    in_turns(kinds, each, async |kind, number| {
        let email = match kind {
            0 => format!("unknown{number}@x.example"),
            1 => format!("wrong{number}@x.example"),
            2 => "locked@x.example".to_owned(),
            3 => "provider@x.example".to_owned(),
            _ => "disabled@x.example".to_owned(),
        };
        sign_in(&client, &email, 401).await
    })
    .await
}

/// Asks `each` times for every kind. Every kind comes first, second, and so on equally often.
async fn in_turns<const KINDS: usize>(
    kinds: [&'static str; KINDS],
    each: usize,
    ask: impl AsyncFn(usize, usize) -> Result<Duration>,
) -> Result<Vec<Class>> {
    let mut classes = kinds.map(|name| Class { name, latencies: Vec::new() });
    for number in 0..each {
        for turn in 0..KINDS {
            let kind = (turn + number) % KINDS;
            classes[kind].latencies.push(ask(kind, number).await?);
        }
    }
    Ok(classes.into())
}

async fn sign_in(client: &Client, email: &str, status: u16) -> Result<Duration> {
    timed(client, "/api/v1/auth/login", &json!({ "email": email, "password": "not the password" }), status).await
}

async fn sign_ups(server: &TestServer, each: usize) -> Result<Vec<Class>> {
    let client = server.anonymous();
    let taken = json!({ "email": "taken@x.example", "username": "taken", "password": PASSWORD, "name": "Taken" });
    client.post("/api/v1/auth/register", &taken).await.expect(201);
    in_turns(["new address", "taken address", "taken user name"], each, async |kind, number| {
        let (email, username) = match kind {
            0 => (format!("new{number}@x.example"), format!("new{number}")),
            1 => ("taken@x.example".to_owned(), format!("other{number}")),
            _ => (format!("named{number}@x.example"), "taken".to_owned()),
        };
        let body = json!({ "email": email, "username": username, "password": PASSWORD, "name": "Somebody" });
        timed(&client, "/api/v1/auth/register", &body, 201).await
    })
    .await
}

/// After the sign-ins, whose accounts it asks for.
async fn resets(server: &TestServer, each: usize) -> Result<Vec<Class>> {
    let client = server.anonymous();
    in_turns(["unknown", "with a password", "without password", "disabled"], each, async |kind, number| {
        let email = match kind {
            0 => format!("unknown{number}@x.example"),
            1 => format!("wrong{number}@x.example"),
            2 => "provider@x.example".to_owned(),
            _ => "disabled@x.example".to_owned(),
        };
        timed(&client, "/api/v1/auth/password-reset/request", &json!({ "email": email }), 202).await
    })
    .await
}

async fn timed(client: &Client, path: &str, body: &Value, status: u16) -> Result<Duration> {
    let watch = Stopwatch::start();
    let reply = client.post(path, body).await;
    let took = watch.elapsed();
    if reply.status.as_u16() == status { Ok(took) } else { Err(format!("{path} answered {}", reply.status).into()) }
}

async fn insert_without_password(server: &TestServer, email: &str) -> Result<bool> {
    let app = server.app();
    let new = NewUser {
        id: UserId::generate(&*app.clock, &*app.entropy),
        tenant: TenantId::default_tenant(),
        email: Email::parse(email)?,
        username: None,
        display_name: DisplayName::parse("Without")?,
        role: auth::Role::Student,
        password_hash: None,
        person: Person::default(),
        created_at_ms: app.now_ms(),
    };
    let inserted: std::result::Result<bool, DbError> = app.db.write(move |tx| auth::insert(tx, &new)).await;
    Ok(inserted?)
}

/// Prints one row per kind, and says how far the medians lie apart, in per cent.
fn print(what: &str, classes: Vec<Class>) -> f64 {
    say(&format!("{what:<18}{:>8}{:>10}{:>10}{:>10}", "answers", "p10 ms", "median", "p95 ms"));
    let mut medians = Vec::new();
    for Class { name, mut latencies } in classes {
        let [p10, median, p95] = [10, 50, 95].map(|percent| percentile_ms(&mut latencies, percent));
        say(&format!("  {name:<16}{:>8}{p10:>10.2}{median:>10.2}{p95:>10.2}", latencies.len()));
        medians.push(median);
    }
    let (least, most) = (medians.iter().copied().fold(f64::MAX, f64::min), medians.iter().copied().fold(0.0, f64::max));
    let gap = (most - least) / least * 100.0;
    say(&format!("  the medians lie {gap:.2} % apart"));
    gap
}
