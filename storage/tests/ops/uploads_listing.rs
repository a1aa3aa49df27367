//! ListMultipartUploads: several uploads of one key, pages inside a key, and what is not listed.

use cairn_storage::ops::{Bucket, ListUploads, ListedUpload};

use crate::rig::Rig;

async fn names(rig: &Rig, bucket: &Bucket, delimiter: Option<&str>, max_uploads: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut list = ListUploads { delimiter: delimiter.map(str::to_owned), max_uploads, ..ListUploads::default() };
    loop {
        let page = rig.store.list_uploads(bucket, list.clone()).await.unwrap();
        assert!(page.entries.len() <= max_uploads);
        names.extend(page.entries.into_iter().map(|entry| match entry {
            ListedUpload::Upload(upload) => format!("{} {}", upload.key.as_str(), upload.id),
            ListedUpload::Prefix(prefix) => prefix,
        }));
        let Some((key, upload)) = page.next else { return names };
        (list.after_key, list.after_upload) = (Some(key), upload);
    }
}

#[tokio::test]
async fn uploads_of_one_key_are_listed_in_the_order_of_their_creation_whatever_the_page() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let mut expected = Vec::new();
    for key in ["a", "b", "b", "b", "c"] {
        rig.clock.advance_ms(1);
        expected.push(format!("{key} {}", rig.create_upload(&bucket, key).await));
    }
    for page in 1..7 {
        assert_eq!(names(&rig, &bucket, None, page).await, expected, "pages of {page}");
    }
}

#[tokio::test]
async fn a_common_prefix_is_listed_once_whatever_the_page() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    for key in ["a/1", "a/1", "a/2", "a0", "b/1"] {
        rig.clock.advance_ms(1);
        rig.create_upload(&bucket, key).await;
    }
    for page in 1..5 {
        let names = names(&rig, &bucket, Some("/"), page).await;
        let names: Vec<_> = names.iter().map(|name| name.split(' ').next().unwrap()).collect();
        assert_eq!(names, ["a/", "a0", "b/"], "pages of {page}");
    }
}

#[tokio::test]
async fn uploads_that_ended_are_not_listed() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let completed = rig.create_upload(&bucket, "a").await;
    let part = rig.upload_part(&bucket, "a", completed, 1, b"x").await.unwrap();
    rig.complete(&bucket, "a", completed, &[part]).await.unwrap();
    let aborted = rig.create_upload(&bucket, "b").await;
    rig.abort(&bucket, "b", aborted).await.unwrap();
    let open = rig.create_upload(&bucket, "c").await;
    assert_eq!(names(&rig, &bucket, None, 1).await, [format!("c {open}")]);
}
