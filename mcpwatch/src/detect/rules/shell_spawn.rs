//! `shell_spawn`: a shell, or an interpreter with code on its command line, was started below a server.

use super::ATLAS_VERSION;
use crate::detect::paths::file_name;
use crate::detect::programs::{Code, Spawn};
use crate::detect::reason::{cause, circumstances, command_line, evidence, quote, server};
use crate::detect::{
    Action, DetectError, Effect, Finding, Given, Knowledge, Rule, RuleInfo, Severities,
};
use crate::event::Exec;
use crate::record::{Relation, Severity, Tags};

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "shell_spawn",
    title: "Shell or inline code started by an MCP server",
    severities: Severities {
        requested: Severity::Medium,
        covert: Severity::High,
        background: Severity::Critical,
        startup: Some(Severity::Critical),
        refused: None,
        absent: None,
    },
    tags: Tags {
        attack: &["T1059.004", "T1059.006"],
        atlas: &["AML.T0050"],
        owasp_mcp: &["MCP05"],
        owasp_llm: &["LLM06"],
    },
    atlas_version: ATLAS_VERSION,
    description: "A server that starts a shell can do anything its user can. Tools are meant to do one \
        thing: a shell behind one is either what the tool is for, or the sign of an injected command.",
    trigger: "A process of the server's tree executes a shell, with a command, a script (also one whose \
        `#!` line names a shell) or nothing, or an interpreter with code on its command line or stdin \
        (`python -c`, `node -e`, `perl -e`, …), by itself or by the dynamic loader (`ld-linux-x86-64.so.2 /bin/sh`).",
    explained_by: &[
        "a launcher (`npx`, `uvx`, …) that the client started and that is still on the way to the server; a start \
         script that is a shell's counts as one",
        "`allow.exec` of the server's settings",
        "the server's own configured command line",
        "the fixed command lines by which well-known libraries start their own workers or ask for the \
         C library (rules/programs.toml)",
    ],
    playbook: "Check first: is running commands what this tool is for, and does the command follow from \
        what the user asked? Look at the argument vector and at what the shell did next (the effects of \
        the same call). If not: stop the server, look for the text that carried the command (the call's \
        arguments, or content the model had read before), and treat what the server's user can reach as \
        exposed. If it is: name the program in `allow.exec` of the server's settings.",
    yields_to: &["reverse_shell"],
};

/// The rule.
struct ShellSpawn;

/// Makes the rule.
pub fn build(_knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    Ok(Box::new(ShellSpawn))
}

impl Rule for ShellSpawn {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, knowledge: &mut Knowledge) -> Option<Finding> {
        let Action::Exec(exec) = effect.action else { return None };
        let spawn = knowledge.programs.spawned(exec)?;
        if effect.launching
            || knowledge.programs.is_looked_at(effect.process, exec)
            || knowledge.programs.ordinary(&spawn).is_some()
            || is_own_command(effect.given, exec, &spawn, effect.attribution.relation)
            || knowledge.policy.allows_exec(&effect.given.allow, exec)
        {
            return None;
        }
        let severity = INFO.severities.of(effect.attribution.relation)?;
        let mut found =
            vec![evidence("program", &exec.path), evidence("argv", &command_line(&exec.argv))];
        circumstances(effect, &mut found);
        Some(Finding {
            rule: INFO.id,
            severity,
            reason: format!("Server {} {} {}.", server(effect), did(&spawn), cause(effect)),
            evidence: found,
            object: exec.path.clone(),
        })
    }
}

/// What was done, for the reason.
fn did(spawn: &Spawn<'_>) -> String {
    let program = spawn.program;
    match (spawn.code, spawn.shell) {
        (Code::Inline(code), true) => format!("ran the command `{}` in {program}", quote(code)),
        (Code::Inline(code), false) => format!("ran the code `{}` in {program}", quote(code)),
        (Code::Script(path), _) => format!("ran the script {} in {program}", quote(path)),
        (Code::Stdin, _) => format!("started {program}, which takes its commands from stdin,"),
    }
}

