//! People of a roster compared with accounts: who is who, and what changes about them.
//!
//! Somebody is found by the registry's id, else by e-mail address; ADR 18 says on whose word. An address that nobody has
//! confirmed is nobody's: a student who merely typed it loses it to the person whom the roster names. Whom only staff vouch
//! for gets no role and no id by a roster. Accounts above lecturers are never changed by a roster.

use std::collections::HashSet;

use super::people::Person;
use super::plan::{Comparison, Who};
use crate::auth::{
    DisplayName, KnownUser, NewUser, Person as Facts, Profile, RegistryChange, Role, Status, Voucher, Withdrawal,
};

/// What was claimed by rows so far, and what else to tell.
#[derive(Default)]
struct Claims {
    emails: HashSet<String>,
    usernames: HashSet<String>,
    users: HashSet<usize>,
    kept_high: u64,
    kept_lower: u64,
    staff_only: u64,
    kept_disabled: u64,
    kept_password: u64,
}

/// Compares everybody; says who each person of the roster is.
pub(super) fn compare(comparison: &mut Comparison<'_>) -> Vec<Who> {
    let mut claims = Claims::default();
    let roster = comparison.roster;
    let mut who = Vec::with_capacity(roster.people.len());
    let mut new: Vec<(usize, Facts)> = Vec::new();
    for (index, person) in roster.people.iter().enumerate() {
        who.push(match find(comparison, person) {
            Ok(Some((known, by_id))) => existing(comparison, &mut claims, person, (known, by_id)),
            Ok(None) if person.is_reference => Who::Bad,
            Ok(None) if person.has_left => {
                comparison.report.skipped_rows += 1;
                Who::Gone
            }
            Ok(None) => match check_new(comparison, &mut claims, person) {
                Ok(facts) => {
                    new.push((index, facts));
                    Who::Gone
                }
                Err(bad) => bad,
            },
            Err((column, what, fix)) => comparison.bad_person(person, column, what, fix),
        });
    }
    for ((index, facts), id) in new.iter().zip(comparison.ids.users(new.len())) {
        let person = &roster.people[*index];
        let role = person.role.unwrap_or(Role::Student);
        who[*index] = Who::User(id, role);
        create(comparison, person, (id, role), facts.clone());
    }
    missing(comparison, &claims);
    tell(comparison, &claims);
    who
}

/// Column, what is wrong there, and what to do about it.
type Wrong = (&'static str, String, &'static str);

/// The account of somebody, and whether it was found by the registry's id.
fn find(comparison: &Comparison<'_>, person: &Person) -> Result<Option<(usize, bool)>, Wrong> {
    let (index, users) = (&comparison.index, &comparison.existing.users);
    let by_id = person.external_id.as_deref().and_then(|id| index.by_external_id.get(id)).copied();
    if let Some(known) = by_id.filter(|known| users[*known].external_id_by.is_some_and(Voucher::gives_roles)) {
        return Ok(Some((known, true)));
    }
    let by_email = person.email.as_ref().and_then(|email| index.by_email.get(email.as_str())).copied();
    let by_email = by_email.filter(|known| !is_nobodys(comparison, &users[*known]));
    if by_id.is_some() && by_id != by_email {
        let what = "only staff say that the account with this id is theirs, and it has another address";
        let fix = "let an admin give the id once more, or take it away, by PATCH /admin/users";
        return Err(("external_id", what.to_owned(), fix));
    }
    let Some(known) = by_email else { return Ok(None) };
    if users[known].confirmed_by.is_none() && !comparison.options.trust_emails {
        let what = format!("nobody confirmed the address of an account with the role {}", users[known].role);
        let fix = "let an admin confirm it: PATCH /admin/users with email_confirmed, or muster admin confirm-email";
        return Err(("email", what, fix));
    }
    match (&users[known].profile.person.external_id, &person.external_id) {
        (Some(theirs), Some(id)) if theirs != id => {
            let fix = "correct the address or the id, in the file or by PATCH /admin/users";
            Err(("email", format!("the address belongs to the account with the id {theirs}"), fix))
        }
        _ => Ok(Some((known, false))),
    }
}

