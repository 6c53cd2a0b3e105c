//! The 32-bit system calls that `compat` leaves: each of the others that are watched, once, and those that socketcall(2)
//! stands for.

use std::io;

use mcpwatch_tests::kernel_version;

use crate::compat::works;
use crate::system::left_out;

#[cfg(target_arch = "x86_64")]
use x86_64::make;

/// Those of one tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// What every kernel has, in a folder that does not exist yet.
    Oldest,
    /// What socketcall(2) stands for, in a folder that does not exist yet.
    Sockets,
    /// fchmodat2, on a file.
    Mode,
    /// `mount_setattr`, on a folder.
    Attributes,
    /// `open_tree_attr`, on a folder.
    Tree,
}

/// Makes them; where there are none, or not yet these, says so.
pub fn work(rest: Rest, path: &str) -> io::Result<String> {
    // The first kernel that has them, and as whom the processes end that make them.
    let (since, users): (_, &[usize]) = match rest {
        Rest::Oldest => ((5, 10), &[1234, 0, 0, 0, 1234]),
        Rest::Sockets => ((5, 10), &[]),
        Rest::Mode => ((6, 6), &[]),
        Rest::Attributes => ((5, 12), &[0]),
        Rest::Tree => ((6, 15), &[0]),
    };
    if cfg!(not(target_arch = "x86_64")) || kernel_version()? < since {
        // With the one that finds out whether it works.
        return left_out(&[&[0][..], users].concat());
    }
    if !works() {
        return left_out(users);
    }
    make(rest, path)?;
    Ok("worked".into())
}

/// There are none on this architecture.
#[cfg(not(target_arch = "x86_64"))]
fn make(_rest: Rest, _path: &str) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

#[cfg(target_arch = "x86_64")]
#[expect(clippy::cast_possible_truncation, reason = "what goes into 32-bit calls is narrow")]
mod x86_64 {
    use std::fs::{self, File};
    use std::io::{self, Read};
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::net::UnixStream;

    use super::Rest;
    use crate::compat::x86_64::{Low, NOBODY, call, refused};
    use crate::files::handle_of;
    use crate::powers::{among_own_mounts, bind, new_file_system};
    use crate::system::{self, Text, fd, folder, in_child, opened, wait};

    /// The working directory.
    const HERE: u32 = libc::AT_FDCWD.cast_unsigned();
    /// Leaves an id as it is.
    const SAME: u32 = u32::MAX;
    /// `OPEN_TREE_CLONE`.
    const COPY: u32 = 1;

    /// A call: its number, its name, and what it is given.
    type Call<'a> = (u32, &'a str, &'a [u32]);

    pub fn make(rest: Rest, path: &str) -> io::Result<()> {
        let low = &mut Low::new()?;
        match rest {
            Rest::Oldest => {
                fs::create_dir(path)?;
                change_files(low, path)?;
                use_sockets(low, path)?;
                in_child(|| change_ids(low))?;
                change_mounts(low, &format!("{path}/mounted"))?;
                have_children(low)?;
                touch_kernel(low)
            }
            Rest::Sockets => {
                fs::create_dir(path)?;
                use_socketcall(low, path)
            }
            Rest::Mode => {
                let (file, link) = (low.text(path), libc::AT_SYMLINK_NOFOLLOW.cast_unsigned());
                each(&[(452, "fchmodat2", &[HERE, file, 0o640, link])])
            }
            Rest::Attributes => set_attributes(low, path, (442, "mount_setattr"), 0),
            Rest::Tree => set_attributes(low, path, (467, "open_tree_attr"), COPY),
        }
    }

    fn made((number, name, arguments): Call<'_>) -> io::Result<u32> {
        call(number, arguments)
            .map_err(|error| io::Error::other(format!("{name} of 32 bits: {error}")))
    }

    /// The same for one that makes a descriptor.
    fn open(call: Call<'_>) -> io::Result<OwnedFd> {
        opened(made(call).map(|descriptor| descriptor as usize))
    }

