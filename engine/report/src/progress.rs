//! A run as it goes: moving bars on a terminal, lines elsewhere, or one JSON object a line.
//!
//! A [`Display`] takes [`Event`]s and nothing else. On a terminal every running task has a bar (rows, epochs,
//! loss) and becomes a line when it ends; hits become no line, a run of nothing but hits is one. Afterwards come
//! the nodes, the scores beside their baselines and the verdict. In JSON every event is one line and the last is
//! `run_finished`. Writing errors are kept and given by [`Display::finish`]: a closed pipe never stops a run.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use engine_core::{Event, Progress, TaskStatus, Unit};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::quantities::{bytes, count, counted, number, seconds};
use crate::screen::{Screen, Tone, one_line};
use crate::summary::{RunSummary, tone};

/// Up to so many hits are listed in the final table.
const HITS_SHOWN: usize = 30;
/// Task names take so many columns beside a bar.
const NAME_WIDTH: usize = 28;
/// Lines about a running task come at most this often where there are no bars.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Bars if the screen is attended, else lines; tables at the end.
    Progress,
    /// Failures, warnings and the verdict only.
    Quiet,
    /// One JSON object a line, nothing else.
    Json,
}

/// Shows a run from its events.
pub struct Display<'a> {
    out: Box<dyn Write + Send + 'a>,
    screen: Screen,
    summary: RunSummary,
    way: Way,
    report: Option<PathBuf>,
    error: Option<io::Error>,
}

enum Way {
    Bars(Bars),
    Lines { last: BTreeMap<String, Instant> },
    Quiet,
    Json,
}

struct Bars {
    all: MultiProgress,
    overall: ProgressBar,
    running: BTreeMap<String, ProgressBar>,
}

impl<'a> Display<'a> {
    /// A display that writes to `out`, which has the properties of `screen`; bars go to standard error.
    pub fn new(show: Show, screen: Screen, out: impl Write + Send + 'a) -> Display<'a> {
        let way = match show {
            Show::Progress if screen.attended => Way::Bars(Bars::new(ProgressDrawTarget::stderr())),
            Show::Progress => Way::Lines { last: BTreeMap::new() },
            Show::Quiet => Way::Quiet,
            Show::Json => Way::Json,
        };
        Display::with_way(way, screen, out)
    }

    fn with_way(way: Way, screen: Screen, out: impl Write + Send + 'a) -> Display<'a> {
        Display { out: Box::new(out), screen, summary: RunSummary::new(), way, report: None, error: None }
    }

    /// Names the HTML page of the run, which the last lines then point to.
    pub fn set_report(&mut self, path: impl Into<PathBuf>) {
        self.report = Some(path.into());
    }

    /// Shows what happened.
    pub fn event(&mut self, event: &Event) {
        self.summary.add(event);
        if let Way::Json = self.way {
            self.write_json(event);
            return;
        }
        match event {
            Event::RunStarted { pipeline, tasks, .. } => self.started(pipeline, *tasks),
            Event::TaskStarted { task, kind, .. } => {
                if let Way::Bars(bars) = &mut self.way {
                    bars.start(task, kind);
                }
            }
            Event::TaskProgress { task, progress } => self.progress(task, progress),
            Event::TaskWarning { task, message } => {
                let mark = self.screen.style.paint(Tone::Caution, "warning");
                self.line(&format!("{mark} {task}: {}", one_line(message)));
            }
            Event::TaskRetrying { task, error, attempt, wait_seconds } => {
                let mark = self.screen.style.paint(Tone::Caution, "retrying");
                let wait = seconds(*wait_seconds);
                self.line(&format!("{mark} {task} in {wait} (try {attempt}): {}", one_line(error)));
            }
            Event::TaskFinished { .. } => self.task_finished(event),
            Event::RunFinished { .. } => self.finish_bars(),
        }
    }

    /// Writes the tables and the verdict, and gives what the run came to.
    ///
    /// # Errors
    /// The first error of writing, if there was one.
    pub fn finish(mut self) -> io::Result<RunSummary> {
        self.finish_bars();
        match self.way {
            Way::Json => {}
            Way::Quiet => {
                let verdict = self.summary.verdict(&self.screen);
                self.write(&format!("{verdict}\n"));
            }
            Way::Bars(_) | Way::Lines { .. } => {
                let closing = self.closing();
                self.write(&closing);
            }
        }
        if let Err(error) = self.out.flush() {
            self.error.get_or_insert(error);
        }
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.summary),
        }
    }

