//! The server described as an OpenAPI 3.1 document.
//!
//! Promise: every status, header and body the server answers on a path and method of the document is in it, and what it
//! says of a request's rows is exactly what the server takes.

use serde_json::{Value, json};

use crate::fault::RowProblem;
use crate::schema::Interface;

/// The document of the deployment called `name`.
pub(crate) fn document(name: &str, interface: &Interface<'_>) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A trained model behind HTTP. What a row is given does not depend on the rows beside it. \
    Every error is JSON with a code and a message; an unknown path is 404 and another method 405, whose header `allow` \
    names what there is.",
        },
        "servers": [{ "url": "/" }],
        "paths": {
            "/predict": { "post": predict() },
            "/schema": { "get": read("schema", "The JSON schemas of requests and answers", reference("Schemas"), &[]) },
            "/openapi.json": { "get": read("openapi", "This document", reference("OpenApi"), &[]) },
            "/health": { "get": read("health", "Answers while the process lives", reference("Health"), &[]) },
            "/ready": {
                "get": read(
                    "ready",
                    "Answers while requests are taken",
                    reference("Ready"),
                    &[("503", "The server is being stopped")],
                ),
            },
            "/metrics": { "get": metrics() },
        },
        "components": { "schemas": schemas(interface), "headers": headers() },
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn answer(description: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

/// An error that goes away by itself says when to come again.
fn passing(description: &str) -> Value {
    let mut answer = answer(description, &reference("Fault"));
    answer["headers"] = json!({ "retry-after": { "$ref": "#/components/headers/RetryAfter" } });
    answer
}

fn predict() -> Value {
    let fault = reference("Fault");
    json!({
        "operationId": "predict",
        "summary": "Predicts every row, in order",
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": reference("Request") } },
        },
        "responses": {
            "200": answer("A prediction for each row, in the same order", &reference("Answer")),
            "400": answer("The body is not JSON, has another shape, or did not come whole", &reference("BodyFault")),
            "408": answer("The body did not come in time", &fault),
            "413": answer("The body is too large, or has too many rows", &fault),
            "415": answer("The body is not said to be JSON", &fault),
            "422": answer("A row does not fit, or its values do not allow a prediction", &reference("RowsFault")),
            "500": answer("The prediction failed; the server's log says why under the id", &reference("ServerFault")),
            "503": passing("Too much waits, the prediction took too long, or the server is being stopped"),
        },
    })
}

fn read(id: &str, summary: &str, schema: Value, passing_faults: &[(&str, &str)]) -> Value {
    let mut responses = json!({ "200": answer(summary, &schema) });
    for (status, description) in passing_faults {
        responses[status] = passing(description);
    }
    json!({ "operationId": id, "summary": summary, "responses": responses })
}

fn metrics() -> Value {
    json!({
        "operationId": "metrics",
        "summary": "Counts and times for Prometheus",
        "responses": {
            "200": {
                "description": "A page in the text format of OpenMetrics",
                "content": { "application/openmetrics-text": { "schema": { "type": "string" } } },
            },
        },
    })
}

fn headers() -> Value {
    json!({
        "RetryAfter": {
            "description": "Seconds after which to try again",
            "required": true,
            "schema": { "type": "integer", "minimum": 0 },
        },
    })
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// `{"error": ..}` with a code out of `codes` and what stands beside code and message.
fn fault(codes: &[&str], beside: &Value, required: &[&str]) -> Value {
    let mut properties = json!({ "code": { "enum": codes }, "message": { "type": "string" } });
    for (name, schema) in beside.as_object().into_iter().flatten() {
        properties[name] = schema.clone();
    }
    let required: Vec<&str> = ["code", "message"].into_iter().chain(required.iter().copied()).collect();
    object(json!({ "error": object(properties, &required) }), &["error"])
}

fn schemas(interface: &Interface<'_>) -> Value {
    let count = json!({ "type": "integer", "minimum": 0 });
    let text = json!({ "type": "string" });
    let about_a_row = json!({ "row": count, "column": text, "expected": text, "found": text });
    let mut problem = json!({ "code": { "enum": RowProblem::CODES }, "message": text });
    for (name, schema) in about_a_row.as_object().into_iter().flatten() {
        problem[name] = schema.clone();
    }
    let mut about_rows = about_a_row.clone();
    about_rows["problems"] = json!({ "type": "array", "items": reference("RowProblem") });
    about_rows["problem_count"] = count.clone();
    let row_codes: Vec<&str> = RowProblem::CODES.iter().copied().chain(["prediction.refused"]).collect();
    json!({
        "Row": interface.sent(),
        "Request": interface.request_body(&reference("Row")),
        "Prediction": interface.given(),
        "Answer": interface.response_body(&reference("Prediction")),
        "Fault": fault(
            &[
                "body.timeout", "body.too_large", "rows.too_many", "body.content_type", "server.busy", "server.timeout",
                "server.stopping", "prediction.unavailable",
            ],
            &json!({}),
            &[],
        ),
        "BodyFault": fault(
            &["body.syntax", "body.shape", "body.broken"],
            &json!({ "line": count, "column": count }),
            &[],
        ),
        "RowsFault": fault(&row_codes, &about_rows, &[]),
        "RowProblem": object(problem, &["code", "message"]),
        "ServerFault": fault(&["prediction.failed"], &json!({ "id": text }), &["id"]),
        "Schemas": object(json!({ "request": { "type": "object" }, "response": { "type": "object" } }), &["request", "response"]),
        "OpenApi": { "type": "object", "required": ["openapi", "info", "paths"] },
        "Health": object(json!({ "status": { "const": "alive" } }), &["status"]),
        "Ready": object(json!({ "status": { "const": "ready" }, "deployment": text }), &["status", "deployment"]),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use engine_core::LogicalType;
    use engine_table::ColumnType;

    use super::*;

    fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(entries) => {
                found.extend(entries.get("$ref").and_then(Value::as_str));
                entries.values().for_each(|entry| references(entry, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let request = [ColumnType::new("age", LogicalType::Int)];
        let response = [ColumnType::new("score", LogicalType::Float)];
        let values = BTreeMap::new();
        let interface =
            Interface { request: &request, response: &response, values: &values, max_rows: 7, max_media_bytes: 9 };
        let document = document("scores", &interface);
        let mut found = Vec::new();
        references(&document, &mut found);
        for pointer in &found {
            assert!(document.pointer(pointer.trim_start_matches('#')).is_some(), "{pointer}");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(found.iter().any(|pointer| pointer.ends_with(&format!("/{name}"))), "nobody refers to {name}");
        }
        assert_eq!(document["components"]["schemas"]["Row"]["required"], json!(["age"]));
    }
}
