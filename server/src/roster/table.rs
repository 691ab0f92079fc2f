//! A CSV file, row by row and within bounds: no row, field or file is ever held that is larger than its limit.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::error::RosterError;
use super::limits::{Limits, READ_BYTES};
use super::report::Problem;
use super::spreadsheet;
use crate::text;

/// Characters that may stand between two fields; the one that stands in the header most often is taken.
const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];

/// A file that is being read.
pub(super) struct Table<R> {
    name: Arc<str>,
    input: BufReader<R>,
    parser: Reader,
    limits: Limits,
    columns: Vec<String>,
    places: HashMap<String, usize>,
    text: Vec<u8>,
    ends: Vec<usize>,
    fields: usize,
    line: u64,
    bytes: u64,
    rows: u64,
}

/// A row of it.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    file: &'a Arc<str>,
    columns: &'a [String],
    text: &'a [u8],
    ends: &'a [usize],
    field_bytes_max: usize,
    /// Where it begins; the header is on line 1.
    pub(super) line: u64,
}

enum Read1 {
    Row,
    TooLong,
    End,
}

impl<R: Read> Table<R> {
    /// Reads the header. Names of columns are compared in lower case, without spaces, hyphens and underscores.
    pub(super) fn open(name: &str, input: R, limits: Limits) -> Result<Self, RosterError> {
        let mut input = BufReader::with_capacity(READ_BYTES, input);
        let begin = input.fill_buf().map_err(|error| RosterError::reading(name, error))?;
        let (separator, announced) = match announcement(begin) {
            Some((separator, bytes)) => (separator, bytes),
            None => (separator(begin), 0),
        };
        input.consume(announced);
        let mut table = Self {
            name: Arc::from(name),
            input,
            parser: ReaderBuilder::new().delimiter(separator).build(),
            limits,
            columns: Vec::new(),
            places: HashMap::new(),
            // The parser asks for more room as soon as there is none left, also when it needs none.
            text: vec![0; limits.row_bytes_max + 1],
            ends: vec![0; limits.columns_max],
            fields: 0,
            line: if announced == 0 { 1 } else { 2 },
            bytes: announced as u64,
            rows: 0,
        };
        let invalid = |what: &str, fix: &str| Err(RosterError::invalid(name, what, fix));
        match table.read_row()?.1 {
            Read1::Row => table.take_header()?,
            Read1::TooLong => return invalid("the header is too long", "the first line must name the columns"),
            Read1::End => return invalid("the file is empty", "the first line must name the columns"),
        }
        Ok(table)
    }

    fn take_header(&mut self) -> Result<(), RosterError> {
        let utf8 = |_| RosterError::invalid(&self.name, "the header is not in UTF-8", "save the file as UTF-8");
        let text = std::str::from_utf8(&self.text[..self.ends[self.fields - 1]]).map_err(utf8)?;
        if text::has_controls_within(&text.replace("\r\n", "\n")) {
            let what = "the header holds control characters, as texts do that are not in UTF-8";
            return Err(RosterError::invalid(&self.name, what, "save the file as UTF-8"));
        }
        let mut begin = 0;
        for (index, end) in self.ends[..self.fields].iter().enumerate() {
            let column = text::shown(&text[begin..*end].replace(['\n', '\r', '\t'], " "));
            if self.places.insert(plain(&column), index).is_some() && !column.is_empty() {
                let what = format!("the column {column} is there twice");
                return Err(RosterError::invalid(&self.name, what, "remove one of them"));
            }
            self.columns.push(column);
            begin = *end;
        }
        Ok(())
    }

