//! The policies that AWS manages and S3's users attach (AWS managed policy reference).
//!
//! Their names, ARNs and ids are AWS's. Those that speak of all of AWS's services (ReadOnlyAccess, SecurityAudit, ViewOnlyAccess)
//! are cut down to the services that are here. They never change, so each has one version, called as AWS calls its newest.

use std::sync::OnceLock;

use crate::policy::{Policy, PolicyKind};

/// A policy that AWS manages.
#[derive(Debug)]
pub struct ManagedPolicy {
    /// Its name.
    pub name: &'static str,
    /// The folder of the name.
    pub path: &'static str,
    /// AWS's id of it.
    pub id: &'static str,
    /// The name of its version.
    pub version: &'static str,
    /// When AWS made it, in ISO 8601.
    pub created: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// What it says, in JSON.
    pub document: &'static str,
    parsed: OnceLock<Policy>,
}

/// What the ARNs of AWS's policies begin with; a path follows.
pub const ARN_PREFIX: &str = "arn:aws:iam::aws:policy";

/// The policies, in the order of their names.
pub static MANAGED_POLICIES: [ManagedPolicy; 12] = [
    ManagedPolicy {
        name: "AdministratorAccess",
        path: "/",
        id: "ANPAIWMBCKSKIEE64ZLYK",
        version: "v1",
        created: "2015-02-06T18:39:46Z",
        description: "Provides full access to AWS services and resources.",
        document: include_str!("managed/AdministratorAccess.json"),
        parsed: OnceLock::new(),
    },
    ManagedPolicy {
        name: "AmazonS3FullAccess",
        path: "/",
        id: "ANPAIFIR6V6BVTRAHWINE",
        version: "v2",
        created: "2015-02-06T18:40:58Z",
        description: "Provides full access to all buckets via the AWS Management Console.",
        document: include_str!("managed/AmazonS3FullAccess.json"),
        parsed: OnceLock::new(),
    },
    ManagedPolicy {
        name: "AmazonS3ReadOnlyAccess",
        path: "/",
        id: "ANPAIZTJ4DXE7G6AGAE6M",
        version: "v3",
        created: "2015-02-06T18:40:59Z",
        description: "Provides read only access to all buckets via the AWS Management Console.",
        document: include_str!("managed/AmazonS3ReadOnlyAccess.json"),
        parsed: OnceLock::new(),
    },
    ManagedPolicy {
        name: "AWSDenyAll",
        path: "/",
        id: "ANPAZKAPJZG4P43IUQ5E5",
        version: "v1",
        created: "2019-05-01T22:36:14Z",
        description: "Deny all access.",
        document: include_str!("managed/AWSDenyAll.json"),
        parsed: OnceLock::new(),
    },
    ManagedPolicy {
        name: "AWSKeyManagementServicePowerUser",
        path: "/",
        id: "ANPAJNPP7PPPPMJRV2SA4",
        version: "v1",
        created: "2015-02-06T18:40:40Z",
        description: "Provides access to AWS Key Management Service (KMS).",
        document: include_str!("managed/AWSKeyManagementServicePowerUser.json"),
        parsed: OnceLock::new(),
    },
    ManagedPolicy {
        name: "IAMFullAccess",
        path: "/",
        id: "ANPAI7XKCFMBPM3QQRRVQ",
        version: "v2",
        created: "2015-02-06T18:40:38Z",
        description: "Provides full access to IAM via the AWS Management Console.",
        document: include_str!("managed/IAMFullAccess.json"),
        parsed: OnceLock::new(),
    },
    ManagedPolicy {
        name: "IAMReadOnlyAccess",
        path: "/",
        id: "ANPAJKSO7NDY4T57MWDSQ",
        version: "v4",
        created: "2015-02-06T18:40:39Z",
        description: "Provides read only access to IAM via the AWS Management Console.",
        document: include_str!("managed/IAMReadOnlyAccess.json"),
        parsed: OnceLock::new(),
    },
    ManagedPolicy {
        name: "IAMUserChangePassword",
        path: "/",
        id: "ANPAJ4L4MM2A7QIEB56MS",
        version: "v2",
        created: "2016-11-15T00:25:16Z",
        description: "Provides the ability for an IAM user to change their own password.",
        document: include_str!("managed/IAMUserChangePassword.json"),
        parsed: OnceLock::new(),
    },
    ManagedPolicy {
        name: "PowerUserAccess",
        path: "/",
        id: "ANPAJYRXTHIB4FOVS3ZXS",
        version: "v5",
        created: "2015-02-06T18:39:47Z",
        description: "Provides full access to AWS services and resources, but does not allow management of Users and groups.",
        document: include_str!("managed/PowerUserAccess.json"),
        parsed: OnceLock::new(),
    },
    ManagedPolicy {
        name: "ReadOnlyAccess",
        path: "/",
        id: "ANPAILL3HVNFSB6DCOWYQ",
        version: "v1",
        created: "2015-02-06T18:39:48Z",
        description: "Provides read-only access to AWS services and resources.",
        document: include_str!("managed/ReadOnlyAccess.json"),
        parsed: OnceLock::new(),
    },
    ManagedPolicy {
        name: "SecurityAudit",
        path: "/",
        id: "ANPAIX2T3QCXHR2OGGCTO",
        version: "v1",
        created: "2015-02-06T18:41:01Z",
        description: "The security audit template grants access to read security configuration metadata. It is useful for software that audits the configuration of an AWS account.",
        document: include_str!("managed/SecurityAudit.json"),
        parsed: OnceLock::new(),
    },
    ManagedPolicy {
        name: "ViewOnlyAccess",
        path: "/job-function/",
        id: "ANPAID22R6XPJATWOFDK6",
        version: "v1",
        created: "2016-11-10T17:20:15Z",
        description: "This policy grants permissions to view resources and basic metadata across all AWS services.",
        document: include_str!("managed/ViewOnlyAccess.json"),
        parsed: OnceLock::new(),
    },
];

impl ManagedPolicy {
    /// The policy of this ARN.
    #[must_use]
    pub fn by_arn(arn: &str) -> Option<&'static Self> {
        let name = arn.strip_prefix(ARN_PREFIX)?;
        MANAGED_POLICIES.iter().find(|policy| name.strip_prefix(policy.path) == Some(policy.name))
    }

    /// Its ARN.
    #[must_use]
    pub fn arn(&self) -> String {
        format!("{ARN_PREFIX}{}{}", self.path, self.name)
    }

    /// What it says, parsed the first time that it is asked for.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let parse = || Policy::parse(self.document, PolicyKind::Identity).expect("a test parses all of them");
        self.parsed.get_or_init(parse).clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_policy_is_one_and_is_found_by_its_arn() {
        for policy in &MANAGED_POLICIES {
            assert!(policy.policy().statement_count() > 0);
            assert_eq!(ManagedPolicy::by_arn(&policy.arn()).unwrap().name, policy.name);
        }
        assert!(MANAGED_POLICIES.is_sorted_by_key(|policy| policy.name.to_lowercase()));
        for arn in [
            "arn:aws:iam::aws:policy/Nothing",
            "arn:aws:iam::123456789012:policy/ReadOnlyAccess",
            "arn:aws:iam::aws:policy/ViewOnlyAccess",
        ] {
            assert!(ManagedPolicy::by_arn(arn).is_none(), "{arn}");
        }
    }
}
