//! Reading an object as everybody may, for who asks a website.

use cairn_storage::object::ObjectKey;
use http::HeaderMap;

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
        let origin = Origin { signature: None, ..origin };
        let operation = if is_head { Operation::HeadObject } else { Operation::GetObject };
        let request = Request {
            path: format!("/{bucket}/{}", key.as_str()),
            secure: origin.connection.secure,
            query: Query::default(),
            headers,
            body: s3s::Body::empty(),
            is_verified: true,
            trailers: None,
            signature: None,
        };
        let identities = self.identities.snapshot();
        let asked = (operation, &request.headers, &request.query);
        let authorizer = self.authorizer(&identities, None, asked, origin)?;
        let authorized = authorizer.object(bucket, key).await?;
        match is_head {
            true => read_object::head_object(self, authorized, request).await,
            false => read_object::get_object(self, authorized, request).await,
        }
    }
}
