#!/bin/sh
# Checks licences, sources, bans and security advisories of the dependencies against deny.toml, with cargo-deny, which is
# installed when it is missing and can be. What cannot be checked here is said and not failed.
set -eu
cargo=$1
version=0.20.2

skip() {
    echo "SKIPPED: dependencies: $1"
    exit 0
}

# Beside the build's own results, so that it is built once.
tools=${CARGO_TARGET_DIR:-target}/tools
PATH="$tools/bin:$PATH"
if ! command -v cargo-deny >/dev/null 2>&1; then
    echo "Installing cargo-deny $version into $tools"
    "$cargo" install --quiet --locked --root "$tools" --target-dir "$tools/build" "cargo-deny@$version" </dev/null ||
        skip "cargo-deny cannot be installed"
fi

"$cargo" deny check licenses bans sources
# The advisories are in a repository of their own, which a machine without the network cannot have.
if "$cargo" deny fetch db >/dev/null 2>&1; then
    "$cargo" deny check advisories
else
    skip "the advisory database cannot be fetched"
fi
