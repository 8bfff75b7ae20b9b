//! Pipelines and the plans they become, or the problems they have.

use engine_core::Severity;
use engine_table::{RowFilter, StepInput};

use super::*;
use crate::testing::{plan_of, problems_of, registry, shown, spec};
use crate::{OutputRef, PlannedServing, Servings, Work};

const ROWS: &str =
    "rows: {uses: ingest.rows, with: {path: r.json, schema: [a, b, y, id], roles: {y: target, id: key}}}";
const SPLIT: &str = "split: {uses: split.by, with: {by: id}, in: rows}";
const MODEL: &str = "scaled: {uses: encode.scale, with: {columns: [a, b]}, in: split}
    encoder: {uses: encode.table, with: {columns: [a, b]}, in: scaled}
    model: {uses: train.joint, with: {target: y}, in: {encoders: [encoder]}}
    quality: {uses: evaluate.score, in: {model: model}}";

fn nodes(lines: &[&str]) -> String {
    lines.join("\n")
}

/// The first problem is `code`, at `place`, and there are no other errors.
fn check(lines: &[&str], code: &str, place: &str) -> String {
    let problems = problems_of(&nodes(lines));
    let errors: Vec<_> = problems.iter().filter(|problem| problem.is_error() || problem.code.name == code).collect();
    let all = shown(&problems);
    assert_eq!(errors.len(), 1, "{all}");
    assert_eq!(errors[0].code.name, code, "{all}");
    assert_eq!(errors[0].labels[0].span.text(), place, "{all}");
    assert!(!errors[0].help.is_empty(), "no way out: {all}");
    errors[0].message.clone()
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.tasks.iter().map(|task| task.name.as_str()).collect()
}

#[test]
fn a_pipeline_is_laid_out_in_topological_order_with_every_type() {
    let plan = plan_of(&nodes(&[ROWS, SPLIT, MODEL]));
    assert_eq!(names(&plan), ["rows", "split", "scaled/fit", "scaled", "encoder", "model", "quality"]);
    assert!(plan.notes.is_empty(), "{}", shown(&plan.notes));
    for task in &plan.tasks {
        assert!(task.needs().iter().all(|need| *need < task.id));
        assert!(!task.outputs.is_empty());
    }
    let fit = plan.main_task("scaled/fit").unwrap();
    assert_eq!(fit.reads[0].rows, RowFilter::Part(engine_core::Part::Train));
    assert_eq!(fit.reads[0].split.as_deref(), Some("part"));
    assert_eq!(fit.reads[0].columns, ["a", "b"]);
    let scaled = plan.main_task("scaled").unwrap();
    assert_eq!(scaled.table().unwrap().column("a").unwrap().origin, "rows>scaled");
    assert_eq!(scaled.table().unwrap().column("y").unwrap().origin, "rows");
    let Work::Apply { fitted: Some(fitted), .. } = &scaled.work else { panic!("no apply") };
    assert_eq!(fitted.task, fit.id);
    // The trainer reads the table behind its encoders, and the score that behind its model.
    let table = OutputRef { task: scaled.id, port: "table".to_owned() };
    let model = plan.main_task("model").unwrap();
    assert_eq!(
        model.reads.iter().map(|read| read.tables.as_slice()).collect::<Vec<_>>(),
        [std::slice::from_ref(&table), std::slice::from_ref(&table)]
    );
    assert_eq!(plan.main_task("quality").unwrap().reads[0].tables, [table]);
    assert_eq!((model.resources.cpus, scaled.resources.cpus), (None, Some(1)));
}

#[test]
fn all_problems_are_reported_together_in_the_order_of_the_text() {
    let problems = problems_of(&nodes(&[
        "rows: {uses: ingest.rows, with: {path: r.json, schema: [a, y], roles: {y: target}}}",
        "more: {uses: extract.add, with: {from: [aa], as: c}, in: rows}",
        "scaled: {uses: encode.scale, with: {columns: [a, y]}, in: rows}",
        "fine: {uses: encode.scale, with: {columns: [a]}, in: rows}",
    ]));
    let found: Vec<_> = problems.iter().map(|problem| (problem.code.name, problem.labels[0].span.text())).collect();
    assert_eq!(found, [("column.unknown", "aa"), ("column.role", "y"), ("leak.no_split", "encode.scale")]);
}

#[test]
fn a_port_takes_one_kind_of_artifact() {
    let message = check(
        &[ROWS, SPLIT, "model: {uses: train.joint, with: {target: y}, in: {encoders: [split]}}"],
        "port.kind",
        "split",
    );
    assert_eq!(message, "`split` gives a table, but the port `encoders` of `train.joint` takes an encoder");
    let port = "quality2: {uses: evaluate.cross, with: {node: split, option: fold, values: [1]}, in: {metrics: quality.report}}";
    check(&[ROWS, SPLIT, MODEL, port], "port.kind", "quality.report");
}

