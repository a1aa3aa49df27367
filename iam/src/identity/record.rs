//! How identities lie in rows: `format (u8) | CBOR map with integer keys`, under `kind (u8) | name`.
//!
//! A name in a key is in lower case, because IAM's names are unique without regard to case; the record has it as it was
//! given. A decoder ignores map keys that it does not know and gives absent ones their default.

use minicbor::{Decode, Encode};

/// What a row holds. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// How often the account was changed; the row that every change guards.
    Generation = 16,
    /// A [`super::User`].
    User = 17,
    /// A [`super::Group`].
    Group = 18,
    /// A [`super::Role`].
    Role = 19,
    /// A [`super::ManagedPolicy`].
    Policy = 20,
    /// An [`super::AccessKey`].
    AccessKey = 21,
    /// An [`super::MfaDevice`].
    MfaDevice = 22,
    /// An [`super::OidcProvider`].
    OidcProvider = 23,
    /// The [`super::Settings`] of the account.
    Settings = 24,
    /// When an access key, a user or a role was last used. Not part of a [`super::Directory`].
    Usage = 25,
}

impl Kind {
    /// What people call it.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Generation => "generation",
            Self::User => "user",
            Self::Group => "group",
            Self::Role => "role",
            Self::Policy => "policy",
            Self::AccessKey => "access key",
            Self::MfaDevice => "MFA device",
            Self::OidcProvider => "OpenID Connect provider",
            Self::Settings => "settings",
            Self::Usage => "usage",
        }
    }

    /// The row's key. `name` as the table has it, see [`Record::row_name`].
    #[must_use]
    pub fn key(self, name: &str) -> Vec<u8> {
        let mut key = Vec::with_capacity(1 + name.len());
        key.push(self as u8);
        key.extend_from_slice(name.as_bytes());
        key
    }
}

/// Why a row cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It was written by a newer version, or is no such record.
    #[error("the record of a {what} has the unknown format {format}")]
    UnknownFormat {
        /// What it should be.
        what: &'static str,
        /// What it says.
        format: u8,
    },
    /// It cannot be decoded.
    #[error("the record of a {0} cannot be decoded")]
    Malformed(&'static str),
    /// It is larger than any may be.
    #[error("the record of a {0} is too large")]
    TooLarge(&'static str),
}

/// What is kept as a row of an account.
pub trait Record: Clone + Encode<()> + for<'b> Decode<'b, ()> {
    /// The row's kind.
    const KIND: Kind;
    /// The format that this version writes.
    const FORMAT: u8 = 1;
    /// The most bytes of a row.
    const BYTES_MAX: usize;

    /// The name in the row's key.
    fn row_name(&self) -> String;

    /// What names it for ever. Empty: nothing does.
    fn id(&self) -> &str {
        ""
    }

    /// The row's value.
    ///
    /// # Errors
    /// `TooLarge`.
    fn to_value(&self) -> Result<Vec<u8>, RecordError> {
        let mut value = vec![Self::FORMAT];
        minicbor::encode(self, &mut value).map_err(|_| RecordError::Malformed(Self::KIND.noun()))?;
        if value.len() > Self::BYTES_MAX { Err(RecordError::TooLarge(Self::KIND.noun())) } else { Ok(value) }
    }

    /// The record of a row's value.
    ///
    /// # Errors
    /// `UnknownFormat`, `Malformed`.
    fn from_value(value: &[u8]) -> Result<Self, RecordError> {
        let what = Self::KIND.noun();
        match value.split_first() {
            Some((&format, cbor)) if format == Self::FORMAT => {
                minicbor::decode(cbor).map_err(|_| RecordError::Malformed(what))
            }
            Some((&format, _)) => Err(RecordError::UnknownFormat { what, format }),
            None => Err(RecordError::Malformed(what)),
        }
    }
}

/// A name as keys have it.
#[must_use]
pub fn folded(name: &str) -> String {
    name.to_ascii_lowercase()
}
