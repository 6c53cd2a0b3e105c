//! What `deploy/` starts is what the command line and the settings of this version take.

use std::path::{Path, PathBuf};

use clap::Parser;
use serde_json::Value;

use super::*;
use crate::config::DEFAULT_PATH;

const UNIT: &str = include_str!("../../../deploy/mcpwatch.service");
const LOGROTATE: &str = include_str!("../../../deploy/mcpwatch.logrotate");
const DAEMON_SET: &str = include_str!("../../../deploy/daemonset.yaml");
const CONTAINERFILE: &str = include_str!("../../../deploy/Containerfile");
const SETTINGS: &str = include_str!("../../../deploy/mcpwatch.toml");

/// The arguments of a command line that has to be one of `mcpwatch run`.
fn run_args(words: &[String]) -> run::Args {
    let arguments =
        Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    assert!(words[0].ends_with("/mcpwatch"), "{words:?}");
    match arguments.command {
        Command::Run(args) => args,
        other => panic!("{words:?} does not watch: {other:?}"),
    }
}

/// The value of the only line that begins with a key.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let values: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(key)).collect();
    assert_eq!(values.len(), 1, "{key} {values:?}");
    values[0].trim()
}

/// The argument vector of an instruction of the container recipe.
fn instruction(name: &str) -> Vec<String> {
    serde_json::from_str(value(CONTAINERFILE, name)).unwrap()
}

/// The objects of the manifest, of one kind.
fn object(kind: &str) -> Value {
    let objects: Vec<Value> = serde_saphyr::from_multiple(DAEMON_SET).unwrap();
    objects.into_iter().find(|object| object["kind"] == kind).unwrap()
}

/// The arguments of the service, the container and the pod.
fn unit() -> run::Args {
    run_args(&shlex::split(value(UNIT, "ExecStart=")).unwrap())
}

fn image() -> run::Args {
    run_args(&[instruction("ENTRYPOINT"), instruction("CMD")].concat())
}

fn pod() -> run::Args {
    let set = object("DaemonSet");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert!(container["command"].is_null(), "the entry point is the image's");
    let args: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    run_args(&[instruction("ENTRYPOINT"), args].concat())
}

#[test]
fn every_command_line_watches_with_the_settings_that_are_shipped() {
    for args in [unit(), image(), pod()] {
        // The image has no settings file, the others put one where it is looked for anyway.
        let config = args.config.unwrap_or_else(|| DEFAULT_PATH.into());
        assert_eq!(config, Path::new(DEFAULT_PATH));
        assert!(args.descendants_of.is_none(), "the whole host is watched");
    }
    let map = object("ConfigMap");
    let settings = map["data"]["mcpwatch.toml"].as_str().unwrap();
    for text in [SETTINGS, settings] {
        Config::parse(text, Path::new(DEFAULT_PATH), &rule_ids()).unwrap();
    }
}

#[test]
fn what_is_written_is_what_is_rotated() {
    let events = unit().events.unwrap();
    assert!(LOGROTATE.lines().any(|line| line == format!("{} {{", events.display())));
    for args in [image(), pod()] {
        assert_eq!(args.events, Some(PathBuf::from("-")), "a container's log is its stdout");
    }
}

#[test]
fn the_port_that_is_published_is_the_one_that_is_served() {
    let assert_served = |args: run::Args, port: &str| {
        assert_eq!(args.metrics, Some(format!("0.0.0.0:{port}").parse().unwrap()));
    };
    assert_served(image(), value(CONTAINERFILE, "EXPOSE "));
    let set = object("DaemonSet");
    let template = &set["spec"]["template"];
    let port = &template["spec"]["containers"][0]["ports"][0];
    for published in [&port["containerPort"], &port["hostPort"]] {
        assert_served(pod(), &published.to_string());
    }
    let annotations = &template["metadata"]["annotations"];
    assert_served(pod(), annotations["prometheus.io/port"].as_str().unwrap());
}

#[test]
fn the_unit_hides_nothing_the_agent_reads() {
    // Each of them takes away processes, homes, or the list of the kernel's functions.
    for hiding in
        ["ProtectProc", "ProcSubset", "ProtectKernelTunables", "PrivateUsers", "PrivateNetwork"]
    {
        assert!(!UNIT.lines().any(|line| line.starts_with(hiding)), "{hiding}");
    }
    assert_eq!(value(UNIT, "ProtectHome="), "read-only");
}
