//! Codes of what stands under a node's `with:`.

use engine_core::Code;

pub(crate) static UNKNOWN: Code = Code {
    name: "option.unknown",
    summary: "the kind has no such option",
    explanation: r#"What a kind's options are called, what they mean and which are required is shown by `fuseline kinds KIND` and
on the kind's page.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv, nuls: [NA]}}
```

Right:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv, nulls: [NA]}}
```
"#,
};

pub(crate) static MISSING: Code = Code {
    name: "option.missing",
    summary: "an option that the kind needs is missing",
    explanation: r#"Some options have no value that would be right for most pipelines, so they must be given.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv}
```

Right:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
```
"#,
};

pub(crate) static TYPE: Code = Code {
    name: "option.type",
    summary: "an option has a value of the wrong sort",
    explanation: r#"The value is, for example, a text where the kind takes a number. Quotes make a text of a number; a single item
is not a list; `yes`, `no`, `on` and `off` are texts in YAML 1.2. A parameter that is the whole value keeps its own type.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv, skip: "2", nulls: NA}}
```

Right:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv, skip: 2, nulls: [NA]}}
```
"#,
};

pub(crate) static VALUE: Code = Code {
    name: "option.value",
    summary: "an option has a value that the kind does not allow",
    explanation: r#"The value has the right sort but is out of range, too short, or none of the words the kind knows.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
  filled: {uses: clean.impute, with: {strategy: avg, max_gap_share: 2}, in: rows}
```

Right:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
  filled: {uses: clean.impute, with: {strategy: mean, max_gap_share: 0.2}, in: rows}
```
"#,
};
