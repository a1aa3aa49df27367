//! What one request may open: data keys under the server's key, under the customer's that came with it, and under those that the
//! KMS lets the caller use. The one place where data keys are unwrapped.

use std::sync::Arc;

use async_trait::async_trait;
use cairn_crypto::secret::DataKey;
use cairn_crypto::store_key::Keyring;
use cairn_crypto::wrap::{KeyWrap, WrapContext, WrapError};
use cairn_storage::StorageError;
use cairn_storage::encryption::{Encryption, EncryptionMode, Keys, UnderKms};
use cairn_storage::id::{BucketId, UploadId};
use cairn_storage::object::{ObjectKey, ObjectVersion};
use cairn_storage::ops::Bucket;

use crate::audit::Trail;
use crate::authorize::{Authorized, Caller, OnObject};

use super::Edge;
use super::customer_key::{self, Customer};
use super::encryption::refuse_method;
use super::error::Failure;
use super::kms_keys::{KmsKeys, refused};
use super::request::Request;
use super::upload_part::of_part;

/// The keys of one request.
#[derive(Debug)]
pub(super) struct RequestKeys {
    server: Arc<Keyring>,
    customer: Option<Customer>,
    kms: KmsKeys,
    /// What is opened is added to.
    adds: bool,
}

impl RequestKeys {
    /// With the customer's key for the object that the request names.
    ///
    /// # Errors
    /// `InvalidArgument`, `InvalidRequest`, `InvalidEncryptionAlgorithmError` about the customer's key.
    pub(super) fn of_request<Resource>(
        edge: &Edge,
        authorized: &Authorized<Resource>,
        request: &Request,
    ) -> Result<Self, Failure> {
        let customer = customer_key::of_request(&edge.encryption, request)?;
        Ok(Self::with(edge, authorized, request, customer))
    }

    /// As [`RequestKeys::of_request`], to seal a part of an upload.
    ///
    /// # Errors
    /// As [`RequestKeys::of_request`].
    pub(super) fn of_part<Resource>(
        edge: &Edge,
        authorized: &Authorized<Resource>,
        request: &Request,
    ) -> Result<Self, Failure> {
        Ok(Self { adds: true, ..Self::of_request(edge, authorized, request)? })
    }

    /// With the customer's key for the source of a copy.
    ///
    /// # Errors
    /// As [`RequestKeys::of_request`].
    pub(super) fn of_copy_source<Resource>(
        edge: &Edge,
        authorized: &Authorized<Resource>,
        request: &Request,
    ) -> Result<Self, Failure> {
        let customer = customer_key::of_copy_source(&edge.encryption, request)?;
        Ok(Self::with(edge, authorized, request, customer))
    }

    /// For a role that acts by itself, without a request.
    pub(super) fn of_role(edge: &Edge, caller: &Arc<Caller>, trail: &Trail) -> Self {
        let server = edge.encryption.key_store.server_key();
        Self { server, customer: None, kms: KmsKeys::of_role(edge, caller, trail), adds: false }
    }

    fn with<Resource>(
        edge: &Edge,
        authorized: &Authorized<Resource>,
        request: &Request,
        customer: Option<Customer>,
    ) -> Self {
        let server = edge.encryption.key_store.server_key();
        Self { server, customer, kms: KmsKeys::of(edge, authorized, request), adds: false }
    }

    /// Holds the request to bringing the right key for a version of which it only wants to know. `secrets`: it wants to know
    /// something that says what the bytes are, for which it must be allowed to open them (S3 API reference, HeadObject,
    /// `x-amz-checksum-mode`). The data key, if it had to be opened.
    ///
    /// # Errors
    /// Those of [`Keys::open`].
    pub(super) async fn check(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        object: &ObjectVersion,
        secrets: bool,
    ) -> Result<Option<DataKey>, StorageError> {
        let needs_key = match object.encryption.as_ref().map(|encryption| encryption.mode) {
            None => false,
            Some(EncryptionMode::S3) => secrets,
            Some(EncryptionMode::Customer) => true,
            Some(EncryptionMode::Kms | EncryptionMode::KmsDsse) => {
                self.kms.check_signature().map_err(refused)?;
                secrets
            }
        };
        if !needs_key && self.customer.is_none() {
            return Ok(None);
        }
        self.open_version(bucket.id, key, object).await
    }

    /// The data key of a version.
    ///
    /// # Errors
    /// Those of [`Keys::open`].
    pub(super) async fn open_version(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        object: &ObjectVersion,
    ) -> Result<Option<DataKey>, StorageError> {
        self.open(object.encryption.as_ref(), object.wrap_context(bucket, key)).await
    }

