//! Metrics as a real Prometheus sees them, and health as an orchestrator does.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mcpwatch_tests::{Era, Scene, Sdk, deps, free_port, http_get, text};
use serde_json::{Value, json};

/// Ended when the test ends.
struct Prometheus {
    child: Child,
    port: u16,
}

impl Prometheus {
    fn start(scene: &Scene, target: u16) -> Self {
        let port = free_port();
        let config = scene.backstage("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs:\n  - job_name: mcpwatch\n    static_configs: [{{targets: ['127.0.0.1:{target}']}}]\n"
        );
        fs::write(&config, text).expect("a file can be written");
        let log = fs::File::create(scene.backstage("prometheus.log")).expect("a file can be made");
        let child = Command::new(deps().prometheus())
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", scene.backstage("prometheus").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be duplicated"))
            .stderr(log)
            .spawn()
            .expect("prometheus can be started");
        Self { child, port }
    }

    /// Waits for a query to have this value.
    #[track_caller]
    fn expect(&self, query: &str, wanted: f64) {
        let until = Instant::now() + Duration::from_secs(30);
        let path = format!("/api/v1/query?query={}", query.replace('"', "%22"));
        let mut last = Value::Null;
        while Instant::now() < until {
            if let Ok((200, body)) = http_get(self.port, &path) {
                last = serde_json::from_str(&body).unwrap_or(Value::Null);
                let value = last["data"]["result"][0]["value"][1].as_str();
                if value.and_then(|value| value.parse().ok()) == Some(wanted) {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("prometheus does not say {wanted} for {query}: {last}");
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_prometheus_scrapes_it_and_promtool_is_content() {
    let scene = Scene::with_network();
    let _bait = scene.bait();
    let config = scene.config(&scene.labelled_servers());
    let agent = scene.agent().metrics().start();
    let prometheus = Prometheus::start(&scene, agent.port());
    let client = scene.client(Sdk::TypeScript);
    client.open(&config, &[], Era::Default);
    for _ in 0..3 {
        client.call("labelled-node", "echo", json!({"text": "hello"}));
    }
    client.call("labelled-rust", "get_time", json!({}));
    client.call("labelled-rust", "read_file", json!({"path": "/nonexistent"}));

    prometheus.expect("up{job=\"mcpwatch\"}", 1.0);
    prometheus.expect("mcpwatch_servers", 3.0);
    prometheus.expect("mcpwatch_tool_calls_total{status=\"ok\"}", 4.0);
    prometheus.expect("mcpwatch_tool_calls_total{status=\"tool_error\"}", 1.0);
    prometheus.expect(
        "sum(mcpwatch_alerts_total{rule=\"sensitive_file_read\",severity=\"critical\"})",
        1.0,
    );
    prometheus.expect("sum(mcpwatch_events_lost_total)", 0.0);
    prometheus.expect("mcpwatch_tool_call_duration_seconds_count", 5.0);
    prometheus.expect("mcpwatch_probe_attached{probe=\"sys_exit\"}", 1.0);

    let scrape = agent.scrape();
    for family in [
        "mcpwatch_build_info",
        "mcpwatch_events_total",
        "mcpwatch_map_entries",
        "mcpwatch_map_capacity",
        "mcpwatch_mcp_messages_total",
        "mcpwatch_attributions_total",
        "mcpwatch_event_processing_seconds_bucket",
        "mcpwatch_last_event_timestamp_seconds",
    ] {
        assert!(scrape.series(family).next().is_some(), "no {family} in\n{}", scrape.0);
    }
    let mut promtool = Command::new(deps().promtool())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool can be started");
    promtool
        .stdin
        .take()
        .expect("a pipe")
        .write_all(scrape.0.as_bytes())
        .expect("promtool reads what it is given");
    let checked = promtool.wait_with_output().expect("promtool ends");
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(checked.status.success() && said.trim().is_empty(), "promtool: {said}");

    client.close(&["labelled-python"]);
    prometheus.expect("mcpwatch_servers", 2.0);
    client.close(&[]);
    prometheus.expect("mcpwatch_servers", 0.0);
    let records = agent.stop().records;
    assert!(records.of("alert").any(|alert| text(alert, "alert.rule") == "sensitive_file_read"));
}

#[test]
fn health_tells_alive_and_ready() {
    let scene = Scene::new();
    let agent = scene.agent().metrics().start();
    for (path, wanted) in
        [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/nothing", 404)]
    {
        assert_eq!(http_get(agent.port(), path).expect("the agent answers").0, wanted, "{path}");
    }
    agent.stop();
}
