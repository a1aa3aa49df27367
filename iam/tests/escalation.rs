//! No sequence of allowed calls gets anybody beyond the boundaries that an administrator drew.
//!
//! The scene is the IAM user guide's ("Delegating responsibility to others using permissions boundaries"): Maria lets Zhang make users,
//! as long as these have her boundary; Zhang has a boundary of his own, and `iam:*`. Zhang, the users that he makes, their
//! groups and roles then try whatever could help them, in any order. What is done to what, and with which condition keys, is
//! as the service authorization reference says of IAM; the server's own translation is tested with the server.

#![allow(clippy::unwrap_used)]

use std::borrow::Cow;

use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::{Attached, Context, Policies, Request, Source, SourceKind, Values, evaluate};
use cairn_iam::identity::{Directory, Holder, NewPolicy, NewRole, NewUser, PrincipalPolicies, Stamp};
use cairn_iam::policy::{Policy, PolicyKind};
use cairn_iam::principal::Principal;

const ACCOUNT: AccountNumber = AccountNumber(123_456_789_012);
const OF_USERS: &str = "arn:aws:iam::123456789012:policy/XCompanyBoundaries";
const OF_ZHANG: &str = "arn:aws:iam::123456789012:policy/DelegatedUserBoundary";
const ADMINISTRATOR: &str = "arn:aws:iam::aws:policy/AdministratorAccess";

const BOUNDARY_OF_USERS: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":["s3:*"],"Resource":"*"},
    {"Effect":"Allow","Action":["iam:*AccessKey*","iam:ChangePassword","iam:GetUser"],"Resource":["arn:aws:iam::*:user/${aws:username}"]},
    {"Effect":"Deny","Action":"s3:*","Resource":["arn:aws:s3:::logs","arn:aws:s3:::logs/*"]}]}"#;

const BOUNDARY_OF_ZHANG: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Resource":"*","Action":["iam:AttachUserPolicy","iam:CreateUser","iam:DeleteUserPolicy","iam:DetachUserPolicy",
        "iam:PutUserPermissionsBoundary","iam:PutUserPolicy"],
     "Condition":{"StringEquals":{"iam:PermissionsBoundary":"arn:aws:iam::123456789012:policy/XCompanyBoundaries"}}},
    {"Effect":"Allow","NotResource":"arn:aws:iam::123456789012:user/Maria","Action":["iam:CreateAccessKey","iam:CreateGroup","iam:CreatePolicy",
        "iam:DeleteGroup","iam:DeletePolicy","iam:DeletePolicyVersion","iam:DeleteUser","iam:GetUser","iam:SetDefaultPolicyVersion",
        "iam:UpdateGroup","iam:UpdateUser"]},
    {"Effect":"Deny","Action":["iam:CreatePolicyVersion","iam:DeletePolicy","iam:DeletePolicyVersion","iam:SetDefaultPolicyVersion"],
     "Resource":["arn:aws:iam::123456789012:policy/XCompanyBoundaries","arn:aws:iam::123456789012:policy/DelegatedUserBoundary"]},
    {"Effect":"Deny","Action":"iam:DeleteUserPermissionsBoundary","Resource":"*"}]}"#;

const EVERYTHING: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"sts:AssumeRole"}}"#;

/// Calls that would show that somebody got too far, and some that would not.
const PROBES: [(&str, &str); 8] = [
    ("s3:GetObject", "arn:aws:s3:::logs/today"),
    ("s3:GetObject", "arn:aws:s3:::photos/one"),
    ("iam:CreateRole", "arn:aws:iam::123456789012:role/any"),
    ("iam:DeleteUserPermissionsBoundary", "arn:aws:iam::123456789012:user/Zhang"),
    ("iam:CreateAccessKey", "arn:aws:iam::123456789012:user/Maria"),
    ("iam:CreatePolicyVersion", OF_USERS),
    ("iam:PutUserPolicy", "arn:aws:iam::123456789012:user/Zhang"),
    ("sts:AssumeRole", "arn:aws:iam::123456789012:role/any"),
];

/// The same throws for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % end as u64).unwrap()
    }

    fn pick<'p>(&mut self, pool: &[&'p str]) -> &'p str {
        pool[self.below(pool.len())]
    }
}

/// The condition keys of a call, beyond who makes it.
#[derive(Default)]
struct Keys {
    boundary: Option<String>,
    policy: Option<String>,
}

impl Context for Keys {
    fn values<'c>(&'c self, key: &str) -> Values<'c> {
        let value = match key {
            "iam:permissionsboundary" => self.boundary.as_deref(),
            "iam:policyarn" => self.policy.as_deref(),
            _ => None,
        };
        value.map_or(Values::Absent, |value| Values::One(Cow::Borrowed(value)))
    }
}

struct Scene {
    directory: Directory,
    ids: u32,
    /// The roles that were assumed.
    sessions: Vec<Principal>,
}

