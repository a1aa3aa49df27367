//! The API of KMS through the real binary: keys and what is done with them, who may, and what is left on disk.

#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_tests::harness::files_below;
use cairn_tests::wire::Reply;
use cairn_tests::{Cairn, Client, Config, skip};
use serde_json::{Value, json};
use time::OffsetDateTime;

const ACCOUNT: &str = "100000000001";
const OTHER: &str = "100000000002";

const DECLARED: &str = r#"
[[kms_key]]
id = "testkey-1"

[[kms_key]]
id = "testkey-2"
account = "100000000002"
"#;

fn arn(key_id: &str) -> String {
    format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/{key_id}")
}

/// A call that must succeed: what it answers.
async fn done(client: &Client, action: &str, input: Value) -> Value {
    let reply = client.kms(action, &input).send().await;
    assert_eq!(reply.status, 200, "{action} {input}: {}", reply.text());
    if reply.body.is_empty() { Value::Null } else { serde_json::from_slice(&reply.body).unwrap() }
}

fn code_of(reply: &Reply) -> String {
    let error: Value = serde_json::from_slice(&reply.body).unwrap();
    error["__type"].as_str().unwrap().to_owned()
}

/// A call that must fail so.
async fn refused(client: &Client, action: &str, input: Value, code: &str) -> String {
    let reply = client.kms(action, &input).send().await;
    assert_eq!((reply.status, code_of(&reply).as_str()), (400, code), "{action} {input}: {}", reply.text());
    serde_json::from_slice::<Value>(&reply.body).unwrap()["message"].as_str().unwrap().to_owned()
}

async fn new_key(client: &Client) -> String {
    let made = done(client, "CreateKey", json!({})).await;
    made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

async fn encrypted(client: &Client, key_id: &str, context: Value) -> String {
    let input = json!({ "KeyId": key_id, "Plaintext": base64("secret"), "EncryptionContext": context });
    done(client, "Encrypt", input).await["CiphertextBlob"].as_str().unwrap().to_owned()
}

fn allow(principal: &str, actions: &[&str]) -> Value {
    json!({ "Effect": "Allow", "Principal": { "AWS": principal }, "Action": actions, "Resource": "*" })
}

/// A user of the first account with this policy, as a client, and its ARN.
async fn user(cairn: &Cairn, name: &str, statements: Value) -> (Client, String) {
    let root = cairn.client();
    root.action("iam", "CreateUser", &[("UserName", name)]).send().await.expect(200);
    if !statements.is_null() {
        let document = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        let parameters = [("UserName", name), ("PolicyName", "own"), ("PolicyDocument", &*document)];
        root.action("iam", "PutUserPolicy", &parameters).send().await.expect(200);
    }
    let key = root.action("iam", "CreateAccessKey", &[("UserName", name)]).send().await.expect(200);
    let client = cairn.client_with(&key.xml("AccessKeyId"), &key.xml("SecretAccessKey"));
    (client, format!("arn:aws:iam::{ACCOUNT}:user/{name}"))
}

#[tokio::test]
async fn a_key_is_made_described_disabled_and_scheduled_for_deletion() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    let tags = json!([{ "TagKey": "team", "TagValue": "red" }]);
    let made = done(&root, "CreateKey", json!({ "Description": "of a test", "Tags": tags })).await;
    let key_id = made["KeyMetadata"]["KeyId"].as_str().unwrap();
    assert_eq!(made["KeyMetadata"]["Arn"], arn(key_id));
    let blob = encrypted(&root, key_id, json!({})).await;
    done(&root, "DisableKey", json!({ "KeyId": key_id })).await;
    let shown = done(&root, "DescribeKey", json!({ "KeyId": arn(key_id) })).await;
    assert_eq!(
        (&shown["KeyMetadata"]["KeyState"], &shown["KeyMetadata"]["Description"]),
        (&json!("Disabled"), &json!("of a test"))
    );
    refused(&root, "Decrypt", json!({ "CiphertextBlob": blob }), "DisabledException").await;
    done(&root, "EnableKey", json!({ "KeyId": key_id })).await;
    let scheduled = done(&root, "ScheduleKeyDeletion", json!({ "KeyId": key_id, "PendingWindowInDays": 7 })).await;
    assert_eq!(scheduled["KeyState"], "PendingDeletion");
    for (action, input) in [
        ("Decrypt", json!({ "CiphertextBlob": blob })),
        ("GenerateDataKey", json!({ "KeyId": key_id, "KeySpec": "AES_256" })),
        ("EnableKey", json!({ "KeyId": key_id })),
        ("ScheduleKeyDeletion", json!({ "KeyId": key_id })),
        ("TagResource", json!({ "KeyId": key_id, "Tags": [] })),
        ("CreateAlias", json!({ "AliasName": "alias/pending", "TargetKeyId": key_id })),
    ] {
        refused(&root, action, input, "KMSInvalidStateException").await;
    }
    done(&root, "CancelKeyDeletion", json!({ "KeyId": key_id })).await;
    done(&root, "EnableKey", json!({ "KeyId": key_id })).await;
    let opened = done(&root, "Decrypt", json!({ "CiphertextBlob": blob })).await;
    assert_eq!((&opened["Plaintext"], &opened["KeyId"]), (&json!(base64("secret")), &json!(arn(key_id))));
    let listed = done(&root, "ListResourceTags", json!({ "KeyId": key_id })).await;
    assert_eq!(listed["Tags"], tags);
}

