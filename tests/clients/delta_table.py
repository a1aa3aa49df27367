"""A Delta table that processes append to at the same time.

The name of a commit's file is its version, and a conditional PUT creates it: of the writers that try one version, one wins
and the others take the next. A PUT that let two of them win would lose a commit.
"""

import json
import os
import re
import subprocess
import sys

import boto3
from scenario import ENDPOINT, expect_equal, main, need_module

deltalake = need_module("deltalake")
pyarrow = need_module("pyarrow")

WRITERS = 8
COMMITS_PER_WRITER = 6
ROWS_PER_COMMIT = 10
BUCKET = "delta-table"
TABLE = f"s3://{BUCKET}/lake/table"
OPTIONS = {"AWS_ENDPOINT_URL": ENDPOINT, "AWS_ALLOW_HTTP": "true", "AWS_CONDITIONAL_PUT": "etag"}


def rows(writer, commit):
    """Numbers that no other commit writes."""
    first = (writer * COMMITS_PER_WRITER + commit) * ROWS_PER_COMMIT
    return range(first, first + ROWS_PER_COMMIT)


def append(numbers):
    deltalake.write_deltalake(
        TABLE,
        pyarrow.table({"number": pyarrow.array(numbers, pyarrow.int64())}),
        mode="append",
        storage_options=OPTIONS,
        # Every other commit may win first.
        commit_properties=deltalake.CommitProperties(max_commit_retries=WRITERS * COMMITS_PER_WRITER),
    )


def opened(**options):
    return deltalake.DeltaTable(TABLE, storage_options=OPTIONS, **options)


def numbers_of(table):
    """All rows. Not through pyarrow's datasets: their threads can abort the interpreter when it ends."""
    rows_read = deltalake.QueryBuilder().register("numbers", table).execute("select number from numbers")
    return sorted(pyarrow.table(rows_read.read_all())["number"].to_pylist())


def write_commits():
    """One of the processes: it begins when it is told to."""
    writer = int(os.environ["DELTA_WRITER"])
    sys.stdin.readline()
    for commit in range(COMMITS_PER_WRITER):
        append(rows(writer, commit))


def concurrent_commits():
    s3 = boto3.client("s3", endpoint_url=ENDPOINT)
    s3.create_bucket(Bucket=BUCKET)
    append([-1])
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "write_commits", ENDPOINT],
            stdin=subprocess.PIPE,
            env=os.environ | {"DELTA_WRITER": str(writer)},
        )
        for writer in range(WRITERS)
    ]
    for process in processes:
        process.stdin.write(b"go\n")
        process.stdin.close()
    expect_equal([process.wait(300) for process in processes], [0] * WRITERS, "the writers' status")

    commits = WRITERS * COMMITS_PER_WRITER
    table = opened()
    expect_equal(table.version(), commits, "the version")
    expect_equal(numbers_of(table), list(range(-1, commits * ROWS_PER_COMMIT)), "the rows")
    expect_equal(added_files(s3, commits), commits + 1, "the files that all commits add")

    table.optimize.compact()
    table.delete("number < 10")
    expect_equal(numbers_of(opened()), list(range(10, commits * ROWS_PER_COMMIT)), "the rows after a deletion")
    expect_equal(numbers_of(opened(version=0)), [-1], "the rows of the first version")


def added_files(s3, last):
    """How many files the log adds; its versions are without a gap, and no file is added twice."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="lake/table/_delta_log/")
    keys = [entry["Key"] for page in pages for entry in page["Contents"]]
    logs = [key for key in keys if re.fullmatch(r".*/\d{20}\.json", key)]
    expect_equal([int(key[-25:-5]) for key in logs], list(range(last + 1)), "the versions in the log")
    added = []
    for key in logs:
        lines = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().splitlines()
        added += [action["add"]["path"] for action in map(json.loads, lines) if "add" in action]
    expect_equal(len(set(added)), len(added), "files that are added once")
    return len(added)


if __name__ == "__main__":
    main(globals())
