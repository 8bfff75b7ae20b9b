//! What tunings share: trials as instances, the choice between them, and its page.

use std::collections::BTreeMap;

use engine_core::{ArtifactKind, MetricValue, Part, nearest};
use engine_table::report::{
    Axis, Bar, BarsSection, Cell, LinesSection, Mark, ReportPage, Section, Series, TableSection,
};
use engine_table::{
    Arity, At, Choice, Chosen, Files, InputPort, Instance, NodeError, OPTION_INVALID, OutputPort, Override, PortType,
    Problem, ReduceInputs, Reduction, Refit, RowFilter, Slice,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::evaluate::sections::{Metrics, artifacts, read_metrics, texts};
use crate::model::codes::TUNE_ON_TEST;
use crate::place;

const METRICS: &str = "metrics";
const MODEL: &str = "model";
/// More bars than this are drawn as dots.
const MOST_BARS: usize = 30;
/// The file of a tuning's metrics that lists its trials.
const TRIALS_FILE: &str = "trials.json";

/// Which scores are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Goal {
    /// Higher ones: accuracy, F1, areas under curves.
    Maximize,
    /// Lower ones: losses and errors.
    Minimize,
}

/// What the winner is fitted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum RefitOn {
    /// The train rows: the model of the best trial as it is.
    #[default]
    #[serde(rename = "train")]
    Train,
    /// The train and the validation rows: it is fitted once more.
    #[serde(rename = "train+validation")]
    TrainAndValidation,
}

/// An option of a trial.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tried {
    /// As `space` names it: `node.option`.
    pub(super) option: String,
    pub(super) value: Value,
    /// Where the value stands, as a pointer below `with`.
    pub(super) at: String,
}

/// The options of a trial, in the order of their names.
pub(super) type Trial = Vec<Tried>;

/// How a tuning chooses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule<'a> {
    pub(super) metric: &'a str,
    pub(super) goal: Goal,
}

/// The ports of a tuning.
pub(super) fn inputs() -> Vec<InputPort> {
    vec![
        InputPort::new(METRICS, ArtifactKind::Metrics, Arity::One),
        InputPort::new(MODEL, ArtifactKind::Model, Arity::One),
    ]
}

/// What a tuning gives.
pub(super) fn outputs() -> Vec<OutputPort> {
    [ArtifactKind::Model, ArtifactKind::Metrics, ArtifactKind::Report].map(OutputPort::of).to_vec()
}

/// The ports whose upstream is tried.
pub(super) fn ports() -> Vec<&'static str> {
    vec![METRICS, MODEL]
}

/// What the choosing task gives; the model is the engine's part.
pub(super) fn reduction() -> Reduction {
    let outputs = [("metrics", PortType::Metrics), ("report", PortType::Report)];
    Reduction { reads: Vec::new(), outputs: outputs.map(|(port, gives)| (port.to_owned(), gives)).into() }
}

/// How the engine is to read the choice.
pub(super) fn choice(refit: RefitOn) -> Choice {
    let refit = match refit {
        RefitOn::Train => Refit::None,
        RefitOn::TrainAndValidation => Refit::OnTrainAndValidation,
    };
    Choice { port: MODEL, by: METRICS, refit }
}

/// What is wrong with the names in `space`.
pub(super) fn check_names<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<Problem> {
    let is_bad =
        |name: &&String| !name.split_once('.').is_some_and(|(node, option)| !node.is_empty() && !option.is_empty());
    let problem = |name: &String| {
        Problem::error(&OPTION_INVALID, place::entry("space", name), format!("`{name}` names no option of a node"))
            .label("a node and its option, a dot between them")
            .help("write `NODE.OPTION`, as in `reader.learning_rate` or `reader.fusion.architecture`")
    };
    names.into_iter().filter(is_bad).map(problem).collect()
}

/// What is wrong with a list of values: none, or one twice.
pub(super) fn check_values(option: &str, values: &[Value]) -> Vec<Problem> {
    let at = |place: usize| At::Option(value_at(option, Some(place)));
    if values.is_empty() {
        let message = format!("`{option}` has no value to try");
        return vec![Problem::error(&OPTION_INVALID, place::entry("space", option), message).help("list one or more")];
    }
    let again = values.iter().enumerate().filter(|(place, value)| values[..*place].contains(value));
    let problem = |(place, value): (usize, &Value)| {
        Problem::error(&OPTION_INVALID, at(place), format!("`{option}` has the value {value} twice"))
            .label("the same again")
    };
    again.map(problem).collect()
}

