//! A bound device gets tokens by its key: no password, nobody asked, and nothing of its outbox lost.

use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use muster_server::db::{DbError, Tx};
use muster_sync_core::DeviceKey;
use muster_sync_core::signing::{SigningKey, SoftwareKey};
use muster_sync_core::sync::auth::{CHALLENGE_PATH, DEVICE_TOKEN_PATH, answer_challenge};
use muster_tests::handset::Handset;
use muster_tests::lecture::Lecture;
use muster_tests::phone::Phone;
use muster_tests::{Reply, TestServer};
use serde_json::{Value, json};

use super::smtp::MailServer;

const NOW_MS: i64 = 1_763_640_000_000;
const REFRESH: &str = "/api/v1/auth/refresh";
const ME: &str = "/api/v1/auth/me";

async fn challenge(server: &TestServer, key: &DeviceKey) -> Value {
    server.anonymous().post(CHALLENGE_PATH, &json!({"device_key": key.to_string()})).await.expect(200)
}

/// An answer by `key` to a challenge.
fn answer(key: &SoftwareKey, challenge: &Value) -> Value {
    let server = DeviceKey::from_hex(challenge["server_key"].as_str().unwrap()).unwrap();
    let bytes = BASE64.decode(challenge["challenge"].as_str().unwrap().as_bytes()).unwrap();
    let signature = BASE64.encode(&answer_challenge(key, &server, &bytes).unwrap());
    json!({"device_key": key.public_key().to_string(), "challenge": challenge["challenge"], "signature": signature})
}

async fn send(server: &TestServer, answer: &Value) -> Reply {
    server.anonymous().post(DEVICE_TOKEN_PATH, answer).await
}

async fn sign_in(server: &TestServer, key: &SoftwareKey) -> Reply {
    let challenge = challenge(server, &key.public_key()).await;
    send(server, &answer(key, &challenge)).await
}

/// A student with a bound phone.
async fn bound(server: &TestServer, seed: u8) -> Phone {
    let mut phone = Phone::new(server.client("student").await, seed);
    phone.bind(server).await;
    phone
}

async fn refresh(server: &TestServer, tokens: &Value) -> Reply {
    server.anonymous().post(REFRESH, &json!({"refresh_token": tokens["refresh_token"]})).await
}

async fn me(server: &TestServer, tokens: &Value) -> Reply {
    server.with_token(tokens["access_token"].as_str().unwrap()).get(ME).await
}

#[tokio::test]
async fn a_bound_device_signs_its_owner_in() {
    let server = TestServer::start().await;
    let phone = bound(&server, 1).await;
    let web = server.sign_in("student1@muster.example").await;
    let tokens = sign_in(&server, &phone.key).await.expect(200);
    assert_eq!(me(&server, &tokens).await.expect(200)["id"], phone.client.user_id());
    let renewed = refresh(&server, &tokens).await.expect(200);
    me(&server, &renewed).await.expect(200);
    web.get(ME).await.expect(200);
    let again = sign_in(&server, &phone.key).await.expect(200);
    refresh(&server, &renewed).await.expect_error(401, "REFRESH_TOKEN_REVOKED");
    refresh(&server, &again).await.expect(200);
}

#[tokio::test]
async fn the_owner_hears_of_a_device_that_may_sign_them_in() {
    let post = MailServer::plain();
    let port = post.port.to_string();
    let smtp = [("--smtp-host", "127.0.0.1"), ("--smtp-port", port.as_str()), ("--smtp-tls", "none")];
    let builder = smtp.iter().fold(TestServer::builder(), |builder, (name, value)| builder.option(name, value));
    let server = builder.start().await;
    let phone = bound(&server, 1).await;
    let notice = post.nth(1).await;
    assert_eq!(notice.header("Subject").unwrap(), "A device was bound to your account");
    assert_eq!(notice.recipients(), ["student1@muster.example"]);
    sign_in(&server, &phone.key).await.expect(200);
    assert_eq!(post.inbox().len(), 1);
}