/// Whether an account holds its address and its user name by having typed them, and nothing more. A role that somebody gave
/// says that the office knows the person.
fn is_nobodys(comparison: &Comparison<'_>, known: &KnownUser) -> bool {
    known.confirmed_by.is_none() && known.role <= Role::Student && !comparison.options.trust_emails
}

fn existing(comparison: &mut Comparison<'_>, claims: &mut Claims, person: &Person, found: (usize, bool)) -> Who {
    let ((index, by_id), all) = (found, comparison.existing);
    let known = &all.users[index];
    if person.is_reference {
        return if known.status == Status::Active { Who::User(known.id, known.role) } else { Who::Gone };
    }
    if !claims.users.insert(index) {
        return comparison.bad_person(person, "", "an earlier row is about the same account", "remove one of the two");
    }
    if known.role > Role::Lecturer {
        claims.kept_high += 1;
        comparison.report.users.unchanged += 1;
        return Who::User(known.id, known.role);
    }
    if person.has_left {
        return leave(comparison, known);
    }
    let vouched = known.confirmed_by.is_some_and(Voucher::gives_roles);
    let trusted = by_id || vouched || comparison.options.trust_emails;
    let wanted = person.role.unwrap_or(known.role);
    if wanted > known.role && !trusted {
        let fix = "let them or an admin confirm it, give the account the id by PATCH /admin/users, or import with trust-emails";
        let what = format!("the account has the role {}, and only staff confirmed its address", known.role);
        return comparison.bad_person(person, "role", what, fix);
    }
    let profile = match merged(comparison, claims, person, known, trusted) {
        Ok(profile) => profile,
        Err(bad) => return bad,
    };
    claims.kept_lower += u64::from(wanted < known.role);
    claims.staff_only += u64::from(!trusted && person.external_id.is_some());
    claims.kept_disabled += u64::from(known.status == Status::Disabled);
    claims.kept_password += u64::from(person.password_hash.is_some());
    let role = wanted.max(known.role);
    let confirms = person.email.is_some() && (known.confirmed_by.is_none() || profile.email != known.profile.email);
    if profile == known.profile && role == known.role && !confirms {
        comparison.report.users.unchanged += 1;
    } else {
        update(comparison, known, (profile, confirms), role);
    }
    Who::User(known.id, role)
}

/// The profile as it is to be: what the roster says, and what it does not say as it was.
fn merged(
    comparison: &mut Comparison<'_>,
    claims: &mut Claims,
    person: &Person,
    known: &KnownUser,
    trusted: bool,
) -> Result<Profile, Who> {
    let (old, was) = (&known.profile, &known.profile.person);
    let or = |new: &Option<String>, old: &Option<String>| new.clone().or_else(|| old.clone());
    let email = person.email.as_ref().map_or_else(|| old.email.clone(), |email| email.as_str().to_owned());
    let username = person.username.as_ref().map(|name| name.as_str().to_owned()).or_else(|| old.username.clone());
    claim(comparison, claims, person, Some(known), (&email, username.as_deref()))?;
    Ok(Profile {
        email,
        username,
        display_name: shown(person.display_name.as_ref()).unwrap_or_else(|| old.display_name.clone()),
        person: Facts {
            given_name: or(&person.given_name, &was.given_name),
            family_name: or(&person.family_name, &was.family_name),
            section: or(&person.section, &was.section),
            external_id: if trusted { or(&person.external_id, &was.external_id) } else { was.external_id.clone() },
        },
    })
}

