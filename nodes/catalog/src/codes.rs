//! The diagnostics that several data kinds share, with their pages.

use engine_core::Code;

/// A source that is there and cannot be read.
pub static SOURCE_UNREADABLE: Code = Code {
    name: "source.unreadable",
    summary: "a file that is there and cannot be read",
    explanation: "The file a source names exists, but it cannot be opened, is empty, or its head is not of the \
format the kind reads. The message says what was expected and, for text, in which line.\n\n\
A file that does not exist is no error for `check`: its columns are then unknown, unless `schema:` pins them.",
};

/// A header that is not as the options say.
pub static SOURCE_HEADER: Code = Code {
    name: "source.header",
    summary: "a header with empty or repeated names, or other columns than the pinned schema",
    explanation: "Columns are found by the name in the header, so every name must be there and be the only one of \
its kind. With a pinned `schema:` the file must have exactly the columns it lists, in any order; take the column \
into the schema, or out of the file.\n\n\
```yaml\nwith: {path: rows.csv, schema: {id: text, age: int}}   # the file has the columns id and age, no others\n```",
};

/// A column that an option names and the source does not have.
pub static SOURCE_COLUMN: Code = Code {
    name: "source.column",
    summary: "an option names a column that the source does not have",
    explanation: "`types`, `roles`, `columns`, `nullable` and `column_nulls` name columns of the file, spelt as in \
its header; upper and lower case count. The message names the nearest column.",
};

/// A column of a type that the kind cannot take from the source.
pub static SOURCE_TYPE: Code = Code {
    name: "source.type",
    summary: "a column of the source whose type has no logical type, or not the one that was asked for",
    explanation: "A Parquet file knows its types. `types:` may read text as `category` and integers as `float`; \
every other change is the work of `clean.cast`, where a value that does not fit is handled. Columns of types that \
Fuseline does not know (binary, struct, time of day, duration) must be left out with `columns:`.",
};

/// A column of a type that the kind cannot work on.
pub static COLUMN_TYPE: Code = Code {
    name: "column.type",
    summary: "a column of a type that the kind cannot work on",
    explanation: "Every kind says which types it takes: `fuseline kinds KIND` prints them. `clean.cast` makes a \
column of another type, `extract.columns` computes one.\n\n\
```yaml\ntyped: {uses: clean.cast, with: {columns: {zip: category}}, in: rows}\n```",
};

/// A written column that the table has already.
pub static COLUMN_EXISTS: Code = Code {
    name: "column.exists",
    summary: "a new column with the name of a column the table has",
    explanation: "A kind that adds a column does not silently replace one of the same name. \
Give the new column another name with `as`, `suffix` or the key in `columns`.",
};

/// A split that cannot be made from its options.
pub static SPLIT_SHARES: Code = Code {
    name: "split.shares",
    summary: "shares of a split that are not shares of one whole",
    explanation: "The shares of train, validation and test lie between 0 and 1 and add up to 1; train is not 0. \
A share that is not written is 0.\n\n\
```yaml\nwith: {shares: {train: 0.7, validation: 0.15, test: 0.15}}\n```",
};

/// Two ways of splitting at once, or none.
pub static SPLIT_RULE: Code = Code {
    name: "split.rule",
    summary: "a split that is told to follow two rules at once, or none",
    explanation: "`stratify` keeps the shares within every class, `group` keeps groups whole: a group has rows of \
several classes, so one split cannot promise both. `split.by_time` cuts either at points in time \
(`validation_from`, `test_from`) or by `shares`.",
};

/// A column that a split goes by and the table does not have.
pub static SPLIT_COLUMN: Code = Code {
    name: "split.column",
    summary: "a split without the column it goes by",
    explanation: "`split.by_time` needs the column that says when a row happened: name it with `column`, or give it \
the role `time` where it is ingested. It must be of type datetime or int.",
};

/// An expression that cannot be read.
pub static EXPRESSION_SYNTAX: Code = Code {
    name: "expression.syntax",
    summary: "an expression that is not SQL, or has more in it than one expression",
    explanation: "An expression is what stands between SELECT and FROM in SQL: columns, numbers, 'text', operators, \
functions, CASE. Names with other signs than letters, digits and `_` stand in double quotes, text in single ones.\n\n\
```yaml\nwith: {columns: {debt_share: debt / nullif(income, 0), is_late: days_late > 30}}\n```",
};

/// An expression that looks beyond its row.
pub static EXPRESSION_ROW: Code = Code {
    name: "expression.row",
    summary: "an expression that looks beyond its row, or is not the same every time",
    explanation: "`extract.columns` computes each row from that row alone, so that it gives the same in training, in \
pieces and in the server. Aggregates (`avg`), windows (`over`), subqueries, random numbers and the present time are \
refused.\n\n\
What is learnt from rows belongs to a kind that fits on train rows (`encode.standardize`, `clean.impute`), sums over \
rows belong to `extract.sql`, and the present time comes as a parameter: `${today}`.",
};

/// A function that expressions do not have.
pub static EXPRESSION_FUNCTION: Code = Code {
    name: "expression.function",
    summary: "a function or construct that expressions do not have",
    explanation: "Expressions have the arithmetic and comparison operators, `and or not in between like is null case \
cast try_cast extract`, and functions of one row: `abs ceil floor round sqrt exp ln log10 pow sign greatest least \
coalesce nullif lower upper length trim left right replace substr concat starts_with strftime` and more. The message \
names the nearest.",
};

/// An expression or query that does not fit the types of its columns.
pub static EXPRESSION_TYPE: Code = Code {
    name: "expression.type",
    summary: "an expression or query that does not fit the types of its columns",
    explanation: "The expression is tried on an empty table with the types of the node's input, before a row is \
read. Text does not compare with numbers, and a result must be of a logical type. `cast(x as double)` converts and \
fails at a value that does not fit; `try_cast` gives a missing value there.",
};

/// A query that is not one SELECT.
pub static SQL_STATEMENT: Code = Code {
    name: "sql.statement",
    summary: "a query that is not one SELECT over the input table",
    explanation: "`extract.sql` takes one SELECT (with WITH, joins of the table with itself, UNION) over the table \
`rows`. Statements that change or show things, several statements, and functions that read files (`read_csv`) are \
refused: data enters a pipeline through `ingest` kinds only, so that it is keyed by its content.",
};

/// A query whose rows have no fixed order.
pub static SQL_ORDER: Code = Code {
    name: "sql.order",
    summary: "a LIMIT over rows in no order",
    explanation: "LIMIT keeps the first rows, so the order must say which those are: write ORDER BY beside it. Within \
a subquery LIMIT and DISTINCT ON are refused; filter by a window instead: \
`SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) AS n FROM rows) AS t WHERE n = 1`.",
};