/// Where a value of `option` stands: in a list at a place, or as a whole.
pub(super) fn value_at(option: &str, place: Option<usize>) -> String {
    let At::Option(mut at) = place::entry("space", option) else { return String::new() };
    if let Some(place) = place {
        at.push_str(&format!("/{place}"));
    }
    at
}

/// The trials as instances of `slice`.
///
/// # Errors
/// If the score of a trial would be one of test rows.
pub(super) fn instances(trials: &[Trial], slice: &Slice) -> Result<Vec<Instance>, Vec<Problem>> {
    let reads_test = |reads: &[RowFilter]| reads.contains(&RowFilter::Part(Part::Test));
    if let Some(node) = slice.nodes.iter().find(|node| reads_test(&node.reads)) {
        let message = format!("`{}` scores the test rows, and a choice must not be made on them", node.id);
        let problem = Problem::error(&TUNE_ON_TEST, At::Input(METRICS.to_owned()), message)
            .label("a score of the test rows")
            .help(format!("score the validation rows: `on: validation` at `{}`", node.id));
        let folds = slice.nodes.iter().rfind(|node| node.kind == "split.folds");
        return Err(vec![match folds {
            Some(folds) => problem.help(format!(
                "and keep test rows out of the folds: `test: 0.2` at `{}`; the fold in turn is validation then",
                folds.id
            )),
            None => problem,
        }]);
    }
    let instance = |(number, trial): (usize, &Trial)| {
        let change = |tried: &Tried| {
            let (node, option) = tried.option.split_once('.').unwrap_or((&tried.option, ""));
            let named_at = value_at(&tried.option, None);
            Override { named_at, value_at: tried.at.clone(), ..Override::new(node, option, tried.value.clone()) }
        };
        Instance { name: format!("trial={number}"), overrides: trial.iter().map(change).collect() }
    };
    Ok(trials.iter().enumerate().map(instance).collect())
}

/// A trial and what came of it.
struct Scored<'a> {
    number: usize,
    trial: &'a Trial,
    metrics: Metrics,
    score: MetricValue,
}

/// Chooses the best of `trials`, whose metrics are on the port of `inputs`; of equally good ones the first.
///
/// # Errors
/// If a trial has no such score.
pub(super) fn choose(
    trials: &[Trial],
    rule: Rule<'_>,
    inputs: &ReduceInputs,
) -> Result<BTreeMap<String, Files>, NodeError> {
    let given = inputs.artifacts(METRICS);
    if given.len() != trials.len() {
        return Err(NodeError::Failed(format!("there are {} scores of {} trials", given.len(), trials.len())));
    }
    let mut scored = Vec::with_capacity(trials.len());
    for (number, (trial, artifact)) in trials.iter().zip(given).enumerate() {
        let metrics = read_metrics(&artifact.files)
            .map_err(|error| NodeError::Failed(format!("{}: {error}", in_words(number, trial))))?;
        let score = score_of(&metrics, rule.metric)
            .map_err(|why| NodeError::Failed(format!("{} {why}", in_words(number, trial))))?;
        scored.push(Scored { number, trial, metrics, score });
    }
    let best = best(&scored, rule.goal).ok_or_else(|| NodeError::Failed("there is no trial to choose".to_owned()))?;
    // The other scores of the winner had no part in the choice: an evaluation of the chosen model gives them.
    let is_of_it = |name: &String| name.rsplit('.').next() == Some(rule.metric);
    let metrics = best.metrics.iter().filter(|(name, _)| is_of_it(name)).map(|(name, value)| (name.clone(), *value));
    let mut files = artifacts(&metrics.collect(), &page(&scored, best, rule))?;
    if let Some(metrics) = files.remove(METRICS) {
        let metrics = Chosen { instance: best.number }.add_to(metrics)?;
        let listing = serde_json::to_vec(&listing(&scored, best)).map_err(NodeError::failed)?;
        files.insert(METRICS.to_owned(), metrics.with(TRIALS_FILE, listing));
    }
    Ok(files)
}

fn in_words(number: usize, trial: &Trial) -> String {
    let options: Vec<String> = trial.iter().map(|tried| format!("{}: {}", tried.option, tried.value)).collect();
    format!("trial {number} ({})", options.join(", "))
}

