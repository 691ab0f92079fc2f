//! What an import changes: the roster compared with what is there. Nothing is written here, so a dry run ends here.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::existing::{Existing, Index};
use super::people::{Course, Person, Place, Roster, problem};
use super::report::{Problem, Report};
use super::{Options, users};
use crate::auth::{NewUser, RegistryChange, Role, Withdrawal};
use crate::clock::{Clock, Entropy};
use crate::courses::{self, KnownCourse, Member};
use crate::ids::{CourseId, TenantId, UserId};

/// What is to be written, in this order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) now_ms: i64,
    /// How many accounts there were when this was made.
    pub(super) users_before: u64,
    pub(super) withdrawn: Vec<Withdrawal>,
    pub(super) new_users: Vec<NewUser>,
    pub(super) changed_users: Vec<RegistryChange>,
    pub(super) new_courses: Vec<KnownCourse>,
    pub(super) changed_courses: Vec<KnownCourse>,
    pub(super) added: Vec<Member>,
    /// Students whose place begins at another time than now, or than was said before; Unix milliseconds.
    pub(super) begins: Vec<(Member, i64)>,
    pub(super) removed: Vec<Member>,
}

impl Plan {
    /// How many rows it writes.
    pub(super) fn len(&self) -> u64 {
        let users = self.withdrawn.len() + self.new_users.len() + self.changed_users.len();
        let courses = self.new_courses.len() + self.changed_courses.len();
        (users + courses + self.added.len() + self.begins.len() + self.removed.len()) as u64
    }
}

/// Who somebody of the roster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// This account, with this role from now on.
    User(UserId, Role),
    /// Somebody who has left.
    Gone,
    /// Their row is bad.
    Bad,
}

/// What a roster says of a place.
struct Said {
    member: Member,
    role: Role,
    /// Of the row that counts.
    line: u64,
    has_ended: bool,
    begins_at_ms: Option<i64>,
}

impl Said {
    /// Of several rows about one place the one counts that gives most: what is there before what comes, the sooner before the
    /// later, and what has ended last.
    fn rank(&self) -> (bool, i64) {
        (self.has_ended, self.begins_at_ms.unwrap_or_default())
    }
}

/// What the comparison works on.
pub(super) struct Comparison<'a> {
    pub(super) roster: &'a Roster,
    pub(super) existing: &'a Existing,
    pub(super) index: Index<'a>,
    pub(super) options: Options,
    pub(super) tenant: &'a TenantId,
    pub(super) ids: Ids<'a>,
    pub(super) plan: Plan,
    pub(super) report: Report,
    pub(super) bad: super::report::Problems,
}

/// Makes ids.
pub(super) struct Ids<'a> {
    pub(super) clock: &'a dyn Clock,
    pub(super) entropy: &'a dyn Entropy,
}

impl Ids<'_> {
    /// Fresh ids in their order, so that rows that are written together lie together.
    pub(super) fn users(&self, count: usize) -> Vec<UserId> {
        let mut ids: Vec<UserId> = (0..count).map(|_| UserId::generate(self.clock, self.entropy)).collect();
        ids.sort_unstable();
        ids
    }
}

/// Compares.
pub(super) fn make<'a>(
    roster: &'a Roster,
    existing: &'a Existing,
    (tenant, options): (&'a TenantId, Options),
    ids: Ids<'a>,
) -> (Plan, Report) {
    let now_ms = ids.clock.now_ms();
    let plan = Plan { now_ms, users_before: existing.users.len() as u64, ..Plan::default() };
    let report = begin(roster, options);
    let bad = roster.problems.clone();
    let index = existing.index(options.trust_emails);
    let mut comparison = Comparison { roster, existing, index, options, tenant, ids, plan, report, bad };
    let people = users::compare(&mut comparison);
    let courses = comparison.courses();
    comparison.places(&people, &courses);
    let Comparison { mut plan, mut report, bad, .. } = comparison;
    // Rows that are written side by side lie side by side: in the order of a registry's file it takes twice as long.
    plan.added.sort_unstable();
    report.bad_rows = bad.count;
    report.problems = bad.kept;
    (plan, report)
}

