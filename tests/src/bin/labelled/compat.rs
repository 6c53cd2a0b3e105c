//! System calls of the 32-bit interface of x86-64, which a 64-bit process can make, too: `int 0x80`, with numbers of
//! their own (`arch/x86/entry/syscalls/syscall_32.tbl`).

use std::io;

/// How such a call moves bytes of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narrow {
    /// read(2), write(2).
    Plain,
    /// readv(2), writev(2).
    Row,
    /// preadv2(2), pwritev2(2).
    Positioned,
    /// recvmsg(2), sendmsg(2).
    OwnMessage,
    /// recvfrom(2), sendto(2).
    OwnSocket,
    /// recvmsg(2), sendmsg(2), by socketcall(2).
    Message,
    /// recv(2), send(2), by socketcall(2).
    Socket,
    /// recvfrom(2), sendto(2), by socketcall(2).
    AddressedSocket,
}

/// There are such calls.
pub fn works() -> bool {
    #[cfg(target_arch = "x86_64")]
    return x86_64::works();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Reads from stdin.
#[cfg(target_arch = "x86_64")]
pub fn read(how: Narrow, buffer: &mut [u8]) -> io::Result<usize> {
    x86_64::read(how, buffer)
}

/// Writes to stdout; gives how much of it.
#[cfg(target_arch = "x86_64")]
pub fn write(how: Narrow, bytes: &[u8]) -> io::Result<usize> {
    x86_64::write(how, bytes)
}

/// See [`works`].
#[cfg(not(target_arch = "x86_64"))]
pub fn read(_how: Narrow, _buffer: &mut [u8]) -> io::Result<usize> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// See [`works`].
#[cfg(not(target_arch = "x86_64"))]
pub fn write(_how: Narrow, _bytes: &[u8]) -> io::Result<usize> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// Opens a file by a number of which the kernel (since 5.13) looks at the lower half alone.
#[cfg(target_arch = "x86_64")]
pub fn open_widely(path: &str) -> io::Result<String> {
    x86_64::open_widely(path)
}

/// There are no such numbers on this architecture.
#[cfg(not(target_arch = "x86_64"))]
pub fn open_widely(_path: &str) -> io::Result<String> {
    crate::system::left_out(&[])
}

/// Makes them, in a folder that does not exist yet.
#[cfg(target_arch = "x86_64")]
pub fn work(path: &str) -> io::Result<String> {
    x86_64::work(path)
}

/// There are none on this architecture.
#[cfg(not(target_arch = "x86_64"))]
pub fn work(_path: &str) -> io::Result<String> {
    crate::system::left_out(&[0, 1234, 0])
}

#[cfg(target_arch = "x86_64")]
#[expect(clippy::cast_possible_truncation, reason = "what goes into 32-bit calls is narrow")]
pub mod x86_64 {
    use std::arch::asm;
    use std::fs;
    use std::io;
    use std::mem;
    use std::net::Ipv4Addr;
    use std::ptr;

    use super::Narrow;
    use crate::system::{in_child, left_out};

    /// Room for what arguments point to, below 4 GiB.
    const ROOM: usize = 1 << 16;
    /// Nothing listens there.
    const PORT: u16 = 9101;
    /// Of socketcall(2): `include/uapi/linux/net.h`.
    const CONNECT: u32 = 3;
    const SEND: u32 = 9;
    const RECV: u32 = 10;
    const SENDTO: u32 = 11;
    const RECVFROM: u32 = 12;
    const SENDMSG: u32 = 16;
    const RECVMSG: u32 = 17;
    /// Bytes that are moved at once.
    const AT_ONCE: usize = 8192;
    /// Stands for the position of the file, in two halves.
    const AS_IT_GOES: u32 = u32::MAX;
    /// Somebody who is not root, and an id no 16 bits can hold: `-1` of the older calls.
    pub const NOBODY: u32 = 1234;
    const SAME: u32 = 0xffff;

    pub fn work(path: &str) -> io::Result<String> {
        if !works() {
            return left_out(&[1234, 0]);
        }
        fs::create_dir(path)?;
        let mut low = Low::new()?;
        let mut at = |name: &str| low.text(&format!("{path}/{name}"));
        let (file, other, link, absent) = (at("file"), at("other"), at("link"), at("absent"));
        let here = low.text(path);
        let (create, read, write) =
            (libc::O_CREAT.cast_unsigned(), 0, libc::O_WRONLY.cast_unsigned());
        // open and write; openat; then what is not there.
        let opened = call(5, &[file, create | write, 0o600])?;
        let text = low.text("text");
        call(4, &[opened, text, 4])?;
        // ftruncate64, with the size in two halves; fchown of 16 bits.
        call(194, &[opened, 3, 0])?;
        call(95, &[opened, 12, SAME])?;
        call(6, &[opened])?;
        let from_here = libc::AT_FDCWD.cast_unsigned();
        let opened = call(295, &[from_here, file, read])?;
        call(6, &[opened])?;
        refused(295, &[from_here, absent, read])?;
        // truncate64 to more than 4 GiB, rename, symlink; chown and lchown of 16 bits.
        call(193, &[file, 5, 1])?;
        call(38, &[file, other])?;
        call(83, &[other, link])?;
        call(182, &[other, SAME, 13])?;
        call(16, &[link, 14, 15])?;
        in_child(|| {
            // setgroups, setfsgid, setregid, setresgid, setgid, and the same for users, of 16 bits.
            let groups = low.put(&(NOBODY as u16).to_ne_bytes());
            call(81, &[1, groups])?;
            call(139, &[NOBODY])?;
            call(71, &[SAME, NOBODY])?;
            call(170, &[NOBODY, SAME, SAME])?;
            call(46, &[NOBODY])?;
            call(138, &[NOBODY])?;
            call(70, &[SAME, 0])?;
            call(164, &[SAME, SAME, 0])?;
            // setuid of 32 bits, then of 16.
            call(213, &[NOBODY])?;
            refused(23, &[0])?;
            // prctl: PR_SET_KEEPCAPS.
            call(172, &[8, 1]).map(drop)
        })?;
        in_child(|| {
            // unshare, mount, and umount without flags.
            let (none, root) = (low.text("none"), low.text("/"));
            call(310, &[libc::CLONE_NEWNS.cast_unsigned()])?;
            call(21, &[none, root, 0, (libc::MS_REC | libc::MS_PRIVATE) as u32, 0])?;
            call(21, &[here, here, 0, libc::MS_BIND as u32, 0])?;
            call(22, &[here]).map(drop)
        })?;
        dial(&mut low)?;
        Ok("worked".into())
    }

    pub fn open_widely(path: &str) -> io::Result<String> {
        if mcpwatch_tests::kernel_version()? < (5, 13) {
            return left_out(&[]);
        }
        let path = std::ffi::CString::new(path)?;
        let number = 1 << 32 | i64::from(libc::SYS_openat as i32);
        let result: i64;
        // SAFETY: openat(2) with a path that lives, to be read.
        unsafe {
            asm!(
                "syscall",
                inout("rax") number => result,
                in("rdi") i64::from(libc::AT_FDCWD),
                in("rsi") path.as_ptr(),
                in("rdx") 0,
                in("r10") 0,
                out("rcx") _,
                out("r11") _,
            );
        }
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result as i32));
        }
        Ok("opened".into())
    }

    /// The kernel ends a process that makes such a call if it was built or started without them.
    pub fn works() -> bool {
        in_child(|| call(20, &[]).map(drop)).is_ok()
    }

    pub fn read(how: Narrow, buffer: &mut [u8]) -> io::Result<usize> {
        let mut low = Low::new()?;
        let len = buffer.len().min(AT_ONCE);
        let at = low.put(&vec![0; len]);
        let got = match how {
            Narrow::Plain => call(3, &[0, at, len as u32]),
            Narrow::Row => call(145, &[0, low.row(at, len), 2]),
            Narrow::Positioned => call(378, &[0, low.row(at, len), 2, AS_IT_GOES, AS_IT_GOES, 0]),
            Narrow::OwnMessage => call(372, &[0, low.message(at, len), 0]),
            Narrow::OwnSocket => call(371, &[0, at, len as u32, 0, 0, 0]),
            Narrow::Message => low.socketcall(RECVMSG, |low| vec![0, low.message(at, len), 0]),
            Narrow::Socket => low.socketcall(RECV, |_| vec![0, at, len as u32, 0]),
            Narrow::AddressedSocket => {
                low.socketcall(RECVFROM, |_| vec![0, at, len as u32, 0, 0, 0])
            }
        }? as usize;
        // SAFETY: the bytes were put there above, and nothing else knows of them.
        let read = unsafe { std::slice::from_raw_parts(at as usize as *const u8, got) };
        buffer[..got].copy_from_slice(read);
        Ok(got)
    }

    pub fn write(how: Narrow, bytes: &[u8]) -> io::Result<usize> {
        let mut low = Low::new()?;
        let len = bytes.len().min(AT_ONCE);
        let at = low.put(&bytes[..len]);
        let written = match how {
            Narrow::Plain => call(4, &[1, at, len as u32]),
            Narrow::Row => call(146, &[1, low.row(at, len), 2]),
            Narrow::Positioned => call(379, &[1, low.row(at, len), 2, AS_IT_GOES, AS_IT_GOES, 0]),
            Narrow::OwnMessage => call(370, &[1, low.message(at, len), 0]),
            Narrow::OwnSocket => call(369, &[1, at, len as u32, 0, 0, 0]),
            Narrow::Message => low.socketcall(SENDMSG, |low| vec![1, low.message(at, len), 0]),
            Narrow::Socket => low.socketcall(SEND, |_| vec![1, at, len as u32, 0]),
            Narrow::AddressedSocket => low.socketcall(SENDTO, |_| vec![1, at, len as u32, 0, 0, 0]),
        };
        Ok(written? as usize)
    }

    /// connect, on its own and by socketcall.
    fn dial(low: &mut Low) -> io::Result<()> {
        let address = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: PORT.to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() },
            sin_zero: [0; 8],
        };
        let size = size_of_val(&address);
        // SAFETY: a plain struct without padding.
        let bytes = unsafe { std::slice::from_raw_parts(ptr::from_ref(&address).cast(), size) };
        let (address, size) = (low.put(bytes), size as u32);
        let (internet, stream) = (libc::AF_INET.cast_unsigned(), libc::SOCK_STREAM.cast_unsigned());
        let socket = call(359, &[internet, stream, 0])?;
        refused(362, &[socket, address, size])?;
        let done = low.socketcall(CONNECT, |_| vec![socket, address, size]);
        assert!(done.is_err(), "nothing listens at {PORT}");
        call(6, &[socket]).map(drop)
    }

    /// Memory whose addresses have 32 bits.
    pub struct Low {
        next: *mut u8,
        end: *mut u8,
    }

    impl Low {
        pub fn new() -> io::Result<Self> {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
            // SAFETY: new memory, where the kernel likes.
            let start = unsafe { libc::mmap(ptr::null_mut(), ROOM, access, kind, -1, 0) };
            if start == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let next = start.cast::<u8>();
            Ok(Self { next, end: next.wrapping_add(ROOM) })
        }

        /// Bytes, and their address.
        pub fn put(&mut self, bytes: &[u8]) -> u32 {
            let room = self.end as usize - self.next as usize;
            assert!(bytes.len() + 8 <= room, "there is no room left");
            // SAFETY: it fits, and nothing else is there.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.next, bytes.len()) };
            let at = self.next as usize;
            self.next =
                self.next.wrapping_add(bytes.len().next_multiple_of(mem::align_of::<u64>()));
            u32::try_from(at).expect("MAP_32BIT")
        }

        /// Numbers, one behind the other, and their address.
        pub fn numbers(&mut self, numbers: &[u32]) -> u32 {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
            self.put(&bytes)
        }

        /// Two `struct compat_iovec` of one buffer.
        pub fn row(&mut self, at: u32, len: usize) -> u32 {
            let (len, half) = (len as u32, len as u32 / 2);
            self.numbers(&[at, half, at + half, len - half])
        }

        /// A `struct compat_msghdr` with such a row.
        fn message(&mut self, at: u32, len: usize) -> u32 {
            let row = self.row(at, len);
            self.numbers(&[0, 0, row, 2, 0, 0, 0])
        }

        /// One of the calls that socketcall(2) stands for, by its number there.
        pub fn socketcall(
            &mut self,
            which: u32,
            arguments: impl FnOnce(&mut Self) -> Vec<u32>,
        ) -> io::Result<u32> {
            let arguments = arguments(self);
            let at = self.numbers(&arguments);
            call(102, &[which, at])
        }

        pub fn text(&mut self, text: &str) -> u32 {
            self.put(&[text.as_bytes(), &[0]].concat())
        }
    }

    impl Drop for Low {
        fn drop(&mut self) {
            let start = self.end.wrapping_sub(ROOM);
            // SAFETY: the memory that `new` was given, which nobody else knows.
            unsafe { libc::munmap(start.cast(), ROOM) };
        }
    }

    /// Makes a 32-bit call; gives what it returned.
    pub fn call(number: u32, arguments: &[u32]) -> io::Result<u32> {
        let mut all = [0_u32; 6];
        for (place, argument) in all.iter_mut().zip(arguments) {
            *place = *argument;
        }
        let [b, c, d, si, di, bp] = all.map(u64::from);
        let result: u64;
        // SAFETY: like any system call; the numbers and what they get stand in this program. The compiler keeps `rbp` and
        // `rbx` for itself, and may give the latter to one of the two: exchanged in this order, all are as they were. Older
        // kernels clear r8 to r11.
        unsafe {
            asm!(
                "xchg {bp}, rbp",
                "xchg {b}, rbx",
                "int 0x80",
                "xchg {b}, rbx",
                "xchg {bp}, rbp",
                b = inout(reg) b => _,
                bp = inout(reg) bp => _,
                inout("rax") u64::from(number) => result,
                in("rcx") c,
                in("rdx") d,
                in("rsi") si,
                in("rdi") di,
                out("r8") _,
                out("r9") _,
                out("r10") _,
                out("r11") _,
            );
        }
        let result = (result as u32).cast_signed();
        u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
    }

    pub fn refused(number: u32, arguments: &[u32]) -> io::Result<()> {
        match call(number, arguments) {
            Ok(_) => Err(io::Error::other(format!("32-bit call {number} was not refused"))),
            Err(_) => Ok(()),
        }
    }
}