#[tokio::test]
async fn a_ciphertext_opens_only_as_it_is_with_its_context_and_key() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    let (key_id, other_key) = (new_key(&root).await, new_key(&root).await);
    let context = json!({ "a": "1", "b": "2" });
    let blob = encrypted(&root, &key_id, context.clone()).await;
    let input = |blob: &str, context: &Value| json!({ "CiphertextBlob": blob, "EncryptionContext": context });
    done(&root, "Decrypt", input(&blob, &json!({ "b": "2", "a": "1" }))).await;
    for context in [json!({}), json!({ "a": "1" }), json!({ "a": "1", "b": "3" })] {
        refused(&root, "Decrypt", input(&blob, &context), "InvalidCiphertextException").await;
    }
    let mut bytes = STANDARD.decode(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    refused(&root, "Decrypt", input(&base64(&bytes), &context), "InvalidCiphertextException").await;
    let of_other = json!({ "CiphertextBlob": blob, "KeyId": other_key, "EncryptionContext": context });
    refused(&root, "Decrypt", of_other, "IncorrectKeyException").await;
    let moved = json!({
        "CiphertextBlob": blob, "SourceEncryptionContext": context, "DestinationKeyId": other_key,
        "DestinationEncryptionContext": { "c": "3" },
    });
    let moved = done(&root, "ReEncrypt", moved).await;
    assert_eq!((&moved["SourceKeyId"], &moved["KeyId"]), (&json!(arn(&key_id)), &json!(arn(&other_key))));
    let opened = done(&root, "Decrypt", input(moved["CiphertextBlob"].as_str().unwrap(), &json!({ "c": "3" }))).await;
    assert_eq!(opened["Plaintext"], base64("secret"));
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_told_as_kms_tells_it() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    let key = new_key(&root).await;
    let policy = |principal: &str| json!({ "Statement": [allow(principal, &["kms:*"])] }).to_string();
    for (action, input, code) in [
        ("Encrypt", json!({ "KeyId": key }), "ValidationException"),
        ("Encrypt", json!({ "KeyId": 7, "Plaintext": "AA==" }), "SerializationException"),
        ("Encrypt", json!({ "KeyId": key, "Plaintext": "%" }), "SerializationException"),
        ("Encrypt", json!({ "KeyId": key, "Plaintext": "" }), "ValidationException"),
        ("Encrypt", json!({ "KeyId": key, "Plaintext": base64([0; 4_097]) }), "ValidationException"),
        ("Encrypt", json!({ "KeyId": "none", "Plaintext": "AA==" }), "NotFoundException"),
        ("Encrypt", json!({ "KeyId": "alias/none", "Plaintext": "AA==" }), "NotFoundException"),
        ("Encrypt", json!({ "KeyId": "arn:x", "Plaintext": "AA==" }), "InvalidArnException"),
        ("Encrypt", json!({ "KeyId": key, "Plaintext": "AA==", "DryRun": true }), "DryRunOperationException"),
        ("Decrypt", json!({ "CiphertextBlob": "AA==" }), "InvalidCiphertextException"),
        ("GenerateDataKey", json!({ "KeyId": key }), "ValidationException"),
        ("GenerateDataKey", json!({ "KeyId": key, "KeySpec": "AES_256", "NumberOfBytes": 1 }), "ValidationException"),
        ("GenerateDataKey", json!({ "KeyId": key, "NumberOfBytes": 1_025 }), "ValidationException"),
        ("GenerateRandom", json!({ "NumberOfBytes": 0 }), "ValidationException"),
        ("CreateKey", json!({ "KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY" }), "UnsupportedOperationException"),
        ("CreateKey", json!({ "KeySpec": "ROT13" }), "ValidationException"),
        ("CreateKey", json!({ "Origin": "EXTERNAL" }), "UnsupportedOperationException"),
        ("CreateKey", json!({ "Policy": "{" }), "MalformedPolicyDocumentException"),
        (
            "CreateKey",
            json!({ "Policy": policy("arn:aws:iam::100000000001:user/none") }),
            "MalformedPolicyDocumentException",
        ),
        (
            "CreateKey",
            json!({ "Policy": policy("arn:aws:iam::100000000002:root") }),
            "MalformedPolicyDocumentException",
        ),
        ("CreateKey", json!({ "Tags": [{ "TagKey": "aws:x", "TagValue": "" }] }), "TagException"),
        ("CreateAlias", json!({ "AliasName": "mine", "TargetKeyId": key }), "ValidationException"),
        ("CreateAlias", json!({ "AliasName": "alias/aws/x", "TargetKeyId": key }), "InvalidAliasNameException"),
        ("ScheduleKeyDeletion", json!({ "KeyId": key, "PendingWindowInDays": 6 }), "ValidationException"),
        ("CancelKeyDeletion", json!({ "KeyId": key }), "KMSInvalidStateException"),
        ("EnableKeyRotation", json!({ "KeyId": key, "RotationPeriodInDays": 89 }), "ValidationException"),
        ("EnableKey", json!({ "KeyId": "alias/aws/s3" }), "NotFoundException"),
        ("ListKeys", json!({ "Limit": 0 }), "ValidationException"),
        ("ListKeys", json!({ "Marker": "%" }), "InvalidMarkerException"),
        ("RetireGrant", json!({ "GrantToken": "%" }), "InvalidGrantTokenException"),
        ("RevokeGrant", json!({ "KeyId": key, "GrantId": "none" }), "NotFoundException"),
        ("GetKeyPolicy", json!({ "KeyId": key, "PolicyName": "other" }), "NotFoundException"),
        ("Sign", json!({}), "UnsupportedOperationException"),
        ("ImportKeyMaterial", json!({}), "UnsupportedOperationException"),
        ("Nonsense", json!({}), "UnknownOperationException"),
    ] {
        refused(&root, action, input, code).await;
    }
    let stranger = root.kms("ListKeys", &json!({})).anonymous().send().await;
    assert_eq!((stranger.status, code_of(&stranger).as_str()), (400, "MissingAuthenticationTokenException"));
    let unknown = cairn.client_with("AKIANOBODY", "no-such-secret-key").kms("ListKeys", &json!({})).send().await;
    assert_eq!(code_of(&unknown), "UnrecognizedClientException");
    let wrong = cairn.client_with(&root.credentials.access_key, "wrong-secret-key").kms("ListKeys", &json!({}));
    assert_eq!(code_of(&wrong.send().await), "InvalidSignatureException");
    // A signature of another service is good for nothing here.
    let for_s3 = root.kms("ListKeys", &json!({})).scope("us-east-1", "s3").send().await;
    assert_ne!(for_s3.status, 200);
}

