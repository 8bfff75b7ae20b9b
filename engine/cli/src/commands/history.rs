//! Commands that look at past runs: `runs`, `show`, `diff`.

use std::collections::{BTreeMap, BTreeSet};

use engine_core::MetricValue;
use engine_report::{Align, Screen, Table, number, seconds};
use engine_store::{Fingerprint, Run, RunTask, Store};
use serde_json::{Value, json};

use super::kinds::pretty;
use super::{complain, say};
use crate::arguments::StoreArguments;
use crate::load::working_folder;
use crate::machine::date_time;
use crate::open::open;
use crate::{Failure, SUCCESS};

/// Lists past runs, the latest first; with `--pipeline` those of that file.
pub fn runs(arguments: &StoreArguments, limit: usize, as_json: bool) -> Result<u8, Failure> {
    let runs = latest(&open(arguments)?, arguments, limit)?;
    if as_json {
        say(&pretty(&Value::Array(runs.iter().map(run_json).collect())))?;
        return Ok(SUCCESS);
    }
    if runs.is_empty() {
        let of = arguments.pipeline.as_ref().map_or_else(String::new, |file| format!(" of `{}`", file.display()));
        complain(&format!("the store has no run{of} yet\n"));
    }
    let mut table = Table::new([
        ("run", Align::Whole),
        ("pipeline", Align::Whole),
        ("started (UTC)", Align::Whole),
        ("status", Align::Whole),
        ("time", Align::Right),
        ("metrics", Align::Left),
    ]);
    for run in &runs {
        table.row([
            run.id.clone(),
            run.start.pipeline.clone(),
            date_time(run.started_ms),
            run.state.as_str().to_owned(),
            run.seconds.map_or_else(String::new, seconds),
            headline(&run.metrics),
        ]);
    }
    say(&table.render(&Screen::of_stdout()))?;
    Ok(SUCCESS)
}

/// Shows a run: its tasks and metrics.
pub fn show(run: &str, arguments: &StoreArguments, as_json: bool) -> Result<u8, Failure> {
    let store = open(arguments)?;
    let run = find(&store, arguments, run)?;
    let tasks = store.tasks(&run.id).map_err(Failure::message)?;
    if as_json {
        let mut value = run_json(&run);
        let tasks: Result<Vec<Value>, Failure> = tasks.iter().map(|task| task_json(task, &store)).collect();
        value["tasks"] = Value::Array(tasks?);
        say(&pretty(&value))?;
        return Ok(SUCCESS);
    }
    let screen = Screen::of_stdout();
    let mut text = format!("run       {}\npipeline  {}\n", run.id, run.start.pipeline);
    text.push_str(&format!("started   {} UTC\nstatus    {}\n", date_time(run.started_ms), run.state.as_str()));
    for (name, value) in [
        ("time", run.seconds.map(seconds)),
        ("file", run.start.file.clone()),
        ("command", Some(run.start.command.clone())),
        ("revision", Some(revision(&run)).filter(|revision| !revision.is_empty())),
        ("host", Some(run.start.host.clone())),
    ] {
        if let Some(value) = value {
            text.push_str(&format!("{name:<9} {value}\n"));
        }
    }
    for (name, value) in &run.start.params {
        text.push_str(&format!("param     {name} = {value}\n"));
    }
    let mut table = Table::new([
        ("task", Align::Left),
        ("status", Align::Left),
        ("time", Align::Right),
        ("rows", Align::Right),
        ("key", Align::Left),
        ("why", Align::Left),
    ]);
    for task in &tasks {
        table.row([
            task.task.clone(),
            task.status.as_str().to_owned(),
            seconds(task.seconds),
            task.rows.map_or_else(String::new, |rows| rows.to_string()),
            task.key.map_or_else(String::new, |key| key.short()),
            task.error.clone().or_else(|| task.reason.clone()).unwrap_or_default(),
        ]);
    }
    text.push('\n');
    text.push_str(&table.render(&screen));
    if !run.metrics.is_empty() {
        text.push('\n');
        text.push_str(&metrics_table(&run.metrics).render(&screen));
    }
    say(&text)?;
    Ok(SUCCESS)
}

