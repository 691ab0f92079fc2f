//! An address that nobody confirmed is nobody's: whoever typed it is not enrolled, matched or approved by it.

use muster_tests::phone::Phone;
use muster_tests::{Client, Data, PASSWORD, TestServer};
use serde_json::{Value, json};

use super::admin::muster;
use super::audit;
use super::roster::csv;
use super::smtp::MailServer;

const ADA: &str = "ada@uni.example";

/// A stranger signs up with an address, as everybody may by default; gives their client.
async fn stranger(server: &TestServer, email: &str, username: Option<&str>) -> Client {
    let body = json!({"email": email, "password": PASSWORD, "name": "Stranger", "username": username});
    server.anonymous().post("/api/v1/auth/register", &body).await.expect(201);
    server.sign_in(email).await
}

async fn course(lecturer: &Client) -> String {
    let created = lecturer.post("/api/v1/courses", &json!({"code": "CS101", "title": "A course"})).await.expect(201);
    format!("/api/v1/courses/{}/students", created["id"].as_str().unwrap())
}

async fn me(client: &Client) -> Value {
    client.get("/api/v1/auth/me").await.expect(200)
}

async fn found(admin: &Client, words: &str) -> Vec<Value> {
    let page = admin.get(&format!("/api/v1/admin/users?q={words}")).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_stranger_with_somebodys_address_is_not_enrolled_by_it_until_the_office_knows_them() {
    let server = TestServer::start().await;
    let (lecturer, staff, admin) =
        (server.client("lecturer").await, server.client("staff").await, server.client("admin").await);
    let ada = stranger(&server, ADA, None).await;
    let students = course(&lecturer).await;
    let by_address = json!({"emails": [ADA, "nobody@uni.example"]});
    let added = lecturer.post(&students, &by_address).await.expect(200);
    assert_eq!((&added["added"], &added["unconfirmed"]), (&json!(0), &json!([ADA])), "{added}");
    assert_eq!(added["unknown"], json!([ADA, "nobody@uni.example"]));
    assert_eq!(ada.get("/api/v1/courses").await.expect(200)["items"], json!([]));
    let shown = &found(&admin, ADA).await[0];
    assert_eq!((&shown["email_confirmed_at"], &shown["email_confirmed_by"]), (&Value::Null, &Value::Null));

    let account = format!("/api/v1/students/{}", ada.user_id());
    let confirmed = staff.patch(&account, &json!({"email_confirmed": true})).await.expect(200);
    assert_eq!(confirmed["email_confirmed_by"], "staff");
    assert!(confirmed["email_confirmed_at"].is_string());
    let rows = audit::rows(&server).await;
    let row = rows.iter().find(|row| row.action == "email.confirm").unwrap();
    assert_eq!((row.actor_id.as_str(), row.reason.as_deref()), (staff.user_id(), Some("by_hand")));
    assert_eq!(lecturer.post(&students, &by_address).await.expect(200)["added"], 1);
    // Saying so again is no news; the other way round it is.
    staff.patch(&account, &json!({"email_confirmed": true})).await.expect(200);
    assert_eq!(audit::rows(&server).await.iter().filter(|row| row.action == "email.confirm").count(), 1);
    let doubted = staff.patch(&account, &json!({"email_confirmed": false})).await.expect(200);
    assert_eq!(doubted["email_confirmed_by"], Value::Null);
    assert!(audit::rows(&server).await.iter().any(|row| row.action == "email.doubt"));
}

#[tokio::test]
async fn whom_the_office_creates_is_enrolled_by_address_at_once_and_a_new_address_is_nobodys() {
    let server = TestServer::start().await;
    let (lecturer, staff, admin) =
        (server.client("lecturer").await, server.client("staff").await, server.client("admin").await);
    let students = course(&lecturer).await;
    let person = |email: &str| json!({"email": email, "display_name": "Somebody", "password": PASSWORD});
    let by_staff = staff.post("/api/v1/students", &person("s@uni.example")).await.expect(201);
    let mut by_admin = person("a@uni.example");
    by_admin["role"] = json!("student");
    let by_admin = admin.post("/api/v1/admin/users", &by_admin).await.expect(201);
    let registered = admin.post("/api/v1/auth/register", &person("r@uni.example")).await.expect(201);
    let by = |user: &Value| user["email_confirmed_by"].as_str().unwrap().to_owned();
    assert_eq!([by(&by_staff), by(&by_admin), by(&registered)], ["staff", "admin", "admin"]);
    let emails = json!({"emails": ["s@uni.example", "a@uni.example", "r@uni.example"]});
    assert_eq!(lecturer.post(&students, &emails).await.expect(200)["added"], 3);

    let account = format!("/api/v1/admin/users/{}", by_admin["id"].as_str().unwrap());
    let moved = admin.patch(&account, &json!({"email": "b@uni.example"})).await.expect(200);
    assert_eq!(moved["email_confirmed_at"], Value::Null);
    let known = json!({"email": "c@uni.example", "email_confirmed": true});
    assert_eq!(admin.patch(&account, &known).await.expect(200)["email_confirmed_by"], "admin");
}

#[tokio::test]
async fn the_office_sees_that_nobody_confirmed_the_address_before_it_approves_a_phone() {
    let post = MailServer::plain();
    let port = post.port.to_string();
    let smtp = [("--smtp-host", "127.0.0.1"), ("--smtp-port", port.as_str()), ("--smtp-tls", "none")];
    let builder = smtp.iter().fold(TestServer::builder(), |builder, (name, value)| builder.option(name, value));
    approved(builder.start().await, true).await;
}

#[tokio::test]
async fn where_no_mail_leaves_the_office_sees_the_same_and_may_name_the_address() {
    approved(TestServer::start().await, false).await;
}

async fn approved(server: TestServer, with_mail: bool) {
    let admin = server.client("admin").await;
    let mut phone = Phone::new(stranger(&server, ADA, None).await, 1);
    let request = phone.binding_request(muster_sync_core::document::RequestPurpose::Bind);
    phone.push(std::slice::from_ref(&request)).await;
    let waiting = admin.get("/api/v1/admin/device-requests").await.expect(200)["items"][0].clone();
    assert_eq!((&waiting["user"]["email"], &waiting["user"]["email_confirmed_at"]), (&json!(ADA), &Value::Null));
    assert_eq!(waiting["user"]["email_confirmed_by"], Value::Null);
    assert_eq!(waiting["unconfirmed"], true);
    let hash = waiting["hash"].as_str().unwrap().to_owned();
    let approve = format!("/api/v1/admin/device-requests/{hash}/approve");
    for reason in [json!({}), json!({"reason": "seen"}), json!({"accept_unconfirmed": false})] {
        admin.post(&approve, &reason).await.expect_error(409, "OWNER_UNCONFIRMED");
    }
    let by_address = json!({"email": ADA});
    let reset = admin.post("/api/v1/admin/approve-imei-reset", &by_address).await;
    reset.expect_error(409, if with_mail { "EMAIL_UNCONFIRMED" } else { "NOT_A_RESET" });
    let account = format!("/api/v1/admin/users/{}", phone.client.user_id());
    admin.patch(&account, &json!({"email_confirmed": true})).await.expect(200);
    let waiting = admin.get("/api/v1/admin/device-requests").await.expect(200)["items"][0].clone();
    assert_eq!((&waiting["user"]["email_confirmed_by"], &waiting["unconfirmed"]), (&json!("admin"), &json!(false)));
    admin.post(&approve, &json!({})).await.expect(200);
    let device = admin.get("/api/v1/admin/devices").await.expect(200)["items"][0].clone();
    assert_eq!(device["user"]["email_confirmed_by"], "admin");
    admin.post("/api/v1/admin/approve-imei-reset", &by_address).await.expect_error(404, "NO_PENDING_RESET");
}

/// A stranger's phone, its request, and what an admin sees of it.
async fn asking(client: Client, admin: &Client, seed: u8) -> (Phone, String) {
    let mut phone = Phone::new(client, seed);
    let request = phone.binding_request(muster_sync_core::document::RequestPurpose::Bind);
    phone.push(std::slice::from_ref(&request)).await;
    let waiting = admin.get("/api/v1/admin/device-requests").await.expect(200)["items"][0].clone();
    (phone, waiting["hash"].as_str().unwrap().to_owned())
}

const ACCEPTED: fn() -> Value = || json!({"accept_unconfirmed": true});

#[tokio::test]
async fn whoever_approves_a_phone_or_a_reset_of_nobody_known_says_so_and_the_audit_log_has_it() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let (phone, hash) = asking(stranger(&server, ADA, None).await, &admin, 1).await;
    let approve = format!("/api/v1/admin/device-requests/{hash}/approve");
    admin.post(&approve, &json!({})).await.expect_error(409, "OWNER_UNCONFIRMED");
    admin.post(&approve, &ACCEPTED()).await.expect(200);
    admin.post(&approve, &json!({})).await.expect(200);

    let (_, hash) = asking(server.sign_in(ADA).await, &admin, 2).await;
    let named = json!({"request_id": hash});
    admin.post("/api/v1/admin/approve-imei-reset", &named).await.expect_error(409, "OWNER_UNCONFIRMED");
    let deny = format!("/api/v1/admin/device-requests/{hash}/deny");
    let named = json!({"request_id": hash, "accept_unconfirmed": true});
    admin.post("/api/v1/admin/approve-imei-reset", &named).await.expect(200);
    admin.post(&deny, &json!({"reason": "no"})).await.expect_error(409, "ALREADY_DECIDED");

    // An identifier of an older client is one more way of the same.
    let bind = json!({"imei": "356938035643809"});
    let asked = phone.client.post("/api/v1/students/device/bind", &bind).await.json();
    let hash = asked["request"]["hash"].as_str().unwrap_or_else(|| panic!("{asked}"));
    let approve = format!("/api/v1/admin/device-requests/{hash}/approve");
    admin.post(&approve, &json!({})).await.expect_error(409, "OWNER_UNCONFIRMED");
    admin.post(&approve, &ACCEPTED()).await.expect(200);

    let rows = audit::rows(&server).await;
    let noted: Vec<_> = rows.iter().filter(|row| row.result == "approved_unconfirmed").map(|row| &row.action).collect();
    assert_eq!(noted, ["device.approve", "device.reset", "device.approve"]);
    // Saying no needs no word.
    let (_, hash) = asking(stranger(&server, "bo@uni.example", None).await, &admin, 3).await;
    let deny = format!("/api/v1/admin/device-requests/{hash}/deny");
    admin.post(&deny, &json!({"reason": "no"})).await.expect(200);
}

