//! One of everything that has an id, for the tests that walk all routes: what each path's parameters may be.

use muster_server::auth::{self, DisplayName, Email, NewUser, Person};
use muster_server::db::{DbError, Tx};
use muster_server::ids::{TenantId, UserId};
use muster_server::{params, router};
use muster_sync_core::{Locator, change};
use muster_tests::lecture::{Lecture, picture, upload};
use muster_tests::phone::{Phone, TENANT};
use muster_tests::{Client, PASSWORD, Reply, TestServer, TestServerBuilder};
use reqwest::{Method, header};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Another institution on the same server.
pub(crate) const OTHER_TENANT: &str = "elsewhere";
/// The canonical prefix.
pub(crate) const PREFIX: &str = "/api/v1";
/// An id, a hash and a locator of nothing.
const NO_ID: &str = "00000000-0000-7000-8000-000000000000";
const NO_LOCATOR: &str = "ZZZZZZ";
/// Below this the name of a provider stands, which is the server's and no row of anybody's.
const PROVIDERS: &str = "/auth/oauth/";
/// The shade of a picture that nobody's record names.
const UNSENT: u8 = 200;

/// A method and a path as the router knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) path: String,
    pub(crate) method: String,
}

impl Route {
    /// The path below the canonical prefix, or as it is.
    pub(crate) fn template(&self) -> &str {
        let below = self.path.strip_prefix(PREFIX).or_else(|| self.path.strip_prefix("/v1"));
        below.filter(|below| below.starts_with('/')).unwrap_or(&self.path)
    }

    pub(crate) fn is_write(&self) -> bool {
        self.method != "GET"
    }
}

/// Every route of the built router, under every prefix. The paths are those that axum itself holds, however they came
/// there; the methods are those that a path names when it is asked for another one.
pub(crate) async fn routes(server: &TestServer) -> Vec<Route> {
    let held = format!("{:?}", router::router(server.app().clone()));
    let quoted = held.split("RouteId(").filter_map(|part| part.split_once("): \"")?.1.split_once('"'));
    let mut paths: Vec<_> = quoted.map(|(path, _)| path).filter(|path| !path.contains("__private")).collect();
    paths.sort_unstable();
    paths.dedup();
    let client = server.anonymous();
    let mut routes = Vec::new();
    for path in paths {
        let filled = path.replace(['{', '}', '*'], "");
        let probe = Reply::of(client.request(Method::from_bytes(b"PROBE").unwrap(), &filled)).await;
        assert_eq!(probe.status.as_u16(), 405, "{path}");
        let allowed = probe.headers[header::ALLOW].to_str().unwrap().to_owned();
        let methods = allowed.split(',').filter(|method| !matches!(*method, "HEAD" | "OPTIONS"));
        routes.extend(methods.map(|method| Route { path: path.to_owned(), method: method.to_owned() }));
    }
    for path in router::openapi().paths.paths.keys() {
        assert!(routes.iter().any(|route| route.path == *path), "{path} was not found in axum's router");
    }
    routes.sort();
    routes
}

/// A fresh user of a tenant, signed in without a password.
pub(crate) async fn member(server: &TestServer, tenant: &str, role: &str) -> Client {
    let app = server.app();
    let id = UserId::generate(&*app.clock, &*app.entropy);
    let email = format!("{id}@{tenant}.example");
    let new = NewUser {
        id,
        tenant: tenant.parse().unwrap(),
        email: Email::parse(&email).unwrap(),
        username: None,
        display_name: DisplayName::parse(role).unwrap(),
        role: role.parse().unwrap(),
        person: Person::default(),
        password_hash: None,
        created_at_ms: app.now_ms(),
    };
    let stored = app.db.write(move |tx: &Tx<'_>| {
        auth::insert(tx, &new)?;
        auth::find(tx, &new.tenant, new.id)
    });
    let user = stored.await.map_err(|error: DbError| error).unwrap().unwrap();
    server.with_token(&auth::issue_token(app, &user).unwrap()).as_user(&id.to_string())
}

/// A lecture with a record and its picture, people of every kind, and one of everything that waits for a person.
pub(crate) struct World {
    pub(crate) lecture: Lecture,
    /// With a record, a picture and a bound phone.
    pub(crate) student: Phone,
    pub(crate) other_student: Phone,
    pub(crate) other_lecturer: Client,
    pub(crate) reviewer: Client,
    pub(crate) staff: Client,
    pub(crate) admin: Client,
    pub(crate) record: String,
    pub(crate) selfie: Vec<u8>,
    /// A device that asks to be bound.
    pub(crate) request: String,
    /// A change that waits.
    pub(crate) waiting: String,
    /// A change whose place another one has.
    pub(crate) fork: String,
    /// Somebody who wants another face.
    pub(crate) reenrolling: String,
}

