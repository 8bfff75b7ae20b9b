//! Documents and the pipelines they are, or the problems they have.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::testing::{WHOLE_PIPELINE, pipeline, problems, read_with, shown};
use crate::{Parameters, Reference};

/// The problems of `text` are exactly these.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(problems(text), expected, "{text}");
}

#[test]
fn a_whole_pipeline_is_read_into_what_it_says() {
    let mut parameters = Parameters::new();
    parameters.set("data=sets").unwrap();
    let (pipeline, warnings) = read_with(WHOLE_PIPELINE, &parameters).map_err(|problems| shown(&problems)).unwrap();
    assert_eq!(shown(&warnings), Vec::<String>::new());
    assert_eq!((pipeline.name.as_str(), pipeline.seed.value()), ("example", 7));
    assert_eq!(pipeline.description.as_deref(), Some("everything"));
    assert_eq!(pipeline.store.as_deref(), Some("/pipelines/cache"));
    assert_eq!(pipeline.params["nulls"], json!(["NA", ""]));
    assert!(pipeline.env["TOKEN"].secret && !pipeline.env["HOST"].secret);
    assert_eq!(pipeline.nodes.keys().collect::<Vec<_>>(), ["rows", "filled", "joined", "model", "bundle"]);

    let rows = &pipeline.nodes["rows"];
    assert_eq!(rows.uses, "ingest.csv");
    assert_eq!(rows.with["path"], json!("/home/sets/h.csv"));
    assert_eq!(rows.with["nulls"], json!(["NA", ""]));
    assert_eq!(rows.with["token"], json!("${env.TOKEN}"));
    assert_eq!(rows.secrets, [SecretReference { name: "TOKEN".into(), pointer: "/nodes/rows/with/token".into() }]);
    assert_eq!((rows.caching, rows.retries), (Caching::Off, 2));
    assert_eq!(rows.timeout, Some(Duration::from_secs(5400)));
    assert_eq!(rows.resources, Resources { cpus: Some(2), memory_bytes: Some(512 << 20), gpus: Some(1) });
    assert_eq!(pipeline.document().value_at("/nodes/rows/with/path"), Some(&json!("sets/h.csv")));

    let joined = &pipeline.nodes["joined"];
    let reference = |node: &str, port: Option<&str>, part: &str| Reference {
        node: node.into(),
        port: port.map(str::to_owned),
        pointer: joined.pointer(part),
    };
    assert_eq!(
        joined.input("left").unwrap().references,
        [reference("rows", None, "in/left/0"), reference("filled", None, "in/left/1")]
    );
    assert_eq!(joined.input("right").unwrap().references, [reference("rows", Some("table"), "in/right")]);
    assert_eq!(pipeline.span(&joined.pointer("in/right")).text(), "rows.table");
    assert_eq!(pipeline.nodes["filled"].inputs[0].port, "table");
    assert_eq!(pipeline.nodes["bundle"].with["out"], json!("/pipelines/out/a.fuse"));
    assert_eq!(pipeline.key_span(&rows.pointer("")).text(), "rows");
}

#[test]
fn what_is_left_out_has_its_default() {
    let pipeline = pipeline("nodes:\n  rows: {uses: ingest.csv, with: {path: a.csv}}\n");
    let rows = &pipeline.nodes["rows"];
    assert_eq!((pipeline.seed.value(), rows.caching, rows.retries), (0, Caching::On, 0));
    assert_eq!((rows.timeout, rows.resources, pipeline.store), (None, Resources::default(), None));
}

