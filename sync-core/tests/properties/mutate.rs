//! The mutator: lies about numbers, runs, columns, actors, places and values, then repairs checksum and signature.

use crate::{
    fixtures::key,
    raw::{Column, Op, Raw, Token, put_field, sign},
};
use muster_sync_core::{
    DocumentName,
    change::{Scalar, SignedChange},
    limits,
    signing::SigningKey,
};

/// SplitMix64: small, seeded, the same everywhere.
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// A number that parsers get wrong, or one close to `near`.
    fn number(&mut self, near: u64) -> u64 {
        let edges = [0, 1, 2, 6, 7, 63, 64, 65, 127, 128, 255, 1 << 14, 1 << 24, 1 << 31, 1 << 32, 1 << 63];
        match self.below(5) {
            0 => near.wrapping_add(1),
            1 => near.wrapping_sub(1),
            2 => near ^ (1 << self.below(64)),
            3 => self.pick(&edges),
            _ => self.pick(&[u64::MAX, u64::MAX - 1, u64::from(u32::MAX), limits::START_OP_MAX, limits::SEQ_MAX]),
        }
    }

    fn bytes(&mut self, len_max: usize) -> Vec<u8> {
        (0..self.below(len_max + 1)).map(|_| self.next() as u8).collect()
    }
}

/// Changes what a change says; it is still written canonically.
fn mutate_meaning(raw: &mut Raw, dice: &mut Dice) {
    let keys = [key(1).public_key().0.to_vec(), key(2).public_key().0.to_vec(), vec![0; 32], raw.others.concat()];
    match dice.below(18) {
        0 => raw.seq = dice.number(raw.seq),
        1 => raw.start_op = dice.number(raw.start_op),
        2 => raw.time_s = dice.number(raw.time_s as u64) as i64,
        3 => match dice.below(3) {
            0 => raw.deps.push([dice.next() as u8; 32]),
            1 => raw.deps.clear(),
            _ => raw.deps = vec![[dice.next() as u8; 32]],
        },
        4 => raw.actor = dice.pick(&keys),
        5 => match dice.below(3) {
            0 => raw.others.push(dice.pick(&keys)),
            1 => raw.others.clear(),
            _ => raw.others = vec![dice.bytes(40)],
        },
        6 => raw.kind = dice.pick(&[0, 2, 3, 255]),
        7 => raw.message = dice.bytes(4),
        8 => raw.trailing = dice.bytes(8),
        _ => mutate_ops(raw, dice),
    }
}

fn mutate_ops(raw: &mut Raw, dice: &mut Dice) {
    if raw.ops.len() < 2 {
        return;
    }
    let at = dice.below(raw.ops.len());
    let other = dice.below(raw.ops.len());
    let op = &mut raw.ops[at];
    match dice.below(12) {
        0 => op.object = op.object.map(|(actor, counter)| (dice.number(actor), counter)),
        1 => op.object = op.object.map(|(actor, counter)| (actor, dice.number(counter))),
        2 => op.object = None,
        3 => {
            let random = dice.bytes(70);
            op.key = dice.pick(&[vec![], vec![0], random, b"a".to_vec(), "é".into(), vec![0xff]]);
        }
        4 => op.insert = !op.insert,
        5 => op.action = dice.number(op.action) % 12,
        6 => op.value_type = dice.below(16) as u64,
        7 => op.value = dice.bytes(12),
        8 => op.n_predecessors = dice.number(0),
        9 => raw.ops.swap(at, other),
        10 => drop(raw.ops.remove(at)),
        _ => add_field(raw, dice),
    }
}

/// A field that no schema knows, at its place: mostly taken, so that what is taken is looked at too.
fn add_field(raw: &mut Raw, dice: &mut Dice) {
    let names = ["", "\0", "\u{1f980}", "captured", "zz", "by", "radius_m", "\u{feff}"];
    let name = dice.pick(&names);
    let bytes = dice.bytes(300);
    let number = dice.number(0);
    let value = match dice.below(5) {
        0 => Scalar::Bool(number & 1 == 0),
        1 => Scalar::Int(number as i64),
        2 => Scalar::Uint(number),
        3 => Scalar::Text(dice.pick(&["", "\0", "\u{1f980}", "e\u{301}", "\u{202e}"])),
        _ => Scalar::Bytes(&bytes),
    };
    let field = Op { object: Some((0, raw.start_op)), ..put_field(raw, name, value) };
    let at = raw.ops[1..].partition_point(|op| op.key.as_slice() < name.as_bytes()) + 1;
    raw.ops.insert(at, Op { action: 1, insert: false, n_predecessors: 0, ..field });
}

