//! Targets at servers that are no Cairns: what they say of themselves may be wrong the next moment, or little.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use cairn_tests::foreign::Foreign;
use cairn_tests::patience::{until, until_said};
use cairn_tests::replication::{MAY_ALL, Rule, STATUS, put_rules, remote, role, versioned};
use cairn_tests::{Cairn, Client, Config, skip};

const BUCKET: &str = "copies";

async fn source_of(address: SocketAddr) -> (Cairn, Client) {
    let source = Cairn::start(Config { more: remote("there", &format!("http://{address}")), ..Config::default() });
    let here = source.client();
    versioned(&here, BUCKET).await;
    let role_arn = role(&here, MAY_ALL).await;
    let rule = Rule { target: "arn:aws:s3:there::copies", ..Rule::default() };
    put_rules(&here, BUCKET, &role_arn, &[rule]).send().await.expect(200);
    (source, here)
}

async fn set_versioning(client: &Client, status: &str) {
    let document = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
    client.bucket("PUT", BUCKET).query("versioning", "").body(document).send().await.expect(200);
}

async fn completed(client: &Client, key: &str) {
    let head = || client.object("HEAD", BUCKET, key);
    until(&format!("{key} there"), head, |reply| reply.header(STATUS) == Some("COMPLETED")).await;
}

/// The output of a command of `cairn replicate`, or of `cairn jobs`.
fn said(cairn: &Cairn, arguments: &[&str]) -> String {
    let output = cairn.calling_command(arguments).output().unwrap();
    assert!(output.status.code().is_some_and(|code| code < 2), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test]
async fn what_went_into_a_bucket_that_had_been_suspended_is_there_once_and_the_rest_waits() {
    let foreign = match Foreign::start().await {
        Ok(foreign) => foreign,
        Err(reason) => skip!("{reason}"),
    };
    let there = foreign.client();
    versioned(&there, BUCKET).await;
    let (source, here) = source_of(foreign.address).await;
    here.put(BUCKET, "before", "x").await.expect(200);
    completed(&here, "before").await;
    // It is believed to keep versions.
    set_versioning(&there, "Suspended").await;
    here.put(BUCKET, "first", "first").await.expect(200);
    let status = || said(&source, &["replicate", "status", "--bucket", BUCKET]);
    until_said("the refusal", status, |said| said.contains("the versioning of the bucket")).await;
    here.put(BUCKET, "second", "second").await.expect(200);
    for key in ["first", "second"] {
        assert_eq!(here.head(BUCKET, key).await.header(STATUS), Some("PENDING"), "{key}");
    }
    there.head(BUCKET, "second").await.expect(404);
    set_versioning(&there, "Enabled").await;
    for key in ["first", "second"] {
        completed(&here, key).await;
        assert_eq!(there.get(BUCKET, key).await.expect(200).text(), key);
    }
    let listed = there.bucket("GET", BUCKET).query("versions", "").send().await.expect(200);
    assert_eq!(listed.xml_all("Key"), ["before", "first", "second"]);
    // Nor does a verification take it for something else.
    let job = said(&source, &["replicate", "verify", "--bucket", BUCKET]);
    until_said("its end", || said(&source, &["jobs", "show", &job]), |said| said.contains(" done ")).await;
    assert_eq!(said(&source, &["replicate", "verify-report", "--bucket", BUCKET, "--job", &job]), "");
}

#[tokio::test]
async fn tags_are_compared_and_brought_again() {
    let foreign = match Foreign::start().await {
        Ok(foreign) => foreign,
        Err(reason) => skip!("{reason}"),
    };
    let there = foreign.client();
    versioned(&there, BUCKET).await;
    let (source, here) = source_of(foreign.address).await;
    for key in ["changed", "fine"] {
        here.object("PUT", BUCKET, key).header("x-amz-tagging", "a=1&b=2").body("x").send().await.expect(200);
        completed(&here, key).await;
    }
    let other = "<Tagging><TagSet><Tag><Key>a</Key><Value>other</Value></Tag></TagSet></Tagging>";
    there.object("PUT", BUCKET, "changed").query("tagging", "").body(other).send().await.expect(200);
    let verify = |more: &'static [&'static str]| {
        let source = &source;
        async move {
            let job = said(source, &[&["replicate", "verify", "--bucket", BUCKET], more].concat());
            until_said("its end", || said(source, &["jobs", "show", &job]), |said| said.contains(" done ")).await;
            said(source, &["replicate", "verify-report", "--bucket", BUCKET, "--job", &job])
        }
    };
    let found = verify(&["--mend"]).await;
    assert!(found.starts_with("differs at ") && found.contains(": changed ") && !found.contains('\n'), "{found}");
    completed(&here, "changed").await;
    let tags = there.object("GET", BUCKET, "changed").query("tagging", "").send().await.expect(200);
    assert_eq!(tags.xml_all("Key"), ["a", "b"]);
    assert_eq!(verify(&[]).await, "");
    // What the role may not bring is no fault of the target's.
    there.object("PUT", BUCKET, "changed").query("tagging", "").body(other).send().await.expect(200);
    role(&here, &format!(r#"{MAY_ALL},{{"Effect":"Deny","Action":"s3:ReplicateTags","Resource":"*"}}"#)).await;
    let found = verify(&["--mend"]).await;
    assert!(found.starts_with("differs-by-right at ") && !found.contains("brought"), "{found}");
}

#[tokio::test]
async fn a_version_that_bears_the_name_of_another_one_gets_its_own() {
    let foreign = match Foreign::start().await {
        Ok(foreign) => foreign,
        Err(reason) => skip!("{reason}"),
    };
    let there = foreign.client();
    versioned(&there, BUCKET).await;
    let (_source, here) = source_of(foreign.address).await;
    let put = here.object("PUT", BUCKET, "key").header("x-amz-meta-cairn-version-id", "another").body("x");
    let version = put.send().await.expect(200).header("x-amz-version-id").unwrap().to_owned();
    completed(&here, "key").await;
    let replica = there.head(BUCKET, "key").await.expect(200);
    assert_eq!(replica.header("x-amz-meta-cairn-version-id"), Some(version.as_str()));
}

#[tokio::test]
async fn what_was_put_over_a_version_under_its_name_is_not_taken_for_it() {
    let foreign = match Foreign::start().await {
        Ok(foreign) => foreign,
        Err(reason) => skip!("{reason}"),
    };
    let there = foreign.client();
    versioned(&there, BUCKET).await;
    let (source, here) = source_of(foreign.address).await;
    let version = here.put(BUCKET, "key", "true").await.expect(200).header("x-amz-version-id").unwrap().to_owned();
    completed(&here, "key").await;
    let over = there.object("PUT", BUCKET, "key").header("x-amz-meta-cairn-version-id", &version);
    over.body("another").send().await.expect(200);
    said(&source, &["replicate", "verify", "--bucket", BUCKET, "--mend"]);
    let got = || there.object("GET", BUCKET, "key");
    until("the version on top", got, |reply| reply.text() == "true").await;
}

/// A server that keeps no objects, and lets nobody list its bucket; what it was asked for.
fn secretive() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let all = Arc::clone(&all);
            std::thread::spawn(move || serve(stream, &all));
        }
    });
    (address, asked)
}