/// Whether the server's own launch says to run exactly this: the same words in the same order, or a
/// script it names, while it starts.
fn is_own_command(given: &Given, exec: &Exec, spawn: &Spawn<'_>, relation: Relation) -> bool {
    if let Code::Script(path) = spawn.code
        && relation == Relation::Startup
        && given.argv.iter().any(|word| word == path)
    {
        return true;
    }
    let Some((program, arguments)) = exec.argv.split_first() else { return false };
    // A shell without arguments is in every launch that begins with one.
    !arguments.is_empty()
        && given.argv.windows(exec.argv.len()).any(|words| {
            words.split_first().is_some_and(|(first, rest)| {
                file_name(first) == file_name(program) && rest == arguments
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Scene, exec};
    use Relation::{Background, Covert, Requested, Startup};

    #[test]
    fn shells_and_inline_code_fire_by_relation() {
        let spawns: &[(&str, &[&str])] = &[
            ("/usr/bin/dash", &["sh", "-c", "id"]),
            ("/usr/bin/bash", &["bash", "/tmp/x.sh"]),
            ("/usr/bin/bash", &["bash"]),
            ("/bin/busybox", &["busybox", "sh", "-c", "id"]),
            ("/usr/bin/python3.12", &["python3", "-c", "print(1)"]),
            ("/usr/bin/node", &["node", "-e", "1"]),
            ("/usr/bin/perl", &["perl", "-e", "1"]),
            ("/usr/lib/ld-linux-x86-64.so.2", &["ld.so", "/bin/sh", "-c", "id"]),
        ];
        let severities = [
            (Requested, Severity::Medium),
            (Covert, Severity::High),
            (Background, Severity::Critical),
            (Startup, Severity::Critical),
        ];
        for (path, argv) in spawns {
            for (relation, severity) in severities {
                let exec = exec(path, argv);
                let found = Scene::new(relation).found(Action::Exec(&exec));
                assert_eq!(found, [("shell_spawn", severity)], "{path} {argv:?} {relation:?}");
            }
        }
    }

    #[test]
    fn what_ldd_looks_at_is_not_run() {
        let python = "/home/me/.venv/bin/python";
        let looked_at = exec("/usr/lib/ld-linux-x86-64.so.2", &["ld.so", python]);
        for (script, asked, found) in [
            ("/usr/bin/ldd", python, None),
            ("/tmp/ldd", python, Some("shell_spawn")),
            ("/usr/bin/ldd", "/usr/bin/python3", Some("shell_spawn")),
        ] {
            let mut scene = Scene::new(Covert);
            scene.process.exe = "/usr/bin/bash".into();
            scene.process.argv = ["bash", script, asked].map(Into::into).into();
            let rules = scene.found(Action::Exec(&looked_at));
            assert_eq!(rules.first().map(|(rule, _)| *rule), found, "{script} {asked}");
        }
    }

    #[test]
    fn what_is_explained_is_silent() {
        let shell = exec("/usr/bin/dash", &["sh", "-c", "mcp-server-x /data"]);
        let mut scene = Scene::new(Startup);
        scene.launching = true;
        assert_eq!(scene.found(Action::Exec(&shell)), []);

        for allowed in ["/usr/bin/dash", "/bin/dash", "/bin/sh", "/usr/bin/*", "**"] {
            let mut scene = Scene::new(Covert);
            scene.given.allow.exec = vec![allowed.into()];
            assert_eq!(scene.found(Action::Exec(&shell)), [], "{allowed}");
        }

        let mut scene = Scene::new(Startup);
        scene.given.argv = ["/bin/sh", "-c", "mcp-server-x /data"].map(Into::into).into();
        assert_eq!(scene.found(Action::Exec(&shell)), []);
        let mut scene = Scene::new(Startup);
        scene.given.argv = ["/opt/start.sh", "--fast"].map(Into::into).into();
        let script = exec("/usr/bin/bash", &["/bin/bash", "/opt/start.sh", "--fast"]);
        assert_eq!(scene.found(Action::Exec(&script)), []);
    }

    #[test]
    fn a_launch_with_a_shell_explains_no_other_shell() {
        let mut scene = Scene::new(Covert);
        scene.given.argv = ["bash", "-c", "exec mcp-server-x"].map(Into::into).into();
        for argv in [&["bash"][..], &["bash", "-c", "id"], &["bash", "-i"]] {
            let exec = exec("/usr/bin/bash", argv);
            assert_eq!(scene.found(Action::Exec(&exec)).len(), 1, "{argv:?}");
        }
    }

    #[test]
    fn other_programs_are_silent() {
        let spawns: &[(&str, &[&str])] = &[
            ("/usr/bin/git", &["git", "log"]),
            ("/usr/bin/node", &["node", "server.js", "-e"]),
            ("/usr/bin/python3.12", &["python3", "-m", "mcp_server_time"]),
            ("/usr/bin/python3.12", &["python3", "--version"]),
            ("/usr/sbin/ldconfig", &["/sbin/ldconfig", "-p"]),
            ("/usr/bin/uname", &["uname", "-p"]),
            ("/usr/lib/git-core/git", &["git", "maintenance", "run", "--auto"]),
        ];
        for (path, argv) in spawns {
            let exec = exec(path, argv);
            assert_eq!(Scene::new(Covert).found(Action::Exec(&exec)), [], "{path}");
        }
    }

    #[test]
    fn the_reason_says_what_a_script_is_and_which_call_it_was() {
        let script = exec("/usr/bin/dash", &["/bin/sh", "/opt/tool/run.sh"]);
        let finding = Scene::new(Covert).findings(Action::Exec(&script)).remove(0);
        assert_eq!(
            finding.reason,
            "Server files ran the script /opt/tool/run.sh in dash during tools/call `weather` \
             (JSON-RPC id 7), whose arguments do not mention it."
        );
    }
}
