//! When services were last accessed, and which policies let somebody: what was granted, and what of it is used (IAM user guide,
//! "Refining permissions in AWS using last accessed information").
//!
//! All of it is in memory, so a job is complete at once; its answer is made when it is asked for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::{Attached, SourceKind};
use cairn_iam::granted::{granting, is_granted};
use cairn_iam::identity::name::split_path;
use cairn_iam::identity::{Directory, Fault, FaultKind, User};
use cairn_iam::s3_actions::S3_ACTIONS;
use parking_lot::Mutex;

use crate::identities::usage::Usage;
use crate::query_api::Reply;
use crate::query_api::faults::validation;
use crate::s3::error::Failure;
use crate::s3::xml::Document;

use super::ask::Ask;
use super::page::{Page, write_end};
use super::target::Target;
use super::write;

pub(super) const ACTIONS: &[&str] = &[
    "GenerateServiceLastAccessedDetails",
    "GetServiceLastAccessedDetails",
    "GetServiceLastAccessedDetailsWithEntities",
    "ListPoliciesGrantingServiceAccess",
];

/// Jobs that are remembered, the newest of all accounts.
const JOBS_MAX: usize = 1_000;

/// Services that one call may ask about (API reference, ListPoliciesGrantingServiceAccess).
const NAMESPACES_MAX: usize = 200;

/// The services there are: their namespaces and names.
const SERVICES: [(&str, &str); 4] = [
    ("iam", "AWS Identity and Access Management"),
    ("kms", "AWS Key Management Service"),
    ("s3", "Amazon S3"),
    ("sts", "AWS Security Token Service"),
];

const STS_ACTIONS: [&str; 4] = ["AssumeRole", "AssumeRoleWithWebIdentity", "GetFederationToken", "GetSessionToken"];

/// The jobs that were asked for. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Jobs(Arc<Mutex<VecDeque<Job>>>);

/// A question for when services were last accessed.
#[derive(Clone, Debug)]
struct Job {
    id: String,
    account: AccountNumber,
    arn: String,
    by_action: bool,
    created_ms: u64,
}

impl Jobs {
    fn keep(&self, job: Job) {
        let mut jobs = self.0.lock();
        jobs.push_back(job);
        if jobs.len() > JOBS_MAX {
            jobs.pop_front();
        }
    }
}

impl Job {
    fn write(&self, document: &mut Document) {
        document.text("JobStatus", "COMPLETED");
        write::time(document, "JobCreationDate", self.created_ms);
        write::time(document, "JobCompletionDate", self.created_ms);
    }
}

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    match ask.action() {
        "GenerateServiceLastAccessedDetails" => generate(ask),
        "GetServiceLastAccessedDetails" => details(ask),
        "GetServiceLastAccessedDetailsWithEntities" => details_with_entities(ask),
        "ListPoliciesGrantingServiceAccess" => list_granting(ask),
        _ => Err(ask.misrouted()),
    }
}

/// The job that the call names, if the caller may see it.
fn job(ask: &Ask, directory: &Directory) -> Result<Job, Failure> {
    let id = ask.params().required("JobId")?;
    let account = directory.account();
    let job = ask.jobs().0.lock().iter().find(|job| job.id == id && job.account == account).cloned();
    ask.allow(directory, &Target::everything())?;
    Ok(job.ok_or_else(|| Fault::new(FaultKind::NoSuchEntity, format!("Job {id} cannot be found.")))?)
}

fn generate(ask: &Ask) -> Result<Reply, Failure> {
    let arn = ask.params().required("Arn")?;
    let directory = ask.directory()?;
    ask.allow(directory, &Target::of_arn(directory, arn))?;
    entities_of(directory, arn)?;
    let by_action = match ask.params().get("Granularity").unwrap_or("SERVICE_LEVEL") {
        "SERVICE_LEVEL" => false,
        "ACTION_LEVEL" => true,
        _ => return Err(validation("The value of Granularity is SERVICE_LEVEL or ACTION_LEVEL.")),
    };
    let job = Job {
        id: ask.identities().new_job_id(),
        account: directory.account(),
        arn: arn.to_owned(),
        by_action,
        created_ms: ask.identities().now_ms(),
    };
    let id = job.id.clone();
    ask.jobs().keep(job);
    Ok(Reply::result(|document| document.text("JobId", &id)))
}