impl Scene {
    fn new() -> Self {
        let mut scene = Self { directory: Directory::new(ACCOUNT), ids: 0, sessions: Vec::new() };
        scene.create_policy("XCompanyBoundaries", BOUNDARY_OF_USERS);
        scene.create_policy("DelegatedUserBoundary", BOUNDARY_OF_ZHANG);
        for (name, boundary) in [("Maria", None), ("Zhang", Some(OF_ZHANG))] {
            let stamp = scene.stamp();
            let new =
                NewUser { name: name.into(), path: "/".into(), boundary: boundary.map(Into::into), tags: Vec::new() };
            scene.directory.create_user(new, stamp).unwrap();
        }
        scene.directory.put_inline(Holder::User("Maria"), "all", EVERYTHING.into()).unwrap();
        // His own policy is wider than the guide's: only his boundary holds him.
        scene.directory.put_inline(Holder::User("Zhang"), "all", EVERYTHING.into()).unwrap();
        scene
    }

    fn stamp(&mut self) -> Stamp {
        self.ids += 1;
        Stamp { now_ms: 1, id: format!("ID{}", self.ids) }
    }

    fn create_policy(&mut self, name: &str, document: &str) {
        let new = NewPolicy {
            name: name.into(),
            path: "/".into(),
            document: document.into(),
            description: None,
            tags: Vec::new(),
        };
        let stamp = self.stamp();
        let _ = self.directory.create_policy(new, stamp);
    }

    /// Everybody but Maria.
    fn suspects(&self) -> Vec<Principal> {
        let users = self.directory.users.iter().map(|user| self.directory.principal_of(user));
        users.filter(|user| user.user_name() != Some("Maria")).chain(self.sessions.iter().cloned()).collect()
    }

    fn allows(&self, principal: &Principal, action: &str, resource: &str, keys: &Keys) -> bool {
        let none = PrincipalPolicies::default();
        let policies = match principal {
            Principal::User { name, .. } => self.directory.policies_of_user(name).map_or(&none, |policies| policies),
            Principal::RoleSession { role, .. } => {
                self.directory.policies_of_role(role).map_or(&none, |policies| policies)
            }
            _ => &none,
        };
        let policies =
            Policies { identity: &policies.identity, boundary: policies.boundary.as_ref(), ..Policies::default() };
        let request = Request { principal, action, resource, resource_account: Some(ACCOUNT), context: keys };
        evaluate(&request, &policies).is_allowed()
    }

    /// Lets somebody try something; it happens if it is allowed (and possible).
    fn attempt(&mut self, dice: &mut Dice) -> bool {
        let suspects = self.suspects();
        let who = suspects[dice.below(suspects.len())].clone();
        let user = dice.pick(&["Zhang", "nikhil", "olga", "Maria"]);
        let boundary = dice.pick(&[OF_USERS, OF_ZHANG, ADMINISTRATOR, ""]);
        let named_boundary = (!boundary.is_empty()).then(|| boundary.to_owned());
        let policy = dice.pick(&[OF_USERS, OF_ZHANG]);
        let arn = |kind: &str, name: &str| format!("arn:aws:iam::123456789012:{kind}/{name}");
        // Changes to a user are judged by the boundary that it has.
        let has =
            Keys { boundary: self.directory.user(user).ok().and_then(|user| user.boundary.clone()), policy: None };
        let none = Keys::default();
        let asks = |action: &str, resource: &str, keys: &Keys| self.allows(&who, action, resource, keys);
        let stamp = Stamp { now_ms: 1, id: format!("ID{}", self.ids + 1) };
        let mut next = self.directory.clone();
        let done = match dice.below(16) {
            0 | 1 => {
                let keys = Keys { boundary: named_boundary.clone(), policy: None };
                let new = NewUser { name: user.into(), path: "/".into(), boundary: named_boundary, tags: Vec::new() };
                asks("iam:CreateUser", &arn("user", user), &keys) && next.create_user(new, stamp).is_ok()
            }
            2 | 3 => {
                asks("iam:PutUserPolicy", &arn("user", user), &has)
                    && next.put_inline(Holder::User(user), "all", EVERYTHING.into()).is_ok()
            }
            4 => {
                let keys = Keys { policy: Some(ADMINISTRATOR.into()), ..has };
                asks("iam:AttachUserPolicy", &arn("user", user), &keys)
                    && next.attach(Holder::User(user), ADMINISTRATOR).is_ok()
            }
            5 => {
                let keys = Keys { boundary: named_boundary, policy: None };
                !boundary.is_empty()
                    && asks("iam:PutUserPermissionsBoundary", &arn("user", user), &keys)
                    && next.set_boundary(Holder::User(user), Some(boundary)).is_ok()
            }
            6 => {
                asks("iam:DeleteUserPermissionsBoundary", &arn("user", user), &has)
                    && next.set_boundary(Holder::User(user), None).is_ok()
            }
            7 => {
                asks("iam:CreatePolicyVersion", policy, &none)
                    && next.create_policy_version(policy, EVERYTHING.into(), true, 1).is_ok()
            }
            8 => asks("iam:SetDefaultPolicyVersion", policy, &none) && next.set_default_version(policy, 2, 1).is_ok(),
            9 => asks("iam:DeletePolicy", policy, &none) && next.delete_policy(policy).is_ok(),
            10 => {
                let new_name = dice.pick(&["Maria", "Zhang", "nikhil"]);
                asks("iam:UpdateUser", &arn("user", user), &has)
                    && asks("iam:UpdateUser", &arn("user", new_name), &has)
                    && next.update_user(user, Some(new_name), None).is_ok()
            }
            11 => asks("iam:DeleteUser", &arn("user", user), &has) && next.delete_user(user).is_ok(),
            12 => {
                asks("iam:CreateGroup", &arn("group", "staff"), &none) && next.create_group("staff", "/", stamp).is_ok()
            }
            13 => {
                asks("iam:PutGroupPolicy", &arn("group", "staff"), &none)
                    && asks("iam:AddUserToGroup", &arn("group", "staff"), &none)
                    && next.put_inline(Holder::Group("staff"), "all", EVERYTHING.into()).is_ok()
                    && next.add_to_group("staff", user).is_ok()
            }
            14 => {
                let keys = Keys { boundary: named_boundary.clone(), policy: None };
                let new = NewRole {
                    name: "any".into(),
                    path: "/".into(),
                    trust: TRUST.into(),
                    description: None,
                    session_seconds_max: None,
                    boundary: named_boundary,
                    tags: Vec::new(),
                };
                asks("iam:CreateRole", &arn("role", "any"), &keys)
                    && asks("iam:PutRolePolicy", &arn("role", "any"), &keys)
                    && next.create_role(new, stamp).is_ok()
                    && next.put_inline(Holder::Role("any"), "all", EVERYTHING.into()).is_ok()
            }
            _ => {
                let assumed = self.directory.role("any").is_ok() && asks("sts:AssumeRole", &arn("role", "any"), &none);
                if assumed {
                    let (path, role, role_id, session) = ("/".into(), "any".into(), "AROA".into(), "s".into());
                    self.sessions.push(Principal::RoleSession { account: ACCOUNT, path, role, role_id, session });
                }
                assumed
            }
        };
        if done {
            // A clone forgets what it derived.
            self.directory = next.clone();
            self.ids += 1;
        }
        done
    }
}

