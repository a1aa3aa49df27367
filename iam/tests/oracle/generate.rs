//! Policies and requests to try, drawn from pools so small that they often meet.

use std::collections::BTreeMap;

use cairn_iam::acl::AccountNumber;
use cairn_iam::principal::{FederatingUser, Principal};
use serde_json::{Map, Value, json};

use crate::naive::{Ask, Who, World};

/// The same throws for the same seed (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.throw() % end as u64).unwrap()
    }

    /// True once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<'p, T: ?Sized>(&mut self, pool: &[&'p T]) -> &'p T {
        pool[self.below(pool.len())]
    }

    fn some<'p>(&mut self, pool: &[&'p str], most: usize) -> Vec<&'p str> {
        (0..=self.below(most)).map(|_| self.pick(pool)).collect()
    }
}

const ACCOUNTS: [&str; 2] = ["111122223333", "444455556666"];
const S3_ACTIONS: [&str; 4] = ["s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:GetObjectAcl"];
const S3_PATTERNS: [&str; 12] = [
    "*",
    "s3:*",
    "s3:Get*",
    "S3:getobject",
    "s3:?etObject",
    "s3:*Object*",
    "s3:PutObject",
    "s3:ListBucket",
    "s3:**Acl",
    "s3:GetObject?*",
    "s3:GetObject",
    "s3:g*t*t",
];
const OTHER_PATTERNS: [&str; 4] = ["iam:*", "iam:GetUser", "sts:*", "*:*"];
const STS_ACTIONS: [&str; 2] = ["sts:AssumeRole", "sts:TagSession"];
const STS_PATTERNS: [&str; 5] = ["sts:AssumeRole", "sts:*", "STS:assumerole", "sts:Tag*", "sts:AssumeRole*"];
const RESOURCES: [&str; 10] = [
    "arn:aws:s3:::b",
    "arn:aws:s3:::b/anna/k",
    "arn:aws:s3:::b/Anna/k",
    "arn:aws:s3:::b/bob/x:y",
    "arn:aws:s3:::c/anna/k",
    "arn:aws:s3:::b/*",
    "arn:aws:s3:::b//",
    "arn:aws:iam::111122223333:user/anna",
    "arn:aws:iam::111122223333:role/reader",
    "*",
];
const RESOURCE_PATTERNS: [&str; 20] = [
    "*",
    "arn:aws:s3:::*",
    "arn:aws:s3:::b/*",
    "arn:aws:s3:::b",
    "arn:aws:s3:::b/${aws:username}/*",
    "arn:aws:s3:::?/*",
    "arn:*:s3:::b/*",
    "arn:aws:s3",
    "arn:aws:iam::*:user/*",
    "arn:aws:s3:::b/${aws:PrincipalTag/team, 'anna'}/?",
    "arn:aws:s3:*:b",
    "arn:aws:s3:::b/${*}",
    "arn:aws:s3:::B/*",
    "arn:aws:s3:::b/${s3:RequestObjectTagKeys}/*",
    "arn:aws:s3:::b/*/k",
    "arn:aws:s3:::b/*a*/?",
    "arn:a*:s3:?::c/*",
    "arn:aws:s3:::b/${AWS:UserName}*",
    "arn:aws:s3:::b/*:y",
    "arn:aws:iam::1111222233?3:*",
];
const STRING_OPERATORS: [&str; 6] = [
    "StringEquals",
    "StringNotEquals",
    "StringEqualsIgnoreCase",
    "StringNotEqualsIgnoreCase",
    "StringLike",
    "StringNotLike",
];
const RELATIONS: [&str; 6] = ["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"];
const STRING_KEYS: [&str; 9] = [
    "s3:prefix",
    "aws:PrincipalTag/team",
    "s3:x-amz-acl",
    "S3:X-Amz-Acl",
    "s3:RequestObjectTagKeys",
    "aws:TagKeys",
    "aws:username",
    "aws:PrincipalType",
    "aws:PrincipalAccount",
];
const STRINGS: [&str; 6] = ["", "anna", "Anna", "bob", "*", "a?na"];
const STRING_PATTERNS: [&str; 16] = [
    "",
    "anna",
    "ANNA",
    "bob",
    "*",
    "a*",
    "?nna",
    "*n?a",
    "${aws:username}",
    "${aws:PrincipalTag/team}",
    "${aws:PrincipalTag/team, 'bob'}",
    "${x:missing}",
    "${x:missing, ''}*",
    "${*}",
    "User",
    "111122223333",
];
const NUMBERS: [&str; 6] = ["0", "10", "10.0", "-3", "1000", "ten"];
const DATES: [&str; 7] = [
    "2020-04-01T00:00:00Z",
    "2020-04-01",
    "1585699200",
    "2021-12-31T23:59:59Z",
    "2020-04-01T02:00:00+02:00",
    "2000",
    "1999-02-28T12:00:00Z",
];
const ADDRESSES: [&str; 5] = ["203.0.113.7", "10.1.2.3", "2001:db8::7", "2001:db8:1::7", "not an address"];
const RANGES: [&str; 8] = [
    "203.0.113.0/24",
    "203.0.113.7",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "2001:db8::/32",
    "2001:DB8:1::/48",
    "::/0",
    "203.0.113.4/30",
];
const ARN_KEYS: [&str; 2] = ["aws:SourceArn", "aws:PrincipalArn"];
const ARNS: [&str; 4] =
    ["arn:aws:s3:::b", "arn:aws:sns:eu-west-1:111122223333:t:u", "arn:aws:iam::111122223333:user/anna", "none"];
