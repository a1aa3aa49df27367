"""A restic repository: initialised, filled twice, checked with all of its data, and restored."""

import os

from scenario import ENDPOINT, MIB, content, expect_equal, main, need_program, read_tree, run, write_tree


def restic(*arguments):
    os.environ["RESTIC_PASSWORD"] = "a password for a test"
    return run("restic", "--no-cache", "--repo", f"s3:{ENDPOINT}/restic-repository", *arguments)


def backup_and_restore():
    need_program("restic")
    write_tree("source", [0, 100, 50_000, 3 * MIB, 12 * MIB, 7, 700_000])
    restic("init")
    restic("backup", "source")
    with open("source/added", "wb") as file:
        file.write(content(99, 2 * MIB))
    restic("backup", "source")
    restic("check", "--read-data")
    restic("restore", "latest", "--target", "restored")
    expect_equal(read_tree("restored/source"), read_tree("source"), "the restored tree")
    restic("forget", "--keep-last", "1", "--prune")
    restic("check", "--read-data")


if __name__ == "__main__":
    main(globals())