#[test]
fn paths_start_where_they_were_written() {
    let mut parameters = Parameters::new();
    parameters.set("set=here").unwrap();
    let text = "params: {set: x, own: there}\nnodes:\n  a: {uses: ingest.csv, with: {path: '${set}/a'}}\n  b: {uses: ingest.csv, with: {path: '${own}/a'}}\n  c: {uses: ingest.csv, with: {path: /abs/a}}\n  d: {uses: ingest.csv, with: {path: 's3://bucket/${set}'}}\n";
    let (pipeline, _) = read_with(text, &parameters).unwrap();
    let path = |id: &str| pipeline.nodes[id].with["path"].as_str().unwrap().to_owned();
    assert_eq!(path("a"), "/home/here/a");
    assert_eq!(path("b"), "/pipelines/there/a");
    assert_eq!(path("c"), "/abs/a");
    assert_eq!(path("d"), "s3://bucket/here");
}

#[test]
fn a_secret_where_a_path_is_expected_stays_a_secret() {
    let text = "env: {PLACE: {secret: true}}\nnodes:\n  a: {uses: ingest.csv, with: {path: '${env.PLACE}'}}\n";
    assert_eq!(pipeline(text).nodes["a"].with["path"], json!("${env.PLACE}"));
}

#[test]
fn whole_numbers_are_integers_however_they_are_written() {
    let pipeline = pipeline("seed: 1e3\nnodes:\n  a: {uses: ingest.csv, with: {path: a, skip: 2.0}, retries: 1.0}\n");
    assert_eq!(pipeline.seed.value(), 1000);
    assert_eq!(pipeline.nodes["a"].with["skip"].as_u64(), Some(2));
    assert_eq!(pipeline.nodes["a"].retries, 1);
}

#[test]
fn the_frame_says_what_is_missing_or_unknown() {
    let only = |text: &str| shown(&read_with(&format!("fuseline: 1\n{text}"), &Parameters::new()).unwrap_err());
    let rows = "nodes:\n  rows: {uses: ingest.csv, with: {path: a}}\n";
    assert_eq!(
        only(rows),
        [
            "spec.missing_key 1:1 fuseline: a pipeline needs the key `name` | `name`: The pipeline's name in reports and in the history of runs."
        ]
    );
    assert_eq!(
        only("name: x\nnode:\n  rows: {uses: ingest.csv}\n"),
        ["spec.unknown_key 3:1 node: a pipeline has no key `node` | did you mean `nodes`?"]
    );
    assert_eq!(
        only("name: x\nnodes: {}\n"),
        [
            "spec.value 3:8 {}: `nodes` must have at least 1 entry, found an empty map | `nodes`: The nodes by id: lower-case letters, digits and underscores, a letter first."
        ]
    );
    check(
        "zzz: 1\nnodes:\n  rows: {uses: ingest.csv, with: {path: a}, cahce: off}\n  more: {with: {}}\n",
        &[
            "spec.unknown_key 1:1 zzz: a pipeline has no key `zzz` | its keys are `description`, `env`, `fuseline`, `name`, `nodes`, `params`, `plugins`, `seed`, `store`",
            "spec.unknown_key 3:45 cahce: the node `rows` has no key `cahce` | did you mean `cache`?",
            "spec.missing_key 4:3 more: the node `more` needs the key `uses` | `uses`: The kind, such as `clean.impute`.",
        ],
    );
}

#[test]
fn a_file_that_is_no_map_is_told_so() {
    let only = |text: &str| {
        let source = SourceText { name: "p.yaml".into(), text: text.into() };
        let (vocabulary, folders) = (crate::testing::vocabulary(), crate::testing::folders());
        shown(
            &crate::read(source, &Parameters::new(), &crate::testing::no_environment, &vocabulary, &folders)
                .unwrap_err(),
        )
    };
    assert_eq!(only(""), ["spec.type 1:1 : the file is empty | begin with `fuseline: 1`, `name:` and `nodes:`"]);
    assert!(only("[a]\n")[0].starts_with("spec.type 1:1 [a]: a pipeline must be a map, found a list"));
    assert!(only("just text\n")[0].starts_with("spec.type 1:1 just text: a pipeline must be a map, found a text"));
}

