//! People of a roster compared with accounts: who is who, and what changes about them.
//!
//! Somebody is found by the registry's id, else by e-mail address; the ADR about addresses that nobody confirmed says on whose
//! word. A student who merely typed an address loses it to the person whom the roster names. Whom only staff vouch for gets no
//! role and no id by a roster. Accounts above lecturers are never changed by a roster.

use std::collections::HashSet;

use super::names::{self, Judged, Names, Wish};
use super::people::Person;
use super::plan::{Comparison, Who};
use crate::auth::{
    DisplayName, Email, KnownUser, NewUser, Person as Facts, Profile, RegistryChange, Role, Status, Username, Voucher,
    Withdrawal,
};

/// What rows were about so far, and what else to tell.
#[derive(Default)]
struct Claims {
    users: HashSet<usize>,
    kept_high: u64,
    kept_lower: u64,
    staff_only: u64,
    kept_disabled: u64,
    kept_password: u64,
}

/// What is to become of somebody, if the names can be theirs.
enum Draft {
    /// That is clear already.
    Settled(Who),
    /// The account has other facts.
    Change(Box<Drafted>),
    /// There is a new account.
    New(Facts),
}

struct Drafted {
    /// Which account.
    account: usize,
    profile: Profile,
    /// As the roster has it.
    wanted: Role,
    trusted: bool,
}

/// Who somebody is, as far as it is known: an account, and whether the registry's id says so.
type Found = Result<Option<(usize, bool)>, Wrong>;
/// Column, what is wrong there, and what to do about it.
type Wrong = (&'static str, String, &'static str);

