//! The world before the storm: accounts, bound devices, a course and its class sessions. Nothing of it is measured.

use std::collections::HashMap;

use muster_server::class_sessions;
use muster_server::courses::{self, Course};
use muster_server::db::{DbError, Tx};
use muster_server::devices;
use muster_server::error::AppError;
use muster_server::ids::{CourseId, TenantId, UserId};
use muster_server::log::{self, Channel, ServerKey};
use muster_sync_core::document::{
    Binding, BindingAction, Code, CodeMode, Entry, Label, Plan, RequestPurpose, Source, Submission,
};
use muster_sync_core::evidence::{
    DeviceFacts, ImagePurpose, ImageRef, ImageType, MANIFEST_VERSION, Manifest, Position, commitment,
};
use muster_sync_core::signing::SoftwareKey;
use muster_sync_core::time::session_code::SessionSecret;
use muster_sync_core::time::{Anchor, AnchorReading, CaptureClocks};
use muster_sync_core::{DeviceKey, DocumentName, Locator};

use crate::phone::{Item, Phone, TENANT};
use crate::{Client, Data, TestServer};

/// Whatever stops a measurement.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Entries that the server writes in one transaction during the setup.
const ENTRIES_AT_ONCE: usize = 200;
/// Length of a code step.
const STEP_S: u64 = 15;
/// Where everybody is.
const LATITUDE_E7: i64 = 474_979_000;
const LONGITUDE_E7: i64 = 190_402_000;

/// A class session, as everybody in the room knows it.
#[derive(Clone, Copy)]
pub struct Session {
    /// What names it.
    pub locator: Locator,
    step: u64,
    code: [u8; 6],
}

/// Somebody with a bound phone.
pub struct Student {
    /// The phone.
    pub phone: Phone,
    /// The person.
    pub user: UserId,
    /// With what the person signs in.
    pub email: String,
}

impl Student {
    /// What the phone is signed in with.
    ///
    /// # Panics
    /// When it is not.
    pub fn token(&self) -> &str {
        self.phone.client.token().expect("students sign in during the setup")
    }
}

/// Everything that stands before a measurement. `data` is the data folder of a stopped server.
pub struct Campus {
    /// The data folder.
    pub data: Data,
    /// Everybody of the course.
    pub students: Vec<Student>,
    /// Who teaches it.
    pub lecturer: Client,
    /// Its class sessions, all under way.
    pub sessions: Vec<Session>,
    /// The server's key.
    pub server_key: DeviceKey,
    /// When it was built, Unix milliseconds.
    pub now_ms: i64,
}

impl Campus {
    /// Sets up through a server in this process, and stops it.
    ///
    /// # Errors
    /// When the server refuses something, or cannot be asked.
    pub async fn build(n_students: usize, n_sessions: usize) -> Result<Self> {
        let server = TestServer::builder().option("--access-token-expire-minutes", "60").start().await;
        let lecturer = server.client("lecturer").await;
        let course = CourseId::generate(&*server.app().clock, &*server.app().entropy);
        let mut students = Vec::with_capacity(n_students);
        for index in 0..n_students {
            let email = format!("student-{index}@campus.example");
            server.create_known_user(&email, "student").await;
            let client = server.sign_in(&email).await;
            let user: UserId = client.user_id().parse()?;
            let mut seed = [7; 32];
            seed[..8].copy_from_slice(&(index as u64).to_be_bytes());
            let key = SoftwareKey::from_seed(&seed.into());
            students.push(Student { phone: Phone { key, client, tips: HashMap::new() }, user, email });
        }
        add_course(&server, course, lecturer.user_id().parse()?, students.iter().map(|student| student.user)).await?;
        bind(&server, &mut students).await?;
        let sessions = plan(&server, course, lecturer.user_id(), n_sessions).await?;
        let server_key = server.app().slice::<ServerKey>().ok_or("no server key")?.public();
        let now_ms = server.app().now_ms();
        Ok(Self { data: server.stop().await, students, lecturer, sessions, server_key, now_ms })
    }
}

async fn add_course(
    server: &TestServer,
    course: CourseId,
    lecturer: UserId,
    students: impl Iterator<Item = UserId>,
) -> Result<()> {
    let students: Vec<UserId> = students.collect();
    let now_ms = server.app().now_ms();
    let row = Course {
        id: course,
        code: "LOAD1".to_owned(),
        title: "Load".to_owned(),
        external_id: None,
        created_at_ms: now_ms,
    };
    let written = server.app().db.write(move |tx: &Tx<'_>| {
        let tenant = TenantId::default_tenant();
        courses::insert(tx, &tenant, &row, lecturer)?;
        courses::add_lecturer(tx, &tenant, course, lecturer, now_ms)?;
        for student in &students {
            courses::enrol(tx, &tenant, course, *student, now_ms)?;
        }
        Ok::<_, DbError>(())
    });
    Ok(written.await?)
}