fn begin(roster: &Roster, options: Options) -> Report {
    let mut report = Report {
        format: roster.format.clone(),
        dry_run: options.dry_run,
        files: roster.files.clone(),
        skipped_rows: roster.skipped_rows,
        ..Report::default()
    };
    report.users.bad = roster.bad_users;
    report.courses.bad = roster.bad_courses;
    report.enrolments.bad = roster.bad_places;
    if roster.user_names_left_out > 0 {
        let count = roster.user_names_left_out;
        report.notes.push(format!(
            "{count} user names were left out: they are e-mail addresses, or not 3 to 40 letters and digits"
        ));
    }
    report
}

impl Comparison<'_> {
    /// The courses of the roster, each with its id; `None` for one that is bad or unknown.
    fn courses(&mut self) -> Vec<Option<CourseId>> {
        let mut codes: HashSet<String> = self.existing.courses.iter().map(|course| course.code.clone()).collect();
        let mut ids = Vec::with_capacity(self.roster.courses.len());
        for course in &self.roster.courses {
            let known = match &course.external_id {
                Some(id) => {
                    self.index.courses_by_external_id.get(id.as_str()).copied().or_else(|| self.adopted(course))
                }
                None => self.index.courses_by_code.get(course.code.as_str()).copied(),
            };
            ids.push(match known {
                Some(known) => Some(self.known_course(course, known)),
                None if course.is_reference || course.has_ended => {
                    self.report.courses.ended += u64::from(course.has_ended);
                    None
                }
                None => Some(self.new_course(course, &mut codes)),
            });
        }
        ids
    }

    /// A course with the code of the class, which the registry has not named yet.
    fn adopted(&self, course: &Course) -> Option<usize> {
        let index = *self.index.courses_by_code.get(course.code.as_str())?;
        self.existing.courses[index].external_id.is_none().then_some(index)
    }

    fn known_course(&mut self, course: &Course, known: usize) -> CourseId {
        let existing = self.existing;
        let before = &existing.courses[known];
        if course.is_reference {
            return before.id;
        }
        if course.has_ended {
            self.report.courses.ended += 1;
            return before.id;
        }
        let mut after = before.clone();
        if let Some(title) = &course.title {
            after.title.clone_from(title);
        }
        if course.external_id.is_some() {
            after.external_id.clone_from(&course.external_id);
        }
        if (&after.title, &after.external_id) == (&before.title, &before.external_id) {
            self.report.courses.unchanged += 1;
            return before.id;
        }
        self.report.courses.updated += 1;
        self.report.show("course", "update", &before.code, || {
            if after.title == before.title {
                "known by the registry's id from now on".to_owned()
            } else {
                format!("title: {} -> {}", before.title, after.title)
            }
        });
        let id = after.id;
        // Two classes with the code of one course: the first one becomes it.
        self.index.courses_by_code.remove(before.code.as_str());
        self.plan.changed_courses.push(after);
        id
    }

    fn new_course(&mut self, course: &Course, codes: &mut HashSet<String>) -> CourseId {
        let code = free_code(course, codes);
        let id = CourseId::generate(self.ids.clock, self.ids.entropy);
        let title = course.title.clone().unwrap_or_else(|| code.clone());
        self.report.courses.created += 1;
        self.report.show("course", "create", &code, || title.clone());
        codes.insert(code.clone());
        self.plan.new_courses.push(KnownCourse { id, code, title, external_id: course.external_id.clone() });
        id
    }

    /// Who teaches and who attends.
    fn places(&mut self, people: &[Who], courses: &[Option<CourseId>]) {
        let named = self.named_places(people, courses);
        let mut tally = Tally::of(self.existing);
        for said in named.iter().filter(|said| said.has_ended && self.existing.members.contains(&said.member)) {
            tally.leave(&said.member);
        }
        for said in &named {
            let (member, teaches) = (said.member, said.member.teaches);
            let is_there = self.existing.members.contains(&member);
            if said.has_ended {
                self.ended_place(member, is_there);
            } else if is_there {
                self.counts(teaches).unchanged += 1;
                self.begins(said, is_there);
            } else if let Err(wrong) = tally.take(&member, said.role) {
                let at = (&self.roster.names.places, said.line);
                self.counts(teaches).bad += 1;
                self.bad.push(wrong.at(at));
            } else {
                self.counts(teaches).added += 1;
                self.plan.added.push(member);
                self.begins(said, is_there);
            }
        }
        if self.roster.names_every_place {
            let named: HashSet<Member> = named.iter().map(|said| said.member).collect();
            self.missing_places(&named, courses);
        }
    }

    /// When a student's place begins, if that is not now, or was not to be now. Whoever is there already stays; whoever teaches
    /// has to prepare, and begins at once.
    fn begins(&mut self, said: &Said, is_there: bool) {
        let (member, before) = (said.member, self.existing.later.get(&said.member));
        match (said.begins_at_ms, before) {
            _ if member.teaches => {}
            (Some(begins_at_ms), before) if !is_there || before.is_some() => {
                self.report.enrolments.begin_later += 1;
                if before != Some(&begins_at_ms) {
                    self.plan.begins.push((member, begins_at_ms));
                }
            }
            (None, Some(_)) => self.plan.begins.push((member, self.plan.now_ms)),
            _ => {}
        }
    }

    /// Each place that the roster names, once. Several rows may be about one, for example because of two terms: whatever
    /// their order, it has ended only if all of them have.
    fn named_places(&mut self, people: &[Who], courses: &[Option<CourseId>]) -> Vec<Said> {
        let mut named: Vec<Said> = Vec::with_capacity(self.roster.places.len());
        let mut known: HashMap<Member, u32> = HashMap::with_capacity(self.roster.places.len());
        for place in &self.roster.places {
            let course = courses[place.course as usize];
            let (Who::User(user, role), Some(course)) = (people[place.person as usize], course) else {
                self.no_place(place, people[place.person as usize]);
                continue;
            };
            let teaches = place.teaches.unwrap_or(role != Role::Student);
            let member = Member { course, user, teaches };
            let Place { line, has_ended, begins_at_ms, .. } = *place;
            let said = Said { member, role, line, has_ended, begins_at_ms };
            match known.entry(member) {
                Entry::Vacant(entry) => {
                    entry.insert(named.len() as u32);
                    named.push(said);
                }
                Entry::Occupied(entry) => {
                    let before = &mut named[*entry.get() as usize];
                    if said.rank() < before.rank() {
                        *before = said;
                    }
                }
            }
        }
        named
    }

    fn counts(&mut self, teaches: bool) -> &mut super::report::MemberCounts {
        if teaches { &mut self.report.lecturers } else { &mut self.report.enrolments }
    }

    fn ended_place(&mut self, member: Member, is_there: bool) {
        if is_there {
            self.counts(member.teaches).removed += 1;
            self.plan.removed.push(member);
        } else {
            self.report.skipped_rows += 1;
        }
    }

    /// A place of somebody who has left, or in a course that has ended, says nothing. Any other one is a mistake.
    fn no_place(&mut self, place: &Place, who: Who) {
        let (what, fix) = match who {
            Who::Bad => ("the row of this person is bad, or nobody has this id", "correct the person's row first"),
            Who::User(..) if self.roster.courses[place.course as usize].is_reference => {
                ("there is no such course", "import the class first")
            }
            Who::User(..) | Who::Gone => {
                self.report.skipped_rows += 1;
                return;
            }
        };
        self.report.enrolments.bad += 1;
        self.bad.push(problem((&self.roster.names.places, place.line), "", what, fix));
    }

    /// Places in courses of a complete roster that it does not name. They stay: a person decides.
    fn missing_places(&mut self, named: &HashSet<Member>, courses: &[Option<CourseId>]) {
        let complete: HashSet<CourseId> = courses.iter().flatten().copied().collect();
        let leaves = self.plan.withdrawn.iter().filter(|withdrawal| withdrawal.email.is_some());
        let leaves: HashSet<UserId> = leaves.map(|withdrawal| withdrawal.id).collect();
        for member in self.existing.members.iter().filter(|member| complete.contains(&member.course)) {
            if !named.contains(member) && !leaves.contains(&member.user) {
                self.counts(member.teaches).missing += 1;
            }
        }
    }
}

