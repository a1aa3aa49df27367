//! Documents of buckets, parsed once and kept by their digests, which the buckets' rows name: so a request that finds its
//! bucket's document here reads nothing more from the index.

use std::collections::HashMap;
use std::sync::Arc;

use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use cairn_storage::index::family::bucket::DocumentDigest;
use parking_lot::RwLock;

/// The documents of one kind that are kept, together at most. A thousand of 20 KiB fit.
const KEPT_BYTES_MAX: usize = 20 << 20;

/// Parsed documents of one kind.
#[derive(Debug)]
pub struct Kept<T>(RwLock<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    by_digest: HashMap<DocumentDigest, Arc<T>>,
    bytes: usize,
}

impl<T> Default for Inner<T> {
    fn default() -> Self {
        Self { by_digest: HashMap::new(), bytes: 0 }
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T> Kept<T> {
    /// The document of this digest, if it is kept.
    pub fn get(&self, digest: DocumentDigest) -> Option<Arc<T>> {
        self.0.read().by_digest.get(&digest).map(Arc::clone)
    }

    /// Keeps a document that was `bytes` long.
    pub fn keep(&self, digest: DocumentDigest, bytes: usize, document: &Arc<T>) {
        let mut kept = self.0.write();
        if kept.bytes + bytes > KEPT_BYTES_MAX {
            // Rare enough: whoever is asked for next is parsed again.
            *kept = Inner::default();
        }
        if kept.by_digest.insert(digest, Arc::clone(document)).is_none() {
            kept.bytes += bytes;
        }
    }
}

/// Names a document by its bytes.
pub fn digest_of(document: &[u8]) -> DocumentDigest {
    let digest = Checksum::of(ChecksumAlgorithm::Sha256, document);
    let mut name = [0; 16];
    name.copy_from_slice(&digest.as_bytes()[..16]);
    DocumentDigest(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_document_is_found_by_its_digest() {
        let kept = Kept::default();
        let (one, other) = (digest_of(b"one"), digest_of(b"other"));
        kept.keep(one, 3, &Arc::new("parsed"));
        assert_eq!(*kept.get(one).unwrap(), "parsed");
        assert!(kept.get(other).is_none());
    }

    #[test]
    fn the_memory_for_parsed_documents_is_bounded() {
        let kept = Kept::default();
        for number in 0..2_500_u32 {
            kept.keep(digest_of(&number.to_be_bytes()), 20 << 10, &Arc::new(number));
            assert!(kept.0.read().bytes <= KEPT_BYTES_MAX);
        }
        assert!(!kept.0.read().by_digest.is_empty());
    }
}
