//! `ingest.csv`: rows of a text file with a header.
//!
//! Reads the file itself, in one pass and bounded memory, because every fault must name the line of
//! the file. Promises: a cell that contradicts the planned type is an error, never a null. The parts:
//! `records` cuts bytes into cells, `columns` reads cells as values, `inference` guesses types.

mod columns;
mod inference;
mod records;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use engine_core::{LogicalType, Role, Serving};
use engine_table::{ColumnType, Context, Describe, NodeError, PathOption, Peek, Problem, Source};
use polars::prelude::{Column, DataFrame};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::columns::{BadCell, CellRule, Nulls, read_column};
use self::inference::{Guess, says_nothing};
use self::records::{Batch, Dialect, RecordError, RecordReader};
use super::declared;
use crate::codes::{SOURCE_HEADER, SOURCE_UNREADABLE};
use crate::place;

/// Rows of the file that types are guessed from.
const HEAD_ROWS: usize = 10_000;

/// Reads a CSV file: one row a record, one column a name in the header.
///
/// Cells may be quoted and then hold delimiters, doubled quotes and line ends (RFC 4180). The file is
/// UTF-8. Columns are found by their names in the header.
///
/// A column's type is the one in `types`; else the one in the pinned `schema`; else it is guessed from
/// the first 10,000 rows: `int`, `float`, `bool` (true and false), `datetime` (ISO 8601), and what is
/// none of these is `category` if its values are few (at most 20, or at most 1,000 that come twice each
/// on average) and at most 64 bytes long, else `text`. Numbers with leading zeros stay names. A later
/// cell that contradicts the type is an error that names its line.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvOptions {
    /// The file.
    pub path: PathOption,

    /// Types of columns, by name; a column that is not named is guessed.
    #[serde(default)]
    #[schemars(schema_with = "declared::cell_types_schema")]
    pub types: BTreeMap<String, LogicalType>,

    /// Roles of columns, by name; a column that is not named is a feature.
    #[serde(default)]
    #[schemars(schema_with = "declared::roles_schema")]
    pub roles: BTreeMap<String, Role>,

    /// Texts that mean missing, in every column; the default is the empty cell. A quoted cell counts by
    /// what is between its quotes. Without the empty text in the list an empty cell is present, as empty text.
    #[serde(default = "default_nulls")]
    pub nulls: Vec<String>,

    /// Texts that mean missing in one column, in place of `nulls`.
    #[serde(default)]
    pub column_nulls: BTreeMap<String, Vec<String>>,

    /// Columns in which cells may be missing although the first 10,000 rows miss none, or although the
    /// schema is pinned.
    #[serde(default)]
    pub nullable: Vec<String>,

    /// The columns to read; all if not given.
    #[serde(default)]
    pub columns: Option<Vec<String>>,

    /// All columns of the file and their types. The file must have exactly these, in any order; `check`
    /// then needs no file. Cells may be missing in the columns of `nullable` only.
    #[serde(default)]
    #[schemars(schema_with = "declared::optional_cell_types_schema")]
    pub schema: Option<BTreeMap<String, LogicalType>>,

    /// The sign between cells: one ASCII sign, as in `;` or `"\t"`.
    #[serde(default = "default_delimiter")]
    #[schemars(length(equal = 1))]
    pub delimiter: String,

    /// The sign around cells that hold delimiters or line ends: one ASCII sign.
    #[serde(default = "default_quote")]
    #[schemars(length(equal = 1))]
    pub quote: String,
}

fn default_nulls() -> Vec<String> {
    vec![String::new()]
}

fn default_delimiter() -> String {
    ",".to_owned()
}

fn default_quote() -> String {
    "\"".to_owned()
}

/// The kind.
pub struct Csv {
    options: CsvOptions,
    dialect: Dialect,
}

