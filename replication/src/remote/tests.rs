//! A server that is no Cairn, scripted.

#![allow(clippy::unwrap_used)]

use std::ops::Range;

use bytes::Bytes;
use cairn_storage::clock::Timestamp;
use cairn_storage::id::VersionId;
use cairn_storage::index::family::version::Version;
use cairn_storage::object::{Content as Stored, Etag, ObjectAttributes, ObjectKey, ObjectVersion, StorageClass};
use cairn_storage::ops::SealedObject;
use cairn_storage::ops::replication::Standing;
use cairn_storage::replication::Left;
use cairn_storage::settings::ObjectSettings;

use super::*;
use crate::client::BodyStream;
use crate::client::tests::client;
use crate::client::tests::fake::{Fake, Reply, Seen};
use crate::target::{Need, PartBounds, Seal};

const SEAL: &str = "x-amz-server-side-encryption";

#[derive(Debug)]
struct Hello;

impl Content for Hello {
    fn sealed(&self) -> Option<&SealedObject> {
        None
    }

    fn size_bytes(&self) -> u64 {
        5
    }

    fn parts(&self) -> &[PartBounds] {
        &[]
    }

    fn open(&self, _: Range<u64>) -> BodyStream {
        Box::pin(futures::stream::iter([Ok(Bytes::from_static(b"hello"))]))
    }
}

fn outgoing(seal: Seal) -> Outgoing {
    let object = ObjectVersion {
        version_id: VersionId::from_bytes([7; 16]),
        is_null: false,
        created: Timestamp(1_000),
        owner: "123456789012".parse().unwrap(),
        size_bytes: 5,
        etag: Etag { digest: [1; 16], parts_count: 0 },
        content: Stored::Empty,
        checksum: None,
        storage_class: StorageClass::Standard,
        attributes: ObjectAttributes::default(),
        settings: ObjectSettings::default(),
        encryption: None,
        sealed_checksum: None,
        placed: None,
        restored: None,
        access: None,
        replication: None,
    };
    Outgoing {
        bucket: "source".to_owned(),
        key: ObjectKey::new("key").unwrap(),
        version: Version::Object(object),
        need: Need::Version,
        foreign_version: None,
        standing: Standing::default(),
        class: StorageClass::Standard,
        new_owner: None,
        left: Left::default(),
        seal,
    }
}

/// A versioned bucket without objects, which answers PUT so.
async fn foreign(put: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Fake, Remote) {
    let fake = Fake::start(move |_, seen| match seen.method.as_str() {
        "PUT" => put(seen),
        "HEAD" if seen.target == "/bucket/" => Reply::new(200, ""),
        _ => Reply::error(404, "NoSuchKey"),
    });
    let fake = fake.await;
    let remote = Remote::discover(client(&fake), "bucket").await.unwrap();
    (fake, remote)
}

/// What was asked for with each PUT.
fn seals(fake: &Fake) -> Vec<Option<String>> {
    let puts = fake.seen().into_iter().filter(|seen| seen.method == "PUT");
    puts.map(|seen| seen.header(SEAL).map(str::to_owned)).collect()
}

fn stored() -> Reply {
    Reply::new(200, "").header("etag", "\"e\"").header("x-amz-version-id", "v")
}

#[tokio::test]
async fn what_a_server_without_keys_does_not_seal_goes_there_nevertheless() {
    let keyless = |seen: &Seen| match seen.header(SEAL) {
        Some(_) => Reply::error(501, "NotImplemented"),
        None => stored(),
    };
    let (fake, remote) = foreign(keyless).await;
    for _ in 0..2 {
        let brought = remote.bring(&outgoing(Seal::Server), Some(Arc::new(Hello))).await.unwrap();
        assert_eq!(brought, Brought::There { foreign_version: Some("v".to_owned()) });
    }
    // It is asked once.
    assert_eq!(seals(&fake), [Some("AES256".to_owned()), None, None]);
    // What a rule has sealed under a key goes there so or not at all.
    let failure = remote.bring(&outgoing(Seal::Kms("key".to_owned())), Some(Arc::new(Hello))).await.unwrap_err();
    assert!(matches!(failure, Failure::Refused { .. }), "{failure:?}");
    assert_eq!(seals(&fake)[3..], [Some("aws:kms".to_owned())]);
}

#[tokio::test]
async fn what_is_refused_for_another_reason_is_no_word_about_keys() {
    let (fake, remote) = foreign(|_| Reply::error(400, "MetadataTooLarge")).await;
    for asked in 1..3 {
        let failure = remote.bring(&outgoing(Seal::Server), Some(Arc::new(Hello))).await.unwrap_err();
        assert!(matches!(&failure, Failure::Refused { reason } if reason.contains("MetadataTooLarge")), "{failure:?}");
        assert_eq!(seals(&fake), vec![[Some("AES256".to_owned()), None]; asked].concat());
    }
}

#[tokio::test]
async fn what_passes_by_itself_does_not_have_anything_stored_unsealed() {
    let slow = |seen: &Seen| match seen.header(SEAL) {
        Some(_) => Reply::error(400, "RequestTimeout"),
        None => stored(),
    };
    let (fake, remote) = foreign(slow).await;
    let failure = remote.bring(&outgoing(Seal::Server), Some(Arc::new(Hello))).await.unwrap_err();
    assert!(matches!(failure, Failure::Later { .. }), "{failure:?}");
    assert_eq!(seals(&fake), [Some("AES256".to_owned())]);
}

#[tokio::test]
async fn a_refusal_names_the_class_that_may_not_be_there() {
    let (_fake, remote) = foreign(|_| Reply::error(400, "InvalidArgument")).await;
    let reason = async |class| {
        let outgoing = Outgoing { class, ..outgoing(Seal::Default) };
        remote.bring(&outgoing, Some(Arc::new(Hello))).await.unwrap_err().to_string()
    };
    assert!(reason(StorageClass::StandardIa).await.contains("STANDARD_IA"));
    assert!(!reason(StorageClass::Standard).await.contains("STANDARD"));
}
