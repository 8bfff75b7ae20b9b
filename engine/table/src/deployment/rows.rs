//! What a row of a request or a prediction looks like, as JSON schema.
//!
//! Promise: a schema takes exactly what a server takes, except that it cannot say how large a whole request may be, nor
//! whether a picture can be decoded.

use std::collections::BTreeMap;

use engine_core::{LogicalType, Size};
use serde_json::{Map, Value, json};

use crate::ColumnType;

/// Whose row it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Side<'a> {
    /// A client sends it.
    Request {
        /// The bytes an image or sound may have, if there is a limit.
        max_media_bytes: Option<usize>,
    },
    /// A client is given it.
    Response {
        /// For columns of few and known values, these.
        values: &'a BTreeMap<String, Vec<Value>>,
    },
}

/// The JSON schema (draft 2020-12) of a row with `columns`. A client may leave out what may be null; an answer leaves
/// nothing out.
pub fn row_schema(title: &str, columns: &[ColumnType], side: Side<'_>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for column in columns {
        if !column.nullable || matches!(side, Side::Response { .. }) {
            required.push(json!(column.name));
        }
        properties.insert(column.name.clone(), cell_schema(column, side));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn cell_schema(column: &ColumnType, side: Side<'_>) -> Value {
    let mut schema = of_type(&column.logical, side);
    if let Side::Response { values } = side
        && let Some(values) = values.get(&column.name)
    {
        schema["enum"] = json!(values);
    }
    // Floats that JSON does not have (infinite, not a number) are answered as null.
    let nullable = column.nullable || (side.is_response() && column.logical == LogicalType::Float);
    if let (true, Some(name)) = (nullable, schema["type"].as_str().map(str::to_owned)) {
        schema["type"] = json!([name, "null"]);
        if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
            values.push(Value::Null);
        }
    }
    schema["description"] = json!(column.logical.to_string());
    schema
}

impl Side<'_> {
    fn is_response(self) -> bool {
        matches!(self, Side::Response { .. })
    }
}

fn of_type(logical: &LogicalType, side: Side<'_>) -> Value {
    match logical {
        LogicalType::Bool => json!({ "type": "boolean" }),
        LogicalType::Int => json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX }),
        LogicalType::Float => json!({ "type": "number", "minimum": f64::MIN, "maximum": f64::MAX }),
        LogicalType::Category | LogicalType::Text => json!({ "type": "string" }),
        LogicalType::Datetime => json!({ "type": "string", "pattern": instant(), "examples": ["2024-01-31T12:00:00"] }),
        LogicalType::Image | LogicalType::Audio => media(side),
        LogicalType::Tokens(size) => array(&json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }), size),
        LogicalType::Tensor(shape) => tensor(shape, side),
        LogicalType::List(element) => json!({ "type": "array", "items": of_type(element, side) }),
    }
}

/// Padded base64 (RFC 4648) whose last sign has no bits that stand for nothing.
fn media(side: Side<'_>) -> Value {
    const BASE64: &str = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";
    let mut schema = json!({ "type": "string", "contentEncoding": "base64", "pattern": BASE64 });
    if let Side::Request { max_media_bytes: Some(most) } = side {
        schema["maxLength"] = json!(most.div_ceil(3) * 4);
    }
    schema
}

/// Nested lists or one flat one for a client, a flat one for an answer.
fn tensor(shape: &[Size], side: Side<'_>) -> Value {
    let number = json!({ "type": "number", "minimum": f64::from(f32::MIN), "maximum": f64::from(f32::MAX) });
    let all: Option<u64> =
        shape.iter().map(|size| if let Size::Known(size) = size { Some(*size) } else { None }).product();
    let flat = array(&number, &all.map_or_else(|| Size::Symbol("size".to_owned()), Size::Known));
    if shape.len() < 2 || side.is_response() {
        return flat;
    }
    let nested = shape.iter().rev().fold(number, |inner, size| array(&inner, size));
    json!({ "anyOf": [nested, flat] })
}

fn array(items: &Value, size: &Size) -> Value {
    match size {
        Size::Known(size) => json!({ "type": "array", "items": items, "minItems": size, "maxItems": size }),
        Size::Symbol(_) => json!({ "type": "array", "items": items }),
    }
}

/// ISO 8601 dates of the calendar, leap years and all, with or without a time, without an offset but `Z`.
fn instant() -> String {
    const YEAR: &str = "[0-9]{4}";
    const LEAP_YEAR: &str = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)";
    const TIME: &str = "(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\\.[0-9]{1,9})?)?";
    let of_31 = "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])";
    let of_30 = "(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)";
    let february = "02-(?:0[1-9]|1[0-9]|2[0-8])";
    format!("^(?:{YEAR}-(?:{of_31}|{of_30}|{february})|{LEAP_YEAR}-02-29)(?:[T ]{TIME})?Z?$")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Side<'static> = Side::Request { max_media_bytes: Some(4) };

    #[test]
    fn what_may_be_missing_is_not_required_of_a_client_and_given_to_it() {
        let columns = [
            ColumnType::new("age", LogicalType::Int),
            ColumnType::new("job", LogicalType::Category).with_nullable(true),
        ];
        let schema = row_schema("request", &columns, SENT);
        assert_eq!(schema["required"], json!(["age"]));
        assert_eq!(schema["properties"]["job"]["type"], json!(["string", "null"]));
        let values = BTreeMap::from([("job".to_owned(), vec![json!("cook")])]);
        let schema = row_schema("prediction", &columns, Side::Response { values: &values });
        assert_eq!(schema["required"], json!(["age", "job"]));
        assert_eq!(schema["properties"]["job"]["enum"], json!(["cook", null]));
    }

    #[test]
    fn media_say_how_long_their_text_may_be() {
        let schema = row_schema("request", &[ColumnType::new("photo", LogicalType::Image)], SENT);
        assert_eq!(schema["properties"]["photo"]["maxLength"], json!(8));
    }

    #[test]
    fn a_client_may_nest_a_tensor_and_is_given_a_flat_one() {
        let column = ColumnType::new("t", LogicalType::Tensor(vec![Size::Known(2), Size::Known(3)]));
        let sent = row_schema("request", std::slice::from_ref(&column), SENT);
        assert_eq!(sent["properties"]["t"]["anyOf"][0]["items"]["maxItems"], 3);
        assert_eq!(sent["properties"]["t"]["anyOf"][1]["maxItems"], 6);
        let given = row_schema("prediction", &[column], Side::Response { values: &BTreeMap::new() });
        assert_eq!(given["properties"]["t"]["maxItems"], 6);
    }
}
