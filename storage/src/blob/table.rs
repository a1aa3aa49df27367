//! Where the frames of a compressed file lie: a table between the last of them and the trailer. All integers are big endian.
//!
//! ```text
//! pages, each of 510 chunks but the last
//!    0   8  where the page's first frame begins
//!    8  8n  where each frame ends
//!   ..   8  crc64 of (content id | number of the page (u64) | the page so far)
//! ```
//!
//! A page is read when a chunk of it is: so a range takes one small read more for the end of the file, and one for each 32 MiB of the range,
//! however long the file is. The table only says where to look. What is found there says itself which chunk it is, and is
//! verified, and opened if it is sealed, as everywhere; so a table that is wrong leads to an error, and not to other bytes.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use cairn_crypto::crc64::crc64;
use parking_lot::Mutex;

use super::format::{FRAME_HEADER_BYTES, Geometry, HEADER_BYTES};
use super::remote::Tail;
use crate::StorageError;
use crate::id::ContentId;

/// Chunks of a page: so it has 4,096 bytes.
pub(super) const PAGE_CHUNKS: u64 = 510;

/// What a page has beside its ends.
const PAGE_OVERHEAD_BYTES: u64 = 16;

/// How many pages are kept: as many as the last bytes of a file in another service can hold, at most 64 KiB of each open file.
const RECENT_COUNT: usize = 16;

/// The table of an open file.
#[derive(Debug)]
pub(super) struct Table {
    /// Where it begins, which is where the last frame ends.
    at: u64,
    recent: Mutex<VecDeque<(u64, Arc<Page>)>>,
}

/// Where the frames of some chunks lie.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    start: u64,
    ends: Vec<u64>,
}

impl Page {
    /// Where the frame of chunk `index`, which is in this page, lies.
    pub(super) fn frame(&self, index: u64) -> Option<Range<u64>> {
        let within = usize::try_from(index % PAGE_CHUNKS).ok()?;
        let start = within.checked_sub(1).map_or(Some(self.start), |before| self.ends.get(before).copied());
        Some(start?..*self.ends.get(within)?)
    }

    pub(super) fn ends(&self) -> &[u64] {
        &self.ends
    }
}

/// How many pages a table has.
pub(super) fn pages_count(geometry: &Geometry) -> u64 {
    geometry.chunks_count().div_ceil(PAGE_CHUNKS)
}

/// How many bytes a table has.
pub(super) fn table_bytes(geometry: &Geometry) -> u64 {
    geometry.chunks_count() * 8 + pages_count(geometry) * PAGE_OVERHEAD_BYTES
}

/// The table of a file whose frames end there.
pub(super) fn encode(content: ContentId, frame_ends: &[u64]) -> Vec<u8> {
    let mut table = Vec::with_capacity(frame_ends.len() * 8 + 64);
    let mut start = HEADER_BYTES as u64;
    for (number, ends) in frame_ends.chunks(PAGE_CHUNKS as usize).enumerate() {
        let page_at = table.len();
        table.extend(start.to_be_bytes());
        ends.iter().for_each(|end| table.extend(end.to_be_bytes()));
        let sum = page_sum(content, number as u64, &table[page_at..]);
        table.extend(sum.to_be_bytes());
        start = ends.last().copied().unwrap_or(start);
    }
    table
}

fn page_sum(content: ContentId, number: u64, page: &[u8]) -> u64 {
    crc64(&[content.as_bytes(), &number.to_be_bytes(), page])
}

impl Table {
    /// The table before a trailer that begins at `trailer_at`; None if there is no room for one.
    pub(super) fn before(trailer_at: u64, geometry: &Geometry) -> Option<Self> {
        let at = trailer_at.checked_sub(table_bytes(geometry)).filter(|at| *at >= HEADER_BYTES as u64)?;
        Some(Self { at, recent: Mutex::default() })
    }

    /// Where it begins.
    pub(super) fn start(&self) -> u64 {
        self.at
    }

