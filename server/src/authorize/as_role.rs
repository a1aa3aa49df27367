//! What a role may do that acts by itself, without a request: the one that replicates.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use cairn_storage::index::family::bucket::PublicAccessBlock;
use cairn_storage::object::{ObjectKey, ObjectVersion};
use cairn_storage::ops::{Bucket, VersionSelector};
use http::HeaderMap;

use crate::audit::Trail;
use crate::identities::{Caller, Snapshot};
use crate::s3::Edge;
use crate::s3::error::Failure;
use crate::s3::request::Query;

use super::question::{Known, Question, without_resource_policy};
use super::{Action, Authorizer, Connection, Facts, Rules, arn_of_object};

/// A role that acts by itself.
#[derive(Clone, Copy, Debug)]
pub struct AsRole<'a> {
    /// The buckets.
    pub edge: &'a Edge,
    /// The accounts, as they are now.
    pub identities: &'a Snapshot,
    /// The role.
    pub caller: &'a Arc<Caller>,
    /// Where the decisions are noted.
    pub trail: &'a Trail,
}

impl AsRole<'_> {
    fn rules(&self) -> Rules<'_> {
        Rules { store: &self.edge.store, identities: self.identities, policies: &self.edge.policies }
    }

    fn facts<'f>(&'f self, headers: &'f HeaderMap, query: &'f Query) -> Facts<'f> {
        Facts {
            operation: None,
            headers,
            query,
            // It comes from this machine.
            connection: Connection { remote: IpAddr::V4(Ipv4Addr::LOCALHOST), secure: true, tls_version: None },
            signature: None,
            now: self.edge.store.clock().now(),
            region: &self.edge.region,
        }
    }

    /// Whether its own policies let it do this to a key in a bucket of another server, which decides about the server's credentials and
    /// knows nothing of the role. If not, why.
    ///
    /// # Errors
    /// Why not.
    pub fn may_elsewhere(&self, bucket: &str, key: &ObjectKey, action: Action) -> Result<(), String> {
        let (headers, query) = (HeaderMap::new(), Query::default());
        let resource = arn_of_object(bucket, key);
        let owner = self.caller.account.as_ref().map(|account| account.id);
        let facts = self.facts(&headers, &query);
        let decision = without_resource_policy(facts, self.caller, (action.name(), &resource), owner);
        let because = decision.because(action.name());
        self.trail.decided(action.name(), &resource, decision);
        because.map_or(Ok(()), |because| Err(self.refusal(action, &resource, &because)))
    }

    fn refusal(&self, action: Action, resource: &str, because: &str) -> String {
        let who = self.caller.principal.caller_arn().unwrap_or_default();
        format!("{who} is not authorized to perform: {} on resource: \"{resource}\" {because}", action.name())
    }

    /// What the bucket and its owner's account block of public access.
    #[must_use]
    pub fn block(&self, bucket: &Bucket) -> PublicAccessBlock {
        self.rules().block(bucket)
    }

    /// Whether it may do all of this to a key in the bucket: to `object`, or to what will be there. If not, why.
    ///
    /// # Errors
    /// The index's.
    pub async fn may(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        actions: &[Action],
        object: Option<&ObjectVersion>,
    ) -> Result<Result<(), String>, Failure> {
        let (headers, query) = (HeaderMap::new(), Query::default());
        let facts = self.facts(&headers, &query);
        let authorizer = Authorizer::new(self.rules(), Arc::clone(self.caller), facts, self.trail.clone())?;
        let access = authorizer.access(bucket).await?;
        let resource = arn_of_object(bucket.name.as_str(), key);
        let version = object.map(|object| VersionSelector::Id(object.version_id));
        for action in actions {
            let question = Question { version, ..authorizer.question(&access, *action, &resource) };
            let decision = question.answer(Known { object, in_document: None });
            let because = decision.because(action.name());
            self.trail.decided(action.name(), &resource, decision);
            if let Some(because) = because {
                return Ok(Err(self.refusal(*action, &resource, &because)));
            }
        }
        Ok(Ok(()))
    }
}
