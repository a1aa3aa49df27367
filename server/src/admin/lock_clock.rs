//! The clock of locks: what it says, and making it believe the wall clock.

use cairn_storage::lock_clock::LockClockStatus;
use serde::Serialize;

use crate::authorize::{Authorized, OnServer};
use crate::s3::error::Failure;
use crate::s3::headers::document_time;
use crate::s3::request::Answer;

use super::{Admin, json};

/// What both calls answer. The times are of RFC 3339, in UTC.
#[derive(Serialize)]
struct LockClockDocument {
    /// The time by which locks are judged.
    lock_time: String,
    /// What the server's wall clock says.
    wall_time: String,
    /// The wall clock is too far ahead to be believed.
    held: bool,
}

impl From<LockClockStatus> for LockClockDocument {
    fn from(status: LockClockStatus) -> Self {
        Self {
            lock_time: document_time(status.lock_time),
            wall_time: document_time(status.wall_time),
            held: status.held,
        }
    }
}

pub(super) fn get_lock_clock(admin: &Admin, _: &Authorized<OnServer>) -> Result<Answer, Failure> {
    json(&LockClockDocument::from(admin.store.lock_clock().status()))
}

pub(super) async fn accept_wall_clock(admin: &Admin, authorized: Authorized<OnServer>) -> Result<Answer, Failure> {
    let before = admin.store.lock_clock().status();
    let after = LockClockDocument::from(admin.store.accept_wall_clock().await?);
    tracing::warn!(
        account = %authorized.account().id,
        lock_time_before = document_time(before.lock_time),
        lock_time = after.lock_time,
        "an operator made the wall clock's time lock time"
    );
    json(&after)
}
