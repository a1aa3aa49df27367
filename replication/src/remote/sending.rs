//! An object's bytes as bodies of requests, each with a digest that the server verifies.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use cairn_crypto::digest::Digests;
use cairn_storage::object::ObjectVersion;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::client::{Address, Body, BodyStream, Client, ClientError, Digest, Part, Stored, Stream, UploadHeaders};
use crate::target::{Content, PartBounds};

/// Up to so many bytes are read into memory and signed.
const IN_MEMORY_BYTES_MAX: u64 = 64 << 10;

/// How many parts of an object are sent at once.
const PARTS_AT_ONCE: usize = 2;

/// The checksum of what was stored without one.
const COMPUTED: ChecksumAlgorithm = ChecksumAlgorithm::Crc64Nvme;

const CHECKSUM_ALGORITHM: &str = "x-amz-checksum-algorithm";

type Header = (String, String);

/// A document as a body, and the header of its digest, which some requests want besides a signature.
pub(super) fn document(text: String) -> (Body, Header) {
    let mut digests = Digests::new(true, []);
    digests.update(text.as_bytes());
    let md5 = Digest::Md5(digests.finish().md5.unwrap_or_default());
    (Body::Memory(text.into()), md5.header())
}

/// A whole object as a body, and the header that declares its checksum if the digest does not.
pub(super) async fn whole(
    object: &ObjectVersion,
    content: &Arc<dyn Content>,
) -> Result<(Body, Option<Header>), ClientError> {
    let range = 0..content.size_bytes();
    let checksum = object.checksum.filter(|checksum| !checksum.composite).map(|checksum| checksum.value);
    if range.end <= IN_MEMORY_BYTES_MAX {
        content.sent(range.end);
        let body = Body::Memory(read(content, range).await?);
        return Ok((body, checksum.map(|checksum| Digest::Checksum(checksum).header())));
    }
    Ok((body(content, range, checksum).await?, None))
}

/// Uploads an object in its parts, each of which is made when its turn comes: what was stored without a checksum is read for it then. `own`
/// are headers of each part's own. All parts declare checksums of one algorithm.
pub(super) async fn upload(
    client: &Client,
    to: &Address,
    mut headers: UploadHeaders,
    content: &Arc<dyn Content>,
    own: &[Option<Header>],
) -> Result<Stored, ClientError> {
    let bounds = content.parts();
    let algorithm = bounds.first().and_then(|part| part.checksum).map(|checksum| checksum.algorithm());
    let have_one = bounds.iter().all(|part| part.checksum.map(|checksum| checksum.algorithm()) == algorithm);
    if !headers.create.iter().any(|(name, _)| name == CHECKSUM_ALGORITHM) {
        let algorithm = algorithm.filter(|_| have_one).unwrap_or(COMPUTED);
        headers.create.push((CHECKSUM_ALGORITHM.to_owned(), algorithm.as_str().to_owned()));
    }
    let starts: Vec<u64> =
        bounds.iter().scan(0, |next, part| Some(std::mem::replace(next, *next + part.size_bytes))).collect();
    let part = async |place: usize| {
        let PartBounds { number, size_bytes, checksum } = bounds[place];
        let range = starts[place]..starts[place] + size_bytes;
        let body = body(content, range, checksum.filter(|_| have_one)).await?;
        let headers = own.get(place).cloned().flatten().into_iter().collect();
        Ok(Part { number: usize::from(number), headers, body })
    };
    client.upload_made(to, headers, bounds.len(), part, PARTS_AT_ONCE).await
}

async fn body(content: &Arc<dyn Content>, range: Range<u64>, checksum: Option<Checksum>) -> Result<Body, ClientError> {
    let digest = match checksum {
        Some(checksum) => Digest::Checksum(checksum),
        None => Digest::Checksum(checksum_of(content, range.clone()).await?),
    };
    let length_bytes = range.end - range.start;
    let content = Arc::clone(content);
    let open = Arc::new(move || {
        let sending = Arc::clone(&content);
        let pieces = content.open(range.clone());
        Box::pin(pieces.inspect_ok(move |piece| sending.sent(piece.len() as u64))) as BodyStream
    });
    Ok(Body::Stream(Stream { length_bytes, digest, open }))
}

/// The checksum of what was stored without one, by reading it.
async fn checksum_of(content: &Arc<dyn Content>, range: Range<u64>) -> Result<Checksum, ClientError> {
    let mut digests = Digests::new(false, [COMPUTED]);
    let mut stream = content.open(range);
    while let Some(piece) = stream.next().await {
        digests.update(&piece.map_err(ClientError::Source)?);
    }
    let computed = digests.finish().checksums.first().copied();
    computed.ok_or_else(|| ClientError::Source("no checksum was computed".into()))
}

async fn read(content: &Arc<dyn Content>, range: Range<u64>) -> Result<Bytes, ClientError> {
    let length_bytes = range.end - range.start;
    let mut bytes = Vec::with_capacity(usize::try_from(length_bytes).unwrap_or_default());
    let mut stream = content.open(range);
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.map_err(ClientError::Source)?);
    }
    if bytes.len() as u64 == length_bytes {
        return Ok(bytes.into());
    }
    Err(ClientError::Source("it has not the object's length".into()))
}
