//! The event stream's contract: what the agent writes, the JSON Schema and the documentation agree.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::samples;
use crate::record::{CallStatus, EvidenceKind, RecordType, Relation, Severity};
use crate::wire::PROBLEMS;

fn document(name: &str) -> String {
    let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The shipped schema, which allows the fields of later versions, made to allow none.
fn strict_schema() -> Value {
    fn close(schema: &mut Value) {
        match schema {
            Value::Object(map) => {
                if map.contains_key("properties") && map.get("type") == Some(&json!("object")) {
                    map.insert("additionalProperties".to_owned(), false.into());
                }
                map.values_mut().for_each(close);
            }
            Value::Array(list) => list.iter_mut().for_each(close),
            _ => {}
        }
    }
    let mut schema: Value = serde_json::from_str(&document("events.schema.json")).unwrap();
    close(&mut schema);
    schema
}

static VALIDATOR: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| jsonschema::draft202012::new(&strict_schema()).unwrap());

/// Whether a record keeps the contract, and has no field that is not in it.
pub(crate) fn assert_valid(record: &Value) {
    let errors: Vec<_> = VALIDATOR
        .iter_errors(record)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{record:#}");
}

fn samples() -> Vec<Value> {
    samples::one_of_each().iter().map(|record| serde_json::to_value(record).unwrap()).collect()
}

/// Paths of all fields: `server.evidence[].kind`. What a call was given has no fields of ours.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    if path == "call.arguments" {
        return;
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                found.insert(path.clone());
                fields(value, &path, found);
            }
        }
        Value::Array(list) => {
            for value in list {
                fields(value, &format!("{path}[]"), found);
            }
        }
        _ => {}
    }
}

fn sample_fields() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for sample in samples() {
        fields(&sample, "", &mut found);
    }
    found
}

#[test]
fn a_record_of_each_type_with_every_field_is_valid() {
    samples().iter().for_each(assert_valid);
}

#[test]
fn the_schema_refuses_what_the_contract_excludes() {
    let validator = jsonschema::draft202012::new(&strict_schema()).unwrap();
    let open = samples().into_iter().find(|sample| sample["type"] == "file.open").unwrap();
    for (pointer, wrong) in [
        ("/schema", json!("mcpwatch/2")),
        ("/seq", json!(-1)),
        ("/time", json!("2026-03-04T05:06:07Z")),
        ("/type", json!("file.opened")),
        ("/relation", json!("unknown")),
        ("/call/id", Value::Null),
        ("/call/confidence", json!(1.5)),
        ("/file/result", json!("denied")),
        ("/process", Value::Null),
    ] {
        let mut record = open.clone();
        *record.pointer_mut(pointer).unwrap() = wrong;
        assert!(!validator.is_valid(&record), "{pointer}");
    }
    for missing in ["seq", "host", "server", "process", "relation", "call", "file"] {
        let mut record = open.clone();
        record.as_object_mut().unwrap().remove(missing);
        assert!(!validator.is_valid(&record), "{missing}");
    }
    let mut more = open;
    more["surprise"] = json!(1);
    assert!(!validator.is_valid(&more));
    let shipped: Value = serde_json::from_str(&document("events.schema.json")).unwrap();
    assert!(
        jsonschema::is_valid(&shipped, &more),
        "consumers must accept fields of later versions"
    );
}

#[test]
fn the_words_of_the_schema_are_those_of_the_agent() {
    let schema = strict_schema();
    let words = |pointer: &str| -> Vec<String> {
        serde_json::from_value(schema.pointer(pointer).unwrap().clone()).unwrap()
    };
    let kinds = "/$defs/server/properties/evidence/items/properties/kind/enum";
    let statuses = "/$defs/call/properties/status/enum";
    let severities = "/$defs/alert/properties/severity/enum";
    let types = RecordType::ALL.iter().map(|it| it.name()).collect::<Vec<_>>();
    for (pointer, expected) in [
        ("/properties/type/enum", types),
        ("/properties/relation/enum", Relation::ALL.iter().map(|it| it.name()).collect()),
        (statuses, CallStatus::ALL.iter().map(|it| it.name()).collect()),
        (severities, Severity::ALL.iter().map(|it| it.name()).collect()),
        (kinds, EvidenceKind::ALL.iter().map(|it| it.name()).collect()),
    ] {
        assert_eq!(words(pointer), expected, "{pointer}");
    }
}

#[test]
fn every_example_in_the_documentation_is_valid_and_every_type_has_one() {
    let document = document("events.md");
    let mut types = BTreeSet::new();
    for block in document.split("```json\n").skip(1) {
        let (example, _) = block.split_once("\n```").expect("an unclosed example");
        let example: Value = serde_json::from_str(example).expect(example);
        assert_valid(&example);
        types.insert(example["type"].as_str().unwrap().to_owned());
    }
    let expected: BTreeSet<_> = RecordType::ALL.iter().map(|kind| kind.name().to_owned()).collect();
    assert_eq!(types, expected);
}

#[test]
fn every_field_is_documented_and_every_documented_field_exists() {
    let documented: BTreeSet<String> = document("events.md")
        .lines()
        .filter(|line| line.split('|').count() == 6)
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect();
    assert_eq!(documented, sample_fields());
}

#[test]
fn the_list_of_problems_is_the_one_of_the_agent() {
    let expected: Vec<_> =
        PROBLEMS.iter().map(|(word, meaning)| format!("| `{word}` | {meaning} |")).collect();
    let document = document("events.md");
    let (_, list) = document.split_once("`mcp.problem` is one of:").unwrap();
    let (list, _) = list.split_once("\n### ").unwrap();
    let documented: Vec<_> = list.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(documented, expected, "the list should be:\n{}", expected.join("\n"));
}