#[tokio::test]
async fn an_outbox_is_never_stranded_by_expired_tokens() {
    let lecture = Lecture::begin().await;
    let email = "away@x.example";
    let user = lecture.server.create_known_user(email, "student").await;
    let path = format!("/api/v1/courses/{}/students", lecture.course);
    lecture.lecturer.post(&path, &json!({"user_ids": [user]})).await.expect(200);
    let mut handset = Handset::new(&lecture.server, email, 7).await;
    handset.ask_to_be_bound();
    handset.sync().await;
    muster_tests::pocket::approve_all(&lecture.server.client("admin").await).await;
    handset.sync().await;
    let stale = handset.sign_in_with_key(&lecture.server).await.expect(200);

    let record = handset.capture(&lecture.claim().await, lecture.server.clock_ms(), None);
    lecture.server.clock().advance(Duration::from_secs(40 * 86_400));
    assert!(handset.is_signed_out().await, "the access token has expired");
    refresh(&lecture.server, &stale).await.expect_error(401, "REFRESH_TOKEN_EXPIRED");
    assert_eq!(handset.record(record).receipt, None);

    handset.sign_in_with_key(&lecture.server).await.expect(200);
    handset.told = [0; 4];
    handset.sync().await;
    assert_eq!(handset.told[..3], [1, 0, 0], "accepted, quarantined, refused");
    assert!(handset.record(record).receipt.is_some());
}

#[tokio::test]
async fn a_device_that_is_revoked_gets_nothing_and_loses_what_it_had() {
    let server = TestServer::start().await;
    let phone = bound(&server, 1).await;
    let other = bound(&server, 2).await;
    let tokens = sign_in(&server, &phone.key).await.expect(200);
    me(&server, &tokens).await.expect(200);
    let prepared = answer(&phone.key, &challenge(&server, &phone.public_key()).await);
    let admin = server.client("admin").await;
    let path = format!("/api/v1/admin/devices/{}/revoke", phone.public_key());
    admin.post(&path, &json!({"reason": "lost"})).await.expect(200);

    send(&server, &prepared).await.expect_error(401, "DEVICE_NOT_BOUND");
    sign_in(&server, &phone.key).await.expect_error(401, "DEVICE_NOT_BOUND");
    refresh(&server, &tokens).await.expect_error(401, "REFRESH_TOKEN_REVOKED");
    me(&server, &tokens).await.expect_error(401, "TOKEN_REVOKED");
    // The browser is another class, and the other phone another user's.
    phone.client.get(ME).await.expect(200);
    sign_in(&server, &other.key).await.expect(200);
}

#[tokio::test]
async fn a_reset_ends_the_tokens_of_the_phone_that_was_replaced() {
    let server = TestServer::start().await;
    let old = bound(&server, 1).await;
    let tokens = sign_in(&server, &old.key).await.expect(200);
    let mut new = Phone::new(old.client.clone(), 2);
    let request = new.binding_request(muster_sync_core::document::RequestPurpose::Reset);
    new.push(std::slice::from_ref(&request)).await;
    sign_in(&server, &new.key).await.expect_error(401, "DEVICE_NOT_BOUND");
    refresh(&server, &tokens).await.expect(200);
    let admin = server.client("admin").await;
    let body = json!({"user_id": old.client.user_id()});
    admin.post("/api/v1/admin/approve-imei-reset", &body).await.expect(200);
    sign_in(&server, &old.key).await.expect_error(401, "DEVICE_NOT_BOUND");
    refresh(&server, &tokens).await.expect_error(401, "REFRESH_TOKEN_REVOKED");
    me(&server, &tokens).await.expect_error(401, "TOKEN_REVOKED");
    me(&server, &sign_in(&server, &new.key).await.expect(200)).await.expect(200);
}

