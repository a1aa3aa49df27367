//! Tags of objects, of their versions, and of buckets.

use cairn_tests::{Cairn, Client, Reply};

fn document(tags: &[(&str, &str)]) -> String {
    let tags: String =
        tags.iter().map(|(key, value)| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>")).collect();
    format!("<Tagging><TagSet>{tags}</TagSet></Tagging>")
}

fn tags(reply: &Reply) -> Vec<(String, String)> {
    reply.xml_all("Key").into_iter().zip(reply.xml_all("Value")).collect()
}

fn pairs(tags: &[(&str, &str)]) -> Vec<(String, String)> {
    tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn object_tags(client: &Client, bucket: &str, key: &str) -> Vec<(String, String)> {
    tags(&client.object("GET", bucket, key).query("tagging", "").send().await.expect(200))
}

#[tokio::test]
async fn an_objects_tags_are_set_with_it_replaced_and_removed() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("object-tags").await;
    let put = client.object("PUT", &bucket, "key").header("x-amz-tagging", "team=storage&empty=").body("x");
    put.send().await.expect(200);
    assert_eq!(object_tags(&client, &bucket, "key").await, pairs(&[("empty", ""), ("team", "storage")]));
    assert_eq!(client.head(&bucket, "key").await.header("x-amz-tagging-count"), Some("2"));
    let replace = client.object("PUT", &bucket, "key").query("tagging", "").body(document(&[("k", "v")]));
    replace.send().await.expect(200);
    assert_eq!(object_tags(&client, &bucket, "key").await, pairs(&[("k", "v")]));
    client.object("DELETE", &bucket, "key").query("tagging", "").send().await.expect(204);
    assert!(object_tags(&client, &bucket, "key").await.is_empty());
    assert_eq!(client.head(&bucket, "key").await.header("x-amz-tagging-count"), None);
    assert_eq!(client.get(&bucket, "key").await.text(), "x");
}

#[tokio::test]
async fn tags_belong_to_a_version() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("version-tags").await;
    let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.bucket("PUT", &bucket).query("versioning", "").body(enabled).send().await.expect(200);
    let old =
        client.object("PUT", &bucket, "key").header("x-amz-tagging", "age=old").body("1").send().await.expect(200);
    let old = old.header("x-amz-version-id").expect("a version").to_owned();
    client.object("PUT", &bucket, "key").header("x-amz-tagging", "age=new").body("2").send().await.expect(200);
    let set = client.object("PUT", &bucket, "key").query("tagging", "").query("versionId", &old);
    let set = set.body(document(&[("age", "older")])).send().await.expect(200);
    assert_eq!(set.header("x-amz-version-id"), Some(old.as_str()));
    assert_eq!(object_tags(&client, &bucket, "key").await, pairs(&[("age", "new")]));
    let got = client.object("GET", &bucket, "key").query("tagging", "").query("versionId", &old).send().await;
    assert_eq!(tags(&got), pairs(&[("age", "older")]));
    client.delete(&bucket, "key").await.expect(204);
    let hidden = client.object("GET", &bucket, "key").query("tagging", "").send().await;
    assert_eq!((hidden.status, hidden.code().as_str()), (404, "NoSuchKey"));
}

#[tokio::test]
async fn a_copy_takes_its_sources_tags_unless_it_brings_its_own() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("copied-tags").await;
    client.object("PUT", &bucket, "source").header("x-amz-tagging", "a=1").body("x").send().await.expect(200);
    let copy = |to: &str| client.object("PUT", &bucket, to).header("x-amz-copy-source", &format!("{bucket}/source"));
    copy("kept").send().await.expect(200);
    let replaced = copy("replaced").header("x-amz-tagging-directive", "REPLACE").header("x-amz-tagging", "b=2");
    replaced.send().await.expect(200);
    copy("removed").header("x-amz-tagging-directive", "REPLACE").send().await.expect(200);
    assert_eq!(object_tags(&client, &bucket, "kept").await, pairs(&[("a", "1")]));
    assert_eq!(object_tags(&client, &bucket, "replaced").await, pairs(&[("b", "2")]));
    assert!(object_tags(&client, &bucket, "removed").await.is_empty());
    let unknown = copy("unknown").header("x-amz-tagging-directive", "MERGE").send().await;
    assert_eq!((unknown.status, unknown.code().as_str()), (400, "InvalidArgument"));
}

#[tokio::test]
async fn a_bucket_has_tags_of_its_own() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("bucket-tags").await;
    let none = client.bucket("GET", &bucket).query("tagging", "").send().await;
    assert_eq!((none.status, none.code().as_str()), (404, "NoSuchTagSet"));
    let put = client.bucket("PUT", &bucket).query("tagging", "").body(document(&[("cost", "42"), ("ü", "")]));
    put.send().await.expect(204);
    let got = client.bucket("GET", &bucket).query("tagging", "").send().await.expect(200);
    assert_eq!(tags(&got), pairs(&[("cost", "42"), ("ü", "")]));
    client.bucket("DELETE", &bucket).query("tagging", "").send().await.expect(204);
    assert_eq!(client.bucket("GET", &bucket).query("tagging", "").send().await.status, 404);
}

#[tokio::test]
async fn what_cannot_be_a_tag_is_refused_and_changes_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("bad-tags").await;
    client.object("PUT", &bucket, "key").header("x-amz-tagging", "a=1").body("x").send().await.expect(200);
    let eleven: Vec<String> = (0..11).map(|number| number.to_string()).collect();
    let eleven: Vec<(&str, &str)> = eleven.iter().map(|key| (key.as_str(), "")).collect();
    let long = "x".repeat(257);
    for bad in [&eleven[..], &[("a", "1"), ("a", "2")], &[("aws:k", "v")], &[("k", long.as_str())], &[("", "v")]] {
        let reply = client.object("PUT", &bucket, "key").query("tagging", "").body(document(bad)).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "InvalidTag"), "{bad:?}");
    }
    let reply = client.object("PUT", &bucket, "key").query("tagging", "").body("<Tagging>").send().await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "MalformedXML"));
    let reply = client.object("PUT", &bucket, "other").header("x-amz-tagging", "a=1&a=2").body("x").send().await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "InvalidTag"));
    assert_eq!(object_tags(&client, &bucket, "key").await, pairs(&[("a", "1")]));
    assert_eq!(client.keys(&bucket).await, ["key"]);
}

#[tokio::test]
async fn acceleration_is_suspended_and_cannot_be_enabled() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("accelerate").await;
    let set = |status: &str| {
        let document = format!("<AccelerateConfiguration><Status>{status}</Status></AccelerateConfiguration>");
        client.bucket("PUT", &bucket).query("accelerate", "").body(document).send()
    };
    set("Suspended").await.expect(200);
    let refused = set("Enabled").await;
    assert_eq!((refused.status, refused.code().as_str()), (501, "NotImplemented"));
    let got = client.bucket("GET", &bucket).query("accelerate", "").send().await.expect(200);
    assert!(got.xml_all("Status").is_empty());
}
