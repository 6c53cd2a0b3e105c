//! A program of 32 bits under a real agent. Only on arm64, where its system calls are counted and not read: those of
//! x86-64 are read, and are a part of the play.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use mcpwatch_tests::{Scene, check_identity, int, text};
use serde_json::json;

use crate::play;
use crate::suite::Tier;

/// What the program calls: openat(2) has a function of its own for 32-bit programs, unlink(2) is there for them alone.
const CALLS: i64 = 5 + 1;

/// An ELF file for 32-bit ARM: opens `/etc/passwd` five times with openat(2), removes what is not there, and ends.
fn program() -> Vec<u8> {
    const AT: u32 = 0x1_0000;
    const HEADERS: u32 = 52 + 32;
    let code: &[u32] = &[
        0xe3a0_4005, // mov r4, #5
        0xe3e0_0063, // mvn r0, #99: AT_FDCWD
        0xe28f_102c, // add r1, pc, #44: the path
        0xe3a0_2000, // mov r2, #0: O_RDONLY
        0xe3a0_3000, // mov r3, #0
        0xe300_7142, // movw r7, #322: openat
        0xef00_0000, // svc #0
        0xe254_4001, // subs r4, r4, #1
        0x1aff_fff7, // bne to the second
        0xe28f_0014, // add r0, pc, #20: behind the first folder of the path
        0xe3a0_700a, // mov r7, #10: unlink
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

/// What it calls is counted, in either tier.
pub fn is_counted(tier: &Tier) {
    let scene = Scene::new();
    let path = scene.path("narrow");
    fs::write(&path, program()).expect("a file can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let config = play::config(&scene);
    let (agent, client) = play::watch(&scene, tier, &config);
    client.open(&config, &[play::SERVER], mcpwatch_tests::Era::Handshake);
    // Fails where the kernel or the processor runs no such programs.
    client.call(play::SERVER, "run_command", json!({"command": path}));
    agent.find("its exec", |record| {
        text(record, "type") == "process.exec" && text(record, "exec.path") == path
    });
    client.close(&[]);
    let stopped = agent.stop();
    let losses = stopped.records.of("loss");
    let counted: i64 = losses
        .filter(|record| text(record, "loss.what") == "compat")
        .filter_map(|record| int(record, "loss.lost"))
        .sum();
    eprintln!("{counted} calls of a 32-bit program were counted");
    assert!(counted >= CALLS, "{counted}: {}", stopped.records.digest());
    check_identity(stopped.records.0.last().expect("records"));
}
