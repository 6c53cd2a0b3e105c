//! One emulated machine: started with a kernel and the guest's files, and its console read.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::costs::figure;
use super::kernels::Kernel;
use super::packages::Image;
use super::report::{Cost, Outcome};
use crate::failure::Failure;
use crate::process;
use crate::workspace;

/// A guest with every test takes half of this on a processor of its own; one that shares it, or tries again, takes its
/// time.
const PATIENCE: Duration = Duration::from_mins(25);
/// Lines of a failed guest's console that are shown; for each test, where it is tests that failed.
const SHOWN_LINES: usize = 40;

/// A machine to be started.
pub struct Guest<'g> {
    pub kernel: &'static Kernel,
    pub image: &'g Image,
    pub initrd: &'g Path,
    pub job: &'g Job,
}

/// What a guest is started for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Its tests.
    Test(Tests),
    /// To count instructions.
    Measure,
}

/// Which of a guest's tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tests {
    /// Each.
    All,
    /// All of them in the kernels at the ends; between them what each kernel has to pass for itself.
    Matrix,
    /// Those with this in their names.
    Named(String),
}

impl Guest<'_> {
    /// Starts it and reads its console until it switches itself off.
    pub fn run(&self) -> Outcome {
        let log = match self.job {
            Job::Test(_) => format!("console-{}.log", self.kernel.name),
            Job::Measure => format!("costs-{}.log", self.kernel.name),
        };
        let log = workspace::target().join("vm").join(log);
        match self.watch(&log) {
            Ok(console) => console.outcome(),
            Err(failure) => Outcome::Failed { why: failure.to_string(), costs: Vec::new() },
        }
    }

    fn command(&self) -> Command {
        let arch = self.kernel.arch;
        let mut command_line = format!(
            // The slow paths around flaws of processors are slower still in emulation.
            "{} quiet panic=-1 mitigations=off MCPWATCH_TESTS_SLOWNESS={}",
            arch.command_line, arch.slowness
        );
        match self.job {
            Job::Test(Tests::Matrix) if !self.kernel.is_an_end => {
                command_line += " MCPWATCH_TESTS_SHORT=1";
            }
            Job::Test(Tests::All | Tests::Matrix) => {}
            Job::Test(Tests::Named(part)) => {
                command_line += " MCPWATCH_TESTS_ONLY=";
                command_line += part;
            }
            Job::Measure => command_line += " MCPWATCH_COSTS=1",
        }
        if let Some(lsm) = self.kernel.lsm {
            command_line += " lsm=";
            command_line += lsm;
        }
        let [emulator, _] = arch.emulator;
        let mut command = Command::new(emulator);
        match self.job {
            // By turns: with a thread for each, a processor may run on in code that another one has just patched, and
            // die of a breakpoint that is gone (`Oops: int3` where a program was attached).
            Job::Test(_) => command.args(["-accel", "tcg,thread=single", "-smp", "2"]),
            // The guest's clock goes by its instructions, one a nanosecond, whatever else this machine does.
            Job::Measure => command.args(["-accel", "tcg,thread=single", "-smp", "1"]).args([
                "-icount",
                "shift=0,sleep=off",
                "-rtc",
                "clock=vm",
            ]),
        };
        command
            .args(arch.machine)
            .args(["-m", "1024"])
            .args(["-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio"])
            .arg("-kernel")
            .arg(&self.image.path)
            .arg("-initrd")
            .arg(self.initrd)
            .args(["-append", &command_line]);
        command
    }

    fn watch(&self, log: &Path) -> Result<Console, Failure> {
        let mut command = self.command();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| process::not_started(&command, &error))?;
        let mut file = File::create(log).map_err(|error| Failure::file("create", log, &error))?;
        let (sender, lines) = mpsc::channel();
        let output = child.stdout.take();
        thread::spawn(move || {
            for line in
                BufReader::new(output.into_iter().next()?).split(b'\n').map_while(Result::ok)
            {
                sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).ok()?;
            }
            Some(())
        });
        let mut console = Console::default();
        let begun = Instant::now();
        loop {
            match lines.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
                Ok(line) => {
                    // The log is for people; without it the task goes on.
                    let _ = writeln!(file, "{line}");
                    if line.starts_with("test ") {
                        let since = begun.elapsed().as_secs();
                        eprintln!("    {:<10} {line} after {since} s", self.kernel.name);
                    }
                    console.lines.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    console.hung = true;
                    break;
                }
            }
        }
        // It has ended, but for one that hangs.
        let _ = child.kill();
        let _ = child.wait();
        Ok(console)
    }
}

/// What a guest wrote.
#[derive(Default)]
struct Console {
    lines: Vec<String>,
    hung: bool,
}

