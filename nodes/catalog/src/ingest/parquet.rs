//! `ingest.parquet`: rows of a Parquet file.
//!
//! The file knows its types; this kind maps them to logical types and refuses what has none. Rows
//! are read a slice at a time, so memory is bounded by the slice and the pages it lies in.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use engine_core::{LogicalType, Role, Serving};
use engine_table::{ColumnType, Context, Describe, NodeError, PathOption, Peek, Problem, Source};
use polars::prelude::{ArrowField, Column, DataFrame, DataType};
use polars_io::SerReader;
use polars_io::parquet::read::{FileMetadata, ParallelStrategy, ParquetReader};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::declared;
use crate::codes::{SOURCE_TYPE, SOURCE_UNREADABLE};
use crate::layout::{can_read_as, first_line, logical_type, to_layout};
use crate::place;

/// Rows read at a time.
const SLICE_ROWS: usize = 65_536;

/// Reads a Parquet file.
///
/// Integers are `int`, floats and decimals `float`, booleans `bool`, dates and timestamps `datetime` (in universal
/// time), text is `text` and dictionary-encoded text `category`; lists of these are lists, fixed-size
/// lists of numbers tensors. Columns of other types must be left out with `columns`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetOptions {
    /// The file.
    pub path: PathOption,

    /// Types of columns that are to be other than in the file: text as `category` and back, int as `float`
    /// or, for ids, as `category` or `text`.
    #[serde(default)]
    #[schemars(schema_with = "declared::cell_types_schema")]
    pub types: BTreeMap<String, LogicalType>,

    /// Roles of columns, by name; a column that is not named is a feature.
    #[serde(default)]
    #[schemars(schema_with = "declared::roles_schema")]
    pub roles: BTreeMap<String, Role>,

    /// The columns to read; all if not given.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
}

/// The kind.
pub struct Parquet {
    options: ParquetOptions,
}

impl Describe for Parquet {
    const KIND: &'static str = "ingest.parquet";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Refuse;
    const EXAMPLE: &'static str = r"fuseline: 1
name: payments
nodes:
  rows:
    uses: ingest.parquet
    with:
      path: payments.parquet
      types: {merchant: category}
      roles: {payment: key, is_fraud: target, paid_at: time}
";
    type Options = ParquetOptions;

    fn new(options: ParquetOptions) -> Result<Parquet, Vec<Problem>> {
        Ok(Parquet { options })
    }
}

impl Source for Parquet {
    fn files(&self) -> Vec<PathBuf> {
        vec![self.options.path.as_path().to_owned()]
    }

    fn peek(&self) -> Result<Peek, Vec<Problem>> {
        let path = self.options.path.as_path();
        if !path.exists() {
            return Ok(Peek::Absent(format!("`{}` is not there, so its columns are unknown", path.display())));
        }
        let fields = self
            .fields()
            .map_err(|error| vec![Problem::error(&SOURCE_UNREADABLE, place::option("path"), error.to_string())])?;
        let names: Vec<&str> = fields.iter().map(|field| field.arrow.name.as_str()).collect();
        let mut problems = Vec::new();
        declared::unknown_columns(declared::keys("types", &self.options.types), &names, &mut problems);
        declared::unknown_columns(declared::keys("roles", &self.options.roles), &names, &mut problems);
        if let Some(columns) = &self.options.columns {
            declared::unknown_columns(declared::entries("columns", columns), &names, &mut problems);
        }
        let mut columns = Vec::new();
        for field in fields.iter().filter(|field| self.is_read(&field.arrow.name)) {
            match self.column(field) {
                Ok(column) => columns.push(column),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(Peek::Columns(columns)) } else { Err(problems) }
    }

    fn read(
        &self,
        columns: &[ColumnType],
        context: &Context,
        emit: &mut dyn FnMut(DataFrame) -> Result<(), NodeError>,
    ) -> Result<(), NodeError> {
        let metadata = self.metadata().map_err(NodeError::failed)?;
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let mut start = 0;
        for group in &metadata.row_groups {
            let end = start + group.num_rows();
            while start < end {
                context.cancel.check()?;
                let rows = SLICE_ROWS.min(end - start);
                let frame = self.slice(&metadata, &names, start, rows).map_err(NodeError::failed)?;
                emit(self.to_logical(&frame, columns, start).map_err(NodeError::failed)?)?;
                start += rows;
            }
        }
        Ok(())
    }
}

/// A column of the file.
struct FileField {
    arrow: ArrowField,
    /// Whether a cell is missing, as far as the file says.
    has_gaps: bool,
}

impl Parquet {
    fn file(&self) -> String {
        self.options.path.as_path().display().to_string()
    }

    fn open(&self) -> Result<ParquetReader<File>, ParquetError> {
        let file =
            File::open(self.options.path.as_path()).map_err(|error| ParquetError::Open { file: self.file(), error })?;
        Ok(ParquetReader::new(file))
    }

