//! What one record says to a person, in one line; everything untrusted is escaped and bounded.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::path::Path;

use super::colour::{Colour, Style};
use crate::output::escape::Escaped;
use crate::record::{
    AccessDetail, Alert, Call, CallOutcome, CallStatus, DnsDetail, ExecDetail, ExitDetail,
    FileDetail, Loss, McpDetail, NetDetail, Party, PrivilegeDetail, Process, Progress, Record,
    Server, Status, Time, TlsDetail,
};

/// Most characters of a name, of a path and of a sentence: a line stays readable, whatever a
/// server calls itself.
const NAME: usize = 40;
const PATH: usize = 200;
const SENTENCE: usize = 400;
/// Columns of the relation, so that what was done stands in line.
const RELATION: usize = 10;
/// Most words of an argument vector, and characters of each.
const WORDS: usize = 16;
const WORD: usize = 100;
/// Most characters of a call's arguments.
const ARGUMENTS: usize = 120;

/// The time of day, UTC, in milliseconds.
pub(super) struct Clock(pub Time);

impl Display for Clock {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.0.div_euclid(1_000_000).rem_euclid(86_400_000);
        let seconds = milliseconds / 1000;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        write!(f, "{hours:02}:{minutes:02}:{:02}.{:03}", seconds % 60, milliseconds % 1000)
    }
}

/// What a call is called: its tool, else its method, and its JSON-RPC id.
pub(super) struct CallName<'a>(pub &'a Call);

impl Display for CallName<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = self.0.tool.as_deref().unwrap_or(&self.0.method);
        write!(f, "{} #{}", Escaped::new(name, NAME), Escaped::new(&self.0.id.to_string(), NAME))
    }
}

/// The name of the server a record is about, or of the agent itself.
pub(super) fn speaker(record: &Record) -> String {
    record
        .server
        .as_ref()
        .map_or_else(|| "mcpwatch".to_owned(), |server| Escaped::new(&server.name, 24).to_string())
}

/// What a record says, without time, server and indentation.
pub(super) struct Line<'a> {
    pub record: &'a Record,
    pub colour: Colour,
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let record = self.record;
        let word = record.kind.name().split('.').next_back().unwrap_or_default();
        if let Some(alert) = &record.alert {
            return self.alert(alert, f);
        }
        self.relation(RELATION, f)?;
        if let Some(loss) = &record.loss {
            return self.loss(loss, f);
        }
        if let Some(status) = &record.status {
            return self.status(status, f);
        }
        if let Some(exec) = &record.exec {
            write!(f, "{word} ")?;
            put_exec(exec, f)?;
        } else if let Some(exit) = &record.exit {
            write!(f, "{word} ")?;
            put_exit(*exit, f)?;
        } else if let Some(file) = &record.file {
            write!(f, "{word} ")?;
            put_file(file, f)?;
        } else if let Some(privilege) = &record.privilege {
            write!(f, "{word} ")?;
            put_privilege(privilege, f)?;
        } else if let Some(access) = &record.access {
            write!(f, "{word} ")?;
            put_access(access, f)?;
        } else if let Some(net) = &record.net {
            write!(f, "{word} ")?;
            if let Some(dns) = &record.dns {
                put_dns(dns, f)?;
            } else if let Some(tls) = &record.tls {
                put_tls(tls, f)?;
            }
            put_net(net, f)?;
        } else if let Some(mcp) = &record.mcp {
            return self.mcp(mcp, f);
        } else if let Some(Call { outcome: Some(outcome), .. }) = record.call.as_deref() {
            return self.ended(record.call.as_deref(), outcome, f);
        } else if let Some(server) = &record.server {
            write!(f, "{word}: ")?;
            put_server(server, f)?;
        }
        self.process(f)
    }
}

