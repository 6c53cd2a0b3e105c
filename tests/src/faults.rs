//! What goes wrong under load, and the books afterwards: the same on the host and in the matrix of kernels.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::books::{check_identity, counter, counters, lost, lost_at};
use crate::bpf::{BpfObject, bpf_object_exists, bpf_objects};
use crate::client::{Client, Era, Sdk};
use crate::metrics::http_get;
use crate::records::{Records, text};
use crate::scene::Scene;
use crate::stage::request_id;

const PATIENCE: Duration = Duration::from_secs(30);
/// The smallest that may be set.
const SMALLEST_RING: &str = "[capture]\nring_bytes = 65536\n";

/// Where it goes wrong.
pub struct Ground {
    /// Settings of the agent: its tier.
    pub settings: &'static str,
    /// The client.
    pub sdk: Sdk,
    /// Returns when the programs of the tier serve the client's servers of these names, and no others.
    pub is_served: fn(&Agent, &Client, &[&str]),
    /// How many times longer than on a host everything may take.
    pub slower: u32,
}

/// The host, in the tier it has by itself.
pub const HOST: Ground =
    Ground { settings: "", sdk: Sdk::Python, is_served: |_, _, _| (), slower: 1 };

impl Ground {
    const fn patience(&self) -> Duration {
        PATIENCE.saturating_mul(self.slower)
    }

    /// A client with servers that make load, by these names.
    fn open(&self, scene: &Scene, names: &[&str]) -> Client {
        let servers: Vec<_> = names.iter().map(|name| (*name, scene.heavy_server(name))).collect();
        let config = scene.config(&servers);
        let client = scene.client(self.sdk);
        client.open(&config, &[], Era::Handshake);
        client
    }

    /// A later call is recorded as ever, and the agent is well.
    #[track_caller]
    fn goes_on(&self, agent: &Agent, client: &Client) {
        goes_on_within(self.patience(), agent, client);
    }

    /// An agent is killed while its server opens files without a pause: nothing of it is left in the kernel, and the next
    /// one finds the server and what it goes on doing.
    ///
    /// # Panics
    ///
    /// When it is not so.
    pub fn killed_under_load(&self) {
        let scene = Scene::new();
        let path = scene.write("files/f0", "text");
        let agent = scene.agent().settings(self.settings).start();
        let client = self.open(&scene, &["heavy"]);
        agent.find("the server", |record| text(record, "type") == "server.discovered");
        (self.is_served)(&agent, &client, &["heavy"]);
        let (rate, seconds) = (10_000 / self.slower, 6 + 6 * self.slower);
        let load = json!({"folder": scene.path("files"), "name": "f", "files": 1, "rate": rate, "seconds": seconds});
        let load = client.begin("heavy", "open_files", load);
        agent.find_within("the load", self.patience(), |record| text(record, "file.path") == path);
        let left: BTreeSet<BpfObject> = bpf_objects(agent.pid());
        for kind in ["prog_id", "map_id", "link_id"] {
            assert!(left.iter().any(|(found, _)| *found == kind), "no {kind}: {left:?}");
        }
        assert!(left.iter().all(|object| bpf_object_exists(*object)));
        agent.signal(libc::SIGKILL);
        let killed = agent.wait(self.patience());
        assert_eq!(killed.code, Some(-1), "{}", killed.output);
        // The kernel frees programs and maps a moment after their last user has gone.
        let until = Instant::now() + self.patience();
        while left.iter().any(|object| bpf_object_exists(*object)) {
            assert!(Instant::now() < until, "something of the agent is left in the kernel");
            thread::sleep(Duration::from_millis(50));
        }

        let events = scene.backstage("events-of-the-next.jsonl");
        let agent = scene.agent().settings(self.settings).metrics();
        let agent = agent.events(&events.to_string_lossy()).start();
        let found = agent.find("the server again", |record| {
            text(record, "type") == "server.discovered" && text(record, "server.name") == "heavy"
        });
        // The first load may have ended meanwhile: loading programs takes long under emulation.
        let rest = json!({"folder": scene.path("files"), "name": "f", "files": 1, "rate": rate, "seconds": 2});
        let rest = client.begin("heavy", "open_files", rest);
        agent.find_within("the load, going on", self.patience(), |record| {
            text(record, "file.path") == path
        });
        rest.wait();
        load.wait();
        self.goes_on(&agent, &client);
        let (records, _) = balance(agent);
        let opens = opens(&records, &path);
        assert!(opens.iter().all(|open| open["server"]["id"] == found["server"]["id"]));
    }