    /// Where the column with one of these names is.
    pub(super) fn column(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.places.get(&plain(name)).copied())
    }

    /// The same for one that must be there.
    pub(super) fn require(&self, name: &str) -> Result<usize, RosterError> {
        self.column(&[name]).ok_or_else(|| {
            let there = self.columns.join(", ");
            let what = format!("the column {name} is missing");
            RosterError::invalid(&self.name, what, format!("the columns are: {there}"))
        })
    }

    /// The next row; a row that is too long, or not text, is a problem, and reading goes on behind it.
    pub(super) fn next(&mut self) -> Result<Option<Result<Row<'_>, Problem>>, RosterError> {
        let (line, read) = self.read_row()?;
        if matches!(read, Read1::End) {
            return Ok(None);
        }
        self.rows += 1;
        if self.rows > self.limits.rows_max {
            let what = format!("more than {} rows", self.limits.rows_max);
            return Err(RosterError::invalid(&self.name, what, "import it in several parts"));
        }
        let row = Row {
            file: &self.name,
            columns: &self.columns,
            text: &self.text,
            ends: &self.ends[..self.fields],
            field_bytes_max: self.limits.field_bytes_max,
            line,
        };
        if matches!(read, Read1::TooLong) {
            let (bytes, columns) = (self.limits.row_bytes_max, self.limits.columns_max);
            let what = format!("the row has more than {bytes} bytes or {columns} columns");
            return Ok(Some(Err(row.problem(None, what, "look for a quotation mark that is not closed"))));
        }
        if self.says_something_from(self.columns.len()) {
            let what = format!("the row has {} fields, the header {}", self.fields, self.columns.len());
            return Ok(Some(Err(row.problem(None, what, "put fields that hold a separator into quotation marks"))));
        }
        Ok(Some(Ok(row)))
    }

    /// Rows so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Reads the next row that says something: a spreadsheet writes separators for whatever was once touched.
    fn read_row(&mut self) -> Result<(u64, Read1), RosterError> {
        loop {
            let (line, read) = self.read()?;
            if !matches!(read, Read1::Row) || self.says_something_from(0) {
                return Ok((line, read));
            }
        }
    }

    /// Whether a field from this column on holds anything. What is no text holds something.
    fn says_something_from(&self, column: usize) -> bool {
        let begin = column.checked_sub(1).map_or(0, |before| self.ends.get(before).copied().unwrap_or_default());
        self.fields > column && {
            let rest = std::str::from_utf8(&self.text[begin..self.ends[self.fields - 1]]);
            rest.map_or(true, |rest| rest.chars().any(|c| !c.is_whitespace() && !text::is_unseen(c)))
        }
    }

    /// Reads one row into `text` and `ends`, and says on which line it began.
    fn read(&mut self) -> Result<(u64, Read1), RosterError> {
        self.skip_line_ends()?;
        let begin = self.line;
        let (mut written, mut too_long) = (0, false);
        self.fields = 0;
        loop {
            let input = self.input.fill_buf().map_err(|error| RosterError::reading(&self.name, error))?;
            let (result, read, text, ends) =
                self.parser.read_record(input, &mut self.text[written..], &mut self.ends[self.fields..]);
            self.line += input[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
            self.input.consume(read);
            self.bytes += read as u64;
            if self.bytes > self.limits.file_bytes_max {
                let what = format!("more than {} bytes", self.limits.file_bytes_max);
                return Err(RosterError::invalid(&self.name, what, "import it in several parts"));
            }
            written += text;
            self.fields += ends;
            match result {
                ReadRecordResult::InputEmpty => {}
                // The rest of the row is read and forgotten.
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    (written, self.fields, too_long) = (0, 0, true);
                }
                ReadRecordResult::Record if too_long => return Ok((begin, Read1::TooLong)),
                ReadRecordResult::Record => return Ok((begin, Read1::Row)),
                ReadRecordResult::End => return Ok((begin, if too_long { Read1::TooLong } else { Read1::End })),
            }
        }
    }

    /// Line ends before a row: empty lines, and what the row before left of `\r\n`.
    fn skip_line_ends(&mut self) -> Result<(), RosterError> {
        loop {
            let input = self.input.fill_buf().map_err(|error| RosterError::reading(&self.name, error))?;
            let ends = input.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
            if ends == 0 {
                return Ok(());
            }
            self.line += input[..ends].iter().filter(|byte| **byte == b'\n').count() as u64;
            self.bytes += ends as u64;
            self.input.consume(ends);
        }
    }
}