    fn unreadable(&self) -> impl Fn(polars::prelude::PolarsError) -> ParquetError {
        let file = self.file();
        move |error| ParquetError::Read { file: file.clone(), reason: first_line(&error) }
    }

    fn metadata(&self) -> Result<Arc<FileMetadata>, ParquetError> {
        Ok(self.open()?.get_metadata().map_err(self.unreadable())?.clone())
    }

    fn fields(&self) -> Result<Vec<FileField>, ParquetError> {
        let mut reader = self.open()?;
        let schema = reader.schema().map_err(self.unreadable())?;
        let metadata = reader.get_metadata().map_err(self.unreadable())?;
        let field = |arrow: &ArrowField| FileField { has_gaps: has_gaps(metadata, arrow), arrow: arrow.clone() };
        Ok(schema.iter_values().map(field).collect())
    }

    fn slice(
        &self,
        metadata: &Arc<FileMetadata>,
        names: &[String],
        start: usize,
        rows: usize,
    ) -> Result<DataFrame, ParquetError> {
        let mut reader = self.open()?;
        reader.set_metadata(metadata.clone());
        let reader = reader
            .with_columns(Some(names.to_vec()))
            .with_slice(Some((start, rows)))
            .read_parallel(ParallelStrategy::None);
        reader.finish().map_err(self.unreadable())
    }

    fn is_read(&self, name: &str) -> bool {
        self.options.columns.as_ref().is_none_or(|columns| columns.iter().any(|column| column == name))
    }

    fn column(&self, field: &FileField) -> Result<ColumnType, Problem> {
        let name = field.arrow.name.as_str();
        let dtype = DataType::from_arrow_field(&field.arrow);
        let Some(in_file) = logical_type(&dtype) else {
            let message = format!("`{name}` of `{}` is of type {dtype}, which is no logical type", self.file());
            return Err(Problem::error(&SOURCE_TYPE, place::option("path"), message)
                .help(format!("leave it out: list the other columns in `columns`, without `{name}`")));
        };
        let logical = match self.options.types.get(name) {
            Some(asked) if can_read_as(&in_file, asked) => asked.clone(),
            Some(asked) => {
                let message = format!("`{name}` is {in_file} in the file and cannot be read as {asked}");
                let cast = format!("{{uses: clean.cast, with: {{columns: {{{name}: {asked}}}}}, in: ...}}");
                return Err(Problem::error(&SOURCE_TYPE, place::entry("types", name), message)
                    .label(format!("{in_file} in the file"))
                    .help(format!("take it out of `types` and convert it behind this node: `{cast}`")));
            }
            None => in_file,
        };
        Ok(ColumnType::new(name, logical)
            .with_role(self.options.roles.get(name).copied().unwrap_or_default())
            .with_nullable(field.has_gaps))
    }

    /// The frame with every column in the layout of its logical type.
    fn to_logical(&self, frame: &DataFrame, columns: &[ColumnType], start: usize) -> Result<DataFrame, ParquetError> {
        let convert = |column: &ColumnType| {
            let series = frame.column(&column.name).map_err(self.unreadable())?.as_materialized_series();
            let converted = to_layout(series, &column.logical).map_err(|error| ParquetError::Convert {
                file: self.file(),
                column: column.name.clone(),
                first: start,
                last: start + frame.height(),
                reason: first_line(&error),
            })?;
            if !column.nullable && converted.null_count() > 0 {
                let row = converted.is_null().iter().position(|is_null| is_null == Some(true)).unwrap_or(0);
                return Err(ParquetError::Missing { file: self.file(), column: column.name.clone(), row: start + row });
            }
            Ok(Column::from(converted))
        };
        let converted: Vec<Column> = columns.iter().map(convert).collect::<Result<_, ParquetError>>()?;
        DataFrame::new(frame.height(), converted).map_err(self.unreadable())
    }
}

/// Whether a column of the file has a missing cell: by its statistics if they say so, else by its type.
fn has_gaps(metadata: &FileMetadata, field: &ArrowField) -> bool {
    if !field.is_nullable {
        return false;
    }
    let has_none = metadata.row_groups.iter().all(|group| {
        group.columns_under_root_iter(&field.name).is_some_and(|mut columns| {
            columns.all(|column| {
                let statistics = column.statistics(&metadata.footer_buf);
                // The counts of a nested column are of its leaves and say nothing of its rows.
                let is_flat = column.descriptor().path_in_schema.len() == 1;
                is_flat && statistics.and_then(Result::ok).and_then(|known| known.null_count()) == Some(0)
            })
        })
    });
    !has_none
}

/// Why a file cannot be read as its columns say.
#[derive(Debug, thiserror::Error)]
enum ParquetError {
    #[error("`{file}` cannot be opened: {error}")]
    Open { file: String, error: std::io::Error },
    #[error("`{file}` cannot be read as Parquet: {reason}")]
    Read { file: String, reason: String },
    #[error(
        "`{file}`, column `{column}`, rows {first} to {last}: {reason}; leave it out with `columns`, or write the file with a narrower type"
    )]
    Convert { file: String, column: String, first: usize, last: usize, reason: String },
    #[error(
        "`{file}`, row {row}, column `{column}`: a missing cell, although the file says there is none; write the file again"
    )]
    Missing { file: String, column: String, row: usize },
}

