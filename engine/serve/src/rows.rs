//! Rows of JSON cells to a frame of typed columns, and predictions back to JSON.
//!
//! Promises: every problem of a body is found, in order of rows; a number that its column cannot hold exactly as meant
//! is refused, never rounded into another meaning; row order stays. Floats that JSON does not have (infinite, not a
//! number) are answered as null. Images and sounds come as base64 and are kept as long as the rows are.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use engine_core::{LogicalType, Size, nearest};
use engine_table::deployment::Lent;
use engine_table::{ColumnType, NodeError, empty_tensor_column, tensor_column, token_column};
use polars::prelude::{
    AnyValue, BooleanChunked, Column, DataFrame, DataType, Float64Chunked, Int64Chunked, IntoColumn, IntoSeries,
    NewChunkedArray, Series, StringChunked, TimeUnit,
};
use serde::{Serialize, Serializer};
use serde_json::{Number, Value};

use crate::body::RawRow;
use crate::fault::{Fault, RowProblem, RowProblems};
use crate::instant;

/// Text of a client that is told back is cut to so many characters.
const FOUND_LENGTH: usize = 40;

/// The columns of a request, ready to be filled.
#[derive(Debug, Clone)]
pub(crate) struct RequestColumns {
    columns: Vec<ColumnType>,
    places: BTreeMap<String, usize>,
    max_media_bytes: usize,
}

/// The rows of a request.
#[derive(Debug)]
pub(crate) struct Rows {
    pub frame: DataFrame,
    /// The images and sounds its cells name; to be kept until the rows are predicted.
    pub media: Vec<Lent>,
}

/// Where images and sounds of a request are kept.
pub(crate) type Lend<'a> = &'a dyn Fn(Vec<u8>) -> Lent;

impl RequestColumns {
    /// The columns, whose images and sounds may have `max_media_bytes` each; the first column that JSON cannot carry, if
    /// there is one.
    pub fn new(columns: &[ColumnType], max_media_bytes: usize) -> Result<RequestColumns, ColumnType> {
        if let Some(column) = columns.iter().find(|column| Builder::new(&column.logical, 0).is_none()) {
            return Err(column.clone());
        }
        let places = columns.iter().enumerate().map(|(place, column)| (column.name.clone(), place)).collect();
        Ok(RequestColumns { columns: columns.to_vec(), places, max_media_bytes })
    }

    /// The frame of `rows`; `lend` keeps their images and sounds.
    pub fn frame(&self, rows: Vec<RawRow>, lend: Lend<'_>) -> Result<Rows, Fault> {
        let mut media = Vec::new();
        let mut keep = |bytes: Vec<u8>| {
            let lent = lend(bytes);
            let cell = lent.digest().to_string();
            media.push(lent);
            cell
        };
        let height = rows.len();
        let new = |column: &ColumnType| Builder::new(&column.logical, height).expect("`new` checked every column");
        let mut builders: Vec<Builder> = self.columns.iter().map(new).collect();
        let mut problems = RowProblems::default();
        for (row, raw) in rows.into_iter().enumerate() {
            match raw {
                RawRow::Cells(cells) => self.row(row, cells, &mut keep, &mut builders, &mut problems),
                RawRow::NoObject(found) => problems.add(RowProblem {
                    code: "row.shape",
                    message: format!("row {row} is {found}, but a row is an object from column to value"),
                    row: Some(row),
                    expected: Some("object".to_owned()),
                    found: Some(found.to_owned()),
                    ..RowProblem::default()
                }),
            }
        }
        if !problems.is_empty() {
            return Err(Fault::Rows(problems));
        }
        let named = builders.into_iter().zip(&self.columns);
        let columns: Result<Vec<Column>, NodeError> =
            named.map(|(builder, column)| builder.finish(&column.name, height)).collect();
        Ok(Rows { frame: DataFrame::new(height, columns?).map_err(NodeError::failed)?, media })
    }

