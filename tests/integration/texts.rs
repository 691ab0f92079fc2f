//! One text is one text at every door, however it is written: in two Unicode forms, in capitals, with signs that nobody sees.

use muster_server::db::{DbError, Tx};
use muster_server::ids::TenantId;
use muster_server::{auth, courses, jobs};
use muster_tests::{Client, Data, PASSWORD, Reply, TestServer};
use serde_json::{Value, json};

use super::admin::muster;
use super::roster::{csv, execute};

async fn create(admin: &Client, email: &str, name: &str) -> Reply {
    let body = json!({"email": email, "role": "student", "display_name": name, "password": PASSWORD});
    admin.post("/api/v1/admin/users", &body).await
}

async fn login(server: &TestServer, field: &str, name: &str) -> Reply {
    server.anonymous().post("/api/v1/auth/login", &json!({field: name, "password": PASSWORD})).await
}

/// The addresses that a search finds.
async fn found(admin: &Client, path: &str, q: &str) -> Vec<String> {
    let q: String = q.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let reply = admin.get(&format!("{path}?q={q}")).await.expect(200);
    let items = reply["items"].as_array().unwrap().iter();
    let mut emails: Vec<String> = items.map(|user| user["email"].as_str().unwrap().to_owned()).collect();
    emails.sort();
    emails
}

#[tokio::test]
async fn a_search_finds_a_name_however_it_and_the_search_are_written() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    create(&admin, "nfd@x.example", "Jose\u{301} Nun\u{303}ez").await.expect(201);
    create(&admin, "nfc@x.example", "José Nuñez").await.expect(201);
    for (number, name) in ["Straße", "Işıl", "می\u{200c}خواهم", "Ada\u{a0}Lovelace", "ΟΔΥΣΣΕΥΣ"].iter().enumerate()
    {
        create(&admin, &format!("n{number}@x.example"), name).await.expect(201);
    }
    for path in ["/api/v1/admin/users", "/api/v1/students"] {
        for q in ["josé", "jose\u{301}", "JOSÉ", "nuñez jose\u{301}", "JOSE\u{301}\u{a0}NUÑEZ", "jo\u{200b}sé"] {
            assert_eq!(found(&admin, path, q).await, ["nfc@x.example", "nfd@x.example"], "{q:?}");
        }
        for (q, email) in [
            ("strasse", "n0"),
            ("STRASSE", "n0"),
            ("işil", "n1"),
            ("IŞIL", "n1"),
            ("میخواهم", "n2"),
            ("ada\u{2009}love", "n3"),
            ("οδυσσευς", "n4"),
        ] {
            assert_eq!(found(&admin, path, q).await, [format!("{email}@x.example")], "{q:?}");
        }
    }
}

#[tokio::test]
async fn who_signs_up_under_one_way_of_writing_signs_in_under_every_other() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let body = json!({"email": "\u{feff}Zoe\u{308}@BU\u{308}CHER.example\u{200b}", "username": "Rene\u{301}e",
        "display_name": "Zoë", "role": "student", "password": PASSWORD});
    let made = admin.post("/api/v1/admin/users", &body).await.expect(201);
    assert_eq!((&made["email"], &made["username"]), (&json!("zoë@bücher.example"), &json!("renée")));
    for email in
        ["zoë@bücher.example", "ZOE\u{308}@bücher.example", "zoë@xn--bcher-kva.example", " z\u{ad}oë@BÜCHER.example "]
    {
        login(&server, "email", email).await.expect(200);
    }
    for name in ["renée", "RENE\u{301}E", "re\u{200d}née\u{200f}"] {
        login(&server, "username", name).await.expect(200);
    }
    // A Turkish keyboard begins a sentence with another I.
    create(&admin, "ismail@x.example", "İsmail").await.expect(201);
    for email in ["İsmail@x.example", "ISMAIL@X.EXAMPLE"] {
        login(&server, "email", email).await.expect(200);
    }
    // Two mailboxes are two people.
    create(&admin, "strasse@x.example", "A").await.expect(201);
    create(&admin, "straße@x.example", "B").await.expect(201);
    for (taken, field) in [("z\u{200b}oë@bücher.example", "email"), ("zoë@xn--bcher-kva.example", "email")] {
        create(&admin, taken, "C").await.expect_error(409, "ACCOUNT_EXISTS");
        let body = json!({field: taken});
        let id = found_id(&admin, "ismail@x.example").await;
        admin.patch(&format!("/api/v1/admin/users/{id}"), &body).await.expect_error(409, "ACCOUNT_EXISTS");
    }
}

