//! What travels to another Cairn and how, by the rules' words: encryption, storage classes, ACLs, what was there before; and that deletions of
//! versions do not.

#![allow(clippy::unwrap_used)]

use cairn_tests::patience::{until, until_said};
use cairn_tests::proxy::Proxy;
use cairn_tests::random::body;
use cairn_tests::replication::{MAY_ALL, Rule, STATUS, put_rules, remote, role, versioned};
use cairn_tests::tls::Authority;
use cairn_tests::{Cairn, Client, Config, Reply, skip};

const BUCKET: &str = "copies";
const LOCAL: &str = "local";
const HERE: &str = "arn:aws:s3:::local";
const THERE: &str = "arn:aws:s3:there::copies";

/// A source and a target with the bucket, and a network between them; the source has a second bucket, too.
struct Pair {
    source: Cairn,
    target: Cairn,
    proxy: Proxy,
}

impl Pair {
    async fn start(config: Config) -> Pair {
        let (proxy, target) = (Proxy::new(), Cairn::start(config.clone()));
        proxy.leads_to(target.client().address);
        let source = Cairn::start(Config { more: remote("there", &proxy.url()), ..config });
        versioned(&target.client(), BUCKET).await;
        for bucket in [BUCKET, LOCAL] {
            versioned(&source.client(), bucket).await;
        }
        Pair { source, target, proxy }
    }

