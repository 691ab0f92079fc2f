//! Write scopes: for every container, who may write it and who may not.

use crate::fixtures::*;
use muster_sync_core::{Refusal, document::*, signing::SigningKey};

fn device(user: &'static str, role: Role, teaches: bool) -> Writer<'static> {
    Writer::Device { user, role, teaches }
}

/// The writers of the matrix, by name.
fn writers() -> Vec<(&'static str, Writer<'static>)> {
    vec![
        ("owner", device("student-1", Role::Student, false)),
        ("other student", device("student-2", Role::Student, false)),
        ("lecturer of the course", device("lecturer-1", Role::Lecturer, true)),
        ("other lecturer", device("lecturer-1", Role::Lecturer, false)),
        ("reviewer", device("lecturer-1", Role::Reviewer, false)),
        ("admin", device("admin-1", Role::Admin, false)),
        ("applicant", Writer::Applicant { user: "student-1", key: key(1).public_key() }),
        ("other applicant", Writer::Applicant { user: "student-2", key: key(1).public_key() }),
        ("applicant for another key", Writer::Applicant { user: "student-1", key: key(2).public_key() }),
    ]
}

#[test]
fn every_scope_allows_what_it_must_and_refuses_the_rest() {
    // Decisions and marks of the fixtures are by lecturer-1 at rank 2, bindings and resets by admin-1.
    let allowed = |container: Container| -> &'static [&'static str] {
        match container {
            Container::Plan | Container::PlanChanges => &["lecturer of the course", "admin"],
            Container::Submissions | Container::Appeals => &["owner"],
            Container::Verdicts => &[],
            Container::Decisions | Container::Marks => &["lecturer of the course", "reviewer"],
            Container::Requests => &["applicant"],
            Container::Bindings | Container::Resets => &["admin"],
        }
    };
    for (name, entry) in one_of_each() {
        for (who, writer) in writers() {
            let got = may_write(&name, &entry, writer).is_ok();
            let want = allowed(entry.container()).contains(&who);
            assert_eq!(got, want, "{who} on {}", entry.container().name());
        }
    }
}

#[test]
fn an_admin_decides_at_the_rank_of_an_admin() {
    let admin = device("admin-1", Role::Admin, false);
    let at_rank = |rank| decision(DecisionAction::Confirm, rank, "admin-1", &[]).into();
    assert!(may_write(&attendance(), &at_rank(3), admin).is_ok());
    assert_eq!(may_write(&attendance(), &at_rank(2), admin).unwrap_err().code(), "field_invalid");
}

#[test]
fn nobody_judges_their_own_record_or_reset() {
    let own = device("student-1", Role::Admin, true);
    let decide = decision(DecisionAction::Confirm, 3, "student-1", &[]).into();
    assert_eq!(may_write(&attendance(), &decide, own).unwrap_err().code(), "writer_not_allowed");
    let reset = Reset { of: hash(2), action: ResetAction::Approve, reason: None, by: label("student-1") };
    assert_eq!(may_write(&binding(), &reset.clone().into(), own).unwrap_err().code(), "writer_not_allowed");
    assert_eq!(may_write(&binding(), &reset.into(), Writer::Server).unwrap_err().code(), "writer_not_allowed");
}

#[test]
fn one_ends_the_key_of_one_s_own_device_by_the_server_and_gives_oneself_none() {
    let own = |action| {
        Entry::from(Binding {
            action,
            by: label("student-1"),
            of: None,
            reason: None,
            ..device_binding(key(3).public_key())
        })
    };
    assert!(may_write(&binding(), &own(BindingAction::Revoke), Writer::Server).is_ok());
    for action in [BindingAction::Bind, BindingAction::Deny] {
        assert_eq!(may_write(&binding(), &own(action), Writer::Server).unwrap_err().code(), "writer_not_allowed");
    }
    let admin = device("student-1", Role::Admin, false);
    let refused = may_write(&binding(), &own(BindingAction::Revoke), admin).unwrap_err();
    assert_eq!(refused.code(), "writer_not_allowed", "an admin's own phone does not");
}

#[test]
fn the_server_names_whom_it_writes_for() {
    let by = |by| Entry::from(Submission { source: Source::Gateway, by, ..submission() });
    assert!(may_write(&attendance(), &by(Some(label("student-1"))), Writer::Server).is_ok());
    assert_eq!(may_write(&attendance(), &by(None), Writer::Server).unwrap_err().code(), "field_invalid");
    assert!(may_write(&attendance(), &by(Some(label("student-2"))), Writer::Server).is_err());
    assert!(may_write(&attendance(), &submission().into(), Writer::Server).is_err());
    let verdict = verdict(hash(1), Outcome::Accepted).into();
    assert!(may_write(&attendance(), &verdict, Writer::Server).is_ok());
}

#[test]
fn a_weak_key_is_not_bound() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let weak = device_binding(muster_sync_core::DeviceKey(identity));
    let fields = Entry::from(weak);
    let refused = Entry::read(Container::Bindings, &fields.fields()).unwrap_err();
    assert!(matches!(refused, Refusal::Field { field: "key", .. }));
}
