//! MFA: sessions that a code was given for, and buckets that want one before anything goes for good.

#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_tests::client::Client;
use cairn_tests::lifecycle::{put_rules, rule};
use cairn_tests::{Cairn, Call, Config, Reply, digest, totp};

const ACCOUNT: &str = "100000000001";

/// How far behind the device's clock is at first, in codes: so many of them can be used without waiting for the next.
const CODES_BEHIND: u64 = 15;

/// A device, whose every code is used once.
struct Device {
    serial: String,
    seed: Vec<u8>,
    next_step: u64,
}

impl Device {
    /// Makes one and gives it to the user, or to the root.
    async fn enable(root: &Client, name: &str, user: Option<&str>) -> Self {
        let made = root.action("iam", "CreateVirtualMFADevice", &[("VirtualMFADeviceName", name)]);
        let made = made.send().await.expect(200);
        let base32 = STANDARD.decode(made.xml("Base32StringSeed")).unwrap();
        let seed = totp::seed(std::str::from_utf8(&base32).unwrap());
        let mut device = Self { serial: made.xml("SerialNumber"), seed, next_step: totp::step_now() - CODES_BEHIND };
        let (first, second) = (device.code(), device.code());
        let user = user.map(|user| ("UserName", user));
        let codes = [("AuthenticationCode1", first.as_str()), ("AuthenticationCode2", &second)];
        let parameters: Vec<_> =
            [("SerialNumber", device.serial.as_str())].into_iter().chain(codes).chain(user).collect();
        root.action("iam", "EnableMFADevice", &parameters).send().await.expect(200);
        device
    }

    fn code(&mut self) -> String {
        self.next_step += 1;
        totp::code(&self.seed, self.next_step - 1)
    }

    /// The value of `x-amz-mfa`.
    fn header(&mut self) -> String {
        let code = self.code();
        format!("{} {code}", self.serial)
    }
}

fn set(client: &Client, bucket: &str, status: &str, mfa_delete: &str) -> Call {
    let body = format!(
        "<VersioningConfiguration><Status>{status}</Status><MfaDelete>{mfa_delete}</MfaDelete></VersioningConfiguration>"
    );
    client.bucket("PUT", bucket).query("versioning", "").body(body)
}

async fn state(client: &Client, bucket: &str) -> Reply {
    client.bucket("GET", bucket).query("versioning", "").send().await.expect(200)
}

/// A bucket with MFA delete, with one version of `key`.
async fn bucket(client: &Client, device: &mut Device) -> (String, String) {
    let bucket = client.fresh_bucket("mfa").await;
    set(client, &bucket, "Enabled", "Enabled").header("x-amz-mfa", &device.header()).send().await.expect(200);
    assert_eq!(state(client, &bucket).await.xml("MfaDelete"), "Enabled");
    let version = client.put(&bucket, "key", "kept").await.header("x-amz-version-id").unwrap().to_owned();
    (bucket, version)
}

#[tokio::test]
async fn a_version_goes_for_good_only_with_a_code() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let mut device = Device::enable(&client, "delete", None).await;
    let (bucket, version) = bucket(&client, &mut device).await;
    let remove = || client.object("DELETE", &bucket, "key").query("versionId", &version);
    remove().send().await.expect_error(403, "AccessDenied");
    for header in ["", "123456", &format!("{} 000000", device.serial), "arn:aws:iam::100000000001:mfa/other 123456"] {
        remove().header("x-amz-mfa", header).send().await.expect_error(403, "AccessDenied");
    }
    let used = device.header();
    // A code that is used for something else is not good any more.
    set(&client, &bucket, "Enabled", "Enabled").header("x-amz-mfa", &used).send().await.expect(200);
    remove().header("x-amz-mfa", &used).send().await.expect_error(403, "AccessDenied");
    let got = client.object("GET", &bucket, "key").query("versionId", &version).send().await.expect(200);
    assert_eq!(got.text(), "kept");
    remove().header("x-amz-mfa", &device.header()).send().await.expect(204);
    client.object("GET", &bucket, "key").query("versionId", &version).send().await.expect_error(404, "NoSuchVersion");
}

