//! The real server in this process, without sockets: its router, its jobs, its database on a disk that can fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use muster_server::app::{App, AppBuilder, ManualClock};
use muster_server::auth::{self, DisplayName, Email, NewUser, Person, User, Voucher};
use muster_server::cli::serve;
use muster_server::clock::{SeededEntropy, SystemEntropy};
use muster_server::config::Config;
use muster_server::courses::{self, Course};
use muster_server::db::{DbError, Tx};
use muster_server::ids::{CourseId, TenantId, UserId};
use muster_server::jobs::{self, Handlers};
use muster_server::keys;
use muster_server::log::ServerKey;
use muster_server::router;
use muster_sync_core::{DeviceKey, document::Role, sync::client::Answer};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use crate::blobs::SimulatedStore;
use crate::disk::Disk;
use crate::vfs;

/// The tenant of everybody.
pub(crate) const TENANT: &str = "default";
/// When every simulation begins: noon, Unix milliseconds.
pub(crate) const NOON_MS: i64 = 1_763_640_000_000;
/// Where in its folder the server keeps its keys.
const KEYS: &str = "keys";
/// Largest body that is read.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Who takes part. The index is the person.
const PEOPLE: [(&str, &str); 11] = [
    ("admin", "admin"),
    ("lecturer0", "lecturer"),
    ("lecturer1", "lecturer"),
    ("student0", "student"),
    ("student1", "student"),
    ("student2", "student"),
    ("student3", "student"),
    ("student4", "student"),
    ("student5", "student"),
    ("cheat0", "student"),
    ("cheat1", "student"),
];
/// The admin.
pub(crate) const ADMIN: usize = 0;
/// The lecturers.
pub(crate) const LECTURERS: std::ops::Range<usize> = 1..3;
/// The honest students.
pub(crate) const STUDENTS: std::ops::Range<usize> = 3..9;
/// The others.
pub(crate) const CHEATS: std::ops::Range<usize> = 9..11;

/// What every simulation begins with.
pub(crate) struct Template {
    files: BTreeMap<String, Vec<u8>>,
    /// What lies beside the server's keys, by name.
    keys: BTreeMap<String, Vec<u8>>,
    /// Everybody, as the database has them.
    pub(crate) people: Vec<User>,
    /// The courses: both lecturers teach the first, the second lecturer alone the second.
    pub(crate) courses: [CourseId; 2],
    /// The server's key.
    pub(crate) server_key: DeviceKey,
}

impl Template {
    /// Made once per process.
    pub(crate) fn get() -> &'static Self {
        static TEMPLATE: OnceLock<Template> = OnceLock::new();
        TEMPLATE.get_or_init(Self::make)
    }

    fn make() -> Self {
        let disk = Disk::with(BTreeMap::new());
        let clock = Arc::new(ManualClock::new(NOON_MS));
        let store = Arc::new(SimulatedStore::default());
        let folder = folder(&format!("template-{}", std::process::id()));
        let server = Server::start(folder.path(), &disk, &clock, &store, 1).expect("a fresh server starts");
        let app = server.app.clone();
        let made = app.db.write_blocking(|tx: &Tx<'_>| populate(tx));
        let (people, courses) = made.expect("the people are new");
        let server_key = ServerKey::of(&app).expect("the server has a key").public();
        server.stop();
        let keys = fs::read_dir(folder.path().join(KEYS)).expect("the keys").map(|entry| {
            let path = entry.expect("a file").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            (name.to_owned(), fs::read(&path).expect("a file that can be read"))
        });
        Self { files: disk.image(), keys: keys.collect(), people, courses, server_key }
    }

    /// A folder of one world's own, with the keys of all. The server writes there how far its log goes: worlds that
    /// shared it would tell each other that they lost changes.
    pub(crate) fn folder(&self, world: &str) -> TempDir {
        let folder = folder(world);
        let keys = folder.path().join(KEYS);
        fs::create_dir(&keys).expect("a folder");
        for (name, bytes) in &self.keys {
            keys::place_new(&keys, name, bytes, &SystemEntropy).expect("a copy of a key");
        }
        folder
    }

    /// The id of a person.
    pub(crate) fn user(&self, person: usize) -> String {
        self.people[person].id.to_string()
    }

    /// The role of a person, as the documents know roles.
    pub(crate) fn role(&self, person: usize) -> Role {
        Role::parse(PEOPLE[person].1).expect("a role")
    }

    /// The courses that a person is a member of, and whether as a lecturer.
    pub(crate) fn memberships(&self, person: usize) -> Vec<(String, bool)> {
        let of = |index: usize, taught| (self.courses[index].to_string(), taught);
        match person {
            1 => vec![of(0, true)],
            2 => vec![of(0, true), of(1, true)],
            3..=6 => vec![of(0, false)],
            7..=10 => vec![of(0, false), of(1, false)],
            _ => Vec::new(),
        }
    }

    /// A disk with the database of the beginning.
    pub(crate) fn disk(&self) -> Arc<Disk> {
        Disk::with(self.files.clone())
    }
}

