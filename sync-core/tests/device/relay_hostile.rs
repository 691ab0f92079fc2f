//! Messages between phones that get lost, come twice, come late, or were made to hurt.

use crate::{
    peer::Peer,
    phone::{Phone, STUDENT},
    relay::{capture, hand_over, lecturer, meet, student},
};
use muster_sync_core::{Locator, limits, signing::SigningKey, store::*, sync::relay::*};
use proptest::prelude::*;

/// What the air between two phones does with a message.
#[derive(Debug, Clone, Copy)]
enum Air {
    Deliver,
    Lose,
    Twice,
    /// Delivers the message before this one instead, and this one afterwards.
    Late,
    /// Changes the byte at this place.
    Spoil(usize),
    /// The phone crashes: the meeting is forgotten, the file stays.
    RestartGiver,
    RestartCarrier,
    /// The relay finds a network.
    Push,
}

fn air() -> impl Strategy<Value = Air> {
    prop_oneof![
        4 => Just(Air::Deliver),
        2 => Just(Air::Lose),
        2 => Just(Air::Twice),
        2 => Just(Air::Late),
        2 => (0usize..4096).prop_map(Air::Spoil),
        1 => Just(Air::RestartGiver),
        1 => Just(Air::RestartCarrier),
        1 => Just(Air::Push),
    ]
}

struct Hall {
    peer: Peer,
    lecturer: Phone,
    locator: Locator,
    phone: Phone,
    giver: Giver,
    carrier: Carrier,
    seed: u8,
}

impl Hall {
    fn new() -> Self {
        let mut peer = Peer::new();
        let (lecturer, locator) = lecturer(&mut peer, true);
        let mut phone = student(&peer, 1, STUDENT);
        for number in 0..5 {
            capture(&mut phone, locator, number);
        }
        let (giver, carrier, _) = meet(&phone, &lecturer, &[locator], 1);
        Self { peer, lecturer, locator, phone, giver, carrier, seed: 1 }
    }

    fn meet_again(&mut self) {
        self.seed += 1;
        (self.giver, self.carrier, _) = meet(&self.phone, &self.lecturer, &[self.locator], self.seed);
    }

    fn give_carrier(&mut self, page: &[u8]) -> Option<Vec<u8>> {
        self.seed = self.seed.wrapping_add(1);
        self.carrier.collect(&mut self.lecturer.store, page, [self.seed; 32]).ok().map(|collected| collected.reply)
    }

    fn give_giver(&mut self, state: &[u8]) {
        let _ = self.giver.read_state(&mut self.phone.store, &self.phone.key, state);
    }