/// Compares two runs.
pub fn diff(before: &str, after: &str, arguments: &StoreArguments, as_json: bool) -> Result<u8, Failure> {
    let store = open(arguments)?;
    let (before, after) = (find(&store, arguments, before)?, find(&store, arguments, after)?);
    let (old, new) = (fingerprints(&store, &before)?, fingerprints(&store, &after)?);
    let mut changes: Vec<[String; 4]> = Vec::new();
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for task in names {
        match (old.get(task), new.get(task)) {
            (Some(old), Some(new)) if old.key != new.key => changes.extend(part_changes(task, old, new)),
            (Some(_), None) => changes.push([task.clone(), "task".into(), "there".into(), "gone".into()]),
            (None, Some(_)) => changes.push([task.clone(), "task".into(), "not there".into(), "new".into()]),
            _ => {}
        }
    }
    let metrics = metric_changes(&before.metrics, &after.metrics);
    if as_json {
        let changes: Vec<Value> = changes
            .iter()
            .map(|[task, part, old, new]| json!({"task": task, "part": part, "old": old, "new": new}))
            .collect();
        let metrics: Vec<Value> = metrics
            .iter()
            .map(|(node, metric, old, new)| {
                json!({"node": node, "metric": metric, "old": old.map(|old| old.value), "new": new.map(|new| new.value)})
            })
            .collect();
        say(&pretty(&json!({"before": before.id, "after": after.id, "changes": changes, "metrics": metrics})))?;
        return Ok(SUCCESS);
    }
    let screen = Screen::of_stdout();
    let mut text = String::new();
    if changes.is_empty() {
        text.push_str("no option and no data differs\n");
    } else {
        let columns = ["task", "what keys it", "before", "after"].map(|name| (name, Align::Left));
        let mut table = Table::new(columns);
        for change in changes {
            table.row(change);
        }
        text.push_str(&table.render(&screen));
    }
    let mut table = Table::new([
        ("node", Align::Left),
        ("metric", Align::Left),
        ("before", Align::Right),
        ("after", Align::Right),
        ("change", Align::Right),
    ]);
    for (node, metric, old, new) in metrics {
        let shown = |value: Option<MetricValue>| value.map_or_else(|| "-".to_owned(), |value| number(value.value));
        let change = match (old, new) {
            (Some(old), Some(new)) => format!("{:+.4}", new.value - old.value),
            _ => String::new(),
        };
        table.row([node, metric, shown(old), shown(new), change]);
    }
    if !table.is_empty() {
        text.push('\n');
        text.push_str(&table.render(&screen));
    }
    say(&text)?;
    Ok(SUCCESS)
}

/// The run whose id is `name` or begins with it; `last` is the latest.
pub fn find(store: &Store, arguments: &StoreArguments, name: &str) -> Result<Run, Failure> {
    if name == "last" {
        return latest(store, arguments, 1)?.pop().ok_or_else(|| Failure::message("the store has no such run yet"));
    }
    store.run(name).map_err(Failure::message)
}

/// The latest runs, newest first; if the arguments name a pipeline, those of that file.
pub fn latest(store: &Store, arguments: &StoreArguments, limit: usize) -> Result<Vec<Run>, Failure> {
    let Some(pipeline) = &arguments.pipeline else { return store.runs(limit).map_err(Failure::message) };
    let file = working_folder()?.join(pipeline).display().to_string();
    let mut runs = store.runs(usize::MAX).map_err(Failure::message)?;
    runs.retain(|run| run.start.file.as_deref() == Some(&file));
    runs.truncate(limit);
    Ok(runs)
}

fn fingerprints(store: &Store, run: &Run) -> Result<BTreeMap<String, Fingerprint>, Failure> {
    let mut found = BTreeMap::new();
    for task in store.tasks(&run.id).map_err(Failure::message)? {
        let Some(key) = task.key else { continue };
        if let Some(record) = store.record(&key).map_err(Failure::message)? {
            found.insert(task.task, record.fingerprint);
        }
    }
    Ok(found)
}

