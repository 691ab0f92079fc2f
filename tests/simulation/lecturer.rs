//! What people do with their phones and at their desks: they open sessions, attend them, and decide.

use muster_sync_core::{
    DocumentName, Locator,
    document::{Code, CodeMode, DecisionAction, Label, PlanAction, Role},
    store::{DecisionInput, PlanInput, StoreError},
};
use serde_json::json;

use crate::script::Act;
use crate::server::{LECTURERS, NOON_MS, STUDENTS, TENANT, Template};
use crate::world::{Event, Session, World};

/// A class lasts this long.
const CLASS_MS: i64 = 2 * 3_600_000;
/// Somebody whose phone did not do what it was told tries again after this.
const TRY_AGAIN_MS: u64 = 7_000;

impl World {
    /// A lecturer whose phone is on, by the phone.
    fn lecturer_phone(&mut self) -> Option<usize> {
        let index = self.dice.index(LECTURERS.len());
        self.phones[index].store.is_some().then_some(index)
    }

    pub(crate) fn open_session(&mut self) {
        let Some(index) = self.lecturer_phone() else { return self.plan(TRY_AGAIN_MS, Event::Act(Act::OpenSession)) };
        let course = if index == 1 { self.dice.index(2) } else { 0 };
        let opens_at_ms = NOON_MS + self.now_ms as i64;
        let static_code = self.dice.percent(20);
        let plan = PlanInput {
            course: Label::new(&Template::get().courses[course].to_string()).expect("an id is a label"),
            opens_at_ms,
            closes_at_ms: opens_at_ms + CLASS_MS,
            late_after_ms: None,
            code_mode: if static_code { CodeMode::Static } else { CodeMode::Rotating },
            step_s: 15,
            geofence: None,
        };
        let (random, wall_ms) = (self.dice.bytes(), self.phones[index].wall_ms(self.now_ms));
        let phone = &mut self.phones[index];
        let store = phone.store.as_mut().expect("it is on");
        match store.open_class_session(&phone.key, &plan, random, wall_ms) {
            Ok(locator) => {
                self.tally.count("lecturer: plan on the phone");
                self.note(|_| format!("phone{index} opens session {locator} of course {course}"));
                self.sessions.push(Session { locator, course, phone: Some(index) });
                self.step_in(index, 50);
            }
            Err(error) => {
                self.store_failed(index, &error);
                self.plan(TRY_AGAIN_MS, Event::Act(Act::OpenSession));
            }
        }
        self.look_at_phone(index);
    }

    pub(crate) fn open_session_over_http(&mut self) {
        let person = LECTURERS.start + self.dice.index(LECTURERS.len());
        let course = if person == LECTURERS.start { 0 } else { self.dice.index(2) };
        let body = json!({ "course_id": Template::get().courses[course], "duration_minutes": 120 });
        let Some((201, session)) = self.call(person, "POST", "/api/v1/lecturers/sessions", &body) else { return };
        let locator = session["locator"].as_str().and_then(Locator::parse).expect("a session has a locator");
        self.tally.count("lecturer: plan over HTTP");
        self.sessions.push(Session { locator, course, phone: None });
    }

    /// Closes a session, or begins a new epoch of its code.
    pub(crate) fn change_session(&mut self) {
        let own: Vec<_> = self.sessions.iter().filter_map(|session| Some((session.locator, session.phone?))).collect();
        if own.is_empty() {
            return;
        }
        let (locator, index) = own[self.dice.index(own.len())];
        let action = if self.dice.percent(70) { PlanAction::Regenerate } else { PlanAction::Close };
        let wall_ms = self.phones[index].wall_ms(self.now_ms);
        let phone = &mut self.phones[index];
        let Some(store) = phone.store.as_mut() else { return };
        match store.change_class_session(&phone.key, locator, action, wall_ms) {
            Ok(_) => self.tally.count("lecturer: session changed"),
            Err(error) => self.store_failed(index, &error),
        }
        self.step_in(index, 50);
        self.look_at_phone(index);
    }