#[test]
fn the_frame_says_what_its_values_must_be() {
    check(
        "seed: -1\ndescription: 3\nnodes:\n  a: {uses: ingest.csv, with: {path: a}, retries: many, cache: never, timeout: 30, resources: {cpus: 0, memory: 2 GB, gpu: 1}}\n",
        &[
            "spec.value 1:7 -1: `seed` must be at least 0, found -1 | `seed`: What all randomness derives from; the same seed gives the same results.",
            "spec.type 2:14 3: `description` must be a text, found 3 | if it is meant as a text, quote it: `\"3\"` | `description`: What the pipeline is for.",
            "spec.type 4:51 many: `retries` must be an integer from 0 to 100, found the text `many` | `retries`: How often the node is tried again after it failed.",
            "spec.value 4:64 never: `cache` must be `on`, `off`, `true` or `false`, found the text `never` | `cache`: `off` runs the node every time instead of finding its result again.",
            "spec.type 4:80 30: `timeout` must be a duration such as `30s`, `5m` or `1h30m`, found 30 | if it is meant as a text, quote it: `\"30\"` | `timeout`: How long one try may take, such as `30s`, `5m` or `1h30m`.",
            "spec.value 4:102 0: `resources.cpus` must be at least 1, found 0 | `resources.cpus`: Threads it keeps busy.",
            "spec.value 4:113 2 GB: `resources.memory` must be an amount of memory such as `512MiB` or `2GiB`, found the text `2 GB` | `resources.memory`: Memory it needs, such as `512MiB` or `2GiB`.",
            "spec.unknown_key 4:119 gpu: `resources` has no key `gpu` | did you mean `gpus`?",
        ],
    );
    check(
        "nodes:\n  a: {uses: ingest.csv, with: {path: a}, timeout: 0s, resources: {memory: 99999999999999TiB}}\n",
        &[
            "spec.value 2:51 0s: `timeout` is out of range, found `0s` | leave it out for no limit",
            "spec.value 2:75 99999999999999TiB: `resources.memory` is out of range, found `99999999999999TiB` | leave it out for no limit",
        ],
    );
    check(
        "params:\nnodes:\n  a: {uses: ingest.csv, with: {path: a}}\n",
        &[
            "spec.type 1:1 params: `params` must be a map, found nothing | `params`: Parameters and their values unless a run sets others (`--set name=value`); used as `${name}`.",
        ],
    );
    check(
        "env: {A: {secert: true}, B: 3}\nnodes:\n  a: {uses: ingest.csv, with: {path: a, nulls: ['${env.A}', '${env.B}']}}\n",
        &[
            "spec.unknown_key 1:11 secert: `env.A` has no key `secert` | did you mean `secret`?",
            "spec.type 1:29 3: `env.B` must be a map, found 3 | `env.B`: An environment variable.",
        ],
    );
}

#[test]
fn another_version_is_refused() {
    let only = |version: &str| {
        let text = format!("fuseline: {version}\nname: x\nnodes:\n  a: {{uses: ingest.csv, with: {{path: a}}}}\n");
        shown(&read_with(&text, &Parameters::new()).unwrap_err())
    };
    assert_eq!(
        only("2"),
        ["spec.version 1:11 2: this program reads version 1 of the format, found 2 | write `fuseline: 1`"]
    );
    assert_eq!(
        only("'1'"),
        ["spec.version 1:11 '1': this program reads version 1 of the format, found the text `1` | write `fuseline: 1`"]
    );
}

