//! Random sequences of all operations, with restarts and kills between them, against a plain in-memory bucket. A failure
//! prints the seed and the step that lead to it again.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use cairn_tests::multipart::PART_BYTES_MIN;
use cairn_tests::sigv4::{content_md5, encode_key, form_decode};
use cairn_tests::{Cairn, Call, Client, Config, Random, Reply, digest, multipart, xml};

const SEEDS: u64 = 5;
const SEEDS_SOAK: u64 = 200;
const STEPS: usize = 400;

#[derive(Clone, Debug)]
struct Object {
    bytes: Vec<u8>,
    etag: String,
    colour: Option<String>,
    parts: Option<usize>,
}

#[derive(Clone, Debug)]
struct Upload {
    key: String,
    id: String,
    colour: Option<String>,
    parts: BTreeMap<u32, Vec<u8>>,
}

/// The bucket as it should be, and the one that is.
struct Model {
    random: Random,
    client: Client,
    bucket: String,
    objects: BTreeMap<String, Object>,
    uploads: Vec<Upload>,
}

/// Names the seed and the step of a test that panics.
struct Context {
    seed: u64,
    step: usize,
}

impl Drop for Context {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the model failed with seed {} at step {}", self.seed, self.step);
        }
    }
}

#[tokio::test]
async fn random_operations_agree_with_the_model() {
    let soak = std::env::var("CAIRN_SOAK").is_ok_and(|value| value == "1");
    let seeds = if soak { SEEDS_SOAK } else { SEEDS };
    let mut cairn = Cairn::start(Config::default());
    for seed in 0..seeds {
        let client = cairn.client();
        let bucket = client.fresh_bucket("model").await;
        let (objects, uploads) = (BTreeMap::new(), Vec::new());
        let mut model = Model { random: Random::new(seed), client, bucket, objects, uploads };
        let mut context = Context { seed, step: 0 };
        for step in 0..STEPS {
            context.step = step;
            match model.random.below(200) {
                0 => cairn.restart(),
                1 => {
                    cairn.kill9();
                    cairn.start_again();
                }
                _ => model.step().await,
            }
        }
        model.compare_everything().await;
    }
    cairn.stop();
    let (status, report) = cairn.check();
    assert_eq!(status, Some(0), "{report}");
}

impl Model {
    async fn step(&mut self) {
        match self.random.below(100) {
            0..24 => self.put().await,
            24..44 => self.get().await,
            44..52 => self.delete().await,
            52..55 => self.delete_many().await,
            55..63 => self.copy().await,
            63..74 => self.list().await,
            74..80 => self.create_upload().await,
            80..90 => self.upload_part().await,
            90..95 => self.complete().await,
            95..97 => self.abort().await,
            97..98 => self.list_parts().await,
            98..99 => self.list_uploads().await,
            _ => self.delete_bucket_that_is_not_empty().await,
        }
    }

    fn key(&mut self) -> String {
        let words =
            ["a", "b", "a/", "a/b", "a/b/c", "dir/x", "dir/y", "dir//z", "é", "sp ace", "p%+", "日/本", "\u{1}x"];
        let word = *self.random.pick(&words);
        match self.random.below(3) {
            0 => format!("{word}{}", self.random.below(4)),
            _ => word.to_owned(),
        }
    }

    fn bytes(&mut self) -> Vec<u8> {
        let size = match self.random.below(12) {
            0 => 0,
            1 => 32_766 + self.random.below(5),
            2 => 65_534 + self.random.below(5),
            3 => self.random.below(400_000),
            _ => self.random.below(3_000),
        };
        self.random.bytes(size)
    }

    fn colour(&mut self) -> Option<String> {
        self.random.one_in(2).then(|| format!("colour-{}", self.random.below(100)))
    }

    fn call(&self, method: &str, key: &str) -> Call {
        self.client.object(method, &self.bucket, key)
    }

