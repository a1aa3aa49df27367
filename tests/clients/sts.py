"""The aws command line and boto3, over STS: who one is, and temporary credentials."""

import datetime
import json
import os

import boto3
from boto3_sweep import expect_error
from scenario import ENDPOINT, expect_equal, main, run

ACCOUNT = "100000000001"


def aws(*arguments, **environment):
    """An `aws` command's answer."""
    saved = dict(os.environ)
    os.environ.update(environment)
    try:
        return json.loads(run("aws", "--endpoint-url", ENDPOINT, "--output", "json", *arguments) or b"null")
    finally:
        os.environ.clear()
        os.environ.update(saved)


def caller_identity():
    expected = {"UserId": ACCOUNT, "Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:root"}
    expect_equal(aws("sts", "get-caller-identity"), expected, "the caller as the command line sees it")
    sts = boto3.client("sts", endpoint_url=ENDPOINT)
    found = sts.get_caller_identity()
    expect_equal({name: found[name] for name in expected}, expected, "the caller as boto3 sees it")
    request_id = found["ResponseMetadata"]["RequestId"]
    expect_equal(found["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"], request_id, "the request's id")


def in_session(credentials, service="s3"):
    """A client with temporary credentials."""
    return boto3.client(
        service,
        endpoint_url=ENDPOINT,
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )


def session_token():
    """A session of GetSessionToken signs requests of boto3, its URLs, and those of the command line."""
    sts = boto3.client("sts", endpoint_url=ENDPOINT)
    credentials = sts.get_session_token(DurationSeconds=900)["Credentials"]
    left = credentials["Expiration"] - datetime.datetime.now(datetime.timezone.utc)
    expect_equal(800 < left.total_seconds() <= 900, True, "the time left")
    s3 = in_session(credentials)
    s3.create_bucket(Bucket="sts-session")
    s3.put_object(Bucket="sts-session", Key="key", Body=b"body")
    expect_equal(s3.get_object(Bucket="sts-session", Key="key")["Body"].read(), b"body", "the object")
    for version in ["s3", "s3v4"]:
        config = boto3.session.Config(signature_version=version)
        signer = boto3.client(
            "s3",
            endpoint_url=ENDPOINT,
            config=config,
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials["SessionToken"],
        )
        url = signer.generate_presigned_url("get_object", {"Bucket": "sts-session", "Key": "key"}, ExpiresIn=60)
        expect_equal(run("curl", "-sS", "--fail-with-body", url), b"body", f"what the {version} URL gives")
    environment = {
        "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
        "AWS_SESSION_TOKEN": credentials["SessionToken"],
    }
    listed = aws("s3api", "list-objects-v2", "--bucket", "sts-session", **environment)
    expect_equal([entry["Key"] for entry in listed["Contents"]], ["key"], "what the command line lists")
    forged = dict(credentials, SessionToken=credentials["SessionToken"][:-2] + "AA")
    expect_error("InvalidToken", in_session(forged).list_buckets)


if __name__ == "__main__":
    main(globals())
