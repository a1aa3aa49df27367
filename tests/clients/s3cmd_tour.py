"""s3cmd, as a user types it."""

import os
import urllib.request

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

HOST = ENDPOINT.removeprefix("http://")


def s3cmd(*arguments, **options):
    # The path style is what s3cmd takes for a host_bucket that does not name the bucket.
    return run("s3cmd", "--config", "s3cfg", *arguments, **options)


def keys(place):
    """Key -> size, as `ls` prints them."""
    lines = s3cmd("ls", "--recursive", place).decode().splitlines()
    return {line.split(None, 3)[3]: int(line.split(None, 3)[2]) for line in lines}


def configure():
    need_program("s3cmd")
    lines = [
        "[default]",
        f"access_key = {os.environ['AWS_ACCESS_KEY_ID']}",
        f"secret_key = {os.environ['AWS_SECRET_ACCESS_KEY']}",
        f"host_base = {HOST}",
        f"host_bucket = {HOST}",
        "use_https = False",
        "bucket_location = us-east-1",
        "multipart_chunk_size_mb = 5",
        "max_retries = 1",
    ]
    write_file("s3cfg", "\n".join(lines).encode())


def tour():
    configure()
    s3cmd("mb", "s3://s3cmd-tour")
    assert b"s3://s3cmd-tour" in s3cmd("ls")
    objects()
    large_objects()
    trees()
    s3cmd("del", "--recursive", "--force", "s3://s3cmd-tour")
    expect_equal(keys("s3://s3cmd-tour"), {}, "keys that are left")
    s3cmd("rb", "s3://s3cmd-tour")
    assert b"s3://s3cmd-tour" not in s3cmd("ls")


def objects():
    data = write_file("small", content(1, 40_000))
    s3cmd("put", "--add-header=x-amz-meta-colour:green", "--mime-type=text/x-test", "small", "s3://s3cmd-tour/dir/a +ü")
    s3cmd("get", "--force", "s3://s3cmd-tour/dir/a +ü", "back")
    expect_same_bytes(read_file("back"), data, "the small object")
    told = s3cmd("info", "s3://s3cmd-tour/dir/a +ü").decode()
    assert "text/x-test" in told and "green" in told and "40000" in told, told
    s3cmd("cp", "s3://s3cmd-tour/dir/a +ü", "s3://s3cmd-tour/copy")
    s3cmd("mv", "s3://s3cmd-tour/copy", "s3://s3cmd-tour/moved")
    expect_equal(
        keys("s3://s3cmd-tour"),
        {"s3://s3cmd-tour/dir/a +ü": 40_000, "s3://s3cmd-tour/moved": 40_000},
        "keys after a copy and a move",
    )
    # A link with a signature of version 2.
    link = s3cmd("signurl", "s3://s3cmd-tour/moved", "+600").decode().strip()
    assert "Signature=" in link and "AWSAccessKeyId=" in link, link
    with urllib.request.urlopen(link) as answer:
        expect_same_bytes(answer.read(), data, "the object behind the link")


def large_objects():
    data = write_file("large", content(2, 17 * MIB + 3))
    s3cmd("put", "large", "s3://s3cmd-tour/large")
    s3cmd("get", "--force", "s3://s3cmd-tour/large", "back")
    expect_same_bytes(read_file("back"), data, "the large object")
    etag = boto3.client("s3", endpoint_url=ENDPOINT).head_object(Bucket="s3cmd-tour", Key="large")["ETag"]
    assert etag.endswith('-4"'), f"not an ETag of four parts: {etag}"
    expect_equal(s3cmd("multipart", "s3://s3cmd-tour").decode().count("large"), 0, "uploads that are left")
    # The rest of a download that was cut short.
    write_file("back", data[: 7 * MIB])
    s3cmd("get", "--continue", "s3://s3cmd-tour/large", "back")
    expect_same_bytes(read_file("back"), data, "the continued download")
    s3cmd("del", "s3://s3cmd-tour/large")


def trees():
    write_tree("tree", [0, 1, 5_000, 70_000, 6 * MIB, 3])
    s3cmd("sync", "tree/", "s3://s3cmd-tour/tree/")
    s3cmd("sync", "s3://s3cmd-tour/tree/", "down/")
    expect_equal(read_tree("down"), read_tree("tree"), "the tree that came back")
    os.remove("tree/plain/file +%0.bin")
    write_file("tree/plain/new", b"new")
    s3cmd("sync", "--delete-removed", "tree/", "s3://s3cmd-tour/tree/")
    expect_equal(
        {key.removeprefix("s3://s3cmd-tour/tree/") for key in keys("s3://s3cmd-tour/tree/")},
        set(read_tree("tree")),
        "the synced keys",
    )


if __name__ == "__main__":
    main(globals())