    /// A student attends: with the code that the lecturer shows, an old one, or none.
    pub(crate) fn capture(&mut self) {
        if self.sessions.is_empty() {
            return;
        }
        let session = self.sessions[self.dice.index(self.sessions.len())].clone();
        let students: Vec<_> = (0..self.phones.len())
            .filter(|index| !self.phones[*index].is_lecturer() && self.phones[*index].store.is_some())
            .filter(|index| session.course == 0 || self.phones[*index].person >= STUDENTS.start + 4)
            .collect();
        if students.is_empty() {
            return;
        }
        let index = students[self.dice.index(students.len())];
        let shown_at_ms = NOON_MS + self.now_ms as i64 - if self.dice.percent(15) { 240_000 } else { 0 };
        let shown = session
            .phone
            .and_then(|phone| self.phones[phone].store.as_ref()?.session_code(session.locator, shown_at_ms).ok());
        let code = shown.filter(|_| self.dice.percent(85)).and_then(|shown| Code::new(&shown.code));
        match self.phones[index].capture(session.locator, code, self.now_ms, &mut self.dice) {
            Ok(record) => {
                self.tally.count("phone: capture");
                self.note(|world| format!("{} captures {record:?} in {}", world.phones[index].name, session.locator));
                let soon_ms = self.dice.below(3_000);
                self.step_in(index, soon_ms);
            }
            Err(error) => {
                self.tally.count("phone: capture failed");
                self.store_failed(index, &error);
                // The student sees it, and tries again.
                self.plan(TRY_AGAIN_MS, Event::Act(Act::Capture));
            }
        }
        self.look_at_phone(index);
    }

    /// A record that a lecturer's phone knows of, and whose it is.
    fn some_record(&mut self, index: usize) -> Option<(Locator, String)> {
        let store = self.phones[index].store.as_ref()?;
        let mut records = Vec::new();
        for session in &self.sessions {
            let views = store.class_records(session.locator).unwrap_or_default();
            records.extend(views.into_iter().map(|view| (session.locator, view.student)));
        }
        if records.is_empty() { None } else { Some(records.swap_remove(self.dice.index(records.len()))) }
    }

    /// Mostly about the first record, so that people contradict each other.
    pub(crate) fn decide(&mut self) {
        for index in 0..LECTURERS.len() {
            let Some((locator, student)) = self.some_record(index) else { continue };
            let action = [DecisionAction::Confirm, DecisionAction::Reject, DecisionAction::Excuse][self.dice.index(3)];
            let reason = Code::new("seen");
            let input =
                DecisionInput { locator, student, action, reason, role: Role::Lecturer, of: None, note_hash: None };
            let wall_ms = self.phones[index].wall_ms(self.now_ms);
            let phone = &mut self.phones[index];
            let decided = phone.store.as_mut().map(|store| store.decide(&phone.key, &input, wall_ms));
            match decided {
                Some(Ok(_)) => {
                    self.tally.count("lecturer: decision on the phone");
                    self.note(|_| format!("phone{index} decides {action:?} about {} in {locator}", input.student));
                    self.step_in(index, 50);
                }
                Some(Err(StoreError::RecordUnknown { .. })) | None => {}
                Some(Err(error)) => self.store_failed(index, &error),
            }
            self.look_at_phone(index);
        }
    }

    pub(crate) fn decide_over_http(&mut self) {
        let index = self.dice.index(LECTURERS.len());
        let Some((locator, student)) = self.some_record(index) else { return };
        let id = DocumentName::Attendance { locator, student }.id(TENANT);
        let action = ["confirm", "reject", "late"][self.dice.index(3)];
        // Nothing seen: a decision beside those of the phones, which may contradict it.
        let mut body = json!({ "action": action, "reason": "seen" });
        if self.dice.percent(50) {
            body["seen"] = json!([]);
        }
        let path = format!("/api/v1/lecturers/attendance/{id}/confirm");
        if let Some((200, _)) = self.call(self.phones[index].person, "POST", &path, &body) {
            self.tally.count("lecturer: decision over HTTP");
        }
    }
}