/// How many places there are, so that no course and no person gets more than they may have.
struct Tally {
    students: HashMap<CourseId, u32>,
    courses: HashMap<UserId, u32>,
}

enum Wrong {
    Role(Role, bool),
    CourseFull,
    TooManyCourses,
}

impl Tally {
    fn of(existing: &Existing) -> Self {
        let mut students = HashMap::new();
        for member in existing.members.iter().filter(|member| !member.teaches) {
            *students.entry(member.course).or_insert(0) += 1;
        }
        Self { students, courses: existing.courses_by_person.clone() }
    }

    /// A place that ends gives room, wherever its row stands.
    fn leave(&mut self, member: &Member) {
        let less = |count: Option<&mut u32>| count.into_iter().for_each(|count| *count = count.saturating_sub(1));
        less(self.courses.get_mut(&member.user));
        if !member.teaches {
            less(self.students.get_mut(&member.course));
        }
    }

    fn take(&mut self, member: &Member, role: Role) -> Result<(), Wrong> {
        if !courses::may_be_member(role, member.teaches) {
            return Err(Wrong::Role(role, member.teaches));
        }
        let mine = self.courses.entry(member.user).or_insert(0);
        if *mine >= courses::COURSES_PER_USER_MAX {
            return Err(Wrong::TooManyCourses);
        }
        if !member.teaches {
            let students = self.students.entry(member.course).or_insert(0);
            if *students >= courses::STUDENTS_PER_COURSE_MAX {
                return Err(Wrong::CourseFull);
            }
            *students += 1;
        }
        *mine += 1;
        Ok(())
    }
}

