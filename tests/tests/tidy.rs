//! What every file of the project keeps to: who may name whom, module docs, and what must not appear in the sources.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use cairn_tests::harness::files_below;

const CRATES: [&str; 7] = ["crypto", "iam", "lifecycle", "replication", "server", "storage", "tests"];

/// The crates of ours that each crate may depend on.
const ARROWS: [(&str, &[&str]); 6] = [
    ("crypto", &[]),
    ("iam", &[]),
    ("lifecycle", &["storage"]),
    ("replication", &["storage", "crypto"]),
    ("server", &["replication", "lifecycle", "storage", "iam", "crypto"]),
    ("storage", &["crypto"]),
];

/// A name (with its crate's spelling in code) and the places below the root that may name it.
const CONFINED: [(&str, &[&str]); 8] = [
    ("s3s", &["server/"]),
    ("hyper", &["server/", "tests/"]),
    ("hyper_util", &["server/", "tests/"]),
    ("http", &["server/", "tests/"]),
    ("http_body_util", &["server/", "tests/"]),
    ("quick_xml", &["server/", "replication/src/client"]),
    (
        "reqwest",
        &[
            "replication/src/client",
            "server/src/cli/",
            "server/src/sts/web_identity/",
            "server/src/kms/external/transit",
        ],
    ),
    ("rocksdb", &["storage/src/index/rocks"]),
];

const LINES_MAX: usize = 700;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All Rust sources, as paths below the root with their text.
fn sources() -> Vec<(String, String)> {
    let root = root();
    CRATES
        .iter()
        .flat_map(|name| ["src", "tests", "benches"].map(|folder| root.join(name).join(folder)))
        .flat_map(|folder| files_below(&folder))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// Lines of code before the test module, without comments, numbered from 1.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}

/// Whether a file holds tests or what only tests use.
fn is_test_code(name: &str) -> bool {
    name.starts_with("tests/")
        || name.contains("/tests/")
        || name.ends_with("/tests.rs")
        || name.ends_with("_tests.rs")
        || name.ends_with("conformance.rs")
}

fn report(rule: &str, findings: Vec<String>) {
    assert!(findings.is_empty(), "{rule}:\n{}", findings.join("\n"));
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let mut findings = Vec::new();
    for (name, allowed) in ARROWS {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = toml::from_str(&manifest).unwrap();
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            for dependency in table.keys().filter_map(|dependency| dependency.strip_prefix("cairn-")) {
                if !allowed.contains(&dependency) {
                    findings.push(format!("{name}/Cargo.toml: {section}: cairn-{dependency}"));
                }
            }
        }
    }
    report("a crate depends on one that its arrow does not point to", findings);
}

#[test]
fn confined_names_stay_where_they_belong() {
    let mut findings = Vec::new();
    for (name, text) in sources() {
        for (line_number, line) in code_lines(&text) {
            for (confined, places) in CONFINED {
                let named = names_crate(line, confined);
                if named && !places.iter().any(|place| name.starts_with(place)) {
                    findings.push(format!("{name}:{line_number}: {confined}"));
                }
            }
        }
    }
    report("a crate is named outside its place", findings);
}

/// Whether a line of code names a crate as the first part of a path.
fn names_crate(line: &str, crate_name: &str) -> bool {
    let path = format!("{crate_name}::");
    line.match_indices(&path).any(|(position, _)| {
        let before = line[..position].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || character == '_' || character == ':')
    }) || line.trim_start().starts_with(&format!("use {crate_name};"))
}

#[test]
fn only_the_disk_touches_files_in_storage() {
    let mut findings = Vec::new();
    for (name, text) in sources() {
        // The lock, the format file and the watermark are files of the data directory but not blobs.
        let allowed =
            name.starts_with("storage/src/disk") || name.starts_with("storage/src/index/rocks") || is_test_code(&name);
        if !name.starts_with("storage/src/blob")
            && !name.starts_with("storage/src/ops")
            && !name.starts_with("storage/src/jobs")
            || allowed
        {
            continue;
        }
        for (line_number, line) in code_lines(&text) {
            if ["std::fs", "tokio::fs", "rustix::fs", "File::open", "File::create"]
                .iter()
                .any(|path| line.contains(path))
            {
                findings.push(format!("{name}:{line_number}: {}", line.trim()));
            }
        }
    }
    report("a file is touched past the Disk trait", findings);
}

#[test]
fn every_source_begins_with_its_module_docs() {
    let findings = sources()
        .into_iter()
        // A module's own tests are what their name says.
        .filter(|(name, _)| !name.ends_with("/tests.rs"))
        .filter(|(_, text)| !text.starts_with("//! ") || text.starts_with("//! Placeholder"))
        .map(|(name, _)| name)
        .collect();
    report("a source does not begin with what it is for", findings);
}

#[test]
fn nothing_is_left_to_do_in_the_sources() {
    // Spelled apart, so that this file does not name them.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    let mut findings = Vec::new();
    for (name, text) in sources() {
        for (index, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                findings.push(format!("{name}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    report("something is left to do", findings);
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    let mut findings = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| !is_test_code(name)) {
        for (line_number, line) in code_lines(&text) {
            if line.contains(concat!(".unwrap", "()")) || line.contains(concat!("allow(clippy::unwrap", "_used)")) {
                findings.push(format!("{name}:{line_number}: {}", line.trim()));
            }
        }
    }
    report("a value is unwrapped outside tests", findings);
}

#[test]
fn no_source_is_too_long() {
    let findings = sources()
        .into_iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    report("a source is too long", findings);
}

#[test]
fn no_file_is_named_after_nothing() {
    let findings = sources()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| {
            ["util", "utils", "common", "helpers", "manager", "misc"]
                .iter()
                .any(|word| name.split(['/', '.']).any(|part| part == *word))
        })
        .collect();
    report("a name says nothing", findings);
}

#[test]
fn clocks_and_randomness_are_passed_into_storage() {
    let mut findings = Vec::new();
    for (name, text) in sources() {
        let implements_them = ["clock.rs", "entropy.rs", "time.rs"].iter().any(|file| name.ends_with(file));
        if !name.starts_with("storage/src") || implements_them || is_test_code(&name) {
            continue;
        }
        for (line_number, line) in code_lines(&text) {
            if ["SystemTime::now", "rand::rng(", "getrandom::fill", "Uuid::now"].iter().any(|call| line.contains(call))
            {
                findings.push(format!("{name}:{line_number}: {}", line.trim()));
            }
        }
    }
    report("storage reads a clock or draws randomness by itself", findings);
}
