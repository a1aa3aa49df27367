//! Enabling MFA delete against removals without a code.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_storage::StorageError;
use cairn_storage::index::family::bucket::Versioning;
use cairn_storage::ops::{Governance, Powers, VersionSelector};

use super::{all, explore, racer};
use crate::rig::Rig;

#[test]
fn from_when_mfa_delete_is_acknowledged_nothing_is_removed_without_a_code() {
    explore(|| async {
        let rig = Arc::new(Rig::new());
        let bucket = rig.create_bucket("bucket").await;
        let bucket = rig.set_versioning(&bucket, Versioning::Enabled).await;
        let id = rig.put(&bucket, "key", b"kept").await.version_id;
        let enabled = Arc::new(AtomicBool::new(false));

        let acknowledged = enabled.clone();
        let enable = racer(&rig, &bucket, move |rig, bucket| async move {
            let powers = Powers { governance: Governance::Heeded, mfa: true };
            rig.store.set_versioning(&bucket, Versioning::Enabled, Some(true), powers).await.unwrap();
            acknowledged.store(true, Ordering::SeqCst);
            false
        });
        let remove = racer(&rig, &bucket, move |rig, bucket| async move {
            let too_late = enabled.load(Ordering::SeqCst);
            match rig.delete_version_as(&bucket, "key", VersionSelector::Id(id), Powers::default()).await {
                Ok(_) => {
                    assert!(!too_late, "removed after MFA delete was acknowledged");
                    true
                }
                Err(StorageError::MfaRequired) => false,
                Err(error) => panic!("{error}"),
            }
        });
        let removed = all(vec![enable, remove]).await.contains(&true);
        let kept = rig.get_version(&bucket, "key", VersionSelector::Id(id)).await.is_ok();
        assert_ne!(kept, removed);
        assert!(rig.bucket("bucket").await.unwrap().mfa_delete);
    });
}
