//! A recording: everything that went into the pipeline, in order, so that `mcpwatch replay` gives the same
//! records again. It holds what the servers were asked and did, unmasked: keep it like the secrets in it.
//!
//! Layout: the magic line, then frames of a kind byte, a length (`u32`, little endian) and that many bytes.
//! The first frame is the origin; events are kept as the kernel laid them out, everything else is JSON.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::output::keep_to_ourselves;
use crate::pipeline::{Input, Origin};

/// First bytes of a recording; the number is the format's version.
const MAGIC: &[u8] = b"mcpwatch recording 1\n";
/// Longest frame that is read: a batch is at most 1 MiB and one event more.
const FRAME_BYTES: u32 = 32 << 20;

const ORIGIN: u8 = b'o';
const INPUT: u8 = b'i';
const EVENTS: u8 = b'e';

/// What a recording begins with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Beginning {
    /// The host.
    pub origin: Origin,
    /// Text of the settings file in use; empty for the defaults.
    pub settings: String,
    /// `--sniff`, when it was given.
    pub sniff: Option<String>,
}

/// One frame.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A batch of kernel events.
    Events(Vec<u8>),
    /// Anything else.
    Input(Box<Input>),
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file.
    #[error(
        "{path} cannot be read: {reason}; name a recording made with `mcpwatch run --record FILE`"
    )]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said. It stands in the message, and would again as its source.
        reason: io::Error,
    },
    /// Not a recording.
    #[error(
        "{path} is no recording of this version: expected it to begin with \"mcpwatch recording 1\"; make one with `mcpwatch run --record FILE`"
    )]
    Magic {
        /// Its path.
        path: PathBuf,
    },
    /// A frame that is none.
    #[error("{path}, byte {at}: {message}; make a new one with `mcpwatch run --record FILE`")]
    Frame {
        /// Its path.
        path: PathBuf,
        /// Where the frame begins.
        at: u64,
        /// What is wrong.
        message: String,
    },
}

/// Writes a recording.
#[derive(Debug)]
pub struct Writer {
    file: BufWriter<File>,
}

impl Writer {
    /// Begins a recording; an existing file is replaced, and readable by its owner only.
    pub fn create(path: &Path, beginning: &Beginning) -> io::Result<Self> {
        // Emptied only when nobody else is writing it.
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if file.metadata()?.is_file() {
            keep_to_ourselves(&file)?;
            file.set_len(0)?;
        }
        let mut writer = Self { file: BufWriter::with_capacity(256 << 10, file) };
        writer.file.write_all(MAGIC)?;
        let text = serde_json::to_vec(beginning)?;
        writer.frame(ORIGIN, &text)?;
        Ok(writer)
    }

    /// Adds a batch of kernel events.
    pub fn events(&mut self, batch: &[u8]) -> io::Result<()> {
        self.frame(EVENTS, batch)
    }

    /// Adds anything else.
    pub fn input(&mut self, input: &Input) -> io::Result<()> {
        let text = serde_json::to_vec(input)?;
        self.frame(INPUT, &text)
    }

    /// Writes what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn frame(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.file.write_all(&[kind])?;
        self.file.write_all(&len.to_le_bytes())?;
        self.file.write_all(bytes)
    }
}

/// Reads a recording.
pub struct Reader<R = BufReader<File>> {
    path: PathBuf,
    file: R,
    at: u64,
}

impl Reader {
    /// Opens a recording and reads how it begins.
    pub fn open(path: &Path) -> Result<(Self, Beginning), RecordingError> {
        let fail = |reason| RecordingError::File { path: path.to_owned(), reason };
        Self::of(path, BufReader::new(File::open(path).map_err(fail)?))
    }
}

impl<R: Read> Reader<R> {
    /// Reads how a recording begins that comes from anywhere; `path` is for messages.
    pub fn of(path: &Path, mut file: R) -> Result<(Self, Beginning), RecordingError> {
        let mut magic = [0; MAGIC.len()];
        if file.read_exact(&mut magic).is_err() || magic != MAGIC {
            return Err(RecordingError::Magic { path: path.to_owned() });
        }
        let mut reader = Self { path: path.to_owned(), file, at: MAGIC.len() as u64 };
        match reader.frame()? {
            Some((ORIGIN, bytes)) => {
                let beginning = reader.json(&bytes)?;
                Ok((reader, beginning))
            }
            _ => Err(reader.error(&"the first frame is not the origin")),
        }
    }

