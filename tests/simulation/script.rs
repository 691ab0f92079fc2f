//! What people do and what breaks, and when: thrown at the beginning, from the seed.

use serde_json::json;

use crate::disk::Harm;
use crate::phone::{Phone, Standing};
use crate::server::{ADMIN, STUDENTS};
use crate::world::{Event, World};

/// Things go wrong for this long.
pub(crate) const CHAOS_MS: u64 = 300_000;
/// An admin looks again after this.
const OFFICE_MS: u64 = 9_000;
/// Ahead or behind by more than this counts as a day off.
const NEARLY_A_DAY_MS: i64 = 20 * 3_600_000;

/// Something that people or fate do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    StartServer,
    StartPhone(usize),
    Capture,
    OpenSession,
    OpenSessionOverHttp,
    ChangeSession,
    Decide,
    DecideOverHttp,
    Approve(usize),
    Revoke(usize),
    CutServer,
    CutServerAtWrite,
    HarmServer,
    RestartServer,
    CutPhoneAtWrite,
    HarmPhone,
    RebootPhone,
    RestartApp,
    JumpClock,
    EndSignIn,
    GoOffline,
    Unavailable,
    BlobOutage(bool),
    CopyPhone,
    Cheat(u8),
}

/// How often each act happens at most.
const PLANNED: &[(Act, u64)] = &[
    (Act::OpenSession, 2),
    (Act::OpenSessionOverHttp, 1),
    (Act::ChangeSession, 2),
    (Act::Capture, 18),
    (Act::Decide, 5),
    (Act::DecideOverHttp, 3),
    (Act::CutServer, 2),
    (Act::CutServerAtWrite, 3),
    (Act::HarmServer, 2),
    (Act::RestartServer, 1),
    (Act::CutPhoneAtWrite, 5),
    (Act::HarmPhone, 4),
    (Act::RebootPhone, 2),
    (Act::RestartApp, 3),
    (Act::JumpClock, 4),
    (Act::EndSignIn, 2),
    (Act::GoOffline, 3),
    (Act::Unavailable, 1),
    (Act::BlobOutage(true), 1),
    (Act::CopyPhone, 1),
];

impl World {
    /// Throws the script.
    pub(crate) fn write_script(&mut self) {
        // A session before everything else, so that there is something to attend.
        self.plan(500, Event::Act(Act::OpenSession));
        for (act, times_max) in PLANNED {
            for _ in 0..self.dice.below(times_max + 1) {
                let at_ms = self.dice.below(CHAOS_MS);
                self.plan(at_ms, Event::Act(*act));
            }
        }
        for _ in 0..self.dice.below(5) {
            let (at_ms, kind) = (self.dice.below(CHAOS_MS), self.dice.below(7) as u8);
            self.plan(at_ms, Event::Act(Act::Cheat(kind)));
        }
        for index in 0..self.phones.len() {
            let late = self.dice.percent(30);
            let at_ms = if late { self.dice.below(CHAOS_MS) } else { self.dice.below(20_000) };
            match self.phones[index].standing {
                Standing::NeverApproved => continue,
                Standing::Revoked => {
                    let revoked_ms = at_ms + self.dice.below(CHAOS_MS - at_ms);
                    self.plan(revoked_ms, Event::Act(Act::Revoke(index)));
                }
                Standing::Bound | Standing::Cloned => {}
            }
            self.plan(at_ms, Event::Act(Act::Approve(index)));
        }
    }

    pub(crate) fn act(&mut self, act: Act) {
        match act {
            Act::StartServer if self.server.is_none() => self.start_server(),
            Act::StartPhone(index) => self.start_phone(index),
            Act::Capture => self.capture(),
            Act::OpenSession => self.open_session(),
            Act::OpenSessionOverHttp => self.open_session_over_http(),
            Act::ChangeSession => self.change_session(),
            Act::Decide => self.decide(),
            Act::DecideOverHttp => self.decide_over_http(),
            Act::Approve(index) => self.approve(index),
            Act::Revoke(index) => self.revoke(index),
            // Once healed, nothing new breaks.
            _ if self.healed => {}
            Act::Cheat(kind) => self.cheat(kind),
            Act::CopyPhone => self.copy_phone(),
            _ => self.break_something(act),
        }
    }

    fn break_something(&mut self, act: Act) {
        self.note(|_| format!("{act:?}"));
        let phone = self.dice.index(self.phones.len());
        match act {
            Act::CutServer if self.server.is_some() => {
                self.tally.count("server: power cut between requests");
                self.server_disk.cut();
                let back_in_ms = self.dice.between(500, 12_000);
                self.stop_server(back_in_ms);
            }
            Act::CutServerAtWrite => self.server_disk.arm(self.dice.below(80), Harm::PowerCut),
            Act::HarmServer => {
                let harm = self.harm();
                self.server_disk.arm(self.dice.below(60), harm);
            }
            Act::RestartServer => self.stop_server(1_500),
            Act::CutPhoneAtWrite => self.phones[phone].disk.arm(self.dice.below(30), Harm::PowerCut),
            Act::HarmPhone => {
                let harm = self.harm();
                self.phones[phone].disk.arm(self.dice.below(20), harm);
            }
            Act::RebootPhone => self.switch_off(phone, true),
            Act::RestartApp => self.switch_off(phone, false),
            Act::JumpClock => self.jump_clock(phone),
            Act::EndSignIn => {
                self.tally.count("phone: sign-in ended");
                self.phones[phone].token = Some("ended".to_owned());
            }
            Act::GoOffline => {
                self.tally.count("network: phone offline");
                self.phones[phone].offline_until_ms = self.now_ms + self.dice.between(5_000, 120_000);
            }
            Act::Unavailable => self.unavailable_until_ms = self.now_ms + self.dice.between(5_000, 30_000),
            Act::BlobOutage(begins) => {
                self.blobs.set_out(begins);
                if begins {
                    let ends_in_ms = self.dice.between(5_000, 60_000);
                    self.plan(ends_in_ms, Event::Act(Act::BlobOutage(false)));
                }
            }
            _ => {}
        }
    }

