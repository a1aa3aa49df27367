//! The master key in a file, sealed under a key of the external KMS.
//!
//! ```text
//! {"format":1,"key_id":"<16 hex digits>","under":"<name of the external key>","sealed":"<what the KMS made>"}
//! ```
//!
//! What the KMS made is of the key's 32 bytes, with the associated data `cairn master key 1`. The id is that of the key in it, so
//! that a file can be told from another without the KMS; a key that opens to another id is refused.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use cairn_crypto::secret::{KEY_BYTES, MasterKey};
use cairn_crypto::wrap::MasterKeyWrap;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::kms::external::ExternalKeys;

use super::{External, MasterKeyError};

/// The largest file.
const FILE_BYTES_MAX: u64 = 16 << 10;

const FORMAT: u8 = 1;

const ASSOCIATED_DATA: &[u8] = b"cairn master key 1";

#[derive(Deserialize, Serialize)]
struct Envelope {
    format: u8,
    key_id: String,
    under: String,
    sealed: String,
}

/// The id of the key that is sealed in a file.
pub(super) fn key_id(path: &Path) -> Result<String, MasterKeyError> {
    let missing = || MasterKeyError::Io { path: path.to_owned(), source: io::ErrorKind::NotFound.into() };
    Ok(read(path)?.ok_or_else(missing)?.key_id)
}

/// The key in a file; None: the file is not there. It is opened with the external key that it was sealed under.
pub(super) async fn load(path: &Path, external: External<'_>) -> Result<Option<MasterKey>, MasterKeyError> {
    let Some(envelope) = read(path)? else { return Ok(None) };
    let key = open(path, &envelope, external.ok_or(MasterKeyError::NoExternalKms)?).await?;
    key.map(Some).ok_or_else(|| MasterKeyError::NoEnvelope { path: path.to_owned() })
}

/// The key that is in an envelope; None: what is in it is another one, or none.
async fn open(
    path: &Path,
    envelope: &Envelope,
    external: &dyn ExternalKeys,
) -> Result<Option<MasterKey>, MasterKeyError> {
    let opened = external.decrypt(&envelope.under, envelope.sealed.as_bytes(), ASSOCIATED_DATA).await;
    let opened = opened.map_err(|source| MasterKeyError::External { path: path.to_owned(), source })?;
    let bytes = <[u8; KEY_BYTES]>::try_from(opened.as_slice()).map(Zeroizing::new).ok();
    let key = bytes.map(|bytes| MasterKey::from_bytes(*bytes));
    Ok(key.filter(|key| MasterKeyWrap::new(key).key_id().to_string() == envelope.key_id))
}

/// The text of a file with this key in it. That it opens again was tried: nothing else may be sealed under the key before, or
/// nothing may ever open it again.
pub(super) async fn seal(
    path: &Path,
    under: &str,
    key: &MasterKey,
    external: External<'_>,
) -> Result<Zeroizing<String>, MasterKeyError> {
    let external = external.ok_or(MasterKeyError::NoExternalKms)?;
    let made = external.encrypt(under, key.expose(), ASSOCIATED_DATA).await;
    let made = made.map_err(|source| MasterKeyError::External { path: path.to_owned(), source })?;
    let envelope = Envelope {
        format: FORMAT,
        key_id: MasterKeyWrap::new(key).key_id().to_string(),
        under: under.to_owned(),
        sealed: String::from_utf8_lossy(&made).into_owned(),
    };
    if open(path, &envelope, external).await?.is_none_or(|opened| opened.expose() != key.expose()) {
        return Err(MasterKeyError::NotOpenedAgain { path: path.to_owned(), under: under.to_owned() });
    }
    let text = serde_json::to_string(&envelope).map_err(|error| io_error(path, error.into()))?;
    Ok(Zeroizing::new(text + "\n"))
}