    fn step(&mut self, air: Air, earlier: &mut Vec<Vec<u8>>) {
        self.seed = self.seed.wrapping_add(1);
        match air {
            Air::RestartGiver => {
                self.phone.restart();
                return self.meet_again();
            }
            Air::RestartCarrier => {
                self.lecturer.restart();
                return self.meet_again();
            }
            Air::Push => {
                self.lecturer.sync(&mut self.peer);
                return;
            }
            _ => {}
        }
        let page = self.giver.next_page(&self.phone.store, &self.phone.key, [self.seed; 32]).unwrap();
        let Some(page) = page else { return };
        match air {
            Air::Lose => {}
            Air::Spoil(at) => {
                let mut spoilt = page.clone();
                let at = at % spoilt.len();
                spoilt[at] ^= 1;
                assert_eq!(self.give_carrier(&spoilt), None, "a changed page does not open");
            }
            Air::Late => {
                for old in earlier.drain(..) {
                    if let Some(state) = self.give_carrier(&old) {
                        self.give_giver(&state);
                    }
                }
                earlier.push(page);
            }
            Air::Twice => {
                let states = [self.give_carrier(&page), self.give_carrier(&page)];
                for state in states.into_iter().flatten().rev() {
                    self.give_giver(&state);
                    self.give_giver(&state);
                }
            }
            _ => {
                let state = self.give_carrier(&page).unwrap();
                self.give_giver(&state);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_air_does_both_ends_agree_in_the_end(schedule in proptest::collection::vec(air(), 0..14)) {
        let mut hall = Hall::new();
        let mut earlier = Vec::new();
        for air in schedule {
            hall.step(air, &mut earlier);
        }
        hall.meet_again();
        hand_over(&mut hall.phone, &mut hall.lecturer, &mut hall.giver, &mut hall.carrier);
        let states: Vec<_> = hall.phone.store.records().unwrap().iter().map(|record| record.status).collect();
        prop_assert!(states.iter().all(|state| matches!(state, RecordStatus::HandedOver | RecordStatus::Received)));
        hall.lecturer.sync(&mut hall.peer);
        prop_assert_eq!(hall.lecturer.store.carried().unwrap().accepted, 5);
        hall.meet_again();
        hand_over(&mut hall.phone, &mut hall.lecturer, &mut hall.giver, &mut hall.carrier);
        let received = hall.phone.store.records().unwrap().iter().filter(|r| r.status == RecordStatus::Received).count();
        prop_assert_eq!(received, 5);
        prop_assert_eq!(hall.phone.sync(&mut hall.peer).accepted, 0);
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut hall = Hall::new();
        let (locator, mut fresh) = (hall.locator, Giver::new([7; 32]));
        prop_assert!(fresh.read_offer(&hall.phone.store, &bytes).is_err());
        prop_assert!(fresh.next_page(&hall.phone.store, &hall.phone.key, [1; 32]).is_err());
        prop_assert!(fresh.read_state(&mut hall.phone.store, &hall.phone.key, &bytes).is_err());
        prop_assert!(hall.giver.read_state(&mut hall.phone.store, &hall.phone.key, &bytes).is_err());
        prop_assert!(hall.carrier.collect(&mut hall.lecturer.store, &bytes, [1; 32]).is_err());
        let mut carrier = Carrier::new([8; 32]);
        let _ = carrier.offer(&hall.lecturer.store, &hall.lecturer.key, &[locator], &bytes);
        prop_assert_eq!(hall.lecturer.store.carried().unwrap(), CarriedCounts::default());
    }

    #[test]
    fn a_changed_offer_is_not_taken_for_the_lecturer_s(at in any::<usize>(), bit in 0u8..8) {
        let hall = Hall::new();
        let (mut giver, mut carrier) = (Giver::new([7; 32]), Carrier::new([8; 32]));
        let mut offer =
            carrier.offer(&hall.lecturer.store, &hall.lecturer.key, &[hall.locator], &giver.hello()).unwrap();
        let at = at % offer.len();
        offer[at] ^= 1 << bit;
        // Another locator, or a plan that proves nothing, is all that a changed byte can make of it.
        if let Ok(view) = giver.read_offer(&hall.phone.store, &offer) {
            prop_assert_eq!(view.relay, hall.lecturer.key.public_key());
            let proven = view.sessions.iter().any(|s| s.trust == Trust::Proven && s.locator != hall.locator);
            prop_assert!(!proven);
        }
    }
}

#[test]
fn an_offer_that_was_overheard_opens_nothing_elsewhere() {
    let hall = Hall::new();
    let mut carrier = Carrier::new([8; 32]);
    let offer =
        carrier.offer(&hall.lecturer.store, &hall.lecturer.key, &[hall.locator], &Giver::new([7; 32]).hello()).unwrap();
    let error = Giver::new([9; 32]).read_offer(&hall.phone.store, &offer).unwrap_err();
    assert!(matches!(error, RelayError::Message(MessageError::NotProven(_))), "{error:?}");
}

#[test]
fn a_page_over_the_limit_is_not_even_opened_and_lengths_that_lie_cost_nothing() {
    let mut hall = Hall::new();
    let large = vec![0; limits::RELAY_MESSAGE_BYTES_MAX + 1];
    let too_large = Err(RelayError::Message(MessageError::TooLarge));
    assert_eq!(hall.carrier.collect(&mut hall.lecturer.store, &large, [1; 32]), too_large);
    assert!(hall.giver.read_state(&mut hall.phone.store, &hall.phone.key, &large).is_err());
    // An offer whose list of sessions claims 2^32 of them in 9 bytes.
    let lying = [0xa2, 0x00, 0x01, 0x03, 0x9a, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(
        Giver::new([1; 32]).read_offer(&hall.phone.store, &lying),
        Err(RelayError::Message(MessageError::OverLimit))
    );
    let old = hall.giver.hello();
    let mut newer = old.clone();
    newer[2] = 2;
    let error = hall.carrier.offer(&hall.lecturer.store, &hall.lecturer.key, &[], &newer);
    assert_eq!(error, Err(RelayError::Message(MessageError::Version(2))));
}

#[test]
fn nobody_asks_a_relay_about_somebody_else() {
    let mut hall = Hall::new();
    hand_over(&mut hall.phone, &mut hall.lecturer, &mut hall.giver, &mut hall.carrier);
    hall.lecturer.sync(&mut hall.peer);
    // Another phone of the same person: it does not hold the key of the chain that the relay has.
    let mut other = student(&hall.peer, 2, STUDENT);
    capture(&mut other, hall.locator, 9);
    let (mut giver, mut carrier, _) = meet(&other, &hall.lecturer, &[hall.locator], 99);
    let handed = hand_over(&mut other, &mut hall.lecturer, &mut giver, &mut carrier);
    assert_eq!((handed.carried, handed.receipts), (1, 0));
}
