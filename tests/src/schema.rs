//! Every record of every test is checked against the published schema.

use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::Value;

/// Compiled in: a virtual machine has no workspace.
const SCHEMA: &str = include_str!("../../docs/events.schema.json");

/// Every system call that a record may name as what was done, by the field it stands in: `("file.operation", "rename")`.
pub fn operations() -> Vec<(String, String)> {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let of = |part: &str| -> Vec<(String, String)> {
        let names = &schema["$defs"][part]["properties"]["operation"]["enum"];
        let names = names.as_array().unwrap_or_else(|| panic!("{part} has operations"));
        let names = names.iter().filter_map(Value::as_str);
        names.map(|name| (format!("{part}.operation"), name.to_owned())).collect()
    };
    ["file", "privilege", "access"].into_iter().flat_map(of).collect()
}

/// What is wrong with a record, if anything.
pub(crate) fn violation(record: &Value) -> Option<String> {
    static VALIDATOR: OnceLock<Validator> = OnceLock::new();
    let schema = VALIDATOR.get_or_init(|| {
        let schema = serde_json::from_str(SCHEMA).expect("the schema is JSON");
        jsonschema::validator_for(&schema).expect("the schema is one")
    });
    let errors: Vec<String> = schema
        .iter_errors(record)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}
