//! Options that do not fit their schema, and what is said of them.

use engine_core::SourceText;
use serde_json::json;

use crate::testing::{problems, shown};
use crate::{KindDescription, Parameters, Vocabulary};

/// The problems of `text` are exactly these.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(problems(text), expected, "{text}");
}

/// The problems of one node's `with` for a kind, given the rest of the node.
#[track_caller]
fn check_options(kind: &str, with: &str, expected: &[&str]) {
    check(&format!("nodes:\n  n:\n    uses: {kind}\n    with: {with}\n"), expected);
}

#[test]
fn a_number_beyond_its_type_is_refused() {
    let skip =
        |number: &str| problems(&format!("nodes:\n  a: {{uses: ingest.csv, with: {{path: a, skip: {number}}}}}\n"));
    assert_eq!(skip("4294967295").len(), 0);
    assert_eq!(
        skip("4294967296"),
        ["option.value 2:47 4294967296: `skip` is a number beyond 4294967295, found 4294967296"]
    );
    assert_eq!(skip("1e300"), ["option.value 2:47 1e300: `skip` is a number beyond 4294967295, found 1e+300"]);
    // Told once, by the schema.
    assert_eq!(skip("-1").len(), 1);
}

#[test]
fn unknown_and_missing_options_are_named_once() {
    check_options(
        "ingest.csv",
        "{path: a, nuls: []}",
        &["option.unknown 4:21 nuls: `ingest.csv` has no option `nuls` | did you mean `nulls`?"],
    );
    check_options(
        "ingest.csv",
        "{pth: a}",
        &["option.unknown 4:12 pth: `ingest.csv` has no option `pth` | did you mean `path`?"],
    );
    check_options(
        "ingest.csv",
        "{}",
        &["option.missing 4:5 with: `ingest.csv` needs the option `path` | `path`: The file."],
    );
    check(
        "nodes:\n  n: {uses: ingest.csv}\n",
        &["option.missing 2:13 ingest.csv: `ingest.csv` needs the option `path` | `path`: The file."],
    );
    check_options(
        "ingest.csv",
        "{path: a, zebra: 1}",
        &[
            "option.unknown 4:21 zebra: `ingest.csv` has no option `zebra` | its options are `header`, `nulls`, `path`, `skip`, `token`, `types`",
        ],
    );
}

#[test]
fn options_say_what_they_must_be() {
    check_options(
        "ingest.csv",
        "{path: 3, nulls: NA, skip: -1, header: yes, types: {id: txt, x: float}}",
        &[
            "option.type 4:18 3: `path` must be a path, found 3 | if it is meant as a text, quote it: `\"3\"` | `path`: The file.",
            "option.type 4:28 NA: `nulls` must be a list of texts, found the text `NA` | write a list: `[NA]` | `nulls`: Cells that mean missing.",
            "option.value 4:38 -1: `skip` must be at least 0, found -1 | `skip`: Lines left out at the top.",
            "option.type 4:50 yes: `header` must be `true` or `false`, found the text `yes` | in YAML 1.2 `yes` is a text; write `true`",
            "option.value 4:67 txt: `types.id` must be `text`, `float`, `int` or `category`, found the text `txt` | did you mean `text`?",
        ],
    );
    check_options(
        "ingest.csv",
        "{path: a, nulls: [a, 1.50, [b]], skip: '2', token: [x]}",
        &[
            "option.type 4:32 1.50: `nulls[1]` must be a text, found 1.5 | if it is meant as a text, quote it: `\"1.50\"` | `nulls`: Cells that mean missing."
                .replace("`nulls`: Cells that mean missing.", "`nulls[1]`: Cells that mean missing.")
                .as_str(),
            "option.type 4:38 [b]: `nulls[2]` must be a text, found a list | `nulls[2]`: Cells that mean missing.",
            "option.type 4:50 '2': `skip` must be an integer of at least 0, found the text `2` | write the number without quotes: `2` | `skip`: Lines left out at the top.",
            "option.type 4:62 [x]: `token` must be a text or nothing, found a list",
        ],
    );
    check_options(
        "ingest.csv",
        "[a]",
        &["spec.type 4:11 [a]: `with` must be a map, found a list | `with`: The kind's options."],
    );
}

fn train(with: &str) -> Vec<String> {
    problems(&format!(
        "nodes:\n  r: {{uses: ingest.csv, with: {{path: a}}}}\n  n: {{uses: train.model, in: r, with: {{target: y, {with}}}}}\n"
    ))
}

