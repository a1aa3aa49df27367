//! Forms posted to a bucket: read up to the file, verified, and given to the operation.
//!
//! They go past `s3s`, which would look for the signature before anything else is known, and holds what it reads.

use std::error::Error as StdError;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use s3s::S3ErrorCode;

use crate::auth::{self, Found};
use crate::post_form::policy::Policy;
use crate::post_form::{Form, boundary, signature};
use crate::s3::error::Failure;
use crate::s3::headers;
use crate::s3::post_object::Posted;
use crate::s3::request::{Query, Target};

use super::answer::Record;
use super::routes::Operation;
use super::{Inner, Routed, S3_SERVICE};

/// A form that may be read: the bucket that it is for, and what it is read by.
#[derive(Debug)]
pub struct FormHead {
    routed: Routed,
    bucket: String,
    boundary: String,
    /// The host names the bucket.
    in_host: bool,
}

impl FormHead {
    /// What the gate found out about the request.
    pub fn routed(&self) -> &Routed {
        &self.routed
    }
}

impl Inner {
    /// Whether a request that is posted to a bucket is a form that may be read.
    ///
    /// # Errors
    /// `PreconditionFailed` for what is no form, `MissingContentLength`, `InvalidArgument` for a signature outside of the form.
    pub(super) fn admit_form(
        &self,
        parts: &Parts,
        bucket: &str,
        in_host: bool,
        query: Query,
    ) -> Result<FormHead, Failure> {
        let content_type = headers::text(&parts.headers, &CONTENT_TYPE).unwrap_or_default();
        let boundary = boundary(&content_type).ok_or_else(|| {
            Failure::new(S3ErrorCode::PreconditionFailed)
                .status(StatusCode::PRECONDITION_FAILED)
                .field("Condition", "Bucket POST must be of the enclosure-type multipart/form-data")
        })??;
        if !parts.headers.contains_key(CONTENT_LENGTH) {
            return Err(S3ErrorCode::MissingContentLength.into());
        }
        if auth::check(&parts.headers, &query, self.scope(S3_SERVICE), self.signature_v2)? != Found::None {
            let message = "Only one auth mechanism allowed; a form is signed by its policy, in its fields.";
            return Err(Failure::with_message(S3ErrorCode::InvalidArgument, message));
        }
        let target = Target::Bucket(bucket.to_owned());
        let routed = Routed { operation: Operation::PostObject, target, query };
        Ok(FormHead { routed, bucket: bucket.to_owned(), boundary, in_host })
    }

    /// Reads a form and has its file stored, if its signature and policy let it.
    pub(super) async fn post<B>(
        &self,
        head: FormHead,
        parts: Parts,
        body: B,
        record: &Record,
    ) -> Result<Response<s3s::Body>, Arc<Failure>>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let posted = self.verified(head, parts.headers, body, record).await?;
        let answer = self.edge.post_object(posted).await?;
        let mut response = Response::new(answer.body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }

    async fn verified<B>(&self, head: FormHead, headers: HeaderMap, body: B, record: &Record) -> Result<Posted, Failure>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let now = self.clock.now();
        let Form { fields, mut file } = Form::read(body, &head.boundary).await?;
        fields.required("key")?;
        let signed = signature::verify(&fields, &self.secrets, self.scope(S3_SERVICE), self.signature_v2, now)?;
        if signed.is_some() {
            let policy = Policy::parse(fields.required("policy")?)?;
            file.allow(policy.check(&fields, &head.bucket, now)?);
        }
        let (signer, signature) = signed.unzip();
        let scheme = if record.connection().secure { "https" } else { "http" };
        let host = headers::text(&headers, &HOST).unwrap_or_default();
        let bucket_url =
            if head.in_host { format!("{scheme}://{host}") } else { format!("{scheme}://{host}/{}", head.bucket) };
        Ok(Posted {
            bucket: head.bucket,
            fields,
            file: Box::pin(file),
            signer,
            origin: record.origin(signature),
            headers,
            bucket_url,
        })
    }
}