impl Wrong {
    fn at(&self, at: (&std::sync::Arc<str>, u64)) -> Problem {
        match self {
            Self::Role(role, true) => {
                let what = format!("a {role} cannot teach a course");
                problem(at, "role", what, "give them the role of a teacher, or another place")
            }
            Self::Role(role, false) => {
                problem(at, "role", format!("a {role} cannot attend a course"), "only students can")
            }
            Self::CourseFull => {
                let what = format!("the course has {} students already", courses::STUDENTS_PER_COURSE_MAX);
                problem(at, "", what, "split the course")
            }
            Self::TooManyCourses => {
                let what = format!("the person is in {} courses already", courses::COURSES_PER_USER_MAX);
                problem(at, "", what, "look for rows that should not be there")
            }
        }
    }
}

/// The code of a new course. Classes may share one in the registry; here the later one gets its id behind it.
fn free_code(course: &Course, taken: &HashSet<String>) -> String {
    if !taken.contains(&course.code) {
        return course.code.clone();
    }
    let id = course.external_id.as_deref().unwrap_or_default();
    let digest = <sha2::Sha256 as sha2::Digest>::digest(id.as_bytes());
    let suffix = data_encoding::HEXUPPER.encode(&digest[..4]);
    let kept: String = course.code.chars().take(courses::CODE_CHARS_MAX - suffix.len() - 1).collect();
    format!("{kept}/{suffix}")
}

impl Comparison<'_> {
    /// Counts a row about a person as bad.
    pub(super) fn bad_person(&mut self, person: &Person, column: &str, what: impl Into<String>, fix: &str) -> Who {
        let at = (&self.roster.names.people, person.line);
        self.report.users.bad += 1;
        self.bad.push(problem(at, column, what, fix));
        Who::Bad
    }
}