async fn found_id(admin: &Client, email: &str) -> String {
    admin.get(&format!("/api/v1/admin/users?q={email}")).await.expect(200)["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn no_two_accounts_look_the_same() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    create(&admin, "ada@x.example", "Ada").await.expect(201);
    let unseen = [
        "\u{200b}",
        "\u{feff}",
        "\u{ad}",
        "\u{200f}",
        "\u{2060}",
        "\u{3164}",
        "\u{fe0f}",
        "\u{e0041}",
        "\u{180e}",
        "\u{34f}",
    ];
    for sign in unseen {
        for email in
            [format!("a{sign}da@x.example"), format!("ada@x.example{sign}"), format!("{sign}ada@x.e{sign}xample")]
        {
            create(&admin, &email, "Ada").await.expect_error(409, "ACCOUNT_EXISTS");
            login(&server, "email", &email).await.expect(200);
            let report = csv(&admin, "", &format!("email,name\n{email},Ada\n")).await;
            assert_eq!((&report["users"]["unchanged"], &report["bad_rows"]), (&json!(1), &json!(0)), "{email:?}");
        }
        create(&admin, &format!("b{sign}@x.example"), sign).await.expect_error(422, "VALIDATION_ERROR");
    }
    for control in ["\0", "a\nb", "a\u{7}b", "a\u{85}b"] {
        create(&admin, "c@x.example", control).await.expect_error(422, "VALIDATION_ERROR");
        create(&admin, &format!("c{control}@x.example"), "C").await.expect_error(422, "VALIDATION_ERROR");
    }
    // Half of a pair is no text at all.
    let half = r#"{"email":"d@x.example","role":"student","display_name":"\ud800"}"#;
    let request =
        admin.request(reqwest::Method::POST, "/api/v1/admin/users").header("content-type", "application/json");
    assert!(Reply::of(request.body(half)).await.status.is_client_error());
}

#[tokio::test]
async fn names_keep_the_signs_that_their_scripts_and_emoji_need() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let names = [
        "می\u{200c}خواهم",
        "ශ්\u{200d}රී",
        "അനില്\u{200d}",
        "Ada 👩\u{200d}💻",
        "葛\u{e0100}城",
        "Zoë ❤\u{fe0f}",
        "O'Brien-Ødegård, Jr.",
    ];
    for (number, name) in names.iter().enumerate() {
        let made = create(&admin, &format!("k{number}@x.example"), name).await.expect(201);
        assert_eq!(made["display_name"], *name);
    }
    let made = create(&admin, "m@x.example", "\u{202e}Mal\u{2066}lory\u{200d} \u{a0}X").await.expect(201);
    assert_eq!(made["display_name"], "Mallory X");
}

