//! What an effect reaches into: the memory of another process, or the channel of a server.

use crate::detect::{Action, Reached};
use crate::event::{Direction, Event, Open, ProcessKey};

use super::Pipeline;
use super::candidates::NESTING;

impl Pipeline {
    /// What an effect of a process of server `owner` reaches into.
    pub(super) fn reached(&self, event: &Event, owner: u64, action: Action<'_>) -> Option<Reached> {
        match action {
            Action::Access(access) => self.reached_process(event.process, owner, access.target?),
            Action::Injection(injection) => {
                self.reached_channel(event, owner, injection.victim, injection.direction)
            }
            Action::Open(open) if open.writes() => {
                if let Some(pid) = memory_of(&open.path) {
                    // A container numbers its processes itself.
                    let entry = self.processes.get(event.process)?;
                    if entry.shown.container.is_some() {
                        return None;
                    }
                    return self.reached_process(event.process, owner, pid);
                }
                let (victim, direction) = self.channel_opened(open)?;
                self.reached_channel(event, owner, victim, direction)
            }
            _ => None,
        }
    }

    /// A process of a server opened a server's stdin to write to it. Nobody sees what it puts there, if it does it by
    /// splice(2) and its kin: what is asked there from now on may be its words.
    pub(super) fn note_channel_opened(&mut self, event: &Event, open: &Open) {
        if !open.writes() || open.result.is_err() {
            return;
        }
        let Some((channel, Direction::ClientToServer)) = self.channel_opened(open) else { return };
        if self.lies_below(channel, event.instance) {
            return;
        }
        if let Some(victim) = self.server_of_channel(channel)
            && let Some(instance) = self.instances.get_mut(&victim)
        {
            instance.tampered = true;
        }
    }

    fn reached_process(&self, actor: ProcessKey, owner: u64, pid: u32) -> Option<Reached> {
        let (target, entry) = self.processes.living(pid)?;
        let of = self.owner(entry.instance);
        Some(Reached {
            pid,
            exe: entry.shown.exe.clone(),
            server: of.and_then(|of| self.serving(of)).map(|serving| serving.shown.name.clone()),
            own: of == Some(owner),
            below: self.processes.ancestry(target).any(|(ancestor, _)| ancestor == actor),
            channel: None,
        })
    }

    fn reached_channel(
        &self,
        event: &Event,
        owner: u64,
        channel: u64,
        direction: Direction,
    ) -> Option<Reached> {
        let victim = self.server_of_channel(channel)?;
        let founder = self.instances.get(&victim)?.founder;
        let exe = self.processes.get(founder).map(|entry| entry.shown.exe.clone());
        Some(Reached {
            pid: founder.pid,
            exe: exe.unwrap_or_default(),
            server: self.serving(victim).map(|serving| serving.shown.name.clone()),
            own: victim == owner,
            below: self.lies_below(channel, event.instance),
            channel: Some(direction),
        })
    }

    /// The server whose protocol is spoken on an instance's stdin and stdout; none when these are mere pipes
    /// between processes of a server.
    pub(super) fn server_of_channel(&self, instance: u64) -> Option<u64> {
        let one = self.instances.get(&instance)?;
        let id = if one.serving().is_some() { instance } else { one.voice_of? };
        self.instances.get(&id)?.serving().map(|_| id)
    }

    /// The server whose stdin or stdout was opened again.
    fn channel_opened(&self, open: &Open) -> Option<(u64, Direction)> {
        if open.mode & libc::S_IFMT != libc::S_IFIFO {
            return None;
        }
        self.instances.values().find_map(|instance| {
            if instance.channel.0 == open.inode {
                Some((instance.id, Direction::ClientToServer))
            } else if instance.channel.1 == open.inode {
                Some((instance.id, Direction::ServerToClient))
            } else {
                None
            }
        })
    }

    /// Whether an instance was founded within another.
    pub(super) fn lies_below(&self, inner: u64, outer: u64) -> bool {
        let mut id = inner;
        for _ in 0..NESTING {
            match self.instances.get(&id) {
                Some(instance) if instance.outer == outer => return true,
                Some(instance) => id = instance.outer,
                None => return false,
            }
        }
        false
    }
}

/// The process whose memory a path stands for: `/proc/PID/mem`, `/proc/PID/task/TID/mem`.
fn memory_of(path: &str) -> Option<u32> {
    let rest = path.strip_prefix("/proc/")?.strip_suffix("/mem")?;
    let (pid, task) = rest.split_once('/').unwrap_or((rest, "task/"));
    if task.starts_with("task/") { pid.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory() {
        for (path, pid) in [
            ("/proc/12/mem", Some(12)),
            ("/proc/12/task/13/mem", Some(12)),
            ("/proc/12/maps", None),
            ("/proc/12/root/mem", None),
            ("/proc/self/mem", None),
            ("/home/proc/12/mem", None),
        ] {
            assert_eq!(memory_of(path), pid, "{path}");
        }
    }
}
