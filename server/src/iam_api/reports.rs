//! The credential report, which shows all users and the state of their credentials, and when services were last accessed.
//!
//! Both are made of what is in memory in no time, so a report is complete at once, and each is made anew.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::Attached;
use cairn_iam::granted::is_granted;
use cairn_iam::identity::{Directory, Fault, FaultKind, User};
use cairn_iam::s3_actions::S3_ACTIONS;
use http::StatusCode;
use parking_lot::Mutex;

use crate::identities::usage::Usage;
use crate::query_api::Reply;
use crate::query_api::faults::{fault, validation};
use crate::s3::error::Failure;
use crate::s3::xml::Document;

use super::ask::Ask;
use super::page::{Page, write_end};
use super::target::{Target, iso_time};
use super::write;

pub(super) const ACTIONS: &[&str] = &[
    "GenerateCredentialReport",
    "GenerateServiceLastAccessedDetails",
    "GetCredentialReport",
    "GetServiceLastAccessedDetails",
];

/// Jobs of reports that are remembered, the newest of all accounts.
const JOBS_MAX: usize = 1_000;

/// The services there are: their namespaces and names.
const SERVICES: [(&str, &str); 3] =
    [("iam", "AWS Identity and Access Management"), ("s3", "Amazon S3"), ("sts", "AWS Security Token Service")];

const STS_ACTIONS: [&str; 4] = ["AssumeRole", "AssumeRoleWithWebIdentity", "GetFederationToken", "GetSessionToken"];

const HEADER: &str = "user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,\
                      password_next_rotation,mfa_active,access_key_1_active,access_key_1_last_rotated,\
                      access_key_1_last_used_date,access_key_1_last_used_region,access_key_1_last_used_service,\
                      access_key_2_active,access_key_2_last_rotated,access_key_2_last_used_date,\
                      access_key_2_last_used_region,access_key_2_last_used_service,cert_1_active,cert_1_last_rotated,\
                      cert_2_active,cert_2_last_rotated";

/// The reports that were asked for. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports(Arc<Mutex<Made>>);

#[derive(Debug, Default)]
struct Made {
    credentials: HashMap<AccountNumber, (u64, Arc<str>)>,
    jobs: VecDeque<Job>,
}

/// A question for when services were last accessed.
#[derive(Clone, Debug)]
struct Job {
    id: String,
    account: AccountNumber,
    arn: String,
    by_action: bool,
    created_ms: u64,
}

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    match ask.action() {
        "GenerateCredentialReport" => generate(ask),
        "GenerateServiceLastAccessedDetails" => generate_last_accessed(ask),
        "GetCredentialReport" => get(ask),
        "GetServiceLastAccessedDetails" => get_last_accessed(ask),
        _ => Err(ask.misrouted()),
    }
}

fn generate(ask: &Ask) -> Result<Reply, Failure> {
    let directory = ask.directory()?;
    ask.allow(directory, &Target::everything())?;
    let report = credential_report(ask, directory);
    let mut made = ask.reports().0.lock();
    let is_first = made.credentials.insert(directory.account(), (ask.identities().now_ms(), report.into())).is_none();
    Ok(Reply::result(|document| {
        document.text("State", if is_first { "STARTED" } else { "COMPLETE" });
        if is_first {
            document.text("Description", "No report exists. Starting a new report generation task");
        }
    }))
}

fn get(ask: &Ask) -> Result<Reply, Failure> {
    let directory = ask.directory()?;
    ask.allow(directory, &Target::everything())?;
    let made = ask.reports().0.lock().credentials.get(&directory.account()).cloned();
    let Some((at_ms, report)) = made else {
        let message = "No report was generated. Use GenerateCredentialReport first.";
        return Err(fault("ReportNotPresent", StatusCode::GONE, message));
    };
    Ok(Reply::result(|document| {
        document.text("Content", &STANDARD.encode(report.as_bytes()));
        document.text("ReportFormat", "text/csv");
        write::time(document, "GeneratedTime", at_ms);
    }))
}

/// A time as the report writes it.
fn report_time(ms: u64) -> String {
    iso_time(ms).replace('Z', "+00:00")
}

