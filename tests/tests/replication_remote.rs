//! Replication between servers: what travels, and what becomes of it when servers, networks, disks and permissions fail.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::{Duration, Instant};

use cairn_tests::foreign::Foreign;
use cairn_tests::multipart::{PART_BYTES_MIN, Upload};
use cairn_tests::patience::until_said;
use cairn_tests::proxy::Proxy;
use cairn_tests::random::body;
use cairn_tests::replication::{self, PATIENCE, STATUS, remote, remote_as, versioned};
use cairn_tests::{Cairn, Client, Config, Random, Reply, skip};

const BUCKET: &str = "copies";

/// How often one of two servers, or the network between them, fails.
const CYCLES: u64 = 20;

/// The same with `CAIRN_SOAK=1`.
const SOAK_CYCLES: u64 = 500;

fn config(more: String) -> Config {
    Config { more, ..Config::default() }
}

async fn iam(client: &Client, action: &str, parameters: &[(&str, &str)]) -> Reply {
    client.action("iam", action, parameters).send().await.expect(200)
}

/// Replicates the bucket to those of these remotes.
async fn replicate(client: &Client, bucket: &str, remotes: &[&str]) {
    let targets: Vec<String> = remotes.iter().map(|remote| format!("arn:aws:s3:{remote}::{BUCKET}")).collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    replication::replicate(client, bucket, &targets).await;
}

/// A source and its target behind a proxy, with the bucket on both.
async fn pair() -> (Cairn, Cairn, Proxy) {
    let proxy = Proxy::new();
    let target = Cairn::start(Config::default());
    proxy.leads_to(target.client().address);
    let source = Cairn::start(config(remote("there", &proxy.url())));
    versioned(&target.client(), BUCKET).await;
    versioned(&source.client(), BUCKET).await;
    replicate(&source.client(), BUCKET, &["there"]).await;
    (source, target, proxy)
}

async fn history(client: &Client) -> Option<Vec<Vec<String>>> {
    replication::history(client, BUCKET).await
}

/// Waits until all of these have the same history; how many versions that is.
async fn converged(clients: &[&Client]) -> usize {
    replication::converged(clients, BUCKET).await
}

async fn until(what: &str, client: &Client, key: &str, wished: impl Fn(&Reply) -> bool) -> Reply {
    replication::until(&format!("{what} of {key}"), || client.object("HEAD", BUCKET, key), wished).await
}

async fn is_at_target(client: &Client, key: &str) -> Reply {
    until("its replication", client, key, |reply| reply.header(STATUS) == Some("COMPLETED")).await
}

#[tokio::test]
async fn versions_arrive_at_another_server_as_they_are() {
    let (source, target, _proxy) = pair().await;
    let (here, there) = (source.client(), target.client());
    let put = here.object("PUT", BUCKET, "small").header("content-type", "text/x").header("x-amz-meta-name", "café");
    put.header("x-amz-tagging", "a=1&b=%C3%BC").body("small").send().await.expect(200);
    for seed in 0..3 {
        here.put(BUCKET, "large", body(seed, 300_000)).await.expect(200);
    }
    here.put(BUCKET, "empty", "").await.expect(200);
    here.put(BUCKET, "gone", "x").await.expect(200);
    here.delete(BUCKET, "gone").await.expect(204);
    here.put(BUCKET, "odd/ key+ü&<%41>", "odd").await.expect(200);
    let upload = Upload::create(&here, BUCKET, "parts").await;
    let mut parts = Vec::new();
    for number in 1..=2 {
        parts.push((number, upload.upload(number, body(number.into(), PART_BYTES_MIN)).await));
    }
    upload.complete(&parts).send().await.expect(200);
    assert_eq!(converged(&[&here, &there]).await, 9);
    for key in ["small", "large", "empty", "parts", "odd/ key+ü&<%41>"] {
        let (head, replica) = (is_at_target(&here, key).await, there.head(BUCKET, key).await.expect(200));
        assert_eq!(replica.header(STATUS), Some("REPLICA"));
        for header in ["content-type", "x-amz-meta-name", "x-amz-tagging-count", "last-modified", "x-amz-version-id"] {
            assert_eq!(replica.header(header), head.header(header), "{key}: {header}");
        }
        let checksum = |client: &Client| client.object("HEAD", BUCKET, key).header("x-amz-checksum-mode", "ENABLED");
        let (one, other) = (checksum(&here).send().await, checksum(&there).send().await);
        assert!(one.header("x-amz-checksum-crc64nvme").is_some());
        assert_eq!(one.header("x-amz-checksum-crc64nvme"), other.header("x-amz-checksum-crc64nvme"), "{key}");
        assert!(here.get(BUCKET, key).await.body == there.get(BUCKET, key).await.body, "{key}");
    }
    let part = there.object("GET", BUCKET, "parts").query("partNumber", "2").send().await.expect(206);
    assert!(part.body == body(2, PART_BYTES_MIN));
    // What changes later about a version follows it.
    let tags = "<Tagging><TagSet><Tag><Key>late</Key><Value>r</Value></Tag></TagSet></Tagging>";
    here.object("PUT", BUCKET, "small").query("tagging", "").body(tags).send().await.expect(200);
    until("the tag", &there, "small", |reply| reply.header("x-amz-tagging-count") == Some("1")).await;
    assert!(there.upload_ids(BUCKET).await.is_empty());
}

