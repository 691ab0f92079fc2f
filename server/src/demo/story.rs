//! The story, scene by scene; what happens in the lecture hall is in `lecture`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use muster_sync_core::Locator;
use muster_sync_core::document::{PlanAction, RequestPurpose};
use muster_sync_core::time::session_code::CodeKey;

use super::cast::{CAST, Part, Ruling};
use super::forgery;
use super::network::{BAD, Network, Tally};
use super::office::{Desk, Roll};
use super::phones::{self, Phone, User};
use super::pictures::{Album, FACES, Face, Motif};
use super::table::{Row, Seen};
use super::time::Dice;
use super::{DemoError, Narrator, Stage};
use crate::clock::{Clock, iso_utc};

pub(super) const MINUTE_MS: i64 = 60_000;
/// How far in the past the story begins: it ends about now.
pub(super) const BEGINS_BEFORE_MS: i64 = 150 * MINUTE_MS;
/// When the lecture begins, after the beginning of the story.
pub(super) const LECTURE_AT_MS: i64 = 25 * MINUTE_MS;
/// How long it takes.
pub(super) const LECTURE_MS: i64 = 60 * MINUTE_MS;
/// When the phones are back on a network, after the end of the lecture.
const RETURN_AFTER_MS: i64 = 10 * MINUTE_MS;
/// When the office opens its post, after that.
const OFFICE_AFTER_MS: i64 = 50 * MINUTE_MS;
/// Requests of the student who sends everything five times.
const REPLAYS: u32 = 5;
/// How long the verdicts may take in real time.
const VERDICTS_TIMEOUT: Duration = Duration::from_secs(240);
/// How often the lecturer looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Everybody, and everything that they have.
pub(super) struct Story<'a, 'out> {
    pub(super) stage: &'a Stage<'a>,
    pub(super) narrator: &'a Narrator<'out>,
    network: Network,
    pub(super) dice: Dice,
    pub(super) begins_ms: i64,
    pub(super) album: Album,
    admin: Desk,
    lecturer: Desk,
    /// The lecturer's phone.
    pub(super) lectern: Phone,
    pub(super) course: String,
    /// The phones of the students, in the order of the cast.
    pub(super) phones: Vec<Phone>,
    /// The second phone of the student whose first one broke.
    pub(super) new_phone: Phone,
    pub(super) seen: Vec<Seen>,
}

/// What the story leaves behind.
pub(super) struct Ending {
    pub(super) rows: Vec<Row>,
    pub(super) locator: Locator,
    pub(super) csv: Vec<u8>,
    pub(super) lecturer: User,
    pub(super) student: User,
}

/// Plays all of it.
pub(super) async fn play<'a>(stage: &'a Stage<'a>, narrator: &'a Narrator<'_>) -> Result<Ending, DemoError> {
    let mut story = Story::prepare(stage, narrator).await?;
    story.bind().await?;
    let locator = story.lecture()?;
    story.come_back(locator).await?;
    story.open_the_post(locator).await?;
    story.decide(locator).await?;
    story.end(locator).await
}

