//! Input that is broken or made to hurt: it is counted, bounded, and never a panic.

use serde_json::json;

use super::*;

/// A generator with a fixed seed: a failure comes again (PCG's multiplier, the high bits).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 29
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let length = self.below(most);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

#[test]
fn events_that_cannot_be_read_are_counted() {
    let mut scene = Scene::new();
    scene.server(11);
    let (body, tail) = opened("/a");
    let whole = scene.bytes(Kind::Open, 11, 5, bytemuck::bytes_of(&body), &tail);
    for end in 1..whole.len() {
        scene.pipeline.events(&whole[..end]);
    }
    let mut version = whole.clone();
    version[0] = 99;
    let mut kind = whole.clone();
    kind[2] = 99;
    // One that is broken does not take those around it with it.
    scene.pipeline.events(&[&whole[..], &version, &kind, &whole].concat());
    scene.collect();
    let lost = whole.len() - 1 + 2;
    let story = scene.story();
    assert_eq!(story.iter().filter(|line| line.starts_with("open")).count(), 2);
    let told = story.last().unwrap();
    assert_eq!(told, &format!("loss decode events malformed 2 of {lost}"));
}

#[test]
fn long_arguments_are_told_once_and_not_kept() {
    let mut scene = Scene::new();
    scene.server(11);
    let words: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
    let argv: Vec<&str> = words.iter().map(String::as_str).collect();
    scene.forget();
    scene.spawn(11, 12, TERMINAL, "/bin/true", &argv);
    let told = scene.of_type("process.exec").remove(0);
    assert_eq!(told["exec"]["argv"].as_array().unwrap().len(), argv.len());
    let kept = told["process"]["argv"].as_array().unwrap();
    assert_eq!(kept.len(), 256, "{kept:?}");
    assert_eq!(told["truncated"], json!(["process.argv"]));
    // One long word is cut, and those after it are gone.
    let long = "é".repeat(9_000);
    scene.forget();
    scene.spawn(11, 13, TERMINAL, "/bin/true", &["true", &long, "after"]);
    let told = scene.of_type("process.exec").remove(0);
    let kept = told["process"]["argv"].as_array().unwrap();
    let bytes: usize = kept.iter().map(|word| word.as_str().unwrap().len()).sum();
    assert!((8_191..=8_192).contains(&bytes), "{bytes}");
    assert_eq!(told["truncated"], json!(["process.argv"]));
}

#[test]
fn random_bytes_never_panic_and_records_stay_valid() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut scene = Scene::new();
    scene.server(11);
    for _ in 0..3_000 {
        let mut bytes = random.bytes(600);
        if bytes.len() > size_of::<Header>() {
            // Often a plausible header, so that bodies and state are reached.
            let header = Header {
                version: wire::WIRE_VERSION,
                kind: u16::try_from(random.below(12)).unwrap(),
                size: u32::try_from(bytes.len()).unwrap(),
                time: scene.now + random.below(SECOND),
                pid: u32::try_from(10 + random.below(6)).unwrap(),
                tid: 1,
                start_time: random.below(3) * SECOND,
                instance: match random.below(3) {
                    0 => 0,
                    1 => scene.watch.values().next().copied().unwrap_or(5),
                    _ => random.below(4),
                },
                result: i64::try_from(random.below(20)).unwrap() - 10,
                flags: 0,
                cpu: 0,
            };
            bytes[..size_of::<Header>()].copy_from_slice(bytemuck::bytes_of(&header));
        }
        scene.pipeline.events(&bytes);
        scene.collect();
    }
    scene.now += 60 * SECOND;
    scene.wait(60 * SECOND);
    scene.input(Input::Stop { time: scene.now, reason: "end".into() });
}

#[test]
fn a_message_is_read_whole_as_far_as_it_is_captured() {
    // Length of the result, the limit, and whether the call is known in part only.
    for (length, limit, cut) in [
        (900 << 10, None, false),
        (3 << 20, None, true),
        (900 << 10, Some(4 << 10), false),
        (3 << 20, Some(4 << 20), false),
        (5 << 20, Some(4 << 20), true),
    ] {
        let mut scene = match limit {
            Some(limit) => Scene::with(&format!("[capture]\npayload_limit = {limit}")),
            None => Scene::new(),
        };
        scene.server(11);
        scene.call(11, 1, "read", json!({}));
        // `isError` stands in the middle, where it is seen only when the whole is read.
        let text = "x".repeat(length / 2);
        let result = json!({"content": [{"type": "text", "text": text}], "isError": true, "_meta": {"x": text}});
        let line = format!("{}\n", json!({"jsonrpc": "2.0", "id": 1, "result": result}));
        for piece in line.as_bytes().chunks(32 << 10) {
            scene.writes(11, piece);
        }
        let [call] = scene.of_type("mcp.call")[..] else { panic!() };
        assert_eq!(call.get("truncated").is_some(), cut, "{length} {limit:?}");
        assert_eq!(call["call"]["response_bytes"], line.len() - 1, "{length} {limit:?}");
        if !cut {
            assert_eq!(call["call"]["status"], "tool_error", "{length} {limit:?}");
        }
    }
}