#[tokio::test]
async fn failures_of_either_server_and_the_network_lose_nothing_and_double_nothing() {
    let (mut source, mut target, proxy) = pair().await;
    let mut random = Random::new(11);
    let mut acknowledged = 0;
    let soak = std::env::var("CAIRN_SOAK").is_ok_and(|value| value == "1");
    for cycle in 0..if soak { SOAK_CYCLES } else { CYCLES } {
        let (here, fault) = (source.client(), random.number() % 4);
        if fault == 3 {
            proxy.set_break_after(random.number() % 150_000);
        }
        let writes = (0..6_u64).map(|write| {
            let (client, size) = (here.clone(), [10, 3_000, 120_000][usize::try_from(write % 3).unwrap()]);
            let key = format!("key-{}", (cycle + write) % 5);
            tokio::spawn(async move {
                let write = match write % 4 {
                    3 => client.object("DELETE", BUCKET, &key).try_send().await,
                    _ => client.object("PUT", BUCKET, &key).body(body(cycle, size)).try_send().await,
                };
                write.is_ok_and(|reply| reply.status < 300)
            })
        });
        let writes: Vec<_> = writes.collect();
        tokio::time::sleep(Duration::from_millis(random.number() % 150)).await;
        match fault {
            0 => {
                source.kill9();
                source.start_again();
            }
            1 => {
                target.kill9();
                target.start_again();
                proxy.leads_to(target.client().address);
            }
            2 => proxy.break_all(),
            _ => {}
        }
        for write in writes {
            acknowledged += usize::from(write.await.unwrap());
        }
        proxy.set_break_after(0);
    }
    let versions = converged(&[&source.client(), &target.client()]).await;
    assert!(versions >= acknowledged && acknowledged > 40, "{versions} versions of {acknowledged}");
    for key in 0..5 {
        let key = format!("key-{key}");
        let (one, other) = (source.client().get(BUCKET, &key).await, target.client().get(BUCKET, &key).await);
        // What says that there is none has a request's id in it.
        assert!(one.status == other.status && (one.status == 404 || one.body == other.body), "{key}");
    }
    for cairn in [&mut source, &mut target] {
        cairn.stop();
        let (status, said) = cairn.check();
        assert_eq!(status, Some(0), "{said}");
    }
}

