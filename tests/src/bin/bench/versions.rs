//! Listings of versions, and of objects, among hundreds of thousands of delete markers, and after these were removed.

use std::rc::Rc;

use bytes::Bytes;
use cairn_tests::{Cairn, Client};

use crate::load::{Measured, drive};
use crate::requests::Requests;
use crate::table::{Aims, print_cell, print_heading};
use crate::{Options, UNTIL_DONE};

const BUCKET: &str = "bench-versions";
const ENABLED: &str = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
const OBJECTS: usize = 10_000;
const WRITERS: usize = 64;
const DELETERS: usize = 4;
const PAGE_ENTRIES: usize = 1_000;

/// Three times the same listings: of objects alone, with delete markers between all of them, and after those went.
pub async fn delete_markers(options: &Options, cairn: &Cairn, aims: &Aims) {
    let client = cairn.client();
    client.bucket("PUT", BUCKET).send().await.expect(200);
    client.bucket("PUT", BUCKET).query("versioning", "").body(ENABLED).send().await.expect(200);
    let markers_per_object = options.markers.div_ceil(OBJECTS);
    println!("\nversions: {OBJECTS} objects, {markers_per_object} delete markers before each");
    print_heading();
    print_cell("PUT empty", 0, WRITERS, &fill(cairn).await, None);
    let before = Listings::measure(options, cairn).await;
    before.print("");
    print_cell("DELETE 1000", 0, DELETERS, &mark(cairn, markers_per_object).await, None);
    let among = Listings::measure(options, cairn).await;
    among.print("+mark");
    print_cell("REMOVE 1000", 0, DELETERS, &remove_markers(cairn).await, None);
    let after = Listings::measure(options, cairn).await;
    after.print("-mark");
    for (what, before, then) in [
        ("ListObjectVersions among delete markers", &before.versions, &among.versions),
        ("ListObjectsV2 among delete markers", &before.objects, &among.objects),
        ("ListObjectVersions after their removal", &before.versions, &after.versions),
    ] {
        let pages = |cell: &Measured| format!("{:.2} ms, {:.0}/s", cell.latency_ms(0.5), cell.rate());
        aims.add(format!("{what}, a page, before: {}", pages(before)), pages(then), "as before");
    }
}

struct Listings {
    versions: Measured,
    objects: Measured,
}

impl Listings {
    async fn measure(options: &Options, cairn: &Cairn) -> Listings {
        let versions = list(options, cairn, &[("versions", "")], "key-marker").await;
        Listings { versions, objects: list(options, cairn, &[("list-type", "2")], "start-after").await }
    }

    fn print(&self, suffix: &str) {
        print_cell(&format!("VERSIONS{suffix}"), 0, 1, &self.versions, None);
        print_cell(&format!("LIST{suffix}"), 0, 1, &self.objects, None);
    }
}

/// Keys sort by object, and the markers of each before it.
fn key(object: usize, marker: Option<usize>) -> String {
    let marker = marker.map_or("object".to_owned(), |marker| format!("{marker:08}"));
    format!("{object:08}/{marker}")
}

async fn fill(cairn: &Cairn) -> Measured {
    let client = cairn.client();
    let requests = Requests::new(&client);
    drive(client.address, cairn.pid(), WRITERS, UNTIL_DONE, move |writer, count| {
        let number = count as usize * WRITERS + writer;
        let path = format!("/{BUCKET}/{}", key(number, None));
        (number < OBJECTS).then(|| requests.make("PUT", path, &[], Bytes::new(), true))
    })
    .await
}

/// Pages that begin anywhere.
async fn list(
    options: &Options,
    cairn: &Cairn,
    parameters: &'static [(&'static str, &'static str)],
    marker: &'static str,
) -> Measured {
    let client = cairn.client();
    let requests = Requests::new(&client);
    drive(client.address, cairn.pid(), 1, options.duration(), move |_, count| {
        let start = count as usize * 1_009 % (OBJECTS - PAGE_ENTRIES);
        let mut query: Vec<_> = parameters.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        query.push((marker, key(start, None)));
        query.sort();
        Some(requests.make("GET", format!("/{BUCKET}"), &query, Bytes::new(), true))
    })
    .await
}

/// Deletes keys that never were, which leaves delete markers.
async fn mark(cairn: &Cairn, per_object: usize) -> Measured {
    let client = cairn.client();
    let requests = Requests::new(&client);
    let all = per_object * OBJECTS;
    drive(client.address, cairn.pid(), DELETERS, UNTIL_DONE, move |deleter, count| {
        let first = (count as usize * DELETERS + deleter) * PAGE_ENTRIES;
        let numbers = first..all.min(first + PAGE_ENTRIES);
        let keys = numbers.map(|number| key(number / per_object, Some(number % per_object)));
        (first < all).then(|| requests.delete_objects(BUCKET, keys.map(|key| (key, None))))
    })
    .await
}

async fn remove_markers(cairn: &Cairn) -> Measured {
    let client = cairn.client();
    let requests = Requests::new(&client);
    let markers = Rc::new(find_markers(&client).await);
    drive(client.address, cairn.pid(), DELETERS, UNTIL_DONE, move |deleter, count| {
        let first = (count as usize * DELETERS + deleter) * PAGE_ENTRIES;
        let some = markers.iter().skip(first).take(PAGE_ENTRIES);
        let named = some.map(|(key, version)| (key.clone(), Some(version.clone())));
        (first < markers.len()).then(|| requests.delete_objects(BUCKET, named))
    })
    .await
}

/// The keys and versions of all delete markers.
async fn find_markers(client: &Client) -> Vec<(String, String)> {
    let mut markers = Vec::new();
    let (mut key, mut version) = (String::new(), String::new());
    loop {
        let mut call = client.bucket("GET", BUCKET).query("versions", "");
        if !key.is_empty() {
            call = call.query("key-marker", &key).query("version-id-marker", &version);
        }
        let text = call.send().await.expect(200).text();
        for marker in text.split("<DeleteMarker>").skip(1) {
            markers.push((element(marker, "Key"), element(marker, "VersionId")));
        }
        if element(&text, "IsTruncated") != "true" {
            return markers;
        }
        (key, version) = (element(&text, "NextKeyMarker"), element(&text, "NextVersionIdMarker"));
    }
}

/// The text of the first element of this name; the names of this bench need no unescaping.
fn element(text: &str, name: &str) -> String {
    let inside = text.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once("</"));
    inside.map(|(inside, _)| inside.to_owned()).unwrap_or_default()
}
