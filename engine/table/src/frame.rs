//! Logical types as polars types, and the check of what a kind gives back.

use std::collections::BTreeMap;

use engine_core::{LogicalType, Size};
use polars::prelude::*;
use polars_arrow::array::{Array, FixedSizeListArray, PrimitiveArray};
use polars_arrow::datatypes::{ArrowDataType, Field as ArrowField};
use polars_arrow::types::NativeType;

use crate::{ColumnType, NodeError};

/// How a column of a logical type is stored; `None` while a size in it is a symbol.
pub fn dtype_of(logical: &LogicalType) -> Option<DataType> {
    Some(match logical {
        LogicalType::Bool => DataType::Boolean,
        LogicalType::Int => DataType::Int64,
        LogicalType::Float => DataType::Float64,
        // Images and sounds are digests of their blobs, as hexadecimal text.
        LogicalType::Category | LogicalType::Text | LogicalType::Image | LogicalType::Audio => DataType::String,
        LogicalType::Datetime => DataType::Datetime(TimeUnit::Microseconds, None),
        LogicalType::Tokens(size) => DataType::Array(Box::new(DataType::UInt32), known_width([size])?),
        LogicalType::Tensor(shape) => DataType::Array(Box::new(DataType::Float32), known_width(shape)?),
        LogicalType::List(element) => DataType::List(Box::new(dtype_of(element)?)),
    })
}

/// The product of sizes; `None` if one is a symbol, or if there is no such memory.
fn known_width<'a>(shape: impl IntoIterator<Item = &'a Size>) -> Option<usize> {
    shape.into_iter().try_fold(1_usize, |product, size| match size {
        Size::Known(size) => product.checked_mul(usize::try_from(*size).ok()?),
        Size::Symbol(_) => None,
    })
}

/// The columns with every symbol in `sizes` replaced by its value; symbols that are not in it stay.
#[must_use]
pub fn with_sizes(columns: &[ColumnType], sizes: &BTreeMap<String, u64>) -> Vec<ColumnType> {
    columns.iter().map(|column| ColumnType { logical: sized(&column.logical, sizes), ..column.clone() }).collect()
}

fn sized(logical: &LogicalType, sizes: &BTreeMap<String, u64>) -> LogicalType {
    let value = |size: &Size| match size {
        Size::Symbol(name) => sizes.get(name).map_or_else(|| size.clone(), |value| Size::Known(*value)),
        Size::Known(_) => size.clone(),
    };
    match logical {
        LogicalType::Tokens(size) => LogicalType::Tokens(value(size)),
        LogicalType::Tensor(shape) => LogicalType::Tensor(shape.iter().map(value).collect()),
        LogicalType::List(element) => LogicalType::List(Box::new(sized(element, sizes))),
        plain => plain.clone(),
    }
}

/// Whether `frame` is what was declared: names and order, types, no gaps where none were declared, and equal sizes
/// where one symbol stands for them (see [`with_sizes`] for symbols whose value is known).
///
/// # Errors
/// The first column that is not as declared, with what was expected and what was found.
pub fn check_frame(frame: &DataFrame, columns: &[ColumnType]) -> Result<(), NodeError> {
    let found: Vec<&str> = frame.columns().iter().map(|column| column.name().as_str()).collect();
    if !found.iter().eq(columns.iter().map(|column| &column.name)) {
        let expected: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        return Err(NodeError::Failed(format!("expected the columns {}, found {}", listed(&expected), listed(&found))));
    }
    let mut symbols = BTreeMap::new();
    frame.columns().iter().zip(columns).try_for_each(|(values, column)| check_column(values, column, &mut symbols))
}

fn check_column<'a>(
    values: &Column,
    column: &'a ColumnType,
    symbols: &mut BTreeMap<&'a str, usize>,
) -> Result<(), NodeError> {
    let name = &column.name;
    if !is_stored_as(&column.logical, values.dtype(), symbols) {
        let stored = match dtype_of(&column.logical) {
            Some(dtype) => format!(", stored as {dtype}"),
            None => String::new(),
        };
        return Err(NodeError::Failed(format!(
            "the column `{name}` is declared as {}{stored}, found {}{}",
            column.logical,
            values.dtype(),
            known_symbols(symbols)
        )));
    }
    let nulls = values.null_count();
    if nulls > 0 && (!column.nullable || holds_no_nulls(&column.logical)) {
        let row = first_null(values).map_or_else(String::new, |row| format!(", the first in row {row}"));
        let way_out = if holds_no_nulls(&column.logical) {
            "a tensor holds no gaps: fill the gaps of its source column, for example by `clean.impute`"
        } else {
            "fill them, for example by `clean.impute`, or declare the column nullable"
        };
        return Err(NodeError::Failed(format!(
            "the column `{name}` has {nulls} gaps in {} rows{row}, and none were declared; {way_out}",
            values.len()
        )));
    }
    if holds_no_nulls(&column.logical) && leaf_nulls(values.as_materialized_series()) > 0 {
        return Err(NodeError::Failed(format!("the column `{name}` has gaps inside its {} cells", column.logical)));
    }
    Ok(())
}

