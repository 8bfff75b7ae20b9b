//! Contract 2: what a preview says is what a run does, whatever was edited.

use std::collections::BTreeSet;

use engine_core::TaskStatus;
use engine_exec::TaskOutcome;
use engine_plan::Outlook;
use engine_store::Store;

use crate::look_alike::Dice;
use crate::workshop::{Project, preview};

/// Edits of each of the three pipelines; together 300.
const EDITS: usize = 100;

/// Edits of a tuning, which trains several models each time.
const TUNING_EDITS: usize = 40;

/// Texts of a pipeline of which one stands in it: an edit replaces it by another.
type Choice = &'static [&'static str];

const QUICKSTART: &[Choice] = &[
    &["epochs: 1,", "epochs: 2,"],
    &["hidden: [8]", "hidden: [8, 4]", "hidden: [16]"],
    &["learning_rate: 0.003", "learning_rate: 0.01"],
    &["strategy: median", "strategy: mean"],
    &["indicator: true}", "indicator: true, max_gap_share: 0.9}"],
    &["validation: 0.15, test: 0.25", "validation: 0.2, test: 0.2"],
    &["\"amount / income\"", "\"amount / (income + 1)\"", "\"(amount) / income\""],
    &["description: Credit risk on a small", "description: Credit risk on a little"],
    &["out: loans.fuse", "out: other.fuse"],
    &["positive: \"yes\"", "positive: \"no\""],
    &["seed: 1\n", "seed: 2\n", "seed: 3\n"],
];

const TELCO_CHURN: &[Choice] = &[
    &["epochs: 1,", "epochs: 2,"],
    &["hidden: [8]", "hidden: [4]"],
    &["dropout: 0.2", "dropout: 0.0"],
    &["l2: 0.0001", "l2: 0.01"],
    &["value: 0}", "value: 5}"],
    &["TotalCharges / (tenure + 1)", "TotalCharges / (tenure + 2)"],
    &["patience: 8", "patience: 1"],
    &["positive: \"Yes\"", "positive: \"No\""],
    &["out: telco-churn.fuse", "out: customers.fuse"],
    &["seed: 7\n", "seed: 8\n"],
];

const GERMAN_CREDIT: &[Choice] = &[
    &["epochs: 1,", "epochs: 2,"],
    &["hidden: [8]", "hidden: [4]"],
    &["folds: 3,", "folds: 4,"],
    &["validation: 0.15", "validation: 0.2"],
    &["batch_size: 64", "batch_size: 32"],
    &["learning_rate: 0.002", "learning_rate: 0.02"],
    &["positive: \"1\"", "positive: \"0\""],
    &["description: Credit risk on the Statlog", "description: Credit risk on some"],
    &["seed: 7\n", "seed: 8\n"],
];

