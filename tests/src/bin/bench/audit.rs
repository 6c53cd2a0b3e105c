//! auditd with the same job: another peer, but one that is switched on for the whole host.
//!
//! A process has what audit needs only if it was started while audit was on, and from then on each new one of the host
//! pays for it. So this comes last, is left out where audit is in use, and undoes what it did, also when the bench is
//! killed; but for the rule `never,task`, which keeps new processes from paying on. Its rules name the server alone, and
//! what else the kernel would write of others is excluded.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mcpwatch_tests::Scene;
use serde_json::Value;

use crate::peers::{self, Traced, wait_for};
use crate::rates::{Alone, WORKS, Work, start};

/// The name it has in the table.
const NAME: &str = "auditd";
/// Records the kernel keeps for the daemon at most: its default is for machines where little is recorded.
const BACKLOG: &str = "65536";

/// auditd at one rate of each work, if it can be had.
pub fn measure(rounds: usize, seconds: u64) -> Vec<Value> {
    let works = WORKS.iter().filter_map(|work| Some((work, work.for_peers?)));
    works
        .map(|(work, rate)| peers::row(NAME, work, rate, rounds, || round(work, rate, seconds)))
        .collect()
}

/// One run beside it: the server's figures, and its processor time in percent, with that of the kernel's own thread.
fn round(work: &Work, rate: u64, seconds: u64) -> Result<(Alone, f64), String> {
    let scene = Scene::new();
    let audit = Audit::begin(&scene)?;
    let load = start(&scene, work, rate, seconds + 2);
    let server = peers::server_of(&scene).ok_or("no server came")?;
    // By the parent, too: programs are run by children.
    for whose in ["pid", "ppid"] {
        let call = peers::system_call(work.tool);
        auditctl(&[
            "-a",
            "always,exit",
            "-F",
            "arch=b64",
            "-S",
            call,
            "-F",
            &format!("{whose}={server}"),
        ])?;
    }
    let before = audit.processor_seconds();
    let begun = Instant::now();
    let done = load.wait(&scene);
    let percent = (audit.processor_seconds() - before) * 100.0 / begun.elapsed().as_secs_f64();
    let recorded = fs::read(&audit.log).map_err(|error| format!("it wrote no log: {error}"))?;
    let of_server = format!(" pid={server} ");
    let of_child = format!(" ppid={server} ");
    let wanted = [of_server.as_bytes(), of_child.as_bytes()];
    if !wanted.iter().any(|one| recorded.windows(one.len()).any(|part| part == *one)) {
        return Err("it recorded nothing of the server".into());
    }
    Ok((Alone::of(&done), percent))
}

/// A running auditd; with it audit ends.
struct Audit {
    daemon: Option<Traced>,
    log: PathBuf,
    /// Puts everything back when its stdin ends: also when the bench is killed.
    undo: Child,
}

/// Is told the daemon's process id once there is one. Ends audit and that daemon, its rules, and what new processes would
/// pay; `$1` is the backlog there was.
const UNDO: &str = "daemon=; read -r daemon; cat >/dev/null; auditctl -e 0; \
     [ -z \"$daemon\" ] || kill \"$daemon\"; sleep 1; auditctl -D; auditctl -b \"$1\"; auditctl -a task,never";

impl Audit {
    fn begin(scene: &Scene) -> Result<Self, String> {
        let there = Command::new("auditctl").arg("-s").output();
        let state = there.map_err(|_| peers::not_installed(NAME))?;
        let state = String::from_utf8_lossy(&state.stdout).into_owned();
        let rules = auditctl(&["-l"])?;
        let unused = ["No rules", "-a never,task"].contains(&rules.trim());
        let of = |name: &str| state.lines().find_map(|line| line.strip_prefix(name));
        let (Some(backlog), "0", "0", true) =
            (of("backlog_limit "), of("enabled ").unwrap_or(""), of("pid ").unwrap_or(""), unused)
        else {
            return Err("audit is in use on this host".into());
        };
        let folder = scene.backstage("audit");
        let plugins = folder.join("plugins");
        let log = folder.join("audit.log");
        let failed = |error: io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(&plugins).map_err(failed)?;
        fs::write(folder.join("auditd.conf"), settings(&log, &plugins)).map_err(failed)?;
        let undo = Command::new("setsid")
            .args(["sh", "-c", UNDO, "sh", backlog])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("setsid: {error}"))?;
        let mut audit = Self { daemon: None, log, undo };
        auditctl(&["-D"])?;
        auditctl(&["-b", BACKLOG])?;
        // What programs say of themselves, and what the kernel says of others: 1300 to 1324 and 1327 are of rules.
        for (from, to) in [("1000", "1299"), ("1325", "1326"), ("1328", "2999")] {
            let (from, to) = (format!("msgtype>={from}"), format!("msgtype<={to}"));
            auditctl(&["-a", "never,exclude", "-F", &from, "-F", &to])?;
        }
        let argv = ["auditd", "-n", "-s", "enable", "-c", &folder.display().to_string()];
        let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
        let daemon = Traced::start(&argv, &scene.backstage("audit.out"), NAME)?;
        let pid = daemon.pid();
        audit.daemon = Some(daemon);
        let told = audit.undo.stdin.as_mut().map(|stdin| writeln!(stdin, "{pid}"));
        told.ok_or("nobody is there to undo it")?.map_err(|error| error.to_string())?;
        let registered = format!("pid {pid}");
        wait_for(|| auditctl(&["-s"]).ok()?.lines().any(|line| line == registered).then_some(()))
            .ok_or("the kernel does not take it for its daemon")?;
        Ok(audit)
    }

    fn processor_seconds(&self) -> f64 {
        let kernel = peers::find_by_name("kauditd").map_or(0.0, peers::processor_seconds_of);
        kernel + self.daemon.as_ref().map_or(0.0, Traced::processor_seconds)
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        drop(self.undo.stdin.take());
        let undone = self.undo.wait().is_ok_and(|status| status.success());
        let is_off = auditctl(&["-s"]).is_ok_and(|state| state.contains("enabled 0"));
        if !undone || !is_off {
            println!(
                "*** AUDIT IS STILL ON: auditctl -e 0; auditctl -D; auditctl -a task,never ***"
            );
        }
    }
}

fn settings(log: &Path, plugins: &Path) -> String {
    let actions =
        ["space_left", "admin_space_left", "disk_full", "disk_error", "max_log_file", "overflow"];
    let actions = actions.map(|action| format!("{action}_action = IGNORE\n")).concat();
    format!(
        "local_events = yes\nwrite_logs = yes\nlog_format = RAW\nflush = INCREMENTAL_ASYNC\nfreq = 50\n\
         priority_boost = 0\nname_format = NONE\nspace_left = 75\nadmin_space_left = 50\nmax_log_file = 999\n\
         q_depth = 2000\nlog_file = {}\nplugin_dir = {}\n{actions}",
        log.display(),
        plugins.display()
    )
}

fn auditctl(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("auditctl").args(arguments).output();
    let output = output.map_err(|error| format!("auditctl: {error}"))?;
    if !output.status.success() {
        return Err(format!("auditctl: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    // The kernel's answers come after the command's own.
    std::thread::sleep(Duration::from_millis(20));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
