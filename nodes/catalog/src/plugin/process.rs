//! A plug-in's process: started, asked, waited for, ended.
//!
//! Promises: a wait ends with an answer, after the time limit, or when the task is told to stop; what the process says
//! on its standard error is read all the time and its end kept, so that the pipe never blocks it; the process and what
//! it started are gone when this value is. Three threads do the reading and writing, because any of the pipes may be
//! full while another is waited for.

use std::collections::VecDeque;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine_table::{Cancel, NodeError};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::protocol::{Answer, read_frame, read_greeting};

/// How often a wait looks whether the task is to stop.
const LOOK: Duration = Duration::from_millis(20);

/// How long a process may take to end once its work is done.
const GRACE: Duration = Duration::from_secs(5);

/// How long the end of a process that closed its output is waited for, and the last of what it says.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What is kept of its standard error.
const KEPT_BYTES: usize = 64 << 10;

/// What of it is told.
const TOLD_LINES: usize = 20;

/// What a program is given whatever the machine: texts, times and orders of sets are then the same everywhere, and its
/// threads keep within the one it is admitted with.
const FIXED_VARIABLES: &[(&str, &str)] = &[
    ("LANG", "C.UTF-8"),
    ("LC_ALL", "C.UTF-8"),
    ("TZ", "UTC"),
    ("OMP_NUM_THREADS", "1"),
    ("PYTHONDONTWRITEBYTECODE", "1"),
    ("PYTHONHASHSEED", "0"),
    ("PYTHONIOENCODING", "utf-8"),
];

/// How a plug-in is started.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    /// The kind, for messages.
    pub(super) kind: String,
    /// The program and its arguments, as the plug-in's file has them.
    pub(super) command: Vec<String>,
    /// The plug-in's folder.
    pub(super) folder: PathBuf,
    /// Its environment, beside what is fixed.
    pub(super) variables: Vec<(String, String)>,
    /// The longest wait for an answer.
    pub(super) timeout: Duration,
}

/// A running plug-in.
pub(super) struct Process {
    kind: String,
    child: Child,
    /// Its standard input; nothing once it is to end.
    requests: Option<Sender<Vec<u8>>>,
    answers: Receiver<Answer>,
    errors: Errors,
    /// How long each answer may take.
    pub(super) timeout: Duration,
    cancel: Cancel,
    /// Whether it has ended and was waited for.
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts the plug-in, greets it, and waits until it is ready.
    pub(super) fn start(launch: &Launch, greeting: Vec<u8>, cancel: &Cancel) -> Result<Process, NodeError> {
        cancel.check()?;
        let mut child = command(launch).spawn().map_err(|error| cannot_start(launch, &error))?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = (input, output, errors) else {
            unreachable!("all three streams are asked for as pipes")
        };
        // Made before the threads: whatever fails from here on, the process is ended.
        let (requests, written) = channel();
        let (given, answers) = channel();
        let mut process = Process {
            kind: launch.kind.clone(),
            child,
            requests: Some(requests),
            answers,
            errors: Errors::default(),
            timeout: launch.timeout,
            cancel: cancel.clone(),
            status: None,
        };
        process.errors = Errors::of(errors)?;
        thread("fuseline-plugin-out", move || answer(output, &given))?;
        thread("fuseline-plugin-in", move || write(input, &written))?;
        process.send(greeting);
        match process.wait()? {
            Answer::Ready => Ok(process),
            Answer::OtherVersion(version) => Err(process.failed(&format!(
                "speaks version {version} of the protocol, and this program speaks version {}",
                super::protocol::VERSION
            ))),
            other => Err(process.unexpected(other, "its greeting")),
        }
    }