impl Line<'_> {
    fn relation(&self, width: usize, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(relation) = self.record.relation else { return Ok(()) };
        let (on, off) = (self.colour.paint(relation.into()), self.colour.paint(Style::Plain));
        write!(f, "{on}{:<width$}{off} ", relation.name())?;
        match self.record.call.as_ref().and_then(|call| call.confidence) {
            Some(confidence) if confidence < 1.0 => write!(f, "({:.0} %) ", confidence * 100.0),
            _ => Ok(()),
        }
    }

    fn process(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(process) = &self.record.process else { return Ok(()) };
        let (on, off) = (self.colour.paint(Style::Dim), self.colour.paint(Style::Plain));
        write!(f, " {on}[{} {}]{off}", Escaped::new(program(process), NAME), process.pid)
    }

    fn alert(&self, alert: &Alert, f: &mut Formatter<'_>) -> fmt::Result {
        let style = Style::Severity(alert.severity);
        let (on, off) = (self.colour.paint(style), self.colour.paint(Style::Plain));
        write!(f, "{on}ALERT {} {}{off} ", alert.severity.name(), alert.rule)?;
        self.relation(0, f)?;
        Escaped::new(&alert.reason, SENTENCE).fmt(f)?;
        if alert.count > 1 {
            write!(f, " (time {}", alert.count)?;
            for (place, object) in alert.objects.iter().skip(1).enumerate() {
                let before = if place == 0 { "; also " } else { ", " };
                write!(f, "{before}{}", Escaped::path(object, PATH))?;
            }
            write!(f, ")")?;
        }
        self.process(f)
    }

    fn loss(&self, loss: &Loss, f: &mut Formatter<'_>) -> fmt::Result {
        let (on, off) = (self.colour.paint(Style::Bad), self.colour.paint(Style::Plain));
        write!(f, "{on}LOST {} ({} in all){off}", loss.lost, loss.total)?;
        write!(f, " {} {}: {}", loss.stage, Escaped::path(&loss.what, PATH), loss.reason)
    }

    fn status(&self, status: &Status, f: &mut Formatter<'_>) -> fmt::Result {
        let style = match status.state {
            "degraded" | "warning" => Style::Warning,
            _ => Style::Plain,
        };
        let (on, off) = (self.colour.paint(style), self.colour.paint(Style::Plain));
        write!(f, "{on}{}: {}{off}", status.state, Escaped::new(&status.message, SENTENCE))?;
        for hook in status.hooks.iter().filter(|hook| hook.state == "missing") {
            write!(f, "; {on}without {}{off}", hook.name)?;
            if let Some(reason) = &hook.reason {
                write!(f, ": {}", Escaped::new(reason, SENTENCE))?;
            }
        }
        Ok(())
    }

    fn mcp(&self, mcp: &McpDetail, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(problem) = mcp.problem {
            let (on, off) = (self.colour.paint(Style::Warning), self.colour.paint(Style::Plain));
            write!(f, "{on}{}{off}{}", problem.word(), from(mcp.direction))?;
            if let Some(detail) = &mcp.detail {
                write!(f, ": {}", Escaped::new(detail, SENTENCE))?;
            }
            return Ok(());
        }
        if let Some(method) = &mcp.method {
            let (on, off) = (self.colour.paint(Style::Dim), self.colour.paint(Style::Plain));
            write!(f, "{on}{}{}{off}", Escaped::new(method, NAME), from(mcp.direction))?;
            return match &mcp.progress {
                Some(Progress { value, total: Some(total) }) => write!(f, ": {value} of {total}"),
                Some(Progress { value, total: None }) => write!(f, ": {value}"),
                None => Ok(()),
            };
        }
        f.write_str("session")?;
        if let Some(session) = &mcp.session {
            write!(f, " {}", Escaped::new(session, NAME))?;
        }
        if let Some(version) = &mcp.protocol_version {
            write!(f, ", protocol {}", Escaped::new(version, NAME))?;
        }
        for (who, party) in [("client", &mcp.client_info), ("server", &mcp.server_info)] {
            if let Some(Party { name, version }) = party {
                write!(f, ", {who} {}", Escaped::new(name, NAME))?;
                if let Some(version) = version {
                    write!(f, " {}", Escaped::new(version, NAME))?;
                }
            }
        }
        Ok(())
    }

    fn ended(
        &self,
        call: Option<&Call>,
        outcome: &CallOutcome,
        f: &mut Formatter<'_>,
    ) -> fmt::Result {
        let style = match outcome.status {
            CallStatus::Ok => Style::Good,
            CallStatus::ToolError | CallStatus::RpcError => Style::Bad,
            CallStatus::Cancelled | CallStatus::NoResponse => Style::Warning,
        };
        let (on, off) = (self.colour.paint(style), self.colour.paint(Style::Plain));
        if let Some(call) = call {
            write!(f, "{} ", CallName(call))?;
        }
        if outcome.to == "client" {
            f.write_str("(asked by the server) ")?;
        }
        write!(f, "{on}{}{off}", outcome.status.name())?;
        if let Some(duration) = outcome.duration_ns {
            write!(f, " {}", Took(duration))?;
        }
        if let Some(arguments) = &outcome.arguments {
            let (on, off) = (self.colour.paint(Style::Dim), self.colour.paint(Style::Plain));
            write!(f, " {on}{}{off}", Escaped::new(&start_of(arguments), ARGUMENTS))?;
        }
        if let Some(error) = &outcome.error {
            f.write_str(" error")?;
            if let Some(code) = error.code {
                write!(f, " {code}")?;
            }
            write!(f, ": {}", Escaped::new(&error.message, SENTENCE))?;
        }
        Ok(())
    }
}

