//! Runs that were: when, what, how they ended, and what keyed each task the last time.

use std::collections::BTreeMap;

use engine_core::{Digest, MetricValue, RunStatus, TaskStatus};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::records::has_record;
use crate::run_id::{RunId, new_run_id};
use crate::store::{digest_from, lock};
use crate::{Fingerprint, Store, StoreError};

/// The state of the working tree a run was started in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitState {
    /// The commit.
    pub revision: String,
    /// Whether there were changes that are in no commit.
    pub dirty: bool,
}

/// What a pipeline was read with, so that it can be read again the same way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Invocation {
    /// The working directory.
    pub folder: String,
    /// The `--set` arguments.
    pub set: Vec<String>,
    /// The `--params` arguments.
    pub params: Vec<String>,
}

/// What is known when a run begins.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunStart {
    /// The pipeline's name.
    pub pipeline: String,
    /// Its file, if it came from one.
    pub file: Option<String>,
    /// The command line, without values of secrets.
    pub command: String,
    /// What its file was read with.
    pub invocation: Invocation,
    /// The parameters it was resolved with.
    pub params: BTreeMap<String, Value>,
    /// The working tree, if there is one.
    pub git: Option<GitState>,
    /// The machine.
    pub host: String,
    /// Fuseline's version.
    pub version: String,
}

/// How a task of a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct RunTask {
    /// Its name.
    pub task: String,
    /// Its node.
    pub node: String,
    /// Its kind.
    pub kind: String,
    /// How it ended.
    pub status: TaskStatus,
    /// Its key, if it came so far.
    pub key: Option<Digest>,
    /// How long it took; 0 for a hit.
    pub seconds: f64,
    /// Rows of its table output, if it has one.
    pub rows: Option<u64>,
    /// Why it ran or was a hit.
    pub reason: Option<String>,
    /// Why it failed or was skipped.
    pub error: Option<String>,
}

/// What is known when a run ends.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEnd {
    /// How it ended.
    pub status: RunStatus,
    /// How long it took.
    pub seconds: f64,
    /// The scores of each node that gives metrics.
    pub metrics: BTreeMap<String, BTreeMap<String, MetricValue>>,
    /// Whatever else a report may want of the run's events.
    pub summary: Value,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Its process is at work.
    Running,
    /// Its process ended without a word.
    Interrupted,
    /// It ended.
    Ended(RunStatus),
}

impl RunState {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Running => RUNNING,
            RunState::Interrupted => "interrupted",
            RunState::Ended(status) => status.as_str(),
        }
    }
}

/// A run in the history.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its id; ids sort by time.
    pub id: String,
    /// What was known when it began.
    pub start: RunStart,
    /// When it began, milliseconds since 1970.
    pub started_ms: u64,
    /// Where it stands.
    pub state: RunState,
    /// How long it took; `None` until it ended.
    pub seconds: Option<f64>,
    /// The scores of each node that gives metrics.
    pub metrics: BTreeMap<String, BTreeMap<String, MetricValue>>,
    /// Whatever else was kept of its events.
    pub summary: Value,
}

const RUNNING: &str = "running";

const RUN_COLUMNS: &str = "id, pipeline, file, status, started_ms, seconds, command, git_revision, git_dirty, invocation, params, \
                           host, version, metrics, summary";

const TASK_COLUMNS: &str = "task, node, kind, status, key, seconds, rows, reason, error";