#[tokio::test]
async fn identity_policies_decide_where_the_key_policy_leaves_it_to_them() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    let key = new_key(&root).await;
    let blob = encrypted(&root, &key, json!({ "team": "red" })).await;
    let decrypt = json!({ "CiphertextBlob": blob, "EncryptionContext": { "team": "red" } });
    let (nobody, _) = user(&cairn, "kms-nobody", Value::Null).await;
    let told = refused(&nobody, "Decrypt", decrypt.clone(), "AccessDeniedException").await;
    let expected = format!(
        "User: arn:aws:iam::{ACCOUNT}:user/kms-nobody is not authorized to perform: kms:Decrypt on resource: {} because no \
         identity-based policy allows the kms:Decrypt action",
        arn(&key)
    );
    assert_eq!(told, expected);
    let of_red = json!({ "Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*",
        "Condition": { "StringEquals": { "kms:EncryptionContext:team": "red" } } });
    let (reader, _) = user(&cairn, "kms-reader", json!([of_red])).await;
    done(&reader, "Decrypt", decrypt.clone()).await;
    let blue = encrypted(&root, &key, json!({ "team": "blue" })).await;
    let of_blue = json!({ "CiphertextBlob": blue, "EncryptionContext": { "team": "blue" } });
    refused(&reader, "Decrypt", of_blue, "AccessDeniedException").await;
    refused(&reader, "ListKeys", json!({}), "AccessDeniedException").await;
    let all = json!({ "Effect": "Allow", "Action": "kms:*", "Resource": "*" });
    let but = json!({ "Effect": "Deny", "Action": "kms:Decrypt", "Resource": arn(&key) });
    let (denied, _) = user(&cairn, "kms-denied", json!([all, but])).await;
    let told = refused(&denied, "Decrypt", decrypt, "AccessDeniedException").await;
    assert!(told.ends_with("with an explicit deny in an identity-based policy"), "{told}");
    encrypted(&denied, &key, json!({})).await;
}

