//! What the programs call, and what is to be told of it: all but what needs more than one process or another kernel.

use mcpwatch_tests::merge;
use serde_json::{Value, json};

use super::program::Program;

/// The working directory.
const HERE: u32 = libc::AT_FDCWD.cast_unsigned();
/// `O_RDWR`.
const CHANGED: u32 = libc::O_RDWR.cast_unsigned();
/// Leave an id as it is, in 32 and 16 bits.
const SAME: u32 = u32::MAX;
const SAME16: u32 = 0xffff;
/// Somebody who is not root.
const NOBODY: u32 = 1234;
/// A symbolic link itself is meant, not what it leads to.
const LINK: u32 = libc::AT_SYMLINK_NOFOLLOW.cast_unsigned();

/// A program and the records of what it does, in their order.
pub type Told = (Program, Vec<Value>);

fn change(operation: &str, path: &str, more: Value) -> Value {
    let mut file = json!({"operation": operation, "path": path, "result": "ok"});
    merge(&mut file, more);
    json!({"type": "file.change", "file": file})
}

fn privilege(operation: &str, more: Value) -> Value {
    let mut privilege = json!({"operation": operation, "result": "ok"});
    merge(&mut privilege, more);
    json!({"type": "process.privilege", "privilege": privilege})
}

fn ids(operation: &str, ids: Value) -> Value {
    privilege(operation, json!({"ids": ids}))
}

fn refused(operation: &str) -> Value {
    privilege(operation, json!({"result": "EPERM"}))
}

/// Files in this folder, which is empty.
pub fn on_files(folder: &str) -> Told {
    let mut program = Program::default();
    let path = |name: &str| format!("{folder}/{name}");
    let mut at = |name: &str| program.text(&path(name));
    let (file, hard, hard2, soft, soft2) =
        (at("file"), at("hard"), at("hard2"), at("soft"), at("soft2"));
    let (other, third, fourth, sub, sub2) =
        (at("other"), at("third"), at("fourth"), at("sub"), at("sub2"));
    let (pipe, pipe2) = (at("pipe"), at("pipe2"));
    let (meant, scratch, mode) =
        (program.text("../secret"), program.text("scratch"), libc::S_IFIFO | 0o600);
    // `struct open_how`: flags, mode and resolve, of 64 bits each.
    let how = program.numbers(&[CHANGED, 0, 0, 0, 0, 0]);
    // `struct file_handle`: the room for it and its type; then the number of its mount.
    let handle = program.numbers(&[&[128][..], &[0; 33]].concat());
    let mount = program.numbers(&[0]);

    program.open(8, &[file, 0o600], 100); // creat
    program.call(370, &[HERE, file, handle, mount, 0]); // name_to_handle_at
    program.each(&[
        (5, &[file, CHANGED, 0]),               // open
        (322, &[HERE, file, 0, 0]),             // openat
        (437, &[HERE, file, how, 24]),          // openat2
        (371, &[100, handle, 0]),               // open_by_handle_at
        (385, &[scratch, 0]),                   // memfd_create
        (93, &[100, SAME]),                     // ftruncate
        (92, &[file, SAME - 1]),                // truncate
        (93, &[100, 3]),                        // ftruncate
        (92, &[file, 5]),                       // truncate
        (194, &[100, 7, 6, 1]),                 // ftruncate64
        (193, &[file, 7, 5, 1]),                // truncate64
        (94, &[100, 0o640]),                    // fchmod
        (15, &[file, 0o644]),                   // chmod
        (333, &[HERE, file, 0o600]),            // fchmodat
        (207, &[100, 1, 2]),                    // fchown32
        (212, &[file, 12, SAME]),               // chown32
        (95, &[100, 14, SAME16]),               // fchown
        (182, &[file, SAME16, 13]),             // chown
        (9, &[file, hard]),                     // link
        (330, &[HERE, file, HERE, hard2, 0]),   // linkat
        (83, &[meant, soft2]),                  // symlink
        (331, &[meant, HERE, soft]),            // symlinkat
        (198, &[soft, SAME, 13]),               // lchown32
        (16, &[soft, 14, 15]),                  // lchown
        (325, &[HERE, soft, 3, 4, LINK]),       // fchownat
        (38, &[hard, other]),                   // rename
        (329, &[HERE, other, HERE, third]),     // renameat
        (382, &[HERE, third, HERE, fourth, 1]), // renameat2
        (10, &[fourth]),                        // unlink
        (328, &[HERE, hard2, 0]),               // unlinkat
        (39, &[sub, 0o750]),                    // mkdir
        (323, &[HERE, sub2, 0o711]),            // mkdirat
        (40, &[sub]),                           // rmdir
        (14, &[pipe, mode, 0]),                 // mknod
        (324, &[HERE, pipe2, mode, 0]),         // mknodat
    ]);

    (program, told_of_files(&path))
}

