//! A request's body as rows of cells: `{"rows": [{..}, ..]}`, or the bare list.
//!
//! Promises: reads no further than the row limit, finds a name given twice, keeps the order of names, and tells a text
//! that is not JSON from JSON of another shape, both with line and column. Knows no columns.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::fault::Fault;

/// A row as it was sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RawRow {
    /// Names and values in the order they were sent; a name may stand there twice.
    Cells(Vec<(String, Value)>),
    /// Something that is no object, in a few words.
    NoObject(&'static str),
}

/// The rows of `body`, at most `limit`.
pub(crate) fn parse(body: &[u8], limit: usize) -> Result<Vec<RawRow>, Fault> {
    let overflow = Cell::new(false);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = Body { limit, overflow: &overflow }.deserialize(&mut deserializer);
    let read = read.and_then(|rows| deserializer.end().map(|()| rows));
    read.map_err(|error| {
        if overflow.get() {
            return Fault::TooManyRows { limit };
        }
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        // serde_json ends its messages with the place, which is told on its own.
        let message = message.split(" at line ").next().unwrap_or("").to_owned();
        match error.classify() {
            serde_json::error::Category::Data => Fault::Shape { message, line, column },
            _ => Fault::Syntax { message, line, column },
        }
    })
}

struct Body<'a> {
    limit: usize,
    overflow: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = Vec<RawRow>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<RawRow>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = Vec<RawRow>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `rows`, or a list of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<RawRow>, A::Error> {
        let mut rows = Vec::new();
        while let Some(row) = list.next_element_seed(RowSeed)? {
            if rows.len() == self.limit {
                self.overflow.set(true);
                return Err(A::Error::custom("too many rows"));
            }
            rows.push(row);
        }
        Ok(rows)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<RawRow>, A::Error> {
        let mut rows: Option<Vec<RawRow>> = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "rows" {
                return Err(A::Error::custom(format!("`{key}` stands beside `rows`, where nothing else may stand")));
            }
            if rows.is_some() {
                return Err(A::Error::custom("`rows` is given twice"));
            }
            rows = Some(map.next_value_seed(RowList { limit: self.limit, overflow: self.overflow })?);
        }
        rows.ok_or_else(|| A::Error::custom("there is no `rows`"))
    }
}

/// The list below `rows`, which may not be an object again.
struct RowList<'a> {
    limit: usize,
    overflow: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for RowList<'_> {
    type Value = Vec<RawRow>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<RawRow>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowList<'_> {
    type Value = Vec<RawRow>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<RawRow>, A::Error> {
        Body { limit: self.limit, overflow: self.overflow }.visit_seq(list)
    }
}

struct RowSeed;

impl<'de> DeserializeSeed<'de> for RowSeed {
    type Value = RawRow;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawRow, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RowSeed {
    type Value = RawRow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawRow, A::Error> {
        let mut cells = Vec::new();
        while let Some(cell) = map.next_entry::<String, Value>()? {
            cells.push(cell);
        }
        Ok(RawRow::Cells(cells))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RawRow, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(RawRow::NoObject("a list"))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<RawRow, E> {
        Ok(RawRow::NoObject("true or false"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<RawRow, E> {
        Ok(RawRow::NoObject("a number"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<RawRow, E> {
        Ok(RawRow::NoObject("a number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<RawRow, E> {
        Ok(RawRow::NoObject("a number"))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<RawRow, E> {
        Ok(RawRow::NoObject("a text"))
    }

    fn visit_unit<E: Error>(self) -> Result<RawRow, E> {
        Ok(RawRow::NoObject("null"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(body: &str, expected: &str) {
        let given = match parse(body.as_bytes(), 2) {
            Ok(rows) => format!("{} rows", rows.len()),
            Err(Fault::Syntax { line, column, .. }) => format!("syntax {line}:{column}"),
            Err(Fault::Shape { message, .. }) => message,
            Err(other) => format!("{other:?}"),
        };
        assert_eq!(given, expected, "{body}");
    }

    #[test]
    fn rows_come_in_an_object_or_bare() {
        check(r#"{"rows": [{"a": 1}, {}]}"#, "2 rows");
        check(r#"[{"a": 1}]"#, "1 rows");
        check("[]", "0 rows");
    }

    #[test]
    fn what_is_no_json_names_its_place() {
        check("{\"rows\": [\n  {\"a\": NaN}]}", "syntax 2:9");
        check("[{}", "syntax 1:3");
        check("", "syntax 1:0");
        check("[] x", "syntax 1:4");
        check("[{\"a\": 1e999}]", "syntax 1:12");
    }

    #[test]
    fn json_of_another_shape_says_so() {
        check("{}", "there is no `rows`");
        check(r#"{"rows": [], "row": 1}"#, "`row` stands beside `rows`, where nothing else may stand");
        check(r#"{"rows": {}}"#, "invalid type: map, expected a list of rows");
        check("3", "invalid type: integer `3`, expected an object with `rows`, or a list of rows");
    }

    #[test]
    fn no_more_rows_are_read_than_may_come() {
        check("[{},{},{}", "TooManyRows { limit: 2 }");
    }

    #[test]
    fn deep_nesting_is_refused_and_not_followed() {
        let deep = format!("[{{\"a\": {}1{}}}]", "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(parse(deep.as_bytes(), 2), Err(Fault::Syntax { .. })));
    }

    #[test]
    fn names_given_twice_and_rows_that_are_none_are_kept() {
        let rows = parse(br#"[{"b": 1, "a": 2, "b": 3}, 7]"#, 9).unwrap();
        let cells = vec![("b".to_owned(), json!(1)), ("a".to_owned(), json!(2)), ("b".to_owned(), json!(3))];
        assert_eq!(rows, [RawRow::Cells(cells), RawRow::NoObject("a number")]);
    }
}
