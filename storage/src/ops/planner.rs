//! What else a change entails: tasks that must join its commit. The rules live in other crates, which implement
//! [`Planner`]; storage only asks.

use std::fmt;

use bytes::Bytes;

use crate::index::family::document::DocumentKind;
use crate::index::family::version::Version;
use crate::jobs::NewTask;
use crate::object::ObjectKey;

/// A change of a key that is about to be committed.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// This version becomes the key's newest.
    Added {
        /// The key.
        key: &'a ObjectKey,
        /// The version.
        version: &'a Version,
    },
    /// This version goes away for good.
    Removed {
        /// The key.
        key: &'a ObjectKey,
        /// The version.
        version: &'a Version,
    },
}

/// Turns a change and the bucket's documents into tasks. Pure: the same input gives the same tasks.
pub trait Planner: Send + Sync + fmt::Debug + 'static {
    /// The kinds of documents it decides by; only these are read.
    fn kinds(&self) -> &[DocumentKind];

    /// The tasks that join the change's commit. `documents` are those of [`Planner::kinds`], in that order.
    fn plan(&self, change: Change<'_>, documents: &[Option<Bytes>]) -> Vec<NewTask>;
}

/// Plans nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPlan;

impl Planner for NoPlan {
    fn kinds(&self) -> &[DocumentKind] {
        &[]
    }

    fn plan(&self, _change: Change<'_>, _documents: &[Option<Bytes>]) -> Vec<NewTask> {
        Vec::new()
    }
}
