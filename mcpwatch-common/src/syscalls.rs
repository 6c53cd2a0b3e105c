//! The system calls that are watched: what both sides know of each.

/// A system call that is watched.
#[derive(Clone, Copy, Debug)]
pub struct SystemCall {
    /// Its function in the kernel, without the architecture's prefix: `sys_read` of `__x64_sys_read`. Also the
    /// name of its `fexit` program and of its hook.
    pub name: &'static str,
    /// Its number on x86-64 (`arch/x86/entry/syscalls/syscall_64.tbl`).
    pub x86_64: Option<u32>,
    /// Its number on arm64 (`include/uapi/asm-generic/unistd.h`).
    pub aarch64: Option<u32>,
    /// What goes unseen without it.
    pub lost: &'static str,
    /// The first kernel that has it.
    pub since: Version,
}

/// Major and minor version of a kernel.
pub type Version = (u32, u32);

/// The oldest kernel there is support for.
pub const OLDEST: Version = (5, 10);

/// Every system call that is watched. Its handler stands in the kernel side's `syscall.rs`.
#[rustfmt::skip]
pub const SYSTEM_CALLS: &[SystemCall] = &[
    call("sys_read",             0,    63, "requests that are read with read(2)"),
    call("sys_write",            1,    64, "responses that are written with write(2)"),
    call("sys_open",             2, NEVER, "files opened with open(2)"),
    call("sys_readv",           19,    65, "requests that are read with readv(2)"),
    call("sys_writev",          20,    66, "responses that are written with writev(2)"),
    call("sys_connect",         42,   203, "results of connections, and connections to unix sockets"),
    call("sys_accept",          43,   202, "connections taken with accept(2)"),
    call("sys_sendto",          44,   206, "results of datagrams, and responses sent with sendto(2)"),
    call("sys_recvfrom",        45,   207, "requests that are read with recvfrom(2)"),
    call("sys_sendmsg",         46,   211, "results of datagrams, and responses sent with sendmsg(2)"),
    call("sys_recvmsg",         47,   212, "requests that are read with recvmsg(2)"),
    call("sys_bind",            49,   200, "addresses that are bound"),
    call("sys_listen",          50,   201, "sockets that begin to listen"),
    call("sys_creat",           85, NEVER, "files made with creat(2)"),
    call("sys_openat",         257,    56, "files opened with openat(2)"),
    call("sys_accept4",        288,   242, "connections taken with accept4(2)"),
    call("sys_sendmmsg",       307,   269, "results of datagrams sent with sendmmsg(2)"),
    call("sys_preadv2",        327,   286, "requests that are read with preadv2(2)"),
    call("sys_pwritev2",       328,   287, "responses that are written with pwritev2(2)"),
    call("sys_io_uring_enter", 426,   426, "the end of a call that made connections through io_uring: they are told late"),
    call("sys_openat2",        437,   437, "files opened with openat2(2)"),
    call("sys_open_by_handle_at", 304, 265, "files opened with open_by_handle_at(2)"),
    call("sys_rename",          82, NEVER, "files renamed with rename(2)"),
    call("sys_renameat",       264,    38, "files renamed with renameat(2)"),
    call("sys_renameat2",      316,   276, "files renamed with renameat2(2)"),
    call("sys_link",            86, NEVER, "hard links made with link(2)"),
    call("sys_linkat",         265,    37, "hard links made with linkat(2)"),
    call("sys_symlink",         88, NEVER, "symbolic links made with symlink(2)"),
    call("sys_symlinkat",      266,    36, "symbolic links made with symlinkat(2)"),
    call("sys_unlink",          87, NEVER, "files removed with unlink(2)"),
    call("sys_unlinkat",       263,    35, "files removed with unlinkat(2)"),
    call("sys_rmdir",           84, NEVER, "directories removed with rmdir(2)"),
    call("sys_chmod",           90, NEVER, "modes changed with chmod(2)"),
    call("sys_fchmod",          91,    52, "modes changed with fchmod(2)"),
    call("sys_fchmodat",       268,    53, "modes changed with fchmodat(2)"),
    call("sys_fchmodat2",      452,   452, "modes changed with fchmodat2(2)").since(6, 6),
    call("sys_chown",           92, NEVER, "owners changed with chown(2)"),
    call("sys_lchown",          94, NEVER, "owners changed with lchown(2)"),
    call("sys_fchown",          93,    55, "owners changed with fchown(2)"),
    call("sys_fchownat",       260,    54, "owners changed with fchownat(2)"),
    call("sys_truncate",        76,    45, "files cut with truncate(2)"),
    call("sys_ftruncate",       77,    46, "files cut with ftruncate(2)"),
    call("sys_mkdir",           83, NEVER, "directories made with mkdir(2)"),
    call("sys_mkdirat",        258,    34, "directories made with mkdirat(2)"),
    call("sys_mknod",          133, NEVER, "nodes made with mknod(2)"),
    call("sys_mknodat",        259,    33, "nodes made with mknodat(2)"),
    call("sys_memfd_create",   319,   279, "files made in memory with memfd_create(2)"),
    call("sys_setuid",         105, 146, "user ids asked for with setuid(2)"),
    call("sys_setgid",         106, 144, "group ids asked for with setgid(2)"),
    call("sys_setreuid",       113, 145, "user ids asked for with setreuid(2)"),
    call("sys_setregid",       114, 143, "group ids asked for with setregid(2)"),
    call("sys_setgroups",      116, 159, "supplementary groups that are set"),
    call("sys_setresuid",      117, 147, "user ids asked for with setresuid(2)"),
    call("sys_setresgid",      119, 149, "group ids asked for with setresgid(2)"),
    call("sys_setfsuid",       122, 151, "user ids for files asked for with setfsuid(2)"),
    call("sys_setfsgid",       123, 152, "group ids for files asked for with setfsgid(2)"),
    call("sys_capset",         126, 91, "capabilities asked for with capset(2)"),
    call("sys_prctl",          157, 167, "capabilities and what goes with them asked for with prctl(2)"),
    call("sys_unshare",        272, 97, "namespaces made with unshare(2)"),
    call("sys_clone",          56, 220, "namespaces made with clone(2)"),
    call("sys_clone3",         435, 435, "namespaces made with clone3(2)"),
    call("sys_setns",          308, 268, "namespaces that are entered"),
    call("sys_mount",          165, 40, "mounts made or changed with mount(2)"),
    call("sys_umount",         166, 39, "mounts that are taken away"),
    call("sys_fsmount",        432, 432, "mounts made with fsmount(2)"),
    call("sys_move_mount",     429, 429, "mounts that are moved or put in place"),
    call("sys_mount_setattr",  442, 442, "mounts whose attributes are changed").since(5, 12),
    call("sys_open_tree",      428, 428, "copies of mounts made with open_tree(2)"),
    call("sys_open_tree_attr", 467, 467, "mounts whose attributes are changed with open_tree_attr(2)").since(6, 15),
    call("sys_pivot_root",     155, 41, "root directories changed with pivot_root(2)"),
    call("sys_chroot",         161, 51, "root directories changed with chroot(2)"),
    call("sys_bpf",            321, 280, "uses of bpf(2)"),
    call("sys_init_module",    175, 105, "kernel modules loaded with init_module(2)"),
    call("sys_finit_module",   313, 273, "kernel modules loaded with finit_module(2)"),
    call("sys_delete_module",  176, 106, "kernel modules that are unloaded"),
    call("sys_kexec_load",     246, 104, "kernels made ready with kexec_load(2)"),
    call("sys_kexec_file_load", 320, 294, "kernels made ready with kexec_file_load(2)"),
    call("sys_io_uring_setup", 425, 425, "io_urings that are set up"),
    call("sys_ptrace",         101, 117, "processes taken hold of with ptrace(2)"),
    call("sys_process_vm_readv", 310, 270, "memory of other processes read with process_vm_readv(2)"),
    call("sys_process_vm_writev", 311, 271, "memory of other processes written with process_vm_writev(2)"),
    call("sys_pidfd_getfd",    438, 438, "descriptors taken from other processes"),
    call("sys_socket",         41, 198, "sockets made of families beyond IP and unix"),
];

