//! What a column's cells look like: a type guessed from the head of a file.
//!
//! The rule, in this order, over the cells that are not missing: all whole numbers: `int`; all
//! numbers: `float`; all `true` or `false`: `bool`; all ISO 8601 dates or times: `datetime`. Numbers
//! with leading zeros (`007`) are names, not numbers. What is left is `category` if its values are
//! few (at most 20, or at most 1,000 that come twice each on average) and short (at most 64 bytes),
//! else `text`.

use std::collections::HashSet;

use engine_core::LogicalType;

use super::columns::Nulls;
use crate::cell;

const FEW_VALUES: usize = 20;
const MOST_VALUES: usize = 1_000;
const LONGEST_VALUE: usize = 64;

/// What was seen of a column so far.
#[derive(Debug)]
pub(super) struct Guess {
    int: bool,
    float: bool,
    bool: bool,
    datetime: bool,
    present: usize,
    missing: usize,
    /// `None` once there are too many, or one too long, for a category.
    values: Option<HashSet<String>>,
    /// Whether the cells that say something are all numbers.
    says_numbers: bool,
    blemish: Option<Blemish>,
}

/// Cells that say nothing, and are not among the texts that mean missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blemish {
    /// The line of the first.
    pub(super) line: u64,
    /// The text of the first.
    pub(super) text: String,
    /// How many.
    pub(super) count: usize,
}

impl Guess {
    pub(super) fn new() -> Guess {
        Guess {
            int: true,
            float: true,
            bool: true,
            datetime: true,
            present: 0,
            missing: 0,
            values: Some(HashSet::new()),
            says_numbers: true,
            blemish: None,
        }
    }

    /// Looks at one more cell, which stands in the record of line `line`.
    pub(super) fn see(&mut self, text: &str, line: u64, nulls: &Nulls) {
        if nulls.contains(text) {
            self.missing += 1;
            return;
        }
        self.present += 1;
        if says_nothing(text) {
            self.blemish.get_or_insert_with(|| Blemish { line, text: text.to_owned(), count: 0 }).count += 1;
        } else {
            self.says_numbers = self.says_numbers && cell::parse_float(text).is_some();
        }
        let is_name = has_leading_zero(text);
        self.int = self.int && !is_name && cell::parse_int(text).is_some();
        // A whole number beyond 64 bits is an account or a card, not a measurement.
        self.float = self.float && !is_name && !is_long_whole(text) && cell::parse_float(text).is_some();
        self.bool = self.bool && text.parse::<f64>().is_err() && cell::parse_bool(text).is_some();
        self.datetime = self.datetime && cell::parse_datetime(text).is_some();
        if let Some(values) = &mut self.values {
            if text.len() > LONGEST_VALUE || text.contains('\n') {
                self.values = None;
            } else if !values.contains(text) {
                values.insert(text.to_owned());
                if values.len() > MOST_VALUES {
                    self.values = None;
                }
            }
        }
    }

    /// Whether a cell was missing.
    pub(super) fn has_gaps(&self) -> bool {
        self.missing > 0
    }

    /// The cells that alone keep the column from being one of numbers.
    pub(super) fn blemish(&self) -> Option<&Blemish> {
        self.blemish.as_ref().filter(|blemish| self.says_numbers && blemish.count < self.present)
    }

    /// The type by the rule of this module; `text` if there was no cell to go by.
    pub(super) fn logical(&self) -> LogicalType {
        match self {
            Guess { present: 0, .. } => LogicalType::Text,
            Guess { int: true, .. } => LogicalType::Int,
            Guess { float: true, .. } => LogicalType::Float,
            Guess { bool: true, .. } => LogicalType::Bool,
            Guess { datetime: true, .. } => LogicalType::Datetime,
            Guess { values: Some(values), .. } if values.len() <= FEW_VALUES || values.len() * 2 <= self.present => {
                LogicalType::Category
            }
            _ => LogicalType::Text,
        }
    }
}

/// Whether a cell is blank or holds a word that people write where they know nothing.
pub(super) fn says_nothing(text: &str) -> bool {
    let words = ["", "na", "n/a", "nan", "null", "none", "nil", "-", "?", "."];
    words.contains(&text.trim().to_lowercase().as_str())
}

/// Whether the text is digits with a zero first that means nothing in a number: `007`, `-01.5`.
fn has_leading_zero(text: &str) -> bool {
    let digits = text.trim_matches(' ').trim_start_matches(['-', '+']).as_bytes();
    matches!(digits, [b'0', second, ..] if second.is_ascii_digit())
}

/// Whether the text is a whole number with more digits than an `int` holds.
fn is_long_whole(text: &str) -> bool {
    let digits = text.trim_matches(' ').trim_start_matches(['-', '+']);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && cell::parse_int(text).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cells: &[&str], expected: &str) {
        let nulls = Nulls::new(&[String::new()]);
        let mut guess = Guess::new();
        for cell in cells {
            guess.see(cell, 1, &nulls);
        }
        assert_eq!(guess.logical().to_string(), expected, "{cells:?}");
    }

    #[test]
    fn a_type_is_the_narrowest_that_holds_every_cell() {
        check(&["1", "-2", ""], "int");
        check(&["1", "2.5"], "float");
        check(&["2.5", "1"], "float");
        check(&["1e3"], "float");
        check(&["true", "False"], "bool");
        check(&["0", "1"], "int");
        check(&["2024-01-01", "2024-01-01 10:00"], "datetime");
        check(&["Yes", "No"], "category");
        check(&["1", "x"], "category");
        check(&["", ""], "text");
        check(&[], "text");
    }

    #[test]
    fn codes_that_look_like_numbers_stay_names() {
        check(&["007", "010"], "category");
        check(&["0", "0.5"], "float");
        check(&["12345678901234567890"], "category");
        check(&["1.5", "nan"], "category");
    }

    #[test]
    fn many_or_long_values_are_text() {
        let distinct: Vec<String> = (0..30).map(|i| format!("name {i}")).collect();
        let once: Vec<&str> = distinct.iter().map(String::as_str).collect();
        check(&once, "text");
        let twice: Vec<&str> = once.iter().chain(&once).copied().collect();
        check(&twice, "category");
        check(&["a", &"long ".repeat(20)], "text");
    }
    #[test]
    fn cells_that_say_nothing_are_told_from_words() {
        let blemish = |cells: &[&str]| {
            let mut guess = Guess::new();
            for (row, cell) in cells.iter().enumerate() {
                guess.see(cell, row as u64 + 2, &Nulls::default());
            }
            guess.blemish().map(|blemish| (blemish.line, blemish.text.clone(), blemish.count))
        };
        assert_eq!(blemish(&["1", " ", "2.5", "NA"]), Some((3, " ".to_owned(), 2)));
        assert_eq!(blemish(&["1", "x", " "]), None);
        assert_eq!(blemish(&["1", "2"]), None);
        assert_eq!(blemish(&[" ", ""]), None);
    }
}
