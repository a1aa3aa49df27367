//! Where the master key comes from: the environment, a credential that systemd passes to the service (both are the operator's to
//! keep), a file of ours with its 64 hexadecimal digits, or one in which it is sealed by an external KMS ([`sealed`]), which is
//! then needed at every start.
//!
//! Whoever loses the key loses every secret that is sealed under it, and whoever reads it can open them all. So a file of ours is
//! made only while nothing is sealed yet, or in the course of a change ([`rotation`]), and one with the digits in it is refused
//! if others than its owner may read it.

pub mod rotation;
pub mod sealed;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cairn_crypto::secret::{EntropyError, KEY_BYTES, MasterKey};
use cairn_crypto::wrap::MasterKeyWrap;
use zeroize::Zeroizing;

use crate::kms::external::{ExternalError, ExternalKeys};

/// The digits, and a line break that an editor may have left out.
const FILE_BYTES_MAX: u64 = 2 * KEY_BYTES as u64 + 1;

/// Permissions of the group and of others.
const NOT_OWNER_MODE: u32 = 0o077;

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file system's answer.
    #[error("the master key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// The file is not there, and making a new one would not open what the lost one sealed.
    #[error("the master key file {path} is missing, and the data directory holds what was sealed with it: put it back")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Somebody but the owner can use the file.
    #[error("the master key file {path} has mode {mode:04o}: only its owner may read it (chmod 600)")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds something else.
    #[error("the master key file {path} does not hold 64 hexadecimal digits")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// No new key could be made.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The master key is to be sealed, and is not.
    #[error(
        "external_kms.master_key is set, and {path} is not there: if the master key was never sealed, `cairn master-key rotate` \
         puts a sealed one in its place; otherwise put the file back"
    )]
    NotSealed {
        /// The file of the sealed key.
        path: PathBuf,
    },
    /// The file of the sealed key holds something else.
    #[error("the file {path} does not hold a sealed master key")]
    NoEnvelope {
        /// The file.
        path: PathBuf,
    },
    /// What the external KMS made opens to something else.
    #[error("the external key {under} does not open again what it made of the master key: {path} was not written")]
    NotOpenedAgain {
        /// The file that would have had it.
        path: PathBuf,
        /// The external key.
        under: String,
    },
    /// There is no external KMS in the settings.
    #[error("the master key is sealed, and no external KMS is set")]
    NoExternalKms,
    /// The external KMS.
    #[error("the master key in {path} cannot be sealed or opened")]
    External {
        /// The file.
        path: PathBuf,
        /// What the KMS says.
        source: ExternalError,
    },
}

/// Where the master key is.
#[derive(Debug)]
pub enum MasterKeySource {
    /// In the environment.
    Given(MasterKey),
    /// In a file of systemd's, in a folder that only the service can enter.
    Credential(PathBuf),
    /// In a file of ours.
    File(PathBuf),
    /// In a file of ours, sealed under a key of the external KMS.
    Sealed {
        /// The file.
        file: PathBuf,
        /// The name of the external key.
        under: String,
        /// Where it would be if it were not sealed, and may have been.
        before: Box<MasterKeySource>,
    },
}

/// A file of ours that has the master key, and how.
#[derive(Clone, Debug)]
pub struct KeyFile {
    /// The file.
    pub path: PathBuf,
    /// The external key that it is sealed under; None: it is not.
    pub under: Option<String>,
}

impl MasterKeySource {
    /// The file, if it is one of ours.
    pub fn key_file(&self) -> Option<KeyFile> {
        match self {
            Self::Given(_) | Self::Credential(_) => None,
            Self::File(path) => Some(KeyFile { path: path.clone(), under: None }),
            Self::Sealed { file, under, .. } => Some(KeyFile { path: file.clone(), under: Some(under.clone()) }),
        }
    }
}

/// The external KMS, if there is one.
pub type External<'e> = Option<&'e dyn ExternalKeys>;

