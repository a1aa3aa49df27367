//! Nobody gets more than they were given: whatever a bounded user calls, in whatever order, and whoever it becomes by that,
//! stays within its boundary; and who has no rights can do nothing.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use cairn_crypto::secret::{KEY_BYTES, MasterKey};
use cairn_crypto::wrap::MasterKeyWrap;
use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::{Policies, Request, evaluate};
use cairn_iam::simulate::ContextEntries;
use cairn_storage::clock::{SystemClock, SystemEntropy};
use cairn_storage::health::Health;
use cairn_storage::index::memory::MemoryIndex;
use http::HeaderMap;

use super::*;
use crate::auth::Signer;
use crate::gate::ids::RequestIds;
use crate::identities::IdentityParts;
use crate::listener::ConnectionInfo;
use crate::query_api::Params;

const ACCOUNT: AccountNumber = AccountNumber(100_000_000_001);
const BOUNDARY: &str = "arn:aws:iam::100000000001:policy/Boundary";
const ADMINISTRATOR: &str = "arn:aws:iam::aws:policy/AdministratorAccess";

/// What the boundary does not allow.
const OUTSIDE: &str = "s3:DeleteObject";

const SEQUENCES: u64 = 100;
const CALLS: usize = 60;

/// Delegation as the IAM user guide describes it ("Permissions boundaries for IAM entities", "Delegating responsibility to
/// others using permissions boundaries"): users and roles only with this boundary, keys and passwords only below `/team/`, and
/// hands off the boundary itself.
fn boundary() -> String {
    let bounded = [
        "CreateUser",
        "CreateRole",
        "AttachUserPolicy",
        "DetachUserPolicy",
        "PutUserPolicy",
        "DeleteUserPolicy",
        "AttachRolePolicy",
        "PutRolePolicy",
        "PutUserPermissionsBoundary",
        "PutRolePermissionsBoundary",
    ];
    let bounded: Vec<String> = bounded.iter().map(|action| format!("\"iam:{action}\"")).collect();
    format!(
        r#"{{"Version":"2012-10-17","Statement":[
        {{"Effect":"Allow","Action":["s3:GetObject","iam:Get*","iam:List*"],"Resource":"*"}},
        {{"Effect":"Allow","Action":[{}],"Resource":"*",
          "Condition":{{"StringEquals":{{"iam:PermissionsBoundary":"{BOUNDARY}"}}}}}},
        {{"Effect":"Allow","Action":["iam:CreateAccessKey","iam:UpdateAccessKey","iam:DeleteAccessKey","iam:UpdateUser",
          "iam:CreateLoginProfile","iam:UpdateLoginProfile","iam:DeleteUser","iam:TagUser"],
          "Resource":"arn:aws:iam::*:user/team/*"}},
        {{"Effect":"Allow","Action":["iam:*Group","iam:*GroupPolicy"],"Resource":"arn:aws:iam::*:group/team/*"}},
        {{"Effect":"Allow","Action":["iam:CreatePolicy","iam:CreatePolicyVersion","iam:SetDefaultPolicyVersion",
          "iam:DeletePolicy"],"Resource":"arn:aws:iam::*:policy/team/*"}}]}}"#,
        bounded.join(",")
    )
}

struct World {
    api: IamApi,
    ids: RequestIds,
    random: u64,
}

impl World {
    async fn new(seed: u64) -> Self {
        #[derive(serde::Deserialize)]
        struct File {
            account: Vec<crate::config::Account>,
        }
        let text = format!(
            "[[account]]\nid = \"{ACCOUNT}\"\ncanonical_id = \"a\"\ndisplay_name = \"a\"\n\
             root_key = {{ access_key = \"root-access\", secret_key = \"root-secret-key\" }}\n"
        );
        let identities = Identities::start(IdentityParts {
            declared: toml::from_str::<File>(&text).unwrap().account,
            index: Arc::new(MemoryIndex::new(Health::default())),
            master_key: MasterKeyWrap::new(&MasterKey::from_bytes([1; KEY_BYTES])),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        });
        let api = IamApi::new(identities.await.unwrap(), "us-east-1".to_owned());
        Self {
            api,
            ids: RequestIds::new(Arc::new(SystemEntropy)),
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        }
    }

    async fn call(&self, key: &str, action: &str, parameters: &[(&str, &str)]) -> Result<(), String> {
        let form: Vec<String> = parameters
            .iter()
            .map(|(name, value)| {
                let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
                format!("{name}={value}")
            })
            .collect();
        let call = Call {
            signer: Some(Signer { access_key: key.to_owned(), session: None }),
            params: Params::parse(form.join("&").as_bytes()).unwrap(),
            headers: HeaderMap::new(),
            connection: ConnectionInfo {
                remote: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
                secure: false,
                tls_version: None,
            },
            id: self.ids.next(),
            trail: crate::audit::Trail::default(),
        };
        let action = self.api.action(action).unwrap();
        self.api.call(action, call).await.map(|_| ()).map_err(|failure| failure.code().to_owned())
    }

