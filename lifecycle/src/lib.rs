//! Lifecycle rules and storage classes: when a version moves to another class, and when it expires.
//!
//! The rules are pure: a [`configuration::Configuration`] is what a bucket's owner wrote, and [`decide::decide`] says what
//! it asks for about one version at one time. What a decision needs is read, and what it asks for is done, by
//! `cairn-storage`, under the guards of its commits.

pub mod calendar;
pub mod class;
pub mod configuration;
pub mod decide;
pub mod documents;
mod due;
mod earliest;
pub mod events;
pub mod plan;
pub mod predict;
pub mod restore;
pub mod rules_by_key;
pub mod state;
pub mod sweep;
pub mod tiering;
pub mod validate;
