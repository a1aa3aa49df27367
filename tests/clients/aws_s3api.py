"""The `aws s3api` command line, over every sub-resource of versions, locks, tags, ACLs and payment."""

import json
import os
import subprocess
from datetime import datetime, timedelta, timezone

from scenario import ENDPOINT, MIB, content, expect_equal, expect_same_bytes, main, read_file, write_file

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"


def run(*arguments, keys=None):
    """Exit status, answer (decoded if it is JSON) and what was said on standard error."""
    environment = dict(os.environ)
    if keys:
        environment.update(AWS_ACCESS_KEY_ID=keys[0], AWS_SECRET_ACCESS_KEY=keys[1])
    command = ["aws", "--endpoint-url", ENDPOINT, "--output", "json", "s3api", *arguments]
    done = subprocess.run(command, capture_output=True, check=False, env=environment, timeout=300)
    text = done.stdout.decode()
    return done.returncode, json.loads(text) if text.strip() else {}, done.stderr.decode()


def api(*arguments, keys=None):
    """A call that must succeed."""
    status, answer, said = run(*arguments, keys=keys)
    expect_equal((status, said), (0, ""), f"aws s3api {' '.join(arguments)}")
    return answer


def refused(code, *arguments, keys=None):
    """A call that must fail with this code."""
    status, answer, said = run(*arguments, keys=keys)
    expect_equal(status != 0 and f"({code})" in said, True, f"{arguments}: {status} {answer} {said}, not {code}")


def bucket(name, *options):
    api("create-bucket", "--bucket", name, *options)
    return ["--bucket", name]


def other():
    return os.environ["OTHER_ACCESS_KEY_ID"], os.environ["OTHER_SECRET_ACCESS_KEY"]


def put(where, key, data, *options):
    write_file("body", data)
    return api("put-object", *where, "--key", key, "--body", "body", *options)


