//! The file of one measurement log: only ever appended to, opened again under the same name when it was moved away. A
//! file that another node writes is left alone. Whole lines or none reach it, unless the disk fails in the middle of
//! one, and then the next begins on a line of its own.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{MeasurementFormat, MeasurementLog};

/// An open log.
#[derive(Debug)]
pub struct MeasurementFile {
    log: MeasurementLog,
    format: MeasurementFormat,
    banner: String,
    path: PathBuf,
    file: File,
    /// The last write failed, perhaps in the middle of a line.
    torn: bool,
}

impl MeasurementFile {
    /// Opens the log in the folder `dir`, or goes on with the one that is there, and writes a banner into it.
    ///
    /// # Errors
    /// It cannot be opened or written, or is written by another node (`WouldBlock`); or it is no regular file.
    pub fn open(
        dir: &Path,
        log: MeasurementLog,
        format: MeasurementFormat,
        node: &str,
        cluster: &str,
    ) -> io::Result<Self> {
        let path = dir.join(format!("{}.{}", log.as_str(), format.as_str()));
        let banner = log.banner(node, cluster);
        let file = open(&path)?;
        let mut log = MeasurementFile { log, format, banner, path, file, torn: false };
        log.begin()?;
        Ok(log)
    }

    /// Which log it is.
    #[must_use]
    pub fn log(&self) -> MeasurementLog {
        self.log
    }

    /// The form of its lines.
    #[must_use]
    pub fn format(&self) -> MeasurementFormat {
        self.format
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends whole lines.
    ///
    /// # Errors
    /// They were not written, or not all of them.
    pub fn append(&mut self, lines: &str) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        let written = self.file.write_all(lines.as_bytes());
        self.torn = written.is_err();
        written
    }

    /// Opens it again under its name, for after somebody moved it. If that fails it goes on where it is.
    ///
    /// # Errors
    /// As [`MeasurementFile::open`].
    pub fn reopen(&mut self) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let same = |a: &std::fs::Metadata, b: &std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        let own = self.file.metadata()?;
        if std::fs::symlink_metadata(&self.path).is_ok_and(|there| same(&there, &own)) {
            return Ok(());
        }
        self.file = open(&self.path)?;
        self.torn = false;
        self.begin()
    }

    fn begin(&mut self) -> io::Result<()> {
        let columns = self.log.columns();
        let text = match self.format {
            MeasurementFormat::Csv => {
                let names = columns.join(",");
                // Names in the middle of a file would be taken for values: there they are a comment too.
                let mark = if self.file.metadata()?.len() == 0 { "" } else { "# " };
                format!("# {}\n{mark}{names}\n", self.banner)
            }
            MeasurementFormat::Jsonl => {
                serde_json::json!({ "banner": self.banner, "columns": columns }).to_string() + "\n"
            }
        };
        self.append(&text)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            "another llts writes it: give each node a --log-dir of its own",
        )),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
