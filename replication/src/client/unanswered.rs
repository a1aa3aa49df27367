//! Uploads that were perhaps begun though nobody has answered: nobody knows their ids, and they would lie there, and be paid for, for good.
//!
//! Which ones those are is told by one whose id is known, the next one for the same key: they have the same initiator, began, by the server's
//! own clock, when this client asked for one and before the one that is known, and have no parts, because none is sent to an upload whose
//! id nobody knows. So nobody else's upload is aborted; where a server does not say who began an upload, none is. This client's own that
//! are under way may have no parts yet, either: while there is another one of the key, none is aborted. What cannot be told apart is an upload
//! of somebody else with the very same credentials (or of anybody, where a server names one initiator for all, as some do) who has begun it,
//! for the same key, while this client asked for the one that was not answered or within a minute, and has no part there yet: he is told that
//! there is no such upload, and begins again.
//!
//! What is known of them is in memory: where the process ends before the key is uploaded again, they stay.

use std::ops::Range;
use std::time::Duration;

use reqwest::Method;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use super::list::PAGE_BYTES_MAX;
use super::object::Address;
use super::{Client, ClientError, Request, xml};

/// Of how many keys it is known that an upload may have been begun.
const UNANSWERED_MAX: usize = 1_000;

/// How exactly servers tell when an upload began.
const TIME_STEP: Duration = Duration::from_secs(2);

/// How long after nobody waits for the answer any more a server may still begin what it was asked for.
const LATE_MAX: Duration = Duration::from_secs(60);

/// When uploads were asked for that nobody has answered for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The first of them.
    first: Instant,
    /// Until then an answer to the last of them was waited for.
    until: Instant,
}

/// An upload of a key as the server lists it.
#[derive(Debug, PartialEq, Eq)]
struct Begun {
    id: String,
    initiator: String,
    at: OffsetDateTime,
}

impl Client {
    /// Remembers that an upload of this key may have been begun, which was asked for then, and whose answer is not waited for any more.
    pub(super) fn note_unanswered(&self, to: &Address, asked: Instant) {
        self.note_asked(to, Asked { first: asked, until: Instant::now() });
    }

    fn note_asked(&self, to: &Address, asked: Asked) {
        let mut unanswered = self.0.unanswered.lock();
        if unanswered.len() < UNANSWERED_MAX || unanswered.contains_key(to) {
            let all = unanswered.entry(to.clone()).or_insert(asked);
            *all = Asked { first: all.first.min(asked.first), until: all.until.max(asked.until) };
        }
    }

    /// Aborts what may have been begun for this key before this upload, whose id is known.
    pub(super) async fn abort_unanswered(&self, to: &Address, known_id: &str) {
        let Some(asked) = self.0.unanswered.lock().remove(to) else { return };
        match self.unanswered(to, known_id, asked).await {
            // Asked after the listing, so that each of this client's in there is counted, or has ended.
            Ok(uploads) if !uploads.is_empty() && self.has_others_under_way(to) => {
                self.note_asked(to, asked);
            }
            Ok(uploads) => {
                for upload_id in uploads {
                    tracing::info!(endpoint = ?self.endpoint(), "an upload that was begun without an answer is aborted");
                    self.abort_upload(to, &upload_id).await;
                }
            }
            Err(error) => {
                tracing::warn!(endpoint = ?self.endpoint(), %error, "whether an upload was begun without an answer cannot be asked");
                if error.may_pass() {
                    self.note_asked(to, asked);
                }
            }
        }
    }

    /// Whether other uploads of the key are under way than the one that asks.
    fn has_others_under_way(&self, to: &Address) -> bool {
        self.0.under_way.lock().get(to).is_some_and(|count| *count > 1)
    }

    /// The ids of those that are this client's, nobody else's, and empty.
    async fn unanswered(&self, to: &Address, known_id: &str, asked: Asked) -> Result<Vec<String>, ClientError> {
        let ago = asked.until.elapsed()..asked.first.elapsed();
        let request = Request::bucket(Method::GET, &to.bucket).query("uploads", "").query("prefix", &to.key);
        let text = self.send(&request).await?.bytes(PAGE_BYTES_MAX).await?;
        let mut empty = Vec::new();
        for upload_id in candidates(&begun(&text, &to.key)?, known_id, &ago) {
            if self.is_empty(to, &upload_id).await? {
                empty.push(upload_id);
            }
        }
        Ok(empty)
    }

