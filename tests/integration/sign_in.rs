//! Signing up and in: three shapes of body, passwords of other systems, profiles, and answers that tell nothing.

use std::collections::BTreeSet;

use muster_server::audit;
use muster_server::auth::{self, DisplayName, Email, NewUser, Person, Role};
use muster_server::db::DbError;
use muster_server::ids::{TenantId, UserId};
use muster_server::params;
use muster_tests::{PASSWORD, Reply, TestServer};
use reqwest::Method;
use serde_json::{Value, json};

const LOGIN: &str = "/api/v1/auth/login";
const REGISTER: &str = "/api/v1/auth/register";

fn login(email: &str, password: &str) -> Value {
    json!({ "email": email, "password": password })
}

/// Creates a user as an import does, with a hash that another system made, or with none.
async fn import(server: &TestServer, email: &str, password_hash: Option<&str>) -> String {
    let app = server.app();
    let new = NewUser {
        id: UserId::generate(&*app.clock, &*app.entropy),
        tenant: TenantId::default_tenant(),
        email: Email::parse(email).unwrap(),
        username: None,
        display_name: DisplayName::parse("Imported").unwrap(),
        role: Role::Student,
        password_hash: password_hash.map(str::to_owned),
        person: Person::default(),
        created_at_ms: app.now_ms(),
    };
    let id = new.id.to_string();
    let inserted: Result<bool, DbError> = app.db.write(move |tx| auth::insert(tx, &new)).await;
    assert_eq!(inserted, Ok(true));
    id
}

async fn stored_hash(server: &TestServer, id: &str) -> String {
    let id = id.to_owned();
    let sql = "SELECT password_hash FROM users WHERE id = ?1";
    let read: Result<Option<String>, DbError> =
        server.app().db.read(move |tx| tx.query_one(sql, params![&id], |row| row.get(0))).await;
    read.unwrap().unwrap()
}

async fn audited(server: &TestServer, action: &str) -> Vec<(String, Option<String>, String)> {
    let tenant = TenantId::default_tenant();
    let rows: Result<_, DbError> = server.app().db.read(move |tx| audit::rows(tx, &tenant, 0, 1000)).await;
    let rows = rows.unwrap().into_iter().filter(|row| row.action == action);
    rows.map(|row| (row.object_id, row.reason, row.result)).collect()
}

#[tokio::test]
async fn each_source_signs_up_with_its_own_body_and_finds_its_own_words_in_the_answer() {
    let server = TestServer::start().await;
    let bodies = [
        (
            "/auth/register",
            json!({
                "email": "student@example.com", "username": "student1", "password": "secure123",
                "first_name": "John", "last_name": "Doe", "role": "student",
            }),
        ),
        (
            "/api/v1/auth/register",
            json!({
                "email": "user@example.com", "password": "securepass", "full_name": "John Doe", "role": "STUDENT",
            }),
        ),
        ("/v1/auth/signup", json!({"name": "John Doe", "email": "john@example.com", "password": "SecurePass123!"})),
    ];
    for (path, body) in bodies {
        let user = server.anonymous().post(path, &body).await.expect(201);
        for name in ["display_name", "full_name", "name"] {
            assert_eq!(user[name], "John Doe", "{path}");
        }
        assert_eq!(user["first_name"], body["first_name"]);
        assert_eq!((&user["role"], &user["status"]), (&json!("student"), &json!("active")));
        let sign_in = login(body["email"].as_str().unwrap(), body["password"].as_str().unwrap());
        let tokens = server.anonymous().post(LOGIN, &sign_in).await.expect(200);
        let client = server.with_token(tokens["access_token"].as_str().unwrap());
        let me = client.get(&path.replace("register", "me").replace("signup", "me")).await.expect(200);
        for word in ["id", "email", "username", "display_name", "full_name", "name", "first_name", "last_name", "role"]
        {
            assert_eq!(me[word], user[word], "{word} of {path}");
        }
        let profile = client.get("/api/v1/auth/profile").await.expect(200);
        assert_eq!(profile, user);
    }
}

