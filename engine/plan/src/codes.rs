//! The names and pages of what can be wrong with a graph.

use engine_core::Code;

/// Every code the plan reports, in the order of their names.
pub const CODES: &[&Code] = &[
    &engine_table::COLUMN_NONE,
    &engine_table::COLUMN_ROLE,
    &COLUMN_TWICE,
    &engine_table::COLUMN_UNKNOWN,
    &EXPAND_CHOICE,
    &EXPAND_INSTANCES,
    &EXPAND_OVERRIDE,
    &GRAPH_CYCLE,
    &GRAPH_UNUSED,
    &LEAK_NO_SPLIT,
    &LEAK_TARGET,
    &LEAK_WHOLE,
    &MERGE_COLUMN,
    &MERGE_ROW_SET,
    &engine_table::OPTION_INVALID,
    &PORT_KIND,
    &SERVING_REFUSE,
    &SERVING_REQUEST,
    &SERVING_ROLE,
    &SOURCE_ABSENT,
];

/// A table with two columns of one name.
pub static COLUMN_TWICE: Code = Code {
    name: "column.twice",
    summary: "a table would have two columns of one name",
    explanation: r#"The columns of a table have names of their own. A renaming or a query would give a second column of a name that
is there already.

Wrong:

```yaml
sums: {uses: extract.sql, with: {query: "SELECT age, income AS age FROM rows"}, in: rows}
```

Right:

```yaml
sums: {uses: extract.sql, with: {query: "SELECT age, income FROM rows"}, in: rows}
```
"#,
};

/// An expansion whose instances cannot stand for each other.
pub static EXPAND_CHOICE: Code = Code {
    name: "expand.choice",
    summary: "an expansion that cannot choose between its instances",
    explanation: r#"A tuning gives the artifact of one of its trials, so every trial must give one of its own, and they must be able to
stand for each other: predict the same target, be made of the same graph, and be scored on the same rows, so options of the
split and of nodes above it cannot be varied. A model that no varied option is above is the same in every trial; most often it is
not the one that was scored.

Wrong:

```yaml
scored: {uses: evaluate.classification, with: {on: validation}, in: reader}
best: {uses: tune.grid, with: {space: {reader.epochs: [5, 10]}, ...}, in: {metrics: scored, model: other_reader}}
```

Right:

```yaml
scored: {uses: evaluate.classification, with: {on: validation}, in: reader}
best: {uses: tune.grid, with: {space: {reader.epochs: [5, 10]}, ...}, in: {metrics: scored, model: reader}}
```
"#,
};

/// An expansion that grows beyond all bounds, or whose instances share a name.
pub static EXPAND_INSTANCES: Code = Code {
    name: "expand.instances",
    summary: "an expansion whose instances cannot be planned",
    explanation: r#"A node that repeats what is above it (cross-validation, tuning) multiplies the tasks of the graph; expansions
below expansions multiply each other. The plan stops at 100,000 tasks.

Wrong:

```yaml
folds: {uses: split.folds, with: {folds: 5000}, in: rows}   # 5,000 times everything below
```

Right:

```yaml
folds: {uses: split.folds, with: {folds: 5}, in: rows}
```
"#,
};

/// An expansion that varies something it cannot reach.
pub static EXPAND_OVERRIDE: Code = Code {
    name: "expand.override",
    summary: "an expansion varies an option that is not above it",
    explanation: r#"Tuning and cross-validation repeat the part of the graph above their input. They can only vary options that nodes in
that part have; an option within an option stands behind a dot, as in `reader.fusion.architecture`. The message lists what
there is. A path cannot be varied: give the pipeline a parameter and run it with `--set`.

Wrong:

```yaml
best: {uses: tune.grid, with: {space: {other_model.width: [64, 128]}, ...}, in: {metrics: scored, model: model}}
```

Right:

```yaml
best: {uses: tune.grid, with: {space: {encoder.width: [64, 128]}, ...}, in: {metrics: scored, model: model}}
```
"#,
};

/// Nodes that wait for each other.
pub static GRAPH_CYCLE: Code = Code {
    name: "graph.cycle",
    summary: "nodes that need each other's results",
    explanation: r#"A pipeline runs from sources to results, so no node may need, over whatever way, its own result. The message prints
the way round.

Wrong:

```yaml
nodes:
  filled: {uses: clean.impute, with: {columns: [age]}, in: scaled}
  scaled: {uses: encode.standardize, with: {columns: [age]}, in: filled}
```

Right:

```yaml
nodes:
  filled: {uses: clean.impute, with: {columns: [age]}, in: split}
  scaled: {uses: encode.standardize, with: {columns: [age]}, in: filled}
```
"#,
};