#[tokio::test]
async fn rules_and_mfa_delete_exclude_one_another() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let mut device = Device::enable(&client, "rules", None).await;
    let (guarded, _) = bucket(&client, &mut device).await;
    let ends = rule("ends", "", "<Expiration><Days>1</Days></Expiration>");
    put_rules(&client, &guarded, &ends).send().await.expect_error(409, "InvalidBucketState");
    client
        .bucket("GET", &guarded)
        .query("lifecycle", "")
        .send()
        .await
        .expect_error(404, "NoSuchLifecycleConfiguration");
    let ruled = client.fresh_bucket("ruled").await;
    put_rules(&client, &ruled, &ends).send().await.expect(200);
    let enable = set(&client, &ruled, "Enabled", "Enabled").header("x-amz-mfa", &device.header());
    enable.send().await.expect_error(409, "InvalidBucketState");
    assert_ne!(state(&client, &ruled).await.xml("MfaDelete"), "Enabled");
}

#[tokio::test]
async fn a_delete_marker_needs_no_code() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let mut device = Device::enable(&client, "marker", None).await;
    let (bucket, _) = bucket(&client, &mut device).await;
    let reply = client.object("DELETE", &bucket, "key").send().await.expect(204);
    assert_eq!(reply.header("x-amz-delete-marker"), Some("true"));
    let marker = reply.header("x-amz-version-id").unwrap();
    let remove = || client.object("DELETE", &bucket, "key").query("versionId", marker);
    remove().send().await.expect_error(403, "AccessDenied");
    remove().header("x-amz-mfa", &device.header()).send().await.expect(204);
}

#[tokio::test]
async fn one_code_is_good_for_all_versions_of_a_delete_of_many() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let mut device = Device::enable(&client, "many", None).await;
    let (bucket, first) = bucket(&client, &mut device).await;
    let second = client.put(&bucket, "key", "newer").await.header("x-amz-version-id").unwrap().to_owned();
    let body = format!(
        "<Delete><Object><Key>key</Key><VersionId>{first}</VersionId></Object>\
         <Object><Key>key</Key><VersionId>{second}</VersionId></Object></Delete>"
    );
    let delete = || {
        let call = client.bucket("POST", &bucket).query("delete", "").body(body.clone());
        call.header("x-amz-checksum-crc32", &digest::checksum("CRC32", body.as_bytes()))
    };
    let refused = delete().send().await.expect(200);
    assert_eq!(refused.xml_all("Code"), ["AccessDenied", "AccessDenied"]);
    let removed = delete().header("x-amz-mfa", &device.header()).send().await.expect(200);
    assert_eq!(removed.xml_all("VersionId"), [first, second]);
    assert!(removed.xml_all("Code").is_empty(), "{}", removed.text());
}

#[tokio::test]
async fn versioning_changes_only_with_a_code_and_mfa_delete_only_by_the_root() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let mut device = Device::enable(&client, "root", None).await;
    let (bucket, _) = bucket(&client, &mut device).await;
    for (status, mfa_delete) in [("Suspended", "Enabled"), ("Enabled", "Disabled")] {
        set(&client, &bucket, status, mfa_delete).send().await.expect_error(403, "AccessDenied");
    }
    client.action("iam", "CreateUser", &[("UserName", "admin")]).send().await.expect(200);
    let attach = [("UserName", "admin"), ("PolicyArn", "arn:aws:iam::aws:policy/AdministratorAccess")];
    client.action("iam", "AttachUserPolicy", &attach).send().await.expect(200);
    let key = client.action("iam", "CreateAccessKey", &[("UserName", "admin")]).send().await.expect(200);
    let admin = cairn.client_with(&key.xml("AccessKeyId"), &key.xml("SecretAccessKey"));
    let mut own = Device::enable(&client, "admin", Some("admin")).await;
    // What is refused for another reason does not use a code up.
    let (own, roots) = (own.header(), device.header());
    let off = set(&admin, &bucket, "Enabled", "Disabled").header("x-amz-mfa", &own);
    off.send().await.expect_error(403, "AccessDenied");
    // The root's device is none of the user's; with its own the user may suspend.
    let suspend = |header: &str| set(&admin, &bucket, "Suspended", "Enabled").header("x-amz-mfa", header);
    suspend(&roots).send().await.expect_error(403, "AccessDenied");
    suspend(&own).send().await.expect(200);
    set(&client, &bucket, "Enabled", "Disabled").header("x-amz-mfa", &roots).send().await.expect(200);
    let state = state(&client, &bucket).await;
    assert_eq!((state.xml("Status").as_str(), state.xml_all("MfaDelete").len()), ("Enabled", 0));
}

