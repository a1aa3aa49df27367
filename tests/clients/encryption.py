"""The AWS CLI, boto3 and rclone over HTTPS and with keys of theirs and of the KMS."""

import base64
import hashlib
import os
import sys

from boto3_sweep import client, expect_error
from scenario import ENDPOINT, MIB, content, expect_equal, main, need_program, run

KEY = bytes(range(32))
OTHER_KEY = bytes(range(32, 64))

# As tests/tests/tls.rs declares it.
KMS_KEY = "kms-key-of-clients"


def aws(*arguments):
    return run("aws", "--endpoint-url", ENDPOINT, *arguments)


def write(name, size):
    with open(name, "wb") as file:
        file.write(content(size, size))
    return name


def read(name):
    with open(name, "rb") as file:
        return file.read()


def aws_over_https():
    aws("s3", "mb", "s3://https")
    for size in [0, 1000, 20 * MIB]:
        aws("s3", "cp", write("up", size), "s3://https/key")
        aws("s3", "cp", "s3://https/key", "down")
        expect_equal(read("down"), content(size, size), f"{size} bytes")
    head = client().head_object(Bucket="https", Key="key")
    expect_equal(head["ServerSideEncryption"], "AES256", "encryption")


def aws_with_customer_key():
    aws("s3", "mb", "s3://https-ssec")
    with open("key", "wb") as file:
        file.write(KEY)
    with_key = ["--sse-c", "AES256", "--sse-c-key", "fileb://key"]
    for size in [1000, 20 * MIB]:
        aws("s3", "cp", write("up", size), "s3://https-ssec/key", *with_key)
        aws("s3", "cp", "s3://https-ssec/key", "down", *with_key)
        expect_equal(read("down"), content(size, size), f"{size} bytes")
    of_source = ["--sse-c-copy-source", "AES256", "--sse-c-copy-source-key", "fileb://key"]
    aws("s3", "cp", "s3://https-ssec/key", "s3://https-ssec/copy", *with_key, *of_source)
    aws("s3", "cp", "s3://https-ssec/copy", "down", *with_key)
    expect_equal(read("down"), content(20 * MIB, 20 * MIB), "the copy")