def in_hours(hours):
    return (datetime.now(timezone.utc) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def same_instant(one, two):
    parse = lambda text: datetime.fromisoformat(text.replace("Z", "+00:00"))
    return parse(one) == parse(two)


def versioning():
    where = bucket("api-versioning")
    expect_equal(api("get-bucket-versioning", *where), {}, "versioning of a new bucket")
    expect_equal("VersionId" in put(where, "key", b"null"), False, "a version id without versioning")
    for status in ["Enabled", "Suspended", "Enabled"]:
        api("put-bucket-versioning", *where, "--versioning-configuration", f"Status={status}")
        expect_equal(api("get-bucket-versioning", *where)["Status"], status, "versioning")
    ids = [put(where, "key", data)["VersionId"] for data in [b"one", b"two"]]
    marker = api("delete-object", *where, "--key", "key")
    expect_equal(marker["DeleteMarker"], True, "a delete marker")
    refused("404", "head-object", *where, "--key", "key")
    refused("NoSuchKey", "get-object", *where, "--key", "key", "down")
    refused("MethodNotAllowed", "get-object", *where, "--key", "key", "--version-id", marker["VersionId"], "down")
    for version, data in zip(["null", *ids], [b"null", b"one", b"two"]):
        got = api("get-object", *where, "--key", "key", "--version-id", version, "down")
        expect_equal((read_file("down"), got["VersionId"]), (data, version), "a version")
    api("copy-object", *where, "--key", "key", "--copy-source", f"api-versioning/key?versionId={ids[0]}")
    api("get-object", *where, "--key", "key", "down")
    expect_equal(read_file("down"), b"one", "the restored version")
    api("delete-object", *where, "--key", "key", "--version-id", ids[0])
    refused("NoSuchVersion", "get-object", *where, "--key", "key", "--version-id", ids[0], "down")
    gone = {"Objects": [{"Key": "key", "VersionId": marker["VersionId"]}, {"Key": "key", "VersionId": "null"}]}
    deleted = api("delete-objects", *where, "--delete", json.dumps(gone))["Deleted"]
    expect_equal(sorted(entry["VersionId"] for entry in deleted), sorted([marker["VersionId"], "null"]), "deleted")


def list_object_versions():
    where = bucket("api-list-versions")
    api("put-bucket-versioning", *where, "--versioning-configuration", "Status=Enabled")
    made = {key: [put(where, key, b"x")["VersionId"] for _ in range(3)] for key in ["a", "dir/b", "dir/c"]}
    marker = api("delete-object", *where, "--key", "a")["VersionId"]
    whole = api("list-object-versions", *where)
    listed = [(version["Key"], version["VersionId"], version["IsLatest"]) for version in whole["Versions"]]
    newest_first = [
        (key, version, key != "a" and version == ids[-1]) for key, ids in made.items() for version in reversed(ids)
    ]
    expect_equal(listed, newest_first, "versions, newest first")
    expect_equal([(m["Key"], m["VersionId"], m["IsLatest"]) for m in whole["DeleteMarkers"]], [("a", marker, True)], "")
    paged = api("list-object-versions", *where, "--page-size", "2")
    expect_equal(paged["Versions"], whole["Versions"], "versions in pages of two")
    folded = api("list-object-versions", *where, "--delimiter", "/")
    expect_equal(folded["CommonPrefixes"], [{"Prefix": "dir/"}], "common prefixes")
    below = api("list-object-versions", *where, "--prefix", "dir/", "--max-items", "4")
    expect_equal(len(below["Versions"]), 4, "entries of a page")
    expect_equal("NextToken" in below, True, "there is more")


def object_lock():
    where = bucket("api-lock", "--object-lock-enabled-for-bucket")
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    api("put-object-lock-configuration", *where, "--object-lock-configuration", json.dumps(rule))
    expect_equal(api("get-object-lock-configuration", *where)["ObjectLockConfiguration"], rule, "configuration")
    refused("InvalidBucketState", "put-bucket-versioning", *where, "--versioning-configuration", "Status=Suspended")
    put(where, "key", b"x")
    expect_equal(api("head-object", *where, "--key", "key")["ObjectLockMode"], "GOVERNANCE", "default mode")
    later = bucket("api-lock-later")
    refused("ObjectLockConfigurationNotFoundError", "get-object-lock-configuration", *later)
    enable = ["put-object-lock-configuration", *later, "--object-lock-configuration", "ObjectLockEnabled=Enabled"]
    refused("InvalidBucketState", *enable)
    api("put-bucket-versioning", *later, "--versioning-configuration", "Status=Enabled")
    api(*enable)
    expect_equal(
        api("get-object-lock-configuration", *later)["ObjectLockConfiguration"], {"ObjectLockEnabled": "Enabled"}, ""
    )


def retention_and_legal_hold():
    where = bucket("api-retention", "--object-lock-enabled-for-bucket")
    until = in_hours(2)
    options = ["--object-lock-mode", "GOVERNANCE", "--object-lock-retain-until-date", until]
    version = put(where, "key", b"kept", *options)["VersionId"]
    named = [*where, "--key", "key", "--version-id", version]
    found = api("get-object-retention", *named)["Retention"]
    expect_equal((found["Mode"], same_instant(found["RetainUntilDate"], until)), ("GOVERNANCE", True), "retention")
    refused("AccessDenied", "delete-object", *named)
    shorter = f"Mode=GOVERNANCE,RetainUntilDate={in_hours(1)}"
    refused("AccessDenied", "put-object-retention", *named, "--retention", shorter)
    api("put-object-retention", *named, "--retention", shorter, "--bypass-governance-retention")
    api("put-object-legal-hold", *named, "--legal-hold", "Status=ON")
    expect_equal(api("get-object-legal-hold", *named)["LegalHold"], {"Status": "ON"}, "legal hold")
    refused("AccessDenied", "delete-object", *named, "--bypass-governance-retention")
    api("put-object-legal-hold", *named, "--legal-hold", "Status=OFF")
    compliance = f"Mode=COMPLIANCE,RetainUntilDate={in_hours(3)}"
    api("put-object-retention", *named, "--retention", compliance, "--bypass-governance-retention")
    refused("AccessDenied", "delete-object", *named, "--bypass-governance-retention")
    refused("AccessDenied", "put-object-retention", *named, "--retention", shorter, "--bypass-governance-retention")
    plain = bucket("api-retention-plain")
    put(plain, "key", b"x")
    refused("InvalidRequest", "put-object-legal-hold", *plain, "--key", "key", "--legal-hold", "Status=ON")


def tagging():
    where = bucket("api-tagging")
    refused("NoSuchTagSet", "get-bucket-tagging", *where)
    tags = {"TagSet": [{"Key": "stage", "Value": "test"}, {"Key": "team", "Value": "blue"}]}
    api("put-bucket-tagging", *where, "--tagging", json.dumps(tags))
    expect_equal(api("get-bucket-tagging", *where), tags, "tags of the bucket")
    api("delete-bucket-tagging", *where)
    refused("NoSuchTagSet", "get-bucket-tagging", *where)
    api("put-bucket-versioning", *where, "--versioning-configuration", "Status=Enabled")
    old = put(where, "key", b"x", "--tagging", "stage=test&team=blue")["VersionId"]
    put(where, "key", b"y")
    key = [*where, "--key", "key"]
    expect_equal(api("get-object-tagging", *key)["TagSet"], [], "tags of the newest version")
    expect_equal(api("get-object-tagging", *key, "--version-id", old)["TagSet"], tags["TagSet"], "of the old one")
    api("put-object-tagging", *key, "--tagging", json.dumps({"TagSet": [{"Key": "a", "Value": ""}]}))
    expect_equal(api("head-object", *key)["TagCount"], 1, "count of tags")
    api("delete-object-tagging", *key)
    expect_equal(api("get-object-tagging", *key)["TagSet"], [], "deleted tags")
    many = {"TagSet": [{"Key": str(number), "Value": "x"} for number in range(11)]}
    refused("InvalidTag", "put-object-tagging", *key, "--tagging", json.dumps(many))
    double = {"TagSet": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}
    refused("InvalidTag", "put-object-tagging", *key, "--tagging", json.dumps(double))


def acls_and_ownership():
    where = bucket("api-acl", "--object-ownership", "ObjectWriter")
    other_id = api("list-buckets", keys=other())["Owner"]["ID"]
    put(where, "key", b"content", "--acl", "public-read")
    key = [*where, "--key", "key"]
    grants = api("get-object-acl", *key)["Grants"]
    expect_equal([grant["Permission"] for grant in grants if grant["Grantee"].get("URI") == ALL_USERS], ["READ"], "")
    api("put-object-acl", *key, "--grant-read", f"id={other_id}")
    api("get-object", *key, "down", keys=other())
    expect_equal(read_file("down"), b"content", "by the grantee")
    api("put-object-acl", *key, "--acl", "private")
    refused("AccessDenied", "get-object", *key, "down", keys=other())
    refused("AccessDenied", "list-objects-v2", *where, keys=other())
    api("put-bucket-acl", *where, "--grant-read", 'emailaddress="other@cairn.example"')
    expect_equal([entry["Key"] for entry in api("list-objects-v2", *where, keys=other())["Contents"]], ["key"], "keys")
    refused("UnresolvableGrantByEmailAddress", "put-bucket-acl", *where, "--grant-read", 'emailaddress="no@body"')
    rules = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    enforce = ["put-bucket-ownership-controls", *where, "--ownership-controls", json.dumps(rules)]
    refused("InvalidBucketAclWithObjectOwnership", *enforce)
    api("put-bucket-acl", *where, "--acl", "private")
    api(*enforce)
    expect_equal(api("get-bucket-ownership-controls", *where)["OwnershipControls"], rules, "ownership controls")
    refused("AccessControlListNotSupported", "put-object-acl", *key, "--acl", "public-read")
    api("delete-bucket-ownership-controls", *where)
    refused("OwnershipControlsNotFoundError", "get-bucket-ownership-controls", *where)


def payment_and_acceleration():
    where = bucket("api-payment", "--object-ownership", "ObjectWriter")
    expect_equal(api("get-bucket-request-payment", *where), {"Payer": "BucketOwner"}, "payer of a new bucket")
    put(where, "key", b"content", "--acl", "public-read")
    api("put-bucket-request-payment", *where, "--request-payment-configuration", "Payer=Requester")
    expect_equal(api("get-bucket-request-payment", *where), {"Payer": "Requester"}, "payer")
    get = ["get-object", *where, "--key", "key", "down"]
    refused("AccessDenied", *get, keys=other())
    got = api(*get, "--request-payer", "requester", keys=other())
    expect_equal(got["RequestCharged"], "requester", "charged")
    expect_equal(api("get-bucket-accelerate-configuration", *where), {}, "acceleration")
    accelerate = ["put-bucket-accelerate-configuration", *where, "--accelerate-configuration"]
    api(*accelerate, "Status=Suspended")
    status, _, said = run(*accelerate, "Status=Enabled")
    expect_equal(status != 0 and "(" in said, True, f"acceleration: {said}")
    for kind in ["metrics", "analytics", "inventory"]:
        refused("NotImplemented", f"list-bucket-{kind}-configurations", *where)


def object_attributes():
    where = bucket("api-attributes")
    upload = api("create-multipart-upload", *where, "--key", "key", "--checksum-algorithm", "SHA256")["UploadId"]
    parts = []
    for number, size in [(1, 5 * MIB), (2, 1_000)]:
        write_file("part", content(number, size))
        named = ["--key", "key", "--upload-id", upload, "--part-number", str(number), "--body", "part"]
        part = api("upload-part", *where, *named, "--checksum-algorithm", "SHA256")
        parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]})
    finish = ["--key", "key", "--upload-id", upload, "--multipart-upload", json.dumps({"Parts": parts})]
    etag = api("complete-multipart-upload", *where, *finish)["ETag"]
    wanted = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    found = api("get-object-attributes", *where, "--key", "key", "--object-attributes", *wanted)
    expect_equal(found["ETag"], etag.strip('"'), "ETag")
    expect_equal(found["ObjectSize"], 5 * MIB + 1_000, "size")
    expect_equal(found["StorageClass"], "STANDARD", "storage class")
    expect_equal([part["Size"] for part in found["ObjectParts"]["Parts"]], [5 * MIB, 1_000], "parts")
    expect_equal(found["Checksum"]["ChecksumType"], "COMPOSITE", "type of the checksum")
    refused("NoSuchKey", "get-object-attributes", *where, "--key", "none", "--object-attributes", "ETag")
    api("get-object", *where, "--key", "key", "--part-number", "2", "down")
    expect_same_bytes(read_file("down"), content(2, 1_000), "part 2")


if __name__ == "__main__":
    main(globals())
