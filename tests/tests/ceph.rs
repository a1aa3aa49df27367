//! Ceph's S3 gateway, which is no Cairn and no mock: as a target of replication, and as the place of a storage tier.
//!
//! The cluster is one monitor, one OSD that has everything in memory, and one gateway, of Debian's packages.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use cairn_tests::multipart::{PART_BYTES_MIN, Upload};
use cairn_tests::patience::{until, until_said};
use cairn_tests::random::body;
use cairn_tests::replication::{MAY_ALL, Rule, STATUS, put_rules, remote_as, role, versioned};
use cairn_tests::sigv4::Credentials;
use cairn_tests::{Cairn, Client, Config, Reply, skip};
use tempfile::TempDir;

const BUCKET: &str = "copies";
const ACCESS_KEY: &str = "ceph-test-access";
const SECRET_KEY: &str = "ceph-test-secret-key-0000000000000001";
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How often a process that ends is started again: an OSD gives up if it asks its monitor for something before it knows the cluster.
const RESTARTS_MAX: usize = 50;

/// A running cluster; it ends with this value.
struct Ceph {
    processes: Vec<Process>,
    restarts: usize,
    directory: TempDir,
    address: SocketAddr,
}

/// A part of a cluster, and what it was started with.
struct Process {
    child: Child,
    program: &'static str,
    arguments: &'static [&'static str],
}