fn impute(with: &str) -> Vec<String> {
    problems(&format!(
        "nodes:\n  r: {{uses: ingest.csv, with: {{path: a}}}}\n  n: {{uses: clean.impute, in: r, with: {{{with}}}}}\n"
    ))
}

#[test]
fn ranges_are_told_in_words() {
    let epochs = "architecture: {type: linear}, epochs: ";
    assert_eq!(
        train(&format!("{epochs}0")),
        ["option.value 3:89 0: `epochs` must be at least 1, found 0 | `epochs`: Passes over the train rows."]
    );
    assert!(train(&format!("{epochs}1001"))[0].contains("`epochs` must be at most 1000, found 1001"));
    assert!(train(&format!("{epochs}1.5"))[0].contains("`epochs` must be an integer from 1 to 1000, found 1.5"));
    assert!(train("architecture: {type: linear}, rate: 0")[0].contains("`rate` must be above 0, found 0"));
    assert!(
        train("architecture: {type: mlp, hidden: []}")[0]
            .contains("`architecture.hidden` must have at least 1 item, found an empty list")
    );
    assert!(impute("strategy: mean, max_gap_share: 2")[0].contains("`max_gap_share` must be at most 1, found 2"));
}

#[test]
fn alternatives_are_narrowed_to_the_one_that_was_meant() {
    // Words, and a map beside them.
    assert_eq!(
        impute("strategy: man"),
        [
            "option.value 3:51 man: `strategy` must be `mean`, `median` or a map with `constant`, found the text `man` | did you mean `mean`? | `strategy`: What stands in for a gap."
        ]
    );
    assert_eq!(
        impute("strategy: 3"),
        [
            "option.type 3:51 3: `strategy` must be `mean`, `median` or a map with `constant`, found 3 | `strategy`: What stands in for a gap."
        ]
    );
    assert_eq!(
        impute("strategy: {constnat: 3}"),
        ["option.unknown 3:52 constnat: `strategy` has no key `constnat` | did you mean `constant`?"]
    );
    assert!(
        impute("strategy: {constant: x}")[0]
            .starts_with("option.type 3:62 x: `strategy.constant` must be a number, found the text `x`")
    );
    // An optional list or map.
    assert!(
        impute("strategy: mean, columns: [a, 3]")[0]
            .starts_with("option.type 3:70 3: `columns[1]` must be a text, found 3")
    );
    assert!(
        impute("strategy: mean, columns: {typ: float}")[0]
            .starts_with("option.unknown 3:67 typ: `columns` has no key `typ` | did you mean `type`?")
    );
    assert!(
        impute("strategy: mean, columns: age")[0].contains(
            "`columns` must be a list of texts, a map or nothing, found the text `age` | write a list: `[age]`"
        )
    );
    assert_eq!(impute("strategy: mean, columns: ~").len(), 0);
    // Maps told apart by a key.
    assert_eq!(
        train("architecture: {type: mpl, hidden: [8]}"),
        [
            "option.value 3:72 mpl: `architecture.type` must be `mlp` or `linear`, found the text `mpl` | did you mean `mlp`?"
        ]
    );
    assert!(
        train("architecture: {type: linear, hidden: [8]}")[0]
            .starts_with("option.unknown 3:80 hidden: `architecture` has no key `hidden`")
    );
    assert!(
        train("architecture: {hidden: [8]}")[0]
            .starts_with("option.missing 3:51 architecture: `architecture` needs the key `type`")
    );
    assert!(train("architecture: mlp")[0].starts_with(
        "option.type 3:65 mlp: `architecture` must be a map with `type: mlp` or a map with `type: linear`, found the text `mlp`"
    ));
}

#[test]
fn a_key_at_the_wrong_level_is_told_where_it_belongs() {
    check(
        "nodes:\n  a: {uses: ingest.csv, path: a.csv, with: {path: a, cache: off}}\n",
        &[
            "spec.unknown_key 2:25 path: the node `a` has no key `path` | `path` is an option of `ingest.csv`: write it under `with:`",
            "option.unknown 2:54 cache: `ingest.csv` has no option `cache` | `cache` belongs to the node: write it beside `with:`",
        ],
    );
}

#[test]
fn of_one_value_one_thing_is_told() {
    check(
        "nodes:\n  a: {uses: ingest.csv, with: {path: a}, retries: -1.5}\n",
        &[
            "spec.type 2:51 -1.5: `retries` must be an integer from 0 to 100, found -1.5 | `retries`: How often the node is tried again after it failed.",
        ],
    );
}

/// Options as kinds write them, so that what schemars makes of them is what is tested.
mod options {
    use schemars::JsonSchema;