fn populate(tx: &Tx<'_>) -> Result<(Vec<User>, [CourseId; 2]), DbError> {
    let tenant = TenantId::default_tenant();
    let mut people = Vec::new();
    for (index, (name, role)) in PEOPLE.iter().enumerate() {
        let email = Email::parse(&format!("{name}@muster.example")).expect("an address");
        let new = NewUser {
            id: UserId::from_bytes(numbered(1, index)),
            tenant: tenant.clone(),
            email: email.clone(),
            username: None,
            display_name: DisplayName::parse(name).expect("a name"),
            role: role.parse().expect("a role"),
            // Nobody signs in by password here.
            person: Person::default(),
            password_hash: None,
            created_at_ms: NOON_MS,
        };
        auth::insert_by(tx, &new, Voucher::Admin)?;
        people.extend(auth::find_by_email(tx, &tenant, &email)?);
    }
    let course_ids = [0, 1].map(|index| CourseId::from_bytes(numbered(2, index)));
    for (index, id) in course_ids.into_iter().enumerate() {
        let code = format!("CS10{index}");
        let course = Course { id, code, title: "A course".to_owned(), external_id: None, created_at_ms: NOON_MS };
        courses::insert(tx, &tenant, &course, people[ADMIN].id)?;
        for (person, user) in people.iter().enumerate() {
            match (index, person) {
                (0, 1 | 2) | (1, 2) => drop(courses::add_lecturer(tx, &tenant, id, user.id, NOON_MS)?),
                (0, 3..) | (1, 7..) => drop(courses::enrol(tx, &tenant, id, user.id, NOON_MS)?),
                _ => {}
            }
        }
    }
    Ok((people, course_ids))
}

fn numbered(kind: u8, index: usize) -> [u8; 16] {
    let mut bytes = [kind; 16];
    bytes[15] = index as u8;
    bytes
}

/// A request as it travels; it can be sent more than once.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) token: String,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
}

/// A server that runs.
pub(crate) struct Server {
    pub(crate) app: App,
    router: Router,
    handlers: Handlers,
    path: String,
    /// Each call runs to its end on this thread, so that nothing happens at the same time.
    runtime: Runtime,
}

fn folder(world: &str) -> TempDir {
    tempfile::Builder::new().prefix(world).tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

fn config(folder: &str, path: &str) -> Config {
    let url = format!("sqlite://{path}");
    let (secret, pepper) = ("4711b7d6c2f94e57931c60d7be2f4a85", "93d07be2f4a854711b7d6c2f94e57931");
    let master = "QkFTRTY0IG9mIHRoaXJ0eS10d28gYnl0ZXMuLi4uLi4=";
    let arguments = ["--data-dir", folder, "--database-url", &url, "--jwt-secret", secret, "--master-key", master];
    // Keys are given, because one that is made at the first start would take entropy from that run alone. Days pass in
    // seconds here, so nobody's requests are counted by the minute.
    let arguments = arguments.into_iter().chain([
        "--token-pepper",
        pepper,
        "--mfa-encryption-key",
        master,
        "--rl-user-limit",
        "1000000",
    ]);
    Config::from_arguments(arguments.map(str::to_owned)).expect("valid options")
}

impl Server {
    /// Starts on what the disk and the folder hold.
    pub(crate) fn start(
        folder: &Path,
        disk: &Arc<Disk>,
        clock: &Arc<ManualClock>,
        store: &Arc<SimulatedStore>,
        entropy_seed: u64,
    ) -> Result<Self, String> {
        let folder = folder.to_str().expect("a path in UTF-8");
        let path = format!("{folder}/server.db");
        vfs::mount(&path, disk);
        let builder = AppBuilder::new(config(folder, &path));
        let builder = builder.clock(Arc::clone(clock) as _).entropy(Arc::new(SeededEntropy::new(entropy_seed)));
        let app = serve::build_on(builder, Arc::clone(store) as _).map_err(|error| error.to_string())?;
        let router = router::router(app.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        Ok(Self { app, router, handlers: serve::handlers(), path, runtime })
    }

    /// Closes the database: in order, or, after a power cut, as far as it goes.
    pub(crate) fn stop(self) {
        self.app.stop();
        self.app.db.close();
        vfs::unmount(&self.path);
    }

    /// Answers a request.
    pub(crate) fn answer(&self, sending: &Sending) -> Answer {
        let request = Request::builder()
            .method(sending.method)
            .uri(&sending.path)
            .header(header::AUTHORIZATION, format!("Bearer {}", sending.token))
            .header(header::CONTENT_TYPE, sending.content_type)
            .body(Body::from(sending.body.clone()))
            .expect("a request");
        self.runtime.block_on(async {
            let Ok(response) = self.router.clone().oneshot(request).await;
            let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after_s = retry_after.and_then(|seconds| seconds.parse::<u64>().ok());
            let (status, retry_after_ms) = (response.status().as_u16(), retry_after_s.map(|seconds| seconds * 1000));
            let body = to_bytes(response.into_body(), BODY_BYTES_MAX).await.map(|bytes| bytes.to_vec());
            Answer { status, retry_after_ms, body: body.unwrap_or_default() }
        })
    }

    /// Does the work that is due.
    pub(crate) fn work(&self) -> Result<usize, DbError> {
        self.runtime.block_on(jobs::run_due(&self.app, &self.handlers))
    }

    /// A token for a person.
    pub(crate) fn token(&self, person: usize) -> String {
        auth::issue_token(&self.app, &Template::get().people[person]).expect("the server signs tokens")
    }
}
