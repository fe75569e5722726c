#!/usr/bin/env bash
# Every test of the repository, installing by itself what the tests need. The README's one command for it.
# Arguments go to the runner: `bash tests/run.sh -E 'binary(federation)'`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tests/install-tools.sh

# Examples in the documentation first, so that the runner's summary is the last thing on the screen.
[ $# -gt 0 ] || cargo test --locked --workspace --doc --quiet

if cargo nextest --version >/dev/null 2>&1; then
  exec cargo nextest run --locked --workspace --no-tests=fail "$@"
fi
echo "cargo-nextest is not installed; using cargo test, which runs one test binary after another" >&2
exec cargo test --locked --workspace --no-fail-fast --lib --bins --tests "$@"