    async fn replicates_by(&self, rules: &[Rule<'_>]) {
        let here = self.source.client();
        let role_arn = role(&here, MAY_ALL).await;
        put_rules(&here, BUCKET, &role_arn, rules).send().await.expect(200);
    }
}

fn command(cairn: &Cairn, arguments: &[&str]) -> String {
    let output = cairn.calling_command(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Waits until the newest version is at its targets.
async fn carried(client: &Client, key: &str) -> Reply {
    let head = || client.object("HEAD", BUCKET, key);
    until(&format!("the replication of {key}"), head, |reply| reply.header(STATUS) == Some("COMPLETED")).await
}

fn version_of(reply: &Reply) -> String {
    reply.header("x-amz-version-id").unwrap().to_owned()
}

#[tokio::test]
async fn it_goes_over_https_to_whom_the_remotes_authority_vouches_for_and_to_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let authority = match Authority::make(folder.path()) {
        Ok(authority) => authority,
        Err(reason) => skip!("{reason}"),
    };
    let over = |tls| Config { data_dir: Some(folder.path().join("target")), tls, ..Config::default() };
    let mut target = Cairn::start(over(None));
    versioned(&target.client(), BUCKET).await;
    target.stop();
    let target = Cairn::start(over(Some(authority.issue("target").unwrap())));
    let url = format!("https://{}", target.client().address);
    let trusting = format!("ca_file = {:?}\n", authority.certificate());
    let more = remote("there", &url) + &trusting + &remote("strange", &url);
    let source = Cairn::start(Config { more, ..Config::default() });
    let here = source.client();
    versioned(&here, BUCKET).await;
    let rule = |id: &str, priority, target| Rule { id: id.to_owned(), priority, target, ..Rule::default() };
    let rules = [rule("trusted", 1, THERE), rule("untrusted", 2, "arn:aws:s3:strange::copies")];
    put_rules(&here, BUCKET, &role(&here, MAY_ALL).await, &rules).send().await.expect(200);
    here.put(BUCKET, "key", body(1, 100_000)).await.expect(200);
    let status = || command(&source, &["replicate", "status", "--bucket", BUCKET]);
    let of = |said: &str, rule: &str| said.lines().find(|line| line.starts_with(rule)).unwrap_or_default().to_owned();
    let said = until_said("the trusted rule's end", status, |said| of(said, "trusted").contains(": 0 pending")).await;
    assert!(of(&said, "untrusted").contains(": 1 pending"), "{said}");
    let said = until_said("the other's rest", status, |said| of(said, "untrusted").contains("; down")).await;
    assert!(of(&said, "untrusted").contains("certificate"), "{said}");
}

#[tokio::test]
async fn what_a_kms_key_seals_is_sealed_there_under_a_key_of_that_server() {
    let pair = Pair::start(Config { encryption: Some("off"), ..Config::default() }).await;
    let (here, there) = (pair.source.client(), pair.target.client());
    let key = async |client: &Client| {
        let created = client.kms("CreateKey", &serde_json::json!({})).send().await.expect(200);
        let created: serde_json::Value = serde_json::from_str(&created.text()).unwrap();
        created["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
    };
    let (own, theirs) = (key(&here).await, key(&there).await);
    assert_ne!(own, theirs);
    let more = "<SourceSelectionCriteria><SseKmsEncryptedObjects><Status>Enabled</Status></SseKmsEncryptedObjects>\
                </SourceSelectionCriteria>";
    let destination =
        format!("<EncryptionConfiguration><ReplicaKmsKeyID>{theirs}</ReplicaKmsKeyID></EncryptionConfiguration>");
    pair.replicates_by(&[Rule { target: THERE, more, destination: &destination, ..Rule::default() }]).await;
    let mode = "x-amz-server-side-encryption";
    let key_id = "x-amz-server-side-encryption-aws-kms-key-id";
    let put = |key: &str| here.object("PUT", BUCKET, key).body(body(1, 100_000));
    put("kms").header(mode, "aws:kms").header(key_id, &own).send().await.expect(200);
    put("server").header(mode, "AES256").send().await.expect(200);
    put("plain").send().await.expect(200);
    for (key, sealed, under) in
        [("kms", Some("aws:kms"), Some(theirs.as_str())), ("server", Some("AES256"), None), ("plain", None, None)]
    {
        let source = carried(&here, key).await;
        let replica = there.get(BUCKET, key).await.expect(200);
        assert_eq!((replica.header(mode), replica.header(key_id)), (sealed, under), "{key}");
        assert_eq!(replica.header("etag"), source.header("etag"), "{key}");
        assert!(replica.body == body(1, 100_000), "{key}");
    }
}

#[tokio::test]
async fn a_replica_is_of_its_sources_class_or_of_the_rules() {
    let pair = Pair::start(Config::default()).await;
    let (here, there) = (pair.source.client(), pair.target.client());
    let other = Rule {
        id: "other".to_owned(),
        priority: 2,
        target: THERE,
        destination: "<StorageClass>ONEZONE_IA</StorageClass>",
        ..Rule::default()
    };
    pair.replicates_by(&[Rule { target: HERE, ..Rule::default() }, other]).await;
    let put = here.object("PUT", BUCKET, "key").header("x-amz-storage-class", "STANDARD_IA").body("x");
    put.send().await.expect(200);
    carried(&here, "key").await;
    for (client, bucket, class) in [(&here, LOCAL, "STANDARD_IA"), (&there, BUCKET, "ONEZONE_IA")] {
        let replica = client.head(bucket, "key").await.expect(200);
        assert_eq!(replica.header("x-amz-storage-class"), Some(class), "{bucket}");
    }
}

#[tokio::test]
async fn an_acl_that_changes_later_follows() {
    let pair = Pair::start(Config { object_ownership: Some("ObjectWriter"), ..Config::default() }).await;
    let (here, there) = (pair.source.client(), pair.target.client());
    let other = Rule { id: "other".to_owned(), priority: 2, target: THERE, ..Rule::default() };
    pair.replicates_by(&[Rule { target: HERE, ..Rule::default() }, other]).await;
    here.put(BUCKET, "key", "x").await.expect(200);
    carried(&here, "key").await;
    let acl = here.object("PUT", BUCKET, "key").query("acl", "").header("x-amz-acl", "public-read");
    acl.send().await.expect(200);
    for (client, bucket) in [(&here, LOCAL), (&there, BUCKET)] {
        let anybody = || client.object("GET", bucket, "key").anonymous();
        until(&format!("the ACL in {bucket}"), anybody, |reply| reply.status == 200).await;
    }
    // And so does its end.
    here.object("PUT", BUCKET, "key").query("acl", "").header("x-amz-acl", "private").send().await.expect(200);
    for (client, bucket) in [(&here, LOCAL), (&there, BUCKET)] {
        let anybody = || client.object("GET", bucket, "key").anonymous();
        until(&format!("its end in {bucket}"), anybody, |reply| reply.status == 403).await;
    }
}

#[tokio::test]
async fn the_deletion_of_a_version_stays_here_also_while_the_version_waits() {
    let pair = Pair::start(Config::default()).await;
    let (here, there) = (pair.source.client(), pair.target.client());
    pair.replicates_by(&[Rule { target: THERE, ..Rule::default() }]).await;
    let delete = |key: &str, version: &str| here.object("DELETE", BUCKET, key).query("versionId", version).send();
    let kept = version_of(&here.put(BUCKET, "kept", "x").await.expect(200));
    carried(&here, "kept").await;
    pair.proxy.set_cut(true);
    let first = version_of(&here.put(BUCKET, "waiting", "first").await.expect(200));
    let second = version_of(&here.put(BUCKET, "waiting", "second").await.expect(200));
    assert_eq!(here.head(BUCKET, "waiting").await.header(STATUS), Some("PENDING"));
    delete("waiting", &first).await.expect(204);
    delete("kept", &kept).await.expect(204);
    // What was read before it was deleted may still arrive.
    let status = || command(&pair.source, &["replicate", "status", "--bucket", BUCKET]);
    until_said("the end of what was under way", status, |said| said.contains(" 0 running")).await;
    pair.proxy.set_cut(false);
    carried(&here, "waiting").await;
    until_said("the end of it", status, |said| said.contains(": 0 pending") && said.contains(" 0 failed")).await;
    let listed = there.bucket("GET", BUCKET).query("versions", "").send().await.expect(200);
    assert_eq!(listed.xml_all("VersionId"), [kept, second]);
}

#[tokio::test]
async fn a_backfill_brings_what_the_rules_ask_for_though_the_server_is_killed_at_it() {
    let mut pair = Pair::start(Config::default()).await;
    let (here, there) = (pair.source.client(), pair.target.client());
    let keys: Vec<String> = (0..60).map(|number| format!("asked/{number:02}")).collect();
    for key in keys.iter().map(String::as_str).chain(["silent/1"]) {
        here.put(BUCKET, key, key.to_owned()).await.expect(200);
    }
    let asking = Rule {
        target: THERE,
        filter: "<Prefix>asked/</Prefix>",
        more: "<ExistingObjectReplication><Status>Enabled</Status></ExistingObjectReplication>",
        ..Rule::default()
    };
    let silent = Rule {
        id: "silent".to_owned(),
        priority: 2,
        target: THERE,
        filter: "<Prefix>silent/</Prefix>",
        ..Rule::default()
    };
    pair.replicates_by(&[asking, silent]).await;
    let job = command(&pair.source, &["replicate", "backfill", "--bucket", BUCKET]);
    pair.source.kill9();
    pair.source.start_again();
    let show = || command(&pair.source, &["jobs", "show", &job]);
    until_said("the end of the backfill", show, |said| said.contains(" done ")).await;
    let status = || command(&pair.source, &["replicate", "status", "--bucket", BUCKET]);
    until_said("the last replica", status, |said| said.matches(": 0 pending").count() == 2).await;
    assert_eq!(there.keys(BUCKET).await, keys);
    let listed = there.bucket("GET", BUCKET).query("versions", "").send().await.expect(200);
    assert_eq!(listed.xml_all("VersionId").len(), keys.len());
    assert_eq!(pair.source.client().head(BUCKET, "silent/1").await.header(STATUS), None);
}
