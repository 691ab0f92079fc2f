//! A hall without a network: the lecturer's phone collects, pushes later, and brings receipts back.

use crate::{
    peer::{Peer, TENANT},
    phone::{Phone, STUDENT, input},
};
use muster_sync_core::{
    ChangeHash, DocumentName, Locator,
    document::*,
    evidence::{Manifest, commitment},
    limits,
    sealing::{OpeningKey, open_manifest},
    signing::{SigningKey, SoftwareKey},
    store::*,
    sync::{client::*, message::Request, relay::*},
    time::session_code::CodeKey,
};

pub(crate) const NOON_MS: i64 = 1_763_640_000_000;
const SERVER_SEED: u8 = 200;

/// A lecturer's phone with a session that it opened, and whether the server knows of it.
pub(crate) fn lecturer(peer: &mut Peer, synced: bool) -> (Phone, Locator) {
    let mut phone = Phone::with_key(peer, 3, "lecturer-1");
    let facts = BindingFacts {
        platform: Code::new("ios").unwrap(),
        model: None,
        level: KeyLevel::Hardware,
        legacy_id_hash: None,
    };
    phone.store.bind_request(&phone.key, &facts, RequestPurpose::Bind, Some(&CodeKey([5; 32])), NOON_MS).unwrap();
    let locator = open_session(&mut phone, 7);
    if synced {
        phone.sync(peer);
    }
    (phone, locator)
}

pub(crate) fn open_session(phone: &mut Phone, random: u8) -> Locator {
    let plan = PlanInput {
        course: Label::new("course-1").unwrap(),
        opens_at_ms: NOON_MS,
        closes_at_ms: NOON_MS + 5_400_000,
        late_after_ms: None,
        code_mode: CodeMode::Static,
        step_s: 15,
        geofence: None,
    };
    phone.store.open_class_session(&phone.key, &plan, [random; 4], NOON_MS).unwrap()
}

pub(crate) fn student(peer: &Peer, seed: u8, user: &str) -> Phone {
    Phone::with_key(peer, seed, user)
}

pub(crate) fn capture(phone: &mut Phone, locator: Locator, number: u8) -> RecordId {
    let input = CaptureInput { locator, salt: [number; 32], ..input(u32::from(number)) };
    phone.store.capture(&phone.key, &input).unwrap()
}

/// The beginning of a meeting: hello and offer.
pub(crate) fn meet(giver: &Phone, carrier: &Phone, locators: &[Locator], seed: u8) -> (Giver, Carrier, OfferView) {
    let (mut from, mut to) = (Giver::new([seed; 32]), Carrier::new([seed ^ 0x80; 32]));
    let offer = to.offer(&carrier.store, &carrier.key, locators, &from.hello()).unwrap();
    let view = from.read_offer(&giver.store, &offer).unwrap();
    (from, to, view)
}

/// Everything that a meeting can do; what it handed over in sum.
pub(crate) fn hand_over(giver: &mut Phone, carrier: &mut Phone, from: &mut Giver, to: &mut Carrier) -> HandedOver {
    let mut sum = HandedOver::default();
    for round in 0..50 {
        let Some(page) = from.next_page(&giver.store, &giver.key, [round; 32]).unwrap() else { return sum };
        let collected = to.collect(&mut carrier.store, &page, [round ^ 0xff; 32]).unwrap();
        let handed = from.read_state(&mut giver.store, &giver.key, &collected.reply).unwrap();
        sum.carried = handed.carried;
        sum.receipts += handed.receipts;
        sum.declined += handed.declined;
    }
    panic!("the meeting never ends");
}

