"""boto3 and the command line, over all that they call on replication."""

import json
import time

from boto3_iam import iam as iam_client
from boto3_sweep import client, expect_error
from scenario import ENDPOINT, content, expect_equal, main, run

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
MAY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObjectVersionForReplication", "s3:GetObjectVersionTagging", "s3:Replicate*"],
            "Resource": "*",
        }
    ],
}
SECONDS_MAX = 60


def rules(target):
    return [
        {
            "ID": "everything",
            "Priority": 1,
            "Filter": {"And": {"Prefix": "in/", "Tags": [{"Key": "copy", "Value": "yes"}]}},
            "Status": "Enabled",
            "SourceSelectionCriteria": {"ReplicaModifications": {"Status": "Enabled"}},
            "ExistingObjectReplication": {"Status": "Enabled"},
            "Destination": {
                "Bucket": f"arn:aws:s3:::{target}",
                "StorageClass": "STANDARD_IA",
                "ReplicationTime": {"Status": "Enabled", "Time": {"Minutes": 15}},
                "Metrics": {"Status": "Enabled", "EventThreshold": {"Minutes": 15}},
            },
            "DeleteMarkerReplication": {"Status": "Disabled"},
        }
    ]


def role(name):
    iam = iam_client()
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="replicate", PolicyDocument=json.dumps(MAY))
    return arn


def versioned(s3, *names):
    for name in names:
        s3.create_bucket(Bucket=name)
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})


def wait_for(s3, bucket, key, status):
    for _ in range(SECONDS_MAX * 5):
        head = s3.head_object(Bucket=bucket, Key=key)
        if head.get("ReplicationStatus") == status:
            return head
        time.sleep(0.2)
    raise SystemExit(f"{bucket}/{key} is not {status}: {head}")


def configuration():
    s3, source, target = client(), "boto-source", "boto-target"
    versioned(s3, source, target)
    get = lambda: s3.get_bucket_replication(Bucket=source)
    expect_error("ReplicationConfigurationNotFoundError", get)
    wanted = {"Role": role("boto-replicator"), "Rules": rules(target)}
    s3.put_bucket_replication(Bucket=source, ReplicationConfiguration=wanted)
    expect_equal(get()["ReplicationConfiguration"], wanted, "configuration")
    s3.create_bucket(Bucket="boto-plain")
    put = lambda bucket, rules: s3.put_bucket_replication(Bucket=bucket, ReplicationConfiguration={**wanted, "Rules": rules})
    expect_error("InvalidRequest", put, bucket=source, rules=rules("boto-plain"))
    expect_error("InvalidRequest", put, bucket="boto-plain", rules=rules(target))
    expect_error("InvalidArgument", put, bucket=source, rules=rules(target) * 2)
    expect_equal(get()["ReplicationConfiguration"], wanted, "configuration after bad ones")
    put = s3.put_object(Bucket=source, Key="in/key", Body=content(1, 50_000), Tagging="copy=yes", Metadata={"a": "b"})
    wait_for(s3, source, "in/key", "COMPLETED")
    replica = wait_for(s3, target, "in/key", "REPLICA")
    expect_equal(replica["VersionId"], put["VersionId"], "version")
    expect_equal((replica["StorageClass"], replica["Metadata"]), ("STANDARD_IA", {"a": "b"}), "replica")
    expect_equal(s3.get_object(Bucket=target, Key="in/key")["Body"].read(), content(1, 50_000), "content")
    s3.delete_bucket_replication(Bucket=source)
    expect_error("ReplicationConfigurationNotFoundError", get)


def command_line():
    aws = lambda *arguments: run("aws", "--endpoint-url", ENDPOINT, *arguments)
    s3 = client()
    versioned(s3, "cli-source", "cli-target")
    api = lambda call, *arguments: aws("s3api", call, "--bucket", "cli-source", *arguments)
    wanted = {"Role": role("cli-replicator"), "Rules": rules("cli-target")}
    api("put-bucket-replication", "--replication-configuration", json.dumps(wanted))
    expect_equal(json.loads(api("get-bucket-replication"))["ReplicationConfiguration"], wanted, "configuration")
    api("put-object", "--key", "in/key", "--tagging", "copy=yes", "--body", __file__)
    wait_for(s3, "cli-source", "in/key", "COMPLETED")
    expect_equal(json.loads(api("head-object", "--key", "in/key"))["ReplicationStatus"], "COMPLETED", "status")
    api("delete-bucket-replication")


if __name__ == "__main__":
    main(globals())
