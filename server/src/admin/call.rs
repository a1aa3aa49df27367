//! The calls of the admin API: their paths and methods.

use cairn_storage::index::family::walk::WalkKind;
use cairn_storage::jobs::walks::WalkChange;
use http::header::ALLOW;
use http::{Method, StatusCode};
use s3s::S3ErrorCode;

use crate::s3::error::Failure;
use crate::s3::headers;
use crate::s3::request::Query;

/// How the path of every admin call begins, of this version or another.
const ROOT: &str = "/-/admin/";

/// The version that is served.
const VERSION: &str = "v1";

/// What can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `GET /-/admin/v1/decisions/REQUEST-ID`
    GetDecision(String),
    /// `GET /-/admin/v1/lock-clock`
    GetLockClock,
    /// `POST /-/admin/v1/lock-clock/accept`
    AcceptWallClock,
    /// `GET /-/admin/v1/restores?after=BUCKET`
    ListRestores {
        /// Only those of buckets after this one.
        after: Option<String>,
    },
    /// `POST /-/admin/v1/restores`
    StartRestore,
    /// `GET /-/admin/v1/restores/BUCKET`
    GetRestore {
        /// The bucket's name, not yet checked.
        bucket: String,
    },
    /// `POST /-/admin/v1/restores/BUCKET/cancel`
    CancelRestore {
        /// The bucket's name, not yet checked.
        bucket: String,
    },
    /// `GET /-/admin/v1/encryption-key`
    GetEncryptionKey,
    /// `POST /-/admin/v1/encryption-key/rotate`
    RotateEncryptionKey,
    /// `POST /-/admin/v1/encryption-key/rewrap`
    RewrapDataKeys,
    /// `POST /-/admin/v1/encryption-key/retire`
    RetireEncryptionKey,
    /// `GET /-/admin/v1/jobs`
    ListJobs,
    /// `GET /-/admin/v1/jobs/ID`
    GetJob(String),
    /// `POST /-/admin/v1/jobs/ID/pause` (`resume`, `cancel`, `retry`)
    ChangeJob {
        /// The job's id, not yet checked.
        id: String,
        /// What becomes of it.
        change: WalkChange,
    },
    /// `POST /-/admin/v1/lifecycle/BUCKET/run`
    RunLifecycle {
        /// The bucket's name, not yet checked.
        bucket: String,
    },
    /// `POST /-/admin/v1/lifecycle/BUCKET/pause`, and `.../resume`
    PauseLifecycle {
        /// The bucket's name, not yet checked.
        bucket: String,
        /// Or else resume.
        paused: bool,
    },
    /// `POST /-/admin/v1/lifecycle/pause`, and `.../resume`
    PauseAllLifecycles {
        /// Or else resume.
        paused: bool,
    },
    /// `GET /-/admin/v1/lifecycle/BUCKET`
    GetLifecycle {
        /// The bucket's name, not yet checked.
        bucket: String,
    },
    /// `GET /-/admin/v1/lifecycle?after=BUCKET`
    ListLifecycles {
        /// Only those of buckets after this one.
        after: Option<String>,
    },
    /// `POST /-/admin/v1/lifecycle/plan`
    PlanLifecycle,
    /// `GET /-/admin/v1/tiers`
    ListTiers,
    /// `POST /-/admin/v1/tiers/move`, or `.../move/BUCKET`
    MoveFiles {
        /// Only the files of this bucket; its name is not yet checked.
        bucket: Option<String>,
    },
    /// `GET /-/admin/v1/remotes`
    ListRemotes,
    /// `POST /-/admin/v1/remotes`
    AddRemote,
    /// `DELETE /-/admin/v1/remotes/NAME`
    RemoveRemote {
        /// The remote's name, not yet checked.
        name: String,
    },
    /// `POST /-/admin/v1/remotes/NAME/test`
    TestRemote {
        /// The remote's name, not yet checked.
        name: String,
    },
    /// `GET /-/admin/v1/replication/BUCKET`
    GetReplication {
        /// The bucket's name, not yet checked.
        bucket: String,
    },
    /// `GET /-/admin/v1/replication/BUCKET/failed`
    ListFailedReplication {
        /// The bucket's name, not yet checked.
        bucket: String,
    },
    /// `POST /-/admin/v1/replication/BUCKET/backfill`, `.../resync` and `.../verify`
    WalkReplication {
        /// The bucket's name, not yet checked.
        bucket: String,
        /// Which of them.
        kind: WalkKind,
    },
    /// `GET /-/admin/v1/replication/BUCKET/verify?job=ID&after=COUNT`
    GetReplicationReport {
        /// The bucket's name, not yet checked.
        bucket: String,
        /// The verification's id, not yet checked; None: the last one.
        job: Option<String>,
        /// How much of what it found is known already.
        after: u64,
    },
    /// `POST /-/admin/v1/replication/BUCKET/retry`
    RetryReplication {
        /// The bucket's name, not yet checked.
        bucket: String,
    },
}

