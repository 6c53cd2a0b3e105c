//! A program of 32 bits under a real agent. Only on arm64: those of x86-64 are a part of the play.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use mcpwatch_tests::{Scene, check_identity, said, text};
use serde_json::{Value, json};

use crate::play;
use crate::suite::Tier;

/// What the server runs without a name, and where it is kept meanwhile.
const RUN: &str = "/bin/true";
const KEPT: &str = "/bin/kept";
/// How often the program opens its file.
const OPENS: usize = 5;

/// An ELF file for 32-bit ARM: opens `/etc/passwd` five times with openat(2), which has a function of its own for 32-bit
/// programs, removes `/passwd` with unlink(2), which is there for them alone, cuts it to 4 GiB and 5 bytes with
/// truncate64(2), which has the halves of a number in two registers, asks for the user id 65535 with setuid(2) of ids of
/// 16 bits, which is none, removes it once more with unlinkat(2), which goes through the function of the 64-bit call, and
/// ends.
fn program() -> Vec<u8> {
    const AT: u32 = 0x1_0000;
    const HEADERS: u32 = 52 + 32;
    let code: &[u32] = &[
        0xe3a0_4005, // mov r4, #5
        0xe3e0_0063, // mvn r0, #99: AT_FDCWD
        0xe28f_1060, // add r1, pc, #96: the path
        0xe3a0_2000, // mov r2, #0: O_RDONLY
        0xe3a0_3000, // mov r3, #0
        0xe300_7142, // movw r7, #322: openat
        0xef00_0000, // svc #0
        0xe254_4001, // subs r4, r4, #1
        0x1aff_fff7, // bne to the second
        0xe28f_0048, // add r0, pc, #72: behind the first folder of the path
        0xe3a0_700a, // mov r7, #10: unlink
        0xef00_0000, // svc #0
        0xe28f_003c, // add r0, pc, #60: the same
        0xe3a0_2005, // mov r2, #5
        0xe3a0_3001, // mov r3, #1
        0xe3a0_70c1, // mov r7, #193: truncate64
        0xef00_0000, // svc #0
        0xe30f_0fff, // movw r0, #65535
        0xe3a0_7017, // mov r7, #23: setuid
        0xef00_0000, // svc #0
        0xe3e0_0063, // mvn r0, #99: AT_FDCWD
        0xe28f_1018, // add r1, pc, #24: behind the first folder of the path
        0xe3a0_2000, // mov r2, #0
        0xe300_7148, // movw r7, #328: unlinkat
        0xef00_0000, // svc #0
        0xe3a0_0000, // mov r0, #0
        0xe3a0_7001, // mov r7, #1: exit
        0xef00_0000, // svc #0
    ];
    let path = b"/etc/passwd\0";
    let code: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    let size = HEADERS + u32::try_from(code.len() + path.len()).expect("it is small");
    // `e_ident`: 32 bits, little-endian, version 1.
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |number: u16| number.to_le_bytes();
    // ET_EXEC, EM_ARM; version, entry, program headers, section headers, flags of EABI 5.
    file.extend([half(2), half(40)].concat());
    for word in [1, AT + HEADERS, 52, 0, 0x0500_0000] {
        file.extend(u32::to_le_bytes(word));
    }
    // Sizes and numbers of headers.
    for number in [52, 32, 1, 0, 0, 0] {
        file.extend(half(number));
    }
    // PT_LOAD: offset, addresses, sizes, read and execute, alignment.
    for word in [1, 0, AT, AT, size, size, 5, 0x1_0000] {
        file.extend(u32::to_le_bytes(word));
    }
    file.extend(code);
    file.extend(path);
    file
}

/// What it calls is told, in either tier, as of a 64-bit program.
pub fn is_told(tier: &Tier) {
    let scene = Scene::new();
    let path = scene.path("narrow");
    fs::write(&path, program()).expect("a file can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let config = play::config(&scene);
    let (agent, client) = play::watch(&scene, tier, &config);
    client.open(&config, &[play::SERVER], mcpwatch_tests::Era::Handshake);
    // Fails where the kernel or the processor runs no such programs.
    client.call(play::SERVER, "run_command", json!({"command": path}));
    // By execveat(2), whose number is that of socket(2) to the program.
    fs::rename(RUN, KEPT).expect("the guest is ours");
    fs::copy(&path, RUN).expect("so is its program");
    let result = client.call(play::SERVER, "run_nameless", json!({"path": scene.path("removed")}));
    fs::rename(KEPT, RUN).expect("it is still there");
    assert_eq!(said(&result), "ran");
    client.close(&[]);
    let stopped = agent.stop();
    let records = &stopped.records;
    let own = |kind| records.of(kind).filter(|record| text(record, "process.exe") == path);
    let opens = records.of("file.open").filter(|open| text(open, "file.argument") == "/etc/passwd");
    assert_eq!(opens.count(), 3 * OPENS, "{}", records.digest());
    assert_eq!(records.of("net.socket").count(), 0, "{}", records.digest());
    let changes: Vec<_> = own("file.change")
        .map(|change| {
            let file = &change["file"];
            (text(file, "operation"), text(file, "argument"), text(file, "result"), &file["size"])
        })
        .collect();
    let gone = |operation, size| (operation, "/passwd", "ENOENT", size);
    let size = json!((1_u64 << 32) + 5);
    let none = &Value::Null;
    assert_eq!(
        changes,
        [gone("unlink", none), gone("truncate", &size), gone("unlink", none)],
        "{}",
        records.digest()
    );
    let asked: Vec<_> = own("process.privilege").map(|record| &record["privilege"]).collect();
    assert!(
        asked.iter().any(|asked| asked["operation"] == "setuid" && asked["result"] == "EINVAL"),
        "{asked:?}"
    );
    let unread = records.of("loss").filter(|record| text(record, "loss.what") == "compat");
    assert_eq!(unread.count(), 0, "{}", records.digest());
    check_identity(records.0.last().expect("records"));
}