/// A system call of the 32-bit interface: of x86-64, which every process can use (`int 0x80`), or of arm64.
#[derive(Clone, Copy, Debug)]
pub struct CompatCall {
    /// The name of its `fexit` program and of its hook.
    pub name: &'static str,
    /// Its function in the kernel.
    pub function: &'static str,
    /// Its number (`arch/x86/entry/syscalls/syscall_32.tbl`, `arch/arm64/tools/syscall_32.tbl`).
    pub number: u32,
    /// It is dealt with like this one of [`SYSTEM_CALLS`]; `None` of socketcall(2), which says with its first argument
    /// which one it is.
    pub like: Option<&'static str>,
    /// What is to be done to its arguments to be those of that call.
    pub shape: Shape,
}

/// How the arguments of a 32-bit call differ from those of the call it is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Not at all.
    Same,
    /// From the argument of this position on they are user or group ids of 16 bits: `low2highuid` of
    /// `include/linux/highuid.h`.
    Ids16(usize),
    /// The second argument is a signed number.
    Signed,
    /// The second and third argument are the halves of a size of 64 bits, the lower one first.
    Halves,
    /// The third and fourth argument are, for ARM has them in an even and an odd register; the second means nothing.
    HalvesInPair,
    /// The call has its first argument alone; the other registers mean nothing.
    First,
    /// The call has its first four arguments alone.
    FirstFour,
}