#[tokio::test]
async fn servers_that_replicate_in_a_ring_end_the_same_whoever_wrote_what() {
    let proxies = [Proxy::new(), Proxy::new(), Proxy::new()];
    // Each brings its versions to both of the others: what is a replica goes no further.
    let servers: Vec<Cairn> = (0..3)
        .map(|own| {
            let others = (0..3).filter(|other| *other != own);
            let remotes: String = others.map(|other| remote(&format!("r{other}"), &proxies[other].url())).collect();
            Cairn::start(config(remotes))
        })
        .collect();
    let clients: Vec<Client> = servers.iter().map(Cairn::client).collect();
    for (own, client) in clients.iter().enumerate() {
        proxies[own].leads_to(client.address);
        versioned(client, BUCKET).await;
    }
    for (own, client) in clients.iter().enumerate() {
        let others: Vec<String> = (0..3).filter(|other| *other != own).map(|other| format!("r{other}")).collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        replicate(client, BUCKET, &others).await;
    }
    // Apart from each other, all write the same keys.
    proxies.iter().for_each(|proxy| proxy.set_cut(true));
    for round in 0..4 {
        for (own, client) in clients.iter().enumerate() {
            let key = format!("key-{}", round % 2);
            client.put(BUCKET, &key, format!("{own} {round}")).await.expect(200);
            if own == round {
                client.delete(BUCKET, &key).await.expect(204);
            }
        }
    }
    proxies.iter().for_each(|proxy| proxy.set_cut(false));
    let all: Vec<&Client> = clients.iter().collect();
    assert_eq!(converged(&all).await, 15);
    // A change of what may change goes from wherever it was made to everywhere.
    let key = "key-1";
    let tags = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
    clients[1].put(BUCKET, key, "newest").await.expect(200);
    converged(&all).await;
    clients[2].object("PUT", BUCKET, key).query("tagging", "").body(tags).send().await.expect(200);
    for client in &clients {
        until("the tag", client, key, |reply| reply.header("x-amz-tagging-count") == Some("1")).await;
    }
    // Then it is quiet: no version goes round.
    let before = history(&clients[0]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((converged(&all).await, history(&clients[0]).await), (16, before));
}

#[tokio::test]
async fn a_target_that_is_down_holds_up_no_other() {
    let (up, down) = (Proxy::new(), Proxy::new());
    let targets = [Cairn::start(Config::default()), Cairn::start(Config::default())];
    up.leads_to(targets[0].client().address);
    down.leads_to(targets[1].client().address);
    down.set_cut(true);
    let source = Cairn::start(config(remote("up", &up.url()) + &remote("down", &down.url())));
    let here = source.client();
    for client in [&here, &targets[0].client(), &targets[1].client()] {
        versioned(client, BUCKET).await;
    }
    replicate(&here, BUCKET, &["up", "down"]).await;
    for number in 0..20 {
        here.put(BUCKET, &format!("key-{number}"), "x").await.expect(200);
    }
    here.delete(BUCKET, "key-0").await.expect(204);
    converged(&[&here, &targets[0].client()]).await;
    assert_eq!(here.head(BUCKET, "key-1").await.header(STATUS), Some("PENDING"));
    assert!(history(&targets[1].client()).await.unwrap()[0].is_empty());
    // Slow is not down.
    down.set_delay(Duration::from_millis(30));
    down.set_cut(false);
    converged(&[&here, &targets[1].client()]).await;
    is_at_target(&here, "key-1").await;
}

#[tokio::test]
async fn revoked_credentials_and_a_full_disk_delay_and_lose_nothing() {
    let mut target = Cairn::start(Config::default());
    let proxy = Proxy::new();
    proxy.leads_to(target.client().address);
    let there = target.client();
    versioned(&there, BUCKET).await;
    iam(&there, "CreateUser", &[("UserName", "carrier")]).await;
    let may = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:Replicate*","Resource":"*"}]}"#;
    let policy = [("UserName", "carrier"), ("PolicyName", "own"), ("PolicyDocument", may)];
    iam(&there, "PutUserPolicy", &policy).await;
    let key = iam(&there, "CreateAccessKey", &[("UserName", "carrier")]).await;
    let (access_key, secret_key) = (key.xml("AccessKeyId"), key.xml("SecretAccessKey"));
    let source = Cairn::start(config(remote_as("there", &proxy.url(), &access_key, &secret_key)));
    let here = source.client();
    versioned(&here, BUCKET).await;
    replicate(&here, BUCKET, &["there"]).await;
    here.put(BUCKET, "before", "x").await.expect(200);
    is_at_target(&here, "before").await;
    let set = |status: &'static str| {
        let (there, access_key) = (there.clone(), access_key.clone());
        async move {
            let change = [("UserName", "carrier"), ("AccessKeyId", access_key.as_str()), ("Status", status)];
            iam(&there, "UpdateAccessKey", &change).await;
        }
    };
    set("Inactive").await;
    here.put(BUCKET, "revoked", "x").await.expect(200);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(here.head(BUCKET, "revoked").await.header(STATUS), Some("PENDING"));
    set("Active").await;
    is_at_target(&here, "revoked").await;
    // Without the permission it fails and says so, until it is retried.
    iam(&there, "DeleteUserPolicy", &[("UserName", "carrier"), ("PolicyName", "own")]).await;
    here.put(BUCKET, "forbidden", "x").await.expect(200);
    until("its failure", &here, "forbidden", |reply| reply.header(STATUS) == Some("FAILED")).await;
    let failed = source.calling_command(&["replicate", "failed", "--bucket", BUCKET]).output().unwrap();
    let failed = String::from_utf8_lossy(&failed.stdout).into_owned();
    assert!(failed.contains("AccessDenied"), "{failed}");
    iam(&there, "PutUserPolicy", &policy).await;
    assert!(source.calling_command(&["replicate", "retry", "--bucket", BUCKET]).status().unwrap().success());
    is_at_target(&here, "forbidden").await;
    // A disk without space.
    let file = target.config_file();
    let text = fs::read_to_string(&file).unwrap();
    let floor = text.lines().find(|line| line.contains("free_space_floor_bytes")).unwrap().to_owned();
    target.stop();
    fs::write(&file, text.replace(&floor, "free_space_floor_bytes = 1_000_000_000_000_000")).unwrap();
    target.start_again();
    here.put(BUCKET, "large", body(2, 8_000_000)).await.expect(200);
    let status = || {
        let status = source.calling_command(&["replicate", "status", "--bucket", BUCKET]).output().unwrap();
        String::from_utf8_lossy(&status.stdout).into_owned()
    };
    until_said("the want of room for what is large", status, |said| said.contains("(507)")).await;
    here.put(BUCKET, "full", body(1, 100_000)).await.expect(200);
    tokio::time::sleep(Duration::from_millis(500)).await;
    for key in ["full", "large"] {
        assert_eq!(here.head(BUCKET, key).await.header(STATUS), Some("PENDING"), "{key}");
    }
    target.stop();
    fs::write(&file, text).unwrap();
    target.start_again();
    is_at_target(&here, "full").await;
    is_at_target(&here, "large").await;
    assert_eq!(converged(&[&here, &target.client()]).await, 5);
}