impl Describe for Csv {
    const KIND: &'static str = "ingest.csv";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Refuse;
    const EXAMPLE: &'static str = r#"fuseline: 1
name: churn
nodes:
  rows:
    uses: ingest.csv
    with:
      path: churn.csv
      schema: {customer: text, plan: category, charges: float, since: datetime, churned: category}
      nullable: [charges]
      nulls: ["", " ", "NA"]
      roles: {customer: key, churned: target}
"#;
    type Options = CsvOptions;

    fn new(options: CsvOptions) -> Result<Csv, Vec<Problem>> {
        let mut problems = Vec::new();
        let delimiter = structural_sign("delimiter", &options.delimiter, &mut problems);
        let quote = structural_sign("quote", &options.quote, &mut problems);
        if delimiter == quote && problems.is_empty() {
            let message = format!("`delimiter` and `quote` are both `{}`", options.quote);
            problems.push(Problem::error(&engine_table::OPTION_INVALID, place::option("quote"), message));
        }
        if let (Some(schema), true) = (&options.schema, problems.is_empty()) {
            let names: Vec<&str> = schema.keys().map(String::as_str).collect();
            check_names(&options, &names, &mut problems);
        }
        if problems.is_empty() { Ok(Csv { options, dialect: Dialect { delimiter, quote } }) } else { Err(problems) }
    }
}

fn structural_sign(option: &str, text: &str, problems: &mut Vec<Problem>) -> u8 {
    match text.as_bytes() {
        [sign] if sign.is_ascii() && !matches!(sign, b'\n' | b'\r') => *sign,
        _ => {
            let message = format!("`{option}` must be one ASCII sign and no line end, not `{text}`");
            problems.push(Problem::error(&engine_table::OPTION_INVALID, place::option(option), message));
            0
        }
    }
}

/// A problem for every option that names a column the file does not have.
fn check_names(options: &CsvOptions, names: &[&str], problems: &mut Vec<Problem>) {
    declared::unknown_columns(declared::keys("types", &options.types), names, problems);
    declared::unknown_columns(declared::keys("roles", &options.roles), names, problems);
    declared::unknown_columns(declared::keys("column_nulls", &options.column_nulls), names, problems);
    declared::unknown_columns(declared::entries("nullable", &options.nullable), names, problems);
    if let Some(columns) = &options.columns {
        declared::unknown_columns(declared::entries("columns", columns), names, problems);
    }
}

impl Source for Csv {
    fn files(&self) -> Vec<PathBuf> {
        vec![self.options.path.as_path().to_owned()]
    }

    fn peek(&self) -> Result<Peek, Vec<Problem>> {
        let path = self.options.path.as_path();
        let at_path = || place::option("path");
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(match &self.options.schema {
                    Some(schema) => Peek::Columns(self.pinned_columns(schema)),
                    None => Peek::Absent(format!(
                        "`{}` is not there, so its columns are unknown; `schema:` pins them",
                        path.display()
                    )),
                });
            }
            Err(error) => {
                let message = format!("`{}` cannot be opened: {error}", path.display());
                return Err(vec![Problem::error(&SOURCE_UNREADABLE, at_path(), message)]);
            }
        };
        let unreadable = |fault: CsvError| vec![Problem::error(&SOURCE_UNREADABLE, at_path(), fault.to_string())];
        let mut reader =
            RecordReader::new(file, self.dialect).map_err(|error| unreadable(self.record_error(error, &[])))?;
        let header = self.read_header(&mut reader).map_err(unreadable)?;
        let problems = self.header_problems(&header);
        if !problems.is_empty() {
            return Err(problems);
        }
        if let Some(schema) = &self.options.schema {
            let mut columns = self.pinned_columns(schema);
            columns.sort_by_key(|column| header.iter().position(|name| *name == column.name));
            return Ok(Peek::Columns(columns));
        }
        self.guess_columns(&mut reader, &header).map(Peek::Columns).map_err(unreadable)
    }

    fn read(
        &self,
        columns: &[ColumnType],
        context: &Context,
        emit: &mut dyn FnMut(DataFrame) -> Result<(), NodeError>,
    ) -> Result<(), NodeError> {
        let mut reader = self.open().map_err(NodeError::failed)?;
        let header = self.read_header(&mut reader).map_err(NodeError::failed)?;
        let rules = self.rules(columns, &header).map_err(NodeError::failed)?;
        self.warn_of_blemishes(&header, context).map_err(NodeError::failed)?;
        let mut batch = Batch::default();
        loop {
            context.cancel.check()?;
            let found = reader
                .batch(header.len(), usize::MAX, &mut batch)
                .map_err(|error| NodeError::failed(self.record_error(error, &header)))?;
            if !found {
                return Ok(());
            }
            emit(self.frame(&rules, &batch, &header).map_err(NodeError::failed)?)?;
        }
    }
}

