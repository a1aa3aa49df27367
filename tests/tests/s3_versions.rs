//! Versions through the S3 API: switching them on and off, reading, listing and deleting them.

use cairn_tests::{Cairn, Client, Reply};

const VERSIONING: &str = "versioning";

async fn set_versioning(client: &Client, bucket: &str, status: &str) -> Reply {
    let document = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
    client.bucket("PUT", bucket).query(VERSIONING, "").body(document).send().await
}

async fn versioned_bucket(client: &Client, purpose: &str) -> String {
    let bucket = client.fresh_bucket(purpose).await;
    set_versioning(client, &bucket, "Enabled").await.expect(200);
    bucket
}

fn version(reply: &Reply) -> String {
    reply.header("x-amz-version-id").expect("the answer names a version").to_owned()
}

async fn put(client: &Client, bucket: &str, key: &str, body: &str) -> String {
    version(&client.put(bucket, key, body.to_owned()).await)
}

async fn get_version(client: &Client, bucket: &str, key: &str, id: &str) -> Reply {
    client.object("GET", bucket, key).query("versionId", id).send().await
}

async fn delete_version(client: &Client, bucket: &str, key: &str, id: &str) -> Reply {
    client.object("DELETE", bucket, key).query("versionId", id).send().await
}

#[tokio::test]
async fn versioning_is_off_then_enabled_then_suspended_and_says_so() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("states").await;
    let status =
        || async { client.bucket("GET", &bucket).query(VERSIONING, "").send().await.expect(200).xml_all("Status") };
    assert!(status().await.is_empty());
    for state in ["Enabled", "Suspended", "Enabled"] {
        set_versioning(&client, &bucket, state).await.expect(200);
        assert_eq!(status().await, [state]);
    }
    let refused = set_versioning(&client, &bucket, "Off").await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "IllegalVersioningConfigurationException"));
    let mfa =
        "<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete></VersioningConfiguration>";
    let refused = client.bucket("PUT", &bucket).query(VERSIONING, "").body(mfa).send().await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "AccessDenied"), "without a code");
    assert_eq!(status().await, ["Enabled"]);
}

#[tokio::test]
async fn every_version_of_a_key_stays_readable() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("history").await;
    client.put(&bucket, "key", "before versions").await;
    set_versioning(&client, &bucket, "Enabled").await.expect(200);
    let first = put(&client, &bucket, "key", "first").await;
    let second = put(&client, &bucket, "key", "second").await;
    assert!(first != second);
    assert_eq!(client.get(&bucket, "key").await.text(), "second");
    for (id, body) in [("null", "before versions"), (first.as_str(), "first"), (second.as_str(), "second")] {
        let got = get_version(&client, &bucket, "key", id).await.expect(200);
        assert_eq!((got.text().as_str(), version(&got).as_str()), (body, id));
    }
    let strange = get_version(&client, &bucket, "key", "0123456789abcdef0123456789abcdef").await;
    assert_eq!((strange.status, strange.code().as_str()), (404, "NoSuchVersion"));
    let invalid = get_version(&client, &bucket, "key", "strange").await;
    assert_eq!((invalid.status, invalid.code().as_str()), (400, "InvalidArgument"));
}

#[tokio::test]
async fn a_delete_marker_hides_a_key_until_it_is_deleted_itself() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "markers").await;
    let object = put(&client, &bucket, "key", "content").await;
    let deleted = client.delete(&bucket, "key").await.expect(204);
    let marker = version(&deleted);
    assert_eq!(deleted.header("x-amz-delete-marker"), Some("true"));
    let hidden = client.get(&bucket, "key").await;
    assert_eq!((hidden.status, hidden.code().as_str()), (404, "NoSuchKey"));
    assert_eq!(hidden.header("x-amz-delete-marker"), Some("true"));
    assert_eq!(version(&hidden), marker);
    let named = get_version(&client, &bucket, "key", &marker).await;
    assert_eq!((named.status, named.code().as_str(), named.header("allow")), (405, "MethodNotAllowed", Some("DELETE")));
    assert!(client.keys(&bucket).await.is_empty());
    assert_eq!(get_version(&client, &bucket, "key", &object).await.text(), "content");
    let removed = delete_version(&client, &bucket, "key", &marker).await.expect(204);
    assert_eq!((version(&removed), removed.header("x-amz-delete-marker")), (marker, Some("true")));
    assert_eq!(client.get(&bucket, "key").await.text(), "content");
}

