"""boto3, over all that it calls on objects."""

import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError
from scenario import ENDPOINT, MIB, content, expect_equal, main


def client(**options):
    config = Config(signature_version="s3v4", s3={"addressing_style": "path"}, **options)
    return boto3.client("s3", endpoint_url=ENDPOINT, config=config)


def bucket(name):
    client().create_bucket(Bucket=name)
    return client(), name


def expect_error(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        expect_equal(error.response["Error"]["Code"], code, f"error of {arguments}")
    else:
        raise AssertionError(f"{arguments} did not fail with {code}")


def put_get_head_range():
    s3, name = bucket("boto-objects")
    for size in [0, 1, 40_000, 3 * MIB]:
        data = content(size, size)
        etag = s3.put_object(Bucket=name, Key="key", Body=data)["ETag"]
        got = s3.get_object(Bucket=name, Key="key")
        expect_equal(got["Body"].read() == data, True, "bytes")
        head = s3.head_object(Bucket=name, Key="key")
        expect_equal((head["ETag"], head["ContentLength"]), (etag, size), "head")
    part = s3.get_object(Bucket=name, Key="key", Range="bytes=65530-65545")
    expect_equal(part["Body"].read(), data[65530:65546], "range")
    expect_equal(part["ResponseMetadata"]["HTTPStatusCode"], 206, "status")


def copy():
    s3, name = bucket("boto-copy")
    s3.put_object(Bucket=name, Key="a +ü", Body=b"content", Metadata={"one": "1"})
    s3.copy_object(Bucket=name, Key="b", CopySource={"Bucket": name, "Key": "a +ü"})
    expect_equal(s3.head_object(Bucket=name, Key="b")["Metadata"], {"one": "1"}, "copied metadata")
    s3.copy_object(
        Bucket=name, Key="b", CopySource={"Bucket": name, "Key": "b"}, MetadataDirective="REPLACE", Metadata={"two": "2"}
    )
    expect_equal(s3.head_object(Bucket=name, Key="b")["Metadata"], {"two": "2"}, "replaced metadata")


def delete_objects():
    s3, name = bucket("boto-delete")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: s3.put_object(Bucket=name, Key=f"k{n}", Body=b"x"), range(40)))
    keys = [{"Key": f"k{number}"} for number in range(39)]
    deleted = s3.delete_objects(Bucket=name, Delete={"Objects": keys})
    expect_equal(len(deleted["Deleted"]), 39, "deleted")
    left = s3.list_objects_v2(Bucket=name)
    expect_equal([entry["Key"] for entry in left["Contents"]], ["k39"], "left")


def multipart():
    s3, name = bucket("boto-multipart")
    data = content(4, 18 * MIB + 5)
    with open("large", "wb") as file:
        file.write(data)
    transfer = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
    s3.upload_file("large", name, "key", Config=transfer)
    assert s3.head_object(Bucket=name, Key="key")["ETag"].endswith('-4"')
    s3.download_file(name, "key", "back", Config=transfer)
    with open("back", "rb") as file:
        expect_equal(file.read() == data, True, "bytes")
    upload = s3.create_multipart_upload(Bucket=name, Key="copied")["UploadId"]
    part = s3.upload_part_copy(
        Bucket=name, Key="copied", UploadId=upload, PartNumber=1, CopySource=f"{name}/key", CopySourceRange="bytes=0-99"
    )["CopyPartResult"]
    expect_equal(len(s3.list_parts(Bucket=name, Key="copied", UploadId=upload)["Parts"]), 1, "parts")
    expect_equal(len(s3.list_multipart_uploads(Bucket=name)["Uploads"]), 1, "uploads")
    s3.complete_multipart_upload(
        Bucket=name, Key="copied", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    expect_equal(s3.get_object(Bucket=name, Key="copied")["Body"].read(), data[:100], "copied part")
    aborted = s3.create_multipart_upload(Bucket=name, Key="aborted")["UploadId"]
    s3.abort_multipart_upload(Bucket=name, Key="aborted", UploadId=aborted)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=name)


def paginate():
    s3, name = bucket("boto-pages")
    keys = sorted(f"{folder}/key {number}" for folder in "abc" for number in range(10))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=name, Key=key, Body=b"x"), keys))
    for operation in ["list_objects_v2", "list_objects"]:
        pages = s3.get_paginator(operation).paginate(Bucket=name, PaginationConfig={"PageSize": 7})
        expect_equal([entry["Key"] for page in pages for entry in page["Contents"]], keys, operation)
        pages = s3.get_paginator(operation).paginate(Bucket=name, Delimiter="/", PaginationConfig={"PageSize": 2})
        folders = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])]
        expect_equal(folders, ["a/", "b/", "c/"], f"{operation} with a delimiter")