impl World {
    pub(crate) async fn begin() -> Self {
        Self::on(TestServer::builder()).await
    }

    pub(crate) async fn on(builder: TestServerBuilder) -> Self {
        let lecture = Lecture::on(builder).await;
        let (server, selfie) = (&lecture.server, picture(1));
        let mut student = lecture.student(1).await;
        let record = lecture.capture(&mut student, &lecture.manifest(Some(&selfie))).await;
        upload(&student.client, &selfie).await.expect(201);
        let other_student = lecture.stranger(2).await;
        let mut asking = Phone::new(server.client("student").await, 3);
        let binding = asking.binding_request(muster_sync_core::document::RequestPurpose::Bind);
        asking.push(std::slice::from_ref(&binding)).await;
        let request = asking.tips[&binding.name.id(TENANT)].hash.to_string();
        let capture = asking.submission(Locator::from_random([0, 9, 1, 0]), "123456", server.clock_ms());
        assert_eq!(asking.push(std::slice::from_ref(&capture)).await[0].reason.as_deref(), Some("device_unbound"));
        let waiting = change::inspect(&capture.signed.bytes).unwrap().hash.to_string();
        let fork = fork(&mut student, server).await;
        let reenrolling = asking.client.user_id().to_owned();
        wait_for_another_face(server, &reenrolling).await;
        Self {
            student,
            other_student,
            other_lecturer: server.client("lecturer").await,
            reviewer: server.client("reviewer").await,
            staff: server.client("staff").await,
            admin: server.client("admin").await,
            record,
            selfie,
            request,
            waiting,
            fork,
            reenrolling,
            lecture,
        }
    }

    pub(crate) fn server(&self) -> &TestServer {
        &self.lecture.server
    }

    pub(crate) fn selfie_hash(&self) -> String {
        hash_of(&self.selfie)
    }

    /// What a path's parameters may be: the thing that is there, and one that is not.
    pub(crate) fn values(&self, template: &str, parameter: &str) -> Option<(String, String)> {
        let (no_hash, unsent) = ("00".repeat(32), hash_of(&picture(UNSENT)));
        let known: &[(&str, &str, String, &str)] = &[
            ("/courses/", "id", self.lecture.course.clone(), NO_ID),
            ("/courses/{id}/lecturers/", "user_id", self.lecture.lecturer.user_id().to_owned(), NO_ID),
            ("/courses/", "user_id", self.student.client.user_id().to_owned(), NO_ID),
            ("/lecturers/sessions/", "id", self.lecture.locator().to_string(), NO_LOCATOR),
            ("/lecturers/attendance/", "id", self.record.clone(), &no_hash[..32]),
            ("/lecturers/attendance/", "sha256", self.selfie_hash(), &no_hash),
            ("/admin/attendance/", "id", self.record.clone(), &no_hash[..32]),
            ("/admin/users/", "id", self.other_lecturer.user_id().to_owned(), NO_ID),
            ("/admin/device-requests/", "hash", self.request.clone(), &no_hash),
            ("/admin/devices/", "key", self.other_student.public_key().to_string(), &no_hash),
            ("/admin/quarantine/", "hash", self.waiting.clone(), &no_hash),
            ("/admin/sessions/", "id", self.lecture.locator().to_string(), NO_LOCATOR),
            ("/admin/forks/", "hash", self.fork.clone(), &no_hash),
            ("/admin/face-reenrolments/", "user_id", self.reenrolling.clone(), NO_ID),
            ("/students/device/", "key", self.student.public_key().to_string(), &no_hash),
            ("/students/", "id", self.student.client.user_id().to_owned(), NO_ID),
            ("/blobs/", "sha256", self.selfie_hash(), &unsent),
        ];
        let found = known.iter().find(|(prefix, name, ..)| template.starts_with(prefix) && *name == parameter);
        found.map(|(_, _, real, absent)| (real.clone(), (*absent).to_owned()))
    }