fn holds_no_nulls(logical: &LogicalType) -> bool {
    matches!(logical, LogicalType::Tensor(_) | LogicalType::Tokens(_))
}

/// Whether `dtype` is the stored form of `logical`; symbols take the first size that fits and keep it.
fn is_stored_as<'a>(logical: &'a LogicalType, dtype: &DataType, symbols: &mut BTreeMap<&'a str, usize>) -> bool {
    match (logical, dtype) {
        (LogicalType::List(element), DataType::List(inner)) => is_stored_as(element, inner, symbols),
        (LogicalType::Tokens(size), DataType::Array(inner, width)) => {
            **inner == DataType::UInt32 && is_width_of(std::slice::from_ref(size), *width, symbols)
        }
        (LogicalType::Tensor(shape), DataType::Array(inner, width)) => {
            **inner == DataType::Float32 && is_width_of(shape, *width, symbols)
        }
        _ => dtype_of(logical).is_some_and(|expected| expected == *dtype),
    }
}

fn is_width_of<'a>(shape: &'a [Size], width: usize, symbols: &mut BTreeMap<&'a str, usize>) -> bool {
    let mut known = 1_usize;
    let mut open: Vec<&'a str> = Vec::new();
    for size in shape {
        let value = match size {
            Size::Known(size) => usize::try_from(*size).unwrap_or(usize::MAX),
            Size::Symbol(name) => match symbols.get(name.as_str()) {
                Some(value) => *value,
                None => {
                    open.push(name);
                    continue;
                }
            },
        };
        known = known.saturating_mul(value);
    }
    match open.as_slice() {
        [] => known == width,
        [symbol] if known > 0 && width.is_multiple_of(known) => {
            symbols.insert(symbol, width / known);
            true
        }
        [_] => known == 0 && width == 0,
        // Two unknown sizes cannot be told apart from their product.
        _ => {
            if known == 0 {
                width == 0
            } else {
                width.is_multiple_of(known)
            }
        }
    }
}

fn known_symbols(symbols: &BTreeMap<&str, usize>) -> String {
    if symbols.is_empty() {
        return String::new();
    }
    let known: Vec<String> = symbols.iter().map(|(name, size)| format!("|{name}| is {size}")).collect();
    format!(" (where {})", known.join(", "))
}

fn first_null(values: &Column) -> Option<usize> {
    values.is_null().iter().position(|is_null| is_null == Some(true))
}