/// The ids and ARNs of the users and roles whose accesses count for an ARN: those of a user or a role themselves, of a group its
/// members, of a policy whom it is attached to.
fn entities_of(directory: &Directory, arn: &str) -> Result<Vec<(String, String)>, Failure> {
    let of_user = |user: &User| (user.id.clone(), directory.user_arn(user));
    let user = directory.users.iter().find(|user| directory.user_arn(user) == arn);
    let role = directory.roles.iter().find(|role| directory.role_arn(role) == arn);
    let group = directory.groups.iter().find(|group| directory.group_arn(group) == arn);
    if let Some(user) = user {
        return Ok(vec![of_user(user)]);
    }
    if let Some(role) = role {
        return Ok(vec![(role.id.clone(), directory.role_arn(role))]);
    }
    if let Some(group) = group {
        return Ok(directory.members_of(group).map(of_user).collect());
    }
    let is_policy = cairn_iam::managed::ManagedPolicy::by_arn(arn).is_some() || directory.policy(arn).is_ok();
    if !is_policy {
        let absent = format!("ARN {arn} is not found or is no user, group, role or policy.");
        return Err(Fault::new(FaultKind::NoSuchEntity, absent).into());
    }
    let has = |attached: &[String]| attached.iter().any(|attached| attached == arn);
    let has_by_group = |user: &User| directory.groups_of(user).any(|group| has(&group.grants.attached));
    let users = directory.users.iter().filter(|user| has(&user.grants.attached) || has_by_group(user)).map(of_user);
    let roles = directory.roles.iter().filter(|role| has(&role.grants.attached));
    Ok(users.chain(roles.map(|role| (role.id.clone(), directory.role_arn(role)))).collect())
}

/// The policies that count for an ARN, and their boundary.
fn policies_of(directory: &Directory, arn: &str) -> (Vec<Attached>, Option<Attached>) {
    let user = directory.users.iter().find(|user| directory.user_arn(user) == arn);
    let role = directory.roles.iter().find(|role| directory.role_arn(role) == arn);
    let of_principal = match (user, role) {
        (Some(user), _) => directory.policies_of_user(&user.name),
        (None, Some(role)) => directory.policies_of_role(&role.name),
        (None, None) => None,
    };
    if let Some(policies) = of_principal {
        return (policies.identity.clone(), policies.boundary.clone());
    }
    let group = directory.groups.iter().find(|group| directory.group_arn(group) == arn);
    match group.and_then(|group| directory.policies_of_group(&group.name)) {
        Some(policies) => (policies.to_vec(), None),
        None => (directory.managed(arn, arn).into_iter().collect(), None),
    }
}

/// The actions of a service that are known by name; none of one that there is not.
fn actions_of(service: &str) -> Vec<String> {
    match service {
        "s3" => S3_ACTIONS.iter().map(|(action, _)| (*action).to_owned()).collect(),
        "iam" => {
            let actions = super::RESOURCES.iter().flat_map(|(actions, _)| *actions);
            actions.map(|action| format!("iam:{action}")).collect()
        }
        "kms" => crate::kms_api::permissions().map(|action| format!("kms:{action}")).collect(),
        "sts" => STS_ACTIONS.iter().map(|action| format!("sts:{action}")).collect(),
        _ => Vec::new(),
    }
}

/// The last access to a service or an action, and by whom.
type Access<'e> = (u64, &'e str);

/// What is known of one service.
#[derive(Default)]
struct Accessed<'e> {
    last: Option<Access<'e>>,
    entities: usize,
    actions: BTreeMap<String, Access<'e>>,
}

fn accessed<'e>(
    usage: &Usage,
    account: AccountNumber,
    entities: &'e [(String, String)],
    service: &str,
) -> Accessed<'e> {
    let mut accessed = Accessed::default();
    for (id, arn) in entities {
        let mut newest = None;
        for (action, at_ms) in usage.of(account, id).actions() {
            let Some((_, name)) = action.split_once(':').filter(|(of, _)| *of == service) else { continue };
            newest = newest.max(Some((at_ms, arn.as_str())));
            let last = accessed.actions.entry(name.to_owned()).or_insert((at_ms, arn));
            *last = (*last).max((at_ms, arn));
        }
        accessed.entities += usize::from(newest.is_some());
        accessed.last = accessed.last.max(newest);
    }
    accessed
}

fn details(ask: &Ask) -> Result<Reply, Failure> {
    let directory = ask.directory()?;
    let account = directory.account();
    let job = job(ask, directory)?;
    let entities = entities_of(directory, &job.arn)?;
    let (policies, boundary) = policies_of(directory, &job.arn);
    let granted = |service: &str| -> Vec<String> {
        let actions = actions_of(service).into_iter();
        actions.filter(|action| is_granted(&policies, boundary.as_ref(), action)).collect()
    };
    // Only what is granted is told of, as AWS has it.
    let services = SERVICES.into_iter().map(|service| (service, granted(service.0)));
    let services = services.filter(|(_, actions)| !actions.is_empty());
    let page = Page::of(ask.params(), services.map(|(service, actions)| (service.0.to_owned(), (service, actions))))?;
    let (services, marker) = page.into_parts();
    let (usage, region) = (ask.identities().usage(), ask.region());
    Ok(Reply::result(|document| {
        document.text("JobType", if job.by_action { "ACTION_LEVEL" } else { "SERVICE_LEVEL" });
        job.write(document);
        document.element("ServicesLastAccessed", |list| {
            for ((namespace, name), actions) in services {
                let accessed = accessed(usage, account, &entities, namespace);
                list.element("member", |member| {
                    member.text("ServiceName", name);
                    member.text("ServiceNamespace", namespace);
                    write_service(member, &accessed, region, job.by_action.then_some(&*actions));
                });
            }
        });
        write_end(document, marker.as_deref());
    }))
}

