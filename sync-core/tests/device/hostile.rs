//! Wrong and malicious answers change nothing and are reported.

use crate::{
    peer::Peer,
    phone::{Phone, attendance},
};
use muster_sync_core::{
    ChangeHash, DeviceKey, Refusal,
    document::{Code, Outcome, Verdict},
    signing::SoftwareKey,
    store::*,
    sync::{Problem, head::LogHead, message::*},
    time::{Anchor, Receipt},
};

/// Answers one exchange with a spoiled answer, and checks that the phone is as it was and recovers.
#[track_caller]
fn refuses(expected: Problem, spoil: impl FnOnce(&mut Response<'_>)) {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    let id = phone.capture(1);
    peer.write(None, &attendance(7), verdict());
    let bytes = phone.next_exchange();
    let answer = peer.exchange_with(&bytes, spoil);
    let report = phone.answered(200, None, answer);
    assert_eq!(report.problem, Some(expected));
    assert_eq!(phone.status(id), RecordStatus::Sent);
    assert_eq!(phone.store.anchor().unwrap(), None);
    assert_eq!(phone.store.cursors().unwrap(), []);
    assert_eq!(phone.sync(&mut peer).accepted, 1);
    assert_eq!(phone.status(id), RecordStatus::Received);
}

fn verdict() -> muster_sync_core::document::Entry {
    let of = ChangeHash([1; 32]);
    let policy = Code::new("1").unwrap();
    Verdict { of, outcome: Outcome::Accepted, risk: 0, checks: vec![0x80], policy, model: None }.into()
}

#[test]
fn garbage_in_every_length_is_reported() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    let id = phone.capture(1);
    let bytes = phone.next_exchange();
    let whole = peer.exchange(&bytes);
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        phone.next_exchange_after_wait();
        let report = phone.answered(200, None, whole[..cut].to_vec());
        assert!(matches!(report.problem, Some(Problem::Malformed(_))), "{cut}: {report:?}");
    }
    phone.next_exchange_after_wait();
    let report = phone.answered(200, None, b"<html>captive portal</html>".to_vec());
    assert!(matches!(report.problem, Some(Problem::Malformed(_))));
    assert_eq!(phone.status(id), RecordStatus::Sent);
    assert_eq!(phone.sync(&mut peer).accepted, 1);
}

#[test]
fn another_number_of_fates_than_of_pushes() {
    refuses(Problem::FateCount { got: 0, asked: 1 }, |response| response.fates.clear());
    refuses(Problem::FateCount { got: 2, asked: 1 }, |response| response.fates.push(response.fates[0].clone()));
}

#[test]
fn a_receipt_of_another_key_or_change_or_none() {
    refuses(Problem::ReceiptInvalid, |response| response.fates[0].receipt = None);
    refuses(Problem::ReceiptInvalid, |response| response.fates[0].receipt.as_mut().unwrap().log_index += 1);
    refuses(Problem::ReceiptInvalid, |response| {
        let other = SoftwareKey::from_seed(&[3; 32].into());
        let receipt = Receipt::sign(&other, attendance(1).id("default"), ChangeHash([1; 32]), 1, 1).unwrap();
        response.fates[0].receipt = Some(receipt);
    });
}

#[test]
fn an_anchor_for_another_device_or_nonce_or_of_another_key() {
    let server = || SoftwareKey::from_seed(&[200; 32].into());
    refuses(Problem::AnchorInvalid, |response| {
        let nonce = response.anchor.as_ref().unwrap().nonce;
        response.anchor = Some(Anchor::sign(&server(), 1, DeviceKey([1; 32]), nonce).unwrap());
    });
    refuses(Problem::AnchorInvalid, |response| {
        let device = response.anchor.as_ref().unwrap().device;
        response.anchor = Some(Anchor::sign(&server(), 1, device, [99; 16]).unwrap());
    });
    refuses(Problem::AnchorInvalid, |response| response.anchor.as_mut().unwrap().time_ms += 1);
}