fn told_of_files(path: &dyn Fn(&str) -> String) -> Vec<Value> {
    let opened = |access: &str, more: Value| {
        let mut opened = json!({"path": path("file"), "access": access, "result": "ok"});
        merge(&mut opened, more);
        json!({"type": "file.open", "file": opened})
    };
    let cut = |size: i64, result: &str| {
        change("truncate", &path("file"), json!({"size": size, "result": result}))
    };
    let mode = |name: &str, operation: &str, mode: &str| {
        change(operation, &path(name), json!({"mode": mode}))
    };
    let owners = |name: &str, uid: Value, gid: Value| {
        change("chown", &path(name), json!({"owner_uid": uid, "owner_gid": gid}))
    };
    let two = |operation: &str, from: &str, to: &str| {
        change(operation, &path(from), json!({"target": {"path": path(to)}}))
    };
    let leads =
        |name: &str| change("symlink", &path(name), json!({"target": {"argument": "../secret"}}));
    let done = |operation: &str, name: &str| change(operation, &path(name), json!({}));
    let none = Value::Null;
    vec![
        opened("write", json!({"flags": ["O_CREAT", "O_TRUNC"]})),
        opened("read_write", json!({})),
        opened("read", json!({})),
        opened("read_write", json!({})),
        opened("read", json!({"via": "handle"})),
        change("memfd_create", "/memfd:scratch", json!({})),
        cut(-1, "EINVAL"),
        cut(-2, "EINVAL"),
        cut(3, "ok"),
        cut(5, "ok"),
        cut((1 << 32) + 6, "ok"),
        cut((1 << 32) + 5, "ok"),
        mode("file", "chmod", "0640"),
        mode("file", "chmod", "0644"),
        mode("file", "chmod", "0600"),
        owners("file", json!(1), json!(2)),
        owners("file", json!(12), none.clone()),
        owners("file", json!(14), none.clone()),
        owners("file", none.clone(), json!(13)),
        two("link", "file", "hard"),
        two("link", "file", "hard2"),
        leads("soft2"),
        leads("soft"),
        owners("soft", none, json!(13)),
        owners("soft", json!(14), json!(15)),
        owners("soft", json!(3), json!(4)),
        two("rename", "hard", "other"),
        two("rename", "other", "third"),
        two("rename", "third", "fourth"),
        done("unlink", "fourth"),
        done("unlink", "hard2"),
        mode("sub", "mkdir", "0750"),
        mode("sub2", "mkdir", "0711"),
        done("rmdir", "sub"),
        mode("pipe", "mknod", "10600"),
        mode("pipe2", "mknod", "10600"),
    ]
}

