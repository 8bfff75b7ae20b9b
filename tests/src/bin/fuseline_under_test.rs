//! The program with the kinds of the tests beside its own: as a process of its own, so that it can be killed.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    engine_cli::main(fuseline_tests::registry())
}
