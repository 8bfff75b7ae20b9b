//! Codes of the file's frame: its keys and their values.

use engine_core::Code;

pub(crate) static UNKNOWN_KEY: Code = Code {
    name: "spec.unknown_key",
    summary: "a key that a pipeline does not have",
    explanation: r#"Unknown keys are errors everywhere, because a misspelt key would otherwise do nothing and nobody would notice.
At the top stand `fuseline`, `name`, `description`, `seed`, `params`, `env`, `plugins`, `nodes`, `store`; in a node `uses`, `with`, `in`,
`description`, `cache`, `retries`, `timeout`, `resources`. A kind's own options stand under `with`.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}, retry: 2}
```

Right:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}, retries: 2}
```
"#,
};

pub(crate) static MISSING_KEY: Code = Code {
    name: "spec.missing_key",
    summary: "a key that a pipeline must have is missing",
    explanation: r#"A pipeline has `fuseline`, `name` and `nodes`; a node has `uses`.

Wrong:

```yaml
nodes:
  rows: {with: {path: a.csv}}
```

Right:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
```
"#,
};

pub(crate) static TYPE: Code = Code {
    name: "spec.type",
    summary: "a key of the pipeline has a value of the wrong sort",
    explanation: r#"`yes`, `no`, `on` and `off` are texts in YAML 1.2; bools are `true` and `false`. A quoted number is a text.

Wrong:

```yaml
seed: "7"
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
```

Right:

```yaml
seed: 7
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
```
"#,
};

pub(crate) static VALUE: Code = Code {
    name: "spec.value",
    summary: "a key of the pipeline has a value that is not allowed",
    explanation: r#"Durations have a unit (`500ms`, `30s`, `5m`, `2h`, `1h30m`), amounts of memory too (`512MiB`, `2GiB`, `4GB`).

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}, timeout: "30", resources: {memory: 2G}}
```

Right:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}, timeout: 30s, resources: {memory: 2GiB}}
```
"#,
};

pub(crate) static VERSION: Code = Code {
    name: "spec.version",
    summary: "the pipeline is written for another version of the format",
    explanation: r#"`fuseline:` is the version of the file's format, not of the program. This program reads version 1.

Wrong:

```yaml
fuseline: 2
name: example
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
```

Right:

```yaml
fuseline: 1
name: example
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
```
"#,
};