#[test]
fn records_go_through_the_lecturer_s_phone_and_the_receipts_come_back() {
    let mut peer = Peer::new();
    let (mut lecturer, locator) = lecturer(&mut peer, true);
    let mut phone = student(&peer, 1, STUDENT);
    let ids = [capture(&mut phone, locator, 1), capture(&mut phone, locator, 2)];

    let (mut giver, mut carrier, view) = meet(&phone, &lecturer, &[locator], 1);
    assert_eq!((view.sessions[0].trust, view.sessions[0].waiting), (Trust::Proven, 2));
    assert_eq!(view.fingerprint, fingerprint(&lecturer.key.public_key()));
    let handed = hand_over(&mut phone, &mut lecturer, &mut giver, &mut carrier);
    assert_eq!(handed, HandedOver { carried: 2, receipts: 0, declined: 0 });
    for id in ids {
        let record = phone.record(id);
        assert_eq!((record.status, record.receipt), (RecordStatus::HandedOver, None));
        assert_eq!(record.reason.as_deref(), Some("handed_over"));
    }

    // The relay survives a crash before it finds a network.
    lecturer.restart();
    assert_eq!(lecturer.sync(&mut peer).carried, 2);
    assert_eq!(lecturer.store.carried().unwrap(), CarriedCounts { accepted: 2, ..CarriedCounts::default() });

    let (mut giver, mut carrier, _) = meet(&phone, &lecturer, &[locator], 2);
    let handed = hand_over(&mut phone, &mut lecturer, &mut giver, &mut carrier);
    assert_eq!((handed.receipts, handed.declined), (2, 0));
    for id in ids {
        assert_eq!(phone.status(id), RecordStatus::Received);
        assert!(phone.record(id).receipt.is_some());
    }
    let log = peer.log.len();
    let report = phone.sync(&mut peer);
    assert_eq!((report.accepted, peer.log.len()), (0, log), "nothing is left to push but the pictures");
    assert_eq!(peer.images.len(), 2, "the pictures stayed with the student's phone, which uploads them");
}

#[test]
fn the_student_s_own_push_gets_the_same_receipt_whoever_was_first() {
    let mut peer = Peer::new();
    let (mut lecturer, locator) = lecturer(&mut peer, true);
    for relay_first in [true, false] {
        let user = if relay_first { "first" } else { "second" };
        let mut phone = student(&peer, 40 + u8::from(relay_first), user);
        let id = capture(&mut phone, locator, 1);
        let (mut giver, mut carrier, _) = meet(&phone, &lecturer, &[locator], 1);
        hand_over(&mut phone, &mut lecturer, &mut giver, &mut carrier);
        if relay_first {
            lecturer.sync(&mut peer);
        }
        let log = peer.log.len();
        assert_eq!(phone.sync(&mut peer).accepted, 1);
        lecturer.sync(&mut peer);
        assert_eq!(peer.log.len(), log + usize::from(!relay_first), "one record, however often it came");
        assert!(phone.record(id).receipt.is_some());
    }
}

#[test]
fn the_relay_cannot_read_a_manifest_and_the_server_can() {
    let mut peer = Peer::new();
    let (mut lecturer, locator) = lecturer(&mut peer, true);
    let mut phone = student(&peer, 1, STUDENT);
    capture(&mut phone, locator, 9);
    let (mut giver, mut carrier, _) = meet(&phone, &lecturer, &[locator], 1);
    let page = giver.next_page(&phone.store, &phone.key, [1; 32]).unwrap().unwrap();
    carrier.collect(&mut lecturer.store, &page, [2; 32]).unwrap();

    let salt = [9; 32];
    let contains = |bytes: &[u8], secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
    assert!(contains(&std::fs::read(phone.path()).unwrap(), &salt) || wal_contains(&phone, &salt));
    assert!(!contains(&page, &salt));
    for file in files(&lecturer) {
        assert!(!contains(&file, &salt), "no part of the manifest is on the relay");
    }
    let bytes = lecturer.next_exchange();
    let request = Request::decode(&bytes).unwrap();
    let push = request.pushes.iter().find(|push| push.sealed_manifest.is_some()).unwrap();
    assert_eq!(push.manifest, None);
    let name = push.name.parse().unwrap();
    let (_, body) = muster_sync_core::change::decode(push.change).unwrap();
    let Ok(Entry::Submissions(submission)) = Entry::read(Container::Submissions, &body.fields) else { panic!() };
    let server = OpeningKey::of_signer(&SoftwareKey::from_seed(&[SERVER_SEED; 32].into()));
    let sealed = push.sealed_manifest.unwrap();
    let manifest = open_manifest(&server, name.id(TENANT), &submission.commitment, sealed).unwrap();
    assert_eq!(commitment(&manifest), submission.commitment);
    assert_eq!(Manifest::from_bytes(&manifest).unwrap().salt, salt);
    let lecturer_s = OpeningKey::of_signer(&lecturer.key);
    assert!(open_manifest(&lecturer_s, name.id(TENANT), &submission.commitment, sealed).is_err());
}

