//! An initial RAM file system: a `cpio` archive in the form the kernel reads ("newc", described in its
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::io::{self, Write};

/// An archive under construction. Everything in it belongs to root.
pub struct Archive<W: Write> {
    out: W,
    entries: u32,
    written: usize,
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;

impl<W: Write> Archive<W> {
    pub fn new(out: W) -> Self {
        Self { out, entries: 0, written: 0 }
    }

    /// A folder; it has to come before what is in it.
    pub fn folder(&mut self, name: &str) -> io::Result<()> {
        self.entry(name, FOLDER, &[])
    }

    /// A file that may be executed.
    pub fn program(&mut self, name: &str, contents: &[u8]) -> io::Result<()> {
        self.entry(name, PROGRAM, contents)
    }

    /// A file.
    pub fn file(&mut self, name: &str, contents: &[u8]) -> io::Result<()> {
        self.entry(name, FILE, contents)
    }

    /// A symbolic link.
    pub fn link(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.entry(name, LINK, target.as_bytes())
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let length = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
        let fields = [
            self.entries, // inode
            mode,
            0, // user
            0, // group
            1, // links
            0, // time
            length(contents.len())?,
            0, // device, major and minor
            0,
            0, // device of a device file, major and minor
            0,
            length(name.len() + 1)?,
            0, // check sum, unused
        ];
        self.put(b"070701")?;
        for field in fields {
            self.put(format!("{field:08x}").as_bytes())?;
        }
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.pad()?;
        self.put(contents)?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len();
        self.out.write_all(bytes)
    }

    /// Names and contents begin at multiples of four.
    fn pad(&mut self) -> io::Result<()> {
        while !self.written.is_multiple_of(4) {
            self.put(&[0])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_the_trailer_ends_it() {
        let mut archive = Archive::new(Vec::new());
        archive.folder("bin").unwrap();
        archive.program("bin/a", b"12345").unwrap();
        archive.link("init", "/bin/a").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        let starts: Vec<usize> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert_eq!(starts.len(), 4);
        assert!(starts.iter().all(|at| at % 4 == 0));
        // Size and name length of the second: 5 bytes, and "bin/a" with its NUL.
        let second = &text[starts[1]..];
        assert_eq!((&second[54..62], &second[94..102]), ("00000005", "00000006"));
        assert!(text.contains("TRAILER!!!\0"));
    }
}