#[test]
fn ids_and_kinds_are_told_with_the_nearest() {
    check(
        "nodes:\n  Credit-Rows: {uses: ingest.csv, with: {path: a}}\n  2nd: {uses: ingest.cvs}\n  c: {uses: impute}\n  d: {uses: clean.everything}\n  e: {uses: x}\n",
        &[
            "node.id 2:3 Credit-Rows: `Credit-Rows` cannot be the id of a node | call it `credit_rows`",
            "node.id 3:3 2nd: `2nd` cannot be the id of a node | call it `node_2nd`",
            "kind.unknown 3:15 ingest.cvs: there is no kind `ingest.cvs` | did you mean `ingest.csv`?",
            "kind.unknown 4:13 impute: there is no kind `impute` | did you mean `clean.impute`?",
            "kind.unknown 5:13 clean.everything: there is no kind `clean.everything` | the kinds of the stage `clean` are `clean.impute`",
            "kind.unknown 6:13 x: there is no kind `x` | `fuseline kinds` lists every kind",
        ],
    );
    assert!(problems("nodes:\n  a: {uses: broken.kind}\n")[0].starts_with("kind.schema 2:13 broken.kind"));
}

#[test]
fn references_are_told_with_the_nearest() {
    let rows = "nodes:\n  rows: {uses: ingest.csv, with: {path: a}}\n";
    let filled = |input: &str| {
        problems(&format!("{rows}  filled: {{uses: clean.impute, with: {{strategy: mean}}, in: {input}}}\n"))
    };
    assert_eq!(filled("rosw"), ["reference.unknown 3:60 rosw: no node is called `rosw` | did you mean `rows`?"]);
    assert_eq!(
        filled("zebra"),
        ["reference.unknown 3:60 zebra: no node is called `zebra` | the nodes are `rows`, `filled`"]
    );
    assert_eq!(
        filled("ingest.csv"),
        [
            "reference.unknown 3:60 ingest.csv: no node is called `ingest` | `ingest.csv` is a kind; add a node that uses it and refer to that node's id"
        ]
    );
    assert_eq!(
        filled("rows.tabel"),
        [
            "port.unknown 3:60 rows.tabel: `rows` is a `ingest.csv`, which has no output port `tabel` | did you mean `rows.table`?"
        ]
    );
    assert_eq!(
        filled("rows.x"),
        [
            "port.unknown 3:60 rows.x: `rows` is a `ingest.csv`, which has no output port `x` | its output ports are `table`"
        ]
    );
    assert_eq!(
        filled("[rows, rows]"),
        ["reference.twice 3:67 rows: the port `table` is bound to `rows` twice | remove one of the two"]
    );
    assert_eq!(
        filled("3"),
        [
            "reference.form 3:60 3: expected a node or `node.port`, found a number | write `in: node`, `in: [node, node]` or `in: {port: node}`"
        ]
    );
    assert!(filled("[]")[0].starts_with("reference.form 3:60 []: expected a node or `node.port`, found an empty list"));
    assert!(
        filled("")[0]
            .starts_with("reference.form 3:56 in: expected a node or `node.port`, found nothing | remove the key")
    );
    assert!(
        filled("{table: {a: b}}")[0]
            .starts_with("reference.form 3:68 {a: b}: expected a node or `node.port`, found a map")
    );
}