/// A time span in the unit that reads best.
struct Took(u64);

impl Display for Took {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..1_000_000 => write!(f, "{} µs", self.0 / 1000),
            1_000_000..1_000_000_000 => write!(f, "{:.1} ms", self.0 as f64 / 1e6),
            _ => write!(f, "{:.1} s", self.0 as f64 / 1e9),
        }
    }
}

/// The first bytes of a JSON text: arguments can be megabytes, of which a line shows little.
fn start_of(value: &serde_json::Value) -> String {
    struct Start(Vec<u8>);
    impl std::io::Write for Start {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            // More than is shown, so that the ellipsis is.
            if self.0.len() > 4 * ARGUMENTS {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            self.0.extend(bytes.iter().take(8 * ARGUMENTS));
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut start = Start(Vec::new());
    // An error is how it stops early.
    let _ = serde_json::to_writer(&mut start, value);
    String::from_utf8_lossy(&start.0).into_owned()
}

fn program(process: &Process) -> &str {
    Path::new(&process.exe).file_name().and_then(|name| name.to_str()).unwrap_or(&process.exe)
}

fn from(direction: Option<&str>) -> &'static str {
    match direction {
        Some("client_to_server") => " from the client",
        Some("server_to_client") => " from the server",
        _ => "",
    }
}

fn put_server(server: &Server, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str(server.transport)?;
    if let Some(version) = &server.version {
        write!(f, ", version {}", Escaped::new(version, NAME))?;
    }
    if let Some(client) = &server.client {
        write!(f, ", client {}", Escaped::new(client, NAME))?;
    }
    for evidence in &server.evidence {
        write!(f, ", {} {}", evidence.kind.name(), Escaped::path(&evidence.detail, PATH))?;
    }
    Ok(())
}

fn put_exec(exec: &ExecDetail, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "{}:", Escaped::path(&exec.path, PATH))?;
    for word in exec.argv.iter().take(WORDS) {
        write!(f, " {}", Escaped::word(word, WORD))?;
    }
    if exec.argv.len() > WORDS {
        write!(f, " … and {} more", exec.argv.len() - WORDS)?;
    }
    if let Some(kind) = exec.kind {
        write!(f, " ({kind})")?;
    }
    if exec.set_user_id {
        f.write_str(" (set-user-ID)")?;
    }
    if exec.set_group_id {
        f.write_str(" (with another group's rights)")?;
    }
    if exec.file_capabilities {
        f.write_str(" (with capabilities of its file)")?;
    }
    match exec.socket_stdio {
        Some("both") => f.write_str(" (stdin and stdout are sockets)"),
        Some(which) => write!(f, " ({which} is a socket)"),
        None => Ok(()),
    }
}

fn put_exit(exit: ExitDetail, f: &mut Formatter<'_>) -> fmt::Result {
    match exit {
        ExitDetail { signal: Some(signal), .. } => write!(f, "by signal {signal}"),
        ExitDetail { code: Some(code), .. } => write!(f, "with code {code}"),
        ExitDetail { code: None, signal: None } => f.write_str("for an unknown reason"),
    }
}

fn put_file(file: &FileDetail, f: &mut Formatter<'_>) -> fmt::Result {
    let what = file.access.or(file.operation).unwrap_or_default();
    write!(f, "{what} {}", Escaped::path(&file.path, PATH))?;
    if file.unlinked && file.operation.is_none() {
        f.write_str(" (without a name)")?;
    }
    if let Some(via) = file.via {
        write!(f, " through {via}")?;
    }
    if let Some(mode) = &file.mode {
        write!(f, " mode {mode}")?;
    }
    if file.owner_uid.is_some() || file.owner_gid.is_some() {
        let id = |id: Option<u32>| id.map_or_else(String::new, |id| id.to_string());
        write!(f, " owner {}:{}", id(file.owner_uid), id(file.owner_gid))?;
    }
    if let Some(size) = file.size {
        write!(f, " to {size} bytes")?;
    }
    if let Some(target) = &file.target {
        write!(f, " → {}", Escaped::path(&target.path, PATH))?;
    }
    // A symlink or `..` led elsewhere than the argument looks.
    if file.access.is_some() && !file.path.ends_with(file.argument.trim_start_matches("./")) {
        write!(f, " as {}", Escaped::path(&file.argument, PATH))?;
    }
    put_result(&file.result, f)
}

