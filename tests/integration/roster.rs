//! The import of rosters over HTTP: what becomes of people, courses and places, and what is never done.

use muster_server::auth::{CurrentUser, Role};
use muster_server::db::{DbError, Tx};
use muster_server::ids::TenantId;
use muster_server::roster::UPLOAD_BYTES_MAX;
use muster_tests::roster::{archive, files, fixture};
use muster_tests::{Client, Reply, TestServer};
use reqwest::{Body, Method};
use serde_json::{Value, json};

use super::audit;

const IMPORT: &str = "/api/v1/admin/roster/import";

async fn send(client: &Client, query: &str, body: impl Into<Body>) -> Reply {
    Reply::of(client.request(Method::POST, &format!("{IMPORT}{query}")).body(body)).await
}

/// A CSV's report.
pub(super) async fn csv(client: &Client, query: &str, text: &str) -> Value {
    send(client, query, text.to_owned()).await.expect(200)
}

async fn user(client: &Client, email: &str) -> Value {
    let found = client.get(&format!("/api/v1/admin/users?q={email}")).await.expect(200);
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{email}: {found}");
    found["items"][0].clone()
}

async fn courses(client: &Client) -> Vec<(String, String, String)> {
    let listed = client.get("/api/v1/courses").await.expect(200);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut courses: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|course| (text(&course["code"]), text(&course["title"]), text(&course["id"])))
        .collect();
    courses.sort();
    courses
}

/// The addresses of a course's students.
async fn students(client: &Client, course: &str) -> Vec<String> {
    let listed = client.get(&format!("/api/v1/courses/{course}/students")).await.expect(200);
    let mut emails: Vec<String> =
        listed["items"].as_array().unwrap().iter().map(|user| user["email"].as_str().unwrap().to_owned()).collect();
    emails.sort();
    emails
}

pub(super) async fn execute(server: &TestServer, sql: &'static str) {
    let done: Result<u64, DbError> = server.app().db.write(move |tx: &Tx<'_>| tx.execute(sql, &[])).await;
    assert_eq!(done, Ok(1), "{sql}");
}

/// The files of a fixture with one text in one of them replaced by another.
fn with(fixture: &str, file: &str, from: &str, to: &str) -> Vec<u8> {
    let mut files = files(fixture);
    let (_, text) = files.iter_mut().find(|(name, _)| name == file).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    *text = text.replace(from, to);
    archive(&files)
}

#[tokio::test]
async fn a_oneroster_set_becomes_people_courses_and_places() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let report = send(&admin, "", archive(&files("oneroster-1.2"))).await.expect(200);
    assert_eq!(
        (&report["format"], &report["applied"], &report["bad_rows"]),
        (&json!("oneroster 1.2"), &json!(true), &json!(0))
    );
    assert_eq!((&report["users"]["created"], &report["courses"]["created"]), (&json!(4), &json!(3)));
    assert_eq!((&report["enrolments"]["added"], &report["lecturers"]["added"]), (&json!(3), &json!(2)));
    // A parent, a proctor, and a place that ended years ago.
    assert_eq!(report["skipped_rows"], 3, "{report}");

    let ada = user(&admin, "ada@uni.example").await;
    assert_eq!((&ada["display_name"], &ada["given_name"]), (&json!("Ada Lovelace"), &json!("Augusta Ada")));
    assert_eq!(
        (&ada["external_id"], &ada["username"], &ada["role"]),
        (&json!("u-ada"), &json!("ada"), &json!("student"))
    );
    assert_eq!(ada["section"], "_");
    assert_eq!((&ada["email_confirmed_by"], &ada["external_id_by"]), (&json!("registry"), &json!("registry")));
    assert!(ada["email_confirmed_at"].is_string(), "{ada}");
    let bo = user(&admin, "bo@uni.example").await;
    assert_eq!((&bo["family_name"], &bo["username"]), (&json!("Ångström, Jr."), &Value::Null));
    assert_eq!(user(&admin, "cy@uni.example").await["role"], "lecturer");
    assert_eq!(user(&admin, "di@uni.example").await["role"], "staff");

    let courses = courses(&admin).await;
    assert_eq!((courses[0].0.as_str(), courses[0].1.as_str()), ("CS", "Databases"));
    assert!(courses[1].0.starts_with("CS/") && courses[1].1 == "Networks", "{courses:?}");
    assert_eq!((courses[2].0.as_str(), courses[2].1.as_str()), ("CS101", "Operating systems"));
    assert_eq!(students(&admin, &courses[2].2).await, ["ada@uni.example", "bo@uni.example"]);
    assert_eq!(students(&admin, &courses[0].2).await, ["ada@uni.example"]);
    for password in ["canary-secret-in-a-roster", ""] {
        let login = json!({"email": "bo@uni.example", "password": password});
        let status = server.anonymous().post("/api/v1/auth/login", &login).await.status.as_u16();
        assert!(matches!(status, 401 | 422), "the registry's passwords are never read: {status}");
    }
}

