//! Devices: asking to be bound, answering, and what a bound key is known for.

use std::cell::Cell;

use data_encoding::BASE64;
use muster_server::db::{DbError, Tx};
use muster_server::devices::{self, DeviceStatus, LegacyMatch};
use muster_server::ids::TenantId;
use muster_server::log::{self, ServerKey};
use muster_sync_core::change::{Author, SignedChange, validate};
use muster_sync_core::document::{
    Binding, BindingAction, ChainTip, Code, Entry, KeyLevel, Label, Request, RequestPurpose, Reset, ResetAction,
};
use muster_sync_core::signing::{SignError, SigningKey, SoftwareKey};
use muster_sync_core::sync::message::{Fate, FateKind};
use muster_sync_core::time::{Receipt, session_code::CodeKey};
use muster_sync_core::{ChangeHash, DeviceKey, DocumentName, Locator};
use muster_tests::phone::{Item, Phone as SyncPhone, sign_unread};
use muster_tests::{Client, Reply, TestServer};
use serde_json::{Value, json};

const NOON_MS: i64 = 1_763_640_000_000;
const BIND: &str = "/api/v1/students/device/bind";
const REQUESTS: &str = "/api/v1/admin/device-requests";
const RESET: &str = "/api/v1/admin/approve-imei-reset";

/// A phone, with where its chain in its owner's binding document ends.
struct Phone {
    key: Box<dyn SigningKey>,
    tip: Cell<Option<ChainTip>>,
}

impl Phone {
    fn new(seed: u8) -> Self {
        Self::with_key(SoftwareKey::from_seed(&[seed; 32].into()))
    }

    fn with_key(key: impl SigningKey + 'static) -> Self {
        Self { key: Box::new(key), tip: Cell::new(None) }
    }

    fn key(&self) -> DeviceKey {
        self.key.public_key()
    }

    fn request(&self) -> Request {
        Request {
            key: self.key(),
            purpose: RequestPurpose::Bind,
            platform: Code::new("android").unwrap(),
            model: Label::new("Pixel 9"),
            level: KeyLevel::Hardware,
            legacy_id_hash: None,
            code_key_hash: None,
        }
    }

    fn sign(&self, user: &str, entry: impl Into<Entry>) -> SignedChange {
        let name = DocumentName::DeviceBinding { user: user.to_owned() };
        let time_s = NOON_MS / 1000;
        let author = Author { key: &*self.key, tenant: "default", name: &name, tip: self.tip.get(), time_s };
        let (signed, tip) = sign_unread(&author, &entry.into());
        self.tip.set(Some(tip));
        signed
    }

    /// Asks over HTTP, and says how the server names the request.
    async fn ask(&self, client: &Client) -> String {
        let asked = push(client, &self.sign(client.user_id(), self.request())).await.expect(202);
        assert_eq!(asked["request"]["status"], "pending");
        asked["request"]["hash"].as_str().unwrap().to_owned()
    }
}

fn bind_body(signed: &SignedChange) -> Value {
    json!({"change": BASE64.encode(&signed.bytes), "signature": BASE64.encode(&signed.signature)})
}

async fn push(client: &Client, signed: &SignedChange) -> Reply {
    client.post(BIND, &bind_body(signed)).await
}

async fn approve(admin: &Client, hash: &str) -> Reply {
    admin.post(&format!("{REQUESTS}/{hash}/approve"), &json!({})).await
}

async fn deny(admin: &Client, hash: &str) -> Reply {
    admin.post(&format!("{REQUESTS}/{hash}/deny"), &json!({"reason": "not_seen"})).await
}

async fn revoke(admin: &Client, key: DeviceKey) -> Reply {
    admin.post(&format!("/api/v1/admin/devices/{key}/revoke"), &json!({"reason": "lost"})).await
}

async fn pending(admin: &Client) -> Vec<Value> {
    admin.get(REQUESTS).await.expect(200)["items"].as_array().unwrap().clone()
}

