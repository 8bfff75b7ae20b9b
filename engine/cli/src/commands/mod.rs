//! One file a command, or a few that belong together.

mod history;
mod init;
mod kinds;
mod pipeline;
mod plugin;
mod run;
mod serve;
mod tables;

use std::io::Write;

use engine_table::Registry;

use crate::arguments::{Command, PluginCommand};
use crate::{Failure, plugins};

/// Does what the command asks; the result is the exit code.
pub fn run(command: Command, registry: Registry) -> Result<u8, Failure> {
    match command {
        Command::Init { folder } => init::init(&folder),
        Command::Check { pipeline, json } => pipeline::check(&pipeline, json, &registry),
        Command::Plan { pipeline, selection, columns, json } => {
            pipeline::plan(&pipeline, &selection, columns, json, &registry)
        }
        Command::Run { pipeline, selection, threads, memory, gpus, fail_fast, json, report } => {
            let options = run::Options { selection, threads, memory, gpus, fail_fast, json, report };
            run::run(&pipeline, options, &registry)
        }
        Command::Graph { pipeline, format } => pipeline::graph(&pipeline, format, &registry),
        Command::Kinds { kind, plugins, json } => {
            kinds::kinds(kind.as_deref(), json, &plugins::with_plugins(registry, &plugins.plugins)?)
        }
        Command::Schema { kind, plugins } => {
            kinds::schema(kind.as_deref(), &plugins::with_plugins(registry, &plugins.plugins)?)
        }
        Command::Plugin(PluginCommand::Test { folder, data, set }) => {
            plugin::test(&folder, data.as_deref(), &set, &registry)
        }
        Command::Explain { code } => kinds::explain(&code),
        Command::Runs { store, limit, json } => history::runs(&store, limit, json),
        Command::Show { run, store, json } => history::show(&run, &store, json),
        Command::Diff { before, after, store, json } => history::diff(&before, &after, &store, json),
        Command::Peek { node, store, run, rows, json } => {
            tables::peek(&node, &store, run.as_deref(), rows, json, &registry)
        }
        Command::Get { output, out, store, run } => tables::get(&output, &out, &store, run.as_deref(), &registry),
        Command::Predict { bundle, input, out } => serve::predict(&bundle, &input, &out, &registry),
        Command::Serve { bundle, host, port, max_rows, max_body_mib, max_media_mib, timeout, threads } => {
            let limits = serve::Limits { max_rows, max_body_mib, max_media_mib, timeout, threads };
            serve::serve(&bundle, (host, port).into(), limits, &registry)
        }
        Command::Render { pipeline } => pipeline::render(&pipeline, &registry),
        Command::Docs { out } => kinds::docs(&out, &registry),
    }
}

/// Prints a result to standard output.
///
/// # Errors
/// If it cannot be written, as on a full disk.
pub fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Whether standard output took what was written. A reader that went away (`| head`) is no failure.
pub fn written(result: std::io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::message(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints what is wrong, or worth knowing beside a result, to standard error.
pub fn complain(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
