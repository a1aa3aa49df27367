//! Buckets as websites.

pub mod configuration;
