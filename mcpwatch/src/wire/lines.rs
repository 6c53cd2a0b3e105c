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
        let mut data = data;
        if self.lost == 0 && self.tail.is_empty() {
            // One large chunk may come before the head is full.
            let room = self.limits.clip_bytes.saturating_sub(self.head.len()).min(data.len());
            let (begin, rest) = data.split_at(room);
            self.head.extend_from_slice(begin);
            data = rest;
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

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits {
        message_bytes: 64,
        clip_bytes: 16,
        argument_bytes: 64,
        in_flight: 4,
        in_flight_bytes: 4096,
        tools: 4,
        catalogue_bytes: 4096,
        cancel_grace: 1,
        loss_grace: 1,
    };

    fn frames(limits: Limits, chunks: &[(u64, &[u8])]) -> Vec<Frame> {
        let (mut framer, mut out) = (Framer::new(limits), Vec::new());
        for (offset, data) in chunks {
            framer.push(*offset, data, &mut out);
        }
        out
    }

    fn line(text: &str) -> Frame {
        Frame::Line { bytes: text.into(), start: Start::Known }
    }

    #[test]
    fn lines_come_out_however_the_stream_is_split() {
        let stream = b"{\"a\":1}\n\r\n  \n{\"b\":\"\xc3\xa9\"}\r\nnoise\nlast";
        let expected = vec![line("{\"a\":1}"), line("{\"b\":\"é\"}"), line("noise")];
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let chunks = [
                    (0, &stream[..first]),
                    (first as u64, &stream[first..second]),
                    (second as u64, &stream[second..]),
                ];
                assert_eq!(frames(SMALL, &chunks), expected);
            }
        }
    }

    #[test]
    fn a_long_line_keeps_its_ends() {
        let long = format!("{}{}{}\nnext\n", "h".repeat(20), "m".repeat(300), "t".repeat(20));
        for size in [1, 3, 16, 17, 33, 64, 65, 1000] {
            let mut framer = Framer::new(SMALL);
            let (mut out, mut offset) = (Vec::new(), 0);
            for chunk in long.as_bytes().chunks(size) {
                framer.push(offset, chunk, &mut out);
                offset += chunk.len() as u64;
                let kept = framer.head.capacity() + framer.tail.capacity();
                assert!(kept <= 2 * 64 + 4 * 16, "{kept} bytes kept in chunks of {size}");
            }
            let clipped = Clipped {
                head: vec![b'h'; 16],
                tail: vec![b't'; 16],
                bytes: 340,
                lost: 0,
                start: Start::Known,
            };
            assert_eq!(out, [Frame::Clipped(clipped), line("next")], "chunks of {size}");
        }
    }

    #[test]
    fn a_line_of_the_greatest_length_is_whole() {
        let whole = format!("{}\n", "x".repeat(64));
        assert_eq!(frames(SMALL, &[(0, whole.as_bytes())]), [line(whole.trim_end())]);
        let longer = format!("{}\n", "x".repeat(65));
        assert!(matches!(frames(SMALL, &[(0, longer.as_bytes())])[..], [Frame::Clipped(_)]));
    }

    #[test]
    fn a_hole_in_a_line_leaves_its_ends() {
        let out = frames(SMALL, &[(0, b"one\n{\"id\":"), (110, b"}}\r\ntwo\n")]);
        let clipped = Clipped {
            head: b"{\"id\":".to_vec(),
            tail: b"}}".to_vec(),
            bytes: 6 + 100 + 3,
            lost: 100,
            start: Start::Known,
        };
        assert_eq!(out, [line("one"), Frame::Clipped(clipped), line("two")]);
    }

    #[test]
    fn a_hole_between_lines_is_told_at_once() {
        let out = frames(SMALL, &[(0, b"one\n"), (100, b"half\ntwo\n")]);
        let half = Frame::Line { bytes: b"half".to_vec(), start: Start::AfterHole };
        assert_eq!(out, [line("one"), Frame::Hole { bytes: 96 }, half, line("two")]);
        // A blank rest of a line is the end of it.
        let out = frames(SMALL, &[(0, b"one\n"), (100, b"\ntwo\n")]);
        assert_eq!(out, [line("one"), Frame::Hole { bytes: 96 }, line("two")]);
    }

    #[test]
    fn a_channel_in_use_begins_with_a_doubtful_line() {
        let half = Frame::Line { bytes: b"half".to_vec(), start: Start::Joined };
        assert_eq!(frames(SMALL, &[(7, b"half\nwhole\n")]), [half, line("whole")]);
    }

    #[test]
    fn racing_threads_make_no_hole() {
        let out = frames(SMALL, &[(0, b"on"), (0, b"e\nt"), (3, b"wo\n"), (8, b"three\n")]);
        assert_eq!(out, [line("one"), line("two"), line("three")]);
    }
}