#[tokio::test]
async fn the_answer_to_a_sign_up_does_not_tell_whether_the_address_is_taken() {
    let server = TestServer::start().await;
    let owner = server.create_user("taken@x.example", "student").await;
    let body =
        |email: &str| json!({"email": email, "username": "eve", "password": "an honest password", "name": "Eve"});
    let taken = server.anonymous().post(REGISTER, &body("taken@x.example")).await;
    let fresh = server.anonymous().post(REGISTER, &body("fresh@x.example")).await;
    assert_eq!(taken.headers.keys().collect::<Vec<_>>(), fresh.headers.keys().collect::<Vec<_>>());
    let (mut taken, mut fresh) = (taken.expect(201), fresh.expect(201));
    assert_ne!(taken["id"], json!(owner));
    for user in [&mut taken, &mut fresh] {
        for own in ["id", "email", "created_at"] {
            user[own] = Value::Null;
        }
    }
    assert_eq!(taken, fresh);
    server
        .anonymous()
        .post(LOGIN, &login("taken@x.example", "an honest password"))
        .await
        .expect_error(401, "INVALID_CREDENTIALS");
    server.sign_in("taken@x.example").await;
    let results: Vec<_> = audited(&server, "auth.sign_up").await.into_iter().map(|(_, _, result)| result).collect();
    assert_eq!(results, ["taken", "created"]);
}

#[tokio::test]
async fn the_answer_to_a_sign_up_does_not_tell_whether_the_user_name_is_taken() {
    let server = TestServer::start().await;
    let body = |email: &str| json!({"email": email, "username": "eve", "password": PASSWORD, "name": "Eve"});
    for email in ["first@x.example", "second@x.example"] {
        let user = server.anonymous().post(REGISTER, &body(email)).await.expect(201);
        assert_eq!(user["username"], "eve");
    }
    let second = server.sign_in("second@x.example").await;
    assert_eq!(second.get("/api/v1/auth/profile").await.expect(200)["username"], Value::Null);
    let by_name = json!({"username": "eve", "password": PASSWORD});
    let tokens = server.anonymous().post(LOGIN, &by_name).await.expect(200);
    let first = server.with_token(tokens["access_token"].as_str().unwrap());
    assert_eq!(first.get("/api/v1/auth/profile").await.expect(200)["email"], "first@x.example");
}

#[tokio::test]
async fn an_institution_says_what_somebody_becomes_who_signs_up() {
    let body = json!({"email": "a@x.example", "password": PASSWORD, "name": "A", "role": "student"});
    let guests = TestServer::builder().option("--sign-up", "guest").start().await;
    assert_eq!(guests.anonymous().post(REGISTER, &body).await.expect(201)["role"], "guest");
    let closed = TestServer::builder().option("--sign-up", "off").start().await;
    closed.anonymous().post(REGISTER, &body).await.expect_error(403, "SIGNUP_DISABLED");
    closed.client("student").await.post(REGISTER, &body).await.expect_error(403, "SIGNUP_DISABLED");
    let admin = closed.client("admin").await;
    assert_eq!(admin.post(REGISTER, &body).await.expect(201)["role"], "student");
}

#[tokio::test]
async fn a_role_in_upper_case_is_the_same_role() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    for (sent, stored) in
        [("STUDENT", "student"), ("TEACHER", "lecturer"), ("Reviewer", "reviewer"), ("ADMIN", "admin")]
    {
        let body = json!({"email": format!("{sent}@x.example"), "password": PASSWORD, "name": "X", "role": sent});
        assert_eq!(admin.post(REGISTER, &body).await.expect(201)["role"], stored);
        let again = json!({"email": format!("{sent}2@x.example"), "password": PASSWORD, "name": "X", "role": sent});
        let reply = server.anonymous().post(REGISTER, &again).await;
        if sent == "STUDENT" {
            reply.expect(201)
        } else {
            reply.expect_error(403, "ROLE_NOT_SELF_ASSIGNABLE")
        };
    }
}