#[test]
fn ports_are_told_with_the_nearest_and_missing_ones_are_named() {
    let rows = "nodes:\n  a: {uses: ingest.csv, with: {path: a}}\n  b: {uses: ingest.csv, with: {path: b}}\n";
    let joined = |rest: &str| problems(&format!("{rows}  j: {{uses: join.left, with: {{on: id}}{rest}}}\n"));
    assert_eq!(joined(", in: {left: [a, b], right: b}").len(), 0);
    assert_eq!(
        joined(", in: {left: a, rigth: b}"),
        ["port.unknown 4:54 rigth: `join.left` has no input port `rigth` | did you mean `right`?"]
    );
    assert_eq!(
        joined(", in: {left: a, zebra: b}"),
        [
            "port.unbound 4:40 in: the input port `right` of `join.left` is not bound | write `in: {right: NODE}`",
            "port.unknown 4:54 zebra: `join.left` has no input port `zebra` | its input ports are `left`, `right`",
        ]
    );
    assert_eq!(
        joined(", in: a"),
        ["port.unbound 4:40 in: the input port `right` of `join.left` is not bound | write `in: {right: NODE}`"]
    );
    assert_eq!(
        joined(""),
        [
            "port.unbound 4:13 join.left: the input port `left` of `join.left` is not bound | write `in: {left: NODE}`",
            "port.unbound 4:13 join.left: the input port `right` of `join.left` is not bound | write `in: {right: NODE}`",
        ]
    );
    assert_eq!(
        joined(", in: {left: a, right: [a, b]}"),
        [
            "port.many 4:61 [a, b]: the port `right` takes one artifact, found 2 | put a node between that makes one of them, such as a join"
        ]
    );
    // One reference in a list is one.
    assert_eq!(joined(", in: {left: [a], right: [b]}").len(), 0);
    // A wrong reference is not an unbound port as well.
    assert_eq!(joined(", in: {left: a, right: c_}").len(), 1);
    assert_eq!(
        problems("nodes:\n  a: {uses: ingest.csv, with: {path: a}, in: a}\n"),
        ["port.unknown 2:42 in: `ingest.csv` takes no input | remove `in:`"]
    );
    assert_eq!(
        problems(
            "nodes:\n  a: {uses: ingest.csv, with: {path: a}}\n  c: {uses: clean.impute, with: {strategy: mean}}\n"
        ),
        ["port.unbound 3:13 clean.impute: the input port `table` of `clean.impute` is not bound | write `in: NODE`"]
    );
}

#[test]
fn an_option_that_names_a_node_is_checked() {
    let text = WHOLE_PIPELINE.replace("request: rows", "request: row");
    let problems = problems(&text);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains("no node is called `row` | did you mean `rows`?"), "{problems:#?}");
}

#[test]
fn references_of_a_node_of_an_unknown_kind_are_checked_all_the_same() {
    let codes: Vec<String> = problems("nodes:\n  a: {uses: clean.nothing_like_it, in: {x: [b], y: nobody}}\n  b: {uses: ingest.csv, with: {path: a}}\n")
        .iter()
        .map(|problem| problem.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(codes, ["kind.unknown", "reference.unknown"]);
}

#[test]
fn a_secret_outside_of_options_is_refused() {
    let text = "env: {S: {secret: true}}\nstore: ${env.S}\nnodes:\n  a: {uses: ingest.csv, with: {path: '${env.S}'}, description: '${env.S}'}\n";
    let problems = problems(text);
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(problems[0].starts_with("env.secret 2:8 ${env.S}: the secret `S` stands where no node would open it"));
    assert!(problems[1].starts_with("env.secret 4:64 '${env.S}'"));
    // And nothing else is said of it.
    let text = "env: {S: {secret: true}}\nseed: ${env.S}\nnodes:\n  a: {uses: '${env.S}', in: '${env.S}', retries: '${env.S}'}\n  b: {uses: clean.impute, with: {strategy: mean}, in: '${env.S}'}\n";
    let problems = crate::testing::problems(text);
    assert!(problems.len() == 5 && problems.iter().all(|problem| problem.starts_with("env.secret")), "{problems:#?}");
}

#[test]
fn every_problem_of_a_thousand_nodes_is_told() {
    let mut text = String::from(
        "params: {data: d}\nnodes:\n  n0: {uses: ingest.csv, with: {path: '${data}/a.csv', nulls: [NA, '']}}\n",
    );
    for at in 1..1000 {
        let before = at - 1;
        text.push_str(&format!("  n{at}:\n    uses: clean.impute\n    with: {{strategy: mean, max_gap_share: 0.5, columns: [a, b]}}\n    in: n{before}\n"));
    }
    assert_eq!(pipeline(&text).nodes.len(), 1000);
    let wrong = text.replace("strategy: mean", "strategy: men").replace("in: n", "in: m");
    assert_eq!(problems(&wrong).len(), 2 * 999);
}
