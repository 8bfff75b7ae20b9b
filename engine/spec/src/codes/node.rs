//! Codes of nodes: ids, kinds, ports and references.

use engine_core::Code;

pub(crate) static ID: Code = Code {
    name: "node.id",
    summary: "a node's id is not allowed",
    explanation: r#"Ids are lower-case letters, digits and underscores, beginning with a letter, so that they can stand in
`node.port`, in file names and in queries without quotes.

Wrong:

```yaml
nodes:
  Credit-Rows: {uses: ingest.csv, with: {path: a.csv}}
```

Right:

```yaml
nodes:
  credit_rows: {uses: ingest.csv, with: {path: a.csv}}
```
"#,
};

pub(crate) static KIND_UNKNOWN: Code = Code {
    name: "kind.unknown",
    summary: "`uses:` names no kind",
    explanation: r#"`fuseline kinds` lists every kind. A kind is called `stage.name`, as in `clean.impute`.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.cvs, with: {path: a.csv}}
```

Right:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
```
"#,
};

pub(crate) static KIND_SCHEMA: Code = Code {
    name: "kind.schema",
    summary: "the kind's own description of its options is broken",
    explanation: r#"The schema a kind gives for its options is no JSON schema of draft 2020-12. The fault is in the kind, not in
the pipeline: tell its author. Until it is mended, use another kind.

Wrong, if `broken.kind` is such a kind:

```yaml
nodes:
  rows: {uses: broken.kind, with: {path: a.csv}}
```

Right:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
```
"#,
};

pub(crate) static PORT_UNKNOWN: Code = Code {
    name: "port.unknown",
    summary: "the kind has no such port",
    explanation: r#"On the left side of `in:` stand the input ports of the node's kind, on the right the ids of nodes, or
`node.port` for one output port of a node. `fuseline kinds KIND` shows a kind's ports.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
  more: {uses: ingest.csv, with: {path: b.csv}}
  both: {uses: join.left, with: {on: id}, in: {left: rows, rigth: more}}
```

Right:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
  more: {uses: ingest.csv, with: {path: b.csv}}
  both: {uses: join.left, with: {on: id}, in: {left: rows, right: more}}
```
"#,
};

pub(crate) static PORT_UNBOUND: Code = Code {
    name: "port.unbound",
    summary: "an input port that must be bound is not",
    explanation: r#"The node needs an artifact there to work on. Name the node that gives it under `in:`.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
  filled: {uses: clean.impute, with: {strategy: mean}}
```

Right:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
  filled: {uses: clean.impute, with: {strategy: mean}, in: rows}
```
"#,
};

pub(crate) static PORT_MANY: Code = Code {
    name: "port.many",
    summary: "several artifacts are bound to a port that takes one",
    explanation: r#"Table ports usually take a list of tables of one row set, merged by column; other ports take one artifact. To
stack tables or join them by a key, put a node for it between.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
  more: {uses: ingest.csv, with: {path: b.csv}}
  last: {uses: ingest.csv, with: {path: c.csv}}
  both: {uses: join.left, with: {on: id}, in: {left: rows, right: [more, last]}}
```

Right:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
  more: {uses: ingest.csv, with: {path: b.csv}}
  last: {uses: ingest.csv, with: {path: c.csv}}
  some: {uses: join.left, with: {on: id}, in: {left: rows, right: more}}
  both: {uses: join.left, with: {on: id}, in: {left: some, right: last}}
```
"#,
};

pub(crate) static REFERENCE_FORM: Code = Code {
    name: "reference.form",
    summary: "a reference is not written as `node` or `node.port`",
    explanation: r#"`in:` takes the id of a node, or `node.port` for one of its output ports, a list of these, or a map from input
ports to them.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
  filled: {uses: clean.impute, with: {strategy: mean}, in: nodes/rows}
```

Right:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
  filled: {uses: clean.impute, with: {strategy: mean}, in: rows}
```
"#,
};

pub(crate) static REFERENCE_UNKNOWN: Code = Code {
    name: "reference.unknown",
    summary: "a reference names no node of this pipeline",
    explanation: r#"References are ids of nodes under `nodes:`, in any order; a file or a kind cannot be referred to.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
  filled: {uses: clean.impute, with: {strategy: mean}, in: row}
```

Right:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
  filled: {uses: clean.impute, with: {strategy: mean}, in: rows}
```
"#,
};

pub(crate) static REFERENCE_TWICE: Code = Code {
    name: "reference.twice",
    summary: "one port is bound to the same artifact twice",
    explanation: r#"Merging a table with itself adds nothing, and every column would be there twice.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
  filled: {uses: clean.impute, with: {strategy: mean}, in: [rows, rows]}
```

Right:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
  filled: {uses: clean.impute, with: {strategy: mean}, in: [rows]}
```
"#,
};
