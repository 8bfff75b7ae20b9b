//! What polars knows of a column as a logical type, and values brought into that type's layout.

use engine_core::{LogicalType, Size};
use polars::prelude::*;

/// What a polars type means; `None` if it has no logical type.
pub(crate) fn logical_type(dtype: &DataType) -> Option<LogicalType> {
    Some(match dtype {
        DataType::Boolean => LogicalType::Bool,
        dtype if dtype.is_integer() => LogicalType::Int,
        dtype if dtype.is_float() => LogicalType::Float,
        DataType::Decimal(..) => LogicalType::Float,
        DataType::String => LogicalType::Text,
        DataType::Categorical(..) | DataType::Enum(..) => LogicalType::Category,
        DataType::Date | DataType::Datetime(..) => LogicalType::Datetime,
        DataType::List(element) => LogicalType::List(Box::new(logical_type(element)?)),
        DataType::Array(element, width) if element.is_primitive_numeric() => {
            LogicalType::Tensor(vec![Size::Known(*width as u64)])
        }
        _ => return None,
    })
}

/// Whether values of `from` can be kept as `asked` without a value that does not fit.
pub(crate) fn can_read_as(from: &LogicalType, asked: &LogicalType) -> bool {
    use LogicalType::{Category, Float, Int, Text};
    from == asked || matches!((from, asked), (Text, Category) | (Category, Text) | (Int, Float | Category | Text))
}

/// The values in the layout of `logical`; a value that does not fit is an error.
pub(crate) fn to_layout(series: &Series, logical: &LogicalType) -> PolarsResult<Series> {
    Ok(match logical {
        LogicalType::Datetime => to_datetime(series)?,
        LogicalType::Tensor(shape) => {
            let [Size::Known(width)] = shape.as_slice() else { return Ok(series.clone()) };
            series.strict_cast(&DataType::Array(Box::new(DataType::Float32), *width as usize))?
        }
        logical => series.strict_cast(&layout(logical))?,
    })
}

fn layout(logical: &LogicalType) -> DataType {
    match logical {
        LogicalType::Bool => DataType::Boolean,
        LogicalType::Int => DataType::Int64,
        LogicalType::Float => DataType::Float64,
        LogicalType::Datetime => DataType::Datetime(TimeUnit::Microseconds, None),
        LogicalType::List(element) => DataType::List(Box::new(layout(element))),
        _ => DataType::String,
    }
}

/// Microseconds in universal time; a zone only says how a time is shown.
fn to_datetime(series: &Series) -> PolarsResult<Series> {
    let zone = match series.dtype() {
        DataType::Datetime(_, zone) => zone.clone(),
        _ => None,
    };
    let microseconds = series.strict_cast(&DataType::Datetime(TimeUnit::Microseconds, zone))?;
    let physical = microseconds.to_physical_repr().into_owned();
    Ok(physical.i64()?.clone().into_datetime(TimeUnit::Microseconds, None).into_series())
}

/// The first line of a polars error, without the plan it adds.
pub(crate) fn first_line(error: &impl std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