impl Store {
    /// Notes that a run began, and gives its id. Until [`Store::finish_run`] the run is shown as running while this
    /// process lives, and as interrupted if it dies.
    ///
    /// # Errors
    /// If the store is open for reading only.
    pub fn begin_run(&self, start: &RunStart) -> Result<String, StoreError> {
        let writer = self.writer()?;
        let RunId { id, started_ms } = new_run_id();
        if let Some(claim) = self.claims.try_claim(&run_key(&id))? {
            lock(&self.running).insert(id.clone(), claim);
        }
        let (row, start) = (id.clone(), start.clone());
        writer.send(move |connection| {
            let sql =
                format!("INSERT INTO runs ({RUN_COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)");
            connection.prepare_cached(&sql)?.execute(params![
                row,
                start.pipeline,
                start.file,
                RUNNING,
                started_ms.cast_signed(),
                None::<f64>,
                start.command,
                start.git.as_ref().map(|git| &git.revision),
                start.git.as_ref().map(|git| git.dirty),
                json(&start.invocation),
                json(&start.params),
                start.host,
                start.version,
                "{}",
                "null",
            ])?;
            Ok(())
        });
        Ok(id)
    }

    /// Notes how tasks of a run ended, in one transaction; an interrupted run so keeps what was done. Waits for nothing.
    ///
    /// # Errors
    /// If the store is open for reading only.
    pub fn note_tasks(&self, run: &str, tasks: Vec<RunTask>) -> Result<(), StoreError> {
        let run = run.to_owned();
        self.writer()?.send(move |connection| {
            let sql = format!(
                "INSERT OR REPLACE INTO run_tasks (run, {TASK_COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)"
            );
            let mut insert = connection.prepare_cached(&sql)?;
            for task in tasks {
                insert.execute(params![
                    run,
                    task.task,
                    task.node,
                    task.kind,
                    task.status.as_str(),
                    task.key.as_ref().map(Digest::as_bytes),
                    task.seconds,
                    task.rows.map(u64::cast_signed),
                    task.reason,
                    task.error,
                ])?;
            }
            Ok(())
        });
        Ok(())
    }

    /// Notes how a run ended. [`Store::flush`] comes after it, and only then is the run reported finished.
    ///
    /// # Errors
    /// If the store is open for reading only.
    pub fn finish_run(&self, run: &str, end: &RunEnd) -> Result<(), StoreError> {
        let (id, end) = (run.to_owned(), end.clone());
        let claim = lock(&self.running).remove(run);
        let writer = self.writer()?;
        writer.send(move |connection| {
            connection
                .prepare_cached("UPDATE runs SET status = ?2, seconds = ?3, metrics = ?4, summary = ?5 WHERE id = ?1")?
                .execute(params![id, end.status.as_str(), end.seconds, json(&end.metrics), json(&end.summary)])?;
            Ok(())
        });
        // Held until the row is committed, so that the run is never seen as interrupted.
        writer.send_and(|_| Ok(()), move |_| drop(claim))
    }

