"""rclone: a remote that is synced and checked, an encrypted remote on top of it, and large files in parts."""

import json
import os

import boto3
from scenario import (
    ENDPOINT,
    MIB,
    content,
    expect_equal,
    expect_same_bytes,
    main,
    need_program,
    read_file,
    read_tree,
    run,
    write_file,
    write_tree,
)


def configure():
    need_program("rclone")
    os.environ.update(
        RCLONE_CONFIG="/dev/null",
        RCLONE_CONFIG_CAIRN_TYPE="s3",
        RCLONE_CONFIG_CAIRN_PROVIDER="Other",
        RCLONE_CONFIG_CAIRN_ENDPOINT=ENDPOINT,
        RCLONE_CONFIG_CAIRN_ENV_AUTH="true",
        RCLONE_CONFIG_CAIRN_REGION="us-east-1",
        # A request that fails is a finding, not something to try again.
        RCLONE_LOW_LEVEL_RETRIES="1",
        RCLONE_RETRIES="1",
    )


def s3():
    return boto3.client("s3", endpoint_url=ENDPOINT)


def files_of(remote):
    """Path -> size, as rclone lists it."""
    listed = json.loads(run("rclone", "lsjson", "--recursive", "--files-only", remote))
    return {entry["Path"]: entry["Size"] for entry in listed}


def sync_and_check():
    configure()
    remote = "cairn:rclone-sync/below/here"
    write_tree("tree", [0, 1, 5_000, 70_000, 9 * MIB, 3, 200_000])
    run("rclone", "mkdir", "cairn:rclone-sync")
    run("rclone", "sync", "tree", remote)
    run("rclone", "check", "--download", "tree", remote)
    expect_equal(set(files_of(remote)), set(read_tree("tree")), "the listing")
    # Times and sizes have come back as they were: there is nothing to transfer again.
    expect_equal(transfers("tree", remote), 0, "transfers of a second sync")

    os.remove("tree/plain/file +%0.bin")
    write_file("tree/with space/new", content(50, 12_345))
    write_file("tree/with space/file +%1.bin", b"!")
    expect_equal(transfers("tree", remote), 2, "transfers after two changes")
    run("rclone", "check", "--download", "tree", remote)
    run("rclone", "sync", remote, "back")
    expect_equal(read_tree("back"), read_tree("tree"), "the tree that came back")

    # Between two places of the server, and away.
    run("rclone", "copy", remote, "cairn:rclone-sync/copied")
    run("rclone", "check", "--download", "tree", "cairn:rclone-sync/copied")
    run("rclone", "move", "cairn:rclone-sync/copied", "cairn:rclone-sync/moved")
    expect_equal(files_of("cairn:rclone-sync/moved"), files_of(remote), "what was moved")
    expect_equal(
        json.loads(run("rclone", "lsjson", "cairn:rclone-sync/moved"))[0]["IsDir"], True, "an entry of a shallow listing"
    )
    run("rclone", "purge", "cairn:rclone-sync")
    expect_equal("rclone-sync" in run("rclone", "lsd", "cairn:").decode(), False, "the bucket is still there")


def transfers(source, destination):
    """How many files a sync transfers."""
    log = run("rclone", "sync", "--use-json-log", "--log-file", "sync.log", "-v", source, destination)
    expect_equal(log, b"", "what a sync prints")
    lines = [json.loads(line) for line in read_file("sync.log").decode().splitlines()]
    os.remove("sync.log")
    return sum("Copied" in line["msg"] for line in lines)


def crypt():
    configure()
    run("rclone", "mkdir", "cairn:rclone-crypt")
    secret = run("rclone", "obscure", "a password for a test").decode().strip()
    os.environ.update(
        RCLONE_CONFIG_SECRET_TYPE="crypt",
        RCLONE_CONFIG_SECRET_REMOTE="cairn:rclone-crypt/vault",
        RCLONE_CONFIG_SECRET_PASSWORD=secret,
    )
    write_tree("tree", [0, 1, 65_536, 70_000, 6 * MIB + 5, 3])
    run("rclone", "sync", "tree", "secret:")
    run("rclone", "cryptcheck", "tree", "secret:")
    run("rclone", "check", "--download", "tree", "secret:")
    run("rclone", "sync", "secret:", "back")
    expect_equal(read_tree("back"), read_tree("tree"), "the tree that came back")
    stored = files_of("cairn:rclone-crypt/vault")
    expect_equal(len(stored), len(read_tree("tree")), "the number of encrypted files")
    expect_equal([name for name in stored if "file" in name], [], "names that are not encrypted")


def multipart():
    configure()
    run("rclone", "mkdir", "cairn:rclone-parts")
    data = write_file("large", content(60, 23 * MIB + 11))
    parts = ["--s3-upload-cutoff", "5M", "--s3-chunk-size", "5M", "--s3-copy-cutoff", "8M"]
    run("rclone", "copyto", *parts, "large", "cairn:rclone-parts/large")
    run("rclone", "copyto", *parts, "cairn:rclone-parts/large", "cairn:rclone-parts/again")
    run("rclone", "rcat", *parts, "--streaming-upload-cutoff", "1M", "cairn:rclone-parts/streamed", data=data)
    for key, suffix in [("large", "-5"), ("streamed", "-5"), ("again", "-")]:
        expect_same_bytes(run("rclone", "cat", f"cairn:rclone-parts/{key}"), data, key)
        etag = s3().head_object(Bucket="rclone-parts", Key=key)["ETag"].strip('"')
        expect_equal(suffix in etag, True, f"the ETag {etag} of {key} is that of {suffix} parts")
    middle = run("rclone", "cat", "--offset", str(5 * MIB - 10), "--count", "20", "cairn:rclone-parts/large")
    expect_equal(middle, data[5 * MIB - 10 : 5 * MIB + 10], "a range over the edge of a part")
    # Read in parallel, by ranges.
    run("rclone", "copyto", "--multi-thread-cutoff", "5M", "--multi-thread-streams", "4", "cairn:rclone-parts/large", "down")
    expect_same_bytes(read_file("down"), data, "the file that was read in parallel")
    expect_equal("Uploads" in s3().list_multipart_uploads(Bucket="rclone-parts"), False, "uploads are left open")


if __name__ == "__main__":
    main(globals())
