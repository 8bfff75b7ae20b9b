//! What a client sends and is given, as JSON schemas (draft 2020-12).

use engine_core::{LogicalType, Size};
use engine_table::ColumnType;
use serde_json::{Map, Value, json};

/// `{"request": .., "response": ..}`: the schemas of whole bodies.
pub(crate) fn schemas(request: &[ColumnType], response: &[ColumnType], most_rows: usize) -> Value {
    json!({
        "request": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"rows": {"type": "array", "maxItems": most_rows, "items": row(request, Side::Request)}},
            "required": ["rows"],
            "additionalProperties": false,
        },
        "response": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"predictions": {"type": "array", "items": row(response, Side::Response)}},
            "required": ["predictions"],
        },
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Request,
    Response,
}

fn row(columns: &[ColumnType], side: Side) -> Value {
    let properties: Map<String, Value> =
        columns.iter().map(|column| (column.name.clone(), cell(column, side))).collect();
    // A client may leave out what may be null; an answer leaves nothing out.
    let required: Vec<&str> = columns
        .iter()
        .filter(|column| side == Side::Response || !column.nullable)
        .map(|column| column.name.as_str())
        .collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn cell(column: &ColumnType, side: Side) -> Value {
    let mut schema = of_type(&column.logical);
    // Floats that JSON does not have are answered as null.
    let nullable = column.nullable || (side == Side::Response && column.logical == LogicalType::Float);
    if let (true, Some(name)) = (nullable, schema["type"].as_str().map(str::to_owned)) {
        schema["type"] = json!([name, "null"]);
    }
    schema["description"] = json!(column.logical.to_string());
    schema
}

fn of_type(logical: &LogicalType) -> Value {
    let list = |size: &Size, items: Value| match size {
        Size::Known(size) => json!({"type": "array", "items": items, "minItems": size, "maxItems": size}),
        Size::Symbol(_) => json!({"type": "array", "items": items}),
    };
    match logical {
        LogicalType::Bool => json!({"type": "boolean"}),
        LogicalType::Int => json!({"type": "integer"}),
        LogicalType::Float => json!({"type": "number"}),
        LogicalType::Category | LogicalType::Text | LogicalType::Image | LogicalType::Audio => {
            json!({"type": "string"})
        }
        LogicalType::Datetime => json!({"type": "string", "examples": ["2024-01-31T12:00:00"]}),
        LogicalType::Tokens(size) => list(size, json!({"type": "integer", "minimum": 0})),
        LogicalType::Tensor(shape) => {
            shape.iter().rev().fold(json!({"type": "number"}), |inner, size| list(size, inner))
        }
        LogicalType::List(element) => json!({"type": "array", "items": of_type(element)}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_null_need_not_be_sent() {
        let request = [
            ColumnType::new("age", LogicalType::Int),
            ColumnType::new("plan", LogicalType::Category).with_nullable(true),
        ];
        let schema = schemas(&request, &[ColumnType::new("score", LogicalType::Float)], 7);
        let rows = &schema["request"]["properties"]["rows"];
        assert_eq!((rows["maxItems"].as_u64(), &rows["items"]["required"]), (Some(7), &json!(["age"])));
        assert_eq!(rows["items"]["properties"]["plan"]["type"], json!(["string", "null"]));
        assert_eq!(schema["response"]["properties"]["predictions"]["items"]["required"], json!(["score"]));
    }
}
