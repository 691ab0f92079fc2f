//! Keys that are rotated while they are there: nothing ends, whoever was cut off goes on, and another key than that of the
//! database is refused by its id.

use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use muster_server::blobs::crypt::MasterKey;
use muster_server::clock::{Entropy, SystemEntropy};
use muster_tests::lecture::{Lecture, NOON_MS, image_ref, picture, upload};
use muster_tests::{Client, Data, PASSWORD, Reply, TestServer};
use reqwest::Method;
use serde_json::{Value, json};

use super::admin::muster;
use super::mfa;

pub(super) fn run(data: &Data, arguments: &[&str]) -> (bool, String) {
    let output = muster(data, arguments, "");
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn succeeds(data: &Data, arguments: &[&str]) -> String {
    let (done, said) = run(data, arguments);
    assert!(done, "{arguments:?}: {said}");
    said
}

fn fails(data: &Data, arguments: &[&str]) -> String {
    let (done, said) = run(data, arguments);
    assert!(!done, "{arguments:?}: {said}");
    said
}

pub(super) fn keys(data: &Data) -> PathBuf {
    data.path().join("keys")
}

async fn start(data: Data) -> TestServer {
    TestServer::builder().manual_clock(NOON_MS).data(data).start().await
}

/// Why a server does not start on a copy of the data.
async fn refusal(data: &Data) -> String {
    let started = TestServer::builder().manual_clock(NOON_MS).data(data.copy().unwrap()).try_start().await;
    started.err().expect("it does not start").to_string()
}

/// Pictures of three students, and where the lecturer sees each.
pub(super) struct Evidence {
    pictures: Vec<(String, Vec<u8>)>,
    lecturer: String,
}

pub(super) async fn stopped() -> (Data, Evidence) {
    let lecture = Lecture::on(TestServer::builder()).await;
    let mut pictures = Vec::new();
    for seed in 1..=3 {
        let mut phone = lecture.student(seed).await;
        let selfie = picture(seed);
        let id = lecture.capture(&mut phone, &lecture.manifest(Some(&selfie))).await;
        upload(&phone.client, &selfie).await.expect(201);
        lecture.verdict(&id, 1).await;
        let hash = data_encoding::HEXLOWER.encode(&image_ref(&selfie).sha256);
        pictures.push((format!("/api/v1/lecturers/attendance/{id}/images/{hash}"), selfie));
    }
    let email = lecture.lecturer.get("/api/v1/auth/me").await.expect(200)["email"].as_str().unwrap().to_owned();
    (lecture.server.stop().await, Evidence { pictures, lecturer: email })
}

impl Evidence {
    /// Whether all of it opens on this server, and somebody new gets a key, too.
    async fn opens(&self, data: Data) -> Data {
        let server = start(data).await;
        let lecturer = server.sign_in(&self.lecturer).await;
        for (path, _) in &self.pictures {
            assert_eq!(Reply::of(lecturer.request(Method::GET, path)).await.status.as_u16(), 200, "{path}");
        }
        server.stop().await
    }
}

pub(super) fn copy_of(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_of_the_master_key_all_evidence_opens_under_the_new_one_only() {
    let (data, evidence) = stopped().await;
    let master = keys(&data).join("master.key");
    let before = copy_of(&master);
    let said = succeeds(&data, &["keys", "rotate", "master"]);
    assert!(said.contains("3 of 3 rows were sealed anew") && said.contains("master.key.replaced"), "{said}");
    assert_ne!(copy_of(&master), before);
    assert_eq!(copy_of(&keys(&data).join("master.key.replaced")), before, "older copies of the database need it");
    let shown: Value = serde_json::from_str(&succeeds(&data, &["keys", "check", "--json"])).unwrap();
    let row = shown["keys"].as_array().unwrap().iter().find(|row| row["key"] == "master").unwrap().clone();
    assert_eq!(row["sealed"], json!({"rows": 3, "resealed": 0, "unopened": 0, "named": []}));
    let data = evidence.opens(data).await;

    // The one before opens nothing any more, and no server starts with it.
    let after = copy_of(&master_of(&data));
    fs::write(master_of(&data), &before).unwrap();
    assert!(refusal(&data).await.contains("another key"), "the one before");
    fails(&data, &["keys", "rotate", "master"]);
    fs::write(master_of(&data), &after).unwrap();

    // Again, and again nothing of what was kept is written over.
    succeeds(&data, &["keys", "rotate", "master"]);
    assert_eq!(copy_of(&keys(&data).join("master.key.replaced")), before);
    assert_eq!(copy_of(&keys(&data).join("master.key.replaced-2")), after);
    let data = evidence.opens(data).await;
    let audited = succeeds(&data, &["audit", "verify"]);
    assert!(audited.contains("the audit log is whole"), "{audited}");
}

fn master_of(data: &Data) -> PathBuf {
    keys(data).join("master.key")
}

/// As `muster keys rotate master` leaves it when it is cut off: the new key is there and noted, `rows` are under it, and
/// it took its place or not.
fn cut_off(data: &Data, rows: usize, took_its_place: bool) {
    let place = keys(data).join("master.key.next");
    let to = MasterKey::load_or_create(&place, &|bytes: &mut [u8]| SystemEntropy.fill(bytes)).unwrap();
    let from = MasterKey::load(&master_of(data)).unwrap().unwrap();
    let file = rusqlite::Connection::open(data.path().join("muster.db")).unwrap();
    let id = data_encoding::HEXLOWER.encode(&to.id());
    file.execute("INSERT INTO key_marks (name, key_id, by_setting, since) VALUES ('master.next', ?1, 0, 1)", [id])
        .unwrap();
    let mut statement = file.prepare("SELECT tenant_id, subject_id, wrapped FROM subject_keys").unwrap();
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let found: Vec<(String, String, Vec<u8>)> = found.map(Result::unwrap).collect();
    assert_eq!(found.len(), 3);
    for (tenant, subject, wrapped) in &found[..rows] {
        let key = from.unwrap_key(tenant, subject, wrapped).unwrap();
        let wrapped = to.wrap(tenant, subject, &key, &|bytes| SystemEntropy.fill(bytes));
        file.execute("UPDATE subject_keys SET wrapped = ?1 WHERE subject_id = ?2", (wrapped, subject)).unwrap();
    }
    if took_its_place {
        fs::hard_link(master_of(data), keys(data).join("master.key.replaced")).unwrap();
        fs::rename(place, master_of(data)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_was_cut_off_refuses_the_start_and_goes_on_where_it_was() {
    let (stopped, evidence) = stopped().await;
    if !stopped.is_sqlite() {
        return;
    }
    for (rows, took_its_place) in [(0, false), (1, false), (3, false), (3, true)] {
        let data = stopped.copy().unwrap();
        let before = copy_of(&master_of(&data));
        cut_off(&data, rows, took_its_place);
        let refused = refusal(&data).await;
        assert!(refused.contains("`muster keys rotate master` again") && !refused.contains('\n'), "{refused}");
        assert!(fails(&data, &["keys", "check"]).contains("WRONG"));
        if !took_its_place {
            let copy = data.path().join("copy.json");
            let said = fails(&data, &["keys", "export", copy.to_str().unwrap()]);
            assert!(said.contains("master.key.next"), "a copy with half of the keys: {said}");
        }
        let said = succeeds(&data, &["keys", "rotate", "master"]);
        assert!(said.contains(&format!("{} of 3 rows", 3 - rows)), "{said}");
        assert_eq!(copy_of(&keys(&data).join("master.key.replaced")), before);
        succeeds(&data, &["keys", "check"]);
        evidence.opens(data).await;
    }
    // Without the new key nothing is guessed.
    let data = stopped.copy().unwrap();
    cut_off(&data, 1, false);
    let next = keys(&data).join("master.key.next");
    let whole = copy_of(&next);
    fs::remove_file(&next).unwrap();
    assert!(fails(&data, &["keys", "rotate", "master"]).contains("master.key.next"));
    muster_server::keys::place_new(&keys(&data), "master.key.next", &whole, &SystemEntropy).unwrap();
    succeeds(&data, &["keys", "rotate", "master"]);
    evidence.opens(data).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_no_key_opens_is_named_and_does_not_keep_the_others_from_being_sealed_anew() {
    let (data, _) = stopped().await;
    if !data.is_sqlite() {
        return;
    }
    let file = rusqlite::Connection::open(data.path().join("muster.db")).unwrap();
    let sql = "UPDATE subject_keys SET wrapped = zeroblob(73) WHERE rowid = (SELECT min(rowid) FROM subject_keys)";
    assert_eq!(file.execute(sql, []).unwrap(), 1);
    file.close().unwrap();
    let said = fails(&data, &["keys", "check"]);
    assert!(said.contains("1 of 3 rows do not open under the master key"), "{said}");
    let said = fails(&data, &["keys", "rotate", "master"]);
    assert!(said.contains("2 of 3 rows were sealed anew") && said.contains("1 of 3 rows do not open"), "{said}");
    start(data).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_key_of_the_settings_is_rotated_into_a_file_and_the_setting_is_named() {
    let given = BASE64.encode(&[7, 1, 8, 2, 9, 3, 4, 5].repeat(4));
    let lecture = Lecture::on(TestServer::builder().option("--master-key", &given)).await;
    let mut phone = lecture.student(1).await;
    let id = lecture.capture(&mut phone, &lecture.manifest(None)).await;
    lecture.verdict(&id, 1).await;
    let data = lecture.server.stop().await;
    let said = succeeds(&data, &["keys", "rotate", "master", "--master-key", &given]);
    assert!(said.contains("1 of 1 rows") && said.contains("take MASTER_KEY out of the settings"), "{said}");
    let copy = data.copy().unwrap();
    let refused =
        TestServer::builder().manual_clock(NOON_MS).option("--master-key", &given).data(copy).try_start().await;
    let refused = refused.err().expect("the setting is not the key any more").to_string();
    assert!(refused.contains("MASTER_KEY is another key"), "{refused}");
    succeeds(&data, &["keys", "check"]);
    start(data).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_of_the_key_of_second_factors_codes_are_taken_as_before() {
    let server = mfa::server().start().await;
    let ada = mfa::enrol(&server, mfa::ADA).await;
    let data = server.stop().await;
    let before = copy_of(&keys(&data).join("mfa.key"));
    let said = succeeds(&data, &["keys", "rotate", "mfa"]);
    assert!(said.contains("1 of 1 rows were sealed anew"), "{said}");
    assert_ne!(copy_of(&keys(&data).join("mfa.key")), before);
    succeeds(&data, &["keys", "check"]);
    let server = mfa::server().data(data).start().await;
    let token = mfa::mfa_token(&server, mfa::ADA).await;
    mfa::complete(&server, &token, &ada.code(&server, 1)).await.expect(200);
    let data = server.stop().await;
    let said = fails(
        &data,
        &["keys", "rotate", "mfa", "--mfa-encryption-key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="],
    );
    assert!(said.contains("MFA_PREVIOUS_ENCRYPTION_KEYS"), "{said}");
}

async fn signed_in(server: &TestServer) -> Client {
    server.create_user("ada@x.example", "student").await;
    let body = json!({"email": "ada@x.example", "password": PASSWORD});
    let reply = server.anonymous().post("/api/v1/auth/login", &body).await.expect(200);
    server.with_token(reply["access_token"].as_str().unwrap())
}

async fn status_of(client: &Client) -> u16 {
    client.get("/api/v1/auth/me").await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_the_key_before_are_good_after_a_rotation_and_end_with_a_replacement() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    let ada = signed_in(&server).await;
    let token = ada.token().unwrap().to_owned();
    let data = server.stop().await;
    let before = copy_of(&keys(&data).join("token.key"));
    let said = succeeds(&data, &["keys", "rotate", "token"]);
    assert!(said.contains("good until they end"), "{said}");
    assert_ne!(copy_of(&keys(&data).join("token.key")), before);
    let server = start(data).await;
    assert_eq!(status_of(&server.with_token(&token)).await, 200);
    let data = server.stop().await;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let previous = keys(&data).join("token.key.previous");
        assert_eq!(fs::metadata(&previous).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&previous, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(refusal(&data).await.contains("chmod 600"));
        fs::set_permissions(&previous, fs::Permissions::from_mode(0o600)).unwrap();
    }
    // Whoever fears that it is known ends what it signed at once.
    succeeds(&data, &["keys", "replace", "token"]);
    let server = start(data).await;
    assert_eq!(status_of(&server.with_token(&token)).await, 401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_rotated_says_what_to_do_and_nothing_is_rotated_beside_a_server() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    for beside in [["keys", "rotate", "master"], ["keys", "rotate", "token"], ["keys", "replace", "mail"]] {
        let said = fails(server.data(), &beside);
        assert!(said.contains("stop") && said.contains("server"), "{said}");
    }
    let data = server.stop().await;
    for (key, cure) in [
        ("server", "docs/recovery.md"),
        ("session-code", "keys replace session-code"),
        ("token-pepper", "keys replace token-pepper"),
        ("oauth", "keys replace oauth"),
        ("mail", "keys replace mail"),
        ("legacy-id", "keys replace legacy-id"),
        ("nonsense", "keys check"),
    ] {
        let said = fails(&data, &["keys", "rotate", key]);
        assert!(said.contains(cure), "{key}: {said}");
    }
    let secret = ["keys", "rotate", "token", "--jwt-secret", "8f0aa1c6d2b94e57931c60d7be2f4a85"];
    assert!(fails(&data, &secret).contains("JWT_PREVIOUS_SECRETS"));
    start(data).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_replaced_a_second_time_leaves_both_that_were_there() {
    let data = TestServer::builder().manual_clock(NOON_MS).start().await.stop().await;
    let mail = keys(&data).join("mail.key");
    let first = copy_of(&mail);
    succeeds(&data, &["keys", "replace", "mail"]);
    let data = start(data).await.stop().await;
    let second = copy_of(&keys(&data).join("mail.key"));
    succeeds(&data, &["keys", "replace", "mail"]);
    assert_eq!(copy_of(&keys(&data).join("mail.key.replaced")), first);
    assert_eq!(copy_of(&keys(&data).join("mail.key.replaced-2")), second);
    start(data).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_hold_the_log_against_another_servers_key_are_refused_by_its_id() {
    let (data, _) = stopped().await;
    let path = keys(&data).join("server-ed25519.key");
    let whole = copy_of(&path);
    let commands = [&["verify"][..], &["rebuild"], &["rebuild", "--replace"], &["audit", "verify"]];
    for command in commands {
        succeeds(&data, command);
    }
    let mut another = whole.clone();
    another[3] ^= 1;
    fs::write(&path, &another).unwrap();
    for command in commands {
        let said = fails(&data, command);
        assert!(
            said.contains("is another key, with the id ") && said.contains("expects the one with the id "),
            "{said}"
        );
        assert_eq!(said.trim().lines().count(), 1, "{said}");
    }
    fs::remove_file(&path).unwrap();
    for command in commands {
        let said = fails(&data, command);
        assert!(said.contains("is missing") && said.contains("expects the one with the id "), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_secret_in_the_settings_refuses_the_start_like_another_file_until_a_command_says_that_it_is_meant() {
    const OLD: &str = "8f0aa1c6d2b94e57931c60d7be2f4a85";
    const NEW: &str = "0d4f6b1a9c8e47d2a35b7e91f2c06d88";
    for (option, name, key) in
        [("--jwt-secret", "JWT_SECRET", "token"), ("--token-pepper", "TOKEN_PEPPER", "token-pepper")]
    {
        let with = |secret: &str| TestServer::builder().manual_clock(NOON_MS).option(option, secret);
        let data = with(OLD).start().await.stop().await;
        for other in [Some(NEW), None] {
            let builder = other.map_or_else(|| TestServer::builder().manual_clock(NOON_MS), with);
            let refused = builder.data(data.copy().unwrap()).try_start().await.err().expect(name).to_string();
            let replace = format!("`muster keys replace {key}`");
            assert!(refused.contains("the id ") && refused.contains(&replace), "{refused}");
            assert_eq!(refused.contains(name), other.is_some() || key == "token", "{refused}");
        }
        let data = with(OLD).data(data).start().await.stop().await;
        succeeds(&data, &["keys", "replace", key, option, NEW]);
        let data = with(NEW).data(data).start().await.stop().await;
        let refused = with(OLD).data(data).try_start().await;
        assert!(refused.is_err(), "{name}: now the one before is another one");
    }
}
