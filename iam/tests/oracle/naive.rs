//! A second evaluator, written from AWS's documentation alone (IAM user guide: "Policy evaluation logic", "Cross-account policy
//! evaluation logic", "IAM JSON policy elements reference"). It reads documents as they are, compares texts character by
//! character, and is in no hurry. It shares nothing with the engine but the documents.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::naive_conditions;

/// Who asks, in the words of a Principal element.
#[derive(Clone, Debug, Default)]
pub struct Who {
    pub is_root: bool,
    /// Twelve digits.
    pub account: Option<String>,
    /// The ARN of the role that was assumed, or of the user who federated.
    pub behind: Option<String>,
    /// The ARN of the user, the session or the federated user.
    pub own: Option<String>,
    /// The unique id of what is behind, and of the user or session.
    pub behind_id: Option<String>,
    pub own_id: Option<String>,
    pub service: Option<String>,
    pub provider: Option<String>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    pub who: Who,
    pub action: String,
    pub resource: String,
    /// The account that has the resource.
    pub owner: Option<String>,
    /// The request context: keys in lower case, those that AWS derives included.
    pub context: BTreeMap<String, Vec<String>>,
}

/// The documents that apply.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub identity: Vec<Value>,
    pub boundary: Option<Value>,
    pub session: Option<Vec<Value>>,
    pub resource: Option<Value>,
    pub resource_is_trust_policy: bool,
    pub acl_grants: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Allow,
    ExplicitDeny,
    ImplicitDeny,
}

/// How a resource's policy speaks of somebody.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Address {
    Everybody,
    Own,
    Behind,
    Account,
}

pub fn decide(ask: &Ask, world: &World) -> Verdict {
    let bounded = world.boundary.is_some();
    let says = |document: &Value, effect: &str| {
        statements(document).into_iter().any(|statement| {
            statement["Effect"] == effect
                && is_about(ask, document, statement)
                && addresses(&ask.who, statement, bounded).is_some()
        })
    };
    let sessions = world.session.iter().flatten();
    let everything: Vec<&Value> =
        world.identity.iter().chain(&world.boundary).chain(sessions).chain(&world.resource).collect();
    if everything.iter().any(|document| says(document, "Deny")) {
        return Verdict::ExplicitDeny;
    }
    let identity = world.identity.iter().any(|document| says(document, "Allow"));
    let boundary = world.boundary.as_ref().is_none_or(|document| says(document, "Allow"));
    let session =
        world.session.as_ref().is_none_or(|documents| documents.iter().any(|document| says(document, "Allow")));
    let granted: Vec<Address> = world.resource.iter().flat_map(|document| grants(ask, document, bounded)).collect();
    let grants_as = |address: Address| granted.contains(&address);
    let directly = grants_as(Address::Everybody) || grants_as(Address::Own);
    let any_grant = !granted.is_empty() || world.acl_grants;
    // The account's administrators have said yes, and nothing that limits them said less.
    let delegated = ask.who.is_root || identity && boundary && session;

    let is_allowed = match (&ask.who.account, &ask.owner) {
        (None, _) => any_grant,
        (Some(own), Some(owner)) if own != owner => any_grant && delegated,
        _ if world.resource_is_trust_policy && world.resource.is_some() => {
            directly
                || grants_as(Address::Behind) && boundary && session
                || !granted.is_empty() && (delegated || world.acl_grants)
        }
        _ => directly || delegated || world.acl_grants || grants_as(Address::Behind) && boundary && session,
    };
    if is_allowed { Verdict::Allow } else { Verdict::ImplicitDeny }
}

fn grants(ask: &Ask, document: &Value, bounded: bool) -> Vec<Address> {
    let allow = statements(document).into_iter().filter(|statement| statement["Effect"] == "Allow");
    allow
        .filter(|statement| is_about(ask, document, statement))
        .filter_map(|statement| addresses(&ask.who, statement, bounded))
        .collect()
}

fn statements(document: &Value) -> Vec<&Value> {
    list(&document["Statement"])
}

/// A value, or the values of a list.
pub fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

/// Action, resource and condition fit.
fn is_about(ask: &Ask, document: &Value, statement: &Value) -> bool {
    let modern = document["Version"] == "2012-10-17";
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let action_fits = |pattern: &&Value| {
        let symbols = literal_symbols(&text(pattern).to_lowercase());
        wild(&symbols, &ask.action.to_lowercase())
    };
    let action = match (&statement["Action"], &statement["NotAction"]) {
        (Value::Null, except) => !list(except).iter().any(action_fits),
        (actions, _) => list(actions).iter().any(action_fits),
    };
    let resource_fits = |pattern: &&Value| arn_fits(&text(pattern), &ask.resource, modern, ask);
    let resource = match (&statement["Resource"], &statement["NotResource"]) {
        (Value::Null, Value::Null) => true,
        (Value::Null, except) => !list(except).iter().any(resource_fits),
        (resources, _) => list(resources).iter().any(resource_fits),
    };
    action && resource && naive_conditions::hold(&statement["Condition"], ask, modern)
}