impl<'a, 'out> Story<'a, 'out> {
    /// Accounts, a course, enrolments, reference photos.
    async fn prepare(stage: &'a Stage<'a>, narrator: &'a Narrator<'out>) -> Result<Story<'a, 'out>, DemoError> {
        let begins_ms = stage.clock.now_ms();
        let network = Network::new(&format!("http://{}", stage.address))?;
        let dice = Dice::new(stage.seed, 0);
        let login = &stage.admin;
        let (id, email, password) = (String::new(), login.email.clone(), login.password.clone());
        let admin = Desk::new(&network, User { id, name: "Administrator".to_owned(), email, password }).await?;
        narrator.say(&format!("1. {}  The office creates a course with 40 students.", time_of_day(begins_ms)))?;
        admin.switch_faces_on().await?;
        let lecturer = admin.create_account("lecturer", "Lena Hoffmann", "lecturer@demo.example").await?;
        let mut students = Vec::with_capacity(CAST.len());
        for (index, (name, _)) in CAST.iter().enumerate() {
            narrator.show(format!("account {} of {}", index + 1, CAST.len()));
            let email = format!("{}@demo.example", name.to_lowercase().replace(' ', "."));
            students.push(admin.create_account("student", name, &email).await?);
        }
        let enrolled = students.iter().zip(CAST).filter(|(_, (_, part))| *part != Part::NotEnrolled);
        let enrolled: Vec<&User> = enrolled.map(|(student, _)| student).collect();
        let course = admin.create_course(&lecturer, &enrolled).await?;
        let album = match stage.models_dir {
            Some(dir) => Album::open(dir)?,
            None => Album::empty(),
        };
        let phone = |user: &User, player: u64| {
            Phone::new(stage.phones_dir, user.clone(), &stage.clock, Dice::new(stage.seed, player))
        };
        let phones =
            students.iter().zip(1..).map(|(student, player)| phone(student, player)).collect::<Result<_, _>>()?;
        let replaced = CAST.iter().position(|(_, part)| *part == Part::NewPhone);
        let replaced = &students[replaced.ok_or_else(|| DemoError::Story("nobody has a new phone".to_owned()))?];
        Ok(Story {
            stage,
            narrator,
            dice,
            begins_ms,
            album,
            admin,
            lecturer: Desk::new(&network, lecturer.clone()).await?,
            lectern: phone(&lecturer, 1_000)?,
            course,
            phones,
            new_phone: phone(replaced, 1_001)?,
            seen: CAST.iter().map(|_| Seen::default()).collect(),
            network,
        })
    }

    /// Every phone asks to be bound, the admin approves, and the office takes reference photos.
    async fn bind(&mut self) -> Result<(), DemoError> {
        self.jump(2 * MINUTE_MS);
        self.say(2, "Every phone makes a key and asks to be bound; the admin approves all but one.")?;
        for phone in self.phones.iter_mut().chain([&mut self.new_phone, &mut self.lectern]) {
            phone.sign_in(&self.network).await?;
        }
        self.enrol_faces().await?;
        self.lectern.ask_to_be_bound(RequestPurpose::Bind, Some(&CodeKey(self.dice.bytes())))?;
        for phone in &mut self.phones {
            phone.ask_to_be_bound(RequestPurpose::Bind, None)?;
        }
        self.sync(&self.network.clone()).await?;
        self.lectern.sync(&self.network).await?;
        let unapproved = self.user_of(Part::Unapproved)?.id.clone();
        for (request, user) in self.admin.device_requests().await? {
            if user != unapproved {
                self.admin.approve_device(&request).await?;
            }
        }
        // The approvals come down, and with them an anchor: what the phones know of the server's time.
        self.sync(&self.network.clone()).await?;
        self.lectern.sync(&self.network).await
    }

    /// Takes a reference photo of every student at the desk, with the student's consent.
    async fn enrol_faces(&mut self) -> Result<(), DemoError> {
        if self.stage.models_dir.is_none() {
            return Ok(());
        }
        for (index, phone) in self.phones.iter_mut().enumerate() {
            self.narrator.show(format!("reference photo {} of {}", index + 1, CAST.len()));
            let picture = self.album.shoot(Motif::Reference(face_of(index)), &self.dice)?;
            let token = phone.token.clone().unwrap_or_default();
            super::office::enrol_face(&self.network, &token, picture).await?;
        }
        Ok(())
    }

    /// Everybody leaves, and every phone finds a bad network.
    async fn come_back(&mut self, locator: Locator) -> Result<(), DemoError> {
        self.stage.clock.jump_to(self.begins_ms + LECTURE_AT_MS + LECTURE_MS + RETURN_AFTER_MS);
        self.say(
            4,
            "The phones are back: on a network that loses, repeats, delays and reorders. Tokens have expired, too.",
        )?;
        self.send_five_times().await?;
        let bad = self.network.in_weather(BAD);
        self.sync(&bad).await?;
        self.new_phone.sync(&bad).await?;
        // The plan comes last: until now the server had records of a session that it had never heard of.
        let (at_ms, locator_of_plan) = (self.begins_ms + LECTURE_AT_MS + LECTURE_MS, locator);
        self.lectern.store.change_class_session(&self.lectern.key, locator_of_plan, PlanAction::Close, at_ms)?;
        self.lectern.sync(&bad).await?;
        self.narrator.say(&format!("   {}", told(bad.tally())))?;
        self.cheat_by_hand(locator).await?;
        self.lecturer.sign_in().await?;
        self.verdicts(locator, Roll::is_open).await?;
        self.look(locator).await
    }

