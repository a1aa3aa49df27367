//! TLS 1.2 and 1.3 below HTTP, with a certificate that can be exchanged while connections live.
//!
//! A handshake is bounded in time, and handshakes in number, so that clients which begin one and stop cannot fill the
//! server. Connections keep the certificate that they were made with; new ones get the newest. A certificate that cannot be
//! loaded anew leaves the old one in force.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use tokio::net::TcpStream;
use tokio::signal::unix::Signal;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ProtocolVersion, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::http2::ALPN;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Handshakes at the same time; further connections are closed.
const HANDSHAKES_MAX: usize = 256;

/// The largest file of certificates or of a key that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The pause between two looks at the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Why there is no TLS. Never shows what the key's file holds.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file of certificates has none, or what is none.
    #[error("{0} does not hold certificates in PEM")]
    Certificates(PathBuf),
    /// The file of the key has none.
    #[error("{0} does not hold a private key in PEM")]
    Key(PathBuf),
    /// They do not fit together, or cannot be used.
    #[error("the certificate and the key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The certificate and key in force.
#[derive(Debug)]
pub struct Tls {
    certificate_file: PathBuf,
    key_file: PathBuf,
    /// Whether clients may choose HTTP/2.
    http2: bool,
    config: RwLock<Arc<ServerConfig>>,
    handshakes: Semaphore,
}

/// What tells that a file was changed.
type Stamp = Option<(SystemTime, u64)>;

impl Tls {
    /// Loads certificate chain and key from two PEM files.
    pub fn load(certificate_file: PathBuf, key_file: PathBuf, http2: bool) -> Result<Self, TlsError> {
        let config = RwLock::new(Arc::new(read(&certificate_file, &key_file, http2)?));
        Ok(Self { certificate_file, key_file, http2, config, handshakes: Semaphore::new(HANDSHAKES_MAX) })
    }

    /// Loads the files again, for connections that come from now on. An error changes nothing.
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new(read(&self.certificate_file, &self.key_file, self.http2)?);
        *self.config.write() = config;
        Ok(())
    }

    /// Loads the files again when they change, and at each `hangup`, until `stop`.
    pub async fn keep_fresh(&self, mut hangup: Signal, stop: CancellationToken) {
        let mut loaded = self.stamps();
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
                _ = hangup.recv() => true,
            };
            let found = self.stamps();
            if found == loaded && !asked {
                continue;
            }
            match self.reload() {
                Ok(()) => {
                    tracing::info!(file = %self.certificate_file.display(), "the TLS certificate was loaded anew")
                }
                Err(error) => tracing::warn!(%error, "the TLS certificate stays as it was"),
            }
            loaded = found;
        }
    }

    fn stamps(&self) -> [Stamp; 2] {
        [&self.certificate_file, &self.key_file].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }

    /// Greets a client. None: it did not finish in time, does not speak TLS, or too many others are being greeted.
    pub(super) async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let _permit = self.handshakes.try_acquire().ok()?;
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config.read()));
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::debug!("a TLS handshake took too long");
                None
            }
        }
    }
}

/// The version of TLS that a connection has, as policies name it.
pub(super) fn version(stream: &TlsStream<TcpStream>) -> &'static str {
    match stream.get_ref().1.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "1.3",
        _ => "1.2",
    }
}

/// Whether the client has chosen HTTP/2.
pub(super) fn is_for_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(ALPN)
}

fn read(certificate_file: &Path, key_file: &Path, http2: bool) -> Result<ServerConfig, TlsError> {
    let malformed = |_: pem::Error| TlsError::Certificates(certificate_file.to_owned());
    let chain = read_file(certificate_file)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain).collect::<Result<_, _>>().map_err(malformed)?;
    if chain.is_empty() {
        return Err(TlsError::Certificates(certificate_file.to_owned()));
    }
    let key = read_file(key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| TlsError::Key(key_file.to_owned()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let protocols = http2.then_some(ALPN).into_iter().chain([b"http/1.1".as_slice()]);
    config.alpn_protocols = protocols.map(<[u8]>::to_vec).collect();
    Ok(config)
}

/// The whole file, wiped when it is dropped.
fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    use std::io::Read as _;
    let io = |source| TlsError::Io { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len().min(FILE_BYTES_MAX);
    // Reserved at once: a buffer that grew would leave a copy of the key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}
