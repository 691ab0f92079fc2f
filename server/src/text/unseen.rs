//! Signs that nobody sees, and where they are needed all the same.

/// Whether the sign shows nothing of its own, in any font: the ignorable ones of Unicode, the fillers and noncharacters.
/// Signs of the same category that do show something, such as the Arabic sign of a number, are none.
pub fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
        || is_noncharacter(c)
}

fn is_noncharacter(c: char) -> bool {
    let code = u32::from(c);
    code & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&code)
}

/// The text without any of them.
pub(super) fn without_any(text: &str) -> String {
    text.chars().filter(|c| !is_unseen(*c)).collect()
}

/// The text without those that change nothing of what is seen.
pub(super) fn without_needless(text: &str) -> String {
    kept(text, |_| false)
}

/// The same, but what tells the direction of a sign stays. What turns the order of whole passages around goes.
pub(super) fn without_deceiving(text: &str) -> String {
    kept(text, |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}'))
}

fn kept(text: &str, also: impl Fn(char) -> bool) -> String {
    if !text.chars().any(is_unseen) {
        return text.to_owned();
    }
    let signs: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    // The last sign that stays, and whether a flag of tags is open.
    let (mut before, mut in_flag) = (None, false);
    for (place, sign) in signs.iter().copied().enumerate() {
        let next = signs[place + 1..].iter().copied().find(|next| !is_unseen(*next));
        let stays = match sign {
            '\u{e0020}'..='\u{e007f}' => in_flag && flag_ends(&signs[place..]),
            _ => !is_unseen(sign) || also(sign) || is_needed(before, sign, next),
        };
        if stays {
            out.push(sign);
            in_flag = sign == FLAG || (in_flag && ('\u{e0020}'..'\u{e007f}').contains(&sign));
            before = Some(sign);
        }
    }
    out
}

/// On which the flags of countries within countries are built, of tags.
const FLAG: char = '\u{1f3f4}';

fn flag_ends(tags: &[char]) -> bool {
    tags.iter().find(|sign| !('\u{e0020}'..='\u{e007e}').contains(*sign)) == Some(&'\u{e007f}')
}

fn is_needed(before: Option<char>, sign: char, next: Option<char>) -> bool {
    let Some(before) = before else { return sign == '\u{115f}' && next.is_some_and(is_jamo) };
    let joined = |next: Option<char>| next.is_some_and(joins);
    match sign {
        '\u{200c}' => joins(before) && joined(next),
        '\u{200d}' => {
            let of_letters = joins(before) && (unicode_normalization::char::is_combining_mark(before) || joined(next));
            of_letters || (shows_a_picture(before) && next.is_some_and(is_picture))
        }
        '\u{fe0e}' | '\u{fe0f}' => {
            is_picture(before) || matches!(before, '0'..='9' | '#' | '*') && next == Some(KEYCAP)
        }
        '\u{fe00}'..='\u{fe0d}' | '\u{e0100}'..='\u{e01ef}' => is_ideograph(before) || joins(before),
        '\u{180b}'..='\u{180f}' => ('\u{1820}'..='\u{18af}').contains(&before),
        '\u{115f}' => next.is_some_and(is_jamo),
        '\u{1160}' => ('\u{1100}'..='\u{115f}').contains(&before) || ('\u{a960}'..='\u{a97c}').contains(&before),
        _ => false,
    }
}

const KEYCAP: char = '\u{20e3}';

/// Letters and signs of scripts in which letters join, so that a joiner, or its opposite, is seen.
fn joins(c: char) -> bool {
    matches!(c,
        '\u{620}'..='\u{8ff}' | '\u{900}'..='\u{109f}' | '\u{1700}'..='\u{17b3}' | '\u{17b6}'..='\u{180a}'
        | '\u{1810}'..='\u{1cff}' | '\u{a800}'..='\u{a95f}' | '\u{a980}'..='\u{abff}' | '\u{fb50}'..='\u{fdcf}'
        | '\u{fdf0}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{10a00}'..='\u{10aff}' | '\u{10d00}'..='\u{10fff}'
        | '\u{11000}'..='\u{11fff}' | '\u{1e900}'..='\u{1e95f}')
}

fn is_jamo(c: char) -> bool {
    matches!(c, '\u{1161}'..='\u{11ff}' | '\u{d7b0}'..='\u{d7fb}')
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3fffd}')
}

fn is_picture(c: char) -> bool {
    matches!(c,
        '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2190}'..='\u{21ff}'
        | '\u{2300}'..='\u{23ff}' | '\u{24c2}' | '\u{25a0}'..='\u{27bf}' | '\u{2900}'..='\u{297f}'
        | '\u{2b00}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

fn shows_a_picture(c: char) -> bool {
    is_picture(c) || c == '\u{fe0f}'
}