#[tokio::test]
async fn the_device_of_a_disabled_account_gets_nothing() {
    let server = TestServer::start().await;
    let phone = bound(&server, 1).await;
    let admin = server.client("admin").await;
    let path = format!("/api/v1/admin/users/{}", phone.client.user_id());
    admin.patch(&path, &json!({"status": "disabled"})).await.expect(200);
    sign_in(&server, &phone.key).await.expect_error(401, "DEVICE_NOT_BOUND");
    admin.patch(&path, &json!({"status": "active"})).await.expect(200);
    sign_in(&server, &phone.key).await.expect(200);
}

#[tokio::test]
async fn a_challenge_is_answered_once_and_in_time() {
    let server = TestServer::builder().manual_clock(NOW_MS).start().await;
    let phone = bound(&server, 1).await;
    let asked = challenge(&server, &phone.public_key()).await;
    assert_eq!(asked["expires_in"], 120);
    let once = answer(&phone.key, &asked);
    send(&server, &once).await.expect(200);
    send(&server, &once).await.expect_error(401, "CHALLENGE_INVALID");

    let (in_time, late) =
        (challenge(&server, &phone.public_key()).await, challenge(&server, &phone.public_key()).await);
    server.clock().advance(Duration::from_millis(119_999));
    send(&server, &answer(&phone.key, &in_time)).await.expect(200);
    server.clock().advance(Duration::from_millis(1));
    send(&server, &answer(&phone.key, &late)).await.expect_error(401, "CHALLENGE_INVALID");

    let mut running = tokio::task::JoinSet::new();
    let once = answer(&phone.key, &challenge(&server, &phone.public_key()).await);
    for _ in 0..10 {
        let (client, once) = (server.anonymous(), once.clone());
        running.spawn(async move { client.post(DEVICE_TOKEN_PATH, &once).await.status.as_u16() });
    }
    let statuses = running.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
}

#[tokio::test]
async fn only_the_key_answers_only_its_challenge_of_only_this_server() {
    let server = TestServer::start().await;
    let (phone, other) = (bound(&server, 1).await, bound(&server, 2).await);
    let asked = challenge(&server, &phone.public_key()).await;
    let good = answer(&phone.key, &asked);
    let with = |field: &str, value: &Value| {
        let mut changed = good.clone();
        changed[field] = value.clone();
        changed
    };
    let elsewhere = SoftwareKey::from_seed(&[99; 32].into()).public_key().to_string();
    let mut for_another_server = asked.clone();
    for_another_server["server_key"] = json!(elsewhere);
    let mut forged = BASE64.decode(asked["challenge"].as_str().unwrap().as_bytes()).unwrap();
    forged[0] ^= 0x40;
    let forged = json!({"challenge": BASE64.encode(&forged), "server_key": asked["server_key"]});
    let of_other = challenge(&server, &other.public_key()).await;
    let wrong = [
        with("signature", &answer(&other.key, &asked)["signature"]),
        with("device_key", &json!(other.public_key().to_string())),
        answer(&phone.key, &of_other),
        answer(&phone.key, &for_another_server),
        answer(&phone.key, &forged),
        with("challenge", &json!("")),
        with("signature", &json!(BASE64.encode(&[0; 64]))),
    ];
    for wrong in &wrong {
        send(&server, wrong).await.expect_error(401, "CHALLENGE_INVALID");
    }
    // The point for which a lax verification takes one signature for every message.
    let identity = DeviceKey(std::array::from_fn(|index| u8::from(index == 0)));
    let mut weak = challenge(&server, &identity).await;
    weak["device_key"] = json!(identity.to_string());
    weak["signature"] = json!(BASE64.encode(&std::array::from_fn::<u8, 64, _>(|index| u8::from(index == 0))));
    weak.as_object_mut().unwrap().retain(|field, _| matches!(field.as_str(), "device_key" | "challenge" | "signature"));
    send(&server, &weak).await.expect_error(401, "CHALLENGE_INVALID");
    for (field, value) in [("device_key", "00"), ("challenge", "*"), ("signature", "AAAA")] {
        send(&server, &with(field, &json!(value))).await.expect_error(422, "VALIDATION_ERROR");
    }
    send(&server, &good).await.expect(200);
}

