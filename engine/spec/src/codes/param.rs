//! Codes of parameters and of the environment.

use engine_core::Code;

pub(crate) static UNKNOWN: Code = Code {
    name: "param.unknown",
    summary: "`${name}` names no parameter",
    explanation: r#"Every parameter is declared under `params:` with the value it has unless a run sets another. Environment
variables are written `${env.NAME}` and declared under `env:`. A text that shall hold the characters `${` writes them `$${`.

Wrong:

```yaml
params: {data: data/credit}
nodes:
  rows: {uses: ingest.csv, with: {path: "${dat}/train.csv"}}
```

Right:

```yaml
params: {data: data/credit}
nodes:
  rows: {uses: ingest.csv, with: {path: "${data}/train.csv"}}
```
"#,
};

pub(crate) static SETTING: Code = Code {
    name: "param.setting",
    summary: "`--set` or `--params` gives a parameter that the pipeline does not declare",
    explanation: r#"A misspelt setting would otherwise change nothing and nobody would notice. Declare the parameter under
`params:`, or use the name it is declared by. With this pipeline, `--set epoch=3` is refused:

```yaml
params: {epochs: 8}
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv, skip: "${epochs}"}}
```

and `--set skip=3` is right with this one:

```yaml
params: {skip: 8}
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv, skip: "${skip}"}}
```
"#,
};

pub(crate) static NAME: Code = Code {
    name: "param.name",
    summary: "the name of a parameter or of an environment variable is not allowed",
    explanation: r#"Names of parameters are lower-case letters, digits and underscores, beginning with a letter, so that
`${name}` is read without doubt. `env` is taken by `${env.NAME}`.

Wrong:

```yaml
params: {Data-Folder: data}
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv}}
```

Right:

```yaml
params: {data_folder: data}
nodes:
  rows: {uses: ingest.csv, with: {path: "${data_folder}/a.csv"}}
```
"#,
};

pub(crate) static SYNTAX: Code = Code {
    name: "param.syntax",
    summary: "`${` is not followed by a name and `}`",
    explanation: r#"`${name}` stands for a parameter, `${env.NAME}` for an environment variable; there are no defaults, calls or
sums inside. The characters `${` themselves are written `$${`.

Wrong:

```yaml
params: {data: data}
nodes:
  rows: {uses: ingest.csv, with: {path: "${data/a.csv"}}
```

Right:

```yaml
params: {data: data}
nodes:
  rows: {uses: ingest.csv, with: {path: "${data}/a.csv"}}
```
"#,
};

pub(crate) static CYCLE: Code = Code {
    name: "param.cycle",
    summary: "parameters refer to each other in a circle",
    explanation: r#"A parameter may use others, in any order, as long as none needs itself.

Wrong:

```yaml
params: {root: "${data}/raw", data: "${root}/credit"}
nodes:
  rows: {uses: ingest.csv, with: {path: "${data}/a.csv"}}
```

Right:

```yaml
params: {root: raw, data: "${root}/credit"}
nodes:
  rows: {uses: ingest.csv, with: {path: "${data}/a.csv"}}
```
"#,
};

pub(crate) static IN_TEXT: Code = Code {
    name: "param.in_text",
    summary: "a list, a map or nothing cannot stand inside a text",
    explanation: r#"`${name}` as a whole value keeps the parameter's type, so it may be a list or a map. Inside a longer text it
must be a text, a number or a bool.

Wrong:

```yaml
params: {folders: [a, b]}
nodes:
  rows: {uses: ingest.csv, with: {path: "data/${folders}/x.csv"}}
```

Right:

```yaml
params: {folder: a, nulls: [NA, "-"]}
nodes:
  rows: {uses: ingest.csv, with: {path: "data/${folder}/x.csv", nulls: "${nulls}"}}
```
"#,
};

pub(crate) static IN_KEY: Code = Code {
    name: "param.in_key",
    summary: "a parameter cannot stand in a key",
    explanation: r#"Parameters give values. If keys could change, the names of nodes, options and columns would no longer stand in
the file. Give the whole map as a parameter instead. A key that shall hold the characters `${` writes them `$${`.

Wrong:

```yaml
params: {label: churn}
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv, types: {"${label}": category}}}
```

Right:

```yaml
params: {types: {churn: category}}
nodes:
  rows: {uses: ingest.csv, with: {path: a.csv, types: "${types}"}}
```
"#,
};

pub(crate) static UNUSED: Code = Code {
    name: "param.unused",
    summary: "a parameter is declared but not used",
    explanation: r#"Setting it would change nothing. Use it as `${name}` or remove it.

Wrong:

```yaml
params: {data: data}
nodes:
  rows: {uses: ingest.csv, with: {path: data/a.csv}}
```

Right:

```yaml
params: {data: data}
nodes:
  rows: {uses: ingest.csv, with: {path: "${data}/a.csv"}}
```
"#,
};

pub(crate) static ENV_UNDECLARED: Code = Code {
    name: "env.undeclared",
    summary: "`${env.NAME}` names an environment variable that is not declared",
    explanation: r#"What a pipeline takes from its surroundings stands in the pipeline: under `env:`, with `secret: true` for what
must never be shown or stored, and a `default:` for what may be absent.

Wrong:

```yaml
nodes:
  rows: {uses: ingest.csv, with: {path: "${env.DATA}/a.csv"}}
```

Right:

```yaml
env: {DATA: {default: data}}
nodes:
  rows: {uses: ingest.csv, with: {path: "${env.DATA}/a.csv"}}
```
"#,
};

pub(crate) static ENV_MISSING: Code = Code {
    name: "env.missing",
    summary: "a declared environment variable is not set and has no default",
    explanation: r#"Set the variable where the program is started, or give a default.

Wrong, unless `DATA` is set:

```yaml
env: {DATA: {}}
nodes:
  rows: {uses: ingest.csv, with: {path: "${env.DATA}/a.csv"}}
```

Right:

```yaml
env: {DATA: {default: data}}
nodes:
  rows: {uses: ingest.csv, with: {path: "${env.DATA}/a.csv"}}
```
"#,
};

pub(crate) static ENV_SECRET: Code = Code {
    name: "env.secret",
    summary: "a secret must stand alone in its value, at a kind that opens it, and has no default",
    explanation: r#"A secret's value is opened by the node that needs it and by nothing else: not by the check, the plan, the
store or a message. So it cannot be made part of a longer text. A secret has no default either: it would stand in the file. Only a kind that is made to open secrets takes one:
of those there are, plug-ins do, as in `with: {token: "${env.TOKEN}"}`.

Wrong:

```yaml
env: {FOLDER: {secret: true}}
nodes:
  rows: {uses: ingest.csv, with: {path: "${env.FOLDER}/a.csv"}}
```

Right, if the folder may be seen:

```yaml
env: {FOLDER: {default: data}}
nodes:
  rows: {uses: ingest.csv, with: {path: "${env.FOLDER}/a.csv"}}
```
"#,
};

pub(crate) static ENV_UNUSED: Code = Code {
    name: "env.unused",
    summary: "an environment variable is declared but not used",
    explanation: r#"Use it as `${env.NAME}` or remove it.

Wrong:

```yaml
env: {DATA: {default: data}}
nodes:
  rows: {uses: ingest.csv, with: {path: data/a.csv}}
```

Right:

```yaml
env: {DATA: {default: data}}
nodes:
  rows: {uses: ingest.csv, with: {path: "${env.DATA}/a.csv"}}
```
"#,
};
