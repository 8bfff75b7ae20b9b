//! Bytes to records: where a record and its cells begin and end.
//!
//! RFC 4180 with its usual relaxations: cells may be quoted, a quote in a quoted cell is doubled,
//! quoted cells may hold delimiters and line ends; lines end with LF or CRLF, the last one need not;
//! a byte order mark is skipped; a quote inside an unquoted cell is an ordinary sign. Promises:
//! memory stays bounded by the batch and the longest record, and every record knows the number of
//! the line it begins in. It knows no types.

use std::io::Read;

/// The signs that structure a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    /// Between cells.
    pub(super) delimiter: u8,
    /// Around cells.
    pub(super) quote: u8,
}

/// How many bytes and rows a batch holds before it is handed on.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_ROWS: usize = 32_768;
/// A longer record is refused: it is a quote that was never closed.
const MAX_RECORD_BYTES: usize = 64 << 20;
const FILL_BYTES: usize = 1 << 20;

/// What is wrong with the text of a file.
#[derive(Debug)]
pub(super) enum RecordError {
    Io(std::io::Error),
    /// A quoted cell has no end; the record begins in `line`.
    UnclosedQuote {
        line: u64,
    },
    /// Something other than a delimiter stands behind the closing quote of cell `cell` (from 0).
    TextAfterQuote {
        line: u64,
        cell: usize,
    },
    /// A record with another number of cells than the header.
    Width {
        line: u64,
        expected: usize,
        found: usize,
    },
    /// Bytes that are not UTF-8.
    NotUtf8 {
        line: u64,
    },
}

/// Records with their cells unquoted, row after row.
#[derive(Debug, Default)]
pub(super) struct Batch {
    text: Vec<u8>,
    /// Where each cell ends in `text`.
    ends: Vec<usize>,
    /// The line each record begins in.
    lines: Vec<u64>,
    /// Cells in each record.
    width: usize,
}

/// A batch whose text was checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells<'a> {
    text: &'a str,
    ends: &'a [usize],
    lines: &'a [u64],
    width: usize,
}

impl Batch {
    /// The cells, if all are UTF-8.
    pub(super) fn cells(&self) -> Result<Cells<'_>, RecordError> {
        let text = std::str::from_utf8(&self.text)
            .map_err(|error| RecordError::NotUtf8 { line: self.line_of_byte(error.valid_up_to()) })?;
        // Two broken cells side by side can make whole characters: a cell must end where a character does.
        match self.ends.iter().find(|end| !text.is_char_boundary(**end)) {
            Some(end) => Err(RecordError::NotUtf8 { line: self.line_of_byte(*end) }),
            None => Ok(Cells { text, ends: &self.ends, lines: &self.lines, width: self.width }),
        }
    }

    fn line_of_byte(&self, byte: usize) -> u64 {
        let cell = self.ends.partition_point(|end| *end <= byte);
        let record = cell.checked_div(self.width).unwrap_or(0);
        self.lines.get(record).or(self.lines.last()).copied().unwrap_or(1)
    }

    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.lines.clear();
    }
}

impl<'a> Cells<'a> {
    /// How many records.
    pub(super) fn rows(&self) -> usize {
        self.lines.len()
    }

    /// How many cells the first record has.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The line record `row` begins in.
    pub(super) fn line(&self, row: usize) -> u64 {
        self.lines[row]
    }

    /// One cell.
    pub(super) fn cell(&self, row: usize, column: usize) -> &'a str {
        let index = row * self.width + column;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start..self.ends[index]]
    }

    /// The cells of a column from top to bottom.
    pub(super) fn column(self, column: usize) -> impl Iterator<Item = &'a str> {
        (0..self.rows()).map(move |row| self.cell(row, column))
    }
}

/// Reads records batch after batch.
pub(super) struct RecordReader<R> {
    input: R,
    dialect: Dialect,
    /// What was read of the input; `position..` is not yet made into records.
    buffer: Vec<u8>,
    position: usize,
    ended: bool,
    line: u64,
    fill_bytes: usize,
}

/// One try at a record.
enum Scan {
    /// Its length in bytes with the line end, and the line ends in it.
    Record { length: usize, newlines: u64 },
    /// The buffer ends before the record does.
    Incomplete,
}

/// Why a record cannot be read.
enum Fault {
    UnclosedQuote,
    TextAfterQuote { cell: usize },
}

impl<R: Read> RecordReader<R> {
    /// A reader at the beginning of `input`.
    pub(super) fn new(input: R, dialect: Dialect) -> Result<RecordReader<R>, RecordError> {
        RecordReader::with_fill(input, dialect, FILL_BYTES)
    }

    /// As [`RecordReader::new`]; reads `fill_bytes` at a time.
    fn with_fill(input: R, dialect: Dialect, fill_bytes: usize) -> Result<RecordReader<R>, RecordError> {
        let buffer = Vec::with_capacity(2 * fill_bytes);
        let mut reader = RecordReader { input, dialect, buffer, position: 0, ended: false, line: 1, fill_bytes };
        while reader.buffer.len() < 3 && !reader.ended {
            reader.fill()?;
        }
        if reader.buffer.starts_with(b"\xEF\xBB\xBF") {
            reader.position = 3;
        }
        Ok(reader)
    }

