"""boto3 and the command line, over all that they call on lifecycle rules, storage classes and restores."""

import json

from boto3_sweep import client, expect_error
from scenario import ENDPOINT, content, expect_equal, main, run

RULES = [
    {
        "ID": "archive",
        "Status": "Enabled",
        "Filter": {"And": {"Prefix": "source/", "Tags": [{"Key": "kind", "Value": "image"}], "ObjectSizeGreaterThan": 10}},
        "Transitions": [{"Days": 30, "StorageClass": "STANDARD_IA"}, {"Days": 45, "StorageClass": "GLACIER"}],
        "Expiration": {"Days": 400},
    },
    {
        "ID": "old",
        "Status": "Disabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionTransitions": [
            {"NoncurrentDays": 15, "StorageClass": "DEEP_ARCHIVE", "NewerNoncurrentVersions": 2}
        ],
        "NoncurrentVersionExpiration": {"NoncurrentDays": 365, "NewerNoncurrentVersions": 5},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    },
    {"ID": "thumbnails", "Status": "Enabled", "Prefix": "thumbnails/", "Expiration": {"Days": 45}},
]


def rules():
    s3, name = client(), "boto-lifecycle"
    s3.create_bucket(Bucket=name)
    get = lambda: s3.get_bucket_lifecycle_configuration(Bucket=name)
    expect_error("NoSuchLifecycleConfiguration", get)
    put = lambda wanted: s3.put_bucket_lifecycle_configuration(
        Bucket=name, LifecycleConfiguration={"Rules": wanted}, TransitionDefaultMinimumObjectSize="varies_by_storage_class"
    )
    put(RULES)
    expect_equal(get()["Rules"], RULES, "rules")
    expect_equal(get()["TransitionDefaultMinimumObjectSize"], "varies_by_storage_class", "minimum")
    early = [{**RULES[2], "Transitions": [{"Days": 45, "StorageClass": "GLACIER"}]}]
    expect_error("InvalidArgument", put, wanted=early)
    expect_error("InvalidArgument", put, wanted=[RULES[2], RULES[2]])
    expect_equal(get()["Rules"], RULES, "rules after bad ones")
    put = s3.put_object(Bucket=name, Key="thumbnails/1", Body=b"x")
    expect_equal('rule-id="thumbnails"' in put["Expiration"], True, "expiration")
    expect_equal(s3.head_object(Bucket=name, Key="thumbnails/1")["Expiration"], put["Expiration"], "expiration")
    s3.delete_bucket_lifecycle(Bucket=name)
    expect_error("NoSuchLifecycleConfiguration", get)


def archive():
    s3, name = client(), "boto-archive"
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="key", Body=content(1, 100_000), StorageClass="GLACIER")
    expect_error("InvalidObjectState", s3.get_object, Bucket=name, Key="key")
    expect_equal(s3.head_object(Bucket=name, Key="key")["StorageClass"], "GLACIER", "class")
    expect_equal(s3.list_objects_v2(Bucket=name)["Contents"][0]["StorageClass"], "GLACIER", "listed class")
    attributes = s3.get_object_attributes(Bucket=name, Key="key", ObjectAttributes=["StorageClass"])
    expect_equal(attributes["StorageClass"], "GLACIER", "class in attributes")
    request = {"Days": 2, "GlacierJobParameters": {"Tier": "Bulk"}}
    expect_equal(
        s3.restore_object(Bucket=name, Key="key", RestoreRequest=request)["ResponseMetadata"]["HTTPStatusCode"],
        202,
        "restore",
    )
    expect_error("RestoreAlreadyInProgress", s3.restore_object, Bucket=name, Key="key", RestoreRequest=request)
    expect_equal(s3.head_object(Bucket=name, Key="key")["Restore"], 'ongoing-request="true"', "restore")
    expect_error("InvalidStorageClass", s3.put_object, Bucket=name, Key="bad", Body=b"", StorageClass="FROZEN")
    upload = s3.create_multipart_upload(Bucket=name, Key="parts", StorageClass="ONEZONE_IA")
    parts = s3.list_parts(Bucket=name, Key="parts", UploadId=upload["UploadId"])
    expect_equal(parts["StorageClass"], "ONEZONE_IA", "class of an upload")
    s3.put_object(Bucket=name, Key="warm", Body=b"warm")
    s3.copy_object(Bucket=name, Key="warm", CopySource=f"{name}/warm", StorageClass="GLACIER_IR")
    expect_equal(s3.head_object(Bucket=name, Key="warm")["StorageClass"], "GLACIER_IR", "changed class")
    expect_equal(s3.get_object(Bucket=name, Key="warm")["Body"].read(), b"warm", "content")


