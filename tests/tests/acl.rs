//! ACLs and ownership, from outside: two accounts and somebody without a signature.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use cairn_tests::digest::checksum;
use cairn_tests::multipart::Upload;
use cairn_tests::wire::Reply;
use cairn_tests::xml::sections;
use cairn_tests::{Cairn, Call, Client, Config};

const OWNER_ID: &str = "0000000000000000000000000000000000000000000000000000000000000001";
const OTHER_ID: &str = "0000000000000000000000000000000000000000000000000000000000000002";
const OTHER_EMAIL: &str = "other@cairn.example";
const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";

/// A bucket of the first account in which ACLs count, and two who want to use it.
struct Scene {
    _cairn: Arc<Cairn>,
    owner: Client,
    other: Client,
    bucket: String,
}

impl Scene {
    async fn new(purpose: &str) -> Scene {
        Scene::with(purpose, "ObjectWriter", "private").await
    }

    async fn with(purpose: &str, ownership: &str, acl: &str) -> Scene {
        let cairn = Cairn::shared();
        let (owner, other) = (cairn.client(), cairn.other_client());
        let bucket = format!("acl-{purpose}");
        let create = owner.bucket("PUT", &bucket).header("x-amz-object-ownership", ownership);
        create.header("x-amz-acl", acl).send().await.expect(200);
        Scene { _cairn: cairn, owner, other, bucket }
    }

    async fn set_bucket_acl(&self, acl: &str) {
        self.owner.bucket("PUT", &self.bucket).query("acl", "").header("x-amz-acl", acl).send().await.expect(200);
    }

    async fn put_with_acl(&self, key: &str, acl: &str) {
        self.owner.object("PUT", &self.bucket, key).header("x-amz-acl", acl).body("content").send().await.expect(200);
    }

    fn object(&self, client: &Client, method: &str, key: &str) -> Call {
        client.object(method, &self.bucket, key)
    }
}

/// Every grant in an answer as `grantee permission`.
fn grants(reply: &Reply) -> Vec<String> {
    let text = reply.text();
    let of = |grant: &&str| {
        let reply = |name| cairn_tests::xml::text(grant, name);
        let grantee = reply("ID").or_else(|| reply("URI")).unwrap();
        let grantee = match grantee.as_str() {
            OWNER_ID => "owner",
            OTHER_ID => "other",
            uri => uri.rsplit('/').next().unwrap(),
        };
        format!("{grantee} {}", reply("Permission").unwrap())
    };
    sections(&text, "Grant").iter().map(of).collect()
}

fn owner_id(reply: &Reply) -> String {
    let text = reply.text();
    cairn_tests::xml::text(sections(&text, "Owner")[0], "ID").unwrap()
}

fn policy(owner: &str, grants: &[(&str, &str, &str)]) -> String {
    let grant = |(kind, grantee, permission): &(&str, &str, &str)| {
        format!(
            "<Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"{kind}\">{grantee}\
             </Grantee><Permission>{permission}</Permission></Grant>"
        )
    };
    let grants: String = grants.iter().map(grant).collect();
    format!(
        "<AccessControlPolicy xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner><ID>{owner}</ID></Owner>\
         <AccessControlList>{grants}</AccessControlList></AccessControlPolicy>"
    )
}

#[tokio::test]
async fn a_new_bucket_has_no_acls() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("acl-none").await;
    let controls = client.bucket("GET", &bucket).query("ownershipControls", "").send().await.expect(200);
    assert_eq!(controls.xml("ObjectOwnership"), "BucketOwnerEnforced");
    let unsupported = "AccessControlListNotSupported";
    let put = |acl| client.object("PUT", &bucket, "key").header("x-amz-acl", acl).body("x");
    for acl in ["public-read", "bucket-owner-read"] {
        put(acl).send().await.expect_error(400, unsupported);
    }
    for acl in ["bucket-owner-full-control", "private"] {
        put(acl).send().await.expect(200);
    }
    let full = format!("id={OWNER_ID}");
    let granted = client.object("PUT", &bucket, "key").header("x-amz-grant-full-control", &full).body("x");
    granted.send().await.expect(200);
    for (path, acl) in [(bucket.clone(), "private"), (format!("{bucket}/key"), "public-read")] {
        let call = client.call("PUT", &format!("/{path}")).query("acl", "").header("x-amz-acl", acl);
        call.send().await.expect_error(400, unsupported);
        let shown = client.call("GET", &format!("/{path}")).query("acl", "").send().await.expect(200);
        assert_eq!(grants(&shown), ["owner FULL_CONTROL"]);
    }
    let copy = client.object("PUT", &bucket, "copy").header("x-amz-copy-source", &format!("{bucket}/key"));
    copy.header("x-amz-acl", "public-read").send().await.expect_error(400, unsupported);
    let upload = client.object("POST", &bucket, "up").query("uploads", "").header("x-amz-acl", "authenticated-read");
    upload.send().await.expect_error(400, unsupported);
    assert_eq!(client.keys(&bucket).await, ["key"]);
}