#[tokio::test]
async fn nobody_learns_which_keys_are_bound_and_nothing_is_stored_for_them() {
    let server = TestServer::start().await;
    let phone = bound(&server, 1).await;
    let stranger = SoftwareKey::from_seed(&[50; 32].into());
    let shape = |challenge: &Value| {
        let fields: Vec<_> = challenge.as_object().unwrap().keys().cloned().collect();
        (fields, challenge["challenge"].as_str().unwrap().len(), challenge["expires_in"].clone())
    };
    let (known, unknown) =
        (challenge(&server, &phone.public_key()).await, challenge(&server, &stranger.public_key()).await);
    assert_eq!(shape(&known), shape(&unknown));
    // Whoever does not have the key gets the same answer for both.
    let forger = SoftwareKey::from_seed(&[51; 32].into());
    for (key, asked) in [(phone.public_key(), &known), (stranger.public_key(), &unknown)] {
        let mut answer = answer(&forger, asked);
        answer["device_key"] = json!(key.to_string());
        send(&server, &answer).await.expect_error(401, "CHALLENGE_INVALID");
    }
    send(&server, &answer(&stranger, &unknown)).await.expect_error(401, "DEVICE_NOT_BOUND");
    assert_eq!(count(&server, "SELECT COUNT(*) FROM device_challenges").await, 0);
    send(&server, &answer(&phone.key, &known)).await.expect(200);
    assert_eq!(count(&server, "SELECT COUNT(*) FROM device_challenges").await, 1);
}

async fn count(server: &TestServer, sql: &'static str) -> i64 {
    let read = server.app().db.read(move |tx: &Tx<'_>| tx.query_one(sql, &[], |row| row.get(0))).await;
    read.map_err(|error: DbError| error).unwrap().unwrap()
}

#[tokio::test]
async fn answered_challenges_are_forgotten_once_they_are_too_old() {
    let server = TestServer::builder().manual_clock(NOW_MS).start().await;
    let phone = bound(&server, 1).await;
    for _ in 0..3 {
        sign_in(&server, &phone.key).await.expect(200);
    }
    assert_eq!(count(&server, "SELECT COUNT(*) FROM device_challenges").await, 3);
    server.clock().advance(Duration::from_secs(181));
    sign_in(&server, &phone.key).await.expect(200);
    assert_eq!(count(&server, "SELECT COUNT(*) FROM device_challenges").await, 1);
}

#[tokio::test]
async fn a_device_gets_tokens_so_often_an_hour() {
    let server = TestServer::builder().manual_clock(NOW_MS).option("--rl-refresh-user-limit", "3").start().await;
    let (phone, other) = (bound(&server, 1).await, bound(&server, 2).await);
    for _ in 0..3 {
        sign_in(&server, &phone.key).await.expect(200);
    }
    let reply = sign_in(&server, &phone.key).await;
    assert_eq!(reply.headers["retry-after"], "3601");
    reply.expect_error(429, "RATE_LIMITED");
    sign_in(&server, &other.key).await.expect(200);
    server.clock().advance(Duration::from_secs(3_600));
    sign_in(&server, &phone.key).await.expect(200);
}

#[tokio::test]
async fn somebody_who_signs_out_very_often_signs_out_everywhere_in_the_end() {
    let server = TestServer::start().await;
    let phone = bound(&server, 1).await;
    for _ in 0..33 {
        phone.client.get(ME).await.expect(200);
        let tokens = sign_in(&server, &phone.key).await.expect(200);
        let access = server.with_token(tokens["access_token"].as_str().unwrap());
        access.post("/api/v1/auth/logout", &json!({})).await.expect(200);
        me(&server, &tokens).await.expect_error(401, "TOKEN_REVOKED");
    }
    // So many are remembered one by one; one more ends them all, so that none is forgotten.
    phone.client.get(ME).await.expect_error(401, "TOKEN_REVOKED");
}

#[tokio::test]
async fn whoever_proves_nothing_does_not_stand_in_the_writers_queue() {
    let server = TestServer::start().await;
    let stranger = SoftwareKey::from_seed(&[9; 32].into());
    let prepared = answer(&stranger, &challenge(&server, &stranger.public_key()).await);
    let forged = json!({ "refresh_token": format!("mrt_{}", BASE64URL_NOPAD.encode(&[7; 52])) });
    let (held, is_held) = tokio::sync::oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (held, released) = (std::sync::Mutex::new(Some(held)), std::sync::Mutex::new(released));
    let app = server.app().clone();
    let holding = tokio::spawn(async move {
        let held: Result<(), DbError> = app
            .db
            .write(move |_: &Tx<'_>| {
                held.lock().unwrap().take().map(|held| held.send(()));
                let _ = released.lock().unwrap().recv();
                Ok(())
            })
            .await;
        held
    });
    is_held.await.unwrap();
    let patience = Duration::from_secs(4);
    let told = tokio::time::timeout(patience, async {
        send(&server, &prepared).await.expect_error(401, "DEVICE_NOT_BOUND");
        server.anonymous().post(REFRESH, &forged).await.expect_error(401, "REFRESH_TOKEN_INVALID");
    });
    let told = told.await;
    drop(release);
    holding.await.unwrap().unwrap();
    assert!(told.is_ok(), "a stranger waited for the writer");
}