    async fn by_root(&self, action: &str, parameters: &[(&str, &str)]) {
        self.call("root-access", action, parameters).await.unwrap_or_else(|code| panic!("{action}: {code}"));
    }

    /// The keys of these users.
    fn keys_of(&self, users: &BTreeSet<String>) -> Vec<String> {
        let snapshot = self.api.identities.snapshot();
        let directory = snapshot.directory(ACCOUNT).unwrap();
        let ids = directory
            .keys
            .iter()
            .filter(|key| key.user.as_ref().is_some_and(|user| users.contains(user)))
            .map(|key| key.id.clone());
        ids.collect()
    }

    /// All users that have a key.
    fn users_with_keys(&self) -> BTreeSet<String> {
        let snapshot = self.api.identities.snapshot();
        snapshot.directory(ACCOUNT).unwrap().keys.iter().filter_map(|key| key.user.clone()).collect()
    }

    /// Whether who has this key may do what is outside of the boundary.
    fn is_outside(&self, key: &str) -> bool {
        let Some(caller) = self.api.identities.snapshot().caller(key) else { return false };
        let context = ContextEntries::default();
        let request = Request {
            principal: &caller.principal,
            action: OUTSIDE,
            resource: "arn:aws:s3:::b/k",
            resource_account: Some(ACCOUNT),
            context: &context,
        };
        let policies = Policies {
            identity: &caller.policies.identity,
            boundary: caller.policies.boundary.as_ref(),
            ..Policies::default()
        };
        evaluate(&request, &policies).is_allowed()
    }

    fn pick<'c, T: ?Sized>(&mut self, choices: &[&'c T]) -> &'c T {
        // Xorshift: any sequence will do that a seed repeats.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        choices[(self.random >> 33) as usize % choices.len()]
    }
}

/// Any call with any of a few values in its parameters.
async fn random_call(world: &mut World, key: &str) -> (String, Result<(), String>) {
    let allows_all = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#;
    let action = world.pick(&[
        "CreateUser",
        "CreateUser",
        "CreateRole",
        "AttachUserPolicy",
        "PutUserPolicy",
        "PutUserPolicy",
        "CreateAccessKey",
        "CreateAccessKey",
        "UpdateUser",
        "PutUserPermissionsBoundary",
        "DeleteUserPermissionsBoundary",
        "CreatePolicy",
        "CreatePolicyVersion",
        "SetDefaultPolicyVersion",
        "DeletePolicy",
        "CreateGroup",
        "AddUserToGroup",
        "PutGroupPolicy",
        "AttachGroupPolicy",
        "UpdateGroup",
        "CreateLoginProfile",
        "DeleteUser",
        "AttachRolePolicy",
        "UpdateAssumeRolePolicy",
        "PutRolePermissionsBoundary",
        "DeleteRolePermissionsBoundary",
        "TagUser",
        "DetachUserPolicy",
        "DeleteUserPolicy",
        "UpdateAccessKey",
    ]);
    let user = world.pick(&["delegate", "free", "one", "two", "Boundary"]);
    let new_user = world.pick(&["one", "two", "three"]);
    let path = world.pick(&["/", "/team/"]);
    let policy = world.pick(&[
        BOUNDARY,
        ADMINISTRATOR,
        "arn:aws:iam::100000000001:policy/team/Own",
        "arn:aws:iam::100000000001:policy/Own",
    ]);
    let bound = world.pick(&["", BOUNDARY, BOUNDARY, ADMINISTRATOR, "arn:aws:iam::100000000001:policy/team/Own"]);
    let name = if action == "CreateUser" { new_user } else { user };
    let mut parameters = vec![
        ("UserName", name),
        ("NewUserName", new_user),
        ("Path", path),
        ("NewPath", path),
        ("PolicyArn", policy),
        ("PolicyName", if action == "CreatePolicy" { "Own" } else { "p" }),
        ("PolicyDocument", if action == "UpdateAssumeRolePolicy" { trust } else { allows_all }),
        ("AssumeRolePolicyDocument", trust),
        ("SetAsDefault", "true"),
        ("VersionId", world.pick(&["v1", "v2"])),
        ("GroupName", world.pick(&["Admins", "Team"])),
        ("NewGroupName", "Team"),
        ("RoleName", world.pick(&["Role", "Free"])),
        ("Password", "password-1234"),
        ("Status", "Active"),
        ("AccessKeyId", "AKIA"),
        ("Tags.member.1.Key", "k"),
        ("Tags.member.1.Value", "v"),
    ];
    if !bound.is_empty() {
        parameters.push(("PermissionsBoundary", bound));
    }
    (format!("{action} {user} {policy} {bound} {path}"), world.call(key, action, &parameters).await)
}

