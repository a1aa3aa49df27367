//! The token that the external KMS knows this server by.
//!
//! One in a file is read anew when it is refused, and at each look: agents renew such a file in place.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_crypto::secret::SecretString;
use http::HeaderValue;
use parking_lot::Mutex;
use zeroize::Zeroizing;

/// The longest token.
const TOKEN_BYTES_MAX: u64 = 8 << 10;

/// Where the token is.
#[derive(Debug)]
pub enum TokenSource {
    /// In the environment.
    Given(SecretString),
    /// In a file, which may change.
    File(PathBuf),
}

/// There is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("the token file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It has something else in it.
    #[error("the token is not 1 to {TOKEN_BYTES_MAX} visible ASCII characters")]
    Malformed,
}

/// The token as it is now.
pub(super) struct Token {
    file: Option<PathBuf>,
    current: Mutex<HeaderValue>,
}

impl Token {
    pub(super) fn read(source: TokenSource) -> Result<Arc<Self>, TokenError> {
        let (file, current) = match source {
            TokenSource::Given(token) => (None, header(token.expose().as_bytes())?),
            TokenSource::File(path) => {
                let current = read_file(&path)?;
                (Some(path), current)
            }
        };
        Ok(Arc::new(Self { file, current: Mutex::new(current) }))
    }

    /// The token, as a header that is shown nowhere.
    pub(super) fn header(&self) -> HeaderValue {
        self.current.lock().clone()
    }

    /// Reads the file again. Tells whether the token is another one than `used`. Blocks briefly.
    pub(super) fn refresh(&self, used: &HeaderValue) -> bool {
        if let Some(path) = &self.file {
            match read_file(path) {
                Ok(token) => *self.current.lock() = token,
                // The one from before may still be good.
                Err(error) => tracing::warn!(%error, "the token of the external KMS cannot be read again"),
            }
        }
        *self.current.lock() != *used
    }
}

fn read_file(path: &Path) -> Result<HeaderValue, TokenError> {
    let fault = |source| TokenError::File { path: path.to_owned(), source };
    let mut bytes = Zeroizing::new(Vec::with_capacity(TOKEN_BYTES_MAX as usize + 2));
    let file = File::open(path).map_err(fault)?;
    file.take(TOKEN_BYTES_MAX + 2).read_to_end(&mut bytes).map_err(fault)?;
    header(bytes.trim_ascii())
}

fn header(token: &[u8]) -> Result<HeaderValue, TokenError> {
    let fits = (1..=TOKEN_BYTES_MAX).contains(&(token.len() as u64)) && token.iter().all(u8::is_ascii_graphic);
    let mut header = HeaderValue::from_bytes(token).ok().filter(|_| fits).ok_or(TokenError::Malformed)?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_token_file_is_read_again_and_a_broken_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "s.first\n").unwrap();
        let token = Token::read(TokenSource::File(path.clone())).unwrap();
        let first = token.header();
        assert_eq!((first.as_bytes(), first.is_sensitive()), (&b"s.first"[..], true));
        assert!(!token.refresh(&first));
        std::fs::write(&path, "s.second").unwrap();
        assert!(token.refresh(&first));
        assert_eq!(token.header().as_bytes(), b"s.second");
        for broken in ["", "two words", "\u{e4}", &"x".repeat(9 << 10)] {
            std::fs::write(&path, broken).unwrap();
            assert!(token.refresh(&first), "{broken:?}");
            assert_eq!(token.header().as_bytes(), b"s.second");
        }
    }

    #[test]
    fn what_is_no_token_is_refused_and_none_is_shown() {
        for wrong in ["", " ", "two words"] {
            assert!(Token::read(TokenSource::Given(wrong.to_owned().into())).is_err(), "{wrong:?}");
        }
        let missing = TokenSource::File("/nowhere/token".into());
        assert!(Token::read(missing).err().unwrap().to_string().contains("/nowhere/token"));
        let token = Token::read(TokenSource::Given("s.canary".to_owned().into())).unwrap();
        assert!(!format!("{:?}", token.header()).contains("canary"));
    }
}