impl<'a> Row<'a> {
    /// The text of a column in the form in which texts are compared; empty when the row ends before it.
    pub(super) fn get(&self, column: usize) -> Result<Cow<'a, str>, Problem> {
        let text = self.text(column)?;
        if spreadsheet::is_error(&text) {
            let what = format!("{text} is what a spreadsheet writes when a formula fails");
            return Err(self.problem(Some(column), what, "mend the formula, or leave the field empty"));
        }
        Ok(text)
    }

    fn text(&self, column: usize) -> Result<Cow<'a, str>, Problem> {
        let Some(end) = self.ends.get(column) else { return Ok(Cow::Borrowed("")) };
        let begin = if column == 0 { 0 } else { self.ends[column - 1] };
        let bytes = &self.text[begin..*end];
        if bytes.len() > self.field_bytes_max {
            let what = format!("the text has more than {} bytes", self.field_bytes_max);
            return Err(self.problem(Some(column), what, "shorten it"));
        }
        let utf8 = |_| self.problem(Some(column), "the text is not in UTF-8", "save the file as UTF-8");
        let written = spreadsheet::unwrapped(std::str::from_utf8(bytes).map_err(utf8)?);
        // Almost every field is in its form already.
        let in_form = written.is_ascii() && !written.contains("  ");
        let text = if in_form { Cow::Borrowed(written) } else { Cow::Owned(text::shown(written)) };
        if text::has_controls(&text) {
            return Err(self.problem(Some(column), "the text holds a control character", "remove it"));
        }
        Ok(text)
    }

    /// The same for a column that may be missing.
    pub(super) fn get_if(&self, column: Option<usize>) -> Result<Cow<'a, str>, Problem> {
        column.map_or(Ok(Cow::Borrowed("")), |column| self.get(column))
    }

    /// The same for what is no name of a person or a thing: words with which people say that there is nothing are empty.
    pub(super) fn fact(&self, column: usize) -> Result<Cow<'a, str>, Problem> {
        if spreadsheet::says_nothing(&self.text(column)?) { Ok(Cow::Borrowed("")) } else { self.get(column) }
    }

    /// The same for a column that may be missing.
    pub(super) fn fact_if(&self, column: Option<usize>) -> Result<Cow<'a, str>, Problem> {
        column.map_or(Ok(Cow::Borrowed("")), |column| self.fact(column))
    }

    /// One word of a list, such as a status: small letters, and nothing for what says nothing.
    pub(super) fn word(&self, column: Option<usize>) -> Result<String, Problem> {
        self.fact_if(column).map(|text| text::alike(&text))
    }

    /// A number, or another name that is no word, by which something is known. A spreadsheet takes it for an amount.
    pub(super) fn id(&self, column: usize) -> Result<Cow<'a, str>, Problem> {
        let text = self.fact(column)?;
        if spreadsheet::is_rounded(&text) {
            let what = format!("{text} is a number that a spreadsheet has rounded");
            let fix = "give the column the format text in the spreadsheet, and export it again";
            return Err(self.problem(Some(column), what, fix));
        }
        Ok(match spreadsheet::without_decimals(&text).map(str::len) {
            Some(bytes) => Cow::Owned(text[..bytes].to_owned()),
            None => text,
        })
    }

    /// The same for a column that may be missing.
    pub(super) fn id_if(&self, column: Option<usize>) -> Result<Cow<'a, str>, Problem> {
        column.map_or(Ok(Cow::Borrowed("")), |column| self.id(column))
    }

    /// What is wrong with this row.
    pub(super) fn problem(&self, column: Option<usize>, what: impl Into<String>, fix: impl Into<String>) -> Problem {
        let column = column.and_then(|column| self.columns.get(column)).cloned();
        Problem { file: Arc::clone(self.file), line: self.line, column, what: what.into(), fix: fix.into() }
    }
}

/// A first line such as `sep=;`, by which a spreadsheet knows how to read the file: the separator, and its bytes.
fn announcement(begin: &[u8]) -> Option<(u8, usize)> {
    let text = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begin);
    let line = text.split_inclusive(|byte| *byte == b'\n').next().filter(|line| line.ends_with(b"\n"))?;
    let value = line.get(..4).filter(|name| name.eq_ignore_ascii_case(b"sep=")).and(line.get(4..))?;
    let separator = match (value.trim_ascii_end(), value.first()) {
        ([separator], _) => *separator,
        ([], Some(b'\t')) => b'\t',
        _ => return None,
    };
    SEPARATORS.contains(&separator).then_some((separator, begin.len() - text.len() + line.len()))
}

fn separator(begin: &[u8]) -> u8 {
    let header = begin.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |separator: &u8| header.iter().filter(|byte| *byte == separator).count();
    // Of those that stand there equally often, the first one.
    let best = SEPARATORS.iter().rev().max_by_key(|separator| count(separator));
    best.copied().unwrap_or(b',')
}