#[tokio::test]
async fn names_that_are_too_long_are_refused_and_others_are_kept() {
    let server = TestServer::start().await;
    let body =
        |first: &str| json!({"email": "a@x.example", "password": PASSWORD, "first_name": first, "last_name": "B"});
    for first in ["x".repeat(121), "a\nb".to_owned()] {
        server.anonymous().post(REGISTER, &body(&first)).await.expect_error(422, "VALIDATION_ERROR");
    }
    let user = server.anonymous().post(REGISTER, &body("Zoë")).await.expect(201);
    assert_eq!((&user["given_name"], &user["family_name"]), (&json!("Zoë"), &json!("B")));
}

#[tokio::test]
async fn a_password_that_is_guessed_first_is_refused_wherever_one_is_set() {
    let server = TestServer::start().await;
    let sign_up = |password: &str| json!({"email": "lovelace@x.example", "password": password, "name": "Ada"});
    for password in ["password", "Qwerty123!", "12345678", "lovelace1"] {
        let error =
            server.anonymous().post(REGISTER, &sign_up(password)).await.expect_error(422, "PASSWORD_TOO_COMMON");
        assert_eq!(error["details"]["field"], "password");
    }
    server.anonymous().post(REGISTER, &sign_up("seven blue kettles")).await.expect(201);
    let tokens = server.anonymous().post(LOGIN, &login("lovelace@x.example", "seven blue kettles")).await.expect(200);
    let client = server.with_token(tokens["access_token"].as_str().unwrap());
    let change = |new: &str| json!({"current_password": "seven blue kettles", "new_password": new});
    for password in ["password", "lovelace1"] {
        let reply = client.post("/api/v1/auth/change-password", &change(password)).await;
        assert_eq!(reply.expect_error(422, "PASSWORD_TOO_COMMON")["details"]["field"], "new_password");
    }
    client.post("/api/v1/auth/change-password", &change("eight blue kettles")).await.expect(200);
    assert_eq!(audited(&server, "auth.password_change").await.len(), 1);
}

#[tokio::test]
async fn long_passwords_differ_to_their_last_byte() {
    let server = TestServer::start().await;
    let long = "blue kettle ".repeat(9)[..100].to_owned();
    let mut other = long.clone();
    other.replace_range(80..81, "#");
    let body = json!({"email": "a@x.example", "password": long, "name": "A"});
    server.anonymous().post(REGISTER, &body).await.expect(201);
    server.anonymous().post(LOGIN, &login("a@x.example", &other)).await.expect_error(401, "INVALID_CREDENTIALS");
    server.anonymous().post(LOGIN, &login("a@x.example", &long)).await.expect(200);
}

#[tokio::test]
async fn a_password_has_8_to_1024_bytes() {
    let server = TestServer::start().await;
    let mixed: String = (0..1024).map(|index| char::from(b'a' + (index * index % 23) as u8)).collect();
    for (number, (password, status)) in
        [("zK8#vq2", 422), ("zK8#vq2L", 201), ("żółwi", 201), (&format!("{mixed}x"), 422), (&mixed, 201)]
            .iter()
            .enumerate()
    {
        let body = json!({"email": format!("p{number}@x.example"), "password": password, "name": "A"});
        let reply = server.anonymous().post(REGISTER, &body).await;
        assert_eq!(reply.status, *status, "{} bytes", password.len());
    }
    let body = json!({"email": "p4@x.example", "password": mixed});
    server.anonymous().post(LOGIN, &body).await.expect(200);
}

