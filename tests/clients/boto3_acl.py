"""boto3, over ACLs, ownership controls and requester pays."""

import os

import boto3
from boto3_sweep import client, expect_error
from botocore import UNSIGNED
from botocore.config import Config
from scenario import ENDPOINT, expect_equal, main

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"


def other():
    keys = os.environ["OTHER_ACCESS_KEY_ID"], os.environ["OTHER_SECRET_ACCESS_KEY"]
    return boto3.client("s3", endpoint_url=ENDPOINT, aws_access_key_id=keys[0], aws_secret_access_key=keys[1])


def stranger():
    return boto3.client("s3", endpoint_url=ENDPOINT, config=Config(signature_version=UNSIGNED))


def bucket(name):
    client().create_bucket(Bucket=name, ObjectOwnership="ObjectWriter")
    return client(), name


def acls():
    s3, name = bucket("boto-acls")
    s3.put_object(Bucket=name, Key="key", Body=b"content", ACL="public-read")
    expect_equal(stranger().get_object(Bucket=name, Key="key")["Body"].read(), b"content", "by a stranger")
    expect_error("AccessDenied", stranger().list_objects_v2, Bucket=name)
    acl = s3.get_object_acl(Bucket=name, Key="key")
    expect_equal(
        [(grant["Grantee"].get("URI"), grant["Permission"]) for grant in acl["Grants"]],
        [(ALL_USERS, "READ"), (None, "FULL_CONTROL")],
        "grants",
    )
    other_id = other().list_buckets()["Owner"]["ID"]
    grants = [{"Grantee": {"Type": "CanonicalUser", "ID": other_id}, "Permission": "READ"}]
    s3.put_object_acl(Bucket=name, Key="key", AccessControlPolicy={"Owner": acl["Owner"], "Grants": grants})
    expect_error("AccessDenied", stranger().get_object, Bucket=name, Key="key")
    expect_equal(other().get_object(Bucket=name, Key="key")["Body"].read(), b"content", "by the grantee")
    s3.put_bucket_acl(Bucket=name, GrantRead=f'uri="{ALL_USERS}"', GrantWrite=f'id="{other_id}"')
    expect_equal(stranger().list_objects_v2(Bucket=name)["KeyCount"], 1, "keys")
    other().put_object(Bucket=name, Key="theirs", Body=b"x")
    listed = s3.list_objects_v2(Bucket=name, Prefix="theirs", FetchOwner=True)["Contents"]
    expect_equal(listed[0]["Owner"], {"ID": other_id, "DisplayName": "other"}, "owner")
    expect_error("AccessDenied", s3.get_object, Bucket=name, Key="theirs")
    expect_error("InvalidArgument", s3.put_bucket_acl, Bucket=name, GrantRead='id="nobody"')


def ownership():
    s3, name = bucket("boto-ownership")
    rules = [{"ObjectOwnership": "BucketOwnerEnforced"}]
    s3.put_bucket_acl(Bucket=name, ACL="public-read")
    refused = {"Bucket": name, "OwnershipControls": {"Rules": rules}}
    expect_error("InvalidBucketAclWithObjectOwnership", s3.put_bucket_ownership_controls, **refused)
    s3.put_bucket_acl(Bucket=name, ACL="private")
    s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls={"Rules": rules})
    expect_equal(s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"], rules, "rules")
    expect_error("AccessControlListNotSupported", s3.put_object, Bucket=name, Key="key", Body=b"", ACL="public-read")
    s3.delete_bucket_ownership_controls(Bucket=name)
    expect_error("OwnershipControlsNotFoundError", s3.get_bucket_ownership_controls, Bucket=name)


def payment():
    s3, name = bucket("boto-payment")
    s3.put_object(Bucket=name, Key="key", Body=b"content", ACL="public-read")
    s3.put_bucket_request_payment(Bucket=name, RequestPaymentConfiguration={"Payer": "Requester"})
    expect_equal(s3.get_bucket_request_payment(Bucket=name)["Payer"], "Requester", "payer")
    expect_error("AccessDenied", other().get_object, Bucket=name, Key="key")
    got = other().get_object(Bucket=name, Key="key", RequestPayer="requester")
    expect_equal(got["RequestCharged"], "requester", "charged")


if __name__ == "__main__":
    main(globals())