#[tokio::test]
async fn a_door_takes_an_address_exactly_if_a_letter_can_go_there() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let ada = create(&admin, "ada@x.example", "Ada").await.expect(201);
    let path = format!("/api/v1/admin/users/{}", ada["id"].as_str().unwrap());
    let refused = [
        "x,y@x.example",
        "a;b@x.example",
        "a..b@x.example",
        ".a@x.example",
        "ann<ann@x.example>",
        "Ann <ann@x.example>",
        "mailto:bob@x.example",
        "a@-x-.example",
        "a@x..example",
        "a b@x.example",
        "\"a b\"@x.example",
        "a@[127.0.0.1]",
        "a@",
    ];
    for email in refused {
        let body = json!({"email": email, "password": PASSWORD, "full_name": "N"});
        server.anonymous().post("/api/v1/auth/register", &body).await.expect_error(422, "VALIDATION_ERROR");
        create(&admin, email, "N").await.expect_error(422, "VALIDATION_ERROR");
        admin.patch(&path, &json!({ "email": email })).await.expect_error(422, "VALIDATION_ERROR");
        let body = json!({ "email": email });
        server
            .anonymous()
            .post("/api/v1/auth/password-reset/request", &body)
            .await
            .expect_error(422, "VALIDATION_ERROR");
        let report = csv(&admin, "", &format!("email,name\n\"{}\",N\n", email.replace('"', "\"\""))).await;
        assert_eq!(report["problems"][0]["column"], "email", "{email}: {report}");
    }
    for email in ["a+b@x.example", "o'brien@x.example", "ada@bücher.example", "zoë@x.example", "x_y-z.1@sub.x.example"]
    {
        let body = json!({"email": email, "password": PASSWORD, "full_name": "N"});
        let made = server.anonymous().post("/api/v1/auth/register", &body).await.expect(201);
        assert_eq!(made["email"], email);
    }
    for _ in 0..15_000 {
        let outbox = admin.get("/api/v1/admin/mail").await.expect(200);
        assert_eq!(outbox["failed"], 0, "{outbox}");
        if outbox["queued"] == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    panic!("the letters do not leave");
}

#[test]
fn the_command_line_is_a_door_like_any_other() {
    let data = Data::fresh();
    let create = |email: &str, name: &str| {
        muster(&data, &["admin", "create", "--json", "--role", "student", "--email", email, "--name", name], "")
    };
    let made = create("\u{feff}Zoe\u{308}@X.example", "Jose\u{301}");
    let told: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(told["email"], "zoë@x.example", "{made:?}");
    assert!(!create("z\u{200b}oë@x.example", "Again").status.success());
    assert!(!create("x,y@x.example", "Nobody").status.success());
    let disabled = muster(&data, &["admin", "disable", "ZOE\u{308}@x.example\u{200b}"], "");
    assert!(disabled.status.success(), "{disabled:?}");
}

#[tokio::test]
async fn one_code_is_one_course_however_it_is_written() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let add =
        async |code: &str, title: &str| admin.post("/api/v1/courses", &json!({"code": code, "title": title})).await;
    let made = add("e\u{301}co\u{a0}101", "E\u{301}conomie \u{200b} générale").await.expect(201);
    assert_eq!((&made["code"], &made["title"]), (&json!("ÉCO 101"), &json!("Économie générale")));
    for code in ["éco 101", "ÉCO  101", "\u{feff}E\u{301}CO 101\u{200f}"] {
        add(code, "Again").await.expect_error(409, "COURSE_EXISTS");
    }
    add("straße", "A").await.expect(201);
    add("STRASSE", "B").await.expect_error(409, "COURSE_EXISTS");
    add("işl", "C").await.expect(201);
    add("İŞL", "D").await.expect_error(409, "COURSE_EXISTS");
    for title in ["\u{200b}", "a\nb", "\0"] {
        add("cs9", title).await.expect_error(422, "VALIDATION_ERROR");
    }
    let report =
        csv(&admin, "", "email,name,course\na@x.example,A,e\u{301}co\u{2009}101\nb@x.example,B,ÉCO 101\n").await;
    assert_eq!((&report["courses"]["created"], &report["enrolments"]["added"]), (&json!(0), &json!(2)), "{report:#}");
}

/// Runs the jobs that a migration asks for, once more.
async fn bring_into_form(server: &TestServer) {
    let app = server.app();
    let asked: Result<(), DbError> = app
        .db
        .write(|tx: &Tx<'_>| {
            let tenant = TenantId::default_tenant();
            jobs::enqueue(tx, &tenant, auth::FORMS_JOB, &[], 0)?;
            jobs::enqueue(tx, &tenant, courses::FORMS_JOB, &[], 0)
        })
        .await;
    asked.unwrap();
    app.wake_jobs();
    for _ in 0..15_000 {
        let left: Result<u64, DbError> = app
            .db
            .read(|tx| Ok(jobs::counts(tx, auth::FORMS_JOB)?.pending + jobs::counts(tx, courses::FORMS_JOB)?.pending))
            .await;
        if left == Ok(0) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    panic!("the jobs are not done");
}