#[test]
fn a_random_life_of_a_host_keeps_every_record_valid_and_every_table_empty_at_its_end() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let mut scene = Scene::new();
        scene.config("files", "node", &["server.js"]);
        let mut id = 0;
        for _ in 0..400 {
            let pids: Vec<u32> = scene.tasks.keys().copied().filter(|pid| *pid != CLIENT).collect();
            let some = |random: &mut Random| {
                let index = usize::try_from(random.below(pids.len().max(1) as u64)).unwrap();
                pids.get(index).copied().unwrap_or(CLIENT)
            };
            let pid = some(&mut random);
            let fresh = 20 + u32::try_from(random.below(30)).unwrap();
            match random.below(12) {
                0 if !scene.tasks.contains_key(&fresh) => scene.fork(pid, fresh),
                1 | 2 if !scene.tasks.contains_key(&fresh) => {
                    let inode = 2 * u64::from(fresh);
                    let parent = if random.below(2) == 0 { CLIENT } else { pid };
                    let program = ["node", "git", "sh"][usize::try_from(random.below(3)).unwrap()];
                    let exe = format!("/usr/bin/{program}");
                    scene.spawn(parent, fresh, (inode, inode + 1), &exe, &[program, "server.js"]);
                }
                3 if pid != CLIENT => scene.exec(pid, "/usr/bin/dash", &["sh", "-c", "id"]),
                4 if pid != CLIENT => scene.exit(pid, 0),
                5 => scene.initialize(pid),
                6 => {
                    id += 1;
                    scene.call(pid, id, "read", json!({"path": format!("/data/{id}")}));
                }
                7 => scene.result(pid, random.below(id + 1)),
                8 => scene.open(pid, &format!("/data/{}", random.below(id + 1))),
                9 => scene.connect(pid, [203, 0, 113, 7], 443),
                10 => scene.reads(pid, &random.bytes(300)),
                11 => scene.wait(random.below(SECOND)),
                _ => {}
            }
        }
        let pids: Vec<u32> = scene.tasks.keys().copied().collect();
        for pid in pids {
            scene.exit(pid, 0);
        }
        let standing = scene.pipeline.standing();
        assert_eq!((standing.servers, standing.candidates), (0, 0), "seed {seed}");
        assert!(scene.watch.is_empty(), "seed {seed}");
        assert!(scene.instances.is_empty(), "seed {seed}: the kernel's instances leak");
        let discovered: std::collections::BTreeSet<_> = scene
            .of_type("server.discovered")
            .iter()
            .map(|one| one["server"]["id"].to_string())
            .collect();
        assert_eq!(discovered.len(), scene.of_type("server.exited").len(), "seed {seed}");
        scene.wait(20 * SECOND);
        assert_eq!(scene.watching().last(), Some(&false), "seed {seed}");
    }
}

#[test]
fn a_candidate_holds_a_bounded_amount_and_says_what_it_left_out() {
    let mut scene = Scene::new();
    scene.candidate(11);
    for _ in 0..20_000 {
        scene.open(11, "/a");
    }
    scene.initialize(11);
    let story = scene.story();
    let opens = story.iter().filter(|line| line.starts_with("open")).count();
    assert!(opens < 10_000, "{opens}");
    // The exec and the request that settles what this is found room beside the opens.
    let left_out = 20_000 - opens;
    let loss = format!("loss pipeline candidates held_full {left_out} of {left_out}");
    assert!(story.contains(&loss), "{loss}: {:?}", story.last());
}

#[test]
fn many_candidates_at_once_are_bounded_by_their_time() {
    let mut scene = Scene::new();
    for number in 0..3_000_u32 {
        let inode = 1_000 + 2 * u64::from(number);
        scene.spawn(CLIENT, 100 + number, (inode, inode + 1), "/usr/bin/cat", &["cat"]);
    }
    assert_eq!(scene.pipeline.standing().candidates, 3_000);
    scene.wait(40 * SECOND);
    assert_eq!(scene.pipeline.standing().candidates, 0);
    assert!(scene.watch.is_empty() && scene.instances.is_empty());
}

#[test]
fn candidates_together_hold_a_bounded_amount() {
    let mut scene = Scene::new();
    let argument = "x".repeat(30_000);
    for number in 0..40 {
        let pid = 100 + number;
        let inode = 1_000 + 2 * u64::from(number);
        scene.spawn(CLIENT, pid, (inode, inode + 1), "/usr/bin/cat", &["cat"]);
        // 3 MB each: within what one may hold, beyond what all may.
        for _ in 0..100 {
            scene.exec(pid, "/usr/bin/cat", &["cat", &argument]);
        }
    }
    let server = 139;
    scene.initialize(server);
    let left_out = scene.of_type("loss")[0]["loss"].clone();
    assert_eq!(
        (&left_out["what"], &left_out["reason"]),
        (&json!("candidates"), &json!("held_full"))
    );
    // Room comes back when candidates go.
    scene.wait(31 * SECOND);
    assert_eq!(scene.pipeline.standing().candidates, 0);
    scene.forget();
    scene.candidate(11);
    scene.exec(11, "/usr/bin/cat", &["cat", &argument]);
    scene.initialize(11);
    assert_eq!(scene.of_type("process.exec").len(), 2);
    assert_eq!(scene.of_type("loss").len(), 0);
}

#[test]
fn garbage_on_a_channel_is_told_without_flooding_the_stream() {
    let mut scene = Scene::new();
    scene.server(11);
    for _ in 0..1_000 {
        scene.writes(11, b"\x1b[31mnoise\xff\n");
    }
    let story = scene.story();
    let told = story.iter().filter(|line| line.starts_with("message")).count();
    let lost: u64 = story
        .iter()
        .filter(|line| line.starts_with("loss pipeline mcp.message flood"))
        .map(|line| line.split(' ').nth(4).unwrap().parse::<u64>().unwrap())
        .sum();
    assert!(told < 50, "{told}");
    assert!(lost > 900, "{lost}");
    scene.call(11, 1, "read", json!({}));
    scene.result(11, 1);
    assert_eq!(scene.story(), ["call 1 read ok"], "the conversation goes on");
}