/// Compares everybody; says who each person of the roster is.
pub(super) fn compare(comparison: &mut Comparison<'_>) -> Vec<Who> {
    let mut claims = Claims::default();
    let roster = comparison.roster;
    let found = find(comparison);
    let drafts: Vec<Draft> =
        roster.people.iter().zip(found).map(|(person, found)| draft(comparison, &mut claims, person, found)).collect();
    let judged = judge(comparison, &drafts);
    let mut who = Vec::with_capacity(drafts.len());
    let mut new: Vec<(usize, Facts)> = Vec::new();
    for (index, draft) in drafts.into_iter().enumerate() {
        let person = &roster.people[index];
        who.push(match (draft, judged.refused[index]) {
            (Draft::Settled(who), _) => who,
            (_, Some(kind)) => {
                let (column, what) = (names::COLUMNS[kind], "another account, or an earlier row, has it");
                comparison.bad_person(person, column, what, "everybody needs one of their own")
            }
            (Draft::Change(drafted), None) => {
                settle(comparison, &mut claims, person, *drafted, judged.makes_room[index])
            }
            (Draft::New(facts), None) => {
                new.push((index, facts));
                Who::Gone
            }
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

/// The account of everybody. Whom the registry's id finds is found first, wherever the row is: an address that such an
/// account gives up says no more about whose it is.
fn find(comparison: &Comparison<'_>) -> Vec<Found> {
    let (index, people, users) = (&comparison.index, &comparison.roster.people, &comparison.existing.users);
    let by_id = |person: &Person| index.by_external_id.get(person.external_id.as_deref()?).copied();
    let moved: HashSet<usize> = people
        .iter()
        .filter(|person| !person.has_left)
        .filter_map(|person| Some((by_id(person)?, person.email.as_ref()?)))
        .filter(|(known, email)| users[*known].profile.email != email.as_str() && vouches_for_id(&users[*known]))
        .map(|(known, _)| known)
        .collect();
    let one = |person: &Person| {
        let by_id = by_id(person);
        if let Some(known) = by_id.filter(|known| vouches_for_id(&users[*known])) {
            return Ok(Some((known, true)));
        }
        let known = person.email.as_ref().and_then(|email| index.by_email.get(email.as_str())).copied();
        let known = known.filter(|known| !moved.contains(known));
        if by_id.is_some() && by_id != known {
            let what = "only staff say that the account with this id is theirs, and it has another address";
            let fix = "let an admin give the id once more, or take it away, by PATCH /admin/users";
            return Err(("external_id", what.to_owned(), fix));
        }
        let Some(known) = known else { return Ok(None) };
        by_address(&users[known], person, comparison.options.trust_emails).map(|()| Some((known, false)))
    };
    people.iter().map(one).collect()
}

fn vouches_for_id(known: &KnownUser) -> bool {
    known.external_id_by.is_some_and(Voucher::gives_roles)
}

/// Whether the address says that the account is this person's.
fn by_address(known: &KnownUser, person: &Person, trust_emails: bool) -> Result<(), Wrong> {
    if known.confirmed_by.is_none() && !trust_emails {
        let what = format!("nobody confirmed the address of an account with the role {}", known.role);
        let fix = "let an admin confirm it: PATCH /admin/users with email_confirmed, or muster admin confirm-email; or import \
                   with trust_emails, which takes every address for its account's";
        return Err(("email", what, fix));
    }
    match (&known.profile.person.external_id, &person.external_id) {
        (Some(theirs), Some(id)) if theirs != id => {
            let fix = "correct the address or the id, in the file or by PATCH /admin/users";
            Err(("email", format!("the address belongs to the account with the id {theirs}"), fix))
        }
        _ => Ok(()),
    }
}

fn draft(comparison: &mut Comparison<'_>, claims: &mut Claims, person: &Person, found: Found) -> Draft {
    match found {
        Ok(Some(found)) => existing(comparison, claims, person, found),
        Ok(None) if person.is_reference => Draft::Settled(Who::Bad),
        Ok(None) if person.has_left => {
            comparison.report.skipped_rows += 1;
            Draft::Settled(Who::Gone)
        }
        Ok(None) => check_new(comparison, person),
        Err((column, what, fix)) => Draft::Settled(comparison.bad_person(person, column, what, fix)),
    }
}

/// Whether everybody can have the names that they are to have.
fn judge(comparison: &Comparison<'_>, drafts: &[Draft]) -> Judged {
    let index = &comparison.index;
    let people = &comparison.roster.people;
    let wishes: Vec<Wish<'_>> = drafts.iter().zip(people).map(|(draft, person)| wish(draft, person)).collect();
    let before = |account: usize| names_of(&comparison.existing.users[account].profile);
    names::judge(before, [&index.by_email, &index.by_username, &index.by_external_id], &wishes)
}

fn wish<'a>(draft: &'a Draft, person: &'a Person) -> Wish<'a> {
    match draft {
        Draft::Settled(_) => Wish { account: None, names: [None; 3] },
        Draft::Change(drafted) => Wish { account: Some(drafted.account), names: names_of(&drafted.profile) },
        Draft::New(facts) => {
            let (email, username) = (person.email.as_ref(), person.username.as_ref());
            let names = [email.map(Email::as_str), username.map(Username::as_str), facts.external_id.as_deref()];
            Wish { account: None, names }
        }
    }
}

fn names_of(profile: &Profile) -> Names<'_> {
    [Some(profile.email.as_str()), profile.username.as_deref(), profile.person.external_id.as_deref()]
}

fn existing(comparison: &mut Comparison<'_>, claims: &mut Claims, person: &Person, found: (usize, bool)) -> Draft {
    let ((index, by_id), all) = (found, comparison.existing);
    let known = &all.users[index];
    if person.is_reference {
        let is_there = known.status == Status::Active;
        return Draft::Settled(if is_there { Who::User(known.id, known.role) } else { Who::Gone });
    }
    if !claims.users.insert(index) {
        let what = "an earlier row is about the same account";
        return Draft::Settled(comparison.bad_person(person, "", what, "remove one of the two"));
    }
    if known.role > Role::Lecturer {
        claims.kept_high += 1;
        comparison.report.users.unchanged += 1;
        return Draft::Settled(Who::User(known.id, known.role));
    }
    if person.has_left {
        return Draft::Settled(leave(comparison, known));
    }
    let vouched = known.confirmed_by.is_some_and(Voucher::gives_roles);
    let trusted = by_id || vouched || comparison.options.trust_emails;
    let wanted = person.role.unwrap_or(known.role);
    if wanted > known.role && !trusted {
        let fix = "let them or an admin confirm it, give the account the id by PATCH /admin/users, or import with trust-emails";
        let what = format!("the account has the role {}, and only staff confirmed its address", known.role);
        return Draft::Settled(comparison.bad_person(person, "role", what, fix));
    }
    let profile = merged(person, known, trusted);
    Draft::Change(Box::new(Drafted { account: index, profile, wanted, trusted }))
}

fn settle(
    comparison: &mut Comparison<'_>,
    claims: &mut Claims,
    person: &Person,
    drafted: Drafted,
    makes_room: bool,
) -> Who {
    let (Drafted { account, profile, wanted, trusted }, all) = (drafted, comparison.existing);
    let known = &all.users[account];
    claims.kept_lower += u64::from(wanted < known.role);
    claims.staff_only += u64::from(!trusted && person.external_id.is_some());
    claims.kept_disabled += u64::from(known.status == Status::Disabled);
    claims.kept_password += u64::from(person.password_hash.is_some());
    let role = wanted.max(known.role);
    let confirms = person.email.is_some() && (known.confirmed_by.is_none() || profile.email != known.profile.email);
    if profile == known.profile && role == known.role && !confirms {
        comparison.report.users.unchanged += 1;
    } else {
        withdraw(comparison, &profile.email, profile.username.as_deref());
        update(comparison, known, (profile, confirms), (role, makes_room));
    }
    Who::User(known.id, role)
}

/// The profile as it is to be: what the roster says, and what it does not say as it was.
fn merged(person: &Person, known: &KnownUser, trusted: bool) -> Profile {
    let (old, was) = (&known.profile, &known.profile.person);
    let or = |new: &Option<String>, old: &Option<String>| new.clone().or_else(|| old.clone());
    Profile {
        email: person.email.as_ref().map_or_else(|| old.email.clone(), |email| email.as_str().to_owned()),
        username: person.username.as_ref().map(|name| name.as_str().to_owned()).or_else(|| old.username.clone()),
        display_name: shown(person.display_name.as_ref()).unwrap_or_else(|| old.display_name.clone()),
        person: Facts {
            given_name: or(&person.given_name, &was.given_name),
            family_name: or(&person.family_name, &was.family_name),
            section: or(&person.section, &was.section),
            external_id: if trusted { or(&person.external_id, &was.external_id) } else { was.external_id.clone() },
        },
    }
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
        makes_room: false,
        confirms: false,
        ends_credentials: false,
    });
}

fn update(
    comparison: &mut Comparison<'_>,
    known: &KnownUser,
    (profile, confirms): (Profile, bool),
    (role, makes_room): (Role, bool),
) {
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
    let change = RegistryChange {
        id,
        seen_at_ms,
        profile,
        former_email,
        role,
        disables,
        makes_room,
        confirms,
        ends_credentials,
    };
    comparison.plan.changed_users.push(change);
}

/// Takes an address and a user name from accounts that hold them by having typed them.
fn withdraw(comparison: &mut Comparison<'_>, email: &str, username: Option<&str>) {
    let (index, all) = (&comparison.index, comparison.existing);
    let holder = index.strangers_by_email.get(email).map(|known| (*known, Some(email)));
    let namesake = username.and_then(|name| index.strangers_by_username.get(name)).map(|known| (*known, None));
    for (known, email) in holder.into_iter().chain(namesake) {
        let (known, withdrawn) = (&all.users[known], &mut comparison.plan.withdrawn);
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
fn check_new(comparison: &mut Comparison<'_>, person: &Person) -> Draft {
    if person.email.is_none() {
        let fix = "Muster signs people in by address: add it to the registry's export";
        return Draft::Settled(comparison.bad_person(person, "email", "the e-mail address is missing", fix));
    }
    if person.display_name.is_none() {
        let what = "nobody has this address yet, and the name is missing";
        let fix = "add the name, or correct the address";
        return Draft::Settled(comparison.bad_person(person, "name", what, fix));
    }
    Draft::New(Facts {
        given_name: person.given_name.clone(),
        family_name: person.family_name.clone(),
        section: person.section.clone(),
        external_id: person.external_id.clone(),
    })
}

fn create(comparison: &mut Comparison<'_>, person: &Person, (id, role): (crate::ids::UserId, Role), facts: Facts) {
    let (Some(email), Some(display_name)) = (&person.email, &person.display_name) else { return };
    withdraw(comparison, email.as_str(), person.username.as_ref().map(Username::as_str));
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
            "accounts that nobody confirmed held an address or a user name of somebody in the roster, and lose it; if they are \
             those people, import with trust_emails (--trust-emails), or confirm them first (muster admin confirm-email)",
        ),
        (claims.staff_only, "accounts were found by an address that only staff confirmed; they keep their role and id"),
        (claims.kept_disabled, "accounts are disabled and stay so; muster admin enable gives access back"),
        (claims.kept_password, "accounts were there already and keep their passwords; a roster changes none"),
    ];
    for (count, what) in notes.into_iter().filter(|(count, _)| *count > 0) {
        comparison.report.notes.push(format!("{count} {what}"));
    }
}
