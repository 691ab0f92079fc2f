//! A new password and a confirmed address by links in mail, from the request to the next sign-in.

use std::time::Duration;

use muster_server::auth::{self, DisplayName, Email, NewUser, Person};
use muster_server::clock::Stopwatch;
use muster_server::db::DbError;
use muster_server::ids::{TenantId, UserId};
use muster_server::{jobs, mail};
use muster_tests::{PASSWORD, Reply, TestServer, TestServerBuilder};
use reqwest::Method;
use serde_json::{Value, json};
use totp_rs::Totp;

use crate::audit;
use crate::smtp::MailServer;

const NOW_MS: i64 = 1_763_640_000_000;
const REQUEST: &str = "/api/v1/auth/password-reset/request";
const CONFIRM: &str = "/api/v1/auth/password-reset/confirm";
const NEW: &str = "a rather new password";

fn with(post: &MailServer) -> TestServerBuilder {
    TestServer::builder()
        .manual_clock(NOW_MS)
        .option("--smtp-host", "127.0.0.1")
        .option("--smtp-port", &post.port.to_string())
        .option("--smtp-tls", "none")
        .option("--public-url", "https://muster.uni.example")
}

async fn ask(server: &TestServer, email: &str) -> Value {
    server.anonymous().post(REQUEST, &json!({ "email": email })).await.expect(202)
}

async fn confirm(server: &TestServer, token: &str, password: &str) -> Reply {
    server.anonymous().post(CONFIRM, &json!({ "token": token, "new_password": password })).await
}

async fn sign_in(server: &TestServer, email: &str, password: &str) -> u16 {
    let reply = server.anonymous().post("/api/v1/auth/login", &json!({ "email": email, "password": password })).await;
    reply.status.as_u16()
}

#[tokio::test]
async fn a_mailed_link_sets_a_password_once_and_ends_every_sign_in() {
    let post = MailServer::plain();
    let server = with(&post).start().await;
    server.create_user("ada@uni.example", "lecturer").await;
    let ada = server.sign_in("ada@uni.example").await;
    // Whoever asks may write any host into the request; the link is the owner's to follow.
    let request = server
        .anonymous()
        .request(Method::POST, "/v1/auth/password-reset/request")
        .header("Host", "evil.example")
        .header("X-Forwarded-Host", "evil.example")
        .header("Forwarded", "host=evil.example")
        .json(&json!({ "email": " Ada@Uni.example " }));
    Reply::of(request).await.expect(202);
    let mail = post.nth(1).await;
    assert_eq!(mail.recipients(), ["ada@uni.example"]);
    assert_eq!(mail.header("Subject").unwrap(), "Set a new password");
    assert!(!mail.0.to_string().contains("evil"), "{:?}", mail);
    let (link, token) = mail.link();
    assert_eq!(link, format!("https://muster.uni.example/reset-password#token={token}"));
    assert!(mail.body().contains("until 2025-11-20T12:30:00.000Z"), "{}", mail.body());

    confirm(&server, &token, "short").await.expect_error(422, "VALIDATION_ERROR");
    ada.get("/api/v1/auth/me").await.expect(200);
    let body = json!({ "token": token, "password": NEW });
    let reply = server.anonymous().post("/v1/auth/password-reset/confirm", &body).await.expect(200);
    assert!(reply.get("access_token").is_none(), "a new password signs nobody in: {reply}");
    ada.get("/api/v1/auth/me").await.expect_error(401, "TOKEN_REVOKED");
    assert_eq!(sign_in(&server, "ada@uni.example", PASSWORD).await, 401);
    assert_eq!(sign_in(&server, "ada@uni.example", NEW).await, 200);
    confirm(&server, &token, "yet another password").await.expect_error(400, "RESET_TOKEN_INVALID");
    assert_eq!(sign_in(&server, "ada@uni.example", NEW).await, 200);

    let noted = audit::rows(&server).await;
    let noted: Vec<_> = noted.iter().map(|row| (row.action.as_str(), row.result.as_str())).collect();
    assert_eq!(noted, [("password.reset_request", "queued"), ("password.reset", "ok")]);

    let notice = post.nth(2).await;
    assert_eq!(notice.header("Subject").unwrap(), "Your password was set anew");
    assert!(!notice.body().contains("#token="), "{}", notice.body());
}

