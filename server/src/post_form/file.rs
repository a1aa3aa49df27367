//! The bytes of a form's file: what stands between the head of its part and the next boundary.
//!
//! Pieces are passed on as they arrive, without a copy; only the end of a piece that may be the beginning of a boundary waits for
//! the next one. How large the file may be is decided before, and held here.

use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http::StatusCode;
use http_body::Body;
use memchr::memmem;
use s3s::S3ErrorCode;

use crate::s3::error::Failure;

use super::multipart::parse_head;
use super::{FILE, malformed};

/// How much is looked at after the file, to see that it is not one of several.
const AFTER_BYTES_MAX: usize = 4 << 10;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a file is not what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The body ended before the boundary after the file, or something else follows that.
    #[error("the form ended before its file")]
    Malformed,
    /// The policy allows no file of this size.
    #[error("the file has {size_bytes} bytes and may have {max_bytes} at most")]
    TooLarge {
        /// What has come.
        size_bytes: u64,
        /// The most.
        max_bytes: u64,
    },
    /// The policy allows no file of this size.
    #[error("the file has {size_bytes} bytes and must have {min_bytes} at least")]
    TooSmall {
        /// What has come.
        size_bytes: u64,
        /// The least.
        min_bytes: u64,
    },
    /// There is another file.
    #[error("the form has several files")]
    Several,
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Malformed => malformed(),
            FileError::TooLarge { size_bytes, max_bytes } => {
                let message = "Your proposed upload exceeds the maximum allowed size";
                Self::with_message(S3ErrorCode::EntityTooLarge, message)
                    .field("ProposedSize", size_bytes.to_string())
                    .field("MaxSizeAllowed", max_bytes.to_string())
            }
            FileError::TooSmall { size_bytes, min_bytes } => {
                let message = "Your proposed upload is smaller than the minimum allowed size";
                Self::with_message(S3ErrorCode::EntityTooSmall, message)
                    .field("ProposedSize", size_bytes.to_string())
                    .field("MinSizeAllowed", min_bytes.to_string())
            }
            FileError::Several => Self::custom(
                "IncorrectNumberOfFilesInPostRequest",
                StatusCode::BAD_REQUEST,
                "POST requires exactly one file upload per request.",
            ),
        }
    }
}

/// The bytes of a file, as they arrive.
#[derive(Debug)]
pub struct FileBytes<B> {
    body: B,
    /// What has arrived and was not looked at.
    unread: Bytes,
    /// The end of what was looked at, if it may be the beginning of the delimiter.
    held: Bytes,
    delimiter: Vec<u8>,
    size_bytes: u64,
    allowed_bytes: RangeInclusive<u64>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    InFile,
    /// The delimiter has come, and then this.
    After(BytesMut),
    Ended,
}

impl<B> FileBytes<B> {
    pub(super) fn new(body: B, unread: Bytes, delimiter: Vec<u8>) -> Self {
        let allowed_bytes = 0..=u64::MAX;
        Self { body, unread, held: Bytes::new(), delimiter, size_bytes: 0, allowed_bytes, place: Place::InFile }
    }

    /// Holds the file to this size.
    pub fn allow(&mut self, bytes: RangeInclusive<u64>) {
        self.allowed_bytes = bytes;
    }

    /// Takes what is certain to be the file's from a piece of the body.
    fn look_at(&mut self, piece: Bytes) -> Result<Bytes, FileError> {
        let of_file = self.before_delimiter(piece);
        self.size_bytes += of_file.len() as u64;
        let max_bytes = *self.allowed_bytes.end();
        if self.size_bytes > max_bytes {
            return Err(FileError::TooLarge { size_bytes: self.size_bytes, max_bytes });
        }
        let min_bytes = *self.allowed_bytes.start();
        if matches!(self.place, Place::After(_)) && self.size_bytes < min_bytes {
            return Err(FileError::TooSmall { size_bytes: self.size_bytes, min_bytes });
        }
        Ok(of_file)
    }

