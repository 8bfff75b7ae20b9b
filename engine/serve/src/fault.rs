//! What a client is told when a request cannot be answered: a status and a JSON body.

use engine_table::NodeError;
use serde::Serialize;
use serde_json::{Value, json};

/// At most so many problems of one body are told.
pub(crate) const MOST_PROBLEMS: usize = 20;

/// One thing wrong with a request's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub(crate) struct RowProblem {
    /// As in `column.type`.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// The row, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<usize>,
    /// The column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What should stand there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

impl RowProblem {
    /// Every code there is.
    pub const CODES: [&'static str; 11] = [
        "row.shape",
        "column.unknown",
        "column.twice",
        "column.missing",
        "column.null",
        "column.type",
        "column.range",
        "column.datetime",
        "column.shape",
        "column.base64",
        "column.too_large",
    ];
}

/// The problems of a body, the first [`MOST_PROBLEMS`] of them.
#[derive(Debug, Default)]
pub(crate) struct RowProblems {
    pub told: Vec<RowProblem>,
    pub all: usize,
}

impl RowProblems {
    pub fn add(&mut self, problem: RowProblem) {
        self.all += 1;
        if self.told.len() < MOST_PROBLEMS {
            self.told.push(problem);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.all == 0
    }
}

/// Why a request is not answered.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The body is not JSON.
    Syntax { message: String, line: usize, column: usize },
    /// The body is JSON of another shape.
    Shape { message: String, line: usize, column: usize },
    /// Rows that do not fit the request's columns.
    Rows(RowProblems),
    /// More rows than a request may have.
    TooManyRows { limit: usize },
    /// A larger body than a request may have.
    TooLarge { limit: usize },
    /// The body did not come in time.
    SlowBody { seconds: f64 },
    /// The connection broke while the body came.
    BrokenBody { message: String },
    /// Not `application/json`.
    ContentType { found: String },
    /// No such path.
    Path { path: String },
    /// The path has other methods.
    Method { method: String, path: String },
    /// Too much waits already.
    Busy { waiting: usize },
    /// The prediction took too long.
    Timeout { seconds: f64 },
    /// The server is being stopped.
    Stopping,
    /// The values do not allow a prediction.
    Refused { message: String },
    /// Something that may work a moment later.
    Unavailable { message: String },
    /// A fault of the program; the log has the same id.
    Failed { id: String },
}

impl Fault {
    /// The status it is answered with.
    pub fn status(&self) -> u16 {
        match self {
            Fault::Syntax { .. } | Fault::Shape { .. } | Fault::BrokenBody { .. } => 400,
            Fault::Path { .. } => 404,
            Fault::Method { .. } => 405,
            Fault::SlowBody { .. } => 408,
            Fault::TooLarge { .. } | Fault::TooManyRows { .. } => 413,
            Fault::ContentType { .. } => 415,
            Fault::Rows(_) | Fault::Refused { .. } => 422,
            Fault::Failed { .. } => 500,
            Fault::Busy { .. } | Fault::Timeout { .. } | Fault::Stopping | Fault::Unavailable { .. } => 503,
        }
    }

    /// Whether the client should try again, and after how many seconds.
    pub fn retry_after(&self) -> Option<u32> {
        matches!(self, Fault::Busy { .. } | Fault::Timeout { .. } | Fault::Stopping | Fault::Unavailable { .. })
            .then_some(1)
    }

    /// The body: `{"error": {"code", "message", ..}}`. Several problems of rows stand in `problems`, the first also
    /// in `error` itself.
    pub fn body(&self) -> Value {
        let mut error = match self {
            Fault::Rows(problems) => {
                let mut error = json!(problems.told.first());
                error["problems"] = json!(problems.told);
                error["problem_count"] = json!(problems.all);
                error
            }
            other => json!({"code": other.code(), "message": other.message()}),
        };
        match self {
            Fault::Syntax { line, column, .. } | Fault::Shape { line, column, .. } => {
                error["line"] = json!(line);
                error["column"] = json!(column);
            }
            Fault::Failed { id } => error["id"] = json!(id),
            _ => {}
        }
        json!({ "error": error })
    }