fn score_of(metrics: &Metrics, name: &str) -> Result<MetricValue, String> {
    match metrics.get(name) {
        Some(score) if score.value.is_finite() => Ok(*score),
        Some(score) => Err(format!("has a `{name}` of {}, which cannot be compared", score.value)),
        None => {
            let names = || metrics.keys().map(String::as_str).filter(|name| !name.contains('.'));
            let listed: Vec<String> = names().map(|name| format!("`{name}`")).collect();
            let near = nearest(name, names()).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
            Err(format!("has no score `{name}`, which `metric` asks for; {near}it has {}", listed.join(", ")))
        }
    }
}

fn best<'s, 'a>(scored: &'s [Scored<'a>], goal: Goal) -> Option<&'s Scored<'a>> {
    let is_better = |one: f64, other: f64| match goal {
        Goal::Maximize => one > other,
        Goal::Minimize => one < other,
    };
    scored.iter().reduce(|best, next| if is_better(next.score.value, best.score.value) { next } else { best })
}

/// The trials for other programs.
fn listing(scored: &[Scored<'_>], best: &Scored<'_>) -> Value {
    let entry = |one: &Scored<'_>| {
        let options: BTreeMap<&str, &Value> =
            one.trial.iter().map(|tried| (tried.option.as_str(), &tried.value)).collect();
        json!({ "trial": one.number, "options": options, "score": one.score, "chosen": one.number == best.number })
    };
    scored.iter().map(entry).collect()
}