#[test]
fn a_circle_is_printed_as_a_way_and_only_once() {
    let message = check(
        &[
            ROWS,
            "one: {uses: extract.add, with: {from: [a], as: c}, in: three}",
            "two: {uses: extract.add, with: {from: [a], as: d}, in: one}",
            "three: {uses: extract.add, with: {from: [a], as: e}, in: [two, rows]}",
            "below: {uses: extract.add, with: {from: [a], as: f}, in: three}",
        ],
        "graph.cycle",
        "one",
    );
    assert_eq!(message, "nodes need each other's results: `one` -> `two` -> `three` -> `one`");
    check(&["one: {uses: extract.add, with: {from: [a]}, in: one}"], "graph.cycle", "one");
}

#[test]
fn a_branch_that_ends_in_nothing_is_a_warning_only_beside_results() {
    let dead = "dead: {uses: encode.scale, with: {columns: [a]}, in: split}";
    check(&[ROWS, SPLIT, MODEL, dead], "graph.unused", "dead");
    assert!(plan_of(&nodes(&[ROWS, SPLIT, dead])).notes.is_empty());
    let encoder = "encoder: {uses: encode.table, with: {columns: [a]}, in: split}";
    check(&[ROWS, SPLIT, encoder], "graph.unused", "encoder");
}

#[test]
fn tables_merge_if_they_are_the_same_rows() {
    let c = "c: {uses: extract.add, with: {from: [a], as: c}, in: split}";
    let d = "d: {uses: extract.add, with: {from: [b], as: d}, in: split}";
    let both = "both: {uses: extract.add, with: {from: [c, d], as: e}, in: [c, d]}";
    let plan = plan_of(&nodes(&[ROWS, SPLIT, c, d, both]));
    let table = plan.main_task("both").unwrap().table().unwrap();
    assert_eq!(table.names().collect::<Vec<_>>(), ["a", "b", "y", "id", "part", "c", "d", "e"]);

    let other = "d: {uses: ingest.rows, with: {path: s.json, schema: [d]}}";
    let message = check(&[ROWS, SPLIT, c, other, both], "merge.row_set", "d");
    assert!(message.contains("`c` and `d` hold different rows"), "{message}");

    let twice = "d: {uses: extract.add, with: {from: [b], as: c}, in: split}";
    let both = "both: {uses: extract.add, with: {from: [c], as: e}, in: [c, d]}";
    let message = check(&[ROWS, SPLIT, c, twice, both], "merge.column", "d");
    assert_eq!(message, "`c` and `d` both have a column `c`, one written by `c`, the other by `d`");
}

#[test]
fn a_merge_takes_the_later_version_but_not_behind_an_encoders_back() {
    let scaled = "scaled: {uses: encode.scale, with: {columns: [a]}, in: split}";
    let both = "both: {uses: extract.add, with: {from: [a], as: e}, in: [split, scaled]}";
    let plan = plan_of(&nodes(&[ROWS, SPLIT, scaled, both]));
    let table = plan.main_task("both").unwrap().table().unwrap();
    assert_eq!(table.column("a").unwrap().origin, "rows>scaled");
    let encoders = "one: {uses: encode.table, with: {columns: [COLUMN]}, in: split}
        two: {uses: encode.table, with: {columns: [a]}, in: scaled}
        model: {uses: train.joint, with: {target: y}, in: {encoders: [one, two]}}";
    plan_of(&nodes(&[ROWS, SPLIT, scaled, &encoders.replace("COLUMN", "b")]));
    let message = check(&[ROWS, SPLIT, scaled, &encoders.replace("COLUMN", "a")], "merge.column", "one");
    assert_eq!(message, "`two` and `one` both have a column `a`, one written by `scaled`, the other by `rows`");
}

#[test]
fn a_renamed_column_does_not_merge_with_a_namesake() {
    let one = "one: {uses: extract.add, with: {from: [], rename: {a: x}}, in: rows}";
    let two = "two: {uses: extract.add, with: {from: [], rename: {b: x}}, in: rows}";
    let both = "both: {uses: extract.add, with: {from: [x], as: e}, in: [one, two]}";
    check(&[ROWS, one, two, both], "merge.column", "two");
    let clash = "one: {uses: extract.add, with: {from: [], rename: {a: b}}, in: rows}";
    check(&[ROWS, clash], "column.twice", "b");
}

#[test]
fn learning_needs_a_split_or_the_authors_word() {
    let scaled = "scaled: {uses: encode.scale, with: {columns: [a]}, in: rows}";
    check(&[ROWS, scaled], "leak.no_split", "encode.scale");
    let plan = plan_of(&nodes(&[ROWS, "scaled: {uses: encode.scale, with: {columns: [a], fit_on: all}, in: rows}"]));
    let read = &plan.main_task("scaled/fit").unwrap().reads[0];
    assert_eq!((read.rows, read.asked), (RowFilter::All, RowFilter::Part(engine_core::Part::Train)));
    assert_eq!(read.split, None);
    // A split column of the source has words of its own.
    let raw = "rows: {uses: ingest.rows, with: {path: r.json, schema: [a, set], roles: {set: split}}}";
    let problems = problems_of(&nodes(&[raw, scaled]));
    assert_eq!(problems[0].code.name, "leak.no_split");
    assert!(problems[0].help[0].contains("`column: set`"), "{:?}", problems[0].help);
}

