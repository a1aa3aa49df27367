//! The API of STS, version 2011-06-15: who one is, and temporary credentials.
//!
//! One file for each action. What temporary credentials are, [`session`] says; who has them, `identities/session.rs`.

pub mod parameters;
pub mod session;
pub mod session_keys;
pub mod web_identity;

mod assume_role;
mod assume_role_with_web_identity;
mod decode_authorization_message;
mod get_access_key_info;
mod get_caller_identity;
mod get_federation_token;
mod get_session_token;
mod role;

use std::sync::Arc;

use async_trait::async_trait;
use cairn_iam::acl::AccountNumber;
use cairn_storage::clock::{Clock, Entropy, Timestamp};
use http::StatusCode;

use crate::identities::{Caller, Identities, Snapshot};
use crate::query_api::permission::Circumstances;
use crate::query_api::{Api, Call, Reply, Service, faults};
use crate::s3::error::Failure;
use crate::s3::headers::document_time;
use crate::s3::xml::Document;

use session::{Credentials, Session, Sessions, TOKEN_CHARS_MAX};
use web_identity::issuers::Issuers;

const ACTIONS: &[&str] = &[
    "AssumeRole",
    "AssumeRoleWithWebIdentity",
    "DecodeAuthorizationMessage",
    "GetAccessKeyInfo",
    "GetCallerIdentity",
    "GetFederationToken",
    "GetSessionToken",
];

/// What the actions work with.
pub struct StsApi {
    /// Who may sign, and what roles there are.
    pub identities: Arc<Identities>,
    /// Makes tokens.
    pub sessions: Sessions,
    /// Verifies tokens of others.
    pub issuers: Issuers,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for access keys.
    pub entropy: Arc<dyn Entropy>,
    /// The server's region.
    pub region: String,
}

#[async_trait]
impl Api for StsApi {
    fn service(&self) -> Service {
        Service::Sts
    }

    fn action(&self, name: &str) -> Option<&'static str> {
        ACTIONS.iter().copied().find(|action| *action == name)
    }

    fn needs_no_signature(&self, action: &'static str) -> bool {
        action == "AssumeRoleWithWebIdentity"
    }

    /// Who holds such a URL can show it to somebody, who asks here whose it is, and do nothing else with it.
    fn may_be_url(&self, action: &'static str) -> bool {
        action == "GetCallerIdentity"
    }

    async fn call(&self, action: &'static str, call: Call) -> Result<Reply, Failure> {
        match action {
            "AssumeRole" => assume_role::assume_role(self, &call).await,
            "AssumeRoleWithWebIdentity" => {
                assume_role_with_web_identity::assume_role_with_web_identity(self, &call).await
            }
            "DecodeAuthorizationMessage" => decode_authorization_message::decode_authorization_message(self, &call),
            "GetAccessKeyInfo" => get_access_key_info::get_access_key_info(self, &call),
            "GetCallerIdentity" => get_caller_identity::get_caller_identity(self, &call),
            "GetFederationToken" => get_federation_token::get_federation_token(self, &call),
            "GetSessionToken" => get_session_token::get_session_token(self, &call).await,
            _ => Err(Failure::internal(format!("{action} is listed and not there"))),
        }
    }
}

impl StsApi {
    /// Who makes the call.
    fn caller(&self, snapshot: &Snapshot, call: &Call) -> Result<Arc<Caller>, Failure> {
        let signer = call.signer.as_ref().ok_or_else(faults::missing_signature)?;
        let caller = snapshot.signed_by(signer).ok_or_else(faults::invalid_client_token)?;
        call.made_by(&caller);
        Ok(caller)
    }

    fn circumstances<'c>(&'c self, call: &'c Call, caller: &'c Caller) -> Circumstances<'c> {
        Circumstances { call, caller, now: self.clock.now(), region: &self.region }
    }

    fn issue(&self, session: &Session) -> Result<Credentials, Failure> {
        let credentials = self.sessions.issue(session, self.entropy.as_ref()).map_err(Failure::internal)?;
        // What an identity provider says of somebody may be long, and a longer token would be good for nothing.
        if credentials.token.len() > TOKEN_CHARS_MAX { Err(parameters::packed_too_large()) } else { Ok(credentials) }
    }

    /// Takes a code of the caller's device.
    async fn use_mfa_code(&self, caller: &Caller, serial: &str, code: &str) -> Result<(), Failure> {
        let used = self.identities.use_code(&caller.principal, serial, code).await;
        used.map_err(|failure| match failure.code() {
            "InvalidAuthenticationCode" | "NoSuchEntity" => wrong_mfa_code(),
            _ => failure,
        })
    }
}

/// That there are the managed policies that are to bound a session.
fn check_policy_arns(snapshot: &Snapshot, account: AccountNumber, arns: &[String]) -> Result<(), Failure> {
    let directory = snapshot.directory(account);
    let is_there = |arn: &String| directory.is_some_and(|directory| directory.find_managed_policy(arn).is_some());
    match arns.iter().find(|arn| !is_there(arn)) {
        None => Ok(()),
        Some(arn) => Err(faults::validation(format!("Policy {arn} does not exist or is not attachable."))),
    }
}

/// A code that is wrong, used, or of a device that the caller does not have.
fn wrong_mfa_code() -> Failure {
    denied("MultiFactorAuthentication failed with invalid MFA one time pass code.")
}

fn denied(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    faults::fault("AccessDenied", StatusCode::FORBIDDEN, message)
}

/// When a session of so many seconds ends that begins now. AWS tells whole seconds.
fn expiry_ms(now: Timestamp, seconds: u32) -> i64 {
    (now.0.div_euclid(1_000) + i64::from(seconds)) * 1_000
}

fn write_credentials(result: &mut Document, credentials: &Credentials) {
    result.element("Credentials", |element| {
        element.text("AccessKeyId", &credentials.access_key);
        element.text("SecretAccessKey", credentials.secret_key.expose());
        element.text("SessionToken", &credentials.token);
        element.text("Expiration", &document_time(credentials.expires_at).replace(".000Z", "Z"));
    });
}