    fn closing(&self) -> String {
        let mut text = String::new();
        let nodes = self.summary.nodes_text(&self.screen, HITS_SHOWN);
        let metrics = self.summary.metrics_text(&self.screen);
        for part in [nodes, metrics].into_iter().filter(|part| !part.is_empty()) {
            text.push('\n');
            text.push_str(&part);
        }
        text.push('\n');
        text.push_str(&self.summary.verdict(&self.screen));
        text.push('\n');
        if let Some(report) = &self.report {
            text.push_str(&format!("report: {}\n", report.display()));
        }
        text
    }

    fn started(&mut self, pipeline: &str, tasks: usize) {
        match &mut self.way {
            Way::Bars(bars) => {
                bars.overall.set_length(tasks as u64);
                bars.overall.set_message(one_line(pipeline));
            }
            Way::Lines { .. } => {
                let tasks = counted(tasks as u64, "task", "tasks");
                self.line(&format!("{}: {tasks}", one_line(pipeline)));
            }
            Way::Quiet | Way::Json => {}
        }
    }

    fn progress(&mut self, task: &str, progress: &Progress) {
        match &mut self.way {
            Way::Bars(bars) => bars.progress(task, progress),
            Way::Lines { last } => {
                let now = Instant::now();
                let due = last.get(task).is_none_or(|before| now.duration_since(*before) >= LINE_EVERY);
                // The first report of a task is skipped: short tasks then take one line, not two.
                let known = last.contains_key(task);
                if due {
                    last.insert(task.to_owned(), now);
                }
                if due && known {
                    let total = progress.total.map(|total| format!(" of {}", amount(total, progress.unit)));
                    let values = values_text(progress);
                    let done = amount(progress.done, progress.unit);
                    self.line(&format!("  {task}: {done}{}{values}", total.unwrap_or_default()));
                }
            }
            Way::Quiet | Way::Json => {}
        }
    }

    fn task_finished(&mut self, event: &Event) {
        let Event::TaskFinished { task, status, seconds: time, rows, error, reason, .. } = event else { return };
        match &mut self.way {
            Way::Bars(bars) => bars.end(task),
            Way::Lines { last } => {
                last.remove(task);
            }
            Way::Quiet | Way::Json => {}
        }
        let failed = *status == TaskStatus::Failed;
        if matches!(status, TaskStatus::Hit | TaskStatus::NotChosen) || (matches!(self.way, Way::Quiet) && !failed) {
            return;
        }
        let style = self.screen.style;
        let mut line =
            format!("{} {task}", style.paint(tone(*status), &format!("{} {:<9}", mark(*status), status.as_str())));
        if !matches!(status, TaskStatus::Skipped | TaskStatus::Cancelled) {
            line.push_str(&format!("  {}", seconds(*time)));
        }
        if let Some(rows) = rows {
            line.push_str(&format!("  {}", counted(*rows, "row", "rows")));
        }
        match (error, reason) {
            // A failure says everything it has to say, line by line.
            (Some(error), _) if failed => {
                for part in error.lines() {
                    line.push_str(&format!("\n    {}", style.paint(Tone::Bad, &one_line(part))));
                }
            }
            (Some(why), _) | (None, Some(why)) => {
                line.push_str(&format!("  {}", style.paint(Tone::Faint, &one_line(why))));
            }
            (None, None) => {}
        }
        self.line(&line);
    }

    fn finish_bars(&mut self) {
        if let Way::Bars(bars) = &mut self.way {
            for bar in std::mem::take(&mut bars.running).into_values() {
                bar.finish_and_clear();
            }
            bars.overall.finish_and_clear();
        }
    }

    /// A line above the bars, or on the output.
    fn line(&mut self, line: &str) {
        match &self.way {
            Way::Bars(bars) if !bars.all.is_hidden() => {
                let result = bars.all.println(line);
                self.keep(result);
            }
            _ => self.write(&format!("{line}\n")),
        }
    }

