//! Builds the Automerge document of changes that passed [`crate::change::validate`].

use super::{Container, genesis};
use crate::{DocumentId, Refusal, change::decode};
use automerge::{Automerge, Change};

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
/// A [`Refusal`] if one of them does not pass [`decode`] or a chain has a gap: nothing else reaches Automerge.
pub fn materialise<'a>(
    document_id: DocumentId,
    kind: u8,
    changes: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Materialised, Refusal> {
    let mut all = std::collections::BTreeMap::new();
    for bytes in changes {
        let (hash, body) = decode(bytes)?;
        if body.document != document_id {
            return Err(Refusal::DocumentMismatch);
        }
        let change = Change::from_bytes(bytes.to_vec());
        let change = change.map_err(|_| Refusal::ChangeMalformed { what: "automerge does not read it" })?;
        all.insert((body.writer, body.seq, hash), change);
    }
    let mut ordered = vec![genesis::change(document_id, kind)];
    ordered.extend(all.into_values());
    let count = ordered.len();
    let mut document = Automerge::new();
    let applied = document.apply_changes(ordered);
    applied.map_err(|_| Refusal::ChainBroken { what: "two changes of one writer have the same seq" })?;
    if document.get_changes(&[]).len() != count {
        return Err(Refusal::ChainBroken { what: "a change before it is missing" });
    }
    Ok(Materialised { document })
}
