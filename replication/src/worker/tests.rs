//! The worker against a store in memory and targets that do as they are told.

#![allow(clippy::unwrap_used)]
