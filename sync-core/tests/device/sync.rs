//! Lost answers, repeats, expired logins, busy servers and restarts: everything arrives once, nothing is lost.

use crate::{
    peer::Peer,
    phone::{Phone, attendance, input, kept, locator},
};
use muster_sync_core::{
    DocumentName,
    document::*,
    evidence::{Check, CheckOutcome, Checks},
    limits,
    signing::SigningKey,
    store::*,
    sync::{Problem, client::*, message::Request},
};

#[test]
fn fifty_captures_without_a_network_arrive_with_receipts_and_images() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    let ids: Vec<_> = (0..50).map(|index| phone.capture(index)).collect();
    phone.restart();
    let report = phone.sync(&mut peer);
    assert_eq!((report.accepted, peer.log.len(), peer.images.len()), (50, 50, 50));
    for id in ids {
        let record = phone.record(id);
        assert_eq!((record.status, record.images_waiting), (RecordStatus::Received, 0));
        assert!(record.receipt.is_some());
    }
    assert_eq!(phone.store.pending().unwrap(), PendingCounts::default());
}

#[test]
fn a_push_stays_within_100_changes_and_1_mib_and_in_order() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    for index in 0..250 {
        phone.capture(index % 60);
    }
    let mut pushed = 0;
    while pushed < 250 {
        let bytes = phone.next_exchange();
        assert!(bytes.len() <= limits::SYNC_REQUEST_BYTES_MAX);
        let n_pushes = Request::decode(&bytes).unwrap().pushes.len();
        assert!(n_pushes <= 100);
        pushed += n_pushes;
        let answer = peer.exchange(&bytes);
        assert_eq!(phone.answered(200, None, answer).accepted, n_pushes);
    }
    let written: Vec<_> = phone.store.outbox().unwrap().iter().map(|row| row.change).collect();
    assert_eq!(peer.pushed, written);
}

#[test]
fn lost_answers_send_the_same_bytes_again_and_make_one_record() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    let id = phone.capture(1);
    let first = phone.next_exchange();
    peer.exchange(&first);
    phone.client.failed(phone.now_ms, u64::MAX);
    assert_eq!(phone.status(id), RecordStatus::Sent);
    let Action::Wait { until_ms } = phone.next() else { panic!("waits after a failure") };
    assert!(until_ms > phone.now_ms);
    phone.restart();
    let second = phone.next_exchange();
    let changes = |bytes: &[u8]| Request::decode(bytes).unwrap().pushes[0].change.to_vec();
    assert_eq!(changes(&first), changes(&second));
    let answer = peer.exchange(&second);
    phone.answered(200, None, answer.clone());
    assert_eq!(phone.status(id), RecordStatus::Received);
    assert_eq!(phone.answered(200, None, answer).problem, Some(muster_sync_core::sync::Problem::NotAsked));
    assert_eq!(peer.log.len(), 1);
}

#[test]
fn an_expired_login_never_touches_the_outbox() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    let id = phone.capture(1);
    phone.next_exchange();
    phone.answered(401, None, Vec::new());
    assert_eq!(phone.next(), Action::NeedsLogin);
    phone.store.capture(&phone.key, &input(2)).unwrap();
    assert_eq!(phone.store.pending().unwrap().changes, 2);
    phone.client.signed_in();
    assert_eq!(phone.sync(&mut peer).accepted, 2);
    assert_eq!(phone.status(id), RecordStatus::Received);
}

#[test]
fn a_busy_server_is_left_alone_as_long_as_it_says() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    phone.capture(1);
    phone.next_exchange();
    phone.answered(429, Some(120_000), Vec::new());
    let Action::Wait { until_ms } = phone.next() else { panic!("waits") };
    assert!((121_000..=122_000).contains(&until_ms), "{until_ms}");
    for failures in 0..40 {
        let Action::Wait { until_ms } = phone.next() else { panic!("waits") };
        phone.now_ms = until_ms;
        phone.next_exchange();
        phone.client.failed(phone.now_ms, u64::MAX);
        let Action::Wait { until_ms } = phone.next() else { panic!("waits") };
        assert!(until_ms - phone.now_ms <= limits::RETRY_CEILING_MS, "{failures}");
    }
    assert_eq!(phone.sync(&mut peer).accepted, 1);
}

#[test]
fn one_refused_and_one_held_back_delay_nobody_else() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    let ids: Vec<_> = (0..150).map(|index| phone.capture(index)).collect();
    let change = |phone: &Phone, index: usize| phone.record(ids[index]).change;
    peer.refused.insert(change(&phone, 3), "writer_not_allowed");
    peer.retried.insert(change(&phone, 5));
    for _ in 0..2 {
        let bytes = phone.next_exchange();
        let answer = peer.exchange(&bytes);
        phone.answered(200, None, answer);
    }
    assert_eq!(peer.log.len(), 148);
    let refused = phone.record(ids[3]);
    assert_eq!((refused.status, refused.reason.as_deref()), (RecordStatus::Refused, Some("writer_not_allowed")));
    assert!(refused.reason_in_words.unwrap().contains("not enrolled"));
    assert_eq!(phone.status(ids[5]), RecordStatus::Sent);
    peer.retried.clear();
    phone.sync(&mut peer);
    assert_eq!(phone.status(ids[5]), RecordStatus::Received);
    assert_eq!(phone.store.pending().unwrap().refused, 1);
}