    /// Sends a frame of rows and waits for the one that answers it.
    pub(super) fn ask(&mut self, frame: Vec<u8>) -> Result<Vec<u8>, NodeError> {
        if let Ok(early) = self.answers.try_recv() {
            return Err(match early {
                Answer::Rows(_) => self.failed("gave rows before it was asked for them"),
                other => self.unexpected(other, "the rows it was asked for"),
            });
        }
        self.send(frame);
        match self.wait()? {
            Answer::Rows(stream) => Ok(stream),
            Answer::Ready => Err(self.failed("greeted a second time")),
            other => Err(self.unexpected(other, "the rows it was asked for")),
        }
    }

    fn send(&self, bytes: Vec<u8>) {
        // A process that is gone is found out by its missing answer, with how it ended.
        let _ = self.requests.as_ref().map(|requests| requests.send(bytes));
    }

    fn wait(&mut self) -> Result<Answer, NodeError> {
        let begun = Instant::now();
        loop {
            match self.answers.recv_timeout(LOOK) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Disconnected) => return Ok(Answer::Ended),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.cancel.is_cancelled() {
                self.kill();
                return Err(NodeError::Cancelled);
            }
            if begun.elapsed() >= self.timeout {
                self.kill();
                let limit = self.timeout;
                return Err(self.failed(&format!(
                    "gave no answer for {limit:?}, its `timeout`, and was stopped; give it more time in its \
                     `plugin.yaml`, or look for what it waits for"
                )));
            }
        }
    }

    /// The error for an answer that is not `awaited`.
    fn unexpected(&mut self, answer: Answer, awaited: &str) -> NodeError {
        match answer {
            Answer::Fail(message) => self.failed(&format!("says: {}", message.trim())),
            Answer::Noise(line) => {
                self.kill();
                self.failed(&format!(
                    "wrote `{line}` to its standard output in place of {awaited}; only the protocol belongs there, so \
                     print to standard error instead"
                ))
            }
            Answer::Unreadable(error) => self.failed(&format!("cannot be read from: {error}")),
            Answer::Cut { announced, came } => {
                let what = match announced {
                    Some(announced) => format!("after {came} of the {announced} bytes of an answer"),
                    None => "within the head of an answer".to_owned(),
                };
                self.ended(&what)
            }
            Answer::Ended | Answer::Ready | Answer::Rows(_) | Answer::OtherVersion(_) => {
                self.ended(&format!("before it gave {awaited}"))
            }
        }
    }

    /// The error for a process that closed its output too early.
    fn ended(&mut self, when: &str) -> NodeError {
        let how = match self.ended_within(LAST_WORDS) {
            None => {
                self.kill();
                format!("closed its standard output {when}, and was stopped")
            }
            Some(status) => match (status.code(), status.signal()) {
                (Some(0), _) => format!("ended {when} (exit status 0)"),
                (Some(code), _) => format!("crashed {when} (exit status {code})"),
                (None, Some(signal)) => format!("crashed {when} (signal {signal})"),
                (None, None) => format!("crashed {when}"),
            },
        };
        self.failed(&how)
    }

    /// An error with what the process said last.
    pub(super) fn failed(&mut self, what: &str) -> NodeError {
        NodeError::Failed(format!(
            "the plug-in `{}` {what}{}",
            self.kind,
            self.errors.last_words(self.status.is_some())
        ))
    }

    /// Waits for its end, but no longer than `limit`.
    fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let begun = Instant::now();
        while self.status.is_none() {
            match self.child.try_wait() {
                Ok(Some(status)) => self.status = Some(status),
                Ok(None) if begun.elapsed() < limit => std::thread::park_timeout(Duration::from_millis(2)),
                _ => return None,
            }
        }
        self.status
    }

    /// Ends the process and all it started, now.
    fn kill(&mut self) {
        if self.status.is_some() {
            return;
        }
        // It leads a group of its own; one that left it is only ended by its closed streams.
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.child.kill();
        self.status = self.child.wait().ok();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its standard input ends, and so should it.
        self.requests = None;
        if self.cancel.is_cancelled() || self.ended_within(GRACE).is_none() {
            self.kill();
        }
    }
}

