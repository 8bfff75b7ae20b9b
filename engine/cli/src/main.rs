//! The binary `fuseline`.

use std::process::ExitCode;

/// glibc's allocator gives pages back and faults them in again: a third of a training step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    engine_cli::main(nodes_catalog::registry())
}