impl Csv {
    fn open(&self) -> Result<RecordReader<File>, CsvError> {
        let file =
            File::open(self.options.path.as_path()).map_err(|error| CsvError::Io { file: self.file(), error })?;
        RecordReader::new(file, self.dialect).map_err(|error| self.record_error(error, &[]))
    }

    fn read_header(&self, reader: &mut RecordReader<File>) -> Result<Vec<String>, CsvError> {
        let mut batch = Batch::default();
        let found = reader.header(&mut batch).map_err(|error| self.record_error(error, &[]))?;
        if !found {
            return Err(CsvError::Empty { file: self.file() });
        }
        let cells = batch.cells().map_err(|error| self.record_error(error, &[]))?;
        Ok((0..cells.width()).map(|column| cells.cell(0, column).to_owned()).collect())
    }

    fn header_problems(&self, header: &[String]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let file = self.file();
        for (index, name) in header.iter().enumerate() {
            let message = if name.trim().is_empty() {
                format!("column {} of `{file}` has no name in the header", index + 1)
            } else if header[..index].contains(name) {
                format!("the header of `{file}` names `{name}` twice")
            } else {
                continue;
            };
            problems.push(
                Problem::error(&SOURCE_HEADER, place::option("path"), message)
                    .help("give every column of the file a name of its own"),
            );
        }
        let names: Vec<&str> = header.iter().map(String::as_str).collect();
        if let Some(schema) = &self.options.schema {
            for missing in schema.keys().filter(|name| !header.contains(name)) {
                let message = format!("`{file}` has no column `{missing}`, which the schema lists");
                let problem = Problem::error(&SOURCE_HEADER, place::entry("schema", missing), message);
                problems.push(problem.help(format!("the columns are {}", declared::listing(&names))));
            }
            for extra in header.iter().filter(|name| !schema.contains_key(*name)) {
                let message = format!("`{file}` has a column `{extra}`, which the schema does not list");
                let problem = Problem::error(&SOURCE_HEADER, place::option("schema"), message);
                problems.push(problem.help(format!("add `{extra}` to `schema`; `columns` says which are read")));
            }
        } else if problems.is_empty() {
            check_names(&self.options, &names, &mut problems);
        }
        problems
    }

    /// Whether a column is read at all.
    fn is_read(&self, name: &str) -> bool {
        self.options.columns.as_ref().is_none_or(|columns| columns.iter().any(|column| column == name))
    }

    fn pinned_columns(&self, schema: &BTreeMap<String, LogicalType>) -> Vec<ColumnType> {
        let read = schema.iter().filter(|(name, _)| self.is_read(name));
        read.map(|(name, logical)| self.column_type(name, logical, false)).collect()
    }

    fn column_type(&self, name: &str, logical: &LogicalType, has_gaps: bool) -> ColumnType {
        let logical = self.options.types.get(name).unwrap_or(logical).clone();
        let nullable = has_gaps || self.options.nullable.iter().any(|column| column == name);
        ColumnType::new(name, logical)
            .with_role(self.options.roles.get(name).copied().unwrap_or_default())
            .with_nullable(nullable)
    }

    fn nulls(&self, name: &str) -> Nulls {
        Nulls::new(self.options.column_nulls.get(name).unwrap_or(&self.options.nulls))
    }

