//! An S3 server that is no Cairn, for what goes to such servers.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::sigv4::Credentials;
use crate::venv;

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// An S3 server that is no Cairn; it ends with this value.
pub struct Foreign {
    process: Child,
    /// Where it answers.
    pub address: SocketAddr,
}

impl Foreign {
    /// Moto's, from the clients' environment.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn start() -> Result<Self, String> {
        let python = venv::directory()?.join("bin/python");
        let installed = Command::new(&python).args(["-c", "import moto.server, flask"]).output();
        if !installed.is_ok_and(|output| output.status.success()) {
            return Err("moto is not installed".to_owned());
        }
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = address.map_err(|error| error.to_string())?;
        let port = address.port().to_string();
        let mut server = Command::new(python);
        server.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port]);
        let process = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.map_err(|error| error.to_string())?;
        let foreign = Self { process, address };
        let began = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            if began.elapsed() > START_TIMEOUT {
                return Err("moto does not start".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(foreign)
    }

    /// Somebody who may do everything there.
    pub fn client(&self) -> Client {
        let credentials = Credentials { access_key: "a".into(), secret_key: "b".into(), token: None };
        Client { address: self.address, credentials }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
