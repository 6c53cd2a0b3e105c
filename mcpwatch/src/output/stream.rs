//! Where an output's bytes go: stdout or a file, opened, reopened and written to its last byte.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::escape::Escaped;

/// Where an output writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file or named pipe; what a file holds is kept.
    File(PathBuf),
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::File(path) => Escaped::path(&path.to_string_lossy(), 512).fmt(f),
        }
    }
}

/// An output cannot be opened: says what, where and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot write events to {destination}: {reason}; {advice}")]
pub struct OpenError {
    /// Where.
    pub destination: Destination,
    /// What the system said. It stands in the message, and would again as its source.
    pub reason: io::Error,
    /// What to do.
    pub advice: String,
}

impl OpenError {
    fn new(destination: &Destination, reason: io::Error) -> Self {
        let folder = match destination {
            Destination::File(path) => parent(path),
            Destination::Stdout => Path::new("/"),
        };
        let folder = Escaped::path(&folder.to_string_lossy(), 512).to_string();
        let advice = match reason.kind() {
            ErrorKind::NotFound => {
                format!("its folder does not exist, create it: mkdir -p -m 0700 {folder}")
            }
            ErrorKind::PermissionDenied => {
                format!("let the user mcpwatch runs as write to {folder}, or name another file")
            }
            ErrorKind::IsADirectory => "name a file in it".to_owned(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "free some space on its file system, or name a file elsewhere".to_owned()
            }
            ErrorKind::ReadOnlyFilesystem => "name a file on a writable file system".to_owned(),
            ErrorKind::ResourceBusy => "end the other one, or name another file".to_owned(),
            _ if reason.raw_os_error() == Some(libc::ENXIO) => {
                "it is a pipe that nobody reads, start its reader first".to_owned()
            }
            _ => "name another file".to_owned(),
        };
        Self { destination: destination.clone(), reason, advice }
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// An open destination.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) destination: Destination,
    file: File,
    /// The file ended in the middle of a line: a newline goes before anything else.
    pub(super) broken_line: bool,
}

impl Stream {
    pub(super) fn open(destination: Destination) -> Result<Self, OpenError> {
        let opened = match &destination {
            // Not `io::Stdout`: its line buffer would hide how far a failed write got.
            Destination::Stdout => {
                io::stdout().as_fd().try_clone_to_owned().map(|fd| (File::from(fd), false))
            }
            Destination::File(path) => open_file(path),
        };
        match opened {
            Ok((file, broken_line)) => Ok(Self { destination, file, broken_line }),
            Err(source) => Err(OpenError::new(&destination, source)),
        }
    }

    #[cfg(test)]
    pub(super) fn of(file: File, destination: Destination) -> Self {
        Self { destination, file, broken_line: false }
    }

    /// Opens the file's path again; `false` when it still leads to the file that is open.
    pub(super) fn reopen(&mut self) -> Result<bool, OpenError> {
        let Destination::File(path) = &self.destination else { return Ok(false) };
        let same = |there: fs::Metadata, open: fs::Metadata| {
            (there.dev(), there.ino()) == (open.dev(), open.ino())
        };
        // Opened a second time, it would be refused because of our own lock.
        if let (Ok(there), Ok(open)) = (fs::metadata(path), self.file.metadata())
            && same(there, open)
        {
            return Ok(false);
        }
        *self = Self::open(self.destination.clone())?;
        Ok(true)
    }

    /// Writes as much as possible: how many bytes went out, and why it was not all of them.
    pub(super) fn write(&mut self, bytes: &[u8]) -> (usize, Option<io::Error>) {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return (written, Some(ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another holder of the same pipe or terminal made it non-blocking (Node does).
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wait_until_writable(&self.file);
                }
                Err(error) => return (written, Some(error)),
            }
        }
        (written, None)
    }
}

/// Opens a file for appending, readable by its owner alone: events hold paths, arguments and what
/// rules could not mask. Also tells whether its last line lacks its end.
fn open_file(path: &Path) -> io::Result<(File, bool)> {
    // O_NONBLOCK: opening a named pipe without a reader must fail instead of waiting for one.
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        keep_to_ourselves(&file)?;
    }
    let broken_line = metadata.is_file() && metadata.len() > 0 && !ends_with_newline(path)?;
    Ok((file, broken_line))
}

/// Locks a file against another agent, for as long as it is open: `seq` and whole lines are of one writer.
pub(crate) fn keep_to_ourselves(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(ErrorKind::ResourceBusy, "another mcpwatch writes to it"))
        }
        // Some network file systems know no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

fn ends_with_newline(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Waits for room in a pipe or terminal; an error is left to the next write to report.
fn wait_until_writable(file: &File) {
    let mut poll = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: `poll` is one valid pollfd whose descriptor outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, -1) };
}

/// The file is a pipe, socket or terminal: what is on its other end can go away.
pub(super) fn has_other_end(stream: &Stream) -> bool {
    stream.file.metadata().is_ok_and(|metadata| {
        let kind = metadata.file_type();
        kind.is_fifo() || kind.is_socket() || kind.is_char_device()
    })
}
