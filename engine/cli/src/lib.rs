//! The command line: arguments and environment in, calls to the rooms below, an exit code out.
//!
//! The only room that reads arguments, environment and the working directory. [`main`] takes the registry as a value,
//! so that a binary with more kinds is the same program.

mod arguments;
mod commands;
mod failure;
mod load;
mod machine;
mod open;
mod plugins;

use std::process::ExitCode;

use clap::Parser;
use engine_report::{Screen, render_diagnostics};
use engine_table::Registry;

use crate::arguments::Cli;
pub use crate::failure::Failure;

/// Exit code: it worked, or there was nothing to do.
pub const SUCCESS: u8 = 0;
/// Exit code: something is wrong.
pub const ERROR: u8 = 1;
/// Exit code of `plan`: there is something to do.
pub const WORK_TO_DO: u8 = 2;
/// Exit code: the arguments are wrong (`EX_USAGE` of sysexits.h, apart from [`WORK_TO_DO`]).
pub const USAGE: u8 = 64;
/// Exit code: stopped by Ctrl-C or SIGTERM (128 + SIGINT, as shells report it).
pub const CANCELLED: u8 = 130;

/// Runs the program on the process's arguments.
pub fn main(registry: Registry) -> ExitCode {
    developer_log();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A reader that went away is no reason to fail.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { SUCCESS });
        }
    };
    match commands::run(cli.command, registry) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            report(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn report(failure: &Failure) {
    let screen = Screen::of_stderr();
    let text = match failure {
        Failure::Diagnostics(problems) => render_diagnostics(problems, screen.style, screen.width),
        Failure::Message(message) => format!("{} {message}\n", screen.style.paint(engine_report::Tone::Bad, "error:")),
        Failure::Reported | Failure::Cancelled => return,
    };
    commands::complain(&text);
}

/// What developers see with `FUSELINE_LOG=debug`.
fn developer_log() {
    if let Some(filter) = load::environment("FUSELINE_LOG") {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
}