    async fn put(&mut self) {
        let (key, bytes, colour) = (self.key(), self.bytes(), self.colour());
        let mut call = with_colour(self.call("PUT", &key).body(bytes.clone()), &colour);
        let existing = self.objects.get(&key).map(|object| object.etag.clone());
        let mut expected = 200;
        match self.random.below(8) {
            0 => {
                call = call.header("if-none-match", "*");
                expected = if existing.is_some() { 412 } else { 200 };
            }
            1 => {
                let matching = self.random.one_in(2);
                let etag = existing.clone().filter(|_| matching).unwrap_or_else(|| digest::etag(b"other"));
                call = call.header("if-match", &etag);
                expected = match &existing {
                    None => 404,
                    Some(existing) if *existing == etag => 200,
                    Some(_) => 412,
                };
            }
            2 => call = call.header("content-md5", &content_md5(&bytes)),
            3 => {
                let algorithm = *self.random.pick(&digest::CHECKSUM_ALGORITHMS);
                call = call.header(&digest::checksum_header(algorithm), &digest::checksum(algorithm, &bytes));
            }
            _ => {}
        }
        let reply = call.send().await.expect(expected);
        if expected == 200 {
            let etag = digest::etag(&bytes);
            assert_eq!(reply.etag(), etag);
            self.objects.insert(key, Object { bytes, etag, colour, parts: None });
        }
    }

    async fn get(&mut self) {
        let key = self.key();
        let method = *self.random.pick(&["GET", "GET", "GET", "HEAD"]);
        let call = self.call(method, &key);
        let Some(object) = self.objects.get(&key).cloned() else {
            call.send().await.expect(404);
            return;
        };
        match self.random.below(6) {
            0 if !object.bytes.is_empty() => {
                let first = self.random.below(object.bytes.len());
                let last = first + self.random.below(object.bytes.len());
                let reply = call.header("range", &format!("bytes={first}-{last}")).send().await.expect(206);
                let last = last.min(object.bytes.len() - 1);
                check_object(&reply, method, &object, &object.bytes[first..=last]);
            }
            1 => drop(call.header("if-none-match", &object.etag).send().await.expect(304)),
            2 => drop(call.header("if-match", &digest::etag(b"other")).send().await.expect(412)),
            3 => {
                // An empty object has no range that a 206 could name.
                let status = if object.bytes.is_empty() { 200 } else { 206 };
                let reply = call.query("partNumber", "1").send().await.expect(status);
                let parts = object.parts.map(|parts| parts.to_string());
                assert_eq!(reply.header("x-amz-mp-parts-count"), parts.as_deref());
            }
            _ => check_object(&call.send().await.expect(200), method, &object, &object.bytes),
        }
    }

    async fn delete(&mut self) {
        let key = self.key();
        self.call("DELETE", &key).send().await.expect(204);
        self.objects.remove(&key);
    }

    async fn delete_many(&mut self) {
        // XML cannot carry a control character, so such an object is deleted by itself.
        let keys = (0..5).map(|_| self.key()).filter(|key| !key.starts_with('\u{1}'));
        let keys: BTreeSet<String> = keys.chain(["a".to_owned()]).collect();
        let objects: String =
            keys.iter().map(|key| format!("<Object><Key>{}</Key></Object>", xml::escape(key))).collect();
        let document = format!("<Delete>{objects}</Delete>");
        let call = self.client.bucket("POST", &self.bucket).query("delete", "");
        let reply =
            call.header("content-md5", &content_md5(document.as_bytes())).body(document).send().await.expect(200);
        assert!(!reply.text().contains("<Error>"), "{reply:?}");
        for key in keys {
            self.objects.remove(&key);
        }
    }