async fn world_with_delegate(seed: u64) -> World {
    let world = World::new(seed).await;
    let boundary = boundary();
    world.by_root("CreatePolicy", &[("PolicyName", "Boundary"), ("PolicyDocument", &boundary)]).await;
    for user in ["delegate", "free"] {
        world.by_root("CreateUser", &[("UserName", user)]).await;
        world.by_root("AttachUserPolicy", &[("UserName", user), ("PolicyArn", ADMINISTRATOR)]).await;
    }
    world.by_root("CreateGroup", &[("GroupName", "Admins")]).await;
    world.by_root("AttachGroupPolicy", &[("GroupName", "Admins"), ("PolicyArn", ADMINISTRATOR)]).await;
    world.by_root("PutUserPermissionsBoundary", &[("UserName", "delegate"), ("PermissionsBoundary", BOUNDARY)]).await;
    world.by_root("CreateAccessKey", &[("UserName", "delegate")]).await;
    world
}

#[tokio::test]
async fn no_sequence_of_allowed_calls_leads_out_of_a_boundary() {
    let mut allowed = 0;
    for seed in 1..=SEQUENCES {
        let mut world = world_with_delegate(seed).await;
        let mut history = Vec::new();
        for _ in 0..CALLS {
            // Whoever has a key is the delegate, or got the key by it.
            let keys = world.keys_of(&world.users_with_keys());
            let key = world.pick(&keys.iter().collect::<Vec<_>>()).clone();
            let (what, outcome) = random_call(&mut world, &key).await;
            allowed += usize::from(outcome.is_ok());
            history.push(format!("{what}: {outcome:?}"));
            for key in world.keys_of(&world.users_with_keys()) {
                assert!(!world.is_outside(&key), "seed {seed}:\n{}", history.join("\n"));
            }
        }
    }
    assert!(allowed > SEQUENCES as usize * 2, "only {allowed} calls were allowed: the test tries too little");
}

#[tokio::test]
async fn the_check_finds_who_is_outside() {
    let world = world_with_delegate(1).await;
    world.by_root("CreateAccessKey", &[("UserName", "free")]).await;
    let free: BTreeSet<String> = ["free".to_owned()].into();
    assert!(world.keys_of(&free).iter().all(|key| world.is_outside(key)));
}

#[tokio::test]
async fn who_has_no_rights_can_do_nothing() {
    let world = World::new(1).await;
    world.by_root("CreateUser", &[("UserName", "nobody")]).await;
    world.by_root("CreateAccessKey", &[("UserName", "nobody")]).await;
    let role = [
        ("RoleName", "Role"),
        (
            "AssumeRolePolicyDocument",
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#,
        ),
    ];
    world.by_root("CreateRole", &role).await;
    world.by_root("CreateGroup", &[("GroupName", "Group")]).await;
    let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    world.by_root("CreatePolicy", &[("PolicyName", "Policy"), ("PolicyDocument", document)]).await;
    let key = world.keys_of(&["nobody".to_owned()].into()).remove(0);
    let arn = "arn:aws:iam::100000000001:policy/Policy";
    let user_arn = "arn:aws:iam::100000000001:user/nobody";
    for (actions, _) in RESOURCES {
        for action in *actions {
            let document = if action.contains("AssumeRole") { role[1].1 } else { document };
            let parameters = [
                ("UserName", "nobody"),
                ("GroupName", "Group"),
                ("RoleName", "Role"),
                ("PolicyArn", arn),
                ("PolicyName", "p"),
                ("PolicyDocument", document),
                ("AssumeRolePolicyDocument", role[1].1),
                ("PermissionsBoundary", arn),
                ("VersionId", "v1"),
                ("AccessKeyId", &key),
                ("Status", "Inactive"),
                ("Password", "password-1234"),
                ("OldPassword", "a"),
                ("NewPassword", "password-1234"),
                ("VirtualMFADeviceName", "d"),
                ("SerialNumber", "arn:aws:iam::100000000001:mfa/d"),
                ("AuthenticationCode1", "000000"),
                ("AuthenticationCode2", "000000"),
                ("AccountAlias", "alias"),
                ("Url", "https://login.example.org"),
                ("ClientID", "c"),
                ("Description", "d"),
                ("Arn", user_arn),
                ("OpenIDConnectProviderArn", "arn:aws:iam::100000000001:oidc-provider/login.example.org"),
                ("PolicySourceArn", user_arn),
                ("ActionNames.member.1", "s3:GetObject"),
                ("JobId", "x"),
                ("PolicyInputList.member.1", document),
                ("TagKeys.member.1", "k"),
                ("Tags.member.1.Key", "k"),
                ("Tags.member.1.Value", "v"),
            ];
            let before = world.api.identities.snapshot().directory(ACCOUNT).unwrap().generation();
            assert_eq!(world.call(&key, action, &parameters).await, Err("AccessDenied".to_owned()), "{action}");
            let after = world.api.identities.snapshot().directory(ACCOUNT).unwrap().generation();
            assert_eq!(before, after, "{action}");
        }
    }
}