    fn write(&mut self, text: &str) {
        let result = self.out.write_all(text.as_bytes());
        self.keep(result);
    }

    fn write_json(&mut self, event: &Event) {
        let line = serde_json::to_string(event).map_err(io::Error::from);
        let result = line.and_then(|line| writeln!(self.out, "{line}")).and_then(|()| self.out.flush());
        self.keep(result);
    }

    fn keep(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.error.get_or_insert(error);
        }
    }
}

fn mark(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Hit => "=",
        TaskStatus::Ran => "✓",
        TaskStatus::Failed => "✗",
        TaskStatus::Skipped => "-",
        TaskStatus::Cancelled => "■",
        TaskStatus::NotChosen => "·",
    }
}

fn amount(number: u64, unit: Unit) -> String {
    match unit {
        Unit::Rows => counted(number, "row", "rows"),
        Unit::Epochs => counted(number, "epoch", "epochs"),
        Unit::Bytes => bytes(number),
        Unit::Steps => counted(number, "step", "steps"),
    }
}

/// The values of the whole; those of its parts, which have a point in their names, are for the report and for JSON lines.
fn values_text(progress: &Progress) -> String {
    let whole = progress.values.iter().filter(|(name, _)| !name.contains('.'));
    whole.map(|(name, value)| format!("  {} {}", one_line(name), number(*value))).collect()
}

impl Bars {
    fn new(target: ProgressDrawTarget) -> Bars {
        let all = MultiProgress::with_draw_target(target);
        let overall = all.add(ProgressBar::new(0).with_style(style("{elapsed:>5} {pos}/{len} {wide_msg}")));
        overall.enable_steady_tick(Duration::from_millis(250));
        Bars { all, overall, running: BTreeMap::new() }
    }

    fn start(&mut self, task: &str, kind: &str) {
        let bar = ProgressBar::no_length().with_style(style("  {spinner} {prefix} {wide_msg}"));
        let bar = self.all.insert_before(&self.overall, bar);
        bar.set_prefix(padded(task));
        bar.set_message(one_line(kind));
        bar.enable_steady_tick(Duration::from_millis(120));
        if let Some(stale) = self.running.insert(task.to_owned(), bar) {
            stale.finish_and_clear();
        }
    }

    fn progress(&mut self, task: &str, progress: &Progress) {
        let Some(bar) = self.running.get(task) else { return };
        let done = if progress.unit == Unit::Bytes { bytes(progress.done) } else { count(progress.done) };
        let message = match progress.total {
            Some(total) => format!("{done} of {}{}", amount(total, progress.unit), values_text(progress)),
            None => format!("{}{}", amount(progress.done, progress.unit), values_text(progress)),
        };
        if let (Some(total), None) = (progress.total, bar.length()) {
            bar.set_length(total);
            bar.set_style(style("  {spinner} {prefix} {bar:20} {wide_msg}"));
        }
        bar.set_position(progress.done);
        bar.set_message(message);
    }

    fn end(&mut self, task: &str) {
        if let Some(bar) = self.running.remove(task) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        self.overall.inc(1);
    }
}