/// Every 32-bit system call of x86-64 that is watched.
#[rustfmt::skip]
pub const COMPAT_CALLS: &[CompatCall] = &[
    compat("ia32_read",              "__ia32_sys_read",                  3, Some("sys_read")),
    compat("ia32_write",             "__ia32_sys_write",                 4, Some("sys_write")),
    compat("ia32_open",              "__ia32_compat_sys_open",           5, Some("sys_open")),
    compat("ia32_creat",             "__ia32_sys_creat",                 8, Some("sys_creat")),
    compat("ia32_link",              "__ia32_sys_link",                  9, Some("sys_link")),
    compat("ia32_unlink",            "__ia32_sys_unlink",               10, Some("sys_unlink")),
    compat("ia32_mknod",             "__ia32_sys_mknod",                14, Some("sys_mknod")),
    compat("ia32_chmod",             "__ia32_sys_chmod",                15, Some("sys_chmod")),
    compat("ia32_mount",             "__ia32_sys_mount",                21, Some("sys_mount")),
    compat("ia32_ptrace",            "__ia32_compat_sys_ptrace",        26, Some("sys_ptrace")),
    compat("ia32_rename",            "__ia32_sys_rename",               38, Some("sys_rename")),
    compat("ia32_mkdir",             "__ia32_sys_mkdir",                39, Some("sys_mkdir")),
    compat("ia32_rmdir",             "__ia32_sys_rmdir",                40, Some("sys_rmdir")),
    compat("ia32_umount",            "__ia32_sys_umount",               52, Some("sys_umount")),
    compat("ia32_chroot",            "__ia32_sys_chroot",               61, Some("sys_chroot")),
    compat("ia32_symlink",           "__ia32_sys_symlink",              83, Some("sys_symlink")),
    compat("ia32_truncate",          "__ia32_compat_sys_truncate",      92, Some("sys_truncate")).shaped(Shape::Signed),
    compat("ia32_ftruncate",         "__ia32_compat_sys_ftruncate",     93, Some("sys_ftruncate")).shaped(Shape::Signed),
    compat("ia32_fchmod",            "__ia32_sys_fchmod",               94, Some("sys_fchmod")),
    compat("ia32_socketcall",        "__ia32_compat_sys_socketcall",   102, None),
    compat("ia32_clone",             "__ia32_compat_sys_ia32_clone",   120, Some("sys_clone")),
    compat("ia32_init_module",       "__ia32_sys_init_module",         128, Some("sys_init_module")),
    compat("ia32_delete_module",     "__ia32_sys_delete_module",       129, Some("sys_delete_module")),
    compat("ia32_readv",             "__ia32_sys_readv",               145, Some("sys_readv")),
    compat("ia32_writev",            "__ia32_sys_writev",              146, Some("sys_writev")),
    compat("ia32_capset",            "__ia32_sys_capset",              185, Some("sys_capset")),
    compat("ia32_lchown",            "__ia32_sys_lchown",              198, Some("sys_lchown")),
    compat("ia32_setreuid",          "__ia32_sys_setreuid",            203, Some("sys_setreuid")),
    compat("ia32_setregid",          "__ia32_sys_setregid",            204, Some("sys_setregid")),
    compat("ia32_setgroups",         "__ia32_sys_setgroups",           206, Some("sys_setgroups")),
    compat("ia32_fchown",            "__ia32_sys_fchown",              207, Some("sys_fchown")),
    compat("ia32_setresuid",         "__ia32_sys_setresuid",           208, Some("sys_setresuid")),
    compat("ia32_setresgid",         "__ia32_sys_setresgid",           210, Some("sys_setresgid")),
    compat("ia32_chown",             "__ia32_sys_chown",               212, Some("sys_chown")),
    compat("ia32_setuid",            "__ia32_sys_setuid",              213, Some("sys_setuid")),
    compat("ia32_setgid",            "__ia32_sys_setgid",              214, Some("sys_setgid")),
    compat("ia32_setfsuid",          "__ia32_sys_setfsuid",            215, Some("sys_setfsuid")),
    compat("ia32_setfsgid",          "__ia32_sys_setfsgid",            216, Some("sys_setfsgid")),
    compat("ia32_pivot_root",        "__ia32_sys_pivot_root",          217, Some("sys_pivot_root")),
    compat("ia32_kexec_load",        "__ia32_compat_sys_kexec_load",   283, Some("sys_kexec_load")),
    compat("ia32_openat",            "__ia32_compat_sys_openat",       295, Some("sys_openat")),
    compat("ia32_mkdirat",           "__ia32_sys_mkdirat",             296, Some("sys_mkdirat")),
    compat("ia32_mknodat",           "__ia32_sys_mknodat",             297, Some("sys_mknodat")),
    compat("ia32_fchownat",          "__ia32_sys_fchownat",            298, Some("sys_fchownat")),
    compat("ia32_unlinkat",          "__ia32_sys_unlinkat",            301, Some("sys_unlinkat")),
    compat("ia32_renameat",          "__ia32_sys_renameat",            302, Some("sys_renameat")),
    compat("ia32_linkat",            "__ia32_sys_linkat",              303, Some("sys_linkat")),
    compat("ia32_symlinkat",         "__ia32_sys_symlinkat",           304, Some("sys_symlinkat")),
    compat("ia32_fchmodat",          "__ia32_sys_fchmodat",            306, Some("sys_fchmodat")),
    compat("ia32_unshare",           "__ia32_sys_unshare",             310, Some("sys_unshare")),
    compat("ia32_sendmmsg",          "__ia32_compat_sys_sendmmsg",     345, Some("sys_sendmmsg")),
    compat("ia32_setns",             "__ia32_sys_setns",               346, Some("sys_setns")),
    compat("ia32_process_vm_readv",  "__ia32_sys_process_vm_readv",    347, Some("sys_process_vm_readv")),
    compat("ia32_process_vm_writev", "__ia32_sys_process_vm_writev",   348, Some("sys_process_vm_writev")),
    compat("ia32_finit_module",      "__ia32_sys_finit_module",        350, Some("sys_finit_module")),
    compat("ia32_renameat2",         "__ia32_sys_renameat2",           353, Some("sys_renameat2")),
    compat("ia32_memfd_create",      "__ia32_sys_memfd_create",        356, Some("sys_memfd_create")),
    compat("ia32_bpf",               "__ia32_sys_bpf",                 357, Some("sys_bpf")),
    compat("ia32_socket",            "__ia32_sys_socket",              359, Some("sys_socket")),
    compat("ia32_bind",              "__ia32_sys_bind",                361, Some("sys_bind")),
    compat("ia32_connect",           "__ia32_sys_connect",             362, Some("sys_connect")),
    compat("ia32_listen",            "__ia32_sys_listen",              363, Some("sys_listen")),
    compat("ia32_accept4",           "__ia32_sys_accept4",             364, Some("sys_accept4")),
    compat("ia32_sendto",            "__ia32_sys_sendto",              369, Some("sys_sendto")),
    compat("ia32_sendmsg",           "__ia32_compat_sys_sendmsg",      370, Some("sys_sendmsg")),
    compat("ia32_recvfrom",          "__ia32_compat_sys_recvfrom",     371, Some("sys_recvfrom")),
    compat("ia32_recvmsg",           "__ia32_compat_sys_recvmsg",      372, Some("sys_recvmsg")),
    compat("ia32_preadv2",           "__ia32_compat_sys_preadv2",      378, Some("sys_preadv2")),
    compat("ia32_pwritev2",          "__ia32_compat_sys_pwritev2",     379, Some("sys_pwritev2")),
    compat("ia32_io_uring_setup",    "__ia32_sys_io_uring_setup",      425, Some("sys_io_uring_setup")),
    compat("ia32_io_uring_enter",    "__ia32_sys_io_uring_enter",      426, Some("sys_io_uring_enter")),
    compat("ia32_move_mount",        "__ia32_sys_move_mount",          429, Some("sys_move_mount")),
    compat("ia32_fsmount",           "__ia32_sys_fsmount",             432, Some("sys_fsmount")),
    compat("ia32_clone3",            "__ia32_sys_clone3",              435, Some("sys_clone3")),
    compat("ia32_mount_setattr",     "__ia32_sys_mount_setattr",       442, Some("sys_mount_setattr")),
    compat("ia32_open_tree",         "__ia32_sys_open_tree",           428, Some("sys_open_tree")),
    compat("ia32_open_tree_attr",    "__ia32_sys_open_tree_attr",      467, Some("sys_open_tree_attr")),
    compat("ia32_open_by_handle_at", "__ia32_compat_sys_open_by_handle_at", 342, Some("sys_open_by_handle_at")),
    compat("ia32_openat2",           "__ia32_sys_openat2",             437, Some("sys_openat2")),
    compat("ia32_pidfd_getfd",       "__ia32_sys_pidfd_getfd",         438, Some("sys_pidfd_getfd")),
    compat("ia32_fchmodat2",         "__ia32_sys_fchmodat2",           452, Some("sys_fchmodat2")),
    compat("ia32_lchown16",          "__ia32_sys_lchown16",                16, Some("sys_lchown")).shaped(Shape::Ids16(1)),
    compat("ia32_oldumount",         "__ia32_sys_oldumount",               22, Some("sys_umount")).shaped(Shape::First),
    compat("ia32_setuid16",          "__ia32_sys_setuid16",                23, Some("sys_setuid")).shaped(Shape::Ids16(0)),
    compat("ia32_setgid16",          "__ia32_sys_setgid16",                46, Some("sys_setgid")).shaped(Shape::Ids16(0)),
    compat("ia32_setreuid16",        "__ia32_sys_setreuid16",              70, Some("sys_setreuid")).shaped(Shape::Ids16(0)),
    compat("ia32_setregid16",        "__ia32_sys_setregid16",              71, Some("sys_setregid")).shaped(Shape::Ids16(0)),
    compat("ia32_setgroups16",       "__ia32_sys_setgroups16",             81, Some("sys_setgroups")),
    compat("ia32_fchown16",          "__ia32_sys_fchown16",                95, Some("sys_fchown")).shaped(Shape::Ids16(1)),
    compat("ia32_setfsuid16",        "__ia32_sys_setfsuid16",             138, Some("sys_setfsuid")).shaped(Shape::Ids16(0)),
    compat("ia32_setfsgid16",        "__ia32_sys_setfsgid16",             139, Some("sys_setfsgid")).shaped(Shape::Ids16(0)),
    compat("ia32_setresuid16",       "__ia32_sys_setresuid16",            164, Some("sys_setresuid")).shaped(Shape::Ids16(0)),
    compat("ia32_setresgid16",       "__ia32_sys_setresgid16",            170, Some("sys_setresgid")).shaped(Shape::Ids16(0)),
    compat("ia32_prctl",             "__ia32_sys_prctl",                  172, Some("sys_prctl")),
    compat("ia32_chown16",           "__ia32_sys_chown16",                182, Some("sys_chown")).shaped(Shape::Ids16(1)),
    compat("ia32_truncate64",        "__ia32_sys_ia32_truncate64",        193, Some("sys_truncate")).shaped(Shape::Halves),
    compat("ia32_ftruncate64",       "__ia32_sys_ia32_ftruncate64",       194, Some("sys_ftruncate")).shaped(Shape::Halves),
];

