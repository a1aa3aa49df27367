//! Buckets as websites: what a browser sees at the website's listener.

#![allow(clippy::unwrap_used)]

use cairn_tests::client::{Client, REGION};
use cairn_tests::multipart::Upload;
use cairn_tests::wire::exchange_raw;
use cairn_tests::{Cairn, Call, Config, Reply};
use serde_json::json;

const INDEX: &str = "<IndexDocument><Suffix>index.html</Suffix></IndexDocument>";
const ERROR: &str = "<ErrorDocument><Key>error.html</Key></ErrorDocument>";

/// A bucket that is a website, and who asks for its pages.
struct Site {
    cairn: Cairn,
    client: Client,
    bucket: &'static str,
}

impl Site {
    /// What everybody may do there: to read, and perhaps to list.
    async fn new(configuration: &str, actions: &[&str]) -> Site {
        let cairn = Cairn::start(Config { website: true, ..Config::default() });
        let site = Site { client: cairn.client(), cairn, bucket: "my.site" };
        site.client.bucket("PUT", site.bucket).send().await.expect(200);
        for key in ["index.html", "docs/index.html", "page.html", "a <b>&\"'/index.html", "/evil.com/index.html"] {
            let put = site.client.object("PUT", site.bucket, key).header("content-type", "text/html");
            put.body(format!("content of {key}")).send().await.expect(200);
        }
        if !actions.is_empty() {
            let arn = format!("arn:aws:s3:::{}", site.bucket);
            let statement = json!({
                "Effect": "Allow", "Principal": "*", "Action": actions, "Resource": [arn.clone(), format!("{arn}/*")],
            });
            let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
            let put = site.client.bucket("PUT", site.bucket).query("policy", "").body(policy);
            put.send().await.expect(204);
        }
        site.configure(configuration).await.expect(200);
        site
    }

    async fn readable(configuration: &str) -> Site {
        Site::new(configuration, &["s3:GetObject", "s3:ListBucket"]).await
    }

    async fn configure(&self, configuration: &str) -> Reply {
        let document = format!("<WebsiteConfiguration>{configuration}</WebsiteConfiguration>");
        self.client.bucket("PUT", self.bucket).query("website", "").body(document).send().await
    }

    fn host(&self) -> String {
        format!("{}.s3-website.localhost:{}", self.bucket, self.cairn.website().port())
    }

    async fn ask(&self, method: &str, path: &str, headers: &str) -> Reply {
        self.ask_host(&self.host(), method, path, headers).await
    }

    async fn ask_host(&self, host: &str, method: &str, path: &str, headers: &str) -> Reply {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{headers}connection: close\r\n\r\n");
        let mut connection = cairn_tests::wire::Connection::open(self.cairn.website()).await.unwrap();
        connection.exchange(method, head.as_bytes(), b"").await.unwrap()
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "").await
    }

    async fn location(&self, path: &str) -> (u16, String) {
        let reply = self.get(path).await;
        (reply.status, reply.header("location").unwrap_or_default().to_owned())
    }
}