fn alone(document: &str) -> [Attached; 1] {
    let policy = Policy::parse(document, PolicyKind::Identity).unwrap();
    [Attached { source: Source { kind: SourceKind::User, holder: "nobody".into(), name: "alone".into() }, policy }]
}

/// Whether a boundary, as it was drawn, would let somebody do it.
fn lies_within(boundary: &[Attached], principal: &Principal, action: &str, resource: &str, keys: &Keys) -> bool {
    let request = Request { principal, action, resource, resource_account: Some(ACCOUNT), context: keys };
    evaluate(&request, &Policies { identity: boundary, ..Policies::default() }).is_allowed()
}

/// Checks that nobody but Maria can do what the boundaries that were drawn would not let him.
fn check(scene: &Scene, seed: u64) -> usize {
    let (of_users, of_zhang) = (alone(BOUNDARY_OF_USERS), alone(BOUNDARY_OF_ZHANG));
    let mut allowed = 0;
    for principal in scene.suspects() {
        for (action, resource) in PROBES {
            // As calls that set no boundary, or are about what has none.
            let keys = Keys::default();
            if !scene.allows(&principal, action, resource, &keys) {
                continue;
            }
            allowed += 1;
            let within =
                [&of_users, &of_zhang].iter().any(|drawn| lies_within(*drawn, &principal, action, resource, &keys));
            assert!(within, "seed {seed}: {principal:?} may {action} on {resource}");
        }
    }
    allowed
}

#[test]
fn nobody_gets_beyond_the_boundaries_that_were_drawn() {
    let (mut done, mut allowed) = (0, 0);
    for seed in 0..1_500 {
        let (mut scene, mut dice) = (Scene::new(), Dice(seed));
        for _ in 0..60 {
            if scene.attempt(&mut dice) {
                done += 1;
                allowed += check(&scene, seed);
            }
        }
        // (That he may bound her, too, is how the guide has it.)
        assert!(scene.directory.user("Maria").is_ok(), "seed {seed}");
    }
    // Otherwise nothing was tried.
    assert!(done > 3_000 && allowed > 1_000, "{done} {allowed}");
}

#[test]
fn without_the_rule_that_keeps_boundaries_the_same_attempts_get_beyond_them() {
    let careless = BOUNDARY_OF_ZHANG.replace(
        r#"{"Effect":"Deny","Action":"iam:DeleteUserPermissionsBoundary","Resource":"*"}"#,
        r#"{"Effect":"Allow","Action":"iam:*","Resource":"*"}"#,
    );
    let escapes = (0..50).any(|seed| {
        let (mut scene, mut dice) = (Scene::new(), Dice(seed));
        scene.directory.create_policy_version(OF_ZHANG, careless.clone(), true, 1).unwrap();
        scene.directory = scene.directory.clone();
        for _ in 0..60 {
            scene.attempt(&mut dice);
        }
        let logs = ("s3:GetObject", "arn:aws:s3:::logs/today");
        scene.suspects().iter().any(|principal| scene.allows(principal, logs.0, logs.1, &Keys::default()))
    });
    assert!(escapes);
}
