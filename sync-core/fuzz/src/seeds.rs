//! Where the seeds come from: the golden vectors and the refused changes in `tests/fixtures/wire/v1`.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A folder beside this crate's manifest.
#[must_use]
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The seeds of a target.
///
/// # Errors
/// When the fixtures cannot be read.
pub fn seeds(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let wanted: (&[&str], &[&str]) = match target {
        "guard" | "decode" => (&["change-", "chain-", "refused-", "genesis-"], &["change"]),
        "sync_request" => (&["sync-request"], &["cbor", "idle_cbor"]),
        "sync_response" => (&["sync-response"], &["cbor", "idle_cbor"]),
        "manifest" => (&["manifest", "checks"], &["cbor"]),
        _ => (&["qr-payloads"], &["text"]),
    };
    let mut found = Vec::new();
    let fixtures = folder("../../tests/fixtures/wire/v1");
    let mut paths: Vec<_> = std::fs::read_dir(fixtures)?.map(|file| Ok(file?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if wanted.0.iter().any(|prefix| name.starts_with(prefix)) {
            collect(&serde_json::from_slice(&std::fs::read(&path)?)?, wanted.1, &mut found);
        }
    }
    Ok(found)
}

/// The strings under `keys`, wherever they stand: hexadecimal as bytes, other text as it is.
fn collect(value: &Value, keys: &[&str], found: &mut Vec<Vec<u8>>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, keys, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str().filter(|_| keys.contains(&key.as_str())) {
                    Some(text) if key == "text" => found.push(text.as_bytes().to_vec()),
                    Some(text) => found.extend(data_encoding::HEXLOWER.decode(text.as_bytes()).ok()),
                    None => collect(value, keys, found),
                }
            }
        }
        _ => {}
    }
}