/// Sockets of the family of unix in this folder, and one of a rare family.
pub fn on_sockets(folder: &str) -> Told {
    const UNIX: u32 = libc::AF_UNIX.cast_unsigned();
    const STREAM: u32 = libc::SOCK_STREAM.cast_unsigned();
    const DATAGRAM: u32 = libc::SOCK_DGRAM.cast_unsigned();

    let mut program = Program::default();
    let path = |name: &str| format!("{folder}/{name}");
    // The path ends where the length says: more stands behind it.
    let mut address = |name: &str| {
        let bytes = [&[1, 0], path(name).as_bytes(), b"_and_more\0"].concat();
        let len = u32::try_from(2 + path(name).len()).expect("it is short");
        (program.put(&bytes), len)
    };
    let ((door, door_len), (inbox, inbox_len), (aside, aside_len)) =
        (address("door"), address("inbox"), address("aside"));
    let text = program.text("text");
    let row = program.numbers(&[text, 2, text + 2, 2]);
    // Two `struct compat_mmsghdr`, which begin with a `struct compat_msghdr`.
    let one = [inbox, inbox_len, row, 2, 0, 0, 0, 0];
    let messages = program.numbers(&[one, one].concat());

    let uevents = libc::NETLINK_KOBJECT_UEVENT.cast_unsigned();
    program.call(281, &[libc::AF_NETLINK.cast_unsigned(), libc::SOCK_RAW.cast_unsigned(), uevents]);
    for (kind, descriptor) in
        [(STREAM, 100), (DATAGRAM, 101), (DATAGRAM, 102), (STREAM, 103), (STREAM, 104)]
    {
        program.open(281, &[UNIX, kind, 0], descriptor);
    }
    program.each(&[
        (282, &[100, door, door_len]),               // bind
        (282, &[101, inbox, inbox_len]),             // bind
        (284, &[100, 2]),                            // listen
        (283, &[103, door, door_len]),               // connect
        (283, &[104, door, door_len]),               // connect
        (285, &[100, 0, 0]),                         // accept
        (366, &[100, 0, 0, 0]),                      // accept4
        (290, &[102, text, 4, 0, inbox, inbox_len]), // sendto
        (296, &[102, messages, 0]),                  // sendmsg
        (374, &[102, messages, 2, 0]),               // sendmmsg
        (283, &[102, inbox, inbox_len]),             // connect
        // It has four arguments: what stands behind them is no address.
        (289, &[102, text, 4, 0, aside, aside_len]), // send
    ]);

    let unix = |kind: &str, name: &str| json!({"type": kind, "net": {"family": "unix", "path": path(name), "result": "ok"}});
    let told = vec![
        json!({"type": "net.socket", "net": {"family": "netlink", "result": "ok"}}),
        unix("net.bind", "door"),
        unix("net.bind", "inbox"),
        unix("net.listen", "door"),
        unix("net.connect", "door"),
        unix("net.connect", "door"),
        unix("net.accept", "door"),
        unix("net.accept", "door"),
        unix("net.send", "inbox"),
        unix("net.send", "inbox"),
        unix("net.send", "inbox"),
        unix("net.connect", "inbox"),
    ];
    (program, told)
}

