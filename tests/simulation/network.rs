//! What lies between the phones and the server: what it does to one message is thrown when the message is sent.

use crate::dice::Dice;

/// How bad it is, each in percent of the requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) request_lost: u64,
    pub(crate) answer_lost: u64,
    pub(crate) repeated: u64,
    pub(crate) answer_cut: u64,
    pub(crate) portal: u64,
    pub(crate) damaged_copy: u64,
    pub(crate) unavailable: u64,
    pub(crate) delay_ms_max: u64,
}

/// Nothing goes wrong.
pub(crate) const FAIR: Weather = Weather {
    request_lost: 0,
    answer_lost: 0,
    repeated: 0,
    answer_cut: 0,
    portal: 0,
    damaged_copy: 0,
    unavailable: 0,
    delay_ms_max: 200,
};

/// What becomes of an answer on its way.
///
/// A damaged answer of the right length does not occur: TLS notices it and breaks the connection, which is a lost answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Whole,
    Lost,
    /// Only the beginning arrives, and looks complete.
    Cut,
    /// Somebody else answers, with a page of their own.
    Portal,
}

/// What the network does with one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passage {
    pub(crate) lost: bool,
    /// Answered on the way with 503; the server never sees it.
    pub(crate) unavailable: bool,
    pub(crate) there_ms: u64,
    pub(crate) back_ms: u64,
    /// It arrives a second time this much later.
    pub(crate) again_after_ms: Option<u64>,
    /// A copy with wrong bytes arrives this much later.
    pub(crate) damaged_after_ms: Option<u64>,
    pub(crate) way: Way,
}

impl Weather {
    /// Anything from good to awful.
    pub(crate) fn thrown(dice: &mut Dice) -> Self {
        let mut up_to = |percent: u64| if dice.percent(25) { 0 } else { dice.below(percent + 1) };
        Self {
            request_lost: up_to(30),
            answer_lost: up_to(30),
            repeated: up_to(25),
            answer_cut: up_to(15),
            portal: up_to(8),
            damaged_copy: up_to(10),
            unavailable: up_to(15),
            delay_ms_max: 100 + up_to(4_000),
        }
    }

    pub(crate) fn passage(&self, dice: &mut Dice) -> Passage {
        let way = match dice.below(100) {
            chance if chance < self.answer_lost => Way::Lost,
            chance if chance < self.answer_lost + self.answer_cut => Way::Cut,
            chance if chance < self.answer_lost + self.answer_cut + self.portal => Way::Portal,
            _ => Way::Whole,
        };
        Passage {
            lost: dice.percent(self.request_lost),
            unavailable: dice.percent(self.unavailable),
            there_ms: 5 + dice.below(self.delay_ms_max),
            back_ms: 5 + dice.below(self.delay_ms_max),
            again_after_ms: dice.percent(self.repeated).then(|| dice.below(8_000)),
            damaged_after_ms: dice.percent(self.damaged_copy).then(|| dice.below(3_000)),
            way,
        }
    }
}

/// Changes up to three bytes.
pub(crate) fn damage(bytes: &mut [u8], dice: &mut Dice) {
    if bytes.is_empty() {
        return;
    }
    for _ in 0..dice.between(1, 3) {
        let index = dice.index(bytes.len());
        bytes[index] ^= 1 << dice.below(8);
    }
}
