"""boto3 and the `aws` CLI, over identities and policies."""

import json
import os
import subprocess
import sys

import boto3
from boto3_sweep import expect_error
from scenario import ENDPOINT, expect_equal, main

ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
LOOK = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:List*", "Resource": "*"}]}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::100000000001:root"}, "Action": "sts:AssumeRole"}],
}


def iam(key=None):
    names = {} if key is None else {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    return boto3.client("iam", endpoint_url=ENDPOINT, region_name="us-east-1", **names)


def users_and_policies():
    root = iam()
    user = root.create_user(UserName="boto", Path="/clients/", Tags=[{"Key": "team", "Value": "red"}])["User"]
    expect_equal(user["Arn"], "arn:aws:iam::100000000001:user/clients/boto", "ARN")
    expect_equal(root.get_user(UserName="boto")["User"]["Tags"], [{"Key": "team", "Value": "red"}], "tags")
    expect_error("EntityAlreadyExists", root.create_user, UserName="Boto")
    root.put_user_policy(UserName="boto", PolicyName="look", PolicyDocument=json.dumps(LOOK))
    expect_equal(root.get_user_policy(UserName="boto", PolicyName="look")["PolicyDocument"], LOOK, "inline policy")
    key = root.create_access_key(UserName="boto")["AccessKey"]
    names = [user["UserName"] for page in iam(key).get_paginator("list_users").paginate() for user in page["Users"]]
    expect_equal("boto" in names, True, "listed")
    expect_error("AccessDenied", iam(key).create_user, UserName="more")
    policy = root.create_policy(PolicyName="boto-look", PolicyDocument=json.dumps(LOOK))["Policy"]
    root.attach_user_policy(UserName="boto", PolicyArn=policy["Arn"])
    expect_equal(root.get_policy(PolicyArn=policy["Arn"])["Policy"]["AttachmentCount"], 1, "attachments")
    version = root.get_policy_version(PolicyArn=policy["Arn"], VersionId="v1")["PolicyVersion"]
    expect_equal(version["Document"], LOOK, "document")
    expect_error("DeleteConflict", root.delete_user, UserName="boto")
    expect_error("MalformedPolicyDocument", root.create_policy, PolicyName="bad", PolicyDocument="{}")
    root.detach_user_policy(UserName="boto", PolicyArn=policy["Arn"])
    root.delete_policy(PolicyArn=policy["Arn"])
    root.delete_access_key(UserName="boto", AccessKeyId=key["AccessKeyId"])
    root.delete_user_policy(UserName="boto", PolicyName="look")
    root.delete_user(UserName="boto")
    expect_error("NoSuchEntity", root.get_user, UserName="boto")


def groups_and_roles():
    root = iam()
    root.create_group(GroupName="boto-group")
    root.create_user(UserName="boto-member")
    root.add_user_to_group(GroupName="boto-group", UserName="boto-member")
    expect_equal([user["UserName"] for user in root.get_group(GroupName="boto-group")["Users"]], ["boto-member"], "members")
    role = root.create_role(RoleName="boto-role", AssumeRolePolicyDocument=json.dumps(TRUST), Description="d")["Role"]
    expect_equal(role["AssumeRolePolicyDocument"], TRUST, "trust policy")
    root.attach_role_policy(RoleName="boto-role", PolicyArn=ADMINISTRATOR)
    attached = root.list_attached_role_policies(RoleName="boto-role")["AttachedPolicies"]
    expect_equal(attached, [{"PolicyName": "AdministratorAccess", "PolicyArn": ADMINISTRATOR}], "attached")
    waiter = root.get_waiter("role_exists")
    waiter.wait(RoleName="boto-role")
    details = root.get_account_authorization_details(Filter=["Role"])["RoleDetailList"]
    expect_equal([role["RoleName"] for role in details if role["RoleName"] == "boto-role"], ["boto-role"], "details")
    root.detach_role_policy(RoleName="boto-role", PolicyArn=ADMINISTRATOR)
    root.delete_role(RoleName="boto-role")
    root.remove_user_from_group(GroupName="boto-group", UserName="boto-member")
    root.delete_group(GroupName="boto-group")
    root.delete_user(UserName="boto-member")


def reports():
    root = iam()
    root.create_user(UserName="boto-reported")
    arn = root.get_user(UserName="boto-reported")["User"]["Arn"]
    while root.generate_credential_report()["State"] != "COMPLETE":
        pass
    lines = root.get_credential_report()["Content"].decode().splitlines()
    expect_equal(any(line.startswith("boto-reported,") for line in lines), True, "line of the user")
    job = root.generate_service_last_accessed_details(Arn=arn, Granularity="ACTION_LEVEL")["JobId"]
    details = root.get_service_last_accessed_details(JobId=job)
    expect_equal(details["JobStatus"], "COMPLETED", "status")
    entities = root.get_service_last_accessed_details_with_entities(JobId=job, ServiceNamespace="s3")
    expect_equal(entities["EntityDetailsList"][0]["EntityInfo"]["Name"], "boto-reported", "entity")
    granting = root.list_policies_granting_service_access(Arn=arn, ServiceNamespaces=["s3", "iam"])
    expect_equal([entry["Policies"] for entry in granting["PoliciesGrantingServiceAccess"]], [[], []], "granting")
    # What Terraform asks for before it deletes a user.
    expect_equal(root.list_ssh_public_keys(UserName="boto-reported")["SSHPublicKeys"], [], "SSH keys")
    expect_equal(root.list_signing_certificates(UserName="boto-reported")["Certificates"], [], "certificates")
    credentials = root.list_service_specific_credentials(UserName="boto-reported")
    expect_equal(credentials["ServiceSpecificCredentials"], [], "credentials for services")
    result = root.simulate_principal_policy(PolicySourceArn=arn, ActionNames=["s3:GetObject"])["EvaluationResults"]
    expect_equal(result[0]["EvalDecision"], "implicitDeny", "decision")
    expect_equal(root.get_account_summary()["SummaryMap"]["AccessKeysPerUserQuota"], 2, "quota")
    root.delete_user(UserName="boto-reported")


def aws(*words):
    command = [os.path.join(os.path.dirname(sys.executable), "aws"), "--endpoint-url", ENDPOINT, "iam", *words]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout or b"null")


def cli():
    user = aws("create-user", "--user-name", "cli")["User"]
    expect_equal(user["Arn"], "arn:aws:iam::100000000001:user/cli", "ARN")
    aws("put-user-policy", "--user-name", "cli", "--policy-name", "look", "--policy-document", json.dumps(LOOK))
    expect_equal(aws("list-user-policies", "--user-name", "cli")["PolicyNames"], ["look"], "inline policies")
    key = aws("create-access-key", "--user-name", "cli")["AccessKey"]
    expect_equal(key["Status"], "Active", "status")
    expect_equal(len(iam(key).list_users()["Users"]) >= 1, True, "the key signs")
    aws("delete-access-key", "--user-name", "cli", "--access-key-id", key["AccessKeyId"])
    aws("delete-user-policy", "--user-name", "cli", "--policy-name", "look")
    aws("delete-user", "--user-name", "cli")


if __name__ == "__main__":
    main(globals())
