//! Comparing a bucket with its targets: what is broken there is named, and mended if that is asked for.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use cairn_tests::foreign::Foreign;
use cairn_tests::harness::files_below;
use cairn_tests::patience::{PATIENCE, until, until_said};
use cairn_tests::proxy::Proxy;
use cairn_tests::replication::{MAY_ALL, Rule, STATUS, locked, put_rules, remote, role, versioned};
use cairn_tests::{Cairn, Client, Config, Reply, skip};

const BUCKET: &str = "copies";

const NO_TAGS: &str = "<Tagging><TagSet></TagSet></Tagging>";

fn remote_at(url: &str) -> Config {
    Config { more: remote("there", url), ..Config::default() }
}

/// Replicates the bucket by a role that may do everything.
async fn replicate(client: &Client, bucket: &str, target: &str, filter: &str) {
    let role_arn = role(client, MAY_ALL).await;
    let rule = Rule { target, filter, ..Rule::default() };
    put_rules(client, bucket, &role_arn, &[rule]).send().await.expect(200);
}

async fn is_at_target(client: &Client, bucket: &str, key: &str) -> String {
    let head = || client.object("HEAD", bucket, key);
    let head = until("its replication", head, |reply| reply.header(STATUS) == Some("COMPLETED")).await;
    head.header("x-amz-version-id").unwrap().to_owned()
}

fn command(cairn: &Cairn, arguments: &[&str]) -> (Option<i32>, String) {
    let output = cairn.calling_command(&[&["replicate"], arguments].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() != Some(2), "{arguments:?}: {output:?}");
    (output.status.code(), said.trim().to_owned())
}

/// Verifies the bucket; what was found, as `kind key detail`, in order, with `+` before what is mended.
async fn verified(cairn: &Cairn, bucket: &str, more: &[&str]) -> Vec<String> {
    let (_, job) = command(cairn, &[&["verify", "--bucket", bucket], more].concat());
    ended(cairn, &job).await;
    report(cairn, bucket, &job)
}