#[tokio::test]
async fn the_same_roster_twice_changes_nothing_the_second_time() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let department = std::fs::read(fixture("department.csv")).unwrap();
    for roster in [archive(&files("oneroster-1.2")), department] {
        let first = send(&admin, "", roster.clone()).await.expect(200);
        assert_eq!(first["bad_rows"].as_u64().unwrap(), first["problems"].as_array().unwrap().len() as u64);
        let rows = audit::rows(&server).await.len();
        let second = send(&admin, "", roster).await.expect(200);
        let counts = |report: &Value| {
            let (users, courses) = (&report["users"], &report["courses"]);
            let places = [&report["lecturers"], &report["enrolments"]];
            let places: u64 =
                places.iter().map(|p| p["added"].as_u64().unwrap() + p["removed"].as_u64().unwrap()).sum();
            ["created", "updated"].iter().map(|name| users[name].as_u64().unwrap()).sum::<u64>()
                + ["created", "updated"].iter().map(|name| courses[name].as_u64().unwrap()).sum::<u64>()
                + users["disabled"].as_u64().unwrap()
                + places
        };
        assert!(counts(&first) > 0);
        assert_eq!(counts(&second), 0, "{second}");
        assert_eq!(second["changes"], json!([]));
        assert_eq!(audit::rows(&server).await.len(), rows, "nothing was done, so nothing was noted");
    }
}

#[tokio::test]
async fn a_dry_run_says_what_an_import_does_and_writes_nothing() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let roster = archive(&files("oneroster-1.2"));
    let before = audit::rows(&server).await.len();
    let dry = send(&admin, "?dry_run=true", roster.clone()).await.expect(200);
    assert_eq!((&dry["dry_run"], &dry["applied"]), (&json!(true), &json!(false)));
    assert_eq!(audit::rows(&server).await.len(), before);
    assert_eq!(courses(&admin).await, []);
    assert_eq!(admin.get("/api/v1/students").await.expect(200)["items"], json!([]));
    let wet = send(&admin, "", roster).await.expect(200);
    for part in ["users", "courses", "lecturers", "enrolments", "changes", "files", "notes", "skipped_rows"] {
        assert_eq!(dry[part], wet[part], "{part}");
    }
    assert_eq!(wet["changes"][0]["action"], "create");
}

#[tokio::test]
async fn an_import_is_one_row_in_the_audit_log_and_one_for_each_role_it_gives() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let before = audit::rows(&server).await.len();
    send(&admin, "", archive(&files("oneroster-1.2"))).await.expect(200);
    let rows = audit::rows(&server).await;
    let noted: Vec<_> = rows[before..].iter().map(|row| (row.action.as_str(), row.result.as_str())).collect();
    let counts = "users +4 ~0 -0, courses +3 ~0, lecturers +2 -0, enrolments +3 -0, bad 0";
    assert_eq!(noted, [("user.role", "lecturer"), ("user.role", "staff"), ("roster.import", counts)]);
    assert!(rows[before..].iter().all(|row| row.actor_id == admin.user_id()));
    assert_eq!(audit::check(&server).await, Ok(audit::all_rows(&server).await.len() as i64));
}