    fn each(calls: &[Call<'_>]) -> io::Result<()> {
        calls.iter().try_for_each(|call| made(*call).map(drop))
    }

    /// The kernel has to refuse each.
    fn none(calls: &[Call<'_>]) -> io::Result<()> {
        calls.iter().try_for_each(|(number, _, arguments)| refused(*number, arguments))
    }

    /// A descriptor as an argument.
    fn at(file: &impl AsRawFd) -> u32 {
        fd(file) as u32
    }

    fn change_files(low: &mut Low, path: &str) -> io::Result<()> {
        let mut named = |name: &str| low.text(&format!("{path}/{name}"));
        let (file, hard, hard2, soft) =
            (named("file"), named("hard"), named("hard2"), named("soft"));
        let (other, third, sub, sub2) =
            (named("other"), named("third"), named("sub"), named("sub2"));
        let (pipe, pipe2, link) =
            (named("pipe"), named("pipe2"), libc::AT_SYMLINK_NOFOLLOW.cast_unsigned());
        let (meant, scratch, mode) =
            (low.text("../secret"), low.text("scratch"), libc::S_IFIFO | 0o600);
        // `struct open_how`: flags, mode and resolve, of 64 bits each.
        let how = low.numbers(&[libc::O_RDWR.cast_unsigned(), 0, 0, 0, 0, 0]);
        let written = open((8, "creat", &[file, 0o600]))?;
        drop(open((437, "openat2", &[HERE, file, how, 24]))?);
        // While it has one name.
        let handle = low.numbers(&handle_of(&Text::new(format!("{path}/file")))?);
        let here = folder(path)?;
        drop(open((342, "open_by_handle_at", &[at(&here), handle, 0]))?);
        drop(open((356, "memfd_create", &[scratch, 0]))?);
        none(&[
            (93, "ftruncate", &[at(&written), u32::MAX]),
            (92, "truncate", &[file, u32::MAX - 1]),
        ])?;
        each(&[
            (93, "ftruncate", &[at(&written), 3]),
            (92, "truncate", &[file, 5]),
            (94, "fchmod", &[at(&written), 0o640]),
            (15, "chmod", &[file, 0o644]),
            (306, "fchmodat", &[HERE, file, 0o600]),
            (207, "fchown", &[at(&written), 1, 2]),
            (212, "chown", &[file, 12, SAME]),
            (9, "link", &[file, hard]),
            (303, "linkat", &[HERE, file, HERE, hard2, 0]),
            (304, "symlinkat", &[meant, HERE, soft]),
            (198, "lchown", &[soft, SAME, 13]),
            (298, "fchownat", &[HERE, soft, 3, 4, link]),
            (302, "renameat", &[HERE, hard, HERE, other]),
            // `RENAME_NOREPLACE`.
            (353, "renameat2", &[HERE, other, HERE, third, 1]),
            (10, "unlink", &[third]),
            (301, "unlinkat", &[HERE, hard2, 0]),
            (39, "mkdir", &[sub, 0o750]),
            (296, "mkdirat", &[HERE, sub2, 0o711]),
            (40, "rmdir", &[sub]),
            (14, "mknod", &[pipe, mode, 0]),
            (297, "mknodat", &[HERE, pipe2, mode, 0]),
        ])
    }

    /// Of the family of unix.
    fn use_sockets(low: &mut Low, path: &str) -> io::Result<()> {
        let (door, door_len) = address(low, &format!("{path}/door"));
        let (inbox, inbox_len) = address(low, &format!("{path}/inbox"));
        let socket = |kind: i32| {
            open((359, "socket", &[libc::AF_UNIX.cast_unsigned(), kind.cast_unsigned(), 0]))
        };
        let (listener, to) = (socket(libc::SOCK_STREAM)?, socket(libc::SOCK_DGRAM)?);
        each(&[
            (361, "bind", &[at(&listener), door, door_len]),
            (361, "bind", &[at(&to), inbox, inbox_len]),
            (363, "listen", &[at(&listener), 1]),
        ])?;
        let visitor = UnixStream::connect(format!("{path}/door"))?;
        drop(open((364, "accept4", &[at(&listener), 0, 0, 0]))?);
        drop(visitor);
        let (from, text) = (socket(libc::SOCK_DGRAM)?, low.text("text"));
        let messages = two_messages(low, text, (inbox, inbox_len));
        each(&[
            (369, "sendto", &[at(&from), text, 4, 0, inbox, inbox_len]),
            (370, "sendmsg", &[at(&from), messages, 0]),
            (345, "sendmmsg", &[at(&from), messages, 2, 0]),
        ])
    }

    /// The same by socketcall(2), with its numbers (`include/uapi/linux/net.h`), and a socket of a rare family.
    fn use_socketcall(low: &mut Low, path: &str) -> io::Result<()> {
        let (door, door_len) = address(low, &format!("{path}/door"));
        let (inbox, inbox_len) = address(low, &format!("{path}/inbox"));
        let (aside, aside_len) = address(low, &format!("{path}/aside"));
        let mut socket = |family: i32, kind: i32, protocol: i32| {
            let arguments = [family, kind, protocol].map(i32::cast_unsigned);
            open_by_socketcall(low, (1, "socket", &arguments))
        };
        // Three different numbers: none can be taken for another.
        drop(socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_KOBJECT_UEVENT)?);
        let listener = socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
        let to = socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0)?;
        let from = socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0)?;
        by_socketcall(low, (2, "bind", &[at(&listener), door, door_len]))?;
        by_socketcall(low, (2, "bind", &[at(&to), inbox, inbox_len]))?;
        by_socketcall(low, (4, "listen", &[at(&listener), 1]))?;
        let visitor = UnixStream::connect(format!("{path}/door"))?;
        drop(open_by_socketcall(low, (5, "accept", &[at(&listener), 0, 0]))?);
        drop(visitor);
        let visitor = UnixStream::connect(format!("{path}/door"))?;
        drop(open_by_socketcall(low, (18, "accept4", &[at(&listener), 0, 0, 0]))?);
        drop(visitor);
        let text = low.text("text");
        let messages = two_messages(low, text, (inbox, inbox_len));
        by_socketcall(low, (11, "sendto", &[at(&from), text, 4, 0, inbox, inbox_len]))?;
        by_socketcall(low, (20, "sendmmsg", &[at(&from), messages, 2, 0]))?;
        by_socketcall(low, (3, "connect", &[at(&from), inbox, inbox_len]))?;
        // It has four arguments: what stands behind them is no address.
        by_socketcall(low, (9, "send", &[at(&from), text, 4, 0, aside, aside_len])).map(drop)
    }

    /// A call that socketcall(2) stands for.
    fn by_socketcall(low: &mut Low, (number, name, arguments): Call<'_>) -> io::Result<u32> {
        low.socketcall(number, |_| arguments.to_vec())
            .map_err(|error| io::Error::other(format!("{name} by socketcall: {error}")))
    }

    /// The same for one that makes a descriptor.
    fn open_by_socketcall(low: &mut Low, call: Call<'_>) -> io::Result<OwnedFd> {
        opened(by_socketcall(low, call).map(|descriptor| descriptor as usize))
    }

    /// A `struct sockaddr_un`, and its length, by which alone the path ends: more stands behind it.
    fn address(low: &mut Low, path: &str) -> (u32, u32) {
        let family = (libc::AF_UNIX as u16).to_ne_bytes();
        let bytes = [&family[..], path.as_bytes(), b"_and_more\0"].concat();
        (low.put(&bytes), (family.len() + path.len()) as u32)
    }

    /// Two `struct compat_mmsghdr` with a text of four bytes to an address; they begin with a `struct compat_msghdr`.
    fn two_messages(low: &mut Low, text: u32, (to, to_len): (u32, u32)) -> u32 {
        let one = [to, to_len, low.row(text, 4), 2, 0, 0, 0, 0];
        low.numbers(&[one, one].concat())
    }

    fn change_ids(low: &mut Low) -> io::Result<()> {
        let groups = low.numbers(&[NOBODY]);
        // As in `powers`: version and process; then twice effective, permitted and inheritable.
        let (header, sets) =
            (low.numbers(&[0x2008_0522, 0]), low.numbers(&[1 << 21, 1 << 21, 0, 0, 0, 0]));
        each(&[
            (206, "setgroups", &[1, groups]),
            (216, "setfsgid", &[NOBODY]),
            (204, "setregid", &[SAME, NOBODY]),
            (210, "setresgid", &[NOBODY, SAME, SAME]),
            (214, "setgid", &[NOBODY]),
            (215, "setfsuid", &[NOBODY]),
            (203, "setreuid", &[SAME, 0]),
            (208, "setresuid", &[NOBODY, NOBODY, NOBODY]),
        ])?;
        none(&[(185, "capset", &[header, sets])])
    }

    fn change_mounts(low: &mut Low, path: &str) -> io::Result<()> {
        fs::create_dir(path)?;
        let inside = format!("{path}/inside");
        let (place, deeper, empty) = (low.text(path), low.text(&inside), low.text(""));
        let own = File::open("/proc/self/ns/uts")?;
        among_own_mounts(|| {
            let context = new_file_system()?;
            let mount = open((432, "fsmount", &[at(&context), 0, 0]))?;
            each(&[
                (428, "open_tree", &[HERE, place, COPY]),
                // `MOVE_MOUNT_F_EMPTY_PATH`.
                (429, "move_mount", &[at(&mount), empty, HERE, place, 4]),
            ])?;
            fs::create_dir(&inside)?;
            // No mount, so that it cannot become the root.
            none(&[(217, "pivot_root", &[deeper, deeper])])?;
            each(&[
                (52, "umount2", &[place, libc::MNT_DETACH.cast_unsigned()]),
                (346, "setns", &[at(&own), libc::CLONE_NEWUTS.cast_unsigned()]),
                (61, "chroot", &[place]),
            ])
        })
    }

    /// `mount_setattr(2)` or its like on a mount of its own.
    fn set_attributes(
        low: &mut Low,
        path: &str,
        (number, name): (u32, &str),
        flags: u32,
    ) -> io::Result<()> {
        among_own_mounts(|| {
            bind(path)?;
            // `struct mount_attr`, of 64 bits each: `MOUNT_ATTR_NOSUID` is to be set.
            let (place, attributes) = (low.text(path), low.numbers(&[2, 0, 0, 0, 0, 0, 0, 0]));
            each(&[(number, name, &[HERE, place, flags, attributes, 32])])
        })
    }

    /// By clone(2) one that waits while it is reached into, and one by clone3(2).
    fn have_children(low: &mut Low) -> io::Result<()> {
        let (uts, ends) = (libc::CLONE_NEWUTS.cast_unsigned(), libc::SIGCHLD.cast_unsigned());
        let (mut end, held) = io::pipe()?;
        let child = match made((120, "clone", &[uts | ends, 0, 0, 0, 0]))? {
            0 => {
                drop(held);
                // Until nobody holds the other end.
                let _ = end.read(&mut [0]);
                // SAFETY: never returns.
                unsafe { libc::_exit(0) }
            }
            child => child,
        };
        let done = reach_into(low, child);
        drop(held);
        wait(child.cast_signed())?;
        done?;
        // `struct clone_args` up to `tls`, of 64 bits each: the first are the flags, the fifth is the signal.
        let arguments = low.numbers(&[uts, 0, 0, 0, 0, 0, 0, 0, ends, 0, 0, 0, 0, 0, 0, 0]);
        match made((435, "clone3", &[arguments, 64]))? {
            // SAFETY: never returns.
            0 => unsafe { libc::_exit(0) },
            child => wait(child.cast_signed()),
        }
    }

    fn reach_into(low: &mut Low, child: u32) -> io::Result<()> {
        const ATTACH: u32 = 16;
        const DETACH: u32 = 17;

        made((26, "ptrace", &[ATTACH, child, 0, 0]))?;
        let mut status = 0;
        // SAFETY: a number, and a place for another that outlives the call.
        unsafe { libc::waitpid(child.cast_signed(), &raw mut status, 0) };
        let process = system::open(libc::SYS_pidfd_open, &[child as usize, 0])?;
        // The child has it at the same place.
        let buffer = low.put(&[0; 8]);
        let row = low.numbers(&[buffer, 8]);
        each(&[
            (26, "ptrace", &[DETACH, child, 0, 0]),
            (347, "process_vm_readv", &[child, row, 1, row, 1, 0]),
            (348, "process_vm_writev", &[child, row, 1, row, 1, 0]),
        ])?;
        open((438, "pidfd_getfd", &[at(&process), 0, 0])).map(drop)
    }

    /// What the kernel would allow root is tried by somebody else.
    fn touch_kernel(low: &mut Low) -> io::Result<()> {
        // `BPF_MAP_LOOKUP_ELEM` in no map.
        let attributes = low.numbers(&[u32::MAX, 0, 0, 0, 0, 0, 0, 0]);
        none(&[(357, "bpf", &[1, attributes, 32])])?;
        // `struct io_uring_params`.
        let parameters = low.put(&[0; 120]);
        let ring = open((425, "io_uring_setup", &[4, parameters]))?;
        each(&[(426, "io_uring_enter", &[at(&ring), 0, 0, 0, 0, 0])])?;
        in_child(|| {
            let file = File::open("/proc/self/exe")?;
            let (name, empty) = (low.text("no_such_module_of_ours"), low.text(""));
            each(&[(208, "setresuid", &[NOBODY, NOBODY, NOBODY])])?;
            none(&[
                (128, "init_module", &[empty, 0, empty]),
                (350, "finit_module", &[at(&file), empty, 0]),
                (129, "delete_module", &[name, 0]),
                (283, "kexec_load", &[0, 0, 0, 0]),
            ])
        })
    }
}