#[tokio::test]
async fn a_hash_of_another_system_signs_in_and_becomes_one_of_ours() {
    let server = TestServer::start().await;
    let imported = [
        "$2a$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e",
        "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e",
        "$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e",
        "$pbkdf2-sha256$1000$AAECAwQFBgcICQoLDA0ODw$yRTMTwbMbo9G0VfjobWqerzuuxe7BETNTErBbKKumGQ",
        "pbkdf2_sha256$1000$SaltOfDjango$3pbplWihXD2Zb1DJk/KAqeE0NF/DYq5pwy1O1VlF8rw=",
    ];
    for (number, hash) in imported.iter().enumerate() {
        let email = format!("imported{number}@x.example");
        let id = import(&server, &email, Some(hash)).await;
        let client = server.anonymous();
        client.post(LOGIN, &login(&email, "correct hors")).await.expect_error(401, "INVALID_CREDENTIALS");
        assert_eq!(&stored_hash(&server, &id).await, hash);
        let tokens = client.post(LOGIN, &login(&email, "correct horse")).await.expect(200);
        let token = tokens["access_token"].as_str().unwrap();
        server.with_token(token).get("/api/v1/auth/me").await.expect(200);
        assert!(stored_hash(&server, &id).await.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        client.post(LOGIN, &login(&email, "correct horse")).await.expect(200);
        client.post(LOGIN, &login(&email, "correct hors")).await.expect_error(401, "INVALID_CREDENTIALS");
        server.with_token(token).get("/api/v1/auth/profile").await.expect(200);
    }
    assert_eq!(audited(&server, "auth.password_rehash").await.len(), imported.len());
}

#[tokio::test]
async fn an_imported_hash_that_asks_for_too_much_work_signs_nobody_in() {
    let server = TestServer::start().await;
    let hashes = [
        "$2b$31$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e",
        "$pbkdf2-sha256$4000000000$AAECAwQFBgcICQoLDA0ODw$yRTMTwbMbo9G0VfjobWqerzuuxe7BETNTErBbKKumGQ",
        "$argon2id$v=19$m=4194304,t=90,p=1$bm9ib2R5IGhhcyB0aGlz$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "correct horse",
    ];
    for (number, hash) in hashes.iter().enumerate() {
        let email = format!("absurd{number}@x.example");
        import(&server, &email, Some(hash)).await;
        let reply = server.anonymous().post(LOGIN, &login(&email, "correct horse")).await;
        reply.expect_error(401, "INVALID_CREDENTIALS");
    }
}

#[tokio::test]
async fn unknown_wrong_locked_disabled_and_without_a_password_get_one_answer() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    for email in ["known@x.example", "locked@x.example"] {
        server.create_user(email, "student").await;
    }
    import(&server, "provider@x.example", None).await;
    let disabled = server.create_user("disabled@x.example", "student").await;
    admin.patch(&format!("/api/v1/admin/users/{disabled}"), &json!({"status": "disabled"})).await.expect(200);
    for _ in 0..8 {
        server
            .anonymous()
            .post(LOGIN, &login("locked@x.example", "wrong password"))
            .await
            .expect_error(401, "INVALID_CREDENTIALS");
    }
    let mut answers = BTreeSet::new();
    for (email, password) in [
        ("known@x.example", "wrong password"),
        ("unknown@x.example", PASSWORD),
        ("locked@x.example", PASSWORD),
        ("provider@x.example", PASSWORD),
        ("provider@x.example", ""),
        ("disabled@x.example", PASSWORD),
        ("known@x.example", &"x".repeat(5000)),
    ] {
        let reply = server.anonymous().post(LOGIN, &login(email, password)).await;
        let headers: Vec<_> = reply.headers.keys().map(ToString::to_string).collect();
        let mut error = reply.expect_error(401, "INVALID_CREDENTIALS");
        error["request_id"] = Value::Null;
        answers.insert((error.to_string(), headers));
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    let reasons: Vec<_> =
        audited(&server, "auth.sign_in_fail").await.into_iter().skip(8).map(|(_, reason, _)| reason.unwrap()).collect();
    assert_eq!(reasons, ["wrong", "unknown", "locked", "no_password", "no_password", "disabled", "too_long"]);
    assert_eq!(audited(&server, "auth.sign_in_lock").await.len(), 1);
}

/// A form as clients of OAuth 2 send it.
async fn send_form(server: &TestServer, path: &str, origin: Option<&str>, body: &str) -> Reply {
    let request = server.anonymous().request(Method::POST, path);
    let request = request.header("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8");
    let request = origin.into_iter().fold(request, |request, origin| request.header("Origin", origin));
    Reply::of(request.body(body.to_owned())).await
}

#[tokio::test]
async fn a_name_and_a_password_may_come_as_a_form() {
    let server = TestServer::start().await;
    let body = json!({"email": "ada@x.example", "username": "ada17", "password": " two words & ü+% ", "name": "Ada"});
    server.anonymous().post(REGISTER, &body).await.expect(201);
    let password = "password=+two+words+%26+%C3%BC%2B%25+";
    for path in ["/auth/login", "/v1/auth/login", LOGIN] {
        for rest in [
            "username=ada17",
            "username=ada%40x.example",
            "email=ADA%40x.example&username=",
            "grant_type=password&username=ada17&scope=&client_id=&client_secret=",
            "username=ada17&client=phone",
        ] {
            let reply = send_form(&server, path, None, &format!("{rest}&{password}")).await.expect(200);
            let form = format!("grant_type=refresh_token&refresh_token={}", reply["refresh_token"].as_str().unwrap());
            let renewed = send_form(&server, &path.replace("login", "refresh"), None, &form).await.expect(200);
            assert_eq!((&renewed["token_type"], &renewed["expires_in"]), (&json!("bearer"), &json!(900)));
        }
    }
    let trimmed = send_form(&server, LOGIN, None, "username=ada17&password=two+words+%26+%C3%BC%2B%25").await;
    trimmed.expect_error(401, "INVALID_CREDENTIALS");
    for wrong in [
        "username=ada17",
        "password=x",
        "username=a&email=b&password=x",
        "username=a&password=x&password=y",
        "username=a&password=x&is_admin=1",
        "grant_type=client_credentials&username=a&password=x",
        "",
    ] {
        send_form(&server, LOGIN, None, wrong).await.expect_error(422, "VALIDATION_ERROR");
    }
    let wrong_grant = send_form(&server, "/auth/refresh", None, "grant_type=password&refresh_token=x").await;
    wrong_grant.expect_error(422, "VALIDATION_ERROR");
    let huge = format!("username=a&password={}", "x".repeat(300_000));
    send_form(&server, LOGIN, None, &huge).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    let told = send_form(&server, LOGIN, None, "s3cret-value=1&password=x").await.expect_error(422, "VALIDATION_ERROR");
    assert!(!told.to_string().contains("s3cret"), "{told}");
}

#[tokio::test]
async fn a_page_of_somebody_else_lets_nobody_guess_by_a_form() {
    let server = TestServer::builder().option("--cors-origins", "https://portal.uni.example");
    let server = server.option("--public-url", "https://muster.uni.example/here").start().await;
    let id = server.create_user("ada@x.example", "student").await;
    let form = format!("username=ada%40x.example&password={}", PASSWORD.replace(' ', "+"));
    for origin in
        ["https://evil.example", "null", "https://portal.uni.example.evil.example", "http://portal.uni.example"]
    {
        let reply = send_form(&server, LOGIN, Some(origin), &form).await;
        reply.expect_error(403, "FOREIGN_ORIGIN");
    }
    assert_eq!(audited(&server, "auth.sign_in_fail").await.len(), 0, "nothing was counted");
    let own = server.url("");
    for origin in ["https://portal.uni.example", "https://muster.uni.example", own.as_str()] {
        let tokens = send_form(&server, LOGIN, Some(origin), &form).await.expect(200);
        let client = server.with_token(tokens["access_token"].as_str().unwrap());
        assert_eq!(client.get("/auth/me").await.expect(200)["id"], json!(id));
    }
}

#[tokio::test]
async fn names_and_passwords_are_one_however_a_keyboard_writes_accents() {
    let server = TestServer::start().await;
    let (composed, apart) = ("grüne Wiesen é", "gru\u{308}ne Wiesen e\u{301}");
    let names = ["renée", "Rene\u{301}e"];
    for (number, (set, typed)) in [(composed, apart), (apart, composed)].into_iter().enumerate() {
        let email = format!("r{number}é@x.example");
        let name = format!("{}{number}", names[number]);
        let body = json!({"email": email, "username": name, "password": set, "name": "R"});
        server.anonymous().post(REGISTER, &body).await.expect(201);
        let other = format!("{}{number}", names[1 - number]);
        for login in [
            json!({"email": email, "password": typed}),
            json!({"email": format!("R{number}e\u{301}@x.example"), "password": set}),
            json!({"username": other, "password": typed}),
        ] {
            server.anonymous().post(LOGIN, &login).await.expect(200);
        }
        let plain = json!({"email": email, "password": "grune Wiesen e"});
        server.anonymous().post(LOGIN, &plain).await.expect_error(401, "INVALID_CREDENTIALS");
    }
}

#[tokio::test]
async fn a_profile_may_be_sent_back_as_it_was_read() {
    let server = TestServer::start().await;
    let body = json!({
        "email": "ada@x.example", "username": "ada17", "password": PASSWORD, "first_name": "Ada", "last_name": "Byron",
    });
    server.anonymous().post(REGISTER, &body).await.expect(201);
    let ada = server.sign_in("ada@x.example").await;
    let path = "/api/v1/auth/profile";
    let read = ada.get(path).await.expect(200);
    assert_eq!(ada.put(path, &read).await.expect(200), read);
    for (word, same) in [("name", ["display_name", "full_name"]), ("last_name", ["family_name", "last_name"])] {
        let mut changed = ada.get(path).await.expect(200);
        changed[word] = json!("New");
        let after = ada.put(path, &changed).await.expect(200);
        for word in same {
            assert_eq!(after[word], "New", "{word}");
        }
    }
    let two = json!({"name": "One", "full_name": "Another"});
    ada.put(path, &two).await.expect_error(422, "VALIDATION_ERROR");
    ada.put(path, &json!({"name": "One", "full_name": "One"})).await.expect(200);
    let read = ada.get(path).await.expect(200);
    for (field, value) in [("role", json!("admin")), ("email", json!("eve@x.example")), ("created_at", json!(1))] {
        let mut changed = read.clone();
        changed[field] = value;
        let error = ada.put(path, &changed).await.expect_error(422, "VALIDATION_ERROR");
        assert_eq!(error["details"]["field"], field);
    }
    assert_eq!(ada.get(path).await.expect(200), read);
}

#[tokio::test]
async fn somebody_changes_how_they_are_called_and_nothing_else() {
    let server = TestServer::start().await;
    let client = server.client("student").await;
    let path = "/api/v1/auth/profile";
    let before = client.get(path).await.expect(200);
    let profile = client
        .put(path, &json!({"display_name": "Ada L.", "first_name": "Ada", "family_name": "Lovelace"}))
        .await
        .expect(200);
    assert_eq!(
        (&profile["name"], &profile["given_name"], &profile["last_name"]),
        (&json!("Ada L."), &json!("Ada"), &json!("Lovelace"))
    );
    let profile = client.put("/v1/auth/profile", &json!({"given_name": ""})).await.expect(200);
    assert_eq!((&profile["given_name"], &profile["family_name"]), (&Value::Null, &json!("Lovelace")));
    for body in [
        json!({"role": "admin"}),
        json!({"email": "other@x.example"}),
        json!({"section": "B"}),
        json!({"display_name": ""}),
        json!({"family_name": "x".repeat(121)}),
    ] {
        client.put(path, &body).await.expect_error(422, "VALIDATION_ERROR");
    }
    let after = client.get(path).await.expect(200);
    for kept in ["id", "email", "role", "status", "section"] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
    assert_eq!(client.get("/api/v1/auth/me").await.expect(200)["display_name"], "Ada L.");
    assert_eq!(audited(&server, "auth.profile_update").await.len(), 2);
}
