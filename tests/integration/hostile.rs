//! Hostile changes and keys as a server meets them: each gets its fate and its reason, and what came with it is taken.

use std::path::{Path, PathBuf};

use data_encoding::{BASE64, HEXLOWER};
use muster_sync_core::change::{Author, SignedChange, validate};
use muster_sync_core::document::{
    Binding, BindingAction, ChainTip, Code, Entry, KeyLevel, Label, Request, RequestPurpose, genesis,
};
use muster_sync_core::signing::{SignError, SigningKey};
use muster_sync_core::sync::message::Fate;
use muster_sync_core::{ChangeHash, DeviceKey, DocumentName, Locator};
use muster_tests::TestServer;
use muster_tests::phone::{Item, Phone, TENANT, sign_unread};
use serde_json::{Value, json};

const NOON_MS: i64 = 1_763_640_000_000;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn reason(fate: &Fate) -> (&'static str, &str) {
    (fate.kind.as_str(), fate.reason.as_deref().unwrap_or(""))
}

async fn bound_student(server: &TestServer, seed: u8) -> Phone {
    let mut phone = Phone::new(server.client("student").await, seed);
    phone.bind(server).await;
    phone
}

/// The class session of the given number.
fn locator(number: usize) -> Locator {
    Locator::from_random(u32::try_from(number << 4).unwrap().to_be_bytes())
}

/// A named attack of `refused-changes.json`.
struct Attack {
    what: String,
    item: Item,
    code: String,
}

fn attacks() -> Vec<Attack> {
    let text = std::fs::read_to_string(fixture("wire/v1/refused-changes.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let attack = |row: &Value| {
        let text = |field: &str| row[field].as_str().unwrap().to_owned();
        let bytes = |field: &str| HEXLOWER.decode(text(field).as_bytes()).unwrap();
        let part = |index: usize| row["document"]["key"][index].as_str().unwrap();
        let kind = u8::try_from(row["document"]["kind"].as_u64().unwrap()).unwrap();
        let name = DocumentName::from_parts(kind, [part(0), part(1)]).unwrap();
        let signed = SignedChange { bytes: bytes("change"), signature: bytes("signature").try_into().unwrap() };
        Attack { what: text("what"), item: Item { name, signed, manifest: None }, code: text("code") }
    };
    rows.iter().map(attack).collect()
}

#[tokio::test]
async fn every_named_attack_gets_its_reason_and_the_healthy_changes_beside_it_are_accepted() {
    let server = TestServer::start().await;
    let mut phone = bound_student(&server, 9).await;
    let (mut n_refused, mut number) = (0, 0);
    for attacks in attacks().chunks(40) {
        let mut items = Vec::new();
        for attack in attacks {
            number += 1;
            items.extend([attack.item.clone(), phone.submission(locator(number), "123456", NOON_MS)]);
        }
        let fates = phone.push(&items).await;
        for (attack, fates) in attacks.iter().zip(fates.chunks(2)) {
            let Item { name, signed, .. } = &attack.item;
            // What breaks only the chain of a device that nobody has bound waits for the binding first.
            let expected = match validate(TENANT, name, &signed.bytes, &signed.signature) {
                Ok(_) => ("quarantined", "device_unbound"),
                Err(_) => ("refused", attack.code.as_str()),
            };
            assert_eq!(reason(&fates[0]), expected, "{}", attack.what);
            assert_eq!(reason(&fates[1]), ("accepted", ""), "beside {}", attack.what);
            n_refused += usize::from(expected.0 == "refused");
        }
    }
    assert!(n_refused > 70, "{n_refused} of {number} were refused");
}

#[tokio::test]
async fn a_deflate_bomb_of_one_megabyte_is_refused_beside_a_healthy_change() {
    let server = TestServer::start().await;
    let mut phone = bound_student(&server, 9).await;
    let bomb = attacks().into_iter().find(|attack| attack.what.contains("inflates to 1 MiB")).unwrap().item;
    // Magic, checksum, kind and two bytes of length stand before what inflates; repeated, it inflates to a gigabyte.
    let (head, content) = bomb.signed.bytes.split_at(11);
    let mut bytes = head.to_vec();
    while bytes.len() < 1_000_000 {
        bytes.extend(content);
    }
    let bomb = Item { signed: SignedChange { bytes, ..bomb.signed.clone() }, ..bomb };
    let healthy = phone.submission(locator(1), "123456", NOON_MS);
    let fates = phone.push(&[bomb, healthy]).await;
    assert_eq!(reason(&fates[0]), ("refused", "change_too_large"));
    assert_eq!(reason(&fates[1]), ("accepted", ""));
}

#[tokio::test]
async fn what_breaks_its_own_chain_stops_nothing_else() {
    let server = TestServer::start().await;
    let mut phone = bound_student(&server, 9).await;
    let honest = phone.submission(locator(1), "123456", NOON_MS);
    let name = honest.name.clone();
    let elsewhere = phone.attendance(locator(2));
    let mut forge = |name: &DocumentName, tip: ChainTip| {
        phone.tips.insert(name.id(TENANT), tip);
        let Item { signed, manifest, .. } = phone.submission(name_locator(name), "654321", NOON_MS);
        Item { name: name.clone(), signed, manifest }
    };
    let start = genesis::tip(elsewhere.id(TENANT), elsewhere.kind());
    let no_such = ChangeHash([1; 32]);
    let mut items = vec![
        honest,
        forge(&name, genesis::tip(name.id(TENANT), name.kind())),
        forge(&elsewhere, ChainTip { hash: no_such, ..start }),
        forge(&elsewhere, ChainTip { max_op: 99, ..start }),
    ];
    let flood = (0..95).map(|seq| ChainTip { seq: seq + 5, hash: no_such, max_op: 1_000 });
    items.extend(flood.map(|tip| forge(&elsewhere, tip)));
    items.push(phone.submission(locator(3), "123456", NOON_MS));
    let fates = phone.push(&items).await;
    assert_eq!(reason(&fates[0]), ("accepted", ""));
    assert_eq!(reason(&fates[1]), ("quarantined", "chain_fork"), "a duplicate sequence number");
    assert_eq!(reason(&fates[2]), ("refused", "chain_broken"), "another dependency");
    assert_eq!(reason(&fates[3]), ("refused", "chain_broken"), "another start_op");
    assert!(fates[4..99].iter().all(|fate| reason(fate) == ("quarantined", "chain_gap")), "{:?}", &fates[4..99]);
    assert_eq!(reason(&fates[99]), ("accepted", ""));
}

fn name_locator(name: &DocumentName) -> Locator {
    Locator::parse(name.key()[0]).unwrap()
}

/// A key that nobody knows a secret for, with the signature that a lax verifier takes from the identity point.
struct WeakKey(DeviceKey);

impl SigningKey for WeakKey {
    fn public_key(&self) -> DeviceKey {
        self.0
    }

    fn sign(&self, _message: &[u8]) -> Result<[u8; 64], SignError> {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&self.0.0);
        Ok(signature)
    }
}