#[tokio::test]
async fn what_a_stranger_bound_or_asked_for_is_not_the_owners_once_she_has_set_her_password_by_mail() {
    let post = MailServer::plain();
    let port = post.port.to_string();
    let smtp = [("--smtp-host", "127.0.0.1"), ("--smtp-port", port.as_str()), ("--smtp-tls", "none")];
    let builder = smtp.iter().fold(TestServer::builder(), |builder, (name, value)| builder.option(name, value));
    let server = builder.manual_clock(1_763_640_000_000).start().await;
    let admin = server.client("admin").await;
    let (_, bound) = asking(stranger(&server, ADA, None).await, &admin, 1).await;
    admin.post(&format!("/api/v1/admin/device-requests/{bound}/approve"), &ACCEPTED()).await.expect(200);
    let (_, asked) = asking(server.sign_in(ADA).await, &admin, 2).await;
    server.clock().advance(std::time::Duration::from_secs(60));

    server.anonymous().post("/api/v1/auth/password-reset/request", &json!({"email": ADA})).await.expect(202);
    let token = loop {
        let mail = post.nth(post.inbox().len().max(1)).await;
        if mail.body().contains("reset-password#token=") {
            break mail.link().1;
        }
        post.nth(post.inbox().len() + 1).await;
    };
    let password = "a password of the real Ada";
    let confirm = json!({"token": token, "new_password": password});
    server.anonymous().post("/api/v1/auth/password-reset/confirm", &confirm).await.expect(200);
    let device = loop {
        let device = admin.get("/api/v1/admin/devices").await.expect(200)["items"][0].clone();
        if device["status"] == "revoked" {
            break device;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((&device["reason"], &device["revoked_by"]), (&json!("unconfirmed_address"), &json!("server")));

    // The address is confirmed now, and the stranger's request came before that.
    let waiting = admin.get("/api/v1/admin/device-requests").await.expect(200)["items"][0].clone();
    assert_eq!((&waiting["hash"], &waiting["unconfirmed"]), (&json!(asked), &json!(true)));
    assert_eq!(waiting["user"]["email_confirmed_by"], "mail");
    let approve = |hash: &str| format!("/api/v1/admin/device-requests/{hash}/approve");
    admin.post(&approve(&asked), &json!({})).await.expect_error(409, "OWNER_UNCONFIRMED");

    // Her own phone needs no word, and a later password of hers ends nothing.
    let login = json!({"email": ADA, "password": password});
    let signed_in = server.anonymous().post("/api/v1/auth/login", &login).await.expect(200);
    let own =
        server.with_token(signed_in["access_token"].as_str().unwrap()).as_user(waiting["user"]["id"].as_str().unwrap());
    let mut phone = Phone::new(own, 3);
    let request = phone.binding_request(muster_sync_core::document::RequestPurpose::Bind);
    phone.push(std::slice::from_ref(&request)).await;
    let items = admin.get("/api/v1/admin/device-requests").await.expect(200)["items"].clone();
    let mine = items.as_array().unwrap().iter().find(|item| item["hash"] != json!(asked)).unwrap().clone();
    assert_eq!(mine["unconfirmed"], false);
    admin.post(&approve(mine["hash"].as_str().unwrap()), &json!({})).await.expect(200);
}

#[tokio::test]
async fn lists_of_records_and_of_what_waits_say_whether_anybody_confirmed_the_person() {
    let lecture = muster_tests::lecture::Lecture::begin().await;
    let admin = lecture.server.client("admin").await;
    let known = lecture.student(1).await;
    let stranger = stranger(&lecture.server, ADA, None).await;
    let path = format!("/api/v1/courses/{}/students", lecture.course);
    lecture.lecturer.post(&path, &json!({"user_ids": [stranger.user_id()]})).await.expect(200);
    let list = format!("/api/v1/lecturers/sessions/{}/attendance", lecture.locator());
    let rows = lecture.lecturer.get(&list).await.expect(200)["items"].clone();
    let row = |id: &str| rows.as_array().unwrap().iter().find(|row| row["user_id"] == json!(id)).unwrap().clone();
    assert_eq!(row(known.client.user_id())["email_confirmed_by"], "admin");
    assert!(row(known.client.user_id())["email_confirmed_at"].is_string());
    let unknown = row(stranger.user_id());
    assert_eq!((&unknown["email_confirmed_by"], &unknown["email_confirmed_at"]), (&Value::Null, &Value::Null));

    // What the stranger's phone sends waits, and names whom to ask.
    let mut phone = Phone::new(stranger, 9);
    let code = lecture.claim().await.code;
    let manifest = lecture.manifest(None);
    let item = phone.submission_with(lecture.locator(), &code, manifest.clocks.wall_ms, &manifest);
    phone.push(std::slice::from_ref(&item)).await;
    let waiting = admin.get("/api/v1/admin/quarantine").await.expect(200)["items"][0].clone();
    for person in ["sender", "about"] {
        assert_eq!((&waiting[person]["email"], &waiting[person]["email_confirmed_at"]), (&json!(ADA), &Value::Null));
        assert_eq!(waiting[person]["display_name"], "Stranger", "{waiting}");
    }
    let hash = waiting["hash"].as_str().unwrap();
    let one = admin.get(&format!("/api/v1/admin/quarantine/{hash}")).await.expect(200);
    assert_eq!(one["about"], waiting["about"]);
}

#[tokio::test]
async fn a_dry_run_that_takes_an_address_away_names_the_way_out() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    stranger(&server, ADA, None).await;
    let text = "id,email,name\n17,ada@uni.example,Ada\n";
    let report = csv(&admin, "?dry_run=true", text).await;
    let notes = report["notes"].to_string();
    assert!(report["users"]["withdrawn"] == 1 && notes.contains("trust_emails"), "{report}");
    let trusted = csv(&admin, "?dry_run=true&trust_emails=true", text).await;
    assert!(trusted["users"]["withdrawn"] == 0 && !trusted["notes"].to_string().contains("trust_emails"), "{trusted}");
}

#[tokio::test]
async fn whom_the_registry_names_gets_the_address_and_the_user_name_that_a_stranger_typed() {
    let server = TestServer::start().await;
    let (admin, lecturer) = (server.client("admin").await, server.client("lecturer").await);
    let eve = stranger(&server, ADA, Some("ada")).await;
    let students = course(&lecturer).await;
    lecturer.post(&students, &json!({"user_ids": [eve.user_id()]})).await.expect(200);
    let text = "email,name,id,username,role,course\n\
        ada@uni.example,Ada Lovelace,u-ada,ada,student,CS101\n";
    let dry = csv(&admin, "?dry_run=true", text).await;
    assert_eq!((&dry["users"]["withdrawn"], &dry["users"]["created"]), (&json!(1), &json!(1)), "{dry:#}");
    assert!(dry["changes"].to_string().contains("withdraw"), "{dry:#}");
    assert_eq!(me(&eve).await["email"], ADA, "a dry run takes nothing");
    let report = csv(&admin, "", text).await;
    assert_eq!((&report["users"]["withdrawn"], &report["bad_rows"]), (&json!(1), &json!(0)), "{report:#}");

    let lost = me(&eve).await;
    assert!(lost["email_lost_at"].is_string(), "the stranger is told: {lost}");
    assert_eq!((&lost["username"], &lost["id"]), (&Value::Null, &json!(eve.user_id())));
    assert_eq!(lost["email"], format!("{}@no-address.invalid", eve.user_id()));
    assert_eq!(eve.get("/api/v1/courses").await.expect(200)["items"], json!([]), "and is in no course");
    let ada = &found(&admin, ADA).await[0];
    assert_ne!(ada["id"], eve.user_id());
    assert_eq!((&ada["email_confirmed_by"], &ada["external_id"]), (&json!("registry"), &json!("u-ada")));
    let listed = lecturer.get(&students).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(listed["items"][0]["id"], ada["id"]);
    // The password that the stranger chose opens nothing of hers.
    let login = json!({"email": ADA, "password": PASSWORD});
    server.anonymous().post("/api/v1/auth/login", &login).await.expect_error(401, "INVALID_CREDENTIALS");
    let rows = audit::rows(&server).await;
    let row = rows.iter().find(|row| row.action == "email.withdraw").unwrap();
    assert_eq!((row.object_id.as_str(), row.reason.as_deref()), (eve.user_id(), Some("email")));
    assert_eq!(csv(&admin, "", text).await["users"]["unchanged"], 1);
}

#[tokio::test]
async fn a_roster_disables_no_stranger_for_somebody_who_has_left_and_asks_about_people_of_the_office() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let eve = stranger(&server, ADA, None).await;
    let report = csv(&admin, "", "email,name,status\nada@uni.example,Ada,left\n").await;
    assert_eq!((&report["users"]["disabled"], &report["skipped_rows"]), (&json!(0), &json!(1)), "{report:#}");
    assert_eq!(me(&eve).await["email"], ADA);
    // Somebody gave this one a role: the office decides, and nobody loses anything.
    server.create_user("cy@uni.example", "lecturer").await;
    let report = csv(&admin, "", "email,name,id,role\ncy@uni.example,Cy,u-cy,lecturer\n").await;
    let problem = &report["problems"][0];
    assert_eq!((&problem["column"], &report["users"]["withdrawn"]), (&json!("email"), &json!(0)), "{report:#}");
    assert!(problem["what"].as_str().unwrap().contains("nobody confirmed"), "{problem}");
}