async fn ended(cairn: &Cairn, job: &str) -> String {
    let show = || {
        let output = cairn.calling_command(&["jobs", "show", job]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let is_done = |line: &str| {
        assert!(!line.contains(" failed  "), "it does not end: {line}");
        line.contains(" done ")
    };
    until_said("its end", show, is_done).await
}

fn report(cairn: &Cairn, bucket: &str, job: &str) -> Vec<String> {
    let (code, said) = command(cairn, &["verify-report", "--bucket", bucket, "--job", job, "--json"]);
    let finding = |line: &str| {
        let finding: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| finding[name].as_str().unwrap().to_owned();
        let mended = if finding["mended"] == true { "+" } else { "" };
        format!("{mended}{} {}: {}", text("kind"), text("key"), text("detail"))
    };
    let found: Vec<String> = said.lines().map(finding).collect();
    let is_wrong = found.iter().any(|line| !line.starts_with("differs-by-right"));
    assert_eq!(code, Some(i32::from(is_wrong)), "{found:?}");
    found
}

async fn settings(client: &Client, bucket: &str, key: &str, version: &str, resource: &str, document: &str) {
    let put = client.object("PUT", bucket, key).query("versionId", version).query(resource, "");
    put.header("x-amz-bypass-governance-retention", "true").body(document.to_owned()).send().await.expect(200);
}

async fn remove(client: &Client, bucket: &str, key: &str, version: &str) {
    client.object("DELETE", bucket, key).query("versionId", version).send().await.expect(204);
}

/// Breaks what is at the target, and has it named and mended.
async fn breaks_and_mends(source: &Cairn, (here, from): (&Client, &str), (there, to): (&Client, &str)) {
    let put = here.object("PUT", from, "in/tagged").header("x-amz-tagging", "a=1").header("x-amz-meta-color", "red");
    put.body("tagged").send().await.expect(200);
    let old = here.put(from, "in/two", "old").await.expect(200).header("x-amz-version-id").unwrap().to_owned();
    for key in ["in/two", "in/held", "in/gone", "in/kept", "out/side"] {
        here.put(from, key, key).await.expect(200);
    }
    here.delete(from, "in/gone").await.expect(204);
    let tagged = is_at_target(here, from, "in/tagged").await;
    let held = is_at_target(here, from, "in/held").await;
    let kept = is_at_target(here, from, "in/kept").await;
    settings(here, from, "in/held", &held, "legal-hold", "<LegalHold><Status>ON</Status></LegalHold>").await;
    let until_2099 =
        "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2099-01-01T00:00:00Z</RetainUntilDate></Retention>";
    settings(here, from, "in/kept", &kept, "retention", until_2099).await;
    let is_on = |reply: &Reply| reply.header("x-amz-object-lock-legal-hold") == Some("ON");
    until("the hold", || there.object("HEAD", to, "in/held"), is_on).await;
    let is_kept = |reply: &Reply| reply.header("x-amz-object-lock-mode").is_some();
    until("the lock", || there.object("HEAD", to, "in/kept"), is_kept).await;
    until(
        "the marker",
        || there.object("HEAD", to, "in/gone"),
        |reply| reply.status == 404 && reply.header("x-amz-delete-marker").is_some(),
    )
    .await;
    is_at_target(here, from, "in/two").await;
    is_at_target(here, from, "in/held").await;
    is_at_target(here, from, "in/kept").await;
    assert_eq!(verified(source, from, &[]).await, Vec::<String>::new());
    // Broken at the target, in each way that there is.
    settings(there, to, "in/tagged", &tagged, "tagging", NO_TAGS).await;
    settings(there, to, "in/held", &held, "legal-hold", "<LegalHold><Status>OFF</Status></LegalHold>").await;
    settings(there, to, "in/kept", &kept, "retention", "<Retention/>").await;
    remove(there, to, "in/two", &old).await;
    let marker = there.bucket("GET", to).query("versions", "").query("prefix", "in/gone").send().await;
    remove(there, to, "in/gone", &marker.xml("VersionId")).await;
    there.put(to, "in/extra", "x").await.expect(200);
    there.put(to, "out/extra", "x").await.expect(200);
    let copy = there.object("PUT", to, "in/tagged").header("x-amz-copy-source", &format!("/{to}/in/tagged"));
    copy.header("x-amz-metadata-directive", "REPLACE").header("x-amz-meta-color", "blue").send().await.expect(200);
    let broken = [
        "differs in/held: its legal hold (OFF there)",
        "differs in/kept: its retention (GOVERNANCE until 2099-01-01T00:00:00.000Z here, none there)",
        "differs in/tagged: its tags",
        "extra in/extra: an object, the newest of its key there",
        "extra in/tagged: an object, the newest of its key there",
        "missing in/gone: it had been brought there",
        "missing in/two: it had been brought there",
    ];
    let sorted = |mut found: Vec<String>| {
        found.sort();
        found
    };
    assert_eq!(sorted(verified(source, from, &[]).await), broken);
    let mended: Vec<String> = broken
        .iter()
        .map(|line| if line.starts_with("extra") { (*line).to_owned() } else { format!("+{line}") })
        .collect();
    assert_eq!(sorted(verified(source, from, &["--rule", "all", "--mend"]).await), sorted(mended));
    let began = Instant::now();
    loop {
        let left = verified(source, from, &[]).await;
        if left.iter().all(|line| line.starts_with("extra")) && left.len() == 2 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{left:?}");
    }
    let tags = there.object("GET", to, "in/tagged").query("versionId", &tagged).query("tagging", "").send().await;
    assert!(tags.expect(200).text().contains("<Key>a</Key>"));
    there.object("HEAD", to, "in/two").query("versionId", &old).send().await.expect(200);
    // What is extra stays.
    there.head(to, "in/extra").await.expect(200);
}

#[tokio::test]
async fn what_is_broken_at_another_server_is_named_and_mended() {
    let target = Cairn::start(Config::default());
    let source = Cairn::start(remote_at(&format!("http://{}", target.client().address)));
    let (here, there) = (source.client(), target.client());
    locked(&here, BUCKET).await;
    locked(&there, BUCKET).await;
    replicate(&here, BUCKET, "arn:aws:s3:there::copies", "<Prefix>in/</Prefix>").await;
    breaks_and_mends(&source, (&here, BUCKET), (&there, BUCKET)).await;
}

#[tokio::test]
async fn what_is_broken_in_another_bucket_is_named_and_mended() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    locked(&client, "source").await;
    locked(&client, "target").await;
    replicate(&client, "source", "arn:aws:s3:::target", "<Prefix>in/</Prefix>").await;
    breaks_and_mends(&cairn, (&client, "source"), (&client, "target")).await;
}

fn retention(mode: &str, year: u32) -> String {
    format!("<Retention><Mode>{mode}</Mode><RetainUntilDate>{year}-01-01T00:00:00Z</RetainUntilDate></Retention>")
}

/// What the target keeps by right, or the role may not bring, is told apart and stays.
async fn stays_by_right(source: &Cairn, (here, from): (&Client, &str), (there, to): (&Client, &str)) {
    let mut versions = Vec::new();
    for key in ["free", "governed", "held", "tagged"] {
        here.object("PUT", from, key).header("x-amz-tagging", "a=1").body("x").send().await.expect(200);
        versions.push(is_at_target(here, from, key).await);
    }
    let [free, governed, held, tagged] = &versions[..] else { panic!() };
    settings(here, from, "governed", governed, "retention", &retention("GOVERNANCE", 2090)).await;
    is_at_target(here, from, "governed").await;
    settings(there, to, "governed", governed, "retention", &retention("GOVERNANCE", 2099)).await;
    settings(there, to, "free", free, "retention", &retention("COMPLIANCE", 2090)).await;
    settings(there, to, "held", held, "legal-hold", "<LegalHold><Status>ON</Status></LegalHold>").await;
    settings(there, to, "tagged", tagged, "tagging", NO_TAGS).await;
    role(here, &format!(r#"{MAY_ALL},{{"Effect":"Deny","Action":"s3:GetObjectVersionTagging","Resource":"*"}}"#)).await;
    let of_2090 = "until 2090-01-01T00:00:00.000Z";
    let by_right = [
        format!("differs-by-right free: its retention (none here, COMPLIANCE {of_2090} there)"),
        format!(
            "differs-by-right governed: its retention (GOVERNANCE {of_2090} here, GOVERNANCE {} there)",
            of_2090.replace("2090", "2099")
        ),
        "differs-by-right held: its legal hold (ON there)".to_owned(),
        "differs-by-right tagged: its tags".to_owned(),
    ];
    for more in [&["--mend"][..], &[]] {
        assert_eq!(verified(source, from, more).await, by_right);
    }
    // Once the role may, what is its to bring is brought.
    role(here, MAY_ALL).await;
    let mended = [&by_right[..3], &["+differs tagged: its tags".to_owned()]].concat();
    assert_eq!(verified(source, from, &["--mend"]).await, mended);
    let tags = || there.object("HEAD", to, "tagged");
    until("the tags", tags, |reply| reply.header("x-amz-tagging-count") == Some("1")).await;
}

#[tokio::test]
async fn what_another_server_keeps_by_right_is_told_apart_and_not_mended() {
    let target = Cairn::start(Config::default());
    let source = Cairn::start(remote_at(&format!("http://{}", target.client().address)));
    let (here, there) = (source.client(), target.client());
    locked(&here, BUCKET).await;
    locked(&there, BUCKET).await;
    replicate(&here, BUCKET, "arn:aws:s3:there::copies", "").await;
    stays_by_right(&source, (&here, BUCKET), (&there, BUCKET)).await;
}

#[tokio::test]
async fn what_another_bucket_keeps_by_right_is_told_apart_and_not_mended() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    locked(&client, "source").await;
    locked(&client, "target").await;
    replicate(&client, "source", "arn:aws:s3:::target", "").await;
    stays_by_right(&cairn, (&client, "source"), (&client, "target")).await;
}

#[tokio::test]
async fn what_the_role_may_not_read_is_not_compared_and_the_audit_log_says_so() {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    versioned(&client, "source").await;
    versioned(&client, "target").await;
    replicate(&client, "source", "arn:aws:s3:::target", "").await;
    client.put("source", "key", "x").await.expect(200);
    is_at_target(&client, "source", "key").await;
    assert_eq!(verified(&cairn, "source", &[]).await, Vec::<String>::new());
    role(&client, r#"{"Effect":"Allow","Action":"s3:Replicate*","Resource":"*"}"#).await;
    // The audit log is told of one change a second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let found = verified(&cairn, "source", &["--mend"]).await;
    assert!(matches!(&found[..], [only] if only.starts_with("unreadable key: SrcGetObjectNotPermitted")), "{found:?}");
    cairn.stop();
    let files = files_below(&cairn.data_dir().join("audit"));
    let log: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let decisions: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["operation"] == "VerifyReplica")
        .map(|line| line["decision"].clone())
        .collect();
    assert_eq!(decisions, ["allowed", "denied"]);
}

#[tokio::test]
async fn what_no_rule_takes_or_is_still_on_its_way_is_no_difference() {
    let target = Cairn::start(Config::default());
    let proxy = Proxy::new();
    proxy.leads_to(target.client().address);
    let source = Cairn::start(remote_at(&proxy.url()));
    let (here, there) = (source.client(), target.client());
    locked(&here, BUCKET).await;
    locked(&there, BUCKET).await;
    here.put(BUCKET, "before", "x").await.expect(200);
    replicate(&here, BUCKET, "arn:aws:s3:there::copies", "").await;
    here.put(BUCKET, "there", "x").await.expect(200);
    is_at_target(&here, BUCKET, "there").await;
    assert_eq!(verified(&source, BUCKET, &[]).await, Vec::<String>::new());
    // While the target is down, nothing is concluded from that.
    proxy.set_cut(true);
    here.put(BUCKET, "waits", "x").await.expect(200);
    let (_, job) = command(&source, &["verify", "--bucket", BUCKET]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let shown = source.calling_command(&["jobs", "show", &job]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("running") && shown.contains("last error"), "{shown}");
    proxy.set_cut(false);
    ended(&source, &job).await;
    assert_eq!(report(&source, BUCKET, &job), Vec::<String>::new());
    // What a rule asks for that was there before it is missing, and is brought.
    let existing = "<ExistingObjectReplication><Status>Enabled</Status></ExistingObjectReplication>";
    replicate_again(&here, existing).await;
    let missing = "missing before: it was there before the rule, and has not been brought";
    assert_eq!(verified(&source, BUCKET, &[]).await, [missing]);
    assert_eq!(verified(&source, BUCKET, &["--mend"]).await, [format!("+{missing}")]);
    is_at_target(&here, BUCKET, "before").await;
    there.head(BUCKET, "before").await.expect(200);
}

/// Puts the rule once more, with more.
async fn replicate_again(client: &Client, more: &str) {
    let rules = client.bucket("GET", BUCKET).query("replication", "").send().await.expect(200).text();
    let rules = rules.replace("</Status><Destination>", &format!("</Status>{more}<Destination>"));
    assert!(rules.contains(more), "{rules}");
    client.bucket("PUT", BUCKET).query("replication", "").body(rules).send().await.expect(200);
}

#[tokio::test]
async fn a_verification_that_a_crash_cuts_short_goes_on_and_finds_everything_once() {
    let target = Cairn::start(Config::default());
    let proxy = Proxy::new();
    proxy.leads_to(target.client().address);
    let mut source = Cairn::start(remote_at(&proxy.url()));
    let (here, there) = (source.client(), target.client());
    locked(&here, BUCKET).await;
    locked(&there, BUCKET).await;
    replicate(&here, BUCKET, "arn:aws:s3:there::copies", "").await;
    const KEYS: usize = 1_200;
    let keys: Vec<String> = (0..KEYS).map(|key| format!("key-{key:04}")).collect();
    for chunk in keys.chunks(50) {
        futures::future::join_all(chunk.iter().map(|key| here.put(BUCKET, key, "x"))).await;
    }
    for key in &keys {
        is_at_target(&here, BUCKET, key).await;
    }
    for key in keys.iter().step_by(100) {
        let version = there.head(BUCKET, key).await.header("x-amz-version-id").unwrap().to_owned();
        remove(&there, BUCKET, key, &version).await;
    }
    proxy.set_delay(Duration::from_millis(5));
    let (_, job) = command(&source, &["verify", "--bucket", BUCKET]);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        source.kill9();
        source.start_again();
    }
    proxy.set_delay(Duration::ZERO);
    let line = ended(&source, &job).await;
    assert!(line.contains(&format!("examined {KEYS} ")), "{line}");
    let expected: Vec<String> =
        keys.iter().step_by(100).map(|key| format!("missing {key}: it had been brought there")).collect();
    assert_eq!(report(&source, BUCKET, &job), expected);
}

#[tokio::test]
async fn what_is_broken_at_a_server_with_ids_of_its_own_is_named_and_its_newest_versions_are_mended() {
    let foreign = match Foreign::start().await {
        Ok(foreign) => foreign,
        Err(reason) => skip!("{reason}"),
    };
    let there = foreign.client();
    let source = Cairn::start(remote_at(&format!("http://{}", foreign.address)));
    let here = source.client();
    locked(&here, BUCKET).await;
    versioned(&there, BUCKET).await;
    replicate(&here, BUCKET, "arn:aws:s3:there::copies", "").await;
    for key in ["lost", "covered", "two", "two", "fine"] {
        here.put(BUCKET, key, key).await.expect(200);
        is_at_target(&here, BUCKET, key).await;
    }
    assert_eq!(verified(&source, BUCKET, &[]).await, Vec::<String>::new());
    let lost = there.head(BUCKET, "lost").await.header("x-amz-version-id").unwrap().to_owned();
    remove(&there, BUCKET, "lost", &lost).await;
    there.put(BUCKET, "covered", "by another").await.expect(200);
    let two =
        there.bucket("GET", BUCKET).query("versions", "").query("prefix", "two").send().await.xml_all("VersionId");
    remove(&there, BUCKET, "two", two.last().unwrap()).await;
    there.put(BUCKET, "unknown", "x").await.expect(200);
    let found = verified(&source, BUCKET, &["--mend"]).await;
    let expected = [
        "+differs covered: it is not the newest of its key there",
        "extra covered: an object",
        "+missing lost: it had been brought there",
        // Brought now, it would be the newest there.
        "missing two: it had been brought there",
        "extra unknown: an object",
    ];
    assert_eq!(found, expected);
    is_at_target(&here, BUCKET, "lost").await;
    is_at_target(&here, BUCKET, "covered").await;
    assert_eq!(there.get(BUCKET, "lost").await.text(), "lost");
    assert_eq!(there.get(BUCKET, "covered").await.text(), "covered");
    let left = verified(&source, BUCKET, &[]).await;
    assert!(left.iter().all(|line| !line.contains("lost") && !line.starts_with("differs")), "{left:?}");
}