#[tokio::test]
async fn a_key_policy_that_names_nobody_else_is_for_whom_it_names() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    let (holder, holder_arn) = user(&cairn, "kms-holder", Value::Null).await;
    let all = json!([{ "Effect": "Allow", "Action": "*", "Resource": "*" }]);
    let (administrator, _) = user(&cairn, "kms-administrator", all).await;
    let key = new_key(&root).await;
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        allow(&holder_arn, &["kms:Encrypt", "kms:Decrypt"]),
        allow(&format!("arn:aws:iam::{ACCOUNT}:root"), &["kms:PutKeyPolicy", "kms:GetKeyPolicy"]),
    ] });
    let put = |policy: &Value| json!({ "KeyId": key, "PolicyName": "default", "Policy": policy.to_string() });
    done(&root, "PutKeyPolicy", put(&policy)).await;
    assert_eq!(done(&root, "GetKeyPolicy", json!({ "KeyId": key })).await["Policy"], policy.to_string());
    let blob = encrypted(&holder, &key, json!({})).await;
    done(&holder, "Decrypt", json!({ "CiphertextBlob": blob })).await;
    for other in [&root, &administrator] {
        let told = refused(other, "Decrypt", json!({ "CiphertextBlob": blob }), "AccessDeniedException").await;
        assert!(told.ends_with("because no resource-based policy allows the kms:Decrypt action"), "{told}");
    }
    let locks_out = json!({ "Version": "2012-10-17", "Statement": [allow(&holder_arn, &["kms:*"])] });
    refused(&root, "PutKeyPolicy", put(&locks_out), "MalformedPolicyDocumentException").await;
    let mut anyway = put(&locks_out);
    anyway["BypassPolicyLockoutSafetyCheck"] = true.into();
    done(&root, "PutKeyPolicy", anyway).await;
    refused(&root, "GetKeyPolicy", json!({ "KeyId": key }), "AccessDeniedException").await;
}