/// The ids of the process, and what the kernel then refuses it.
pub fn on_ids() -> Told {
    let mut program = Program::default();
    let (groups, groups16) = (
        program.numbers(&[NOBODY]),
        program.put(&[NOBODY.to_le_bytes()[0], NOBODY.to_le_bytes()[1]]),
    );
    // Version and process; then twice effective, permitted and inheritable.
    let (header, sets) =
        (program.numbers(&[0x2008_0522, 0]), program.numbers(&[1 << 21, 1 << 21, 0, 0, 0, 0]));
    let (name, empty) = (program.text("no_such_module_of_ours"), program.text(""));
    // `BPF_MAP_LOOKUP_ELEM` in no map.
    let attributes = program.numbers(&[u32::MAX, 0, 0, 0, 0, 0, 0, 0]);
    program.each(&[
        (81, &[1, groups16]),             // setgroups
        (206, &[1, groups]),              // setgroups32
        (139, &[NOBODY]),                 // setfsgid
        (216, &[NOBODY]),                 // setfsgid32
        (71, &[SAME16, NOBODY]),          // setregid
        (204, &[SAME, NOBODY]),           // setregid32
        (170, &[NOBODY, SAME16, SAME16]), // setresgid
        (210, &[NOBODY, SAME, SAME]),     // setresgid32
        (46, &[NOBODY]),                  // setgid
        (214, &[NOBODY]),                 // setgid32
        (138, &[NOBODY]),                 // setfsuid
        (215, &[NOBODY]),                 // setfsuid32
        (70, &[SAME16, 0]),               // setreuid
        (203, &[SAME, 0]),                // setreuid32
        (164, &[SAME16, SAME16, 0]),      // setresuid
        (208, &[NOBODY, NOBODY, NOBODY]), // setresuid32
        (185, &[header, sets]),           // capset
        (213, &[NOBODY]),                 // setuid32
        (23, &[0]),                       // setuid
        (172, &[8, 1]),                   // prctl: PR_SET_KEEPCAPS
        (386, &[1, attributes, 32]),      // bpf
        (128, &[empty, 0, empty]),        // init_module
        (379, &[0, empty, 0]),            // finit_module
        (129, &[name, 0]),                // delete_module
        (347, &[0, 0, 0, 0]),             // kexec_load
        (401, &[0, 0, 0, 0, 0]),          // kexec_file_load
    ]);
    let filesystem = |operation: &str| ids(operation, json!({"filesystem": NOBODY}));
    let told = vec![
        privilege("setgroups", json!({"groups": 1})),
        privilege("setgroups", json!({"groups": 1})),
        filesystem("setfsgid"),
        filesystem("setfsgid"),
        ids("setregid", json!({"real": null, "effective": NOBODY})),
        ids("setregid", json!({"real": null, "effective": NOBODY})),
        ids("setresgid", json!({"real": NOBODY, "effective": null, "saved": null})),
        ids("setresgid", json!({"real": NOBODY, "effective": null, "saved": null})),
        ids("setgid", json!({"effective": NOBODY})),
        ids("setgid", json!({"effective": NOBODY})),
        filesystem("setfsuid"),
        filesystem("setfsuid"),
        ids("setreuid", json!({"real": null, "effective": 0})),
        ids("setreuid", json!({"real": null, "effective": 0})),
        ids("setresuid", json!({"real": null, "effective": null, "saved": 0})),
        ids("setresuid", json!({"real": NOBODY, "effective": NOBODY, "saved": NOBODY})),
        privilege(
            "capset",
            json!({"result": "EPERM", "capabilities": {"effective": ["CAP_SYS_ADMIN"],
                "permitted": ["CAP_SYS_ADMIN"], "inheritable": []}}),
        ),
        ids("setuid", json!({"effective": NOBODY})),
        privilege("setuid", json!({"ids": {"effective": 0}, "result": "EPERM"})),
        privilege("prctl", json!({"command": "PR_SET_KEEPCAPS"})),
        privilege("bpf", json!({"command": "BPF_MAP_LOOKUP_ELEM", "result": "EBADF"})),
        refused("init_module"),
        refused("finit_module"),
        privilege("delete_module", json!({"path": "no_such_module_of_ours", "result": "EPERM"})),
        refused("kexec_load"),
        // Kernels may be built without it.
        json!({"type": "process.privilege", "privilege": {"operation": "kexec_file_load"}}),
    ];
    (program, told)
}

