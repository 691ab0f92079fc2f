//! Genesis: the first change of a document, the same for every writer who knows the document's name.

use super::{ChainTip, Container};
use crate::{ChangeHash, DocumentId};
use automerge::{
    ActorId, Change, ExpandedChange, ObjType,
    legacy::{Key, ObjectId, Op, OpType, SortedVec},
};
use sha2::{Digest, Sha256};
use std::num::NonZeroU64;
use std::sync::OnceLock;

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
///
/// Every first change of a document needs it, so it is not encoded anew: of two documents of one kind, the genesis
/// changes differ in the document's id alone.
#[must_use]
pub fn tip(document: DocumentId, kind: u8) -> ChainTip {
    static TEMPLATES: [OnceLock<Option<Template>>; KINDS_MAX] = [const { OnceLock::new() }; KINDS_MAX];
    let template = TEMPLATES.get(usize::from(kind)).and_then(|cell| cell.get_or_init(|| Template::new(kind)).as_ref());
    match template {
        Some(template) => template.tip(document),
        None => encoded_tip(document, kind),
    }
}

/// The tip by the definition: encode the change, then hash it.
fn encoded_tip(document: DocumentId, kind: u8) -> ChainTip {
    let change = change(document, kind);
    ChainTip { seq: 0, hash: ChangeHash(change.hash().0), max_op: change.max_op() }
}

/// Kinds below this have a template; all that there are.
const KINDS_MAX: usize = 8;
/// Bytes of a chunk that its hash does not cover: magic and checksum.
const UNHASHED_BYTES: usize = 8;

/// The genesis change of a kind, with the place of the document's id.
struct Template {
    hashed: Vec<u8>,
    id_at: usize,
    max_op: u64,
}

impl Template {
    /// `None` if the id is not in the chunk exactly once as it is; then there is no shortcut.
    fn new(kind: u8) -> Option<Self> {
        let id = DocumentId(*b"muster/genesis/0");
        let change = change(id, kind);
        let hashed = change.raw_bytes().get(UNHASHED_BYTES..)?.to_vec();
        let mut places = hashed.windows(id.0.len()).enumerate().filter(|(_, window)| *window == id.0);
        let id_at = places.next()?.0;
        let unique = places.next().is_none();
        let template = Self { id_at, max_op: change.max_op(), hashed };
        // Trusted only if it gives what encoding gives, for another id too.
        let other = DocumentId([0xa5; 16]);
        let holds =
            unique && template.tip(id) == encoded_tip(id, kind) && template.tip(other) == encoded_tip(other, kind);
        holds.then_some(template)
    }

    fn tip(&self, document: DocumentId) -> ChainTip {
        let (before, after) = (&self.hashed[..self.id_at], &self.hashed[self.id_at + document.0.len()..]);
        let hash = Sha256::new().chain_update(before).chain_update(document.0).chain_update(after).finalize();
        ChainTip { seq: 0, hash: ChangeHash(hash.into()), max_op: self.max_op }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortcut_gives_what_encoding_gives() {
        for kind in Container::ALL.iter().map(|container| container.kind()) {
            assert!(Template::new(kind).is_some(), "kind {kind}");
            for seed in 0..=255 {
                let document = DocumentId(std::array::from_fn(|index| seed ^ (index as u8).wrapping_mul(29)));
                assert_eq!(tip(document, kind), encoded_tip(document, kind));
            }
        }
    }
}