    fn guess_columns(&self, reader: &mut RecordReader<File>, header: &[String]) -> Result<Vec<ColumnType>, CsvError> {
        let guesses = self.guesses(reader, header)?;
        let read = header.iter().zip(&guesses).filter(|(name, _)| self.is_read(name));
        Ok(read.map(|(name, guess)| self.column_type(name, &guess.logical(), guess.has_gaps())).collect())
    }

    fn guesses(&self, reader: &mut RecordReader<File>, header: &[String]) -> Result<Vec<Guess>, CsvError> {
        let nulls: Vec<Nulls> = header.iter().map(|name| self.nulls(name)).collect();
        let mut guesses: Vec<Guess> = header.iter().map(|_| Guess::new()).collect();
        let (mut batch, mut seen) = (Batch::default(), 0);
        while seen < HEAD_ROWS {
            let found = reader
                .batch(header.len(), HEAD_ROWS - seen, &mut batch)
                .map_err(|error| self.record_error(error, header))?;
            if !found {
                break;
            }
            let cells = batch.cells().map_err(|error| self.record_error(error, header))?;
            seen += cells.rows();
            for (column, guess) in guesses.iter_mut().enumerate().filter(|(column, _)| self.is_read(&header[*column])) {
                for (row, text) in cells.column(column).enumerate() {
                    guess.see(text, cells.line(row), &nulls[column]);
                }
            }
        }
        Ok(guesses)
    }

    /// Warns of columns that would be numbers but for a few cells that say nothing.
    fn warn_of_blemishes(&self, header: &[String], context: &Context) -> Result<(), CsvError> {
        if self.options.schema.is_some() {
            return Ok(());
        }
        let mut reader = self.open()?;
        self.read_header(&mut reader)?;
        for (name, guess) in header.iter().zip(self.guesses(&mut reader, header)?) {
            let is_guessed = self.is_read(name) && !self.options.types.contains_key(name);
            if let (true, Some(blemish)) = (is_guessed, guess.blemish()) {
                context.progress.warning(&format!(
                    "`{}`: column `{name}` is read as {}, but all its cells are numbers except {} such as `{}` in line {}; \
if these mean missing, write `column_nulls: {{{name}: [\"\", \"{}\"]}}`",
                    self.file(),
                    guess.logical(),
                    blemish.count,
                    blemish.text,
                    blemish.line,
                    blemish.text
                ));
            }
        }
        Ok(())
    }

    fn rules(&self, columns: &[ColumnType], header: &[String]) -> Result<Vec<CellRule>, CsvError> {
        let rule = |column: &ColumnType| {
            let index = header
                .iter()
                .position(|name| *name == column.name)
                .ok_or_else(|| CsvError::NoColumn { file: self.file(), column: column.name.clone() })?;
            Ok(CellRule {
                name: column.name.clone(),
                index,
                logical: column.logical.clone(),
                nulls: self.nulls(&column.name),
                nullable: column.nullable,
            })
        };
        columns.iter().map(rule).collect()
    }

    fn frame(&self, rules: &[CellRule], batch: &Batch, header: &[String]) -> Result<DataFrame, CsvError> {
        let cells = batch.cells().map_err(|error| self.record_error(error, header))?;
        let read = |rule: &CellRule| {
            read_column(rule, cells).map_err(|bad| {
                let (file, column, pinned) = (self.file(), rule.name.clone(), self.options.schema.is_some());
                match bad {
                    BadCell::Missing { row } if pinned => {
                        CsvError::MissingPinned { file, line: cells.line(row), column }
                    }
                    BadCell::Missing { row } => CsvError::Missing { file, line: cells.line(row), column },
                    BadCell::Value { row, text } => {
                        CsvError::bad_value(file, cells.line(row), column, text, &rule.logical)
                    }
                }
            })
        };
        let columns: Vec<Column> = rules.iter().map(read).collect::<Result<_, CsvError>>()?;
        DataFrame::new(cells.rows(), columns).map_err(|error| CsvError::Frame(error.to_string()))
    }

    fn file(&self) -> String {
        self.options.path.as_path().display().to_string()
    }