def boto3_with_customer_key():
    s3, name = client(), "boto-ssec"
    s3.create_bucket(Bucket=name)
    with_key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY}
    put = s3.put_object(Bucket=name, Key="key", Body=b"content", **with_key)
    expect_equal(put["SSECustomerKeyMD5"], base64.b64encode(hashlib.md5(KEY).digest()).decode(), "the key's MD5")
    expect_equal(s3.get_object(Bucket=name, Key="key", **with_key)["Body"].read(), b"content", "content")
    expect_equal(s3.head_object(Bucket=name, Key="key", **with_key)["ContentLength"], 7, "length")
    expect_error("InvalidRequest", s3.get_object, Bucket=name, Key="key")
    other = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": OTHER_KEY}
    expect_error("AccessDenied", s3.get_object, Bucket=name, Key="key", **other)
    copy = {"Bucket": name, "Key": "copy", "CopySource": f"{name}/key"}
    s3.copy_object(**copy, CopySourceSSECustomerAlgorithm="AES256", CopySourceSSECustomerKey=KEY, **other)
    expect_equal(s3.get_object(Bucket=name, Key="copy", **other)["Body"].read(), b"content", "the copy")
    blocked = {"Rules": [{"BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]}}]}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration=blocked)
    expect_error("AccessDenied", s3.put_object, Bucket=name, Key="new", Body=b"x", **with_key)
    s3.delete_bucket_encryption(Bucket=name)
    rules = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    expect_equal(rules[0]["ApplyServerSideEncryptionByDefault"], {"SSEAlgorithm": "AES256"}, "the default")


def aws_with_kms_key():
    aws("s3", "mb", "s3://kms-cli")
    for size in [1000, 20 * MIB]:
        aws("s3", "cp", write("up", size), "s3://kms-cli/key", "--sse", "aws:kms", "--sse-kms-key-id", KMS_KEY)
        aws("s3", "cp", "s3://kms-cli/key", "down")
        expect_equal(read("down"), content(size, size), f"{size} bytes")
    copy = ["--bucket", "kms-cli", "--key", "copy", "--copy-source", "kms-cli/key"]
    twice = ["--server-side-encryption", "aws:kms:dsse", "--ssekms-key-id", KMS_KEY]
    aws("s3api", "copy-object", *copy, *twice)
    head = client().head_object(Bucket="kms-cli", Key="copy")
    expect_equal((head["ServerSideEncryption"], head["SSEKMSKeyId"]), ("aws:kms:dsse", KMS_KEY), "the copy")


def boto3_with_kms_key():
    s3, name = client(), "kms-boto"
    s3.create_bucket(Bucket=name)
    by_default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KMS_KEY}
    rule = {"ApplyServerSideEncryptionByDefault": by_default, "BucketKeyEnabled": True}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    rules = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    expect_equal(rules, [rule], "the configuration")
    put = s3.put_object(Bucket=name, Key="key", Body=b"content")
    expect_equal((put["ServerSideEncryption"], put["BucketKeyEnabled"]), ("aws:kms", True), "the answer")
    context = base64.b64encode(b'{"project":"cairn"}').decode()
    put = s3.put_object(
        Bucket=name, Key="key", Body=b"content", ServerSideEncryption="aws:kms", SSEKMSEncryptionContext=context
    )
    expect_equal(put["SSEKMSEncryptionContext"], context, "the encryption context")
    own = put["SSEKMSKeyId"]
    if not own.startswith("arn:aws:kms:"):
        sys.exit(f"the account's key is shown as {own}")
    got = s3.get_object(Bucket=name, Key="key")
    expect_equal((got["Body"].read(), got["SSEKMSKeyId"]), (b"content", own), "the object")
    absent = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "absent"}
    expect_error("KMS.NotFoundException", s3.put_object, Bucket=name, Key="new", Body=b"x", **absent)
    if hasattr(s3, "update_object_encryption"):
        s3.put_object(Bucket=name, Key="server", Body=b"content", ServerSideEncryption="AES256")
        to = {"SSEKMS": {"KMSKeyArn": own, "BucketKeyEnabled": True}}
        s3.update_object_encryption(Bucket=name, Key="server", ObjectEncryption=to)
        got = s3.get_object(Bucket=name, Key="server")
        expect_equal((got["Body"].read(), got["SSEKMSKeyId"]), (b"content", own), "the key that was exchanged")


def rclone_remote(**encryption):
    need_program("rclone")
    remote = {
        "TYPE": "s3",
        "PROVIDER": "Other",
        "ENDPOINT": ENDPOINT,
        "ENV_AUTH": "true",
        "REGION": "us-east-1",
        "UPLOAD_CUTOFF": "8Mi",
        "CHUNK_SIZE": "5Mi",
        **encryption,
    }
    os.environ.update({f"RCLONE_CONFIG_SEALED_{name}": value for name, value in remote.items()})
    # rclone has its own way to be told, and fails if it is told in AWS's as well.
    authority = os.environ["AWS_CA_BUNDLE"]
    return ["env", "-u", "AWS_CA_BUNDLE", "rclone", "--ca-cert", authority]


def rclone_tree(rclone, bucket):
    os.mkdir("up")
    for size in [10, MIB, 20 * MIB]:
        write(os.path.join("up", str(size)), size)
    run(*rclone, "mkdir", f"sealed:{bucket}")
    run(*rclone, "copy", "up", f"sealed:{bucket}/tree")
    run(*rclone, "check", "--download", "up", f"sealed:{bucket}/tree")


def rclone_with_kms_key():
    rclone_tree(rclone_remote(SERVER_SIDE_ENCRYPTION="aws:kms", SSE_KMS_KEY_ID=KMS_KEY), "rclone-kms")
    for size in [10, 20 * MIB]:
        head = client().head_object(Bucket="rclone-kms", Key=f"tree/{size}")
        expect_equal(head["SSEKMSKeyId"], KMS_KEY, f"the key of {size} bytes")


def rclone_with_customer_key():
    key = base64.b64encode(KEY).decode()
    rclone_tree(rclone_remote(SSE_CUSTOMER_ALGORITHM="AES256", SSE_CUSTOMER_KEY_BASE64=key), "rclone-ssec")
    expect_error("InvalidRequest", client().get_object, Bucket="rclone-ssec", Key="tree/10")


if __name__ == "__main__":
    main(globals())
