//! Logical types, sizes, roles and parts: what is known of a column before a row is read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length known when the graph is planned, or only after a fit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Size {
    /// A number.
    Known(u64),
    /// A name such as `|vocab(tokens)|`; equal names are equal sizes.
    Symbol(String),
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Known(n) => write!(f, "{n}"),
            Size::Symbol(name) => write!(f, "|{name}|"),
        }
    }
}

impl FromStr for Size {
    type Err = ParseLogicalTypeError;

    fn from_str(text: &str) -> Result<Size, ParseLogicalTypeError> {
        let text = text.trim();
        if let Some(name) = text.strip_prefix('|').and_then(|t| t.strip_suffix('|')) {
            return Ok(Size::Symbol(name.to_owned()));
        }
        text.parse().map(Size::Known).map_err(|_| ParseLogicalTypeError(text.to_owned()))
    }
}

/// What a column means, independent of how it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogicalType {
    /// True or false.
    Bool,
    /// A 64-bit signed integer.
    Int,
    /// A 64-bit float.
    Float,
    /// One of a few values; stored as text, codes exist only inside fitted artifacts and models.
    Category,
    /// Free text; empty text is present, null is missing.
    Text,
    /// A point in time, microseconds, no zone.
    Datetime,
    /// The digest of an image blob.
    Image,
    /// The digest of a sound blob.
    Audio,
    /// Token numbers, padded to a length.
    Tokens(Size),
    /// 32-bit floats of a fixed shape; holds no nulls.
    Tensor(Vec<Size>),
    /// A list of values of one type.
    List(Box<LogicalType>),
}

impl LogicalType {
    /// Whether the values are numbers that arithmetic makes sense for.
    pub fn is_numeric(&self) -> bool {
        matches!(self, LogicalType::Int | LogicalType::Float)
    }

    /// The name without sizes or element, as a `{type: ...}` selector writes it.
    pub fn family(&self) -> &'static str {
        match self {
            LogicalType::Bool => "bool",
            LogicalType::Int => "int",
            LogicalType::Float => "float",
            LogicalType::Category => "category",
            LogicalType::Text => "text",
            LogicalType::Datetime => "datetime",
            LogicalType::Image => "image",
            LogicalType::Audio => "audio",
            LogicalType::Tokens(_) => "tokens",
            LogicalType::Tensor(_) => "tensor",
            LogicalType::List(_) => "list",
        }
    }
}

impl fmt::Display for LogicalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogicalType::Tokens(size) => write!(f, "tokens[{size}]"),
            LogicalType::Tensor(shape) => {
                let sizes: Vec<String> = shape.iter().map(Size::to_string).collect();
                write!(f, "tensor[{}]", sizes.join(", "))
            }
            LogicalType::List(element) => write!(f, "list<{element}>"),
            plain => f.pad(plain.family()),
        }
    }
}

/// A text that names no logical type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a type; use bool, int, float, category, text, datetime, image, audio, tokens[n], tensor[shape] or list<type>"
)]
pub struct ParseLogicalTypeError(String);

impl FromStr for LogicalType {
    type Err = ParseLogicalTypeError;

    fn from_str(text: &str) -> Result<LogicalType, ParseLogicalTypeError> {
        let text = text.trim();
        let inside = |open: &str, close: char| text.strip_prefix(open)?.strip_suffix(close);
        if let Some(sizes) = inside("tokens[", ']') {
            return sizes.parse().map(LogicalType::Tokens);
        }
        if let Some(sizes) = inside("tensor[", ']') {
            let sizes: Result<Vec<Size>, _> = sizes.split(',').map(str::parse).collect();
            return sizes.map(LogicalType::Tensor);
        }
        if let Some(element) = inside("list<", '>') {
            return element.parse().map(|element| LogicalType::List(Box::new(element)));
        }
        Ok(match text {
            "bool" => LogicalType::Bool,
            "int" => LogicalType::Int,
            "float" => LogicalType::Float,
            "category" => LogicalType::Category,
            "text" => LogicalType::Text,
            "datetime" => LogicalType::Datetime,
            "image" => LogicalType::Image,
            "audio" => LogicalType::Audio,
            _ => return Err(ParseLogicalTypeError(text.to_owned())),
        })
    }
}

impl Serialize for LogicalType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LogicalType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LogicalType, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// What a model may read. The role of every column that is given no other.
    #[default]
    Feature,
    /// What is to be predicted.
    Target,
    /// Names the row; chunk boundaries and hash splits go by it.
    Key,
    /// Rows that belong together and must not be parted by a split.
    Group,
    /// When the row happened.
    Time,
    /// How much the row counts.
    Weight,
    /// Which part the row belongs to; see [`Part`].
    Split,
}

impl Role {
    /// The word used in YAML and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Feature => "feature",
            Role::Target => "target",
            Role::Key => "key",
            Role::Group => "group",
            Role::Time => "time",
            Role::Weight => "weight",
            Role::Split => "split",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A part of a split; the cells of a column with [`Role::Split`] written by a `split.*` kind hold these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Rows that are learnt from.
    Train,
    /// Rows that choices are made on.
    Validation,
    /// Rows that are scored once.
    Test,
}

impl Part {
    /// Every part, in order.
    pub const ALL: [Part; 3] = [Part::Train, Part::Validation, Part::Test];

    /// The word that stands in the split column.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Validation => "validation",
            Part::Test => "test",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) {
        let parsed: LogicalType = text.parse().unwrap();
        assert_eq!(parsed.to_string(), text);
    }

    #[test]
    fn a_type_is_written_as_it_is_read() {
        for text in ["bool", "category", "tokens[32]", "tensor[3, 64, 64]", "tensor[|one_hot(a)|]", "list<tensor[4]>"] {
            check(text);
        }
    }

    #[test]
    fn an_unknown_type_names_itself() {
        assert!("flaot".parse::<LogicalType>().unwrap_err().to_string().starts_with("`flaot`"));
        assert!("tensor[a]".parse::<LogicalType>().is_err());
    }
}