#[tokio::test]
async fn what_does_not_get_through_holds_up_no_other() {
    let (source, target, proxy) = pair().await;
    let (here, there) = (source.client(), target.client());
    here.put(BUCKET, "before", "x").await.expect(200);
    is_at_target(&here, "before").await;
    proxy.set_break_after(400_000);
    let large = body(1, 1_500_000);
    here.put(BUCKET, "large", large.clone()).await.expect(200);
    here.put(BUCKET, "large", large).await.expect(200);
    here.put(BUCKET, "small", "x").await.expect(200);
    is_at_target(&here, "small").await;
    assert_eq!(here.head(BUCKET, "large").await.header(STATUS), Some("PENDING"));
    proxy.set_break_after(0);
    is_at_target(&here, "large").await;
    assert_eq!(converged(&[&here, &there]).await, 4);
}

#[tokio::test]
async fn a_lock_holds_at_the_target_too() {
    let proxy = Proxy::new();
    let target = Cairn::start(Config::default());
    proxy.leads_to(target.client().address);
    let source = Cairn::start(config(remote("there", &proxy.url())));
    let (here, there) = (source.client(), target.client());
    for client in [&here, &there] {
        let create = client.bucket("PUT", BUCKET).header("x-amz-bucket-object-lock-enabled", "true");
        create.send().await.expect(200);
    }
    replicate(&here, BUCKET, &["there"]).await;
    let put = here.object("PUT", BUCKET, "kept").header("x-amz-object-lock-mode", "COMPLIANCE");
    let put = put.header("x-amz-object-lock-retain-until-date", "2099-01-01T00:00:00Z");
    let put = put.header("content-md5", "ndTkYSaMgDT1yFZOFVxnpg==").body("x");
    let version = put.send().await;
    let version = match version.status {
        200 => version,
        _ => panic!("{}", version.text()),
    };
    let version = version.header("x-amz-version-id").unwrap().to_owned();
    is_at_target(&here, "kept").await;
    let replica = there.head(BUCKET, "kept").await.expect(200);
    assert_eq!(replica.header("x-amz-object-lock-mode"), Some("COMPLIANCE"));
    let remove = there.object("DELETE", BUCKET, "kept").query("versionId", &version);
    let remove = remove.header("x-amz-bypass-governance-retention", "true");
    remove.send().await.expect_error(403, "AccessDenied");
    // A legal hold that is set later follows.
    let hold = "<LegalHold><Status>ON</Status></LegalHold>";
    here.object("PUT", BUCKET, "kept").query("legal-hold", "").body(hold).send().await.expect(200);
    until("the hold", &there, "kept", |reply| reply.header("x-amz-object-lock-legal-hold") == Some("ON")).await;
}

