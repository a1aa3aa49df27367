//! Who asks for the use of a key, and under which circumstances.

use std::borrow::Cow;

use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::Values;
use cairn_storage::clock::Timestamp;
use http::HeaderMap;
use http::header::{REFERER, USER_AGENT};

use crate::audit::Trail;
use crate::identities::Caller;
use crate::listener::ConnectionInfo;
use crate::s3::headers;

use super::error::{KmsError, KmsFault};

/// Who asks for the use of a key, and under which circumstances. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'r> {
    /// Who.
    pub caller: &'r Caller,
    /// Where the decision is noted.
    pub trail: &'r Trail,
    way: Way<'r>,
}

/// How the request comes.
#[derive(Clone, Copy, Debug)]
enum Way<'r> {
    /// S3 asks in the caller's name.
    S3,
    /// The caller asks itself.
    Itself { connection: ConnectionInfo, headers: &'r HeaderMap },
}

impl<'r> Asker<'r> {
    /// S3, in the name of who asks for an object.
    pub fn through_s3(caller: &'r Caller, trail: &'r Trail) -> Self {
        Self { caller, trail, way: Way::S3 }
    }

    /// Who calls KMS.
    pub fn itself(caller: &'r Caller, trail: &'r Trail, connection: ConnectionInfo, headers: &'r HeaderMap) -> Self {
        Self { caller, trail, way: Way::Itself { connection, headers } }
    }

    /// The account of who asks. Nobody without a signature uses a key.
    pub(super) fn account(&self) -> Result<AccountNumber, KmsError> {
        let account = self.caller.principal.account();
        account.ok_or_else(|| KmsError::fault(KmsFault::AccessDenied, "Anonymous requests cannot use KMS keys."))
    }

    /// The values of condition keys that tell of the request, in lower case. What S3 asks comes from this machine, and so not
    /// from the caller's address (IAM user guide, "AWS global condition context keys").
    pub(super) fn condition(&self, key: &str, region: &str, now: Timestamp) -> Values<'_> {
        let one = |value: Option<Cow<'static, str>>| value.map_or(Values::Absent, Values::One);
        let flag = |is: bool| one(Some(if is { "true" } else { "false" }.into()));
        match (key, self.way) {
            ("kms:calleraccount", _) => one(self.caller.principal.account().map(|account| account.to_string().into())),
            ("kms:viaservice", Way::S3) => one(Some(format!("s3.{region}.amazonaws.com").into())),
            ("aws:viaawsservice", Way::S3) | ("aws:securetransport", Way::S3) => flag(true),
            ("aws:viaawsservice", Way::Itself { .. }) => flag(false),
            ("aws:securetransport", Way::Itself { connection, .. }) => flag(connection.secure),
            ("aws:sourceip", Way::Itself { connection, .. }) => one(Some(connection.remote.ip().to_string().into())),
            ("aws:useragent", Way::Itself { headers, .. }) => one(headers::text(headers, &USER_AGENT).map(Cow::Owned)),
            ("aws:referer", Way::Itself { headers, .. }) => one(headers::text(headers, &REFERER).map(Cow::Owned)),
            ("aws:currenttime", _) => one(Some(headers::document_time(now).into())),
            ("aws:epochtime", _) => one(Some(now.0.div_euclid(1_000).to_string().into())),
            ("aws:requestedregion", _) => one(Some(region.to_owned().into())),
            _ => self.caller.condition(key, now),
        }
    }
}
