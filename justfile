# Shortcuts for people. Nothing else needs `just`: README's commands and .ci/run are plain scripts.

# Lists what there is.
default:
    @just --list

# Builds and serves on ./tagtrail-data.
serve *arguments:
    cargo run -- serve {{ arguments }}

# Everything CI checks.
check:
    .ci/run

# All tests; installs what they need.
test *arguments:
    scripts/test {{ arguments }}

# The fault list, for hours: 10,000 kills, 200 power cuts, 40 places in each file (docs/reliability.md).
soak:
    TAGTRAIL_FAULT_KILLS=10000 TAGTRAIL_FAULT_CUTS=200 TAGTRAIL_FAULT_BYTES=40 scripts/test -p tagtrail-tests --test faults
    TAGTRAIL_KILLS=1000 TAGTRAIL_POWER_CUTS=200 scripts/test -p tagtrail-event-log --test kill --test powercut --test damage

# Replays recorded cases and prints a table: `just conformance all`, `just conformance 000 062`.
conformance *cases="all":
    cargo run --quiet -p tagtrail-tests --bin conformance -- {{ cases }}

# Formats everything.
format:
    cargo fmt --all

# Licences, sources and bans of the dependencies.
dependencies:
    scripts/check-dependencies

# Feeds every parser, or those whose names contain `parser`, so many minutes each with what nobody would write.
fuzz parser="" minutes="10":
    TAGTRAIL_FUZZ_SEED="$(date +%s)" TAGTRAIL_FUZZ="{{ parser }}" TAGTRAIL_FUZZ_SECS=$(({{ minutes }} * 60)) cargo test --release -p tagtrail-tests --test fuzz every_parser -- --nocapture

# All benches; benches/README.md says what they answer.
bench *arguments:
    cargo bench -p tagtrail-benches {{ arguments }}

# Moves of a tag beside etcd's puts, by turns in one run. Installs etcd where it is missing.
bench-peers:
    command -v etcd >/dev/null || apt-get install --yes etcd-server
    cargo build --release -p tagtrail-cli
    mkdir -p target/tmp
    TAGTRAIL_BIN="$PWD/target/release/tagtrail" TMPDIR="$PWD/target/tmp" cargo bench -p tagtrail-benches --bench peers
