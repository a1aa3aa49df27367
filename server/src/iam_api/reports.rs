//! The credential report, which shows all users and the state of their credentials. It is made of what is in memory in no time, so
//! it is complete at once.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_iam::acl::AccountNumber;
use cairn_iam::identity::{Directory, User};
use http::StatusCode;
use parking_lot::Mutex;

use crate::query_api::Reply;
use crate::query_api::faults::fault;
use crate::s3::error::Failure;

use super::ask::Ask;
use super::target::{Target, iso_time};
use super::write;

pub(super) const ACTIONS: &[&str] = &["GenerateCredentialReport", "GetCredentialReport"];

const HEADER: &str = "user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,\
                      password_next_rotation,mfa_active,access_key_1_active,access_key_1_last_rotated,\
                      access_key_1_last_used_date,access_key_1_last_used_region,access_key_1_last_used_service,\
                      access_key_2_active,access_key_2_last_rotated,access_key_2_last_used_date,\
                      access_key_2_last_used_region,access_key_2_last_used_service,cert_1_active,cert_1_last_rotated,\
                      cert_2_active,cert_2_last_rotated";

/// The reports that were made, by account. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports(Arc<Mutex<HashMap<AccountNumber, Report>>>);

/// When a report was made, ms since the epoch, and what it says.
type Report = (u64, Arc<str>);

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    match ask.action() {
        "GenerateCredentialReport" => generate(ask),
        "GetCredentialReport" => get(ask),
        _ => Err(ask.misrouted()),
    }
}

fn generate(ask: &Ask) -> Result<Reply, Failure> {
    let directory = ask.directory()?;
    ask.allow(directory, &Target::everything())?;
    let report = credential_report(ask, directory);
    let mut made = ask.reports().0.lock();
    let is_first = made.insert(directory.account(), (ask.identities().now_ms(), report.into())).is_none();
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
    let made = ask.reports().0.lock().get(&directory.account()).cloned();
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
    let kept = directory.keys_of(Some(&user.name)).map(|key| (key.id.as_str(), key.is_active, key.created_ms));
    let declared = ask.snapshot().declared_keys(account, Some(&user.id)).map(|id| (id, true, user.created_ms));
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
