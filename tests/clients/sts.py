"""The aws command line and boto3, over STS: who one is, and temporary credentials."""

import datetime
import json
import os

import boto3
from boto3_sweep import expect_error
from botocore.credentials import RefreshableCredentials
from botocore.session import get_session
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


def presigned_identity():
    """A URL that proves who made it, as clusters of Kubernetes take it for a token."""
    sts = boto3.client("sts", endpoint_url=ENDPOINT)
    url = sts.generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    told = json.loads(run("curl", "-sS", "--fail-with-body", "-H", "Accept: application/json", url))
    result = told["GetCallerIdentityResponse"]["GetCallerIdentityResult"]
    expect_equal(result["Arn"], f"arn:aws:iam::{ACCOUNT}:root", "who made the URL")


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


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(actions, resource="*", **more):
    return {"Effect": "Allow", "Action": actions, "Resource": resource, **more}


def role_and_user(name):
    """A role that reads and writes, the keys of a user who may do nothing but assume it, and the role's ARN."""
    iam = boto3.client("iam", endpoint_url=ENDPOINT)
    user = iam.create_user(UserName=name)["User"]
    keys = iam.create_access_key(UserName=name)["AccessKey"]
    trust = {"Effect": "Allow", "Principal": {"AWS": user["Arn"]}, "Action": "sts:AssumeRole"}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(trust))["Role"]
    iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy(allow("s3:*")))
    return keys, role["Arn"]


def assume_role():
    """boto3 assumes a role, and takes new credentials by itself when the old ones are about to end."""
    keys, arn = role_and_user("sts-assume")
    sts = boto3.client(
        "sts",
        endpoint_url=ENDPOINT,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
    )
    taken = []

    def refresh():
        answer = sts.assume_role(RoleArn=arn, RoleSessionName="job", DurationSeconds=3600)
        expect_equal(answer["AssumedRoleUser"]["Arn"].split("/")[-2:], ["sts-assume", "job"], "who was assumed")
        credentials = answer["Credentials"]
        taken.append(credentials["AccessKeyId"])
        # The first ones end so soon that boto3 wants others at once.
        expiry = credentials["Expiration"] if len(taken) > 1 else datetime.datetime.now(datetime.timezone.utc)
        return {
            "access_key": credentials["AccessKeyId"],
            "secret_key": credentials["SecretAccessKey"],
            "token": credentials["SessionToken"],
            "expiry_time": expiry.isoformat(),
        }

    session = get_session()
    session._credentials = RefreshableCredentials.create_from_metadata(refresh(), refresh, "sts-assume-role")
    s3 = boto3.session.Session(botocore_session=session).client("s3", endpoint_url=ENDPOINT)
    s3.create_bucket(Bucket="sts-refreshed")
    s3.put_object(Bucket="sts-refreshed", Key="key", Body=b"body")
    expect_equal(s3.get_object(Bucket="sts-refreshed", Key="key")["Body"].read(), b"body", "the object")
    expect_equal(len(set(taken)), 2, "credentials that were taken")
    bounded = sts.assume_role(
        RoleArn=arn, RoleSessionName="job", Policy=policy(allow("s3:GetObject", "arn:aws:s3:::sts-refreshed/*"))
    )["Credentials"]
    reader = in_session(bounded)
    expect_equal(reader.get_object(Bucket="sts-refreshed", Key="key")["Body"].read(), b"body", "what is read in bounds")
    expect_error("AccessDenied", reader.put_object, Bucket="sts-refreshed", Key="key", Body=b"other")
    expect_error("AccessDenied", sts.assume_role, RoleArn=arn.replace("sts-assume", "other"), RoleSessionName="job")
    for parameters, code in [({"DurationSeconds": 3601}, "ValidationError"), ({"Policy": "{}"}, "MalformedPolicyDocument")]:
        expect_error(code, sts.assume_role, RoleArn=arn, RoleSessionName="job", **parameters)


def profile():
    """The command line assumes a role that a profile names, as users write it down."""
    keys, arn = role_and_user("sts-profile")
    os.makedirs(os.path.expanduser("~/.aws"), exist_ok=True)
    with open(os.path.expanduser("~/.aws/config"), "w", encoding="utf-8") as file:
        file.write(
            f"[profile worker]\naws_access_key_id = {keys['AccessKeyId']}\n"
            f"aws_secret_access_key = {keys['SecretAccessKey']}\n\n"
            f"[profile role]\nrole_arn = {arn}\nsource_profile = worker\nrole_session_name = laptop\n"
            f"region = us-east-1\nendpoint_url = {ENDPOINT}\n"
        )
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]:
        os.environ.pop(name)
    environment = {"AWS_PROFILE": "role", "AWS_ENDPOINT_URL": ENDPOINT}
    found = aws("sts", "get-caller-identity", **environment)
    expect_equal(found["Arn"], f"arn:aws:sts::{ACCOUNT}:assumed-role/sts-profile/laptop", "the caller")
    aws("s3api", "create-bucket", "--bucket", "sts-profile", **environment)
    names = [bucket["Name"] for bucket in aws("s3api", "list-buckets", **environment)["Buckets"]]
    expect_equal("sts-profile" in names, True, "the bucket is listed")


if __name__ == "__main__":
    main(globals())