#[tokio::test]
async fn used_codes_and_the_flag_survive_a_kill() {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let mut device = Device::enable(&client, "kill", None).await;
    let (bucket, version) = bucket(&client, &mut device).await;
    let used = device.header();
    set(&client, &bucket, "Enabled", "Enabled").header("x-amz-mfa", &used).send().await.expect(200);
    cairn.kill9();
    cairn.start_again();
    let remove = || client.object("DELETE", &bucket, "key").query("versionId", &version);
    remove().send().await.expect_error(403, "AccessDenied");
    remove().header("x-amz-mfa", &used).send().await.expect_error(403, "AccessDenied");
    remove().header("x-amz-mfa", &device.header()).send().await.expect(204);
}

#[tokio::test]
async fn a_policy_can_ask_for_a_session_with_a_code() {
    let cairn = Cairn::start(Config::default());
    let root = cairn.client();
    let bucket = root.fresh_bucket("mfa-policy").await;
    root.put(&bucket, "key", "body").await;
    root.action("iam", "CreateUser", &[("UserName", "anna")]).send().await.expect(200);
    let condition =
        r#"{"Bool":{"aws:MultiFactorAuthPresent":"true"},"NumericLessThan":{"aws:MultiFactorAuthAge":"600"}}"#;
    let document = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":["s3:*","iam:ListUsers"],"Resource":"*","Condition":{condition}}}]}}"#
    );
    let put = [("UserName", "anna"), ("PolicyName", "own"), ("PolicyDocument", document.as_str())];
    root.action("iam", "PutUserPolicy", &put).send().await.expect(200);
    let key = root.action("iam", "CreateAccessKey", &[("UserName", "anna")]).send().await.expect(200);
    let anna = cairn.client_with(&key.xml("AccessKeyId"), &key.xml("SecretAccessKey"));
    let mut device = Device::enable(&root, "anna", Some("anna")).await;

    anna.get(&bucket, "key").await.expect_error(403, "AccessDenied");
    let without = anna.in_session(&anna.action("sts", "GetSessionToken", &[]).send().await.expect(200));
    without.get(&bucket, "key").await.expect_error(403, "AccessDenied");
    without.action("iam", "ListUsers", &[]).send().await.expect_error(403, "InvalidClientTokenId");
    let (serial, code) = (device.serial.clone(), device.code());
    let parameters = [("SerialNumber", serial.as_str()), ("TokenCode", code.as_str())];
    let with = anna.in_session(&anna.action("sts", "GetSessionToken", &parameters).send().await.expect(200));
    with.get(&bucket, "key").await.expect(200);
    with.action("iam", "ListUsers", &[]).send().await.expect(200);
    anna.action("sts", "GetSessionToken", &parameters).send().await.expect_error(403, "AccessDenied");
}

#[tokio::test]
async fn a_role_can_ask_for_a_code_when_it_is_assumed() {
    let cairn = Cairn::start(Config::default());
    let root = cairn.client();
    root.action("iam", "CreateUser", &[("UserName", "anna")]).send().await.expect(200);
    let key = root.action("iam", "CreateAccessKey", &[("UserName", "anna")]).send().await.expect(200);
    let anna = cairn.client_with(&key.xml("AccessKeyId"), &key.xml("SecretAccessKey"));
    let trust = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{{"AWS":"arn:aws:iam::{ACCOUNT}:user/anna"}},"Condition":{{"Bool":{{"aws:MultiFactorAuthPresent":"true"}}}}}}]}}"#
    );
    let create = [("RoleName", "guarded"), ("AssumeRolePolicyDocument", trust.as_str())];
    root.action("iam", "CreateRole", &create).send().await.expect(200);
    let mut device = Device::enable(&root, "anna", Some("anna")).await;
    let arn = format!("arn:aws:iam::{ACCOUNT}:role/guarded");
    let role = [("RoleArn", arn.as_str()), ("RoleSessionName", "job")];
    anna.action("sts", "AssumeRole", &role).send().await.expect_error(403, "AccessDenied");
    let (serial, code) = (device.serial.clone(), device.code());
    let with_code = [&role[..], &[("SerialNumber", serial.as_str()), ("TokenCode", code.as_str())]].concat();
    anna.action("sts", "AssumeRole", &with_code).send().await.expect(200);
    anna.action("sts", "AssumeRole", &with_code).send().await.expect_error(403, "AccessDenied");
}