#[tokio::test]
async fn oneroster_1_1_has_its_roles_in_the_users() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let report = send(&admin, "", archive(&files("oneroster-1.1"))).await.expect(200);
    assert_eq!((&report["format"], &report["bad_rows"]), (&json!("oneroster 1.1"), &json!(0)));
    for (email, role) in [("ada", "student"), ("cy", "lecturer"), ("di", "staff")] {
        assert_eq!(user(&admin, &format!("{email}@uni.example")).await["role"], role);
    }
    assert_eq!((&report["enrolments"]["added"], &report["lecturers"]["added"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn a_plain_csv_has_a_row_for_each_course_or_several_courses_in_a_row() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let department = std::fs::read(fixture("department.csv")).unwrap();
    let part = reqwest::multipart::Part::bytes(department).file_name("C:\\rosters\\department.csv");
    let form = reqwest::multipart::Form::new().part("file", part);
    let report = Reply::of(admin.request(Method::POST, IMPORT).multipart(form)).await.expect(200);
    assert_eq!(report["files"], json!([{"name": "department.csv", "rows": 5}]));
    assert_eq!((&report["users"]["created"], &report["bad_rows"]), (&json!(4), &json!(0)), "{report}");
    let courses = courses(&admin).await;
    let named: Vec<_> = courses.iter().map(|(code, title, _)| (code.as_str(), title.as_str())).collect();
    assert_eq!(named, [("CS101", "Operating systems"), ("CS102", "Databases")]);
    for (_, _, id) in &courses {
        assert_eq!(students(&admin, id).await, ["ada@uni.example", "bo@uni.example"]);
    }
    let ada = user(&admin, "ada@uni.example").await;
    assert_eq!(
        (&ada["section"], &ada["external_id"], &ada["display_name"]),
        (&json!("A"), &json!("17"), &json!("Ada Lovelace"))
    );
    assert_eq!(user(&admin, "di@uni.example").await["role"], "staff");

    // Somebody moves, marries and leaves a course; the rest stays as it is.
    let next =
        "student id,email,name,course,status\n17,lovelace@uni.example,Ada King,CS101,\n18,bo@uni.example,,CS101,left\n";
    let report = csv(&admin, "", next).await;
    assert_eq!((&report["users"]["updated"], &report["enrolments"]["removed"]), (&json!(1), &json!(1)), "{report}");
    assert_eq!(
        report["changes"][0]["what"],
        "email: ada@uni.example -> lovelace@uni.example, display_name: Ada Lovelace -> Ada King"
    );
    let ada = user(&admin, "lovelace@uni.example").await;
    assert_eq!((&ada["section"], &ada["given_name"]), (&json!("A"), &json!("Ada")));
    assert_eq!(students(&admin, &courses[0].2).await, ["lovelace@uni.example"]);
    // The lecturer is not in the file: reported, and still there.
    assert_eq!(report["lecturers"]["missing"], 1);
}

#[tokio::test]
async fn bad_rows_are_reported_one_by_one_and_do_not_stop_the_good_ones() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    csv(&admin, "", "email,name,id\nold@x.example,Old,1\nother@x.example,Other,2\n").await;
    let text = "email,name,id,role,course\n\
        good@x.example,Good,10,,CS101\n\
        nobody,Bad,11,,\n\
        noname@x.example,,12,,\n\
        root@x.example,Root,13,admin,\n\
        who@x.example,Who,14,janitor,\n\
        old@x.example,Old,99,,\n\
        twice@x.example,Twice,15,,\n\
        twice@x.example,Thrice,15,,\n\
        steals@x.example,Steals,15,,\n\
        code@x.example,Code,16,,<b>\n\
        staff@x.example,Staff,17,staff,CS101\n\
        long@x.example,Long,18,,CS101,too,many\n";
    let report = csv(&admin, "", text).await;
    let problems = report["problems"].as_array().unwrap();
    let bad: Vec<_> =
        problems.iter().map(|p| (p["line"].as_u64().unwrap(), p["column"].as_str().unwrap_or(""))).collect();
    let read = [(3, "email"), (5, "role"), (6, "role"), (9, "email"), (10, "id"), (11, "course"), (13, "")];
    let compared = [(4, "name"), (7, "email"), (12, "role")];
    assert_eq!(bad, [&read[..], &compared[..]].concat(), "{report:#}");
    assert_eq!(report["bad_rows"], 10);
    assert!(problems.iter().all(|p| !p["what"].as_str().unwrap().is_empty() && !p["fix"].as_str().unwrap().is_empty()));
    assert_eq!(problems[7]["what"], "nobody has this address yet, and the name is missing");
    // The good one, the first of two rows, and the staff who only cannot attend.
    assert_eq!((&report["users"]["created"], &report["enrolments"]["added"]), (&json!(3), &json!(1)), "{report:#}");
    user(&admin, "good@x.example").await;
    assert_eq!(user(&admin, "old@x.example").await["external_id"], "1");

    let strict = send(&admin, "?strict=true", "email,name\nnew@x.example,New\nnobody,Bad\n").await;
    let error = strict.expect_error(422, "ROSTER_REFUSED");
    assert_eq!(error["details"]["report"]["problems"][0]["line"], 3);
    assert_eq!(admin.get("/api/v1/admin/users?q=new@x.example").await.expect(200)["items"], json!([]));
    let strict = send(&admin, "?strict=true", "email,name\nnew@x.example,New\n").await.expect(200);
    assert_eq!(strict["users"]["created"], 1);
}

#[tokio::test]
async fn who_is_missing_from_a_complete_roster_is_reported_and_stays() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    send(&admin, "", archive(&files("oneroster-1.2"))).await.expect(200);
    let mut without_bo = files("oneroster-1.2");
    for (_, text) in &mut without_bo {
        *text = text.lines().filter(|line| !line.contains("u-bo")).map(|line| format!("{line}\n")).collect();
    }
    let without_bo = archive(&without_bo);
    let report = send(&admin, "", without_bo.clone()).await.expect(200);
    assert_eq!((&report["users"]["missing"], &report["enrolments"]["missing"]), (&json!(1), &json!(1)));
    assert_eq!((&report["users"]["disabled"], &report["applied"]), (&json!(0), &json!(true)));
    assert_eq!(user(&admin, "bo@uni.example").await["status"], "active");
    let report = send(&admin, "?disable_missing=true", without_bo.clone()).await.expect(200);
    assert_eq!((&report["users"]["missing"], &report["users"]["disabled"]), (&json!(1), &json!(1)));
    assert_eq!(user(&admin, "bo@uni.example").await["status"], "disabled");
    let report = send(&admin, "?disable_missing=true", without_bo).await.expect(200);
    assert_eq!((&report["users"]["missing"], &report["users"]["disabled"]), (&json!(0), &json!(0)));
    // Being back in the roster gives no access back: somebody may have had a reason.
    let report = send(&admin, "", archive(&files("oneroster-1.2"))).await.expect(200);
    assert!(report["notes"].to_string().contains("1 accounts are disabled and stay so"), "{report}");
    let plain = send(&admin, "?disable_missing=true", "email,name\nbo@uni.example,Bo\n").await;
    plain.expect_error(422, "ROSTER_INVALID");
}