    /// The first record into `batch`; `false` if there is none.
    pub(super) fn header(&mut self, batch: &mut Batch) -> Result<bool, RecordError> {
        batch.clear();
        batch.width = 0;
        while batch.lines.is_empty() {
            if !self.record(batch)? {
                return Ok(false);
            }
        }
        batch.width = batch.ends.len();
        Ok(true)
    }

    /// Up to `rows` more records of `width` cells into `batch`, fewer when they are long; `false` at the end.
    pub(super) fn batch(&mut self, width: usize, rows: usize, batch: &mut Batch) -> Result<bool, RecordError> {
        batch.clear();
        batch.width = width;
        while batch.lines.len() < rows.min(BATCH_ROWS) && batch.text.len() < BATCH_BYTES {
            if !self.record(batch)? {
                break;
            }
        }
        Ok(!batch.lines.is_empty())
    }

    /// One record onto `batch` (or an empty line, which adds none); `false` at the end.
    fn record(&mut self, batch: &mut Batch) -> Result<bool, RecordError> {
        let (text, cells) = (batch.text.len(), batch.ends.len());
        loop {
            let rest = &self.buffer[self.position..];
            if rest.is_empty() && self.ended {
                return Ok(false);
            }
            let scan = scan(rest, self.dialect, self.ended, &mut batch.text, &mut batch.ends);
            match scan {
                Ok(Scan::Record { length, newlines }) => {
                    let line = self.line;
                    self.position += length;
                    self.line += newlines;
                    let found = batch.ends.len() - cells;
                    let is_empty_line = found == 1 && batch.text.len() == text && length <= 2;
                    // An empty line is a missing value where there is one column only, else nothing.
                    if is_empty_line && batch.width != 1 {
                        batch.ends.truncate(cells);
                        return Ok(true);
                    }
                    if batch.width != 0 && found != batch.width {
                        return Err(RecordError::Width { line, expected: batch.width, found });
                    }
                    batch.lines.push(line);
                    return Ok(true);
                }
                Ok(Scan::Incomplete) => {
                    batch.text.truncate(text);
                    batch.ends.truncate(cells);
                    if rest.len() > MAX_RECORD_BYTES {
                        return Err(RecordError::UnclosedQuote { line: self.line });
                    }
                    self.fill()?;
                }
                Err(Fault::UnclosedQuote) => return Err(RecordError::UnclosedQuote { line: self.line }),
                Err(Fault::TextAfterQuote { cell }) => {
                    return Err(RecordError::TextAfterQuote { line: self.line, cell });
                }
            }
        }
    }

    /// Reads more behind what is left.
    fn fill(&mut self) -> Result<(), RecordError> {
        self.buffer.drain(..self.position);
        self.position = 0;
        // A record longer than the buffer doubles it, so that trying it again stays linear in all.
        let wanted = self.fill_bytes.max(self.buffer.len()) as u64;
        let read = self.input.by_ref().take(wanted).read_to_end(&mut self.buffer).map_err(RecordError::Io)?;
        self.ended = (read as u64) < wanted;
        Ok(())
    }
}

/// Appends the cells of the record that `bytes` begins with.
fn scan(bytes: &[u8], dialect: Dialect, ended: bool, text: &mut Vec<u8>, ends: &mut Vec<usize>) -> Result<Scan, Fault> {
    let first_cell = ends.len();
    let (mut at, mut newlines) = (0, 0);
    loop {
        if bytes.get(at) == Some(&dialect.quote) {
            at += 1;
            loop {
                let Some(length) = bytes[at..].iter().position(|byte| *byte == dialect.quote) else {
                    return if ended { Err(Fault::UnclosedQuote) } else { Ok(Scan::Incomplete) };
                };
                let quoted = &bytes[at..at + length];
                newlines += quoted.iter().filter(|byte| **byte == b'\n').count() as u64;
                text.extend_from_slice(quoted);
                at += length + 1;
                match bytes.get(at) {
                    Some(byte) if *byte == dialect.quote => {
                        text.push(dialect.quote);
                        at += 1;
                    }
                    None if !ended => return Ok(Scan::Incomplete),
                    _ => break,
                }
            }
            ends.push(text.len());
            match &bytes[at..] {
                [] | [b'\r'] if ended => return Ok(Scan::Record { length: bytes.len(), newlines }),
                [] | [b'\r'] => return Ok(Scan::Incomplete),
                [b'\n', ..] => return Ok(Scan::Record { length: at + 1, newlines: newlines + 1 }),
                [b'\r', b'\n', ..] => return Ok(Scan::Record { length: at + 2, newlines: newlines + 1 }),
                [byte, ..] if *byte == dialect.delimiter => at += 1,
                _ => return Err(Fault::TextAfterQuote { cell: ends.len() - 1 - first_cell }),
            }
            continue;
        }
        let length = bytes[at..].iter().position(|byte| *byte == dialect.delimiter || *byte == b'\n');
        match length {
            Some(length) if bytes[at + length] == dialect.delimiter => {
                text.extend_from_slice(&bytes[at..at + length]);
                ends.push(text.len());
                at += length + 1;
            }
            Some(length) => {
                text.extend_from_slice(without_carriage_return(&bytes[at..at + length]));
                ends.push(text.len());
                return Ok(Scan::Record { length: at + length + 1, newlines: newlines + 1 });
            }
            None if ended => {
                text.extend_from_slice(without_carriage_return(&bytes[at..]));
                ends.push(text.len());
                return Ok(Scan::Record { length: bytes.len(), newlines });
            }
            None => return Ok(Scan::Incomplete),
        }
    }
}

fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAS: Dialect = Dialect { delimiter: b',', quote: b'"' };

    fn read(bytes: &[u8], width: usize) -> Result<Vec<(u64, Vec<String>)>, RecordError> {
        read_by(bytes, width, FILL_BYTES)
    }

    fn read_by(bytes: &[u8], width: usize, fill_bytes: usize) -> Result<Vec<(u64, Vec<String>)>, RecordError> {
        let mut reader = RecordReader::with_fill(bytes, COMMAS, fill_bytes)?;
        let (mut batch, mut records) = (Batch::default(), Vec::new());
        while reader.batch(width, 2, &mut batch)? {
            let cells = batch.cells()?;
            for row in 0..cells.rows() {
                records.push((cells.line(row), (0..width).map(|column| cells.cell(row, column).to_owned()).collect()));
            }
        }
        Ok(records)
    }

    fn check(text: &str, expected: &[(u64, &[&str])]) {
        let width = expected.first().map_or(1, |(_, cells)| cells.len());
        let expected: Vec<(u64, Vec<String>)> = expected
            .iter()
            .map(|(line, cells)| (*line, cells.iter().map(|cell| (*cell).to_owned()).collect()))
            .collect();
        // Reads of few bytes cut every record everywhere.
        for fill_bytes in [1, 2, 3, 5, FILL_BYTES] {
            assert_eq!(read_by(text.as_bytes(), width, fill_bytes).unwrap(), expected, "{text:?} by {fill_bytes}");
        }
    }

    #[test]
    fn records_are_cut_as_rfc_4180_says() {
        check("a,b\nc,d\n", &[(1, &["a", "b"]), (2, &["c", "d"])]);
        check("a,b\r\nc,d", &[(1, &["a", "b"]), (2, &["c", "d"])]);
        check("\u{feff}a,b\n", &[(1, &["a", "b"])]);
        check("\"a,\"\"x\"\"\",b\n", &[(1, &["a,\"x\"", "b"])]);
        check("\"two\r\nlines\",1\nlast,2\n", &[(1, &["two\r\nlines", "1"]), (3, &["last", "2"])]);
        check("\"\",\n", &[(1, &["", ""])]);
        check("5\" disk,b\n", &[(1, &["5\" disk", "b"])]);
        check("a,b\n\n\r\nc,d\n\n", &[(1, &["a", "b"]), (4, &["c", "d"])]);
        check("a\n\nb\n", &[(1, &["a"]), (2, &[""]), (3, &["b"])]);
        check("\"a\",\"b\"\r\n\"c\",\"d\"", &[(1, &["a", "b"]), (2, &["c", "d"])]);
        check("a,\u{e4}\u{20ac}\n", &[(1, &["a", "\u{e4}\u{20ac}"])]);
    }

    #[test]
    fn faults_name_the_line_the_record_begins_in() {
        assert!(matches!(read(b"a,b\n\"x\ny,c\n", 2), Err(RecordError::UnclosedQuote { line: 2 })));
        assert!(matches!(read(b"a,b\nc,\"x\"y\n", 2), Err(RecordError::TextAfterQuote { line: 2, cell: 1 })));
        assert!(matches!(read(b"\"a\n\",b\nc\n", 2), Err(RecordError::Width { line: 3, expected: 2, found: 1 })));
        assert!(matches!(read(b"a,b\nc,d,e\n", 2), Err(RecordError::Width { line: 2, expected: 2, found: 3 })));
        assert!(matches!(read(b"a,b\nc,\xFF\n", 2), Err(RecordError::NotUtf8 { line: 2 })));
    }

    #[test]
    fn half_a_character_in_each_of_two_cells_is_no_character() {
        assert!(matches!(read(b"a,b\n\xC3,\xA9\n", 2), Err(RecordError::NotUtf8 { line: 2 })));
    }

    #[test]
    fn a_record_may_lie_across_reads() {
        let long = format!("\"{}\",b\nc,d\n", "x\n".repeat(FILL_BYTES));
        let records = read(long.as_bytes(), 2).unwrap();
        assert_eq!((records[0].1[0].len(), records[1].0), (2 * FILL_BYTES, FILL_BYTES as u64 + 2));
    }
}