    /// The latest runs, newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn runs(&self, limit: usize) -> Result<Vec<Run>, StoreError> {
        let runs = self.connections.read("read the runs", |connection| {
            let sql = format!("SELECT {RUN_COLUMNS} FROM runs ORDER BY started_ms DESC, id DESC LIMIT ?1");
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], run_from)?;
            rows.collect::<rusqlite::Result<Vec<Run>>>()
        })?;
        runs.into_iter().map(|run| self.with_state(run)).collect()
    }

    /// The run whose id is `prefix`, or begins with it if only one does.
    ///
    /// # Errors
    /// [`StoreError::UnknownRun`] if none or several do.
    pub fn run(&self, prefix: &str) -> Result<Run, StoreError> {
        let found = self.connections.read("read a run", |connection| {
            let sql =
                format!("SELECT {RUN_COLUMNS} FROM runs WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id LIMIT 4");
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([prefix], run_from)?;
            rows.collect::<rusqlite::Result<Vec<Run>>>()
        })?;
        if let Some(exact) = found.iter().find(|run| run.id == prefix) {
            return self.with_state(exact.clone());
        }
        match <[Run; 1]>::try_from(found) {
            Ok([run]) => self.with_state(run),
            Err(found) if found.is_empty() => Err(StoreError::UnknownRun(format!(
                "the store at `{}` has no run `{prefix}`; `fuseline runs` lists them",
                self.root().display()
            ))),
            Err(found) => {
                let ids: Vec<String> = found.iter().map(|run| format!("`{}`", run.id)).collect();
                Err(StoreError::UnknownRun(format!(
                    "several runs begin with `{prefix}`: {}; write one of them in full",
                    ids.join(", ")
                )))
            }
        }
    }

    /// The tasks of a run, in order of name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn tasks(&self, run: &str) -> Result<Vec<RunTask>, StoreError> {
        self.connections.read("read the tasks of a run", |connection| {
            let sql = format!("SELECT {TASK_COLUMNS} FROM run_tasks WHERE run = ?1 ORDER BY task");
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([run], task_from)?;
            rows.collect()
        })
    }

    /// The main task of a node in a run: the one named as the node, else the first of its tasks.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn task_of(&self, run: &str, node: &str) -> Result<Option<RunTask>, StoreError> {
        self.connections.read("read a task of a run", |connection| {
            let sql = format!(
                "SELECT {TASK_COLUMNS} FROM run_tasks WHERE run = ?1 AND node = ?2 ORDER BY task <> ?2, task LIMIT 1"
            );
            connection.prepare_cached(&sql)?.query_row([run, node], task_from).optional()
        })
    }

    /// Remembers what keyed tasks, by task, so that the next plan can say what changed; in one transaction. Waits for
    /// nothing.
    ///
    /// # Errors
    /// If the store is open for reading only.
    pub fn set_last_fingerprints(
        &self,
        pipeline: &str,
        fingerprints: Vec<(String, Fingerprint)>,
    ) -> Result<(), StoreError> {
        let pipeline = pipeline.to_owned();
        self.writer()?.send(move |connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO fingerprints (pipeline, task, key, parts) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET key = excluded.key, parts = excluded.parts WHERE key <> excluded.key",
            )?;
            for (task, Fingerprint { key, parts }) in fingerprints {
                let parts = if has_record(connection, &key)? { None } else { Some(json(&parts)) };
                insert.execute(params![pipeline, task, key.as_bytes(), parts])?;
            }
            Ok(())
        });
        Ok(())
    }

    /// What keyed a task the last time. Its parts are those of the task's record; of a task whose record is gone they
    /// are not known.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn last_fingerprint(&self, pipeline: &str, task: &str) -> Result<Option<Fingerprint>, StoreError> {
        let row: Option<(Vec<u8>, Option<String>)> = self.connections.read("read a fingerprint", |connection| {
            connection
                .prepare_cached("SELECT key, parts FROM fingerprints WHERE pipeline = ?1 AND task = ?2")?
                .query_row([pipeline, task], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })?;
        let Some((key, parts)) = row else { return Ok(None) };
        let Some(key) = digest_from(&key) else { return Ok(None) };
        let parts = match parts {
            Some(parts) => serde_json::from_str(&parts).unwrap_or_default(),
            None => self.record(&key)?.map(|record| record.fingerprint.parts).unwrap_or_default(),
        };
        Ok(Some(Fingerprint { key, parts }))
    }

    /// A run that says `running` is so only while its process holds the run's claim.
    fn with_state(&self, mut run: Run) -> Result<Run, StoreError> {
        if run.state != RunState::Running || self.claims.is_held(&run_key(&run.id))? {
            return Ok(run);
        }
        // It may have ended between the two looks.
        let status: Option<String> = self.connections.read("read a run", |connection: &Connection| {
            connection.query_row("SELECT status FROM runs WHERE id = ?1", [&run.id], |row| row.get(0)).optional()
        })?;
        run.state = match status.as_deref().and_then(ended_from) {
            Some(status) => RunState::Ended(status),
            None => RunState::Interrupted,
        };
        Ok(run)
    }
}

