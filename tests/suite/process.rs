//! The program as a process: started, spoken to, killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a finished process said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// The standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The last line of the standard output as JSON.
    pub fn last_line(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_else(|| panic!("nothing was said: {self:?}"));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
    }

    /// The same, if the process ended well.
    pub fn ok(self) -> Said {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// The program with `arguments` in `folder`.
pub fn fuseline(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fuseline-under-test"));
    // What a terminal or a developer set must not decide a test.
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FUSELINE_LOG"] {
        command.env_remove(name);
    }
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn ended(mut command: Command) -> Said {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs the program with `arguments` in `folder` to its end.
pub fn said(folder: &Path, arguments: &[&str]) -> Said {
    ended(fuseline(folder, arguments))
}

/// A process that is killed when the test is over.
pub struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    /// Starts a command.
    pub fn start(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Running { child, lines }
    }

    /// The next line it says; nothing at its end.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.lines.read_line(&mut line).unwrap() > 0).then(|| line.trim_end().to_owned())
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how the process ended.
    pub fn terminate(mut self) -> ExitStatus {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not stop");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be over already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server of a bundle on a free port of this machine.
pub struct Server {
    process: Running,
    address: String,
}

impl Server {
    /// Serves `bundle`.
    pub fn start(folder: &Path, bundle: &str) -> Server {
        let mut process = Running::start(fuseline(folder, &["serve", bundle, "--port", "0"]));
        let line = process.line().unwrap();
        let address = line.split("http://").nth(1).unwrap_or_else(|| panic!("no address in `{line}`")).to_owned();
        Server { process, address }
    }

    /// Sends a request and gives the status and the body of the answer.
    pub fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n",
            self.address
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    /// Stops it as a container would.
    pub fn stop(self) -> ExitStatus {
        self.process.terminate()
    }
}
