//! The server's modules import only those above them in `lib.rs`, so that reading from the top never needs what is below.

use std::path::{Path, PathBuf};

pub(crate) fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/src")
}

/// The modules in the order of `lib.rs`.
fn modules() -> Vec<String> {
    let text = std::fs::read_to_string(source().join("lib.rs")).unwrap();
    let declared = text.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';'));
    declared.map(str::to_owned).collect()
}

pub(crate) fn rust_files(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            rust_files(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        found.push(path.to_owned());
    }
}

/// The modules that a text names after `crate::`, in braces or not. Macros stand at the root and are no modules.
fn imported(text: &str) -> Vec<&str> {
    let word = |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let mut names = Vec::new();
    for (at, _) in text.match_indices("crate::").filter(|(at, _)| !text[..*at].ends_with('$')) {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split_once("};").map_or(list, |(list, _)| list);
                names.extend(list.split(',').map(str::trim).map(|item| &item[..word(item)]));
            }
            None => names.push(&rest[..word(rest)]),
        }
    }
    names
}

#[test]
fn a_module_imports_only_those_above_it() {
    let modules = modules();
    let mut broken = Vec::new();
    for (index, module) in modules.iter().enumerate() {
        let mut files = Vec::new();
        for path in [source().join(module), source().join(format!("{module}.rs"))] {
            if path.exists() {
                rust_files(&path, &mut files);
            }
        }
        assert!(!files.is_empty(), "{module} has no file");
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for name in imported(&text) {
                if modules.iter().position(|known| known == name).is_some_and(|position| position > index) {
                    broken.push(format!("{} imports {name}", file.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