    fn before_delimiter(&mut self, piece: Bytes) -> Bytes {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return self.split(piece);
        }
        // The delimiter may begin in what was held and end in the piece.
        let more = piece.len().min(self.delimiter.len() - 1);
        let seam: Bytes = [&held[..], &piece[..more]].concat().into();
        match memmem::find(&seam, &self.delimiter) {
            Some(_) => {
                self.unread = piece.slice(more..);
                self.split(seam)
            }
            None if more == piece.len() => self.split(seam),
            // What was held is the file's after all; the piece is looked at by itself.
            None => {
                self.unread = piece;
                held
            }
        }
    }

    /// Splits what has come at the delimiter, or before what may be its beginning.
    fn split(&mut self, mut piece: Bytes) -> Bytes {
        if let Some(at) = memmem::find(&piece, &self.delimiter) {
            let mut after = BytesMut::from(&piece[at + self.delimiter.len()..]);
            after.extend_from_slice(&std::mem::take(&mut self.unread));
            self.place = Place::After(after);
            return piece.split_to(at);
        }
        let longest = piece.len().min(self.delimiter.len() - 1);
        let held = (1..=longest).rev().find(|length| self.delimiter.starts_with(&piece[piece.len() - length..]));
        self.held = piece.split_off(piece.len() - held.unwrap_or(0));
        piece
    }
}

/// Whether the form is sound with this behind the file's delimiter. None: more has to come. S3 ignores the fields after the
/// file; but of two files, one would be lost without a word.
fn judge(after: &[u8], is_all: bool) -> Option<Result<(), FileError>> {
    if after.starts_with(b"--") {
        return Some(Ok(()));
    }
    let Some(line_end) = memmem::find(after, b"\r\n") else {
        let is_hopeless = is_all || after.len() > AFTER_BYTES_MAX;
        return is_hopeless.then_some(Err(FileError::Malformed));
    };
    if !after[..line_end].iter().all(|byte| matches!(byte, b' ' | b'\t')) {
        return Some(Err(FileError::Malformed));
    }
    let head = &after[line_end + 2..];
    let Some(head_end) = memmem::find(head, b"\r\n\r\n") else {
        return (is_all || after.len() > AFTER_BYTES_MAX).then_some(Ok(()));
    };
    let is_file = parse_head(&head[..head_end]).is_some_and(|part| part.name.eq_ignore_ascii_case(FILE));
    Some(if is_file { Err(FileError::Several) } else { Ok(()) })
}

impl<B> FileBytes<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// The next piece of the body, which is not empty; None: there is none.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        loop {
            if !self.unread.is_empty() {
                return Poll::Ready(Some(Ok(std::mem::take(&mut self.unread))));
            }
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => self.unread = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<B> Stream for FileBytes<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Place::After(after) = &self.place
                && let Some(judgement) = judge(after, false)
            {
                self.place = Place::Ended;
                return Poll::Ready(judgement.err().map(|error| Err(error.into())));
            }
            if matches!(self.place, Place::Ended) {
                return Poll::Ready(None);
            }
            let piece = match std::task::ready!(self.poll_piece(cx)) {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => {
                    self.place = Place::Ended;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    let judgement = match &self.place {
                        Place::After(after) => judge(after, true).unwrap_or(Ok(())),
                        Place::InFile | Place::Ended => Err(FileError::Malformed),
                    };
                    self.place = Place::Ended;
                    return Poll::Ready(judgement.err().map(|error| Err(error.into())));
                }
            };
            if let Place::After(after) = &mut self.place {
                after.extend_from_slice(&piece);
                continue;
            }
            match self.look_at(piece) {
                Ok(of_file) if of_file.is_empty() => {}
                Ok(of_file) => return Poll::Ready(Some(Ok(of_file))),
                Err(error) => {
                    self.place = Place::Ended;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }
}