/// Takes an address and a user name for this row, unless another account or row has them.
fn claim(
    comparison: &mut Comparison<'_>,
    claims: &mut Claims,
    person: &Person,
    own: Option<&KnownUser>,
    (email, username): (&str, Option<&str>),
) -> Result<(), Who> {
    let existing = comparison.existing;
    let others = |found: Option<&usize>| {
        found.map(|index| &existing.users[*index]).filter(|other| own.is_none_or(|own| other.id != own.id))
    };
    let holder = others(comparison.index.by_email.get(email));
    let namesake = username.and_then(|name| others(comparison.index.by_username.get(name)));
    let keeps = |other: &KnownUser| !is_nobodys(comparison, other);
    let email_taken = holder.is_some_and(keeps) || !claims.emails.insert(email.to_owned());
    let username_taken =
        username.is_some_and(|name| namesake.is_some_and(keeps) || !claims.usernames.insert(name.to_owned()));
    let taken = if email_taken { "email" } else { "username" };
    if email_taken || username_taken {
        let what = "another account, or an earlier row, has it";
        return Err(comparison.bad_person(person, taken, what, "everybody needs one of their own"));
    }
    for (other, email) in
        holder.map(|other| (other, Some(email))).into_iter().chain(namesake.map(|other| (other, None)))
    {
        withdraw(comparison, other, email);
    }
    Ok(())
}

/// Takes an address, or else a user name, from an account that holds it by having typed it.
fn withdraw(comparison: &mut Comparison<'_>, known: &KnownUser, email: Option<&str>) {
    let withdrawn = &mut comparison.plan.withdrawn;
    let at = withdrawn.iter().position(|withdrawal| withdrawal.id == known.id).unwrap_or(withdrawn.len());
    if at == withdrawn.len() {
        let (id, seen_at_ms) = (known.id, known.updated_at_ms);
        withdrawn.push(Withdrawal { id, seen_at_ms, email: None, username: false });
        comparison.report.users.withdrawn += 1;
    }
    match email {
        Some(email) => withdrawn[at].email = Some(email.to_owned()),
        None => withdrawn[at].username = true,
    }
    let what = if email.is_some() { "the address, and every course" } else { "the user name" };
    comparison.report.show("user", "withdraw", &known.profile.email, || {
        format!("nobody confirmed that the account {} is theirs: it loses {what}", known.id)
    });
}

fn shown(name: Option<&DisplayName>) -> Option<String> {
    name.map(|name| name.as_str().to_owned())
}

fn leave(comparison: &mut Comparison<'_>, known: &KnownUser) -> Who {
    if known.status == Status::Disabled {
        comparison.report.users.unchanged += 1;
    } else {
        disable(comparison, known);
    }
    Who::Gone
}

fn disable(comparison: &mut Comparison<'_>, known: &KnownUser) {
    comparison.report.users.disabled += 1;
    comparison.report.show("user", "disable", &known.profile.email, || "has left".to_owned());
    comparison.plan.changed_users.push(RegistryChange {
        id: known.id,
        seen_at_ms: known.updated_at_ms,
        profile: known.profile.clone(),
        former_email: None,
        role: (known.role, known.role),
        disables: true,
        confirms: false,
        ends_credentials: false,
    });
}

fn update(comparison: &mut Comparison<'_>, known: &KnownUser, (profile, confirms): (Profile, bool), role: Role) {
    let report = &mut comparison.report;
    report.users.updated += 1;
    report.users.roles_changed += u64::from(role != known.role);
    report.show("user", "update", &known.profile.email, || difference(known, (&profile, confirms), role));
    // Whoever opened the link reads mail at the address; whoever signed up with it may be somebody else and knows the password.
    let ends_credentials = role > known.role && known.confirmed_by == Some(Voucher::Link);
    // A role that rises gives no access back to somebody who was disabled.
    let disables = known.status == Status::Disabled && role != known.role;
    let (id, seen_at_ms, role) = (known.id, known.updated_at_ms, (known.role, role));
    let former_email = Some(known.profile.email.clone()).filter(|email| *email != profile.email);
    let change = RegistryChange { id, seen_at_ms, profile, former_email, role, disables, confirms, ends_credentials };
    comparison.plan.changed_users.push(change);
}

