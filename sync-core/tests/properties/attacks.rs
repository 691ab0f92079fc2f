//! Every named attack of a bound device that lies: correctly signed, with a right checksum, and wrong in one thing.

use crate::{
    fixtures::*,
    raw::{Column, Op, Raw, Token, put_field, sign},
};
use automerge::Automerge;
use muster_sync_core::{
    DocumentName,
    change::{Scalar, SignedChange, decode},
    document::genesis,
    limits,
    signing::SigningKey,
};
use std::io::Write;

/// A change that must not be taken, and the code that says why.
pub struct Case {
    pub what: &'static str,
    pub name: DocumentName,
    pub change: SignedChange,
    pub code: &'static str,
}

pub fn raw(change: &SignedChange) -> Raw {
    Raw::new(&decode(&change.bytes).unwrap().1)
}

pub fn honest() -> Raw {
    raw(&chain(&key(1), &attendance(), &[submission().into()])[0])
}

fn field<'a>(raw: &'a mut Raw, name: &str) -> &'a mut Op {
    raw.ops.iter_mut().find(|op| op.key == name.as_bytes()).unwrap()
}

/// Every named attack.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |what, code, change| all.push(Case { what, name: attendance(), change, code });
    chunk_cases(&mut add);
    header_cases(&mut add);
    column_cases(&mut add);
    scope_cases(&mut add);
    value_cases(&mut add);
    signature_cases(&mut add);
    all
}

/// What the named ones did to Automerge 0.12.0 when nothing stood before it, as it was measured once.
pub fn bare_automerge(what: &str) -> Option<&'static str> {
    let effect = match what {
        "a run-length bomb of 10,000,000 operations" => "applying it takes 23 s and 3.8 GiB",
        "a run-length bomb of 100,000,000 operations" => "the process aborts",
        "a run-length bomb of 4,000,000,000 operations" => "the process aborts",
        "a DEFLATE bomb that inflates to 1 MiB" | "a DEFLATE bomb of 1 MB" => "it inflates: 1 MB took 3.1 GiB",
        "a wrong checksum" => "it is read all the same",
        "start_op at the end of its range" => "the next honest writer panics",
        "a time at the end of i64" | "a time at the beginning of i64" => "it panics",
        "an unused actor"
        | "predecessors in the future"
        | "a run cut in two"
        | "a run written as literals"
        | "a run of no nulls"
        | "a padded number in a column"
        | "a padded integer" => "it is applied, and the saved document does not load any more",
        _ => return None,
    };
    Some(effect)
}

