//! Bodies of requests: in memory, or a stream that can be opened again.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use cairn_crypto::checksum::Checksum;

/// The most bytes of a body in memory that are sent at once.
pub(super) const PIECE_BYTES_MAX: usize = 64 << 10;

/// Why a stream ended early.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body's bytes.
pub type BodyStream = Pin<Box<dyn futures::Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// What a request sends.
#[derive(Clone)]
pub enum Body {
    /// These bytes. Their SHA-256 is signed.
    Memory(Bytes),
    /// A stream, which is opened for each attempt.
    Stream(Stream),
}

/// A body that does not fit into memory.
#[derive(Clone)]
pub struct Stream {
    /// How many bytes it has.
    pub length_bytes: u64,
    /// What the server is to hold it to: it is not signed otherwise.
    pub digest: Digest,
    /// Opens it from its beginning.
    pub open: Arc<dyn Fn() -> BodyStream + Send + Sync>,
}

/// A digest that is known before a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// `Content-MD5`, which every S3 server verifies.
    Md5([u8; 16]),
    /// A checksum of S3's.
    Checksum(Checksum),
}

impl Digest {
    /// The header that declares it.
    #[must_use]
    pub fn header(&self) -> (String, String) {
        match self {
            Self::Md5(md5) => ("content-md5".to_owned(), BASE64.encode(md5)),
            Self::Checksum(checksum) => {
                let name = format!("x-amz-checksum-{}", checksum.algorithm().as_str().to_ascii_lowercase());
                (name, checksum.to_base64())
            }
        }
    }
}

impl Body {
    /// No bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self::Memory(Bytes::new())
    }

    /// How many bytes it has.
    #[must_use]
    pub fn length_bytes(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Stream(stream) => stream.length_bytes,
        }
    }

    /// All of it, if it is sent at once.
    pub(super) fn in_one_piece(&self) -> Option<&Bytes> {
        match self {
            Self::Memory(bytes) if bytes.len() <= PIECE_BYTES_MAX => Some(bytes),
            Self::Memory(_) | Self::Stream(_) => None,
        }
    }

    /// Its bytes from its beginning, piece by piece.
    pub(super) fn open(&self) -> BodyStream {
        match self {
            Self::Memory(bytes) => {
                let bytes = bytes.clone();
                let starts = (0..bytes.len()).step_by(PIECE_BYTES_MAX);
                let pieces = starts.map(move |start| {
                    let end = bytes.len().min(start + PIECE_BYTES_MAX);
                    Ok::<Bytes, BodyError>(bytes.slice(start..end))
                });
                Box::pin(futures::stream::iter(pieces))
            }
            Self::Stream(stream) => (stream.open)(),
        }
    }
}

/// Not the bytes: they may be anybody's secret.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "Memory({} bytes)", bytes.len()),
            Self::Stream(stream) => stream.fmt(f),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Stream");
        shown.field("length_bytes", &self.length_bytes).field("digest", &self.digest).finish_non_exhaustive()
    }
}
