//! What the agent wrote, and questions to it.

use std::fmt::Write;

use serde_json::Value;

/// Records in the order of the stream.
#[derive(Clone, Default)]
pub struct Records(pub Vec<Value>);

/// A text inside a record by its dotted path; empty when it is not there.
pub fn text<'a>(record: &'a Value, path: &str) -> &'a str {
    at(record, path).and_then(Value::as_str).unwrap_or_default()
}

/// A whole number inside a record by its dotted path.
pub fn int(record: &Value, path: &str) -> Option<i64> {
    at(record, path).and_then(Value::as_i64)
}

fn at<'a>(record: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(record, |value, name| value.get(name))
}

/// `info` is 0, `critical` is 4.
pub fn severity_rank(alert: &Value) -> usize {
    let word = text(alert, "alert.severity");
    ["info", "low", "medium", "high", "critical"]
        .iter()
        .position(|severity| *severity == word)
        .unwrap_or_else(|| panic!("`{word}` is no severity"))
}

impl Records {
    /// All records of one type.
    pub fn of<'r: 'k, 'k>(&'r self, kind: &'k str) -> impl Iterator<Item = &'r Value> + 'k {
        self.0.iter().filter(move |record| text(record, "type") == kind)
    }

    /// All of one type about one server, by its name.
    pub fn of_server<'r: 'k, 'k>(
        &'r self,
        kind: &'k str,
        server: &'k str,
    ) -> impl Iterator<Item = &'r Value> + 'k {
        self.of(kind).filter(move |record| text(record, "server.name") == server)
    }

    /// The one `mcp.call` record of this tool on this server; fails when there is none or more.
    #[track_caller]
    pub fn call(&self, server: &str, tool: &str) -> &Value {
        let found: Vec<&Value> = self
            .of_server("mcp.call", server)
            .filter(|record| text(record, "call.tool") == tool)
            .collect();
        assert!(
            found.len() == 1,
            "wanted one mcp.call record of {tool} on {server}, got {found:#?}"
        );
        found[0]
    }

    /// Everything attributed to a call: effects and alerts, not the call's own record.
    pub fn attributed_to<'r: 'k, 'k>(
        &'r self,
        uid: &'k str,
    ) -> impl Iterator<Item = &'r Value> + 'k {
        self.0.iter().filter(move |record| {
            text(record, "call.uid") == uid && text(record, "type") != "mcp.call"
        })
    }

    /// Alerts of at least a severity, by its rank.
    pub fn alerts(&self, rank: usize) -> impl Iterator<Item = &Value> {
        self.of("alert").filter(move |alert| severity_rank(alert) >= rank)
    }

    /// Fails when there is an alert of medium or above.
    #[track_caller]
    pub fn assert_quiet(&self) {
        let loud: Vec<String> = self.alerts(2).map(digest).collect();
        assert!(loud.is_empty(), "alerts on ordinary work:\n{}", loud.join("\n"));
    }

    /// One line a record, without the many files that every start opens.
    pub fn digest(&self) -> String {
        let shown = |record: &&Value| {
            text(record, "type") != "file.open" || text(record, "relation") != "startup"
        };
        let mut lines = String::new();
        for record in self.0.iter().filter(shown).take(SHOWN) {
            let _ = writeln!(lines, "{}", digest(record));
        }
        let _ =
            writeln!(lines, "({} records in all; opens at start-up are left out)", self.0.len());
        lines
    }
}

/// A flood is not shown to its end.
const SHOWN: usize = 500;

/// A record in one line, for people.
pub fn digest(record: &Value) -> String {
    let mut line = format!("{:>5} {:<17}", int(record, "seq").unwrap_or(-1), text(record, "type"));
    let mut part = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = write!(line, " {name}={}", value.chars().take(160).collect::<String>());
        }
    };
    part("server", text(record, "server.name"));
    if let Some(pid) = int(record, "process.pid") {
        part("pid", &format!("{pid}({})", text(record, "process.exe")));
    }
    if let Some(id) = at(record, "call.id") {
        part(
            "call",
            &format!("{id}:{}:{}", text(record, "call.method"), text(record, "call.tool")),
        );
        part("status", text(record, "call.status"));
        part(
            "confidence",
            &at(record, "call.confidence").map(Value::to_string).unwrap_or_default(),
        );
    }
    part("relation", text(record, "relation"));
    for name in ["exec", "exit", "file", "net", "mcp", "loss", "status"] {
        part(name, &record.get(name).map(Value::to_string).unwrap_or_default());
    }
    if record.get("alert").is_some() {
        part(
            "alert",
            &format!("{}/{}", text(record, "alert.rule"), text(record, "alert.severity")),
        );
        part("reason", text(record, "alert.reason"));
    }
    line
}