/// Every phone asks over HTTP; the answers are written in the server's name, as an admin's approval is.
async fn bind(server: &TestServer, students: &mut [Student]) -> Result<()> {
    let mut bindings = Vec::with_capacity(students.len());
    for student in students {
        let request = student.phone.binding_request(RequestPurpose::Bind);
        let fates = student.phone.push(std::slice::from_ref(&request)).await;
        if fates.first().is_none_or(|fate| fate.receipt.is_none()) {
            return Err(format!("a binding request was not accepted: {fates:?}").into());
        }
        let binding = Binding {
            key: student.phone.public_key(),
            action: BindingAction::Bind,
            of: None,
            reason: None,
            by: Label::new("load").ok_or("a label")?,
        };
        let channels = log::channels_of(&request.name, None);
        bindings.push((request.name, channels, Entry::from(binding)));
    }
    let tenant = TenantId::default_tenant();
    for bindings in bindings.chunks(ENTRIES_AT_ONCE) {
        let written = log::append_as_server(server.app(), &tenant, bindings.to_vec(), |tx, appended| {
            appended.iter().try_for_each(|one| devices::project(tx, one, None)).map_err(AppError::from)
        });
        written.await?;
    }
    Ok(())
}

/// Class sessions under way, planned over HTTP as it were: by the server for a lecturer.
async fn plan(server: &TestServer, course: CourseId, lecturer: &str, n_sessions: usize) -> Result<Vec<Session>> {
    let (app, tenant) = (server.app(), TenantId::default_tenant());
    let now_ms = app.now_ms();
    let code_key = app.slice::<ServerKey>().ok_or("no server key")?.code_key();
    let (mut sessions, mut plans) = (Vec::new(), Vec::new());
    for index in 0..n_sessions {
        let locator = Locator::from_random(((index as u32 + 1) << 2).to_be_bytes());
        let name = DocumentName::ClassSession { locator };
        let secret = SessionSecret::derive(code_key, name.id(TENANT), CodeMode::Rotating, STEP_S, 0);
        let step = secret.step_at(now_ms);
        sessions.push(Session { locator, step, code: secret.code(step).as_bytes().try_into()? });
        let plan = Plan {
            course: Label::new(&course.to_string()).ok_or("a label")?,
            opens_at_ms: now_ms - 10 * 60_000,
            closes_at_ms: now_ms + 80 * 60_000,
            late_after_ms: None,
            code_mode: CodeMode::Rotating,
            step_s: STEP_S,
            latitude_e7: Some(LATITUDE_E7),
            longitude_e7: Some(LONGITUDE_E7),
            radius_m: Some(100),
            by: Label::new(lecturer),
        };
        plans.push((name, vec![Channel::Course(course.to_string())], Entry::from(plan)));
    }
    for plans in plans.chunks(ENTRIES_AT_ONCE) {
        let written = log::append_as_server(app, &tenant, plans.to_vec(), |tx, appended| {
            appended.iter().try_for_each(|one| class_sessions::project(tx, one).map(drop)).map_err(AppError::from)
        });
        written.await?;
    }
    Ok(sessions)
}

/// A capture as a phone makes it: code, position, clocks with an anchor, facts of the device, and one selfie that is
/// named and never uploaded.
///
/// # Errors
/// When the session's code is none; so does `capture_with`.
pub fn capture(student: &mut Student, session: &Session, server: DeviceKey, now_ms: i64) -> Result<Item> {
    let selfie = ImageRef {
        purpose: ImagePurpose::Selfie,
        sha256: salt(student, session),
        size_bytes: 182_044,
        image_type: ImageType::Jpeg,
    };
    capture_with(student, session, selfie, server, now_ms)
}

/// 32 bytes that no other capture has.
fn salt(student: &Student, session: &Session) -> [u8; 32] {
    let mut salt = [0; 32];
    salt[..6].copy_from_slice(session.locator.as_str().as_bytes());
    salt[6..22].copy_from_slice(student.user.as_bytes());
    salt
}

/// The same with this selfie.
pub fn capture_with(
    student: &mut Student,
    session: &Session,
    selfie: ImageRef,
    server: DeviceKey,
    now_ms: i64,
) -> Result<Item> {
    let anchor = Anchor { time_ms: now_ms - 60_000, device: server, nonce: [5; 16], signature: [6; 64] };
    let manifest = Manifest {
        version: MANIFEST_VERSION,
        salt: salt(student, session),
        images: vec![selfie],
        position: Some(Position {
            latitude_e7: LATITUDE_E7 + 120,
            longitude_e7: LONGITUDE_E7 - 340,
            accuracy_m: 12,
            mocked: false,
        }),
        clocks: CaptureClocks {
            wall_ms: now_ms,
            monotonic_ms: 86_400_000,
            boot_id: [1; 16],
            anchor: Some(AnchorReading { anchor, monotonic_ms: 86_340_000, boot_id: [1; 16] }),
        },
        device: DeviceFacts {
            platform: "android 16".to_owned(),
            model: "Pixel 9".to_owned(),
            app_version: "4.2.0".to_owned(),
            legacy_id: None,
        },
    };
    let bytes = manifest.to_bytes();
    let submission = Submission {
        captured_at_ms: now_ms,
        code: Code::new(std::str::from_utf8(&session.code)?),
        step: Some(session.step),
        commitment: commitment(&bytes),
        schema: 1,
        source: Source::Phone,
        by: None,
    };
    let name = student.phone.attendance(session.locator);
    Ok(Item { signed: student.phone.write(&name, &submission.into()), name, manifest: Some(bytes) })
}
