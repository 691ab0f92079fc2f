//! The lecture: a session opened and forty captures made with no network at all.

use muster_sync_core::Locator;
use muster_sync_core::document::{CodeMode, Label, RequestPurpose};
use muster_sync_core::evidence::Position;
use muster_sync_core::store::PlanInput;
use muster_sync_core::time::session_code::CodeClaim;

use super::DemoError;
use super::cast::{CAST, Part};
use super::phones::Capture;
use super::pictures::Motif;
use super::story::{LECTURE_AT_MS, LECTURE_MS, MINUTE_MS, Story, face_of};
use super::time::Dice;
use crate::clock::Clock;

/// When the passed-on code is used, after the beginning of the lecture.
const OLD_CODE_AT_MS: i64 = 30 * MINUTE_MS;
/// Time between two captures.
const CAPTURE_EVERY_MS: i64 = 11_000;
/// The lecture hall: latitude and longitude in degrees times 10^7, and a radius in metres.
const HALL: (i64, i64, u64) = (523_905_600, 130_645_000, 80);
/// The cafeteria, 600 metres to the north, in the same units.
const CAFETERIA_NORTH_E7: i64 = 54_000;

impl Story<'_, '_> {
    /// The lecture: nobody has a network.
    pub(super) fn lecture(&mut self) -> Result<Locator, DemoError> {
        let opens_at_ms = self.begins_ms + LECTURE_AT_MS;
        self.stage.clock.jump_to(opens_at_ms - MINUTE_MS);
        self.say(
            3,
            "A lecture hall in a cellar. No network: the lecturer's phone opens the session, and shows a code.",
        )?;
        let label = |text: &str| Label::new(text).ok_or_else(|| DemoError::Story("the course is no label".to_owned()));
        let plan = PlanInput {
            course: label(&self.course)?,
            opens_at_ms,
            closes_at_ms: opens_at_ms + LECTURE_MS,
            late_after_ms: None,
            code_mode: CodeMode::Rotating,
            step_s: 15,
            geofence: Some(HALL),
        };
        let (wall_ms, random) = (self.lectern.clocks().wall_ms, self.dice.bytes());
        let locator = self.lectern.store.open_class_session(&self.lectern.key, &plan, random, wall_ms)?;
        self.stage.clock.jump_to(opens_at_ms + MINUTE_MS);
        let passed_on = self.shown_code(locator)?;
        for (index, (_, part)) in CAST.iter().enumerate() {
            self.stage.clock.jump_to(self.stage.clock.now_ms() + CAPTURE_EVERY_MS);
            self.narrator.show(format!("capture {} of {}", index + 1, CAST.len()));
            if *part != Part::OldCode {
                self.play_part(index, locator)?;
            }
        }
        self.stage.clock.jump_to(opens_at_ms + OLD_CODE_AT_MS);
        let late = self.index_of(Part::OldCode)?;
        self.capture(late, passed_on)?;
        self.narrator.say(&format!(
            "   {} captures are on the phones, signed; the server knows nothing of them.",
            self.n_captures()
        ))?;
        Ok(locator)
    }

    /// What the screen at the lectern shows now.
    fn shown_code(&self, locator: Locator) -> Result<CodeClaim, DemoError> {
        let shown = self.lectern.store.session_code(locator, self.lectern.clocks().wall_ms)?;
        CodeClaim::parse(&shown.qr).ok_or_else(|| DemoError::Story("the code cannot be read".to_owned()))
    }

    fn play_part(&mut self, index: usize, locator: Locator) -> Result<(), DemoError> {
        let part = CAST[index].1;
        let mut code = self.shown_code(locator)?;
        match part {
            Part::Types => code.step = None,
            Part::ClockBack => self.phones[index].wall_offset_ms = -24 * 60 * MINUTE_MS,
            Part::LateSelfie => self.phones[index].uploads = false,
            Part::NewPhone => return self.capture_on_new_phone(index, code),
            Part::FriendsPhone => return self.capture_on_friends_phone(index, code),
            Part::Forger | Part::Overreach => return Ok(()),
            _ => {}
        }
        self.capture(index, code)
    }

    fn capture(&mut self, index: usize, code: CodeClaim) -> Result<(), DemoError> {
        let capture = self.what_is_captured(index, code)?;
        let phone = &mut self.phones[index];
        let id = phone.capture(&capture)?;
        self.seen[index].change = Some(phone.record(id)?.change);
        Ok(())
    }

    /// The first phone is broken; the second one has never been bound, and captures all the same.
    fn capture_on_new_phone(&mut self, index: usize, code: CodeClaim) -> Result<(), DemoError> {
        let capture = self.what_is_captured(index, code)?;
        self.new_phone.ask_to_be_bound(RequestPurpose::Reset, None)?;
        let id = self.new_phone.capture(&capture)?;
        self.seen[index].change = Some(self.new_phone.record(id)?.change);
        Ok(())
    }

    /// The next student is a friend, whose phone pretends to be the absent one's for a moment.
    fn capture_on_friends_phone(&mut self, index: usize, code: CodeClaim) -> Result<(), DemoError> {
        let capture = self.what_is_captured(index, code)?;
        let absent = self.phones[index].store.account()?;
        let friend = &mut self.phones[index - 1];
        let own = friend.store.account()?;
        friend.store.set_account(&absent)?;
        let id = friend.capture(&capture)?;
        friend.store.set_account(&own)?;
        self.seen[index].change = Some(friend.record(id)?.change);
        self.seen[index].on_phone = Some(index - 1);
        Ok(())
    }

    fn what_is_captured(&self, index: usize, code: CodeClaim) -> Result<Capture, DemoError> {
        let part = CAST[index].1;
        let motif = match part {
            Part::NoFace => Motif::Nobody,
            Part::TwoFaces => Motif::Two,
            Part::OtherFace | Part::FriendsPhone => Motif::Selfie(face_of(index + 1)),
            _ => Motif::Selfie(face_of(index)),
        };
        // About forty metres in any direction: people sit in rows, and positions are never exact.
        let scatter = |dice: &Dice| dice.below(6_000) as i64 - 3_000;
        let north = if part == Part::WrongPlace { CAFETERIA_NORTH_E7 } else { 0 };
        let position = Position {
            latitude_e7: HALL.0 + north + scatter(&self.dice),
            longitude_e7: HALL.1 + scatter(&self.dice),
            accuracy_m: 8 + self.dice.below(20) as u32,
            mocked: part == Part::MockedLocation,
        };
        Ok(Capture { code, position: Some(position), selfie: Some(self.album.shoot(motif, &self.dice)?) })
    }
}
