//! Targets at other servers: one bucket behind a [`Client`].
//!
//! Another Cairn takes a version under its own id, with all that belongs to it, by headers of its own (`server/src/s3/replica.rs`); whether
//! a server does, its answers to HeadBucket say, also when they refuse. To any other S3 server the version goes as a client would put it:
//! it gets an id of that server's, and its source's id in its metadata, by which an attempt whose answer was lost is recognized. The bucket
//! there must keep versions, or a delete marker would remove the only copy.

mod cairn;
mod failure;
mod foreign;
mod inspect;
mod order;
mod sending;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;

use crate::client::{Client, Method, Request};
use crate::target::{Brought, Content, Failure, Outgoing, Target};

use failure::of_client;

pub use inspect::Found;

/// With which value of [`REPLICAS`] a server takes replicas in the form that is sent here.
const FORM: &str = "1";

/// The header of HeadBucket's answer in which a server says that it takes replicas.
const REPLICAS: &str = "x-amz-cairn-replicas";

/// A bucket at another server.
#[derive(Clone, Debug)]
pub struct Remote {
    client: Client,
    bucket: String,
    kind: Kind,
    is_certain: bool,
    /// A foreign server that has refused to seal under a key of its own.
    seals_nothing: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cairn,
    Foreign,
}

impl Remote {
    /// Finds out what kind of server has the bucket.
    ///
    /// # Errors
    /// `Down` if it does not answer, has no such bucket, or takes replicas in another form.
    pub async fn discover(client: Client, bucket: &str) -> Result<Self, Failure> {
        let probed = client.probe(&Request::bucket(Method::HEAD, bucket)).await.map_err(of_client)?;
        let down = |reason: String| Err(Failure::Down { reason });
        let (kind, is_certain) = match (probed.header(REPLICAS), probed.status()) {
            (_, 404) => return down(format!("there is no bucket {bucket}")),
            // Who may not list a bucket may be allowed to write into it.
            (Some(FORM), 200..=299 | 403) => (Kind::Cairn, true),
            (Some(form), 200..=299 | 403) => return down(format!("the server takes replicas in another form, {form}")),
            (None, 200..=299) => (Kind::Foreign, true),
            // A Cairn that says so only to those whom it knows would answer this to one who is not let in at the moment.
            (None, 403) => (Kind::Foreign, false),
            (_, status) => return down(format!("HeadBucket of {bucket} answers {status}")),
        };
        Ok(Self { client, bucket: bucket.to_owned(), kind, is_certain, seals_nothing: Arc::default() })
    }

    /// Whether what kind of server it is may be remembered.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.is_certain
    }

    /// Ok if the bucket keeps what is put over or deleted. A Cairn sees to that itself.
    ///
    /// # Errors
    /// `Down`.
    pub async fn check_versioned(&self) -> Result<(), Failure> {
        if self.kind == Kind::Cairn {
            return Ok(());
        }
        let bucket = &self.bucket;
        let reason = match self.client.versioning(bucket).await {
            Ok(Some(status)) if status == "Enabled" => return Ok(()),
            Ok(_) => format!("the versioning of the bucket {bucket} is not enabled there"),
            Err(error) => {
                let reason = of_client(error);
                format!("whether the bucket {bucket} keeps versions cannot be told (s3:GetBucketVersioning): {reason}")
            }
        };
        Err(Failure::Down { reason })
    }
}

impl Remote {
    /// Whether the server answers at all: then it is the version that did not get through, and others may.
    async fn answers(&self) -> bool {
        let probed = self.client.once().probe(&Request::bucket(Method::HEAD, &self.bucket)).await;
        probed.is_ok_and(|answer| answer.status() < 500)
    }
}

#[async_trait]
impl Target for Remote {
    fn keeps_ids(&self) -> bool {
        self.kind == Kind::Cairn
    }

    async fn bring(&self, outgoing: &Outgoing, content: Option<Arc<dyn Content>>) -> Result<Brought, Failure> {
        let brought = match self.kind {
            Kind::Cairn => self.bring_to_cairn(outgoing, content).await,
            Kind::Foreign => self.bring_to_foreign(outgoing, content).await,
        };
        match brought {
            Err(Failure::Silent { reason }) if self.answers().await => Err(Failure::Later { reason, after: None }),
            brought => brought,
        }
    }
}