/// `actions` are those that are granted, if each of them is to be told of.
fn write_service(member: &mut Document, accessed: &Accessed<'_>, region: &str, actions: Option<&[String]>) {
    member.value("TotalAuthenticatedEntities", accessed.entities);
    if let Some((at_ms, arn)) = accessed.last {
        write::time(member, "LastAuthenticated", at_ms);
        member.text("LastAuthenticatedEntity", arn);
        member.text("LastAuthenticatedRegion", region);
    }
    let Some(actions) = actions else { return };
    member.element("TrackedActionsLastAccessed", |list| {
        for action in actions.iter().filter_map(|action| Some(action.split_once(':')?.1)) {
            list.element("member", |member| {
                member.text("ActionName", action);
                if let Some((at_ms, arn)) = accessed.actions.get(action) {
                    write::time(member, "LastAccessedTime", *at_ms);
                    member.text("LastAccessedEntity", arn);
                    member.text("LastAccessedRegion", region);
                }
            });
        }
    });
}

/// Who could have accessed one service by a group's or a policy's permissions, and when each did.
fn details_with_entities(ask: &Ask) -> Result<Reply, Failure> {
    let directory = ask.directory()?;
    let job = job(ask, directory)?;
    let namespace = ask.params().required("ServiceNamespace")?;
    let entities = entities_of(directory, &job.arn)?;
    let page = Page::of(ask.params(), entities.into_iter().map(|(id, arn)| (arn.clone(), (id, arn))))?;
    let (entities, marker) = page.into_parts();
    let usage = ask.identities().usage();
    Ok(Reply::result(|document| {
        job.write(document);
        document.element("EntityDetailsList", |list| {
            for entity in &entities {
                let last = accessed(usage, directory.account(), std::slice::from_ref(entity), namespace).last;
                list.element("member", |member| {
                    member.element("EntityInfo", |info| write_entity(info, entity));
                    if let Some((at_ms, _)) = last {
                        write::time(member, "LastAuthenticated", at_ms);
                    }
                });
            }
        });
        write_end(document, marker.as_deref());
    }))
}

fn write_entity(info: &mut Document, (id, arn): &(String, String)) {
    let resource = arn.splitn(6, ':').nth(5).unwrap_or_default();
    let (kind, resource) = resource.split_at(resource.find('/').unwrap_or(resource.len()));
    let (path, name) = split_path(resource);
    info.text("Arn", arn);
    info.text("Name", name);
    info.text("Type", &kind.to_uppercase());
    info.text("Id", id);
    info.text("Path", path);
}

/// The policies of a user, a group or a role, and of a user's groups, that let it use services. They are told without paging: there
/// are no more than somebody can have.
fn list_granting(ask: &Ask) -> Result<Reply, Failure> {
    let arn = ask.params().required("Arn")?;
    let directory = ask.directory()?;
    ask.allow(directory, &Target::of_arn(directory, arn))?;
    entities_of(directory, arn)?;
    let namespaces = ask.params().list("ServiceNamespaces");
    if namespaces.is_empty() {
        ask.params().required("ServiceNamespaces.member.1")?;
    }
    if namespaces.len() > NAMESPACES_MAX {
        return Err(validation(format!("A call is about at most {NAMESPACES_MAX} services.")));
    }
    let (policies, _) = policies_of(directory, arn);
    Ok(Reply::result(|document| {
        document.element("PoliciesGrantingServiceAccess", |list| {
            for namespace in namespaces {
                list.element("member", |member| {
                    member.text("ServiceNamespace", namespace);
                    member.element("Policies", |list| write_granting(list, &policies, namespace));
                });
            }
        });
        write_end(document, None);
    }))
}

fn write_granting(list: &mut Document, policies: &[Attached], namespace: &str) {
    let actions = actions_of(namespace);
    let grants = |policy: &&Attached| {
        actions.iter().any(|action| granting(std::slice::from_ref(*policy), action).next().is_some())
    };
    for Attached { source, .. } in policies.iter().filter(grants) {
        let entity = match source.kind {
            SourceKind::User => Some("USER"),
            SourceKind::Group => Some("GROUP"),
            SourceKind::Role => Some("ROLE"),
            _ => None,
        };
        list.element("member", |member| match entity {
            Some(entity) => {
                member.text("PolicyName", &source.name);
                member.text("PolicyType", "INLINE");
                member.text("EntityType", entity);
                member.text("EntityName", split_path(&source.holder).1);
            }
            None => {
                member.text("PolicyName", split_path(&source.name).1);
                member.text("PolicyType", "MANAGED");
                member.text("PolicyArn", &source.name);
            }
        });
    }
}