    async fn open_under_kms(
        &self,
        encryption: &Encryption,
        context: &WrapContext<'_>,
    ) -> Result<DataKey, StorageError> {
        let unusable = |what: &str| StorageError::KeyUnusable { what: what.to_owned() };
        let under: &UnderKms = encryption.kms.as_ref().ok_or_else(|| unusable("the record names no key of a KMS"))?;
        if self.adds {
            self.kms.check_issue(under)?;
        }
        let wrap = self.kms.open(under).await?;
        let key = unwrap(wrap.as_ref(), encryption, context)?;
        // The envelope knows; what else the record says of it is not authentic.
        if key.layers() != encryption.mode.layers() {
            return Err(unusable("it seals in another number of layers than the record says"));
        }
        Ok(key)
    }
}

#[async_trait]
impl Keys for RequestKeys {
    async fn open(
        &self,
        encryption: Option<&Encryption>,
        context: WrapContext<'_>,
    ) -> Result<Option<DataKey>, StorageError> {
        let Some(encryption) = encryption else {
            return if self.customer.is_some() { Err(StorageError::KeyNeedless) } else { Ok(None) };
        };
        let opened = match (encryption.mode, &self.customer) {
            (EncryptionMode::S3, None) => unwrap(self.server.as_ref(), encryption, &context),
            (EncryptionMode::Customer, Some(customer)) => unwrap(customer.wrap(), encryption, &context),
            (EncryptionMode::Kms | EncryptionMode::KmsDsse, None) => self.open_under_kms(encryption, &context).await,
            (EncryptionMode::Customer, None) => Err(StorageError::KeyMissing),
            (EncryptionMode::S3 | EncryptionMode::Kms | EncryptionMode::KmsDsse, Some(_)) => {
                Err(StorageError::KeyNeedless)
            }
        };
        opened.map(Some)
    }
}

fn unwrap(wrap: &dyn KeyWrap, encryption: &Encryption, context: &WrapContext<'_>) -> Result<DataKey, StorageError> {
    wrap.unwrap(&encryption.wrapped()?, context).map_err(|error| match error {
        WrapError::WrongCustomerKey => StorageError::KeyWrong,
        error => StorageError::KeyUnusable { what: error.to_string() },
    })
}