    fn row(
        &self,
        row: usize,
        cells: Vec<(String, Value)>,
        keep: &mut dyn FnMut(Vec<u8>) -> String,
        builders: &mut [Builder],
        problems: &mut RowProblems,
    ) {
        let mut values: Vec<Option<Value>> = vec![None; self.columns.len()];
        for (name, value) in cells {
            let Some(&place) = self.places.get(&name) else {
                problems.add(self.unknown(row, name));
                continue;
            };
            if values[place].replace(value).is_some() {
                problems.add(RowProblem {
                    code: "column.twice",
                    message: format!("row {row} gives `{name}` twice"),
                    row: Some(row),
                    column: Some(name),
                    ..RowProblem::default()
                });
            }
        }
        for ((column, builder), value) in self.columns.iter().zip(builders).zip(values) {
            let problem = match value {
                None | Some(Value::Null) if column.nullable && builder.push_null() => continue,
                None => ("column.missing", format!("row {row} has no `{}`", column.name), None),
                Some(value) => match self.push(builder, &value, keep) {
                    Ok(()) => continue,
                    Err(wrong) => {
                        let (code, what) = wrong.words(self.max_media_bytes);
                        let found = shown(&value);
                        let message = match wrong {
                            Wrong::Type => {
                                format!(
                                    "`{}` in row {row} must be of type {}, found {found}",
                                    column.name,
                                    expected(column)
                                )
                            }
                            _ => format!("`{}` in row {row} {what}: {found}", column.name),
                        };
                        (if value.is_null() { "column.null" } else { code }, message, Some(found))
                    }
                },
            };
            let (code, message, found) = problem;
            problems.add(RowProblem {
                code,
                message,
                row: Some(row),
                column: Some(column.name.clone()),
                expected: Some(expected(column)),
                found,
            });
        }
    }

    fn push(&self, builder: &mut Builder, value: &Value, keep: &mut dyn FnMut(Vec<u8>) -> String) -> Result<(), Wrong> {
        let Builder::Media(cells) = builder else { return builder.push(value) };
        let text = value.as_str().ok_or(Wrong::Type)?;
        // Four signs stand for three bytes; what is too large is not decoded.
        if text.len() / 4 > self.max_media_bytes / 3 + 1 {
            return Err(Wrong::TooLarge);
        }
        let bytes = STANDARD.decode(text).map_err(|_| Wrong::Base64)?;
        if bytes.len() > self.max_media_bytes {
            return Err(Wrong::TooLarge);
        }
        cells.push(Some(keep(bytes)));
        Ok(())
    }

    fn unknown(&self, row: usize, name: String) -> RowProblem {
        let near = nearest(&name, self.columns.iter().map(|column| column.name.as_str()));
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        RowProblem {
            code: "column.unknown",
            message: format!("row {row} has `{name}`, which is no column of a request{hint}"),
            row: Some(row),
            column: Some(name),
            ..RowProblem::default()
        }
    }
}

fn expected(column: &ColumnType) -> String {
    if matches!(column.logical, LogicalType::Image | LogicalType::Audio) {
        let or_null = if column.nullable { " or null" } else { "" };
        return format!("{} as base64{or_null}", column.logical);
    }
    if column.nullable { format!("{} or null", column.logical) } else { column.logical.to_string() }
}

fn shown(value: &Value) -> String {
    let cut = |text: String| match text.char_indices().nth(FOUND_LENGTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    };
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => format!("number {number}"),
        Value::String(text) => format!("text {}", cut(format!("{text:?}"))),
        Value::Array(list) => format!("list of {}", list.len()),
        Value::Object(_) => "object".to_owned(),
    }
}

/// Why a cell does not fit its column.
enum Wrong {
    Type,
    Range,
    Instant,
    Shape,
    Base64,
    TooLarge,
}

