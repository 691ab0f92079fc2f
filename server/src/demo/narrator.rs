//! What a person sees while the story runs: a bar on a terminal, lines everywhere else.

use std::io::{self, Write};
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};

/// Writes to a person, and remembers nothing.
pub struct Narrator<'a> {
    out: Mutex<&'a mut (dyn Write + Send)>,
    bar: ProgressBar,
}

impl<'a> Narrator<'a> {
    /// A narrator who writes lines to `out`, and shows what is under way on standard error if that is a terminal.
    pub fn new(out: &'a mut (dyn Write + Send)) -> Self {
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("  {spinner} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Self { out: Mutex::new(out), bar }
    }

    /// A line that stays.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn say(&self, line: &str) -> io::Result<()> {
        self.bar.suspend(|| {
            let mut out = self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            writeln!(out, "{line}")?;
            out.flush()
        })
    }

    /// Something under way: the next one takes its place. Where there is no terminal, only results are told.
    pub(super) fn show(&self, text: String) {
        self.bar.set_message(text);
        self.bar.tick();
    }
}

impl Drop for Narrator<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
