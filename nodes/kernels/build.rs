//! With the feature `cuda`, compiles the kernels to PTX; otherwise there is nothing to do.
#![allow(clippy::print_stdout, reason = "how a build script speaks to cargo")]

use std::env::var_os;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = "cuda/multimodal_loss.cu";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    let ptx = PathBuf::from(var_os("OUT_DIR").unwrap_or_default()).join("multimodal_loss.ptx");
    let done = if var_os("CARGO_FEATURE_CI_CHECK").is_some() {
        std::fs::write(&ptx, "").map_err(|error| format!("{}: {error}", ptx.display()))
    } else {
        compile(&ptx)
    };
    if let Err(message) = done {
        println!("cargo::error={message}");
    }
}

/// PTX for the oldest device to be served, 8.0 unless `CUDA_COMPUTE_CAP` says otherwise; drivers make code of it for newer ones.
fn compile(ptx: &Path) -> Result<(), String> {
    let capability = var_os("CUDA_COMPUTE_CAP").map_or("80".to_owned(), |value| value.to_string_lossy().into_owned());
    let output = Command::new("nvcc")
        .args(["--ptx", "-O3", "--fmad=false", &format!("--gpu-architecture=compute_{capability}"), SOURCE, "-o"])
        .arg(ptx)
        .output()
        .map_err(|error| {
            format!(
                "the feature `cuda` needs `nvcc` of the CUDA toolkit on the PATH to compile nodes/kernels/{SOURCE}: {error}; \
                 to check types alone, add the feature `ci-check`"
            )
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " / ");
    Err(format!("`nvcc` failed on nodes/kernels/{SOURCE} for CUDA_COMPUTE_CAP {capability}: {said}"))
}