impl Wrong {
    fn words(&self, max_media_bytes: usize) -> (&'static str, String) {
        let (code, what) = match self {
            Wrong::Type => ("column.type", "has the wrong type"),
            Wrong::Range => ("column.range", "is out of range"),
            Wrong::Instant => ("column.datetime", "is no ISO 8601 date and time without an offset"),
            Wrong::Shape => ("column.shape", "has the wrong shape"),
            Wrong::Base64 => ("column.base64", "is no base64 text (RFC 4648, padded, without line breaks)"),
            Wrong::TooLarge => {
                return ("column.too_large", format!("has more than the {max_media_bytes} bytes that are allowed"));
            }
        };
        (code, what.to_owned())
    }
}

/// The values of a column so far.
enum Builder {
    Bool(Vec<Option<bool>>),
    Int(Vec<Option<i64>>),
    Float(Vec<Option<f64>>),
    Text(Vec<Option<String>>),
    Datetime(Vec<Option<i64>>),
    /// Digests of what is kept elsewhere.
    Media(Vec<Option<String>>),
    Tokens {
        width: usize,
        values: Vec<u32>,
    },
    Tensor {
        shape: Vec<usize>,
        values: Vec<f32>,
    },
}

impl Builder {
    /// `None` for types that JSON does not carry (yet): lists, sizes that are not known.
    fn new(logical: &LogicalType, rows: usize) -> Option<Builder> {
        let known = |size: &Size| match size {
            Size::Known(size) => usize::try_from(*size).ok(),
            Size::Symbol(_) => None,
        };
        Some(match logical {
            LogicalType::Bool => Builder::Bool(Vec::with_capacity(rows)),
            LogicalType::Int => Builder::Int(Vec::with_capacity(rows)),
            LogicalType::Float => Builder::Float(Vec::with_capacity(rows)),
            LogicalType::Category | LogicalType::Text => Builder::Text(Vec::with_capacity(rows)),
            LogicalType::Datetime => Builder::Datetime(Vec::with_capacity(rows)),
            LogicalType::Tokens(size) => Builder::Tokens { width: known(size)?, values: Vec::new() },
            LogicalType::Tensor(shape) => {
                let shape: Vec<usize> = shape.iter().map(known).collect::<Option<_>>()?;
                Builder::Tensor { shape, values: Vec::new() }
            }
            LogicalType::Image | LogicalType::Audio => Builder::Media(Vec::with_capacity(rows)),
            LogicalType::List(_) => return None,
        })
    }

    /// Whether a null could be added: tensors hold none.
    fn push_null(&mut self) -> bool {
        match self {
            Builder::Bool(values) => values.push(None),
            Builder::Int(values) | Builder::Datetime(values) => values.push(None),
            Builder::Float(values) => values.push(None),
            Builder::Text(values) | Builder::Media(values) => values.push(None),
            Builder::Tokens { .. } | Builder::Tensor { .. } => return false,
        }
        true
    }

    fn push(&mut self, value: &Value) -> Result<(), Wrong> {
        match self {
            Builder::Bool(values) => values.push(Some(value.as_bool().ok_or(Wrong::Type)?)),
            Builder::Int(values) => values.push(Some(whole(value)?)),
            Builder::Float(values) => values.push(Some(value.as_f64().ok_or(Wrong::Type)?)),
            Builder::Text(values) | Builder::Media(values) => {
                values.push(Some(value.as_str().ok_or(Wrong::Type)?.to_owned()));
            }
            Builder::Datetime(values) => {
                let text = value.as_str().ok_or(Wrong::Type)?;
                values.push(Some(instant::parse(text).ok_or(Wrong::Instant)?));
            }
            Builder::Tokens { width, values } => {
                let list = value.as_array().ok_or(Wrong::Type)?;
                if list.len() != *width {
                    return Err(Wrong::Shape);
                }
                let tokens = list.iter().map(|token| u32::try_from(whole(token)?).map_err(|_| Wrong::Range));
                values.extend(tokens.collect::<Result<Vec<u32>, Wrong>>()?);
            }
            Builder::Tensor { shape, values } => {
                let mut floats = Vec::with_capacity(shape.iter().product());
                flatten(value, shape, &mut floats)?;
                values.append(&mut floats);
            }
        }
        Ok(())
    }