fn decided(action: BindingAction, key: DeviceKey, of: Option<ChangeHash>, by: &Client) -> Binding {
    Binding { key, action, of, reason: Code::new("seen_in_person"), by: Label::new(by.user_id()).unwrap() }
}

async fn owner(server: &TestServer, key: DeviceKey) -> Option<(String, DeviceStatus)> {
    let tenant = TenantId::default_tenant();
    let read = server.app().db.read(move |tx: &Tx<'_>| devices::owner_of(tx, &tenant, &key));
    let owner = read.await.map_err(|error: DbError| error).unwrap();
    owner.map(|owner| (owner.user.to_string(), owner.status))
}

async fn status(server: &TestServer, phone: &Phone) -> Option<DeviceStatus> {
    owner(server, phone.key()).await.map(|(_, status)| status)
}

#[tokio::test]
async fn a_request_waits_until_an_admin_approves_it() {
    let server = TestServer::start().await;
    let (student, admin, phone) = (server.client("student").await, server.client("admin").await, Phone::new(1));
    assert_eq!(student.get("/api/v1/students/device").await.expect(200)["status"], "none");

    let signed = phone.sign(student.user_id(), phone.request());
    let asked = push(&student, &signed).await.expect(202);
    assert_eq!(push(&student, &signed).await.expect(202), asked, "the same bytes get the same answer");
    let receipt = Receipt {
        log_index: asked["receipt"]["log_index"].as_u64().unwrap(),
        received_at_ms: asked["receipt"]["received_at_ms"].as_i64().unwrap(),
        signature: BASE64
            .decode(asked["receipt"]["signature"].as_str().unwrap().as_bytes())
            .unwrap()
            .try_into()
            .unwrap(),
    };
    let hash = asked["request"]["hash"].as_str().unwrap();
    let document = DocumentName::DeviceBinding { user: student.user_id().to_owned() }.id("default");
    let server_key = server.app().slice::<ServerKey>().unwrap().public();
    receipt.verify(&server_key, document, ChangeHash::from_hex(hash).unwrap()).unwrap();

    assert_eq!(student.get("/api/v1/students/device").await.expect(200)["status"], "pending");
    let listed = pending(&admin).await;
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0]["hash"], &listed[0]["purpose"]), (&json!(hash), &json!("bind")));
    assert_eq!(listed[0]["user"]["id"], student.user_id());
    assert_eq!(status(&server, &phone).await, None);

    let approved = approve(&admin, hash).await.expect(200);
    assert_eq!((&approved["status"], &approved["decided_by"]), (&json!("approved"), &json!(admin.user_id())));
    assert_eq!(approve(&admin, hash).await.expect(200), approved, "the same answer again changes nothing");
    deny(&admin, hash).await.expect_error(409, "ALREADY_DECIDED");
    assert_eq!(owner(&server, phone.key()).await, Some((student.user_id().to_owned(), DeviceStatus::Bound)));
    let own = student.get("/api/v1/students/device").await.expect(200);
    assert_eq!((&own["status"], &own["devices"][0]["level"]), (&json!("bound"), &json!("hardware")));
    assert_eq!(push(&student, &signed).await.expect(200)["receipt"], asked["receipt"]);
    assert!(pending(&admin).await.is_empty());
}