    async fn copy(&mut self) {
        let (from, to) = (self.key(), self.key());
        let replaced = self.random.one_in(2).then(|| self.colour());
        let source = format!("/{}/{}", self.bucket, encode_key(from.as_bytes()));
        let mut call = self.call("PUT", &to).header("x-amz-copy-source", &source);
        if let Some(colour) = &replaced {
            call = with_colour(call.header("x-amz-metadata-directive", "REPLACE"), colour);
        }
        let reply = call.send().await;
        let Some(object) = self.objects.get(&from).cloned() else {
            reply.expect_error(404, "NoSuchKey");
            return;
        };
        if from == to && replaced.is_none() {
            reply.expect_error(400, "InvalidRequest");
            return;
        }
        let etag = reply.expect(200).xml("ETag");
        // A copy within a bucket shares the content, with its parts.
        assert_eq!(etag, object.etag);
        let colour = replaced.unwrap_or_else(|| object.colour.clone());
        self.objects.insert(to, Object { colour, ..object });
    }

    async fn list(&mut self) {
        let prefix = *self.random.pick(&["", "", "a", "a/", "dir/", "é", "none"]);
        let delimiter = *self.random.pick(&["", "/", "/", "b", "//"]);
        let page_size = *self.random.pick(&[1, 2, 5, 1_000]);
        let expected = self.expected_listing(prefix, delimiter);
        let v2 = self.random.one_in(2);
        let call = self.client.bucket("GET", &self.bucket).query("encoding-type", "url").query("prefix", prefix);
        let call = call.query("delimiter", delimiter).query("max-keys", &page_size.to_string());
        let mut listed = Vec::new();
        let mut marker = String::new();
        loop {
            let mut call = if v2 { call.clone().query("list-type", "2") } else { call.clone() };
            if !marker.is_empty() {
                call = call.query(if v2 { "continuation-token" } else { "marker" }, &marker);
            }
            let page = call.send().await.expect(200);
            let mut entries: Vec<String> = page.xml_all("Key").iter().map(|key| form_decode(key)).collect();
            let text = page.text();
            let folded = xml::sections(&text, "CommonPrefixes").into_iter();
            entries.extend(folded.filter_map(|inner| xml::text(inner, "Prefix")).map(|prefix| form_decode(&prefix)));
            entries.sort();
            listed.extend(entries);
            if page.xml("IsTruncated") != "true" {
                break;
            }
            marker = match (v2, page.xml("NextMarker")) {
                (true, _) => page.xml("NextContinuationToken"),
                (false, next) if next.is_empty() => listed.last().unwrap().clone(),
                (false, next) => form_decode(&next),
            };
        }
        assert_eq!(listed, expected, "prefix {prefix:?} delimiter {delimiter:?} page size {page_size} v2 {v2}");
    }

    fn expected_listing(&self, prefix: &str, delimiter: &str) -> Vec<String> {
        let mut entries = BTreeSet::new();
        for key in self.objects.keys().filter(|key| key.starts_with(prefix)) {
            let position = key[prefix.len()..].find(delimiter).filter(|_| !delimiter.is_empty());
            entries.insert(match position {
                Some(position) => key[..prefix.len() + position + delimiter.len()].to_owned(),
                None => key.clone(),
            });
        }
        entries.into_iter().collect()
    }

    async fn create_upload(&mut self) {
        let (key, colour) = (self.key(), self.colour());
        let upload =
            multipart::Upload::create_with(&self.client, &self.bucket, &key, |call| with_colour(call, &colour)).await;
        self.uploads.push(Upload { key, id: upload.id, colour, parts: BTreeMap::new() });
    }

    async fn upload_part(&mut self) {
        if self.uploads.is_empty() {
            return;
        }
        let at = self.random.below(self.uploads.len());
        let number = 1 + self.random.below(4) as u32;
        let bytes = match self.random.below(6) {
            0 => {
                let size = PART_BYTES_MIN + self.random.below(1_000);
                self.random.bytes(size)
            }
            _ => self.bytes(),
        };
        let upload = &mut self.uploads[at];
        let call = self.client.object("PUT", &self.bucket, &upload.key);
        let call = call.query("partNumber", &number.to_string()).query("uploadId", &upload.id).body(bytes.clone());
        assert_eq!(call.send().await.expect(200).etag(), digest::etag(&bytes));
        upload.parts.insert(number, bytes);
    }