fn serve(stream: TcpStream, asked: &Mutex<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    while let Some((request, length)) = read_head(&mut stream) {
        if stream.by_ref().take(length).read_to_end(&mut Vec::new()).is_err() {
            return;
        }
        let count = {
            let mut asked = asked.lock().unwrap();
            asked.push(request.clone());
            asked.len()
        };
        let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        let (status, headers, body) = match request.as_str() {
            "HEAD /copies/" => (403, String::new(), ""),
            request if request.starts_with("GET /copies/?versioning") => (200, String::new(), enabled),
            request if request.starts_with("HEAD ") => (404, String::new(), ""),
            _ => (200, format!("etag: \"x\"\r\nx-amz-version-id: v{count}\r\n"), ""),
        };
        let answer = format!("HTTP/1.1 {status} Answer\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
        if stream.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Method and target of the next request, and how long its body is.
fn read_head(stream: &mut BufReader<TcpStream>) -> Option<(String, u64)> {
    let (mut request, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            return request.map(|request| (request, length));
        }
        if request.is_none() {
            request = line.rsplit_once(' ').map(|(request, _)| request.to_owned());
        } else if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = bytes.parse().ok()?;
        }
    }
}

#[tokio::test]
async fn a_bucket_that_may_not_be_listed_is_not_asked_about_itself_for_each_version() {
    let (address, asked) = secretive();
    let (_source, here) = source_of(address).await;
    for key in ["a", "b", "c", "d", "e"] {
        here.put(BUCKET, key, "x").await.expect(200);
        completed(&here, key).await;
    }
    let asked = asked.lock().unwrap();
    let about_bucket = asked.iter().filter(|asked| asked.ends_with("/copies/") || asked.contains("/copies/?"));
    assert_eq!(about_bucket.count(), 2, "{asked:?}");
}