#[tokio::test]
async fn an_admin_decides_when_an_unconfirmed_address_is_of_somebody_whom_the_registry_knows() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    csv(&admin, "", "email,name,id\neve@uni.example,Eve,u-eve\n").await;
    let eve = found(&admin, "eve@uni.example").await[0]["id"].as_str().unwrap().to_owned();
    // A slip of an admin, which nobody confirmed.
    let account = format!("/api/v1/admin/users/{eve}");
    admin.patch(&account, &json!({"email": ADA})).await.expect(200);
    let report = csv(&admin, "", "email,name,id\nada@uni.example,Ada,u-ada\n").await;
    assert_eq!(
        (&report["problems"][0]["column"], &report["users"]["withdrawn"]),
        (&json!("email"), &json!(0)),
        "{report:#}"
    );
    // Where the registry names both, each gets their own.
    let report = csv(&admin, "", "email,name,id\nada@uni.example,Ada,u-ada\neve@uni.example,Eve,u-eve\n").await;
    assert_eq!((&report["users"]["created"], &report["users"]["updated"]), (&json!(1), &json!(1)), "{report:#}");
    let shown = admin.get(&account).await.expect(200);
    assert_eq!((&shown["email"], &shown["email_confirmed_by"]), (&json!("eve@uni.example"), &json!("registry")));
    assert_ne!(found(&admin, ADA).await[0]["id"], json!(eve));
}

