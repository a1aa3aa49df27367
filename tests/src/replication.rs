//! Buckets that replicate: their rules, and waiting for what is to come.

use std::time::{Duration, Instant};

use crate::client::{Call, Client};
use crate::wire::Reply;

/// `x-amz-replication-status`.
pub const STATUS: &str = "x-amz-replication-status";

/// How long a version may take to its target on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// The account of the harness's first keys.
const ACCOUNT: &str = "100000000001";

/// A `[[remote]]` at this address, with the key of the harness's first account.
#[must_use]
pub fn remote(name: &str, url: &str) -> String {
    remote_as(name, url, "cairn-test-access", "cairn-test-secret-key-0000000000000001")
}

/// A `[[remote]]` at this address, with this key.
#[must_use]
pub fn remote_as(name: &str, url: &str, access_key: &str, secret_key: &str) -> String {
    format!(
        "\n[[remote]]\nname = \"{name}\"\nendpoint = \"{url}\"\nregion = \"us-east-1\"\naccess_key = \"{access_key}\"\n\
         secret_key = \"{secret_key}\"\n"
    )
}

/// The bucket, with versions, on this server.
pub async fn versioned(client: &Client, bucket: &str) {
    client.bucket("PUT", bucket).send().await.expect(200);
    let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.bucket("PUT", bucket).query("versioning", "").body(on).send().await.expect(200);
}

/// Makes a role that may do everything, and replicates the bucket to these targets, named by their ARNs.
pub async fn replicate(client: &Client, bucket: &str, targets: &[&str]) {
    let policy = |statement: &str| format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
    let trust = policy(r#"{"Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"sts:AssumeRole"}"#);
    let may = policy(r#"{"Effect":"Allow","Action":["s3:*","kms:*"],"Resource":"*"}"#);
    let name = [("RoleName", "replicator"), ("AssumeRolePolicyDocument", trust.as_str())];
    // Another bucket's rules have made it.
    client.action("iam", "CreateRole", &name).send().await;
    let own = [("RoleName", "replicator"), ("PolicyName", "own"), ("PolicyDocument", may.as_str())];
    client.action("iam", "PutRolePolicy", &own).send().await.expect(200);
    let rule = |(at, target): (usize, &&str)| {
        format!(
            "<Rule><ID>rule-{}</ID><Priority>{}</Priority><Filter></Filter><Status>Enabled</Status>\
             <SourceSelectionCriteria><ReplicaModifications><Status>Enabled</Status></ReplicaModifications>\
             </SourceSelectionCriteria><Destination><Bucket>{target}</Bucket></Destination>\
             <DeleteMarkerReplication><Status>Enabled</Status></DeleteMarkerReplication></Rule>",
            at + 1,
            at + 1
        )
    };
    let rules: String = targets.iter().enumerate().map(rule).collect();
    let document = format!(
        "<ReplicationConfiguration><Role>arn:aws:iam::{ACCOUNT}:role/replicator</Role>{rules}</ReplicationConfiguration>"
    );
    client.bucket("PUT", bucket).query("replication", "").body(document).send().await.expect(200);
}

/// Every version of the bucket, in the order of the listing, with all that a listing shows of it. None: nobody answers.
pub async fn history(client: &Client, bucket: &str) -> Option<Vec<Vec<String>>> {
    let names = ["Key", "VersionId", "IsLatest", "LastModified", "ETag", "Size"];
    let mut all = vec![Vec::new(); names.len()];
    let mut after: Option<(String, String)> = None;
    loop {
        let mut list = client.bucket("GET", bucket).query("versions", "");
        if let Some((key, version)) = &after {
            list = list.query("key-marker", key).query("version-id-marker", version);
        }
        let listed = list.try_send().await.ok().filter(|listed| listed.status == 200)?;
        all.iter_mut().zip(names).for_each(|(all, name)| all.extend(listed.xml_all(name)));
        if listed.xml("IsTruncated") != "true" {
            return Some(all);
        }
        after = Some((listed.xml("NextKeyMarker"), listed.xml("NextVersionIdMarker")));
    }
}

/// Waits until the bucket has the same history on all of these servers; how many versions that is.
pub async fn converged(clients: &[&Client], bucket: &str) -> usize {
    let began = Instant::now();
    loop {
        let mut histories = Vec::new();
        for client in clients {
            histories.push(history(client, bucket).await);
        }
        if histories.windows(2).all(|pair| pair[0] == pair[1])
            && let Some(Some(same)) = histories.first()
        {
            return same[0].len();
        }
        assert!(began.elapsed() < PATIENCE, "they do not converge: {histories:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the answer to a call is as wished.
pub async fn until(what: &str, call: impl Fn() -> Call, wished: impl Fn(&Reply) -> bool) -> Reply {
    let began = Instant::now();
    loop {
        let reply = call().send().await;
        if wished(&reply) {
            return reply;
        }
        assert!(began.elapsed() < PATIENCE, "{what} does not happen: {} {:?}", reply.status, reply.headers);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