    fn code(&self) -> &'static str {
        match self {
            Fault::Syntax { .. } => "body.syntax",
            Fault::Shape { .. } => "body.shape",
            Fault::Rows(_) => "rows",
            Fault::TooManyRows { .. } => "rows.too_many",
            Fault::TooLarge { .. } => "body.too_large",
            Fault::SlowBody { .. } => "body.timeout",
            Fault::BrokenBody { .. } => "body.broken",
            Fault::ContentType { .. } => "body.content_type",
            Fault::Path { .. } => "path.unknown",
            Fault::Method { .. } => "path.method",
            Fault::Busy { .. } => "server.busy",
            Fault::Timeout { .. } => "server.timeout",
            Fault::Stopping => "server.stopping",
            Fault::Refused { .. } => "prediction.refused",
            Fault::Unavailable { .. } => "prediction.unavailable",
            Fault::Failed { .. } => "prediction.failed",
        }
    }

    fn message(&self) -> String {
        match self {
            Fault::Syntax { message, line, column } => {
                format!("the body is not JSON: {message} at line {line} column {column}")
            }
            Fault::Shape { message, .. } => format!("{message}; send {{\"rows\": [{{...}}, ...]}} or [{{...}}, ...]"),
            Fault::Rows(problems) => format!("{} problems in the rows", problems.all),
            Fault::TooManyRows { limit } => format!("a request may have at most {limit} rows; send them in parts"),
            Fault::TooLarge { limit } => format!("a body may have at most {limit} bytes; send the rows in parts"),
            Fault::SlowBody { seconds } => format!("the body did not arrive within {seconds} s"),
            Fault::BrokenBody { message } => format!("the body could not be read: {message}"),
            Fault::ContentType { found } => {
                format!("the body is {found}, but it must be JSON; send the header `content-type: application/json`")
            }
            Fault::Path { path } => {
                format!(
                    "there is no `{path}`; there are /predict, /schema, /openapi.json, /health, /ready and /metrics"
                )
            }
            Fault::Method { method, path } => format!("`{path}` has no {method}; the header `allow` names what it has"),
            Fault::Busy { waiting } => format!("{waiting} requests wait already; try again in a moment"),
            Fault::Timeout { seconds } => format!("no prediction within {seconds} s; send fewer rows, or try again"),
            Fault::Stopping => "the server is being stopped".to_owned(),
            Fault::Refused { message } | Fault::Unavailable { message } => message.clone(),
            Fault::Failed { id } => format!("the prediction failed; the server's log says why under the id {id}"),
        }
    }
}

impl From<NodeError> for Fault {
    fn from(error: NodeError) -> Fault {
        match error {
            NodeError::Failed(message) => Fault::Refused { message },
            NodeError::Transient(message) => Fault::Unavailable { message },
            NodeError::Cancelled => Fault::Stopping,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_problem_stands_in_the_error_itself() {
        let mut problems = RowProblems::default();
        for row in 0..30 {
            problems.add(RowProblem {
                code: "column.type",
                message: "`tenure` is a text".into(),
                row: Some(row),
                column: Some("tenure".into()),
                expected: Some("float".into()),
                found: Some("text \"abc\"".into()),
            });
        }
        let body = Fault::Rows(problems).body();
        let error = &body["error"];
        assert_eq!((error["code"].as_str(), error["row"].as_u64()), (Some("column.type"), Some(0)));
        assert_eq!((error["expected"].as_str(), error["found"].as_str()), (Some("float"), Some("text \"abc\"")));
        assert_eq!((error["problems"].as_array().unwrap().len(), error["problem_count"].as_u64()), (20, Some(30)));
    }
}
