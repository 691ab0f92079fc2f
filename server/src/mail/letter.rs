//! A letter as its parts, which it is written from once: as plain text, and as HTML in which everything is escaped.

/// What somebody reads.
pub(super) struct Letter {
    pub(super) subject: String,
    pub(super) parts: Vec<Part>,
}

/// One part of a letter.
pub(super) enum Part {
    /// A paragraph.
    Text(String),
    /// Where to go.
    Link { label: &'static str, url: String },
    /// A paragraph of less weight.
    Small(String),
}

impl Letter {
    pub(super) fn text(&self) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) | Part::Small(text) => text.clone(),
            Part::Link { label, url } => format!("{label}:\r\n{url}"),
        });
        parts.collect::<Vec<_>>().join("\r\n\r\n") + "\r\n"
    }

    pub(super) fn html(&self) -> String {
        let mut html = format!(
            "<!doctype html>\r\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title></head>\r\n\
             <body style=\"font:16px/1.5 sans-serif;color:#1c1c1c;max-width:36em;margin:2em auto;padding:0 1em\">\r\n",
            escape(&self.subject)
        );
        for part in &self.parts {
            html += &match part {
                Part::Text(text) => format!("<p>{}</p>\r\n", escape(text)),
                Part::Small(text) => format!("<p style=\"font-size:14px;color:#555\">{}</p>\r\n", escape(text)),
                Part::Link { label, url } => format!(
                    "<p><a href=\"{0}\" style=\"display:inline-block;padding:.6em 1.2em;background:#1a4f8b;color:#fff;\
                     border-radius:.3em;text-decoration:none\">{1}</a></p>\r\n\
                     <p style=\"font-size:14px;color:#555;word-break:break-all\">{0}</p>\r\n",
                    escape(url),
                    escape(label)
                ),
            };
        }
        html + "</body></html>\r\n"
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_letter_becomes_markup() {
        let hostile = "<script>alert(\"x\")</script> & 'y'";
        let parts = vec![
            Part::Text(hostile.to_owned()),
            Part::Small(hostile.to_owned()),
            Part::Link { label: "Go", url: format!("https://x/\"{hostile}") },
        ];
        let letter = Letter { subject: hostile.to_owned(), parts };
        assert!(!letter.html().contains("<script"), "{}", letter.html());
        assert!(!letter.html().contains("x/\"<"), "{}", letter.html());
        assert_eq!(letter.html().matches("&lt;script&gt;alert(&quot;x&quot;)").count(), 5);
        assert!(letter.text().contains(hostile));
    }
}
