"""boto3, over all that it calls on object lock."""

from datetime import datetime, timedelta, timezone

from boto3.s3.transfer import TransferConfig
from boto3_sweep import MIB, client, expect_error
from scenario import content, expect_equal, main


def lock_bucket(name):
    s3 = client()
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return s3, name


def in_hours(hours):
    return datetime.now(timezone.utc).replace(microsecond=0) + timedelta(hours=hours)


def configuration():
    s3, name = lock_bucket("boto-lock-configuration")
    expect_equal(s3.get_bucket_versioning(Bucket=name)["Status"], "Enabled", "versioning")
    get = lambda: s3.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"]
    expect_equal(get(), {"ObjectLockEnabled": "Enabled"}, "new configuration")
    wanted = {
        "ObjectLockEnabled": "Enabled",
        "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 3}},
    }
    s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=wanted)
    expect_equal(get(), wanted, "configuration")
    s3.put_object(Bucket=name, Key="key", Body=b"x")
    head = s3.head_object(Bucket=name, Key="key")
    expect_equal(head["ObjectLockMode"], "GOVERNANCE", "default mode")
    days = head["ObjectLockRetainUntilDate"] - head["LastModified"]
    expect_equal(timedelta(days=3) <= days < timedelta(days=3, minutes=1), True, "default period")
    plain = "boto-lock-plain"
    s3.create_bucket(Bucket=plain)
    expect_error("ObjectLockConfigurationNotFoundError", s3.get_object_lock_configuration, Bucket=plain)
    expect_error(
        "InvalidBucketState", s3.put_object_lock_configuration, Bucket=plain, ObjectLockConfiguration=wanted
    )
    expect_error("InvalidRequest", s3.get_object_retention, Bucket=plain, Key="key")


def retention():
    s3, name = lock_bucket("boto-lock-retention")
    until = in_hours(2)
    put = s3.put_object(
        Bucket=name, Key="key", Body=b"kept", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until
    )
    version = {"Bucket": name, "Key": "key", "VersionId": put["VersionId"]}
    expect_equal(
        s3.get_object_retention(**version)["Retention"],
        {"Mode": "GOVERNANCE", "RetainUntilDate": until},
        "retention",
    )
    expect_error("AccessDenied", s3.delete_object, **version)
    shorter = {"Mode": "GOVERNANCE", "RetainUntilDate": in_hours(1)}
    expect_error("AccessDenied", s3.put_object_retention, **version, Retention=shorter)
    s3.put_object_retention(**version, Retention=shorter, BypassGovernanceRetention=True)
    compliance = {"Mode": "COMPLIANCE", "RetainUntilDate": in_hours(3)}
    s3.put_object_retention(**version, Retention=compliance, BypassGovernanceRetention=True)
    expect_error("AccessDenied", s3.delete_object, **version, BypassGovernanceRetention=True)
    locked = [{"Key": "key", "VersionId": put["VersionId"]}]
    reply = s3.delete_objects(Bucket=name, Delete={"Objects": locked}, BypassGovernanceRetention=True)
    expect_equal([error["Code"] for error in reply["Errors"]], ["AccessDenied"], "refused among several")
    s3.delete_object(Bucket=name, Key="key")
    expect_equal(s3.get_object(**version)["Body"].read(), b"kept", "bytes below the delete marker")


def legal_hold():
    s3, name = lock_bucket("boto-lock-hold")
    data = content(1, 11 * MIB)
    with open("large", "wb") as file:
        file.write(data)
    transfer = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    s3.upload_file("large", name, "key", Config=transfer, ExtraArgs={"ObjectLockLegalHoldStatus": "ON"})
    head = s3.head_object(Bucket=name, Key="key")
    expect_equal(head["ObjectLockLegalHoldStatus"], "ON", "hold of an upload in parts")
    version = {"Bucket": name, "Key": "key", "VersionId": head["VersionId"]}
    expect_error("AccessDenied", s3.delete_object, **version, BypassGovernanceRetention=True)
    s3.copy_object(Bucket=name, Key="copy", CopySource=version, ObjectLockLegalHoldStatus="OFF")
    expect_equal(s3.get_object_legal_hold(Bucket=name, Key="copy")["LegalHold"], {"Status": "OFF"}, "hold of a copy")
    s3.put_object_legal_hold(**version, LegalHold={"Status": "OFF"})
    s3.delete_object(**version)
    expect_error("NoSuchKey", s3.get_object, Bucket=name, Key="key")


if __name__ == "__main__":
    main(globals())