#[tokio::test]
async fn another_account_uses_a_key_by_a_grant_and_not_without() {
    let cairn = Cairn::shared();
    let (root, other) = (cairn.client(), cairn.other_client());
    let key = new_key(&root).await;
    let use_it = json!({ "KeyId": arn(&key), "KeySpec": "AES_256", "EncryptionContext": { "for": "other", "n": "1" } });
    let told = refused(&other, "GenerateDataKey", use_it.clone(), "AccessDeniedException").await;
    let absent = json!({ "KeyId": arn("none"), "KeySpec": "AES_256" });
    let of_absent = refused(&other, "GenerateDataKey", absent, "AccessDeniedException").await;
    assert_eq!(told, of_absent, "who may not use a key is not told whether it is there");
    let grant = json!({
        "KeyId": key, "GranteePrincipal": format!("arn:aws:iam::{OTHER}:root"), "Operations": ["GenerateDataKey", "RetireGrant"],
        "Constraints": { "EncryptionContextSubset": { "for": "other" } }, "Name": "once",
    });
    let made = done(&root, "CreateGrant", grant.clone()).await;
    assert_eq!(done(&root, "CreateGrant", grant).await["GrantId"], made["GrantId"], "the same call makes no second");
    done(&other, "GenerateDataKey", use_it.clone()).await;
    let mut elsewhere = use_it.clone();
    elsewhere["EncryptionContext"] = json!({ "for": "me" });
    refused(&other, "GenerateDataKey", elsewhere, "AccessDeniedException").await;
    refused(&other, "DisableKey", json!({ "KeyId": arn(&key) }), "AccessDeniedException").await;
    let listed = done(&root, "ListGrants", json!({ "KeyId": key })).await;
    assert_eq!(listed["Grants"][0]["Constraints"], json!({ "EncryptionContextSubset": { "for": "other" } }));
    done(&other, "RetireGrant", json!({ "GrantToken": made["GrantToken"] })).await;
    refused(&other, "GenerateDataKey", use_it, "AccessDeniedException").await;
    assert_eq!(done(&root, "ListGrants", json!({ "KeyId": key })).await["Grants"], json!([]));
}

#[tokio::test]
async fn who_may_retire_a_grant_may_not_against_a_deny() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    let key = new_key(&root).await;
    let denied = json!({ "Effect": "Deny", "Action": "kms:RetireGrant", "Resource": "*" });
    let (stopped, stopped_arn) = user(&cairn, "kms-retires-not", json!([denied])).await;
    let (retiring, retiring_arn) = user(&cairn, "kms-retires", Value::Null).await;
    for (client, by, may) in [(&stopped, &stopped_arn, false), (&retiring, &retiring_arn, true)] {
        let grant = json!({
            "KeyId": key, "GranteePrincipal": stopped_arn, "RetiringPrincipal": by, "Operations": ["Encrypt"],
        });
        let made = done(&root, "CreateGrant", grant).await;
        let retire = json!({ "KeyId": arn(&key), "GrantId": made["GrantId"] });
        if may {
            done(client, "RetireGrant", retire).await;
        } else {
            refused(client, "RetireGrant", retire, "AccessDeniedException").await;
        }
    }
}