/// Cells of a column and what an edit puts in their place.
type Cells = (&'static str, &'static [&'static str]);

#[test]
fn contract_2_a_run_of_the_loans_does_what_was_previewed() {
    let mut project = Project::loans(90);
    project.replace("hidden: [32]", "hidden: [8]");
    project.replace("epochs: 2,", "epochs: 1,");
    project.data = project.data.with_column("note", |row| row.to_string());
    let cells: &[Cells] = &[
        ("income", &["12345.5", "30000.25", "99.0"]),
        ("employment_years", &["", "3.5"]),
        ("purpose", &["car", "education"]),
        ("default", &["yes", "no"]),
        ("note", &["seen by nobody", "nor this"]),
    ];
    hold(project, QUICKSTART, cells, 1, EDITS);
}

#[test]
fn contract_2_a_run_of_telco_churn_does_what_was_previewed() {
    let mut project = Project::telco_churn(90);
    project.replace("hidden: [64]", "hidden: [8]");
    project.replace("epochs: 2,", "epochs: 1,");
    let cells: &[Cells] = &[
        ("customerID", &["0000-AAAAA", "0001-BBBBB"]),
        ("TotalCharges", &[" ", "17.5"]),
        ("MonthlyCharges", &["20.25", "99.5"]),
        ("Contract", &["One year", "Two year"]),
        ("Churn", &["Yes", "No"]),
        ("split", &["train", "test"]),
    ];
    hold(project, TELCO_CHURN, cells, 2, EDITS);
}

#[test]
fn contract_2_a_run_of_german_credit_does_what_was_previewed() {
    let mut project = Project::german_credit(80);
    project.replace("hidden: [32]", "hidden: [8]");
    project.replace("epochs: 2,", "epochs: 1,");
    let cells: &[Cells] =
        &[("age", &["20", "60"]), ("purpose", &["A40", "A43"]), ("bad", &["0", "1"]), ("split", &["train", "test"])];
    hold(project, GERMAN_CREDIT, cells, 3, EDITS);
}

#[test]
fn contract_2_a_run_of_a_tuning_does_what_was_previewed() {
    let project = Project::of_loans(crate::tuning::PIPELINE, 90);
    let choices: &[Choice] = &[
        &["[median, mean]", "[median]", "[mean, median]"],
        &["[0.003, 0.03]", "[0.01, 0.003]", "[0.003, 0.03, 0.3]"],
        &["train+validation}", "train}"],
        &["metric: roc_auc, goal: maximize", "metric: log_loss, goal: minimize", "metric: accuracy, goal: maximize"],
        &["epochs: 2}", "epochs: 1}"],
        &["hidden: [8]", "hidden: [4]"],
        &["validation: 0.2, test: 0.2", "validation: 0.15, test: 0.25"],
        &["seed: 1\n", "seed: 2\n"],
    ];
    let cells: &[Cells] =
        &[("income", &["12345.5", "99.0"]), ("employment_years", &["", "3.5"]), ("default", &["yes", "no"])];
    hold(project, choices, cells, 4, TUNING_EDITS);
}

/// Edits the project again and again; each time previews it, runs it and compares.
fn hold(mut project: Project, choices: &[Choice], cells: &[Cells], seed: u64, edits: usize) {
    let store = Store::temporary().unwrap();
    let mut dice = Dice::new(seed);
    project.run(&store);
    let (mut hits, mut ran, mut spared) = (0, 0, 0);
    for number in 0..edits {
        let mut edits = vec![edit(&mut project, choices, cells, &mut dice)];
        if dice.below(4) == 0 {
            edits.push(edit(&mut project, choices, cells, &mut dice));
        }
        let foreseen = preview(&project.plan(), &store);
        let done = project.run(&store);
        // A preview leaves out what it knows will not be chosen.
        let foreseen_names: BTreeSet<&str> = foreseen.tasks.iter().map(|task| task.task.as_str()).collect();
        let is_foreseen = |outcome: &&TaskOutcome| {
            foreseen_names.contains(outcome.task.as_str()) || outcome.status != TaskStatus::NotChosen
        };
        let outcomes: Vec<&TaskOutcome> = done.outcome.tasks.iter().filter(is_foreseen).collect();
        assert_eq!(foreseen.tasks.len(), outcomes.len());
        for (task, outcome) in foreseen.tasks.iter().zip(outcomes) {
            assert_eq!(task.task, outcome.task);
            let is_right = match task.outlook {
                Outlook::Run => outcome.status == TaskStatus::Ran,
                Outlook::Hit => outcome.status == TaskStatus::Hit,
                Outlook::MayRun => [TaskStatus::Ran, TaskStatus::Hit, TaskStatus::NotChosen].contains(&outcome.status),
            };
            let (name, outlook, status) = (&task.task, task.outlook.as_str(), outcome.status.as_str());
            assert!(is_right, "edit {number} {edits:?}: `{name}` was foreseen as {outlook} and is {status}");
            match (task.outlook, outcome.status) {
                (Outlook::MayRun, TaskStatus::Hit) => spared += 1,
                (_, TaskStatus::Ran) => ran += 1,
                _ => hits += 1,
            }
        }
    }
    assert!(
        hits > edits && ran > edits && spared > 0,
        "{hits} hits, {ran} ran, {spared} spared: the edits are too tame"
    );
}

/// One edit, and what it was.
fn edit(project: &mut Project, choices: &[Choice], cells: &[Cells], dice: &mut Dice) -> String {
    match dice.below(10) {
        0..5 => {
            let choice = dice.one_of(choices);
            let now = choice.iter().find(|text| project.text.contains(**text));
            let now = now.unwrap_or_else(|| panic!("none of {choice:?} in\n{}", project.text));
            let others: Vec<&str> = choice.iter().filter(|text| *text != now).copied().collect();
            let next = dice.one_of(&others);
            project.replace(now, next);
            format!("`{now}` to `{next}`")
        }
        5..8 => {
            let (column, values) = cells[dice.below(cells.len())];
            let (row, place, value) =
                (dice.below(project.data.rows.len()), project.data.place(column), dice.one_of(values));
            value.clone_into(&mut project.data.rows[row][place]);
            format!("{column} of row {row} to `{value}`")
        }
        8 => {
            let from = dice.below(project.data.rows.len());
            let to = dice.below(project.data.rows.len());
            let mut row = project.data.rows[from].clone();
            // A key of its own: it is the first column of all three.
            row[0] = (100_000 + dice.below(800_000)).to_string();
            project.data.rows.insert(to, row);
            format!("a row like {from} at {to}")
        }
        _ => {
            let row = dice.below(project.data.rows.len());
            project.data.rows.remove(row);
            format!("row {row} removed")
        }
    }
}
