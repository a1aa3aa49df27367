//! `cairn check`: verifies a data directory that no server is using, and reports.

use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use cairn_storage::check::Report;

use crate::config::Config;
use crate::wiring;

/// There are findings.
const EXIT_FINDINGS: u8 = 1;

/// The data directory could not be verified, or not all of it.
const EXIT_UNVERIFIED: u8 = 2;

pub(super) fn run_check(config: &Config) -> ExitCode {
    let bar = ProgressBar::no_length().with_style(style());
    let result = wiring::check(config, |progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes_done);
    });
    bar.finish_and_clear();
    match result {
        Ok(report) => tell(&report),
        Err(error) => {
            eprintln!("cairn: {}: {}", config.data_dir.display(), wiring::chain(&error));
            ExitCode::from(EXIT_UNVERIFIED)
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn tell(report: &Report) -> ExitCode {
    let counts = [
        ("buckets", report.buckets),
        ("object versions", report.versions),
        ("delete markers", report.delete_markers),
        ("parts of multipart uploads", report.parts),
        ("contents in the index", report.inline_contents),
        ("chunk files", report.files),
        ("bytes of chunk files", report.file_bytes),
        ("files that an unclean stop left, which the next start collects", report.leftovers),
    ];
    for (name, count) in counts {
        println!("{count:>14}  {name}");
    }
    for finding in &report.findings {
        println!("FOUND: {finding}");
    }
    match report.findings_count {
        0 => {
            println!("No findings.");
            ExitCode::SUCCESS
        }
        count => {
            println!("{count} findings.");
            ExitCode::from(EXIT_FINDINGS)
        }
    }
}