#[tokio::test]
async fn staff_prepare_no_takeover_by_a_future_id_or_a_future_address() {
    let server = TestServer::start().await;
    let (admin, staff) = (server.client("admin").await, server.client("staff").await);
    let by_id = json!({"email": "mine@x.example", "display_name": "Mine", "external_id": "u-cy", "password": PASSWORD});
    let mine = staff.post("/api/v1/students", &by_id).await.expect(201);
    assert_eq!(mine["external_id_by"], "staff");
    let by_address = json!({"email": "di@uni.example", "display_name": "Mine too", "password": PASSWORD});
    staff.post("/api/v1/students", &by_address).await.expect(201);
    let text = "email,name,id,role\ncy@uni.example,Cy,u-cy,lecturer\ndi@uni.example,Di,u-di,lecturer\n";
    let report = csv(&admin, "", text).await;
    let bad: Vec<_> = report["problems"].as_array().unwrap().iter().map(|p| p["column"].as_str().unwrap()).collect();
    assert_eq!(bad, ["external_id", "role"], "{report:#}");
    assert_eq!(report["users"]["roles_changed"], 0);
    let (mine, too) = (&found(&admin, "mine@x.example").await[0], &found(&admin, "di@uni.example").await[0]);
    assert_eq!((&mine["role"], &too["role"]), (&json!("student"), &json!("student")));
    assert_eq!(too["external_id"], Value::Null, "nor is the id tied for the roster after this one");

    // An admin may give roles, so an admin's word is as good.
    let account = format!("/api/v1/admin/users/{}", too["id"].as_str().unwrap());
    admin.patch(&account, &json!({"email_confirmed": true})).await.expect(200);
    let report = csv(&admin, "", "email,name,id,role\ndi@uni.example,Di,u-di,lecturer\n").await;
    assert_eq!(report["users"]["roles_changed"], 1, "{report:#}");
    // A student of the same words is one.
    let report = csv(&admin, "", "email,name,id\nmine@x.example,Mine,u-cy\n").await;
    assert_eq!((&report["users"]["updated"], &report["bad_rows"]), (&json!(0), &json!(0)), "{report:#}");
}

