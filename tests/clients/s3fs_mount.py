"""s3fs: a bucket mounted as a file system, where the machine permits it."""

import os
import subprocess
import time

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
    skip,
    write_file,
    write_tree,
)

BUCKET = "s3fs-mount"
MOUNT_SECONDS_MAX = 30


class Mounted:
    """A mount that lasts as long as its block; each one begins without any cache."""

    def __enter__(self):
        os.makedirs("mnt", exist_ok=True)
        options = f"url={ENDPOINT},use_path_request_style,passwd_file=passwd,multipart_size=5,retries=1,dbglevel=warn"
        with open("s3fs.log", "ab") as log:
            self.process = subprocess.Popen(["s3fs", BUCKET, "mnt", "-f", "-o", options], stdout=log, stderr=log)
        deadline = time.monotonic() + MOUNT_SECONDS_MAX
        while not os.path.ismount("mnt"):
            ended = self.process.poll() is not None
            told = read_file("s3fs.log").decode()
            if ended and ("ermission denied" in told or "not permitted" in told) and "fuse" in told:
                skip(f"FUSE is not permitted: {told.strip().splitlines()[-1]}")
            if ended or time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError(f"s3fs does not mount: {told}")
            time.sleep(0.05)

    def __exit__(self, *_):
        run("fusermount", "-u", "mnt", check=False)
        try:
            self.process.wait(MOUNT_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            run("fusermount", "-uz", "mnt", check=False)
            self.process.kill()
            raise


def mount_and_use():
    need_program("s3fs")
    need_program("fusermount")
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        skip(f"FUSE is not permitted: {error}")
    s3 = boto3.client("s3", endpoint_url=ENDPOINT)
    s3.create_bucket(Bucket=BUCKET)
    credentials = f"{os.environ['AWS_ACCESS_KEY_ID']}:{os.environ['AWS_SECRET_ACCESS_KEY']}"
    write_file("passwd", credentials.encode())
    os.chmod("passwd", 0o600)

    large = content(5, 23 * MIB + 1)
    with Mounted():
        write_tree("mnt/tree", [0, 1, 5_000, 70_000, 200_000, 3])
        write_file("mnt/large", large)
        write_file("mnt/old name", b"renamed")
        os.rename("mnt/old name", "mnt/new name")
        os.rename("mnt/large", "mnt/large too")
        os.chmod("mnt/new name", 0o640)
        with open("mnt/new name", "ab") as file:
            file.write(b" and appended to")
        write_file("mnt/gone", b"x")
        os.remove("mnt/gone")
        os.mkdir("mnt/empty")
    write_tree("tree", [0, 1, 5_000, 70_000, 200_000, 3])
    with Mounted():
        expect_equal(sorted(os.listdir("mnt")), ["empty", "large too", "new name", "tree"], "the folder")
        expect_equal(read_tree("mnt/tree"), read_tree("tree"), "the tree")
        expect_same_bytes(read_file("mnt/large too"), large, "the large file")
        expect_equal(read_file("mnt/new name"), b"renamed and appended to", "the renamed file")
        expect_equal(os.stat("mnt/new name").st_mode & 0o777, 0o640, "the mode")
        with open("mnt/large too", "r+b") as file:
            file.seek(11 * MIB)
            file.write(b"in the middle")
        os.rmdir("mnt/empty")

    expected = large[: 11 * MIB] + b"in the middle" + large[11 * MIB + 13 :]
    stored = s3.get_object(Bucket=BUCKET, Key="large too")
    expect_same_bytes(stored["Body"].read(), expected, "the object of the changed file")
    assert "-" in stored["ETag"], "the large file was not uploaded in parts"
    keys = {entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    expect_equal(
        {key for key in keys if not key.endswith("/")},
        {"large too", "new name"} | {f"tree/{path}" for path in read_tree("tree")},
        "the keys",
    )


if __name__ == "__main__":
    main(globals())
