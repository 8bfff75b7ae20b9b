//! Claims about queries, through `new`, `infer` and `run`.

use engine_table::{PortInput, RowSet};

use super::*;

fn table() -> TableType {
    TableType {
        columns: vec![
            ColumnType::new("id", LogicalType::Int).with_role(Role::Key),
            ColumnType::new("shop", LogicalType::Category),
            ColumnType::new("amount", LogicalType::Float).with_nullable(true),
            ColumnType::new("bad", LogicalType::Bool).with_role(Role::Target),
        ],
        row_set: RowSet("rows".into()),
    }
}

fn frame() -> DataFrame {
    df![
        "id" => [5_i64, 4, 3, 2, 1],
        "shop" => ["b", "a", "b", "c", "a"],
        "amount" => [Some(1.0), Some(2.0), None, Some(4.0), Some(6.0)],
        "bad" => [true, false, false, true, false]
    ]
    .unwrap()
}

fn kind(query: &str) -> Result<Sql, Vec<Problem>> {
    Sql::new(serde_json::from_value(serde_json::json!({ "query": query })).unwrap())
}

fn infer(query: &str) -> Result<WholeType, Vec<Problem>> {
    kind(query)?.infer(&InputTypes::of_table(table()))
}

fn run(query: &str) -> DataFrame {
    let kind = kind(query).ok().unwrap();
    let types = InputTypes::of_table(table());
    let change = kind.infer(&types).unwrap();
    let read = frame().select(change.reads()[0].columns.iter().map(String::as_str)).unwrap();
    let port = PortInput { artifacts: Vec::new(), rows: BTreeMap::from([(RowFilter::All, read)]) };
    let inputs = ReduceInputs::new(types, BTreeMap::from([("table".to_owned(), port)]));
    let WholeRows::New(found) = kind.run(&inputs, &Context::quiet()).unwrap() else { panic!("new rows") };
    let WholeType::New { writes, .. } = change else { panic!("new rows") };
    let columns: Vec<ColumnType> = writes.into_iter().map(|written| written.column).collect();
    engine_table::check_frame(&found, &columns).unwrap();
    found
}

/// The rows as text, cells with a comma between.
fn check(query: &str, expected: &[&str]) {
    let found = run(query);
    let cells: Vec<StringChunked> = found
        .columns()
        .iter()
        .map(|column| crate::clean::cast::text(column.as_materialized_series()).unwrap())
        .collect();
    let row = |row: usize| cells.iter().map(|cells| cells.get(row).unwrap_or("-")).collect::<Vec<_>>().join(",");
    assert_eq!((0..found.height()).map(row).collect::<Vec<_>>(), expected, "{query}");
}

#[test]
fn groups_come_in_the_order_of_their_columns() {
    check("SELECT shop, COUNT(*) AS n, SUM(amount) AS total FROM rows GROUP BY shop", &["a,2,8", "b,2,1", "c,1,4"]);
    check("SELECT DISTINCT shop FROM rows", &["a", "b", "c"]);
    check("SELECT COUNT(*) AS n FROM rows", &["5"]);
}

#[test]
fn ties_of_an_order_are_broken_by_all_columns() {
    check("SELECT shop, COUNT(*) AS n FROM rows GROUP BY shop ORDER BY n DESC", &["a,2", "b,2", "c,1"]);
    check("SELECT shop, COUNT(*) AS n FROM rows GROUP BY shop ORDER BY n DESC LIMIT 1", &["a,2"]);
}

#[test]
fn a_filter_keeps_the_order_of_the_table() {
    check("SELECT id, amount * 2 AS twice FROM rows WHERE shop <> 'c'", &["5,2", "4,4", "3,-", "1,12"]);
    check("SELECT * FROM rows LIMIT 1", &["5,b,1,true"]);
}

#[test]
fn windows_unions_and_subqueries_are_selects() {
    check(
        "SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY shop ORDER BY id) AS n FROM rows) AS t WHERE n = 1",
        &["1", "2", "3"],
    );
    check("WITH big AS (SELECT id FROM rows WHERE amount > 3) SELECT id FROM big", &["1", "2"]);
}

