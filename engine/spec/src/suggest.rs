//! "Did you mean": the nearest name, at a cost that a hostile text cannot raise.

use std::cell::Cell;

/// Bytes of the longest name that is compared; nobody misspells a longer one by a letter.
const MAX_NAME_BYTES: usize = 100;
/// Names that are compared in one reading before suggestions stop.
const MAX_COMPARISONS: usize = 2_000_000;

/// The candidate nearest to `name`, if one is near enough to be what was meant.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    engine_core::nearest(name, candidates.into_iter().filter(|candidate| candidate.len() <= MAX_NAME_BYTES))
}

/// Suggestions from sets of names as large as the text makes them, while the budget lasts.
pub(crate) struct Suggestions {
    left: Cell<usize>,
}

impl Suggestions {
    pub(crate) fn new() -> Suggestions {
        Suggestions { left: Cell::new(MAX_COMPARISONS) }
    }

    /// As [`nearest`], from the candidates the budget reaches.
    pub(crate) fn nearest<'a>(&self, name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let left = self.left.get();
        nearest(name, candidates.into_iter().take(left).inspect(|_| self.left.set(self.left.get() - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_end_with_the_budget() {
        let suggestions = Suggestions { left: Cell::new(3) };
        assert_eq!(suggestions.nearest("rosw", ["a", "rows"]), Some("rows"));
        assert_eq!(suggestions.nearest("rosw", ["a", "rows"]), None);
        assert_eq!(suggestions.nearest("rosw", ["rows"]), None);
    }

    #[test]
    fn very_long_names_are_not_compared() {
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        assert_eq!(nearest(&long, [long.as_str()]), None);
        assert_eq!(nearest("x", [long.as_str(), "y"]), Some("y"));
    }
}