    /// The path with everything that is there, and once more with nothing that is. A path without parameters has none.
    pub(crate) fn paths(&self, route: &Route) -> Option<(String, String)> {
        if route.template().starts_with(PROVIDERS) {
            return None;
        }
        let (mut real, mut absent) = (route.path.clone(), route.path.clone());
        for parameter in parameters(&route.path) {
            let (there, nowhere) = self.values(route.template(), parameter).unwrap_or_else(|| {
                panic!("{}: say in world.rs what {{{parameter}}} may be", route.path);
            });
            real = real.replace(&format!("{{{parameter}}}"), &there);
            absent = absent.replace(&format!("{{{parameter}}}"), &nowhere);
        }
        (real != route.path).then_some((real, absent))
    }

    /// Every id that only this institution knows.
    pub(crate) fn ids(&self) -> Vec<String> {
        let key = |phone: &Phone| phone.public_key().to_string();
        let people = [&self.lecture.lecturer, &self.other_lecturer, &self.student.client, &self.admin];
        let things = [
            self.lecture.course.clone(),
            self.lecture.locator().to_string(),
            self.record.clone(),
            self.selfie_hash(),
            self.request.clone(),
            self.waiting.clone(),
            self.fork.clone(),
            self.reenrolling.clone(),
            key(&self.student),
            key(&self.other_student),
        ];
        people.into_iter().map(|person| person.user_id().to_owned()).chain(things).collect()
    }

    /// A request with a body that every check before the row lets pass.
    pub(crate) async fn send(&self, client: &Client, method: &str, path: &str) -> Reply {
        Reply::of(self.request(client, method, path)).await
    }

    pub(crate) fn request(&self, client: &Client, method: &str, path: &str) -> reqwest::RequestBuilder {
        let request = client.request(method.parse().unwrap(), path);
        if method == "GET" || method == "DELETE" {
            return request;
        }
        if path.starts_with("/api/v1/blobs/") {
            let bytes = if path.ends_with(&self.selfie_hash()) { self.selfie.clone() } else { picture(UNSENT) };
            return request.header("content-type", "application/octet-stream").body(bytes);
        }
        let people = json!({ "user_ids": [self.other_student.client.user_id()] });
        let known = [
            ("/deny", json!({"reason": "test"})),
            ("/revoke", json!({"reason": "test"})),
            ("/end", json!({"password": PASSWORD})),
            ("/discard", json!({"reason": "test"})),
            ("/settle", json!({"plan": "00".repeat(32), "reason": "test"})),
            ("/set-status", json!({"status": "confirmed"})),
            ("/students", people.clone()),
            ("/lecturers", people),
        ];
        let body = known.into_iter().find(|(end, _)| path.ends_with(end)).map_or(json!({}), |(_, body)| body);
        request.json(&body)
    }

    /// Puts back what an earlier request may have taken away.
    pub(crate) async fn restore(&self) {
        let lecturers = format!("{PREFIX}/courses/{}/lecturers", self.lecture.course);
        let lecturer = json!({ "user_ids": [self.lecture.lecturer.user_id()] });
        self.admin.post(&lecturers, &lecturer).await.expect(200);
        let path = format!("{PREFIX}/courses/{}/students", self.lecture.course);
        let body = json!({ "user_ids": [self.student.client.user_id()] });
        self.lecture.lecturer.post(&path, &body).await.expect(200);
    }
}

fn hash_of(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

/// The names of a path's parameters.
pub(crate) fn parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|part| part.split('}').next())
}

/// Two changes of a phone for one place; gives the one that came second.
async fn fork(phone: &mut Phone, server: &TestServer) -> String {
    let (session, tips) = (Locator::from_random([0, 9, 2, 0]), phone.tips.clone());
    let first = phone.submission(session, "111111", server.clock_ms());
    phone.push(&[first]).await;
    phone.tips = tips;
    let second = phone.submission(session, "222222", server.clock_ms());
    phone.push(std::slice::from_ref(&second)).await;
    change::inspect(&second.signed.bytes).unwrap().hash.to_string()
}

/// As if somebody had sent a photo of another face than before.
async fn wait_for_another_face(server: &TestServer, user: &str) {
    let user = user.to_owned();
    let written = server.app().db.write(move |tx: &Tx<'_>| {
        let tenant = TenantId::default_tenant();
        tx.execute(
            "INSERT INTO face_reenrolments (tenant_id, user_id, status, changed_at) VALUES (?1, ?2, 'pending', 0)",
            params![tenant.as_str(), &user],
        )
    });
    assert_eq!(written.await.map_err(|error: DbError| error), Ok(1));
}
