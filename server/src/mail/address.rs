//! Addresses to which a letter can go. What the doors take and what the mailer sends to is decided here, by one parser.

use lettre::Address;

use crate::text;

/// Most bytes of an address on the wire (RFC 5321).
const ADDRESS_BYTES_MAX: usize = 254;

/// The address in the one form in which it is stored: in small letters, its domain as people read it. `None` for a text to
/// which no letter can be sent.
pub(crate) fn normal_form(text: &str) -> Option<String> {
    let text = text::signed_in_by(text);
    let (local, domain) = text.rsplit_once('@')?;
    // Quoted names and places without a name are for machines, and nobody's sign-in.
    let is_plain = !local.contains(['"', '@']) && !domain.starts_with('[') && !domain.ends_with('.');
    let (domain, read) = idna::domain_to_unicode(domain);
    if !is_plain || read.is_err() {
        return None;
    }
    let address = format!("{local}@{domain}");
    on_the_wire(&address).map(|_| address)
}

/// The address as a mail server is told it: the names of domains in other scripts have a form in ASCII for that.
pub(crate) fn on_the_wire(address: &str) -> Option<Address> {
    let (local, domain) = address.rsplit_once('@')?;
    let address = format!("{local}@{}", idna::domain_to_ascii(domain).ok()?);
    address.parse().ok().filter(|_| address.len() <= ADDRESS_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mailbox_has_one_form() {
        for (sent, stored) in [
            (" Ada@Uni.Example ", "ada@uni.example"),
            ("\u{feff}ada@uni.example\u{200b}", "ada@uni.example"),
            ("Zoe\u{308}@uni.example", "zoë@uni.example"),
            ("ada@BÜCHER.example", "ada@bücher.example"),
            ("ada@xn--bcher-kva.example", "ada@bücher.example"),
            ("ada@bu\u{308}cher.example", "ada@bücher.example"),
            ("İlke@uni.example", "ilke@uni.example"),
            ("a+b@uni.example", "a+b@uni.example"),
            ("o'brien@uni.example", "o'brien@uni.example"),
        ] {
            assert_eq!(normal_form(sent).as_deref(), Some(stored), "{sent:?}");
        }
        let wire = on_the_wire("ada@bücher.example").unwrap();
        assert_eq!(wire.to_string(), "ada@xn--bcher-kva.example");
    }

    #[test]
    fn no_letter_goes_to_these() {
        for text in [
            "",
            "@",
            "a@",
            "@b",
            "a b@uni.example",
            "x,y@uni.example",
            "a;b@uni.example",
            "a..b@uni.example",
            ".a@uni.example",
            "a.@uni.example",
            "ann<ann@uni.example>",
            "Ann <ann@uni.example>",
            "mailto:bob@uni.example",
            "a@-x-.example",
            "a@uni..example",
            "a@uni.example.",
            "a@b@uni.example",
            "\"a b\"@uni.example",
            "a@[127.0.0.1]",
            "a@xn--a.example",
            "a\0@uni.example",
            "a\n@uni.example",
        ] {
            assert_eq!(normal_form(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_long_address_is_measured_as_it_is_sent() {
        let domain = format!("{}.{}.example", "d".repeat(63), "e".repeat(63));
        let fits = format!("{}@{domain}", "a".repeat(64));
        assert!(normal_form(&fits).is_some());
        assert_eq!(normal_form(&format!("a{fits}")), None, "a local part has at most 64 bytes");
        let longer = format!("a@{0}.{0}.{0}.{0}", "d".repeat(63));
        assert_eq!(normal_form(&longer), None);
    }
}
