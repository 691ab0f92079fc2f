//! Genesis: the first change of a document, the same for every writer who knows the document's name.

use super::{ChainTip, Container};
use crate::{ChangeHash, DocumentId};
use automerge::{
    ActorId, Change, ExpandedChange, ObjType,
    legacy::{Key, ObjectId, Op, OpType, SortedVec},
};
use std::num::NonZeroU64;

/// The genesis change of a document: its actor is the document's id, its operations make the kind's containers.
#[must_use]
pub fn change(document: DocumentId, kind: u8) -> Change {
    let containers = Container::ALL.iter().filter(|container| container.kind() == kind);
    let operations = containers.map(|container| Op {
        action: OpType::Make(ObjType::Map),
        obj: ObjectId::Root,
        key: Key::Map(container.name().into()),
        pred: SortedVec::new(),
        insert: false,
    });
    Change::from(ExpandedChange {
        operations: operations.collect(),
        actor_id: ActorId::from(&document.0[..]),
        hash: None,
        seq: 1,
        start_op: NonZeroU64::MIN,
        time: 0,
        message: None,
        deps: Vec::new(),
        extra_bytes: Vec::new(),
        author: None,
    })
}

/// Genesis as the tip that every writer's chain starts from.
#[must_use]
pub fn tip(document: DocumentId, kind: u8) -> ChainTip {
    let change = change(document, kind);
    ChainTip { seq: 0, hash: ChangeHash(change.hash().0), max_op: change.max_op() }
}