const fn compat(
    name: &'static str,
    function: &'static str,
    number: u32,
    like: Option<&'static str>,
) -> CompatCall {
    CompatCall { name, function, number, like, shape: Shape::Same }
}

impl CompatCall {
    const fn shaped(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }
}

/// The 32-bit system calls of arm64 (`arch/arm64/tools/syscall_32.tbl`) that do not go through the function of the 64-bit
/// call they are like: they have one of their own, or arm64 has no such call any more.
#[rustfmt::skip]
pub const ARM_CALLS: &[CompatCall] = &[
    compat("arm_open",              "__arm64_compat_sys_open",                  5, Some("sys_open")),
    compat("arm_creat",             "__arm64_sys_creat",                        8, Some("sys_creat")),
    compat("arm_link",              "__arm64_sys_link",                         9, Some("sys_link")),
    compat("arm_unlink",            "__arm64_sys_unlink",                      10, Some("sys_unlink")),
    compat("arm_mknod",             "__arm64_sys_mknod",                       14, Some("sys_mknod")),
    compat("arm_chmod",             "__arm64_sys_chmod",                       15, Some("sys_chmod")),
    compat("arm_ptrace",            "__arm64_compat_sys_ptrace",               26, Some("sys_ptrace")),
    compat("arm_rename",            "__arm64_sys_rename",                      38, Some("sys_rename")),
    compat("arm_mkdir",             "__arm64_sys_mkdir",                       39, Some("sys_mkdir")),
    compat("arm_rmdir",             "__arm64_sys_rmdir",                       40, Some("sys_rmdir")),
    compat("arm_symlink",           "__arm64_sys_symlink",                     83, Some("sys_symlink")),
    compat("arm_truncate",          "__arm64_compat_sys_truncate",             92, Some("sys_truncate")).shaped(Shape::Signed),
    compat("arm_ftruncate",         "__arm64_compat_sys_ftruncate",            93, Some("sys_ftruncate")).shaped(Shape::Signed),
    compat("arm_lchown",            "__arm64_sys_lchown",                     198, Some("sys_lchown")),
    compat("arm_chown",             "__arm64_sys_chown",                      212, Some("sys_chown")),
    compat("arm_send",              "__arm64_sys_send",                       289, Some("sys_sendto")).shaped(Shape::FirstFour),
    compat("arm_recv",              "__arm64_compat_sys_recv",                291, Some("sys_recvfrom")).shaped(Shape::FirstFour),
    compat("arm_recvfrom",          "__arm64_compat_sys_recvfrom",            292, Some("sys_recvfrom")),
    compat("arm_sendmsg",           "__arm64_compat_sys_sendmsg",             296, Some("sys_sendmsg")),
    compat("arm_recvmsg",           "__arm64_compat_sys_recvmsg",             297, Some("sys_recvmsg")),
    compat("arm_openat",            "__arm64_compat_sys_openat",              322, Some("sys_openat")),
    compat("arm_kexec_load",        "__arm64_compat_sys_kexec_load",          347, Some("sys_kexec_load")),
    compat("arm_open_by_handle_at", "__arm64_compat_sys_open_by_handle_at",   371, Some("sys_open_by_handle_at")),
    compat("arm_sendmmsg",          "__arm64_compat_sys_sendmmsg",            374, Some("sys_sendmmsg")),
    compat("arm_preadv2",           "__arm64_compat_sys_preadv2",             392, Some("sys_preadv2")),
    compat("arm_pwritev2",          "__arm64_compat_sys_pwritev2",            393, Some("sys_pwritev2")),
    compat("arm_lchown16",          "__arm64_sys_lchown16",                    16, Some("sys_lchown")).shaped(Shape::Ids16(1)),
    compat("arm_setuid16",          "__arm64_sys_setuid16",                    23, Some("sys_setuid")).shaped(Shape::Ids16(0)),
    compat("arm_setgid16",          "__arm64_sys_setgid16",                    46, Some("sys_setgid")).shaped(Shape::Ids16(0)),
    compat("arm_setreuid16",        "__arm64_sys_setreuid16",                  70, Some("sys_setreuid")).shaped(Shape::Ids16(0)),
    compat("arm_setregid16",        "__arm64_sys_setregid16",                  71, Some("sys_setregid")).shaped(Shape::Ids16(0)),
    compat("arm_setgroups16",       "__arm64_sys_setgroups16",                 81, Some("sys_setgroups")),
    compat("arm_fchown16",          "__arm64_sys_fchown16",                    95, Some("sys_fchown")).shaped(Shape::Ids16(1)),
    compat("arm_setfsuid16",        "__arm64_sys_setfsuid16",                 138, Some("sys_setfsuid")).shaped(Shape::Ids16(0)),
    compat("arm_setfsgid16",        "__arm64_sys_setfsgid16",                 139, Some("sys_setfsgid")).shaped(Shape::Ids16(0)),
    compat("arm_setresuid16",       "__arm64_sys_setresuid16",                164, Some("sys_setresuid")).shaped(Shape::Ids16(0)),
    compat("arm_setresgid16",       "__arm64_sys_setresgid16",                170, Some("sys_setresgid")).shaped(Shape::Ids16(0)),
    compat("arm_chown16",           "__arm64_sys_chown16",                    182, Some("sys_chown")).shaped(Shape::Ids16(1)),
    compat("arm_truncate64",        "__arm64_compat_sys_aarch32_truncate64",  193, Some("sys_truncate")).shaped(Shape::HalvesInPair),
    compat("arm_ftruncate64",       "__arm64_compat_sys_aarch32_ftruncate64", 194, Some("sys_ftruncate")).shaped(Shape::HalvesInPair),
];

