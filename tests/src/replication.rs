//! Buckets that replicate: their rules, and waiting for what is to come.

use std::time::{Duration, Instant};

use crate::client::{Call, Client};
pub use crate::patience::{PATIENCE, until};

/// `x-amz-replication-status`.
pub const STATUS: &str = "x-amz-replication-status";

/// A statement that permits everything that replication may need.
pub const MAY_ALL: &str = r#"{"Effect":"Allow","Action":["s3:*","kms:*"],"Resource":"*"}"#;

/// A statement that permits everything but the use of keys.
pub const MAY_S3: &str = r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#;

/// A rule of a replication configuration. Unless it says otherwise it is the rule `all`, which takes everything.
#[derive(Clone, Debug)]
pub struct Rule<'a> {
    /// Command lines name it so.
    pub id: String,
    /// The rule with the highest one decides.
    pub priority: usize,
    /// What is in its `Filter`.
    pub filter: &'a str,
    /// What else it says, between its status and its destination.
    pub more: &'a str,
    /// The ARN of its bucket.
    pub target: &'a str,
    /// What else its destination says.
    pub destination: &'a str,
    /// Whether delete markers go along.
    pub markers: bool,
}

impl Default for Rule<'_> {
    fn default() -> Self {
        Rule { id: "all".to_owned(), priority: 1, filter: "", more: "", target: "", destination: "", markers: true }
    }
}

impl Rule<'_> {
    fn xml(&self) -> String {
        let Rule { id, priority, filter, more, target, destination, markers } = self;
        let markers = if *markers { "Enabled" } else { "Disabled" };
        format!(
            "<Rule><ID>{id}</ID><Priority>{priority}</Priority><Filter>{filter}</Filter><Status>Enabled</Status>{more}\
             <Destination><Bucket>{target}</Bucket>{destination}</Destination>\
             <DeleteMarkerReplication><Status>{markers}</Status></DeleteMarkerReplication></Rule>"
        )
    }
}

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

/// The bucket, with versions and locks, on this server.
pub async fn locked(client: &Client, bucket: &str) {
    let create = client.bucket("PUT", bucket).header("x-amz-bucket-object-lock-enabled", "true");
    create.send().await.expect(200);
}

/// The policy of one statement.
#[must_use]
pub fn policy(statement: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#)
}

/// Makes the role `replicator`, or takes the one that is there, and lets it do what the statement says, and nothing else; its ARN.
pub async fn role(client: &Client, statement: &str) -> String {
    let trust = policy(r#"{"Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"sts:AssumeRole"}"#);
    let create = [("RoleName", "replicator"), ("AssumeRolePolicyDocument", trust.as_str())];
    let created = client.action("iam", "CreateRole", &create).send().await;
    if created.status != 200 {
        created.expect_error(409, "EntityAlreadyExists");
    }
    let own = [("RoleName", "replicator"), ("PolicyName", "own"), ("PolicyDocument", &policy(statement))];
    client.action("iam", "PutRolePolicy", &own).send().await.expect(200);
    client.action("iam", "GetRole", &[("RoleName", "replicator")]).send().await.expect(200).xml("Arn")
}

/// The call that replicates the bucket by these rules.
pub fn put_rules(client: &Client, bucket: &str, role_arn: &str, rules: &[Rule<'_>]) -> Call {
    let rules: String = rules.iter().map(Rule::xml).collect();
    let document = format!("<ReplicationConfiguration><Role>{role_arn}</Role>{rules}</ReplicationConfiguration>");
    client.bucket("PUT", bucket).query("replication", "").body(document)
}

/// Makes a role that may do everything, and replicates the bucket to these targets, named by their ARNs.
pub async fn replicate(client: &Client, bucket: &str, targets: &[&str]) {
    let role_arn = role(client, MAY_ALL).await;
    let more = "<SourceSelectionCriteria><ReplicaModifications><Status>Enabled</Status></ReplicaModifications>\
                </SourceSelectionCriteria>";
    let numbered = (1..).zip(targets);
    let rules: Vec<Rule<'_>> = numbered
        .map(|(number, target)| Rule {
            id: format!("rule-{number}"),
            priority: number,
            more,
            target,
            ..Rule::default()
        })
        .collect();
    put_rules(client, bucket, &role_arn, &rules).send().await.expect(200);
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
