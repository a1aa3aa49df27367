//! A network that a test controls: a TCP proxy before a server, which can delay, break and refuse connections.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

const PIECE_BYTES: usize = 16 << 10;

/// A proxy; its threads live as long as the process.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    upstream: Mutex<Option<SocketAddr>>,
    /// Connections are refused.
    cut: AtomicBool,
    /// What each piece waits before it goes on, each way.
    delay_ms: AtomicU64,
    /// A connection breaks after so many bytes; 0: it does not.
    break_after_bytes: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// A proxy to a server that is named later.
    pub fn new() -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("the port has an address");
        let state = Arc::new(State::default());
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = shared.clone();
                thread::spawn(move || serve(client, &state));
            }
        });
        Proxy { address, state }
    }

    /// Where connections go from now on.
    pub fn leads_to(&self, server: SocketAddr) {
        *lock(&self.state.upstream) = Some(server);
    }

    /// What stands before a server: `http://ADDRESS`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks all connections.
    pub fn break_all(&self) {
        for stream in lock(&self.state.open).drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Breaks all connections and takes no new ones, or takes them again.
    pub fn set_cut(&self, cut: bool) {
        self.state.cut.store(cut, Ordering::Relaxed);
        if cut {
            self.break_all();
        }
    }

    /// What each piece waits before it goes on.
    pub fn set_delay(&self, delay: Duration) {
        self.state.delay_ms.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Breaks each connection after so many bytes one way; 0: none.
    pub fn set_break_after(&self, bytes: u64) {
        self.state.break_after_bytes.store(bytes, Ordering::Relaxed);
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Proxy::new()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(client: TcpStream, state: &Arc<State>) {
    let upstream = *lock(&state.upstream);
    if state.cut.load(Ordering::Relaxed) {
        return;
    }
    let Some(Ok(server)) = upstream.map(TcpStream::connect) else { return };
    let (Ok(client_2), Ok(server_2)) = (client.try_clone(), server.try_clone()) else { return };
    if let (Ok(client), Ok(server)) = (client.try_clone(), server.try_clone()) {
        lock(&state.open).extend([client, server]);
    }
    let shared = state.clone();
    thread::spawn(move || pump(server_2, client_2, &shared));
    pump(client, server, state);
}

fn pump(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut passed: u64 = 0;
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        let delay_ms = state.delay_ms.load(Ordering::Relaxed);
        if delay_ms > 0 {
            thread::sleep(Duration::from_millis(delay_ms));
        }
        passed += count as u64;
        let break_after = state.break_after_bytes.load(Ordering::Relaxed);
        if (break_after > 0 && passed > break_after) || to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    // The other direction ends as well.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
