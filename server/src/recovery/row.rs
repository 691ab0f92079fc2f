//! What is checked of one row of the log, without any state but the row before it and its writer's previous change.

use muster_sync_core::{
    ChangeHash, DeviceKey, DocumentName,
    change::{self, Valid},
    document::{ChainStep, ChainTip, Entry, Role, Writer, genesis, may_write},
};

use super::queries::{LogRow, Owners};
use crate::ids::TenantId;
use crate::log::chain::{self, Link};

/// What the checks of a tenant's rows know.
pub(super) struct Facts {
    pub(super) tenant: TenantId,
    pub(super) server: DeviceKey,
    pub(super) owners: Owners,
}

/// A place in a writer's chain: document, writer, seq.
pub(super) type Place = ([u8; 16], [u8; 32], u64);

/// What is wrong with a row.
#[derive(Debug)]
pub(super) struct Fault {
    /// In words.
    pub(super) what: String,
    /// The places in chains that the row has, by its columns and by its bytes: what comes after it there cannot be judged.
    pub(super) places: Vec<Place>,
    /// All that is wrong is how it stands to the change at this place.
    pub(super) follows: Option<Place>,
    /// All that is wrong is that nobody is known to have the writer's key.
    pub(super) is_unknown_writer: bool,
    /// It may have been about devices, which nobody can read any more.
    pub(super) hides_devices: bool,
}

impl Fault {
    /// Of a row that is not there, or of which nothing can be read.
    pub(super) fn unreadable(what: String) -> Self {
        Self { what, places: Vec::new(), follows: None, is_unknown_writer: false, hides_devices: true }
    }

    fn of(row: &LogRow, kind: Kind, what: String) -> Self {
        let decoded = change::decode(&row.change).ok().map(|(_, body)| (body.document.0, body.writer.0, body.seq));
        let seq = u64::try_from(row.seq).unwrap_or_default();
        let of_columns = match (row.document.as_slice().try_into(), row.writer.as_slice().try_into()) {
            (Ok(document), Ok(writer)) => Some((document, writer, seq)),
            _ => None,
        };
        let is_about_devices = row.name.as_ref().is_none_or(|name| name.kind == i64::from(BINDING_KIND));
        let (follows, is_unknown_writer) = match kind {
            Kind::Itself => (None, false),
            Kind::Continues => {
                (decoded.map(|(document, writer, seq)| (document, writer, seq.saturating_sub(1))), false)
            }
            Kind::Writer => (None, true),
        };
        let hides_devices = is_about_devices && decoded.is_none();
        Self {
            what,
            places: of_columns.into_iter().chain(decoded).collect(),
            follows,
            is_unknown_writer,
            hides_devices,
        }
    }
}

/// What a fault is about.
enum Kind {
    Itself,
    Continues,
    Writer,
}

/// The kind of documents that say whose a key is.
const BINDING_KIND: u8 = 3;

/// Checks a row; `before` are the values of the hash chain that it may continue: one, unless the row before it is bad, and
/// none if nothing is left of that one.
///
/// # Errors
/// What is wrong.
pub(super) fn check(facts: &Facts, log_index: i64, row: &LogRow, before: &[[u8; 32]]) -> Result<(), Fault> {
    let valid = check_itself(facts, log_index, row, before).map_err(|what| Fault::of(row, Kind::Itself, what))?;
    let (name, valid) = valid;
    check_chain(log_index, row, &name, &valid).map_err(|what| Fault::of(row, Kind::Continues, what))?;
    check_scope(facts, &name, &valid).map_err(|(kind, what)| Fault::of(row, kind, what))
}

fn check_itself(
    facts: &Facts,
    log_index: i64,
    row: &LogRow,
    before: &[[u8; 32]],
) -> Result<(DocumentName, Valid), String> {
    let name = document_name(facts, row)?;
    check_link(log_index, row, before)?;
    let signature = fixed::<64>(&row.signature, "the signature")?;
    let valid = change::validate(facts.tenant.as_str(), &name, &row.change, signature)
        .map_err(|refusal| format!("the change is not valid: {refusal}"))?;
    check_columns(row, &valid)?;
    Ok((name, valid))
}

fn fixed<'a, const N: usize>(bytes: &'a [u8], what: &str) -> Result<&'a [u8; N], String> {
    bytes.try_into().map_err(|_| format!("{what} has {} bytes instead of {N}", bytes.len()))
}

