"""boto3 and the command line, over all that they call on replication."""

import json
import time

import boto3
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
ACCOUNT = "100000000001"


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
    expect_error("InvalidArgument", put, bucket=source, rules=rules(target) * 2)  # twice the same ID
    expect_equal(get()["ReplicationConfiguration"], wanted, "configuration after bad ones")
    put = s3.put_object(Bucket=source, Key="in/key", Body=content(1, 50_000), Tagging="copy=yes", Metadata={"a": "b"})
    wait_for(s3, source, "in/key", "COMPLETED")
    replica = wait_for(s3, target, "in/key", "REPLICA")
    expect_equal(replica["VersionId"], put["VersionId"], "version")
    expect_equal((replica["StorageClass"], replica["Metadata"]), ("STANDARD_IA", {"a": "b"}), "replica")
    expect_equal(s3.get_object(Bucket=target, Key="in/key")["Body"].read(), content(1, 50_000), "content")
    s3.delete_bucket_replication(Bucket=source)
    expect_error("ReplicationConfigurationNotFoundError", get)


def rule(target, **more):
    return {
        "ID": "r",
        "Priority": 1,
        "Filter": {},
        "Status": "Enabled",
        "Destination": {"Bucket": f"arn:aws:s3:::{target}"},
        "DeleteMarkerReplication": {"Status": "Disabled"},
        **more,
    }


def without(rule, *names):
    return {name: value for name, value in rule.items() if name not in names}


def shapes(target, key):
    """Rules that are taken, with every field and in both versions."""
    arn, on, off = f"arn:aws:s3:::{target}", {"Status": "Enabled"}, {"Status": "Disabled"}
    in_time = {"Time": {"Minutes": 15}}
    tag = lambda name: {"Key": name, "Value": f"of {name} é"}
    everything = rule(
        target,
        ID="i" * 255,
        Priority=2147483647,
        Filter={"And": {"Prefix": "in/é", "Tags": [tag("a"), tag("b")]}},
        SourceSelectionCriteria={"SseKmsEncryptedObjects": on, "ReplicaModifications": off},
        ExistingObjectReplication=on,
        Destination={
            "Bucket": arn,
            "Account": ACCOUNT,
            "StorageClass": "GLACIER_IR",
            "AccessControlTranslation": {"Owner": "Destination"},
            "EncryptionConfiguration": {"ReplicaKmsKeyID": key},
            "ReplicationTime": {**on, **in_time},
            "Metrics": {**on, "EventThreshold": {"Minutes": 15}},
        },
    )
    untimed = {"Bucket": arn, "Metrics": off, "ReplicationTime": {**off, **in_time}}
    plain = [
        rule(target, Filter={"Prefix": ""}, Status="Disabled", DeleteMarkerReplication=on),
        rule(target, ID="tag", Priority=0, Filter={"Tag": tag("a")}, ExistingObjectReplication=off),
        rule(target, ID="measured", Priority=3, Destination={"Bucket": arn, "Metrics": on}),
        rule(target, ID="untimed", Priority=4, Destination=untimed),
        rule(target, ID="sealed", Priority=5, SourceSelectionCriteria={"SseKmsEncryptedObjects": off}),
    ]
    first = lambda name, prefix: without(rule(target, ID=name, Prefix=prefix), "Priority", "Filter", "DeleteMarkerReplication")
    return [[everything], plain, [first("one", "one/"), first("two", "two/")]]


def refused(source, target, key):
    """Codes, with the rules that they are for."""
    arn, on = f"arn:aws:s3:::{target}", {"Status": "Enabled"}
    to = lambda **more: [rule(target, Destination={"Bucket": arn, **more})]
    one = lambda **more: [rule(target, **more)]
    less = lambda *names, **more: [without(rule(target, **more), *names)]
    return [
        ("InvalidRequest", one(Destination={"Bucket": "arn:aws:s3:::nowhere-at-all"})),
        ("InvalidRequest", one(Destination={"Bucket": f"arn:aws:s3:::{source}"})),
        ("InvalidArgument", one(Destination={"Bucket": target})),
        ("InvalidArgument", one(ID="i" * 256)),
        ("InvalidArgument", one() + one(Priority=2)),
        ("InvalidRequest", one() + one(ID="other")),
        ("InvalidRequest", one(Priority=-1)),
        ("InvalidRequest", less("Priority")),
        ("InvalidRequest", less("DeleteMarkerReplication")),
        ("InvalidRequest", less("Filter", "DeleteMarkerReplication", Prefix="")),
        ("InvalidRequest", less("Filter", "Priority", Prefix="")),
        ("InvalidRequest", one() + less("Filter", "Priority", "DeleteMarkerReplication", ID="first", Prefix="")),
        ("MalformedXML", one(Prefix="")),
        ("MalformedXML", less("Filter")),
        ("MalformedXML", one(Status="enabled")),
        ("MalformedXML", one(Filter={"Prefix": "a", "Tag": {"Key": "b", "Value": "c"}})),
        ("InvalidRequest", one(Filter={"Tag": {"Key": "b", "Value": "c"}}, DeleteMarkerReplication=on)),
        ("InvalidRequest", one(SourceSelectionCriteria={})),
        ("InvalidRequest", one(SourceSelectionCriteria={"SseKmsEncryptedObjects": on})),
        ("InvalidRequest", to(EncryptionConfiguration={"ReplicaKmsKeyID": key})),
        ("InvalidRequest", to(AccessControlTranslation={"Owner": "Destination"})),
        ("InvalidRequest", to(Account="100000000002", AccessControlTranslation={"Owner": "Destination"})),
        ("InvalidArgument", to(Account="somebody")),
        ("MalformedXML", to(StorageClass="COLD")),
        ("InvalidRequest", to(ReplicationTime={**on, "Time": {"Minutes": 15}})),
        ("InvalidArgument", to(Metrics={**on, "EventThreshold": {"Minutes": 15}})),
        ("InvalidRequest", [rule(target, ID=str(number), Priority=number) for number in range(1001)]),
        ("MalformedXML", []),
    ]