    fn record_error(&self, error: RecordError, header: &[String]) -> CsvError {
        let file = self.file();
        match error {
            RecordError::Io(error) => CsvError::Io { file, error },
            RecordError::NotUtf8 { line } => CsvError::NotUtf8 { file, line },
            RecordError::UnclosedQuote { line } => {
                CsvError::UnclosedQuote { file, line, quote: self.options.quote.clone() }
            }
            RecordError::TextAfterQuote { line, cell } => {
                let column = header.get(cell).cloned().unwrap_or_else(|| (cell + 1).to_string());
                CsvError::TextAfterQuote { file, line, column, quote: self.options.quote.clone() }
            }
            RecordError::Width { line, expected, found } => CsvError::Width { file, line, expected, found },
        }
    }
}

/// Why a file cannot be read as its columns say.
#[derive(Debug, thiserror::Error)]
enum CsvError {
    #[error("`{file}` cannot be read: {error}")]
    Io { file: String, error: std::io::Error },
    #[error("`{file}` is empty: its first line must name the columns")]
    Empty { file: String },
    #[error("`{file}`, line {line}: not UTF-8; convert the file, for example with `iconv -f latin1 -t utf-8`")]
    NotUtf8 { file: String, line: u64 },
    #[error(
        "`{file}`, line {line}: a cell that begins with {quote} has no closing {quote}; double a {quote} that belongs to the text"
    )]
    UnclosedQuote { file: String, line: u64, quote: String },
    #[error(
        "`{file}`, line {line}, column `{column}`: text behind the closing {quote}; double a {quote} that belongs to the text"
    )]
    TextAfterQuote { file: String, line: u64, column: String, quote: String },
    #[error(
        "`{file}`, line {line}: {found} cells, but the header has {expected}; a cell with the delimiter in it must be quoted"
    )]
    Width { file: String, line: u64, expected: usize, found: usize },
    #[error("`{file}` has no column `{column}` any more; plan again")]
    NoColumn { file: String, column: String },
    #[error(
        "`{file}`, line {line}, column `{column}`: a missing cell, and the first 10,000 rows have none; write `nullable: [{column}]`"
    )]
    Missing { file: String, line: u64, column: String },
    #[error(
        "`{file}`, line {line}, column `{column}`: a missing cell in a column that the schema does not allow it in; write `nullable: [{column}]`"
    )]
    MissingPinned { file: String, line: u64, column: String },
    #[error("`{file}`, line {line}, column `{column}`: `{shown}` is not {expected}; {way_out}")]
    Value { file: String, line: u64, column: String, shown: String, expected: &'static str, way_out: String },
    #[error("the rows cannot be put together: {0}")]
    Frame(String),
}

impl CsvError {
    fn bad_value(file: String, line: u64, column: String, text: String, logical: &LogicalType) -> CsvError {
        let expected = match logical {
            LogicalType::Int => "an int (a whole number of 64 bits)",
            LogicalType::Float => "a float (a finite decimal number)",
            LogicalType::Bool => "a bool (true, false, 1 or 0)",
            LogicalType::Datetime => "a datetime (ISO 8601, as in 2024-02-29 or 2024-02-29 13:45:00)",
            _ => "a value of its type",
        };
        let shown: String = text.chars().take(40).collect();
        let other = if cell_is_float(&text, logical) { "float" } else { "text" };
        let way_out = if says_nothing(&text) {
            format!("if it means missing, write `column_nulls: {{{column}: [\"\", \"{text}\"]}}`")
        } else {
            format!(
                "write `types: {{{column}: {other}}}`, or `column_nulls: {{{column}: [\"\", \"{shown}\"]}}` if it means missing"
            )
        };
        CsvError::Value { file, line, column, shown, expected, way_out }
    }
}

fn cell_is_float(text: &str, logical: &LogicalType) -> bool {
    *logical == LogicalType::Int && crate::cell::parse_float(text).is_some()
}

#[cfg(test)]
mod tests;
