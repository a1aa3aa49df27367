"""Forms as boto3 presigns them and requests posts them, and how boto3 configures websites."""

import urllib.parse

import boto3
from botocore.config import Config
from scenario import ENDPOINT, MIB, content, expect_equal, main, need_module


def client(version="s3v4"):
    config = Config(signature_version=version, s3={"addressing_style": "path"})
    return boto3.client("s3", endpoint_url=ENDPOINT, config=config)


def post(form, body, filename="photo.png", **more):
    requests = need_module("requests")
    files = {"file": (filename, body)}
    return requests.post(
        form["url"], data={**form["fields"], **more}, files=files, allow_redirects=False, timeout=60
    )


def presigned_posts():
    s3 = client()
    s3.create_bucket(Bucket="boto-forms")
    for version in ["s3v4", "s3"]:
        signer = client(version)
        data = content(7, 5 * MIB)
        form = signer.generate_presigned_post("boto-forms", f"{version}/${{filename}}")
        answer = post(form, data)
        expect_equal((answer.status_code, answer.content), (204, b""), "answer")
        got = s3.get_object(Bucket="boto-forms", Key=f"{version}/photo.png")
        expect_equal(got["Body"].read() == data, True, "bytes")
        expect_equal(answer.headers["etag"], got["ETag"], "etag")

        fields = {"Content-Type": "image/png", "success_action_status": "201", "x-amz-meta-by": "form"}
        conditions = [["starts-with", "$Content-Type", "image/"], {"success_action_status": "201"}]
        conditions += [["eq", "$x-amz-meta-by", "form"], ["content-length-range", 1, 10]]
        form = signer.generate_presigned_post("boto-forms", "small", Fields=fields, Conditions=conditions)
        answer = post(form, b"12345")
        expect_equal(answer.status_code, 201, answer.text)
        expect_equal("<Key>small</Key>" in answer.text, True, answer.text)
        head = s3.head_object(Bucket="boto-forms", Key="small")
        expect_equal((head["ContentType"], head["Metadata"]), ("image/png", {"by": "form"}), "head")
        expect_equal(post(form, b"12345678901").status_code, 400, "too large")
        expect_equal(post(form, b"").status_code, 400, "too small")
        expect_equal(post(form, b"12345", acl="public-read").status_code, 403, "another field")

        form = signer.generate_presigned_post(
            "boto-forms", "redirected",
            Fields={"success_action_redirect": "https://example.com/done"},
            Conditions=[{"success_action_redirect": "https://example.com/done"}],
        )
        answer = post(form, b"x")
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(answer.headers["location"]).query)
        expect_equal((answer.status_code, query["key"]), (303, ["redirected"]), "redirect")

        form = signer.generate_presigned_post("boto-forms", "expired", ExpiresIn=-1)
        answer = post(form, b"x")
        expect_equal((answer.status_code, "Policy expired." in answer.text), (403, True), answer.text)


def session_post():
    client().create_bucket(Bucket="boto-session-forms")
    sts = boto3.client("sts", endpoint_url=ENDPOINT)
    given = sts.get_session_token()["Credentials"]
    session = boto3.client(
        "s3", endpoint_url=ENDPOINT, aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"], aws_session_token=given["SessionToken"],
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    form = session.generate_presigned_post("boto-session-forms", "key")
    expect_equal(post(form, b"content").status_code, 204, "in a session")


def websites():
    s3 = client()
    s3.create_bucket(Bucket="boto-website")
    configuration = {
        "IndexDocument": {"Suffix": "index.html"},
        "ErrorDocument": {"Key": "error.html"},
        "RoutingRules": [
            {
                "Condition": {"KeyPrefixEquals": "old/"},
                "Redirect": {"ReplaceKeyPrefixWith": "new/", "HttpRedirectCode": "302"},
            }
        ],
    }
    s3.put_bucket_website(Bucket="boto-website", WebsiteConfiguration=configuration)
    got = s3.get_bucket_website(Bucket="boto-website")
    got.pop("ResponseMetadata")
    expect_equal(got, configuration, "configuration")
    s3.delete_bucket_website(Bucket="boto-website")
    try:
        s3.get_bucket_website(Bucket="boto-website")
    except s3.exceptions.ClientError as error:
        expect_equal(error.response["Error"]["Code"], "NoSuchWebsiteConfiguration", "code")
    else:
        raise AssertionError("a deleted configuration is shown")


main({"presigned_posts": presigned_posts, "session_post": session_post, "websites": websites})
