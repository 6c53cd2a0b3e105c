//! Chunks of a byte stream → lines: the framing of the stdio transport in every revision ("messages
//! are delimited by newlines, and MUST NOT contain embedded newlines", specification, Transports).

use std::mem;

use super::Limits;

/// How much is known of what stood before a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// The line begins where the one before ended.
    #[default]
    Known,
    /// Bytes were lost before it: it may lack its beginning.
    AfterHole,
    /// It is the first line of a channel that was in use before: it may lack its beginning.
    Joined,
}

/// What a stream is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A line, without its terminator.
    Line {
        /// Its bytes; never blank.
        bytes: Vec<u8>,
        /// What is known of its start.
        start: Start,
    },
    /// The ends of a line that was too long, or not captured whole.
    Clipped(Clipped),
    /// Bytes lost where no line was begun. Framing goes on with the bytes that follow.
    Hole {
        /// How many.
        bytes: u64,
    },
}

/// The ends of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clipped {
    /// Its first bytes.
    pub head: Vec<u8>,
    /// Its last bytes, up to the newline. When bytes were lost in the middle it may be another line
    /// that ends here.
    pub tail: Vec<u8>,
    /// Its length, lost bytes included.
    pub bytes: u64,
    /// Bytes of it that were not captured.
    pub lost: u64,
    /// What is known of its start.
    pub start: Start,
}

/// Cuts the stream of one direction into lines. Keeps at most [`Limits::message_bytes`].
#[derive(Debug)]
pub struct Framer {
    limits: Limits,
    /// Where the next chunk should begin; `None` before the first.
    expected: Option<u64>,
    /// The line so far, or its first bytes when it is split.
    head: Vec<u8>,
    /// The last bytes of a split line.
    tail: Vec<u8>,
    /// The line is kept as head and tail.
    split: bool,
    /// Length of the line so far, lost bytes included.
    length: u64,
    lost: u64,
    start: Start,
}

impl Framer {
    /// A framer at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            expected: None,
            head: Vec::new(),
            tail: Vec::new(),
            split: false,
            length: 0,
            lost: 0,
            start: Start::Known,
        }
    }

    /// The stream was in use before its first chunk, whatever the chunk's offset says.
    pub fn joined_mid_stream(&mut self) {
        if self.expected.is_none() {
            self.start = Start::Joined;
        }
    }

    /// The next chunk; `offset` is where its first byte stands in the stream.
    ///
    /// A greater offset than expected is a hole. A smaller one comes from two threads that used the
    /// stream at once and raced on the kernel's counter: their bytes did follow each other.
    pub fn push(&mut self, offset: u64, data: &[u8], out: &mut Vec<Frame>) {
        match self.expected {
            None if offset > 0 => self.start = Start::Joined,
            Some(expected) if offset > expected => self.hole(offset - expected, out),
            _ => {}
        }
        let position = self.expected.map_or(offset, |expected| expected.max(offset));
        self.expected = Some(position.saturating_add(data.len() as u64));

        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            if let Some(end) = piece.strip_suffix(b"\n") {
                self.append(end);
                self.finish(out);
            } else {
                self.append(piece);
            }
        }
    }

    /// A chunk has come.
    #[must_use]
    pub fn begun(&self) -> bool {
        self.expected.is_some()
    }

    /// Bytes of a line that has not ended yet.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.length
    }

    fn hole(&mut self, bytes: u64, out: &mut Vec<Frame>) {
        if self.length == 0 {
            self.start = Start::AfterHole;
            out.push(Frame::Hole { bytes });
            return;
        }
        self.split();
        // What the tail held does not touch what comes next.
        self.tail = Vec::new();
        self.length = self.length.saturating_add(bytes);
        self.lost = self.lost.saturating_add(bytes);
    }

    fn append(&mut self, data: &[u8]) {
        self.length = self.length.saturating_add(data.len() as u64);
        if !self.split {
            if self.head.len() + data.len() <= self.limits.message_bytes {
                self.head.extend_from_slice(data);
                return;
            }
            self.split();
        }
        let kept = last(data, self.limits.clip_bytes);
        // Twice the length is let grow before it is cut, so that each byte is moved once.
        if self.tail.len() + kept.len() > 2 * self.limits.clip_bytes {
            let surplus = self.tail.len().saturating_sub(self.limits.clip_bytes);
            self.tail.drain(..surplus);
        }
        self.tail.extend_from_slice(kept);
    }

    /// Keeps only the ends of the line from here on, and frees the rest.
    fn split(&mut self) {
        if self.split {
            return;
        }
        self.split = true;
        let middle = self.head.get(self.limits.clip_bytes..).unwrap_or_default();
        self.tail = last(middle, self.limits.clip_bytes).to_vec();
        self.head.truncate(self.limits.clip_bytes);
        self.head.shrink_to_fit();
    }

    fn finish(&mut self, out: &mut Vec<Frame>) {
        let mut head = mem::take(&mut self.head);
        let mut tail = mem::take(&mut self.tail);
        let (length, lost) = (mem::take(&mut self.length), mem::take(&mut self.lost));
        let start = mem::take(&mut self.start);
        if mem::take(&mut self.split) {
            let surplus = tail.len().saturating_sub(self.limits.clip_bytes);
            tail.drain(..surplus);
            strip_return(&mut tail);
            out.push(Frame::Clipped(Clipped { head, tail, bytes: length, lost, start }));
            return;
        }
        strip_return(&mut head);
        // Blank lines say nothing; every SDK skips them.
        if !head.iter().all(u8::is_ascii_whitespace) {
            out.push(Frame::Line { bytes: head, start });
        }
    }
}

fn last(data: &[u8], most: usize) -> &[u8] {
    data.get(data.len().saturating_sub(most)..).unwrap_or(data)
}

fn strip_return(line: &mut Vec<u8>) {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
}