#[tokio::test]
async fn pages_folders_and_errors_are_found() {
    let site = Site::readable(&format!("{INDEX}{ERROR}")).await;
    for (path, content) in [
        ("/", "content of index.html"),
        ("/?x=y&versionId=nonsense", "content of index.html"),
        ("/page.html", "content of page.html"),
        ("/docs/", "content of docs/index.html"),
        ("/docs/index.html", "content of docs/index.html"),
        ("/p%61ge.html", "content of page.html"),
    ] {
        let reply = site.get(path).await.expect(200);
        assert_eq!((reply.text().as_str(), reply.header("content-type")), (content, Some("text/html")), "{path}");
    }
    assert_eq!(site.location("/docs").await, (302, "/docs/".to_owned()));

    let reply = site.get("/missing").await.expect(404);
    assert!(reply.text().contains("<li>Code: NoSuchKey</li>"), "{}", reply.text());
    assert!(reply.text().contains("Retrieve a Custom Error Document</h3>"), "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    let error = site.client.object("PUT", site.bucket, "error.html").header("content-type", "text/html");
    error.body("nothing here").send().await.expect(200);
    let reply = site.ask("GET", "/missing", "range: bytes=0-3\r\nif-none-match: *\r\n").await.expect(404);
    assert_eq!((reply.text().as_str(), reply.header("x-amz-error-code")), ("nothing here", Some("NoSuchKey")));
    site.get("/missing/").await.expect(404);
    let reply = site.ask("HEAD", "/missing", "").await.expect(404);
    assert_eq!((reply.body.len(), reply.header("content-length")), (0, Some("12")));
}

#[tokio::test]
async fn conditions_ranges_and_heads_are_those_of_get_object() {
    let site = Site::readable(INDEX).await;
    let whole = site.get("/page.html").await.expect(200);
    let reply = site.ask("GET", "/page.html", "range: bytes=0-6\r\n").await.expect(206);
    assert_eq!((reply.text().as_str(), reply.header("content-range")), ("content", Some("bytes 0-6/20")));
    let reply = site.ask("HEAD", "/page.html", "").await.expect(200);
    assert_eq!((reply.body.len(), reply.header("content-length")), (0, Some("20")));
    let condition = format!("if-none-match: {}\r\n", whole.etag());
    let reply = site.ask("GET", "/page.html", &condition).await.expect(304);
    assert_eq!((reply.body.len(), reply.etag()), (0, whole.etag()));
    site.ask("GET", "/page.html", "if-match: \"other\"\r\n").await.expect(412);
    site.ask("GET", "/page.html", "range: bytes=100-\r\n").await.expect(416);
    for method in ["PUT", "POST", "DELETE", "PATCH"] {
        let reply = site.ask(method, "/page.html", "").await.expect(405);
        assert!(reply.text().contains("<li>Code: MethodNotAllowed</li>"), "{method}");
    }
    assert_eq!(site.get("/page.html").await.text(), "content of page.html");
}

#[tokio::test]
async fn only_what_everybody_may_read_is_shown() {
    let site = Site::new(INDEX, &[]).await;
    for path in ["/", "/page.html", "/missing", "/docs"] {
        let reply = site.get(path).await.expect(403);
        assert!(reply.text().contains("<li>Code: AccessDenied</li>"), "{path}");
    }
    // Credentials mean nothing here.
    let mut signed = site.client.object("GET", site.bucket, "page.html").host(&site.host()).build();
    signed.target = "/page.html".to_owned();
    signed.send(site.cairn.website()).await.unwrap().expect(403);
    // Who may not list is not told what is missing.
    let site = Site::new(INDEX, &["s3:GetObject"]).await;
    site.get("/page.html").await.expect(200);
    site.get("/missing").await.expect(403);
    assert_eq!(site.location("/docs").await, (302, "/docs/".to_owned()));
    // What is blocked, no policy opens.
    let block = "<PublicAccessBlockConfiguration><RestrictPublicBuckets>true</RestrictPublicBuckets>\
                 </PublicAccessBlockConfiguration>";
    let put = site.client.bucket("PUT", site.bucket).query("publicAccessBlock", "").body(block);
    put.send().await.expect(200);
    site.get("/page.html").await.expect(403);
}

#[tokio::test]
async fn redirects_go_where_rules_and_objects_say() {
    let rule = |condition: &str, redirect: &str| {
        format!("<RoutingRule>{condition}<Redirect>{redirect}</Redirect></RoutingRule>")
    };
    let prefix = |prefix: &str| format!("<Condition><KeyPrefixEquals>{prefix}</KeyPrefixEquals></Condition>");
    let rules = [
        rule(&prefix("old/"), "<ReplaceKeyPrefixWith>new/</ReplaceKeyPrefixWith>"),
        rule(
            &prefix("away/"),
            "<HostName>example.com</HostName><HttpRedirectCode>307</HttpRedirectCode><Protocol>https</Protocol>",
        ),
        rule(
            "<Condition><HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals></Condition>",
            "<ReplaceKeyPrefixWith>report?missing=</ReplaceKeyPrefixWith>",
        ),
    ];
    let site = Site::readable(&format!("{INDEX}<RoutingRules>{}</RoutingRules>", rules.concat())).await;
    let own = format!("http://{}", site.host());
    for (path, status, location) in [
        ("/old/a%20b", 301, format!("{own}/new/a%20b")),
        ("/away/x", 307, "https://example.com/away/x".to_owned()),
        ("/missing", 301, format!("{own}/report?missing=missing")),
    ] {
        assert_eq!(site.location(path).await, (status, location), "{path}");
    }
    for (key, location) in [("moved", "https://example.com/x"), ("local", "/page.html")] {
        let put = site.client.object("PUT", site.bucket, key).header("x-amz-website-redirect-location", location);
        put.body("unseen").send().await.expect(200);
        let reply = site.get(&format!("/{key}")).await.expect(301);
        assert_eq!((reply.header("location"), reply.body.len()), (Some(location), 0));
        let head = site.client.head(site.bucket, key).await.expect(200);
        assert_eq!(head.header("x-amz-website-redirect-location"), Some(location));
    }
    let copy =
        site.client.object("PUT", site.bucket, "copy").header("x-amz-copy-source", &format!("{}/moved", site.bucket));
    copy.header("x-amz-website-redirect-location", "/copied").send().await.expect(200);
    assert_eq!(site.location("/copy").await, (301, "/copied".to_owned()));

    let all =
        "<RedirectAllRequestsTo><HostName>example.com</HostName><Protocol>https</Protocol></RedirectAllRequestsTo>";
    site.configure(all).await.expect(200);
    assert_eq!(site.location("/a%20b/?c=d").await, (301, "https://example.com/a%20b/?c=d".to_owned()));
}

#[tokio::test]
async fn an_upload_in_parts_redirects_once_it_is_complete() {
    let site = Site::readable(INDEX).await;
    let redirecting = |call: Call| call.header("x-amz-website-redirect-location", "/page.html");
    let upload = Upload::create_with(&site.client, site.bucket, "moved", redirecting).await;
    let etag = upload.upload(1, "unseen").await;
    site.get("/moved").await.expect(404);
    upload.complete(&[(1, etag)]).send().await.expect(200);
    let reply = site.get("/moved").await.expect(301);
    assert_eq!((reply.header("location"), reply.body.len()), (Some("/page.html"), 0));
    // The object itself is as it was uploaded.
    let got = site.client.get(site.bucket, "moved").await.expect(200);
    assert_eq!(got.header("x-amz-website-redirect-location"), Some("/page.html"));
    assert_eq!(got.text(), "unseen");
}

#[tokio::test]
async fn nothing_of_a_request_is_script_or_leads_away() {
    let rule = "<RoutingRules><RoutingRule><Condition><KeyPrefixEquals>r/</KeyPrefixEquals></Condition><Redirect>\
                <ReplaceKeyPrefixWith>&lt;script&gt;&#13;&#10;x: y\"</ReplaceKeyPrefixWith></Redirect></RoutingRule>\
                </RoutingRules>";
    let site = Site::readable(&format!("{INDEX}{rule}")).await;
    let script = "<script>alert('1')</script>\"&";
    let escapes = "/%3Cscript%3Ealert('1')%3C/script%3E%22&";
    for path in [escapes, &format!("{escapes}/"), "/%3Cimg%20src=x%20onerror=alert(1)%3E", "/<script>alert(1)</script>"]
    {
        let text = site.get(path).await.text();
        assert!(!text.contains("<script") && !text.contains("<img"), "{path}: {text}");
    }
    assert!(!site.get(escapes).await.text().contains(script));
    assert!(site.get(escapes).await.text().contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;"));
    for (path, location) in [
        ("//evil.com", "/%2Fevil.com/".to_owned()),
        ("/%2Fevil.com", "/%2Fevil.com/".to_owned()),
        ("/a%20%3Cb%3E&%22'", "/a%20%3Cb%3E%26%22%27/".to_owned()),
        (
            "/r/%0D%0ASet-Cookie:%20a=b",
            format!("http://{}/%3Cscript%3E%0D%0Ax:%20y%22%0D%0ASet-Cookie%3A%20a%3Db", site.host()),
        ),
    ] {
        let reply = site.get(path).await;
        assert_eq!(reply.header("location"), Some(location.as_str()), "{path}");
        assert!(reply.header("set-cookie").is_none() && reply.header("x").is_none());
    }
    for host in ["<script>", "evil.com/<b>", "a b", "x\u{e9}", ""] {
        let text = site.ask_host(host, "GET", "/", "").await.text();
        assert!(!text.contains("<script>") && !text.contains("<b>"), "{host}: {text}");
    }
    for path in ["/%", "/%zz", "/%ff"] {
        let reply = site.get(path).await;
        assert_eq!(reply.status, 400, "{path}");
    }
    site.get(&format!("/{}", "k".repeat(1_025))).await.expect(400);
    assert!(exchange_raw(site.cairn.website(), b"GET / HTTP/1.1\r\n\r\n").await.is_ok());
}

#[tokio::test]
async fn a_host_is_a_buckets_or_its_name() {
    let site = Site::readable(INDEX).await;
    for host in ["my.site", "MY.Site:8080", "my.site.s3-website.localhost", "my.site.s3-website.localhost."] {
        site.ask_host(host, "GET", "/page.html", "").await.expect(200);
    }
    site.client.bucket("PUT", "plain-bucket").send().await.expect(200);
    for (host, code) in [
        ("no-such-bucket-here.s3-website.localhost", "NoSuchBucket"),
        ("s3-website.localhost", "NoSuchBucket"),
        ("127.0.0.1:80", "NoSuchBucket"),
        ("plain-bucket.s3-website.localhost", "NoSuchWebsiteConfiguration"),
    ] {
        let text = site.ask_host(host, "GET", "/", "").await.expect(404).text();
        assert!(text.contains(&format!("<li>Code: {code}</li>")), "{host}: {text}");
    }
}

#[tokio::test]
async fn a_website_is_counted_logged_and_explained() {
    let site = Site::readable(INDEX).await;
    let refused = site.get("/missing").await.expect(404);
    site.get("/page.html").await.expect(200);
    let (_, metrics) = site.cairn.ops_get("/metrics").unwrap();
    assert!(metrics.contains("operation=\"WebsiteGet\",status=\"404\""), "{metrics}");
    let id = refused.header("x-amz-request-id").unwrap();
    assert!(refused.text().contains(&format!("<li>RequestId: {id}</li>")));
    let why = site.client.call("GET", &format!("/-/admin/v1/decisions/{id}")).scope(REGION, "cairn").send().await;
    assert!(why.expect(200).text().contains("s3:GetObject"));
}

#[tokio::test]
async fn a_configuration_is_put_shown_and_deleted() {
    let site = Site::readable(&format!("{INDEX}{ERROR}")).await;
    let website = |method: &str| site.client.bucket(method, site.bucket).query("website", "");
    let shown = website("GET").send().await.expect(200);
    assert_eq!((shown.xml("Suffix"), shown.xml("Key")), ("index.html".to_owned(), "error.html".to_owned()));
    for (configuration, code) in [
        ("", "InvalidArgument"),
        ("<IndexDocument><Suffix>a/b</Suffix></IndexDocument>", "InvalidArgument"),
        ("<IndexDocument>", "MalformedXML"),
        ("<RedirectAllRequestsTo><HostName>a b</HostName></RedirectAllRequestsTo>", "InvalidArgument"),
    ] {
        site.configure(configuration).await.expect_error(400, code);
    }
    assert_eq!(website("GET").send().await.expect(200).xml("Key"), "error.html");
    website("DELETE").send().await.expect(204);
    website("DELETE").send().await.expect(204);
    website("GET").send().await.expect_error(404, "NoSuchWebsiteConfiguration");
    site.get("/").await.expect(404);
}

#[tokio::test]
async fn pages_of_other_origins_read_what_the_buckets_rules_let_them() {
    let site = Site::readable(INDEX).await;
    let rules = "<CORSConfiguration><CORSRule><AllowedOrigin>https://page.example</AllowedOrigin>\
                 <AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>";
    let md5 = cairn_tests::sigv4::content_md5(rules.as_bytes());
    let put = site.client.bucket("PUT", site.bucket).query("cors", "").header("content-md5", &md5).body(rules);
    put.send().await.expect(200);
    for (path, status) in [("/page.html", 200), ("/missing", 404)] {
        let reply = site.ask("GET", path, "origin: https://page.example\r\n").await.expect(status);
        assert_eq!(reply.header("access-control-allow-origin"), Some("https://page.example"), "{path}");
        let reply = site.ask("GET", path, "origin: https://other.example\r\n").await.expect(status);
        assert_eq!(reply.header("access-control-allow-origin"), None, "{path}");
    }
    let asked = |origin: &str| format!("origin: {origin}\r\naccess-control-request-method: GET\r\n");
    site.ask("OPTIONS", "/page.html", &asked("https://page.example")).await.expect(200);
    site.ask("OPTIONS", "/page.html", &asked("https://other.example")).await.expect(403);
}