#[tokio::test]
async fn a_grant_to_make_grants_bounds_only_whom_no_policy_lets() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    let key = new_key(&root).await;
    let of_grants = json!({ "Effect": "Allow", "Action": "kms:CreateGrant", "Resource": "*" });
    let (admin, admin_arn) = user(&cairn, "kms-grants-admin", json!([of_grants])).await;
    let (holder, holder_arn) = user(&cairn, "kms-grants-holder", Value::Null).await;
    let grant =
        |to: &str, operations: &[&str]| json!({ "KeyId": key, "GranteePrincipal": to, "Operations": operations });
    for arn in [&admin_arn, &holder_arn] {
        done(&root, "CreateGrant", grant(arn, &["CreateGrant", "Encrypt"])).await;
    }
    done(&holder, "CreateGrant", grant(&admin_arn, &["Encrypt"])).await;
    refused(&holder, "CreateGrant", grant(&admin_arn, &["Decrypt"]), "AccessDeniedException").await;
    done(&admin, "CreateGrant", grant(&holder_arn, &["Decrypt"])).await;
}

#[tokio::test]
async fn aliases_name_keys_and_move_from_one_to_another() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    let (one, two) = (new_key(&root).await, new_key(&root).await);
    let alias = |key: &str| json!({ "AliasName": "alias/moving", "TargetKeyId": key });
    done(&root, "CreateAlias", alias(&one)).await;
    refused(&root, "CreateAlias", alias(&two), "AlreadyExistsException").await;
    let old = encrypted(&root, "alias/moving", json!({})).await;
    done(&root, "UpdateAlias", alias(&two)).await;
    let shown = done(&root, "DescribeKey", json!({ "KeyId": "alias/moving" })).await;
    assert_eq!(shown["KeyMetadata"]["KeyId"], two.as_str());
    assert_eq!(done(&root, "Decrypt", json!({ "CiphertextBlob": old })).await["KeyId"], arn(&one));
    let listed = done(&root, "ListAliases", json!({ "KeyId": two })).await;
    assert_eq!(listed["Aliases"][0]["AliasName"], "alias/moving");
    done(&root, "DeleteAlias", json!({ "AliasName": "alias/moving" })).await;
    refused(&root, "DeleteAlias", json!({ "AliasName": "alias/moving" }), "NotFoundException").await;
}

#[tokio::test]
async fn a_key_is_used_by_the_alias_that_a_policy_asks_for() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    let key = new_key(&root).await;
    done(&root, "CreateAlias", json!({ "AliasName": "alias/asked-for", "TargetKeyId": key })).await;
    let by_alias = json!({ "Effect": "Allow", "Action": "kms:*", "Resource": "*",
        "Condition": { "StringEquals": { "kms:RequestAlias": "alias/asked-for" } } });
    let (user, _) = user(&cairn, "kms-by-alias", json!([by_alias])).await;
    let blob = encrypted(&user, "alias/asked-for", json!({})).await;
    done(&user, "Decrypt", json!({ "CiphertextBlob": blob, "KeyId": "alias/asked-for" })).await;
    let moved =
        |source: &str| json!({ "CiphertextBlob": blob, "SourceKeyId": source, "DestinationKeyId": "alias/asked-for" });
    done(&user, "ReEncrypt", moved("alias/asked-for")).await;
    refused(&user, "Decrypt", json!({ "CiphertextBlob": blob }), "AccessDeniedException").await;
    refused(&user, "ReEncrypt", moved(&key), "AccessDeniedException").await;
}

#[tokio::test]
async fn lists_come_in_pages() {
    let cairn = Cairn::start(Config::default());
    let root = cairn.client();
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(new_key(&root).await);
    }
    let mut found = Vec::new();
    let mut input = json!({ "Limit": 2 });
    loop {
        let page = done(&root, "ListKeys", input.clone()).await;
        found.extend(page["Keys"].as_array().unwrap().iter().map(|key| key["KeyId"].as_str().unwrap().to_owned()));
        if page["Truncated"] == false {
            break;
        }
        input["Marker"] = page["NextMarker"].clone();
    }
    made.sort();
    assert_eq!(found, made);
}