    /// An agent with the smallest ring stands still for a second while its server opens files: each of them has a record,
    /// or is told as lost, in exact numbers.
    ///
    /// # Panics
    ///
    /// When it is not so.
    pub fn stood_still(&self) {
        let opens_asked = 60_000 / i64::from(self.slower);
        let scene = Scene::new();
        let path = scene.write("files/f0", "text");
        let settings = [SMALLEST_RING, self.settings].concat();
        let agent = scene.agent().metrics().settings(&settings).start();
        let client = self.open(&scene, &["heavy"]);
        self.goes_on(&agent, &client);
        (self.is_served)(&agent, &client, &["heavy"]);
        agent.signal(libc::SIGSTOP);
        let load = json!({"folder": scene.path("files"), "name": "f", "files": 1, "rate": opens_asked / 3, "seconds": 3});
        let load = client.begin("heavy", "open_files", load);
        thread::sleep(Duration::from_secs(1));
        agent.signal(libc::SIGCONT);
        let made = load.wait()["structuredContent"]["made"].as_i64().expect("a number");
        assert!(made > opens_asked / 4, "the load was to be made: {made}");
        self.goes_on(&agent, &client);
        let (records, last) = balance(agent);
        let (sent, full) = (counter(&last, "open", "sent"), counter(&last, "open", "ring_full"));
        assert!(full > 0, "the ring was to overflow");
        assert_eq!(lost(&records, "kernel", "open"), full);
        // The load's opens and the few the server began with: each has a record, or is told as lost.
        let later = lost_at(&records, "pipeline") + lost_at(&records, "output");
        let recorded = i64::try_from(records.of("file.open").count()).expect("a count");
        assert_eq!(sent, recorded + later, "sent opens, and those that have a record or a loss");
        let loads = i64::try_from(opens(&records, &path).len()).expect("a count");
        assert!((0..=full + later).contains(&(made - loads)), "{made} made, {loads} recorded");
    }

    /// Everything at once through the smallest ring.
    ///
    /// # Panics
    ///
    /// When the books do not balance, or the agent is not well afterwards.
    pub fn smallest_ring(&self) {
        let scene = Scene::new();
        scene.write("files/f0", "text");
        let settings = [SMALLEST_RING, self.settings].concat();
        let agent = scene.agent().metrics().settings(&settings).start();
        let client = self.open(&scene, &["heavy"]);
        (self.is_served)(&agent, &client, &["heavy"]);
        // On a host as fast as it can. Elsewhere that would be more than the memory of a small machine, which also has
        // the records in it.
        let rate = if self.slower == 1 { 0 } else { 1_000 };
        let what = json!({"folder": scene.path("files"), "name": "f", "files": 1, "rate": rate, "seconds": 3});
        let all = ["open_files", "run_programs", "fork_children", "connect"];
        let all = all.map(|tool| (tool, client.begin("heavy", tool, what.clone())));
        // 300 kB beside it, in pieces of what the ring holds at all.
        let large = "x".repeat(300_000);
        for _ in 0..3 {
            client.call("heavy", "echo", json!({"text": large}));
        }
        for (tool, load) in all {
            let done = load.wait();
            assert_eq!(done["structuredContent"]["failed"], 0, "{tool}: {done}");
        }
        self.goes_on(&agent, &client);
        client.close(&[]);
        agent.find_within("the server's end", self.patience(), |record| {
            text(record, "type") == "server.exited"
        });
        let (_, last) = balance(agent);
        assert!(counters(&last, "ring_full") > 0, "the ring was to overflow");
    }

