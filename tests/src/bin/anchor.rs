//! The root of a scene's process tree. The agent is started with `--descendants-of` this process
//! before anything else runs, so it sees the scene from its first moment and nothing else, ever.
//!
//! `anchor SOCKET [OPTIONS] [ADDRESS/PREFIX…]`: with addresses, a network namespace of its own with them on
//! `lo`, which nothing can leave. With `--cgroups-v1` or `--cgroups-v2`, a mount namespace in which runtimes see
//! no other hierarchies than these: they refuse to work with both; with `--resolver=FILE`, one in which that is
//! `/etc/resolv.conf`. Takes one JSON command a line on the socket, `{"argv", "env", "cwd", "log"}`,
//! starts it and answers `{"pid"}`. When the socket closes, everything it started is ended.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::Duration;

use mcpwatch_tests::{kill_descendants, skipped};
use serde_json::{Value, json};

fn main() {
    let mut arguments = env::args().skip(1);
    let socket = arguments.next().expect("the first argument is the control socket");
    let (options, addresses): (Vec<String>, Vec<String>) =
        arguments.partition(|argument| argument.starts_with("--"));
    for option in &options {
        match option.strip_prefix("--resolver=") {
            Some(file) => replace_resolver(file),
            None => enter_mounts(option == "--cgroups-v2"),
        }
    }
    if !addresses.is_empty() {
        enter_network(&addresses);
    }
    become_subreaper();
    // Connected last: for the test this says that the scene is ready.
    let control = UnixStream::connect(&socket).expect("the control socket accepts");
    thread::spawn(reap);
    let mut answers = control.try_clone().expect("a socket can be duplicated");
    for line in BufReader::new(control).lines().map_while(Result::ok) {
        let command = serde_json::from_str(&line).expect("a command is JSON");
        let answer = match start(&command) {
            Ok(pid) => json!({"pid": pid}),
            Err(error) => json!({"error": error.to_string()}),
        };
        if writeln!(answers, "{answer}").is_err() {
            break;
        }
    }
    kill_descendants(process::id());
}

/// A network namespace with nothing but `lo`, up, with the addresses on it.
fn enter_network(addresses: &[String]) {
    // SAFETY: unshare(2) with CLONE_NEWNET touches no memory; there is one thread so far.
    let done = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert!(done == 0, "cannot make a network namespace: {}", io::Error::last_os_error());
    ip(&["link", "set", "lo", "up"]);
    for address in addresses {
        let mut arguments = vec!["address", "add", address, "dev", "lo"];
        if address.contains(':') {
            // Duplicate address detection would leave it unusable for a second.
            arguments.push("nodad");
        }
        ip(&arguments);
    }
}

/// A mount namespace in which this file says who resolves names.
fn replace_resolver(file: &str) {
    leave_mounts();
    run("mount", &["--bind", file, "/etc/resolv.conf"]);
}

/// A mount namespace whose cgroups are of one version, where the machine has both; where it has one alone, that one.
fn enter_mounts(unified: bool) {
    leave_mounts();
    let both = "/sys/fs/cgroup/unified";
    if !Path::new(both).exists() {
        // A file of version 2 alone.
        let alone = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { 2 } else { 1 };
        let wanted = if unified { 2 } else { 1 };
        if wanted != alone {
            skipped(&format!(
                "cgroups of version {wanted}: this machine has version {alone} alone"
            ));
        }
        return;
    }
    if unified {
        run("umount", &["--lazy", "/sys/fs/cgroup"]);
        run("mount", &["-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"]);
    } else {
        run("umount", &["--lazy", both]);
    }
}

/// What is mounted from now on is not seen outside.
fn leave_mounts() {
    // SAFETY: unshare(2) with CLONE_NEWNS touches no memory; there is one thread so far.
    let done = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    assert!(done == 0, "cannot make a mount namespace: {}", io::Error::last_os_error());
    run("mount", &["--make-rprivate", "/"]);
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program)
        .args(arguments)
        .status()
        .expect("iproute2 and util-linux are installed");
    assert!(status.success(), "{program} {} failed: {status}", arguments.join(" "));
}

fn ip(arguments: &[&str]) {
    run("ip", arguments);
}

/// Orphans of the scene come back to this process instead of leaving its tree.
fn become_subreaper() {
    // SAFETY: prctl(2) with PR_SET_CHILD_SUBREAPER takes a number and touches no memory.
    let done = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    assert!(done == 0, "cannot become a subreaper: {}", io::Error::last_os_error());
}

fn start(command: &Value) -> io::Result<u32> {
    let strings = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let argv = strings(&command["argv"]);
    let (program, arguments) = argv.split_first().ok_or_else(|| io::Error::other("empty argv"))?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(command["log"].as_str().unwrap_or("/dev/null"))?;
    let environment = command["env"].as_object().into_iter().flatten();
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment.filter_map(|(name, value)| Some((name, value.as_str()?))))
        .current_dir(command["cwd"].as_str().unwrap_or("/"))
        // No pipes: a program that this process starts must not look like a server.
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    // `reap` collects it with everything else.
    Ok(child.id())
}

/// Collects every child that ends, adopted ones too.
fn reap() {
    loop {
        // SAFETY: waitpid(2) with a null status writes nothing.
        let pid = unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
        if pid < 0 {
            // No child at the moment.
            thread::sleep(Duration::from_millis(20));
        }
    }
}