#[tokio::test]
async fn the_configuration_says_what_new_buckets_start_with() {
    let cairn = Cairn::start(Config { object_ownership: Some("BucketOwnerPreferred"), ..Config::default() });
    let client = cairn.client();
    let bucket = client.fresh_bucket("acl-default").await;
    let controls = client.bucket("GET", &bucket).query("ownershipControls", "").send().await.expect(200);
    assert_eq!(controls.xml("ObjectOwnership"), "BucketOwnerPreferred");
}

#[tokio::test]
async fn canned_acls_of_objects_let_in_whom_they_name() {
    let scene = Scene::new("canned").await;
    for (acl, other, anonymous) in [
        ("private", 403, 403),
        ("public-read", 200, 200),
        ("authenticated-read", 200, 403),
        ("aws-exec-read", 403, 403),
    ] {
        scene.put_with_acl("key", acl).await;
        for method in ["GET", "HEAD"] {
            scene.object(&scene.owner, method, "key").send().await.expect(200);
            assert_eq!(scene.object(&scene.other, method, "key").send().await.status, other, "{acl} {method}");
            let stranger = scene.object(&scene.other, method, "key").anonymous().send().await;
            assert_eq!(stranger.status, anonymous, "{acl} {method}");
        }
        let attributes = scene.object(&scene.other, "GET", "key").query("attributes", "");
        let attributes = attributes.header("x-amz-object-attributes", "ETag").send().await;
        assert_eq!(attributes.status, other, "{acl}");
        let copy = scene.other.fresh_bucket("acl-copies").await;
        let copy = scene.other.object("PUT", &copy, "copy");
        let copy = copy.header("x-amz-copy-source", &format!("{}/key", scene.bucket)).send().await;
        assert_eq!(copy.status, other, "{acl}");
    }
    // What an object's ACL grants, its bucket does not.
    scene.other.bucket("GET", &scene.bucket).send().await.expect_error(403, "AccessDenied");
}

#[tokio::test]
async fn canned_acls_of_buckets_let_in_whom_they_name() {
    let scene = Scene::new("canned-bucket").await;
    scene.owner.put(&scene.bucket, "key", "content").await;
    for (acl, read, write) in [
        ("private", 403, 403),
        ("public-read", 200, 403),
        ("public-read-write", 200, 200),
        ("log-delivery-write", 403, 403),
    ] {
        scene.set_bucket_acl(acl).await;
        for anonymous in [false, true] {
            let as_whom = |call: Call| if anonymous { call.anonymous() } else { call };
            for call in [
                scene.other.bucket("GET", &scene.bucket),
                scene.other.bucket("GET", &scene.bucket).query("list-type", "2"),
                scene.other.bucket("HEAD", &scene.bucket),
                scene.other.bucket("GET", &scene.bucket).query("uploads", ""),
            ] {
                assert_eq!(as_whom(call).send().await.status, read, "{acl}");
            }
            let put = as_whom(scene.object(&scene.other, "PUT", "new").body("x")).send().await;
            assert_eq!(put.status, write, "{acl}");
            let delete = as_whom(scene.object(&scene.other, "DELETE", "new")).send().await;
            assert_eq!(delete.status, if write == 200 { 204 } else { 403 }, "{acl}");
            // Reading an object is for its own ACL to grant.
            assert_eq!(as_whom(scene.object(&scene.other, "GET", "key")).send().await.status, 403, "{acl}");
        }
    }
    assert_eq!(scene.owner.keys(&scene.bucket).await, ["key"]);
}