def tiering():
    s3, name = client(), "boto-tiering"
    s3.create_bucket(Bucket=name)
    call = lambda verb, **more: getattr(s3, f"{verb}_bucket_intelligent_tiering_configuration")(Bucket=name, Id="cold", **more)
    expect_error("NoSuchConfiguration", call, verb="get")
    wanted = {
        "Id": "cold",
        "Status": "Enabled",
        "Filter": {"And": {"Prefix": "logs/", "Tags": [{"Key": "kind", "Value": "log"}]}},
        "Tierings": [{"Days": 180, "AccessTier": "DEEP_ARCHIVE_ACCESS"}, {"Days": 90, "AccessTier": "ARCHIVE_ACCESS"}],
    }
    call("put", IntelligentTieringConfiguration=wanted)
    expect_equal(call("get")["IntelligentTieringConfiguration"], wanted, "configuration")
    listed = s3.list_bucket_intelligent_tiering_configurations(Bucket=name)
    expect_equal((listed["IntelligentTieringConfigurationList"], listed["IsTruncated"]), ([wanted], False), "list")
    early = {**wanted, "Tierings": [{"Days": 10, "AccessTier": "ARCHIVE_ACCESS"}]}
    expect_error("InvalidArgument", call, verb="put", IntelligentTieringConfiguration=early)
    expect_equal(call("get")["IntelligentTieringConfiguration"], wanted, "configuration after a bad one")
    aws = ("aws", "--endpoint-url", ENDPOINT, "s3api")
    printed = run(*aws, "list-bucket-intelligent-tiering-configurations", "--bucket", name)
    expect_equal(json.loads(printed)["IntelligentTieringConfigurationList"], [wanted], "list of the command line")
    run(*aws, "delete-bucket-intelligent-tiering-configuration", "--bucket", name, "--id", "cold")
    expect_error("NoSuchConfiguration", call, verb="delete")
    s3.put_object(Bucket=name, Key="logs/1", Body=content(1, 200_000), StorageClass="INTELLIGENT_TIERING")
    expect_error("InvalidObjectState", s3.restore_object, Bucket=name, Key="logs/1", RestoreRequest={})


def command_line():
    aws = lambda *arguments: run("aws", "--endpoint-url", ENDPOINT, *arguments)
    api = lambda call, *arguments: aws("s3api", call, "--bucket", "cli-lifecycle", *arguments)
    aws("s3", "mb", "s3://cli-lifecycle")
    api("put-bucket-lifecycle-configuration", "--lifecycle-configuration", json.dumps({"Rules": RULES}))
    expect_equal(json.loads(api("get-bucket-lifecycle-configuration"))["Rules"], RULES, "rules")
    run("aws", "--endpoint-url", ENDPOINT, "s3", "cp", "--storage-class", "DEEP_ARCHIVE", "-", "s3://cli-lifecycle/key", data=b"deep")
    api("restore-object", "--key", "key", "--restore-request", "Days=3,GlacierJobParameters={Tier=Standard}")
    expect_equal(json.loads(api("head-object", "--key", "key"))["Restore"], 'ongoing-request="true"', "restore")
    api("delete-bucket-lifecycle")


if __name__ == "__main__":
    main(globals())
