//! From a document's text to statements (IAM user guide, "Grammar of the IAM JSON policy language").

use std::collections::HashSet;

use super::arn::ArnPattern;
use super::condition::Condition;
use super::error::Fault;
use super::json::{Json, JsonFault};
use super::pattern::{Pattern, Syntax};
use super::principals::{PrincipalEntry, Principals};
use super::statement::{Actions, Effect, Resources, Statement};
use super::{BUCKET_POLICY_BYTES_MAX, DOCUMENT_BYTES_MAX, KEY_POLICY_BYTES_MAX, PolicyKind};

/// The version of the language without variables; what a document without a version has.
const VERSION_2008: &str = "2008-10-17";
const VERSION_2012: &str = "2012-10-17";

/// What a document says.
pub(super) struct Parsed {
    pub(super) id: Option<String>,
    pub(super) statements: Vec<Statement>,
}

type Elements = Vec<(String, Json)>;

pub(super) fn parse(text: &str, kind: PolicyKind) -> Result<Parsed, Fault> {
    let limit = match kind {
        PolicyKind::Bucket => BUCKET_POLICY_BYTES_MAX,
        PolicyKind::Key => KEY_POLICY_BYTES_MAX,
        PolicyKind::Identity | PolicyKind::Trust => DOCUMENT_BYTES_MAX,
    };
    if text.len() > limit {
        return Err(Fault::TooLong(limit));
    }
    let document = Json::parse(text).map_err(|fault| match fault {
        JsonFault::Syntax => Fault::NotJson,
        JsonFault::Duplicate(element) => Fault::Duplicate(element),
    })?;
    // S3 wants the first byte to be the brace.
    let Json::Object(elements) = document else { return Err(Fault::NotJson) };
    if kind == PolicyKind::Bucket && !text.starts_with('{') {
        return Err(Fault::NotJson);
    }
    let (mut version, mut id, mut statements) = (None, None, None);
    for (name, value) in elements {
        match (&*name, value) {
            ("Version", Json::Text(text)) => version = Some(text),
            ("Version", _) => return Err(Fault::Type("Version")),
            ("Id", Json::Text(text)) => id = Some(text),
            ("Id", _) => return Err(Fault::Type("Id")),
            ("Statement", Json::Array(list)) => statements = Some(list),
            ("Statement", statement @ Json::Object(_)) => statements = Some(vec![statement]),
            ("Statement", _) => return Err(Fault::Type("Statement")),
            _ => return Err(Fault::Unknown(name)),
        }
    }
    let variables = match version.as_deref() {
        None | Some(VERSION_2008) => false,
        Some(VERSION_2012) => true,
        Some(other) => return Err(Fault::Version(other.to_owned())),
    };
    let statements = statements.ok_or(Fault::Missing("Statement"))?;
    if statements.is_empty() {
        return Err(Fault::Empty("Statement"));
    }
    if statements.len() > usize::from(u16::MAX) {
        return Err(Fault::TooManyStatements);
    }
    let statements = statements.into_iter().map(|statement| parse_statement(statement, kind, variables));
    let statements = statements.collect::<Result<Vec<_>, _>>()?;
    let mut sids = HashSet::new();
    if !statements.iter().filter_map(|statement| statement.sid.as_deref()).all(|sid| sids.insert(sid)) {
        return Err(Fault::SidTwice);
    }
    Ok(Parsed { id, statements })
}

fn parse_statement(statement: Json, kind: PolicyKind, variables: bool) -> Result<Statement, Fault> {
    let Json::Object(elements) = statement else { return Err(Fault::Type("Statement")) };
    let (mut sid, mut effect, mut principals, mut actions, mut resources) = (None, None, None, None, None);
    let mut conditions = Vec::new();
    let once = |before: bool, element| if before { Err(Fault::Prohibited(element)) } else { Ok(()) };
    for (name, value) in elements {
        match &*name {
            "Sid" => sid = parse_sid(value, kind)?,
            "Effect" => effect = Some(parse_effect(&value)?),
            "Principal" | "NotPrincipal" => {
                once(principals.is_some(), "NotPrincipal")?;
                principals = Some(Principals { except: name == "NotPrincipal", entries: parse_principals(value)? });
            }
            "Action" | "NotAction" => {
                once(actions.is_some(), "NotAction")?;
                actions = Some(parse_actions(value, name == "NotAction", kind)?);
            }
            "Resource" | "NotResource" => {
                once(resources.is_some(), "NotResource")?;
                resources = Some(parse_resources(&value, name == "NotResource", variables)?);
            }
            "Condition" => conditions = parse_conditions(value, variables)?,
            _ => return Err(Fault::Unknown(name)),
        }
    }
    match (kind, &principals) {
        (PolicyKind::Identity, Some(_)) => return Err(Fault::Prohibited("Principal")),
        (PolicyKind::Bucket | PolicyKind::Trust | PolicyKind::Key, None) => return Err(Fault::Missing("Principal")),
        (PolicyKind::Trust, Some(Principals { except: true, .. })) => return Err(Fault::Prohibited("NotPrincipal")),
        _ => {}
    }
    match (kind, &resources) {
        (PolicyKind::Trust, Some(_)) => return Err(Fault::Prohibited("Resource")),
        (PolicyKind::Identity | PolicyKind::Bucket | PolicyKind::Key, None) => return Err(Fault::Missing("Resource")),
        _ => {}
    }
    Ok(Statement {
        sid,
        effect: effect.ok_or(Fault::Missing("Effect"))?,
        principals,
        actions: actions.ok_or(Fault::Missing("Action"))?,
        resources,
        conditions,
    })
}

