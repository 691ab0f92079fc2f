//! What people at a desk do: the admin and the lecturer, through the same HTTP interface as any console.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::DemoError;
use super::cast;
use super::network::{Network, text};
use super::phones::User;

/// Somebody at a desk. Tokens run out while the story jumps in time, so that every scene begins with [`Desk::sign_in`].
pub(super) struct Desk {
    pub(super) user: User,
    network: Network,
    token: String,
}

impl Desk {
    /// Sits down and signs in.
    pub(super) async fn new(network: &Network, user: User) -> Result<Self, DemoError> {
        let token = network.sign_in(&user.email, &user.password).await?;
        Ok(Self { user, network: network.clone(), token })
    }

    /// Signs in again.
    pub(super) async fn sign_in(&mut self) -> Result<(), DemoError> {
        self.token = self.network.sign_in(&self.user.email, &self.user.password).await?;
        Ok(())
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, DemoError> {
        self.network.json(Method::GET, path, Some(&self.token), None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, DemoError> {
        self.network.json(Method::POST, path, Some(&self.token), Some(body)).await
    }

    /// Has selfies compared with reference photos, which an institution decides for itself.
    pub(super) async fn switch_faces_on(&self) -> Result<(), DemoError> {
        let body = json!({ "face_matching": true });
        self.network.json(Method::PUT, "/api/v1/admin/settings", Some(&self.token), Some(&body)).await.map(drop)
    }

    /// Creates an account; the server makes its password.
    pub(super) async fn create_account(&self, role: &str, name: &str, email: &str) -> Result<User, DemoError> {
        let body = json!({ "email": email, "display_name": name, "role": role });
        let created = self.post("/api/v1/admin/users", &body).await?;
        Ok(User {
            id: text(&created, "id")?.to_owned(),
            name: name.to_owned(),
            email: email.to_owned(),
            password: text(&created, "initial_password")?.to_owned(),
        })
    }

    /// Creates a course with its people: its id.
    pub(super) async fn create_course(&self, lecturer: &User, students: &[&User]) -> Result<String, DemoError> {
        let course =
            self.post("/api/v1/courses", &json!({ "code": "DEMO-101", "title": "Distributed systems" })).await?;
        let id = text(&course, "id")?.to_owned();
        self.post(&format!("/api/v1/courses/{id}/lecturers"), &json!({ "user_ids": [lecturer.id] })).await?;
        let students: Vec<_> = students.iter().map(|student| student.id.as_str()).collect();
        self.post(&format!("/api/v1/courses/{id}/students"), &json!({ "user_ids": students })).await?;
        Ok(id)
    }

    /// Every waiting request to be bound: its hash and the user who asks.
    pub(super) async fn device_requests(&self) -> Result<Vec<(String, String)>, DemoError> {
        let page = self.get("/api/v1/admin/device-requests?status=pending&limit=200").await?;
        let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().map(|item| Ok((text(item, "hash")?.to_owned(), text(&item["user"], "id")?.to_owned()))).collect()
    }

    /// Lets a device in.
    pub(super) async fn approve_device(&self, request: &str) -> Result<(), DemoError> {
        let path = format!("/api/v1/admin/device-requests/{request}/approve");
        self.post(&path, &json!({ "reason": "seen_in_person" })).await.map(drop)
    }

    /// Lets a device take the place of the one that the student has.
    pub(super) async fn approve_reset(&self, user: &User) -> Result<(), DemoError> {
        let body = json!({ "user_id": user.id, "reason": "phone_broken" });
        self.post("/api/v1/admin/approve-imei-reset", &body).await.map(drop)
    }

    /// A file.
    pub(super) async fn download(&self, path: &str) -> Result<Vec<u8>, DemoError> {
        self.network.bytes(path, &self.token).await
    }
}

/// A row of a class session's roster.
#[derive(Debug, Clone)]
pub(super) struct Roll {
    /// The record, if there is one.
    pub(super) id: Option<String>,
    /// The student.
    pub(super) student: String,
    /// The state, in the words of the story.
    pub(super) state: String,
    /// Why it was flagged: reason codes, sorted.
    pub(super) reasons: Vec<String>,
    /// Submissions in the record.
    pub(super) submissions: u64,
}

impl Desk {
    /// Who was there, as far as the server knows.
    pub(super) async fn roll(&self, session: &str) -> Result<Vec<Roll>, DemoError> {
        let page = self.get(&format!("/api/v1/lecturers/sessions/{session}/attendance?limit=200")).await?;
        let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().map(Roll::read).collect()
    }

    /// Decides about a record.
    pub(super) async fn decide(&self, record: &str, action: &str, reason: &str) -> Result<(), DemoError> {
        let path = format!("/api/v1/lecturers/attendance/{record}/confirm");
        self.post(&path, &json!({ "action": action, "reason": reason })).await.map(drop)
    }
}

impl Roll {
    fn read(item: &Value) -> Result<Self, DemoError> {
        let id = item["id"].as_str().map(str::to_owned);
        let awaits = item["awaiting_media"].as_bool().unwrap_or(false);
        let state = match (&id, text(item, "state")?) {
            (None, _) => cast::NO_RECORD,
            (Some(_), "received") if awaits => cast::AWAITING_MEDIA,
            (Some(_), state) => state,
        };
        let flags = item["flags"].as_array().map(Vec::as_slice).unwrap_or_default();
        let reasons: BTreeSet<&str> = flags.iter().filter_map(|flag| flag["reason"].as_str()).collect();
        Ok(Self {
            student: text(item, "user_id")?.to_owned(),
            state: state.to_owned(),
            reasons: reasons.into_iter().map(str::to_owned).collect(),
            submissions: item["submissions"].as_u64().unwrap_or(0),
            id,
        })
    }

    /// Whether the machine has something left to do with what it has.
    pub(super) fn is_open(&self) -> bool {
        self.state == "received"
    }

    /// Whether there is no verdict, also because a picture is missing.
    pub(super) fn is_unjudged(&self) -> bool {
        self.is_open() || self.state == cast::AWAITING_MEDIA
    }
}

/// Keeps a student's reference photo, with the student's own token.
pub(super) async fn enrol_face(network: &Network, token: &str, picture: Vec<u8>) -> Result<(), DemoError> {
    let part = reqwest::multipart::Part::bytes(picture).file_name("reference.jpg").mime_str("image/jpeg")?;
    let form = reqwest::multipart::Form::new().part("image", part);
    network.form("/api/v1/students/enroll-face", token, form).await.map(drop)
}
