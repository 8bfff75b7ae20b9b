//! What a row of a request or a prediction looks like, as JSON schema.

use engine_core::{LogicalType, Size};
use serde_json::{Map, Value, json};

use crate::ColumnType;

/// The JSON schema (draft 2020-12) of a row with `columns`; a column that may be missing may be null or left out.
pub fn row_schema(title: &str, columns: &[ColumnType]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for column in columns {
        let mut schema = cell_schema(&column.logical);
        if column.nullable {
            schema = json!({ "anyOf": [schema, { "type": "null" }] });
        } else {
            required.push(json!(column.name));
        }
        properties.insert(column.name.clone(), schema);
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

fn cell_schema(logical: &LogicalType) -> Value {
    match logical {
        LogicalType::Bool => json!({ "type": "boolean" }),
        LogicalType::Int => json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX }),
        LogicalType::Float => json!({ "type": "number" }),
        LogicalType::Category | LogicalType::Text => json!({ "type": "string" }),
        LogicalType::Datetime => json!({ "type": "string", "description": "ISO 8601, without a zone" }),
        LogicalType::Image | LogicalType::Audio => json!({ "type": "string", "contentEncoding": "base64" }),
        LogicalType::Tokens(size) => array(json!({ "type": "integer", "minimum": 0 }), std::slice::from_ref(size)),
        LogicalType::Tensor(shape) => array(json!({ "type": "number" }), shape),
        LogicalType::List(element) => json!({ "type": "array", "items": cell_schema(element) }),
    }
}

/// A flat array; its length is the product of the shape.
fn array(items: Value, shape: &[Size]) -> Value {
    let product: Option<u64> = shape
        .iter()
        .map(|size| match size {
            Size::Known(size) => Some(*size),
            Size::Symbol(_) => None,
        })
        .product();
    match product {
        Some(length) => json!({ "type": "array", "items": items, "minItems": length, "maxItems": length }),
        None => json!({ "type": "array", "items": items }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_missing_is_not_required() {
        let columns = [
            ColumnType::new("age", LogicalType::Int),
            ColumnType::new("job", LogicalType::Category).with_nullable(true),
        ];
        let schema = row_schema("request", &columns);
        assert_eq!(schema["required"], json!(["age"]));
        assert_eq!(schema["properties"]["job"]["anyOf"][1]["type"], "null");
    }
}