def presigned():
    s3, name = bucket("boto-presigned")
    put = s3.generate_presigned_url("put_object", Params={"Bucket": name, "Key": "a b"}, ExpiresIn=60)
    urllib.request.urlopen(urllib.request.Request(put, data=b"by url", method="PUT")).read()
    get = s3.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "a b"}, ExpiresIn=60)
    expect_equal(urllib.request.urlopen(get).read(), b"by url", "the object")
    try:
        urllib.request.urlopen(get.replace("a%20b", "other"))
        raise AssertionError("a changed URL passed")
    except urllib.error.HTTPError as error:
        expect_equal(error.code, 403, "a changed URL")


def presigned_v2():
    s3, name = bucket("boto-presigned-v2")
    # Version 2 is what boto3 presigns with in us-east-1 unless it is told otherwise.
    config = Config(s3={"addressing_style": "path"})
    presigner = boto3.client("s3", endpoint_url=ENDPOINT, config=config, region_name="us-east-1")
    params = {"Bucket": name, "Key": "a b/ü+"}
    put = presigner.generate_presigned_url("put_object", Params={**params, "ContentType": "text/x"}, ExpiresIn=60)
    assert "AWSAccessKeyId=" in put, put
    request = urllib.request.Request(put, data=b"by url", method="PUT", headers={"Content-Type": "text/x"})
    urllib.request.urlopen(request).read()
    get = presigner.generate_presigned_url(
        "get_object", Params={**params, "ResponseContentDisposition": 'attachment; filename="a b"'}, ExpiresIn=60
    )
    with urllib.request.urlopen(get) as answer:
        expect_equal(answer.read(), b"by url", "the object")
        expect_equal(answer.headers["Content-Disposition"], 'attachment; filename="a b"', "disposition")
    head = presigner.generate_presigned_url("head_object", Params=params, ExpiresIn=60)
    urllib.request.urlopen(urllib.request.Request(head, method="HEAD")).read()
    for changed in [get.replace("a%20b/", "other/"), get + "&versionId=null", get + "&attributes", get + "&x=y"]:
        try:
            urllib.request.urlopen(changed)
            raise AssertionError(f"a changed URL passed: {changed}")
        except urllib.error.HTTPError as error:
            assert error.code in (403, 501), error.code
    delete = presigner.generate_presigned_url("delete_object", Params=params, ExpiresIn=60)
    urllib.request.urlopen(urllib.request.Request(delete, method="DELETE")).read()
    expect_error("NoSuchKey", s3.get_object, **params)


def checksums():
    s3, name = bucket("boto-checksums")
    data = content(5, 6 * MIB)
    transfer = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    with open("data", "wb") as file:
        file.write(data)
    for algorithm in ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256", "SHA512", "XXHASH64", "XXHASH3", "XXHASH128"]:
        for body in [data, b"small"]:
            put = s3.put_object(Bucket=name, Key=algorithm, Body=body, ChecksumAlgorithm=algorithm)
            got = s3.get_object(Bucket=name, Key=algorithm, ChecksumMode="ENABLED")
            expect_equal(got["Body"].read() == body, True, "bytes")
            expect_equal(got[f"Checksum{algorithm}"], put[f"Checksum{algorithm}"], algorithm)
        # An open file is sent in signed or unsigned chunks with the checksum behind them.
        with open("data", "rb") as file:
            s3.put_object(Bucket=name, Key="streamed", Body=file, ChecksumAlgorithm=algorithm)
        s3.upload_file("data", name, "parts", Config=transfer, ExtraArgs={"ChecksumAlgorithm": algorithm})
        for key in ["streamed", "parts"]:
            got = s3.get_object(Bucket=name, Key=key, ChecksumMode="ENABLED")
            expect_equal(got["Body"].read() == data, True, f"bytes of {key} with {algorithm}")
    expect_error("BadDigest", s3.put_object, Bucket=name, Key="bad", Body=b"x", ChecksumCRC32="AAAAAA==")


