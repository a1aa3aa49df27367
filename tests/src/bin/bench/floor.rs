//! What this machine can do without an object store: a bare HTTP server in a process of its own, and a bare file.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, IoSliceMut, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustix::io::ReadWriteFlags;

/// The flag that turns this program into the floor's server.
pub const SERVER_FLAG: &str = "--floor-server";

/// Reads of this size stay in the CPU's cache on their way to the socket.
const PIECE_BYTES: usize = 64 * 1024;

/// The running server of the floor.
pub struct Floor {
    process: Child,
    /// Where it listens.
    pub address: SocketAddr,
    directory: PathBuf,
}

impl Floor {
    /// Starts this program once more as the floor's server over files in `scratch`.
    pub fn start(scratch: &Path) -> Floor {
        let directory = scratch.join("floor");
        fs::create_dir_all(&directory).expect("the floor's directory is made");
        let mut process = Command::new(std::env::current_exe().expect("this program has a path"))
            .arg(SERVER_FLAG)
            .arg(&directory)
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("its output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().parse().expect("it prints an address");
        Floor { process, address, directory }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Makes the file that `GET /SIZE` reads.
    pub fn put_file(&self, content: &[u8]) {
        fs::write(self.directory.join(content.len().to_string()), content).expect("the floor's file is written");
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server: GET sends a file from the page cache, PUT receives and discards.
pub fn serve(directory: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        println!("{}", listener.local_addr().expect("it has an address"));
        std::io::stdout().flush().expect("the address is printed");
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            // Without it, small answers wait for an acknowledgement; an error leaves them slow.
            let _ = stream.set_nodelay(true);
            let directory = directory.to_owned();
            tokio::spawn(async move {
                let files = OpenFiles::new(directory);
                let service = hyper::service::service_fn(move |request| answer(files.clone(), request));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // The client ends its connections as it likes.
                let _ = connection.await;
            });
        }
    });
}

async fn answer(files: Arc<OpenFiles>, request: Request<Incoming>) -> Result<Response<FileBody>, hyper::Error> {
    if request.method() == Method::GET {
        let body = files.body(request.uri().path().trim_start_matches('/'));
        return Ok(Response::new(body));
    }
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(Response::new(FileBody { file: None, offset: 0, end: 0 }))
}

/// A file's bytes, read from the page cache in pieces.
struct FileBody {
    file: Option<Arc<File>>,
    offset: u64,
    end: u64,
}

impl FileBody {
    fn read(&mut self, file: &File) -> rustix::io::Result<Bytes> {
        let wanted = PIECE_BYTES.min(usize::try_from(self.end - self.offset).unwrap_or(PIECE_BYTES));
        let mut piece = vec![0; wanted];
        let read = {
            let mut slices = [IoSliceMut::new(&mut piece)];
            rustix::io::preadv2(file, &mut slices, self.offset, ReadWriteFlags::NOWAIT)
        };
        let length = match read {
            Ok(length) if length > 0 => length,
            // Not in the page cache, or a file system that cannot tell: wait for it here.
            _ => rustix::io::pread(file, &mut piece, self.offset)?,
        };
        piece.truncate(length);
        self.offset += length as u64;
        Ok(piece.into())
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let Some(file) = self.file.clone().filter(|_| self.offset < self.end) else { return Poll::Ready(None) };
        Poll::Ready(Some(self.read(&file).map(Frame::data).map_err(std::io::Error::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.offset >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.offset)
    }
}

/// The open files of one connection, by name.
struct OpenFiles {
    directory: PathBuf,
    files: Mutex<HashMap<String, Arc<File>>>,
}

impl OpenFiles {
    fn new(directory: PathBuf) -> Arc<OpenFiles> {
        Arc::new(OpenFiles { directory, files: Mutex::new(HashMap::new()) })
    }

    /// The body of a file; a missing one is empty.
    fn body(&self, name: &str) -> FileBody {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match files.get(name) {
            Some(file) => Some(file.clone()),
            None => File::open(self.directory.join(name)).ok().map(Arc::new),
        };
        if let Some(file) = &file {
            files.insert(name.to_owned(), file.clone());
        }
        let end = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |metadata| metadata.len());
        FileBody { file, offset: 0, end }
    }
}

/// Prints what the disk does: appends of 4 KiB each synced, and files of 10 MiB each synced with its folder.
pub fn print_disk(duration: Duration, data_dir: &Path) {
    let directory = data_dir.with_file_name("disk-floor");
    fs::create_dir_all(&directory).expect("a directory beside the data is made");
    println!("\nthe disk alone, one writer");
    let mut log = File::create(directory.join("log")).expect("a file is made");
    let small = measure(duration, |_| {
        log.write_all(&[7; 4096])?;
        log.sync_data()
    });
    println!("  append 4 KiB + fdatasync              {small:>10.0} /s");
    let content = vec![7; 10 * 1024 * 1024];
    let folder = File::open(&directory).expect("the directory opens");
    let large = measure(duration, |count| {
        let path = directory.join(format!("file-{}", count % 4));
        // Truncating in place is slow on ext4; a new file is what a store writes.
        let _ = fs::remove_file(&path);
        let mut file = File::create(path)?;
        file.write_all(&content)?;
        file.sync_data()?;
        folder.sync_all()
    });
    println!(
        "  file of 10 MiB + fdatasync + folder   {large:>10.1} /s  ({:.0} MB/s)",
        large * content.len() as f64 / 1e6
    );
    // It is beside temporary data; what is left behind goes with that.
    let _ = fs::remove_dir_all(&directory);
}

fn measure(duration: Duration, mut operation: impl FnMut(u64) -> std::io::Result<()>) -> f64 {
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < duration {
        operation(count).expect("the disk takes writes");
        count += 1;
    }
    count as f64 / started.elapsed().as_secs_f64()
}