impl Ceph {
    /// The one that the tests of this file share: it runs while any of them holds it.
    fn shared() -> Result<Arc<Ceph>, String> {
        static SHARED: Mutex<Weak<Ceph>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return Ok(running);
        }
        Ceph::check_installed()?;
        let started = Arc::new(Ceph::start()?);
        *shared = Arc::downgrade(&started);
        Ok(started)
    }

    /// The error says which of its programs is not here.
    fn check_installed() -> Result<(), String> {
        for program in ["ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin"] {
            let found = Command::new(program).arg("--version").output();
            if !found.is_ok_and(|output| output.status.success()) {
                return Err(format!("{program} is not installed"));
            }
        }
        Ok(())
    }

    /// The error says what went wrong.
    fn start() -> Result<Ceph, String> {
        let directory = tempfile::Builder::new().prefix("cairn-ceph-").tempdir().unwrap();
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let (monitor, address) = (free(), free());
        let (cluster, disk) = ("9c3f2b7e-6f0e-4d0c-8f5e-0c6d5d2a7f11", "5f1d9a52-4f0e-4b5c-9f6c-2f4f8a1c3d22");
        let at = directory.path();
        fs::write(at.join("ceph.conf"), conf(at, cluster, monitor, address)).unwrap();
        File::create(at.join("keyring")).unwrap();
        for folder in ["mon", "osd", "run"] {
            fs::create_dir(at.join(folder)).unwrap();
        }
        let (map, monitors) = (at.join("monmap").display().to_string(), format!("[v1:{monitor}]"));
        let mut ceph = Ceph { processes: Vec::new(), restarts: 0, directory, address };
        ceph.run("monmaptool", &["--create", "--fsid", cluster, "--addv", "a", &monitors, &map])?;
        ceph.run("ceph-mon", &["--mkfs", "-i", "a", "--monmap", &map])?;
        ceph.spawn("ceph-mon", &["-i", "a", "-f"]);
        // The same however often; a monitor that has just started refuses now and then.
        let began = Instant::now();
        while let Err(error) = ceph.run("ceph", &["--connect-timeout", "60", "osd", "new", disk]) {
            if began.elapsed() > START_TIMEOUT {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        ceph.run("ceph-osd", &["-i", "0", "--mkfs", "--osd-uuid", disk])?;
        ceph.spawn("ceph-osd", &["-i", "0", "-f"]);
        let user = ["--uid=cairn", "--display-name=Cairn", "--access-key", ACCESS_KEY, "--secret", SECRET_KEY];
        ceph.run("radosgw-admin", &[&["-n", "client.rgw.x", "user", "create"], &user[..]].concat())?;
        ceph.spawn("radosgw", &["-n", "client.rgw.x", "-f"]);
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if began.elapsed() > START_TIMEOUT {
                return Err("radosgw does not answer".to_owned());
            }
            ceph.keep_running();
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(ceph)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.directory.path().join("ceph.conf")).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end. The cluster's processes are kept running: without them it would wait for ever.
    fn run(&mut self, program: &str, arguments: &[&str]) -> Result<(), String> {
        let mut child = self.spawned(program, arguments);
        let began = Instant::now();
        let reason = loop {
            match child.try_wait().unwrap() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => break status.to_string(),
                None if began.elapsed() > START_TIMEOUT => break "it does not end".to_owned(),
                None => {}
            }
            self.keep_running();
            std::thread::sleep(Duration::from_millis(20));
        };
        // An error says that it has ended already.
        let _ = child.kill();
        let _ = child.wait();
        let output = fs::read_to_string(self.output_of(program)).unwrap_or_default();
        Err(format!("{program}: {reason}: {}", output.trim()))
    }

    fn keep_running(&mut self) {
        let mut processes = std::mem::take(&mut self.processes);
        for process in &mut processes {
            if self.restarts < RESTARTS_MAX && process.child.try_wait().unwrap().is_some() {
                self.restarts += 1;
                process.child = self.spawned(process.program, process.arguments);
            }
        }
        self.processes = processes;
    }

    fn spawn(&mut self, program: &'static str, arguments: &'static [&'static str]) {
        let child = self.spawned(program, arguments);
        self.processes.push(Process { child, program, arguments });
    }

    fn spawned(&self, program: &str, arguments: &[&str]) -> Child {
        let output = File::create(self.output_of(program)).unwrap();
        let mut command = self.command(program, arguments);
        command.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap()
    }

    fn output_of(&self, program: &str) -> PathBuf {
        self.directory.path().join(format!("{program}.out"))
    }

    fn client(&self) -> Client {
        let credentials = Credentials { access_key: ACCESS_KEY.into(), secret_key: SECRET_KEY.into(), token: None };
        Client { address: self.address, credentials }
    }

    fn remote(&self) -> String {
        remote_as("there", &format!("http://{}", self.address), ACCESS_KEY, SECRET_KEY)
    }
}

impl Drop for Ceph {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            // An error says that it has ended already.
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

fn conf(at: &Path, cluster: &str, monitor: SocketAddr, gateway: SocketAddr) -> String {
    let at = at.display();
    format!(
        "[global]\nfsid = {cluster}\nmon host = v1:{monitor}\npublic addr = 127.0.0.1\ncluster addr = 127.0.0.1\n\
         ms bind msgr2 = false\nauth cluster required = none\nauth service required = none\nauth client required = none\n\
         osd pool default size = 1\nosd pool default min size = 1\nosd pool default pg num = 4\nosd pool default pgp num = 4\n\
         mon allow pool size one = true\nmon max pg per osd = 2000\nosd crush chooseleaf type = 0\nosd objectstore = memstore\n\
         memstore device bytes = 1073741824\nmon data avail crit = 1\nmon data avail warn = 2\nmon data = {at}/mon\n\
         osd data = {at}/osd\nrun dir = {at}/run\nadmin socket = {at}/run/$name.asok\npid file = {at}/run/$name.pid\n\
         log file = {at}/$name.log\nkeyring = {at}/keyring\n\
         [client.rgw.x]\nrgw frontends = beast endpoint={gateway}\n"
    )
}

fn command(cairn: &Cairn, arguments: &[&str]) -> String {
    let output = cairn.calling_command(arguments).output().unwrap();
    // 1 says that something was found.
    assert!(output.status.code().is_some_and(|code| code < 2), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs a walk of replication to its end.
async fn walk(cairn: &Cairn, kind: &[&str]) -> String {
    let job = command(cairn, &[&["replicate"], kind, &["--bucket", BUCKET, "--rule", "all"]].concat());
    until_said(
        &format!("the end of {kind:?}"),
        || command(cairn, &["jobs", "show", &job]),
        |said| said.contains(" done "),
    )
    .await
}

/// Every version as a listing shows it, but for its id and time.
async fn versions(client: &Client) -> Vec<[String; 4]> {
    let listed = client.bucket("GET", BUCKET).query("versions", "").send().await.expect(200);
    let all = |name: &str| listed.xml_all(name);
    let plain = |etag: String| etag.replace("&quot;", "").replace('"', "");
    let mut etags = all("ETag").into_iter().zip(all("Size"));
    // Delete markers have neither.
    let markers = listed.text();
    let is_marker = markers.split("<Key>").skip(1).map(|entry| !entry.contains("<ETag>"));
    let mut versions: Vec<[String; 4]> = all("Key")
        .into_iter()
        .zip(all("IsLatest"))
        .zip(is_marker)
        .map(|((key, latest), is_marker)| {
            let (etag, size) = if is_marker { Default::default() } else { etags.next().unwrap() };
            [key, latest, plain(etag), size]
        })
        .collect();
    versions.sort();
    versions
}

async fn carried(client: &Client, key: &str) -> Reply {
    let head = || client.object("HEAD", BUCKET, key);
    until(&format!("the replication of {key}"), head, |reply| reply.header(STATUS) == Some("COMPLETED")).await
}

#[tokio::test]
async fn versions_arrive_at_ceph_in_their_order_and_what_it_loses_is_mended() {
    let ceph = match Ceph::shared() {
        Ok(ceph) => ceph,
        Err(reason) => skip!("{reason}"),
    };
    let source = Cairn::start(Config { more: ceph.remote(), ..Config::default() });
    let (here, there) = (source.client(), ceph.client());
    for client in [&here, &there] {
        versioned(client, BUCKET).await;
    }
    for text in ["old 1", "old 2"] {
        here.put(BUCKET, "old", text).await.expect(200);
    }
    let rule = Rule { target: "arn:aws:s3:there::copies", ..Rule::default() };
    put_rules(&here, BUCKET, &role(&here, MAY_ALL).await, &[rule]).send().await.expect(200);
    let put = here.object("PUT", BUCKET, "key").header("x-amz-meta-colour", "red").header("x-amz-tagging", "a=1");
    put.header("content-type", "text/x").body("one").send().await.expect(200);
    for text in ["two", "three"] {
        here.put(BUCKET, "key", text).await.expect(200);
    }
    here.put(BUCKET, "large", body(1, 300_000)).await.expect(200);
    here.put(BUCKET, "odd/ key+ü&<%41>", "odd").await.expect(200);
    here.put(BUCKET, "gone", "x").await.expect(200);
    here.delete(BUCKET, "gone").await.expect(204);
    let upload = Upload::create(&here, BUCKET, "parts").await;
    let mut parts = Vec::new();
    for number in 1..=2 {
        parts.push((number, upload.upload(number, body(number.into(), PART_BYTES_MIN)).await));
    }
    upload.complete(&parts).send().await.expect(200);
    for key in ["key", "large", "odd/ key+ü&<%41>", "parts"] {
        carried(&here, key).await;
        assert!(there.get(BUCKET, key).await.body == here.get(BUCKET, key).await.body, "{key}");
    }
    walk(&source, &["backfill"]).await;
    carried(&here, "old").await;
    let status = || command(&source, &["replicate", "status", "--bucket", BUCKET]);
    until_said("the end of all", status, |said| said.contains(": 0 pending") && said.contains(" 0 failed")).await;
    assert_eq!(versions(&here).await, versions(&there).await);
    let tags = "<Tagging><TagSet><Tag><Key>late</Key><Value>r</Value></Tag></TagSet></Tagging>";
    here.object("PUT", BUCKET, "key").query("tagging", "").body(tags).send().await.expect(200);
    let tags_there = || there.object("GET", BUCKET, "key").query("tagging", "");
    until("the later tag", tags_there, |reply| reply.text().contains("late")).await;
    let verified = walk(&source, &["verify"]).await;
    assert!(verified.contains(" failed 0 "), "{verified}");
    let lost = there.head(BUCKET, "large").await.header("x-amz-version-id").unwrap().to_owned();
    there.object("DELETE", BUCKET, "large").query("versionId", &lost).send().await.expect(204);
    let verified = walk(&source, &["verify", "--mend"]).await;
    assert!(verified.contains(" failed 1 "), "{verified}");
    let large = || there.object("GET", BUCKET, "large");
    until("its return", large, |reply| reply.status == 200 && reply.body == body(1, 300_000)).await;
}

#[tokio::test]
async fn a_tier_in_ceph_holds_a_class_and_is_read_from_after_a_restart() {
    let ceph = match Ceph::shared() {
        Ok(ceph) => ceph,
        Err(reason) => skip!("{reason}"),
    };
    let there = ceph.client();
    there.bucket("PUT", "tier").send().await.expect(200);
    let tier = "\n[[tier]]\nname = \"far\"\nremote = \"there\"\nbucket = \"tier\"\nprefix = \"n/\"\nclasses = [\"GLACIER_IR\"]\n";
    let mut cairn = Cairn::start(Config { more: ceph.remote() + tier, ..Config::default() });
    let client = cairn.client();
    let bucket = client.fresh_bucket("ceph-tier").await;
    let sizes = [("small", 100_000), ("in-parts", 10 << 20)];
    for (key, size) in sizes {
        let put = client.object("PUT", &bucket, key).header("x-amz-storage-class", "GLACIER_IR");
        put.unsigned_payload().body(body(2, size)).send().await.expect(200);
    }
    let listed = || there.bucket("GET", "tier").query("list-type", "2").query("prefix", "n/");
    // With the tier's own marker.
    until("both files there", listed, |reply| reply.xml_all("Key").len() == 3).await;
    cairn.restart();
    let client = cairn.client();
    for (key, size) in sizes {
        assert!(client.get(&bucket, key).await.expect(200).body == body(2, size), "{key}");
        client.delete(&bucket, key).await.expect(204);
    }
    until("their removal", listed, |reply| reply.xml_all("Key").len() == 1).await;
}
