//! The file of the audit log: lines of JSON, in a folder that holds a bounded number of files of a bounded size.
//!
//! ```text
//! audit.jsonl      what is being written
//! audit.1.jsonl    what was written before it; 2, 3 ... are older
//! ```
//!
//! Lines are not synced: the log tells what happened as long as the system runs on. Who needs more sends it elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Where the log goes, and how much of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// The folder.
    pub folder: PathBuf,
    /// The size at which the next file begins.
    pub file_bytes_max: u64,
    /// Files that are kept, the one being written among them.
    pub files_max: usize,
}

/// The file being written.
#[derive(Debug)]
pub struct AuditFile {
    settings: FileSettings,
    file: File,
    bytes: u64,
}

impl AuditFile {
    /// Opens the file, to write after what is in it.
    ///
    /// # Errors
    /// The system's.
    pub fn open(settings: FileSettings) -> io::Result<Self> {
        fs::create_dir_all(&settings.folder)?;
        let file = open(&path(&settings.folder, 0))?;
        let bytes = file.metadata()?.len();
        Ok(Self { settings, file, bytes })
    }

    /// Writes whole lines; before that, the next file is begun if the current one is full.
    ///
    /// # Errors
    /// The system's. Some of the lines may have been written.
    pub fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + lines.len() as u64 > self.settings.file_bytes_max {
            self.rotate()?;
        }
        self.file.write_all(lines)?;
        self.bytes += lines.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let FileSettings { folder, files_max, .. } = &self.settings;
        for number in (1..*files_max).rev() {
            match fs::rename(path(folder, number - 1), path(folder, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if *files_max == 1 {
            fs::remove_file(path(folder, 0))?;
        }
        self.file = open(&path(folder, 0))?;
        self.bytes = 0;
        Ok(())
    }
}

/// The line of the request of this id, which is looked for in all files, the newest first.
///
/// # Errors
/// The system's.
pub fn find(settings: &FileSettings, request_id: &str) -> io::Result<Option<String>> {
    let wanted = format!("\"request_id\":\"{request_id}\"");
    for number in 0..settings.files_max {
        let file = match File::open(path(&settings.folder, number)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).lines() {
            let line = line?;
            if line.contains(&wanted) {
                return Ok(Some(line));
            }
        }
    }
    Ok(None)
}

fn path(folder: &Path, number: usize) -> PathBuf {
    match number {
        0 => folder.join("audit.jsonl"),
        number => folder.join(format!("audit.{number}.jsonl")),
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_makes_room_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let settings = FileSettings { folder: folder.path().to_owned(), file_bytes_max: 60, files_max: 3 };
        let mut file = AuditFile::open(settings.clone()).unwrap();
        for number in 0..10 {
            file.write(format!("{{\"request_id\":\"{number}\",\"x\":1}}\n").as_bytes()).unwrap();
        }
        assert_eq!(names(folder.path()), ["audit.1.jsonl", "audit.2.jsonl", "audit.jsonl"]);
        for name in names(folder.path()) {
            assert!(fs::metadata(folder.path().join(name)).unwrap().len() <= 60);
        }
        assert!(find(&settings, "9").unwrap().is_some_and(|line| line.starts_with("{\"request_id\":\"9\"")));
        assert_eq!(find(&settings, "0").unwrap(), None);
    }

    #[test]
    fn a_start_goes_on_where_the_last_one_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let settings = FileSettings { folder: folder.path().join("audit"), file_bytes_max: 1_000, files_max: 2 };
        for line in ["one\n", "two\n"] {
            AuditFile::open(settings.clone()).unwrap().write(line.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(settings.folder.join("audit.jsonl")).unwrap(), "one\ntwo\n");
    }
}
