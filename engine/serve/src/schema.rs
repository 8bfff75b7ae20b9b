//! What a client sends and is given, as JSON schemas (draft 2020-12) of whole bodies.

use std::collections::BTreeMap;

use engine_table::ColumnType;
use engine_table::deployment::{Side, row_schema};
use serde_json::{Map, Value, json};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// What a deployment takes and gives.
pub(crate) struct Interface<'a> {
    pub request: &'a [ColumnType],
    pub response: &'a [ColumnType],
    /// For response columns of few and known values, these.
    pub values: &'a BTreeMap<String, Vec<Value>>,
    pub max_rows: usize,
    pub max_media_bytes: usize,
}

impl Interface<'_> {
    /// The schema of a row that is sent.
    pub fn sent(&self) -> Value {
        without_draft(row_schema("row", self.request, Side::Request { max_media_bytes: Some(self.max_media_bytes) }))
    }

    /// The schema of a row that is given.
    pub fn given(&self) -> Value {
        without_draft(row_schema("prediction", self.response, Side::Response { values: self.values }))
    }

    /// The schema of the body of a request, whose rows have the schema `row`: a map with the key `rows`, or the bare list.
    pub fn request_body(&self, row: &Value) -> Value {
        let rows = json!({ "type": "array", "maxItems": self.max_rows, "items": row });
        let named = json!({
            "type": "object",
            "properties": { "rows": rows },
            "required": ["rows"],
            "additionalProperties": false,
        });
        json!({ "anyOf": [named, rows] })
    }

    /// The schema of the body of an answer, whose rows have the schema `row`.
    pub fn response_body(&self, row: &Value) -> Value {
        json!({
            "type": "object",
            "properties": { "predictions": { "type": "array", "maxItems": self.max_rows, "items": row } },
            "required": ["predictions"],
            "additionalProperties": false,
        })
    }

    /// `{"request": .., "response": ..}`: what `GET /schema` answers.
    pub fn schemas(&self) -> Value {
        let with_draft = |body: Value| {
            let mut schema = Map::from_iter([("$schema".to_owned(), json!(DRAFT))]);
            schema.extend(body.as_object().cloned().unwrap_or_default());
            Value::Object(schema)
        };
        json!({
            "request": with_draft(self.request_body(&self.sent())),
            "response": with_draft(self.response_body(&self.given())),
        })
    }
}

fn without_draft(mut schema: Value) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("$schema");
    }
    schema
}

#[cfg(test)]
mod tests {
    use engine_core::LogicalType;

    use super::*;

    #[test]
    fn rows_come_named_or_bare_and_no_more_than_may_come() {
        let request = [ColumnType::new("age", LogicalType::Int)];
        let response = [ColumnType::new("score", LogicalType::Float)];
        let interface = Interface {
            request: &request,
            response: &response,
            values: &BTreeMap::new(),
            max_rows: 7,
            max_media_bytes: 9,
        };
        let schemas = interface.schemas();
        let rows = &schemas["request"]["anyOf"][0]["properties"]["rows"];
        assert_eq!(rows, &schemas["request"]["anyOf"][1]);
        assert_eq!((rows["maxItems"].as_u64(), &rows["items"]["required"]), (Some(7), &json!(["age"])));
        let given = &schemas["response"]["properties"]["predictions"]["items"];
        assert_eq!(given["properties"]["score"]["type"], json!(["number", "null"]));
    }
}
