//! The API of STS, version 2011-06-15: who one is, and temporary credentials.

mod get_caller_identity;

use std::sync::Arc;

use async_trait::async_trait;

use crate::identities::Identities;
use crate::query_api::{Api, Call, Reply, Service};
use crate::s3::error::Failure;

const ACTIONS: &[&str] = &["GetCallerIdentity"];

/// What the actions work with.
#[derive(Debug)]
pub struct StsApi {
    /// Who may sign.
    pub identities: Arc<Identities>,
}

#[async_trait]
impl Api for StsApi {
    fn service(&self) -> Service {
        Service::Sts
    }

    fn action(&self, name: &str) -> Option<&'static str> {
        ACTIONS.iter().copied().find(|action| *action == name)
    }

    async fn call(&self, action: &'static str, call: Call) -> Result<Reply, Failure> {
        match action {
            "GetCallerIdentity" => get_caller_identity::get_caller_identity(self, &call),
            _ => Err(Failure::internal(format!("{action} is listed and not there"))),
        }
    }
}