#[tokio::test]
async fn the_command_line_takes_no_unconfirmed_address_for_somebody() {
    let server = TestServer::start().await;
    let eve = stranger(&server, ADA, None).await;
    let data: Data = server.stop().await;
    let fails = |arguments: &[&str]| {
        let output = muster(&data, arguments, "");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for command in
        [&["admin", "set-role", ADA, "lecturer"][..], &["admin", "enable", ADA], &["admin", "reset-mfa", ADA]]
    {
        assert!(fails(command).contains("nobody confirmed"), "{command:?}");
    }
    let listed = muster(&data, &["admin", "list", "--search", ADA], "");
    assert!(String::from_utf8(listed.stdout).unwrap().contains("nobody"));
    let by_id = muster(&data, &["admin", "set-role", eve.user_id(), "guest"], "");
    assert!(by_id.status.success(), "{by_id:?}");
    assert!(muster(&data, &["admin", "confirm-email", ADA], "").status.success());
    assert!(muster(&data, &["admin", "set-role", ADA, "student"], "").status.success());
}

#[tokio::test]
async fn a_guest_whom_an_admin_made_stays_one_and_one_who_waits_becomes_a_student() {
    let post = MailServer::plain();
    let port = post.port.to_string();
    let smtp = [("--smtp-host", "127.0.0.1"), ("--smtp-port", port.as_str()), ("--smtp-tls", "none")];
    let builder = smtp.iter().fold(TestServer::builder(), |builder, (name, value)| builder.option(name, value));
    let server = builder.option("--sign-up", "confirmed").start().await;
    let admin = server.client("admin").await;
    let confirm = async |email: &str, mails: usize| {
        let client = server.sign_in(email).await;
        let (_, token) = post.nth(mails).await.link();
        server.anonymous().post("/api/v1/auth/confirm-email", &json!({"token": token})).await.expect(200);
        drop(client);
        me(&server.sign_in(email).await).await["role"].clone()
    };
    stranger(&server, ADA, None).await;
    assert_eq!(confirm(ADA, 1).await, "student");
    // An admin says that this one is a guest, before the address is confirmed.
    let bo = stranger(&server, "bo@uni.example", None).await;
    post.nth(2).await;
    admin.patch(&format!("/api/v1/admin/users/{}", bo.user_id()), &json!({"role": "guest"})).await.expect(200);
    assert_eq!(confirm("bo@uni.example", 2).await, "guest");
    // An admin made this one, and gave it another address later.
    let cy = json!({"email": "cy@uni.example", "display_name": "Cy", "role": "guest", "password": PASSWORD});
    let cy = admin.post("/api/v1/admin/users", &cy).await.expect(201);
    let moved = json!({"email": "cy@new.example"});
    admin.patch(&format!("/api/v1/admin/users/{}", cy["id"].as_str().unwrap()), &moved).await.expect(200);
    post.nth(3).await;
    let client = server.sign_in("cy@new.example").await;
    client.post("/api/v1/auth/confirm-email/request", &json!({})).await.expect(202);
    assert_eq!(confirm("cy@new.example", 4).await, "guest");
}

#[tokio::test]
async fn a_role_that_a_roster_gives_ends_the_password_of_whoever_signed_up_with_the_address() {
    let post = MailServer::plain();
    let port = post.port.to_string();
    let smtp = [("--smtp-host", "127.0.0.1"), ("--smtp-port", port.as_str()), ("--smtp-tls", "none")];
    let builder = smtp.iter().fold(TestServer::builder(), |builder, (name, value)| builder.option(name, value));
    let server = builder.start().await;
    let admin = server.client("admin").await;
    let eve = stranger(&server, "cy@uni.example", None).await;
    // The owner of the address opens the link of the stranger's account.
    let (_, token) = post.nth(1).await.link();
    server.anonymous().post("/api/v1/auth/confirm-email", &json!({"token": token})).await.expect(200);
    assert_eq!(me(&eve).await["email_confirmed_by"], "link");
    let text = "email,name,id,role\ncy@uni.example,Cy,u-cy,lecturer\n";
    assert_eq!(csv(&admin, "", text).await["users"]["roles_changed"], 1);
    let notice = post.nth(2).await;
    assert_eq!(notice.header("Subject").unwrap(), "Your account has another role");
    eve.get("/api/v1/auth/me").await.expect_error(401, "TOKEN_REVOKED");
    let login = json!({"email": "cy@uni.example", "password": PASSWORD});
    server.anonymous().post("/api/v1/auth/login", &login).await.expect_error(401, "INVALID_CREDENTIALS");
    let asked = json!({"email": "cy@uni.example"});
    server.anonymous().post("/api/v1/auth/password-reset/request", &asked).await.expect(202);
    let (_, token) = post.nth(3).await.link();
    let reset = json!({"token": token, "new_password": "a rather new password"});
    server.anonymous().post("/api/v1/auth/password-reset/confirm", &reset).await.expect(200);
    let cy = json!({"email": "cy@uni.example", "password": "a rather new password"});
    let tokens = server.anonymous().post("/api/v1/auth/login", &cy).await.expect(200);
    let cy = server.with_token(tokens["access_token"].as_str().unwrap());
    assert_eq!((&me(&cy).await["role"], &me(&cy).await["email_confirmed_by"]), (&json!("lecturer"), &json!("mail")));
}
