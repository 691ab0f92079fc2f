//! Accounts as the office and the command line see them: finding, changing, and the last admin.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use muster_tests::{Client, Data, PASSWORD, TestServer, postgres};
use serde_json::{Value, json};

use super::{audit, roster};

/// Runs a command of `muster` over the data, with this on its standard input.
pub(crate) fn muster(data: &Data, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    command.args(arguments).arg("--data-dir").arg(data.path()).args(["--log-level", "error"]);
    command.args(data.database().map(|database| postgres::options(&database.url())).into_iter().flatten());
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn succeeds(data: &Data, arguments: &[&str]) -> String {
    let output = muster(data, arguments, "");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn fails(data: &Data, arguments: &[&str]) -> String {
    let output = muster(data, arguments, "");
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn emails(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|user| user["email"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn accounts_are_managed_from_the_command_line() {
    let data = Data::fresh();
    let created =
        muster(&data, &["admin", "create", "--email", "Root@x.example", "--password-stdin"], &format!("{PASSWORD}\n"));
    assert!(created.status.success(), "{created:?}");
    assert!(!String::from_utf8(created.stdout).unwrap().contains(PASSWORD));
    let shown =
        succeeds(&data, &["admin", "create", "--email", "s@x.example", "--role", "student", "--username", "s17"]);
    assert!(shown.contains("created student s@x.example") && shown.contains("password: "), "{shown}");
    assert!(fails(&data, &["admin", "create", "--email", "S@x.example"]).contains("there is an account"));
    let weak = muster(&data, &["admin", "create", "--email", "weak@x.example", "--password-stdin"], "password\n");
    assert_eq!(weak.status.code(), Some(1), "{weak:?}");
    assert!(String::from_utf8(weak.stderr).unwrap().contains("choose another one"));

    let listed = succeeds(&data, &["admin", "list"]);
    assert!(listed.contains("root@x.example") && listed.contains("s17"), "{listed}");
    let listed = succeeds(&data, &["admin", "list", "--role", "student", "--search", "S17", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["email"]), (1, &json!("s@x.example")));
    let id = listed[0]["id"].as_str().unwrap();
    assert!(succeeds(&data, &["admin", "list", "--status", "disabled"]).contains("0 accounts"));
    assert!(succeeds(&data, &["admin", "list", "--limit", "1"]).contains("1 accounts; more are there"));

    let set = succeeds(&data, &["admin", "set-role", "s17", "teacher"]);
    assert!(set.contains("student -> lecturer; every sign-in has ended"), "{set}");
    assert!(succeeds(&data, &["admin", "set-role", "S@X.example", "lecturer"]).contains("is lecturer already"));
    assert!(succeeds(&data, &["admin", "disable", id]).contains("s@x.example is disabled"));
    assert!(succeeds(&data, &["admin", "enable", "s17"]).contains("is active"));
    assert!(fails(&data, &["admin", "disable", "nobody@x.example"]).contains("there is no account"));
    assert_eq!(muster(&data, &["admin", "set-role", "s17", "root"], "").status.code(), Some(2));

    let server = TestServer::builder().data(data).start().await;
    server.sign_in("root@x.example").await.get("/api/v1/auth/me").await.expect(200);
    let rows = audit::rows(&server).await;
    let noted: Vec<_> = rows.iter().filter(|row| row.actor_id == "cli").map(|row| row.action.as_str()).collect();
    assert_eq!(noted, ["user.create", "user.create", "user.role", "user.disable", "user.enable"]);
    assert!(rows[..5].iter().all(|row| row.actor_role == "admin" && row.request_id.starts_with("cli-")));
    assert_eq!(audit::check(&server).await, Ok(audit::all_rows(&server).await.len() as i64));
}

#[test]
fn a_program_reads_what_became_of_an_account() {
    let data = Data::fresh();
    let read = |arguments: &[&str]| -> Value { serde_json::from_str(&succeeds(&data, arguments)).unwrap() };
    let root = read(&["admin", "create", "--email", "Root@x.example", "--json"]);
    assert_eq!((&root["email"], &root["role"]), (&json!("root@x.example"), &json!("admin")));
    assert!(root["initial_password"].as_str().is_some_and(|password| password.len() >= 20), "{root}");
    let given = muster(&data, &["admin", "create", "--email", "two@x.example", "--password-stdin", "--json"], PASSWORD);
    let given: Value = serde_json::from_slice(&given.stdout).unwrap();
    assert_eq!(given["initial_password"], Value::Null, "whoever chose it knows it");
    let two = given["id"].as_str().unwrap();
    assert_eq!(read(&["admin", "set-role", two, "TEACHER", "--json"])["role"], "lecturer");
    assert_eq!(read(&["admin", "disable", two, "--json"])["status"], "disabled");
    assert_eq!(read(&["admin", "enable", two, "--json"])["status"], "active");
    assert_eq!(read(&["admin", "reset-mfa", two, "--json"]), json!({"account": two, "reset": false}));
    assert!(fails(&data, &["admin", "reset-mfa", "nobody@x.example", "--json"]).contains("there is no account"));
}

#[tokio::test]
async fn nobody_is_given_a_password_that_everybody_guesses() {
    let server = TestServer::start().await;
    let (admin, staff) = (server.client("admin").await, server.client("staff").await);
    let account = |email: &str, password: &str| json!({"email": email, "name": "Lovelace", "password": password});
    for (weak, code) in
        [("password", "PASSWORD_TOO_COMMON"), ("lovelace", "PASSWORD_TOO_COMMON"), ("short", "VALIDATION_ERROR")]
    {
        let error = staff.post("/api/v1/students", &account("a@x.example", weak)).await.expect_error(422, code);
        assert_eq!(error["details"]["field"], "password", "{weak}");
        let mut user = account("a@x.example", weak);
        user["role"] = json!("admin");
        admin.post("/api/v1/admin/users", &user).await.expect_error(422, code);
    }
    let created = staff.post("/api/v1/students", &account("a@x.example", PASSWORD)).await.expect(201);
    assert_eq!(created.get("initial_password"), None);
    server.sign_in("a@x.example").await.get("/api/v1/auth/me").await.expect(200);
}

#[test]
fn the_last_admin_stays_one_whoever_asks_on_the_command_line() {
    let data = Data::fresh();
    succeeds(&data, &["admin", "create", "--email", "one@x.example"]);
    for arguments in [&["admin", "disable", "one@x.example"][..], &["admin", "set-role", "one@x.example", "staff"]] {
        assert!(fails(&data, arguments).contains("this is the last active admin"), "{arguments:?}");
    }
    succeeds(&data, &["admin", "create", "--email", "two@x.example"]);
    succeeds(&data, &["admin", "disable", "two@x.example"]);
    assert!(
        fails(&data, &["admin", "disable", "one@x.example"]).contains("last active admin"),
        "a disabled one does not count"
    );
    succeeds(&data, &["admin", "enable", "two@x.example"]);
    succeeds(&data, &["admin", "set-role", "one@x.example", "staff"]);
    assert!(fails(&data, &["admin", "disable", "two@x.example"]).contains("last active admin"));
}

#[test]
fn resetting_a_second_factor_says_whether_there_was_one() {
    let data = Data::fresh();
    succeeds(&data, &["admin", "create", "--email", "one@x.example"]);
    assert!(succeeds(&data, &["admin", "reset-mfa", "one@x.example"]).contains("had no second factor"));
    assert!(fails(&data, &["admin", "reset-mfa", "two@x.example"]).contains("there is no account"));
}

#[tokio::test]
async fn two_admins_cannot_end_each_other_at_once() {
    let server = TestServer::start().await;
    let (one, two) = (server.client("admin").await, server.client("admin").await);
    let disabled = json!({"status": "disabled"});
    let path = |who: &Client| format!("/api/v1/admin/users/{}", who.user_id());
    let (path_one, path_two) = (path(&one), path(&two));
    let (first, second) = tokio::join!(one.patch(&path_two, &disabled), two.patch(&path_one, &disabled));
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert!(matches!(statuses, [200, 401 | 409]), "{statuses:?}");
    let admins = succeeds_reading(&server).await;
    assert_eq!(admins, 1);
}

/// How many admins are active.
async fn succeeds_reading(server: &TestServer) -> usize {
    use muster_server::auth::{Filter, Role, Status, list};
    let filter = Filter { role: Some(Role::Admin), status: Some(Status::Active), words: Vec::new() };
    let tenant = muster_server::ids::TenantId::default_tenant();
    let read = server.app().db.read(move |tx| list(tx, &tenant, &filter, None, 10));
    read.await.map_err(|error: muster_server::db::DbError| error).unwrap().items.len()
}

#[tokio::test]
async fn the_last_admin_stays_one_over_http_too() {
    let server = TestServer::start().await;
    let (one, two) = (server.client("admin").await, server.client("admin").await);
    let path = format!("/api/v1/admin/users/{}", two.user_id());
    one.patch(&path, &json!({"role": "staff"})).await.expect(200);
    // An admin whose own access ended a moment ago cannot end the last one's either.
    two.patch(&format!("/api/v1/admin/users/{}", one.user_id()), &json!({"role": "staff"}))
        .await
        .expect_error(401, "TOKEN_REVOKED");
    let own = format!("/api/v1/admin/users/{}", one.user_id());
    one.patch(&own, &json!({"status": "disabled"})).await.expect_error(409, "OWN_ACCOUNT");
    one.patch(&path, &json!({"role": "admin"})).await.expect(200);
}

#[tokio::test]
async fn accounts_are_found_by_any_part_of_their_names() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    for (email, username, name, id, role) in [
        ("ada.lovelace@uni.example", "al17", "Ada Lovelace", "M-100", "student"),
        ("emile@uni.example", "e_z", "ÉMILE Zola", "M-101", "student"),
        ("bo@uni.example", "b%o", "Bo", "M-102", "lecturer"),
    ] {
        let username = username.replace('%', "-");
        let body = json!({"email": email, "username": username, "name": name, "student_id": id, "role": role});
        admin.post("/api/v1/admin/users", &body).await.expect(201);
    }
    let search = async |query: &str| emails(&admin.get(&format!("/api/v1/admin/users?{query}")).await.expect(200));
    let (ada, emile, bo) = ("ada.lovelace@uni.example", "emile@uni.example", "bo@uni.example");
    assert_eq!(search("q=LOVE").await, [ada]);
    assert_eq!(search("q=m-10").await, [ada, emile, bo]);
    assert_eq!(search("q=%C3%A9mile").await, [emile], "letters with accents have capitals too");
    assert_eq!(search("q=al17").await, [ada]);
    assert_eq!(search("q=uni.example%20love%20m-100").await, [ada], "every word must stand somewhere");
    assert_eq!(search("q=uni.example%20zola%20m-100").await, [""; 0]);
    assert_eq!(search("q=e_z").await, [emile], "an underscore is itself");
    assert_eq!(search("q=%25").await, [""; 0], "a per cent sign is itself");
    assert_eq!(search("q=a_a").await, [""; 0]);
    assert_eq!(search("q=m-10&role=lecturer").await, [bo]);
    assert_eq!(search("role=student&status=active").await, [ada, emile]);
    assert_eq!(search("status=disabled").await, [""; 0]);
    let first = admin.get("/api/v1/admin/users?q=uni&limit=2").await.expect(200);
    assert_eq!(emails(&first), [ada, emile]);
    assert_eq!(search(&format!("q=uni&limit=2&after={}", first["next"].as_str().unwrap())).await, [bo]);
    for wrong in ["role=king", "status=sleeping", "page=2", "after=x"] {
        admin.get(&format!("/api/v1/admin/users?{wrong}")).await.expect_error(422, "VALIDATION_ERROR");
    }
    admin.get(&format!("/api/v1/admin/users?q={}", "x".repeat(121))).await.expect_error(422, "VALIDATION_ERROR");
    assert_eq!(emails(&admin.get("/api/v1/students?q=zola").await.expect(200)), [emile]);
    assert_eq!(emails(&admin.get("/api/v1/students?q=bo@uni").await.expect(200)), [""; 0]);
}

#[tokio::test]
async fn an_admin_changes_everything_that_describes_an_account() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    server.create_user("taken@x.example", "student").await;
    let id = server.create_user("old@x.example", "student").await;
    let path = format!("/api/v1/admin/users/{id}");
    let change = json!({
        "email": "New@x.example", "username": "new17", "name": "New Name", "first_name": "New", "last_name": "Name",
        "section": "B", "student_id": "M-1",
    });
    let changed = admin.patch(&path, &change).await.expect(200);
    assert_eq!((&changed["email"], &changed["display_name"]), (&json!("new@x.example"), &json!("New Name")));
    assert_eq!((&changed["given_name"], &changed["section"]), (&json!("New"), &json!("B")));
    assert_eq!(admin.get(&path).await.expect(200), changed);
    let found = admin.get("/api/v1/admin/users?q=m-1%20new%20name").await.expect(200);
    assert_eq!(emails(&found), ["new@x.example"], "a search finds what was changed");
    let cleared = admin.patch(&path, &json!({"username": "", "section": "", "student_id": ""})).await.expect(200);
    assert_eq!((&cleared["username"], &cleared["external_id"]), (&Value::Null, &Value::Null));
    assert_eq!(cleared["section"], "_");
    admin.patch(&path, &json!({"email": "taken@x.example"})).await.expect_error(409, "ACCOUNT_EXISTS");
    for wrong in [json!({"email": "nobody"}), json!({"section": "x".repeat(121)}), json!({"is_admin": true})] {
        admin.patch(&path, &wrong).await.expect_error(422, "VALIDATION_ERROR");
    }
    let nobody = "/api/v1/admin/users/0190e1f4-0000-7000-8000-000000000001";
    admin.patch(nobody, &json!({"section": "B"})).await.expect_error(404, "NOT_FOUND");
    admin.get(nobody).await.expect_error(404, "NOT_FOUND");
    let rows = audit::rows(&server).await;
    let noted: Vec<_> =
        rows.iter().map(|row| (row.action.as_str(), row.reason.as_deref(), row.object_id.as_str())).collect();
    let noted: Vec<_> = noted.into_iter().filter(|(action, ..)| action.starts_with("user.")).collect();
    assert_eq!(noted, [("user.update", Some("email"), id.as_str()), ("user.update", None, id.as_str())]);
}

#[tokio::test]
async fn students_have_a_section_from_the_start() {
    let server = TestServer::start().await;
    let staff = server.client("staff").await;
    let plain = staff.post("/api/v1/students", &json!({"email": "a@x.example", "name": "A"})).await.expect(201);
    assert_eq!(plain["section"], "_");
    let body =
        json!({"email": "b@x.example", "first_name": "B", "last_name": "C", "section": "CS-2", "student_id": "7"});
    let student = staff.post("/api/v1/students", &body).await.expect(201);
    assert_eq!((&student["section"], &student["display_name"]), (&json!("CS-2"), &json!("B C")));
    let path = format!("/api/v1/students/{}", student["id"].as_str().unwrap());
    let moved = staff.patch(&path, &json!({"section": "CS-3"})).await.expect(200);
    assert_eq!((&moved["section"], &moved["role"]), (&json!("CS-3"), &json!("student")));
    assert_eq!(staff.get(&path).await.expect(200)["section"], "CS-3");
    let listed = staff.get("/api/v1/students").await.expect(200);
    assert_eq!(listed["items"][0]["section"], "_");
    staff.post("/api/v1/students", &json!({"email": "c@x.example"})).await.expect_error(422, "VALIDATION_ERROR");
}

#[tokio::test]
async fn the_office_changes_students_and_nobody_else() {
    let server = TestServer::start().await;
    let (staff, lecturer, student) =
        (server.client("staff").await, server.client("lecturer").await, server.client("student").await);
    let path = |who: &Client| format!("/api/v1/students/{}", who.user_id());
    for forbidden in [json!({"role": "admin"}), json!({"email": "x@x.example"}), json!({"status": "disabled"})] {
        staff.patch(&path(&student), &forbidden).await.expect_error(422, "VALIDATION_ERROR");
    }
    staff.patch(&path(&lecturer), &json!({"section": "A"})).await.expect_error(404, "NOT_FOUND");
    staff.get(&path(&lecturer)).await.expect_error(404, "NOT_FOUND");
    lecturer.patch(&path(&student), &json!({"section": "A"})).await.expect_error(403, "FORBIDDEN");
    student.patch(&path(&student), &json!({"section": "A"})).await.expect_error(403, "FORBIDDEN");
    student.get(&path(&student)).await.expect_error(403, "FORBIDDEN");
    lecturer.get(&path(&student)).await.expect(200);
    staff.patch(&path(&student), &json!({"section": "A"})).await.expect(200);
    staff.get(&format!("/api/v1/admin/users/{}", lecturer.user_id())).await.expect(200);
    let rows = audit::rows(&server).await;
    let row = rows.iter().rfind(|row| row.action == "user.update").unwrap();
    assert_eq!((row.actor_id.as_str(), row.actor_role.as_str()), (staff.user_id(), "staff"));
}

#[tokio::test]
async fn a_new_account_brings_its_password_along_as_a_hash_of_the_system_before() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let hashes = [
        "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e",
        "$pbkdf2-sha256$1000$AAECAwQFBgcICQoLDA0ODw$yRTMTwbMbo9G0VfjobWqerzuuxe7BETNTErBbKKumGQ",
        "pbkdf2_sha256$1000$SaltOfDjango$3pbplWihXD2Zb1DJk/KAqeE0NF/DYq5pwy1O1VlF8rw=",
        "$argon2id$v=19$m=65536,t=3,p=4$2L+N4nl7A2dS5x4uxYX9Zg$QgobQVEz44teiMY9r0H5wOhNj5+dIqdnyOT38sz6Ync",
    ];
    let no_use = [
        "$2b$31$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e",
        "$argon2id$v=19$m=4194304,t=90,p=1$bm9ib2R5IGhhcyB0aGlz$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "5f4dcc3b5aa765d61d8327deb882cf99",
        "correct horse",
    ];
    let row = |(number, hash): (usize, &&str)| format!("u{number}@x.example,U{number},\"{hash}\"\n");
    let rows: String = hashes.iter().chain(&no_use).enumerate().map(row).collect();
    let text = format!("email,name,password_hash\n{rows}none@x.example,None,\n");
    let login = |email: &str, password: &str| json!({"email": email, "password": password});
    assert_eq!(roster::csv(&admin, "?dry_run=true", &text).await["bad_rows"], 4);
    let report = roster::csv(&admin, "", &text).await;
    assert_eq!((&report["users"]["created"], &report["bad_rows"]), (&json!(5), &json!(4)), "{report}");
    for hash in hashes.iter().chain(&no_use) {
        assert!(!report.to_string().contains(hash), "a report tells no hash");
    }
    assert_eq!(report["problems"][0]["column"], "password_hash");
    for number in 0..hashes.len() {
        let email = format!("u{number}@x.example");
        let client = server.anonymous();
        client.post("/auth/login", &login(&email, "wrong horse")).await.expect_error(401, "INVALID_CREDENTIALS");
        client.post("/auth/login", &login(&email, "correct horse")).await.expect(200);
    }
    let rehashed = audit::all_rows(&server).await.iter().filter(|row| row.action == "auth.password_rehash").count();
    assert_eq!(rehashed, hashes.len());
    let none = server.anonymous().post("/auth/login", &login("none@x.example", "correct horse")).await;
    none.expect_error(401, "INVALID_CREDENTIALS");

    // Whoever has an account keeps the password.
    let ada = server.create_known_user("ada@x.example", "student").await;
    let again = format!("email,name,Password Hash\nada@x.example,Ada,\"{}\"\n", hashes[0]);
    let report = roster::csv(&admin, "", &again).await;
    assert!(report["notes"].to_string().contains("keep their passwords"), "{report}");
    server.anonymous().post("/auth/login", &login("ada@x.example", "correct horse")).await.expect(401);
    assert_eq!(server.sign_in("ada@x.example").await.get("/auth/me").await.expect(200)["id"], json!(ada));
}