#[tokio::test]
async fn no_acl_grants_what_is_the_bucket_owners() {
    let scene = Scene::with("owners-only", "ObjectWriter", "public-read-write").await;
    scene.owner.put(&scene.bucket, "key", "content").await;
    for call in [
        scene.other.bucket("DELETE", &scene.bucket),
        scene.other.bucket("GET", &scene.bucket).query("location", ""),
        scene.other.bucket("GET", &scene.bucket).query("acl", ""),
        scene.other.bucket("PUT", &scene.bucket).query("acl", "").header("x-amz-acl", "private"),
        scene.other.bucket("GET", &scene.bucket).query("ownershipControls", ""),
        scene.other.bucket("PUT", &scene.bucket).query("versioning", "").body("<VersioningConfiguration/>"),
        scene.other.bucket("GET", &scene.bucket).query("requestPayment", ""),
        scene.object(&scene.other, "DELETE", "key").query("versionId", "null"),
        scene.object(&scene.other, "GET", "key").query("acl", ""),
        scene.object(&scene.other, "PUT", "key").query("acl", "").header("x-amz-acl", "private"),
    ] {
        call.clone().send().await.expect_error(403, "AccessDenied");
        call.anonymous().send().await.expect_error(403, "AccessDenied");
    }
    assert_eq!(scene.owner.keys(&scene.bucket).await, ["key"]);
}

#[tokio::test]
async fn deletions_of_several_keys_are_decided_one_by_one() {
    let scene = Scene::with("delete-several", "ObjectWriter", "public-read-write").await;
    for key in ["a", "b"] {
        scene.owner.put(&scene.bucket, key, "content").await;
    }
    let body = "<Delete><Object><Key>a</Key></Object><Object><Key>b</Key><VersionId>null</VersionId></Object></Delete>";
    let call = scene.other.bucket("POST", &scene.bucket).query("delete", "");
    let reply = call.header("x-amz-checksum-crc32", &checksum("CRC32", body.as_bytes())).body(body).send().await;
    let text = reply.expect(200).text();
    assert_eq!(cairn_tests::xml::text(sections(&text, "Deleted")[0], "Key").unwrap(), "a");
    assert_eq!(cairn_tests::xml::text(sections(&text, "Error")[0], "Code").unwrap(), "AccessDenied");
    assert_eq!(scene.owner.keys(&scene.bucket).await, ["b"]);
}

#[tokio::test]
async fn grants_in_headers_name_accounts_by_id_email_and_group() {
    let scene = Scene::new("headers").await;
    let put = scene.object(&scene.owner, "PUT", "key").body("content");
    let put = put.header("x-amz-grant-read", &format!("uri=\"{ALL_USERS}\", id=\"{OTHER_ID}\""));
    let put = put.header("x-amz-grant-write-acp", &format!("emailAddress=\"{OTHER_EMAIL}\""));
    put.send().await.expect(200);
    let acl = scene.object(&scene.owner, "GET", "key").query("acl", "").send().await.expect(200);
    assert_eq!(grants(&acl), ["AllUsers READ", "other READ", "other WRITE_ACP"]);
    assert!(acl.text().contains("<DisplayName>other</DisplayName>"), "{}", acl.text());
    assert_eq!(owner_id(&acl), OWNER_ID);
    // Who may write the ACL can give itself the rest.
    scene.object(&scene.other, "GET", "key").query("acl", "").send().await.expect_error(403, "AccessDenied");
    let more = scene.object(&scene.other, "PUT", "key").query("acl", "");
    more.header("x-amz-grant-full-control", &format!("id={OTHER_ID}")).send().await.expect(200);
    let acl = scene.object(&scene.other, "GET", "key").query("acl", "").send().await.expect(200);
    assert_eq!((grants(&acl), owner_id(&acl)), (vec!["other FULL_CONTROL".to_owned()], OWNER_ID.to_owned()));
}