fn shown(query: &str) -> Vec<String> {
    let WholeType::New { writes, .. } = infer(query).unwrap() else { panic!("new rows") };
    let show = |written: &Written| {
        let column = &written.column;
        let gap = if column.nullable { "?" } else { "" };
        format!("{} {}{gap} {} < {}", column.name, column.logical, column.role, written.from.join("+"))
    };
    writes.iter().map(show).collect()
}

#[test]
fn columns_taken_as_they_stand_keep_type_and_role_and_lineage_is_by_column() {
    assert_eq!(
        shown("SELECT id, shop, bad AS label, amount + 1 AS more, COUNT(*) OVER () AS n FROM rows WHERE NOT bad"),
        [
            "id int key < id",
            "shop category feature < shop",
            "label bool target < bad",
            "more float? feature < amount",
            "n int feature < "
        ]
    );
    assert_eq!(shown("SELECT shop, COUNT(*) AS n FROM rows GROUP BY shop")[1], "n int feature < ");
    assert_eq!(shown("SELECT AVG(x) AS m FROM (SELECT amount AS x FROM rows) AS t"), ["m float? feature < amount"]);
}

#[test]
fn only_named_columns_are_read() {
    let columns = |query: &str| infer(query).unwrap().reads()[0].columns.clone();
    assert_eq!(columns("SELECT shop FROM rows WHERE amount > 1"), ["shop", "amount"]);
    assert_eq!(columns("SELECT * FROM rows").len(), 4);
    assert_eq!(columns("SELECT COUNT(*) AS n FROM rows"), ["id"]);
}

fn refused(query: &str, code: &str, says: &str) {
    let problems = infer(query).unwrap_err();
    let problem = &problems[0];
    assert_eq!(problem.code.name, code, "{query}: {}", problem.message);
    let text = format!("{} {} {}", problem.message, problem.label, problem.help.join(" "));
    assert!(text.contains(says), "{text}");
}

#[test]
fn what_is_not_one_select_over_the_table_is_refused() {
    refused("DROP TABLE rows", "sql.statement", "no SELECT");
    refused("SELECT 1 AS a FROM rows; SELECT 2 AS a FROM rows", "sql.statement", "2 statements");
    refused("SELECT * FROM read_csv('/etc/passwd')", "sql.statement", "read_csv");
    refused("SELECT * FROM (SELECT * FROM read_parquet('x')) AS t", "sql.statement", "read_parquet");
    refused("SELECT id FROM customers", "sql.statement", "`rows`");
    refused("SELEC id FROM rows", "sql.statement", "cannot be read");
    refused("SELECT id FROM rows TABLESAMPLE (10)", "sql.statement", "at random");
    refused("SELECT \"^.*$\" FROM rows", "sql.statement", "pattern");
    refused("SELECT NOW() AS t FROM rows", "expression.row", "parameter");
}

#[test]
fn an_order_that_is_not_said_is_refused() {
    refused("SELECT shop FROM rows GROUP BY shop LIMIT 1", "sql.order", "ORDER BY");
    refused("SELECT DISTINCT ON (shop) shop, id FROM rows", "sql.order", "ROW_NUMBER");
    refused("SELECT id FROM (SELECT id FROM rows LIMIT 2) AS t", "sql.order", "subquery");
}

#[test]
fn what_does_not_fit_the_types_is_a_problem_before_the_run() {
    refused("SELECT amout FROM rows", "expression.type", "`amount`");
    refused("SELECT id FROM rows WHERE shop > 5", "expression.type", "cannot be run");
    refused("SELECT FOO(id) AS f FROM rows", "expression.type", "cannot be run");
    let options = serde_json::json!({"query": "SELECT id FROM rows", "roles": {"idd": "key"}});
    let kind = Sql::new(serde_json::from_value(options).unwrap()).ok().unwrap();
    assert_eq!(kind.infer(&InputTypes::of_table(table())).unwrap_err()[0].code.name, "source.column");
}
