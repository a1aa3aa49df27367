//! What else a change entails: tasks that must join its commit, and the targets that a version is PENDING for from then on. The rules live
//! in other crates, which implement [`Planner`]; storage only asks.

use std::fmt;

use bytes::Bytes;

use crate::index::family::bucket::BucketRecord;
use crate::index::family::document::DocumentKind;
use crate::index::family::version::Version;
use crate::jobs::NewTask;
use crate::object::{ObjectKey, ObjectVersion};
use crate::replication::TargetId;

/// Whose doing a change is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A client's, or an operator's.
    #[default]
    Client,
    /// A lifecycle rule's.
    Lifecycle,
    /// A replication's, from another bucket.
    Replica,
}

/// A change of a key that is about to be committed.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// This version comes.
    Added {
        /// The key.
        key: &'a ObjectKey,
        /// The version.
        version: &'a Version,
        /// Whose doing it is.
        origin: Origin,
    },
    /// The settings of this version change.
    Updated {
        /// The key.
        key: &'a ObjectKey,
        /// The version as it was.
        before: &'a ObjectVersion,
        /// The version as it will be.
        version: &'a ObjectVersion,
        /// Whose doing it is.
        origin: Origin,
    },
}

/// What a change entails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Tasks that join its commit.
    pub tasks: Vec<NewTask>,
    /// What is to be brought to targets.
    pub replications: Vec<PlannedReplication>,
}

/// A version is to be brought to a target, which its record says from then on. The task joins the commit unless the version is PENDING
/// there already: then there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedReplication {
    /// The target.
    pub target: TargetId,
    /// The task.
    pub task: NewTask,
}

/// Turns a change and the bucket's documents into a plan. Pure: the same input gives the same plan.
pub trait Planner: Send + Sync + fmt::Debug + 'static {
    /// The kinds of documents of this bucket that it decides by; only these are read.
    fn kinds(&self, bucket: &BucketRecord) -> &[DocumentKind];

    /// What joins the change's commit. `documents` are those of [`Planner::kinds`], in that order.
    fn plan(&self, change: Change<'_>, bucket: &BucketRecord, documents: &[Option<Bytes>]) -> Plan;
}

/// Plans nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPlan;

impl Planner for NoPlan {
    fn kinds(&self, _bucket: &BucketRecord) -> &[DocumentKind] {
        &[]
    }

    fn plan(&self, _change: Change<'_>, _bucket: &BucketRecord, _documents: &[Option<Bytes>]) -> Plan {
        Plan::default()
    }
}