    /// Where the bytes of a page lie.
    pub(super) fn page_range(&self, geometry: &Geometry, number: u64) -> Range<u64> {
        let first = number * PAGE_CHUNKS;
        let chunks = geometry.chunks_count().saturating_sub(first).min(PAGE_CHUNKS);
        let start = self.at + first * 8 + number * PAGE_OVERHEAD_BYTES;
        start..start + chunks * 8 + PAGE_OVERHEAD_BYTES
    }

    /// A page that is at hand.
    pub(super) fn recent(&self, number: u64) -> Option<Arc<Page>> {
        self.recent.lock().iter().find(|(one, _)| *one == number).map(|(_, page)| page.clone())
    }

    /// The page that `bytes` are, which is then at hand.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(super) fn accept(
        &self,
        content: ContentId,
        geometry: &Geometry,
        number: u64,
        bytes: &[u8],
    ) -> Result<Arc<Page>, StorageError> {
        let page = Arc::new(self.decode(content, geometry, number, bytes)?);
        let mut recent = self.recent.lock();
        recent.truncate(RECENT_COUNT - 1);
        recent.push_front((number, page.clone()));
        Ok(page)
    }

    /// Accepts the first pages if all of them are among the file's last bytes.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(super) fn accept_from(&self, content: ContentId, geometry: &Geometry, tail: &Tail) -> Result<(), StorageError> {
        let Some(skipped) = self.at.checked_sub(tail.begin) else { return Ok(()) };
        for number in 0..pages_count(geometry).min(RECENT_COUNT as u64) {
            let Range { start, end } = self.page_range(geometry, number);
            let within = |at: u64| usize::try_from(at - self.at + skipped).unwrap_or(usize::MAX);
            if let Some(page) = tail.bytes.get(within(start)..within(end)) {
                self.accept(content, geometry, number, page)?;
            }
        }
        Ok(())
    }

    fn decode(&self, content: ContentId, geometry: &Geometry, number: u64, bytes: &[u8]) -> Result<Page, StorageError> {
        let damaged = |what: &str| StorageError::corrupt(format!("chunk table of content {content}: {what}"));
        let (page, sum) = bytes.split_last_chunk::<8>().ok_or_else(|| damaged("too short"))?;
        if *sum != page_sum(content, number, page).to_be_bytes() {
            return Err(damaged("wrong checksum"));
        }
        let (words, _) = page.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_be_bytes(*word));
        let start = words.next().ok_or_else(|| damaged("too short"))?;
        let ends: Vec<u64> = words.collect();
        let first = number * PAGE_CHUNKS;
        let mut before = start;
        for (index, end) in (first..).zip(&ends) {
            let longest = geometry.frame_bytes(index) as u64;
            let fits =
                end.checked_sub(before).is_some_and(|bytes| bytes > FRAME_HEADER_BYTES as u64 && bytes <= longest);
            if !fits {
                return Err(damaged("a frame of an impossible length"));
            }
            before = *end;
        }
        let begins = number > 0 || start == HEADER_BYTES as u64;
        let ends_there = first + (ends.len() as u64) < geometry.chunks_count() || before == self.at;
        if !begins || !ends_there {
            return Err(damaged("it is not that of these frames"));
        }
        Ok(Page { start, ends })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::blob::CHUNK_BYTES;

    fn content() -> ContentId {
        ContentId::from_bytes([3; 16])
    }

    fn geometry(chunks: u64) -> Geometry {
        Geometry::new(chunks * u64::from(CHUNK_BYTES), CHUNK_BYTES, None).unwrap()
    }

    /// Ends of frames whose payloads are so long.
    fn ends(payloads: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let lengths = payloads.into_iter().map(|bytes| bytes + FRAME_HEADER_BYTES as u64);
        lengths
            .scan(HEADER_BYTES as u64, |at, length| {
                *at += length;
                Some(*at)
            })
            .collect()
    }

    fn open(ends: &[u64], encoded: &[u8]) -> (Table, Geometry) {
        let geometry = geometry(ends.len() as u64);
        let end = ends.last().copied().unwrap_or(HEADER_BYTES as u64);
        let table = Table::before(end + encoded.len() as u64, &geometry).unwrap();
        assert_eq!(table.at, end);
        (table, geometry)
    }

    fn page<'e>(table: &Table, geometry: &Geometry, number: u64, encoded: &'e [u8]) -> &'e [u8] {
        let range = table.page_range(geometry, number);
        &encoded[(range.start - table.at) as usize..(range.end - table.at) as usize]
    }

    #[test]
    fn a_full_page_has_4096_bytes() {
        assert_eq!(encode(content(), &ends([1; 510])).len(), 4_096);
        assert_eq!(encode(content(), &ends([1; 511])).len(), 4_096 + 24);
        assert!(encode(content(), &[]).is_empty());
    }

    #[test]
    fn a_page_of_another_place_content_or_file_is_refused() {
        let ends = ends((1..1_300).map(|number| number * 50));
        let encoded = encode(content(), &ends);
        let (table, geometry) = open(&ends, &encoded);
        assert_eq!(pages_count(&geometry), 3);
        for (number, of) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
            assert!(table.accept(content(), &geometry, number, page(&table, &geometry, of, &encoded)).is_err());
        }
        let first = page(&table, &geometry, 0, &encoded);
        assert!(table.accept(ContentId::from_bytes([4; 16]), &geometry, 0, first).is_err());
        // A file that is longer than its table says.
        let longer = Table { at: table.at + 1, recent: Mutex::default() };
        assert!(longer.accept(content(), &geometry, 2, page(&table, &geometry, 2, &encoded)).is_err());
        assert!(table.accept(content(), &geometry, 2, page(&table, &geometry, 2, &encoded)).is_ok());
    }

    #[test]
    fn frames_of_impossible_lengths_are_refused() {
        let at = HEADER_BYTES as u64;
        let longest = at + FRAME_HEADER_BYTES as u64 + u64::from(CHUNK_BYTES);
        let of = |ends: &[u64]| {
            let encoded = encode(content(), ends);
            let (table, geometry) = open(ends, &encoded);
            table.accept(content(), &geometry, 0, &encoded).is_ok()
        };
        assert!(of(&[longest]) && of(&[at + 17]));
        assert!(!of(&[longest + 1]) && !of(&[at + 16]) && !of(&[at]) && !of(&[longest, longest - 1]));
        assert!(!of(&[u64::MAX, longest]));
    }

    #[test]
    fn the_last_pages_are_kept_and_no_more() {
        let pages = RECENT_COUNT as u64 + 1;
        let ends = ends((0..pages * PAGE_CHUNKS).map(|_| 1));
        let encoded = encode(content(), &ends);
        let (table, geometry) = open(&ends, &encoded);
        let others = (1..pages).rev();
        for number in [0].into_iter().chain(others) {
            table.accept(content(), &geometry, number, page(&table, &geometry, number, &encoded)).unwrap();
        }
        assert!(table.recent(0).is_none() && (1..pages).all(|number| table.recent(number).is_some()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_frame_is_found(payloads in prop::collection::vec(1..=u64::from(CHUNK_BYTES), 0..1_600)) {
            let ends = ends(payloads.iter().copied());
            let encoded = encode(content(), &ends);
            let (table, geometry) = open(&ends, &encoded);
            let mut start = HEADER_BYTES as u64;
            for number in 0..pages_count(&geometry) {
                let page = table.accept(content(), &geometry, number, page(&table, &geometry, number, &encoded)).unwrap();
                for index in number * PAGE_CHUNKS..ends.len().min(((number + 1) * PAGE_CHUNKS) as usize) as u64 {
                    prop_assert_eq!(page.frame(index), Some(start..ends[index as usize]));
                    start = ends[index as usize];
                }
            }
            prop_assert_eq!(start, table.at);
        }
    }
}
