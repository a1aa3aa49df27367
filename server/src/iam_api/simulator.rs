//! What would be decided: SimulatePrincipalPolicy, SimulateCustomPolicy, and which condition keys to give them.

use std::sync::Arc;

use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::{Attached, Policies, Request, Source, SourceKind};
use cairn_iam::identity::name::{resource_of, split_path};
use cairn_iam::identity::{Directory, Fault, FaultKind, PrincipalPolicies};
use cairn_iam::policy::{Policy, PolicyKind, Position};
use cairn_iam::principal::Principal;
use cairn_iam::simulate::{ContextEntries, Simulated, context_keys, simulate};

use crate::query_api::Reply;
use crate::query_api::faults::validation;
use crate::s3::error::Failure;
use crate::s3::xml::Document;

use super::ask::Ask;
use super::page::Page;
use super::target::Target;

pub(super) const ACTIONS: &[&str] = &[
    "GetContextKeysForCustomPolicy",
    "GetContextKeysForPrincipalPolicy",
    "SimulateCustomPolicy",
    "SimulatePrincipalPolicy",
];

/// Pairs of an action and a resource in one simulation.
const PAIRS_MAX: usize = 100_000;

/// Somebody of whom nothing is known but the account.
const NOBODY: &str = "";

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    match ask.action() {
        "GetContextKeysForCustomPolicy" => keys_of_custom(ask),
        "GetContextKeysForPrincipalPolicy" => keys_of_principal(ask),
        "SimulateCustomPolicy" => simulate_custom(ask),
        "SimulatePrincipalPolicy" => simulate_principal(ask),
        _ => Err(ask.misrouted()),
    }
}

/// Policies of the call, each named by its place in its list.
fn policies_of(ask: &Ask, list: &str, kind: SourceKind) -> Result<Vec<Attached>, Failure> {
    let documents = ask.params().list(list);
    let attached = documents.iter().enumerate().map(|(index, document)| {
        let name = format!("{list}.{}", index + 1);
        Ok(Attached { source: source(kind, &name), policy: parsed(document, PolicyKind::Identity)? })
    });
    attached.collect()
}

fn source(kind: SourceKind, name: &str) -> Source {
    Source { kind, holder: "the simulation".into(), name: name.into() }
}

fn parsed(document: &str, kind: PolicyKind) -> Result<Policy, Failure> {
    let policy = Policy::parse(document, kind);
    Ok(policy.map_err(|error| Fault::new(FaultKind::InvalidInput, format!("Invalid Input {error}")))?)
}

fn keys_of_custom(ask: &Ask) -> Result<Reply, Failure> {
    ask.params().required("PolicyInputList.member.1")?;
    ask.allow(ask.directory()?, &Target::everything())?;
    let policies = policies_of(ask, "PolicyInputList", SourceKind::User)?;
    Ok(write_keys(&policies))
}

fn keys_of_principal(ask: &Ask) -> Result<Reply, Failure> {
    let subject = Subject::of(ask)?;
    let mut policies = policies_of(ask, "PolicyInputList", SourceKind::User)?;
    policies.extend(subject.policies.identity.iter().cloned());
    policies.extend(subject.policies.boundary.iter().cloned());
    Ok(write_keys(&policies))
}

fn write_keys(policies: &[Attached]) -> Reply {
    let keys = context_keys(policies.iter().map(|attached| &attached.policy));
    Reply::result(|document| {
        document.element("ContextKeyNames", |list| keys.iter().for_each(|key| list.text("member", key)));
    })
}

/// Whose policies are simulated.
struct Subject {
    principal: Principal,
    policies: Arc<PrincipalPolicies>,
}

impl Subject {
    /// The user, group or role that the call names, whom the caller must be allowed to simulate.
    fn of(ask: &Ask) -> Result<Self, Failure> {
        let arn = ask.params().required("PolicySourceArn")?;
        let directory = ask.directory()?;
        ask.allow(directory, &Target::of_arn(directory, arn))?;
        subject(directory, arn)
    }
}

fn subject(directory: &Arc<Directory>, arn: &str) -> Result<Subject, Failure> {
    let account = directory.account();
    let name = |kind: &str| resource_of(arn, account, kind).map(|resource| split_path(resource).1);
    let absent = || Fault::new(FaultKind::NoSuchEntity, format!("The entity {arn} cannot be found."));
    if let Some(name) = name("user") {
        let policies = directory.policies_of_user(name).cloned().ok_or_else(absent)?;
        return Ok(Subject { principal: directory.principal_of(directory.user(name)?), policies });
    }
    if let Some(name) = name("role") {
        let role = directory.role(name)?;
        let principal = Principal::RoleSession {
            account,
            path: role.path.clone(),
            role: role.name.clone(),
            role_id: role.id.clone(),
            session: "simulation".to_owned(),
        };
        return Ok(Subject { principal, policies: directory.policies_of_role(name).cloned().ok_or_else(absent)? });
    }
    if let Some(name) = name("group") {
        let identity = directory.policies_of_group(name).ok_or_else(absent)?;
        let policies = Arc::new(PrincipalPolicies { identity: identity.to_vec(), boundary: None });
        return Ok(Subject { principal: nobody(account), policies });
    }
    Err(Fault::new(FaultKind::InvalidInput, format!("Invalid Entity Arn: {arn}")).into())
}