fn command(launch: &Launch) -> Command {
    let folder = launch.folder.display().to_string();
    let mut words = launch.command.iter().map(|word| word.replace("{folder}", &folder));
    let program = words.next().unwrap_or_default();
    let mut command = match program.contains('/') {
        true => Command::new(launch.folder.join(program)),
        false => Command::new(program),
    };
    command
        .args(words)
        .current_dir(&launch.folder)
        .env_clear()
        .envs(FIXED_VARIABLES.iter().copied())
        .envs(launch.variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in a terminal goes to the program, which ends its plug-ins itself.
        .process_group(0);
    command
}

fn cannot_start(launch: &Launch, error: &std::io::Error) -> NodeError {
    let program = launch.command.first().map_or("", String::as_str);
    let reason = match error.kind() {
        ErrorKind::NotFound if program.contains('/') => {
            format!("`{program}` is not there, or the interpreter its first line names is not")
        }
        ErrorKind::NotFound => format!("there is no program `{program}` in the folders of PATH"),
        ErrorKind::PermissionDenied => format!("`{program}` is not executable (`chmod +x` makes it so)"),
        _ => error.to_string(),
    };
    NodeError::Failed(format!(
        "the plug-in `{}` cannot be started by `{}`: {reason}; install it, or name another program under `command` in `{}`",
        launch.kind,
        launch.command.join(" "),
        launch.folder.join(super::MANIFEST_FILE).display()
    ))
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), NodeError> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    started.map(drop).map_err(|error| NodeError::Transient(format!("a thread cannot be started: {error}")))
}

/// Hands on what the process writes, until it ends or says what cannot be understood.
fn answer(output: ChildStdout, given: &Sender<Answer>) {
    let mut output = BufReader::new(output);
    let mut answer = read_greeting(&mut output);
    loop {
        let goes_on = matches!(answer, Answer::Ready | Answer::Rows(_));
        if given.send(answer).is_err() || !goes_on {
            break;
        }
        answer = read_frame(&mut output);
    }
    // The rest is taken and dropped, so that a process that says more is not held up at its end.
    let _ = std::io::copy(&mut output, &mut std::io::sink());
}

fn write(mut input: ChildStdin, requests: &Receiver<Vec<u8>>) {
    while let Ok(request) = requests.recv() {
        // A broken pipe is a process that ended; that is told by its missing answer.
        if input.write_all(&request).and_then(|()| input.flush()).is_err() {
            break;
        }
    }
}

/// What a process says on its standard error: the end of it.
#[derive(Default)]
struct Errors {
    kept: Arc<Mutex<VecDeque<u8>>>,
    /// Disconnected when all has been read.
    over: Option<Receiver<()>>,
}

impl Errors {
    fn of(mut stream: ChildStderr) -> Result<Errors, NodeError> {
        let kept: Arc<Mutex<VecDeque<u8>>> = Arc::default();
        let (end, over) = channel::<()>();
        let keep = kept.clone();
        thread("fuseline-plugin-err", move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(&buffer[..count]);
                let surplus = kept.len().saturating_sub(KEPT_BYTES);
                kept.drain(..surplus);
            }
            drop(end);
        })?;
        Ok(Errors { kept, over: Some(over) })
    }

    /// Its last lines, for the end of a message; of a process that is over, all it said is awaited.
    fn last_words(&self, is_over: bool) -> String {
        if let (true, Some(over)) = (is_over, &self.over) {
            let _ = over.recv_timeout(LAST_WORDS);
        }
        let kept: Vec<u8> = self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let text = String::from_utf8_lossy(&kept);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        if lines.is_empty() {
            return "; it said nothing on standard error".to_owned();
        }
        let told = &lines[lines.len().saturating_sub(TOLD_LINES)..];
        let shortened = told.iter().map(|line| format!("\n  {}", line.chars().take(300).collect::<String>()));
        format!("; the last it said on standard error:{}", shortened.collect::<String>())
    }
}