    /// One request, five times over; all five answers have to be the same receipt.
    async fn send_five_times(&mut self) -> Result<(), DemoError> {
        let index = self.index_of(Part::Replay)?;
        let phone = &mut self.phones[index];
        let network = self.network.clone();
        let answers = phone.exchange_repeatedly(&network, REPLAYS).await?;
        let fates = answers.iter().map(forgery::fates).collect::<Result<Vec<_>, _>>()?;
        let first = fates.first().and_then(|fates| fates.first()).and_then(|fate| fate.receipt.clone());
        let same = fates.iter().all(|fates| fates.iter().all(|fate| fate.receipt.is_some() && fate.receipt == first));
        let times = fates.iter().filter(|fates| !fates.is_empty()).count();
        let receipts = if same { "one receipt" } else { "different answers" };
        self.seen[index].told = Some(format!("accepted {times} times, {receipts}"));
        Ok(())
    }

    /// The cheats that need more than an app.
    async fn cheat_by_hand(&mut self, locator: Locator) -> Result<(), DemoError> {
        let (forger, victim, overreacher) =
            (self.index_of(Part::Forger)?, self.index_of(Part::Scans)?, self.index_of(Part::Overreach)?);
        let forged = forgery::forge(&self.phones[forger], &self.network, &self.phones[victim], locator).await?;
        self.seen[forger].told = Some(forged.join(", "));
        let overreached = forgery::overreach(&self.phones[overreacher], &self.network, locator).await?;
        self.seen[overreacher].told = Some(overreached.join(", "));
        Ok(())
    }

