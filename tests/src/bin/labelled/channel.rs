//! The channel to the client, by whichever system call moves its bytes.

use std::io;
use std::mem;
use std::ptr;

use crate::compat::{self, Narrow};
use crate::system::call;

/// Bytes that are read at once.
const ROOM: usize = 8192;
/// Stands for the position of the file in preadv2(2) and pwritev2(2).
const AS_IT_GOES: usize = usize::MAX;

/// A system call that moves bytes, of which one reads and another writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// read(2), write(2).
    Plain,
    /// readv(2), writev(2).
    Row,
    /// preadv2(2), pwritev2(2).
    Positioned,
    /// recvfrom(2), sendto(2).
    Socket,
    /// recvmsg(2), sendmsg(2).
    Message,
    /// Looks with recvfrom(2) and recvmsg(2) at what recvfrom(2) takes then; sendto(2).
    Peeking,
    /// 32-bit calls.
    Narrow(Narrow),
}

/// By their names.
const WAYS: &[(&str, Way)] = &[
    ("plain", Way::Plain),
    ("row", Way::Row),
    ("positioned", Way::Positioned),
    ("socket", Way::Socket),
    ("message", Way::Message),
    ("peeking", Way::Peeking),
    ("narrow_plain", Way::Narrow(Narrow::Plain)),
    ("narrow_row", Way::Narrow(Narrow::Row)),
    ("narrow_positioned", Way::Narrow(Narrow::Positioned)),
    ("narrow_own_message", Way::Narrow(Narrow::OwnMessage)),
    ("narrow_own_socket", Way::Narrow(Narrow::OwnSocket)),
    ("narrow_message", Way::Narrow(Narrow::Message)),
    ("narrow_socket", Way::Narrow(Narrow::Socket)),
    ("narrow_addressed_socket", Way::Narrow(Narrow::AddressedSocket)),
];

impl Way {
    pub fn named(name: &str) -> io::Result<Self> {
        let way = WAYS.iter().find(|(known, _)| *known == name);
        way.map(|(_, way)| *way).ok_or_else(|| io::Error::other("no such way"))
    }
}

/// stdin and stdout.
pub struct Channel {
    pub way: Way,
    unread: Vec<u8>,
}

impl Channel {
    pub fn new() -> Self {
        Self { way: Way::Plain, unread: Vec::new() }
    }

    /// The next line; `None` at the end.
    pub fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let rest = self.unread.split_off(end + 1);
                return Ok(Some(mem::replace(&mut self.unread, rest)));
            }
            let mut buffer = [0_u8; ROOM];
            let got = self.read(&mut buffer)?;
            if got == 0 {
                return Ok(None);
            }
            self.unread.extend_from_slice(&buffer[..got]);
        }
    }

    fn read(&self, buffer: &mut [u8; ROOM]) -> io::Result<usize> {
        let at = buffer.as_mut_ptr() as usize;
        let row = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: ROOM };
        let message = message(&row);
        let (row, message) = (ptr::from_ref(&row) as usize, ptr::from_ref(&message) as usize);
        match self.way {
            Way::Plain => call(libc::SYS_read, &[0, at, ROOM]),
            Way::Row => call(libc::SYS_readv, &[0, row, 1]),
            Way::Positioned => call(libc::SYS_preadv2, &[0, row, 1, AS_IT_GOES, AS_IT_GOES, 0]),
            Way::Socket => call(libc::SYS_recvfrom, &[0, at, ROOM, 0, 0, 0]),
            Way::Message => call(libc::SYS_recvmsg, &[0, message, 0]),
            Way::Peeking => {
                let peek = libc::MSG_PEEK as usize;
                call(libc::SYS_recvfrom, &[0, at, ROOM, peek, 0, 0])?;
                call(libc::SYS_recvmsg, &[0, message, peek])?;
                call(libc::SYS_recvfrom, &[0, at, ROOM, 0, 0, 0])
            }
            Way::Narrow(how) => compat::read(how, buffer),
        }
    }

    /// One call for the whole of it, where the pipe has the room.
    pub fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            bytes = &bytes[self.write_some(bytes)?..];
        }
        Ok(())
    }

    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        let (at, len) = (bytes.as_ptr() as usize, bytes.len());
        let row = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: len };
        let message = message(&row);
        let (row, message) = (ptr::from_ref(&row) as usize, ptr::from_ref(&message) as usize);
        match self.way {
            Way::Plain => call(libc::SYS_write, &[1, at, len]),
            Way::Row => call(libc::SYS_writev, &[1, row, 1]),
            Way::Positioned => call(libc::SYS_pwritev2, &[1, row, 1, AS_IT_GOES, AS_IT_GOES, 0]),
            Way::Socket | Way::Peeking => call(libc::SYS_sendto, &[1, at, len, 0, 0, 0]),
            Way::Message => call(libc::SYS_sendmsg, &[1, message, 0]),
            Way::Narrow(how) => compat::write(how, bytes),
        }
    }
}

fn message(row: &libc::iovec) -> libc::msghdr {
    // SAFETY: zeroes are a valid `struct msghdr`.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = ptr::from_ref(row).cast_mut();
    message.msg_iovlen = 1;
    message
}