fn run_key(id: &str) -> Digest {
    engine_core::Hasher::new("fuseline.run.claim.v1").field(id.as_bytes()).finish()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("maps with text keys and finite-or-null numbers can be written")
}

fn ended_from(word: &str) -> Option<RunStatus> {
    [RunStatus::Succeeded, RunStatus::Failed, RunStatus::Cancelled].into_iter().find(|status| status.as_str() == word)
}

fn run_from(row: &Row<'_>) -> rusqlite::Result<Run> {
    let status: String = row.get("status")?;
    let revision: Option<String> = row.get("git_revision")?;
    let dirty: Option<bool> = row.get("git_dirty")?;
    let text = |column: &str| row.get::<_, String>(column);
    Ok(Run {
        id: row.get("id")?,
        start: RunStart {
            pipeline: row.get("pipeline")?,
            file: row.get("file")?,
            command: row.get("command")?,
            invocation: serde_json::from_str(&text("invocation")?).unwrap_or_default(),
            params: serde_json::from_str(&text("params")?).unwrap_or_default(),
            git: revision.map(|revision| GitState { revision, dirty: dirty.unwrap_or(false) }),
            host: row.get("host")?,
            version: row.get("version")?,
        },
        started_ms: row.get::<_, i64>("started_ms")?.cast_unsigned(),
        state: ended_from(&status).map_or(RunState::Running, RunState::Ended),
        seconds: row.get("seconds")?,
        metrics: serde_json::from_str(&text("metrics")?).unwrap_or_default(),
        summary: serde_json::from_str(&text("summary")?).unwrap_or_default(),
    })
}

