//! Codes of texts that are not the YAML a pipeline is written in.

use engine_core::Code;

pub(crate) static SYNTAX: Code = Code {
    name: "yaml.syntax",
    summary: "the text is not YAML",
    explanation: r#"The file cannot be read as YAML 1.2, so nothing after the place shown could be checked either. Mend this
one first; the next check shows what else there is.

Most often a bracket or a quote was not closed, a text that holds `: ` or begins with a special character (`*`, `&`, `!`, `%`,
`@`, `` ` ``, `{`, `[`) was not quoted, or a line is indented by a tab.

Wrong:

```yaml
description: scores: the second try
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
```

Right:

```yaml
description: "scores: the second try"
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
```
"#,
};

pub(crate) static DUPLICATE_KEY: Code = Code {
    name: "yaml.duplicate_key",
    summary: "a map gives the same key twice",
    explanation: r#"Which of the two was meant cannot be known, and other programs would silently take one of them. Two nodes with
one id are the usual case, often after a merge in version control.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
  rows: {uses: ingest.csv, with: {path: b.csv}}
```

Right:

```yaml
nodes:
  old_rows: {uses: ingest.csv, with: {path: a.csv}}
  new_rows: {uses: ingest.csv, with: {path: b.csv}}
```
"#,
};

pub(crate) static LIMIT: Code = Code {
    name: "yaml.limit",
    summary: "the text, or what aliases and parameters make of it, is larger than a pipeline may be",
    explanation: r#"A pipeline is read whole before anything runs, and from anybody, so its size has limits: 4 MiB of text, a
million values, 64 levels of nesting, and a budget for what anchors, aliases and parameters copy. A text of nine short lines can
otherwise stand for a billion values.

Keep data out of the pipeline: put long lists into a file and read it with a node. Instead of

```yaml
params: {first: &a [x, x, x], second: &b [*a, *a, *a], third: [*b, *b, *b]}
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
```

and so on for many levels, write

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: many_rows.csv}}
```
"#,
};

pub(crate) static MERGE: Code = Code {
    name: "yaml.merge",
    summary: "merge keys `<<` are not part of YAML 1.2",
    explanation: r#"`<<` was a proposal for YAML 1.1 that YAML 1.2 does not have; programs disagree on what it does with keys given
on both sides. Write the keys out, or give a whole map once as a parameter.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: &csv {path: a.csv, nulls: [NA]}}
  more:
    uses: ingest.csv
    with: {<<: *csv, path: b.csv}
```

Right:

```yaml
params: {nulls: [NA]}
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv, nulls: "${nulls}"}}
  more: {uses: ingest.csv, with: {path: b.csv, nulls: "${nulls}"}}
```
"#,
};

pub(crate) static TAG: Code = Code {
    name: "yaml.tag",
    summary: "YAML tags have no meaning in a pipeline",
    explanation: r#"Tags such as `!!python/object` make other programs build objects or run code while they read a file. A pipeline
is data: maps, lists, texts, numbers, bools. A secret is named through `env:`.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: !env DATA}}
```

Right:

```yaml
env: {DATA: {default: a.csv}}
nodes:
  rows: {uses: ingest.csv, with: {path: "${env.DATA}"}}
```
"#,
};

pub(crate) static KEY: Code = Code {
    name: "yaml.key",
    summary: "a key is not a text",
    explanation: r#"Keys are names: of nodes, options, columns, values of a column. A number, a bool, nothing, an alias or a list
as a key is refused, because it is never certain which text was meant (`1`, `1.0` or `01`). Quote it.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv, types: {2024: float}}}
```

Right:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv, types: {"2024": float}}}
```
"#,
};

pub(crate) static DOCUMENTS: Code = Code {
    name: "yaml.documents",
    summary: "the text holds more than one YAML document",
    explanation: r#"A line `---` begins a new YAML document. A file holds one pipeline.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
---
nodes:
  rows: {uses: ingest.csv, with: {path: b.csv}}
```

Right:

```yaml
nodes:
  first: {uses: ingest.csv, with: {path: a.csv}}
  second: {uses: ingest.csv, with: {path: b.csv}}
```
"#,
};

pub(crate) static NUMBER: Code = Code {
    name: "yaml.number",
    summary: "a number cannot be held",
    explanation: r#"Integers have 64 bits, other numbers are 64-bit floats, and infinity and not-a-number are no values of an
option. A longer number is usually an identifier, which is a text: quote it.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv, nulls: [99999999999999999999]}}
```

Right:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv, nulls: ["99999999999999999999"]}}
```
"#,
};
