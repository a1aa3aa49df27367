"""boto3, over bucket policies and public access blocks of buckets and accounts."""

import json
import os
import socket

import boto3
from boto3_acl import other, stranger
from boto3_sweep import client, expect_error
from scenario import ENDPOINT, expect_equal, main

ALL = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}


def policy(name, principal, action, effect="Allow", **more):
    arn = f"arn:aws:s3:::{name}"
    statement = {"Effect": effect, "Principal": principal, "Action": action, "Resource": [arn, f"{arn}/*"], **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def read(who, name):
    return who.get_object(Bucket=name, Key="key")["Body"].read()


def policies():
    s3, name = client(), "boto-policies"
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="key", Body=b"content")
    expect_error("NoSuchBucketPolicy", s3.get_bucket_policy, Bucket=name)
    expect_error("MalformedPolicy", s3.put_bucket_policy, Bucket=name, Policy="{}")
    account = boto3.client("sts", endpoint_url=ENDPOINT).get_caller_identity()["Account"]
    public = policy(name, "*", "s3:GetObject")
    s3.put_bucket_policy(Bucket=name, Policy=public, ExpectedBucketOwner=account)
    expect_equal(s3.get_bucket_policy(Bucket=name)["Policy"], public, "policy")
    expect_equal(s3.get_bucket_policy_status(Bucket=name)["PolicyStatus"], {"IsPublic": True}, "status")
    expect_equal(read(stranger(), name), b"content", "by a stranger")
    expect_error("AccessDenied", stranger().list_objects_v2, Bucket=name)
    encrypted = policy(
        name, "*", "s3:PutObject", "Deny", Condition={"Null": {"s3:x-amz-server-side-encryption": "true"}}
    )
    s3.put_bucket_policy(Bucket=name, Policy=encrypted)
    expect_error("AccessDenied", s3.put_object, Bucket=name, Key="plain", Body=b"x")
    expect_error("AccessDenied", stranger().get_object, Bucket=name, Key="key")
    keys = os.environ["OTHER_ACCESS_KEY_ID"], os.environ["OTHER_SECRET_ACCESS_KEY"]
    sts = boto3.client("sts", endpoint_url=ENDPOINT, aws_access_key_id=keys[0], aws_secret_access_key=keys[1])
    their_account = sts.get_caller_identity()["Account"]
    s3.put_bucket_policy(Bucket=name, Policy=policy(name, {"AWS": their_account}, ["s3:GetObject", "s3:ListBucket"]))
    expect_equal(read(other(), name), b"content", "by another account")
    expect_equal(other().list_objects_v2(Bucket=name)["KeyCount"], 1, "keys")
    s3.delete_bucket_policy(Bucket=name)
    expect_error("AccessDenied", other().get_object, Bucket=name, Key="key")


def access_blocks():
    s3, name = client(), "boto-blocks"
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="key", Body=b"content")
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=ALL)
    expect_equal(s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"], ALL, "block")
    public = policy(name, "*", "s3:GetObject")
    expect_error("AccessDenied", s3.put_bucket_policy, Bucket=name, Policy=public)
    s3.delete_public_access_block(Bucket=name)
    expect_error("NoSuchPublicAccessBlockConfiguration", s3.get_public_access_block, Bucket=name)
    s3.put_bucket_policy(Bucket=name, Policy=public)
    expect_equal(read(stranger(), name), b"content", "by a stranger")
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration={"RestrictPublicBuckets": True})
    expect_error("AccessDenied", stranger().get_object, Bucket=name, Key="key")


def account_block():
    # The client puts the account's number in front of the host's name, which no resolver here knows.
    resolve = socket.getaddrinfo
    socket.getaddrinfo = lambda host, *rest, **more: resolve(host.rpartition("localhost")[1] or host, *rest, **more)
    endpoint = ENDPOINT.replace("127.0.0.1", "localhost")
    control = boto3.client("s3control", endpoint_url=endpoint)
    account = boto3.client("sts", endpoint_url=ENDPOINT).get_caller_identity()["Account"]
    missing = "NoSuchPublicAccessBlockConfiguration"
    expect_error(missing, control.get_public_access_block, AccountId=account)
    # Only what is already so is blocked: other scenarios use the same account.
    switches = dict.fromkeys(ALL, False)
    control.put_public_access_block(AccountId=account, PublicAccessBlockConfiguration=switches)
    shown = control.get_public_access_block(AccountId=account)["PublicAccessBlockConfiguration"]
    expect_equal(shown, switches, "block")
    control.delete_public_access_block(AccountId=account)
    expect_error(missing, control.get_public_access_block, AccountId=account)
    expect_error("AccessDenied", control.get_public_access_block, AccountId="999999999999")


if __name__ == "__main__":
    main(globals())
