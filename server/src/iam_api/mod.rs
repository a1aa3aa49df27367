//! The API of IAM, version 2010-05-08: accounts' users, groups, roles, policies, keys and devices, one file for each
//! resource. What the actions are, and their rules, IAM's API reference has.
//!
//! A root may call every action for its own account; a user or a session those that its policies allow on what the call names,
//! which is decided on the very state that a change is made of. A root whose account administers others, which only the
//! configuration can say, may name their users as well; each such call is in the log.

mod absent_kinds;
mod access_keys;
mod account;
mod ask;
mod attachments;
mod boundaries;
mod faults;
mod groups;
mod inline_policies;
mod last_accessed;
mod login_profiles;
mod mfa_devices;
mod oidc_providers;
mod page;
mod policies;
#[cfg(test)]
mod privilege_tests;
mod reports;
mod roles;
mod simulator;
mod tags;
mod target;
mod users;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::identities::Identities;
use crate::query_api::{Api, Call, Reply, Service};
use crate::s3::error::Failure;

use ask::Ask;

/// What the actions work with.
#[derive(Debug)]
pub struct IamApi {
    /// What they read and change.
    pub identities: Arc<Identities>,
    /// The region that keys are last used in.
    pub region: String,
    /// Reports that were made.
    reports: reports::Reports,
    /// Jobs that were asked for.
    jobs: last_accessed::Jobs,
}

impl IamApi {
    /// The API over these identities.
    pub fn new(identities: Arc<Identities>, region: String) -> Self {
        Self { identities, region, reports: reports::Reports::default(), jobs: last_accessed::Jobs::default() }
    }
}

type Handler = for<'a> fn(&'a Ask) -> BoxFuture<'a, Result<Reply, Failure>>;

/// The actions of each resource, and what does them.
const RESOURCES: &[(&[&str], Handler)] = &[
    (absent_kinds::ACTIONS, |ask| Box::pin(absent_kinds::call(ask))),
    (access_keys::ACTIONS, |ask| Box::pin(access_keys::call(ask))),
    (account::ACTIONS, |ask| Box::pin(account::call(ask))),
    (attachments::ACTIONS, |ask| Box::pin(attachments::call(ask))),
    (boundaries::ACTIONS, |ask| Box::pin(boundaries::call(ask))),
    (groups::ACTIONS, |ask| Box::pin(groups::call(ask))),
    (inline_policies::ACTIONS, |ask| Box::pin(inline_policies::call(ask))),
    (last_accessed::ACTIONS, |ask| Box::pin(last_accessed::call(ask))),
    (login_profiles::ACTIONS, |ask| Box::pin(login_profiles::call(ask))),
    (mfa_devices::ACTIONS, |ask| Box::pin(mfa_devices::call(ask))),
    (oidc_providers::ACTIONS, |ask| Box::pin(oidc_providers::call(ask))),
    (policies::ACTIONS, |ask| Box::pin(policies::call(ask))),
    (reports::ACTIONS, |ask| Box::pin(reports::call(ask))),
    (roles::ACTIONS, |ask| Box::pin(roles::call(ask))),
    (simulator::ACTIONS, |ask| Box::pin(simulator::call(ask))),
    (tags::ACTIONS, |ask| Box::pin(tags::call(ask))),
    (users::ACTIONS, |ask| Box::pin(users::call(ask))),
];

#[async_trait]
impl Api for IamApi {
    fn service(&self) -> Service {
        Service::Iam
    }

    fn action(&self, name: &str) -> Option<&'static str> {
        RESOURCES.iter().flat_map(|(actions, _)| *actions).copied().find(|action| *action == name)
    }

    async fn call(&self, action: &'static str, call: Call) -> Result<Reply, Failure> {
        let handler = RESOURCES.iter().find(|(actions, _)| actions.contains(&action)).map(|(_, handler)| handler);
        let handler = handler.ok_or_else(|| Failure::internal(format!("{action} is listed and not there")))?;
        handler(&Ask::new(self, action, call)?).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_action_is_of_one_resource() {
        let mut all: Vec<&str> = RESOURCES.iter().flat_map(|(actions, _)| *actions).copied().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