#[tokio::test]
async fn a_delta_names_only_what_changed() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    send(&admin, "", archive(&files("oneroster-1.2"))).await.expect(200);
    let manifest =
        "propertyName,value\noneroster.version,1.2\nfile.users,delta\nfile.roles,delta\nfile.enrollments,delta\n";
    let users = "sourcedId,status,dateLastModified,enabledUser,username,givenName,familyName,email\n\
                 u-bo,tobedeleted,2026-10-01T00:00:00Z,true,,Bo,Bo,bo@uni.example\n\
                 u-new,active,2026-10-01T00:00:00Z,true,,New,Comer,new@uni.example\n\
                 u-off,active,2026-10-01T00:00:00Z,false,,Off,Off,off@uni.example\n";
    let roles = "sourcedId,status,dateLastModified,userSourcedId,roleType,role,orgSourcedId\n\
                 r-9,active,2026-10-01T00:00:00Z,u-new,primary,student,org-1\n";
    let places = "sourcedId,status,dateLastModified,classSourcedId,schoolSourcedId,userSourcedId,role\n\
                  e-3,tobedeleted,2026-10-01T00:00:00Z,class-2,org-1,u-ada,student\n\
                  e-9,active,2026-10-01T00:00:00Z,class-2,org-1,u-new,student\n\
                  e-10,active,2026-10-01T00:00:00Z,class-9,org-1,u-new,student\n\
                  e-11,active,2026-10-01T00:00:00Z,class-2,org-1,u-nobody,student\n";
    let set = [("manifest.csv", manifest), ("users.csv", users), ("roles.csv", roles), ("enrollments.csv", places)];
    let set = archive(&set.map(|(name, text)| (format!("export/{name}"), text.to_owned())));
    let report = send(&admin, "", set).await.expect(200);
    assert_eq!((&report["users"]["created"], &report["users"]["disabled"]), (&json!(1), &json!(1)), "{report:#}");
    assert_eq!((&report["enrolments"]["added"], &report["enrolments"]["removed"]), (&json!(1), &json!(1)));
    assert_eq!((&report["users"]["missing"], &report["enrolments"]["missing"]), (&json!(0), &json!(0)));
    let lines: Vec<_> = report["problems"].as_array().unwrap().iter().map(|problem| problem["line"].clone()).collect();
    assert_eq!(lines, [4, 5]);
    assert_eq!(user(&admin, "bo@uni.example").await["status"], "disabled");
    assert_eq!(students(&admin, &courses(&admin).await[0].2).await, ["new@uni.example"]);
}