/// A handset of a student of the lecture, bound, with something in its outbox that no token takes away.
async fn with_an_outbox(lecture: &Lecture, email: &str) -> (Handset, muster_sync_core::store::RecordId) {
    let user = lecture.server.create_known_user(email, "student").await;
    let path = format!("/api/v1/courses/{}/students", lecture.course);
    lecture.lecturer.post(&path, &json!({"user_ids": [user]})).await.expect(200);
    let mut handset = Handset::new(&lecture.server, email, 7).await;
    handset.ask_to_be_bound();
    handset.sync().await;
    muster_tests::pocket::approve_all(&lecture.server.client("admin").await).await;
    handset.sync().await;
    handset.sign_in_with_key(&lecture.server).await.expect(200);
    let record = handset.capture(&lecture.claim().await, lecture.server.clock_ms(), None);
    (handset, record)
}

#[tokio::test]
async fn a_key_gets_no_token_after_every_sign_in_was_ended_until_its_owner_signs_in_beside_it() {
    let lecture = Lecture::begin().await;
    let server = &lecture.server;
    let (mut handset, record) = with_an_outbox(&lecture, "ada@x.example").await;
    let web = server.sign_in("ada@x.example").await;
    web.post("/api/v1/auth/logout-all", &json!({})).await.expect(200);
    assert!(handset.is_signed_out().await);
    handset.sign_in_with_key(server).await.expect_error(401, "SIGN_IN_REQUIRED");

    // The owner has the phone: one sign-in by password, and everything goes on.
    handset.sign_in(server).await;
    handset.told = [0; 4];
    handset.sync().await;
    assert_eq!(handset.told[..3], [1, 0, 0], "accepted, quarantined, refused");
    assert!(handset.record(record).receipt.is_some());
    // What the key signs counts; it signs nobody in before it was shown with that sign-in.
    sign_in(server, &handset.key).await.expect_error(401, "SIGN_IN_REQUIRED");
    let other = server.client("student").await;
    let stranger = answer(&handset.key, &challenge(server, &handset.key.public_key()).await);
    other.post(DEVICE_TOKEN_PATH, &stranger).await.expect_error(401, "SIGN_IN_REQUIRED");
    let owner = server.sign_in("ada@x.example").await;
    let beside = answer(&handset.key, &challenge(server, &handset.key.public_key()).await);
    let tokens = owner.post(DEVICE_TOKEN_PATH, &beside).await.expect(200);
    me(server, &tokens).await.expect(200);
    sign_in(server, &handset.key).await.expect(200);
}

