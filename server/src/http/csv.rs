//! Cells of the files that people open with a spreadsheet.

/// The cell as text: what a spreadsheet would take for a formula gets an apostrophe in front (OWASP ASVS 1.2.10).
pub fn csv_cell(cell: &str) -> String {
    match cell.as_bytes().first() {
        Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | b'\n' | 0) => format!("'{cell}"),
        _ => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_text() {
        for evil in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\0=1"] {
            assert_eq!(csv_cell(evil), format!("'{evil}"));
        }
        for plain in ["", "Ada", "2026-11-20T15:00:00Z", "a=b"] {
            assert_eq!(csv_cell(plain), plain);
        }
    }
}
