//! Who may ask for what: every route of the router, with every role, under every prefix; and what foreign rows answer.
//!
//! A handler declares its permission by the type of an extractor, and a guest, who has none, is told its name. So the
//! tables of `server/docs/permissions.md` are read off the running server, and kept up to date by the test itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use muster_server::auth::Role;
use muster_server::auth::permission;
use muster_tests::phone::TENANT;
use muster_tests::{Client, Reply, TestServer};
use serde_json::Value;

use super::world::{OTHER_TENANT, PREFIX, Route, World, member, routes};

/// What anybody may ask for, below any prefix. Everything else needs a sign-in.
const PUBLIC: &[(&str, &str)] = &[
    ("GET", "/"),
    ("GET", "/openapi.json"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/health/full"),
    ("GET", "/metrics"),
    ("GET", "/docs"),
    ("GET", "/redoc"),
    ("POST", "/auth/login"),
    ("POST", "/auth/register"),
    ("POST", "/auth/signup"),
    ("GET", "/auth/oauth/providers"),
    ("GET", "/auth/oauth/{provider}/start"),
    ("GET", "/auth/oauth/{provider}/callback"),
    ("POST", "/auth/oauth/exchange"),
    ("POST", "/auth/refresh"),
    ("POST", "/auth/password-reset/request"),
    ("POST", "/auth/password-reset/confirm"),
    ("POST", "/auth/confirm-email"),
    ("POST", "/auth/mfa/complete"),
    ("POST", "/auth/mfa/required/enroll"),
    ("POST", "/auth/mfa/required/confirm"),
    ("POST", "/auth/device/challenge"),
    ("POST", "/auth/device/token"),
    ("GET", "/reset-password"),
    ("GET", "/confirm-email"),
    ("GET", "/account.js"),
    ("GET", "/account.css"),
];

/// Roles that have the permission and are refused all the same, with the reason.
const NARROWER: &[(&str, &str, Role, &str)] =
    &[("GET", "/admin/flagged", Role::Lecturer, "lecturers see the flagged records of their own sessions")];

fn is_public(route: &Route) -> bool {
    PUBLIC.contains(&(route.method.as_str(), route.template()))
}

/// Only the head: a stream of events never ends.
async fn ask(client: &Client, route: &Route) -> Reply {
    let path = route.path.replace(['{', '}'], "");
    let mut request = client.request(route.method.parse().unwrap(), &path);
    if route.is_write() {
        request = request.header("content-type", "application/json").body("{}");
    }
    Reply::without_streams(request).await
}

/// The permission that a refusal names.
fn named(reply: &Reply) -> Option<String> {
    let is_refusal = reply.status.as_u16() == 403;
    let body = || serde_json::from_slice::<Value>(&reply.bytes).ok();
    is_refusal.then(body).flatten()?["error"]["details"]["permission"].as_str().map(str::to_owned)
}

/// What each role may ask for, read off the server.
struct Declared {
    route: Route,
    /// `public`, `signed in`, or the permission's name.
    needs: String,
    roles: Vec<bool>,
}

async fn declared(server: &TestServer, route: Route) -> Declared {
    let anonymous = ask(&server.anonymous(), &route).await;
    if is_public(&route) {
        assert!(!matches!(anonymous.status.as_u16(), 401 | 403 | 500..), "{route:?}: {anonymous:?}");
        return Declared { route, needs: "public".to_owned(), roles: vec![true; Role::ALL.len()] };
    }
    let error = anonymous.expect_error(401, "UNAUTHORIZED");
    assert_eq!(error["details"], serde_json::json!({}), "{route:?} says to strangers what it needs");
    // A fresh user each time: a request may end a sign-in, or an account.
    let guest = named(&ask(&member(server, TENANT, "guest").await, &route).await);
    let mut roles = Vec::new();
    for role in Role::ALL {
        let reply = ask(&member(server, TENANT, role.as_str()).await, &route).await;
        let has = guest.as_ref().is_none_or(|needed| permission::names(role).contains(&needed.as_str()));
        let narrower =
            |rule: &&(&str, &str, Role, &str)| (rule.0, rule.1, rule.2) == (&route.method, route.template(), role);
        let is_narrower = NARROWER.iter().any(|rule| narrower(&rule));
        if has && !is_narrower {
            assert!(!matches!(reply.status.as_u16(), 401 | 403 | 500..), "{role} at {route:?}: {reply:?}");
        } else {
            assert_eq!(reply.status.as_u16(), 403, "{role} at {route:?}");
            assert_eq!(named(&reply), guest.clone().filter(|_| !is_narrower), "{role} at {route:?}");
            reply.expect_error(403, "FORBIDDEN");
        }
        roles.push(has && !is_narrower);
    }
    let needs = guest.unwrap_or_else(|| "signed in".to_owned());
    assert!(needs == "signed in" || permission::ALL.contains(&needs.as_str()), "{needs} is no permission");
    Declared { route, needs, roles }
}

#[tokio::test]
async fn every_route_declares_who_may_ask_and_refuses_everybody_else() {
    let server = TestServer::start().await;
    let mut canonical = BTreeMap::new();
    let mut aliases: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for route in routes(&server).await {
        let declared = declared(&server, route).await;
        let key = (declared.route.template().to_owned(), declared.route.method.clone());
        let known: &mut Vec<_> = aliases.entry(key.clone()).or_default();
        known.push(declared.route.path.clone());
        let first: &Declared = canonical.entry(key).or_insert_with(|| Declared {
            needs: declared.needs.clone(),
            roles: declared.roles.clone(),
            route: declared.route.clone(),
        });
        assert_eq!(
            (&first.needs, &first.roles),
            (&declared.needs, &declared.roles),
            "{:?} differs by prefix",
            declared.route
        );
    }
    for (method, template) in PUBLIC {
        assert!(
            canonical.contains_key(&((*template).to_owned(), (*method).to_owned())),
            "{method} {template} is no route"
        );
    }
    let mut table = String::from("| route | also | needs |");
    for role in Role::ALL {
        _ = write!(table, " {role} |");
    }
    table.push_str("\n|---|---|---|---|---|---|---|---|---|\n");
    for (key, declared) in &canonical {
        let paths = &aliases[key];
        let shown = paths.iter().find(|path| path.starts_with(PREFIX)).unwrap_or(&paths[0]);
        let others: Vec<_> = paths.iter().filter(|path| *path != shown).map(|path| format!("`{path}`")).collect();
        _ = write!(table, "| `{} {shown}` | {} | {} |", key.1, others.join(" "), declared.needs);
        for may in &declared.roles {
            table.push_str(if *may { " yes |" } else { " – |" });
        }
        table.push('\n');
    }
    keep("roles", &table);
    for name in permission::ALL {
        let guards = canonical.values().any(|declared| declared.needs == *name);
        assert!(guards, "{name} is handed out and opens nothing");
    }
}

/// Who asks for a row, in the order in which the matrix asks: strangers first, then by rank.
async fn askers(world: &World) -> Vec<(&'static str, Client)> {
    let server = world.server();
    vec![
        ("admin of another institution", member(server, OTHER_TENANT, "admin").await),
        ("student of another institution", member(server, OTHER_TENANT, "student").await),
        ("guest", member(server, TENANT, "guest").await),
        ("another student", world.other_student.client.clone()),
        ("another lecturer", world.other_lecturer.clone()),
        ("the student", world.student.client.clone()),
        ("its lecturer", world.lecture.lecturer.clone()),
        ("staff", world.staff.clone()),
        ("reviewer", world.reviewer.clone()),
        ("admin", world.admin.clone()),
    ]
}

/// Those to whom a row is nobody's: they get the same answer whether it is there or not.
const STRANGERS: usize = 5;

/// Rows that belong to nobody in particular: whoever has the permission sees all of them in a list, too.
const BY_PERMISSION: &[&str] = &["/students/{id}"];

/// What a reply says, but for the id of its request.
fn said(reply: &Reply) -> (u16, Value) {
    let mut body: Value = serde_json::from_slice(&reply.bytes).unwrap_or(Value::Null);
    if let Some(error) = body.get_mut("error").and_then(Value::as_object_mut) {
        error.remove("request_id");
    }
    (reply.status.as_u16(), body)
}

#[tokio::test]
async fn a_foreign_row_answers_as_one_that_is_not_there() {
    let world = World::begin().await;
    let askers = askers(&world).await;
    let mut table = String::from("| route |");
    for (name, _) in &askers {
        _ = write!(table, " {name} |");
    }
    table.push_str("\n|---|---|---|---|---|---|---|---|---|---|---|\n");
    for route in routes(world.server()).await {
        let Some((real, absent)) = world.paths(&route) else { continue };
        let mut somebody_sees_it = false;
        _ = write!(table, "| `{} {}` |", route.method, route.path);
        for (index, (name, client)) in askers.iter().enumerate() {
            world.restore().await;
            let missing = said(&world.send(client, &route.method, &absent).await);
            let there = said(&world.send(client, &route.method, &real).await);
            assert!(there.0 < 500 && missing.0 < 500, "{name} at {route:?}: {there:?}, {missing:?}");
            assert_ne!(there.0, 401, "{name} at {route:?}");
            let by_permission = BY_PERMISSION.contains(&route.template()) && there.0 != 403;
            if index < STRANGERS && !(by_permission && *name == "another lecturer") {
                assert_eq!(there, missing, "{name} learns from {} {real} that it is there", route.method);
            }
            somebody_sees_it |= there != missing;
            _ = write!(table, " {} / {} |", there.0, missing.0);
        }
        table.push('\n');
        let (at, body) = (format!("{} {real}", route.method), "is refused to everybody: give it a body in world.rs");
        assert!(somebody_sees_it, "{at} {body}");
    }
    keep("rows", &table);
}

#[tokio::test]
async fn no_list_shows_another_institution_anything() {
    let world = World::begin().await;
    let ids = world.ids();
    let admin = member(world.server(), OTHER_TENANT, "admin").await;
    let mut lists_with_ids = 0;
    for route in routes(world.server()).await {
        let streams = route.path.ends_with("/live");
        if route.is_write() || streams || route.path.contains('{') || route.template() == "/openapi.json" {
            continue;
        }
        let text = |reply: Reply| String::from_utf8_lossy(&reply.bytes).into_owned();
        let foreign = text(world.send(&admin, "GET", &route.path).await);
        let own = text(world.send(&world.admin, "GET", &route.path).await);
        lists_with_ids += usize::from(ids.iter().any(|id| own.contains(id)));
        for id in &ids {
            assert!(!foreign.contains(id), "GET {} shows {id}: {foreign}", route.path);
        }
    }
    assert!(lists_with_ids >= 8, "only {lists_with_ids} lists show their own institution anything");
    let mut phone = muster_tests::phone::Phone::new(admin, 9);
    phone.tips.clear();
    let pulled = phone.pull(&std::collections::HashMap::new()).await;
    assert!(pulled.changes.is_empty(), "{:?}", pulled.changes);
}

/// Compares a table with the one in the document, or writes it there when `UPDATE_DOCS` is set.
fn keep(name: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/docs/permissions.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let from = text.find(&begin).expect("the document has a place for the table") + begin.len();
    let to = from + text[from..].find(&end).expect("the table has an end");
    // The test's output shows it, and `cargo test` keeps it to itself while it passes.
    let _ = writeln!(std::io::stdout(), "{table}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{}{table}{}", &text[..from], &text[to..])).unwrap();
    } else {
        assert_eq!(&text[from..to], table, "run the tests of permissions once with UPDATE_DOCS=1");
    }
}
