//! Courses, their lecturers and their students.

use std::collections::{BTreeSet, HashMap};

use muster_server::auth::{CurrentUser, Role};
use muster_server::courses;
use muster_server::db::DbError;
use muster_server::ids::{CourseId, TenantId};
use muster_sync_core::document::{CodeMode, Label, Plan};
use muster_sync_core::{DocumentName, Locator};
use muster_tests::lecture::Lecture;
use muster_tests::phone::{Item, Phone};
use muster_tests::{Client, TestServer};
use serde_json::json;

async fn course(client: &Client, code: &str) -> String {
    let body = json!({"code": code, "title": "A course"});
    let created = client.post("/api/v1/courses", &body).await.expect(201);
    created["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_lecturer_creates_a_course_and_enrols_students() {
    let server = TestServer::start().await;
    let (lecturer, student) = (server.client("lecturer").await, server.client("student").await);
    let id = course(&lecturer, "cs101").await;
    server.create_known_user("s@x.example", "student").await;
    let path = format!("/api/v1/courses/{id}/students");
    let other_lecturer = server.client("lecturer").await;
    let people = json!({
        "user_ids": [student.user_id(), other_lecturer.user_id()],
        "emails": ["S@x.example", "nobody@x.example", "not an address"],
    });
    let added = lecturer.post(&path, &people).await.expect(200);
    assert_eq!((&added["added"], &added["already"]), (&json!(2), &json!(0)));
    let unknown = json!([other_lecturer.user_id(), "nobody@x.example", "not an address"]);
    assert_eq!(added["unknown"], unknown);
    let again = lecturer.post(&path, &people).await.expect(200);
    assert_eq!((&again["added"], &again["already"]), (&json!(0), &json!(2)));
    let listed = lecturer.get(&path).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let mine = student.get("/api/v1/courses").await.expect(200);
    assert_eq!(mine["items"][0]["code"], "CS101");
    lecturer.delete(&format!("{path}/{}", student.user_id())).await.expect(204);
    lecturer.delete(&format!("{path}/{}", student.user_id())).await.expect_error(404, "NOT_FOUND");
    assert_eq!(student.get("/api/v1/courses").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn a_course_is_only_for_its_people() {
    let server = TestServer::start().await;
    let (lecturer, stranger) = (server.client("lecturer").await, server.client("lecturer").await);
    let (student, staff) = (server.client("student").await, server.client("staff").await);
    let id = course(&lecturer, "CS101").await;
    let (course_path, students, lecturers) = (
        format!("/api/v1/courses/{id}"),
        format!("/api/v1/courses/{id}/students"),
        format!("/api/v1/courses/{id}/lecturers"),
    );
    let people = json!({"user_ids": [student.user_id()]});
    stranger.get(&course_path).await.expect_error(404, "NOT_FOUND");
    stranger.post(&students, &people).await.expect_error(404, "NOT_FOUND");
    stranger.get(&students).await.expect_error(404, "NOT_FOUND");
    student.get(&course_path).await.expect_error(404, "NOT_FOUND");
    student.post(&students, &people).await.expect_error(403, "FORBIDDEN");
    student.post("/api/v1/courses", &json!({"code": "X1", "title": "X"})).await.expect_error(403, "FORBIDDEN");
    staff.post(&students, &people).await.expect(200);
    student.get(&course_path).await.expect(200);
    let colleague = json!({"user_ids": [stranger.user_id(), student.user_id()]});
    let added = lecturer.post(&lecturers, &colleague).await.expect(200);
    assert_eq!(added["unknown"], json!([student.user_id()]));
    stranger.get(&students).await.expect(200);
}

#[tokio::test]
async fn a_course_is_taken_from_a_lecturer_who_then_sees_nothing_of_it() {
    let server = TestServer::start().await;
    let (lecturer, colleague, staff) =
        (server.client("lecturer").await, server.client("lecturer").await, server.client("staff").await);
    let stranger = server.client("lecturer").await;
    let id = course(&lecturer, "CS101").await;
    let (path, lecturers) = (format!("/api/v1/courses/{id}"), format!("/api/v1/courses/{id}/lecturers"));
    lecturer.post(&lecturers, &json!({"user_ids": [colleague.user_id()]})).await.expect(200);
    let ids = async |who: &Client| {
        let page = who.get(&lecturers).await.expect(200);
        let ids = page["items"].as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap().to_owned());
        ids.collect::<BTreeSet<_>>()
    };
    let both = [lecturer.user_id(), colleague.user_id()].map(str::to_owned);
    assert_eq!(ids(&colleague).await, BTreeSet::from(both));
    stranger.get(&lecturers).await.expect_error(404, "NOT_FOUND");
    let first = staff.get(&format!("{lecturers}?limit=1")).await.expect(200);
    assert_eq!((&first["next"], first["items"].as_array().unwrap().len()), (&first["items"][0]["id"], 1));
    let of_lecturer = format!("{lecturers}/{}", lecturer.user_id());
    stranger.delete(&of_lecturer).await.expect_error(404, "NOT_FOUND");
    colleague.delete(&of_lecturer).await.expect(204);
    colleague.delete(&of_lecturer).await.expect_error(404, "NOT_FOUND");
    lecturer.get(&path).await.expect_error(404, "NOT_FOUND");
    assert_eq!(channels(&server, &lecturer, Role::Lecturer).await, [format!("user:{}", lecturer.user_id())]);
    staff.delete(&format!("{lecturers}/{}", colleague.user_id())).await.expect(204);
    assert_eq!(ids(&staff).await, BTreeSet::new(), "the office still has it");
    staff.post(&lecturers, &json!({"user_ids": [lecturer.user_id()]})).await.expect(200);
    lecturer.get(&path).await.expect(200);
}

#[tokio::test]
async fn whoever_is_no_lecturer_any_more_reads_nothing_of_the_courses_they_taught() {
    let lecture = Lecture::begin().await;
    let mut phone = lecture.student(1).await;
    lecture.capture(&mut phone, &lecture.manifest(None)).await;
    let admin = lecture.server.client("admin").await;
    let account = format!("/api/v1/admin/users/{}", lecture.lecturer.user_id());
    let course = format!("/api/v1/courses/{}", lecture.course);
    let pulled = async |client: &Client| Phone::new(client.clone(), 9).pull(&HashMap::new()).await.changes.len();
    let before = pulled(&lecture.lecturer).await;
    assert!(before > 0, "a lecturer's phone pulls the records of the course");
    for role in ["student", "guest", "reviewer"] {
        admin.patch(&account, &json!({"role": role})).await.expect(200);
        let now = lecture.again(&lecture.lecturer).await;
        assert_eq!(pulled(&now).await, 0, "{role}");
        now.get(&course).await.expect_error(404, "NOT_FOUND");
        assert_eq!(now.get("/api/v1/courses").await.expect(200)["items"], json!([]), "{role}");
    }
    admin.patch(&account, &json!({"role": "lecturer"})).await.expect(200);
    let again = lecture.again(&lecture.lecturer).await;
    assert_eq!(pulled(&again).await, before, "the place was kept");
    again.get(&course).await.expect(200);
}

/// A plan that the phone signs for a session of its own.
fn plan(phone: &mut Phone, number: u8, lecture: &Lecture) -> Item {
    let now_ms = lecture.server.clock_ms();
    let plan = Plan {
        course: Label::new(&lecture.course).unwrap(),
        opens_at_ms: now_ms,
        closes_at_ms: now_ms + 600_000,
        late_after_ms: None,
        code_mode: CodeMode::Rotating,
        step_s: 15,
        latitude_e7: None,
        longitude_e7: None,
        radius_m: None,
        by: None,
    };
    let name = DocumentName::ClassSession { locator: Locator::from_random([number, 1, 1, 0]) };
    Item { signed: phone.write(&name, &plan.into()), name, manifest: None }
}

#[tokio::test]
async fn whoever_is_no_lecturer_any_more_plans_nothing_for_the_courses_they_taught() {
    let lecture = Lecture::begin().await;
    let mut phone = Phone::new(lecture.lecturer.clone(), 9);
    phone.bind(&lecture.server).await;
    let admin = lecture.server.client("admin").await;
    let account = format!("/api/v1/admin/users/{}", lecture.lecturer.user_id());
    for (number, role) in (1..).zip(["student", "reviewer", "staff", "lecturer"]) {
        admin.patch(&account, &json!({"role": role})).await.expect(200);
        phone.client = lecture.again(&lecture.lecturer).await;
        let item = plan(&mut phone, number, &lecture);
        let fates = phone.push(std::slice::from_ref(&item)).await;
        assert_eq!(fates[0].receipt.is_some(), role == "lecturer", "{role}: {fates:?}");
    }
    // Nor does whoever is one, of a course that was taken from them.
    let course = format!("/api/v1/courses/{}/lecturers/{}", lecture.course, lecture.lecturer.user_id());
    admin.delete(&course).await.expect(204);
    let item = plan(&mut phone, 9, &lecture);
    assert!(phone.push(std::slice::from_ref(&item)).await[0].receipt.is_none());
}

#[tokio::test]
async fn a_course_is_renamed_by_its_people_and_keeps_them() {
    let server = TestServer::start().await;
    let (lecturer, stranger, student) =
        (server.client("lecturer").await, server.client("lecturer").await, server.client("student").await);
    let id = course(&lecturer, "CS101").await;
    course(&stranger, "CS102").await;
    let path = format!("/api/v1/courses/{id}");
    lecturer.post(&format!("{path}/students"), &json!({"user_ids": [student.user_id()]})).await.expect(200);
    stranger.patch(&path, &json!({"title": "Mine"})).await.expect_error(404, "NOT_FOUND");
    student.patch(&path, &json!({"title": "Mine"})).await.expect_error(403, "FORBIDDEN");
    let renamed = lecturer.patch(&path, &json!({"title": "Logic"})).await.expect(200);
    assert_eq!((&renamed["code"], &renamed["title"]), (&json!("CS101"), &json!("Logic")));
    let renamed = lecturer.patch(&path, &json!({"code": "cs110"})).await.expect(200);
    assert_eq!((&renamed["code"], &renamed["title"]), (&json!("CS110"), &json!("Logic")));
    assert_eq!(student.get(&path).await.expect(200), renamed);
    assert_eq!(lecturer.patch(&path, &json!({})).await.expect(200), renamed, "nothing changes");
    lecturer.patch(&path, &json!({"code": "cs102"})).await.expect_error(409, "COURSE_EXISTS");
    for wrong in [json!({"code": "<b>"}), json!({"title": " "}), json!({"colour": "red"})] {
        lecturer.patch(&path, &wrong).await.expect_error(422, "VALIDATION_ERROR");
    }
}

#[tokio::test]
async fn a_code_is_unique_and_sane() {
    let server = TestServer::start().await;
    let lecturer = server.client("lecturer").await;
    course(&lecturer, "CS 101/a").await;
    let post = async |body| lecturer.post("/api/v1/courses", &body).await;
    post(json!({"code": "cs 101/A", "title": "T"})).await.expect_error(409, "COURSE_EXISTS");
    post(json!({"code": "", "title": "T"})).await.expect_error(422, "VALIDATION_ERROR");
    post(json!({"code": "<b>", "title": "T"})).await.expect_error(422, "VALIDATION_ERROR");
    post(json!({"code": "CS102", "title": " "})).await.expect_error(422, "VALIDATION_ERROR");
    let nobody = format!("/api/v1/courses/{}/students", course(&lecturer, "CS103").await);
    lecturer.post(&nobody, &json!({})).await.expect_error(422, "VALIDATION_ERROR");
    let many = json!({"emails": vec!["a@x.example"; 501]});
    lecturer.post(&nobody, &many).await.expect_error(422, "VALIDATION_ERROR");
}

#[tokio::test]
async fn channels_follow_membership() {
    let server = TestServer::start().await;
    let (lecturer, student, admin) =
        (server.client("lecturer").await, server.client("student").await, server.client("admin").await);
    let id = course(&lecturer, "CS101").await;
    let people = json!({"user_ids": [student.user_id()]});
    lecturer.post(&format!("/api/v1/courses/{id}/students"), &people).await.expect(200);
    let of = async |client: &Client, role| channels(&server, client, role).await;
    assert_eq!(
        of(&lecturer, Role::Lecturer).await,
        [format!("user:{}", lecturer.user_id()), format!("course:{id}"), format!("course:{id}:staff")]
    );
    assert_eq!(of(&student, Role::Student).await, [format!("user:{}", student.user_id()), format!("course:{id}")]);
    assert_eq!(of(&admin, Role::Admin).await, [format!("user:{}", admin.user_id()), "admin".to_owned()]);
}

async fn channels(server: &TestServer, client: &Client, role: Role) -> Vec<String> {
    let user = CurrentUser { id: client.user_id().parse().unwrap(), tenant: TenantId::default_tenant(), role };
    server.app().db.read(move |tx| courses::channels_of(tx, &user)).await.map_err(|error: DbError| error).unwrap()
}

#[tokio::test]
async fn nothing_is_seen_across_tenants() {
    let server = TestServer::start().await;
    let (lecturer, student) = (server.client("lecturer").await, server.client("student").await);
    let id = course(&lecturer, "CS101").await;
    let people = json!({"user_ids": [student.user_id()]});
    lecturer.post(&format!("/api/v1/courses/{id}/students"), &people).await.expect(200);
    let (course, user) = (id.parse::<CourseId>().unwrap(), student.user_id().parse().unwrap());
    let seen = |tenant: &str| {
        let tenant: TenantId = tenant.parse().unwrap();
        server.app().db.read(move |tx| {
            let elsewhere = CurrentUser { id: user, tenant: tenant.clone(), role: Role::Student };
            Ok::<_, DbError>((
                courses::is_enrolled(tx, &tenant, course, user)?,
                courses::find(tx, &tenant, course)?.is_some(),
                courses::students_of(tx, &tenant, course)?.len(),
                courses::channels_of(tx, &elsewhere)?.len(),
            ))
        })
    };
    assert_eq!(seen("default").await, Ok((true, true, 1, 2)));
    assert_eq!(seen("another").await, Ok((false, false, 0, 1)));
}