#[tokio::test]
async fn an_admin_may_say_that_addresses_are_to_be_trusted() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    server.create_user("cy@uni.example", "student").await;
    let lecturer = server.sign_in("cy@uni.example").await;
    send(&admin, "?trust_emails=true", archive(&files("oneroster-1.2"))).await.expect(200);
    assert_eq!(user(&admin, "cy@uni.example").await["role"], "lecturer");
    lecturer.get("/api/v1/auth/me").await.expect_error(401, "TOKEN_REVOKED");
}

#[tokio::test]
async fn a_roster_takes_no_role_away_and_touches_nobody_in_the_office() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    for (email, role) in [("s@x.example", "staff"), ("r@x.example", "reviewer"), ("l@x.example", "lecturer")] {
        server.create_user(email, role).await;
    }
    let text = "email,name,id,role,status\n\
        s@x.example,Changed,1,student,\n\
        r@x.example,Changed,2,lecturer,left\n\
        l@x.example,Changed,,student,\n\
        admin1@muster.example,Changed,4,student,left\n";
    let report = csv(&admin, "?trust_emails=true", text).await;
    assert_eq!((&report["users"]["updated"], &report["users"]["unchanged"]), (&json!(1), &json!(3)), "{report:#}");
    let notes = report["notes"].to_string();
    assert!(notes.contains("3 accounts of reviewers, staff and admins were left as they are"), "{notes}");
    assert!(notes.contains("1 accounts have a higher role than the roster says"), "{notes}");
    for (email, role, name) in [("s@x.example", "staff", "s@x.example"), ("l@x.example", "lecturer", "Changed")] {
        let user = user(&admin, email).await;
        assert_eq!((&user["role"], &user["display_name"]), (&json!(role), &json!(name)));
    }
    admin.get("/api/v1/auth/me").await.expect(200);
}

