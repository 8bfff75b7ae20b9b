# What the project does, by name. `just` lists it.

default:
    @just --list

# Formatting, lints and docs.
check:
    cargo fmt --all --check
    cargo clippy --release --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps

# Every test; the same command as in the README.
test:
    cargo test --release --workspace

# Schemas and generated pages, from the code.
update:
    cargo run --release -- docs --out .

# The benchmarks of docs/benchmarks.md.
bench:
    cargo build --release --bin fuseline
    cargo run --release -p fuseline-tests --bin bench

# The same work by pandas, scikit-learn and DVC, from a virtual environment of its own.
bench-peers:
    tests/scripts/peers/run

# A training step of a four-modal model beside PyTorch's, from a virtual environment of its own.
bench-torch:
    tests/scripts/bench-torch/run

# Scores on the real data sets; fails if a folder is missing.
quality DATA:
    tests/scripts/quality {{DATA}}

# kill -9 at random instants, then the same digests.
faults COUNT="30" SEED="1":
    tests/scripts/kill {{COUNT}} {{SEED}}

# The example plug-in with a real interpreter, in an environment of its own.
plugins:
    tests/scripts/plugins

# The running server against its own OpenAPI document, by schemathesis in an environment of its own.
openapi EXAMPLES="60" SEED="1":
    tests/scripts/openapi {{EXAMPLES}} {{SEED}}

# Everything CI does.
ci:
    .ci/run