/// Changes how a change is written: numbers, runs, the column table.
fn mutate_form(columns: &mut Vec<Column>, head: &mut [Token], dice: &mut Dice) {
    if columns.is_empty() || head.is_empty() {
        return;
    }
    let at = dice.below(columns.len());
    let other = dice.below(columns.len());
    match dice.below(9) {
        0 => mutate_token(&mut head[dice.below(head.len())], dice),
        1 => columns[at].claimed = Some(Token::Uleb(dice.number(columns[at].data.len() as u64))),
        2 => {
            let specs = [0x01, 0x02, 0x09, 0x11, 0x13, 0x15, 0x34, 0x42, 0x56, 0x57, 0x5f, 0x70, 0x71, 0x73, 0x94];
            columns[at].spec = Token::Uleb(dice.pick(&specs));
        }
        3 => columns.swap(at, other),
        4 => drop(columns.remove(at)),
        5 => columns.insert(at, columns[other].clone()),
        _ => mutate_runs(&mut columns[at].data, dice),
    }
}

fn mutate_runs(data: &mut Vec<Token>, dice: &mut Dice) {
    if data.is_empty() {
        return;
    }
    let at = dice.below(data.len());
    let other = dice.below(data.len());
    match (dice.below(8), data[at].clone()) {
        (0, Token::Leb(run @ 2..)) if at + 1 < data.len() => {
            // The same values in two runs.
            let value = data[at + 1].clone();
            let cut = 1 + dice.below(run as usize - 1) as i64;
            data.splice(at..at + 2, [Token::Leb(cut), value.clone(), Token::Leb(run - cut), value]);
        }
        (1, Token::Leb(run @ 2..=64)) if at + 1 < data.len() => {
            let value = data[at + 1].clone();
            let literals = std::iter::once(Token::Leb(-run)).chain(vec![value; run as usize]);
            data.splice(at..at + 2, literals);
        }
        (2, _) => drop(data.splice(at..at, [Token::Leb(0), Token::Uleb(dice.below(3) as u64)])),
        (3, _) => drop(data.remove(at)),
        (4, _) => data.insert(at, data[other].clone()),
        (5, _) => data.swap(at, other),
        _ => mutate_token(&mut data[at], dice),
    }
}

fn mutate_token(token: &mut Token, dice: &mut Dice) {
    *token = match token.clone() {
        Token::Uleb(value) if dice.below(3) == 0 => Token::Padded(value),
        Token::Uleb(value) | Token::Padded(value) => Token::Uleb(dice.number(value)),
        Token::Leb(value) => match dice.below(3) {
            0 => Token::Leb(value.wrapping_neg()),
            _ => Token::Leb(dice.number(value as u64) as i64),
        },
        Token::Bytes(mut bytes) if !bytes.is_empty() => {
            let at = dice.below(bytes.len());
            bytes[at] = dice.number(u64::from(bytes[at])) as u8;
            Token::Bytes(bytes)
        }
        Token::Bytes(_) => Token::Bytes(dice.bytes(3)),
    };
}

/// One mutated change.
pub fn mutate(raw: &Raw, name: &DocumentName, dice: &mut Dice) -> SignedChange {
    let mut raw = raw.clone();
    for _ in 0..dice.pick(&[0, 1, 1, 2]) {
        mutate_meaning(&mut raw, dice);
    }
    if dice.below(8) == 0 {
        add_field(&mut raw, dice);
    }
    let mut layout = raw.layout();
    for _ in 0..dice.pick(&[0, 1, 1, 2]) {
        mutate_form(&mut layout.columns, &mut layout.head, dice);
    }
    let mut bytes = layout.chunk();
    if dice.below(8) == 0 {
        let at = 8 + dice.below(bytes.len() - 8);
        bytes[at] = dice.next() as u8;
    }
    sign(bytes, &raw.actor, name)
}
