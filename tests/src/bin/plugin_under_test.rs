//! A plug-in that needs nothing but itself: doubles a column, or misbehaves as its option `mode` says.

use std::io::{Cursor, Read, Write};
use std::path::Path;

use polars::prelude::*;
use polars_io::ipc::{IpcStreamReader, IpcStreamWriter};
use polars_io::{SerReader, SerWriter};
use serde_json::Value;

fn main() {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let greeting = read_line(&mut input);
    let greeting: Value = serde_json::from_str(&greeting).expect("the engine greets in JSON");
    let options = &greeting["options"];
    let text = |name: &str| options[name].as_str().unwrap_or_default().to_owned();
    let (mode, column, result) = (text("mode"), text("column"), text("as"));
    if mode == "print" {
        send(&mut output, b"hello from the plug-in\n");
    }
    if mode == "refuse" {
        return send(&mut output, &frame(*b"FAIL", b"the column is not to my taste"));
    }
    send(&mut output, b"{\"fuseline_plugin\": 1}\n");
    if mode == "early" {
        return;
    }
    let mut chunk = 0;
    while let Some(stream) = read_frame(&mut input) {
        chunk += 1;
        match mode.as_str() {
            "chatter" => (0..20_000).for_each(|line| say(&format!("chatter {line}"))),
            "crash" => {
                say("opening the model");
                say("out of cheese");
                std::process::abort();
            }
            "tell" => {
                say(&format!("the token has {} letters", text("token").len()));
                say(&format!("the token is {}", text("token")));
                std::process::abort();
            }
            "count" => {
                let file = std::fs::OpenOptions::new().create(true).append(true).open(scratch().join("asked"));
                writeln!(file.expect("it can be opened"), "{}", std::process::id()).expect("it can be written");
            }
            "hang" => {
                let place = scratch();
                std::fs::write(place.join("pid.part"), std::process::id().to_string()).expect("it can be written");
                std::fs::rename(place.join("pid.part"), place.join("pid")).expect("it can be renamed");
                say("thinking");
                loop {
                    std::thread::park();
                }
            }
            _ => {}
        }
        let rows = IpcStreamReader::new(Cursor::new(stream)).finish().expect("the engine sends Arrow IPC");
        let answer = answer(&mode, chunk, rows.column(&column).expect("the column it reads"), &result);
        let mut bytes = Vec::new();
        IpcStreamWriter::new(&mut bytes).finish(&mut answer.clone()).expect("a stream in memory");
        send(&mut output, &frame(*b"ROWS", &bytes));
    }
}

/// The written column of a chunk, as `mode` has it.
fn answer(mode: &str, chunk: usize, column: &Column, result: &str) -> DataFrame {
    let values = column.as_materialized_series();
    let mut doubled = values * 2.0;
    let name = if mode == "wrong_column" { "something_else" } else { result };
    match mode {
        "wrong_type" => doubled = doubled.cast(&DataType::Int64).expect("doubles fit"),
        "wrong_rows" => doubled = doubled.slice(0, doubled.len().saturating_sub(1)),
        "gaps" => doubled = Series::full_null("".into(), doubled.len(), &DataType::Float64),
        "mean" => doubled = values - values.mean().unwrap_or_default(),
        "memory" => doubled = &doubled + chunk as f64,
        _ => {}
    }
    DataFrame::new(doubled.len(), vec![doubled.with_name(name.into()).into()]).expect("one column")
}

/// A folder that does not count as content of the plug-in's.
fn scratch() -> &'static Path {
    let place = Path::new("__pycache__");
    std::fs::create_dir_all(place).expect("its folder can be written to");
    place
}

fn say(line: &str) {
    // A reader that went away is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn read_line(input: &mut impl Read) -> String {
    let (mut line, mut byte) = (Vec::new(), [0; 1]);
    while line.last() != Some(&b'\n') && matches!(input.read(&mut byte), Ok(1)) {
        line.push(byte[0]);
    }
    String::from_utf8(line).expect("the greeting is text")
}

/// The stream of the next frame; nothing at the end of the input.
fn read_frame(input: &mut impl Read) -> Option<Vec<u8>> {
    let mut head = [0; 12];
    input.read_exact(&mut head).ok()?;
    assert_eq!(&head[..4], b"ROWS");
    let length = u64::from_le_bytes(head[4..].try_into().expect("eight bytes"));
    let mut stream = Vec::new();
    input.take(length).read_to_end(&mut stream).ok()?;
    (stream.len() as u64 == length).then_some(stream)
}

fn frame(letters: [u8; 4], content: &[u8]) -> Vec<u8> {
    [&letters, &(content.len() as u64).to_le_bytes()[..], content].concat()
}

fn send(output: &mut impl Write, bytes: &[u8]) {
    // The engine may have gone away, and so does this.
    let _ = output.write_all(bytes).and_then(|()| output.flush());
}