#[tokio::test]
async fn only_those_who_may_change_accounts_import() {
    let server = TestServer::start().await;
    let roster = "email,name\na@x.example,A\n";
    for role in ["guest", "student", "lecturer", "reviewer", "staff"] {
        let client = server.client(role).await;
        let error = send(&client, "?dry_run=true", roster).await.expect_error(403, "FORBIDDEN");
        assert_eq!(error["details"]["permission"], "users.write", "{role}");
    }
    send(&server.anonymous(), "", roster).await.expect_error(401, "UNAUTHORIZED");
    send(&server.client("admin").await, "", roster).await.expect(200);
}

#[tokio::test]
async fn sets_that_nobody_understands_are_refused_in_words() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let refused = async |body: Vec<u8>, file: &str, says: &str| {
        let error = send(&admin, "", body).await.expect_error(422, "ROSTER_INVALID");
        assert_eq!(error["details"]["file"], file, "{error}");
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
    };
    let set = "oneroster-1.2";
    refused(with(set, "users.csv", "familyName,", "surname,"), "users.csv", "the column familyName is missing").await;
    refused(with(set, "manifest.csv", "1.2", "3.0"), "manifest.csv", "Muster reads 1.1 and 1.2").await;
    refused(with(set, "manifest.csv", "file.users,bulk", "file.users,all"), "manifest.csv", "absent, bulk or delta")
        .await;
    refused(with(set, "manifest.csv", "file.roles,bulk", "file.roles,absent"), "users.csv", "neither a column role")
        .await;
    let less = |name: &str| files(set).into_iter().filter(|(file, _)| file != name).collect::<Vec<_>>();
    refused(archive(&less("manifest.csv")), "manifest.csv", "is not there").await;
    refused(archive(&less("roles.csv")), "roles.csv", "is not there").await;
    refused(b"name,age\nAda,36\n".to_vec(), "roster", "the column email is missing").await;
    refused(b"PK\x03\x04 and nothing more".to_vec(), "the archive", "damaged").await;
    let mut damaged = archive(&files(set));
    for byte in damaged.iter_mut().skip(60).take(40) {
        *byte ^= 0xFF;
    }
    let damaged = send(&admin, "", damaged).await.status.as_u16();
    assert_eq!(damaged, 422, "an archive with wrong bytes");
    send(&admin, "", "").await.expect_error(422, "VALIDATION_ERROR");
    send(&admin, "?format=xml", "email\n").await.expect_error(422, "VALIDATION_ERROR");
    send(&admin, "", archive(&files(set))).await.expect(200);
}

#[tokio::test]
async fn uploads_archives_and_rows_have_their_bounds() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let mut text = "email,name\na@x.example,A\n".to_owned();
    text.extend(std::iter::repeat_n('\n', UPLOAD_BYTES_MAX as usize - text.len()));
    let most = send(&admin, "", text.clone()).await.expect(200);
    assert_eq!(most["users"]["created"], 1);
    text.push('\n');
    send(&admin, "", text.clone()).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    // The same without an announced length.
    let chunks = [text.split_off(text.len() / 2), text].map(|half| Ok::<_, std::io::Error>(half.into_bytes()));
    let stream = Body::wrap_stream(futures_util::stream::iter(chunks));
    send(&admin, "", stream).await.expect_error(413, "PAYLOAD_TOO_LARGE");

    let entries = |count: usize| {
        let mut set = files("oneroster-1.2");
        set.extend((set.len()..count).map(|number| (format!("{number}.txt"), String::new())));
        archive(&set)
    };
    send(&admin, "", entries(256)).await.expect(200);
    send(&admin, "", entries(257)).await.expect_error(422, "ROSTER_INVALID");
    let row = |length: usize| format!("email,name,note\nb@x.example,B,{}\n", "x".repeat(length));
    assert_eq!(csv(&admin, "", &row(60_000)).await["bad_rows"], 0, "a column that is not read may be long");
    assert_eq!(csv(&admin, "", &row(70_000)).await["bad_rows"], 1);
    let name = |length: usize| format!("email,name\nb@x.example,{}\n", "x".repeat(length));
    assert_eq!(csv(&admin, "", &name(120)).await["bad_rows"], 0);
    assert_eq!(csv(&admin, "", &name(121)).await["bad_rows"], 1);
}

