//! The kind `test.secret`: opens a secret and says it wherever a careless kind could.

use std::path::PathBuf;

use engine_core::{LogicalType, Serving};
use engine_table::{ColumnType, Context, Describe, NodeError, Peek, Problem, Source};
use polars::prelude::{Column, DataFrame};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the secret is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    /// Nowhere.
    Nowhere,
    /// In a warning.
    Warning,
    /// In an error.
    Error,
    /// In a panic.
    Panic,
    /// In a cell of the table.
    Cell,
}

/// Opens a secret and makes a table of one row.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretOptions {
    /// The secret, as `${env.NAME}`.
    pub token: String,
    /// Where its value is said.
    pub said: Said,
}

/// The kind `test.secret`.
pub struct Secret {
    options: SecretOptions,
}

impl Describe for Secret {
    const KIND: &'static str = "test.secret";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = r"fuseline: 1
name: secret
nodes:
  rows: {uses: test.secret, with: {token: none, said: nowhere}}
";
    const SERVING: Serving = Serving::Refuse;
    const OPENS_SECRETS: bool = true;
    type Options = SecretOptions;

    fn new(options: SecretOptions) -> Result<Self, Vec<Problem>> {
        Ok(Secret { options })
    }
}

impl Source for Secret {
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn peek(&self) -> Result<Peek, Vec<Problem>> {
        Ok(Peek::Columns(vec![ColumnType::new("answer", LogicalType::Text)]))
    }

    fn read(
        &self,
        _columns: &[ColumnType],
        context: &Context,
        emit: &mut dyn FnMut(DataFrame) -> Result<(), NodeError>,
    ) -> Result<(), NodeError> {
        let token = context.secret(&self.options.token)?;
        let mut answer = token.len().to_string();
        match self.options.said {
            Said::Nowhere => {}
            Said::Warning => context.progress.warning(&format!("the door took {token} as its key")),
            Said::Error => return Err(NodeError::Failed(format!("the door did not take {token}"))),
            Said::Panic => panic!("the door broke on {token}"),
            Said::Cell => answer = format!("opened with {token}"),
        }
        let column = Column::new("answer".into(), [answer]);
        emit(DataFrame::new(1, vec![column]).map_err(NodeError::failed)?)
    }
}