/// Mounts of the process alone, on this empty folder; and its namespaces.
#[expect(clippy::cast_possible_truncation, reason = "the flags are those of 32 bits")]
pub fn on_mounts(folder: &str) -> Told {
    const ALONE: u32 = libc::CLONE_NEWNS.cast_unsigned();
    const PRIVATE: u32 = (libc::MS_REC | libc::MS_PRIVATE) as u32;
    /// `FSCONFIG_CMD_CREATE`.
    const CREATE: u32 = 6;

    let mut program = Program::default();
    let (none, root, place, empty) =
        (program.text("none"), program.text("/"), program.text(folder), program.text(""));
    let (tmpfs, own) = (program.text("tmpfs"), program.text("/proc/self/ns/uts"));
    // `struct mount_attr`, of 64 bits each: `MOUNT_ATTR_NOSUID` is to be set.
    let attributes = program.numbers(&[2, 0, 0, 0, 0, 0, 0, 0]);
    // `struct io_uring_params`.
    let parameters = program.put(&[0; 120]);
    program.each(&[
        (337, &[ALONE]),                                   // unshare
        (21, &[none, root, 0, PRIVATE, 0]),                // mount
        (21, &[place, place, 0, libc::MS_BIND as u32, 0]), // mount
        (442, &[HERE, place, 0, attributes, 32]),          // mount_setattr
        (428, &[HERE, place, 1]),                          // open_tree
    ]);
    program.open(430, &[tmpfs, 0], 100); // fsopen
    program.call(431, &[100, CREATE, 0, 0, 0]); // fsconfig
    program.open(432, &[100, 0, 0], 101); // fsmount
    program.each(&[
        // `MOVE_MOUNT_F_EMPTY_PATH`.
        (429, &[101, empty, HERE, place, 4]), // move_mount
        // The old root cannot be where it is.
        (218, &[place, root]),                            // pivot_root
        (52, &[place, libc::MNT_DETACH.cast_unsigned()]), // umount2
    ]);
    program.open(5, &[own, 0, 0], 102); // open
    program.each(&[
        (375, &[102, libc::CLONE_NEWUTS.cast_unsigned()]), // setns
        (61, &[place]),                                    // chroot
    ]);
    program.open(425, &[4, parameters], 103); // io_uring_setup
    let at = |operation: &str, path: &str| privilege(operation, json!({"path": path}));
    let told = vec![
        privilege("unshare", json!({"namespaces": ["mount"]})),
        at("mount", "/"),
        at("mount", folder),
        at("mount_setattr", folder),
        at("open_tree", folder),
        privilege("fsmount", json!({})),
        at("move_mount", folder),
        privilege("pivot_root", json!({"path": folder, "result": "EBUSY"})),
        at("umount", folder),
        json!({"type": "file.open", "file": {"argument": "/proc/self/ns/uts", "result": "ok"}}),
        privilege("setns", json!({"namespaces": ["uts"]})),
        at("chroot", folder),
        privilege("io_uring_setup", json!({})),
    ];
    (program, told)
}

/// A process that waits; it is of this server.
pub fn on_process(process: u32, server: &str) -> Told {
    /// `PTRACE_SEIZE`, which does not stop it.
    const SEIZE: u32 = 0x4206;
    const UTS: u32 = libc::CLONE_NEWUTS.cast_unsigned();
    const ENDS: u32 = libc::SIGCHLD.cast_unsigned();

    let mut program = Program::default();
    let buffer = program.put(&[0; 8]);
    let row = program.numbers(&[buffer, 8]);
    // `struct clone_args` up to `tls`, of 64 bits each: the first are the flags, the fifth is the signal.
    let child = program.numbers(&[UTS, 0, 0, 0, 0, 0, 0, 0, ENDS, 0, 0, 0, 0, 0, 0, 0]);
    program.call(26, &[SEIZE, process, 0, 0]); // ptrace
    program.open(434, &[process, 0], 100); // pidfd_open
    program.each(&[
        (438, &[100, 0, 0]),                  // pidfd_getfd
        (376, &[process, row, 1, row, 1, 0]), // process_vm_readv
        (377, &[process, row, 1, row, 1, 0]), // process_vm_writev
        // The child goes on as its parent does: each ends then.
        (435, &[child, 64]), // clone3
    ]);
    let access = |operation: &str, request: Value, result: &str| {
        json!({"type": "process.access", "access": {"operation": operation, "request": request,
            "target": {"server": server}, "result": result}})
    };
    let told = vec![
        access("ptrace", json!("PTRACE_SEIZE"), "ok"),
        access("pidfd_getfd", Value::Null, "ok"),
        access("process_vm_readv", Value::Null, "EFAULT"),
        access("process_vm_writev", Value::Null, "EFAULT"),
        privilege("clone", json!({"namespaces": ["uts"]})),
    ];
    (program, told)
}

/// A namespace for a child.
pub fn on_child() -> Told {
    let mut program = Program::default();
    let flags = libc::CLONE_NEWUTS.cast_unsigned() | libc::SIGCHLD.cast_unsigned();
    program.call(120, &[flags, 0, 0, 0, 0]); // clone
    (program, vec![privilege("clone", json!({"namespaces": ["uts"]}))])
}