    fn finish(self, name: &str, height: usize) -> Result<Column, NodeError> {
        let series = match self {
            Builder::Bool(values) => BooleanChunked::from_slice_options(name.into(), &values).into_series(),
            Builder::Int(values) => Int64Chunked::from_slice_options(name.into(), &values).into_series(),
            Builder::Float(values) => Float64Chunked::from_slice_options(name.into(), &values).into_series(),
            Builder::Text(values) | Builder::Media(values) => {
                StringChunked::from_slice_options(name.into(), &values).into_series()
            }
            Builder::Datetime(values) => {
                let micros = Int64Chunked::from_slice_options(name.into(), &values).into_series();
                micros.cast(&DataType::Datetime(TimeUnit::Microseconds, None)).map_err(NodeError::failed)?
            }
            Builder::Tokens { width, values } => return token_column(name, width, values),
            Builder::Tensor { shape, values } => {
                return match shape.iter().product() {
                    0 => empty_tensor_column(name, height),
                    width => tensor_column(name, width, values),
                };
            }
        };
        Ok(series.into_column())
    }
}

/// A whole number that is exactly meant: also `3.0`, which some clients write for 3.
fn whole(value: &Value) -> Result<i64, Wrong> {
    if let Some(whole) = value.as_i64() {
        return Ok(whole);
    }
    let number = value.as_f64().ok_or(Wrong::Type)?;
    // Beyond 2^53 a float no longer says which whole number was meant.
    match number {
        _ if number.fract() != 0.0 => Err(Wrong::Type),
        _ if number.abs() > 9_007_199_254_740_992.0 => Err(Wrong::Range),
        _ => Ok(number as i64),
    }
}

fn flatten(value: &Value, shape: &[usize], floats: &mut Vec<f32>) -> Result<(), Wrong> {
    let Some((&length, inner)) = shape.split_first() else {
        let float = value.as_f64().ok_or(Wrong::Type)? as f32;
        if !float.is_finite() {
            return Err(Wrong::Range);
        }
        floats.push(float);
        return Ok(());
    };
    let list = value.as_array().ok_or(Wrong::Type)?;
    let flat = !inner.is_empty() && list.len() == shape.iter().product::<usize>() && list.iter().all(Value::is_number);
    if flat {
        return list.iter().try_for_each(|number| flatten(number, &[], floats));
    }
    if list.len() != length {
        return Err(Wrong::Shape);
    }
    list.iter().try_for_each(|part| flatten(part, inner, floats))
}

/// The predictions as `{"predictions": [{..}, ..]}`, columns in order.
pub(crate) fn predictions(frame: &DataFrame) -> serde_json::Result<Vec<u8>> {
    let columns: Vec<(String, Vec<Value>)> = frame
        .columns()
        .iter()
        .map(|column| {
            let series = column.as_materialized_series().rechunk();
            (column.name().to_string(), series.iter().map(|cell| cell_json(&cell)).collect())
        })
        .collect();
    let rows = (0..frame.height()).map(|row| PredictionRow { columns: &columns, row }).collect();
    serde_json::to_vec(&Predictions { predictions: rows })
}

#[derive(Serialize)]
struct Predictions<'a> {
    predictions: Vec<PredictionRow<'a>>,
}

struct PredictionRow<'a> {
    columns: &'a [(String, Vec<Value>)],
    row: usize,
}

impl Serialize for PredictionRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.columns.iter().map(|(name, cells)| (name, &cells[self.row])))
    }
}

