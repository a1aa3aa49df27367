//! Identifiers. All are 128 bits, unique without coordination, and never made from client input.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};
use thiserror::Error;

use crate::clock::{Clock, Entropy};

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] #[cbor(with = "minicbor::bytes")] [u8; 16]);

        impl $name {
            /// The bytes, in the order that keys use.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// From stored bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// From a stored slice; None if it has not 16 bytes.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", u128::from_be_bytes(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                if text.len() != 32 || !text.bytes().all(lower_hex) {
                    return Err(ParseIdError);
                }
                u128::from_str_radix(text, 16)
                    .map(|value| Self(value.to_be_bytes()))
                    .map_err(|_| ParseIdError)
            }
        }
    };
}

/// The text is not 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not an identifier")]
pub struct ParseIdError;

id_type! {
    /// A bucket, for as long as it lives; also its partition. A bucket that is deleted and created anew has another one.
    BucketId
}
id_type! {
    /// The bytes of a version or part. Time-ordered, so that new contents lie together.
    ContentId
}
id_type! {
    /// A multipart upload, as clients see it.
    UploadId
}
id_type! {
    /// A version of a key: `order (u64) | random (u64)`; greater is newer.
    VersionId
}
id_type! {
    /// A durable task.
    JobId
}

/// Milliseconds in the first 48 bits, the rest random: ordered by time to the millisecond.
fn time_ordered(clock: &dyn Clock, entropy: &dyn Entropy) -> [u8; 16] {
    let mut bytes = entropy.random_16();
    bytes[..6].copy_from_slice(&clock.now().unsigned_ms().to_be_bytes()[2..]);
    bytes
}

impl BucketId {
    /// A new one.
    pub fn generate(clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
        Self(time_ordered(clock, entropy))
    }
}

/// Where a content's file lies: 0 is the folder `blobs`, others are in `blob/place.rs`. Below [`Place::COUNT`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u8);

impl Place {
    /// How many there can be: a content id has six bits for its place.
    pub const COUNT: usize = 64;

    /// The place of this number; None if there is no such.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (usize::from(number) < Self::COUNT).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

impl ContentId {
    /// A new one: `place (6 bits) | milliseconds (42 bits) | random (80 bits)`.
    pub fn generate(place: Place, clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
        let mut bytes = time_ordered(clock, entropy);
        bytes[0] = place.0 << 2 | bytes[0] & 0b11;
        Self(bytes)
    }

    /// Where its file lies, if it has one.
    #[must_use]
    pub fn place(&self) -> Place {
        Place(self.0[0] >> 2)
    }

    /// When it was made, in milliseconds since the epoch.
    #[must_use]
    pub fn created_ms(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes[2..].copy_from_slice(&self.0[..6]);
        u64::from_be_bytes(bytes) & ((1 << 42) - 1)
    }
}

impl UploadId {
    /// A new one.
    pub fn generate(clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
        Self(time_ordered(clock, entropy))
    }
}

impl JobId {
    /// A new one.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(entropy.random_16())
    }
}

impl VersionId {
    /// A version id newer than `newest` (the newest that the key has): its order is the time in microseconds, or one
    /// more than the newest's, whichever is greater, so that a clock that jumps back never reorders history.
    pub fn generate(clock: &dyn Clock, entropy: &dyn Entropy, newest: Option<Self>) -> Self {
        let now_us = u64::try_from(clock.now_us()).unwrap_or(0);
        let order = newest.map_or(now_us, |newest| now_us.max(newest.order().saturating_add(1)));
        let mut bytes = entropy.random_16();
        bytes[..8].copy_from_slice(&order.to_be_bytes());
        Self(bytes)
    }

    /// Its place among the versions of its key.
    #[must_use]
    pub fn order(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(bytes)
    }

    /// The bytes inverted, so that newer sorts first.
    #[must_use]
    pub fn newest_first(&self) -> [u8; 16] {
        self.0.map(|byte| !byte)
    }
}

/// An account's 12-digit number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct AccountId(#[n(0)] u64);

impl AccountId {
    /// The largest number of twelve digits.
    const MAX: u64 = 999_999_999_999;

    /// The number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// The account of this number; None if it has more than twelve digits.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        (number <= Self::MAX).then_some(Self(number))
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

impl FromStr for AccountId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.len() != 12 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseIdError);
        }
        let number: u64 = text.parse().map_err(|_| ParseIdError)?;
        debug_assert!(number <= Self::MAX);
        Ok(Self(number))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clock::{ManualClock, SeededEntropy, Timestamp};

    #[test]
    fn a_version_id_is_newer_than_the_newest_even_if_the_clock_jumps_back() {
        let clock = ManualClock::new(Timestamp(1_000_000));
        let entropy = SeededEntropy::new(1);
        let first = VersionId::generate(&clock, &entropy, None);
        clock.jump_ms(-500_000);
        let second = VersionId::generate(&clock, &entropy, Some(first));
        assert!(second > first);
        assert_eq!(second.order(), first.order() + 1);
        assert!(second.newest_first() < first.newest_first());
    }

    #[test]
    fn ids_round_trip_through_text() {
        let id = UploadId::from_bytes([7; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("07".parse::<UploadId>(), Err(ParseIdError));
        assert_eq!("+".repeat(32).parse::<UploadId>(), Err(ParseIdError));
    }

    #[test]
    fn account_numbers_keep_their_leading_zeros() {
        let account: AccountId = "000000000042".parse().unwrap();
        assert_eq!(account.to_string(), "000000000042");
        assert!("42".parse::<AccountId>().is_err());
    }

    #[test]
    fn content_ids_carry_their_place_and_their_time() {
        let clock = ManualClock::new(Timestamp(1_234_567));
        for number in [0, 8, 63] {
            let place = Place::new(number).unwrap();
            let id = ContentId::generate(place, &clock, &SeededEntropy::new(2));
            assert_eq!((id.created_ms(), id.place()), (1_234_567, place));
        }
        assert_eq!(Place::new(64), None);
    }
}
