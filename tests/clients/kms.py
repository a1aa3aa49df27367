"""boto3, the aws command line, the AWS Encryption SDK and the S3 Encryption Client, with Cairn as S3 and KMS."""

import base64
import json
import os

import boto3
from boto3_sweep import expect_error
from scenario import ENDPOINT, content, expect_equal, expect_same_bytes, main, need_module, run, write_file

CONTEXT = {"purpose": "test", "team": "ümlaut"}


def kms_client():
    return boto3.client("kms", endpoint_url=ENDPOINT)


def new_key(kms, **arguments):
    return kms.create_key(**arguments)["KeyMetadata"]["Arn"]


def keys():
    """A key's life as boto3 sees it: typed answers, errors and pages."""
    kms = kms_client()
    key = new_key(kms, Description="of boto3", Tags=[{"TagKey": "a", "TagValue": "b"}])
    kms.create_alias(AliasName="alias/boto3", TargetKeyId=key)
    expect_equal(kms.describe_key(KeyId="alias/boto3")["KeyMetadata"]["Arn"], key, "the alias's key")
    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    status = kms.get_key_rotation_status(KeyId=key)
    expect_equal((status["KeyRotationEnabled"], status["RotationPeriodInDays"]), (True, 90), "the rotation")
    left = status["NextRotationDate"] - kms.describe_key(KeyId=key)["KeyMetadata"]["CreationDate"]
    expect_equal(left.days, 90, "days to the next rotation")
    kms.rotate_key_on_demand(KeyId=key)
    expect_equal(len(kms.list_key_rotations(KeyId=key)["Rotations"]), 1, "rotations")
    pages = kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 1})
    expect_equal(key in [item["KeyArn"] for page in pages for item in page["Keys"]], True, "the key in the list")
    expect_error("AlreadyExistsException", kms.create_alias, AliasName="alias/boto3", TargetKeyId=key)
    expect_error("NotFoundException", kms.describe_key, KeyId="alias/none")
    deleted = kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    expect_equal(deleted["KeyState"], "PendingDeletion", "the state")
    expect_error("KMSInvalidStateException", kms.encrypt, KeyId=key, Plaintext=b"x")
    kms.cancel_key_deletion(KeyId=key)
    expect_error("DisabledException", kms.encrypt, KeyId=key, Plaintext=b"x")
    expect_error("UnsupportedOperationException", kms.get_public_key, KeyId=key)


def command_line():
    """`aws kms` as it is typed."""

    def aws(*arguments):
        return json.loads(run("aws", "--endpoint-url", ENDPOINT, "--output", "json", "kms", *arguments) or b"null")

    key = aws("create-key", "--description", "of the command line")["KeyMetadata"]["KeyId"]
    write_file("plain", b"a secret")
    context = ("--encryption-context", "where=here")
    sealed = aws("encrypt", "--key-id", key, "--plaintext", "fileb://plain", *context)["CiphertextBlob"]
    write_file("sealed", base64.b64decode(sealed))
    found = aws("decrypt", "--ciphertext-blob", "fileb://sealed", *context)
    expect_equal(found["Plaintext"], "YSBzZWNyZXQ=", "the plaintext")
    data_key = aws("generate-data-key", "--key-id", key, "--key-spec", "AES_256")
    expect_equal(sorted(data_key), ["CiphertextBlob", "KeyId", "Plaintext"], "what there is of a data key")
    policy = json.loads(aws("get-key-policy", "--key-id", key, "--policy-name", "default")["Policy"])
    expect_equal(policy["Statement"][0]["Action"], "kms:*", "the default policy")


def encryption_sdk():
    """What the AWS Encryption SDK encrypts under a key of Cairn's, kept as an object, it decrypts again and nobody else."""
    sdk = need_module("aws_encryption_sdk")
    kms, s3 = kms_client(), boto3.client("s3", endpoint_url=ENDPOINT)
    key = new_key(kms)
    s3.create_bucket(Bucket="encryption-sdk")
    provider = sdk.StrictAwsKmsMasterKeyProvider(key_ids=[key], botocore_session=session_of_endpoint())
    client = sdk.EncryptionSDKClient()
    plain = content(1, 300_000)
    sealed, _ = client.encrypt(source=plain, key_provider=provider, encryption_context=CONTEXT)
    s3.put_object(Bucket="encryption-sdk", Key="sealed", Body=sealed)
    kept = s3.get_object(Bucket="encryption-sdk", Key="sealed")["Body"].read()
    expect_equal(plain[:64] in kept, False, "the plaintext in the object")
    opened, header = client.decrypt(source=kept, key_provider=provider)
    expect_same_bytes(opened, plain, "what was encrypted")
    expect_equal(header.encryption_context["team"], CONTEXT["team"], "the context")
    other = sdk.StrictAwsKmsMasterKeyProvider(key_ids=[new_key(kms)], botocore_session=session_of_endpoint())
    try:
        client.decrypt(source=kept, key_provider=other)
    except sdk.exceptions.AWSEncryptionSDKClientError:
        pass
    else:
        raise AssertionError("another key opened it")
    kms.disable_key(KeyId=key)
    try:
        client.decrypt(source=kept, key_provider=provider)
    except sdk.exceptions.AWSEncryptionSDKClientError:
        return
    raise AssertionError("a disabled key opened it")


def session_of_endpoint():
    """A session whose clients ask Cairn, for libraries that make their clients themselves."""
    import botocore.session

    os.environ["AWS_ENDPOINT_URL"] = ENDPOINT
    return botocore.session.Session()


def s3_encryption_client():
    """The S3 Encryption Client, with Cairn as S3 and KMS: objects that only it can read, and that nobody may change."""
    s3_encryption = need_module("s3_encryption")
    keyrings = need_module("s3_encryption.materials.kms_keyring")
    kms, s3 = kms_client(), boto3.client("s3", endpoint_url=ENDPOINT)
    key = new_key(kms)
    bucket = "s3-encryption-client"
    s3.create_bucket(Bucket=bucket)
    keyring = keyrings.KmsKeyring(kms, key)
    config = s3_encryption.S3EncryptionClientConfig(keyring=keyring)
    sealing = s3_encryption.S3EncryptionClient(boto3.client("s3", endpoint_url=ENDPOINT), config)
    for name, size in [("empty", 0), ("small", 100), ("large", 6_000_000)]:
        plain = content(2, size)
        sealing.put_object(Bucket=bucket, Key=name, Body=plain, Metadata={"mine": "kept"})
        found = sealing.get_object(Bucket=bucket, Key=name)
        expect_same_bytes(found["Body"].read(), plain, f"the object {name}")
        kept = s3.get_object(Bucket=bucket, Key=name)
        sealed = kept["Body"].read()
        expect_equal(kept["Metadata"]["mine"], "kept", "the caller's metadata")
        expect_equal(len(sealed) > size, True, "the sealed object is longer")
        expect_equal(size > 0 and plain[:64] in sealed, False, "the plaintext in the object")
    changed = bytes([sealed[0] ^ 1]) + sealed[1:]
    s3.put_object(Bucket=bucket, Key="changed", Body=changed, Metadata=kept["Metadata"])
    for make_unreadable, name in [(lambda: None, "changed"), (lambda: kms.disable_key(KeyId=key), "small")]:
        make_unreadable()
        try:
            sealing.get_object(Bucket=bucket, Key=name)["Body"].read()
        except Exception as error:  # the library has errors of its own, and lets botocore's pass
            print(f"{name}: {type(error).__name__}: {error}")
        else:
            raise AssertionError(f"{name} was read")


if __name__ == "__main__":
    main(globals())
