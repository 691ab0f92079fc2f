//! Writes a change through Automerge's own encoder: the only source of what counts as canonical.

use super::{Body, Scalar, entry_key};
use automerge::{
    ActorId, Change, ExpandedChange, ObjType, ScalarValue,
    legacy::{Key, ObjectId, Op, OpId, OpType, SortedVec},
};
use std::num::NonZeroU64;

/// The change that says `body`, exactly as Automerge would write it.
///
/// No document is loaded: a chain needs only the writer's previous change.
///
/// # Panics
/// If `start_op` is 0, which neither [`super::inspect`] nor a chain's tip yields.
#[must_use]
pub fn encode(body: &Body<'_>) -> Change {
    let writer = ActorId::from(&body.writer.0[..]);
    let document = ActorId::from(&body.document.0[..]);
    let mut operations = Vec::with_capacity(body.fields.len() + 1);
    operations.push(Op {
        action: OpType::Make(ObjType::Map),
        obj: ObjectId::Id(OpId::new(body.container_op, &document)),
        key: Key::Map(entry_key(&body.writer, body.seq).into()),
        pred: SortedVec::new(),
        insert: false,
    });
    let entry = OpId::new(body.start_op, &writer);
    operations.extend(body.fields.iter().map(|(name, value)| Op {
        action: OpType::Put(scalar_value(*value)),
        obj: ObjectId::Id(entry.clone()),
        key: Key::Map((*name).into()),
        pred: SortedVec::new(),
        insert: false,
    }));
    Change::from(ExpandedChange {
        operations,
        actor_id: writer,
        hash: None,
        seq: body.seq,
        start_op: NonZeroU64::new(body.start_op).expect("a chain starts after genesis"),
        time: body.time_s,
        message: None,
        deps: vec![automerge::ChangeHash(body.dep.0)],
        extra_bytes: Vec::new(),
        author: None,
    })
}

fn scalar_value(value: Scalar<'_>) -> ScalarValue {
    match value {
        Scalar::Bool(value) => ScalarValue::Boolean(value),
        Scalar::Int(value) => ScalarValue::Int(value),
        Scalar::Uint(value) => ScalarValue::Uint(value),
        Scalar::Text(value) => ScalarValue::Str(value.into()),
        Scalar::Bytes(value) => ScalarValue::Bytes(value.to_vec()),
    }
}
