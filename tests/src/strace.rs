//! Attaching `strace` to a running server: to record its system calls, or to make one of them fail.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Cairn;

const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);

/// An attached tracer; dropping it detaches.
pub struct Tracer {
    process: Child,
    output: PathBuf,
}

impl Tracer {
    /// Attaches to all threads of the server. The error says why this machine does not permit it.
    pub fn attach(cairn: &Cairn, arguments: &[&str]) -> Result<Tracer, String> {
        let output = cairn.scratch_dir().join("strace.log");
        let messages = cairn.scratch_dir().join("strace.messages");
        let stderr = fs::File::create(&messages).map_err(|error| error.to_string())?;
        let process = Command::new("strace")
            .args(["-f", "-ttt", "-yy", "-s", "64", "-o"])
            .arg(&output)
            .args(arguments)
            .args(["-p", &cairn.pid().to_string()])
            .stdin(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(|error| format!("strace does not run: {error}"))?;
        let mut tracer = Tracer { process, output };
        let deadline = Instant::now() + ATTACH_TIMEOUT;
        loop {
            let said = fs::read_to_string(&messages).unwrap_or_default();
            if said.contains("attached") {
                // The message is printed for the first thread; the others follow at once.
                std::thread::sleep(Duration::from_millis(300));
                return Ok(tracer);
            }
            if tracer.process.try_wait().is_ok_and(|status| status.is_some()) || Instant::now() > deadline {
                return Err(format!("strace may not attach: {}", said.trim()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Detaches and returns the recorded lines.
    pub fn finish(mut self) -> Vec<String> {
        self.detach();
        let text = fs::read(&self.output).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        text.unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn detach(&mut self) {
        // On SIGINT strace detaches and leaves the server running; an error says that it has ended already.
        let _ = kill_process(Pid::from_child(&self.process), Signal::INT);
        let _ = self.process.wait();
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.detach();
    }
}