#[test]
fn of_several_splits_the_one_written_last_counts() {
    let second = "again: {uses: split.by, with: {by: id, as: early}, in: split}";
    let scaled = "scaled: {uses: encode.scale, with: {columns: [a]}, in: again}";
    let plan = plan_of(&nodes(&[ROWS, SPLIT, second, scaled]));
    assert_eq!(plan.main_task("scaled/fit").unwrap().reads[0].split.as_deref(), Some("early"));
}

#[test]
fn new_rows_below_a_split_are_refused_and_kept_rows_are_not() {
    check(&[ROWS, SPLIT, "sums: {uses: extract.sum, with: {columns: [a]}, in: split}"], "leak.whole", "extract.sum");
    plan_of(&nodes(&[ROWS, SPLIT, "some: {uses: clean.pick, with: {columns: [a]}, in: split}"]));
    plan_of(&nodes(&[ROWS, SPLIT, "sums: {uses: extract.sum, with: {columns: [a], part: train}, in: split}"]));
    let joined = "joined: {uses: join.left, with: {on: id, columns: [b]}, in: {left: split, right: rows}}";
    plan_of(&nodes(&[ROWS, SPLIT, joined]));
}

#[test]
fn what_is_computed_from_the_target_must_not_reach_an_encoder() {
    let derived = "one: {uses: extract.add, with: {from: [y, a], as: c}, in: split}
        two: {uses: extract.add, with: {from: [c], as: d}, in: one}";
    let encoder = "encoder: {uses: encode.table, with: {columns: [a, d]}, in: two}
        model: {uses: train.joint, with: {target: y}, in: {encoders: [encoder]}}";
    let message = check(&[ROWS, SPLIT, derived, encoder], "leak.target", "d");
    assert_eq!(
        message,
        "the encoder `encoder` reads `d`, which is computed from the target: `d` from `c` by `two`, `c` from `y` by `one`"
    );
    let renamed = "two: {uses: extract.add, with: {from: [y], as: c, rename: {y: z}}, in: split}
        three: {uses: extract.add, with: {from: [], rename: {c: d}}, in: two}";
    let message = check(
        &[ROWS, SPLIT, renamed, &encoder.replace("in: two", "in: three").replace("target: y", "target: z")],
        "leak.target",
        "d",
    );
    assert!(message.ends_with("`d` from `c` by `three`, `c` from `y` by `two`"), "{message}");
    let direct = "encoder: {uses: encode.table, with: {columns: [y]}, in: split}
        model: {uses: train.joint, with: {target: y}, in: {encoders: [encoder]}}";
    let message = check(&[ROWS, SPLIT, direct], "leak.target", "y");
    assert!(message.ends_with("reads `y`, which is the target"), "{message}");
    let key = direct.replace("[y]", "[id]");
    check(&[ROWS, SPLIT, &key], "column.role", "id");
}

#[test]
fn the_target_does_not_hide_behind_a_join() {
    let right = "right: {uses: extract.add, with: {from: [y], as: c}, in: rows}";
    let joined = "joined: {uses: join.left, with: {on: id, columns: [c]}, in: {left: split, right: right}}";
    let encoder = "encoder: {uses: encode.table, with: {columns: [c]}, in: joined}
        model: {uses: train.joint, with: {target: y}, in: {encoders: [encoder]}}";
    let message = check(&[ROWS, SPLIT, right, joined, encoder], "leak.target", "c");
    assert!(message.ends_with("`c` from `c` by `joined`, `c` from `y` by `right`"), "{message}");
}

