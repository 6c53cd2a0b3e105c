//! The fuzz targets without a fuzzer: every seed, and many small changes of each, on every run of the
//! tests. What a fuzzer finds is kept as a seed (`fuzz/seeds`) and comes by here ever after.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test; clippy.toml's exceptions do not reach files of their own"
)]

#[path = "../../fuzz/src/targets/mod.rs"]
#[expect(dead_code, reason = "the fuzz programs ask for a target by its name")]
mod targets;

use std::collections::BTreeMap;
use std::panic;
use std::path::Path;
use std::time::{Duration, Instant};

use mcpwatch::event::decode;
use mcpwatch::recording::Reader;
use mcpwatch_common::event::Kind;

/// Changed inputs of one target at most; a slow machine makes fewer.
const CHANGES: u32 = 3_000;
/// Time for one target.
const TIME: Duration = Duration::from_secs(3);
/// No input may take longer; a hundred times what the slowest takes.
const SLOW: Duration = Duration::from_secs(5);

fn seeds() -> BTreeMap<String, Vec<(String, Vec<u8>)>> {
    let mut seeds: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (target, name, bytes) in targets::seeds::seeds() {
        seeds.entry(target.to_owned()).or_default().push((name, bytes));
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    for target in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let mut files: Vec<_> =
            std::fs::read_dir(target.path()).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let target = target.file_name().to_string_lossy().into_owned();
            seeds.entry(target).or_default().push((name, std::fs::read(file).unwrap()));
        }
    }
    seeds
}

fn try_one(target: &targets::Target, what: &str, input: &[u8]) {
    let begun = Instant::now();
    let run = panic::AssertUnwindSafe(|| (target.run)(input));
    if panic::catch_unwind(run).is_err() {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(target.name);
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(what.replace(' ', "-"));
        std::fs::write(&file, input).unwrap();
        panic!("{}: {what} breaks it; the input is kept in {}", target.name, file.display());
    }
    let took = begun.elapsed();
    assert!(took < SLOW, "{}: {what} takes {took:?}", target.name);
}

/// Marsaglia's xorshift64: the same changes on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % most.max(1)
    }

    /// One to four changes: a byte, a piece left out, doubled, or taken from elsewhere.
    fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(4) {
            let at = self.below(input.len() + 1);
            let end = (at + self.below(16)).min(input.len());
            match self.below(5) {
                0 => input.insert(at, self.below(256).to_le_bytes()[0]),
                1 => drop(input.drain(at..end)),
                2 => input.splice(at..at, input[at..end].to_vec()).for_each(drop),
                3 => {
                    let from = self.below(other.len() + 1);
                    let to = (from + self.below(64)).min(other.len());
                    input.splice(at..end, other[from..to].iter().copied()).for_each(drop);
                }
                _ => {
                    if let Some(byte) = input.get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
            }
        }
    }
}

#[test]
fn every_seed_and_its_neighbours_leave_every_target_whole() {
    let seeds = seeds();
    for target in targets::TARGETS {
        let seeds = seeds.get(target.name).unwrap_or_else(|| panic!("{} has seeds", target.name));
        for (name, bytes) in seeds {
            try_one(target, name, bytes);
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let begun = Instant::now();
        for number in 0..CHANGES {
            let (name, bytes) = &seeds[random.below(seeds.len())];
            let (_, other) = &seeds[random.below(seeds.len())];
            let mut input = bytes.clone();
            random.change(&mut input, other);
            try_one(target, &format!("{name} changed {number}"), &input);
            if begun.elapsed() > TIME {
                break;
            }
        }
    }
}

#[test]
fn every_target_has_its_program_and_no_seed_is_without_a_target() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
    for target in targets::TARGETS {
        let program = std::fs::read_to_string(programs.join(format!("{}.rs", target.name)));
        assert!(program.unwrap().contains(&format!("target(\"{}\")", target.name)));
    }
    for name in seeds().keys() {
        assert!(targets::TARGETS.iter().any(|target| target.name == name), "{name}");
    }
}

#[test]
fn every_kind_of_event_has_a_seed_and_what_is_made_is_read_to_its_end() {
    let made = targets::seeds::seeds();
    for kind in Kind::ALL {
        let name = format!("{kind:?}");
        let (.., bytes) = made
            .iter()
            .find(|(target, seed, _)| *target == "events" && *seed == name)
            .unwrap_or_else(|| panic!("{name} has no seed"));
        // The first byte is the target's own.
        let mut event = &bytes[1..];
        decode::next(&mut event).unwrap().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(event.is_empty(), "{name}");
    }
    for (.., bytes) in made.iter().filter(|(target, ..)| *target == "recordings") {
        let (mut reader, _) = Reader::of(Path::new("recording"), bytes.as_slice()).unwrap();
        while reader.next_frame().unwrap().is_some() {}
    }
}
