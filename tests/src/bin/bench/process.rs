//! What a process has used, as `/proc` and its own metrics tell it.

use std::fs;
use std::time::Duration;

use cairn_tests::Cairn;

/// The CPU time, user and system, of a process so far.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is a name that may hold spaces; it ends at the last parenthesis.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|&at| fields.get(at)?.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second())
}

/// Forgets the peak of a process's memory, so that the next one is that of what comes now.
pub fn reset_peak_memory(pid: u32) {
    // Needs the right to do so; without it the peak is that of the whole run.
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// The peak of a process's memory, in MiB.
pub fn peak_memory_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// The bytes that a process has had written to disks so far.
pub fn disk_bytes(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap_or(0)
}

/// How many commits shared how many writes of the index so far.
#[derive(Default)]
pub struct CommitGroups {
    commits: f64,
    writes: f64,
}

impl CommitGroups {
    /// As the server counts them.
    pub fn of(cairn: &Cairn) -> CommitGroups {
        let text = cairn.ops_get("/metrics").map(|(_, text)| text).unwrap_or_default();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        CommitGroups {
            commits: value("cairn_commit_group_batches_sum ").unwrap_or(0.0),
            writes: value("cairn_commit_group_batches_count ").unwrap_or(0.0),
        }
    }

    /// The mean number of commits in a write since then.
    pub fn mean_since(&self, before: &CommitGroups) -> f64 {
        (self.commits - before.commits) / (self.writes - before.writes).max(1.0)
    }
}
