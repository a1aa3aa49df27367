//! The role by which a bucket replicates: who it is, and whether S3 may assume it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::{Attached, Context, Policies, Request, Source, SourceKind, Values, evaluate};
use cairn_iam::policy::{Policy, PolicyKind};
use cairn_iam::principal::Principal;
use cairn_storage::clock::Timestamp;
use cairn_storage::ops::Bucket;
use parking_lot::Mutex;

use crate::authorize::arn_of_bucket;
use crate::identities::{Caller, Snapshot};
use crate::s3::acl::account_number;
use crate::s3::headers::document_time;

/// The service that assumes the role.
pub const SERVICE: &str = "s3.amazonaws.com";

/// What S3 calls its sessions of the role.
const SESSION: &str = "s3-replication";

/// How many roles are known at once.
const ROLES_MAX: usize = 1_000;

/// Why nobody can act as a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleFault {
    /// It is no role's ARN, or there is no such role.
    #[error("The replication role does not exist")]
    Missing,
    /// It is another account's.
    #[error("The replication role must belong to the account that owns the source bucket")]
    Foreign,
    /// Its trust policy does not let S3 assume it.
    #[error("The trust policy of the replication role does not allow s3.amazonaws.com to assume it")]
    NotTrusted,
}

/// A role as one state of the identities has it.
#[derive(Debug)]
struct Role {
    account: AccountNumber,
    arn: String,
    trust: Attached,
    /// A session of it.
    caller: Arc<Caller>,
}

/// The roles that replicate, each read once for as long as the identities do not change.
#[derive(Debug, Default)]
pub struct Roles(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The state that they are of.
    of: Weak<Snapshot>,
    roles: HashMap<String, Arc<Role>>,
}

impl Roles {
    /// As [`caller`].
    ///
    /// # Errors
    /// Why there is none.
    pub fn caller(
        &self,
        snapshot: &Arc<Snapshot>,
        arn: &str,
        bucket: &Bucket,
        now: Timestamp,
    ) -> Result<Arc<Caller>, RoleFault> {
        let role = {
            let mut known = self.0.lock();
            if !std::ptr::eq(known.of.as_ptr(), Arc::as_ptr(snapshot)) || known.roles.len() >= ROLES_MAX {
                *known = Known { of: Arc::downgrade(snapshot), roles: HashMap::new() };
            }
            match known.roles.get(arn) {
                Some(role) => Arc::clone(role),
                None => {
                    let role = Arc::new(find(snapshot, arn, bucket)?);
                    known.roles.insert(arn.to_owned(), Arc::clone(&role));
                    role
                }
            }
        };
        role.assumed_for(bucket, now)
    }
}

impl Role {
    fn assumed_for(&self, bucket: &Bucket, now: Timestamp) -> Result<Arc<Caller>, RoleFault> {
        if self.account != account_number(bucket.owner) {
            return Err(RoleFault::Foreign);
        }
        if !is_trusted(&self.trust, &self.arn, bucket, now) {
            return Err(RoleFault::NotTrusted);
        }
        Ok(Arc::clone(&self.caller))
    }
}

/// The account and the path of the role that an ARN names. None: it is no role's.
#[must_use]
pub fn named(arn: &str) -> Option<(AccountNumber, &str)> {
    let (account, path) = arn.strip_prefix("arn:aws:iam::")?.split_once(":role/")?;
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let account = account.parse().ok().filter(|_| is_account && !path.is_empty())?;
    Some((AccountNumber(account), path))
}

/// A session of the role that replicates a bucket.
///
/// # Errors
/// Why there is none.
pub fn caller(snapshot: &Snapshot, arn: &str, bucket: &Bucket, now: Timestamp) -> Result<Arc<Caller>, RoleFault> {
    find(snapshot, arn, bucket)?.assumed_for(bucket, now)
}

fn find(snapshot: &Snapshot, arn: &str, bucket: &Bucket) -> Result<Role, RoleFault> {
    let (account, path) = named(arn).ok_or(RoleFault::Missing)?;
    if account != account_number(bucket.owner) {
        return Err(RoleFault::Foreign);
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let directory = snapshot.directory(account).ok_or(RoleFault::Missing)?;
    let role = directory.role(name).ok().filter(|role| directory.role_arn(role) == arn).ok_or(RoleFault::Missing)?;
    let trust = Policy::parse(&role.trust, PolicyKind::Trust).map_err(|_| RoleFault::NotTrusted)?;
    let source = Source { kind: SourceKind::Resource, holder: arn.into(), name: "".into() };
    let trust = Attached { source, policy: trust };
    let caller = snapshot.in_role_of(account, &role.id, SESSION).map(Arc::new).ok_or(RoleFault::Missing)?;
    Ok(Role { account, arn: arn.to_owned(), trust, caller })
}

fn is_trusted(trust: &Attached, role: &str, bucket: &Bucket, now: Timestamp) -> bool {
    let context = Assuming { bucket, now };
    let request = Request {
        principal: &Principal::Service(SERVICE.to_owned()),
        action: "sts:AssumeRole",
        resource: role,
        resource_account: Some(account_number(bucket.owner)),
        context: &context,
    };
    let policies =
        Policies { identity: &[], boundary: None, session: None, resource: Some(trust), resource_grants: false };
    evaluate(&request, &policies).is_allowed()
}

/// What a trust policy can ask about the service's call: for which bucket it comes (IAM user guide, "The confused deputy problem").
struct Assuming<'b> {
    bucket: &'b Bucket,
    now: Timestamp,
}

impl Context for Assuming<'_> {
    fn values<'c>(&'c self, key: &str) -> Values<'c> {
        let one = |text: String| Values::One(text.into());
        match key {
            "aws:sourceaccount" => one(account_number(self.bucket.owner).to_string()),
            "aws:sourcearn" => one(arn_of_bucket(self.bucket.name.as_str())),
            "aws:currenttime" => one(document_time(self.now)),
            "aws:epochtime" => one(self.now.0.div_euclid(1_000).to_string()),
            "aws:securetransport" => one("true".to_owned()),
            _ => Values::Absent,
        }
    }
}
