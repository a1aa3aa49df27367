"""The aws command line and boto3, over STS: who one is, and temporary credentials."""

import json

import boto3
from scenario import ENDPOINT, expect_equal, main, run

ACCOUNT = "100000000001"


def aws(*arguments):
    """An `aws` command's answer."""
    return json.loads(run("aws", "--endpoint-url", ENDPOINT, "--output", "json", *arguments) or b"null")


def caller_identity():
    expected = {"UserId": ACCOUNT, "Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:root"}
    expect_equal(aws("sts", "get-caller-identity"), expected, "the caller as the command line sees it")
    sts = boto3.client("sts", endpoint_url=ENDPOINT)
    found = sts.get_caller_identity()
    expect_equal({name: found[name] for name in expected}, expected, "the caller as boto3 sees it")
    request_id = found["ResponseMetadata"]["RequestId"]
    expect_equal(found["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"], request_id, "the request's id")


if __name__ == "__main__":
    main(globals())