#[tokio::test]
async fn declared_keys_are_their_accounts_and_outlive_a_restart() {
    let mut cairn = Cairn::start(Config { more: DECLARED.to_owned(), ..Config::default() });
    let (root, other) = (cairn.client(), cairn.other_client());
    let shown = done(&root, "DescribeKey", json!({ "KeyId": "testkey-1" })).await;
    assert_eq!(shown["KeyMetadata"]["Arn"], arn("testkey-1"));
    refused(&root, "DescribeKey", json!({ "KeyId": "testkey-2" }), "NotFoundException").await;
    done(&other, "DescribeKey", json!({ "KeyId": "testkey-2" })).await;
    let blob = encrypted(&root, "testkey-1", json!({})).await;
    done(&root, "RotateKeyOnDemand", json!({ "KeyId": "testkey-1" })).await;
    cairn.restart();
    assert_eq!(done(&root, "Decrypt", json!({ "CiphertextBlob": blob })).await["Plaintext"], base64("secret"));
    let rotations = done(&root, "ListKeyRotations", json!({ "KeyId": "testkey-1" })).await;
    assert_eq!(rotations["Rotations"][0]["RotationType"], "ON_DEMAND");
}

/// What was encrypted while keys were rotated opens after a crash in the middle of it, also what was answered last.
#[tokio::test]
async fn a_crash_in_the_middle_of_rotations_loses_no_version() {
    let mut cairn = Cairn::start(Config { more: DECLARED.to_owned(), ..Config::default() });
    let root = cairn.client();
    let mut issued = Vec::new();
    for round in 0..3 {
        // Each key has few rotations on demand.
        let key = new_key(&root).await;
        let (rotating, input) = (root.clone(), json!({ "KeyId": key }));
        let rotations = tokio::spawn(async move {
            loop {
                match rotating.kms("RotateKeyOnDemand", &input).try_send().await {
                    Ok(reply) if reply.status == 200 => {}
                    ended => return ended,
                }
            }
        });
        for _ in 0..5 + round {
            let input = json!({ "KeyId": key, "KeySpec": "AES_256" });
            issued.push(done(&root, "GenerateDataKey", input).await);
        }
        cairn.kill9();
        assert!(rotations.await.unwrap().is_err(), "the key was not being rotated any more");
        cairn.start_again();
        for one in &issued {
            let opened = done(&root, "Decrypt", json!({ "CiphertextBlob": one["CiphertextBlob"] })).await;
            assert_eq!(opened["Plaintext"], one["Plaintext"]);
        }
    }
}

#[tokio::test]
async fn nothing_that_was_encrypted_or_issued_is_kept_in_plain() {
    let mut cairn = Cairn::start(Config { more: DECLARED.to_owned(), ..Config::default() });
    let root = cairn.client();
    let canary = "kms-canary-plaintext-0123456789";
    let input =
        json!({ "KeyId": "testkey-1", "Plaintext": base64(canary), "EncryptionContext": { "shown": "context" } });
    let blob = done(&root, "Encrypt", input).await["CiphertextBlob"].clone();
    done(&root, "Decrypt", json!({ "CiphertextBlob": blob, "EncryptionContext": { "shown": "context" } })).await;
    let issued = done(&root, "GenerateDataKey", json!({ "KeyId": "testkey-1", "KeySpec": "AES_256" })).await;
    let issued = STANDARD.decode(issued["Plaintext"].as_str().unwrap()).unwrap();
    let wrong = json!({ "CiphertextBlob": base64(canary), "KeyId": "testkey-1" });
    refused(&root, "Decrypt", wrong, "InvalidCiphertextException").await;
    refused(&root, "Encrypt", json!({ "KeyId": 7, "Plaintext": canary }), "SerializationException").await;
    let (_, metrics) = cairn.ops_get("/metrics").unwrap();
    cairn.stop();
    let mut everything = [cairn.log().into_bytes(), metrics.into_bytes()].concat();
    for file in files_below(&cairn.data_dir()) {
        everything.extend(std::fs::read(file).unwrap());
    }
    for secret in [canary.as_bytes(), &issued] {
        for form in [secret.to_vec(), base64(secret).into_bytes(), hex::encode(secret).into_bytes()] {
            let found = everything.windows(form.len()).any(|window| window == form);
            assert!(!found, "{}", String::from_utf8_lossy(&form));
        }
    }
}

