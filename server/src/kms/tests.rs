//! KMS keys over an index in memory: who may use them, in which states, and what a start finds.

#![allow(clippy::unwrap_used)]

use cairn_crypto::secret::MasterKey;
use cairn_storage::clock::{ManualClock, SystemEntropy};
use cairn_storage::health::Health;
use cairn_storage::index::memory::{Fault, MemoryIndex};
use cairn_storage::lock_clock::LockClock;

use crate::audit::Trail;
use crate::identities::{Caller, IdentityParts};

use super::record::{Constraint, GrantRecord, Pair};
use super::*;

const OWNER: AccountNumber = AccountNumber(100_000_000_001);
const KEY: &str = "arn:aws:kms:eu-1:100000000001:key/testkey-1";
const ANNA: &str = "arn:aws:iam::100000000001:user/anna";

const DECLARED: &str = r#"
[[kms_key]]
id = "testkey-1"

[[account]]
id = "100000000001"
canonical_id = "a1"
display_name = "owner"
root_key = { access_key = "root-access", secret_key = "root-secret-key" }

[[account.user]]
name = "anna"
keys = [{ access_key = "anna-access", secret_key = "anna-secret-key" }]

[[account.user]]
name = "power"
policies = ["arn:aws:iam::aws:policy/AdministratorAccess"]
keys = [{ access_key = "power-access", secret_key = "power-secret-key" }]

[[account]]
id = "100000000002"
canonical_id = "a2"
display_name = "other"
root_key = { access_key = "other-access", secret_key = "other-secret-key" }

[[account.user]]
name = "ben"
keys = [{ access_key = "ben-access", secret_key = "ben-secret-key" }]
"#;

#[derive(serde::Deserialize)]
struct File {
    account: Vec<config::Account>,
    kms_key: Vec<config::KmsKey>,
}

pub(crate) struct World {
    index: Arc<MemoryIndex>,
    clock: Arc<ManualClock>,
    pub(crate) kms: Arc<Kms>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let index = Arc::new(MemoryIndex::new(Health::default()));
        Self::over(index, Arc::new(ManualClock::new(Timestamp(1_700_000_000_000)))).await
    }

    async fn over(index: Arc<MemoryIndex>, clock: Arc<ManualClock>) -> Self {
        let File { account, mut kms_key } = toml::from_str(DECLARED).unwrap();
        kms_key[0].account = Some(account[0].id);
        let master_key = || MasterKeyWrap::new(&MasterKey::from_bytes([1; KEY_BYTES]));
        let identities = Identities::start(IdentityParts {
            declared: account,
            index: index.clone(),
            master_key: master_key(),
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy),
        });
        let kms = Kms::start(KmsParts {
            index: index.clone(),
            master_key: master_key(),
            region: "eu-1".to_owned(),
            identities: identities.await.unwrap(),
            declared: kms_key,
            external: None,
            clock: clock.clone(),
            lock_clock: Arc::new(LockClock::new(clock.clone())),
            entropy: Arc::new(SystemEntropy),
        });
        let kms = kms.await.unwrap();
        Self { index, clock, kms }
    }

    /// What a start finds after this process ended now.
    async fn again(&self) -> Self {
        let index = Arc::new(MemoryIndex::from_snapshot(self.index.snapshot(), Health::default()));
        Self::over(index, self.clock.clone()).await
    }

    pub(crate) fn caller(&self, access_key: &str) -> Caller {
        self.kms.identities().snapshot().caller(access_key).unwrap()
    }

    async fn issue(&self, access_key: &str, key: Option<&str>) -> Result<Issued, KmsError> {
        let (caller, trail) = (self.caller(access_key), Trail::default());
        let key = key.map(|key| KeyRef::parse(key).unwrap());
        self.kms.generate_data_key(Asker::through_s3(&caller, &trail), key.as_ref(), &of_object()).await
    }

    async fn open(&self, access_key: &str, issued: &Issued) -> Result<Opened, KmsError> {
        self.open_with(access_key, issued, &of_object()).await
    }

    async fn open_with(
        &self,
        access_key: &str,
        issued: &Issued,
        context: &EncryptionContext,
    ) -> Result<Opened, KmsError> {
        let (caller, trail) = (self.caller(access_key), Trail::default());
        self.kms.decrypt(Asker::through_s3(&caller, &trail), &issued.envelope, context).await
    }

    async fn change(&self, change: impl Fn(&mut KeyRecord) + Send + Sync + 'static) -> Result<(), KmsError> {
        self.kms
            .change(OWNER, move |draft| {
                let mut record = draft.keys().keys["testkey-1"].record.clone();
                change(&mut record);
                draft.put_key(record).map(|_| ())
            })
            .await
    }

    async fn grant(&self, grantee: &'static str, constraint: Option<Constraint>) {
        let grant = GrantRecord {
            id: "a".repeat(64),
            key_id: "testkey-1".to_owned(),
            name: None,
            grantee: grantee.to_owned(),
            retiring: None,
            operations: vec!["GenerateDataKey".to_owned(), "Decrypt".to_owned()],
            constraint,
            created: self.kms.now(),
            issued_by: ANNA.to_owned(),
        };
        self.kms.change(OWNER, move |draft| draft.put_grant(grant.clone())).await.unwrap();
    }

    async fn revoke(&self) {
        let revoked = self.kms.change(OWNER, |draft| {
            draft.remove_grant("testkey-1", &"a".repeat(64))?;
            Ok(())
        });
        revoked.await.unwrap();
    }

    fn versions(&self) -> usize {
        match &self.kms.keys_of(OWNER).unwrap().keys["testkey-1"].record.backing {
            Backing::Local(versions) => versions.len(),
            Backing::External { .. } => 0,
        }
    }
}

fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    EncryptionContext::from_pairs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).unwrap()
}

fn of_object() -> EncryptionContext {
    context(&[("aws:s3:arn", "arn:aws:s3:::b/k")])
}

fn fault<T: std::fmt::Debug>(result: Result<T, KmsError>) -> KmsFault {
    result.unwrap_err().kind().unwrap()
}

fn allow(principal: &str, condition: &str) -> String {
    format!(
        r#"{{"Statement":[{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},"Action":"kms:*","Resource":"*","Condition":{{{condition}}}}}]}}"#
    )
}

#[tokio::test]
async fn a_data_key_is_opened_by_who_may_and_with_its_context() {
    let world = World::new().await;
    let issued = world.issue("root-access", Some("testkey-1")).await.unwrap();
    assert_eq!(issued.key_arn, KEY);
    let opened = world.open("power-access", &issued).await.unwrap();
    assert_eq!((opened.key_arn.as_str(), opened.data_key.expose()), (KEY, issued.data_key.expose()));
    for other in [context(&[]), context(&[("aws:s3:arn", "arn:aws:s3:::b/l")])] {
        assert_eq!(fault(world.open_with("root-access", &issued, &other).await), KmsFault::InvalidCiphertext);
    }
    assert_eq!(fault(world.open("anna-access", &issued).await), KmsFault::AccessDenied);
    assert_eq!(fault(world.issue("anna-access", Some(KEY)).await), KmsFault::AccessDenied);
    let trail = Trail::default();
    let nobody = Caller::anonymous();
    let asked = world.kms.decrypt(Asker::through_s3(&nobody, &trail), &issued.envelope, &of_object()).await;
    assert_eq!(fault(asked), KmsFault::AccessDenied);
}

#[tokio::test]
async fn each_use_is_noted_in_the_trail() {
    let world = World::new().await;
    let issued = world.issue("root-access", Some("testkey-1")).await.unwrap();
    let (caller, trail) = (world.caller("anna-access"), Trail::default());
    let asked = world.kms.decrypt(Asker::through_s3(&caller, &trail), &issued.envelope, &of_object()).await;
    assert_eq!(fault(asked), KmsFault::AccessDenied);
    let verdicts = trail.take().verdicts;
    assert_eq!((verdicts[0].action.as_str(), verdicts[0].resource.as_str()), ("kms:Decrypt", KEY));
    assert!(!verdicts[0].decision.is_allowed());
}

