//! What a configuration must keep to, with S3's codes and messages.
//!
//! The rules are those of the S3 API reference (PutBucketReplication, ReplicationRule, Destination) and of the user guide
//! ("Replication configuration file elements"). Where they give no code, it is that of the nearest rule that has one.

use std::collections::HashSet;

use cairn_storage::object::KEY_BYTES_MAX;

use super::{
    Configuration, Destination, ID_CHARS_MAX, RULES_MAX, Rule, TARGETS_MAX, THRESHOLD_MINUTES, Target, Timing,
};

/// The longest name of a KMS key at a remote (KMS API reference, `KeyId`).
const KEY_NAME_CHARS_MAX: usize = 2_048;

/// S3's code for a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultCode {
    /// `InvalidArgument`: a value is none of those that it may be.
    InvalidArgument,
    /// `InvalidRequest`: things do not go together.
    InvalidRequest,
    /// `MalformedXML`: it is not of the shape that the schema wants.
    MalformedXml,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Its code.
    pub code: FaultCode,
    /// S3's message.
    pub message: String,
}

impl Fault {
    fn argument(message: impl Into<String>) -> Self {
        Self { code: FaultCode::InvalidArgument, message: message.into() }
    }

    fn request(message: impl Into<String>) -> Self {
        Self { code: FaultCode::InvalidRequest, message: message.into() }
    }

    fn malformed() -> Self {
        let message = "The XML you provided was not well-formed or did not validate against our published schema";
        Self { code: FaultCode::MalformedXml, message: message.to_owned() }
    }

    /// S3's message about an element that a rule of this version must have.
    fn missing(element: &str) -> Self {
        Self::request(format!("{element} must be specified {OF_THIS_VERSION}"))
    }

    /// S3's message about an element that a rule of this version cannot have.
    fn misplaced(element: &str) -> Self {
        Self::request(format!("{element} cannot be used {OF_THIS_VERSION}"))
    }
}

const OF_THIS_VERSION: &str = "for this version of Cross Region Replication configuration schema. Please refer to S3 \
                               Developer Guide for more information.";

impl Configuration {
    /// Ok if S3 would take it, as far as it tells by itself.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), Fault> {
        if self.rules.is_empty() {
            return Err(Fault::malformed());
        }
        if self.rules.len() > RULES_MAX {
            return Err(Fault::request(format!("Number of replication rules cannot exceed {RULES_MAX}")));
        }
        self.rules.iter().try_for_each(Rule::check)?;
        let of_second_version = self.rules.iter().filter(|rule| rule.scope.is_filter()).count();
        if of_second_version != 0 && of_second_version != self.rules.len() {
            return Err(Fault::missing("Filter"));
        }
        let mut ids = HashSet::new();
        if !self.rules.iter().all(|rule| ids.insert(rule.id.as_str())) {
            return Err(Fault::argument("Rule Id must be unique. Found same Id for more than one rule"));
        }
        let targets: HashSet<_> = self.rules.iter().map(|rule| &rule.destination.target).collect();
        let targets_max = if of_second_version == 0 { 1 } else { TARGETS_MAX };
        if targets.len() > targets_max {
            let message = format!("Number of distinct destination bucket ARNs cannot exceed {targets_max}");
            return Err(Fault::request(message));
        }
        if of_second_version == 0 { self.check_prefixes() } else { self.check_priorities() }
    }

    /// In the first version at most one rule is about a key.
    fn check_prefixes(&self) -> Result<(), Fault> {
        let mut prefixes: Vec<&str> = self.rules.iter().map(|rule| rule.scope.prefix()).collect();
        prefixes.sort_unstable();
        // Whatever begins with a prefix follows it, so neighbours tell.
        match prefixes.windows(2).find(|pair| pair[1].starts_with(pair[0])) {
            Some(pair) => Err(Fault::request(format!("Found overlapping prefixes '{}' and '{}'", pair[0], pair[1]))),
            None => Ok(()),
        }
    }

    fn check_priorities(&self) -> Result<(), Fault> {
        let mut priorities = HashSet::new();
        let twice = self.rules.iter().filter_map(|rule| rule.priority).find(|priority| !priorities.insert(*priority));
        match twice {
            Some(priority) => Err(Fault::request(format!("Found duplicate priority {priority}."))),
            None => Ok(()),
        }
    }
}

impl Rule {
    fn check(&self) -> Result<(), Fault> {
        if self.id.chars().count() > ID_CHARS_MAX {
            return Err(Fault::argument(format!("ID length should not exceed allowed limit of {ID_CHARS_MAX}")));
        }
        if self.scope.prefix().len() > KEY_BYTES_MAX {
            return Err(Fault::argument(format!("The maximum size of a prefix is {KEY_BYTES_MAX}")));
        }
        if self.priority.is_some_and(|priority| priority < 0) {
            return Err(Fault::request(format!("Priority must be between 0 and {}.", i32::MAX)));
        }
        if self.scope.is_filter() {
            self.check_second_version()?
        } else {
            self.check_first_version()?
        }
        self.check_destination()
    }