#[test]
fn tables_kept_apart_are_read_one_by_one() {
    let other = "other: {uses: ingest.rows, with: {path: s.json, schema: [a, b]}}";
    let stack = "stack: {uses: join.stack, with: {columns: [a]}, in: {tables: [rows, other]}}";
    let plan = plan_of(&nodes(&[ROWS, other, stack]));
    let task = plan.main_task("stack").unwrap();
    let read: Vec<_> =
        task.reads.iter().map(|read| (read.port.as_str(), plan.task(read.tables[0].task).name.as_str())).collect();
    assert_eq!(read, [("tables/0", "rows"), ("tables/1", "other")]);
    assert_eq!(task.types.table("tables/1").names().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn an_absent_source_leaves_types_unknown_and_the_rest_checked() {
    let absent = "rows: {uses: ingest.rows, with: {path: no.json}}";
    let scaled = "scaled: {uses: encode.scale, with: {columns: [a]}, in: rows}";
    let checked = bind(&spec(&nodes(&[absent, scaled])), &registry()).unwrap();
    let Checked::Untyped { notes } = &checked else { panic!("a plan without types") };
    assert_eq!((notes.len(), notes[0].code.name, notes[0].severity), (1, "source.absent", Severity::Note));
    assert!(checked.complete().is_err_and(|problems| problems[0].is_error()));
    let wrong = "model: {uses: train.joint, with: {target: y}, in: {encoders: [scaled]}}";
    let problems = problems_of(&nodes(&[absent, scaled, wrong]));
    assert_eq!(problems.iter().map(|problem| problem.code.name).collect::<Vec<_>>(), ["source.absent", "port.kind"]);
}

const CROSS: &str =
    "folds: {uses: evaluate.cross, with: {node: split, option: fold, values: [1, 2]}, in: {metrics: quality}}";

#[test]
fn an_expansion_repeats_what_differs_and_shares_the_rest() {
    let plan = plan_of(&nodes(&[ROWS, SPLIT, MODEL, CROSS]));
    assert_eq!(
        names(&plan)[7..],
        [
            "split@fold=1",
            "scaled/fit@fold=1",
            "scaled@fold=1",
            "encoder@fold=1",
            "model@fold=1",
            "quality@fold=1",
            "split@fold=2",
            "scaled/fit@fold=2",
            "scaled@fold=2",
            "encoder@fold=2",
            "model@fold=2",
            "quality@fold=2",
            "folds"
        ]
    );
    let task = |name: &str| plan.main_task(name).unwrap();
    let from: Vec<&str> =
        task("folds").artifacts.iter().map(|input| plan.task(input.from.task).name.as_str()).collect();
    assert_eq!(from, ["quality@fold=1", "quality@fold=2"]);
    assert_eq!(task("folds").types.artifacts("metrics").len(), 2);
    assert_eq!(task("split@fold=2").bound.options["fold"], 2);
    assert_eq!(task("split@fold=2").needs(), [task("rows").id]);
    assert_eq!(task("scaled/fit@fold=2").reads[0].tables[0].task, task("split@fold=2").id);
    assert_eq!(task("scaled@fold=1").table().unwrap().column("a").unwrap().origin, "rows>scaled@fold=1");
}

#[test]
fn an_expansion_above_an_expansion_is_laid_out_anew() {
    let outer =
        "best: {uses: evaluate.cross, with: {node: scaled, option: plus, values: [3, 4]}, in: {metrics: folds}}";
    let plan = plan_of(&nodes(&[ROWS, SPLIT, MODEL, CROSS, outer]));
    let task = |name: &str| plan.main_task(name).unwrap_or_else(|| panic!("no task {name}"));
    let inner = task("scaled@plus=3,fold=2");
    assert_eq!(inner.bound.options["plus"], 3.0);
    // The fold's own split is shared by the trials only if nothing above it differs; here it is laid out in each.
    assert_eq!(inner.reads[0].tables[0].task, task("split@plus=3,fold=2").id);
    let from: Vec<&str> = task("best").artifacts.iter().map(|input| plan.task(input.from.task).name.as_str()).collect();
    assert_eq!(from, ["folds@plus=3", "folds@plus=4"]);
    for task in &plan.tasks {
        assert!(task.needs().iter().all(|need| *need < task.id));
    }
}

#[test]
fn what_only_an_instance_finds_names_it_once() {
    let cross = "folds: {uses: evaluate.cross, with: {node: scaled, option: columns, values: [[a], [c], [c, a]]}, in: {metrics: quality}}";
    let problems = problems_of(&nodes(&[ROWS, SPLIT, MODEL, cross]));
    assert_eq!(problems.len(), 1, "{}", shown(&problems));
    assert_eq!(problems[0].message, r#"the input has no column `c` (in the instance `columns=["c"]`)"#);
    let beside =
        "folds: {uses: evaluate.cross, with: {node: other, option: plus, values: [1]}, in: {metrics: quality}}";
    let other = "other: {uses: extract.add, with: {from: [a], as: c}, in: rows}
        sink: {uses: extract.add, with: {from: [c], as: d}, in: other}";
    let problems = problems_of(&nodes(&[ROWS, SPLIT, MODEL, other, beside]));
    assert!(problems.iter().any(|problem| problem.code.name == "expand.override"), "{}", shown(&problems));
    let twice =
        "folds: {uses: evaluate.cross, with: {node: split, option: fold, values: [1, 1]}, in: {metrics: quality}}";
    check(&[ROWS, SPLIT, MODEL, twice], "expand.instances", "evaluate.cross");
}

fn tune(with: &str, model: &str) -> String {
    format!(
        "best: {{uses: tune.pick, with: {{{with}}}, in: {{metrics: quality, model: {model}}}}}
        final: {{uses: evaluate.score, in: {{model: best}}}}"
    )
}

/// The names of the tasks that take part only because of a choice, with the place of their instance.
fn conditional(plan: &Plan) -> Vec<(&str, Vec<usize>)> {
    let waiting = plan.tasks.iter().filter(|task| !task.conditions.is_empty());
    waiting.map(|task| (task.name.as_str(), task.conditions.iter().map(|condition| condition.is).collect())).collect()
}

#[test]
fn a_choice_tries_the_graph_above_it_and_gives_one_of_its_models() {
    let plan = plan_of(&nodes(&[ROWS, SPLIT, MODEL, &tune("space: {model.epochs: [3, 5]}", "model")]));
    // What is there to be tried is planned in the trials only, and what no trial changes once for all.
    let expected = [
        "rows",
        "split",
        "scaled/fit",
        "scaled",
        "encoder",
        "model@trial=0",
        "quality@trial=0",
        "model@trial=1",
        "quality@trial=1",
        "best/choice",
        "best",
        "final",
    ];
    assert_eq!(names(&plan), expected);
    assert!(conditional(&plan).is_empty());
    for task in &plan.tasks {
        assert!(task.needs().iter().all(|need| *need < task.id) && plan.task(task.id).name == task.name);
    }
    let trial = plan.main_task("model@trial=1").unwrap();
    assert_eq!(
        trial.overrides.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>(),
        ["model.epochs 5"]
    );
    let Work::Choose { by, of } = &plan.main_task("best").unwrap().work else { panic!("no choice") };
    assert_eq!(plan.task(by.task).name, "best/choice");
    assert_eq!(
        of.iter().map(|of| plan.task(of.task).name.as_str()).collect::<Vec<_>>(),
        ["model@trial=0", "model@trial=1"]
    );
    // Whoever takes the chosen model reads the table that all of them were fitted on.
    let scaled = plan.main_task("scaled").unwrap().id;
    assert_eq!(plan.main_task("final").unwrap().reads[0].tables[0].task, scaled);
    // A node with another reader is planned as written, too.
    let plan = plan_of(&nodes(&[ROWS, SPLIT, MODEL, &tune("space: {model.epochs: [3, 5]}", "model"), CROSS]));
    assert!(names(&plan).contains(&"quality") && names(&plan).contains(&"model"));
}

#[test]
fn where_tables_differ_between_the_trials_the_chosen_ones_is_given_too() {
    let plan = plan_of(&nodes(&[ROWS, SPLIT, MODEL, &tune("space: {scaled.plus: [3, 5]}", "model")]));
    let rows = plan.main_task("best/rows(scaled)").unwrap();
    let Work::Choose { of, .. } = &rows.work else { panic!("no choice") };
    assert_eq!(
        of.iter().map(|of| plan.task(of.task).name.as_str()).collect::<Vec<_>>(),
        ["scaled@trial=0", "scaled@trial=1"]
    );
    let table = rows.table().unwrap();
    assert_eq!(table.column("a").unwrap().origin, "rows>best/rows(scaled)");
    assert_eq!((table.column("y").unwrap().origin.as_str(), table.row_set.0.as_str()), ("rows", "rows"));
    assert_eq!(plan.main_task("final").unwrap().reads[0].tables[0].task, rows.id);
    assert_eq!(plan.main_task("final").unwrap().reads[0].split.as_deref(), Some("part"));
}

#[test]
fn a_refit_learns_from_validation_rows_too_and_runs_for_the_chosen_trial_alone() {
    let plan = plan_of(&nodes(&[ROWS, SPLIT, MODEL, &tune("space: {model.epochs: [3, 5]}, refit: true", "model")]));
    // What no trial changes is fitted again once for all, whoever wins.
    assert_eq!(conditional(&plan), [("model@refit,trial=0", vec![0]), ("model@refit,trial=1", vec![1])]);
    let fit = plan.main_task("scaled/fit@refit").unwrap();
    assert_eq!(
        (fit.reads[0].rows, fit.reads[0].asked),
        (RowFilter::TrainAndValidation, RowFilter::Part(engine_core::Part::Train))
    );
    let model = plan.main_task("model@refit,trial=1").unwrap();
    assert_eq!(
        model.reads.iter().map(|read| read.rows).collect::<Vec<_>>(),
        [RowFilter::TrainAndValidation, RowFilter::None]
    );
    assert_eq!(model.overrides["model.epochs"], 5);
    assert!(model.bound.options["epochs"] == 5 && model.needs().contains(&plan.main_task("best/choice").unwrap().id));
    // It stops by rows that it learns from now, so it is told when it stopped without them.
    let earlier = model.artifacts.iter().find(|input| input.port == engine_table::EARLIER).unwrap();
    assert_eq!(plan.task(earlier.from.task).name, "model@trial=1");
    assert!(plan.main_task("model@trial=1").unwrap().artifacts.iter().all(|input| input.port == "encoders"));
    // The refits see another table than the trials, and so does whoever scores the chosen one.
    let reads = &plan.main_task("final").unwrap().reads[0].tables;
    assert_eq!(plan.task(reads[0].task).name, "scaled@refit");
    let plan = plan_of(&nodes(&[ROWS, SPLIT, MODEL, &tune("space: {scaled.plus: [3, 5]}, refit: true", "model")]));
    let waiting: Vec<&str> = conditional(&plan).into_iter().map(|(name, _)| name).collect();
    let expected = ["scaled/fit", "scaled", "encoder", "model"].map(|node| format!("{node}@refit,trial=0"));
    assert_eq!(waiting[..4], expected);
    assert_eq!(
        plan.main_task("final").unwrap().reads[0].tables[0].task,
        plan.main_task("best/rows(scaled)").unwrap().id
    );
}

#[test]
fn over_folds_the_model_of_a_trial_runs_only_if_it_is_chosen() {
    let best = "best: {uses: tune.pick, with: {space: {model.epochs: [3, 5]}}, in: {metrics: folds, model: model}}
        final: {uses: evaluate.score, in: {model: best}}";
    let plan = plan_of(&nodes(&[ROWS, SPLIT, MODEL, CROSS, best]));
    assert_eq!(conditional(&plan), [("model@trial=0", vec![0]), ("model@trial=1", vec![1])]);
    for name in ["model@trial=1,fold=2", "quality@trial=0,fold=1", "folds@trial=1"] {
        assert!(names(&plan).contains(&name), "{name} of {:?}", names(&plan));
    }
    // The score of a trial is that of its folds, so its own is not computed; and nobody reads the folds as written.
    for name in ["quality@trial=0", "folds", "quality", "model"] {
        assert!(!names(&plan).contains(&name), "{name} of {:?}", names(&plan));
    }
    for task in &plan.tasks {
        assert!(task.needs().iter().all(|need| *need < task.id), "{}", task.name);
    }
    // A refit is told when the trial's own model stopped, so that is trained too: of the chosen trial.
    let plan = plan_of(&nodes(&[
        ROWS,
        SPLIT,
        MODEL,
        CROSS,
        &best.replace("}, in: {metrics: folds", ", refit: true}, in: {metrics: folds"),
    ]));
    let waiting = conditional(&plan);
    assert!(
        waiting.contains(&("model@trial=1", vec![1])) && waiting.contains(&("model@refit,trial=1", vec![1])),
        "{waiting:?}"
    );
}

#[test]
fn a_choice_is_made_anew_in_every_fold_above_it() {
    let late = "late: {uses: evaluate.score, in: {model: best}}
        folds: {uses: evaluate.cross, with: {node: split, option: fold, values: [1, 2]}, in: {metrics: late}}";
    let best = tune("space: {scaled.plus: [3, 5]}, refit: true", "model");
    let plan = plan_of(&nodes(&[ROWS, SPLIT, MODEL, best.split('\n').next().unwrap(), late]));
    for name in ["model@fold=1,trial=1", "best/choice@fold=2", "best/rows(scaled)@fold=2", "best@fold=2", "late@fold=1"]
    {
        assert!(names(&plan).contains(&name), "{name} of {:?}", names(&plan));
    }
    let task = plan.main_task("model@fold=2,refit,trial=1").unwrap();
    assert_eq!(task.conditions.len(), 1);
    assert_eq!((plan.task(task.conditions[0].by.task).name.as_str(), task.conditions[0].is), ("best/choice@fold=2", 1));
    // What a fold's trials share is no part of any of them.
    assert!(plan.main_task("split@fold=2").unwrap().conditions.is_empty());
    for task in &plan.tasks {
        assert!(task.needs().iter().all(|need| *need < task.id), "{}", task.name);
    }
}

#[test]
fn what_a_trial_cannot_have_is_reported_where_it_is_written() {
    let bad = |space: &str, code: &str, place: &str| {
        check(&[ROWS, SPLIT, MODEL, &tune(&format!("space: {{{space}}}"), "model")], code, place)
    };
    let message = bad("model.epoch: [3, 5]", "expand.override", "model.epoch");
    assert_eq!(message, "`train.joint` has no option `epoch` that `best` could vary");
    let message = bad("model.epochs.deep: [3, 5]", "expand.override", "model.epochs.deep");
    assert_eq!(message, "`epochs` of `train.joint` has no option `deep` that `best` could vary");
    bad("modle.epochs: [3, 5]", "expand.override", "modle.epochs");
    bad("rows.path: [a.json, b.json]", "expand.override", "rows.path");
    let message = bad("model.epochs: [3, many]", "option.type", "many");
    assert_eq!(message, "`epochs` must be an integer of at least 0, found the text `many`");
    let message = bad("model.epochs: [3, -1]", "option.value", "-1");
    assert!(message.starts_with("`epochs` must be at least 0"), "{message}");
    let two = "other: {uses: train.joint, with: {target: y}, in: {encoders: [encoder]}}";
    let tuned = tune("space: {model.epochs: [3, 5]}", "other");
    check(&[ROWS, SPLIT, MODEL, two, &tuned], "expand.choice", "other");
    let message = bad("split.fold: [0, 1]", "expand.choice", "split.fold");
    assert_eq!(message, "`best` varies `split.fold`, so each instance would part its rows anew");
    let inner = "best: {uses: tune.pick, with: {space: {model.epochs: [3, 5]}}, in: {metrics: quality, model: model}}
        late: {uses: evaluate.score, in: {model: best}}
        outer: {uses: tune.pick, with: {space: {scaled.plus: [1, 2]}, refit: true}, in: {metrics: late, model: best}}";
    check(&[ROWS, SPLIT, MODEL, inner], "expand.choice", "best");
    plan_of(&nodes(&[ROWS, SPLIT, MODEL, &inner.replace("refit: true", "refit: false")]));
}

#[test]
fn expansions_of_equal_instances_keep_their_tasks_apart() {
    let two = "one: {uses: tune.pick, with: {space: {model.epochs: [3, 5]}}, in: {metrics: quality, model: model}}
        two: {uses: tune.pick, with: {space: {scaled.plus: [3, 5]}}, in: {metrics: quality, model: model}}";
    let plan = plan_of(&nodes(&[ROWS, SPLIT, MODEL, two]));
    let mut all = names(&plan);
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    assert!(all.contains(&"model@trial=1") && all.contains(&"model@two:trial=1"), "{all:?}");
}

fn servings(plan: &Plan) -> &Servings {
    let bundle = plan.main_task("bundle").unwrap();
    let Work::Sink { serving: Some(servings) } = &bundle.work else { panic!("nothing to serve") };
    servings
}

fn serving(plan: &Plan) -> &PlannedServing {
    let Servings::One(serving) = servings(plan) else { panic!("one of several") };
    serving
}

const BUNDLE: &str = "bundle: {uses: deploy.bundle, with: {request: rows, out: m.fuse}, in: {model: model}}";

#[test]
fn a_deployment_holds_the_steps_the_model_needs_and_asks_for_no_more() {
    let lines = "c: {uses: extract.add, with: {from: [a], as: c}, in: split}
        unneeded: {uses: extract.add, with: {from: [b, y], as: u}, in: c}
        scaled: {uses: encode.scale, with: {columns: [c]}, in: unneeded}
        encoder: {uses: encode.table, with: {columns: [c]}, in: scaled}
        model: {uses: train.joint, with: {target: y}, in: {encoders: [encoder]}}";
    let plan = plan_of(&nodes(&[ROWS, SPLIT, lines, BUNDLE]));
    let serving = serving(&plan);
    assert_eq!(serving.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["a"]);
    let steps: Vec<_> =
        serving.steps.iter().map(|step| (plan.task(step.task).name.as_str(), step.inputs.clone())).collect();
    assert_eq!(steps, [("c", vec![StepInput::Request]), ("scaled", vec![StepInput::Step(0)])]);
    assert_eq!(serving.model_inputs, [StepInput::Step(1)]);
    assert_eq!(serving.model_reads, ["c"]);
}

#[test]
fn a_deployment_of_a_chosen_model_holds_the_steps_of_its_trial() {
    let bundle = BUNDLE.replace("model: model", "model: best");
    let steps = |serving: &PlannedServing, plan: &Plan| -> Vec<String> {
        serving.steps.iter().map(|step| plan.task(step.task).name.clone()).collect()
    };
    // Trials that differ below the tables share them.
    let plan = plan_of(&nodes(&[ROWS, SPLIT, MODEL, &tune("space: {model.epochs: [3, 5]}", "model"), &bundle]));
    assert_eq!(steps(serving(&plan), &plan), ["scaled"]);
    let plan = plan_of(&nodes(&[ROWS, SPLIT, MODEL, &tune("space: {scaled.plus: [3, 5]}", "model"), &bundle]));
    let Servings::ByChoice { by, of } = servings(&plan) else { panic!("the same for both") };
    assert_eq!(plan.task(by.task).name, "best/choice");
    let each: Vec<Vec<String>> = of.iter().flat_map(Servings::all).map(|serving| steps(serving, &plan)).collect();
    assert_eq!(each, [["scaled@trial=0"], ["scaled@trial=1"]]);
    let needs = plan.main_task("bundle").unwrap().needs();
    assert!(needs.contains(&by.task) && needs.contains(&plan.main_task("scaled@trial=1").unwrap().id));
}

#[test]
fn branches_meet_again_in_a_deployment() {
    let lines = "c: {uses: extract.add, with: {from: [a], as: c}, in: split}
        d: {uses: extract.add, with: {from: [b], as: d, drop: [a]}, in: split}
        one: {uses: encode.table, with: {columns: [c]}, in: c}
        two: {uses: encode.table, with: {columns: [d, b]}, in: d}
        model: {uses: train.joint, with: {target: y}, in: {encoders: [one, two]}}";
    let plan = plan_of(&nodes(&[ROWS, SPLIT, lines, BUNDLE]));
    let serving = serving(&plan);
    assert_eq!(serving.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(serving.model_inputs, [StepInput::Step(0), StepInput::Step(1)]);
}

#[test]
fn what_cannot_be_served_is_refused_at_its_node() {
    let encoder = "encoder: {uses: encode.table, with: {columns: [a]}, in: split}
        model: {uses: train.joint, with: {target: y}, in: {encoders: [encoder]}}";
    let summed = "sums: {uses: extract.sum, with: {columns: [a, y, id]}, in: rows}
        split: {uses: split.by, with: {by: id}, in: sums}";
    check(&[ROWS, summed, encoder, BUNDLE], "serving.refuse", "extract.sum");
    plan_of(&nodes(&[ROWS, summed, encoder, &BUNDLE.replace("rows", "sums")]));
    let other = "other: {uses: ingest.rows, with: {path: s.json, schema: [d]}}";
    check(&[ROWS, other, SPLIT, encoder, &BUNDLE.replace("rows", "other")], "serving.refuse", "ingest.rows");
    check(&[ROWS, SPLIT, encoder, &BUNDLE.replace("rows", "model")], "serving.request", "model");
    check(&[ROWS, SPLIT, encoder, &BUNDLE.replace("rows", "rowz")], "serving.request", "rowz");
    // A step that needs what no client has.
    let keyed = "c: {uses: extract.add, with: {from: [id], as: c}, in: split}";
    let encoder = encoder.replace("[a]", "[c]").replace("in: split", "in: c");
    check(&[ROWS, SPLIT, keyed, &encoder, BUNDLE], "serving.role", "rows");
}

const SHOPS: &str = "shops: {uses: ingest.rows, with: {path: s.json, schema: [id, c, d], roles: {id: key}}}
    rich: {uses: extract.add, with: {from: [d], as: e}, in: shops}
    looked: {uses: join.look, with: {on: id, columns: [c, d, e]}, in: {left: split, right: rich}}
    encoder: {uses: encode.table, with: {columns: [a, e]}, in: looked}
    model: {uses: train.joint, with: {target: y}, in: {encoders: [encoder]}}";

#[test]
fn a_lookup_is_frozen_with_the_columns_the_model_needs_and_its_key_is_asked_for() {
    let plan = plan_of(&nodes(&[ROWS, SPLIT, SHOPS, BUNDLE]));
    let serving = serving(&plan);
    assert_eq!(serving.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["a", "id"]);
    let [step] = serving.steps.as_slice() else { panic!("{:?}", serving.steps) };
    assert_eq!(step.options, serde_json::json!({"on": "id", "columns": ["e"]}));
    let [table] = step.tables.as_slice() else { panic!("{:?}", step.tables) };
    assert_eq!((table.port.as_str(), &table.columns[..]), ("right", &["id".to_owned(), "e".to_owned()][..]));
    assert_eq!(step.inputs, [StepInput::Request]);
    // What is frozen is waited for, and packed.
    let rich = plan.main_task("rich").unwrap().id;
    assert!(plan.main_task("bundle").unwrap().needs().contains(&rich));
    assert_eq!(step.packed(&plan).map(|output| output.task).collect::<Vec<_>>(), [rich]);
}

#[test]
fn a_key_that_a_step_computes_with_is_not_asked_for() {
    let lines = "c2: {uses: extract.add, with: {from: [id], as: f}, in: looked}";
    let shops = SHOPS.replace("[a, e]", "[f, e]").replace("in: looked}\n    model", "in: c2}\n    model");
    check(&[ROWS, SPLIT, lines, &shops, BUNDLE], "serving.role", "rows");
}

#[test]
fn a_model_does_not_need_what_a_split_writes() {
    let lines = "c: {uses: split.by, with: {by: id, as: c}, in: split}
        d: {uses: extract.add, with: {from: [c], as: d}, in: c}
        encoder: {uses: encode.table, with: {columns: [d]}, in: d}
        model: {uses: train.joint, with: {target: y}, in: {encoders: [encoder]}}";
    let message = check(&[ROWS, SPLIT, lines, BUNDLE], "serving.refuse", "split.by");
    assert!(message.contains("`c` writes `c`"), "{message}");
}

#[test]
fn every_code_has_a_name_of_its_own_and_a_page_that_shows_both_ways() {
    let mut seen = std::collections::HashSet::new();
    for code in crate::CODES {
        assert!(seen.insert(code.name), "{} twice", code.name);
        assert!(code.explanation.len() > 80 && !code.summary.is_empty(), "{}", code.name);
    }
    let mut sorted: Vec<&str> = crate::CODES.iter().map(|code| code.name).collect();
    sorted.sort_unstable();
    assert_eq!(sorted, crate::CODES.iter().map(|code| code.name).collect::<Vec<_>>());
}
