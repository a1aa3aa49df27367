//! The row families: one file each, with the key's byte layout, the record and its bound.

pub mod bucket;
pub mod content;
pub mod directory;
pub mod document;
pub mod head;
pub mod identity;
pub mod job;
pub mod layout;
pub mod part;
pub mod pending;
pub mod removed;
pub mod restore;
pub mod upload;
pub mod usage;
pub mod version;
pub mod walk;