fn page(scored: &[Scored<'_>], best: &Scored<'_>, rule: Rule<'_>) -> ReportPage {
    let metric = rule.metric.replace('_', " ");
    let mut page = ReportPage::new(format!("tuning over {} trials", scored.len()));
    let options: Vec<String> =
        best.trial.iter().map(|tried| format!("{} {}", tried.option, shown(&tried.value))).collect();
    let mut notes = vec![format!("Chosen is trial {}, with {}.", best.number, options.join(", "))];
    if scored.len() > 1 {
        notes.push(
            "Its score is the best of several on the same rows, so it is rather too good; how good the model is, only \
             rows that no choice was made on can say."
                .to_owned(),
        );
    }
    texts(&mut page, notes, Vec::new());
    page.sections.push(Section::Table(table(scored, best, rule, &metric)));
    page.sections.push(chart(scored, &metric));
    page
}

/// The trials, the best first.
fn table(scored: &[Scored<'_>], best: &Scored<'_>, rule: Rule<'_>, metric: &str) -> TableSection {
    let mut order: Vec<&Scored<'_>> = scored.iter().collect();
    // A stable sort: equally good ones stay in the order of their numbers.
    order.sort_by(|one, other| match rule.goal {
        Goal::Maximize => other.score.value.total_cmp(&one.score.value),
        Goal::Minimize => one.score.value.total_cmp(&other.score.value),
    });
    let mut columns = vec!["trial".to_owned()];
    columns.extend(best.trial.iter().map(|tried| tried.option.clone()));
    columns.extend([metric.to_owned(), String::new()]);
    let row = |one: &&Scored<'_>| {
        let mut row = vec![Cell::text(format!("trial {}", one.number))];
        row.extend(one.trial.iter().map(|tried| cell(&tried.value)));
        row.push(Cell::Metric(one.score));
        row.push(if one.number == best.number { Cell::text("chosen") } else { Cell::Empty });
        row
    };
    TableSection {
        title: "trials".to_owned(),
        note: "The best first; of equally good ones the first was chosen. In brackets the 95 % interval of each score."
            .to_owned(),
        columns,
        rows: order.iter().map(row).collect(),
    }
}

fn cell(value: &Value) -> Cell {
    // As it was written: the digits of an option are not a measurement's.
    value.as_u64().map_or_else(|| Cell::text(shown(value)), Cell::Count)
}

/// A value without the quotes of JSON.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The score of each trial: over the option if there is one and it is a number, else a bar each, and of many a dot.
fn chart(scored: &[Scored<'_>], metric: &str) -> Section {
    let numbers: Option<Vec<f64>> = scored
        .iter()
        .map(|one| match one.trial.as_slice() {
            [only] => only.value.as_f64(),
            _ => None,
        })
        .collect();
    let option = scored.first().and_then(|one| one.trial.first()).map_or("", |tried| tried.option.as_str());
    match numbers {
        Some(numbers) if numbers.len() > 1 => Section::Lines(line(scored, &numbers, option, metric)),
        _ if scored.len() > MOST_BARS => {
            let numbers: Vec<f64> = scored.iter().map(|one| one.number as f64).collect();
            let mut dots = line(scored, &numbers, "trial", metric);
            dots.series.retain(|series| series.mark != Mark::Reference);
            dots.series.iter_mut().for_each(|series| series.mark = Mark::Dots);
            Section::Lines(dots)
        }
        _ => Section::Bars(BarsSection {
            title: format!("{metric} by trial"),
            note: "With the interval of each trial's own evaluation.".to_owned(),
            value_label: metric.to_owned(),
            bars: scored.iter().map(|one| Bar { name: format!("trial {}", one.number), value: one.score }).collect(),
        }),
    }
}

/// The scores over `x`, with the ends of their intervals; over its logarithm if it goes over powers of ten.
fn line(scored: &[Scored<'_>], x: &[f64], name: &str, metric: &str) -> LinesSection {
    let (low, high) = x.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), x| (low.min(*x), high.max(*x)));
    let is_wide = low > 0.0 && high / low >= 30.0;
    let label = if is_wide { format!("log10 of {name}") } else { name.to_owned() };
    let place = |x: f64| if is_wide { x.log10() } else { x };
    let points = |value: &dyn Fn(&MetricValue) -> Option<f64>| {
        let mut points: Vec<(f64, f64)> =
            x.iter().zip(scored).filter_map(|(x, one)| Some((place(*x), value(&one.score)?))).collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        points
    };
    let mut series =
        vec![Series { name: metric.to_owned(), mark: Mark::LineAndDots, points: points(&|score| Some(score.value)) }];
    let ends: [(&str, &dyn Fn(&MetricValue) -> Option<f64>); 2] =
        [("lower end of its interval", &|score| score.low), ("upper end", &|score| score.high)];
    for (name, end) in ends {
        let points = points(end);
        if points.len() == scored.len() {
            series.push(Series { name: name.to_owned(), mark: Mark::Reference, points });
        }
    }
    LinesSection {
        title: format!("{metric} by {name}"),
        note: String::new(),
        x: Axis::new(label),
        y: Axis::new(metric),
        series,
    }
}

#[cfg(test)]
mod tests {
    use engine_core::Seed;
    use engine_table::{InputTypes, NamedFiles, PortInput, SliceNode};

    use super::*;

    fn trial(options: &[(&str, Value)]) -> Trial {
        let tried = |(option, value): &(&str, Value)| Tried {
            option: (*option).to_owned(),
            value: value.clone(),
            at: value_at(option, Some(0)),
        };
        options.iter().map(tried).collect()
    }

    fn files(metrics: &str) -> Files {
        Files::new().with("metrics.json", metrics.as_bytes())
    }

    fn chosen(trials: &[Trial], metrics: &[&str], goal: Goal) -> Result<BTreeMap<String, Files>, String> {
        let artifact = |text: &&str| NamedFiles { node: "scored@x".to_owned(), files: files(text).into() };
        let port = PortInput { artifacts: metrics.iter().map(artifact).collect(), rows: BTreeMap::new() };
        let inputs = ReduceInputs::new(InputTypes::default(), BTreeMap::from([(METRICS.to_owned(), port)]));
        choose(trials, Rule { metric: "f1", goal }, &inputs).map_err(|error| error.to_string())
    }

    fn winner(scores: &[f64], goal: Goal) -> usize {
        let trials: Vec<Trial> = (0..scores.len()).map(|number| trial(&[("m.rate", json!(number))])).collect();
        let texts: Vec<String> = scores.iter().map(|score| json!({"f1": {"value": score}}).to_string()).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        Chosen::of(&chosen(&trials, &texts, goal).unwrap()[METRICS]).unwrap().instance
    }

    #[test]
    fn the_best_is_chosen_and_of_equally_good_ones_the_first() {
        assert_eq!(winner(&[0.5, 0.8, 0.8, 0.1], Goal::Maximize), 1);
        assert_eq!(winner(&[0.5, 0.8, 0.1, 0.1], Goal::Minimize), 2);
        assert_eq!(winner(&[-3.0], Goal::Maximize), 0);
    }

    #[test]
    fn a_trial_without_the_score_is_named_with_its_options() {
        let trials = [trial(&[("m.rate", json!(0.1))]), trial(&[("m.rate", json!(0.2))])];
        let good = r#"{"f1": {"value": 0.5}}"#;
        let error =
            chosen(&trials, &[good, r#"{"recall": {"value": 1}, "baseline.f1": {"value": 0}}"#], Goal::Maximize);
        let expected = "trial 1 (m.rate: 0.2) has no score `f1`, which `metric` asks for; it has `recall`";
        assert_eq!(error.unwrap_err(), expected);
        // JSON has no NaN: what is no number cannot be read.
        let error = chosen(&trials, &[r#"{"f1": {"value": null}}"#, good], Goal::Maximize).unwrap_err();
        assert!(error.starts_with("trial 0 (m.rate: 0.1): the metrics cannot be read"), "{error}");
    }

    #[test]
    fn the_page_lists_the_trials_best_first_and_draws_one_number_as_a_line() {
        let rates = [0.001, 0.1, 0.01];
        let trials: Vec<Trial> = rates.map(|rate| trial(&[("m.rate", json!(rate))])).to_vec();
        let texts =
            [0.6, 0.7, 0.9].map(|f1| json!({"f1": {"value": f1, "low": f1 - 0.1, "high": f1 + 0.1}}).to_string());
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let files = chosen(&trials, &texts, Goal::Maximize).unwrap();
        let page = ReportPage::from_files(&files["report"]).unwrap();
        let [Section::Text { paragraphs, .. }, Section::Table(table), Section::Lines(lines)] = page.sections.as_slice()
        else {
            panic!("{:?}", page.sections)
        };
        assert_eq!(paragraphs[0], "Chosen is trial 2, with m.rate 0.01.");
        let names: Vec<&Cell> = table.rows.iter().map(|row| &row[0]).collect();
        assert_eq!(names, [&Cell::text("trial 2"), &Cell::text("trial 1"), &Cell::text("trial 0")]);
        assert_eq!((&table.rows[0][3], &table.rows[1][3]), (&Cell::text("chosen"), &Cell::Empty));
        // Over two powers of ten: the axis is a logarithm, from left to right.
        assert_eq!(lines.series[0].points, [(-3.0, 0.6), (-2.0, 0.9), (-1.0, 0.7)]);
        assert_eq!(lines.series.len(), 3);
        let listed: Value = files[METRICS].read_json(TRIALS_FILE).unwrap();
        assert_eq!((&listed[2]["chosen"], &listed[0]["options"]["m.rate"]), (&json!(true), &json!(0.001)));
    }

    #[test]
    fn several_options_are_drawn_as_bars() {
        let trials =
            [trial(&[("m.a", json!("x")), ("m.b", json!(1))]), trial(&[("m.a", json!("y")), ("m.b", json!(1))])];
        let files =
            chosen(&trials, &[r#"{"f1": {"value": 0.5}}"#, r#"{"f1": {"value": 0.4}}"#], Goal::Maximize).unwrap();
        let page = ReportPage::from_files(&files["report"]).unwrap();
        let Section::Bars(bars) = &page.sections[2] else { panic!("{:?}", page.sections) };
        assert_eq!(bars.bars.iter().map(|bar| bar.name.as_str()).collect::<Vec<_>>(), ["trial 0", "trial 1"]);
    }

    #[test]
    fn a_choice_on_test_rows_is_refused_with_the_way_out() {
        let node = |id: &str, kind: &str, reads: &[RowFilter]| SliceNode {
            id: id.to_owned(),
            kind: kind.to_owned(),
            options: json!({}),
            reads: reads.to_vec(),
        };
        let scored =
            |part| node("scored", "evaluate.classification", &[RowFilter::Part(Part::Train), RowFilter::Part(part)]);
        let trials = [trial(&[("m.fusion.width", json!(1))])];
        let mut slice =
            Slice { nodes: vec![node("folds", "split.folds", &[]), scored(Part::Test)], seed: Seed::new(1) };
        let problems = instances(&trials, &slice).unwrap_err();
        assert_eq!(problems[0].code.name, "tune.on_test");
        assert!(
            problems[0].help[0].contains("`on: validation` at `scored`") && problems[0].help[1].contains("`folds`")
        );
        slice.nodes[1] = scored(Part::Validation);
        let change = &instances(&trials, &slice).unwrap()[0].overrides[0];
        assert_eq!((change.node.as_str(), change.option.as_str()), ("m", "fusion.width"));
        assert_eq!(
            (change.named_at.as_str(), change.value_at.as_str()),
            ("/space/m.fusion.width", "/space/m.fusion.width/0")
        );
    }
}
