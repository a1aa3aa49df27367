"""minio-py, over what it calls on buckets and objects."""

import io
import os
import urllib.request
from datetime import timedelta

from scenario import (
    ENDPOINT,
    MIB,
    content,
    expect_equal,
    expect_same_bytes,
    main,
    need_module,
    read_file,
    write_file,
)

minio = need_module("minio")
commonconfig = need_module("minio.commonconfig")
deleteobjects = need_module("minio.deleteobjects")

BUCKET = "minio-sdk"


def tour():
    client = minio.Minio(
        endpoint=ENDPOINT.removeprefix("http://"),
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        secure=False,
    )
    expect_equal(client.bucket_exists(bucket_name=BUCKET), False, "the bucket exists")
    client.make_bucket(bucket_name=BUCKET)
    expect_equal(client.bucket_exists(bucket_name=BUCKET), True, "the bucket exists")
    assert BUCKET in [bucket.name for bucket in client.list_buckets()]
    small_objects(client)
    large_objects(client)
    links(client)
    listings(client)
    client.remove_bucket(bucket_name=BUCKET)
    expect_equal(client.bucket_exists(bucket_name=BUCKET), False, "the bucket exists")


def put(client, key, data, **options):
    return client.put_object(bucket_name=BUCKET, object_name=key, data=io.BytesIO(data), length=len(data), **options)


def get(client, key, **options):
    answer = client.get_object(bucket_name=BUCKET, object_name=key, **options)
    try:
        return answer.read()
    finally:
        answer.close()
        answer.release_conn()


def small_objects(client):
    for size in [0, 1, 40_000]:
        data = content(size, size)
        put(client, f"small/{size} +ü", data, metadata={"colour": "green"}, content_type="text/x-test")
        expect_same_bytes(get(client, f"small/{size} +ü"), data, f"the object of {size} bytes")
    told = client.stat_object(bucket_name=BUCKET, object_name="small/40000 +ü")
    expect_equal(
        (told.size, told.content_type, told.metadata["x-amz-meta-colour"]), (40_000, "text/x-test", "green"), "stat"
    )
    expect_same_bytes(
        get(client, "small/40000 +ü", offset=1_000, length=20), content(40_000, 40_000)[1_000:1_020], "a range"
    )
    source = commonconfig.CopySource(bucket_name=BUCKET, object_name="small/40000 +ü")
    client.copy_object(bucket_name=BUCKET, object_name="copy", source=source)
    expect_same_bytes(get(client, "copy"), content(40_000, 40_000), "the copy")
    client.remove_object(bucket_name=BUCKET, object_name="copy")
    try:
        client.stat_object(bucket_name=BUCKET, object_name="copy")
    except minio.error.S3Error as error:
        expect_equal(error.code, "NoSuchKey", "the error of what was removed")
    else:
        raise AssertionError("what was removed is there")


def large_objects(client):
    data = write_file("large", content(7, 17 * MIB + 9))
    # The length is not known beforehand: all parts but the last have the size given.
    client.put_object(
        bucket_name=BUCKET, object_name="streamed", data=io.BytesIO(data), length=-1, part_size=5 * MIB
    )
    client.fput_object(bucket_name=BUCKET, object_name="from a file", file_path="large", part_size=5 * MIB)
    for key in ["streamed", "from a file"]:
        told = client.stat_object(bucket_name=BUCKET, object_name=key)
        expect_equal((told.size, told.etag[-2:]), (len(data), "-4"), f"size and parts of {key}")
        client.fget_object(bucket_name=BUCKET, object_name=key, file_path="back")
        expect_same_bytes(read_file("back"), data, key)
    # Composed by the server of pieces of others.
    sources = [
        commonconfig.ComposeSource(bucket_name=BUCKET, object_name="streamed"),
        commonconfig.ComposeSource(bucket_name=BUCKET, object_name="from a file", offset=3, length=6 * MIB),
    ]
    client.compose_object(bucket_name=BUCKET, object_name="composed", sources=sources)
    expect_same_bytes(get(client, "composed"), data + data[3 : 3 + 6 * MIB], "the composed object")


def links(client):
    data = content(8, 10_000)
    link = client.presigned_put_object(bucket_name=BUCKET, object_name="linked", expires=timedelta(minutes=5))
    with urllib.request.urlopen(urllib.request.Request(link, data=data, method="PUT")) as answer:
        expect_equal(answer.status, 200, "the status of a PUT by link")
    link = client.presigned_get_object(bucket_name=BUCKET, object_name="linked", expires=timedelta(minutes=5))
    with urllib.request.urlopen(link) as answer:
        expect_same_bytes(answer.read(), data, "the object behind the link")


def listings(client):
    for number in range(25):
        put(client, f"many/{number:02}", b"x")
    listed = client.list_objects(bucket_name=BUCKET, prefix="many/", recursive=True, start_after="many/04")
    expect_equal([entry.object_name for entry in listed], [f"many/{n:02}" for n in range(5, 25)], "keys after one")
    shallow = client.list_objects(bucket_name=BUCKET)
    expect_equal(
        sorted((entry.object_name, entry.is_dir) for entry in shallow),
        [
            ("composed", False),
            ("from a file", False),
            ("linked", False),
            ("many/", True),
            ("small/", True),
            ("streamed", False),
        ],
        "a shallow listing",
    )
    everything = [entry.object_name for entry in client.list_objects(bucket_name=BUCKET, recursive=True)]
    assert "small/40000 +ü" in everything, everything
    removals = [deleteobjects.DeleteObject(name) for name in everything]
    expect_equal(list(client.remove_objects(bucket_name=BUCKET, delete_object_list=removals)), [], "errors of removals")
    expect_equal(list(client.list_objects(bucket_name=BUCKET, recursive=True)), [], "what is left")


if __name__ == "__main__":
    main(globals())