#[tokio::test]
async fn objects_under_a_key_that_was_deleted_cannot_be_read_any_more_and_say_so() {
    let mut cairn = Cairn::start(Config { more: DECLARED.to_owned(), ..Config::default() });
    let root = cairn.client();
    let key = new_key(&root).await;
    let bucket = root.fresh_bucket("kms-deleted").await;
    let put = root.object("PUT", &bucket, "key").header("x-amz-server-side-encryption", "aws:kms");
    put.header("x-amz-server-side-encryption-aws-kms-key-id", &key).body("gone").send().await.expect(200);
    done(&root, "ScheduleKeyDeletion", json!({ "KeyId": key, "PendingWindowInDays": 7 })).await;
    root.get(&bucket, "key").await.expect_error(400, "KMS.KMSInvalidStateException");
    let days = 8;
    if let Err(reason) = cairn.set_wall_clock(days) {
        skip!("{reason}");
    }
    cairn.restart();
    let now = OffsetDateTime::now_utc() + time::Duration::days(days);
    let reply = root.object("GET", &bucket, "key").at(now).send().await.expect_error(400, "KMS.NotFoundException");
    assert_eq!(reply.xml("Message"), format!("Key '{}' does not exist", arn(&key)));
    let shown = root.kms("DescribeKey", &json!({ "KeyId": key })).at(now).send().await;
    assert_eq!(code_of(&shown), "NotFoundException");
    root.object("DELETE", &bucket, "key").at(now).send().await.expect(204);
    cairn.stop();
    let (status, printed) = cairn.check();
    assert_eq!(status, Some(0), "{printed}");
}

#[tokio::test]
async fn a_wall_clock_that_is_not_believed_deletes_no_key() {
    let mut cairn = Cairn::start(Config::default());
    let root = cairn.client();
    let key = new_key(&root).await;
    let locked = root.bucket("PUT", "kms-locked").header("x-amz-bucket-object-lock-enabled", "true");
    locked.send().await.expect(200);
    done(&root, "ScheduleKeyDeletion", json!({ "KeyId": key, "PendingWindowInDays": 7 })).await;
    let days = 8;
    if let Err(reason) = cairn.set_wall_clock(days) {
        skip!("{reason}");
    }
    cairn.restart();
    let now = OffsetDateTime::now_utc() + time::Duration::days(days);
    let taken_back = root.kms("CancelKeyDeletion", &json!({ "KeyId": key })).at(now).send().await;
    assert_eq!(taken_back.status, 200, "{}", taken_back.text());
}

#[tokio::test]
async fn why_tells_about_the_decisions_of_kms() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    let key = new_key(&root).await;
    let (nobody, _) = user(&cairn, "kms-why", Value::Null).await;
    let input = json!({ "KeyId": arn(&key), "Plaintext": base64("x") });
    let reply = nobody.kms("Encrypt", &input).send().await;
    assert_eq!(code_of(&reply), "AccessDeniedException");
    let id = reply.header("x-amzn-requestid").unwrap();
    let output = cairn.calling_command(&["why", id]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for part in ["kms:Encrypt", &arn(&key), "user/kms-why", "no identity-based policy allows kms:Encrypt"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}