#[tokio::test]
async fn a_students_second_phone_takes_the_place_of_the_first_only_by_a_reset() {
    let server = TestServer::start().await;
    let (student, admin) = (server.client("student").await, server.client("admin").await);
    let (first, second) = (Phone::new(1), Phone::new(2));
    let email = student.get("/api/v1/auth/me").await.expect(200)["email"].clone();
    admin.post(RESET, &json!({"email": email})).await.expect_error(404, "NO_PENDING_RESET");
    let asked = first.ask(&student).await;
    admin.post(RESET, &json!({"email": email})).await.expect_error(409, "NOT_A_RESET");
    approve(&admin, &asked).await.expect(200);

    let asked = second.ask(&student).await;
    let listed = pending(&admin).await;
    assert_eq!((&listed[0]["purpose"], &listed[0]["other_devices"]), (&json!("reset"), &json!(1)));
    approve(&admin, &asked).await.expect_error(409, "RESET_REQUIRED");
    assert_eq!(status(&server, &second).await, None);
    let replaced = admin.post(RESET, &json!({"email": email, "reason": "new_phone"})).await.expect(200);
    assert_eq!((&replaced["status"], &replaced["purpose"]), (&json!("approved"), &json!("reset")));
    assert_eq!(status(&server, &first).await, Some(DeviceStatus::Revoked));
    assert_eq!(status(&server, &second).await, Some(DeviceStatus::Bound));
    assert_eq!(admin.post(RESET, &json!({"request_id": asked})).await.expect(200), replaced);
    admin.post(RESET, &json!({"email": email})).await.expect_error(404, "NO_PENDING_RESET");

    let document = DocumentName::DeviceBinding { user: student.user_id().to_owned() }.id("default");
    let read = server.app().db.read(move |tx: &Tx<'_>| log::entries_of(tx, document));
    let entries = read.await.map_err(|error: DbError| error).unwrap();
    assert_eq!(entries.len(), 6, "two requests, a binding; a reset, a revocation and a binding at once");
}

#[tokio::test]
async fn a_lecturer_may_have_a_few_phones_but_not_any_number() {
    let server = TestServer::start().await;
    let (lecturer, admin) = (server.client("lecturer").await, server.client("admin").await);
    let phones: Vec<_> = (1..=9).map(Phone::new).collect();
    for phone in &phones[..8] {
        let asked = phone.ask(&lecturer).await;
        approve(&admin, &asked).await.expect(200);
    }
    let asked = phones[8].ask(&lecturer).await;
    approve(&admin, &asked).await.expect_error(409, "DEVICE_LIMIT");
    revoke(&admin, phones[0].key()).await.expect(200);
    approve(&admin, &asked).await.expect(200);
    assert_eq!(status(&server, &phones[1]).await, Some(DeviceStatus::Bound));
}

#[tokio::test]
async fn nobody_answers_for_themselves() {
    let server = TestServer::start().await;
    let (admin, other, phone) = (server.client("admin").await, server.client("admin").await, Phone::new(1));
    let asked = phone.ask(&admin).await;
    approve(&admin, &asked).await.expect_error(403, "OWN_REQUEST");
    deny(&admin, &asked).await.expect_error(403, "OWN_REQUEST");
    admin.post(RESET, &json!({"user_id": admin.user_id()})).await.expect_error(403, "OWN_REQUEST");
    admin.post(RESET, &json!({"request_id": asked})).await.expect_error(403, "OWN_REQUEST");
    approve(&other, &asked).await.expect(200);

    revoke(&admin, phone.key()).await.expect_error(403, "OWN_DEVICE");
    let revoked = revoke(&other, phone.key()).await.expect(200);
    assert_eq!((&revoked["status"], &revoked["reason"]), (&json!("revoked"), &json!("lost")));
    assert_eq!(revoke(&other, phone.key()).await.expect(200), revoked);
    revoke(&other, Phone::new(2).key()).await.expect_error(404, "NOT_FOUND");
    assert_eq!(status(&server, &phone).await, Some(DeviceStatus::Revoked));
}

/// The identity point: every message has a signature under it that a lax verifier accepts.
struct WeakKey;

impl SigningKey for WeakKey {
    fn public_key(&self) -> DeviceKey {
        let mut identity = [0; 32];
        identity[0] = 1;
        DeviceKey(identity)
    }

    fn sign(&self, _message: &[u8]) -> Result<[u8; 64], SignError> {
        let mut signature = [0; 64];
        signature[0] = 1;
        Ok(signature)
    }
}

#[tokio::test]
async fn what_is_not_this_keys_request_for_this_user_is_refused() {
    let server = TestServer::start().await;
    let (student, other, admin) =
        (server.client("student").await, server.client("student").await, server.client("admin").await);
    let user = student.user_id();
    let (phone, thief) = (Phone::new(1), Phone::new(2));
    let refused = async |signed: &SignedChange| {
        push(&student, signed).await.expect_error(422, "CHANGE_REFUSED")["details"]["reason"].clone()
    };

    let weak = Phone::with_key(WeakKey);
    assert_eq!(refused(&weak.sign(user, Phone::new(3).request())).await, "key_weak");
    assert_eq!(refused(&Phone::new(3).sign(user, weak.request())).await, "field_invalid");
    assert_eq!(refused(&thief.sign(user, phone.request())).await, "writer_not_allowed");
    assert_eq!(refused(&Phone::new(3).sign(other.user_id(), Phone::new(3).request())).await, "document_mismatch");
    let itself = decided(BindingAction::Bind, Phone::new(3).key(), None, &admin);
    assert_eq!(refused(&Phone::new(3).sign(user, itself)).await, "writer_not_allowed");
    let mut forged = Phone::new(3).sign(user, Phone::new(3).request());
    forged.signature[7] ^= 1;
    assert_eq!(refused(&forged).await, "signature_invalid");
    let truncated = SignedChange { bytes: forged.bytes[..40].to_vec(), ..forged };
    assert_eq!(refused(&truncated).await, "change_truncated");
    for wrong in [
        json!({}),
        json!({"change": "!", "signature": "!"}),
        json!({"change": "AAAA", "signature": "AAAA"}),
        json!({"change": "AAAA"}),
        json!({"change": "AAAA", "signature": "AAAA", "imei": "1"}),
    ] {
        student.post(BIND, &wrong).await.expect_error(422, "VALIDATION_ERROR");
    }
    assert!(pending(&admin).await.is_empty());

    let first = phone.sign(user, phone.request());
    let second = phone.sign(user, phone.request());
    push(&student, &second).await.expect_error(409, "CHAIN_GAP");
    push(&student, &first).await.expect(202);
    push(&student, &second).await.expect(202);
    phone.tip.set(None);
    let fork = phone.sign(user, Request { model: None, ..phone.request() });
    push(&student, &fork).await.expect_error(409, "EQUIVOCATION");
    let listed = pending(&admin).await;
    assert_eq!((listed.len(), &listed[0]["chain_fork"]), (1, &json!(true)));
}

#[tokio::test]
async fn a_key_has_one_owner_for_ever() {
    let server = TestServer::start().await;
    let (student, other, admin) =
        (server.client("student").await, server.client("student").await, server.client("admin").await);
    let phone = Phone::new(1);
    let asked = phone.ask(&student).await;
    approve(&admin, &asked).await.expect(200);
    let again = Phone::new(1);
    let foreign = again.sign(other.user_id(), again.request());
    push(&other, &foreign).await.expect_error(409, "KEY_BOUND_ELSEWHERE");
    revoke(&admin, phone.key()).await.expect(200);
    push(&other, &foreign).await.expect_error(409, "KEY_BOUND_ELSEWHERE");

    let back = phone.ask(&student).await;
    assert_eq!(status(&server, &phone).await, Some(DeviceStatus::Revoked));
    approve(&admin, &back).await.expect(200);
    assert_eq!(status(&server, &phone).await, Some(DeviceStatus::Bound));
}

#[tokio::test]
async fn two_who_ask_for_one_key_cannot_both_have_it() {
    let server = TestServer::start().await;
    let (student, other, admin) =
        (server.client("student").await, server.client("student").await, server.client("admin").await);
    let asked = Phone::new(1).ask(&student).await;
    let asked_too = Phone::new(1).ask(&other).await;
    approve(&admin, &asked).await.expect(200);
    approve(&admin, &asked_too).await.expect_error(409, "KEY_BOUND_ELSEWHERE");
    deny(&admin, &asked_too).await.expect(200);
}

#[tokio::test]
async fn a_request_is_decided_once_and_may_be_made_again() {
    let server = TestServer::start().await;
    let (student, admin, phone) = (server.client("student").await, server.client("admin").await, Phone::new(1));
    let unknown = "00".repeat(32);
    approve(&admin, &unknown).await.expect_error(404, "NOT_FOUND");
    approve(&admin, "nonsense").await.expect_error(404, "NOT_FOUND");
    admin.post(RESET, &json!({"request_id": unknown})).await.expect_error(404, "NOT_FOUND");
    admin.post(RESET, &json!({"email": "nobody@uni.example"})).await.expect_error(404, "NOT_FOUND");
    admin.post(RESET, &json!({})).await.expect_error(422, "VALIDATION_ERROR");

    let asked = phone.ask(&student).await;
    let path = format!("{REQUESTS}/{asked}/deny");
    admin.post(&path, &json!({})).await.expect_error(422, "VALIDATION_ERROR");
    admin.post(&path, &json!({"reason": "not a code"})).await.expect_error(422, "VALIDATION_ERROR");
    let denied = deny(&admin, &asked).await.expect(200);
    assert_eq!((&denied["status"], &denied["reason"]), (&json!("denied"), &json!("not_seen")));
    assert_eq!(deny(&admin, &asked).await.expect(200), denied);
    approve(&admin, &asked).await.expect_error(409, "ALREADY_DECIDED");
    assert_eq!(student.get("/api/v1/students/device").await.expect(200)["status"], "denied");

    let asked = phone.ask(&student).await;
    let newer = Phone::new(2).ask(&student).await;
    approve(&admin, &asked).await.expect_error(409, "REQUEST_SUPERSEDED");
    deny(&admin, &asked).await.expect_error(409, "REQUEST_SUPERSEDED");
    approve(&admin, &newer).await.expect(200);
}

#[tokio::test]
async fn only_admins_see_and_answer_requests() {
    let server = TestServer::start().await;
    let (student, guest) = (server.client("student").await, server.client("guest").await);
    let asked = Phone::new(1).ask(&student).await;
    for role in ["student", "lecturer", "reviewer", "staff"] {
        let client = server.client(role).await;
        client.get(REQUESTS).await.expect_error(403, "FORBIDDEN");
        client.get("/api/v1/admin/devices").await.expect_error(403, "FORBIDDEN");
        approve(&client, &asked).await.expect_error(403, "FORBIDDEN");
        deny(&client, &asked).await.expect_error(403, "FORBIDDEN");
        revoke(&client, Phone::new(1).key()).await.expect_error(403, "FORBIDDEN");
        client.post(RESET, &json!({"request_id": asked})).await.expect_error(403, "FORBIDDEN");
    }
    let phone = Phone::new(2);
    push(&guest, &phone.sign(guest.user_id(), phone.request())).await.expect_error(403, "FORBIDDEN");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let mut asked = Vec::new();
    for seed in 1..=3 {
        let student = server.client("student").await;
        asked.push(Phone::new(seed).ask(&student).await);
    }
    let mut listed = Vec::new();
    let mut path = format!("{REQUESTS}?status=pending&limit=2");
    loop {
        let page = admin.get(&path).await.expect(200);
        listed.extend(page["items"].as_array().unwrap().iter().map(|item| item["hash"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("{REQUESTS}?status=pending&limit=2&after={next}");
    }
    listed.sort();
    let mut expected = asked.clone();
    expected.sort();
    assert_eq!(listed, expected);
    admin.get(&format!("{REQUESTS}?status=maybe")).await.expect_error(422, "VALIDATION_ERROR");
    admin.get(&format!("{REQUESTS}?after=x")).await.expect_error(422, "VALIDATION_ERROR");

    for hash in &asked {
        approve(&admin, hash).await.expect(200);
    }
    let first = admin.get("/api/v1/admin/devices?limit=2").await.expect(200);
    let next = first["next"].as_str().unwrap();
    let rest = admin.get(&format!("/api/v1/admin/devices?limit=2&after={next}")).await.expect(200);
    assert_eq!((first["items"].as_array().unwrap().len(), rest["items"].as_array().unwrap().len()), (2, 1));
    assert!(rest.get("next").is_none());
    let user = rest["items"][0]["user"]["id"].as_str().unwrap();
    let one = admin.get(&format!("/api/v1/admin/devices?user_id={user}")).await.expect(200);
    assert_eq!(one["items"], rest["items"]);
}

#[tokio::test]
async fn a_code_key_is_kept_sealed_if_it_is_the_one_that_was_committed_to() {
    let server = TestServer::start().await;
    let (lecturer, admin) = (server.client("lecturer").await, server.client("admin").await);
    let (phone, careless) = (Phone::new(1), Phone::new(2));
    let code_key = CodeKey([42; 32]);
    let ask = async |phone: &Phone, given: [u8; 32]| {
        let request = Request { code_key_hash: Some(code_key.commitment()), ..phone.request() };
        let mut body = bind_body(&phone.sign(lecturer.user_id(), request));
        body["code_key"] = json!(BASE64.encode(&given));
        let asked = lecturer.post(BIND, &body).await.expect(202)["request"].clone();
        approve(&admin, asked["hash"].as_str().unwrap()).await.expect(200);
        asked["note"].clone()
    };
    assert_eq!(ask(&phone, code_key.0).await, Value::Null);
    assert_eq!(ask(&careless, [43; 32]).await, "CODE_KEY_MISSING");
    let kept =
        async |phone: &Phone| devices::code_key(server.app(), &TenantId::default_tenant(), &phone.key()).await.unwrap();
    assert_eq!(kept(&phone).await.map(|key| key.0), Some(code_key.0));
    assert!(kept(&careless).await.is_none());
    let read = server.app().db.read(|tx: &Tx<'_>| {
        tx.query("SELECT sealed_code_key FROM devices WHERE sealed_code_key IS NOT NULL", &[], |row| {
            row.get::<Vec<u8>>(0)
        })
    });
    let sealed = read.await.map_err(|error: DbError| error).unwrap();
    assert_eq!(sealed.len(), 1);
    assert!(!sealed[0].windows(32).any(|window| window == code_key.0));
}

#[tokio::test]
async fn the_device_of_a_disabled_user_counts_as_revoked() {
    let server = TestServer::start().await;
    let (student, admin, phone) = (server.client("student").await, server.client("admin").await, Phone::new(1));
    let asked = phone.ask(&student).await;
    approve(&admin, &asked).await.expect(200);
    assert_eq!(status(&server, &phone).await, Some(DeviceStatus::Bound));
    let path = format!("/api/v1/admin/users/{}", student.user_id());
    admin.patch(&path, &json!({"status": "disabled"})).await.expect(200);
    assert_eq!(status(&server, &phone).await, Some(DeviceStatus::Revoked));
    admin.patch(&path, &json!({"status": "active"})).await.expect(200);
    assert_eq!(status(&server, &phone).await, Some(DeviceStatus::Bound));
}

#[tokio::test]
async fn an_identifier_without_a_key_is_approved_once_and_replaced_by_a_reset() {
    let server = TestServer::start().await;
    let (student, other, admin) =
        (server.client("student").await, server.client("student").await, server.client("admin").await);
    let ask = async |client: &Client, imei: &str| client.post(BIND, &json!({"imei": imei, "device_name": "A51"})).await;
    let known = async |client: &Client, imei: &str| {
        let tenant = TenantId::default_tenant();
        let hash = devices::legacy_hash(server.app(), &tenant, imei).unwrap();
        let user = client.user_id().parse().unwrap();
        let read = server.app().db.read(move |tx: &Tx<'_>| devices::legacy_match(tx, &tenant, user, &hash));
        read.await.map_err(|error: DbError| error).unwrap()
    };
    ask(&student, "").await.expect_error(422, "VALIDATION_ERROR");
    ask(&student, &"1".repeat(65)).await.expect_error(422, "VALIDATION_ERROR");
    let asked = ask(&student, "123456789012345").await.expect(202)["request"].clone();
    assert_eq!((&asked["kind"], &asked["level"], &asked["key"]), (&json!("legacy"), &Value::Null, &Value::Null));
    assert_eq!(ask(&student, " 123456789012345 ").await.expect(202)["request"]["hash"], asked["hash"]);
    assert_eq!(known(&student, "123456789012345").await, LegacyMatch::Unbound);
    approve(&admin, asked["hash"].as_str().unwrap()).await.expect(200);
    assert_eq!(known(&student, "123456789012345").await, LegacyMatch::Matches);
    assert_eq!(known(&student, "999").await, LegacyMatch::Differs);
    assert_eq!(known(&other, "123456789012345").await, LegacyMatch::OfAnother);
    assert_eq!(ask(&student, "123456789012345").await.expect(200)["request"]["status"], "approved");

    let shared = ask(&other, "123456789012345").await.expect(202)["request"].clone();
    assert_eq!(shared["note"], "KEY_BOUND_ELSEWHERE");
    approve(&admin, shared["hash"].as_str().unwrap()).await.expect_error(409, "KEY_BOUND_ELSEWHERE");

    let second = ask(&student, "999").await.expect(202)["request"].clone();
    assert_eq!(second["purpose"], "reset");
    approve(&admin, second["hash"].as_str().unwrap()).await.expect_error(409, "RESET_REQUIRED");
    admin.post(RESET, &json!({"user_id": student.user_id()})).await.expect(200);
    assert_eq!(known(&student, "999").await, LegacyMatch::Matches);
    assert_eq!(known(&student, "123456789012345").await, LegacyMatch::Differs);
    approve(&admin, shared["hash"].as_str().unwrap()).await.expect(200);
    assert_eq!(known(&other, "123456789012345").await, LegacyMatch::Matches);
}

/// Pushes an entry for `user`'s document through the sync endpoint: its hash, and what became of it.
async fn sync(phone: &mut SyncPhone, user: &str, entry: impl Into<Entry>) -> (ChangeHash, Fate) {
    let name = DocumentName::DeviceBinding { user: user.to_owned() };
    let signed = phone.write(&name, &entry.into());
    let hash = validate("default", &name, &signed.bytes, &signed.signature).unwrap().hash;
    let fates = phone.push(&[Item { name, signed, manifest: None }]).await;
    (hash, fates.into_iter().next().unwrap())
}

async fn accepted(phone: &mut SyncPhone, user: &str, entry: impl Into<Entry>) -> ChangeHash {
    let (hash, fate) = sync(phone, user, entry).await;
    assert_eq!(fate.kind, FateKind::Accepted, "{fate:?}");
    hash
}

#[tokio::test]
async fn what_an_admins_phone_signed_offline_has_the_effect_of_what_is_done_over_http() {
    let server = TestServer::start().await;
    let (student, admin) = (server.client("student").await, server.client("admin").await);
    let (user, by) = (student.user_id(), Label::new(admin.user_id()).unwrap());
    let mut office = SyncPhone::new(admin.clone(), 9);
    office.bind(&server).await;
    let (mut first, mut second) = (SyncPhone::new(student.clone(), 1), SyncPhone::new(student.clone(), 2));
    let is = async |phone: &SyncPhone, expected: Option<DeviceStatus>| {
        let status = owner(&server, phone.public_key()).await.map(|(_, status)| status);
        assert_eq!(status, expected);
    };

    let request = Phone::new(1).request();
    let asked = accepted(&mut first, user, request).await;
    let bind = decided(BindingAction::Bind, first.public_key(), Some(asked), &admin);
    let (_, fate) = sync(&mut first, user, bind.clone()).await;
    assert_eq!(fate.kind, FateKind::Quarantined, "a student's phone does not bind itself: {fate:?}");
    is(&first, None).await;
    accepted(&mut office, user, bind).await;
    is(&first, Some(DeviceStatus::Bound)).await;

    let asked = accepted(&mut second, user, Phone::new(2).request()).await;
    let bind = decided(BindingAction::Bind, second.public_key(), Some(asked), &admin);
    accepted(&mut office, user, bind.clone()).await;
    is(&second, None).await;
    assert_eq!(pending(&admin).await[0]["note"], "RESET_REQUIRED");
    let reset = Reset { of: asked, action: ResetAction::Approve, reason: None, by };
    accepted(&mut office, user, reset.clone()).await;
    is(&first, Some(DeviceStatus::Revoked)).await;
    is(&second, Some(DeviceStatus::Bound)).await;

    accepted(&mut office, user, decided(BindingAction::Revoke, second.public_key(), None, &admin)).await;
    accepted(&mut office, user, reset).await;
    accepted(&mut office, user, bind).await;
    is(&second, Some(DeviceStatus::Revoked)).await;
}

#[tokio::test]
async fn an_admins_phone_does_not_answer_its_own_users_request() {
    let server = TestServer::start().await;
    let (admin, other) = (server.client("admin").await, server.client("admin").await);
    let (mut office, mut elsewhere) = (SyncPhone::new(admin.clone(), 9), SyncPhone::new(other.clone(), 8));
    office.bind(&server).await;
    elsewhere.bind(&server).await;
    let second = Phone::new(2);
    second.ask(&admin).await;
    let own = decided(BindingAction::Bind, second.key(), None, &admin);
    let (_, fate) = sync(&mut office, admin.user_id(), own).await;
    assert_eq!((fate.kind, fate.reason.as_deref()), (FateKind::Refused, Some("writer_not_allowed")));
    assert_eq!(status(&server, &second).await, None);
    let others = decided(BindingAction::Bind, second.key(), None, &other);
    accepted(&mut elsewhere, admin.user_id(), others).await;
    assert_eq!(status(&server, &second).await, Some(DeviceStatus::Bound));
}

#[tokio::test]
async fn a_capture_that_came_before_the_approval_is_released_by_it() {
    let server = TestServer::start().await;
    let (student, admin) = (server.client("student").await, server.client("admin").await);
    let mut phone = SyncPhone::new(student.clone(), 1);
    let asked = accepted(&mut phone, student.user_id(), Phone::new(1).request()).await;
    let capture = [phone.submission(Locator::from_random([7; 4]), "123456", NOON_MS)];
    let fate = phone.push(&capture).await.remove(0);
    assert_eq!((fate.kind, fate.reason.as_deref()), (FateKind::Quarantined, Some("device_unbound")));
    approve(&admin, &asked.to_string()).await.expect(200);

    // Not a push: that would be judged afresh. The job has to have found it by itself.
    let name = phone.attendance(Locator::from_random([7; 4])).id("default");
    let key = phone.public_key();
    let mut in_log = None;
    for _ in 0..6_000 {
        let read = server.app().db.read(move |tx: &Tx<'_>| log::find(tx, name, &key, 1));
        in_log = read.await.map_err(|error: DbError| error).unwrap();
        if in_log.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let (log_index, ..) = in_log.expect("released");
    let fate = phone.push(&capture).await.remove(0);
    assert_eq!(fate.receipt.map(|receipt| receipt.log_index), Some(log_index.unsigned_abs()));
}

#[tokio::test]
async fn a_verdict_learns_since_when_a_key_is_bound() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    let (student, admin, phone) = (server.client("student").await, server.client("admin").await, Phone::new(1));
    let facts = async || {
        let (tenant, key) = (TenantId::default_tenant(), phone.key());
        let read = server.app().db.read(move |tx: &Tx<'_>| devices::binding_at(tx, &tenant, &key));
        read.await.map_err(|error: DbError| error).unwrap()
    };
    let asked = phone.ask(&student).await;
    assert_eq!(facts().await, None);
    approve(&admin, &asked).await.expect(200);
    let bound = facts().await.unwrap();
    assert_eq!(bound.user.to_string(), student.user_id());
    assert_eq!((bound.bound_at_ms, bound.revoked_at_ms, bound.hardware), (NOON_MS, None, true));
    server.clock().advance(std::time::Duration::from_secs(60));
    revoke(&admin, phone.key()).await.expect(200);
    assert_eq!(facts().await.unwrap().revoked_at_ms, Some(NOON_MS + 60_000));
}
