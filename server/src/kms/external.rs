//! Keys whose material is in another KMS, which encrypts and decrypts with them.

use std::fmt;

use async_trait::async_trait;
use zeroize::Zeroizing;

/// Why an external KMS did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExternalError {
    /// It does not answer, or not in time; it may soon.
    #[error("the external KMS cannot be reached: {0}")]
    Unavailable(String),
    /// It refuses: the key is not there or may not be used.
    #[error("the external KMS refuses: {0}")]
    Refused(String),
    /// It says that the ciphertext is not one of this key and associated data.
    #[error("the ciphertext is damaged, or was made for something else")]
    NotAuthentic,
}

/// Another KMS.
#[async_trait]
pub trait ExternalKeys: fmt::Debug + Send + Sync + 'static {
    /// What the key of this name makes of a plaintext, to be opened with the same associated data only.
    async fn encrypt(&self, name: &str, plaintext: &[u8], associated_data: &[u8]) -> Result<Vec<u8>, ExternalError>;

    /// The plaintext that it was made of.
    async fn decrypt(
        &self,
        name: &str,
        ciphertext: &[u8],
        associated_data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ExternalError>;
}
