//! Targets at other servers: one bucket behind a [`Client`].
//!
//! Another Cairn takes a version under its own id, with all that belongs to it, by headers of its own (`server/src/s3/replica.rs`); whether
//! a server does, its answer to HeadBucket says. To any other S3 server the version goes as a client would put it: it gets an id of
//! that server's, and its source's id in its metadata, by which an attempt whose answer was lost is recognized.

mod cairn;
mod failure;
mod foreign;
mod inspect;
mod sending;

use std::sync::Arc;

use async_trait::async_trait;
use cairn_storage::index::family::version::Version;

use crate::client::{Client, Method, Request};
use crate::target::{Brought, Content, Failure, Outgoing, Target};

use failure::of_client;

pub use inspect::Found;

/// With which value of [`REPLICAS`] a server takes replicas in the form that is sent here.
const FORM: &str = "1";

/// The header of HeadBucket's answer in which a server says that it takes replicas.
const REPLICAS: &str = "x-amz-cairn-replicas";

/// What is at least so large may find no room where others do.
const LARGE_BYTES_MIN: u64 = 1 << 20;

/// A bucket at another server.
#[derive(Clone, Debug)]
pub struct Remote {
    client: Client,
    bucket: String,
    kind: Kind,
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
    /// `Down` if it does not answer, or has no such bucket.
    pub async fn discover(client: Client, bucket: &str) -> Result<Self, Failure> {
        let probed = client.probe(&Request::bucket(Method::HEAD, bucket)).await.map_err(of_client)?;
        let kind = match probed.header(REPLICAS) {
            Some(FORM) => Kind::Cairn,
            _ => Kind::Foreign,
        };
        // Who may not list a bucket may be allowed to write into it.
        match probed.status() {
            200..=299 | 403 => Ok(Self { client, bucket: bucket.to_owned(), kind }),
            404 => Err(Failure::Down { reason: format!("there is no bucket {bucket}") }),
            status => Err(Failure::Down { reason: format!("HeadBucket of {bucket} answers {status}") }),
        }
    }
}

impl Remote {
    /// Whether the server answers at all: then it is the version that did not get through, and others may.
    async fn answers(&self) -> bool {
        let probed = self.client.once().probe(&Request::bucket(Method::HEAD, &self.bucket)).await;
        probed.is_ok_and(|answer| answer.status() < 500)
    }
}

/// Whether there may be room for others where there is none for this one.
fn is_large(outgoing: &Outgoing) -> bool {
    matches!(&outgoing.version, Version::Object(object) if object.size_bytes >= LARGE_BYTES_MIN)
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
            Err(Failure::Full { reason }) if is_large(outgoing) => Err(Failure::Later { reason, after: None }),
            brought => brought,
        }
    }
}