fn cell_json(cell: &AnyValue<'_>) -> Value {
    let list = |series: &Series| Value::Array(series.iter().map(|cell| cell_json(&cell)).collect());
    match cell {
        AnyValue::Boolean(truth) => Value::Bool(*truth),
        AnyValue::Int64(whole) => Value::from(*whole),
        AnyValue::UInt32(whole) => Value::from(*whole),
        AnyValue::Float64(float) => float_json(*float),
        // The shortest text that gives the same 32-bit float, not the digits of its 64-bit neighbour.
        AnyValue::Float32(float) => float_json(float.to_string().parse().unwrap_or(f64::NAN)),
        AnyValue::String(text) => Value::from(*text),
        AnyValue::StringOwned(text) => Value::from(text.as_str()),
        AnyValue::Datetime(micros, TimeUnit::Microseconds, _) => Value::from(instant::text(*micros)),
        AnyValue::Array(series, _) => list(series),
        AnyValue::List(series) => list(series),
        AnyValue::Null => Value::Null,
        other => Value::from(other.to_string()),
    }
}

fn float_json(float: f64) -> Value {
    Number::from_f64(float).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use engine_core::Digest;
    use engine_table::Blobs;
    use engine_table::deployment::Media;

    use super::*;
    use crate::body::parse;

    fn columns() -> RequestColumns {
        RequestColumns::new(
            &[
                ColumnType::new("tenure", LogicalType::Float),
                ColumnType::new("visits", LogicalType::Int).with_nullable(true),
                ColumnType::new("plan", LogicalType::Category).with_nullable(true),
                ColumnType::new("since", LogicalType::Datetime).with_nullable(true),
                ColumnType::new("active", LogicalType::Bool).with_nullable(true),
            ],
            1000,
        )
        .unwrap()
    }

    fn frame(body: &str) -> Result<DataFrame, Fault> {
        let media = Arc::new(Media::default());
        Ok(columns().frame(parse(body.as_bytes(), 100)?, &|bytes| media.lend(bytes.into()))?.frame)
    }

    fn problems(body: &str) -> Vec<String> {
        let Err(Fault::Rows(problems)) = frame(body) else { panic!("no problems in {body}") };
        problems.told.iter().map(|problem| format!("{} {}", problem.code, problem.message)).collect()
    }

    #[test]
    fn rows_become_typed_columns_and_come_back() {
        let frame = frame(
            r#"[{"tenure": 3, "visits": 2.0, "plan": "gold", "since": "2024-01-02", "active": true}, {"tenure": 0.1, "plan": ""}]"#,
        )
        .unwrap();
        let text = String::from_utf8(predictions(&frame).unwrap()).unwrap();
        assert_eq!(
            text,
            r#"{"predictions":[{"tenure":3.0,"visits":2,"plan":"gold","since":"2024-01-02T00:00:00","active":true},{"tenure":0.1,"visits":null,"plan":"","since":null,"active":null}]}"#
        );
    }

    #[test]
    fn every_problem_names_row_and_column() {
        let told = problems(
            r#"[{"tenure": "abc"}, {"visits": 1}, {"tenure": 1, "tenur": 2}, {"tenure": null}, 5, {"tenure": 1, "tenure": 2}]"#,
        );
        assert_eq!(
            told,
            [
                "column.type `tenure` in row 0 must be of type float, found text \"abc\"",
                "column.missing row 1 has no `tenure`",
                "column.unknown row 2 has `tenur`, which is no column of a request; did you mean `tenure`?",
                "column.null `tenure` in row 3 must be of type float, found null",
                "row.shape row 4 is a number, but a row is an object from column to value",
                "column.twice row 5 gives `tenure` twice",
            ]
        );
    }

    #[test]
    fn numbers_are_not_bent_to_fit() {
        for (cell, code) in [
            ("1.5", "column.type"),
            ("1e300", "column.range"),
            ("18446744073709551615", "column.range"),
            ("true", "column.type"),
            ("\"1\"", "column.type"),
        ] {
            let told = problems(&format!(r#"[{{"tenure": 1, "visits": {cell}}}]"#));
            assert!(told[0].starts_with(code), "{cell}: {told:?}");
        }
    }

    #[test]
    fn tensors_are_nested_or_flat() {
        let shape = LogicalType::Tensor(vec![Size::Known(2), Size::Known(2)]);
        let columns = RequestColumns::new(&[ColumnType::new("crop", shape)], 0).unwrap();
        let media = Arc::new(Media::default());
        let frame = |body: &str| {
            let rows = columns.frame(parse(body.as_bytes(), 10).unwrap(), &|bytes| media.lend(bytes.into()))?;
            Ok::<_, Fault>(rows.frame)
        };
        let nested = frame(r#"[{"crop": [[1, 2], [3, 0.1]]}]"#).unwrap();
        assert!(nested.equals(&frame(r#"[{"crop": [1, 2, 3, 0.1]}]"#).unwrap()));
        assert_eq!(predictions(&nested).unwrap(), br#"{"predictions":[{"crop":[1.0,2.0,3.0,0.1]}]}"#);
        for wrong in ["[1, 2, 3]", "[[1, 2], [3]]", "[[1, 2], [3, \"x\"]]", "null", "[[1, 2], [3, 1e300]]"] {
            assert!(matches!(frame(&format!(r#"[{{"crop": {wrong}}}]"#)), Err(Fault::Rows(_))), "{wrong}");
        }
        assert_eq!(frame("[]").unwrap().height(), 0);
    }

    #[test]
    fn what_json_cannot_carry_is_named_before_anything_is_served() {
        let list = ColumnType::new("words", LogicalType::List(Box::new(LogicalType::Text)));
        assert_eq!(RequestColumns::new(std::slice::from_ref(&list), 0).unwrap_err(), list);
    }

    #[test]
    fn images_and_sounds_come_as_base64_and_go_with_their_rows() {
        let columns = [
            ColumnType::new("photo", LogicalType::Image),
            ColumnType::new("voice", LogicalType::Audio).with_nullable(true),
        ];
        let columns = RequestColumns::new(&columns, 6).unwrap();
        let media = Arc::new(Media::default());
        let rows = |body: &str| columns.frame(parse(body.as_bytes(), 10).unwrap(), &|bytes| media.lend(bytes.into()));
        // "hello" and "", and the same picture in two rows.
        let sent = rows(r#"[{"photo": "aGVsbG8=", "voice": ""}, {"photo": "aGVsbG8="}]"#).unwrap();
        let cells: Vec<_> = sent.frame.column("photo").unwrap().str().unwrap().iter().flatten().collect();
        let digest = Digest::of(b"hello");
        assert_eq!(cells, [digest.to_string(), digest.to_string()]);
        assert_eq!(&*media.read(&digest).unwrap(), b"hello");
        assert_eq!(sent.frame.column("voice").unwrap().null_count(), 1);
        drop(sent);
        assert!(media.read(&digest).is_err(), "gone with the request");
        let Err(Fault::Rows(problems)) = rows(
            r#"[{"photo": "no base64"}, {"photo": "aGVsbG8"}, {"photo": "aGVsbG8hISE="}, {"photo": 3}, {"photo": null}]"#,
        ) else {
            panic!("all rows are wrong")
        };
        let told: Vec<_> = problems.told.iter().map(|problem| (problem.code, problem.row.unwrap())).collect();
        let expected = [
            ("column.base64", 0),
            ("column.base64", 1),
            ("column.too_large", 2),
            ("column.type", 3),
            ("column.null", 4),
        ];
        assert_eq!(told, expected);
        assert!(problems.told[2].message.contains("more than the 6 bytes"), "{}", problems.told[2].message);
        assert_eq!(problems.told[0].expected.as_deref(), Some("image as base64"));
    }

    #[test]
    fn floats_that_json_does_not_have_are_null() {
        assert_eq!(cell_json(&AnyValue::Float64(f64::NAN)), Value::Null);
        assert_eq!(cell_json(&AnyValue::Float64(f64::INFINITY)), Value::Null);
        assert_eq!(cell_json(&AnyValue::Float32(0.1)).to_string(), "0.1");
    }
}