#[cfg(test)]
mod tests {
    use polars::prelude::*;
    use polars_io::parquet::write::ParquetWriter;

    use super::*;

    /// A Parquet file and its folder, which vanishes with it.
    fn written(frame: &mut DataFrame) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        ParquetWriter::new(File::create(&path).unwrap()).with_row_group_size(Some(2)).finish(frame).unwrap();
        (folder, path)
    }

    fn kind(path: &std::path::Path, more: serde_json::Value) -> Parquet {
        let mut options = serde_json::json!({"path": path});
        for (key, value) in more.as_object().unwrap() {
            options[key] = value.clone();
        }
        Parquet::new(serde_json::from_value(options).unwrap()).ok().unwrap()
    }

    fn rows(kind: &Parquet) -> (Vec<ColumnType>, DataFrame) {
        let Peek::Columns(columns) = kind.peek().unwrap() else { panic!("the file is there") };
        let mut all: Option<DataFrame> = None;
        kind.read(&columns, &Context::quiet(), &mut |frame| {
            match &mut all {
                Some(all) => {
                    all.vstack_mut(&frame).unwrap();
                }
                None => all = Some(frame),
            }
            Ok(())
        })
        .unwrap();
        (columns, all.unwrap())
    }

    #[test]
    fn physical_types_become_logical_ones() {
        let mut frame = df![
            "n" => [1_i32, 2, 3],
            "x" => [Some(1.5_f32), None, Some(2.5)],
            "b" => [true, false, true],
            "name" => ["a", "b", "a"],
        ]
        .unwrap();
        let day = Series::new("day".into(), [0_i32, 1, 2]).cast(&DataType::Date).unwrap();
        frame.with_column(day.into()).unwrap();
        let (_folder, path) = written(&mut frame);
        let (columns, found) =
            rows(&kind(&path, serde_json::json!({"types": {"name": "category"}, "roles": {"n": "key"}})));
        let shown: Vec<String> = columns
            .iter()
            .map(|column| {
                format!("{} {} {}{}", column.name, column.logical, column.role, if column.nullable { " ?" } else { "" })
            })
            .collect();
        assert_eq!(
            shown,
            ["n int key", "x float feature ?", "b bool feature", "name category feature", "day datetime feature"]
        );
        assert_eq!(found.height(), 3);
        let day = found.column("day").unwrap().as_materialized_series().to_physical_repr().into_owned();
        assert_eq!(day.i64().unwrap().get(1), Some(86_400_000_000));
        assert_eq!(found.column("x").unwrap().f64().unwrap().get(2), Some(2.5));
    }

    #[test]
    fn a_type_without_meaning_is_refused_until_it_is_left_out() {
        let mut frame = df!["a" => [1_i64, 2], "raw" => [&b"x"[..], &b"y"[..]]].unwrap();
        let (_folder, path) = written(&mut frame);
        let problems = kind(&path, serde_json::json!({})).peek().unwrap_err();
        assert_eq!(problems[0].code.name, "source.type");
        assert!(problems[0].message.contains("`raw`"));
        let (columns, _) = rows(&kind(&path, serde_json::json!({"columns": ["a"]})));
        assert_eq!(columns.len(), 1);
    }

    #[test]
    fn names_and_types_that_do_not_fit_are_problems_before_the_run() {
        let mut frame = df!["name" => ["a", "b"]].unwrap();
        let (_folder, path) = written(&mut frame);
        let options = serde_json::json!({"types": {"name": "int"}, "roles": {"nmae": "key"}});
        let problems = kind(&path, options).peek().unwrap_err();
        let codes: Vec<&str> = problems.iter().map(|problem| problem.code.name).collect();
        assert_eq!(codes, ["source.column", "source.type"]);
        assert!(problems[0].label.contains("`name`"));
    }

    #[test]
    fn a_file_that_is_not_there_is_absent_and_one_of_another_format_unreadable() {
        let absent = kind(std::path::Path::new("/nowhere/x.parquet"), serde_json::json!({})).peek().unwrap();
        assert!(matches!(absent, Peek::Absent(note) if note.contains("x.parquet")));
        let mut frame = df!["a" => [1_i64]].unwrap();
        let (_folder, path) = written(&mut frame);
        std::fs::write(&path, "no parquet").unwrap();
        assert_eq!(kind(&path, serde_json::json!({})).peek().unwrap_err()[0].code.name, "source.unreadable");
    }
}