const ARN_PATTERNS: [&str; 10] = [
    "arn:${x:partition, 'aws'}:s*",
    "*",
    "arn:aws:s3:::*",
    "arn:aws:sns:*:111122223333:*",
    "arn:aws:iam::*:user/${aws:username}",
    "${aws:PrincipalArn}",
    "arn:aws:s*",
    "arn:aws:sns:*",
    "${aws:SourceArn}",
    "arn:aws:iam::444455556666:role/*",
];

const ROLE_ID: &str = "AROAREADERREADERREADE";

fn user_id(name: &str) -> String {
    format!("AIDA{:X<17}", name.to_uppercase())
}

fn account_number(account: &str) -> AccountNumber {
    AccountNumber(account.parse().unwrap())
}

/// Somebody, for the engine and for the oracle.
pub fn principal(dice: &mut Dice) -> (Principal, Who) {
    let account = dice.pick(&ACCOUNTS).to_owned();
    let number = account_number(&account);
    let name = dice.pick(&["anna", "bob"]).to_owned();
    let path = dice.pick(&["/", "/team/"]).to_owned();
    let in_account = Who { account: Some(account.clone()), ..Who::default() };
    let user = format!("arn:aws:iam::{account}:user{path}{name}");
    match dice.below(12) {
        0 => (Principal::Anonymous, Who::default()),
        1 => (Principal::Root(number), Who { is_root: true, ..in_account }),
        2 => {
            let service = "logging.s3.amazonaws.com".to_owned();
            (Principal::Service(service.clone()), Who { service: Some(service), ..Who::default() })
        }
        3 => {
            let provider = "accounts.google.com".to_owned();
            (Principal::WebIdentity { provider: provider.clone() }, Who { provider: Some(provider), ..Who::default() })
        }
        4 | 5 => {
            let id = user_id(&name);
            let by = (!dice.once_in(4)).then_some(FederatingUser { path, name, id });
            let who = Who {
                behind: by.as_ref().map(|_| user),
                behind_id: by.as_ref().map(|by| by.id.clone()),
                own: Some(format!("arn:aws:sts::{account}:federated-user/guest")),
                ..in_account
            };
            (Principal::FederatedUser { account: number, name: "guest".to_owned(), by }, who)
        }
        6..=8 => {
            let who = Who {
                behind: Some(format!("arn:aws:iam::{account}:role{path}reader")),
                own: Some(format!("arn:aws:sts::{account}:assumed-role/reader/{name}")),
                behind_id: Some(ROLE_ID.to_owned()),
                own_id: Some(format!("{ROLE_ID}:{name}")),
                ..in_account
            };
            let role_id = ROLE_ID.to_owned();
            (Principal::RoleSession { account: number, path, role: "reader".to_owned(), role_id, session: name }, who)
        }
        _ => {
            let id = user_id(&name);
            let who = Who { own: Some(user), own_id: Some(id.clone()), ..in_account };
            (Principal::User { account: number, path, name, id }, who)
        }
    }
}

