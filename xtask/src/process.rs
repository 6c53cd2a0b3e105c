//! Running other programs, so that a person sees what runs, how long it takes and why it failed.

use std::env;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// A stretch of work announced on the terminal, with its duration when it ends.
pub struct Step {
    what: String,
    started: Instant,
}

impl Step {
    /// Announces `what`, a phrase that begins with a capital: "Building the agent".
    pub fn start(what: impl Into<String>) -> Self {
        let what = what.into();
        eprintln!("==> {what}");
        Self { what, started: Instant::now() }
    }

    /// Says how long it took.
    pub fn done(self) {
        eprintln!("==> {}: done in {:.1} s", self.what, self.started.elapsed().as_secs_f32());
    }
}

/// Where a program of this name is: on `PATH`, or in the folders of system programs that an ordinary
/// user's `PATH` does not have on Debian.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| is_executable(candidate))
}

/// Whether `path` is a file that someone may execute.
pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// What a program writes to its standard output, trimmed; `None` when it is missing or fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs a program whose own output is worth seeing (cargo shows its progress itself).
pub fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|error| not_started(command, &error))?;
    succeeded(command, status)
}

/// Runs a program whose output matters only when it fails: it goes to `log`, whose end is shown then.
/// A sign of life is printed every ten seconds.
pub fn run_quietly(command: &mut Command, log: &Path) -> Result<(), Failure> {
    const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
    const SHOWN_LINES: usize = 30;

    let file = File::create(log).map_err(|error| Failure::file("create", log, &error))?;
    let copy = file.try_clone().map_err(|error| Failure::file("open", log, &error))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(copy)
        .spawn()
        .map_err(|error| not_started(command, &error))?;

    let started = Instant::now();
    let mut next_sign = SIGN_OF_LIFE;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| not_started(command, &error))? {
            break status;
        }
        if started.elapsed() >= next_sign {
            eprintln!("    still at it after {} s", next_sign.as_secs());
            next_sign += SIGN_OF_LIFE;
        }
        thread::sleep(Duration::from_millis(50));
    };
    if !status.success() {
        let text = fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)) {
            eprintln!("    {line}");
        }
    }
    succeeded(command, status)
}

/// A program that works while others wait: it has a processor only where nothing else wants it. Ended at the
/// latest when this is dropped.
pub struct Background(Child);

impl Background {
    /// Starts what `command` says, with its output in `log`.
    pub fn start(command: &Command, log: &Path) -> Result<Self, Failure> {
        let file = File::create(log).map_err(|error| Failure::file("create", log, &error))?;
        let copy = file.try_clone().map_err(|error| Failure::file("open", log, &error))?;
        let mut idle = Command::new("chrt");
        idle.args(["--idle", "0"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => idle.env(name, value),
                None => idle.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            idle.current_dir(folder);
        }
        let child = idle.stdin(Stdio::null()).stdout(file).stderr(copy).spawn();
        child.map(Self).map_err(|error| not_started(&idle, &error))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Both fail only where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn succeeded(command: &Command, status: ExitStatus) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    // `ExitStatus` prints as "exit status: 101" or "signal: 9 (SIGKILL)".
    Err(Failure::Command(format!("`{}` failed ({status})", shown(command))))
}

/// The failure of a program that did not start at all.
pub fn not_started(command: &Command, error: &std::io::Error) -> Failure {
    let program = command.get_program().display();
    Failure::Command(match error.kind() {
        ErrorKind::NotFound => format!("the program `{program}` is not installed"),
        _ => format!("cannot start `{program}`: {error}"),
    })
}

/// The command as one would type it, without the environment.
fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.display().to_string())
        .collect::<Vec<_>>()
        .join(" ")
}