def object_attributes():
    s3, name = bucket("boto-attributes")
    names = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    put = s3.put_object(Bucket=name, Key="small", Body=b"small", ChecksumAlgorithm="SHA256")
    small = s3.get_object_attributes(Bucket=name, Key="small", ObjectAttributes=names)
    expect_equal((small["ETag"], small["ObjectSize"]), (put["ETag"].strip('"'), 5), "ETag and size")
    expect_equal(small["Checksum"]["ChecksumSHA256"], put["ChecksumSHA256"], "checksum")
    expect_equal((small["StorageClass"], "ObjectParts" in small), ("STANDARD", False), "class and parts")
    with open("data", "wb") as file:
        file.write(content(6, 12 * MIB))
    transfer = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    s3.upload_file("data", name, "large", Config=transfer, ExtraArgs={"ChecksumAlgorithm": "SHA256"})
    marker, sizes = 0, []
    while True:
        page = s3.get_object_attributes(
            Bucket=name, Key="large", ObjectAttributes=["ObjectParts"], MaxParts=2, PartNumberMarker=marker
        )["ObjectParts"]
        expect_equal(page["TotalPartsCount"], 3, "parts")
        sizes += [(part["PartNumber"], part["Size"], len(part["ChecksumSHA256"])) for part in page["Parts"]]
        if not page["IsTruncated"]:
            break
        marker = page["NextPartNumberMarker"]
    expect_equal(sizes, [(1, 5 * MIB, 44), (2, 5 * MIB, 44), (3, 2 * MIB, 44)], "parts in pages")
    expect_error("NoSuchKey", s3.get_object_attributes, Bucket=name, Key="missing", ObjectAttributes=names)


def conditional_deletes():
    s3, name = bucket("boto-conditional-deletes")
    for key in ["a", "b", "c", "d"]:
        etag = s3.put_object(Bucket=name, Key=key, Body=b"12345")["ETag"]
    modified = s3.head_object(Bucket=name, Key="a")["LastModified"]
    expect_error("PreconditionFailed", s3.delete_object, Bucket=name, Key="a", IfMatchSize=4)
    s3.delete_object(Bucket=name, Key="a", IfMatch=etag, IfMatchSize=5, IfMatchLastModifiedTime=modified)
    keys = [{"Key": "b", "Size": 5, "ETag": etag}, {"Key": "c", "Size": 4}, {"Key": "d", "LastModifiedTime": 0}]
    reply = s3.delete_objects(Bucket=name, Delete={"Objects": keys})
    expect_equal([entry["Key"] for entry in reply["Deleted"]], ["b"], "deleted")
    expect_equal([(entry["Key"], entry["Code"]) for entry in reply["Errors"]],
                 [("c", "PreconditionFailed"), ("d", "PreconditionFailed")], "kept")


def metadata():
    s3, name = bucket("boto-metadata")
    sent = {
        "CacheControl": "no-store",
        "ContentDisposition": "attachment",
        "ContentEncoding": "gzip",
        "ContentLanguage": "de",
        "ContentType": "text/plain",
        "Metadata": {"colour": "blue", "empty": ""},
        "StorageClass": "STANDARD_IA",
    }
    s3.put_object(Bucket=name, Key="key", Body=b"x", **sent)
    head = s3.head_object(Bucket=name, Key="key")
    expect_equal({field: head.get(field) for field in sent}, sent, "metadata")


def errors():
    s3, name = bucket("boto-errors")
    expect_error("NoSuchKey", s3.get_object, Bucket=name, Key="missing")
    expect_error("404", s3.head_object, Bucket=name, Key="missing")
    expect_error("NoSuchBucket", s3.list_objects_v2, Bucket="boto-no-such-bucket")
    expect_error("NoSuchUpload", s3.list_parts, Bucket=name, Key="key", UploadId="nonsense")
    s3.put_object(Bucket=name, Key="key", Body=b"x")
    expect_error("BucketNotEmpty", s3.delete_bucket, Bucket=name)
    expect_error("InvalidRange", s3.get_object, Bucket=name, Key="key", Range="bytes=5-")


def conditional_writes():
    s3, name = bucket("boto-conditional")
    etag = s3.put_object(Bucket=name, Key="key", Body=b"1", IfNoneMatch="*")["ETag"]
    expect_error("PreconditionFailed", s3.put_object, Bucket=name, Key="key", Body=b"2", IfNoneMatch="*")
    s3.put_object(Bucket=name, Key="key", Body=b"2", IfMatch=etag)
    expect_error("PreconditionFailed", s3.put_object, Bucket=name, Key="key", Body=b"3", IfMatch=etag)
    expect_error("304", s3.get_object, Bucket=name, Key="key", IfNoneMatch=s3.head_object(Bucket=name, Key="key")["ETag"])


if __name__ == "__main__":
    main(globals())