/// Those that go through the function of a 64-bit one: its name, and their number.
#[rustfmt::skip]
pub const ARM_SHARED_CALLS: &[(&str, u32)] = &[
    ("sys_read", 3), ("sys_write", 4), ("sys_mount", 21), ("sys_umount", 52), ("sys_chroot", 61), ("sys_fchmod", 94),
    ("sys_clone", 120), ("sys_init_module", 128), ("sys_delete_module", 129), ("sys_readv", 145), ("sys_writev", 146),
    ("sys_prctl", 172), ("sys_capset", 185), ("sys_setreuid", 203), ("sys_setregid", 204), ("sys_setgroups", 206),
    ("sys_fchown", 207), ("sys_setresuid", 208), ("sys_setresgid", 210), ("sys_setuid", 213), ("sys_setgid", 214),
    ("sys_setfsuid", 215), ("sys_setfsgid", 216), ("sys_pivot_root", 218), ("sys_socket", 281), ("sys_bind", 282),
    ("sys_connect", 283), ("sys_listen", 284), ("sys_accept", 285), ("sys_sendto", 290), ("sys_mkdirat", 323),
    ("sys_mknodat", 324), ("sys_fchownat", 325), ("sys_unlinkat", 328), ("sys_renameat", 329), ("sys_linkat", 330),
    ("sys_symlinkat", 331), ("sys_fchmodat", 333), ("sys_unshare", 337), ("sys_accept4", 366), ("sys_setns", 375),
    ("sys_process_vm_readv", 376), ("sys_process_vm_writev", 377), ("sys_finit_module", 379), ("sys_renameat2", 382),
    ("sys_memfd_create", 385), ("sys_bpf", 386), ("sys_kexec_file_load", 401), ("sys_io_uring_setup", 425),
    ("sys_io_uring_enter", 426), ("sys_open_tree", 428), ("sys_move_mount", 429), ("sys_fsmount", 432),
    ("sys_clone3", 435), ("sys_openat2", 437), ("sys_pidfd_getfd", 438), ("sys_mount_setattr", 442),
    ("sys_fchmodat2", 452), ("sys_open_tree_attr", 467),
];