#[tokio::test]
async fn a_key_gets_no_token_after_a_new_password_and_another_phone_does_not_vouch_for_it() {
    let server = TestServer::start().await;
    let mut lost = Phone::new(server.client("lecturer").await, 1);
    lost.bind(&server).await;
    let change = json!({"current_password": muster_tests::PASSWORD, "new_password": "another horse battery"});
    lost.client.post("/api/v1/auth/change-password", &change).await.expect(200);
    sign_in(&server, &lost.key).await.expect_error(401, "SIGN_IN_REQUIRED");
    let login = json!({"email": "lecturer1@muster.example", "password": "another horse battery"});
    let tokens = server.anonymous().post("/api/v1/auth/login", &login).await.expect(200);
    let web = server.with_token(tokens["access_token"].as_str().unwrap()).as_user(lost.client.user_id());
    let mut other = Phone::new(web, 2);
    other.bind(&server).await;
    let by_key = sign_in(&server, &other.key).await.expect(200);
    let by_key = server.with_token(by_key["access_token"].as_str().unwrap());
    let beside = answer(&lost.key, &challenge(&server, &lost.public_key()).await);
    by_key.post(DEVICE_TOKEN_PATH, &beside).await.expect_error(401, "SIGN_IN_REQUIRED");
}

#[tokio::test]
async fn the_owner_ends_the_key_of_a_lost_phone_and_what_it_sent_stays() {
    let lecture = Lecture::begin().await;
    let server = &lecture.server;
    let mut lost = lecture.student(1).await;
    let record = lecture.capture(&mut lost, &lecture.manifest(None)).await;
    let other = lecture.student(2).await;
    let path = format!("/api/v1/students/device/{}/end", lost.public_key());
    let password = json!({"password": muster_tests::PASSWORD});
    lost.client.post(&path, &json!({})).await.expect_error(422, "VALIDATION_ERROR");
    let wrong = json!({"password": "wrong horse battery"});
    lost.client.post(&path, &wrong).await.expect_error(403, "INVALID_CREDENTIALS");
    lost.client.post(&path, &json!({"code": "123456"})).await.expect_error(409, "MFA_NOT_ENABLED");
    other.client.post(&path, &password).await.expect_error(404, "NOT_FOUND");
    server.anonymous().post(&path, &password).await.expect_error(401, "UNAUTHORIZED");
    let prepared = sign_in(server, &lost.key).await.expect(200);

    let ended = lost.client.post(&path, &password).await.expect(200);
    assert_eq!((&ended["status"], &ended["reason"]), (&json!("revoked"), &json!("lost")));
    assert_eq!(ended["revoked_by"], lost.client.user_id());
    sign_in(server, &lost.key).await.expect_error(401, "DEVICE_NOT_BOUND");
    me(server, &prepared).await.expect_error(401, "TOKEN_REVOKED");
    lost.client.get(ME).await.expect(200);
    assert_eq!(lecture.record(&record).await["record"]["id"], record, "what it had sent stays");
    let later = lost.submission(muster_sync_core::Locator::from_random([0, 9, 9, 0]), "123456", server.clock_ms());
    let fates = lost.push(std::slice::from_ref(&later)).await;
    assert_eq!(fates[0].reason.as_deref(), Some("device_revoked"));
    let rows = super::audit::rows(server).await;
    let row = rows.iter().find(|row| row.action == "device.end").unwrap();
    assert_eq!((row.actor_id.as_str(), row.reason.as_deref()), (lost.client.user_id(), Some("lost")));
    lost.client.post(&path, &password).await.expect(200);
    assert_eq!(super::audit::rows(server).await.iter().filter(|row| row.action == "device.end").count(), 1);
    // A new phone is bound by asking for it, as the first one was.
    let mut new = Phone::new(lost.client.clone(), 3);
    new.bind(server).await;
    sign_in(server, &new.key).await.expect(200);
}
