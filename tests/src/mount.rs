//! File systems of a test's own: a small one in memory that fills up, and one on a loop device whose power can be cut.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A mounted file system; dropping it unmounts.
pub struct Mount {
    path: PathBuf,
    image: Option<PathBuf>,
}

impl Mount {
    /// Mounts a tmpfs. The error says why this machine does not permit it.
    pub fn tmpfs(path: &Path, size_mib: u64) -> Result<Mount, String> {
        create(path)?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size_mib}m"), "cairn-test"]).arg(path))?;
        Ok(Mount { path: path.into(), image: None })
    }

    /// Makes an ext4 file system in an image file and mounts it. The error says why this machine does not permit it.
    pub fn ext4(path: &Path, image: &Path, size_mib: u64) -> Result<Mount, String> {
        create(path)?;
        run(Command::new("truncate").args(["-s", &format!("{size_mib}M")]).arg(image))?;
        run(Command::new("mkfs.ext4").arg("-q").arg(image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(path))?;
        Ok(Mount { path: path.into(), image: Some(image.into()) })
    }

    /// Gets ready to cut the power of an ext4, so that the cut itself is one system call.
    pub fn prepare_cut(&self) -> Result<PowerCut, String> {
        // EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH; Python spares this crate unsafe code.
        let script = "import fcntl, os, struct, sys\n\
                      disk = os.open(sys.argv[1], os.O_RDONLY)\n\
                      print('ready', flush=True)\n\
                      sys.stdin.readline()\n\
                      fcntl.ioctl(disk, 0x8004587D, struct.pack('I', 2))";
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(&self.path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let stdout = process.stdout.take().ok_or("no pipe to read from")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
        Ok(PowerCut(process))
    }

    /// Unmounts and mounts again, as after a reboot. Nothing may hold files of it.
    pub fn remount(&self) -> Result<(), String> {
        let image = self.image.as_ref().ok_or("only an image can be mounted again")?;
        run(Command::new("umount").arg(&self.path))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(&self.path))
    }
}

/// A power cut that waits for its moment.
pub struct PowerCut(Child);

impl PowerCut {
    /// Cuts: nothing that is not on the disk yet, the journal included, will get there. The file system's calls fail
    /// from then on, but those that are under way may still succeed although what they did is lost.
    pub fn cut(mut self) -> Result<(), String> {
        let mut stdin = self.0.stdin.take().ok_or("no pipe to write to")?;
        stdin.write_all(b"\n").map_err(|error| error.to_string())?;
        drop(stdin);
        match self.0.wait().map_err(|error| error.to_string())?.success() {
            true => Ok(()),
            false => Err("the ioctl failed".into()),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, so that a file that is still open does not leave the mount behind.
        let _ = run(Command::new("umount").arg("-l").arg(&self.path));
    }
}

fn create(path: &Path) -> Result<(), String> {
    std::fs::create_dir_all(path).map_err(|error| error.to_string())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