fn files(phone: &Phone) -> Vec<Vec<u8>> {
    std::fs::read_dir(phone.dir.path()).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

fn wal_contains(phone: &Phone, secret: &[u8]) -> bool {
    files(phone).iter().any(|bytes| bytes.windows(secret.len()).any(|window| window == secret))
}

#[test]
fn only_who_runs_the_session_is_handed_anything() {
    let mut peer = Peer::new();
    let (mut proven, locator) = lecturer(&mut peer, true);
    let mut phone = student(&peer, 1, STUDENT);
    let id = capture(&mut phone, locator, 1);

    // A session that nobody planned on this phone is not offered.
    let mut stranger = student(&peer, 9, "stranger");
    let mut carrier = Carrier::new([1; 32]);
    let hello = Giver::new([2; 32]).hello();
    let error = carrier.offer(&stranger.store, &stranger.key, &[locator], &hello).unwrap_err();
    assert_eq!(error, RelayError::Store(StoreError::SessionUnknown(locator)));

    // A stranger plans a session of the same locator: with no network nobody can tell, so the person has to agree.
    assert_eq!(open_session(&mut stranger, 7), locator);
    let (mut giver, mut carrier, view) = meet(&phone, &stranger, &[locator], 3);
    assert_eq!(view.sessions[0].trust, Trust::Unproven);
    assert_eq!(giver.next_page(&phone.store, &phone.key, [1; 32]).unwrap(), None);
    assert!(!giver.agree(crate::phone::locator(5)), "not offered");
    assert_eq!(phone.status(id), RecordStatus::OnThisPhone);

    // Once the server passed the plan on, this phone knows who planned the session.
    phone.client.wake();
    let bytes = phone.next_exchange();
    let answer = peer.exchange_with(&bytes, |response| {
        response.fates.iter_mut().for_each(|fate| {
            (fate.kind, fate.receipt) = (muster_sync_core::sync::message::FateKind::Retry, None);
        })
    });
    phone.answered(200, None, answer);
    let (mut again, _, view) = meet(&phone, &stranger, &[locator], 4);
    assert_eq!(view.sessions[0].trust, Trust::Contradicted);
    assert!(!again.agree(locator), "not even if the person would");
    assert_eq!(again.next_page(&phone.store, &phone.key, [1; 32]).unwrap(), None);

    // The first meeting began before that: the person may agree there, and then it is as with anybody.
    assert!(giver.agree(locator));
    assert_eq!(hand_over(&mut phone, &mut stranger, &mut giver, &mut carrier).carried, 1);
    let (mut giver, mut carrier, view) = meet(&phone, &proven, &[locator], 5);
    assert_eq!(view.sessions[0].trust, Trust::Proven);
    assert_eq!(hand_over(&mut phone, &mut proven, &mut giver, &mut carrier).carried, 1);
}

#[test]
fn a_session_opened_in_the_basement_needs_the_person_s_consent() {
    let mut peer = Peer::new();
    let (mut lecturer, locator) = lecturer(&mut peer, false);
    let mut phone = student(&peer, 1, STUDENT);
    capture(&mut phone, locator, 1);
    let (mut giver, mut carrier, view) = meet(&phone, &lecturer, &[locator], 1);
    assert_eq!(view.sessions[0].trust, Trust::Unproven);
    assert_eq!(giver.next_page(&phone.store, &phone.key, [1; 32]).unwrap(), None);
    assert!(giver.agree(locator));
    assert_eq!(hand_over(&mut phone, &mut lecturer, &mut giver, &mut carrier).carried, 1);
    let report = lecturer.sync(&mut peer);
    assert_eq!((report.accepted, report.carried), (2, 1), "the own request and plan, and the student's record");
}

#[test]
fn nothing_but_the_own_records_of_the_agreed_sessions_is_handed_over() {
    let mut peer = Peer::new();
    let (mut lecturer, locator) = lecturer(&mut peer, true);
    let mut phone = student(&peer, 1, STUDENT);
    let facts = BindingFacts {
        platform: Code::new("android").unwrap(),
        model: None,
        level: KeyLevel::Software,
        legacy_id_hash: None,
    };
    phone.store.bind_request(&phone.key, &facts, RequestPurpose::Bind, None, NOON_MS).unwrap();
    capture(&mut phone, locator, 1);
    capture(&mut phone, crate::phone::locator(77), 2);
    let user = Account { tenant: TENANT.into(), user: "somebody-else".into() };
    phone.store.set_account(&user).unwrap();
    capture(&mut phone, locator, 3);
    phone.store.set_account(&Account { tenant: TENANT.into(), user: STUDENT.into() }).unwrap();

    let (mut giver, mut carrier, view) = meet(&phone, &lecturer, &[locator], 1);
    assert_eq!(view.sessions.iter().map(|session| session.waiting).sum::<usize>(), 1);
    hand_over(&mut phone, &mut lecturer, &mut giver, &mut carrier);
    assert_eq!(lecturer.store.carried().unwrap().queued, 1);
    let bytes = lecturer.next_exchange();
    let names: Vec<_> = Request::decode(&bytes).unwrap().pushes.iter().map(|push| push.name.parse().unwrap()).collect();
    assert_eq!(names, [DocumentName::Attendance { locator, student: STUDENT.into() }]);
}

#[test]
fn own_records_go_first_and_a_refused_or_held_one_of_others_delays_nothing() {
    let mut peer = Peer::new();
    let (mut lecturer, locator) = lecturer(&mut peer, true);
    let mut hashes = Vec::new();
    for seed in 10..14 {
        let mut phone = student(&peer, seed, &format!("student-{seed}"));
        let id = capture(&mut phone, locator, seed);
        hashes.push(phone.record(id).change);
        let (mut giver, mut carrier, _) = meet(&phone, &lecturer, &[locator], seed);
        hand_over(&mut phone, &mut lecturer, &mut giver, &mut carrier);
    }
    let own = capture(&mut lecturer, crate::phone::locator(5), 5);
    peer.refused.insert(hashes[0], "writer_not_allowed");
    peer.retried.insert(hashes[1]);
    let bytes = lecturer.next_exchange();
    let first = &Request::decode(&bytes).unwrap().pushes[0];
    assert_eq!(
        first.name.parse().unwrap(),
        DocumentName::Attendance { locator: crate::phone::locator(5), student: "lecturer-1".into() }
    );
    let answer = peer.exchange(&bytes);
    let report = lecturer.answered(200, None, answer);
    assert_eq!((report.accepted, report.refused, report.carried), (1, 0, 3));
    assert_eq!(lecturer.status(own), RecordStatus::Received);
    let counts = CarriedCounts { queued: 1, accepted: 2, refused: 1, quarantined: 0 };
    assert_eq!(lecturer.store.carried().unwrap(), counts);
    assert_eq!(lecturer.store.pending().unwrap().refused, 0, "not the lecturer's own");
    peer.retried.clear();
    lecturer.sync(&mut peer);
    assert_eq!(lecturer.store.carried().unwrap().accepted, 3);
}

#[test]
fn a_server_that_takes_no_request_with_carried_changes_gets_the_own_ones() {
    let mut peer = Peer::new();
    let (mut lecturer, locator) = lecturer(&mut peer, true);
    for seed in 10..13 {
        let mut phone = student(&peer, seed, &format!("student-{seed}"));
        capture(&mut phone, locator, seed);
        let (mut giver, mut carrier, _) = meet(&phone, &lecturer, &[locator], seed);
        hand_over(&mut phone, &mut lecturer, &mut giver, &mut carrier);
    }
    let own = capture(&mut lecturer, crate::phone::locator(5), 5);
    for _ in 0..10 {
        match lecturer.next() {
            Action::Wait { until_ms } => lecturer.now_ms = until_ms,
            Action::Exchange(bytes) => {
                let carries = Request::decode(&bytes).unwrap().pushes.iter().any(|push| push.sealed_manifest.is_some());
                if carries {
                    lecturer.answered(413, None, Vec::new());
                } else {
                    let answer = peer.exchange(&bytes);
                    lecturer.answered(200, None, answer);
                }
            }
            other => panic!("{other:?}"),
        }
        if lecturer.status(own) == RecordStatus::Received {
            break;
        }
    }
    assert_eq!(lecturer.status(own), RecordStatus::Received);
    lecturer.sync(&mut peer);
    assert_eq!(lecturer.store.carried().unwrap().accepted, 3);
}

#[test]
fn a_false_receipt_from_a_relay_is_worth_nothing() {
    let mut peer = Peer::new();
    let (mut lecturer, locator) = lecturer(&mut peer, true);
    let mut phone = student(&peer, 1, STUDENT);
    let id = capture(&mut phone, locator, 1);
    let (mut giver, mut carrier, _) = meet(&phone, &lecturer, &[locator], 1);
    hand_over(&mut phone, &mut lecturer, &mut giver, &mut carrier);
    lecturer.sync(&mut peer);
    // The relay changes its own file: a receipt that no server signed.
    let forged =
        muster_sync_core::time::Receipt::sign(&lecturer.key, attendance(locator).id(TENANT), ChangeHash([0; 32]), 1, 1);
    let db = rusqlite::Connection::open(lecturer.path()).unwrap();
    db.execute("UPDATE carried SET receipt = ?1", [minicbor::to_vec(forged.unwrap()).unwrap()]).unwrap();
    let (mut giver, mut carrier, _) = meet(&phone, &lecturer, &[locator], 2);
    assert_eq!(hand_over(&mut phone, &mut lecturer, &mut giver, &mut carrier).receipts, 0);
    assert_eq!(phone.status(id), RecordStatus::HandedOver);
    assert_eq!(phone.sync(&mut peer).accepted, 1);
}

fn attendance(locator: Locator) -> DocumentName {
    DocumentName::Attendance { locator, student: STUDENT.into() }
}

#[test]
fn a_relay_takes_no_more_than_its_limits_and_says_so() {
    let mut peer = Peer::new();
    let (mut lecturer, locator) = lecturer(&mut peer, true);
    let mut phone = student(&peer, 1, STUDENT);
    for _ in 0..limits::RELAY_ITEMS_PER_MEETING_MAX + 3 {
        capture(&mut phone, locator, 1);
    }
    let (mut giver, mut carrier, _) = meet(&phone, &lecturer, &[locator], 1);
    let handed = hand_over(&mut phone, &mut lecturer, &mut giver, &mut carrier);
    // One meeting looks at the first 256 of a session; the rest has its turn when those are settled.
    assert_eq!((handed.carried, handed.declined), (limits::RELAY_ITEMS_PER_MEETING_MAX, 0));

    // As if it had been filled before: by bytes, then by number.
    let db = rusqlite::Connection::open(lecturer.path()).unwrap();
    db.execute("UPDATE carried SET size_bytes = ?1 WHERE id = 1", [limits::RELAY_BYTES_PER_SESSION_MAX]).unwrap();
    let mut late = student(&peer, 2, "student-2");
    let id = capture(&mut late, locator, 1);
    let (mut giver, mut carrier, _) = meet(&late, &lecturer, &[locator], 2);
    assert_eq!(hand_over(&mut late, &mut lecturer, &mut giver, &mut carrier).declined, 1);
    assert_eq!(late.status(id), RecordStatus::OnThisPhone, "not carried, and it does not say so");
    assert_eq!(late.sync(&mut peer).accepted, 1);
}
