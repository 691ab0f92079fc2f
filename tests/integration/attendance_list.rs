//! `GET /attendance`: everybody sees the records that their role may see, and nobody an empty list of them.

use muster_tests::lecture::Lecture;
use serde_json::{Value, json};

fn ids(list: &Value) -> Vec<String> {
    let id = |item: &Value| item["id"].as_str().unwrap().to_owned();
    list["items"].as_array().unwrap().iter().map(id).collect()
}

#[tokio::test]
async fn a_record_is_in_the_list_of_its_student_its_lecturer_and_the_office_and_of_nobody_else() {
    let lecture = Lecture::begin().await;
    let mut ada = lecture.student(1).await;
    let mut bob = lecture.student(2).await;
    let of_ada = lecture.capture(&mut ada, &lecture.manifest(None)).await;
    lecture.server.clock().advance(std::time::Duration::from_secs(1));
    let of_bob = lecture.capture(&mut bob, &lecture.manifest(None)).await;
    let list = "/api/v1/attendance";
    assert_eq!(ids(&ada.client.get(list).await.expect(200)), std::slice::from_ref(&of_ada));
    assert_eq!(ids(&lecture.lecturer.get(list).await.expect(200)), [of_bob.clone(), of_ada.clone()]);
    for role in ["staff", "reviewer", "admin"] {
        let all = lecture.server.client(role).await.get(list).await.expect(200);
        assert_eq!(ids(&all), [of_bob.clone(), of_ada.clone()], "{role}");
        assert_eq!(all["items"][1]["user_id"], ada.client.user_id(), "{role} sees whose it is");
    }
    for role in ["lecturer", "student", "guest"] {
        let none = lecture.server.client(role).await.get(list).await.expect(200);
        assert_eq!(none["items"], json!([]), "another {role}");
    }
    let first = lecture.lecturer.get(&format!("{list}?limit=1")).await.expect(200);
    let next = format!("{list}?limit=1&after={}", first["next"].as_str().unwrap());
    assert_eq!(ids(&lecture.lecturer.get(&next).await.expect(200)), [of_ada]);
}