/// A branch that ends in nothing.
pub static GRAPH_UNUSED: Code = Code {
    name: "graph.unused",
    summary: "a node whose result nothing reads",
    explanation: r#"The pipeline gives scores or a deployment, and this node has no part in them: most often a reference further down
still names the node before it. It is a warning, for a table that is only looked at with `fuseline peek` is fine.

Wrong:

```yaml
scaled: {uses: encode.standardize, with: {columns: [age]}, in: split}
encoder: {uses: encode.table, with: {columns: [age]}, in: split}     # reads the unscaled ages
```

Right:

```yaml
scaled: {uses: encode.standardize, with: {columns: [age]}, in: split}
encoder: {uses: encode.table, with: {columns: [age]}, in: scaled}
```
"#,
};

/// A part of the rows is wanted and there are no parts.
pub static LEAK_NO_SPLIT: Code = Code {
    name: "leak.no_split",
    summary: "something reads train or test rows, and no split is above it",
    explanation: r#"What is learnt from all rows has seen the rows it is later tested on, and its score is too good. So a kind that learns
is given the train rows only, which a `split.*` node above it must mark. A column that already says which part a row belongs
to needs `split.by_column`, which puts it into the words train, validation and test.

Where no test is to follow, write `fit_on: all`.

Wrong:

```yaml
filled: {uses: clean.impute, with: {columns: [age]}, in: rows}
split: {uses: split.random, with: {shares: {train: 0.8, test: 0.2}}, in: filled}
```

Right:

```yaml
split: {uses: split.random, with: {shares: {train: 0.8, test: 0.2}}, in: rows}
filled: {uses: clean.impute, with: {columns: [age]}, in: split}
```
"#,
};

/// The answer among the inputs.
pub static LEAK_TARGET: Code = Code {
    name: "leak.target",
    summary: "a model's input is computed from the target",
    explanation: r#"A model that reads what is to be predicted scores well here and fails in use, where the target is not known yet. The
plan follows every column back to what it is computed from; the message prints the way.

Wrong:

```yaml
rate: {uses: extract.columns, with: {columns: {rate: "repaid / amount"}}, in: split}   # repaid is the target
encoder: {uses: encode.table, with: {columns: [rate, age]}, in: rate}
```

Right:

```yaml
encoder: {uses: encode.table, with: {columns: [amount, age]}, in: split}
```
"#,
};

/// Rows of several parts mixed into one.
pub static LEAK_WHOLE: Code = Code {
    name: "leak.whole",
    summary: "rows of different parts are mixed into new rows below a split",
    explanation: r#"A kind that makes new rows of all rows (an aggregation, a query) below a split would make rows that hold both train and
test values. Put it above the split: then its own rows are split. Joins and selections keep each row's part and are fine.

Wrong:

```yaml
split: {uses: split.random, with: {shares: {train: 0.8, test: 0.2}}, in: rows}
sums: {uses: extract.sql, with: {query: "SELECT customer, SUM(amount) AS total FROM rows GROUP BY customer"}, in: split}
```

Right:

```yaml
sums: {uses: extract.sql, with: {query: "SELECT customer, SUM(amount) AS total FROM rows GROUP BY customer"}, in: rows}
split: {uses: split.random, with: {shares: {train: 0.8, test: 0.2}}, in: sums}
```
"#,
};

/// Two versions of one column.
pub static MERGE_COLUMN: Code = Code {
    name: "merge.column",
    summary: "tables to be merged hold different columns of one name",
    explanation: r#"A port that takes a list of tables merges them by column. A column that came unchanged over both ways is one column; if
two nodes wrote it, it is not clear which is meant. Give one of them another name, or put the nodes one after the other.

Wrong:

```yaml
filled: {uses: clean.impute, with: {columns: [age]}, in: split}
clipped: {uses: clean.clip_outliers, with: {columns: [age]}, in: split}
encoder: {uses: encode.table, with: {columns: [age]}, in: [filled, clipped]}
```

Right:

```yaml
filled: {uses: clean.impute, with: {columns: [age]}, in: split}
clipped: {uses: clean.clip_outliers, with: {columns: [age]}, in: filled}
encoder: {uses: encode.table, with: {columns: [age]}, in: clipped}
```
"#,
};

