//! System calls of the 32-bit interface of x86-64, which a 64-bit process can make, too: `int 0x80`, with numbers of
//! their own (`arch/x86/entry/syscalls/syscall_32.tbl`).

use std::io;

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
mod x86_64 {
    use std::arch::asm;
    use std::fs;
    use std::io;
    use std::mem;
    use std::net::Ipv4Addr;
    use std::ptr;

    use crate::system::{in_child, left_out};

    /// Room for what arguments point to, below 4 GiB.
    const ROOM: usize = 1 << 16;
    /// Nothing listens there.
    const PORT: u16 = 9101;
    /// `SYS_CONNECT` of socketcall(2).
    const SOCKETCALL_CONNECT: u32 = 3;
    /// Somebody who is not root, and an id no 16 bits can hold: `-1` of the older calls.
    const NOBODY: u32 = 1234;
    const SAME: u32 = 0xffff;

    pub fn work(path: &str) -> io::Result<String> {
        if in_child(|| call(20, &[]).map(drop)).is_err() {
            // The kernel ended the child: it was built or started without these calls.
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

    /// connect, on its own and by socketcall, whose arguments nobody reads.
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
        let arguments: Vec<u8> =
            [socket, address, size].iter().flat_map(|number| number.to_ne_bytes()).collect();
        let arguments = low.put(&arguments);
        refused(102, &[SOCKETCALL_CONNECT, arguments])?;
        call(6, &[socket]).map(drop)
    }

    /// Memory whose addresses have 32 bits.
    struct Low {
        next: *mut u8,
        end: *mut u8,
    }

    impl Low {
        fn new() -> io::Result<Self> {
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
        fn put(&mut self, bytes: &[u8]) -> u32 {
            let room = self.end as usize - self.next as usize;
            assert!(bytes.len() + 8 <= room, "there is no room left");
            // SAFETY: it fits, and nothing else is there.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.next, bytes.len()) };
            let at = self.next as usize;
            self.next =
                self.next.wrapping_add(bytes.len().next_multiple_of(mem::align_of::<u64>()));
            u32::try_from(at).expect("MAP_32BIT")
        }

        fn text(&mut self, text: &str) -> u32 {
            self.put(&[text.as_bytes(), &[0]].concat())
        }
    }

    /// Makes a 32-bit call of up to five arguments; gives what it returned.
    fn call(number: u32, arguments: &[u32]) -> io::Result<u32> {
        let mut all = [0_u32; 5];
        for (place, argument) in all.iter_mut().zip(arguments) {
            *place = *argument;
        }
        let [b, c, d, si, di] = all.map(u64::from);
        let result: u64;
        // SAFETY: like any system call; the numbers and what they get stand in this file. The compiler keeps `rbx` for
        // itself, and older kernels clear r8 to r11.
        unsafe {
            asm!(
                "xchg {b}, rbx",
                "int 0x80",
                "xchg {b}, rbx",
                b = inout(reg) b => _,
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

    fn refused(number: u32, arguments: &[u32]) -> io::Result<()> {
        match call(number, arguments) {
            Ok(_) => Err(io::Error::other(format!("32-bit call {number} was not refused"))),
            Err(_) => Ok(()),
        }
    }
}