#[test]
fn a_pulled_change_that_is_forged_or_damaged() {
    let forged = Problem::PulledInvalid(Refusal::SignatureInvalid);
    refuses(forged, |response| response.changes[0].signature[5] ^= 1);
    refuses(Problem::PulledInvalid(Refusal::ChecksumMismatch), |response| {
        let mut bytes = response.changes[0].change.to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        response.changes[0].change = bytes.leak();
    });
    refuses(Problem::PulledInvalid(Refusal::DocumentMismatch), |response| {
        response.changes[0].name.key2 = "student-2";
    });
}

#[test]
fn a_verdict_that_another_key_wrote() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    let other = SoftwareKey::from_seed(&[4; 32].into());
    peer.write(Some(&other), &attendance(7), verdict());
    let bytes = phone.next_exchange();
    let answer = peer.exchange(&bytes);
    let expected = Problem::PulledInvalid(Refusal::WriterNotAllowed { container: "verdicts" });
    assert_eq!(phone.answered(200, None, answer).problem, Some(expected));
}

#[test]
fn a_document_of_a_newer_protocol_is_left_out_and_stops_nothing() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    let id = phone.capture(1);
    peer.write(None, &attendance(7), verdict());
    let bytes = phone.next_exchange();
    let answer = peer.exchange_with(&bytes, |response| response.changes[0].name.kind = 9);
    let report = phone.answered(200, None, answer);
    assert_eq!((report.problem, report.skipped, report.accepted), (None, 1, 1));
    assert_eq!(phone.status(id), RecordStatus::Received);
}

/// One place of an answer in which a number stands, signed by the server like everything else.
type Place = fn(&mut Response<'_>, &SoftwareKey, ChangeHash, u64);

const PLACES: [(&str, Place); 5] = [
    ("the number of a cursor", |response, _, _, number| response.cursors[0].number = number),
    ("the place of a change in the log", |response, _, _, number| response.changes[0].log_index = number),
    ("the place that a receipt proves", |response, key, hash, number| {
        let document = attendance(1).id("default");
        response.fates[0].receipt = Some(Receipt::sign(key, document, hash, number, 1).unwrap());
    }),
    ("the generation of the log", |response, key, _, number| {
        response.log = Some(LogHead::sign(key, number, 9, [7; 32]).unwrap());
    }),
    ("the end of the log", |response, key, _, number| {
        response.log = Some(LogHead::sign(key, 1, number, [7; 32]).unwrap());
    }),
];

#[test]
fn an_answer_with_a_number_that_no_database_keeps_is_kept_in_no_part() {
    let server = SoftwareKey::from_seed(&[200; 32].into());
    let largest = i64::MAX as u64;
    for (what, place) in PLACES {
        for number in [largest, largest + 1, u64::MAX] {
            let mut peer = Peer::new();
            let mut phone = Phone::new(&peer);
            let id = phone.capture(1);
            peer.write(None, &attendance(7), verdict());
            let bytes = phone.next_exchange();
            let request = Request::decode(&bytes).unwrap();
            let push = &request.pushes[0];
            let name = push.name.parse().unwrap();
            let hash = muster_sync_core::change::validate("default", &name, push.change, &push.signature).unwrap().hash;
            let answer = peer.exchange_with(&bytes, |response| place(response, &server, hash, number));
            let report = phone.answered(200, None, answer);
            if number == largest {
                assert_eq!(report.problem, None, "{what}");
                continue;
            }
            assert!(matches!(report.problem, Some(Problem::Malformed(_))), "{what}: {report:?}");
            assert_eq!(phone.status(id), RecordStatus::Sent, "{what}");
            assert_eq!((phone.store.anchor().unwrap(), phone.store.cursors().unwrap()), (None, Vec::new()), "{what}");
            assert_eq!(phone.sync(&mut peer).accepted, 1, "{what}: the next answer is taken");
            assert_eq!(phone.status(id), RecordStatus::Received);
        }
    }
}

impl Phone {
    /// Waits out a delay, then expects an exchange.
    fn next_exchange_after_wait(&mut self) -> Vec<u8> {
        if let muster_sync_core::sync::client::Action::Wait { until_ms } = self.next() {
            self.now_ms = until_ms;
        }
        self.next_exchange()
    }
}
