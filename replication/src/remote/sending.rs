//! An object's bytes as bodies of requests, each with a digest that the server verifies.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use cairn_crypto::digest::Digests;
use cairn_storage::object::ObjectVersion;
use futures::StreamExt as _;

use crate::client::{Body, Digest, Part, Stream};
use crate::target::{Content, Failure, PartBounds};

/// Up to so many bytes are read into memory and signed.
const IN_MEMORY_BYTES_MAX: u64 = 64 << 10;

/// How many parts of an object are sent at once.
pub(super) const PARTS_AT_ONCE: usize = 2;

/// A document as a body, and the header of its digest, which some requests want besides a signature.
pub(super) fn document(text: String) -> (Body, (String, String)) {
    let mut digests = Digests::new(true, []);
    digests.update(text.as_bytes());
    let md5 = Digest::Md5(digests.finish().md5.unwrap_or_default());
    (Body::Memory(text.into()), md5.header())
}

/// A whole object as a body, and the header that declares its checksum if the digest does not.
pub(super) async fn whole(
    object: &ObjectVersion,
    content: &Arc<dyn Content>,
) -> Result<(Body, Option<(String, String)>), Failure> {
    let range = 0..content.size_bytes();
    let checksum = object.checksum.filter(|checksum| !checksum.composite).map(|checksum| checksum.value);
    if range.end <= IN_MEMORY_BYTES_MAX {
        let body = Body::Memory(read(content, range).await?);
        return Ok((body, checksum.map(|checksum| Digest::Checksum(checksum).header())));
    }
    Ok((body(content, range, checksum).await?, None))
}

/// The parts of an object. All of them declare checksums of one algorithm, or none.
pub(super) async fn parts(content: &Arc<dyn Content>) -> Result<Vec<Part>, Failure> {
    let bounds = content.parts().to_vec();
    let algorithm = bounds.first().and_then(|part| part.checksum).map(|checksum| checksum.algorithm());
    let have_one = bounds.iter().all(|part| part.checksum.map(|checksum| checksum.algorithm()) == algorithm);
    let mut parts = Vec::with_capacity(bounds.len());
    let mut start = 0;
    for PartBounds { number, size_bytes, checksum } in bounds {
        let body = body(content, start..start + size_bytes, checksum.filter(|_| have_one)).await?;
        parts.push(Part { number: usize::from(number), headers: Vec::new(), body });
        start += size_bytes;
    }
    Ok(parts)
}

async fn body(content: &Arc<dyn Content>, range: Range<u64>, checksum: Option<Checksum>) -> Result<Body, Failure> {
    let digest = match checksum {
        Some(checksum) => Digest::Checksum(checksum),
        None => Digest::Checksum(checksum_of(content, range.clone()).await?),
    };
    let length_bytes = range.end - range.start;
    let content = Arc::clone(content);
    let open = Arc::new(move || content.open(range.clone()));
    Ok(Body::Stream(Stream { length_bytes, digest, open }))
}

/// The checksum of what was stored without one, by reading it.
async fn checksum_of(content: &Arc<dyn Content>, range: Range<u64>) -> Result<Checksum, Failure> {
    let mut digests = Digests::new(false, [ChecksumAlgorithm::Crc64Nvme]);
    let mut stream = content.open(range);
    while let Some(piece) = stream.next().await {
        digests.update(&piece.map_err(unread)?);
    }
    let computed = digests.finish().checksums.first().copied();
    computed.ok_or_else(|| Failure::Later { reason: "no checksum was computed".to_owned(), after: None })
}

async fn read(content: &Arc<dyn Content>, range: Range<u64>) -> Result<Bytes, Failure> {
    let length_bytes = range.end - range.start;
    let mut bytes = Vec::with_capacity(usize::try_from(length_bytes).unwrap_or_default());
    let mut stream = content.open(range);
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.map_err(unread)?);
    }
    if bytes.len() as u64 == length_bytes {
        return Ok(bytes.into());
    }
    Err(Failure::Later { reason: "what was read has not the object's length".to_owned(), after: None })
}

fn unread(error: crate::client::BodyError) -> Failure {
    Failure::Later { reason: format!("what was to be sent cannot be read: {error}"), after: None }
}