#[tokio::test]
async fn who_signed_up_before_there_was_one_form_still_signs_in() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    for name in ["tom", "jose", "twin", "plain", "odd"] {
        server.create_user(&format!("{name}@x.example"), "student").await;
    }
    admin.post("/api/v1/courses", &json!({"code": "OLD1", "title": "Old"})).await.expect(201);
    for sql in [
        "UPDATE users SET email = 'tom@x.example\u{200b}', email_confirmed_at = 7, username = 'to\u{2060}m', search = ''
            WHERE email = 'tom@x.example'",
        "UPDATE users SET display_name = 'Jose\u{301}', external_id = '4\u{200b}2', external_id_by = 'registry', search = 'jose\u{301}'
            WHERE email = 'jose@x.example'",
        "UPDATE users SET email = 'pl\u{ad}ain@x.example', section = 'B\u{a0}1' WHERE email = 'twin@x.example'",
        "UPDATE users SET email = 'x,y@x.example' WHERE email = 'odd@x.example'",
        "UPDATE courses SET code = 'İSL', title = 'E\u{301}co' WHERE code = 'OLD1'",
    ] {
        execute(&server, sql).await;
    }
    bring_into_form(&server).await;
    login(&server, "email", "tom@x.example").await.expect(200);
    login(&server, "username", "tom").await.expect(200);
    let tom = admin.get("/api/v1/admin/users?q=tom@x.example").await.expect(200);
    assert_eq!(tom["items"][0]["email_confirmed_at"], "1970-01-01T00:00:00.007Z", "it is the same mailbox");
    assert_eq!(found(&admin, "/api/v1/admin/users", "josé").await, ["jose@x.example"]);
    login(&server, "email", "x,y@x.example").await.expect(200);
    // Two that look the same are for a person to tell apart; neither takes the other's place.
    login(&server, "email", "plain@x.example").await.expect(200);
    assert_eq!(found(&admin, "/api/v1/admin/users", "plain").await, ["plain@x.example", "pl\u{ad}ain@x.example"]);
    let report = csv(&admin, "", "email,name,id,course\nj2@x.example,José,42,isl\n").await;
    assert_eq!((&report["users"]["updated"], &report["courses"]["created"]), (&json!(1), &json!(0)), "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roster_that_comes_before_the_first_start_after_an_update_finds_people_by_their_old_texts() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    server.create_known_user("zoe@x.example", "student").await;
    admin.post("/api/v1/courses", &json!({"code": "OLD1", "title": "Old"})).await.expect(201);
    for sql in [
        "UPDATE users SET email = 'zoe\u{301}@x.example', search = '' WHERE email = 'zoe@x.example'",
        "UPDATE courses SET code = 'E\u{301}CO' WHERE code = 'OLD1'",
    ] {
        execute(&server, sql).await;
    }
    let data = server.stop().await;
    tokio::task::block_in_place(|| {
        let db = data.open();
        let asked = db.write_blocking::<_, DbError, _>(|tx: &Tx<'_>| {
            let tenant = TenantId::default_tenant();
            jobs::enqueue(tx, &tenant, auth::FORMS_JOB, &[], 0)?;
            jobs::enqueue(tx, &tenant, courses::FORMS_JOB, &[], 0)
        });
        asked.unwrap();
        db.close();
    });
    let roster = data.path().join("roster.csv");
    std::fs::write(&roster, "email,name,course\nzoé@x.example,Zoé,ÉCO\n").unwrap();
    let roster = roster.to_str().unwrap();
    let dry = super::admin::muster(&data, &["roster", "import", roster, "--dry-run"], "");
    let said = String::from_utf8(dry.stderr.clone()).unwrap();
    assert!(dry.status.code() == Some(1) && said.contains("start the server once"), "{dry:?}");
    let wet = super::admin::muster(&data, &["roster", "import", roster, "--json"], "");
    let report: serde_json::Value = serde_json::from_slice(&wet.stdout).unwrap_or_else(|_| panic!("{wet:?}"));
    let counts = (&report["users"]["created"], &report["courses"]["created"], &report["enrolments"]["added"]);
    assert_eq!(counts, (&json!(0), &json!(0), &json!(1)), "{report}");
    TestServer::builder().data(data).start().await.stop().await;
}