/// Reads the master key. If its file is to be ours, is not there, and nothing was ever sealed, makes one, which is durable
/// on return.
pub async fn obtain(
    source: MasterKeySource,
    nothing_sealed: bool,
    external: External<'_>,
) -> Result<MasterKey, MasterKeyError> {
    match source {
        MasterKeySource::Sealed { file, under, .. } => match sealed::load(&file, external).await? {
            Some(key) => Ok(key),
            None if !nothing_sealed => Err(MasterKeyError::NotSealed { path: file }),
            None => {
                let key = MasterKey::generate()?;
                let text = sealed::seal(&file, &under, &key, external).await?;
                write(&file, &text).map_err(|source| MasterKeyError::Io { path: file, source })?;
                Ok(key)
            }
        },
        MasterKeySource::Given(key) => Ok(key),
        MasterKeySource::Credential(path) => {
            let file = File::open(&path).map_err(|source| MasterKeyError::Io { path: path.clone(), source })?;
            read_digits(&path, file)
        }
        MasterKeySource::File(path) => load_or_create(&path, nothing_sealed),
    }
}

/// Reads a key from a file that its owner only can read.
pub fn load(path: &Path) -> Result<MasterKey, MasterKeyError> {
    let file = File::open(path).map_err(|source| MasterKeyError::Io { path: path.to_owned(), source })?;
    read(path, file)
}

/// Lays a key beside the file whose key it is to replace. Durable on return; whatever lay there is gone.
pub async fn lay_next(file: &KeyFile, key: &MasterKey, external: External<'_>) -> Result<(), MasterKeyError> {
    let next = next_to(&file.path);
    let text = match &file.under {
        Some(under) => sealed::seal(&next, under, key, external).await?,
        None => digits(key),
    };
    write(&next, &text).map_err(|source| MasterKeyError::Io { path: next, source })
}

/// Puts the key that lies beside a file in its place if it is the noted one and the file's is not: the master key was changed. The
/// key before stays, under the name that is told. Durable on return.
pub fn take_next(file: &KeyFile, noted: &str) -> Result<Option<PathBuf>, MasterKeyError> {
    let id = |path: &Path| match &file.under {
        Some(_) => sealed::key_id(path),
        None => load(path).map(|key| MasterKeyWrap::new(&key).key_id().to_string()),
    };
    let path = &file.path;
    let next = next_to(path);
    if !next.exists() || id(&next)? != noted {
        return Ok(None);
    }
    let before = if path.exists() { Some(id(path)?) } else { None };
    let kept = before.filter(|before| before != noted).map(|before| path.with_added_extension(before));
    replace(path, &next, kept.as_deref()).map_err(|source| MasterKeyError::Io { path: path.to_owned(), source })?;
    Ok(kept)
}

fn next_to(path: &Path) -> PathBuf {
    path.with_added_extension("next")
}

/// Of a crash between the two, [`take_next`] finds that the file is not there, and the next key is. The first is durable before the
/// second begins, or that could be all that is left of them, and the key before be gone.
fn replace(path: &Path, next: &Path, kept: Option<&Path>) -> io::Result<()> {
    if let Some(kept) = kept {
        fs::rename(path, kept)?;
        sync_folder_of(path)?;
    }
    fs::rename(next, path)?;
    sync_folder_of(path)
}

/// The key that a text of 64 hexadecimal digits is; None if it is none.
pub fn parse(digits: &[u8]) -> Option<MasterKey> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    hex::decode_to_slice(digits.trim_ascii_end(), key.as_mut_slice()).ok()?;
    Some(MasterKey::from_bytes(*key))
}

fn load_or_create(path: &Path, nothing_sealed: bool) -> Result<MasterKey, MasterKeyError> {
    let io = |source| MasterKeyError::Io { path: path.to_owned(), source };
    match File::open(path) {
        Ok(file) => read(path, file),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io(error)),
        Err(_) if !nothing_sealed => Err(MasterKeyError::Missing { path: path.to_owned() }),
        Err(_) => {
            let key = MasterKey::generate()?;
            write(path, &digits(&key)).map_err(io)?;
            Ok(key)
        }
    }
}

fn read(path: &Path, file: File) -> Result<MasterKey, MasterKeyError> {
    let metadata = file.metadata().map_err(|source| MasterKeyError::Io { path: path.to_owned(), source })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & NOT_OWNER_MODE != 0 {
        return Err(MasterKeyError::Exposed { path: path.to_owned(), mode });
    }
    read_digits(path, file)
}

fn read_digits(path: &Path, file: File) -> Result<MasterKey, MasterKeyError> {
    // One byte more than there may be, so that a longer file is noticed.
    let mut digits = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX as usize + 1));
    let mut file = file.take(FILE_BYTES_MAX + 1);
    file.read_to_end(&mut digits).map_err(|source| MasterKeyError::Io { path: path.to_owned(), source })?;
    let whole = Some(digits.as_slice()).filter(|digits| digits.len() as u64 <= FILE_BYTES_MAX);
    whole.and_then(parse).ok_or_else(|| MasterKeyError::Malformed { path: path.to_owned() })
}

