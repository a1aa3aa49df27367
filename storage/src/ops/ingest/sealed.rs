//! Taking in a body that stays sealed: chunks that came from another bucket as they lie there. Their number and lengths are held to what
//! was said of them, and all bytes to the digest that was declared; whether they open, only the customer's key tells.

use bytes::Bytes;
use cairn_crypto::digest::Digests;

use super::{BATCH_BYTES, Batches, Body, Destination, Expectation, Ingested, StagedFile, Stored};
use crate::StorageError;
use crate::blob::{SealedWriter, Unframing, inline};
use crate::encryption::SealedContent;
use crate::id::Place;
use crate::ops::Store;

impl Store {
    /// As [`Store::ingest`], for what is sealed already. The ETag is random; no checksum is kept.
    pub(super) async fn ingest_sealed(
        &self,
        body: Body,
        sealed: SealedContent,
        destination: Destination,
    ) -> Result<Ingested, StorageError> {
        sealed.check()?;
        let travelling_bytes = sealed.travelling_bytes();
        let expected = Expectation {
            length: Some(travelling_bytes),
            content_md5: body.content_md5,
            checksum: body.checksum,
            keep: None,
            etag: Some(self.entropy().random_16()),
            bytes_max: travelling_bytes,
        };
        if let Some(declared_bytes) = body.length.filter(|declared| *declared != travelling_bytes) {
            return Err(StorageError::BodyLength { declared_bytes, got_bytes: travelling_bytes });
        }
        let batches = Batches { stream: body.stream, got_bytes: 0, ended: false };
        let is_one = sealed.chunks_count() <= 1 && !sealed.is_compressed();
        let is_small = is_one && sealed.size_bytes <= self.limits().inline_threshold_bytes as u64;
        let place = if is_small { Place::default() } else { self.blobs().place_of(destination.class) };
        self.blobs().check_space_for(place, travelling_bytes)?;
        match is_small {
            true => self.ingest_sealed_inline(sealed, batches, expected).await,
            false => self.ingest_sealed_file(sealed, batches, expected, (destination, place)).await,
        }
    }

    async fn ingest_sealed_inline(
        &self,
        sealed: SealedContent,
        mut batches: Batches,
        expected: Expectation,
    ) -> Result<Ingested, StorageError> {
        let (size_bytes, seal) = (sealed.size_bytes, sealed.seal());
        let (mut digests, mut chunks) = (expected.digests(), Unframing::new(sealed));
        let mut payload = None;
        while !batches.ended {
            for piece in batches.gather(BATCH_BYTES, &expected).await? {
                digests.update(&piece);
                chunks.push(&piece);
            }
            payload = payload.or(chunks.next()?);
        }
        let (etag, _) = expected.verify(batches.got_bytes, digests)?;
        chunks.check_end()?;
        let stored = match payload {
            None => Stored::Empty,
            Some((payload, _)) => {
                let id = self.new_content(Place::default());
                Stored::Inline { id, row: inline::encode_sealed(id, seal, &payload) }
            }
        };
        Ok(Ingested { size_bytes, etag, checksum: None, stored })
    }

    async fn ingest_sealed_file(
        &self,
        sealed: SealedContent,
        mut batches: Batches,
        expected: Expectation,
        (destination, place): (Destination, Place),
    ) -> Result<Ingested, StorageError> {
        let id = self.new_content(place);
        let pin = self.pins().pin(id);
        let (blobs, offload, created) = (self.blobs().clone(), self.blobs().offload(), self.clock().now());
        let (description, size_bytes) = (destination.description(created), sealed.size_bytes);
        let digests = expected.digests();
        let begin = move || blobs.create_sealed_blocking(id, description, &sealed).map(|writer| (writer, digests));
        let mut work = offload.start(begin);
        // While one batch is hashed and written, the next one is gathered.
        while !batches.ended {
            let gathered = batches.gather(BATCH_BYTES, &expected).await;
            let writing = work.await??;
            let pieces = gathered?;
            self.blobs().check_space_for(id.place(), 0)?;
            work = offload.start(move || append(writing, &pieces));
        }
        let (writer, digests) = work.await??;
        let (etag, _) = expected.verify(batches.got_bytes, digests)?;
        let trailer = destination.trailer(created, etag, None);
        let blobs = self.blobs().clone();
        let finish = move || writer.finish(trailer).map(|blob| StagedFile::new(blob, blobs, pin));
        let file = offload.run(finish).await?;
        Ok(Ingested { size_bytes, etag, checksum: None, stored: Stored::File(file) })
    }
}

fn append(
    (mut writer, mut digests): (SealedWriter, Digests),
    pieces: &[Bytes],
) -> Result<(SealedWriter, Digests), StorageError> {
    pieces.iter().for_each(|piece| digests.update(piece));
    writer.append(pieces)?;
    Ok((writer, digests))
}
