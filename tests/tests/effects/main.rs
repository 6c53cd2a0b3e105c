//! The whole set of effects, from the kernel to the record: each system call that changes something is told
//! with its files, attributed to the call that made it.

mod calls;
mod files;
mod privileges;
mod programs;

use std::os::unix::net::UnixListener;

use mcpwatch_tests::{
    Play, case, has, io_uring_open_missing, merge, own_program, play_io_uring, skipped, text,
};
use serde_json::{Value, json};

/// A `process.privilege` of a call that does not mention it.
fn privilege(operation: &str, more: Value) -> Value {
    let mut privilege = json!({"operation": operation, "result": "ok"});
    merge(&mut privilege, more);
    // What a kernel says to what it must refuse differs.
    if privilege["result"] == "refused" {
        privilege.as_object_mut().expect("an object").remove("result");
    }
    json!({"type": "process.privilege", "privilege": privilege})
}

/// A `file.change` the call asked for.
fn change(operation: &str, path: &str, more: Value) -> Value {
    let mut file = json!({"operation": operation, "path": path, "result": "ok"});
    merge(&mut file, more);
    json!({"type": "file.change", "relation": "requested", "file": file})
}

fn alert(rule: &str, severity: &str) -> Value {
    json!({"type": "alert", "alert": {"rule": rule, "severity": severity}})
}

#[test]
fn sockets_of_every_family_and_those_of_container_runtimes() {
    let play = Play::begin();
    let runtime = play.scene.path("docker.sock");
    let _listener = UnixListener::bind(&runtime).expect("a socket in the home");
    let link = play.scene.path("plain");
    std::os::unix::fs::symlink(&runtime, &link).expect("a link to it");
    let net = |kind: &str, net: Value| json!({"type": kind, "net": net});
    let before = play.agent.count();
    let made = net("net.socket", json!({"family": "vsock", "protocol": "stream"}));
    let wrong = play.play(&case("vsock", json!({}), &[made]));
    assert!(wrong.is_empty(), "{wrong:?}");
    let told = play.agent.since(before);
    // A kernel may have no such sockets; what comes of a connection depends on what machine this is.
    let made = told.of("net.socket").any(|record| text(record, "net.result") == "ok");
    let machine = json!({"net": {"family": "vsock", "vsock": {"cid": 1, "port": 4242}}});
    let connected = told.of("net.connect").any(|record| has(record, &machine));
    assert_eq!(connected, made, "{}", told.digest());
    let cases = [
        case(
            "netlink",
            json!({}),
            &[
                net(
                    "net.socket",
                    json!({"family": "netlink", "protocol": "route", "result": "ok"}),
                ),
                net("net.bind", json!({"family": "netlink", "netlink": {"groups": 0}})),
            ],
        ),
        case(
            "packet",
            json!({}),
            &[
                net("net.socket", json!({"family": "packet", "protocol": "raw", "result": "ok"})),
                // `LOOPBACK_IFINDEX`; the protocol is `ETH_P_ALL`.
                net(
                    "net.bind",
                    json!({"family": "packet", "protocol": "raw", "result": "ok",
                        "packet": {"interface": 1, "ethertype": 3}}),
                ),
            ],
        ),
        case(
            "runtime",
            json!({"path": runtime}),
            &[
                json!({"type": "net.connect", "relation": "requested",
                    "net": {"family": "unix", "path": runtime}}),
                alert("privilege_change", "medium"),
            ],
        ),
        case(
            "runtime",
            json!({"path": link}),
            &[
                json!({"type": "net.connect",
                    "net": {"family": "unix", "path": link, "bound_path": runtime}}),
                alert("privilege_change", "medium"),
            ],
        ),
    ];
    play.play_all(&cases);
}

#[test]
fn what_is_done_through_io_uring_is_told() {
    mcpwatch_tests::require_root();
    let missing = io_uring_open_missing();
    if let Some(reason) = &missing {
        skipped(&format!(
            "results of opens through io_uring: they are told as they are submitted: {reason}"
        ));
    }
    play_io_uring("", &json!(own_program("labelled")), missing.as_deref());
}