/// Tables of different rows.
pub static MERGE_ROW_SET: Code = Code {
    name: "merge.row_set",
    summary: "tables to be merged hold different rows",
    explanation: r#"Merging by column puts columns side by side, so the tables must be the same rows in the same order: descendants of one
table over nodes that keep rows. Tables of different rows are joined by a key.

Wrong:

```yaml
encoder: {uses: encode.table, with: {columns: [age, total]}, in: [customers, orders]}
```

Right:

```yaml
both: {uses: join.left, with: {on: customer_id}, in: {left: customers, right: orders}}
encoder: {uses: encode.table, with: {columns: [age, total]}, in: both}
```
"#,
};

/// An artifact of another kind than the port takes.
pub static PORT_KIND: Code = Code {
    name: "port.kind",
    summary: "a port is bound to something it does not take",
    explanation: r#"Every port takes one kind of artifact: a table, an encoder, a model, metrics, a report or a deployment.
`fuseline kinds KIND` lists the ports of a kind and what they take.

Wrong:

```yaml
model: {uses: train.multimodal, with: {target: label}, in: {encoders: [split]}}   # split gives a table
```

Right:

```yaml
encoder: {uses: encode.table, with: {columns: [age]}, in: split}
model: {uses: train.multimodal, with: {target: label}, in: {encoders: [encoder]}}
```
"#,
};

/// Something that a deployment cannot run.
pub static SERVING_REFUSE: Code = Code {
    name: "serving.refuse",
    summary: "a node between the request and the model cannot be served",
    explanation: r#"A deployment runs the nodes between the request and the model on the rows a client sends. A node that needs all rows, or
reads outside the graph, cannot be run on a few. Let the client send what that node makes, by a `request:` further down, or
replace it by a lookup.

Wrong:

```yaml
sums: {uses: extract.sql, with: {query: "..."}, in: rows}
bundle: {uses: deploy.bundle, with: {request: rows, out: model.fuse}, in: {model: model}}
```

Right:

```yaml
sums: {uses: extract.sql, with: {query: "..."}, in: rows}
bundle: {uses: deploy.bundle, with: {request: sums, out: model.fuse}, in: {model: model}}
```
"#,
};

/// A request that is no table above the model.
pub static SERVING_REQUEST: Code = Code {
    name: "serving.request",
    summary: "the request names a node that gives the model nothing",
    explanation: r#"`request:` names the node whose feature columns a client sends. It must give a table, and the model's inputs must be
computed from that table.

Wrong:

```yaml
bundle: {uses: deploy.bundle, with: {request: model, out: model.fuse}, in: {model: model}}
```

Right:

```yaml
bundle: {uses: deploy.bundle, with: {request: rows, out: model.fuse}, in: {model: model}}
```
"#,
};

/// A client would have to send the answer.
pub static SERVING_ROLE: Code = Code {
    name: "serving.role",
    summary: "a deployment would need a column that no client has",
    explanation: r#"Target, split, weight, key, group and time columns are known of rows that are learnt from, not of a row that is to be
predicted, so a deployment never asks for them, except for keys, groups and times that `join.left` finds rows by. Here a
step between the request and the model computes with one.

Wrong:

```yaml
rows: {uses: ingest.csv, with: {path: rows.csv, roles: {opened: time}}}
age: {uses: extract.columns, with: {columns: {year: "year(opened)"}}, in: rows}
bundle: {uses: deploy.bundle, with: {request: rows, out: model.fuse}, in: {model: model}}
```

Right:

```yaml
rows: {uses: ingest.csv, with: {path: rows.csv}}      # opened is a feature, so it is asked for
```
"#,
};

/// A source that is not there.
pub static SOURCE_ABSENT: Code = Code {
    name: "source.absent",
    summary: "a source is not there, so columns below it are unknown",
    explanation: r#"Without the file, and without a pinned `schema:`, nothing is known of its columns: `check` then checks options, ports and
references only. Planning and running need the file.

Wrong:

```yaml
rows: {uses: ingest.csv, with: {path: no_such_file.csv}}
```

Right:

```yaml
rows: {uses: ingest.csv, with: {path: data/rows.csv}}
```
"#,
};
