#!/bin/sh
# Runs `cargo test` and ends its output with the totals of all test programs: "N passed, N failed, N skipped".
#
#   deploy/run-tests.sh CARGO FLAGS [cargo's arguments]      the whole workspace without arguments
#
# A test that this machine does not permit passes and prints a line "SKIPPED: test: reason"; such tests are counted as
# skipped and not as passed. The exit status is cargo's.
set -eu
cargo=$1
flags=$2
shift 2
[ $# -gt 0 ] || set -- --workspace

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
log=$folder/log

# The status goes through a file, because a pipe's is that of its last command. The tests drive the real binary, which cargo
# does not build for another package's tests.
# shellcheck disable=SC2086 # flags are words
{
    status=0
    {
        "$cargo" build --locked $flags -p cairn-server &&
            "$cargo" test --locked --no-fail-fast $flags "$@"
    } </dev/null 2>&1 || status=$?
    echo "$status" >"$folder/status"
} | tee "$log"

awk -v status="$(cat "$folder/status")" '
    /^test result: / { for (i = 1; i < NF; i++) {
        if ($(i + 1) ~ /^passed/) passed += $i
        if ($(i + 1) ~ /^failed/) failed += $i
        if ($(i + 1) ~ /^ignored/) ignored += $i } }
    # A program with one thread prints the line behind its "test name ... ".
    /(^|\.\.\. )SKIPPED: / {
        sub(/^.*SKIPPED: /, "")
        test = $0
        sub(/: .*/, "", test)
        if (!(test in reasons)) skipped++
        reasons[test] = $0 }
    END {
        if (skipped) print "\nNot tested on this machine:"
        for (test in reasons) print "SKIPPED: " reasons[test]
        # Tests that do not compile, or a program that died, are a failure that no test program counts.
        if (status != 0 && !failed) failed = 1
        printf "\n%d passed, %d failed, %d skipped\n", passed - skipped, failed, skipped + ignored
    }' "$log"
exit "$(cat "$folder/status")"
