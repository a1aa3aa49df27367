//! Reading an object as everybody may, for who asks a website.

use cairn_storage::object::ObjectKey;
use http::HeaderMap;

use crate::authorize::{Authorizer, Facts, Rules};
use crate::gate::Origin;
use crate::gate::routes::Operation;

use super::error::Failure;
use super::request::{Answer, Query, Request};
use super::{Edge, read_object};

impl Edge {
    /// GetObject, or HeadObject, by nobody in particular.
    ///
    /// # Errors
    /// As GetObject.
    pub async fn read_publicly(
        &self,
        bucket: &str,
        key: &ObjectKey,
        headers: HeaderMap,
        is_head: bool,
        origin: Origin,
    ) -> Result<Answer, Failure> {
        let Origin { connection, signature: _, trail } = origin;
        let request = Request {
            path: format!("/{bucket}/{}", key.as_str()),
            secure: connection.secure,
            query: Query::default(),
            headers,
            body: s3s::Body::empty(),
            is_verified: true,
            trailers: None,
            signature: None,
        };
        let facts = Facts {
            operation: Some(if is_head { Operation::HeadObject } else { Operation::GetObject }),
            headers: &request.headers,
            query: &request.query,
            connection,
            signature: None,
            now: self.store.clock().now(),
            region: &self.region,
        };
        let identities = self.identities.snapshot();
        let rules = Rules { store: &self.store, identities: &identities, policies: &self.policies };
        let authorizer = Authorizer::new(rules, rules.caller(None)?, facts, trail)?;
        let authorized = authorizer.object(bucket, key).await?;
        match is_head {
            true => read_object::head_object(self, authorized, request).await,
            false => read_object::get_object(self, authorized, request).await,
        }
    }
}
