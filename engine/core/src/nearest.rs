//! The nearest name to a misspelt one.

/// The candidate nearest to `name`, if one is near enough to be what was meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count().max(name.chars().count()) / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_found_and_a_stranger_is_not() {
        assert_eq!(nearest("clean.inpute", ["clean.impute", "clean.cast"]), Some("clean.impute"));
        assert_eq!(nearest("Tenure", ["tenure", "gender"]), Some("tenure"));
        assert_eq!(nearest("zebra", ["tenure", "gender"]), None);
    }
}