/// Stands for the number of a call an architecture never had.
const NEVER: u32 = u32::MAX;

const fn call(name: &'static str, x86_64: u32, aarch64: u32, lost: &'static str) -> SystemCall {
    SystemCall { name, x86_64: number(x86_64), aarch64: number(aarch64), lost, since: OLDEST }
}

impl SystemCall {
    const fn since(self, major: u32, minor: u32) -> Self {
        Self { since: (major, minor), ..self }
    }
}

const fn number(number: u32) -> Option<u32> {
    if number == NEVER { None } else { Some(number) }
}

/// The call of a name, for use at compile time.
///
/// # Panics
/// When there is none: at compile time.
#[must_use]
#[expect(clippy::panic, reason = "stops the compilation of the kernel side")]
pub const fn named(name: &str) -> SystemCall {
    let mut calls = SYSTEM_CALLS;
    while let Some((call, rest)) = calls.split_first() {
        if same(call.name.as_bytes(), name.as_bytes()) {
            return *call;
        }
        calls = rest;
    }
    panic!("no such system call in SYSTEM_CALLS")
}

/// The 32-bit call of a name among these, for use at compile time.
///
/// # Panics
/// When there is none: at compile time.
#[must_use]
#[expect(clippy::panic, reason = "stops the compilation of the kernel side")]
pub const fn compat_named(mut calls: &[CompatCall], name: &str) -> CompatCall {
    while let Some((call, rest)) = calls.split_first() {
        if same(call.name.as_bytes(), name.as_bytes()) {
            return *call;
        }
        calls = rest;
    }
    panic!("no such 32-bit system call")
}

/// The number of the 32-bit call of arm64 that goes through the function of this name, if there is one.
#[must_use]
pub const fn arm_shared(name: &str) -> Option<u32> {
    let mut calls = ARM_SHARED_CALLS;
    while let Some(((function, number), rest)) = calls.split_first() {
        if same(function.as_bytes(), name.as_bytes()) {
            return Some(*number);
        }
        calls = rest;
    }
    None
}

const fn same(mut one: &[u8], mut other: &[u8]) -> bool {
    while let (Some((first, rest)), Some((other_first, other_rest))) =
        (one.split_first(), other.split_first())
    {
        if *first != *other_first {
            return false;
        }
        one = rest;
        other = other_rest;
    }
    one.is_empty() && other.is_empty()
}