fn difference(known: &KnownUser, (profile, confirms): (&Profile, bool), role: Role) -> String {
    let (old, was, now) = (&known.profile, &known.profile.person, &profile.person);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let facts = [
        ("email", old.email.clone(), profile.email.clone()),
        ("username", text(&old.username), text(&profile.username)),
        ("display_name", old.display_name.clone(), profile.display_name.clone()),
        ("given_name", text(&was.given_name), text(&now.given_name)),
        ("family_name", text(&was.family_name), text(&now.family_name)),
        ("section", text(&was.section), text(&now.section)),
        ("external_id", text(&was.external_id), text(&now.external_id)),
        ("role", known.role.to_string(), role.to_string()),
    ];
    let changed = facts.iter().filter(|(_, old, new)| old != new);
    let mut texts: Vec<_> = changed.map(|(name, old, new)| format!("{name}: {old} -> {new}")).collect();
    if confirms && known.profile.email == profile.email {
        texts.push("the address is confirmed".to_owned());
    }
    texts.join(", ")
}

/// Whether somebody can have an account, and the facts for it.
fn check_new(comparison: &mut Comparison<'_>, claims: &mut Claims, person: &Person) -> Result<Facts, Who> {
    let Some(email) = &person.email else {
        let fix = "Muster signs people in by address: add it to the registry's export";
        return Err(comparison.bad_person(person, "email", "the e-mail address is missing", fix));
    };
    if person.display_name.is_none() {
        let what = "nobody has this address yet, and the name is missing";
        return Err(comparison.bad_person(person, "name", what, "add the name, or correct the address"));
    }
    let username = person.username.as_ref().map(|name| name.as_str());
    claim(comparison, claims, person, None, (email.as_str(), username))?;
    Ok(Facts {
        given_name: person.given_name.clone(),
        family_name: person.family_name.clone(),
        section: person.section.clone(),
        external_id: person.external_id.clone(),
    })
}

fn create(comparison: &mut Comparison<'_>, person: &Person, (id, role): (crate::ids::UserId, Role), facts: Facts) {
    let (Some(email), Some(display_name)) = (&person.email, &person.display_name) else { return };
    comparison.report.users.created += 1;
    comparison.report.show("user", "create", email.as_str(), || format!("{role} {}", display_name.as_str()));
    comparison.plan.new_users.push(NewUser {
        id,
        tenant: comparison.tenant.clone(),
        email: email.clone(),
        username: person.username.clone(),
        display_name: display_name.clone(),
        role,
        // Without one they sign in through a provider, or set a password by mail.
        password_hash: person.password_hash.as_ref().map(|hash| hash.reveal().to_owned()),
        person: facts,
        created_at_ms: comparison.plan.now_ms,
    });
}

/// Accounts that came from the registry and are not in a complete roster any more.
fn missing(comparison: &mut Comparison<'_>, claims: &Claims) {
    if !comparison.roster.names_everybody {
        return;
    }
    let existing = comparison.existing;
    for (index, known) in existing.users.iter().enumerate() {
        let from_registry = known.profile.person.external_id.is_some() && known.role <= Role::Lecturer;
        if !from_registry || known.status == Status::Disabled || claims.users.contains(&index) {
            continue;
        }
        comparison.report.users.missing += 1;
        if comparison.options.disable_missing {
            disable(comparison, known);
        }
    }
}

fn tell(comparison: &mut Comparison<'_>, claims: &Claims) {
    let notes = [
        (claims.kept_high, "accounts of reviewers, staff and admins were left as they are"),
        (claims.kept_lower, "accounts have a higher role than the roster says; a roster takes no role away"),
        (
            comparison.report.users.withdrawn,
            "accounts that nobody confirmed held an address or a user name of somebody in the roster, and lose it",
        ),
        (claims.staff_only, "accounts were found by an address that only staff confirmed; they keep their role and id"),
        (claims.kept_disabled, "accounts are disabled and stay so; muster admin enable gives access back"),
        (claims.kept_password, "accounts were there already and keep their passwords; a roster changes none"),
    ];
    for (count, what) in notes.into_iter().filter(|(count, _)| *count > 0) {
        comparison.report.notes.push(format!("{count} {what}"));
    }
}
