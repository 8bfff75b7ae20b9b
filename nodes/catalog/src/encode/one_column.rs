//! What the encoders of one column share: the column, and the column that says in which rows there is something to
//! read.

use engine_core::{LogicalType, Role, Size};
use engine_table::{At, COLUMN_ROLE, ColumnType, OPTION_INVALID, Problem, TableType};
use nodes_models::{ConfigError, EncoderConfig};

use crate::model::codes::{ENCODE_COLUMN, ENCODE_PRESENT, ENCODE_SHAPE};
use crate::place;

/// What a kind of encoder takes.
pub(super) struct Taken {
    /// As in `encode.image`.
    pub(super) kind: &'static str,
    /// As in `tensor[channels, height, width]`.
    pub(super) form: &'static str,
    /// The raw form, as in `image`.
    pub(super) raw: &'static [LogicalType],
    /// The kind that makes the one of the other.
    pub(super) made_by: &'static str,
}

/// The column that the option `column` names: a feature.
///
/// # Errors
/// If there is no such column, or it is no feature.
pub(super) fn column<'t>(table: &'t TableType, name: &str) -> Result<&'t ColumnType, Problem> {
    let column = table.require(name, place::option("column"))?;
    if column.role == Role::Feature {
        return Ok(column);
    }
    let message = format!("`{name}` has the role {}, and an encoder reads features only", column.role);
    Err(Problem::error(&COLUMN_ROLE, place::option("column"), message).label("not a feature"))
}

impl Taken {
    /// The sizes of `column`, which must be so many and known.
    ///
    /// # Errors
    /// If the column is of another type, naming the kind that makes such a column of it.
    pub(super) fn sizes<const N: usize>(&self, column: &ColumnType) -> Result<[usize; N], Problem> {
        let ColumnType { name, logical, .. } = column;
        let Taken { kind, form, made_by, .. } = self;
        let sizes: Option<&[Size]> = match logical {
            LogicalType::Tokens(size) if self.raw.contains(&LogicalType::Text) => Some(std::slice::from_ref(size)),
            LogicalType::Tensor(shape) if !self.raw.contains(&LogicalType::Text) => Some(shape),
            _ => None,
        };
        let problem = |message: String| {
            Problem::error(&ENCODE_COLUMN, place::option("column"), message).label(logical.to_string())
        };
        let Some(sizes) = sizes.filter(|sizes| sizes.len() == N) else {
            let help = if self.raw.contains(logical) {
                format!("put `uses: {made_by}` with `column: {name}` before this node, and name its new column here")
            } else {
                format!("`{made_by}` makes such a column")
            };
            return Err(problem(format!("`{name}` is {logical}, and `{kind}` takes {form}")).help(help));
        };
        let known = |size: &Size| match size {
            Size::Known(size) => usize::try_from(*size).ok(),
            Size::Symbol(_) => None,
        };
        let known: Option<Vec<usize>> = sizes.iter().map(known).collect();
        known.and_then(|known| <[usize; N]>::try_from(known).ok()).ok_or_else(|| {
            problem(format!(
                "`{name}` is {logical}, whose size is known only after a fit, and `{kind}` needs it before"
            ))
            .help(format!("`{made_by}` makes a column of a size that its options say"))
        })
    }
}

/// The column that says in which rows `column` has something to read: the one the option `present` names, else the one
/// that stands beside a column made of one with gaps; `None` if every row has it.
///
/// # Errors
/// If the option names no column of truth values without gaps.
pub(super) fn present(table: &TableType, named: Option<&str>, column: Option<&str>) -> Result<Option<String>, Problem> {
    let is_mask = |column: &ColumnType| column.logical == LogicalType::Bool && !column.nullable;
    let Some(name) = named else {
        let beside = column.and_then(|column| table.column(&format!("{column}_present")));
        return Ok(beside
            .filter(|beside| is_mask(beside) && beside.role == Role::Feature)
            .map(|beside| beside.name.clone()));
    };
    let at = place::option("present");
    let mask = table.require(name, at.clone())?;
    if is_mask(mask) {
        return Ok(Some(mask.name.clone()));
    }
    let gaps = if mask.nullable { " with gaps" } else { "" };
    let message = format!("`{name}` is {}{gaps}, and `present` takes a bool column without gaps", mask.logical);
    Err(Problem::error(&ENCODE_PRESENT, at, message)
        .label(mask.logical.to_string())
        .help(format!("`extract.columns` computes one: `columns: {{is_there: {name} IS NOT NULL}}`")))
}

/// Checks the layers against what they read; `kind` is for the message.
///
/// # Errors
/// What does not fit, at the option it is about.
pub(super) fn check(config: &EncoderConfig, kind: &str) -> Result<(), Problem> {
    config.check(kind).map_err(|error| {
        let message = error.to_string();
        match error {
            ConfigError::Stages { .. } => Problem::error(&ENCODE_SHAPE, place::option("channels"), message)
                .help("take fewer stages, or larger images"),
            ConfigError::Heads { .. } => {
                Problem::error(&ENCODE_SHAPE, place::option("heads"), message).help("the heads share the width evenly")
            }
            ConfigError::Dropout { .. } => Problem::error(&OPTION_INVALID, place::option("dropout"), message),
            _ => Problem::error(&ENCODE_SHAPE, At::Node, message),
        }
    })
}