/// The keys of a request to complete an upload, held to the customer's key that its parts are sealed under if one comes; a
/// KMS's is asked for by storage, which needs it.
///
/// # Errors
/// `InvalidArgument`, `InvalidRequest`, `InvalidEncryptionAlgorithmError`, and what is wrong with a part's key.
pub(super) async fn of_complete(
    edge: &Edge,
    authorized: &Authorized<OnObject>,
    id: UploadId,
    request: &Request,
) -> Result<RequestKeys, Failure> {
    refuse_method(&request.headers)?;
    let keys = RequestKeys::of_request(edge, authorized, request)?;
    if keys.customer.is_some() {
        let upload = edge.store.upload(authorized.bucket(), authorized.key(), id).await?;
        let context = upload.wrap_context(authorized.bucket().id);
        keys.open(upload.encryption.as_ref(), context).await.map_err(of_part)?;
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_crypto::issued_key::IssuedKeyWrap;
    use cairn_crypto::kms::EncryptionContext;
    use cairn_crypto::secret::StoreKey;

    use crate::kms::tests::World;
    use crate::kms::{Asker, KeyRef};

    use super::*;

    /// Of a record, all that says how it is sealed.
    #[derive(Clone, Debug, PartialEq)]
    struct Sealed {
        mode: EncryptionMode,
        wrapped: Vec<u8>,
        under: UnderKms,
    }

    /// How many things of a [`Sealed`] can be exchanged, each for itself.
    const FIELDS: u32 = 6;

    impl Sealed {
        fn encryption(&self) -> Encryption {
            let mut encoder = minicbor::Encoder::new(Vec::new());
            let map = encoder.map(3).unwrap().u8(0).unwrap().encode(self.mode).unwrap();
            map.u8(1).unwrap().bytes(&self.wrapped).unwrap().u8(3).unwrap().encode(&self.under).unwrap();
            minicbor::decode(&encoder.into_writer()).unwrap()
        }

        /// With some fields, by the bits of `which`, from another.
        fn with(mut self, other: &Self, which: u32) -> Self {
            let takes = |field: u32| which & 1 << field != 0;
            let from = other.clone();
            if takes(0) {
                self.mode = from.mode;
            }
            if takes(1) {
                self.wrapped = from.wrapped;
            }
            if takes(2) {
                self.under.key_arn = from.under.key_arn;
            }
            if takes(3) {
                self.under.context = from.under.context;
            }
            if takes(4) {
                self.under.bucket_key = from.under.bucket_key;
            }
            if takes(5) {
                self.under.envelope = from.under.envelope;
            }
            self
        }
    }

    struct Bench {
        world: World,
        keys: RequestKeys,
    }

    fn context_of(number: u8) -> WrapContext<'static> {
        WrapContext { partition: [1; 16], object_key: b"k", version: [number; 16] }
    }

    impl Bench {
        async fn new() -> Self {
            let world = World::new().await;
            let caller = Arc::new(world.caller("root-access"));
            let kms = KmsKeys::of_caller(Arc::clone(&world.kms), caller);
            let server = Arc::new(Keyring::new(vec![StoreKey::generate().unwrap()]).unwrap());
            Self { world, keys: RequestKeys { server, customer: None, kms, adds: false } }
        }

        /// Objects 0 to `count`, whose data keys consist of their numbers, under one issued key.
        async fn seal(&self, mode: EncryptionMode, key: Option<&str>, arn: &str, numbers: &[u8]) -> Vec<(u8, Sealed)> {
            let (caller, trail) = (self.world.caller("root-access"), Trail::default());
            let pair = ("aws:s3:arn".to_owned(), arn.to_owned());
            let context = EncryptionContext::from_pairs([pair.clone()]).unwrap();
            let key = key.map(|key| KeyRef::parse(key).unwrap());
            let asker = Asker::through_s3(&caller, &trail);
            let issued = self.world.kms.generate_data_key(asker, key.as_ref(), &context).await.unwrap();
            let wrap = IssuedKeyWrap::new(issued.data_key);
            let under = UnderKms {
                key_arn: issued.key_arn,
                context: [pair].into(),
                bucket_key: !arn.contains('/'),
                envelope: issued.envelope,
            };
            let wrapped = |number: u8| {
                let data_key = DataKey::from_bytes([number; 32]).in_layers(mode.layers());
                wrap.wrap(&data_key, &context_of(number)).unwrap().as_bytes().to_vec()
            };
            numbers
                .iter()
                .map(|&number| (number, Sealed { mode, wrapped: wrapped(number), under: under.clone() }))
                .collect()
        }

        async fn all(&self) -> Vec<(u8, Sealed)> {
            let (one, own) = (Some("testkey-1"), None);
            let mut all = self.seal(EncryptionMode::Kms, one, "arn:aws:s3:::b/k", &[0]).await;
            all.extend(self.seal(EncryptionMode::Kms, one, "arn:aws:s3:::b/other", &[1]).await);
            all.extend(self.seal(EncryptionMode::Kms, own, "arn:aws:s3:::b/k", &[2]).await);
            all.extend(self.seal(EncryptionMode::KmsDsse, one, "arn:aws:s3:::b/k", &[3]).await);
            all.extend(self.seal(EncryptionMode::Kms, one, "arn:aws:s3:::b", &[4, 5]).await);
            all.extend(self.seal(EncryptionMode::Kms, own, "arn:aws:s3:::b", &[6]).await);
            all.extend(self.seal(EncryptionMode::Kms, one, "arn:aws:s3:::c", &[7]).await);
            all
        }

        /// The number of the object whose data key is opened.
        async fn opens(&self, sealed: &Sealed, number: u8) -> Option<u8> {
            let opened = self.keys.open(Some(&sealed.encryption()), context_of(number)).await;
            opened.ok().map(|key| key.unwrap().expose()[0])
        }
    }

    #[tokio::test]
    async fn whatever_two_records_exchange_neither_opens_as_it_is_then() {
        let bench = Bench::new().await;
        let all = bench.all().await;
        for (number, own) in &all {
            assert_eq!(bench.opens(own, *number).await, Some(*number));
            for (_, other) in all.iter().filter(|(other, _)| other != number) {
                for which in 1..1 << FIELDS {
                    let exchanged = own.clone().with(other, which);
                    if exchanged != *own {
                        assert_eq!(bench.opens(&exchanged, *number).await, None, "{number}: {exchanged:?}, {which:b}");
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn no_changed_bit_and_no_cut_of_what_is_kept_opens() {
        let bench = Bench::new().await;
        for (number, own) in bench.all().await {
            let of =
                |own: &Sealed, wrapped: bool| if wrapped { own.wrapped.clone() } else { own.under.envelope.clone() };
            for wrapped in [true, false] {
                let good = of(&own, wrapped);
                let flips = (0..good.len() * 8).map(|bit| {
                    let mut bad = good.clone();
                    bad[bit / 8] ^= 1 << (bit % 8);
                    bad
                });
                let cuts = (0..good.len()).map(|length| good[..length].to_vec());
                for bad in flips.chain(cuts) {
                    let mut sealed = own.clone();
                    *(if wrapped { &mut sealed.wrapped } else { &mut sealed.under.envelope }) = bad;
                    assert_eq!(bench.opens(&sealed, number).await, None, "{number}: {sealed:?}");
                }
            }
        }
    }
}
