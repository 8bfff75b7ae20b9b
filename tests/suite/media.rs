//! Images from files to a served model: rows that name pictures, a lookup with pictures of its own, requests that send
//! them.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use engine_exec::Chunking;
use engine_store::Store;
use polars::prelude::DataFrame;
use serde_json::{Value, json};

use crate::look_alike::Csv;
use crate::process::{Server, said};
use crate::workshop::{Project, Ran};

const PIPELINE: &str = r#"fuseline: 1
name: shops
seed: 3
nodes:
  lines:
    uses: ingest.csv
    with:
      path: lines.csv
      schema: {id: text, shop: text, x: float, photo: text, label: category}
      nullable: [photo]
      roles: {id: key, shop: group, label: target}
  shops: {uses: ingest.csv, with: {path: shops.csv, schema: {shop: text, size: float, logo: text, note: text}}}
  logos: {uses: ingest.files, with: {column: logo, root: pictures, type: image}, in: shops}
  photos: {uses: ingest.files, with: {column: photo, root: pictures, type: image, missing: 'null'}, in: lines}
  rows: {uses: join.left, with: {on: shop, on_miss: error}, in: {left: photos, right: logos}}
  split: {uses: split.random, with: {shares: {train: 0.6, validation: 0.2, test: 0.2}}, in: rows}
  crops: {uses: extract.image_tensor, with: {column: photo, size: [4, 4], as: crop}, in: split}
  marks: {uses: extract.image_tensor, with: {column: logo, size: [2, 2], grey: true, as: mark}, in: split}
  model: {uses: train.logistic, with: {target: label, columns: [x, size, crop, crop_present, mark]}, in: [crops, marks]}
  said: {uses: predict.table, with: {classes: ['a', 'b']}, in: {table: [crops, marks], model: model}}
  bundle: {uses: deploy.bundle, with: {request: photos, out: shops.fuse}, in: {model: model}}
"#;

const ROWS: usize = 60;
const SHOPS: usize = 5;