/// The parts of a key that differ.
fn part_changes(task: &str, old: &Fingerprint, new: &Fingerprint) -> Vec<[String; 4]> {
    let parts = |fingerprint: &Fingerprint| -> BTreeMap<String, (String, engine_core::Digest)> {
        fingerprint.parts.iter().map(|part| (part.name.clone(), (part.value.clone(), part.digest))).collect()
    };
    let (old, new) = (parts(old), parts(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let shown =
        |part: Option<&(String, engine_core::Digest)>| part.map_or_else(|| "-".to_owned(), |part| part.0.clone());
    names
        .into_iter()
        .filter(|name| old.get(*name).map(|part| part.1) != new.get(*name).map(|part| part.1))
        .map(|name| [task.to_owned(), name.clone(), shown(old.get(name)), shown(new.get(name))])
        .collect()
}

type Metrics = BTreeMap<String, BTreeMap<String, MetricValue>>;
type MetricChange = (String, String, Option<MetricValue>, Option<MetricValue>);

fn metric_changes(before: &Metrics, after: &Metrics) -> Vec<MetricChange> {
    let names = |metrics: &Metrics| -> BTreeSet<(String, String)> {
        let pairs =
            metrics.iter().flat_map(|(node, values)| values.keys().map(move |metric| (node.clone(), metric.clone())));
        pairs.collect()
    };
    let value =
        |metrics: &Metrics, node: &str, metric: &str| metrics.get(node).and_then(|values| values.get(metric)).copied();
    names(before)
        .union(&names(after))
        .map(|(node, metric)| (node.clone(), metric.clone(), value(before, node, metric), value(after, node, metric)))
        .collect()
}

fn metrics_table(metrics: &Metrics) -> Table {
    let mut table = Table::new([
        ("node", Align::Left),
        ("metric", Align::Left),
        ("value", Align::Right),
        ("95 % interval", Align::Left),
    ]);
    for (node, values) in metrics {
        for (metric, value) in values {
            let interval = match (value.low, value.high) {
                (Some(low), Some(high)) => format!("{} to {}", number(low), number(high)),
                _ => String::new(),
            };
            table.row([node.clone(), metric.clone(), number(value.value), interval]);
        }
    }
    table
}

fn headline(metrics: &Metrics) -> String {
    let shown = ["roc_auc", "accuracy", "rmse"];
    let first = |values: &BTreeMap<String, MetricValue>| {
        shown.iter().find_map(|name| values.get(*name).map(|value| format!("{name} {}", number(value.value))))
    };
    let parts: Vec<String> =
        metrics.iter().filter_map(|(node, values)| first(values).map(|score| format!("{node} {score}"))).collect();
    parts.join(", ")
}

fn revision(run: &Run) -> String {
    run.start.git.as_ref().map_or_else(String::new, |git| {
        let mark = if git.dirty { "+" } else { "" };
        format!("{}{mark}", &git.revision[..git.revision.len().min(10)])
    })
}

fn run_json(run: &Run) -> Value {
    json!({
        "run": run.id,
        "pipeline": run.start.pipeline,
        "file": run.start.file,
        "started": date_time(run.started_ms),
        "status": run.state.as_str(),
        "seconds": run.seconds,
        "command": run.start.command,
        "params": run.start.params,
        "git": run.start.git.as_ref().map(|git| json!({"revision": git.revision, "dirty": git.dirty})),
        "host": run.start.host,
        "version": run.start.version,
        "metrics": run.metrics,
    })
}

fn task_json(task: &RunTask, store: &Store) -> Result<Value, Failure> {
    // What the task made, as digests: equal content is equal text, whoever made it and when.
    let content = match task.key {
        Some(key) => store.record(&key).map_err(Failure::message)?.map(|record| record.content().to_string()),
        None => None,
    };
    Ok(json!({
        "task": task.task,
        "node": task.node,
        "kind": task.kind,
        "status": task.status.as_str(),
        "key": task.key.map(|key| key.to_string()),
        "content": content,
        "seconds": task.seconds,
        "rows": task.rows,
        "reason": task.reason,
        "error": task.error,
    }))
}
