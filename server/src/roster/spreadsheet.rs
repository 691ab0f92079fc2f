//! What spreadsheets and the programs around them make of what somebody entered, and how to read it as it was meant.

/// Words with which people and programs say that there is nothing. Never asked about names: there are people called Null.
const NOTHING: [&str; 11] = ["-", "--", "–", "—", "n/a", "#n/a", "null", "none", "nan", "nil", "(blank)"];
/// What stands in the cell of a formula that failed.
const ERRORS: [&str; 8] = ["#N/A", "#REF!", "#VALUE!", "#NAME?", "#NULL!", "#DIV/0!", "#NUM!", "#SPILL!"];

/// The text of a field such as `="0042"`, which a spreadsheet must not take for a number, or `'=x`, which it must not take
/// for a formula: our own exports write it so.
pub(super) fn unwrapped(field: &str) -> &str {
    let field = field.trim();
    let formula = field.strip_prefix("=\"").and_then(|rest| rest.strip_suffix('"')).filter(|text| !text.contains('"'));
    let guarded = field.strip_prefix('\'').filter(|rest| rest.starts_with(['=', '+', '-', '@']));
    formula.or(guarded).unwrap_or(field).trim()
}

pub(super) fn says_nothing(text: &str) -> bool {
    NOTHING.iter().any(|word| word.eq_ignore_ascii_case(text))
}

pub(super) fn is_error(text: &str) -> bool {
    ERRORS.contains(&text)
}

/// A number such as `1.23457E+11`, of which the last digits are gone.
pub(super) fn is_rounded(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once(['E', 'e']).is_some_and(|(amount, exponent)| {
        let whole = amount.split_once(['.', ',']).map_or(digits(amount), |(left, right)| digits(left) && digits(right));
        whole && exponent.strip_prefix('+').is_some_and(digits)
    })
}

/// `12345` of `12345.0`, which a table of amounts makes of a number when another row has none.
pub(super) fn without_decimals(text: &str) -> Option<&str> {
    let (whole, decimals) = text.split_once('.')?;
    let digits = !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !decimals.is_empty() && decimals.bytes().all(|byte| byte == b'0')).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_wraps_is_unwrapped() {
        for (field, text) in [
            ("=\"0042\"", "0042"),
            (" =\"0042\" ", "0042"),
            ("'+49", "+49"),
            ("'t Hooft", "'t Hooft"),
            ("'s-Gravesande", "'s-Gravesande"),
            ("=A1", "=A1"),
            ("=\"a\"&\"b\"", "=\"a\"&\"b\""),
            ("a\"b\"", "a\"b\""),
        ] {
            assert_eq!(unwrapped(field), text);
        }
    }

    #[test]
    fn numbers_are_told_from_names_that_look_like_them() {
        for rounded in ["1.23457E+11", "1,23E+5", "2e+10"] {
            assert!(is_rounded(rounded), "{rounded}");
        }
        for name in ["3E12", "E+1", "1.2.3", "12", "1E+", "AE+3", "1.E+2"] {
            assert!(!is_rounded(name), "{name}");
        }
        assert_eq!([without_decimals("42.0"), without_decimals("42.00")], [Some("42"); 2]);
        for other in ["42", "42.", "4.2", ".0", "a.0", "1.0.0"] {
            assert_eq!(without_decimals(other), None, "{other}");
        }
    }

    #[test]
    fn words_for_nothing_are_no_words() {
        assert!(says_nothing("N/A") && says_nothing("NULL") && says_nothing("–"));
        assert!(!says_nothing("") && !says_nothing("Nullius") && !says_nothing("NA"));
        assert!(is_error("#REF!") && !is_error("#1"));
    }
}
