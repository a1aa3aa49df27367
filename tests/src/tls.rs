//! HTTPS for tests: a certificate authority made on the spot, and connections that trust it and nothing else.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::wire::Connection;

/// A certificate authority in a folder of its own.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// Makes one with the `openssl` command; the error says why it cannot be made here.
    pub fn make(folder: &Path) -> Result<Authority, String> {
        let authority = Authority { folder: folder.to_owned() };
        authority.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=Cairn test authority",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ])?;
        Ok(authority)
    }

    /// The certificate that clients are to trust.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Issues a certificate for the loopback interface, into `NAME.pem` and `NAME.key`.
    pub fn issue(&self, name: &str) -> Result<(PathBuf, PathBuf), String> {
        let [certificate, key, request, extensions] =
            ["pem", "key", "csr", "ext"].map(|extension| format!("{name}.{extension}"));
        let subject = format!("/CN={name}");
        let alternatives = "subjectAltName=DNS:localhost,DNS:*.s3.localhost,IP:127.0.0.1\n";
        std::fs::write(self.folder.join(&extensions), alternatives).map_err(|error| error.to_string())?;
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &request,
        ])?;
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            &extensions,
            "-out",
            &certificate,
        ])?;
        Ok((self.folder.join(certificate), self.folder.join(key)))
    }

    fn openssl(&self, arguments: &[&str]) -> Result<(), String> {
        let run = Command::new("openssl").args(arguments).current_dir(&self.folder).output();
        let output = run.map_err(|error| format!("openssl does not run: {error}"))?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    /// Greets a server that must have a certificate of this authority, in one of these versions.
    pub async fn greet(
        &self,
        address: SocketAddr,
        versions: &[&'static SupportedProtocolVersion],
    ) -> io::Result<TlsStream<TcpStream>> {
        self.greet_for(address, versions, &[]).await
    }

    async fn greet_for(
        &self,
        address: SocketAddr,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&[u8]],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(self.certificate()).map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::from(address.ip());
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Greets a server and chooses HTTP/2.
    pub async fn greet_http2(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        self.greet_for(address, &[&TLS13], &[b"h2"]).await
    }

    /// A connection for exchanges.
    pub async fn connect(
        &self,
        address: SocketAddr,
        versions: &[&'static SupportedProtocolVersion],
    ) -> io::Result<Connection> {
        let (read, write) = tokio::io::split(self.greet(address, versions).await?);
        Ok(Connection::over(read, write))
    }
}
