# Short names for what people do here. `just` lists them; everything works without it too.

default:
    @just --list

# Plays a lecture with 40 phones against a real server, and stays up.
demo:
    cargo run --release -- demo

# The server with embedded defaults on 127.0.0.1:8000.
serve:
    cargo run --release -- serve

# What the gate runs before the tests.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Every test, as the README says.
test:
    cargo test --workspace

# The integration tests on a PostgreSQL of their own; `just test-postgres NAME` runs those with NAME in their name.
test-postgres *NAMES:
    cargo run --quiet -p muster-tests --bin with-postgres -- cargo test -p muster-tests --test integration -- {{NAMES}}

# Made-up requests for every operation of the description, against the real program.
schemathesis:
    cargo build -p muster-server --bin muster
    tests/schemathesis/run.py target/debug/muster

# Many more requests, with a seed of the day: for finding, while the above is for keeping.
schemathesis-deep:
    cargo build -p muster-server --bin muster
    SCHEMATHESIS_DEEP=1 tests/schemathesis/run.py target/debug/muster

# The whole gate.
check:
    .ci/run

# Cost of one change: guard, decode, verify, scope, validate, author.
bench:
    cargo bench -p muster-sync-core

# A reconnect storm against a real server beside its in-process floor.
load:
    cargo build --release
    cargo run --release -p muster-tests --bin load -- storm

# Cuts the power of a server under load, and asks for everything that it acknowledged.
power-cut cuts="100":
    cargo run --release -p muster-tests --bin power-cut -- first-start
    cargo run --release -p muster-tests --bin power-cut -- --cuts {{cuts}}
    cargo run --release -p muster-tests --bin power-cut -- --cuts {{cuts}} --fault normal

# The same storm on PostgreSQL with every flush, beside its own floor.
load-postgres:
    cargo build --release
    cargo run --release -p muster-tests --bin with-postgres -- --durable \
        sh -c 'target/release/load storm --database "$TEST_DATABASE_URL"'