/// What AWS derives from who asks, by the guide's table "Principal key values".
fn derived(principal: &Principal, who: &Who, owner: Option<&str>) -> BTreeMap<String, Vec<String>> {
    let account = who.account.clone().unwrap_or_default();
    let mut keys = BTreeMap::new();
    let mut set = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            keys.insert(key.to_owned(), vec![value]);
        }
    };
    set("aws:principalaccount", who.account.clone());
    set("aws:resourceaccount", owner.map(str::to_owned));
    set("s3:resourceaccount", owner.map(str::to_owned));
    set("aws:principalisawsservice", Some(who.service.is_some().to_string()));
    let (arn, id, name, kind) = match principal {
        Principal::Anonymous => (None, None, None, "Anonymous"),
        Principal::Root(_) => (Some(format!("arn:aws:iam::{account}:root")), Some(account), None, "Account"),
        Principal::User { name, .. } => (who.own.clone(), Some(user_id(name)), Some(name.clone()), "User"),
        Principal::RoleSession { session, .. } => {
            (who.behind.clone(), Some(format!("{ROLE_ID}:{session}")), None, "AssumedRole")
        }
        Principal::FederatedUser { .. } => (who.own.clone(), Some(format!("{account}:guest")), None, "FederatedUser"),
        Principal::Service(_) => (None, None, None, "Service"),
        Principal::WebIdentity { .. } => (None, None, None, "FederatedUser"),
    };
    set("aws:principalarn", arn);
    set("aws:userid", id);
    set("aws:username", name);
    set("aws:principaltype", Some(kind.to_owned()));
    keys
}

/// A request, and which keys of its context are not derived.
pub fn ask(dice: &mut Dice, trust: bool) -> (Principal, Ask, BTreeMap<String, Vec<String>>) {
    let (principal, who) = principal(dice);
    let owner = (!dice.once_in(10)).then(|| dice.pick(&ACCOUNTS).to_owned());
    let mut given: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let strings = ["s3:prefix", "aws:principaltag/team", "s3:x-amz-acl"];
    let pools: [(&[&str], &[&str]); 6] = [
        (&strings, &STRINGS),
        (&["s3:max-keys"], &NUMBERS),
        (&["aws:currenttime", "aws:tokenissuetime"], &DATES),
        (&["aws:securetransport"], &["true", "false", "True"]),
        (&["aws:sourceip"], &ADDRESSES),
        (&["aws:sourcearn"], &ARNS),
    ];
    for (keys, values) in pools {
        for key in keys {
            if !dice.once_in(3) {
                given.insert((*key).to_owned(), vec![dice.pick(values).to_owned()]);
            }
        }
    }
    if dice.once_in(2) {
        given.insert("x:blob".to_owned(), vec![dice.pick(&["QQ==", "QUI="]).to_owned()]);
    }
    for key in ["s3:requestobjecttagkeys", "aws:tagkeys"] {
        if !dice.once_in(3) {
            let count = dice.below(4);
            given.insert(key.to_owned(), (0..count).map(|_| dice.pick(&STRINGS).to_owned()).collect());
        }
    }
    let mut context = derived(&principal, &who, owner.as_deref());
    context.extend(given.clone());
    let action = if trust { dice.pick(&STS_ACTIONS) } else { dice.pick(&S3_ACTIONS) };
    let resource = if trust { RESOURCES[8] } else { dice.pick(&RESOURCES) };
    let ask = Ask { who, action: action.to_owned(), resource: resource.to_owned(), owner, context };
    (principal, ask, given)
}

