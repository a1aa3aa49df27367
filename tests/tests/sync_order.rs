//! The order of system calls around an acknowledgement, as `strace` sees it: what must be on the disk is synced between
//! the request's arrival and the answer's departure.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use cairn_tests::random::body;
use cairn_tests::strace::Tracer;
use cairn_tests::{Cairn, Call, Client, Config, skip};

const TRACED: &str =
    "trace=fdatasync,fsync,read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,pwrite64,pwritev,pwritev2";

/// What a traced call did, in order of completion.
#[derive(Debug, PartialEq)]
enum Event {
    RequestRead,
    AnswerWritten,
    WalSynced,
    BlobSynced,
    BlobFolderSynced,
}

/// The events of a trace. A call that another thread's interrupts is printed in two lines; it counts where it ends, but
/// the answer counts where it begins.
fn events(lines: &[String]) -> Vec<Event> {
    let mut unfinished: HashMap<&str, &str> = HashMap::new();
    let mut events = Vec::new();
    for line in lines {
        let Some((pid, rest)) = line.split_once(' ') else {
            continue;
        };
        let call = rest.trim_start().split_once(' ').map_or("", |(_, call)| call);
        if is_answer(call) {
            events.push(Event::AnswerWritten);
        }
        if call.contains("<unfinished ...>") {
            unfinished.insert(pid, call);
            continue;
        }
        let resumed = call.starts_with("<...");
        let begun = if resumed { unfinished.remove(pid).unwrap_or_default() } else { call };
        if !call.contains(" = -1 ") {
            events.extend(finished(begun, call));
        }
    }
    events
}

fn is_answer(call: &str) -> bool {
    let writes = ["write(", "writev(", "sendto(", "sendmsg("].iter().any(|name| call.starts_with(name));
    writes && (call.contains("HTTP/1.1 200") || call.contains("HTTP/1.1 204"))
}

/// What a finished call did; its beginning names the file, its end shows what a read returned.
fn finished(begun: &str, ended: &str) -> Option<Event> {
    if ["read(", "readv(", "recvfrom(", "recvmsg("].iter().any(|name| begun.starts_with(name)) {
        let request = ["PUT /", "DELETE /", "POST /"].iter().any(|method| ended.contains(method));
        return request.then_some(Event::RequestRead);
    }
    if !begun.starts_with("fdatasync(") && !begun.starts_with("fsync(") {
        return None;
    }
    let path = begun.split_once('<')?.1.split_once('>')?.0;
    if path.contains("/index/") && path.ends_with(".log") {
        return Some(Event::WalSynced);
    }
    let (_, below) = path.split_once("/blobs/")?;
    Some(if below.contains('/') { Event::BlobSynced } else { Event::BlobFolderSynced })
}

/// Traces one call; `None` (after saying why) where tracing is not permitted.
async fn trace(cairn: &Cairn, call: Call) -> Result<Vec<Event>, String> {
    let tracer = Tracer::attach(cairn, &["-e", TRACED])?;
    let reply = call.send().await;
    assert!(reply.status < 300, "{reply:?}");
    let lines = tracer.finish();
    let events = events(&lines);
    assert!(events.contains(&Event::RequestRead), "the request is not in the trace:\n{}", lines.join("\n"));
    Ok(events)
}

/// Requires that `wanted` happen in this order, each after the one before it.
fn assert_order(events: &[Event], wanted: &[Event]) {
    let mut remaining = events.iter();
    for event in wanted {
        assert!(
            remaining.any(|found| found == event),
            "{event:?} is not where it must be: wanted {wanted:?} in {events:?}"
        );
    }
}

async fn prepared() -> (Cairn, Client, String) {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("traced").await;
    client.put(&bucket, "existing", "x").await;
    (cairn, client, bucket)
}

#[tokio::test]
async fn a_small_put_is_answered_after_the_log_is_synced() {
    let (cairn, client, bucket) = prepared().await;
    match trace(&cairn, client.object("PUT", &bucket, "small").body("small")).await {
        Ok(events) => assert_order(&events, &[Event::RequestRead, Event::WalSynced, Event::AnswerWritten]),
        Err(reason) => skip!("{reason}"),
    }
}

#[tokio::test]
async fn a_delete_is_answered_after_the_log_is_synced() {
    let (cairn, client, bucket) = prepared().await;
    match trace(&cairn, client.object("DELETE", &bucket, "existing")).await {
        Ok(events) => assert_order(&events, &[Event::RequestRead, Event::WalSynced, Event::AnswerWritten]),
        Err(reason) => skip!("{reason}"),
    }
}

#[tokio::test]
async fn a_large_put_syncs_its_file_its_folder_and_the_log_in_this_order() {
    let (cairn, client, bucket) = prepared().await;
    match trace(&cairn, client.object("PUT", &bucket, "large").body(body(1, 1_000_000))).await {
        Ok(events) => assert_order(
            &events,
            &[Event::RequestRead, Event::BlobSynced, Event::BlobFolderSynced, Event::WalSynced, Event::AnswerWritten],
        ),
        Err(reason) => skip!("{reason}"),
    }
}

#[tokio::test]
async fn creating_a_bucket_is_answered_after_the_log_is_synced() {
    let (cairn, client, _) = prepared().await;
    match trace(&cairn, client.bucket("PUT", "traced-bucket")).await {
        Ok(events) => assert_order(&events, &[Event::RequestRead, Event::WalSynced, Event::AnswerWritten]),
        Err(reason) => skip!("{reason}"),
    }
}

#[test]
fn a_trace_is_read_by_completion() {
    let lines: Vec<String> = [
        r#"7 1.0 recvfrom(9<TCP:[1]>, "PUT /b/k HTTP/1.1"..., 8192, 0, NULL, NULL) = 500"#,
        r#"8 1.1 fdatasync(5</d/index/000004.log> <unfinished ...>"#,
        r#"7 1.2 epoll_wait(3</e>, [], 1, 0) = 0"#,
        r#"8 1.3 <... fdatasync resumed>)  = 0"#,
        r#"7 1.4 writev(9<TCP:[1]>, [{iov_base="HTTP/1.1 200 OK\r\n", iov_len=99}], 1) = 99"#,
        r#"8 1.5 fdatasync(5</d/blobs/0a/00ff>) = -1 EIO (Input/output error)"#,
    ]
    .map(String::from)
    .into();
    assert_eq!(events(&lines), [Event::RequestRead, Event::WalSynced, Event::AnswerWritten]);
}