fn credential_report(ask: &Ask, directory: &Directory) -> String {
    let mut report = HEADER.to_owned();
    let (usage, region) = (ask.identities().usage(), ask.region());
    let root_has_keys = ask.snapshot().root_has_keys(directory.account());
    let root_has_mfa =
        directory.devices.iter().any(|device| device.owner.as_ref().is_some_and(|owner| owner.user.is_none()));
    let arn = directory.root().arn().unwrap_or_default();
    let root_used = usage.of(directory.account(), "root").last();
    let (used_at, used_region, service) = match &root_used {
        Some(used) => (report_time(used.at_ms), region, used.service.as_str()),
        None => ("N/A".to_owned(), "N/A", "N/A"),
    };
    // Writing to a String cannot fail.
    let _ = write!(
        report,
        "\n<root_account>,{arn},N/A,not_supported,N/A,not_supported,not_supported,{root_has_mfa},{root_has_keys},N/A,\
         {used_at},{used_region},{service},false,N/A,N/A,N/A,N/A,false,N/A,false,N/A"
    );
    for user in directory.users.iter() {
        report.push('\n');
        report.push_str(&user_line(ask, directory, user));
    }
    report
}

/// Names and ARNs of users have commas, but quotes never.
fn quoted(text: &str) -> String {
    if text.contains(',') { format!("\"{text}\"") } else { text.to_owned() }
}

fn user_line(ask: &Ask, directory: &Directory, user: &User) -> String {
    let mut fields = vec![quoted(&user.name), quoted(&directory.user_arn(user)), report_time(user.created_ms)];
    match &user.login {
        Some(login) => {
            fields.push("true".to_owned());
            fields.push("no_information".to_owned());
            fields.push(report_time(login.changed_ms));
            fields.push("N/A".to_owned());
        }
        None => fields.extend(["false", "N/A", "N/A", "N/A"].map(str::to_owned)),
    }
    fields.push(directory.devices_of(user).next().is_some().to_string());
    let account = directory.account();
    let kept = directory.keys_of(user).map(|key| (key.id.as_str(), key.is_active, key.created_ms));
    let declared = ask.snapshot().declared_keys(account, &user.id).map(|id| (id, true, user.created_ms));
    // The report has room for two; a user has more only if the configuration gives it some.
    let keys: Vec<(&str, bool, u64)> = kept.chain(declared).take(2).collect();
    for index in 0..2 {
        let Some((id, is_active, created_ms)) = keys.get(index) else {
            fields.extend(["false", "N/A", "N/A", "N/A", "N/A"].map(str::to_owned));
            continue;
        };
        fields.push(is_active.to_string());
        fields.push(report_time(*created_ms));
        match ask.identities().usage().of(account, id).last() {
            Some(used) => fields.extend([report_time(used.at_ms), ask.region().to_owned(), used.service]),
            None => fields.extend(["N/A", "N/A", "N/A"].map(str::to_owned)),
        }
    }
    fields.extend(["false", "N/A", "false", "N/A"].map(str::to_owned));
    fields.join(",")
}

fn generate_last_accessed(ask: &Ask) -> Result<Reply, Failure> {
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
    let mut made = ask.reports().0.lock();
    made.jobs.push_back(job);
    if made.jobs.len() > JOBS_MAX {
        made.jobs.pop_front();
    }
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

/// The actions of a service that are known by name.
fn actions_of(service: &str) -> Vec<String> {
    match service {
        "s3" => S3_ACTIONS.iter().map(|(action, _)| (*action).to_owned()).collect(),
        "iam" => {
            let actions = super::RESOURCES.iter().flat_map(|(actions, _)| *actions);
            actions.map(|action| format!("iam:{action}")).collect()
        }
        _ => STS_ACTIONS.iter().map(|action| format!("sts:{action}")).collect(),
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

fn get_last_accessed(ask: &Ask) -> Result<Reply, Failure> {
    let id = ask.params().required("JobId")?;
    let directory = ask.directory()?;
    let account = directory.account();
    let job = ask.reports().0.lock().jobs.iter().find(|job| job.id == id && job.account == account).cloned();
    ask.allow(directory, &Target::everything())?;
    let Some(job) = job else {
        return Err(Fault::new(FaultKind::NoSuchEntity, format!("Job {id} cannot be found.")).into());
    };
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
        document.text("JobStatus", "COMPLETED");
        document.text("JobType", if job.by_action { "ACTION_LEVEL" } else { "SERVICE_LEVEL" });
        write::time(document, "JobCreationDate", job.created_ms);
        write::time(document, "JobCompletionDate", job.created_ms);
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