#[tokio::test]
async fn a_server_that_gives_ids_of_its_own_gets_the_versions_of_a_key_in_their_order() {
    let foreign = match Foreign::start().await {
        Ok(foreign) => foreign,
        Err(reason) => skip!("{reason}"),
    };
    let (there, proxy) = (foreign.client(), Proxy::new());
    proxy.leads_to(foreign.address);
    let source = Cairn::start(config(remote("there", &proxy.url())));
    let here = source.client();
    versioned(&there, BUCKET).await;
    versioned(&here, BUCKET).await;
    proxy.set_cut(true);
    replicate(&here, BUCKET, &["there"]).await;
    let put = here.object("PUT", BUCKET, "key").header("x-amz-meta-colour", "red").header("x-amz-tagging", "a=1");
    put.body("first").send().await.expect(200);
    for text in ["second", "third"] {
        here.put(BUCKET, "key", text).await.expect(200);
    }
    here.put(BUCKET, "large", body(1, 200_000)).await.expect(200);
    here.put(BUCKET, "gone", "x").await.expect(200);
    here.delete(BUCKET, "gone").await.expect(204);
    let upload = Upload::create(&here, BUCKET, "parts").await;
    let mut parts = Vec::new();
    for number in 1..=2 {
        parts.push((number, upload.upload(number, body(number.into(), PART_BYTES_MIN)).await));
    }
    upload.complete(&parts).send().await.expect(200);
    // Answers are lost on the way.
    proxy.set_cut(false);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        proxy.break_all();
    }
    for key in ["key", "large", "parts"] {
        let head = is_at_target(&here, key).await;
        let replica = there.head(BUCKET, key).await.expect(200);
        assert_eq!(replica.header("etag"), head.header("etag"), "{key}");
        let version = head.header("x-amz-version-id");
        assert_eq!(replica.header("x-amz-meta-cairn-version-id"), version, "{key}");
        assert!(there.get(BUCKET, key).await.body == here.get(BUCKET, key).await.body, "{key}");
    }
    let listed = |client: &Client| client.bucket("GET", BUCKET).query("versions", "").send();
    let began = Instant::now();
    loop {
        let (one, other) = (listed(&here).await, listed(&there).await);
        let of = |reply: &Reply, name: &str| reply.xml_all(name);
        if ["Key", "IsLatest", "ETag", "Size"].iter().all(|name| {
            let (mut one, mut other) = (of(&one, name), of(&other, name));
            // Moto lists versions and delete markers apart.
            one.sort();
            other.sort();
            one == other
        }) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{} {}", one.text(), other.text());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // A later change goes to the very version that it is about.
    let tags = "<Tagging><TagSet><Tag><Key>late</Key><Value>r</Value></Tag></TagSet></Tagging>";
    here.object("PUT", BUCKET, "key").query("tagging", "").body(tags).send().await.expect(200);
    let began = Instant::now();
    while !there.object("GET", BUCKET, "key").query("tagging", "").send().await.text().contains("late") {
        assert!(began.elapsed() < PATIENCE, "the tag does not arrive");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
