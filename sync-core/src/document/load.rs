//! Builds the Automerge document of changes that passed [`crate::change::validate`].

use super::{ChainStep, ChainTip, Container, genesis};
use crate::{DocumentId, Refusal, change::decode};
use automerge::{Automerge, Change};
use std::collections::BTreeMap;

/// A document in Automerge's own form.
#[derive(Debug)]
pub struct Materialised {
    /// The document: apps read it, nobody writes it.
    pub document: Automerge,
}

impl Materialised {
    /// How many entries a container holds.
    #[must_use]
    pub fn len(&self, container: Container) -> usize {
        use automerge::ReadDoc;
        match self.document.get(automerge::ROOT, container.name()) {
            Ok(Some((_, map))) => self.document.length(&map),
            _ => 0,
        }
    }

    /// Whether the container holds no entry.
    #[must_use]
    pub fn is_empty(&self, container: Container) -> bool {
        self.len(container) == 0
    }
}

/// Applies `changes`, in any order and with repeats, on top of genesis. The order of arrival leaves no trace: the same
/// changes give the same saved bytes.
///
/// # Errors
/// A [`Refusal`] if one of them does not pass [`decode`] or a chain has a gap or a fork: nothing else reaches Automerge,
/// whose queue of changes with missing dependencies grows with the square of their number.
pub fn materialise<'a>(
    document_id: DocumentId,
    kind: u8,
    changes: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Materialised, Refusal> {
    let mut all = BTreeMap::new();
    for bytes in changes {
        let (hash, body) = decode(bytes)?;
        if body.document != document_id {
            return Err(Refusal::DocumentMismatch);
        }
        all.insert((body.writer, body.seq, hash), (body, bytes));
    }
    let broken = |what| Refusal::ChainBroken { what };
    let mut ordered = vec![genesis::change(document_id, kind)];
    let genesis = genesis::tip(document_id, kind);
    let (mut tip, mut writer) = (genesis, None);
    for ((_, _, hash), (body, bytes)) in all {
        if writer.replace(body.writer) != Some(body.writer) {
            tip = genesis;
        }
        match tip.place(body.seq, body.dep, body.start_op)? {
            ChainStep::Next => tip = ChainTip { seq: body.seq, hash, max_op: body.max_op() },
            ChainStep::Gap => return Err(broken("a change before it is missing")),
            ChainStep::Behind => return Err(broken("two changes of one writer have the same seq")),
        }
        let change = Change::from_bytes(bytes.to_vec());
        ordered.push(change.map_err(|_| Refusal::ChangeMalformed { what: "automerge does not read it" })?);
    }
    let mut document = Automerge::new();
    document.apply_changes(ordered).map_err(|_| broken("automerge does not apply it"))?;
    Ok(Materialised { document })
}
