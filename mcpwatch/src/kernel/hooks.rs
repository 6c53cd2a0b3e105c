//! The table of hooks: program, where it is attached, when, and what is lost without it. `doctor`, the
//! `status` record and the metrics are made from it.

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A raw tracepoint of this name.
    RawTracepoint(&'static str),
    /// The root of the cgroup v2 hierarchy.
    Cgroup,
}

/// When a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// From start to end.
    Always,
    /// While there is a server or a candidate.
    Watching,
}

/// One hook.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Its name in records and metrics, and the program's name in the object.
    pub name: &'static str,
    /// The tier it works in.
    pub tier: &'static str,
    /// Where.
    pub point: Point,
    /// When.
    pub when: When,
    /// Without it mcpwatch does not start.
    pub required: bool,
    /// What is lost without it.
    pub lost: &'static str,
}

/// Every hook.
pub const HOOKS: &[Hook] = &[
    Hook {
        name: "sched_process_fork",
        tier: "tracepoint",
        point: Point::RawTracepoint("sched_process_fork"),
        when: When::Always,
        required: true,
        lost: "children of servers are not followed",
    },
    Hook {
        name: "sched_process_exec",
        tier: "tracepoint",
        point: Point::RawTracepoint("sched_process_exec"),
        when: When::Always,
        required: true,
        lost: "no server is found and no executed program is seen",
    },
    Hook {
        name: "sched_process_exit",
        tier: "tracepoint",
        point: Point::RawTracepoint("sched_process_exit"),
        when: When::Always,
        required: true,
        lost: "ended processes stay in the watch set",
    },
    Hook {
        name: "inet_sock_set_state",
        tier: "tracepoint",
        point: Point::RawTracepoint("inet_sock_set_state"),
        when: When::Always,
        required: false,
        lost: "a process that listens is not taken for a candidate",
    },
    Hook {
        name: "sys_exit",
        tier: "tracepoint",
        point: Point::RawTracepoint("sys_exit"),
        when: When::Watching,
        required: true,
        lost: "neither opened files nor the protocol are seen",
    },
    Hook {
        name: "connect4",
        tier: "cgroup",
        point: Point::Cgroup,
        when: When::Always,
        required: false,
        lost: "IPv4 connections made through io_uring go unseen",
    },
    Hook {
        name: "connect6",
        tier: "cgroup",
        point: Point::Cgroup,
        when: When::Always,
        required: false,
        lost: "IPv6 connections made through io_uring go unseen",
    },
    Hook {
        name: "sendmsg4",
        tier: "cgroup",
        point: Point::Cgroup,
        when: When::Always,
        required: false,
        lost: "all but the first IPv4 destination of one sendmmsg(2), and datagrams sent through io_uring, go unseen",
    },
    Hook {
        name: "sendmsg6",
        tier: "cgroup",
        point: Point::Cgroup,
        when: When::Always,
        required: false,
        lost: "all but the first IPv6 destination of one sendmmsg(2), and datagrams sent through io_uring, go unseen",
    },
];
