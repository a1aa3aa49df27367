//! A target's ARN: `arn:aws:s3:::BUCKET` is a bucket of this server, `arn:aws:s3:REMOTE::BUCKET` one at a remote.

use std::fmt;
use std::str::FromStr;

use cairn_storage::replication::TargetId;
use minicbor::decode::{Decoder, Error};
use minicbor::encode::{Encoder, Write};
use minicbor::{Decode, Encode};

/// The longest name of a remote.
pub const REMOTE_CHARS_MAX: usize = 32;

/// A bucket that replicas go to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The remote, as the server's settings name it; None: this server.
    pub remote: Option<String>,
    /// The bucket's name.
    pub bucket: String,
}

/// The text is not the ARN of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the ARN of a bucket here or at a remote")]
pub struct TargetError;

impl Target {
    /// As records name it.
    #[must_use]
    pub fn id(&self) -> TargetId {
        TargetId::of(&self.to_string())
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(arn: &str) -> Result<Self, TargetError> {
        let rest = arn.strip_prefix("arn:aws:s3:").ok_or(TargetError)?;
        let (remote, rest) = rest.split_once(':').ok_or(TargetError)?;
        let bucket = rest.strip_prefix(':').ok_or(TargetError)?;
        let is_remote = remote.len() <= REMOTE_CHARS_MAX && is_of(remote, b"-_");
        if !is_remote || !(3..=63).contains(&bucket.len()) || !is_of(bucket, b"-.") {
            return Err(TargetError);
        }
        let remote = (!remote.is_empty()).then(|| remote.to_owned());
        Ok(Self { remote, bucket: bucket.to_owned() })
    }
}

/// It has only lower-case letters, digits and these.
fn is_of(text: &str, others: &[u8]) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || others.contains(&byte))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:aws:s3:{}::{}", self.remote.as_deref().unwrap_or_default(), self.bucket)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<C> Encode<C> for Target {
    fn encode<W: Write>(&self, encoder: &mut Encoder<W>, _: &mut C) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.str(&self.to_string())?;
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Target {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, Error> {
        decoder.str()?.parse().map_err(|_| Error::message("a target is the ARN of a bucket"))
    }
}