/// How a statement speaks of somebody. None: it does not.
fn addresses(who: &Who, statement: &Value, bounded: bool) -> Option<Address> {
    if statement["Principal"].is_null() && statement["NotPrincipal"].is_null() {
        return Some(Address::Own);
    }
    if statement["NotPrincipal"].is_null() {
        let entries = entries(&statement["Principal"]);
        // The one that grants most comes first.
        let found = |address: Address| entries.iter().any(|entry| address_of(who, entry) == Some(address));
        return [Address::Everybody, Address::Own, Address::Behind, Address::Account]
            .into_iter()
            .find(|address| found(*address));
    }
    let entries = entries(&statement["NotPrincipal"]);
    let everybody = entries.iter().any(|entry| address_of(who, entry) == Some(Address::Everybody));
    let listed = |address: Address| entries.iter().any(|entry| address_of(who, entry) == Some(address));
    let excepted = if statement["Effect"] == "Allow" {
        everybody || listed(Address::Own) || listed(Address::Behind) || listed(Address::Account)
    } else if bounded {
        false
    } else {
        // "you must also specify the account ARN of the not-denied principal", and of a session the role.
        let nobody = who.account.is_none() && who.service.is_none() && who.provider.is_none();
        let account_listed = who.account.is_none() || who.is_root || listed(Address::Account);
        let behind_listed = who.behind.is_none() || listed(Address::Behind);
        everybody || !nobody && account_listed && behind_listed && listed(Address::Own)
    };
    (!excepted).then_some(Address::Everybody)
}

/// The entries of a Principal element, as type and value.
fn entries(principal: &Value) -> Vec<(String, String)> {
    match principal {
        Value::String(everybody) => vec![("AWS".to_owned(), everybody.clone())],
        Value::Object(types) => types
            .iter()
            .flat_map(|(name, values)| {
                list(values).into_iter().map(|value| (name.clone(), value.as_str().unwrap().to_owned()))
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn address_of(who: &Who, (kind, value): &(String, String)) -> Option<Address> {
    let is = |ours: &Option<String>| ours.as_deref() == Some(value.as_str());
    if kind == "Service" {
        return is(&who.service).then_some(Address::Own);
    }
    if kind == "Federated" {
        return is(&who.provider).then_some(Address::Own);
    }
    let root = who.account.as_ref().map(|account| format!("arn:aws:iam::{account}:root"));
    if value == "*" {
        Some(Address::Everybody)
    } else if is(&who.own) || is(&who.own_id) {
        Some(Address::Own)
    } else if is(&who.behind) || is(&who.behind_id) {
        Some(Address::Behind)
    } else if is(&who.account) || is(&root) {
        Some(if who.is_root { Address::Own } else { Address::Account })
    } else {
        None
    }
}

/// A character of a pattern.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Symbol {
    Is(char),
    OneCharacter,
    AnyCharacters,
}

fn literal_symbols(text: &str) -> Vec<Symbol> {
    let symbol = |character| match character {
        '*' => Symbol::AnyCharacters,
        '?' => Symbol::OneCharacter,
        other => Symbol::Is(other),
    };
    text.chars().map(symbol).collect()
}

/// A pattern with the values of its variables. None: one has no value.
pub fn symbols(text: &str, modern: bool, ask: &Ask) -> Option<Vec<Symbol>> {
    let Some(start) = text.find("${").filter(|_| modern) else { return Some(literal_symbols(text)) };
    let end = start + text[start..].find('}').unwrap();
    let inside = &text[start + 2..end];
    let value = if ["*", "?", "$"].contains(&inside) {
        inside.to_owned()
    } else {
        let (key, default) = match inside.split_once(", '") {
            Some((key, default)) => (key, Some(default.trim_end_matches('\'').to_owned())),
            None => (inside, None),
        };
        let values = ask.context.get(&key.to_lowercase()).cloned().unwrap_or_default();
        let one = (values.len() == 1).then(|| values[0].clone());
        one.or(default)?
    };
    let mut all = literal_symbols(&text[..start]);
    all.extend(value.chars().map(Symbol::Is));
    all.extend(symbols(&text[end + 1..], modern, ask)?);
    Some(all)
}

pub fn wild(pattern: &[Symbol], text: &str) -> bool {
    let mut characters = text.chars();
    match pattern.first() {
        None => text.is_empty(),
        Some(Symbol::AnyCharacters) => {
            wild(&pattern[1..], text) || characters.next().is_some() && wild(pattern, characters.as_str())
        }
        Some(Symbol::OneCharacter) => characters.next().is_some() && wild(&pattern[1..], characters.as_str()),
        Some(Symbol::Is(wanted)) => characters.next() == Some(*wanted) && wild(&pattern[1..], characters.as_str()),
    }
}

/// Whether an ARN is what a pattern stands for: "each of the six colon-delimited components is checked separately".
pub fn arn_fits(pattern: &str, arn: &str, modern: bool, ask: &Ask) -> bool {
    if pattern == "*" {
        return true;
    }
    let components: Vec<&str> = arn.splitn(6, ':').collect();
    let Some(symbols) = symbols(pattern, modern, ask) else { return false };
    if components.len() < 6 {
        return false;
    }
    let mut rest: &[Symbol] = &symbols;
    let mut patterns: Vec<&[Symbol]> = Vec::new();
    while patterns.len() < 5 {
        let Some(colon) = rest.iter().position(|symbol| *symbol == Symbol::Is(':')) else { break };
        patterns.push(&rest[..colon]);
        rest = &rest[colon + 1..];
    }
    patterns.push(rest);
    // "AWS automatically completes the ARN by adding wildcard characters to all missing fields."
    patterns.resize(6, &[Symbol::AnyCharacters]);
    patterns.iter().zip(components).all(|(pattern, component)| wild(pattern, component))
}