fn padded(task: &str) -> String {
    console::pad_str(&one_line(task), NAME_WIDTH, console::Alignment::Left, Some("…")).into_owned()
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the template is a constant of this file")
        .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
        .progress_chars("━╸─")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use engine_core::{MetricValue, RunStatus};
    use indicatif::TermLike;

    use super::*;

    fn events() -> Vec<Event> {
        let finished = |task: &str, node: &str, status, seconds, rows, error: Option<&str>, reason: Option<&str>| {
            Event::TaskFinished {
                task: task.into(),
                node: node.into(),
                status,
                seconds,
                rows,
                error: error.map(Into::into),
                reason: reason.map(Into::into),
            }
        };
        vec![
            Event::RunStarted { run: "r1".into(), pipeline: "credit".into(), tasks: 4 },
            finished("rows", "rows", TaskStatus::Hit, 0.0, Some(1000), None, None),
            Event::TaskStarted {
                task: "model".into(),
                node: "model".into(),
                kind: "train.multimodal".into(),
                attempt: 1,
            },
            Event::TaskProgress {
                task: "model".into(),
                progress: Progress {
                    done: 3,
                    total: Some(8),
                    unit: Unit::Epochs,
                    values: BTreeMap::from([("loss".into(), 0.5124), ("loss.photo".into(), 0.7)]),
                },
            },
            Event::TaskWarning { task: "model".into(), message: "3 rows without a target\nare left out".into() },
            finished("model", "model", TaskStatus::Ran, 2.5, None, None, Some("options changed")),
            Event::TaskStarted {
                task: "quality".into(),
                node: "quality".into(),
                kind: "evaluate.x".into(),
                attempt: 1,
            },
            finished("quality", "quality", TaskStatus::Failed, 0.1, None, Some("no test rows\nmake some"), None),
            finished("bundle", "bundle", TaskStatus::Skipped, 0.0, None, Some("skipped because quality failed"), None),
            Event::RunFinished {
                status: RunStatus::Failed,
                run: "r1".into(),
                seconds: 2.75,
                nodes: BTreeMap::from([("rows".into(), TaskStatus::Hit)]),
                metrics: BTreeMap::from([(
                    "fold".into(),
                    BTreeMap::from([("auc".into(), MetricValue { value: 0.8, low: Some(0.7), high: Some(0.9) })]),
                )]),
            },
        ]
    }

    fn shown(show: Show) -> String {
        let mut out = Vec::new();
        let mut display = Display::new(show, Screen::PLAIN, &mut out);
        display.set_report("reports/r1.html");
        for event in events() {
            display.event(&event);
        }
        display.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn without_a_terminal_a_run_is_plain_lines() {
        let expected = "\
credit: 4 tasks
warning model: 3 rows without a target are left out
✓ ran       model  2.50 s  options changed
✗ failed    quality  0.10 s
    no test rows
    make some
- skipped   bundle  skipped because quality failed

node     status   seconds   rows
rows     hit               1,000
model    ran         2.50
quality  failed      0.10
bundle   skipped     0.00

fold
metric   value    95 % interval
auc     0.8000  0.7000 – 0.9000

✗ failed in 2.75 s: 1 failed, 1 skipped, 1 ran, 1 hit (run r1)
report: reports/r1.html
";
        let text = shown(Show::Progress);
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn json_is_one_object_a_line_and_ends_with_run_finished() {
        let text = shown(Show::Json);
        let back: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(back, events());
        assert!(text.lines().last().unwrap().starts_with(r#"{"event":"run_finished","status":"failed","run":"r1""#));
    }

    #[test]
    fn quiet_says_what_went_wrong_and_the_verdict() {
        let text = shown(Show::Quiet);
        assert!(text.contains("no test rows") && text.contains("✗ failed in 2.75 s"), "{text}");
        assert!(!text.contains("options changed") && !text.contains("auc"), "{text}");
    }

    #[test]
    fn a_closed_pipe_is_told_at_the_end_and_stops_nothing() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut display = Display::new(Show::Json, Screen::PLAIN, Closed);
        for event in events() {
            display.event(&event);
        }
        assert_eq!(display.finish().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    /// A terminal that remembers every line it was given.
    #[derive(Debug, Clone, Default)]
    struct Recorder(Arc<Mutex<String>>);

    impl Recorder {
        fn add(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
    }

    impl TermLike for Recorder {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.add(&format!("{text}\n"))
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.add(text)
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn on_a_terminal_a_running_task_has_a_bar_and_an_ended_one_a_line() {
        let recorder = Recorder::default();
        let bars = Bars::new(ProgressDrawTarget::term_like(Box::new(recorder.clone())));
        let mut out = Vec::new();
        let screen = Screen { attended: true, ..Screen::PLAIN };
        let mut display = Display::with_way(Way::Bars(bars), screen, &mut out);
        for event in events() {
            display.event(&event);
        }
        display.finish().unwrap();
        let drawn = console::strip_ansi_codes(&recorder.0.lock().unwrap()).into_owned();
        assert!(drawn.contains("3 of 8 epochs  loss 0.5124") && !drawn.contains("loss.photo"), "{drawn}");
        assert!(drawn.contains("✓ ran       model  2.50 s  options changed"), "{drawn}");
        let closing = String::from_utf8(out).unwrap();
        assert!(closing.starts_with("\nnode ") && !closing.contains("warning"), "{closing}");
    }
}