fn digits(key: &MasterKey) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
    text.push_str(&Zeroizing::new(hex::encode(key.expose())));
    text.push('\n');
    text
}

/// A crash leaves either no file of this name or the whole of it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_added_extension("new");
    // One that a crash left has no key that anything was sealed under.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_folder_of(path)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn folder_and_path() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        (folder, path)
    }

    fn put(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_new_key_is_the_same_when_read_again_and_its_file_is_private() {
        let (folder, path) = folder_and_path();
        let made = load_or_create(&path, true).unwrap();
        let read = load_or_create(&path, false).unwrap();
        assert_eq!(made.expose(), read.expose());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn what_a_crash_left_does_not_stop_the_next_start() {
        let (_folder, path) = folder_and_path();
        put(&path.with_added_extension("new"), "half", 0o600);
        load_or_create(&path, true).unwrap();
    }

    #[tokio::test]
    async fn the_next_key_takes_its_place_only_once_it_is_noted_and_the_one_before_stays() {
        let (folder, path) = folder_and_path();
        let id = |key: &MasterKey| MasterKeyWrap::new(key).key_id().to_string();
        let old = load_or_create(&path, true).unwrap();
        let next = MasterKey::generate().unwrap();
        let file = KeyFile { path: path.clone(), under: None };
        lay_next(&file, &next, None).await.unwrap();
        assert_eq!(take_next(&file, &id(&old)).unwrap(), None);
        assert_eq!(load(&path).unwrap().expose(), old.expose());
        let kept = take_next(&file, &id(&next)).unwrap().unwrap();
        assert_eq!(load(&path).unwrap().expose(), next.expose());
        assert_eq!(load(&kept).unwrap().expose(), old.expose());
        assert_eq!(take_next(&file, &id(&next)).unwrap(), None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        // A crash between the two renames.
        let last = MasterKey::generate().unwrap();
        lay_next(&file, &last, None).await.unwrap();
        fs::rename(&path, path.with_extension("away")).unwrap();
        assert_eq!(take_next(&file, &id(&last)).unwrap(), None);
        assert_eq!(load(&path).unwrap().expose(), last.expose());
    }

    #[test]
    fn a_lost_key_is_not_replaced() {
        let (_folder, path) = folder_and_path();
        assert!(matches!(load_or_create(&path, false), Err(MasterKeyError::Missing { .. })));
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let (_folder, path) = folder_and_path();
        for mode in [0o640, 0o604, 0o660, 0o644] {
            put(&path, &"ab".repeat(KEY_BYTES), mode);
            assert!(matches!(load_or_create(&path, false), Err(MasterKeyError::Exposed { .. })), "{mode:o}");
        }
    }

    #[test]
    fn a_file_that_holds_no_key_is_refused() {
        let (_folder, path) = folder_and_path();
        for text in ["", "ab", &"ab".repeat(31), &"ab".repeat(33), &"xy".repeat(32), &"a".repeat(63)] {
            put(&path, text, 0o600);
            assert!(matches!(load_or_create(&path, false), Err(MasterKeyError::Malformed { .. })), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_credential_is_read_whatever_its_mode_and_never_made() {
        let (_folder, path) = folder_and_path();
        assert!(obtain(MasterKeySource::Credential(path.clone()), true, None).await.is_err());
        assert!(!path.exists());
        put(&path, &"0b".repeat(KEY_BYTES), 0o440);
        let key = obtain(MasterKeySource::Credential(path.clone()), false, None).await.unwrap();
        assert_eq!(key.expose(), &[11; KEY_BYTES]);
        put(&path, &"0b".repeat(KEY_BYTES + 1), 0o440);
        let longer = obtain(MasterKeySource::Credential(path), false, None).await;
        assert!(matches!(longer, Err(MasterKeyError::Malformed { .. })));
    }

    #[test]
    fn a_key_without_its_line_break_is_read() {
        let (_folder, path) = folder_and_path();
        put(&path, &"0A".repeat(KEY_BYTES), 0o400);
        assert_eq!(load_or_create(&path, false).unwrap().expose(), &[10; KEY_BYTES]);
    }
}
