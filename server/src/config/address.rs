//! Addresses that something is joined to: a slash at their end, or none, means the same everywhere.

/// An address without the blanks around it and without the slashes at its end.
pub fn without_slash(address: &str) -> &str {
    address.trim().trim_end_matches('/')
}

/// `path` below `base`, behind exactly one slash.
pub fn below(base: &str, path: &str) -> String {
    format!("{}/{}", without_slash(base), path.trim_start_matches('/'))
}

/// Whether two addresses differ in nothing but a slash at their end.
pub fn same(one: &str, other: &str) -> bool {
    without_slash(one) == without_slash(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_of_an_address_changes_nothing() {
        for base in ["https://uni.example/muster", "https://uni.example/muster/", " https://uni.example/muster// "] {
            for path in ["a/b", "/a/b"] {
                assert_eq!(below(base, path), "https://uni.example/muster/a/b");
            }
            assert!(same(base, "https://uni.example/muster"));
        }
        assert_eq!(below("https://uni.example", ""), "https://uni.example/");
        assert!(!same("https://uni.example/a", "https://uni.example/a/b"));
        assert!(!same("https://uni.example/a", "https://uni.example/A"));
    }
}