#[tokio::test]
async fn documents_set_acls_and_are_shown_again() {
    let scene = Scene::new("documents").await;
    scene.owner.put(&scene.bucket, "key", "content").await;
    let granted = policy(
        OWNER_ID,
        &[
            ("CanonicalUser", &format!("<ID>{OWNER_ID}</ID>"), "FULL_CONTROL"),
            ("AmazonCustomerByEmail", &format!("<EmailAddress>{OTHER_EMAIL}</EmailAddress>"), "READ"),
            ("Group", &format!("<URI>{ALL_USERS}</URI>"), "READ_ACP"),
        ],
    );
    for path in [format!("/{}", scene.bucket), format!("/{}/key", scene.bucket)] {
        scene.owner.call("PUT", &path).query("acl", "").body(granted.clone()).send().await.expect(200);
        let acl = scene.owner.call("GET", &path).query("acl", "").anonymous().send().await.expect(200);
        assert_eq!(grants(&acl), ["AllUsers READ_ACP", "owner FULL_CONTROL", "other READ"]);
        scene.other.call("GET", &path).send().await.expect(200);
        // What is shown can be sent back.
        scene.owner.call("PUT", &path).query("acl", "").body(acl.body.clone()).send().await.expect(200);
        scene.owner.call("PUT", &path).query("acl", "").body(policy(OWNER_ID, &[])).send().await.expect(200);
        scene.other.call("GET", &path).send().await.expect_error(403, "AccessDenied");
        scene.owner.call("GET", &path).send().await.expect(200);
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_acl_is_named_and_changes_nothing() {
    let scene = Scene::with("wrong", "ObjectWriter", "public-read").await;
    scene.owner.put(&scene.bucket, "key", "content").await;
    let id = |id: &str| format!("<ID>{id}</ID>");
    let user = |grantee: &str| policy(OWNER_ID, &[("CanonicalUser", grantee, "READ")]);
    let too_many = vec![("CanonicalUser", "<ID>1</ID>", "READ"); 101];
    for (body, status, code) in [
        ("<AccessControlPolicy>".to_owned(), 400, "MalformedACLError"),
        (user(""), 400, "MalformedACLError"),
        (policy(OWNER_ID, &[("CanonicalUser", &id(OWNER_ID), "EVERYTHING")]), 400, "MalformedACLError"),
        (user(&id("_foo")), 400, "InvalidArgument"),
        (policy(OWNER_ID, &too_many), 400, "InvalidArgument"),
        (policy(OWNER_ID, &[("Group", "<URI>http://x</URI>", "READ")]), 400, "InvalidArgument"),
        (
            policy(OWNER_ID, &[("AmazonCustomerByEmail", "<EmailAddress>x@y</EmailAddress>", "READ")]),
            400,
            "UnresolvableGrantByEmailAddress",
        ),
        (policy(OTHER_ID, &[("CanonicalUser", &id(OTHER_ID), "FULL_CONTROL")]), 403, "AccessDenied"),
        (String::new(), 400, "MissingSecurityHeader"),
    ] {
        for path in [format!("/{}", scene.bucket), format!("/{}/key", scene.bucket)] {
            let call = scene.owner.call("PUT", &path).query("acl", "").body(body.clone());
            call.send().await.expect_error(status, code);
        }
    }
    let put = |name, value: &str| scene.owner.bucket("PUT", &scene.bucket).query("acl", "").header(name, value);
    put("x-amz-acl", "open").send().await.expect_error(400, "InvalidArgument");
    put("x-amz-grant-read", "id=nobody").send().await.expect_error(400, "InvalidArgument");
    let both = put("x-amz-acl", "private").header("x-amz-grant-read", &format!("id={OTHER_ID}"));
    both.send().await.expect_error(400, "InvalidRequest");
    let with_body = put("x-amz-acl", "private").body(user(&id(OWNER_ID)));
    with_body.send().await.expect_error(400, "UnexpectedContent");
    let missing = scene.object(&scene.owner, "PUT", "missing").query("acl", "").header("x-amz-acl", "private");
    missing.send().await.expect_error(404, "NoSuchKey");
    let acl = scene.owner.bucket("GET", &scene.bucket).query("acl", "").send().await.expect(200);
    assert_eq!(grants(&acl), ["AllUsers READ", "owner FULL_CONTROL"]);
}

#[tokio::test]
async fn each_version_has_its_own_acl() {
    let scene = Scene::new("versions").await;
    let enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    scene.owner.bucket("PUT", &scene.bucket).query("versioning", "").body(enable).send().await.expect(200);
    let first = scene.owner.put(&scene.bucket, "key", "one").await.header("x-amz-version-id").unwrap().to_owned();
    scene.owner.put(&scene.bucket, "key", "two").await;
    let of_first = |client: &Client, method| scene.object(client, method, "key").query("versionId", &first);
    let put = of_first(&scene.owner, "PUT").query("acl", "").header("x-amz-acl", "public-read");
    put.send().await.expect(200);
    let got = of_first(&scene.other, "GET").anonymous().send().await.expect(200);
    assert_eq!(got.text(), "one");
    scene.object(&scene.other, "GET", "key").send().await.expect_error(403, "AccessDenied");
    let acl = of_first(&scene.owner, "GET").query("acl", "").send().await.expect(200);
    assert_eq!(grants(&acl), ["AllUsers READ", "owner FULL_CONTROL"]);
    let newest = scene.object(&scene.owner, "GET", "key").query("acl", "").send().await.expect(200);
    assert_eq!(grants(&newest), ["owner FULL_CONTROL"]);
    // A version for good is for the bucket's owner to remove, whatever WRITE there is.
    scene.set_bucket_acl("public-read-write").await;
    of_first(&scene.other, "DELETE").send().await.expect_error(403, "AccessDenied");
    scene.object(&scene.other, "DELETE", "key").send().await.expect(204);
    of_first(&scene.owner, "GET").send().await.expect(200);
}

#[tokio::test]
async fn a_writer_owns_its_objects_where_the_bucket_says_so() {
    let scene = Scene::with("writer", "ObjectWriter", "public-read-write").await;
    scene.other.put(&scene.bucket, "theirs", "content").await;
    let listed = scene.owner.bucket("GET", &scene.bucket).send().await.expect(200);
    assert_eq!(owner_id(&listed), OTHER_ID);
    assert_eq!(listed.xml("DisplayName"), "other");
    for call in [
        scene.object(&scene.owner, "GET", "theirs"),
        scene.object(&scene.owner, "GET", "theirs").query("acl", ""),
        scene.object(&scene.owner, "PUT", "theirs").query("acl", "").header("x-amz-acl", "public-read"),
    ] {
        call.send().await.expect_error(403, "AccessDenied");
    }
    let copy = scene.object(&scene.owner, "PUT", "copy");
    let copy = copy.header("x-amz-copy-source", &format!("{}/theirs", scene.bucket));
    copy.send().await.expect_error(403, "AccessDenied");
    let acl = scene.object(&scene.other, "GET", "theirs").query("acl", "").send().await.expect(200);
    assert_eq!((grants(&acl), owner_id(&acl)), (vec!["other FULL_CONTROL".to_owned()], OTHER_ID.to_owned()));
    let grant = scene.object(&scene.other, "PUT", "theirs").query("acl", "").header("x-amz-acl", "bucket-owner-read");
    grant.send().await.expect(200);
    scene.object(&scene.owner, "GET", "theirs").send().await.expect(200);
    scene.object(&scene.owner, "DELETE", "theirs").send().await.expect(204);
}

#[tokio::test]
async fn what_a_stranger_writes_is_the_bucket_owners() {
    let scene = Scene::with("stranger", "ObjectWriter", "public-read-write").await;
    scene.object(&scene.other, "PUT", "key").anonymous().body("content").send().await.expect(200);
    let listed = scene.owner.bucket("GET", &scene.bucket).send().await.expect(200);
    assert_eq!(owner_id(&listed), OWNER_ID);
    scene.object(&scene.owner, "GET", "key").send().await.expect(200);
    scene.object(&scene.other, "GET", "key").anonymous().send().await.expect_error(403, "AccessDenied");
    let shared = scene.object(&scene.other, "PUT", "shared").anonymous().header("x-amz-acl", "public-read").body("x");
    shared.send().await.expect_error(403, "AccessDenied");
    let upload = scene.object(&scene.other, "POST", "large").anonymous().query("uploads", "");
    upload.send().await.expect_error(403, "AccessDenied");
}

#[tokio::test]
async fn a_preferred_owner_gets_what_is_given_to_it() {
    let scene = Scene::with("preferred", "BucketOwnerPreferred", "public-read-write").await;
    scene.other.put(&scene.bucket, "kept", "content").await;
    let given = scene.object(&scene.other, "PUT", "given").header("x-amz-acl", "bucket-owner-full-control");
    given.body("content").send().await.expect(200);
    let upload = scene.object(&scene.other, "POST", "upload").query("uploads", "");
    let upload = upload.header("x-amz-acl", "bucket-owner-full-control").send().await.expect(200).xml("UploadId");
    let parts = scene.object(&scene.other, "GET", "upload").query("uploadId", &upload).send().await.expect(200);
    assert_eq!(owner_id(&parts), OWNER_ID);
    let initiator = parts.text();
    assert_eq!(cairn_tests::xml::text(sections(&initiator, "Initiator")[0], "ID").unwrap(), OTHER_ID);
    let listed = scene.owner.bucket("GET", &scene.bucket).send().await.expect(200).text();
    let owners: Vec<String> =
        sections(&listed, "Owner").iter().map(|owner| cairn_tests::xml::text(owner, "ID").unwrap()).collect();
    assert_eq!(owners, [OWNER_ID, OTHER_ID]);
}

#[tokio::test]
async fn an_upload_is_for_its_initiator_and_the_buckets_owner() {
    let scene = Scene::with("uploads", "ObjectWriter", "public-read-write").await;
    let theirs = Upload::create(&scene.owner, &scene.bucket, "key").await;
    let on = |method, id: &str| scene.object(&scene.other, method, "key").query("uploadId", id);
    for call in [
        on("GET", &theirs.id),
        on("DELETE", &theirs.id),
        on("PUT", &theirs.id).query("partNumber", "1").body("x"),
        on("POST", &theirs.id).body("<CompleteMultipartUpload/>"),
    ] {
        call.clone().send().await.expect_error(403, "AccessDenied");
        call.anonymous().send().await.expect_error(403, "AccessDenied");
    }
    let own = Upload::create(&scene.other, &scene.bucket, "key").await;
    on("PUT", &own.id).query("partNumber", "1").body("x").send().await.expect(200);
    let listed = scene.owner.bucket("GET", &scene.bucket).query("uploads", "").send().await.expect(200).text();
    let initiators: Vec<String> =
        sections(&listed, "Initiator").iter().map(|one| cairn_tests::xml::text(one, "ID").unwrap()).collect();
    assert_eq!(initiators, [OWNER_ID, OTHER_ID]);
    on("DELETE", &own.id).send().await.expect(204);
    let ended = Upload::create(&scene.other, &scene.bucket, "key").await;
    scene.object(&scene.owner, "DELETE", "key").query("uploadId", &ended.id).send().await.expect(204);
}

#[tokio::test]
async fn acls_are_switched_off_only_where_the_bucket_grants_nobody_anything() {
    let scene = Scene::with("controls", "ObjectWriter", "public-read").await;
    scene.put_with_acl("key", "public-read").await;
    let controls = |method| scene.owner.bucket(method, &scene.bucket).query("ownershipControls", "");
    let document =
        |name| format!("<OwnershipControls><Rule><ObjectOwnership>{name}</ObjectOwnership></Rule></OwnershipControls>");
    let enforced = document("BucketOwnerEnforced");
    let refused = controls("PUT").body(enforced.clone()).send().await;
    refused.expect_error(400, "InvalidBucketAclWithObjectOwnership");
    controls("PUT").body(document("Anybody")).send().await.expect_error(400, "MalformedXML");
    assert_eq!(controls("GET").send().await.expect(200).xml("ObjectOwnership"), "ObjectWriter");
    scene.set_bucket_acl("private").await;
    controls("PUT").body(enforced).send().await.expect(200);
    // The object's ACL is still there and does not count.
    scene.object(&scene.other, "GET", "key").send().await.expect_error(403, "AccessDenied");
    controls("DELETE").send().await.expect(204);
    controls("DELETE").send().await.expect(204);
    controls("GET").send().await.expect_error(404, "OwnershipControlsNotFoundError");
    scene.object(&scene.other, "GET", "key").send().await.expect(200);
}

#[tokio::test]
async fn where_acls_are_off_everything_is_the_bucket_owners() {
    let scene = Scene::with("taken-over", "ObjectWriter", "public-read-write").await;
    scene.other.put(&scene.bucket, "key", "content").await;
    scene.set_bucket_acl("private").await;
    let enforced = "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>\
                    </OwnershipControls>";
    let put = scene.owner.bucket("PUT", &scene.bucket).query("ownershipControls", "").body(enforced);
    put.send().await.expect(200);
    assert_eq!(scene.owner.get(&scene.bucket, "key").await.expect(200).text(), "content");
    scene.other.get(&scene.bucket, "key").await.expect_error(403, "AccessDenied");
    let listed = scene.owner.bucket("GET", &scene.bucket).send().await.expect(200);
    assert_eq!(owner_id(&listed), OWNER_ID);
}

#[tokio::test]
async fn a_bucket_without_acls_is_not_created_with_one() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let create = |name: &str, acl: &str| client.bucket("PUT", name).header("x-amz-acl", acl);
    create("acl-refused", "public-read").send().await.expect_error(400, "InvalidBucketAclWithObjectOwnership");
    let unknown = client.bucket("PUT", "acl-refused").header("x-amz-object-ownership", "Nobody");
    unknown.send().await.expect_error(400, "InvalidArgument");
    client.bucket("HEAD", "acl-refused").send().await.expect(404);
    create("acl-accepted", "private").send().await.expect(200);
    let writer = create("acl-created", "public-read").header("x-amz-object-ownership", "ObjectWriter");
    writer.send().await.expect(200);
    client.bucket("GET", "acl-created").anonymous().send().await.expect(200);
    // Created again, it gets the ACL of the new request.
    client.bucket("PUT", "acl-created").send().await.expect(200);
    client.bucket("GET", "acl-created").anonymous().send().await.expect_error(403, "AccessDenied");
}

#[tokio::test]
async fn who_may_not_list_does_not_learn_what_is_not_there() {
    let scene = Scene::new("missing").await;
    let enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    scene.owner.bucket("PUT", &scene.bucket).query("versioning", "").body(enable).send().await.expect(200);
    scene.put_with_acl("deleted", "public-read").await;
    scene.owner.delete(&scene.bucket, "deleted").await;
    let version = "0123456789abcdef0123456789abcdef";
    for (acl, status) in [("private", 403), ("public-read", 404)] {
        scene.set_bucket_acl(acl).await;
        for key in ["missing", "deleted"] {
            for method in ["GET", "HEAD"] {
                let reply = scene.object(&scene.other, method, key).send().await;
                assert_eq!(reply.status, status, "{acl} {method} {key}");
                let marker = reply.header("x-amz-delete-marker");
                assert_eq!(marker.is_some(), status == 404 && key == "deleted", "{acl} {method} {key}");
            }
            let of_version = scene.object(&scene.other, "GET", key).query("versionId", version).send().await;
            assert_eq!(of_version.status, status, "{acl} {key}");
        }
        let copy = scene.other.fresh_bucket("acl-copy-missing").await;
        let copy = scene.other.object("PUT", &copy, "copy");
        let copy = copy.header("x-amz-copy-source", &format!("{}/missing", scene.bucket)).send().await;
        assert_eq!(copy.status, status, "{acl}");
    }
    scene.object(&scene.owner, "GET", "missing").send().await.expect_error(404, "NoSuchKey");
}

#[tokio::test]
async fn strangers_cannot_change_an_answers_headers() {
    let scene = Scene::new("overrides").await;
    scene.put_with_acl("key", "public-read").await;
    let get = || scene.object(&scene.other, "GET", "key").query("response-content-type", "text/html");
    get().anonymous().send().await.expect_error(400, "InvalidRequest");
    assert_eq!(get().send().await.expect(200).header("content-type"), Some("text/html"));
}

#[tokio::test]
async fn requesters_pay_where_the_bucket_says_so() {
    let scene = Scene::with("payment", "ObjectWriter", "public-read-write").await;
    scene.put_with_acl("key", "public-read").await;
    let payment = |method| scene.owner.bucket(method, &scene.bucket).query("requestPayment", "");
    let document = |payer| format!("<RequestPaymentConfiguration><Payer>{payer}</Payer></RequestPaymentConfiguration>");
    assert_eq!(payment("GET").send().await.expect(200).xml("Payer"), "BucketOwner");
    payment("PUT").body(document("Somebody")).send().await.expect_error(400, "MalformedXML");
    payment("PUT").body(document("Requester")).send().await.expect(200);
    assert_eq!(payment("GET").send().await.expect(200).xml("Payer"), "Requester");
    let calls = || {
        [
            scene.object(&scene.other, "GET", "key"),
            scene.object(&scene.other, "PUT", "new").body("x"),
            scene.other.bucket("GET", &scene.bucket),
        ]
    };
    let header = "x-amz-request-payer";
    let charged = "x-amz-request-charged";
    for (refused, accepted) in calls().into_iter().zip(calls()) {
        refused.clone().send().await.expect_error(403, "AccessDenied");
        refused.clone().header(header, "somebody").send().await.expect_error(403, "AccessDenied");
        refused.header(header, "requester").anonymous().send().await.expect_error(403, "AccessDenied");
        let reply = accepted.header(header, "requester").send().await.expect(200);
        assert_eq!(reply.header(charged), Some("requester"));
    }
    let by_url = scene.object(&scene.other, "GET", "key").query(header, "requester").presigned(60);
    assert_eq!(by_url.send().await.expect(200).header(charged), Some("requester"));
    let copies = scene.other.fresh_bucket("acl-paid-copies").await;
    let copy = || {
        let source = format!("{}/key", scene.bucket);
        scene.other.object("PUT", &copies, "copy").header("x-amz-copy-source", &source)
    };
    copy().send().await.expect_error(403, "AccessDenied");
    copy().header(header, "requester").send().await.expect(200);
    let own = scene.object(&scene.owner, "GET", "key").send().await.expect(200);
    assert_eq!(own.header(charged), None);
    payment("PUT").body(document("BucketOwner")).send().await.expect(200);
    assert_eq!(scene.object(&scene.other, "GET", "key").send().await.expect(200).header(charged), None);
}

#[tokio::test]
async fn write_permission_is_none_to_lock_or_tag() {
    let scene = Scene::with("lock-or-tag", "ObjectWriter", "public-read-write").await;
    for (name, value) in [("x-amz-tagging", "a=b"), ("x-amz-object-lock-legal-hold", "ON")] {
        for (method, query) in [("PUT", None), ("POST", Some("uploads"))] {
            let call = || {
                let call = scene.object(&scene.other, method, "key").header(name, value);
                query.map_or(call.clone(), |query| call.query(query, ""))
            };
            call().send().await.expect_error(403, "AccessDenied");
            call().anonymous().send().await.expect_error(403, "AccessDenied");
        }
    }
    assert!(scene.owner.keys(&scene.bucket).await.is_empty());
}

#[tokio::test]
async fn tags_are_not_copied_by_who_may_not_read_them() {
    let scene = Scene::new("copied-tags").await;
    let put = scene.object(&scene.owner, "PUT", "key").header("x-amz-acl", "public-read");
    put.header("x-amz-tagging", "a=b").body("content").send().await.expect(200);
    scene.object(&scene.other, "GET", "key").query("tagging", "").send().await.expect_error(403, "AccessDenied");
    let copies = scene.other.fresh_bucket("acl-untagged").await;
    let copy = || {
        let source = format!("{}/key", scene.bucket);
        scene.other.object("PUT", &copies, "copy").header("x-amz-copy-source", &source)
    };
    copy().send().await.expect_error(403, "AccessDenied");
    copy().header("x-amz-tagging-directive", "REPLACE").send().await.expect(200);
    scene
        .object(&scene.owner, "PUT", "copy")
        .header("x-amz-copy-source", &format!("{}/key", scene.bucket))
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn acls_survive_a_restart() {
    let mut cairn = Cairn::start(Config { object_ownership: Some("ObjectWriter"), ..Config::default() });
    let client = cairn.client();
    let bucket = client.fresh_bucket("acl-kept").await;
    client.bucket("PUT", &bucket).query("acl", "").header("x-amz-acl", "public-read").send().await.expect(200);
    client.object("PUT", &bucket, "key").header("x-amz-acl", "public-read").body("x").send().await.expect(200);
    cairn.restart();
    client.bucket("GET", &bucket).anonymous().send().await.expect(200);
    client.object("GET", &bucket, "key").anonymous().send().await.expect(200);
    cairn.stop();
    let (status, printed) = cairn.check();
    assert_eq!(status, Some(0), "{printed}");
}