/// A compressed change whose content inflates to `size_bytes` of zeros, a multiple of 1 MiB.
fn deflated(size_bytes: usize) -> Vec<u8> {
    let mut stream = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    stream.write_all(&vec![0; 1 << 20]).unwrap();
    // After a flush the stream stands at a byte's border and says the same again when it is repeated.
    stream.flush().unwrap();
    let content = stream.get_ref().repeat(size_bytes >> 20);
    let mut bytes = vec![0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 2];
    let mut len = content.len();
    while len >= 0x80 {
        bytes.push(len as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend(content);
    bytes
}

type Add<'a> = dyn FnMut(&'static str, &'static str, SignedChange) + 'a;

fn chunk_cases(add: &mut Add<'_>) {
    let signed = |raw: &Raw| raw.signed(&attendance());
    let resign = |bytes| sign(bytes, &key(1).public_key().0, &attendance());
    add("a DEFLATE chunk", "change_kind", signed(&Raw { kind: 2, ..honest() }));
    add("a DEFLATE bomb that inflates to 1 MiB", "change_kind", resign(deflated(1 << 20)));
    add("a DEFLATE bomb of 1 MB", "change_too_large", resign(deflated(1_020 << 20)));
    add("no byte at all", "change_truncated", SignedChange { bytes: Vec::new(), ..signed(&honest()) });
    let mut document = Automerge::new();
    document.apply_changes([genesis::change(attendance().id(TENANT), 2)]).unwrap();
    add("a document chunk", "change_kind", resign(document.save()));
    let mut wrong = signed(&honest());
    wrong.bytes[4] ^= 1;
    add("a wrong checksum", "checksum_mismatch", wrong);
    let mut magic = signed(&honest());
    magic.bytes[0] ^= 1;
    add("wrong magic bytes", "change_malformed", magic);
    let mut longer = signed(&honest()).bytes;
    longer.push(0);
    add("a byte after the chunk", "change_malformed", resign(longer));
    let bytes = signed(&honest()).bytes;
    add("a chunk without its last byte", "change_truncated", resign(bytes[..bytes.len() - 1].to_vec()));
    let trailing = Raw { trailing: vec![0xc0, 0xff], ..honest() };
    add("bytes after the columns", "change_malformed", signed(&trailing));
    let mut padded = vec![0x80 | bytes[9], bytes[10] | 0x80, 0];
    padded.splice(0..0, bytes[..9].iter().copied());
    padded.extend(&bytes[11..]);
    add("a padded chunk length", "not_canonical", resign(padded));
    let mut large = honest();
    field(&mut large, "code").value = vec![b'1'; limits::CHANGE_SIZE_BYTES_MAX];
    add("a change over the size limit", "change_too_large", signed(&large));
}

fn header_cases(add: &mut Add<'_>) {
    let mut with = |what, code, edit: &dyn Fn(&mut Raw)| {
        let mut raw = honest();
        edit(&mut raw);
        add(what, code, raw.signed(&attendance()));
    };
    with("no dependency", "chain_broken", &|raw| raw.deps.clear());
    with("two dependencies", "chain_broken", &|raw| raw.deps.push([1; 32]));
    with("another dependency than the chain's tip", "chain_broken", &|raw| raw.deps[0][0] ^= 1);
    with("seq 0", "change_malformed", &|raw| raw.seq = 0);
    with("a seq over the limit", "change_malformed", &|raw| raw.seq = limits::SEQ_MAX + 1);
    with("a gap before seq", "(gap)", &|raw| {
        raw.seq = 3;
        raw.ops[0].key = muster_sync_core::change::entry_key(&key(1).public_key(), 3).into_bytes();
    });
    let shift = |raw: &mut Raw, start_op| {
        raw.start_op = start_op;
        raw.ops[1..].iter_mut().for_each(|op| op.object = Some((0, start_op)));
    };
    with("start_op at the end of its range", "change_malformed", &|raw| shift(raw, u64::from(u32::MAX)));
    with("start_op at the end of 64 bits", "change_malformed", &|raw| shift(raw, u64::MAX));
    with("start_op at the limit", "chain_broken", &|raw| shift(raw, limits::START_OP_MAX));
    with("start_op inside genesis", "chain_broken", &|raw| shift(raw, 2));
    with("start_op 0", "change_malformed", &|raw| shift(raw, 0));
    with("a time at the end of i64", "change_malformed", &|raw| raw.time_s = i64::MAX);
    with("a time at the beginning of i64", "change_malformed", &|raw| raw.time_s = i64::MIN);
    with("a time before 1970", "change_malformed", &|raw| raw.time_s = -1);
    with("a message", "change_malformed", &|raw| raw.message = b"hello".to_vec());
    with("an unused actor", "change_malformed", &|raw| raw.others.push(vec![0xff; 32]));
    with("no other actor", "change_malformed", &|raw| raw.others.clear());
    with("a short writer", "change_malformed", &|raw| raw.actor.truncate(16));
    with("another document", "document_mismatch", &|raw| raw.others[0][0] ^= 1);
}

fn column_cases(add: &mut Add<'_>) {
    let mut with = |what, code, edit: &dyn Fn(&mut Vec<Column>)| {
        let raw = honest();
        let mut layout = raw.layout();
        edit(&mut layout.columns);
        add(what, code, sign(layout.chunk(), &raw.actor, &attendance()));
    };
    let plain = |spec, data| Column { spec: Token::Uleb(spec), claimed: None, data };
    // The columns in order: object actor, object counter, key, insert, action, value meta, value, predecessor count.
    with("a run-length bomb of 10,000,000 operations", "too_many_ops", &|columns| {
        columns[4].data[2] = Token::Leb(10_000_000);
    });
    with("a run-length bomb of 100,000,000 operations", "too_many_ops", &|columns| {
        columns[4].data[2] = Token::Leb(100_000_000);
    });
    with("a run-length bomb of 4,000,000,000 operations", "too_many_ops", &|columns| {
        columns[4].data[2] = Token::Leb(4_000_000_000);
    });
    with("a run of i64::MIN operations", "too_many_ops", &|columns| columns[4].data[2] = Token::Leb(i64::MIN));
    with("a run of null actions", "change_malformed", &|columns| {
        columns[4].data = vec![Token::Leb(0), Token::Uleb(u64::MAX)];
    });
    with("a bomb in another column", "change_malformed", &|columns| columns[7].data[0] = Token::Leb(i64::MAX));
    with("a bomb of nulls in another column", "change_malformed", &|columns| {
        columns[0].data = vec![Token::Leb(0), Token::Uleb(u64::MAX)];
    });
    with("a column that is too short", "change_malformed", &|columns| columns[7].data[0] = Token::Leb(6));
    with("a compressed column", "change_malformed", &|columns| columns[6].spec = Token::Uleb(0x57 | 8));
    with("columns out of order", "change_malformed", &|columns| columns.swap(0, 1));
    with("a column twice", "change_malformed", &|columns| columns.insert(1, columns[0].clone()));
    with("a column of sequence elements", "change_malformed", &|columns| {
        columns.insert(2, plain(0x13, vec![Token::Leb(7), Token::Leb(1)]));
    });
    with("predecessors in the future", "change_malformed", &|columns| {
        columns[7].data = vec![Token::Leb(7), Token::Uleb(1)];
        columns.push(plain(0x71, vec![Token::Leb(7), Token::Uleb(0)]));
        columns.push(plain(0x73, vec![Token::Leb(7), Token::Leb(100)]));
    });
    with("predecessor counts alone", "out_of_scope", &|columns| columns[7].data[1] = Token::Uleb(1));
    with("a column that claims more than there is", "change_truncated", &|columns| {
        columns[7].claimed = Some(Token::Uleb(u64::MAX));
    });
    with("a padded column length", "not_canonical", &|columns| columns[0].claimed = Some(Token::Padded(4)));
    with("a padded number in a column", "not_canonical", &|columns| columns[0].data[1] = Token::Padded(1));
    with("a run cut in two", "not_canonical", &|columns| {
        columns[7].data = vec![Token::Leb(3), Token::Uleb(0), Token::Leb(4), Token::Uleb(0)];
    });
    with("a run written as literals", "not_canonical", &|columns| {
        columns[7].data = std::iter::once(Token::Leb(-7)).chain(vec![Token::Uleb(0); 7]).collect();
    });
    with("a run of no nulls", "not_canonical", &|columns| {
        columns[7].data.splice(0..0, [Token::Leb(0), Token::Uleb(0)]);
    });
    with("an empty column that is declared", "change_malformed", &|columns| columns.push(plain(0x71, vec![])));
}

fn scope_cases(add: &mut Add<'_>) {
    let mut with = |what, code, edit: &dyn Fn(&mut Raw)| {
        let mut raw = honest();
        edit(&mut raw);
        add(what, code, raw.signed(&attendance()));
    };
    with("no operation", "out_of_scope", &|raw| raw.ops.clear());
    with("a duplicate field", "out_of_scope", &|raw| raw.ops.insert(1, raw.ops[1].clone()));
    with("unsorted fields", "out_of_scope", &|raw| raw.ops.swap(1, 2));
    with("the entry key of another writer", "out_of_scope", &|raw| {
        raw.ops[0].key = muster_sync_core::change::entry_key(&key(2).public_key(), 1).into_bytes();
    });
    with("the entry key of another seq", "out_of_scope", &|raw| {
        raw.ops[0].key = muster_sync_core::change::entry_key(&key(1).public_key(), 2).into_bytes();
    });
    with("an entry in a second container", "out_of_scope", &|raw| {
        raw.ops.push(Op { object: Some((1, 4)), ..raw.ops[0].clone() });
    });
    with("a container that the document has not", "out_of_scope", &|raw| raw.ops[0].object = Some((1, 6)));
    with("a field in somebody else's entry", "out_of_scope", &|raw| raw.ops[1].object = Some((1, 7)));
    with("an entry at the root", "change_malformed", &|raw| raw.ops[0].object = None);
    with("an entry inside an entry", "out_of_scope", &|raw| raw.ops[1].action = 0);
    with("a list as entry", "out_of_scope", &|raw| raw.ops[0].action = 2);
    with("a text object as entry", "out_of_scope", &|raw| raw.ops[0].action = 4);
    with("a deletion", "out_of_scope", &|raw| raw.ops[1].action = 3);
    with("an increment", "out_of_scope", &|raw| raw.ops[1].action = 5);
    with("a mark", "out_of_scope", &|raw| raw.ops[1].action = 7);
    with("an insertion", "out_of_scope", &|raw| raw.ops[1].insert = true);
    with("an actor index out of range", "change_malformed", &|raw| raw.ops[0].object = Some((2, 1)));
    with("65 operations", "too_many_ops", &|raw| {
        let more = (raw.ops.len()..65).map(|index| put_field(raw, &format!("z{index:02}"), Scalar::Bool(true)));
        let more: Vec<_> = more.collect();
        raw.ops.extend(more);
    });
}

fn value_cases(add: &mut Add<'_>) {
    let mut with = |what, code, edit: &dyn Fn(&mut Raw)| {
        let mut raw = honest();
        edit(&mut raw);
        add(what, code, raw.signed(&attendance()));
    };
    with("a null field", "out_of_scope", &|raw| {
        (field(raw, "step").value_type, field(raw, "step").value) = (0, vec![])
    });
    with("a float", "out_of_scope", &|raw| (field(raw, "step").value_type, field(raw, "step").value) = (5, vec![0; 8]));
    with("a counter", "out_of_scope", &|raw| field(raw, "captured_at_ms").value_type = 8);
    with("a timestamp", "out_of_scope", &|raw| field(raw, "captured_at_ms").value_type = 9);
    with("an unknown value type", "out_of_scope", &|raw| field(raw, "step").value_type = 15);
    with("a padded integer", "not_canonical", &|raw| field(raw, "schema").value = vec![0x81, 0]);
    with("bytes after an integer", "change_malformed", &|raw| field(raw, "schema").value = vec![1, 1]);
    with("a true with bytes", "change_malformed", &|raw| {
        (field(raw, "step").value_type, field(raw, "step").value) = (2, vec![1]);
    });
    with("text that is not UTF-8", "change_malformed", &|raw| field(raw, "code").value = vec![0xff]);
    with("a name that is not UTF-8", "change_malformed", &|raw| raw.ops[1].key = vec![b'c', 0xff]);
    with("text over its limit", "field_invalid", &|raw| {
        let long = "x".repeat(limits::TEXT_SIZE_BYTES_MAX + 1);
        raw.ops.push(put_field(raw, "zz", Scalar::Text(&long)));
    });
    with("bytes over their limit", "field_invalid", &|raw| {
        let long = vec![0; limits::BYTES_SIZE_BYTES_MAX + 1];
        raw.ops.push(put_field(raw, "zz", Scalar::Bytes(&long)));
    });
    with("a name over its limit", "field_invalid", &|raw| {
        let long = "z".repeat(limits::NAME_SIZE_BYTES_MAX + 1);
        raw.ops.push(put_field(raw, &long, Scalar::Bool(true)));
    });
    with("a missing field", "field_invalid", &|raw| raw.ops.retain(|op| op.key != b"commitment"));
    with("a field of another type", "field_invalid", &|raw| field(raw, "schema").value_type = 4);
    with("a field outside its range", "field_invalid", &|raw| field(raw, "schema").value = vec![0]);
    with("a code with a space", "field_invalid", &|raw| field(raw, "code").value = b"12 456".to_vec());
}

fn signature_cases(add: &mut Add<'_>) {
    let mut other = honest().signed(&attendance());
    other.signature = honest().signed(&class_session()).signature;
    add("the signature for another document", "signature_invalid", other);
    let stranger = sign(honest().layout().chunk(), &key(2).public_key().0, &attendance());
    add("the signature of another key", "signature_invalid", stranger);
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut weak = honest();
    weak.actor = identity.to_vec();
    weak.ops[0].key = muster_sync_core::change::entry_key(&muster_sync_core::DeviceKey(identity), 1).into_bytes();
    let mut weak = weak.signed(&attendance());
    // With the identity as key, (R, S) = (identity, 0) satisfies the lax equation for every message.
    weak.signature = [0; 64];
    weak.signature[0] = 1;
    add("the identity point as key", "key_weak", weak);
}

/// An honest change with as many operations as one may have.
pub fn full_change() -> SignedChange {
    let mut full = honest();
    for index in full.ops.len()..limits::OPS_PER_CHANGE_MAX {
        full.ops.push(put_field(&full, &format!("z{index:02}"), Scalar::Bool(true)));
    }
    full.signed(&attendance())
}
