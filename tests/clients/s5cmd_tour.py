"""s5cmd: many objects at once, patterns, and large objects in parts."""

import json

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

MANY = 300


def s5cmd(*arguments, **options):
    return run("s5cmd", "--endpoint-url", ENDPOINT, "--retry-count", "0", *arguments, **options)


def listed(pattern):
    """The objects that a pattern matches, as s5cmd lists them."""
    lines = s5cmd("--json", "ls", "--etag", pattern).decode().splitlines()
    return {entry["key"]: entry for entry in map(json.loads, lines)}


def tour():
    need_program("s5cmd")
    s5cmd("mb", "s3://s5cmd-tour")
    many_objects()
    large_objects()
    trees()
    s5cmd("rm", "s3://s5cmd-tour/*")
    # `ls` fails when nothing matches.
    expect_equal(s5cmd("ls", "s3://s5cmd-tour/*", check=False), b"", "objects that are left")
    s5cmd("rb", "s3://s5cmd-tour")
    assert b"s5cmd-tour" not in s5cmd("ls")


def many_objects():
    write_tree("many", [number * 7 for number in range(MANY)])
    s5cmd("cp", "many/", "s3://s5cmd-tour/many/")
    expect_equal(len(listed("s3://s5cmd-tour/many/*")), MANY, "the number of objects")
    s5cmd("cp", "s3://s5cmd-tour/many/*", "many-back/")
    expect_equal(read_tree("many-back"), read_tree("many"), "the tree that came back")
    # A file of commands, run side by side.
    commands = "".join(
        f"cp 's3://s5cmd-tour/many/plain/file +%{number}.bin' s3://s5cmd-tour/few/{number}\n" for number in range(0, 60, 3)
    )
    s5cmd("run", data=commands.encode())
    expect_equal(len(listed("s3://s5cmd-tour/few/*")), 20, "the number of copies")
    expect_equal(set(listed("s3://s5cmd-tour/few/?")), {f"s3://s5cmd-tour/few/{n}" for n in (0, 3, 6, 9)}, "a pattern")
    s5cmd("rm", "s3://s5cmd-tour/many/*")
    expect_equal(len(listed("s3://s5cmd-tour/*")) > 0, True, "objects that a pattern does not match")


def large_objects():
    data = write_file("large", content(3, 31 * MIB + 1))
    s5cmd("cp", "--part-size", "5", "--concurrency", "4", "large", "s3://s5cmd-tour/large")
    etag = listed("s3://s5cmd-tour/large")["s3://s5cmd-tour/large"]["etag"]
    assert etag.strip('"').endswith("-7"), f"not an ETag of seven parts: {etag}"
    s5cmd("cp", "--part-size", "5", "--concurrency", "4", "s3://s5cmd-tour/large", "back")
    expect_same_bytes(read_file("back"), data, "the large object")
    s5cmd("mv", "s3://s5cmd-tour/large", "s3://s5cmd-tour/moved large")
    expect_same_bytes(s5cmd("cat", "s3://s5cmd-tour/moved large"), data, "the moved object")
    s5cmd("pipe", "s3://s5cmd-tour/piped", data=data)
    expect_same_bytes(s5cmd("cat", "s3://s5cmd-tour/piped"), data, "the piped object")


def trees():
    write_tree("tree", [0, 1, 5_000, 70_000, 6 * MIB, 3])
    s5cmd("sync", "tree/", "s3://s5cmd-tour/tree/")
    expect_equal(s5cmd("sync", "--size-only", "tree/", "s3://s5cmd-tour/tree/"), b"", "a second sync")
    write_file("tree/plain/new", b"new")
    write_file("tree/plain/file +%0.bin", b"no longer empty")
    s5cmd("sync", "--delete", "--size-only", "tree/", "s3://s5cmd-tour/tree/")
    s5cmd("cp", "s3://s5cmd-tour/tree/*", "tree-back/")
    expect_equal(read_tree("tree-back"), read_tree("tree"), "the synced tree")
    size = sum(entry["size"] for entry in listed("s3://s5cmd-tour/tree/*").values())
    expect_equal(json.loads(s5cmd("--json", "du", "s3://s5cmd-tour/tree/*"))["size"], size, "the bytes counted")


if __name__ == "__main__":
    main(globals())