fn task_from(row: &Row<'_>) -> rusqlite::Result<RunTask> {
    let status: String = row.get("status")?;
    let key: Option<Vec<u8>> = row.get("key")?;
    Ok(RunTask {
        task: row.get("task")?,
        node: row.get("node")?,
        kind: row.get("kind")?,
        status: TaskStatus::ALL.into_iter().find(|known| known.as_str() == status).unwrap_or(TaskStatus::Failed),
        key: key.and_then(|bytes| digest_from(&bytes)),
        seconds: row.get("seconds")?,
        rows: row.get::<_, Option<i64>>("rows")?.map(i64::cast_unsigned),
        reason: row.get("reason")?,
        error: row.get("error")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_records::record;

    fn start(pipeline: &str) -> RunStart {
        RunStart {
            pipeline: pipeline.to_owned(),
            file: Some("receipts.yaml".to_owned()),
            command: "fuseline run receipts.yaml".to_owned(),
            invocation: Invocation {
                folder: "/home/ada".to_owned(),
                set: vec!["data=folder".to_owned()],
                params: Vec::new(),
            },
            params: BTreeMap::from([("data".to_owned(), Value::from("folder"))]),
            git: Some(GitState { revision: "abc".to_owned(), dirty: true }),
            host: "here".to_owned(),
            version: "0.1.0".to_owned(),
        }
    }

    fn end() -> RunEnd {
        let auc = MetricValue { value: 0.77, low: Some(0.7), high: None };
        RunEnd {
            status: RunStatus::Failed,
            seconds: 1.5,
            metrics: BTreeMap::from([("quality".to_owned(), BTreeMap::from([("auc".to_owned(), auc)]))]),
            summary: serde_json::json!({"tasks": 3}),
        }
    }

    fn task(name: &str, node: &str) -> RunTask {
        RunTask {
            task: name.to_owned(),
            node: node.to_owned(),
            kind: "clean.impute".to_owned(),
            status: TaskStatus::Ran,
            key: Some(Digest::of(name.as_bytes())),
            seconds: 0.5,
            rows: Some(7),
            reason: Some("first run".to_owned()),
            error: None,
        }
    }

    #[test]
    fn a_run_is_found_again_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let id = store.begin_run(&start("receipts")).unwrap();
        store.note_tasks(&id, vec![task("impute/fit", "impute"), task("impute", "impute")]).unwrap();
        store.finish_run(&id, &end()).unwrap();
        store.flush().unwrap();
        drop(store);
        let store = Store::open_read_only(folder.path()).unwrap();
        let run = store.run(&id[..20]).unwrap();
        assert_eq!((run.start, run.state), (start("receipts"), RunState::Ended(RunStatus::Failed)));
        assert_eq!((run.seconds, run.metrics, run.summary), (Some(1.5), end().metrics, end().summary));
        assert_eq!(store.tasks(&id).unwrap(), [task("impute", "impute"), task("impute/fit", "impute")]);
        assert_eq!(store.task_of(&id, "impute").unwrap(), Some(task("impute", "impute")));
        assert_eq!(store.task_of(&id, "other").unwrap(), None);
    }

    #[test]
    fn a_run_whose_process_is_gone_is_shown_as_interrupted() {
        let folder = tempfile::tempdir().unwrap();
        let here = Store::open(folder.path()).unwrap();
        let there = Store::open(folder.path()).unwrap();
        let id = there.begin_run(&start("receipts")).unwrap();
        there.flush().unwrap();
        assert_eq!(there.run(&id).unwrap().state, RunState::Running);
        assert_eq!(here.run(&id).unwrap().state, RunState::Running);
        drop(there);
        assert_eq!(here.run(&id).unwrap().state, RunState::Interrupted);
        assert_eq!(Store::open_read_only(folder.path()).unwrap().runs(10).unwrap()[0].state, RunState::Interrupted);
    }

    #[test]
    fn runs_come_newest_first_and_an_ambiguous_prefix_names_them() {
        let store = Store::temporary().unwrap();
        let ids: Vec<String> = (0..3).map(|n| store.begin_run(&start(&format!("p{n}"))).unwrap()).collect();
        store.flush().unwrap();
        let runs = store.runs(2).unwrap();
        // All three began in the same few milliseconds.
        assert_eq!(runs.iter().map(|run| &run.id).collect::<Vec<_>>(), [&ids[2], &ids[1]]);
        assert_eq!(store.runs(10).unwrap().last().unwrap().id, ids[0]);
        let error = store.run("2").unwrap_err().to_string();
        assert!(ids.iter().all(|id| error.contains(id.as_str())), "{error}");
        assert!(store.run("x").unwrap_err().to_string().contains("`fuseline runs`"));
    }

    #[test]
    fn the_last_fingerprint_of_a_task_is_kept_per_pipeline() {
        let store = Store::temporary().unwrap();
        let (one, two) = (record(1, &[]).fingerprint, record(2, &[]).fingerprint);
        for (pipeline, key) in [("p", &one), ("q", &one), ("p", &two)] {
            store.set_last_fingerprints(pipeline, vec![("impute".to_owned(), key.clone())]).unwrap();
        }
        store.flush().unwrap();
        assert_eq!(store.last_fingerprint("p", "impute").unwrap(), Some(two.clone()));
        assert_eq!(store.last_fingerprint("q", "impute").unwrap(), Some(one));
        assert_eq!(store.last_fingerprint("p", "other").unwrap(), None);
    }

    #[test]
    fn the_parts_of_a_fingerprint_are_kept_once() {
        let store = Store::temporary().unwrap();
        let kept = record(1, &[]);
        store.commit(kept.clone()).unwrap();
        store.set_last_fingerprints("p", vec![("impute".to_owned(), kept.fingerprint.clone())]).unwrap();
        store.flush().unwrap();
        assert_eq!(store.last_fingerprint("p", "impute").unwrap(), Some(kept.fingerprint.clone()));
        let parts = "SELECT count(parts) FROM fingerprints";
        let stored: i64 =
            store.connections.read("count", |connection| connection.query_row(parts, [], |row| row.get(0))).unwrap();
        assert_eq!(stored, 0, "they stand in the record");
    }
}