    /// The next frame; `None` at the end. A last frame that is cut, as after a crash, ends the recording
    /// with an error.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, RecordingError> {
        match self.frame()? {
            None => Ok(None),
            Some((EVENTS, bytes)) => Ok(Some(Frame::Events(bytes))),
            Some((INPUT, bytes)) => Ok(Some(Frame::Input(Box::new(self.json(&bytes)?)))),
            Some((kind, _)) => Err(self.error(&format!("a frame of unknown kind {kind}"))),
        }
    }

    fn frame(&mut self) -> Result<Option<(u8, Vec<u8>)>, RecordingError> {
        let mut head = [0; 5];
        match self.file.read(&mut head[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(self.error(&error)),
        }
        self.file
            .read_exact(&mut head[1..])
            .map_err(|_| self.error(&"the file ends within a frame"))?;
        let [kind, a, b, c, d] = head;
        let len = u32::from_le_bytes([a, b, c, d]);
        if len > FRAME_BYTES {
            return Err(
                self.error(&format!("a frame of {len} bytes; at most {FRAME_BYTES} are read"))
            );
        }
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(u64::from(len)).read_to_end(&mut bytes);
        match read {
            Ok(read) if read == len as usize => {
                self.at += 5 + u64::from(len);
                Ok(Some((kind, bytes)))
            }
            Ok(_) => Err(self.error(&"the file ends within a frame")),
            Err(error) => Err(self.error(&error)),
        }
    }

    fn json<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, RecordingError> {
        serde_json::from_slice(bytes).map_err(|error| self.error(&error))
    }

    fn error(&self, message: &dyn std::fmt::Display) -> RecordingError {
        RecordingError::Frame { path: self.path.clone(), at: self.at, message: message.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(folder: &Path) -> PathBuf {
        let path = folder.join("recording");
        let beginning =
            Beginning { origin: Origin::default(), settings: String::new(), sniff: None };
        let mut writer = Writer::create(&path, &beginning).unwrap();
        writer.input(&Input::Clock { boot: 5, calendar: 7 }).unwrap();
        writer.events(b"bytes").unwrap();
        writer.flush().unwrap();
        path
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (mut reader, _) = Reader::open(&recording(folder.path())).unwrap();
        assert!(matches!(reader.next_frame().unwrap(), Some(Frame::Input(_))));
        assert!(
            matches!(reader.next_frame().unwrap(), Some(Frame::Events(bytes)) if bytes == b"bytes")
        );
        assert!(reader.next_frame().unwrap().is_none());
    }

    #[test]
    fn a_recording_somebody_writes_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recording");
        let beginning =
            Beginning { origin: Origin::default(), settings: String::new(), sniff: None };
        let mut writer = Writer::create(&path, &beginning).unwrap();
        writer.flush().unwrap();
        let error = Writer::create(&path, &beginning).unwrap_err();
        assert_eq!(error.to_string(), "another mcpwatch writes to it");
        assert!(Reader::open(&path).is_ok());
    }

    #[test]
    fn every_cut_is_an_error_that_names_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let whole = std::fs::read(recording(folder.path())).unwrap();
        let path = folder.path().join("cut");
        let mut whole_ones = 0;
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let Ok((mut reader, _)) = Reader::open(&path) else { continue };
            loop {
                match reader.next_frame() {
                    Ok(Some(_)) => {}
                    Ok(None) => {
                        whole_ones += 1;
                        break;
                    }
                    Err(error) => {
                        assert!(error.to_string().contains("cut"), "{error}");
                        break;
                    }
                }
            }
        }
        // Cuts between frames cannot be told from an end.
        assert_eq!(whole_ones, 2);
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("huge");
        std::fs::write(&path, [MAGIC, b"o\xff\xff\xff\xff"].concat()).unwrap();
        assert!(Reader::open(&path).is_err());
        std::fs::write(&path, b"something else").unwrap();
        assert!(matches!(Reader::open(&path), Err(RecordingError::Magic { .. })));
    }
}
