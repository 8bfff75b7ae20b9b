//! Versions of a column: who wrote it first, and who rewrote it since.
//!
//! [`ColumnType::origin`] is the history, first writer first, as in `rows>scaled`. A merge of tables takes the later of
//! two versions if its history goes on from the other's, as [`engine_table::TableType::merge`] does.

use engine_table::ColumnType;

/// The task that wrote `column` last.
pub(crate) fn last_writer(column: &ColumnType) -> &str {
    writer_of(&column.origin)
}

/// The last task of a history.
pub(crate) fn writer_of(history: &str) -> &str {
    history.rsplit('>').next().unwrap_or(history)
}

/// Whether the history `later` is `earlier` or goes on from it.
pub(crate) fn goes_on_from(later: &str, earlier: &str) -> bool {
    later.strip_prefix(earlier).is_some_and(|rest| rest.is_empty() || rest.starts_with('>'))
}

/// Of columns of one name, in the order of their tables, the one a merge takes, and its place.
pub(crate) fn latest<T>(versions: impl IntoIterator<Item = T>, history: impl Fn(&T) -> &str) -> Option<T> {
    versions.into_iter().reduce(|one, other| if goes_on_from(history(&other), history(&one)) { other } else { one })
}

#[cfg(test)]
mod tests {
    use engine_core::LogicalType;
    use engine_table::{RowSet, TableType};

    use super::*;

    #[test]
    fn the_latest_version_is_the_one_a_merge_takes() {
        let check = |histories: &[&str], expected: &str| {
            let table = |history: &&str| TableType {
                columns: vec![ColumnType { origin: (*history).to_owned(), ..ColumnType::new("x", LogicalType::Float) }],
                row_set: RowSet("rows".into()),
            };
            let tables: Vec<TableType> = histories.iter().map(table).collect();
            let merged = TableType::merge(&tables).unwrap();
            assert_eq!(merged.columns[0].origin, expected);
            assert_eq!(latest(histories.iter(), |history| history), Some(&expected));
        };
        check(&["rows", "rows>scaled"], "rows>scaled");
        check(&["rows>scaled", "rows", "rows>scaled>clipped"], "rows>scaled>clipped");
        assert!(!goes_on_from("rows2", "rows"));
        assert_eq!(writer_of("rows>scaled"), "scaled");
    }
}
