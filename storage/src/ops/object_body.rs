//! An object's bytes as a stream: one piece after the other, each from a row or a file.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use cairn_crypto::seal::SealId;
use cairn_crypto::secret::DataKey;
use futures::Stream;

use crate::StorageError;
use crate::blob::{self, BlobReader, BlobStore, BlobStream};
use crate::id::ContentId;

/// One piece of a content that lies in one file or row.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) source: Source,
    /// The bytes wanted of it.
    pub(super) range: Range<u64>,
}

impl Piece {
    /// The file that it is read from. (An inline row was read with the view.)
    pub(super) fn file(&self) -> Option<ContentId> {
        match self.source {
            Source::File { id, .. } => Some(id),
            Source::Inline { .. } => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Source {
    /// The inline row's value, verified when it is read.
    Inline { id: ContentId, row: Bytes },
    /// A chunk file.
    File { id: ContentId, size_bytes: u64, seal: Option<SealId> },
}

type Opening = Pin<Box<dyn Future<Output = Result<BlobReader, StorageError>> + Send + Sync>>;

enum BodyState {
    /// The next piece is to be begun.
    Next,
    /// Its file is being opened.
    Opening(Opening, Range<u64>),
    /// Its bytes are coming.
    Reading(BlobStream),
    /// The end, or an error, was given.
    Ended,
}

/// An object's bytes as a stream; if they are sealed, it must be [`ObjectBody::unlocked`]. It ends with an error rather than give a byte that fails its checksum.
pub struct ObjectBody {
    blobs: BlobStore,
    pieces: VecDeque<Piece>,
    state: BodyState,
    remaining_bytes: u64,
    /// Bytes that were waited for already.
    ahead: Option<Bytes>,
    /// What the bytes are sealed with.
    key: Option<DataKey>,
    /// Keep the collector away from the files until the body ends.
    _pins: Vec<blob::Pin>,
}

impl ObjectBody {
    /// The bytes of these pieces, whose files the pins keep.
    pub(super) fn new(blobs: BlobStore, pieces: Vec<Piece>, remaining_bytes: u64, pins: Vec<blob::Pin>) -> Self {
        let (pieces, state) = (pieces.into(), BodyState::Next);
        Self { blobs, pieces, state, remaining_bytes, ahead: None, key: None, _pins: pins }
    }

    /// How many bytes are still to come.
    #[must_use]
    pub fn remaining_bytes(&self) -> u64 {
        self.remaining_bytes
    }

    /// Gives it the data key, without which sealed bytes do not come, nor plain ones with it.
    #[must_use]
    pub fn unlocked(mut self, key: Option<DataKey>) -> Self {
        self.key = key;
        self
    }

    /// Waits for the first bytes of what lies in a tier: one that is down is to be the answer, and not to break one that has begun.
    ///
    /// # Errors
    /// `TierDown`, and what the stream would begin with.
    pub async fn begun(mut self) -> Result<Self, StorageError> {
        let places: Vec<_> = self.pieces.iter().filter_map(Piece::file).map(|id| id.place()).collect();
        let mut waits = false;
        for place in places {
            waits |= self.blobs.check_up(place)?;
        }
        if waits {
            self.ahead = std::future::poll_fn(|context| self.poll_piece(context)).await.transpose()?;
        }
        Ok(self)
    }

    fn begin(&mut self, piece: Piece) -> Result<Option<Bytes>, StorageError> {
        match piece.source {
            Source::Inline { id, row } => {
                let bytes = blob::inline::decode(id, self.key.as_ref(), &row)?;
                let range = usize::try_from(piece.range.start).ok().zip(usize::try_from(piece.range.end).ok());
                let wanted = range.filter(|(_, end)| *end <= bytes.len());
                let (start, end) =
                    wanted.ok_or_else(|| StorageError::corrupt(format!("inline content {id} is short")))?;
                Ok(Some(bytes.slice(start..end)))
            }
            Source::File { id, size_bytes, seal } => {
                let (blobs, key) = (self.blobs.clone(), self.key.clone());
                let opening = Box::pin(async move { blobs.open(id, size_bytes, seal, key.as_ref()).await });
                self.state = BodyState::Opening(opening, piece.range);
                Ok(None)
            }
        }
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, StorageError>>> {
        loop {
            match &mut self.state {
                BodyState::Ended => return Poll::Ready(None),
                BodyState::Next => match self.pieces.pop_front() {
                    None => return Poll::Ready(None),
                    Some(piece) => match self.begin(piece) {
                        Ok(None) => {}
                        Ok(Some(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    },
                },
                BodyState::Opening(opening, range) => match std::task::ready!(opening.as_mut().poll(context)) {
                    Ok(reader) => self.state = BodyState::Reading(reader.stream(range.clone())),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
                BodyState::Reading(stream) => match std::task::ready!(Pin::new(stream).poll_next(context)) {
                    Some(result) => return Poll::Ready(Some(result)),
                    None => self.state = BodyState::Next,
                },
            }
        }
    }
}

impl Stream for ObjectBody {
    type Item = Result<Bytes, StorageError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let item = match this.ahead.take() {
            Some(bytes) => Some(Ok(bytes)),
            None => std::task::ready!(this.poll_piece(context)),
        };
        let item = match item {
            Some(Ok(bytes)) => {
                this.remaining_bytes = this.remaining_bytes.saturating_sub(bytes.len() as u64);
                Some(Ok(bytes))
            }
            None if this.remaining_bytes > 0 && !matches!(this.state, BodyState::Ended) => {
                Some(Err(StorageError::corrupt("a content is shorter than its record says")))
            }
            item => item,
        };
        if !matches!(item, Some(Ok(_))) {
            this.state = BodyState::Ended;
        }
        Poll::Ready(item)
    }
}

impl fmt::Debug for ObjectBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectBody").field("remaining_bytes", &self.remaining_bytes).finish_non_exhaustive()
    }
}