#[tokio::test]
async fn the_key_for_s3_is_made_once_for_each_account_and_is_for_s3_alone() {
    let world = World::new().await;
    let first = world.issue("anna-access", None).await.unwrap();
    let second = world.issue("root-access", None).await.unwrap();
    assert_eq!(first.key_arn, second.key_arn);
    assert_ne!(first.key_arn, world.issue("other-access", None).await.unwrap().key_arn);
    assert!(world.open("anna-access", &second).await.is_ok());
    let again = world.again().await;
    assert!(again.open("anna-access", &first).await.is_ok());
    assert_eq!(again.issue("anna-access", None).await.unwrap().key_arn, first.key_arn);
    // Nobody of another account, and nobody but S3.
    assert_eq!(fault(world.open("other-access", &first).await), KmsFault::AccessDenied);
    let (caller, trail, headers) = (world.caller("root-access"), Trail::default(), http::HeaderMap::new());
    let connection =
        crate::listener::ConnectionInfo { remote: "127.0.0.1:1".parse().unwrap(), secure: false, tls_version: None };
    let itself = Asker::itself(&caller, &trail, connection, &headers);
    assert_eq!(fault(world.kms.decrypt(itself, &first.envelope, &of_object()).await), KmsFault::AccessDenied);
}

/// Also through a trusted proxy, which tells of TLS and not of its version.
#[tokio::test]
async fn whether_a_call_comes_encrypted_is_what_its_connection_says() {
    let world = World::new().await;
    let issued = world.issue("root-access", Some("testkey-1")).await.unwrap();
    world.change(|record| record.policy = allow("*", r#""Bool":{"aws:SecureTransport":"true"}"#)).await.unwrap();
    let (caller, trail, headers) = (world.caller("root-access"), Trail::default(), http::HeaderMap::new());
    for secure in [true, false] {
        let connection =
            crate::listener::ConnectionInfo { remote: "127.0.0.1:1".parse().unwrap(), secure, tls_version: None };
        let itself = Asker::itself(&caller, &trail, connection, &headers);
        let opened = world.kms.decrypt(itself, &issued.envelope, &of_object()).await;
        assert_eq!(opened.is_ok(), secure, "{secure}");
    }
}

#[tokio::test]
async fn a_key_that_is_disabled_or_waits_for_its_deletion_refuses_both() {
    let world = World::new().await;
    let issued = world.issue("root-access", Some("testkey-1")).await.unwrap();
    world.change(|record| record.is_enabled = false).await.unwrap();
    assert_eq!(fault(world.issue("root-access", Some("testkey-1")).await), KmsFault::Disabled);
    assert_eq!(fault(world.open("root-access", &issued).await), KmsFault::Disabled);
    world.change(|record| record.delete_at = Some(Timestamp(i64::MAX))).await.unwrap();
    let again = world.again().await;
    assert_eq!(fault(again.issue("root-access", Some("testkey-1")).await), KmsFault::InvalidState);
    assert_eq!(fault(again.open("root-access", &issued).await), KmsFault::InvalidState);
    again.change(|record| (record.is_enabled, record.delete_at) = (true, None)).await.unwrap();
    assert!(again.open("root-access", &issued).await.is_ok());
}

#[tokio::test]
async fn what_is_named_and_not_there_is_told_to_the_own_account_alone() {
    let world = World::new().await;
    for key in ["none", "alias/none", "arn:aws:kms:eu-1:100000000001:key/none", "arn:aws:kms:eu-2:100000000001:key/k"] {
        assert_eq!(fault(world.issue("root-access", Some(key)).await), KmsFault::NotFound, "{key}");
    }
    for key in ["arn:aws:kms:eu-1:100000000002:key/none", "arn:aws:kms:eu-1:100000000009:alias/none"] {
        assert_eq!(fault(world.issue("root-access", Some(key)).await), KmsFault::AccessDenied, "{key}");
    }
    assert_eq!(fault(world.issue("other-access", Some("testkey-1")).await), KmsFault::NotFound);
}

#[tokio::test]
async fn the_key_policy_decides_also_about_the_root() {
    let world = World::new().await;
    world.change(|record| record.policy = allow(ANNA, "")).await.unwrap();
    assert!(world.issue("anna-access", Some(KEY)).await.is_ok());
    for other in ["root-access", "power-access", "ben-access"] {
        assert_eq!(fault(world.issue(other, Some(KEY)).await), KmsFault::AccessDenied, "{other}");
    }
    // By way of S3, in this account, with this context.
    let condition = r#""StringEquals":{"kms:ViaService":"s3.eu-1.amazonaws.com","kms:CallerAccount":"100000000001","kms:EncryptionContext:aws:s3:arn":"arn:aws:s3:::b/k"}"#;
    world.change(|record| record.policy = allow("*", condition)).await.unwrap();
    let issued = world.issue("anna-access", Some(KEY)).await.unwrap();
    assert_eq!(fault(world.open_with("anna-access", &issued, &context(&[])).await), KmsFault::AccessDenied);
    assert_eq!(fault(world.open("other-access", &issued).await), KmsFault::AccessDenied);
}

#[tokio::test]
async fn no_name_in_a_context_hides_another_from_a_deny() {
    let world = World::new().await;
    let issued = world.issue("root-access", Some(KEY)).await.unwrap();
    let denied = r#"{"Effect":"Deny","Principal":"*","Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"kms:EncryptionContext:dept":"secret"}}}"#;
    let policy = allow("*", "").replace("]}", &format!(",{denied}]}}"));
    world.change(move |record| record.policy = policy.clone()).await.unwrap();
    for (other, expected) in [("secret", KmsFault::AccessDenied), ("public", KmsFault::InvalidCiphertext)] {
        let asked = world.open_with("root-access", &issued, &context(&[("DEPT", "x"), ("dept", other)])).await;
        assert_eq!(fault(asked), expected, "{other}");
    }
}

#[tokio::test]
async fn a_grant_lets_whom_it_names_within_its_constraint() {
    let world = World::new().await;
    let pairs = |value: &str| vec![Pair { name: "aws:s3:arn".to_owned(), value: value.to_owned() }];
    world.grant(ANNA, Some(Constraint { equals: false, pairs: pairs("arn:aws:s3:::b/k") })).await;
    let issued = world.issue("anna-access", Some(KEY)).await.unwrap();
    assert!(world.open("anna-access", &issued).await.is_ok());
    assert_eq!(fault(world.issue("ben-access", Some(KEY)).await), KmsFault::AccessDenied);
    world.grant(ANNA, Some(Constraint { equals: true, pairs: pairs("arn:aws:s3:::b/l") })).await;
    assert_eq!(fault(world.open("anna-access", &issued).await), KmsFault::AccessDenied);
    let again = world.again().await;
    assert_eq!(fault(again.open("anna-access", &issued).await), KmsFault::AccessDenied);
    again.revoke().await;
    assert!(again.kms.keys_of(OWNER).unwrap().keys["testkey-1"].grants.is_empty());
}

#[tokio::test]
async fn another_account_needs_a_grant_or_the_key_policy_and_its_own_leave() {
    let world = World::new().await;
    assert_eq!(fault(world.issue("other-access", Some(KEY)).await), KmsFault::AccessDenied);
    world.grant("arn:aws:iam::100000000002:root", None).await;
    let issued = world.issue("other-access", Some(KEY)).await.unwrap();
    assert!(world.open("root-access", &issued).await.is_ok());
    assert_eq!(fault(world.issue("ben-access", Some(KEY)).await), KmsFault::AccessDenied, "his account says nothing");
    world.change(|record| record.policy = allow("arn:aws:iam::100000000002:root", "")).await.unwrap();
    world.revoke().await;
    assert!(world.open("other-access", &issued).await.is_ok());
    assert_eq!(fault(world.open("ben-access", &issued).await), KmsFault::AccessDenied);
}

#[tokio::test]
async fn a_key_is_gone_for_good_when_its_time_has_come() {
    let world = World::new().await;
    let issued = world.issue("root-access", Some("testkey-1")).await.unwrap();
    let s3_key = world.issue("root-access", None).await.unwrap();
    world.grant(ANNA, None).await;
    let at = world.kms.now().plus_ms(7 * DAY_MS);
    world.change(move |record| record.delete_at = Some(at)).await.unwrap();
    world.clock.jump_ms(7 * DAY_MS - 1);
    world.kms.do_what_is_due().await;
    assert_eq!(fault(world.open("root-access", &issued).await), KmsFault::InvalidState);
    world.clock.jump_ms(1);
    world.kms.do_what_is_due().await;
    let told = world.open("root-access", &issued).await.unwrap_err();
    assert_eq!(
        (told.kind(), told.to_string()),
        (Some(KmsFault::NotFound), format!("NotFoundException: Key '{KEY}' does not exist"))
    );
    // Still declared, it is made anew, with other material and without its grant.
    let again = world.again().await;
    assert_eq!(fault(again.open("root-access", &issued).await), KmsFault::InvalidCiphertext);
    assert_eq!(fault(again.issue("anna-access", Some(KEY)).await), KmsFault::AccessDenied);
    assert!(again.open("root-access", &s3_key).await.is_ok());
}

#[tokio::test]
async fn old_versions_open_what_they_encrypted_after_a_rotation_by_period() {
    let world = World::new().await;
    let old = world.issue("root-access", Some("testkey-1")).await.unwrap();
    let since = world.kms.now();
    world.change(move |record| record.rotation = Some(Rotation { since, period_days: 90 })).await.unwrap();
    world.clock.jump_ms(90 * DAY_MS);
    world.kms.do_what_is_due().await;
    world.kms.do_what_is_due().await;
    assert_eq!(world.versions(), 2);
    let new = world.issue("root-access", Some("testkey-1")).await.unwrap();
    for world in [&world, &world.again().await] {
        for issued in [&old, &new] {
            assert_eq!(world.open("root-access", issued).await.unwrap().data_key.expose(), issued.data_key.expose());
        }
    }
    world.change(|record| record.is_enabled = false).await.unwrap();
    world.clock.jump_ms(90 * DAY_MS);
    world.kms.do_what_is_due().await;
    assert_eq!(world.versions(), 2, "a disabled key waits");
}

/// All at once they would not fit into one commit.
#[tokio::test]
async fn many_large_keys_that_are_due_together_all_get_their_versions() {
    let world = World::new().await;
    for part in 0..3 {
        let put = move |draft: &mut Draft<'_>| {
            for number in 0..20 {
                let id = format!("large-{part}-{number}");
                let first = draft.sealer().new_version((OWNER, &id), 1, Timestamp(0), false)?;
                draft.put_key(KeyRecord {
                    description: "d".repeat(100_000),
                    rotation: Some(Rotation { since: Timestamp(0), period_days: 90 }),
                    ..new_record(id, Timestamp(0), Backing::Local(vec![first]), policy::by_default(OWNER))
                })?;
            }
            Ok(())
        };
        world.kms.change(OWNER, put).await.unwrap();
    }
    world.kms.do_what_is_due().await;
    let keys = world.kms.keys_of(OWNER).unwrap();
    let large: Vec<_> = keys.keys.values().filter(|key| key.record.id.starts_with("large-")).collect();
    assert_eq!(large.len(), 60);
    for key in large {
        assert!(matches!(&key.record.backing, Backing::Local(versions) if versions.len() == 2), "{}", key.record.id);
    }
}

#[tokio::test]
async fn what_an_account_has_is_bounded_but_not_the_rotation_of_its_keys() {
    let world = World::new().await;
    let put = |draft: &mut Draft<'_>, number: usize| {
        let id = format!("large-{number}");
        let first = draft.sealer().new_version((OWNER, &id), 1, Timestamp(0), false)?;
        draft.put_key(KeyRecord {
            description: "d".repeat(100_000),
            ..new_record(id, Timestamp(0), Backing::Local(vec![first]), policy::by_default(OWNER))
        })
    };
    // A commit is bounded, too.
    let mut keys = 0;
    let refused = loop {
        let filled = world
            .kms
            .change(OWNER, move |draft| (keys..keys + 20).try_for_each(|number| put(draft, number).map(|_| ())));
        match filled.await {
            Ok(()) => keys += 20,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), Some(KmsFault::LimitExceeded));
    assert_eq!(keys, ACCOUNT_BYTES_MAX / 100_000 / 20 * 20);
    // As much as there is room for, and no more: nothing else of an account grows.
    while world.kms.change(OWNER, move |draft| put(draft, keys).map(|_| ())).await.is_ok() {
        keys += 1;
    }
    let policy = world.change(|record| record.policy.push_str(&" ".repeat(102_000)));
    assert_eq!(fault(policy.await), KmsFault::LimitExceeded);
    let rotated = world.kms.change(OWNER, |draft| {
        (0..10).try_for_each(|_| {
            let key = draft.keys().keys["testkey-1"].clone();
            draft.rotate(&key, Timestamp(1), true)
        })
    });
    rotated.await.unwrap();
    let again = world.again().await;
    assert_eq!(again.kms.keys_of(OWNER).unwrap().kept_bytes, world.kms.keys_of(OWNER).unwrap().kept_bytes);
    let remove = |draft: &mut Draft<'_>| ["large-0", "large-1"].iter().try_for_each(|id| draft.remove_key(id));
    world.kms.change(OWNER, remove).await.unwrap();
    world.kms.change(OWNER, move |draft| put(draft, 0).map(|_| ())).await.unwrap();
    world
        .kms
        .change(OWNER, |draft| (0..100).try_for_each(|number| draft.remove_key(&format!("large-{number}"))))
        .await
        .unwrap();
    assert!(world.kms.keys_of(OWNER).unwrap().kept_bytes < ACCOUNT_BYTES_MAX - 99 * 100_000);
}