/// The name of a column as it is compared.
fn plain(name: &str) -> String {
    text::alike(name).chars().filter(|c| !matches!(c, ' ' | '-' | '_')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::limits::LIMITS;

    /// The line of a row and its fields, or what is wrong with it.
    type Read = Result<(u64, Vec<String>), Problem>;

    fn rows(text: &[u8], limits: Limits) -> Result<Vec<Read>, RosterError> {
        let mut table = Table::open("a.csv", text, limits)?;
        let mut rows = Vec::new();
        while let Some(row) = table.next()? {
            rows.push(row.and_then(|row| {
                let fields = (0..row.columns.len()).map(|column| row.get(column).map(Cow::into_owned));
                Ok((row.line, fields.collect::<Result<_, _>>()?))
            }));
        }
        Ok(rows)
    }

    fn texts(fields: &[&str]) -> Vec<String> {
        fields.iter().map(|field| (*field).to_owned()).collect()
    }

    #[test]
    fn rows_have_the_line_on_which_they_begin() {
        for end in ["\n", "\r\n"] {
            let text = ["\u{feff}a;b", "1;\"x", "y, z\"", "", "2; w ", "3"].join(end);
            let read = rows(text.as_bytes(), LIMITS).unwrap();
            assert_eq!(read[1], Ok((5, texts(&["2", "w"]))), "{end:?}");
            assert_eq!(read[2], Ok((6, texts(&["3", ""]))), "{end:?}");
            let broken = read[0].as_ref().unwrap_err();
            assert_eq!((broken.line, broken.column.as_deref()), (2, Some("b")), "a line break within a field");
        }
    }

    #[test]
    fn a_spreadsheet_may_announce_its_separator() {
        for text in ["sep=;\r\na;b,c\r\n1;2", "\u{feff}SEP=;\na;b,c\n1;2", "sep=\t\na\tb,c\n1\t2"] {
            assert_eq!(rows(text.as_bytes(), LIMITS).unwrap(), [Ok((3, texts(&["1", "2"])))], "{text:?}");
        }
        assert_eq!(rows(b"sep=,b\n1,2", LIMITS).unwrap(), [Ok((2, texts(&["1", "2"])))], "a column of that name");
    }

    #[test]
    fn separators_alone_say_nothing() {
        let read = rows("a,b\n,\n1,2,,\n \u{a0} ,\u{200b}\n\u{feff}3,4, ,\u{a0}\n".as_bytes(), LIMITS).unwrap();
        assert_eq!(read, [Ok((3, texts(&["1", "2"]))), Ok((5, texts(&["3", "4"])))]);
        let read = rows(b",,\na,b,\n1,2,\n1,2,,x\n", LIMITS).unwrap();
        assert_eq!(read[0], Ok((3, texts(&["1", "2", ""]))));
        assert!(read[1].as_ref().unwrap_err().what.contains("4 fields, the header 3"));
    }

    #[test]
    fn each_limit_has_two_sides() {
        let small = Limits { rows_max: 2, row_bytes_max: 8, field_bytes_max: 5, columns_max: 3, ..LIMITS };
        assert_eq!(rows(b"a,b\n1,2\n3,4", small).unwrap().len(), 2);
        assert!(rows(b"a,b\n1,2\n3,4\n5,6", small).unwrap_err().to_string().contains("more than 2 rows"));
        let read = rows(b"a,b\n12345,678\n12345,6789\n123456,7\n1,2", Limits { rows_max: 9, ..small }).unwrap();
        assert_eq!(read[0], Ok((2, texts(&["12345", "678"]))));
        assert!(read[1].as_ref().unwrap_err().what.contains("more than 8 bytes"));
        assert!(read[2].as_ref().unwrap_err().what.contains("more than 5 bytes"));
        assert_eq!(read[3], Ok((5, texts(&["1", "2"]))));
        let read = rows(b"a,b,c\n1,2,3\n1,2,3,4\n1,2,3", Limits { rows_max: 9, ..small }).unwrap();
        assert!(read[0].is_ok() && read[1].is_err() && read[2].is_ok());
        let bytes = Limits { file_bytes_max: 8, ..LIMITS };
        assert!(rows(b"a,b\n1,2\n", bytes).is_ok());
        assert!(rows(b"a,b\n1,23\n", bytes).unwrap_err().to_string().contains("more than 8 bytes"));
    }

    #[test]
    fn a_quotation_mark_that_is_not_closed_is_one_problem_and_no_memory() {
        let mut text = b"a,b\n1,\"2\n".to_vec();
        text.extend(vec![b'x'; 1_000_000]);
        let read = rows(&text, LIMITS).unwrap();
        assert_eq!(read.len(), 1);
        assert!(read[0].as_ref().unwrap_err().fix.contains("quotation mark"));
    }

    #[test]
    fn headers_that_nobody_understands_are_refused() {
        assert!(rows(b"", LIMITS).unwrap_err().to_string().contains("empty"));
        assert!(rows(b"Email,e-mail\n", LIMITS).unwrap_err().to_string().contains("twice"));
        assert!(rows(b"a,\xff\n", LIMITS).unwrap_err().to_string().contains("UTF-8"));
        let read = rows(b"a\n\xff\nb,c", LIMITS).unwrap();
        assert!(read[0].as_ref().unwrap_err().what.contains("UTF-8"));
        assert!(read[1].as_ref().unwrap_err().what.contains("2 fields, the header 1"));
    }
}