def shapes_of_rules():
    s3, source, target = client(), "shapes-source", "shapes-target"
    versioned(s3, source, target)
    kms = boto3.client("kms", endpoint_url=ENDPOINT, region_name="us-east-1")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    arn = role("shapes-replicator")
    put = lambda Rules, Role=arn, **more: s3.put_bucket_replication(
        Bucket=source, ReplicationConfiguration={"Role": Role, "Rules": Rules}, **more
    )
    get = lambda: s3.get_bucket_replication(Bucket=source)["ReplicationConfiguration"]
    for rules in shapes(target, key):
        put(rules)
        expect_equal(get(), {"Role": arn, "Rules": rules}, "configuration")
    wanted = get()
    for code, rules in refused(source, target, key):
        expect_error(code, put, Rules=rules)
    for wrong in [arn + "-not", arn.replace("role/", "user/"), arn.replace(ACCOUNT, ""), "replicator"]:
        expect_error("InvalidArgument", put, Rules=wanted["Rules"], Role=wrong)
    expect_equal(get(), wanted, "configuration after bad ones")
    # One without a name gets one; a bucket with locks needs no token, and may bring one.
    put([without(rule(target), "ID")], Token="token")
    expect_equal(bool(get()["Rules"][0]["ID"]), True, "made-up ID")
    s3.create_bucket(Bucket="shapes-locked", ObjectLockEnabledForBucket=True)
    s3.put_bucket_replication(
        Bucket="shapes-locked", Token="token", ReplicationConfiguration={"Role": arn, "Rules": [rule(target)]}
    )


def buckets_that_go():
    s3, source, target = client(), "going-source", "going-target"
    versioned(s3, source, target)
    wanted = {"Role": role("going-replicator"), "Rules": [rule(target)]}
    s3.put_bucket_replication(Bucket=source, ReplicationConfiguration=wanted)
    put = s3.put_object(Bucket=source, Key="key", Body=b"x")
    wait_for(s3, source, "key", "COMPLETED")
    # GET tells the same as HEAD.
    status = lambda bucket: s3.get_object(Bucket=bucket, Key="key")["ReplicationStatus"]
    expect_equal((status(source), status(target)), ("COMPLETED", "REPLICA"), "statuses")
    # A target may go; what comes then is FAILED.
    s3.delete_object(Bucket=target, Key="key", VersionId=put["VersionId"])
    s3.delete_bucket(Bucket=target)
    other = s3.put_object(Bucket=source, Key="key", Body=b"y")
    wait_for(s3, source, "key", "FAILED")
    expect_equal(status(source), "FAILED", "status")
    # And so may a source with its rules, which a bucket of the same name has not.
    expect_error("BucketNotEmpty", s3.delete_bucket, Bucket=source)
    for version in [put, other]:
        s3.delete_object(Bucket=source, Key="key", VersionId=version["VersionId"])
    s3.delete_bucket(Bucket=source)
    versioned(s3, source)
    expect_error("ReplicationConfigurationNotFoundError", s3.get_bucket_replication, Bucket=source)
    s3.put_object(Bucket=source, Key="key", Body=b"z")
    expect_equal(s3.head_object(Bucket=source, Key="key").get("ReplicationStatus"), None, "status without rules")
    # To remove rules that are not there is no error.
    expect_equal(s3.delete_bucket_replication(Bucket=source)["ResponseMetadata"]["HTTPStatusCode"], 204, "status")


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