fn document_name(facts: &Facts, row: &LogRow) -> Result<DocumentName, String> {
    let found = row.name.as_ref().ok_or("its document has no name")?;
    if found.tenant != facts.tenant.as_str() {
        return Err(format!("its document belongs to the tenant {}", found.tenant));
    }
    let kind = u8::try_from(found.kind).map_err(|_| "its document is of no known kind")?;
    let name = DocumentName::from_parts(kind, [&found.key1, &found.key2])
        .map_err(|refusal| format!("its document has no valid name: {refusal}"))?;
    if row.document != name.id(facts.tenant.as_str()).0 {
        return Err("its document's id is not the hash of its name".to_owned());
    }
    Ok(name)
}

/// What the hash chain covers of a row.
///
/// # Errors
/// Which column has another length.
pub(super) fn link(log_index: i64, row: &LogRow) -> Result<Link<'_>, String> {
    Ok(Link {
        log_index,
        document: fixed(&row.document, "the document's id")?,
        writer: fixed(&row.writer, "the writer's key")?,
        seq: row.seq,
        max_op: row.max_op,
        hash: fixed(&row.hash, "the hash")?,
        signature: fixed(&row.signature, "the signature")?,
        received_at_ms: row.received_at_ms,
    })
}

fn check_link(log_index: i64, row: &LogRow, before: &[[u8; 32]]) -> Result<(), String> {
    let link = link(log_index, row)?;
    let value = row.chain.as_ref().ok_or("it has no value of the hash chain")?;
    if before.is_empty() || before.iter().any(|before| value[..] == chain::next(before, &link)) {
        return Ok(());
    }
    Err("the hash chain breaks here: this row, or its place, was changed".to_owned())
}

/// The columns beside the bytes say what the bytes say.
fn check_columns(row: &LogRow, valid: &Valid) -> Result<(), String> {
    let differing = [
        ("hash", row.hash == valid.hash.0),
        ("document", row.document == valid.document.0),
        ("writer", row.writer == valid.writer.0),
        ("seq", u64::try_from(row.seq) == Ok(valid.seq)),
        ("max_op", u64::try_from(row.max_op) == Ok(valid.max_op)),
    ];
    match differing.iter().find(|(_, same)| !same) {
        Some((column, _)) => Err(format!("the column {column} is not what the signed change says")),
        None => Ok(()),
    }
}

/// It continues its writer's chain, and stands after the change before it.
fn check_chain(log_index: i64, row: &LogRow, name: &DocumentName, valid: &Valid) -> Result<(), String> {
    let tip = if valid.seq == 1 {
        genesis::tip(valid.document, name.kind())
    } else {
        let previous = row.previous.as_ref().ok_or("the change before it in its writer's chain is missing")?;
        if previous.log_index >= log_index {
            return Err(format!("the change before it in its writer's chain comes later, at {}", previous.log_index));
        }
        let hash = ChangeHash(*fixed(&previous.hash, "the hash of the change before it")?);
        let max_op = u64::try_from(previous.max_op).map_err(|_| "the change before it has no operations")?;
        ChainTip { seq: valid.seq - 1, hash, max_op }
    };
    match tip.step(valid) {
        Ok(ChainStep::Next) => Ok(()),
        Ok(_) => Err("it does not continue its writer's chain".to_owned()),
        Err(refusal) => Err(format!("it does not continue its writer's chain: {refusal}")),
    }
}

/// Roles that a writer may have had: today's say nothing about then.
const ROLES: [Role; 4] = [Role::Student, Role::Lecturer, Role::Reviewer, Role::Admin];

/// Who wrote may have written it, in some role at least.
fn check_scope(facts: &Facts, name: &DocumentName, valid: &Valid) -> Result<(), (Kind, String)> {
    let refused =
        |refusal: muster_sync_core::Refusal| (Kind::Itself, format!("its writer may not have written it: {refusal}"));
    if valid.writer == facts.server {
        return may_write(name, &valid.entry, Writer::Server).map_err(refused);
    }
    if let (Entry::Requests(_), DocumentName::DeviceBinding { user }) = (&valid.entry, name) {
        return may_write(name, &valid.entry, Writer::Applicant { user, key: valid.writer }).map_err(refused);
    }
    let mut result = Err((Kind::Writer, "its writer's key was bound to nobody".to_owned()));
    for user in facts.owners.get(&valid.writer).into_iter().flatten() {
        for role in ROLES {
            result = may_write(name, &valid.entry, Writer::Device { user, role, teaches: true }).map_err(refused);
            if result.is_ok() {
                return result;
            }
        }
    }
    result
}