#[test]
fn a_request_that_the_server_cannot_take_whole_is_cut_until_the_rest_is_through() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    let ids: Vec<_> = (0..8).map(|index| phone.capture(index)).collect();
    let poison = phone.record(ids[2]).change;
    for _ in 0..60 {
        match phone.next() {
            Action::Exchange(bytes) => {
                let request = Request::decode(&bytes).unwrap();
                let hashes = request.pushes.iter().map(|push| muster_sync_core::change::decode(push.change).unwrap().0);
                if hashes.into_iter().any(|hash| hash == poison) {
                    phone.answered(413, None, Vec::new());
                } else {
                    let answer = peer.exchange(&bytes);
                    phone.answered(200, None, answer);
                }
            }
            Action::Wait { until_ms } => phone.now_ms = until_ms,
            _ => break,
        }
    }
    let received = ids.iter().filter(|id| phone.status(**id) == RecordStatus::Received).count();
    assert_eq!(received, 7);
    assert_eq!(phone.status(ids[2]), RecordStatus::Sent);
}

#[test]
fn captures_of_an_unbound_phone_wait_and_are_released_by_the_approval() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    peer.unbound.insert(phone.key.public_key());
    let facts = BindingFacts {
        platform: Code::new("android").unwrap(),
        model: None,
        level: KeyLevel::Software,
        legacy_id_hash: None,
    };
    let request = phone.store.bind_request(&phone.key, &facts, RequestPurpose::Bind, None, 5_000).unwrap();
    let id = phone.capture(1);
    assert_eq!(phone.sync(&mut peer).quarantined, 1);
    let waiting = phone.record(id);
    assert_eq!((waiting.status, waiting.reason.as_deref()), (RecordStatus::Waiting, Some("device_unbound")));
    assert!(waiting.reason_in_words.unwrap().contains("not approved yet"));
    assert_eq!(peer.images.len(), 1, "a quarantined record's images are uploaded");

    let key = phone.key.public_key();
    peer.unbound.clear();
    let by = Label::new("admin-1").unwrap();
    let bound = Binding { key, action: BindingAction::Bind, of: Some(request), reason: None, by };
    peer.write(None, &DocumentName::DeviceBinding { user: "student-1".into() }, bound.into());
    phone.sync(&mut peer);
    assert_eq!(phone.status(id), RecordStatus::Received);
}

fn verdict(of: muster_sync_core::ChangeHash, outcome: Outcome, reason: Option<&str>) -> Entry {
    let check = |reason: &str| Check {
        name: "clock".into(),
        outcome: CheckOutcome::Flag,
        score: None,
        threshold: None,
        reason: Some(reason.into()),
    };
    let checks = Checks(reason.map(check).into_iter().collect()).to_bytes();
    Verdict { of, outcome, risk: 30, checks, policy: Code::new("2026-11").unwrap(), model: None }.into()
}

#[test]
fn verdicts_and_decisions_come_down_page_by_page_and_become_states_with_reasons() {
    let mut peer = Peer::new();
    peer.page = 2;
    let mut phone = Phone::new(&peer);
    let ids: Vec<_> = (0..3).map(|index| phone.capture(index)).collect();
    phone.sync(&mut peer);
    let of = |phone: &Phone, index: usize| phone.record(ids[index]).change;
    peer.write(None, &attendance(0), verdict(of(&phone, 0), Outcome::Accepted, None));
    peer.write(None, &attendance(1), verdict(of(&phone, 1), Outcome::Flagged, Some("clock_skew")));
    let flagged = peer.write(None, &attendance(2), verdict(of(&phone, 2), Outcome::Flagged, Some("clock_skew")));
    let lecturer = muster_sync_core::signing::SoftwareKey::from_seed(&[9; 32].into());
    let decision = Decision {
        of: flagged,
        after: Vec::new(),
        action: DecisionAction::Reject,
        reason: Code::new("not_enrolled"),
        rank: 2,
        by: Label::new("lecturer-1").unwrap(),
        note_hash: None,
    };
    peer.write(Some(&lecturer), &attendance(2), decision.into());
    phone.client.wake();
    assert_eq!(phone.sync(&mut peer).pulled, 4);
    let records: Vec<_> = ids.iter().map(|id| phone.record(*id)).collect();
    let states: Vec<_> = records.iter().map(|record| record.status).collect();
    assert_eq!(states, [RecordStatus::Accepted, RecordStatus::InReview, RecordStatus::Decided]);
    assert_eq!(records[0].reason, None);
    assert_eq!(records[1].reason.as_deref(), Some("clock_skew"));
    assert_eq!(records[2].reason.as_deref(), Some("not_enrolled"));
    assert_eq!(records[2].judgement, Some(muster_sync_core::decision::RecordState::Rejected));
    assert_eq!(records[1].locator, locator(1));
}