    /// Trains.
    #[derive(JsonSchema)]
    #[schemars(deny_unknown_fields)]
    #[allow(dead_code, reason = "only its schema is used")]
    pub(super) struct Train {
        /// How often.
        #[schemars(default, range(min = 1, max = 10))]
        pub(super) epochs: u32,
        /// What changes the weights.
        pub(super) optimiser: Option<Optimiser>,
        /// How encoders meet.
        pub(super) fusion: Option<Fusion>,
        pub(super) part: Option<Part>,
        /// Where to.
        #[schemars(extend("format" = "path"))]
        pub(super) out: Option<String>,
        #[schemars(length(min = 1))]
        pub(super) files: Option<Vec<Path>>,
    }

    /// A path.
    #[derive(JsonSchema)]
    #[schemars(transparent, extend("format" = "path"))]
    pub(super) struct Path(#[allow(dead_code, reason = "only its schema is used")] String);

    /// An optimiser.
    #[derive(JsonSchema)]
    #[schemars(rename_all = "snake_case")]
    #[allow(dead_code, reason = "only its schema is used")]
    pub(super) enum Optimiser {
        /// Plain.
        Sgd,
        /// With moments.
        Adam {
            /// How fast.
            rate: f64,
        },
    }

    #[derive(JsonSchema)]
    #[schemars(tag = "architecture", rename_all = "snake_case", deny_unknown_fields)]
    #[allow(dead_code, reason = "only its schema is used")]
    pub(super) enum Fusion {
        /// Side by side.
        Concat,
        /// Weighed.
        Gated {
            /// How wide.
            width: Option<u32>,
        },
    }

    #[derive(JsonSchema)]
    #[schemars(rename_all = "snake_case")]
    #[allow(dead_code, reason = "only its schema is used")]
    pub(super) enum Part {
        Train,
        Test,
    }
}

#[test]
fn schemas_made_from_rust_options_read_well() {
    let kind = KindDescription {
        opens_secrets: true,
        summary: "Trains.".into(),
        options: schemars::schema_for!(options::Train).to_value(),
        inputs: vec![],
        outputs: vec![],
    };
    let vocabulary = Vocabulary::new([("train.it".to_owned(), kind)]);
    let folders = crate::testing::folders();
    let read = |with: &str| {
        let text = format!("fuseline: 1\nname: x\nnodes:\n  n:\n    uses: train.it\n    with: {{epochs: 3, {with}}}\n");
        let source = SourceText { name: "p.yaml".into(), text };
        crate::read(source, &Parameters::new(), &crate::testing::no_environment, &vocabulary, &folders)
    };
    let check = |with: &str, expected: &str| {
        let problems = shown(&read(with).unwrap_err());
        assert_eq!(problems.len(), 1, "{problems:#?}");
        let told = problems[0].splitn(3, ' ').nth(2).unwrap();
        assert_eq!(told.split_once(": ").unwrap().1, expected);
    };
    check(
        "optimiser: sdg",
        "`optimiser` must be `sgd` or a map with `adam`, found the text `sdg` | did you mean `sgd`? | `optimiser`: What changes the weights.",
    );
    check("optimiser: {adam: {rtae: 1}}", "`optimiser.adam` needs the key `rate` | `rate`: How fast.");
    check("optimiser: {adm: {rate: 1}}", "`optimiser` has no key `adm` | did you mean `adam`?");
    check(
        "optimiser: {adam: {rate: fast}}",
        "`optimiser.adam.rate` must be a number, found the text `fast` | `optimiser.adam.rate`: How fast.",
    );
    check(
        "fusion: {architecture: gatde}",
        "`fusion.architecture` must be `concat` or `gated`, found the text `gatde` | did you mean `gated`?",
    );
    check("fusion: {architecture: gated, wdth: 3}", "`fusion` has no key `wdth` | did you mean `width`?");
    check(
        "fusion: {architecture: gated, width: -3}",
        "`fusion.width` must be at least 0, found -3 | `fusion.width`: How wide.",
    );
    check("part: tset", "`part` must be `train`, `test` or nothing, found the text `tset` | did you mean `test`?");
    check("files: []", "`files` must have at least 1 item, found an empty list");
    let (pipeline, _) = read("out: a/b, files: [c, /d], fusion: {architecture: concat}, part: ~").unwrap();
    let with = &pipeline.nodes["n"].with;
    assert_eq!(with["out"], json!("/pipelines/a/b"));
    assert_eq!(with["files"], json!(["/pipelines/c", "/d"]));
}
