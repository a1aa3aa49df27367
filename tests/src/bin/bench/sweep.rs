//! Lifecycle sweeps over many objects: with nothing due, with a hundredth due, once more, and with everything due.
//!
//! What falls due waits for the next sweep to come to it. So nothing is late by more than the interval between two sweeps, if a
//! sweep takes less than that, also one in which everything is due.

use std::time::Duration;

use bytes::Bytes;
use cairn_tests::client::REGION;
use cairn_tests::lifecycle::{put_rules, rule};
use cairn_tests::{Cairn, Client};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::load::drive;
use crate::process::{cpu_time, peak_memory_mib, reset_peak_memory};
use crate::requests::Requests;
use crate::table::{Aims, print_cell, print_heading};
use crate::{Options, UNTIL_DONE};

const BUCKET: &str = "bench-sweep";
const WRITERS: usize = 64;

/// One key in so many begins with what expires.
const DUE_ONE_IN: usize = 100;

/// Between two sweeps, unless the settings say otherwise.
const INTERVAL: &str = "<= 900";

/// What one sweep came to.
struct Swept {
    versions: u64,
    done: u64,
    seconds: f64,
    cpu_seconds: f64,
    peak_memory_mib: u64,
}

/// Fills a bucket and has it swept.
pub async fn sweeps(options: &Options, cairn: &Cairn, aims: &Aims) {
    let client = cairn.client();
    client.bucket("PUT", BUCKET).send().await.expect(200);
    println!("\nsweeps over {} objects", options.sweep_keys);
    print_heading();
    fill(options, cairn).await;
    let kept = "<Expiration><Days>400</Days></Expiration>\
                <Transition><Days>90</Days><StorageClass>GLACIER</StorageClass></Transition>";
    let tagged = "<Tag><Key>team</Key><Value>storage</Value></Tag>";
    let nothing_due = rule("all", "", kept) + &rule("tagged", tagged, kept);
    let ends = "<Expiration><Date>2020-01-01T00:00:00Z</Date></Expiration>";
    let some_due = nothing_due.clone() + &rule("some", "<Prefix>ends/</Prefix>", ends);
    let all_due = rule("all", "", ends);
    println!(
        "{:<28}{:>12}{:>10}{:>10}{:>12}{:>16}{:>12}",
        "sweep", "versions", "done", "seconds", "versions/s", "versions/CPU s", "peak MiB"
    );
    for (what, rules) in [
        ("nothing due", &nothing_due),
        ("1 % due", &some_due),
        ("nothing due any more", &some_due),
        ("everything due", &all_due),
    ] {
        put_rules(&client, BUCKET, rules).send().await.expect(200);
        let swept = sweep(cairn, &client).await;
        let (rate, per_core) = (swept.versions as f64 / swept.seconds, swept.versions as f64 / swept.cpu_seconds);
        println!(
            "{what:<28}{:>12}{:>10}{:>10.1}{rate:>12.0}{per_core:>16.0}{:>12}",
            swept.versions, swept.done, swept.seconds, swept.peak_memory_mib
        );
        let seconds = format!("{:.1}", swept.seconds);
        aims.add(format!("sweep of {} versions, {what}, seconds", swept.versions), seconds, INTERVAL);
        if swept.done == 0 {
            let what = format!("sweep of {} versions, {what}, versions a second and core", swept.versions);
            aims.add(what, format!("{per_core:.0}"), ">= 500000");
        }
    }
}

async fn fill(options: &Options, cairn: &Cairn) {
    let client = cairn.client();
    let (requests, keys) = (Requests::new(&client), options.sweep_keys);
    let filled = drive(client.address, cairn.pid(), WRITERS, UNTIL_DONE, move |writer, count| {
        let number = count as usize * WRITERS + writer;
        let prefix = if number.is_multiple_of(DUE_ONE_IN) { "ends" } else { "photos" };
        let path = format!("/{BUCKET}/{prefix}/2026/{number:09}.jpg");
        (number < keys).then(|| requests.make("PUT", path, &[], Bytes::new(), true))
    });
    print_cell("PUT empty", 0, WRITERS, &filled.await, None);
}

/// Asks for a sweep and waits for its end.
async fn sweep(cairn: &Cairn, client: &Client) -> Swept {
    let call = async |method: &str, path: &str| {
        let call = client.call(method, &format!("/-/admin/v1/lifecycle/{BUCKET}{path}"));
        let answer = call.scope(REGION, "cairn").send().await.expect(200);
        serde_json::from_slice::<Value>(&answer.body).expect("the admin API answers in JSON")
    };
    reset_peak_memory(cairn.pid());
    let cpu_before = cpu_time(cairn.pid());
    let requested = call("POST", "/run").await["requested"].as_str().map(time);
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let status = call("GET", "").await;
        let last = &status["last"];
        let text = |name: &str| last[name].as_str().map(time);
        let (Some(started), Some(ended)) = (text("started"), text("ended")) else { continue };
        if Some(started) < requested {
            continue;
        }
        let done = last["done"].as_array().into_iter().flatten().filter_map(|sum| sum["count"].as_u64()).sum();
        return Swept {
            versions: last["versions"].as_u64().unwrap_or_default(),
            done,
            seconds: (ended - started).as_seconds_f64(),
            cpu_seconds: (cpu_time(cairn.pid()) - cpu_before).as_secs_f64(),
            peak_memory_mib: peak_memory_mib(cairn.pid()),
        };
    }
}

fn time(text: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text, &Rfc3339).expect("the admin API tells times of RFC 3339")
}