fn put_privilege(privilege: &PrivilegeDetail, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str(privilege.operation)?;
    if let Some(ids) = &privilege.ids {
        for (name, id) in [
            ("real", ids.real),
            ("effective", ids.effective),
            ("saved", ids.saved),
            ("filesystem", ids.filesystem),
        ] {
            if let Some(id) = id {
                write!(f, " {name} {id}")?;
            }
        }
    }
    for name in privilege.namespaces.iter().chain(&privilege.mount_flags) {
        write!(f, " {name}")?;
    }
    if let Some(capabilities) = &privilege.capabilities {
        write!(f, " {}", Escaped::new(&capabilities.effective.join(" "), SENTENCE))?;
    }
    if let Some(command) = &privilege.command {
        write!(f, " {}", Escaped::new(command, NAME))?;
    }
    if let Some(capability) = &privilege.ambient {
        write!(f, " {}", Escaped::new(capability, NAME))?;
    }
    for name in &privilege.secure_bits {
        write!(f, " {name}")?;
    }
    if let Some(source) = &privilege.source {
        write!(f, " {} →", Escaped::path(source, PATH))?;
    }
    if let Some(path) = &privilege.path {
        write!(f, " {}", Escaped::path(path, PATH))?;
    }
    put_result(&privilege.result, f)
}

fn put_access(access: &AccessDetail, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str(access.operation)?;
    if let Some(request) = &access.request {
        write!(f, " {}", Escaped::new(request, NAME))?;
    }
    if let Some(target) = &access.target {
        write!(f, " {}", target.pid)?;
        if let Some(exe) = &target.exe {
            write!(f, " {}", Escaped::path(exe, PATH))?;
        }
        if let Some(server) = &target.server {
            write!(f, " of server {}", Escaped::new(server, NAME))?;
        }
    }
    put_result(&access.result, f)
}

fn put_net(net: &NetDetail, f: &mut Formatter<'_>) -> fmt::Result {
    let ip = matches!(net.family.as_str(), "inet" | "inet6" | "unix");
    write!(f, "{}", Escaped::new(net.protocol.filter(|_| ip).unwrap_or(&net.family), NAME))?;
    if let Some(protocol) = net.protocol.filter(|_| !ip) {
        write!(f, " {protocol}")?;
    }
    if let Some(vsock) = net.vsock {
        write!(f, " machine {} port {}", vsock.cid, vsock.port)?;
    }
    if let Some(packet) = net.packet {
        write!(f, " interface {} frames {:#06x}", packet.interface, packet.ethertype)?;
    }
    match (net.address, net.port, &net.path) {
        (Some(address), Some(port), _) => write!(f, " {}", SocketAddr::new(address, port))?,
        (Some(address), None, _) => write!(f, " {address}")?,
        (None, _, Some(path)) => write!(f, " {}", Escaped::path(path, PATH))?,
        (None, _, None) => {}
    }
    for name in net.names.iter().take(3) {
        write!(f, " ({})", Escaped::path(name, NAME))?;
    }
    for claim in net.claimed_names.iter().take(3) {
        write!(f, " ({} says {})", Escaped::path(&claim.name, NAME), claim.from)?;
    }
    put_result(&net.result, f)
}

fn put_dns(dns: &DnsDetail, f: &mut Formatter<'_>) -> fmt::Result {
    match (&dns.question, &dns.kind) {
        (Some(question), Some(kind)) => {
            write!(f, "{} {}", Escaped::path(question, NAME), Escaped::new(kind, NAME))?;
        }
        _ => f.write_str("unreadable")?,
    }
    match &dns.rcode {
        Some(rcode) if rcode != "NOERROR" => write!(f, " {}", Escaped::new(rcode, NAME))?,
        Some(_) => {
            for value in dns.answers.iter().filter_map(|answer| answer.value.as_ref()).take(3) {
                write!(f, " → {}", Escaped::path(value, NAME))?;
            }
        }
        None => f.write_str(" no answer")?,
    }
    f.write_str(" from ")
}

fn put_tls(tls: &TlsDetail, f: &mut Formatter<'_>) -> fmt::Result {
    if let Some(name) = &tls.server_name {
        write!(f, "{} ", Escaped::path(name, NAME))?;
    }
    f.write_str("at ")
}

fn put_result(result: &str, f: &mut Formatter<'_>) -> fmt::Result {
    if result == "ok" { Ok(()) } else { write!(f, ": {}", Escaped::new(result, NAME)) }
}