#[tokio::test]
async fn a_course_takes_no_more_students_than_it_may_have() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let mut text = "email,name,course\n".to_owned();
    for number in 0..5_001 {
        text.push_str(&format!("s{number}@x.example,S,CS101\n"));
    }
    let report = csv(&admin, "", &text).await;
    assert_eq!((&report["users"]["created"], &report["enrolments"]["added"]), (&json!(5_001), &json!(5_000)));
    assert_eq!(report["problems"][0]["line"], 5_002);
    assert_eq!(csv(&admin, "", &text).await["enrolments"]["added"], 0);
}

#[tokio::test]
async fn somebody_has_only_so_many_courses_and_a_phone_hears_of_every_one() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let mut text = "email,name,role,course\n".to_owned();
    for hundred in 0..5 {
        let codes: Vec<_> = (0..100).map(|number| format!("C{hundred}{number:02}")).collect();
        text.push_str(&format!("many@x.example,Many,lecturer,{}\n", codes.join("|")));
    }
    let report = csv(&admin, "", &text).await;
    assert_eq!((&report["lecturers"]["added"], &report["bad_rows"]), (&json!(500), &json!(0)), "{report:#}");
    let again = csv(&admin, "", "email,name,role,course\nmany@x.example,Many,lecturer,D1|C000\n").await;
    assert_eq!((&again["lecturers"]["added"], &again["lecturers"]["bad"]), (&json!(0), &json!(1)), "{again:#}");
    let said = again["problems"][0]["what"].as_str().unwrap();
    assert!(said.contains("in 500 courses already"), "{said}");

    let many = user(&admin, "many@x.example").await["id"].as_str().unwrap().to_owned();
    let body = json!({"code": "D2", "title": "One more"});
    let more = admin.post("/api/v1/courses", &body).await.expect(201)["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/courses/{more}/lecturers");
    let people = json!({"user_ids": [many]});
    let add = || admin.post(&path, &people);
    add().await.expect_error(409, "TOO_MANY_COURSES");
    let page = admin.get("/api/v1/courses?limit=1").await.expect(200);
    let one = page["items"][0]["id"].as_str().unwrap().to_owned();
    let taken = admin.delete(&format!("/api/v1/courses/{one}/lecturers/{many}")).await;
    assert_eq!(taken.status, 204, "a place that ended gives room");
    add().await.expect(200);

    let (id, tenant) = (many.parse().unwrap(), TenantId::default_tenant());
    let user = CurrentUser { id, tenant, role: Role::Lecturer };
    let read = server.app().db.read(move |tx| muster_server::courses::channels_of(tx, &user)).await;
    assert_eq!(read.map_err(|error: DbError| error).unwrap().len(), 1_001);
}

#[tokio::test]
async fn one_import_runs_at_a_time() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body = futures_util::stream::unfold(receiver, |mut receiver| async {
        let next = receiver.recv().await?;
        Some((next, receiver))
    });
    let request = admin.request(Method::POST, IMPORT).body(Body::wrap_stream(body));
    let slow = tokio::spawn(Reply::of(request));
    sender.send(Ok(b"email,name\n".to_vec())).await.unwrap();
    sender.send(Ok(b"a@x.example,A\n".to_vec())).await.unwrap();
    loop {
        let other = send(&admin, "?dry_run=true", "email,name\nb@x.example,B\n").await;
        if other.status == 409 {
            other.expect_error(409, "IMPORT_RUNNING");
            break;
        }
        tokio::task::yield_now().await;
    }
    drop(sender);
    assert_eq!(slow.await.unwrap().expect(200)["users"]["created"], 1);
    send(&admin, "", "email,name\nb@x.example,B\n").await.expect(200);
}