fn nobody(account: AccountNumber) -> Principal {
    Principal::User { account, path: "/".to_owned(), name: NOBODY.to_owned(), id: NOBODY.to_owned() }
}

fn simulate_custom(ask: &Ask) -> Result<Reply, Failure> {
    ask.params().required("PolicyInputList.member.1")?;
    let directory = ask.directory()?;
    ask.allow(directory, &Target::everything())?;
    let principal = match ask.params().get("CallerArn") {
        Some(arn) => subject(directory, arn)?.principal,
        None => nobody(directory.account()),
    };
    let identity = policies_of(ask, "PolicyInputList", SourceKind::User)?;
    let boundary = policies_of(ask, "PermissionsBoundaryPolicyInputList", SourceKind::Boundary)?;
    run(ask, &principal, &identity, boundary.first())
}

fn simulate_principal(ask: &Ask) -> Result<Reply, Failure> {
    let subject = Subject::of(ask)?;
    let principal = match ask.params().get("CallerArn") {
        Some(arn) => self::subject(ask.directory()?, arn)?.principal,
        None => subject.principal,
    };
    let mut identity = policies_of(ask, "PolicyInputList", SourceKind::User)?;
    identity.extend(subject.policies.identity.iter().cloned());
    let given = policies_of(ask, "PermissionsBoundaryPolicyInputList", SourceKind::Boundary)?;
    let boundary = given.first().or(subject.policies.boundary.as_ref());
    run(ask, &principal, &identity, boundary)
}

fn context(ask: &Ask) -> Result<ContextEntries, Failure> {
    let mut entries = ContextEntries::default();
    for entry in ask.params().members("ContextEntries") {
        let values = entry.list("ContextKeyValues").into_iter().map(str::to_owned).collect();
        entries.set(entry.required("ContextKeyName")?, values);
    }
    Ok(entries)
}

/// The account of `arn:aws:iam::ACCOUNT:root`, or the caller's.
fn resource_owner(ask: &Ask) -> Result<AccountNumber, Failure> {
    let Some(owner) = ask.params().get("ResourceOwner") else { return ask.account() };
    let number = owner.split(':').nth(4).filter(|digits| digits.len() == 12).unwrap_or(owner);
    number.parse().map(AccountNumber).map_err(|_| validation(format!("Invalid ResourceOwner: {owner}")))
}

fn run(ask: &Ask, principal: &Principal, identity: &[Attached], boundary: Option<&Attached>) -> Result<Reply, Failure> {
    let params = ask.params();
    let actions = params.list("ActionNames");
    if actions.is_empty() {
        params.required("ActionNames")?;
    }
    let mut resources = params.list("ResourceArns");
    if resources.is_empty() {
        resources.push("*");
    }
    if actions.len() * resources.len() > PAIRS_MAX {
        return Err(validation(format!("A simulation is of at most {PAIRS_MAX} pairs of an action and a resource.")));
    }
    let entries = context(ask)?;
    let resource_policy = match params.get("ResourcePolicy") {
        Some(document) => {
            let source = source(SourceKind::Resource, "ResourcePolicy");
            Some(Attached { source, policy: parsed(document, PolicyKind::Bucket)? })
        }
        None => None,
    };
    let resource_account = Some(resource_owner(ask)?);
    let policies =
        Policies { identity, boundary, session: None, resource: resource_policy.as_ref(), resource_grants: false };
    let pairs = actions.iter().flat_map(|action| resources.iter().map(move |resource| (*action, *resource)));
    let numbered = pairs.enumerate().map(|(index, pair)| (format!("{index:06}"), pair));
    let page = Page::of(params, numbered)?;
    Ok(Reply::result(|document| {
        page.write(document, "EvaluationResults", |member, (action, resource)| {
            let request = Request { principal, action, resource, resource_account, context: &entries };
            let within = boundary.map(|boundary| {
                let alone = Policies { identity: std::slice::from_ref(boundary), ..Policies::default() };
                simulate(&request, &alone).decision.is_allowed()
            });
            write_result(member, (action, resource), &simulate(&request, &policies), within);
        });
    }))
}

fn write_position(element: &mut Document, position: Position) {
    element.value("Line", position.line);
    element.value("Column", position.column);
}

fn write_result(member: &mut Document, (action, resource): (&str, &str), simulated: &Simulated, within: Option<bool>) {
    member.text("EvalActionName", action);
    member.text("EvalResourceName", resource);
    member.text("EvalDecision", simulated.name());
    member.element("MatchedStatements", |list| {
        for decider in &simulated.decision.deciders {
            list.element("member", |statement| {
                statement.text("SourcePolicyId", &decider.source.name);
                statement.text("SourcePolicyType", decider.source.kind.name());
                if let Some(span) = decider.span() {
                    statement.element("StartPosition", |position| write_position(position, span.start));
                    statement.element("EndPosition", |position| write_position(position, span.end));
                }
            });
        }
    });
    member.element("MissingContextValues", |list| {
        simulated.missing_keys.iter().for_each(|key| list.text("member", key));
    });
    if let Some(within) = within {
        member.element("PermissionsBoundaryDecisionDetail", |detail| {
            detail.value("AllowedByPermissionsBoundary", within);
        });
    }
}