    /// Whether an upload is there, and no part of it.
    async fn is_empty(&self, to: &Address, upload_id: &str) -> Result<bool, ClientError> {
        let parts = to.request(Method::GET, None).query("uploadId", upload_id).query("max-parts", "1");
        let text = match self.send(&parts).await {
            Ok(answer) => answer.bytes(PAGE_BYTES_MAX).await?,
            Err(error) if error.status() == Some(404) => return Ok(false),
            Err(error) => return Err(error),
        };
        // Some servers give the root element another name than S3.
        let listing = xml::Flat::parse(&text).filter(|listing| listing.text("UploadId") == Some(upload_id));
        let listing = listing.ok_or(ClientError::Foreign("it is not a listing of the upload's parts"))?;
        Ok(listing.text("Part").is_none())
    }
}

/// The uploads of this very key in a page of a listing.
fn begun(text: &[u8], key: &str) -> Result<Vec<Begun>, ClientError> {
    let fields = ["Key", "UploadId", "Initiator/ID", "Initiated"];
    let items = xml::items(text, "ListMultipartUploadsResult", "Upload", fields);
    let items = items.ok_or(ClientError::Foreign("it is not a listing of uploads"))?;
    let of_key = items.into_iter().filter(|[of, ..]| of == key);
    let begun = |[_, id, initiator, at]: [String; 4]| {
        Some(Begun { id, initiator, at: OffsetDateTime::parse(at.trim(), &Rfc3339).ok()? })
    };
    Ok(of_key.filter_map(begun).collect())
}

/// The ids of those that the initiator of the known one has begun before it, so long ago as he has asked for them.
fn candidates(all: &[Begun], known_id: &str, ago: &Range<Duration>) -> Vec<String> {
    let Some(known) = all.iter().find(|begun| begun.id == known_id && !begun.initiator.is_empty()) else {
        return Vec::new();
    };
    let earliest = known.at - ago.end - TIME_STEP;
    let latest = known.at - ago.start.saturating_sub(LATE_MAX);
    let is_own = |begun: &&Begun| {
        begun.id != known.id && begun.initiator == known.initiator && (earliest..=latest).contains(&begun.at)
    };
    all.iter().filter(is_own).map(|begun| begun.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_what_the_same_one_began_just_before_for_the_same_key_may_be_what_nobody_answered_for() {
        let upload = |key: &str, id: &str, initiator: &str, second: u8| {
            format!(
                "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiator><ID>{initiator}</ID></Initiator>\
                 <Owner><ID>owner</ID></Owner><Initiated>2026-01-01T00:00:{second:02}.000Z</Initiated></Upload>"
            )
        };
        let listing = [
            upload("a&amp;b", "ours", "us", 27),
            upload("a&amp;b", "known", "us", 30),
            upload("a&amp;b", "later", "us", 31),
            upload("a&amp;b", "earlier", "us", 20),
            upload("a&amp;b", "strangers", "them", 28),
            upload("a&amp;b", "nobodys", "", 28),
            upload("a&amp;b/below", "other-key", "us", 28),
        ];
        let text = format!("<ListMultipartUploadsResult>{}</ListMultipartUploadsResult>", listing.concat());
        let all = begun(text.as_bytes(), "a&b").unwrap();
        assert_eq!(all.len(), 6);
        let within = Duration::ZERO..Duration::from_secs(3);
        assert_eq!(candidates(&all, "known", &within), ["ours"]);
        // Who is not told who he is takes nothing for his own.
        assert_eq!(candidates(&all, "nobodys", &within), [""; 0]);
        assert_eq!(candidates(&all, "unlisted", &within), [""; 0]);
        // Nor is what was begun long after the last one was asked for.
        let long_ago = LATE_MAX + Duration::from_secs(5)..Duration::from_secs(3_600);
        assert_eq!(candidates(&all, "known", &long_ago), ["earlier"]);
    }
}