    /// The process id of one server's child is given to another server's: each open is its own server's and its own call's.
    ///
    /// # Panics
    ///
    /// When it is not so.
    pub fn id_used_again(&self) {
        let scene = Scene::new();
        let (first, second) = (scene.write("first.txt", "text"), scene.write("second.txt", "text"));
        let agent = scene.agent().metrics().settings(self.settings).start();
        let client = self.open(&scene, &["heavy", "other"]);
        (self.is_served)(&agent, &client, &["heavy", "other"]);
        let mut reborn = None;
        // Somebody else on the host may get the id in between: then with the next one.
        for _ in 0..20 {
            let born = client.call("heavy", "child_opens", json!({"path": first}));
            let pid = born["structuredContent"]["pid"].clone();
            // Start times are told in ticks of 10 ms, as `/proc` has them: within one, it would be the same process.
            thread::sleep(Duration::from_millis(20));
            let again = client.call("other", "child_opens", json!({"path": second, "pid": pid}));
            if again["isError"] != true {
                reborn = Some((pid, request_id(&born).clone(), request_id(&again).clone()));
                break;
            }
        }
        let (pid, first_call, second_call) = reborn.expect("an id can be had a second time");
        agent.find("the second open", |record| {
            text(record, "file.path") == second && record["process"]["pid"] == pid
        });
        self.goes_on(&agent, &client);
        let (records, last) = balance(agent);
        let of = |path: &str| -> Value {
            let found: Vec<&Value> = opens(&records, path)
                .into_iter()
                .filter(|record| record["process"]["pid"] == pid)
                .collect();
            assert_eq!(found.len(), 1, "opens of {path} by process {pid}");
            found[0].clone()
        };
        let (one, two) = (of(&first), of(&second));
        assert_eq!((text(&one, "server.name"), text(&two, "server.name")), ("heavy", "other"));
        assert_eq!((&one["call"]["id"], &two["call"]["id"]), (&first_call, &second_call));
        for open in [&one, &two] {
            assert_eq!(open["relation"], "requested", "{open}");
        }
        assert_ne!(one["process"]["entity_id"], two["process"]["entity_id"]);
        assert_ne!(one["process"]["start_time"], two["process"]["start_time"]);
        assert_eq!(counters(&last, "ring_full"), 0);
    }
}

/// A later call to the server `heavy` is recorded as ever, and the agent is well.
///
/// # Panics
///
/// When it is not so.
#[track_caller]
pub fn goes_on(agent: &Agent, client: &Client) {
    goes_on_within(PATIENCE, agent, client);
}

#[track_caller]
fn goes_on_within(patience: Duration, agent: &Agent, client: &Client) {
    let id = request_id(&client.call("heavy", "echo", json!({"text": "still there"}))).clone();
    agent.find_within("a later call", patience, |record| {
        text(record, "type") == "mcp.call"
            && record["call"]["id"] == id
            && text(record, "call.tool") == "echo"
            && text(record, "call.status") == "ok"
    });
    assert_eq!(http_get(agent.port(), "/healthz").expect("the agent answers").0, 200);
}

/// Stops the agent and checks the books; gives its records and the last of them.
///
/// # Panics
///
/// When they do not balance.
#[must_use]
#[track_caller]
pub fn balance(agent: Agent) -> (Records, Value) {
    let records = agent.stop().records;
    let last = records.0.last().expect("there are records").clone();
    assert_eq!(text(&last, "status.state"), "stopped", "the last record holds the counters");
    check_identity(&last);
    assert_eq!(
        lost_at(&records, "kernel"),
        counters(&last, "ring_full") + counters(&last, "too_big"),
        "what the kernel lost is told"
    );
    assert_eq!(lost_at(&records, "decode"), 0, "the agent reads what its own programs send");
    (records, last)
}

/// `file.open` records of a path.
#[must_use]
pub fn opens<'a>(records: &'a Records, path: &str) -> Vec<&'a Value> {
    records.of("file.open").filter(|record| text(record, "file.path") == path).collect()
}
