//! The API of IAM, version 2010-05-08: accounts' users, groups, roles and policies.

use async_trait::async_trait;

use crate::query_api::{Api, Call, Reply, Service};
use crate::s3::error::Failure;

/// The actions of IAM that there are.
const ACTIONS: &[&str] = &[];

/// What the actions work with.
#[derive(Debug)]
pub struct IamApi;

#[async_trait]
impl Api for IamApi {
    fn service(&self) -> Service {
        Service::Iam
    }

    fn action(&self, name: &str) -> Option<&'static str> {
        ACTIONS.iter().copied().find(|action| *action == name)
    }

    async fn call(&self, action: &'static str, _: Call) -> Result<Reply, Failure> {
        Err(Failure::internal(format!("{action} is listed and not there")))
    }
}
