"""The `aws s3` command line, as a user types it."""

import os

from scenario import ENDPOINT, MIB, content, expect_equal, main, read_tree, run, write_tree


def aws(*arguments, **options):
    return run("aws", "--endpoint-url", ENDPOINT, *arguments, **options)


def make_and_remove_buckets():
    aws("s3", "mb", "s3://cli-bucket")
    assert b"cli-bucket" in aws("s3", "ls")
    aws("s3", "rb", "s3://cli-bucket")
    assert b"cli-bucket" not in aws("s3", "ls")
    aws("s3", "mb", "s3://cli-forced")
    aws("s3", "cp", "-", "s3://cli-forced/key", data=b"x")
    aws("s3", "rb", "--force", "s3://cli-forced")
    assert b"cli-forced" not in aws("s3", "ls")


def copy_both_ways():
    aws("s3", "mb", "s3://cli-copy")
    for number, size in enumerate([0, 1, 100_000, 20 * MIB + 7]):
        data = content(number, size)
        with open("up", "wb") as file:
            file.write(data)
        aws("s3", "cp", "up", f"s3://cli-copy/dir/file {number}")
        aws("s3", "cp", f"s3://cli-copy/dir/file {number}", f"s3://cli-copy/again/{number}")
        for key in [f"dir/file {number}", f"again/{number}"]:
            aws("s3", "cp", f"s3://cli-copy/{key}", "down")
            with open("down", "rb") as file:
                expect_equal(file.read() == data, True, f"bytes of {key}")


def sync():
    aws("s3", "mb", "s3://cli-sync")
    write_tree("tree", [0, 10, 5_000, 70_000, 9 * MIB, 3, 200_000])
    # LastModified has whole seconds, as on S3: a file written in the second of its upload would count as newer.
    for folder, _, names in os.walk("tree"):
        for name in names:
            os.utime(os.path.join(folder, name), (1_700_000_000, 1_700_000_000))
    aws("s3", "sync", "tree", "s3://cli-sync/tree")
    aws("s3", "sync", "s3://cli-sync/tree", "back")
    expect_equal(read_tree("back"), read_tree("tree"), "the tree that came back")
    expect_equal(aws("s3", "sync", "tree", "s3://cli-sync/tree"), b"", "a second sync")
    os.remove("tree/plain/file +%0.bin")
    with open("tree/plain/new", "wb") as file:
        file.write(b"new")
    aws("s3", "sync", "--delete", "tree", "s3://cli-sync/tree")
    aws("s3", "sync", "--delete", "s3://cli-sync/tree", "back")
    expect_equal(read_tree("back"), read_tree("tree"), "the changed tree")


def list_move_remove():
    aws("s3", "mb", "s3://cli-list")
    for key in ["a/1", "a/2", "b", "c d"]:
        aws("s3", "cp", "-", f"s3://cli-list/{key}", data=key.encode())
    shallow = aws("s3", "ls", "s3://cli-list").decode()
    assert "PRE a/" in shallow and " b\n" in shallow and "a/1" not in shallow, shallow
    deep = aws("s3", "ls", "--recursive", "s3://cli-list").decode()
    expect_equal([line[31:] for line in deep.splitlines()], ["a/1", "a/2", "b", "c d"], "keys")
    aws("s3", "mv", "s3://cli-list/b", "s3://cli-list/moved")
    expect_equal(aws("s3", "cp", "s3://cli-list/moved", "-"), b"b", "the moved object")
    aws("s3", "rm", "s3://cli-list/moved")
    aws("s3", "rm", "--recursive", "s3://cli-list/a")
    left = aws("s3", "ls", "--recursive", "s3://cli-list").decode()
    expect_equal([line[31:] for line in left.splitlines()], ["c d"], "keys that are left")


def stream():
    aws("s3", "mb", "s3://cli-stream")
    data = content(9, 17 * MIB)
    aws("s3", "cp", "-", "s3://cli-stream/key", data=data)
    expect_equal(aws("s3", "cp", "s3://cli-stream/key", "-") == data, True, "the streamed bytes")


if __name__ == "__main__":
    main(globals())