fn read(path: &Path) -> Result<Option<Envelope>, MasterKeyError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path, error)),
    };
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(|error| io_error(path, error))?;
    let envelope = serde_json::from_slice(&text).ok().filter(|envelope: &Envelope| envelope.format == FORMAT);
    envelope.map(Some).ok_or_else(|| MasterKeyError::NoEnvelope { path: path.to_owned() })
}

fn io_error(path: &Path, source: io::Error) -> MasterKeyError {
    MasterKeyError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use async_trait::async_trait;

    use super::super::{KeyFile, MasterKeySource, lay_next, obtain, take_next};
    use super::*;
    use crate::kms::external::{ExternalError, ExternalKeys};

    /// Which is no encryption: name and associated data are beside the plaintext.
    #[derive(Debug)]
    struct Fake;

    #[async_trait]
    impl ExternalKeys for Fake {
        async fn encrypt(&self, name: &str, plaintext: &[u8], data: &[u8]) -> Result<Vec<u8>, ExternalError> {
            Ok(format!("vault:v1:{}:{}:{}", name, hex::encode(data), hex::encode(plaintext)).into_bytes())
        }

        async fn decrypt(&self, name: &str, made: &[u8], data: &[u8]) -> Result<Zeroizing<Vec<u8>>, ExternalError> {
            let prefix = format!("vault:v1:{}:{}:", name, hex::encode(data));
            let digits = made.strip_prefix(prefix.as_bytes()).ok_or(ExternalError::NotAuthentic)?;
            Ok(Zeroizing::new(hex::decode(digits).map_err(|_| ExternalError::NotAuthentic)?))
        }
    }

    fn source(file: &Path) -> MasterKeySource {
        let before = Box::new(MasterKeySource::File("/nowhere".into()));
        MasterKeySource::Sealed { file: file.to_owned(), under: "kek".to_owned(), before }
    }

    #[tokio::test]
    async fn a_new_key_is_sealed_and_opens_again_and_a_lost_one_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master.key.sealed");
        let lost = obtain(source(&file), false, Some(&Fake)).await;
        assert!(matches!(lost, Err(MasterKeyError::NotSealed { .. })));
        let made = obtain(source(&file), true, Some(&Fake)).await.unwrap();
        let again = obtain(source(&file), false, Some(&Fake)).await.unwrap();
        assert_eq!(made.expose(), again.expose());
        assert!(matches!(obtain(source(&file), false, None).await, Err(MasterKeyError::NoExternalKms)));
        let text = fs::read_to_string(&file).unwrap();
        let other_id = text.replace("\"key_id\":\"", "\"key_id\":\"0");
        let cut = &text[..text.len() / 2];
        let newer = text.replace("\"format\":1", "\"format\":2");
        for broken in [other_id.as_str(), cut, &newer, ""] {
            fs::write(&file, broken).unwrap();
            let refused = obtain(source(&file), false, Some(&Fake)).await;
            assert!(matches!(refused, Err(MasterKeyError::NoEnvelope { .. })), "{broken}");
        }
        fs::write(&file, text.replace("\"under\":\"kek\"", "\"under\":\"other\"")).unwrap();
        let refused = obtain(source(&file), false, Some(&Fake)).await;
        assert!(matches!(refused, Err(MasterKeyError::External { source: ExternalError::NotAuthentic, .. })));
    }

    #[tokio::test]
    async fn the_next_key_takes_its_place_without_the_kms() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile { path: folder.path().join("master.key.sealed"), under: Some("kek".to_owned()) };
        obtain(source(&file.path), true, Some(&Fake)).await.unwrap();
        let next = MasterKey::generate().unwrap();
        lay_next(&file, &next, Some(&Fake)).await.unwrap();
        let kept = take_next(&file, &MasterKeyWrap::new(&next).key_id().to_string()).unwrap();
        assert!(kept.is_some_and(|kept| kept.exists()));
        let taken = obtain(source(&file.path), false, Some(&Fake)).await.unwrap();
        assert_eq!(taken.expose(), next.expose());
    }
}