#[tokio::test]
async fn a_link_ends_after_half_an_hour_and_with_the_next_one() {
    let post = MailServer::plain();
    let server = with(&post).start().await;
    server.create_user("ada@uni.example", "student").await;
    ask(&server, "ada@uni.example").await;
    let (_, first) = post.nth(1).await.link();
    ask(&server, "ada@uni.example").await;
    let (_, second) = post.nth(2).await.link();
    confirm(&server, &first, NEW).await.expect_error(400, "RESET_TOKEN_INVALID");
    server.clock().advance(Duration::from_secs(30 * 60) - Duration::from_millis(1));
    confirm(&server, &second, NEW).await.expect(200);
    post.nth(3).await;

    ask(&server, "ada@uni.example").await;
    let (_, third) = post.nth(4).await.link();
    server.clock().advance(Duration::from_secs(30 * 60));
    confirm(&server, &third, PASSWORD).await.expect_error(400, "RESET_TOKEN_INVALID");
    assert_eq!(sign_in(&server, "ada@uni.example", NEW).await, 200);
}

#[tokio::test]
async fn of_many_uses_of_one_link_at_once_exactly_one_succeeds() {
    let post = MailServer::plain();
    let server = with(&post).start().await;
    server.create_user("ada@uni.example", "student").await;
    ask(&server, "ada@uni.example").await;
    let (_, token) = post.nth(1).await.link();
    let tries = (0..8).map(|number| {
        let (client, token) = (server.anonymous(), token.clone());
        tokio::spawn(async move {
            let body = json!({ "token": token, "new_password": format!("{NEW} {number}") });
            client.post(CONFIRM, &body).await.status.as_u16()
        })
    });
    let mut answers = Vec::new();
    for answer in tries.collect::<Vec<_>>() {
        answers.push(answer.await.unwrap());
    }
    answers.sort_unstable();
    assert_eq!(answers, [200, 400, 400, 400, 400, 400, 400, 400]);
}