    fn harm(&mut self) -> Harm {
        match self.dice.below(3) {
            0 => Harm::Full(self.dice.between(1, 30) as u32),
            1 => Harm::WriteError,
            _ => Harm::FlushError,
        }
    }

    fn switch_off(&mut self, index: usize, reboot: bool) {
        if self.phones[index].store.is_none() {
            return;
        }
        self.phones[index].close();
        self.look_at_phone(index);
        if self.phones[index].disk.is_dead() {
            // The power went while the store was being closed.
            self.phones[index].disk.reboot(&mut self.dice);
        }
        if reboot {
            self.tally.count("phone: rebooted");
            let off_ms = self.dice.between(1_000, 30_000);
            return self.plan(off_ms, Event::Act(Act::StartPhone(index)));
        }
        self.tally.count("phone: app restarted");
        match self.phones[index].open() {
            Ok(()) => self.step_in(index, 300),
            Err(error) => {
                self.store_failed(index, &error);
                self.plan(1_000, Event::Act(Act::StartPhone(index)));
            }
        }
        self.look_at_phone(index);
    }

    fn jump_clock(&mut self, index: usize) {
        let offset_ms = match self.dice.below(3) {
            0 => self.dice.below(600_000) as i64 - 300_000,
            1 => self.dice.below(7_200_000) as i64 - 3_600_000,
            _ => self.dice.below(172_800_000) as i64 - 86_400_000,
        };
        self.tally.count("phone: clock jumped");
        if offset_ms.abs() > NEARLY_A_DAY_MS {
            self.tally.count("phone: clock a day off");
        }
        self.note(|world| format!("{}: the clock is off by {offset_ms} ms", world.phones[index].name));
        self.phones[index].wall_offset_ms = offset_ms;
    }

    /// A copy of everything on a phone, made by its owner: a backup that is put onto a second phone.
    fn copy_phone(&mut self) {
        let index = STUDENTS.start - 1 + self.dice.index(STUDENTS.len());
        let phone = &self.phones[index];
        if phone.standing != Standing::Bound || phone.store.is_none() {
            return;
        }
        let name = format!("copy-of-{}", phone.name);
        let copy = phone.copied(&self.name.clone(), &name, &mut self.dice);
        self.phones[index].standing = Standing::Cloned;
        self.tally.count("phone: copied");
        self.note(|world| format!("{} is copied", world.phones[index].name));
        self.phones.push(copy);
        self.start_phone(self.phones.len() - 1);
    }

    fn approve(&mut self, index: usize) {
        let Some(request) = self.phones[index].request else { return };
        let path = format!("/api/v1/admin/device-requests/{request}/approve");
        match self.call(ADMIN, "POST", &path, &json!({})) {
            Some((200, _)) => {
                if self.now_ms > 60_000 {
                    self.tally.count("phone: approved late");
                }
                self.phones[index].approved = true;
            }
            // The request is on its way, or the server is down: the admin looks again later.
            _ => self.plan(OFFICE_MS, Event::Act(Act::Approve(index))),
        }
    }

    fn revoke(&mut self, index: usize) {
        let path = format!("/api/v1/admin/devices/{}/revoke", self.phones[index].public_key());
        let approved = self.phones[index].approved;
        let answer = if approved { self.call(ADMIN, "POST", &path, &json!({ "reason": "lost" })) } else { None };
        match answer {
            Some((200, _)) => self.tally.count("phone: device revoked"),
            _ => self.plan(OFFICE_MS, Event::Act(Act::Revoke(index))),
        }
    }

    /// Every phone comes to the front and looks for news.
    pub(crate) fn everybody_looks(&mut self) {
        for index in 0..self.phones.len() {
            self.phones[index].client.wake();
            self.step_in(index, 10);
        }
    }

    /// The end of all trouble: the network is good, every disk works, whoever was off comes back.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.note(|_| "everything heals".to_owned());
        self.unavailable_until_ms = 0;
        self.blobs.set_out(false);
        self.server_disk.disarm();
        if self.server.is_none() {
            self.start_server();
        }
        for index in 0..self.phones.len() {
            let phone: &mut Phone = &mut self.phones[index];
            phone.disk.disarm();
            phone.offline_until_ms = 0;
            if phone.store.is_none() {
                self.start_phone(index);
            }
            self.phones[index].client.network_changed();
            self.step_in(index, 10);
        }
    }
}