fn parse_sid(value: Json, kind: PolicyKind) -> Result<Option<Box<str>>, Fault> {
    let Json::Text(sid) = value else { return Err(Fault::Type("Sid")) };
    // S3 and KMS take any text.
    if !matches!(kind, PolicyKind::Bucket | PolicyKind::Key) && !sid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Fault::SidCharacters);
    }
    Ok((!sid.is_empty()).then(|| sid.into()))
}

fn parse_effect(value: &Json) -> Result<Effect, Fault> {
    match value {
        Json::Text(text) if text == "Allow" => Ok(Effect::Allow),
        Json::Text(text) if text == "Deny" => Ok(Effect::Deny),
        Json::Text(other) => Err(Fault::Effect(other.clone())),
        _ => Err(Fault::Type("Effect")),
    }
}

/// The texts of an element that is one text or a list of some.
fn texts(value: &Json, element: &'static str) -> Result<Vec<String>, Fault> {
    let text = |value: &Json| match value {
        Json::Text(text) => Ok(text.clone()),
        _ => Err(Fault::Type(element)),
    };
    match value {
        Json::Array(values) if values.is_empty() => Err(Fault::Empty(element)),
        Json::Array(values) => values.iter().map(text).collect(),
        value => Ok(vec![text(value)?]),
    }
}

fn parse_principals(value: Json) -> Result<Vec<PrincipalEntry>, Fault> {
    let types: Elements = match value {
        Json::Text(text) if text == "*" => return Ok(vec![PrincipalEntry::Anyone]),
        Json::Text(text) => return Err(Fault::Principal(text)),
        Json::Object(types) if types.is_empty() => return Err(Fault::Empty("Principal")),
        Json::Object(types) => types,
        _ => return Err(Fault::Type("Principal")),
    };
    let mut entries = Vec::new();
    for (name, value) in types {
        for text in texts(&value, "Principal")? {
            let invalid = || Fault::Principal(format!("\"{name}\":\"{text}\""));
            let is_plain = !text.is_empty() && !text.contains(['*', '?']);
            let entry = match &*name {
                "AWS" => PrincipalEntry::parse_aws(&text),
                "Service" => is_plain.then(|| PrincipalEntry::Service(text.as_str().into())),
                "Federated" => is_plain.then(|| PrincipalEntry::Federated(text.as_str().into())),
                "CanonicalUser" => is_plain.then(|| PrincipalEntry::CanonicalUser(text.as_str().into())),
                _ => None,
            };
            entries.push(entry.ok_or_else(invalid)?);
        }
    }
    Ok(entries)
}

fn parse_actions(value: Json, except: bool, kind: PolicyKind) -> Result<Actions, Fault> {
    let written = texts(&value, "Action")?;
    let mut patterns = Vec::new();
    for action in &written {
        check_action(action, kind)?;
        let pattern = Pattern::compile(action, Syntax { wildcards: true, variables: false });
        patterns.push(pattern.map_err(|_| Fault::Action(action.clone()))?);
    }
    Ok(Actions { except, patterns, written })
}

fn check_action(action: &str, kind: PolicyKind) -> Result<(), Fault> {
    let Some((vendor, name)) = action.split_once(':') else {
        return match (action, kind) {
            ("*", PolicyKind::Identity | PolicyKind::Bucket | PolicyKind::Key) => Ok(()),
            ("*", PolicyKind::Trust) => Err(Fault::ActionNotSts),
            _ => Err(Fault::ActionVendor(action.to_owned())),
        };
    };
    let valid_vendor = vendor.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') && !vendor.is_empty();
    let everything = action == "*:*" && kind != PolicyKind::Trust;
    if !valid_vendor && !everything {
        return Err(Fault::ActionVendor(action.to_owned()));
    }
    let valid_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'?' | b'-' | b'_'));
    if name.is_empty() || !valid_name {
        return Err(Fault::Action(action.to_owned()));
    }
    match kind {
        PolicyKind::Trust if !vendor.eq_ignore_ascii_case("sts") => Err(Fault::ActionNotSts),
        PolicyKind::Bucket if !everything && !vendor.eq_ignore_ascii_case("s3") => {
            Err(Fault::Action(action.to_owned()))
        }
        _ => Ok(()),
    }
}

fn parse_resources(value: &Json, except: bool, variables: bool) -> Result<Resources, Fault> {
    let written = texts(value, "Resource")?;
    let mut patterns = Vec::new();
    for resource in &written {
        let pattern = ArnPattern::compile(resource, variables).map_err(|_| Fault::Variable(resource.clone()))?;
        let is_arn = resource == "*" || resource.starts_with("arn:");
        // A variable stands only behind the fifth colon ("IAM policy elements: Variables and tags").
        if !is_arn || matches!(pattern, ArnPattern::Whole(_)) {
            return Err(Fault::Resource(resource.clone()));
        }
        patterns.push(pattern);
    }
    Ok(Resources { except, patterns, written })
}

fn parse_conditions(value: Json, variables: bool) -> Result<Vec<Condition>, Fault> {
    let Json::Object(operators) = value else { return Err(Fault::Type("Condition")) };
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        let Json::Object(keys) = keys else { return Err(Fault::Type("Condition")) };
        let mut seen = HashSet::new();
        for (key, values) in keys {
            let values = match &values {
                Json::Array(values) => values.iter().map(Json::scalar).collect(),
                value => value.scalar().map(|value| vec![value]),
            };
            let values = values.ok_or(Fault::Type("Condition"))?;
            // Keys are the same in any case.
            if !seen.insert(key.to_lowercase()) {
                return Err(Fault::Duplicate(key));
            }
            conditions.push(Condition::compile(&operator, &key, &values, variables)?);
        }
    }
    Ok(conditions)
}