impl Console {
    fn outcome(&self) -> Outcome {
        let costs = self.lines.iter().filter_map(|line| cost(line)).collect();
        let summary = self.lines.iter().rev().find_map(|line| summary(line));
        match summary {
            Some((passed, 0)) if passed > 0 => {
                let figures = self.lines.iter().filter_map(|line| figure(line)).collect();
                Outcome::Passed { tests: passed, costs, figures }
            }
            Some((_, 0)) => Outcome::Failed { why: "no test ran".into(), costs },
            Some((_, failed)) => {
                let why = format!("tests failed: {failed}{}", self.of_failed_tests());
                Outcome::Failed { why, costs }
            }
            None if self.hung => {
                let why = self.told(&format!("no end within {PATIENCE:?}"));
                Outcome::Failed { why: why + &self.of_failed_tests(), costs }
            }
            None => Outcome::Failed { why: self.told("it ended without a summary"), costs },
        }
    }

    /// What each failed test wrote: from its panic on, which goes before a digest of all there was.
    fn of_failed_tests(&self) -> String {
        let mut text = String::new();
        for test in self.lines.split_inclusive(|line| line.starts_with("test ")) {
            let Some((end, said)) = test.split_last() else { continue };
            if !end.ends_with(" ... FAILED") {
                continue;
            }
            let panic = said.iter().position(|line| line.contains(" panicked at "));
            let from = panic.unwrap_or_else(|| said.len().saturating_sub(SHOWN_LINES));
            for line in said.iter().skip(from).take(SHOWN_LINES).chain([end]) {
                text.push('\n');
                text += &printable(line);
            }
        }
        text
    }

    /// Its end.
    fn told(&self, why: &str) -> String {
        let skipped = self.lines.len().saturating_sub(SHOWN_LINES);
        let last: Vec<String> =
            self.lines.iter().skip(skipped).map(|line| printable(line)).collect();
        format!("{why}; its console ended with\n{}", last.join("\n"))
    }
}

/// A line without what moves the cursor.
fn printable(line: &str) -> String {
    line.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

/// Passed and failed, from `test result: ok. 2 passed; 0 failed`.
fn summary(line: &str) -> Option<(usize, usize)> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let (passed, failed) = counts.split_once(" passed; ")?;
    Some((passed.parse().ok()?, failed.strip_suffix(" failed")?.parse().ok()?))
}

/// `verifier sys_exit 114041`; `-` where the kernel does not tell.
fn cost(line: &str) -> Option<Cost> {
    let (program, instructions) = line.strip_prefix("verifier ")?.split_once(' ')?;
    let instructions = if instructions == "-" { None } else { Some(instructions.parse().ok()?) };
    Some(Cost { program: program.into(), instructions })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(text: &str, hung: bool) -> Outcome {
        Console { lines: text.lines().map(Into::into).collect(), hung }.outcome()
    }

    #[test]
    fn a_console_passes_by_its_summary_alone() {
        let text = "verifier sys_exit 12\nverifier connect4 -\ntest a ... ok\ntest result: ok. 1 passed; 0 failed";
        let Outcome::Passed { tests: 1, costs, .. } = console(text, false) else { panic!() };
        assert_eq!(costs[0].instructions, Some(12));
        assert_eq!(costs[1].instructions, None);
        for (text, hung) in [
            ("test a ... ok", false),
            ("test a ... ok", true),
            ("Kernel panic - not syncing", false),
            ("test result: ok. 0 passed; 0 failed", false),
            ("test result: FAILED. 1 passed; 1 failed", false),
            ("test result: ok.", false),
            ("", false),
        ] {
            assert!(matches!(console(text, hung), Outcome::Failed { .. }), "{text}");
        }
    }

    #[test]
    fn a_failed_test_is_shown_from_its_panic_on() {
        let digest = "a record\n".repeat(SHOWN_LINES * 2);
        let text = format!(
            "of another test\ntest a ... ok\nsaid before\nthread 'main' panicked at b.rs:1:\nwhy\n{digest}\
             test b ... FAILED\ntest c ... ok\ntest result: FAILED. 2 passed; 1 failed"
        );
        let Outcome::Failed { why, .. } = console(&text, false) else { panic!() };
        let why: Vec<&str> = why.lines().collect();
        assert_eq!(why[..3], ["tests failed: 1", "thread 'main' panicked at b.rs:1:", "why"]);
        assert_eq!((why.len(), why[why.len() - 1]), (SHOWN_LINES + 2, "test b ... FAILED"));
        let text =
            "panicked at b.rs:1:\ntest b ... FAILED\ntest result: FAILED. 0 passed; 1 failed";
        let Outcome::Failed { why, .. } = console(text, false) else { panic!() };
        assert_eq!(why, "tests failed: 1\npanicked at b.rs:1:\ntest b ... FAILED");
    }

    #[test]
    fn the_end_of_a_failed_console_is_shown_without_control_characters() {
        let Outcome::Failed { why, .. } = console("\u{1b}[2JOops: double fault", false) else {
            panic!()
        };
        assert!(why.ends_with("\n[2JOops: double fault"), "{why}");
    }
}