#[tokio::test]
async fn deleting_the_newest_version_uncovers_the_one_before() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "uncover").await;
    let old = put(&client, &bucket, "key", "old").await;
    let new = put(&client, &bucket, "key", "new").await;
    delete_version(&client, &bucket, "key", &new).await.expect(204);
    let got = client.get(&bucket, "key").await;
    assert_eq!((got.text(), version(&got)), ("old".to_owned(), old.clone()));
    // Once more: nothing is there, and nothing happens.
    delete_version(&client, &bucket, "key", &new).await.expect(204);
    delete_version(&client, &bucket, "key", &old).await.expect(204);
    let gone = client.get(&bucket, "key").await;
    assert_eq!((gone.status, gone.header("x-amz-delete-marker")), (404, None));
}

#[tokio::test]
async fn a_suspended_bucket_replaces_only_the_null_version() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "suspended").await;
    let kept = put(&client, &bucket, "key", "kept").await;
    set_versioning(&client, &bucket, "Suspended").await.expect(200);
    for body in ["null one", "null two"] {
        assert_eq!(client.put(&bucket, "key", body).await.header("x-amz-version-id"), None);
    }
    assert_eq!(get_version(&client, &bucket, "key", "null").await.text(), "null two");
    let deleted = client.delete(&bucket, "key").await.expect(204);
    assert_eq!((version(&deleted).as_str(), deleted.header("x-amz-delete-marker")), ("null", Some("true")));
    let hidden = client.get(&bucket, "key").await;
    assert_eq!((hidden.status, version(&hidden).as_str()), (404, "null"));
    assert_eq!(get_version(&client, &bucket, "key", &kept).await.text(), "kept");
    let listed = list(&client, &bucket, &[]).await;
    assert_eq!(listed.xml_all("VersionId"), ["null", kept.as_str()]);
}

async fn list(client: &Client, bucket: &str, query: &[(&str, &str)]) -> Reply {
    let call = client.bucket("GET", bucket).query("versions", "");
    query.iter().fold(call, |call, (name, value)| call.query(name, value)).send().await.expect(200)
}

#[tokio::test]
async fn versions_are_listed_by_key_and_newest_first_in_pages() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "listing").await;
    let mut ids = Vec::new();
    for key in ["a", "b"] {
        let mut of_key = vec![put(&client, &bucket, key, "1").await, put(&client, &bucket, key, "2").await];
        of_key.push(version(&client.delete(&bucket, key).await));
        of_key.reverse();
        ids.extend(of_key);
    }
    let all = list(&client, &bucket, &[]).await;
    assert_eq!(all.xml_all("VersionId"), ids);
    assert_eq!(all.xml_all("IsLatest"), ["true", "false", "false", "true", "false", "false"]);
    assert_eq!(all.xml_all("DeleteMarker").len(), 2);
    let (mut paged, mut markers) = (Vec::new(), (String::new(), String::new()));
    loop {
        let mut query = vec![("max-keys", "2"), ("key-marker", markers.0.as_str())];
        query.extend((!markers.1.is_empty()).then_some(("version-id-marker", markers.1.as_str())));
        let page = list(&client, &bucket, &query).await;
        paged.extend(page.xml_all("VersionId"));
        if page.xml_all("IsTruncated") == ["false"] {
            break;
        }
        markers = (page.xml_all("NextKeyMarker").remove(0), page.xml_all("NextVersionIdMarker").remove(0));
    }
    assert_eq!(paged, ids);
    let after_key = list(&client, &bucket, &[("key-marker", "a")]).await;
    assert_eq!(after_key.xml_all("VersionId"), ids[3..]);
    let no_key = client.bucket("GET", &bucket).query("versions", "").query("version-id-marker", &ids[0]).send().await;
    assert_eq!((no_key.status, no_key.code().as_str()), (400, "InvalidArgument"));
}

