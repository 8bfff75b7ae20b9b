//! Text, images and sound as tokens and tensors, from outside: what keys them, what changes no bit, what damage does.

use engine_exec::Chunking;
use engine_store::Store;

use crate::contracts::{differ_nowhere, digests, made};
use crate::process::{ended, fuseline, said};
use crate::workshop::Project;

const CLAIMS: &str = r"fuseline: 1
name: claims
nodes:
  claims: {uses: ingest.claims, with: {rows: 90, missing: {text: 0.1, image: 0.1, sound: 0.1, table: 0.1}}}
  split: {uses: split.random, with: {shares: {train: 0.6, validation: 0.2, test: 0.2}}, in: claims}
  words: {uses: extract.tokenize, with: {column: description, as: words, max_length: 20}, in: split}
  letters:
    uses: extract.tokenize
    with: {column: channel, as: letters, by: character, max_length: 8, min_count: 1}
    in: split
  pictures:
    uses: extract.image_tensor
    with: {column: receipt, box: [age, 0, 32, 24.5], size: [12, 16], on_error: missing, as: picture}
    in: split
  sounds:
    uses: extract.log_mel
    with: {column: voice, sample_rate: 3000, seconds: 0.3, mels: 12, n_fft: 200, scale: htk, normalise: clip, as: sound}
    in: split
  full: {uses: clean.impute, with: {columns: [amount, age], strategy: mean}, in: split}
  packed: {uses: extract.pack, with: {columns: [amount, age], as: numbers}, in: full}
";

#[test]
fn chunks_change_no_bit_of_tensors_and_tokens() {
    let project = Project::of_text(CLAIMS);
    let (one, other) = (Store::temporary().unwrap(), Store::temporary().unwrap());
    let few = project.run_in(&one, Chunking::ByRows(1_000_000));
    let many = project.run_in(&other, Chunking::ByRows(16));
    assert!(many.table("claims").chunk_rows.len() > 2);
    differ_nowhere(&made(&few, &one), &made(&many, &other));
    for (task, column) in [("words", "words_present"), ("letters", "letters_present"), ("sounds", "sound_present")] {
        let present = few.cells(task, column, &one);
        let missing = present.iter().filter(|cell| *cell == "false").count();
        assert!(missing > 0 && missing < 30, "{column}: {missing} of {} rows are missing", present.len());
    }
    // Left of the picture or right of it: the box of those older than 32 holds no pixel.
    let present = few.cells("pictures", "picture_present", &one);
    for (age, present) in few.cells("pictures", "age", &one).iter().zip(present) {
        let is_inside = age.parse::<i64>().is_ok_and(|age| age < 32);
        assert!(is_inside || present == "false", "a picture of those aged {age}");
    }
}

#[test]
fn threads_change_no_bit_of_tensors_and_tokens() {
    let project = Project::of_text(CLAIMS);
    project.write();
    for (store, threads) in [("one", "1"), ("four", "4")] {
        said(project.path(), &["run", "pipeline.yaml", "--store", store, "--threads", threads]).ok();
    }
    assert_eq!(digests(project.path(), "one"), digests(project.path(), "four"));
}

/// A tokeniser of whole words, with the number of `damage`.
fn tokenizer(damage: u32) -> String {
    format!(
        r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {{"type": "Whitespace"}}, "post_processor": null, "decoder": null,
        "model": {{"type": "WordLevel", "unk_token": "[UNK]", "vocab": {{"[PAD]": 0, "[UNK]": 1, "damage": {damage}}}}}}}"#
    )
}

#[test]
fn a_tokenisers_file_keys_its_node_by_content_and_not_by_place() {
    let mut project = Project::of_text(
        r"fuseline: 1
name: claims
nodes:
  claims: {uses: ingest.claims, with: {rows: 30}}
  split: {uses: split.random, with: {shares: {train: 0.6, test: 0.4}}, in: claims}
  words:
    uses: extract.tokenize
    with: {column: description, as: words, max_length: 12, tokenizer: tokenizer.json}
    in: split
",
    );
    let store = Store::temporary().unwrap();
    let path = project.path().join("tokenizer.json");
    std::fs::write(&path, tokenizer(2)).unwrap();
    let first = project.run(&store);
    assert!(first.cells("words", "words", &store).iter().any(|cell| cell.contains('2')));

    std::fs::rename(&path, project.path().join("elsewhere.json")).unwrap();
    project.replace("tokenizer.json", "elsewhere.json");
    assert!(project.run(&store).executed().is_empty(), "where it stands changes nothing");

    std::fs::write(project.path().join("elsewhere.json"), tokenizer(7)).unwrap();
    let changed = project.run(&store);
    assert_eq!(changed.executed(), ["words/fit", "words"]);
    assert!(changed.cells("words", "words", &store).iter().any(|cell| cell.contains('7')));

    std::fs::remove_file(project.path().join("elsewhere.json")).unwrap();
    project.write();
    let run = ended(fuseline(project.path(), &["run", "pipeline.yaml"]));
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains("elsewhere.json"), "{run:?}");
}

#[test]
fn damaged_media_name_the_row_or_count_as_missing() {
    let mut project = Project::of_text(
        r"fuseline: 1
name: pages
nodes:
  pages: {uses: ingest.files, with: {type: image, path: pages}}
  pictures: {uses: extract.image_tensor, with: {column: image, size: [4, 4], as: picture}, in: pages}
  calls: {uses: ingest.files, with: {type: audio, path: calls}}
  sounds: {uses: extract.log_mel, with: {column: audio, sample_rate: 8000, frames: 5, as: sound}, in: calls}
",
    );
    for folder in ["pages", "calls"] {
        std::fs::create_dir(project.path().join(folder)).unwrap();
    }
    // A picture of one grey pixel, as BMP; the same cut; the head of a PNG that declares 60000 x 60000 pixels.
    let mut bmp = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
    bmp.resize(54, 0);
    bmp.extend_from_slice(&[90, 90, 90, 0]);
    let huge = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xea\x60\0\0\xea\x60\x08\0\0\0\0\xe5\xa1\x67\x4a\0\0\0\0IDAT";
    let write = |name: &str, bytes: &[u8]| std::fs::write(project.path().join(name), bytes).unwrap();
    write("pages/a.bmp", &bmp);
    write("pages/b.bmp", &bmp[..56]);
    write("pages/c.png", huge);
    // One sample of silence, and a header that promises 4 GB of it.
    let wav = |length: u32| {
        let mut wav = b"RIFF\x26\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data".to_vec();
        wav.extend_from_slice(&length.to_le_bytes());
        wav.extend_from_slice(&[0, 0]);
        wav
    };
    write("calls/a.wav", &wav(2));
    write("calls/b.wav", &wav(u32::MAX - 1));
    project.write();
    let run = ended(fuseline(project.path(), &["run", "pipeline.yaml"]));
    assert_eq!(run.code, Some(1));
    for part in [
        "row 1, column `image`: the picture ",
        "row 1, column `audio`: the sound ",
        "its `data` chunk declares 4294967294 bytes, and 2 are left in the file",
    ] {
        assert!(run.stdout.contains(part), "no `{part}` in {}", run.stdout);
    }

    project.replace("as: picture", "on_error: missing, as: picture");
    project.replace("as: sound", "on_error: missing, as: sound");
    let store = Store::temporary().unwrap();
    let ran = project.run(&store);
    assert_eq!(ran.cells("pictures", "picture_present", &store), ["true", "false", "false"]);
    assert_eq!(ran.cells("sounds", "sound_present", &store), ["true", "false"]);
}
