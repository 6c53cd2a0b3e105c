//! Cases of what one call must leave: played on the server of effects, one call after the other.

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::client::{Client, Era, Sdk};
use crate::deps::deps;
use crate::records::{digest, text};
use crate::scene::Scene;
use crate::stage::request_id;

/// One call and the records it must leave, each as a part of it.
pub struct Case {
    /// The tool that is called.
    pub tool: &'static str,
    /// What it is given.
    pub arguments: Value,
    /// Parts of the records; `null` stands for a field that is not there.
    pub records: Vec<Value>,
}

/// A [`Case`].
pub fn case(tool: &'static str, arguments: Value, records: &[Value]) -> Case {
    Case { tool, arguments, records: records.to_vec() }
}

/// Puts the fields of one object into another.
pub fn merge(into: &mut Value, more: Value) {
    let Value::Object(more) = more else { panic!("only objects can be merged") };
    for (name, value) in more {
        into[name] = value;
    }
}

/// Whether everything in `part` stands in `whole`; `null` stands for a field that is not there.
pub fn has(whole: &Value, part: &Value) -> bool {
    match part {
        Value::Object(fields) => fields.iter().all(|(name, value)| match whole.get(name) {
            Some(found) => has(found, value),
            None => value.is_null(),
        }),
        Value::Array(items) => whole.as_array().is_some_and(|all| {
            all.len() == items.len() && all.iter().zip(items).all(|(a, b)| has(a, b))
        }),
        other => whole == other,
    }
}

/// A scene with the effects server, the agent and a client.
pub struct Play {
    /// What watches.
    pub agent: Agent,
    /// What calls.
    pub client: Client,
    /// Where they are.
    pub scene: Scene,
}

impl Play {
    /// In a scene without a network of its own.
    pub fn begin() -> Self {
        Self::in_scene(Scene::new())
    }

    /// In a scene.
    pub fn in_scene(scene: Scene) -> Self {
        let script = scene.script("servers/effects.py");
        let server = json!({"command": deps().python(), "args": [script]});
        let config = scene.config(&[("effects", server)]);
        let agent = scene.agent().start();
        let client = scene.client(Sdk::Python);
        client.open(&config, &["effects"], Era::Handshake);
        Self { agent, client, scene }
    }

    /// Plays one case; gives what is missing.
    pub fn play(&self, case: &Case) -> Vec<String> {
        let before = self.agent.count();
        let result = self.client.call("effects", case.tool, case.arguments.clone());
        let id = request_id(&result).clone();
        let call = self.agent.find(&format!("mcp.call {id}"), |record| {
            text(record, "type") == "mcp.call"
                && text(record, "server.name") == "effects"
                && record["call"]["id"] == id
        });
        let fresh = self.agent.since(before);
        let own: Vec<&Value> = fresh.attributed_to(text(&call, "call.uid")).collect();
        let missing = case.records.iter().filter(|wanted| !own.iter().any(|it| has(it, wanted)));
        missing
            .map(|wanted| {
                let near: Vec<String> = own
                    .iter()
                    .filter(|it| it["type"] == wanted["type"])
                    .map(|it| digest(it))
                    .collect();
                format!("{} said {result}: no {wanted}; its own: {near:#?}", case.tool)
            })
            .collect()
    }

    /// Plays them one after the other and ends; fails with all that was missing.
    #[track_caller]
    pub fn play_all(self, cases: &[Case]) {
        let wrong: Vec<String> = cases.iter().flat_map(|case| self.play(case)).collect();
        self.client.close(&[]);
        self.agent.stop();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
