//! Hooks come and go: what `status` records say of it, and when it needs attention.

use std::collections::BTreeSet;

use super::{Pipeline, input};
use crate::kernel::hooks::{HOOKS, SYS_EXIT, Tier, is_system_call};
use crate::record::{self, RecordType, Status};

/// What was told of the hooks last.
#[derive(Debug, Default)]
pub struct Known {
    missing: BTreeSet<&'static str>,
    /// Tier `fexit` was chosen for system calls.
    fexit: bool,
}

impl Known {
    /// Takes what is so now; gives what began to need attention, in words.
    fn update(&mut self, hooks: &[record::Hook]) -> Option<String> {
        let missing: BTreeSet<&str> =
            hooks.iter().filter(|hook| hook.state == "missing").map(|hook| hook.name).collect();
        let calls = || hooks.iter().filter(|hook| is_system_call(hook.name));
        let fexit = calls().any(|hook| hook.tier == Tier::Fexit.name());
        let mut words = Vec::new();
        if !missing.is_subset(&self.missing) {
            // Where that one serves all system calls, its absence is theirs.
            let theirs = |name: &str| missing.contains(SYS_EXIT) && is_system_call(name);
            let names: Vec<&str> = missing.iter().copied().filter(|name| !theirs(name)).collect();
            words.push(format!("some hooks are missing: {}", names.join(", ")));
        }
        if self.fexit && !fexit && calls().next().is_some() {
            words.push(format!("tier `fexit` turned out not to work: {}", settled(hooks)));
        }
        *self = Self { missing, fexit };
        (!words.is_empty()).then(|| words.join("; "))
    }
}

impl Pipeline {
    pub(super) fn hooks(&mut self, time: u64, state: &str, hooks: Vec<input::HookState>) {
        self.now = self.now.max(time);
        let hooks: Vec<record::Hook> = hooks.into_iter().filter_map(hook_of).collect();
        let attention = self.hooks.update(&hooks);
        let state = match state {
            "attached" => "attached",
            "detached" => "detached",
            "settled" => "settled",
            "degraded" => "degraded",
            _ => "started",
        };
        let lacks_sys_exit = hooks.iter().any(|hook| is_sys_exit(hook) && hook.state == "missing");
        let blind = lacks_sys_exit && matches!(state, "degraded" | "settled");
        if state == "attached" || blind {
            for instance in self.instances.values_mut() {
                instance.missed = true;
                instance.conversation.may_have_missed();
            }
        }
        // First: it is what a reader waits for, whatever else is to be said.
        let told = match (state, &attention) {
            ("degraded", Some(_)) => None,
            _ => Some((state, self.describe(state, time, &hooks), hooks.clone())),
        };
        let degraded = attention.map(|message| ("degraded", message, hooks));
        for (state, message, hooks) in told.into_iter().chain(degraded) {
            let mut record = self.record(RecordType::Status, time);
            record.status = Some(Box::new(Status { state, message, hooks, counters: Vec::new() }));
            self.records.push(record);
        }
    }

    fn describe(&self, state: &str, time: u64, hooks: &[record::Hook]) -> String {
        match state {
            // The gap between the exec of the first candidate and the attaching: blind, not quiet.
            "attached" => match self.instances.values().map(|one| one.born).min() {
                Some(born) if born > 0 && born < time => format!(
                    "system calls are watched from now on; those of the first {} µs after the start of what is \
                     watched were not seen",
                    (time - born) / 1_000
                ),
                _ => "system calls are watched from now on".into(),
            },
            "settled" => settled(hooks),
            "degraded" => "some hooks are still missing".into(),
            "detached" => "there is nothing to watch: system calls are not looked at".into(),
            _ => "mcpwatch is watching".into(),
        }
    }
}

/// Which programs serve system calls, now that all that were to be attached are.
fn settled(hooks: &[record::Hook]) -> String {
    let calls = || hooks.iter().filter(|hook| is_system_call(hook.name));
    if let Some(hook) = calls().find(|hook| hook.state == "missing") {
        let reason = hook.reason.as_deref().unwrap_or("unknown");
        return format!("system calls are not watched: {reason}");
    }
    if calls().any(|hook| hook.tier == Tier::Fexit.name()) {
        return if hooks.iter().any(|hook| is_sys_exit(hook) && hook.state == "attached") {
            "system calls are served by tier `fexit`, and all calls pay until those have returned that began before".into()
        } else {
            "system calls are served by tier `fexit`: no other calls pay for it".into()
        };
    }
    let reason = calls().find_map(|hook| hook.reason.as_deref()).unwrap_or("unknown");
    format!(
        "system calls stay with tier `tracepoint`, for which every call of the host pays: {reason}"
    )
}

fn is_sys_exit(hook: &record::Hook) -> bool {
    hook.name == SYS_EXIT
}

fn hook_of(state: input::HookState) -> Option<record::Hook> {
    let hook = HOOKS.iter().find(|hook| hook.name == state.name)?;
    Some(record::Hook {
        name: hook.name,
        tier: Tier::named(&state.tier)?.name(),
        state: match state.state.as_str() {
            "attached" => "attached",
            "ready" => "ready",
            "absent" => "absent",
            _ => "missing",
        },
        reason: state.reason,
    })
}