#[tokio::test]
async fn nobody_learns_from_the_answer_whether_there_is_an_account() {
    let post = MailServer::plain();
    let server = with(&post).start().await;
    server.create_user("known@uni.example", "student").await;
    let disabled = server.create_user("disabled@uni.example", "student").await;
    let admin = server.client("admin").await;
    admin.patch(&format!("/api/v1/admin/users/{disabled}"), &json!({ "status": "disabled" })).await.expect(200);
    create_without_password(&server, "provider@uni.example").await;
    let mut answers = Vec::new();
    for email in ["nobody@uni.example", "disabled@uni.example", "provider@uni.example", "known@uni.example"] {
        let reply = server.anonymous().post(REQUEST, &json!({ "email": email })).await;
        let mut names: Vec<String> = reply.headers.keys().map(ToString::to_string).collect();
        names.sort();
        answers.push((reply.status, reply.bytes, names));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    let mail = post.nth(2).await;
    let mut to: Vec<String> = post.inbox().iter().map(|mail| mail.recipients()[0].to_owned()).collect();
    to.sort();
    assert_eq!(to, ["known@uni.example", "provider@uni.example"]);
    drop(mail);

    // Who signs in through a provider may set a password, and who is disabled stays so.
    let of_provider = post.inbox().into_iter().find(|mail| mail.recipients() == ["provider@uni.example"]).unwrap();
    confirm(&server, &of_provider.link().1, NEW).await.expect(200);
    assert_eq!(sign_in(&server, "provider@uni.example", NEW).await, 200);
}

#[tokio::test]
async fn the_time_of_the_answer_does_not_tell_either() {
    const ROUNDS: usize = 4;
    let post = MailServer::plain();
    let server =
        with(&post).option("--rl-reset-ip-limit", "100000").option("--rl-reset-email-limit", "100000").start().await;
    server.create_user("known@uni.example", "student").await;
    let mut gaps = Vec::new();
    // What is promised is 5 %, and holds on a machine that does nothing else; this is for one that runs other tests. Work
    // that only one of the answers waits for would show in every round.
    for _ in 0..ROUNDS {
        gaps.push(gap(&server).await);
        if gaps.last() <= Some(&0.3) {
            return;
        }
    }
    panic!("one of the answers takes longer by {gaps:?}");
}

/// By how much the middle answers for an address with and without an account differ.
async fn gap(server: &TestServer) -> f64 {
    const EACH: usize = 60;
    let mut times: [Vec<Duration>; 2] = Default::default();
    for number in 0..2 * EACH {
        // Twos in both orders, so that whatever happens to every second request happens to both.
        let known = number % 4 == 0 || number % 4 == 3;
        let body = json!({ "email": if known { "known@uni.example" } else { "nobody@uni.example" } });
        let watch = Stopwatch::start();
        server.anonymous().post(REQUEST, &body).await.expect(202);
        times[usize::from(known)].push(watch.elapsed());
        idle(server).await;
    }
    let [unknown, known] = times.map(|mut times| {
        times.sort();
        times[EACH / 2]
    });
    unknown.abs_diff(known).as_secs_f64() / unknown.as_secs_f64()
}

/// Waits until nothing is left to do.
async fn idle(server: &TestServer) {
    for _ in 0..30_000 {
        let left: Result<u64, DbError> = server
            .app()
            .db
            .read(|tx| Ok(jobs::counts(tx, auth::RESET_JOB)?.pending + jobs::counts(tx, mail::MAIL_JOB)?.pending))
            .await;
        if left == Ok(0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("the jobs are not done");
}

async fn create_without_password(server: &TestServer, email: &str) {
    let app = server.app();
    let new = NewUser {
        id: UserId::generate(&*app.clock, &*app.entropy),
        tenant: TenantId::default_tenant(),
        email: Email::parse(email).unwrap(),
        username: None,
        display_name: DisplayName::parse("Somebody").unwrap(),
        role: "student".parse().unwrap(),
        person: Person::default(),
        password_hash: None,
        created_at_ms: app.now_ms(),
    };
    let inserted: Result<bool, DbError> = app.db.write(move |tx| auth::insert(tx, &new)).await;
    assert_eq!(inserted, Ok(true));
}

#[tokio::test]
async fn a_link_that_is_wrong_in_any_way_has_one_answer() {
    let post = MailServer::plain();
    let server = with(&post).start().await;
    let id = server.create_user("ada@uni.example", "student").await;
    ask(&server, "ada@uni.example").await;
    let (_, token) = post.nth(1).await.link();
    let other = if token.starts_with('A') { "B" } else { "A" };
    let mut answers = Vec::new();
    for wrong in ["", "x", &"A".repeat(43), &"x".repeat(5_000), &format!("{other}{}", &token[1..])] {
        answers.push(confirm(&server, wrong, NEW).await.expect_error(400, "RESET_TOKEN_INVALID")["message"].clone());
    }
    // A token proves what it was made for.
    let body = json!({ "token": token });
    server.anonymous().post("/api/v1/auth/confirm-email", &body).await.expect_error(400, "CONFIRMATION_TOKEN_INVALID");
    // An account that was disabled meanwhile.
    let admin = server.client("admin").await;
    admin.patch(&format!("/api/v1/admin/users/{id}"), &json!({ "status": "disabled" })).await.expect(200);
    answers.push(confirm(&server, &token, NEW).await.expect_error(400, "RESET_TOKEN_INVALID")["message"].clone());
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
}

#[tokio::test]
async fn an_address_is_confirmed_by_the_link_that_was_sent_to_it() {
    let post = MailServer::plain();
    let server = with(&post).start().await;
    server.create_user("ada@uni.example", "student").await;
    let ada = server.sign_in("ada@uni.example").await;
    assert_eq!(ada.get("/api/v1/auth/me").await.expect(200)["email_confirmed_at"], Value::Null);
    let request = "/api/v1/auth/confirm-email/request";
    server.anonymous().post(request, &json!({})).await.expect_error(401, "UNAUTHORIZED");
    assert_eq!(ada.post(request, &json!({})).await.expect(202)["status"], "sent");
    let mail = post.nth(1).await;
    let (link, token) = mail.link();
    assert_eq!(link, format!("https://muster.uni.example/confirm-email#token={token}"));
    let path = "/api/v1/auth/confirm-email";
    confirm(&server, &token, NEW).await.expect_error(400, "RESET_TOKEN_INVALID");
    assert_eq!(server.anonymous().post(path, &json!({ "token": token })).await.expect(200)["status"], "confirmed");
    assert_eq!(ada.get("/api/v1/auth/me").await.expect(200)["email_confirmed_at"], "2025-11-20T12:00:00.000Z");
    let again = server.anonymous().post(path, &json!({ "token": token })).await;
    again.expect_error(400, "CONFIRMATION_TOKEN_INVALID");
    assert_eq!(ada.post(request, &json!({})).await.expect(202)["status"], "confirmed");
    assert_eq!(post.inbox().len(), 1);
    let noted: Vec<_> = audit::rows(&server).await.into_iter().map(|row| row.action).collect();
    assert_eq!(noted, ["email.confirm_request", "email.confirm"]);
}

#[tokio::test]
async fn the_pages_of_the_links_run_our_own_script_only() {
    let server = TestServer::start().await;
    for path in ["/reset-password", "/confirm-email", "/account.js", "/account.css"] {
        let reply = server.anonymous().get(path).await;
        assert_eq!(reply.status.as_u16(), 200, "{path}");
        let header = |name: &str| reply.headers[name].to_str().unwrap().to_owned();
        let policy = header("content-security-policy");
        assert!(policy.contains("default-src 'none'; script-src 'self'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(header("referrer-policy"), "no-referrer");
        let text = String::from_utf8(reply.bytes.clone()).unwrap();
        if header("content-type").starts_with("text/html") {
            assert!(text.contains("<script src=\"account.js\" defer></script>"), "{path}");
            assert_eq!(text.matches("<script").count(), 1, "{path}");
            let handler = |(at, _)| text[at + 3..].trim_start_matches(char::is_alphabetic).starts_with('=');
            assert!(!text.contains("style=") && !text.match_indices(" on").any(handler), "{path}");
        }
    }
}

#[tokio::test]
async fn a_link_is_asked_for_three_times_an_hour_per_account_and_five_times_per_address() {
    let post = MailServer::plain();
    let server = with(&post).limits_as_shipped().start().await;
    let body = |email: &str| json!({ "email": email });
    for email in ["a@uni.example", "A@uni.example", "a@uni.example"] {
        ask(&server, email).await;
    }
    let reply = server.anonymous().post(REQUEST, &body("a@uni.example")).await;
    let after_s: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=3_600).contains(&after_s), "{after_s}");
    reply.expect_error(429, "RATE_LIMITED");
    ask(&server, "b@uni.example").await;
    ask(&server, "c@uni.example").await;
    server.anonymous().post(REQUEST, &body("d@uni.example")).await.expect_error(429, "RATE_LIMITED");
    server.clock().advance(Duration::from_secs(3_600));
    ask(&server, "a@uni.example").await;
    assert!(post.inbox().is_empty(), "none of them has an account");
}

#[tokio::test]
async fn a_new_password_does_not_stand_for_the_second_factor() {
    let post = MailServer::plain();
    let server = with(&post).start().await;
    server.create_user("ada@uni.example", "lecturer").await;
    let ada = server.sign_in("ada@uni.example").await;
    let begun = ada.post("/api/v1/auth/mfa/enroll", &json!({ "password": PASSWORD })).await.expect(200);
    let app = Totp::from_url(begun["otpauth_url"].as_str().unwrap()).unwrap();
    let code = |server: &TestServer| app.generate((server.clock_ms() / 1000) as u64).to_string();
    ada.post("/api/v1/auth/mfa/confirm", &json!({ "code": code(&server) })).await.expect(200);
    assert_eq!(post.nth(1).await.header("Subject").unwrap(), "Two-step sign-in is on");

    ask(&server, "ada@uni.example").await;
    let (_, token) = post.nth(2).await.link();
    let reply = confirm(&server, &token, NEW).await.expect(200);
    assert!(reply.get("access_token").is_none() && reply.get("mfa_token").is_none(), "{reply}");
    let login = json!({ "email": "ada@uni.example", "password": NEW });
    let half = server.anonymous().post("/api/v1/auth/login", &login).await.expect(200);
    assert!(half.get("access_token").is_none() && half["mfa_required"] == true, "{half}");
    server.clock().advance(Duration::from_secs(30));
    let complete = json!({ "mfa_token": half["mfa_token"], "code": code(&server) });
    server.anonymous().post("/api/v1/auth/mfa/complete", &complete).await.expect(200);
}

#[tokio::test]
async fn a_new_password_ends_the_wait_of_an_account_that_others_locked() {
    let post = MailServer::plain();
    let server = with(&post).option("--rl-login-email-limit", "100").start().await;
    server.create_user("ada@uni.example", "student").await;
    for _ in 0..8 {
        assert_eq!(sign_in(&server, "ada@uni.example", "wrong password").await, 401);
    }
    assert_ne!(sign_in(&server, "ada@uni.example", PASSWORD).await, 200, "the account waits");
    assert_eq!(post.nth(1).await.header("Subject").unwrap(), "Too many failed attempts to sign in");
    ask(&server, "ada@uni.example").await;
    let (_, token) = post.nth(2).await.link();
    confirm(&server, &token, "password1").await.expect_error(422, "PASSWORD_TOO_COMMON");
    confirm(&server, &token, NEW).await.expect(200);
    assert_eq!(sign_in(&server, "ada@uni.example", NEW).await, 200);
}

#[tokio::test]
async fn who_signs_up_confirms_the_address_and_who_has_an_account_hears_of_it() {
    let post = MailServer::plain();
    let server = with(&post).start().await;
    let body =
        |name: &str| json!({ "email": "ada@uni.example", "password": "a rather long password", "display_name": name });
    let path = "/api/v1/auth/register";
    server.anonymous().post(path, &body("Ada")).await.expect(201);
    let mail = post.nth(1).await;
    assert_eq!(mail.header("Subject").unwrap(), "Confirm your e-mail address");
    let (_, token) = mail.link();
    server.anonymous().post("/api/v1/auth/confirm-email", &json!({ "token": token })).await.expect(200);
    server.anonymous().post(path, &body("Visit https://evil.example now")).await.expect(201);
    let mail = post.nth(2).await;
    assert_eq!(mail.header("Subject").unwrap(), "You already have an account");
    assert_eq!(mail.recipients(), ["ada@uni.example"]);
    assert!(!mail.0.to_string().contains("evil"), "nobody sends their words through us");
    assert!(mail.body().contains("https://muster.uni.example/reset-password"), "{}", mail.body());
}

#[tokio::test]
async fn the_owner_hears_of_a_changed_password_and_of_signing_out_everywhere() {
    let post = MailServer::plain();
    let server = with(&post).start().await;
    let ada = server.client("student").await;
    let change = json!({ "current_password": PASSWORD, "new_password": NEW });
    let reply = ada.post("/api/v1/auth/change-password", &change).await.expect(200);
    assert_eq!(post.nth(1).await.header("Subject").unwrap(), "Your password was changed");
    let again = server.with_token(reply["access_token"].as_str().unwrap());
    again.post("/api/v1/auth/logout-all", &json!({})).await.expect(200);
    assert_eq!(post.nth(2).await.header("Subject").unwrap(), "You were signed out everywhere");
}

#[tokio::test]
async fn a_link_that_waits_ends_with_a_changed_password() {
    let post = MailServer::plain();
    let server = with(&post).start().await;
    let ada = server.client("student").await;
    ask(&server, "student1@muster.example").await;
    let (_, token) = post.nth(1).await.link();
    let change = json!({ "current_password": PASSWORD, "new_password": NEW });
    ada.post("/api/v1/auth/change-password", &change).await.expect(200);
    confirm(&server, &token, "yet another password").await.expect_error(400, "RESET_TOKEN_INVALID");
    assert_eq!(sign_in(&server, "student1@muster.example", NEW).await, 200);
    post.nth(2).await;
    ask(&server, "student1@muster.example").await;
    let (_, token) = post.nth(3).await.link();
    confirm(&server, &token, "yet another password").await.expect(200);
}

#[tokio::test]
async fn whoever_sets_a_new_password_need_not_wait_for_what_others_tried_under_their_names() {
    let post = MailServer::plain();
    let server = with(&post).option("--rl-login-email-limit", "3").start().await;
    let admin = server.client("admin").await;
    let ada = json!({ "email": "ada@uni.example", "username": "ada", "password": PASSWORD, "role": "student" });
    admin.post("/api/v1/auth/register", &ada).await.expect(201);
    let by_name = |password: &str| json!({ "username": "ada", "password": password });
    for _ in 0..3 {
        assert_eq!(sign_in(&server, "ada@uni.example", "a wrong password").await, 401);
        server.anonymous().post("/api/v1/auth/login", &by_name("a wrong password")).await.expect(401);
    }
    assert_eq!(sign_in(&server, "ada@uni.example", PASSWORD).await, 429);
    ask(&server, "ada@uni.example").await;
    let (_, token) = post.nth(1).await.link();
    confirm(&server, &token, NEW).await.expect(200);
    assert_eq!(sign_in(&server, "ada@uni.example", NEW).await, 200);
    server.anonymous().post("/api/v1/auth/login", &by_name(NEW)).await.expect(200);
}

#[tokio::test]
async fn a_guest_becomes_a_student_by_confirming_the_address_where_the_institution_says_so() {
    let post = MailServer::plain();
    let body = |email: &str| json!({ "email": email, "password": PASSWORD, "name": "New", "role": "student" });
    let role = async |server: &TestServer, email: &str| {
        server.sign_in(email).await.get("/api/v1/auth/me").await.expect(200)["role"].clone()
    };
    let register = "/api/v1/auth/register";
    let server = with(&post).option("--sign-up", "confirmed").start().await;
    assert_eq!(server.anonymous().post(register, &body("ada@uni.example")).await.expect(201)["role"], "guest");
    let (_, token) = post.nth(1).await.link();
    let ada = server.sign_in("ada@uni.example").await;
    assert_eq!(role(&server, "ada@uni.example").await, "guest");
    server.anonymous().post("/auth/confirm-email", &json!({ "token": token })).await.expect(200);
    ada.get("/api/v1/auth/me").await.expect_error(401, "TOKEN_REVOKED");
    assert_eq!(role(&server, "ada@uni.example").await, "student");
    let rows = audit::rows(&server).await;
    let given = rows.iter().find(|row| row.action == "user.role").unwrap();
    assert_eq!((given.reason.as_deref(), given.result.as_str()), (Some("guest"), "student"));

    // A link for a new password proves the same.
    server.anonymous().post(register, &body("bo@uni.example")).await.expect(201);
    post.nth(2).await;
    ask(&server, "bo@uni.example").await;
    let (_, token) = post.nth(3).await.link();
    confirm(&server, &token, PASSWORD).await.expect(200);
    assert_eq!(role(&server, "bo@uni.example").await, "student");

    // Whom an admin makes a guest stays one.
    let admin = server.client("admin").await;
    let id = server.sign_in("bo@uni.example").await.get("/auth/me").await.expect(200)["id"].clone();
    let path = format!("/api/v1/admin/users/{}", id.as_str().unwrap());
    admin.patch(&path, &json!({ "role": "guest" })).await.expect(200);
    post.nth(4).await;
    ask(&server, "bo@uni.example").await;
    let (_, token) = post.nth(5).await.link();
    confirm(&server, &token, PASSWORD).await.expect(200);
    assert_eq!(role(&server, "bo@uni.example").await, "guest");
}

#[tokio::test]
async fn a_guest_stays_one_where_confirming_says_nothing_about_that() {
    let post = MailServer::plain();
    let server = with(&post).option("--sign-up", "guest").start().await;
    let body = json!({ "email": "ada@uni.example", "password": PASSWORD, "name": "New" });
    server.anonymous().post("/v1/auth/signup", &body).await.expect(201);
    let (_, token) = post.nth(1).await.link();
    let ada = server.sign_in("ada@uni.example").await;
    server.anonymous().post("/v1/auth/confirm-email", &json!({ "token": token })).await.expect(200);
    assert_eq!(ada.get("/v1/auth/me").await.expect(200)["role"], "guest");
}

#[tokio::test]
async fn the_old_address_hears_of_a_new_one_and_its_links_end() {
    let post = MailServer::plain();
    let server = with(&post).start().await;
    let admin = server.client("admin").await;
    let id = server.create_user("ada@uni.example", "student").await;
    ask(&server, "ada@uni.example").await;
    let (_, token) = post.nth(1).await.link();
    let ada = server.sign_in("ada@uni.example").await;
    let change = json!({ "email": "ada@new.example" });
    admin.patch(&format!("/api/v1/admin/users/{id}"), &change).await.expect(200);
    let notice = post.nth(2).await;
    assert_eq!(notice.header("Subject").unwrap(), "Your e-mail address was changed");
    assert_eq!(notice.recipients(), ["ada@uni.example"]);
    confirm(&server, &token, NEW).await.expect_error(400, "RESET_TOKEN_INVALID");
    assert_eq!(sign_in(&server, "ada@uni.example", PASSWORD).await, 401);
    assert_eq!(sign_in(&server, "ada@new.example", PASSWORD).await, 200);
    let me = ada.get("/api/v1/auth/me").await.expect(200);
    assert_eq!((&me["email"], &me["email_confirmed_at"]), (&json!("ada@new.example"), &Value::Null));
}