/// The documents; often none of a kind.
pub fn world(dice: &mut Dice, trust: bool) -> World {
    let identity = (0..dice.below(3)).map(|_| document(dice, Kind::Identity)).collect();
    let boundary = dice.once_in(4).then(|| document(dice, Kind::Identity));
    let session = dice.once_in(4).then(|| (0..dice.below(3)).map(|_| document(dice, Kind::Identity)).collect());
    let kind = if trust { Kind::Trust } else { Kind::Bucket };
    let resource = (trust || dice.once_in(2)).then(|| document(dice, kind));
    World {
        identity,
        boundary,
        session,
        resource,
        resource_is_trust_policy: trust,
        acl_grants: !trust && dice.once_in(12),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Identity,
    Bucket,
    Trust,
}

fn document(dice: &mut Dice, kind: Kind) -> Value {
    let mut document = Map::new();
    if !dice.once_in(6) {
        document.insert("Version".to_owned(), json!(dice.pick(&["2012-10-17", "2012-10-17", "2008-10-17"])));
    }
    let statements: Vec<Value> = (0..=dice.below(3)).map(|_| statement(dice, kind)).collect();
    let alone = statements.len() == 1 && dice.once_in(2);
    document.insert("Statement".to_owned(), if alone { statements[0].clone() } else { Value::Array(statements) });
    Value::Object(document)
}

/// One text, or a list.
fn one_or_list(dice: &mut Dice, values: Vec<&str>) -> Value {
    if values.len() == 1 && dice.once_in(2) { json!(values[0]) } else { json!(values) }
}

fn statement(dice: &mut Dice, kind: Kind) -> Value {
    let mut statement = Map::new();
    let mut set = |name: &str, value: Value| statement.insert(name.to_owned(), value);
    let effect = if dice.once_in(5) { "Deny" } else { "Allow" };
    set("Effect", json!(effect));
    if kind != Kind::Identity {
        let except = kind == Kind::Bucket && dice.once_in(6);
        set(if except { "NotPrincipal" } else { "Principal" }, principal_element(dice));
    }
    let actions = match kind {
        Kind::Trust => dice.some(&STS_PATTERNS, 2),
        Kind::Identity if dice.once_in(4) => dice.some(&OTHER_PATTERNS, 2),
        Kind::Identity | Kind::Bucket => dice.some(&S3_PATTERNS, 3),
    };
    let name = if dice.once_in(6) { "NotAction" } else { "Action" };
    set(name, one_or_list(dice, actions));
    if kind != Kind::Trust {
        let resources = dice.some(&RESOURCE_PATTERNS, 4);
        let name = if dice.once_in(6) { "NotResource" } else { "Resource" };
        set(name, one_or_list(dice, resources));
    }
    if dice.once_in(2) {
        let mut operators = Map::new();
        for _ in 0..=dice.below(3) {
            let (operator, key, values) = condition(dice);
            let keys = operators.entry(operator).or_insert_with(|| json!({})).as_object_mut().unwrap();
            if !keys.keys().any(|other| other.eq_ignore_ascii_case(key)) {
                keys.insert(key.to_owned(), values);
            }
        }
        set("Condition", Value::Object(operators));
    }
    Value::Object(statement)
}

fn principal_element(dice: &mut Dice) -> Value {
    if dice.once_in(6) {
        return json!("*");
    }
    let mut entries: Vec<String> = Vec::new();
    for _ in 0..=dice.below(3) {
        // Those that are listed together, as the guide asks for, or apart.
        let (_, who) = principal(dice);
        let account = who
            .account
            .as_ref()
            .map(|account| if dice.once_in(2) { account.clone() } else { format!("arn:aws:iam::{account}:root") });
        let (behind, own) = if dice.once_in(3) { (who.behind_id, who.own_id) } else { (who.behind, who.own) };
        let all = [account, behind, own].into_iter().flatten();
        entries.extend(all.filter(|_| !dice.once_in(3)));
    }
    if dice.once_in(10) {
        entries.push("*".to_owned());
    }
    let mut types = Map::new();
    if dice.once_in(5) {
        types.insert("Service".to_owned(), json!("logging.s3.amazonaws.com"));
    }
    if dice.once_in(6) {
        types.insert("Federated".to_owned(), json!(["accounts.google.com", "www.amazon.com"]));
    }
    if !entries.is_empty() || types.is_empty() {
        if entries.is_empty() {
            entries.push(ACCOUNTS[0].to_owned());
        }
        types.insert("AWS".to_owned(), json!(entries));
    }
    Value::Object(types)
}

/// An operator, a key, and values.
fn condition(dice: &mut Dice) -> (String, &'static str, Value) {
    let (operator, key, mut values) = match dice.below(10) {
        0 => ("Null".to_owned(), dice.pick(&STRING_KEYS), dice.some(&["true", "false"], 1)),
        1 => (format!("Numeric{}", dice.pick(&RELATIONS)), "s3:max-keys", dice.some(&NUMBERS[..5], 2)),
        2 => (
            format!("Date{}", dice.pick(&RELATIONS)),
            dice.pick(&["aws:CurrentTime", "aws:TokenIssueTime"]),
            dice.some(&DATES, 2),
        ),
        3 => ("Bool".to_owned(), "aws:SecureTransport", dice.some(&["true", "false"], 1)),
        4 => (dice.pick(&["IpAddress", "NotIpAddress"]).to_owned(), "aws:SourceIp", dice.some(&RANGES, 2)),
        5 => {
            let operator = dice.pick(&["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"]).to_owned();
            (operator, dice.pick(&ARN_KEYS), dice.some(&ARN_PATTERNS, 2))
        }
        6 => ("BinaryEquals".to_owned(), "x:blob", dice.some(&["QQ==", "QUI="], 1)),
        _ => (dice.pick(&STRING_OPERATORS).to_owned(), dice.pick(&STRING_KEYS), dice.some(&STRING_PATTERNS, 3)),
    };
    if dice.once_in(20) {
        values.clear();
    }
    if operator == "Null" {
        return (operator, key, one_or_list(dice, values));
    }
    let set = dice.pick(&["", "", "ForAllValues:", "ForAnyValue:"]);
    let suffix = dice.pick(&["", "", "IfExists"]);
    (format!("{set}{operator}{suffix}"), key, one_or_list(dice, values))
}