    async fn complete(&mut self) {
        if self.uploads.is_empty() {
            return;
        }
        let at = self.random.below(self.uploads.len());
        let upload = self.uploads[at].clone();
        let leave_out = self.random.one_in(3).then(|| self.random.below(4) as u32 + 1);
        let chosen: Vec<(&u32, &Vec<u8>)> =
            upload.parts.iter().filter(|(number, _)| Some(**number) != leave_out).collect();
        let parts: Vec<(u32, String)> = chosen.iter().map(|(number, bytes)| (**number, digest::etag(bytes))).collect();
        let call = self.call("POST", &upload.key).query("uploadId", &upload.id);
        let reply = call.body(multipart::complete_document(&parts)).send().await;
        let Some((_, before_last)) = chosen.split_last() else {
            reply.expect_error(400, "MalformedXML");
            return;
        };
        if before_last.iter().any(|(_, bytes)| bytes.len() < PART_BYTES_MIN) {
            reply.expect_error(400, "EntityTooSmall");
            return;
        }
        let slices: Vec<&[u8]> = chosen.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        let etag = digest::multipart_etag(&slices);
        assert_eq!(reply.expect(200).xml("ETag"), etag);
        let object = Object { bytes: slices.concat(), etag, colour: upload.colour, parts: Some(slices.len()) };
        self.objects.insert(upload.key, object);
        self.uploads.remove(at);
    }

    async fn abort(&mut self) {
        if self.uploads.is_empty() {
            return;
        }
        let at = self.random.below(self.uploads.len());
        let upload = self.uploads.remove(at);
        let call = self.call("DELETE", &upload.key).query("uploadId", &upload.id);
        call.clone().send().await.expect(204);
        call.send().await.expect_error(404, "NoSuchUpload");
    }

    async fn list_parts(&mut self) {
        if self.uploads.is_empty() {
            return;
        }
        let upload = self.uploads[self.random.below(self.uploads.len())].clone();
        let reply = self.call("GET", &upload.key).query("uploadId", &upload.id).send().await.expect(200);
        let numbers: Vec<String> = upload.parts.keys().map(u32::to_string).collect();
        let etags: Vec<String> = upload.parts.values().map(|bytes| digest::etag(bytes)).collect();
        assert_eq!((reply.xml_all("PartNumber"), reply.xml_all("ETag")), (numbers, etags));
    }

    async fn list_uploads(&mut self) {
        let call = self.client.bucket("GET", &self.bucket).query("uploads", "").query("encoding-type", "url");
        let reply = call.send().await.expect(200);
        let keys = reply.xml_all("Key").into_iter().map(|key| form_decode(&key));
        let listed: BTreeSet<(String, String)> = keys.zip(reply.xml_all("UploadId")).collect();
        let expected = self.uploads.iter().map(|upload| (upload.key.clone(), upload.id.clone())).collect();
        assert_eq!(listed, expected);
    }

    async fn delete_bucket_that_is_not_empty(&mut self) {
        if !self.objects.is_empty() {
            self.client.bucket("DELETE", &self.bucket).send().await.expect_error(409, "BucketNotEmpty");
        }
    }

    async fn compare_everything(&mut self) {
        for (key, object) in &self.objects {
            check_object(&self.client.get(&self.bucket, key).await.expect(200), "GET", object, &object.bytes);
        }
        self.list().await;
        self.list_uploads().await;
    }
}

fn with_colour(call: Call, colour: &Option<String>) -> Call {
    match colour {
        Some(colour) => call.header("x-amz-meta-colour", colour),
        None => call,
    }
}

fn check_object(reply: &Reply, method: &str, object: &Object, bytes: &[u8]) {
    assert_eq!(reply.etag(), object.etag);
    assert_eq!(reply.header("x-amz-meta-colour"), object.colour.as_deref());
    assert_eq!(reply.header("content-length"), Some(bytes.len().to_string().as_str()));
    if method == "GET" {
        assert!(reply.body == bytes, "other bytes came back");
    }
}