impl Call {
    /// Its name in the log and the metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::GetDecision(_) => "GetDecision",
            Self::GetLockClock => "GetLockClock",
            Self::AcceptWallClock => "AcceptWallClock",
            Self::ListRestores { .. } => "ListRestores",
            Self::StartRestore => "StartRestore",
            Self::GetRestore { .. } => "GetRestore",
            Self::CancelRestore { .. } => "CancelRestore",
            Self::GetEncryptionKey => "GetEncryptionKey",
            Self::RotateEncryptionKey => "RotateEncryptionKey",
            Self::RewrapDataKeys => "RewrapDataKeys",
            Self::RetireEncryptionKey => "RetireEncryptionKey",
            Self::ListJobs => "ListJobs",
            Self::GetJob(_) => "GetJob",
            Self::ChangeJob { .. } => "ChangeJob",
            Self::RunLifecycle { .. } => "RunLifecycle",
            Self::PauseLifecycle { .. } => "PauseLifecycle",
            Self::PauseAllLifecycles { .. } => "PauseAllLifecycles",
            Self::GetLifecycle { .. } => "GetLifecycle",
            Self::ListLifecycles { .. } => "ListLifecycles",
            Self::PlanLifecycle => "PlanLifecycle",
            Self::ListTiers => "ListTiers",
            Self::MoveFiles { .. } => "MoveFiles",
            Self::ListRemotes => "ListRemotes",
            Self::AddRemote => "AddRemote",
            Self::RemoveRemote { .. } => "RemoveRemote",
            Self::TestRemote { .. } => "TestRemote",
            Self::GetReplication { .. } => "GetReplication",
            Self::ListFailedReplication { .. } => "ListFailedReplication",
            Self::WalkReplication { kind: WalkKind::Resync, .. } => "ResyncReplication",
            Self::WalkReplication { kind: WalkKind::Verify, .. } => "VerifyReplication",
            Self::WalkReplication { .. } => "BackfillReplication",
            Self::GetReplicationReport { .. } => "GetReplicationReport",
            Self::RetryReplication { .. } => "RetryReplication",
        }
    }
}

/// Whether a path, in no bucket's host, is the admin API's.
pub fn is_path(path: &str) -> bool {
    path.starts_with(ROOT)
}

