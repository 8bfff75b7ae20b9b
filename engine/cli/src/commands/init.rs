//! `fuseline init`: a small pipeline and its data to start from.

use std::path::Path;

use crate::{Failure, SUCCESS};

const PIPELINE: &str = include_str!("../../../../pipelines/loans.yaml");
const LOANS: &str = include_str!("../../../../pipelines/loans/loans.csv");

/// Writes the loans into `folder`, which must not hold it already.
pub fn init(folder: &Path) -> Result<u8, Failure> {
    let pipeline = folder.join("pipeline.yaml");
    let data = folder.join("loans");
    for path in [&pipeline, &data] {
        if path.exists() {
            return Err(Failure::message(format!("`{}` is already there; name another folder", path.display())));
        }
    }
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| Failure::message(format!("cannot write `{path}`: {error}"))
    };
    std::fs::create_dir_all(&data).map_err(failed(&data))?;
    // The first line names a schema by its place in this repository; here there is none.
    let text: String = PIPELINE.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
    std::fs::write(&pipeline, text).map_err(failed(&pipeline))?;
    std::fs::write(data.join("loans.csv"), LOANS).map_err(failed(&data))?;
    let file = pipeline.display();
    super::say(&format!("wrote {file}\nrun it:       fuseline run {file}\nask what for: fuseline plan {file}\n"))?;
    Ok(SUCCESS)
}