fn leaf_nulls(series: &Series) -> usize {
    series.array().map_or(0, |array| array.get_inner().null_count())
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// No rows of `columns`.
///
/// # Errors
/// If the size of a column is a symbol.
pub fn empty_frame(columns: &[ColumnType]) -> Result<DataFrame, NodeError> {
    let empty = |column: &ColumnType| match dtype_of(&column.logical) {
        Some(DataType::Array(inner, width)) if *inner == DataType::Float32 => {
            fixed_width_column::<f32>(&column.name, width, Vec::new())
        }
        Some(DataType::Array(_, width)) => fixed_width_column::<u32>(&column.name, width, Vec::new()),
        Some(dtype) => Ok(Series::new_empty(column.name.as_str().into(), &dtype).into()),
        None => Err(NodeError::Failed(format!(
            "the column `{}` is {}, and its size is known only after a fit",
            column.name, column.logical
        ))),
    };
    let columns: Vec<Column> = columns.iter().map(empty).collect::<Result<_, _>>()?;
    DataFrame::new(0, columns).map_err(NodeError::failed)
}

/// `frames` below each other, one chunk a column. Invariant (of the caller): there is at least one, and all have the
/// same columns.
///
/// # Errors
/// If they have other columns than the first.
pub fn concatenated(frames: Vec<DataFrame>) -> Result<DataFrame, NodeError> {
    let mut frames = frames.into_iter();
    let mut whole = frames.next().unwrap_or_default();
    for frame in frames {
        whole.vstack_mut_owned(frame).map_err(NodeError::failed)?;
    }
    whole.rechunk_mut();
    Ok(whole)
}

/// A tensor column of `values`, row after row, `width` values each (the product of the shape); nothing is copied.
///
/// # Errors
/// If the values do not fill whole rows, or `width` is 0 (see [`empty_tensor_column`]).
pub fn tensor_column(name: &str, width: usize, values: Vec<f32>) -> Result<Column, NodeError> {
    fixed_width_column(name, width, values)
}

/// A token column of `values`, row after row, `width` values each; nothing is copied.
///
/// # Errors
/// As [`tensor_column`].
pub fn token_column(name: &str, width: usize, values: Vec<u32>) -> Result<Column, NodeError> {
    fixed_width_column(name, width, values)
}

/// A tensor column of `rows` tensors without values: one-hot over no categories.
///
/// # Errors
/// None that a caller can cause.
pub fn empty_tensor_column(name: &str, rows: usize) -> Result<Column, NodeError> {
    array_column::<f32>(name, 0, rows, Vec::new())
}

fn fixed_width_column<T: NativeType>(name: &str, width: usize, values: Vec<T>) -> Result<Column, NodeError> {
    if values.is_empty() {
        return array_column(name, width, 0, values);
    }
    if width == 0 || !values.len().is_multiple_of(width) {
        return Err(NodeError::Failed(format!(
            "the column `{name}` has {} values, which is no multiple of its width {width}",
            values.len()
        )));
    }
    let rows = values.len() / width;
    array_column(name, width, rows, values)
}

/// An array column of `rows` cells of `width` values each.
pub(crate) fn array_column<T: NativeType>(
    name: &str,
    width: usize,
    rows: usize,
    values: Vec<T>,
) -> Result<Column, NodeError> {
    let values = PrimitiveArray::<T>::from_vec(values);
    let item = ArrowField::new("item".into(), values.dtype().clone(), true);
    let dtype = ArrowDataType::FixedSizeList(Box::new(item), width);
    let array = FixedSizeListArray::try_new(dtype, rows, values.boxed(), None).map_err(NodeError::failed)?;
    let series = Series::try_from((PlSmallStr::from(name), array.boxed())).map_err(NodeError::failed)?;
    Ok(series.into())
}

/// The values of a tensor column, row after row, without a copy; `None` if it has several chunks, gaps, or is no
/// tensor.
pub fn tensor_slice(series: &Series) -> Option<&[f32]> {
    leaf_slice(series)
}

/// The values of a token column, row after row, without a copy; `None` as in [`tensor_slice`].
pub fn token_slice(series: &Series) -> Option<&[u32]> {
    leaf_slice(series)
}

fn leaf_slice<T: NativeType>(series: &Series) -> Option<&[T]> {
    let [chunk] = series.chunks().as_slice() else { return None };
    let mut array: &dyn Array = chunk.as_ref();
    while let Some(nested) = array.as_any().downcast_ref::<FixedSizeListArray>() {
        if nested.null_count() > 0 {
            return None;
        }
        array = nested.values().as_ref();
    }
    let leaf = array.as_any().downcast_ref::<PrimitiveArray<T>>()?;
    if leaf.null_count() > 0 { None } else { Some(leaf.values().as_slice()) }
}

/// How many bytes the values of a column take, whatever buffers they share: the weight by which chunks and segments
/// are cut. Equal values have equal weight.
pub fn value_bytes(series: &Series) -> u64 {
    let rows = series.len() as u64;
    match series.dtype() {
        DataType::Boolean => rows.div_ceil(8),
        DataType::String => {
            let text = |text: Option<&str>| text.map_or(0, |text| text.len() as u64);
            16 * rows + series.str().map_or(0, |texts| texts.iter().map(text).sum())
        }
        DataType::Binary => {
            let bytes = |bytes: Option<&[u8]>| bytes.map_or(0, |bytes| bytes.len() as u64);
            16 * rows + series.binary().map_or(0, |cells| cells.iter().map(bytes).sum())
        }
        DataType::Array(_, _) => series.array().map_or(0, |array| value_bytes(&array.get_inner())),
        DataType::List(_) => {
            let trimmed = series.trim_lists_to_normalized_offsets();
            let lists = trimmed.as_ref().unwrap_or(series);
            8 * rows + lists.list().map_or(0, |lists| value_bytes(&lists.get_inner()))
        }
        DataType::Int8 | DataType::UInt8 => rows,
        DataType::Int16 | DataType::UInt16 => 2 * rows,
        DataType::Int32 | DataType::UInt32 | DataType::Float32 | DataType::Date => 4 * rows,
        _ => 8 * rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, logical: &str) -> ColumnType {
        ColumnType::new(name, logical.parse().unwrap())
    }

    fn message(frame: &DataFrame, columns: &[ColumnType]) -> String {
        check_frame(frame, columns).unwrap_err().to_string()
    }

    #[test]
    fn every_sized_type_has_an_empty_column_of_its_own() {
        let types = [
            "bool",
            "int",
            "float",
            "category",
            "text",
            "datetime",
            "image",
            "audio",
            "tokens[3]",
            "tensor[2, 2]",
            "tensor[0]",
            "list<int>",
            "list<tensor[2]>",
        ];
        let columns: Vec<ColumnType> = types.iter().map(|logical| column(logical, logical)).collect();
        let frame = empty_frame(&columns).unwrap();
        assert_eq!(frame.shape(), (0, types.len()));
        check_frame(&frame, &columns).unwrap();
        for (values, column) in frame.columns().iter().zip(&columns) {
            assert_eq!(Some(values.dtype().clone()), dtype_of(&column.logical), "{}", column.logical);
        }
        assert_eq!(dtype_of(&"tensor[2, |n|]".parse().unwrap()), None);
        assert!(empty_frame(&[column("t", "tensor[|n|]")]).unwrap_err().to_string().contains("`t`"));
    }

    #[test]
    fn what_is_not_as_declared_is_named() {
        let frame = df!["a" => [Some(1_i64), None], "b" => ["x", "y"]].unwrap();
        let good = [column("a", "int").with_nullable(true), column("b", "category")];
        check_frame(&frame, &good).unwrap();
        assert_eq!(
            message(&frame, &[column("b", "text"), column("a", "int")]),
            "expected the columns `b`, `a`, found `a`, `b`"
        );
        let text = message(&frame, &[column("a", "float").with_nullable(true), column("b", "text")]);
        assert_eq!(text, "the column `a` is declared as float, stored as f64, found i64");
        let text = message(&frame, &[column("a", "int"), column("b", "text")]);
        assert!(text.starts_with("the column `a` has 1 gaps in 2 rows, the first in row 1"), "{text}");
    }

    #[test]
    fn one_symbol_is_one_size() {
        let frame = |a: usize, b: usize| {
            let columns = vec![
                tensor_column("a", a, vec![0.0; a * 2]).unwrap(),
                tensor_column("b", b, vec![0.0; b * 2]).unwrap(),
            ];
            DataFrame::new(2, columns).unwrap()
        };
        let columns = [column("a", "tensor[|n|]"), column("b", "tensor[3, |n|]")];
        check_frame(&frame(2, 6), &columns).unwrap();
        assert!(message(&frame(2, 9), &columns).ends_with("(where |n| is 2)"));
        assert!(check_frame(&frame(2, 7), &columns).is_err());
        let known = with_sizes(&columns, &BTreeMap::from([("n".to_owned(), 2)]));
        assert_eq!(known[1].logical.to_string(), "tensor[3, 2]");
        check_frame(&frame(2, 6), &known).unwrap();
        assert!(message(&frame(3, 9), &known).contains("`a` is declared as tensor[2]"));
    }

    #[test]
    fn a_tensor_is_its_values_without_a_copy() {
        let values: Vec<f32> = (0..12_u8).map(f32::from).collect();
        let place = values.as_ptr();
        let series = tensor_column("t", 4, values).unwrap().take_materialized_series();
        assert_eq!(series.dtype(), &DataType::Array(Box::new(DataType::Float32), 4));
        assert_eq!(tensor_slice(&series).unwrap().as_ptr(), place);
        assert_eq!(tensor_slice(&series.slice(1, 1)).unwrap(), [4.0, 5.0, 6.0, 7.0]);
        assert_eq!(token_slice(&series), None);
        assert_eq!(tensor_slice(&Series::new("x".into(), [1.0_f64])), None);
        assert!(tensor_column("t", 5, vec![0.0; 12]).unwrap_err().to_string().contains("`t` has 12 values"));
        let empty = empty_tensor_column("t", 3).unwrap();
        assert_eq!((empty.len(), tensor_slice(empty.as_materialized_series())), (3, Some(&[][..])));
    }

    #[test]
    fn gaps_in_a_tensor_are_refused_even_if_declared() {
        let series = tensor_column("t", 2, vec![1.0; 6]).unwrap().take_materialized_series();
        let mask = BooleanChunked::from_slice("m".into(), &[true, false, true]);
        let gaps = series.zip_with(&mask, &Series::full_null("t".into(), 3, series.dtype())).unwrap();
        let frame = DataFrame::new(3, vec![gaps.into()]).unwrap();
        let text = message(&frame, &[column("t", "tensor[2]").with_nullable(true)]);
        assert!(text.contains("a tensor holds no gaps"), "{text}");
    }

    #[test]
    fn weight_goes_by_values_not_buffers() {
        let text = Series::new("s".into(), ["a long text that does not fit into a view", "b", "c"]);
        assert_eq!(value_bytes(&text.slice(1, 2)), value_bytes(&Series::new("s".into(), ["b", "c"])));
        let lists = Series::new("l".into(), [Series::new("".into(), [1_i64, 2]), Series::new("".into(), [3_i64])]);
        assert_eq!(value_bytes(&lists), 2 * 8 + 3 * 8);
        assert_eq!(value_bytes(&lists.slice(1, 1)), 8 + 8);
        assert_eq!(value_bytes(&Series::new("b".into(), [true; 9])), 2);
    }
}