#[tokio::test]
async fn a_delete_of_several_deletes_the_versions_that_it_names() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "several").await;
    let first = put(&client, &bucket, "a", "1").await;
    let second = put(&client, &bucket, "a", "2").await;
    put(&client, &bucket, "b", "1").await;
    let document = format!(
        "<Delete><Object><Key>a</Key><VersionId>{first}</VersionId></Object><Object><Key>b</Key></Object></Delete>"
    );
    let reply = client
        .bucket("POST", &bucket)
        .query("delete", "")
        .header("content-md5", &cairn_tests::sigv4::content_md5(document.as_bytes()))
        .body(document)
        .send()
        .await
        .expect(200);
    assert_eq!(reply.xml_all("DeleteMarker"), ["true"]);
    assert_eq!(reply.xml_all("DeleteMarkerVersionId").len(), 1);
    assert_eq!(client.keys(&bucket).await, ["a"]);
    assert_eq!(get_version(&client, &bucket, "a", &first).await.status, 404);
    assert_eq!(get_version(&client, &bucket, "a", &second).await.text(), "2");
}

#[tokio::test]
async fn copying_an_old_version_over_the_newest_restores_it() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "restore").await;
    let old = put(&client, &bucket, "key", "old").await;
    put(&client, &bucket, "key", "new").await;
    let source = format!("/{bucket}/key?versionId={old}");
    let copied = client.object("PUT", &bucket, "key").header("x-amz-copy-source", &source).send().await.expect(200);
    assert_eq!(copied.header("x-amz-copy-source-version-id"), Some(old.as_str()));
    assert!(version(&copied) != old);
    assert_eq!(client.get(&bucket, "key").await.text(), "old");
    assert_eq!(list(&client, &bucket, &[]).await.xml_all("VersionId").len(), 3);
}

#[tokio::test]
async fn sixty_four_writers_leave_sixty_four_versions_and_one_newest() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "writers").await;
    let writers: Vec<_> = (0..64)
        .map(|number| {
            let (client, bucket) = (client.clone(), bucket.clone());
            tokio::spawn(async move { put(&client, &bucket, "key", &number.to_string()).await })
        })
        .collect();
    let mut ids = Vec::new();
    for writer in writers {
        ids.push(writer.await.expect("a writer does not panic"));
    }
    ids.sort();
    let listed = list(&client, &bucket, &[]).await;
    let mut listed_ids = listed.xml_all("VersionId");
    assert_eq!(listed.xml_all("IsLatest").iter().filter(|latest| *latest == "true").count(), 1);
    assert_eq!(listed_ids[0], version(&client.get(&bucket, "key").await));
    listed_ids.sort();
    assert_eq!(listed_ids, ids);
}

#[tokio::test]
async fn a_thousand_versions_of_one_key_are_listed_and_read() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "thousand").await;
    let mut ids = Vec::new();
    for number in 0..1_001 {
        ids.push(put(&client, &bucket, "key", &number.to_string()).await);
    }
    ids.reverse();
    let page = list(&client, &bucket, &[]).await;
    assert_eq!(page.xml_all("VersionId"), ids[..1_000]);
    assert_eq!(page.xml_all("NextVersionIdMarker"), [ids[999].as_str()]);
    assert_eq!(get_version(&client, &bucket, "key", &ids[500]).await.text(), "500");
}
