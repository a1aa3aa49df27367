"""A duplicity backup: full, incremental, verified against the files, and restored as of both times."""

import time

import boto3
from scenario import ENDPOINT, MIB, content, expect_equal, main, need_program, read_tree, run, write_file, write_tree

BUCKET = "duplicity-backup"
TARGET = f"boto3+s3://{BUCKET}/backups/host"


def duplicity(*arguments):
    # Volumes larger than a chunk, so that they are uploaded in parts.
    options = ["--s3-endpoint-url", ENDPOINT, "--no-encryption", "--archive-dir", "archive", "--num-retries", "1"]
    sizes = ["--volsize", "20", "--s3-multipart-chunk-size", "8"]
    return run("duplicity", *arguments[:1], *options, *sizes, *arguments[1:])


def backup_and_restore():
    need_program("duplicity")
    s3 = boto3.client("s3", endpoint_url=ENDPOINT)
    s3.create_bucket(Bucket=BUCKET)
    write_tree("source", [0, 100, 50_000, 3 * MIB, 30 * MIB, 7, 700_000])
    before = read_tree("source")
    duplicity("full", "source", TARGET)
    first_time = int(time.time())
    # duplicity tells backups apart by whole seconds.
    time.sleep(2)
    write_file("source/added", content(99, 2 * MIB))
    write_file("source/plain/file +%0.bin", b"no longer empty")
    duplicity("incremental", "source", TARGET)

    duplicity("verify", "--compare-data", TARGET, "source")
    # What the machine knows of the backup is gone: it comes from the bucket.
    run("rm", "-r", "archive")
    told = duplicity("collection-status", TARGET).decode()
    assert "Full" in told and "Incremental" in told and "No orphaned or incomplete" in told, told
    duplicity("restore", TARGET, "restored")
    expect_equal(read_tree("restored"), read_tree("source"), "the restored tree")
    duplicity("restore", "--time", str(first_time), TARGET, "restored-before")
    expect_equal(read_tree("restored-before"), before, "the tree as it was before")

    objects = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert any("-" in entry["ETag"] for entry in objects), "no volume was uploaded in parts"
    duplicity("remove-older-than", "--force", str(int(time.time()) + 1), TARGET)
    duplicity("cleanup", "--force", TARGET)


if __name__ == "__main__":
    main(globals())