#[test]
fn the_anchor_is_kept_and_stands_in_the_next_capture() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    phone.now_ms = 77_000;
    phone.sync(&mut peer);
    let reading = phone.store.anchor().unwrap().unwrap();
    assert_eq!((reading.anchor.time_ms, reading.monotonic_ms), (peer.now_ms, 77_000));
    phone.capture(1);
    let bytes = phone.next_exchange();
    let request = Request::decode(&bytes).unwrap();
    let manifest = muster_sync_core::evidence::Manifest::from_bytes(request.pushes[0].manifest.unwrap()).unwrap();
    assert_eq!(manifest.clocks.anchor, Some(reading));
}

#[test]
fn wanted_images_go_first_and_a_refused_one_stops_nothing() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    let ids: Vec<_> = (0..3).map(|index| phone.capture(index)).collect();
    let bytes = phone.next_exchange();
    let wanted = {
        use sha2::Digest;
        sha2::Sha256::digest(crate::phone::jpeg(2)).into()
    };
    let answer = peer.exchange_with(&bytes, |response| response.wanted.push(muster_sync_core::ChangeHash(wanted)));
    phone.answered(200, None, answer);
    let Action::UploadBlob { sha256, .. } = phone.next() else { panic!("uploads") };
    assert_eq!(sha256, wanted);
    let answer = Answer { status: 422, retry_after_ms: None, body: Vec::new() };
    phone.client.upload_answered(&mut phone.store, &answer, phone.now_ms, 0).unwrap();
    phone.sync(&mut peer);
    assert_eq!(peer.images.len(), 2);
    assert_eq!(phone.record(ids[2]).image_reason.as_deref(), Some("image_refused"));
    assert_eq!(phone.record(ids[1]).image_reason, None);
}

#[test]
fn an_image_that_the_server_does_not_expect_rests_until_it_is_wanted() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    let id = phone.capture(1);
    let bytes = phone.next_exchange();
    let answer = peer.exchange_with(&bytes, |_| {});
    phone.answered(200, None, answer);
    let not_expected = Answer { status: 404, retry_after_ms: None, body: Vec::new() };
    for _ in 0..6 {
        assert_eq!(phone.record(id).image_reason, None);
        let Action::UploadBlob { .. } = phone.next() else { panic!("uploads") };
        phone.client.upload_answered(&mut phone.store, &not_expected, phone.now_ms, 0).unwrap();
    }
    assert_eq!(phone.record(id).image_reason.as_deref(), Some("image_not_expected"));

    phone.client.wake();
    let bytes = phone.next_exchange();
    let wanted = {
        use sha2::Digest;
        sha2::Sha256::digest(crate::phone::jpeg(1)).into()
    };
    let answer = peer.exchange_with(&bytes, |response| response.wanted.push(muster_sync_core::ChangeHash(wanted)));
    phone.answered(200, None, answer);
    phone.sync(&mut peer);
    assert_eq!(peer.images.len(), 1);
    assert_eq!(phone.record(id).image_reason, None);
}

#[test]
fn a_page_of_somebody_else_takes_no_image_from_the_phone() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    let id = phone.capture(1);
    let bytes = phone.next_exchange();
    let answer = peer.exchange(&bytes);
    phone.answered(200, None, answer);
    let Action::UploadBlob { sha256, .. } = phone.next() else { panic!("uploads") };
    let hex = data_encoding::HEXLOWER.encode(&sha256);
    let portal = format!("<html>Sign in to the Wi-Fi to open /api/v1/blobs/{hex} \"sha256\":\"{hex}\"</html>");
    let whole = kept(&sha256);
    for body in [portal.into_bytes(), Vec::new(), kept(&[7; 32]), whole[..whole.len() - 1].to_vec()] {
        let Action::UploadBlob { .. } = phone.next() else { panic!("uploads again") };
        let answer = Answer { status: 200, retry_after_ms: None, body };
        let report = phone.client.upload_answered(&mut phone.store, &answer, phone.now_ms, 0).unwrap();
        assert_eq!(report.problem, Some(Problem::UploadUnproven));
        assert_eq!(phone.record(id).images_waiting, 1);
    }
    phone.sync(&mut peer);
    assert_eq!(phone.record(id).images_waiting, 0);
    assert!(peer.images.contains(&sha256));
}