/// The call that a request makes.
///
/// # Errors
/// `NoSuchCall` for a path that is none, `MethodNotAllowed`.
pub fn route(method: &Method, path: &str, query: &Query) -> Result<Call, Failure> {
    let segments: Vec<&str> = path.strip_prefix(ROOT).unwrap_or_default().split('/').collect();
    // No bucket's name needs an escape, so a segment that has one names none.
    let calls: &[(&'static str, Call)] = &match segments[..] {
        [VERSION, "decisions", id] if !id.is_empty() => vec![("GET", Call::GetDecision(id.to_owned()))],
        [VERSION, "lock-clock"] => vec![("GET", Call::GetLockClock)],
        [VERSION, "lock-clock", "accept"] => vec![("POST", Call::AcceptWallClock)],
        [VERSION, "restores"] => {
            let after = query.non_empty("after").map(str::to_owned);
            vec![("GET", Call::ListRestores { after }), ("POST", Call::StartRestore)]
        }
        [VERSION, "restores", bucket] => vec![("GET", Call::GetRestore { bucket: bucket.to_owned() })],
        [VERSION, "restores", bucket, "cancel"] => vec![("POST", Call::CancelRestore { bucket: bucket.to_owned() })],
        [VERSION, "encryption-key"] => vec![("GET", Call::GetEncryptionKey)],
        [VERSION, "encryption-key", "rotate"] => vec![("POST", Call::RotateEncryptionKey)],
        [VERSION, "encryption-key", "rewrap"] => vec![("POST", Call::RewrapDataKeys)],
        [VERSION, "encryption-key", "retire"] => vec![("POST", Call::RetireEncryptionKey)],
        [VERSION, "jobs"] => vec![("GET", Call::ListJobs)],
        [VERSION, "jobs", id] if !id.is_empty() => vec![("GET", Call::GetJob(id.to_owned()))],
        [VERSION, "jobs", id, change] if job_change(change).is_some() => {
            let change = job_change(change).into_iter();
            change.map(|change| ("POST", Call::ChangeJob { id: id.to_owned(), change })).collect()
        }
        [VERSION, "tiers"] => vec![("GET", Call::ListTiers)],
        [VERSION, "tiers", "move"] => vec![("POST", Call::MoveFiles { bucket: None })],
        [VERSION, "tiers", "move", bucket] => {
            vec![("POST", Call::MoveFiles { bucket: Some(bucket.to_owned()) })]
        }
        [VERSION, "lifecycle"] => {
            vec![("GET", Call::ListLifecycles { after: query.non_empty("after").map(str::to_owned) })]
        }
        // A bucket can have the name of what is posted.
        [VERSION, "lifecycle", name] => {
            let status = ("GET", Call::GetLifecycle { bucket: name.to_owned() });
            let posted = match name {
                "plan" => Some(Call::PlanLifecycle),
                "pause" | "resume" => Some(Call::PauseAllLifecycles { paused: name == "pause" }),
                _ => None,
            };
            posted.map(|call| ("POST", call)).into_iter().chain([status]).collect()
        }
        [VERSION, "lifecycle", bucket, "run"] => vec![("POST", Call::RunLifecycle { bucket: bucket.to_owned() })],
        [VERSION, "lifecycle", bucket, does @ ("pause" | "resume")] => {
            vec![("POST", Call::PauseLifecycle { bucket: bucket.to_owned(), paused: does == "pause" })]
        }
        [VERSION, "remotes"] => vec![("GET", Call::ListRemotes), ("POST", Call::AddRemote)],
        [VERSION, "remotes", name] if !name.is_empty() => {
            vec![("DELETE", Call::RemoveRemote { name: name.to_owned() })]
        }
        [VERSION, "remotes", name, "test"] => vec![("POST", Call::TestRemote { name: name.to_owned() })],
        [VERSION, "replication", bucket] => vec![("GET", Call::GetReplication { bucket: bucket.to_owned() })],
        [VERSION, "replication", bucket, "failed"] => {
            vec![("GET", Call::ListFailedReplication { bucket: bucket.to_owned() })]
        }
        [VERSION, "replication", bucket, "backfill"] => vec![walk_replication(bucket, WalkKind::Backfill)],
        [VERSION, "replication", bucket, "resync"] => vec![walk_replication(bucket, WalkKind::Resync)],
        [VERSION, "replication", bucket, "verify"] => {
            let invalid = |after: &str| Failure::invalid_argument("after", after, "after is a number of findings.");
            let after = query.non_empty("after").map(|after| after.parse().map_err(|_| invalid(after)));
            let after = after.transpose()?.unwrap_or_default();
            let (bucket, job) = (bucket.to_owned(), query.non_empty("job").map(str::to_owned));
            vec![
                walk_replication(&bucket.clone(), WalkKind::Verify),
                ("GET", Call::GetReplicationReport { bucket, job, after }),
            ]
        }
        [VERSION, "replication", bucket, "retry"] => {
            vec![("POST", Call::RetryReplication { bucket: bucket.to_owned() })]
        }
        _ => return Err(Failure::custom("NoSuchCall", StatusCode::NOT_FOUND, "The admin API has no such call.")),
    };
    if let Some((_, call)) = calls.iter().find(|(allowed, _)| *allowed == method.as_str()) {
        return Ok(call.clone());
    }
    let allowed: Vec<&str> = calls.iter().map(|(allowed, _)| *allowed).collect();
    Err(Failure::new(S3ErrorCode::MethodNotAllowed).header(ALLOW, headers::value(&allowed.join(", "))))
}

fn walk_replication(bucket: &str, kind: WalkKind) -> (&'static str, Call) {
    ("POST", Call::WalkReplication { bucket: bucket.to_owned(), kind })
}

fn job_change(segment: &str) -> Option<WalkChange> {
    match segment {
        "pause" => Some(WalkChange::Pause),
        "resume" => Some(WalkChange::Resume),
        "cancel" => Some(WalkChange::Cancel),
        "retry" => Some(WalkChange::Retry),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_path_is_a_call_or_none() {
        for (method, path, expected) in [
            ("GET", "/-/admin/v1/decisions/00AB", Ok(Call::GetDecision("00AB".to_owned()))),
            ("GET", "/-/admin/v1/decisions/", Err(("NoSuchCall", 404))),
            ("DELETE", "/-/admin/v1/decisions/00AB", Err(("MethodNotAllowed", 405))),
            ("GET", "/-/admin/v1/lock-clock", Ok(Call::GetLockClock)),
            ("POST", "/-/admin/v1/lock-clock/accept", Ok(Call::AcceptWallClock)),
            ("GET", "/-/admin/v1/encryption-key", Ok(Call::GetEncryptionKey)),
            ("POST", "/-/admin/v1/encryption-key/rotate", Ok(Call::RotateEncryptionKey)),
            ("GET", "/-/admin/v1/encryption-key/rotate", Err(("MethodNotAllowed", 405))),
            ("POST", "/-/admin/v1/lifecycle/b.c/run", Ok(Call::RunLifecycle { bucket: "b.c".to_owned() })),
            ("POST", "/-/admin/v1/lifecycle/plan", Ok(Call::PlanLifecycle)),
            ("GET", "/-/admin/v1/lifecycle/plan", Ok(Call::GetLifecycle { bucket: "plan".to_owned() })),
            ("POST", "/-/admin/v1/lifecycle/resume", Ok(Call::PauseAllLifecycles { paused: false })),
            ("GET", "/-/admin/v1/lifecycle", Ok(Call::ListLifecycles { after: None })),
            ("POST", "/-/admin/v1/lifecycle/b", Err(("MethodNotAllowed", 405))),
            (
                "POST",
                "/-/admin/v1/lifecycle/b/pause",
                Ok(Call::PauseLifecycle { bucket: "b".to_owned(), paused: true }),
            ),
            ("GET", "/-/admin/v1/lifecycle/b/run", Err(("MethodNotAllowed", 405))),
            ("GET", "/-/admin/v1/jobs", Ok(Call::ListJobs)),
            ("GET", "/-/admin/v1/jobs/ab", Ok(Call::GetJob("ab".to_owned()))),
            (
                "POST",
                "/-/admin/v1/jobs/ab/retry",
                Ok(Call::ChangeJob { id: "ab".to_owned(), change: WalkChange::Retry }),
            ),
            ("GET", "/-/admin/v1/jobs/ab/retry", Err(("MethodNotAllowed", 405))),
            ("POST", "/-/admin/v1/jobs/ab/begin", Err(("NoSuchCall", 404))),
            ("POST", "/-/admin/v1/lock-clock", Err(("MethodNotAllowed", 405))),
            ("HEAD", "/-/admin/v1/lock-clock", Err(("MethodNotAllowed", 405))),
            ("GET", "/-/admin/v1/lock-clock/accept", Err(("MethodNotAllowed", 405))),
            ("GET", "/-/admin/v1/replication/b.c", Ok(Call::GetReplication { bucket: "b.c".to_owned() })),
            ("GET", "/-/admin/v1/replication/b/failed", Ok(Call::ListFailedReplication { bucket: "b".to_owned() })),
            ("POST", "/-/admin/v1/replication/b/retry", Ok(Call::RetryReplication { bucket: "b".to_owned() })),
            ("GET", "/-/admin/v1/replication/b/retry", Err(("MethodNotAllowed", 405))),
            ("POST", "/-/admin/v1/replication/b/verify", Ok(walk_replication("b", WalkKind::Verify).1)),
            (
                "GET",
                "/-/admin/v1/replication/b/verify",
                Ok(Call::GetReplicationReport { bucket: "b".to_owned(), job: None, after: 0 }),
            ),
            ("GET", "/-/admin/v1/replication/b/resync", Err(("MethodNotAllowed", 405))),
            ("GET", "/-/admin/v1/remotes", Ok(Call::ListRemotes)),
            ("DELETE", "/-/admin/v1/remotes/paris", Ok(Call::RemoveRemote { name: "paris".to_owned() })),
            ("POST", "/-/admin/v1/remotes/paris/test", Ok(Call::TestRemote { name: "paris".to_owned() })),
            ("POST", "/-/admin/v1/remotes/paris", Err(("MethodNotAllowed", 405))),
            ("GET", "/-/admin/v1/restores", Ok(Call::ListRestores { after: None })),
            ("POST", "/-/admin/v1/restores", Ok(Call::StartRestore)),
            ("GET", "/-/admin/v1/restores/b.c", Ok(Call::GetRestore { bucket: "b.c".to_owned() })),
            ("POST", "/-/admin/v1/restores/b/cancel", Ok(Call::CancelRestore { bucket: "b".to_owned() })),
            ("DELETE", "/-/admin/v1/restores/b", Err(("MethodNotAllowed", 405))),
            ("POST", "/-/admin/v1/restores/b/c", Err(("NoSuchCall", 404))),
            ("GET", "/-/admin/v1/lock-clock/", Err(("NoSuchCall", 404))),
            ("GET", "/-/admin/v2/lock-clock", Err(("NoSuchCall", 404))),
            ("GET", "/-/admin/v1/", Err(("NoSuchCall", 404))),
            ("GET", "/-/admin/", Err(("NoSuchCall", 404))),
            ("GET", "/-/admin//v1/lock-clock", Err(("NoSuchCall", 404))),
            ("GET", "/-/admin/v1/%6cock-clock", Err(("NoSuchCall", 404))),
        ] {
            assert!(is_path(path), "{path}");
            let routed = route(&Method::from_bytes(method.as_bytes()).unwrap(), path, &Query::default());
            let found = routed.as_ref().map_err(|failure| (failure.code(), failure.status_code().as_u16()));
            assert_eq!(found, expected.as_ref().map_err(|error| *error), "{method} {path}");
        }
    }

    #[test]
    fn a_path_of_s3_is_not_the_admin_apis() {
        for path in ["/", "/-", "/-/", "/-/admin", "/-/administration", "/b/-/admin/v1/lock-clock", "//-/admin/v1"] {
            assert!(!is_path(path), "{path}");
        }
    }
}