/// An uncompressed BMP of `side` x `side` pixels whose colours follow from `seed`.
fn bmp(side: usize, seed: usize) -> Vec<u8> {
    let stride = (side * 3).next_multiple_of(4);
    let size = 54 + stride * side;
    let mut bytes = b"BM".to_vec();
    bytes.extend([size as u32, 0, 54, 40, side as u32, side as u32].iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend([1_u16, 24].iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend([0_u32, (stride * side) as u32, 2835, 2835, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
    for row in 0..side {
        let mut line: Vec<u8> = (0..side * 3).map(|at| ((seed * 37 + row * 11 + at * 5) % 251) as u8).collect();
        line.resize(stride, 0);
        bytes.extend(line);
    }
    bytes
}

/// The picture of a row; every eleventh row has none.
fn photo(row: usize) -> Option<String> {
    (row % 11 != 5).then(|| format!("photo{}.bmp", row % 20))
}

fn cells(row: usize) -> (String, f64, &'static str) {
    let x = (row * 29 % 17) as f64 * 0.37 - 2.0;
    (format!("s{}", row % SHOPS), x, if x + (row % SHOPS) as f64 > 1.3 { "a" } else { "b" })
}

fn lines(rows: impl Iterator<Item = usize>) -> String {
    let mut text = "id,shop,x,photo,label\n".to_owned();
    for row in rows {
        let (shop, x, label) = cells(row);
        text.push_str(&format!("r{row},{shop},{x},{},{label}\n", photo(row).unwrap_or_default()));
    }
    text
}

fn project() -> Project {
    let project = Project::of_text(PIPELINE);
    let folder = project.path();
    std::fs::create_dir(folder.join("pictures")).unwrap();
    (0..20).for_each(|seed| write_picture(folder, &format!("photo{seed}.bmp"), &bmp(6, seed)));
    (0..3).for_each(|seed| write_picture(folder, &format!("logo{seed}.bmp"), &bmp(5, 100 + seed)));
    std::fs::write(folder.join("lines.csv"), lines(0..ROWS)).unwrap();
    let shop = |shop: usize| format!("s{shop},{}.5,logo{}.bmp,nothing\n", shop * 3, shop % 3);
    let shops: Vec<String> = (0..SHOPS).map(shop).collect();
    std::fs::write(folder.join("shops.csv"), format!("shop,size,logo,note\n{}", shops.concat())).unwrap();
    project
}

fn write_picture(folder: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(folder.join("pictures").join(name), bytes).unwrap();
}

/// A row as a client sends it.
fn request(row: usize) -> Value {
    let (shop, x, _) = cells(row);
    let photo = photo(row).map(|_| STANDARD.encode(bmp(6, row % 20)));
    json!({ "shop": shop, "x": x, "photo": photo })
}

const PREDICTED: [&str; 4] = ["prediction", "confidence", "probability_a", "probability_b"];

fn trained(ran: &Ran, store: &Store) -> Vec<Vec<String>> {
    let frame: DataFrame = ran.frame("said", store);
    let column = |name: &&str| match frame.column(name).unwrap().f64() {
        Ok(values) => values.iter().map(|value| bits(value.unwrap())).collect(),
        Err(_) => crate::workshop::texts(&frame, name),
    };
    let columns: Vec<Vec<String>> = PREDICTED.iter().map(column).collect();
    (0..frame.height()).map(|row| columns.iter().map(|cells| cells[row].clone()).collect()).collect()
}

fn bits(value: f64) -> String {
    format!("{:x}", value.to_bits())
}

#[test]
fn contract_4_pictures_and_lookups_are_served_as_they_were_trained_bit_for_bit() {
    let project = project();
    let store = Store::temporary().unwrap();
    let ran = project.run(&store);
    let expected = trained(&ran, &store);
    assert!(expected.iter().any(|row| row[0] == "a") && expected.iter().any(|row| row[0] == "b"));

    let server = Server::start(project.path(), "shops.fuse");
    for batch in [1, 7, ROWS] {
        for from in (0..ROWS).step_by(batch) {
            let rows = from..(from + batch).min(ROWS);
            let body = json!({ "rows": rows.clone().map(request).collect::<Vec<_>>() });
            let (status, answer) = server.request("POST", "/predict", &body.to_string());
            assert_eq!(status, 200, "{answer}");
            let answer: Value = serde_json::from_str(&answer).unwrap();
            for (row, said) in rows.zip(answer["predictions"].as_array().unwrap()) {
                let cell = |name: &&str| match &said[*name] {
                    Value::String(text) => text.clone(),
                    number => bits(number.as_f64().unwrap()),
                };
                assert_eq!(PREDICTED.iter().map(cell).collect::<Vec<_>>(), expected[row], "row {row} of {batch}");
            }
        }
    }
    assert!(server.stop().success());

    // Paths in a file of rows start from its folder.
    let input = project.path().join("pictures/batch.csv");
    std::fs::write(&input, lines((0..ROWS).rev())).unwrap();
    said(project.path(), &["predict", "shops.fuse", "pictures/batch.csv", "--out", "said.csv"]).ok();
    let batch = Csv::parse(&std::fs::read_to_string(project.path().join("said.csv")).unwrap());
    for (row, cells) in (0..ROWS).rev().zip(&batch.rows) {
        let cell = |name: &&str| match cells[batch.place(name)].parse::<f64>() {
            Ok(number) => bits(number),
            Err(_) => cells[batch.place(name)].clone(),
        };
        assert_eq!(PREDICTED.iter().map(cell).collect::<Vec<_>>(), expected[row], "row {row} of a file");
    }
}

#[test]
fn a_bundle_holds_of_a_lookup_what_the_model_needs() {
    let project = project();
    let ran = project.run(&Store::temporary().unwrap());
    let bytes = std::fs::read(project.path().join("shops.fuse")).unwrap();
    let deployment = engine_table::deployment::Deployment::decode(&bytes).unwrap();
    let asked: Vec<&str> = deployment.request.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(asked, ["shop", "x", "photo"]);
    let lookup = deployment.steps.iter().find(|step| step.node == "rows").unwrap();
    let columns: Vec<&str> = lookup.tables[0].columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(columns, ["shop", "logo", "size"]);
    assert_eq!(deployment.blobs.len(), 3, "the logos, and no photo");
    assert!(!bytes.windows(7).any(|window| window == b"nothing"), "the note is needed by nobody");
    assert!(ran.executed().contains(&"bundle"));
}

#[test]
fn what_is_wrong_with_a_picture_or_a_key_is_said_with_its_row_and_column() {
    let project = project();
    project.run(&Store::temporary().unwrap());
    let server = Server::start(project.path(), "shops.fuse");
    let check = |rows: Vec<Value>, code: &str, words: &[&str]| {
        let (status, answer) = server.request("POST", "/predict", &json!(rows).to_string());
        assert_eq!(status, 422, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["error"]["code"], code, "{answer}");
        for word in words {
            assert!(answer["error"]["message"].as_str().unwrap().contains(word), "no {word:?} in {answer}");
        }
    };
    let with = |name: &str, value: Value| {
        let mut row = request(1);
        row[name] = value;
        row
    };
    check(vec![request(0), with("photo", json!("a picture"))], "column.base64", &["`photo` in row 1"]);
    let no_picture = STANDARD.encode(b"BM and nothing more");
    check(vec![request(0), with("photo", json!(no_picture))], "prediction.refused", &["`crops`", "`photo`", "row 1"]);
    check(vec![request(0), with("shop", json!("s99"))], "prediction.refused", &["`rows`", "`shop`", "row 1", "`s99`"]);
    check(vec![with("shop", Value::Null)], "column.null", &["`shop` in row 0"]);
    assert!(server.stop().success());

    let input = project.path().join("pictures/batch.csv");
    std::fs::write(&input, "shop,x,photo\ns1,0.5,photo1.bmp\ns1,0.5,none.bmp\ns2,1.5,\n").unwrap();
    let refused = said(project.path(), &["predict", "shops.fuse", "pictures/batch.csv", "--out", "said.csv"]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("1 files are not there: `none.bmp` (column `photo`, row 1)"), "{}", refused.stderr);
}

#[test]
fn contract_1_an_edited_picture_reaches_what_reads_it_and_nothing_else() {
    let project = project();
    let store = Store::temporary().unwrap();
    project.run_in(&store, Chunking::ByRows(16));
    assert_eq!(project.run_in(&store, Chunking::ByRows(16)).executed(), Vec::<&str>::new());
    // A logo is read by the join, and by what makes tensors of it; the photos are as they were.
    write_picture(project.path(), "logo1.bmp", &bmp(5, 7));
    let executed = project.run_in(&store, Chunking::ByRows(16));
    assert_eq!(executed.executed(), ["logos", "rows", "marks", "model", "said", "bundle"]);
    // A column of the lookup that nobody needs stays out of the model and the bundle.
    let shops = std::fs::read_to_string(project.path().join("shops.csv")).unwrap();
    std::fs::write(project.path().join("shops.csv"), shops.replace("nothing", "something")).unwrap();
    assert_eq!(project.run_in(&store, Chunking::ByRows(16)).executed(), ["shops", "rows"]);
}