    /// Waits until no record is open any more, by whichever meaning of it.
    async fn verdicts(&mut self, locator: Locator, is_open: fn(&Roll) -> bool) -> Result<Vec<Roll>, DemoError> {
        let mut waited = Duration::ZERO;
        loop {
            let roll = self.lecturer.roll(locator.as_str()).await?;
            let records = roll.iter().filter(|row| row.id.is_some()).count();
            let open = roll.iter().filter(|row| is_open(row)).count();
            self.narrator.show(format!("{records} records, {} judged", records - open));
            if open == 0 && records > 0 {
                return Ok(roll);
            }
            if waited > VERDICTS_TIMEOUT {
                return Err(DemoError::Story(format!("{open} of {records} records are not judged")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
            waited += LOOK_EVERY;
        }
    }

    /// The admin opens the post: a phone to approve, a reset. And a picture arrives late.
    async fn open_the_post(&mut self, locator: Locator) -> Result<(), DemoError> {
        self.jump(LECTURE_AT_MS + LECTURE_MS + RETURN_AFTER_MS + OFFICE_AFTER_MS);
        self.say(
            5,
            "The office: the admin approves the forgotten phone, and lets the second phone replace the broken one.",
        )?;
        self.admin.sign_in().await?;
        let replaced = self.user_of(Part::NewPhone)?.clone();
        let unapproved = self.user_of(Part::Unapproved)?.id.clone();
        self.admin.approve_reset(&replaced).await?;
        for (request, user) in self.admin.device_requests().await? {
            if user == unapproved {
                self.admin.approve_device(&request).await?;
            }
        }
        for phone in &mut self.phones {
            phone.uploads = true;
        }
        let network = self.network.clone();
        self.sync(&network).await?;
        self.new_phone.sync(&network).await?;
        self.lecturer.sign_in().await?;
        self.wait_for_releases(locator).await?;
        self.sync(&network).await?;
        self.new_phone.sync(&network).await?;
        self.verdicts(locator, Roll::is_unjudged).await?;
        self.look(locator).await
    }

    /// Waits until what the admin released has become records, and no picture is missing.
    async fn wait_for_releases(&mut self, locator: Locator) -> Result<(), DemoError> {
        let expected = CAST.iter().filter(|(_, part)| part.captures()).count();
        let mut waited = Duration::ZERO;
        while waited <= VERDICTS_TIMEOUT {
            let roll = self.lecturer.roll(locator.as_str()).await?;
            let records = roll.iter().filter(|row| row.id.is_some()).count();
            if records >= expected {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
            waited += LOOK_EVERY;
        }
        Ok(())
    }

    /// The lecturer decides what the machine may not.
    async fn decide(&mut self, locator: Locator) -> Result<(), DemoError> {
        self.say(
            6,
            "The lecturer looks at what was flagged: confirms one, rejects two, leaves the rest for tomorrow.",
        )?;
        for row in self.lecturer.roll(locator.as_str()).await? {
            let Some(index) = self.phones.iter().position(|phone| phone.user.id == row.student) else { continue };
            let (Some(ruling), Some(record)) = (CAST[index].1.ruling(), &row.id) else { continue };
            let (action, reason) = match ruling {
                Ruling::Confirm => ("confirm", "seen_in_class"),
                Ruling::Reject => ("reject", "not_in_class"),
            };
            self.lecturer.decide(record, action, reason).await?;
        }
        let network = self.network.clone();
        self.sync(&network).await?;
        self.look(locator).await
    }

    async fn end(mut self, locator: Locator) -> Result<Ending, DemoError> {
        // The server's clock catches up with the machine's, so that tokens of the demo's own accounts are good.
        self.stage.clock.jump_to(i64::MAX);
        self.lecturer.sign_in().await?;
        let path = format!("/api/v1/lecturers/sessions/{locator}/export");
        let csv = self.lecturer.download(&path).await?;
        let faces = self.stage.models_dir.is_some();
        let rows = CAST.iter().zip(self.seen).map(|((name, part), seen)| Row::new(name, *part, seen, faces)).collect();
        let student = self.phones.swap_remove(0).user;
        Ok(Ending { rows, locator, csv, lecturer: self.lecturer.user, student })
    }

    /// Notes what phones and lecturer see at this moment.
    async fn look(&mut self, locator: Locator) -> Result<(), DemoError> {
        let roll = self.lecturer.roll(locator.as_str()).await?;
        for index in 0..CAST.len() {
            let id = &self.phones[index].user.id;
            let row = roll.iter().find(|row| row.student == *id);
            let fate = self.fate(index)?;
            self.seen[index].note(fate, row);
        }
        Ok(())
    }

    fn fate(&self, index: usize) -> Result<Option<String>, DemoError> {
        let seen = &self.seen[index];
        let phone = match CAST[index].1 {
            Part::NewPhone => &self.new_phone,
            _ => &self.phones[seen.on_phone.unwrap_or(index)],
        };
        match (&seen.told, seen.change) {
            (Some(told), _) => Ok(Some(told.clone())),
            (None, Some(change)) => phone.fate(change).map(Some),
            (None, None) => Ok(None),
        }
    }

    async fn sync(&mut self, network: &Network) -> Result<(), DemoError> {
        let (phones, narrator) = (std::mem::take(&mut self.phones), self.narrator);
        let show =
            |n_synced| narrator.show(format!("{n_synced} of {} phones synced; {}", CAST.len(), told(network.tally())));
        self.phones = phones::sync_all(phones, network, show).await?;
        Ok(())
    }

    pub(super) fn index_of(&self, part: Part) -> Result<usize, DemoError> {
        let found = CAST.iter().position(|(_, played)| *played == part);
        found.ok_or_else(|| DemoError::Story(format!("nobody plays: {}", part.title())))
    }

    fn user_of(&self, part: Part) -> Result<&User, DemoError> {
        Ok(&self.phones[self.index_of(part)?].user)
    }

    pub(super) fn n_captures(&self) -> usize {
        self.seen.iter().filter(|seen| seen.change.is_some()).count()
    }

    /// Jumps to a time after the beginning of the story.
    fn jump(&self, after_ms: i64) {
        self.stage.clock.jump_to(self.begins_ms + after_ms);
    }

    pub(super) fn say(&self, scene: u32, text: &str) -> Result<(), DemoError> {
        Ok(self.narrator.say(&format!("{scene}. {}  {text}", time_of_day(self.stage.clock.now_ms())))?)
    }
}

/// Forty students share the faces of eight people.
pub(super) fn face_of(index: usize) -> Face {
    FACES[index % FACES.len()]
}

fn time_of_day(time_ms: i64) -> String {
    iso_utc(time_ms).get(11..16).unwrap_or_default().to_owned()
}

fn told(tally: &Tally) -> String {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    format!(
        "{} requests: {} lost before the server saw them, {} after, {} repeated later",
        count(&tally.requests),
        count(&tally.lost_before),
        count(&tally.lost_after),
        count(&tally.repeated)
    )
}