/// A crash between deciding on a rotation and knowing that it is kept: the version is there or not, and either way everything
/// that was encrypted opens after the restart.
#[tokio::test]
async fn a_crash_in_the_middle_of_a_rotation_loses_nothing() {
    for fault in [Fault::Overloaded, Fault::UnknownWritten, Fault::UnknownLost] {
        let world = World::new().await;
        let old = world.issue("root-access", Some("testkey-1")).await.unwrap();
        world.index.fail_next(fault);
        let now = world.kms.now();
        let rotated = world.kms.change(OWNER, move |draft| {
            let key = draft.keys().keys["testkey-1"].clone();
            draft.rotate(&key, now, true)
        });
        assert!(rotated.await.is_err());
        assert_eq!(world.versions(), 1, "what is not known to be kept is not used");
        let meanwhile = world.issue("root-access", Some("testkey-1")).await.unwrap();
        let again = world.again().await;
        assert!([1, 2].contains(&again.versions()));
        let new = again.issue("root-access", Some("testkey-1")).await.unwrap();
        for issued in [&old, &meanwhile, &new] {
            assert_eq!(again.open("root-access", issued).await.unwrap().data_key.expose(), issued.data_key.expose());
        }
    }
}

#[tokio::test]
async fn changes_of_two_at_once_are_both_kept() {
    let world = World::new().await;
    let now = world.kms.now();
    let rotate = || {
        world.kms.change(OWNER, move |draft| {
            let key = draft.keys().keys["testkey-1"].clone();
            draft.rotate(&key, now, true)
        })
    };
    let (one, two) = tokio::join!(rotate(), rotate());
    assert!(one.is_ok() && two.is_ok());
    assert_eq!((world.versions(), world.again().await.versions()), (3, 3));
}

#[tokio::test]
async fn no_version_of_a_key_is_kept_in_plain() {
    let world = World::new().await;
    world.issue("root-access", None).await.unwrap();
    let master_key = MasterKeyWrap::new(&MasterKey::from_bytes([1; KEY_BYTES]));
    let kept = format!("{:?}", world.index.snapshot());
    let keys = world.kms.keys_of(OWNER).unwrap();
    assert_eq!(keys.keys.len(), 2);
    for key in keys.keys.values() {
        let Backing::Local(versions) = &key.record.backing else { panic!("a key without versions") };
        let label = format!("cairn kms key 1 {OWNER} {} 1", key.record.id);
        let opened = master_key.open_secret(&label, &versions[0].key.sealed).unwrap();
        let shown = format!("{:?}", bytes::Bytes::copy_from_slice(&opened));
        let shown = shown.trim_start_matches("b\"").trim_end_matches('"');
        assert!(shown.len() >= KEY_BYTES && !kept.contains(shown) && !format!("{key:?}").contains(shown));
        let sealed = format!("{:?}", bytes::Bytes::copy_from_slice(&versions[0].key.sealed));
        assert!(kept.contains(sealed.trim_start_matches("b\"").trim_end_matches('"')), "the search would find it");
    }
}