/// All 8 points of small order, their 6 other encodings, and keys whose coordinate is not reduced.
fn weak_keys() -> Vec<DeviceKey> {
    let text = std::fs::read_to_string(fixture("signatures/weak-keys.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| DeviceKey::from_hex(line.rsplit(' ').next().unwrap()).unwrap()).collect()
}

fn request(key: DeviceKey) -> Entry {
    let request = Request {
        key,
        purpose: RequestPurpose::Bind,
        platform: Code::new("android").unwrap(),
        model: None,
        level: KeyLevel::Software,
        legacy_id_hash: None,
        code_key_hash: None,
    };
    request.into()
}

/// A first change in a user's binding document.
fn binding_change(key: &dyn SigningKey, user: &str, entry: &Entry) -> Item {
    let name = DocumentName::DeviceBinding { user: user.to_owned() };
    let author = Author { key, tenant: TENANT, name: &name, tip: None, time_s: NOON_MS / 1000 };
    let (signed, _) = sign_unread(&author, entry);
    Item { name, signed, manifest: None }
}

#[tokio::test]
async fn no_weak_key_is_bound_by_any_way_and_an_honest_one_is() {
    let server = TestServer::start().await;
    let (student, admin) = (server.client("student").await, server.client("admin").await);
    let mut office = Phone::new(admin.clone(), 9);
    office.bind(&server).await;
    let honest = Phone::new(student.clone(), 1);
    let user = student.user_id();
    let over_http = async |item: &Item| {
        let (change, signature) = (BASE64.encode(&item.signed.bytes), BASE64.encode(&item.signed.signature));
        student.post("/api/v1/students/device/bind", &json!({"change": change, "signature": signature})).await
    };
    let by = Label::new(admin.user_id()).unwrap();
    let approval = |key| Binding { key, action: BindingAction::Bind, of: None, reason: None, by: by.clone() };
    let keys = weak_keys();
    assert_eq!(keys.len(), 34);
    for key in keys {
        let own = binding_change(&WeakKey(key), user, &request(key));
        let named = binding_change(&honest.key, user, &request(key));
        for (item, code) in [(&own, "key_weak"), (&named, "field_invalid")] {
            let refused = over_http(item).await.expect_error(422, "CHANGE_REFUSED");
            assert_eq!(refused["details"]["reason"], code, "{key}");
        }
        let fates = honest.push(&[own, named]).await;
        assert_eq!(reason(&fates[0]), ("refused", "key_weak"), "{key}");
        assert_eq!(reason(&fates[1]), ("refused", "field_invalid"), "{key}");
        let approved = binding_change(&office.key, user, &approval(key).into());
        assert_eq!(reason(&office.push(&[approved]).await[0]), ("refused", "field_invalid"), "{key}");
    }
    let listed = admin.get(&format!("/api/v1/admin/devices?user_id={user}")).await.expect(200);
    assert_eq!(listed["items"], json!([]));

    let asked = binding_change(&honest.key, user, &request(honest.public_key()));
    assert_eq!(over_http(&asked).await.expect(202)["request"]["status"], "pending");
    assert_eq!(reason(&honest.push(&[asked]).await[0]), ("accepted", ""));
    let approved = binding_change(&office.key, user, &approval(honest.public_key()).into());
    assert_eq!(reason(&office.push(&[approved]).await[0]), ("accepted", ""));
    let listed = admin.get(&format!("/api/v1/admin/devices?user_id={user}")).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}