    fn check_first_version(&self) -> Result<(), Fault> {
        let destination = &self.destination;
        for (element, is_there) in [
            ("Priority", self.priority.is_some()),
            ("DeleteMarkerReplication", self.delete_markers.is_some()),
            ("ExistingObjectReplication", self.existing_objects.is_some()),
            ("ReplicaModifications", self.replica_modifications.is_some()),
            ("ReplicationTime", destination.replication_time.is_some()),
            ("Metrics", destination.metrics.is_some()),
        ] {
            if is_there {
                return Err(Fault::misplaced(element));
            }
        }
        Ok(())
    }

    fn check_second_version(&self) -> Result<(), Fault> {
        if self.priority.is_none() {
            return Err(Fault::missing("Priority"));
        }
        let tags = self.scope.tags();
        match self.delete_markers {
            None => return Err(Fault::missing("DeleteMarkerReplication")),
            Some(true) if !tags.is_empty() => {
                let message = "Delete marker replication is not supported if any Tag filter is specified. Please refer \
                               to S3 Developer Guide for more information.";
                return Err(Fault::request(message));
            }
            Some(_) => {}
        }
        for tag in tags {
            if !(1..=128).contains(&tag.key.chars().count()) {
                return Err(Fault::argument("The TagKey you have provided is invalid"));
            }
            if tag.value.chars().count() > 256 {
                return Err(Fault::argument("The TagValue you have provided is invalid"));
            }
        }
        let mut keys = HashSet::new();
        if !tags.iter().all(|tag| keys.insert(tag.key.as_str())) {
            return Err(Fault::request("Duplicate Tag Keys are not allowed."));
        }
        Ok(())
    }

    fn check_destination(&self) -> Result<(), Fault> {
        let destination = &self.destination;
        if destination.owner_override && destination.account.is_none() {
            let message = "Account must be specified if the Owner in AccessControlTranslation has a value";
            return Err(Fault::request(message));
        }
        match (self.kms_objects, destination.replica_kms_key.as_deref()) {
            (Some(true), None) | (Some(_), Some("")) => {
                return Err(Fault::request(
                    "ReplicaKmsKeyID must be specified if SseKmsEncryptedObjects tag is present.",
                ));
            }
            (None, Some(_)) => {
                return Err(Fault::request(
                    "SseKmsEncryptedObjects must be specified if EncryptionConfiguration is present.",
                ));
            }
            _ => {}
        }
        if destination.replica_kms_key.as_deref().is_some_and(|key| !destination.target.may_have_key(key)) {
            return Err(Fault::argument("Invalid ReplicaKmsKeyID ARN."));
        }
        destination.check_timings()
    }
}

impl Destination {
    /// Replication time control has one threshold, of which its metrics speak; metrics without it have none (S3 user guide, "Using S3
    /// Replication Time Control" and "Using S3 Replication metrics").
    fn check_timings(&self) -> Result<(), Fault> {
        let is_right = |timing: Timing| timing.minutes == Some(THRESHOLD_MINUTES);
        match (self.replication_time, self.metrics) {
            (Some(_), None) => {
                let message = "Replication destination must contain both ReplicationTime and Metrics or neither.";
                Err(Fault::request(message))
            }
            (Some(time), _) if !is_right(time) => {
                Err(Fault::argument(format!("ReplicationTime: Minutes must be {THRESHOLD_MINUTES}")))
            }
            (Some(Timing { enabled: true, .. }), Some(metrics)) if !metrics.enabled => {
                Err(Fault::request("Metrics must be enabled if ReplicationTime is enabled"))
            }
            (Some(Timing { enabled: true, .. }), Some(metrics)) if !is_right(metrics) => {
                Err(Fault::argument(format!("Metrics: Minutes must be {THRESHOLD_MINUTES}")))
            }
            (None | Some(Timing { enabled: false, .. }), Some(Timing { minutes: Some(_), .. })) => {
                let message =
                    "Metrics cannot contain an event threshold when ReplicationTime is not specified or Disabled";
                Err(Fault::argument(message))
            }
            _ => Ok(()),
        }
    }
}

impl Target {
    /// Whether a KMS key can be one of the target's: on this server its ARN or that of an alias (S3 API reference,
    /// EncryptionConfiguration). Other servers may name keys otherwise, as far as a header can.
    fn may_have_key(&self, key: &str) -> bool {
        if self.remote.is_some() {
            return (1..=KEY_NAME_CHARS_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        }
        let parts: Vec<&str> = key.splitn(6, ':').collect();
        let ["arn", "aws", "kms", region, account, resource] = parts.as_slice() else { return false };
        let name = resource.strip_prefix("key/").or_else(|| resource.strip_prefix("alias/"));
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        !region.is_empty() && is_account && name.is_some_and(|name| !name.is_empty())
    }
}
