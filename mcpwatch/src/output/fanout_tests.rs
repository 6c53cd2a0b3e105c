//! The outputs against slow readers, closed pipes and full disks.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::output::samples;
use crate::record::{Call, RecordType};

const SECOND: Duration = Duration::from_secs(1);

fn file(path: &Path) -> Output {
    Output {
        destination: Destination::File(path.to_owned()),
        format: Format::Json,
        colour: Colour::Never,
    }
}

fn open(path: &Path) -> Fanout {
    Fanout::open(vec![file(path)], DEFAULT_QUEUE_BYTES, || {}).unwrap()
}

/// An output on a pipe, and its reading end.
fn pipe(queue_bytes: usize) -> (Fanout, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let stream = Stream::of(File::from(OwnedFd::from(writer)), Destination::Stdout);
    let mut fanout = Fanout { next_seq: 0, sinks: Vec::new() };
    fanout.add(stream, Renderer::new(Format::Json, Colour::Never), queue_bytes, || {}).unwrap();
    (fanout, reader)
}

fn seqs(text: &str) -> Vec<u64> {
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + 10 * SECOND;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn every_record_gets_the_next_number_and_reaches_every_output() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let mut fanout =
        Fanout::open(vec![file(&one), file(&two)], DEFAULT_QUEUE_BYTES, || {}).unwrap();
    for _ in 0..10 {
        fanout.publish(samples::one_of_each());
    }
    fanout.publish(Vec::new());
    assert_eq!(fanout.finish(SECOND), []);
    let expected: Vec<u64> = (0..10 * RecordType::ALL.len() as u64).collect();
    for path in [one, two] {
        assert_eq!(seqs(&fs::read_to_string(&path).unwrap()), expected);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_slow_reader_costs_exactly_the_counted_records_and_leaves_gaps() {
    let (mut fanout, reader) = pipe(200 * size_of::<Record>());
    let published = 2000;
    for _ in 0..published / 10 {
        fanout.publish((0..10).map(|_| samples::open("/etc/hosts")).collect());
    }
    let [loss] = fanout.losses().try_into().unwrap();
    assert_eq!((loss.output.as_str(), loss.reason), ("stdout", LossReason::QueueFull));
    assert!(loss.lost > published / 2, "{loss:?}");

    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        BufReader::new(reader).read_to_string(&mut text).unwrap();
        text
    });
    // It recovers: with a reader, everything gets through again.
    until("the queue is drained", || fanout.states()[0].queued == 0);
    fanout.publish(vec![samples::alert()]);
    let losses = fanout.finish(SECOND);
    assert_eq!(losses, std::slice::from_ref(&loss));
    let seqs = seqs(&reading.join().unwrap());
    assert!(seqs.is_sorted_by(|a, b| a < b));
    assert_eq!(seqs.len() as u64, published + 1 - loss.lost);
    assert_eq!(seqs.last(), Some(&published));
}

#[test]
fn room_is_given_back_while_the_backlog_is_still_being_written() {
    let (mut fanout, mut reader) = pipe(2000 * (size_of::<Record>() + size_of::<Call>()));
    for _ in 0..300 {
        fanout.publish((0..10).map(|_| samples::open("/etc/hosts")).collect());
    }
    let losses = fanout.losses();
    assert_eq!(losses.len(), 1);
    reader.read_exact(&mut vec![0; 1 << 20]).unwrap();
    until("some is written", || fanout.states()[0].written > 500);
    assert!(fanout.states()[0].queued > 500);
    fanout.publish((0..10).map(|_| samples::open("/etc/hosts")).collect());
    assert_eq!(fanout.losses(), losses);
}

#[test]
fn a_flood_of_effects_does_not_push_out_the_alert_it_would_hide() {
    let (mut fanout, reader) = pipe(200 * size_of::<Record>());
    for _ in 0..100 {
        fanout.publish((0..10).map(|_| samples::open("/etc/hosts")).collect());
    }
    let mut batch: Vec<_> = (0..50).map(|_| samples::open("/etc/hosts")).collect();
    batch.insert(25, samples::alert());
    fanout.publish(batch);
    let lost: u64 = fanout.losses().iter().map(|loss| loss.lost).sum();
    let reading = std::thread::spawn(move || {
        BufReader::new(reader).lines().map(Result::unwrap).collect::<Vec<_>>()
    });
    assert_eq!(fanout.finish(SECOND).iter().map(|loss| loss.lost).sum::<u64>(), lost);
    let lines = reading.join().unwrap();
    assert_eq!(lines.len() as u64, 1051 - lost);
    assert_eq!(lines.iter().filter(|line| line.contains(r#""type":"alert""#)).count(), 1);
}

#[test]
fn a_batch_there_is_little_room_for_is_not_held_as_a_whole() {
    let (fanout, _reader) = pipe(200 * size_of::<Record>());
    let batch = Arc::new((0..1000).map(|_| samples::open("/etc/hosts")).collect::<Vec<_>>());
    fanout.sinks[0].offer(&batch);
    let [loss] = fanout.losses().try_into().unwrap();
    assert!(loss.lost > 0 && loss.lost < 1000, "{loss:?}");
    assert_eq!(Arc::strong_count(&batch), 1);
}

#[test]
fn a_record_larger_than_the_queue_passes_an_idle_output() {
    let (mut fanout, reader) = pipe(1000);
    fanout.publish(vec![samples::open(&"/long".repeat(1000))]);
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).unwrap();
    assert_eq!(seqs(&line), [0]);
    assert_eq!(fanout.finish(SECOND), []);
}

#[test]
fn a_closed_pipe_is_a_failure_that_says_what_to_do() {
    let (mut fanout, reader) = pipe(DEFAULT_QUEUE_BYTES);
    assert_eq!(fanout.failed(), None);
    drop(reader);
    fanout.publish(samples::one_of_each());
    until("the failure is seen", || fanout.failed().is_some());
    let failure = fanout.failed().unwrap();
    assert_eq!(failure.output, "stdout");
    for part in ["nobody reads the events on stdout", "--events FILE"] {
        assert!(failure.message.contains(part), "{failure}");
    }
    fanout.publish(samples::one_of_each());
    let [loss] = fanout.finish(SECOND).try_into().unwrap();
    assert_eq!((loss.reason, loss.lost), (LossReason::Closed, 2 * RecordType::ALL.len() as u64));
}

#[test]
fn a_full_disk_costs_the_counted_records_and_nothing_else() {
    // /dev/full: every write says ENOSPC, see full(4).
    let mut fanout = open(Path::new("/dev/full"));
    for _ in 0..5 {
        fanout.publish(samples::one_of_each());
    }
    until("all is lost", || fanout.states()[0].queued == 0);
    assert_eq!(fanout.failed(), None);
    let [loss] = fanout.finish(SECOND).try_into().unwrap();
    assert_eq!((loss.reason, loss.lost), (LossReason::NoSpace, 5 * RecordType::ALL.len() as u64));
}

#[test]
fn after_a_full_disk_the_broken_line_is_completed_and_writing_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        eprintln!(
            "NOT TESTED: a disk that fills up and is freed again needs root to mount a tmpfs"
        );
        return;
    };
    let ballast = disk.path.join("ballast");
    fs::write(&ballast, vec![0; 32 << 10]).unwrap();
    let events = disk.path.join("events");
    let mut fanout = open(&events);
    let mut published = 0;
    let mut publish = |fanout: &mut Fanout| {
        fanout.publish((0..10).map(|_| samples::open("/etc/hosts")).collect());
        until("the batch is written or lost", || fanout.states()[0].queued == 0);
        published += 10;
    };
    while fanout.losses().is_empty() {
        publish(&mut fanout);
    }
    publish(&mut fanout);
    assert!(!fs::read_to_string(&events).unwrap().ends_with('\n'), "the disk filled up in a line");
    fs::remove_file(&ballast).unwrap();
    publish(&mut fanout);
    let [loss] = fanout.finish(SECOND).try_into().unwrap();
    assert_eq!(loss.reason, LossReason::NoSpace);
    let text = fs::read_to_string(&events).unwrap();
    let seqs = seqs(&text);
    assert_eq!(seqs.len() as u64, published - loss.lost);
    assert_eq!(seqs[seqs.len() - 10..], (published - 10..published).collect::<Vec<_>>());
}

/// A tmpfs of 64 KiB.
struct SmallDisk {
    path: std::path::PathBuf,
}

impl SmallDisk {
    fn mount(path: &Path) -> Option<Self> {
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(path)
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then(|| Self { path: path.to_owned() })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

#[test]
fn a_run_after_a_crash_ends_the_broken_line_and_appends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    fs::write(&path, "{\"seq\":0}\n{\"seq\":1,\"ty").unwrap();
    let mut fanout = open(&path);
    fanout.publish(vec![samples::alert()]);
    assert_eq!(fanout.finish(SECOND), []);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], ["{\"seq\":0}", "{\"seq\":1,\"ty"]);
    assert_eq!(seqs(lines[2]), [0]);
}

#[test]
fn a_rotated_file_is_left_after_reopen() {
    let folder = tempfile::tempdir().unwrap();
    let (path, rotated) = (folder.path().join("events"), folder.path().join("events.1"));
    let mut fanout = open(&path);
    fanout.publish(vec![samples::alert()]);
    until("the first record is written", || fanout.states()[0].written == 1);
    fs::rename(&path, &rotated).unwrap();
    fanout.publish(vec![samples::alert()]);
    fanout.reopen();
    fanout.publish(vec![samples::alert()]);
    assert_eq!(fanout.finish(SECOND), []);
    assert_eq!(seqs(&fs::read_to_string(&rotated).unwrap()), [0, 1]);
    assert_eq!(seqs(&fs::read_to_string(&path).unwrap()), [2]);
}

#[test]
fn reopening_the_same_file_keeps_it_and_its_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let mut fanout = open(&path);
    for _ in 0..3 {
        fanout.publish(vec![samples::alert()]);
        fanout.reopen();
    }
    let refused =
        Fanout::open(vec![file(&path)], DEFAULT_QUEUE_BYTES, || {}).err().unwrap().to_string();
    assert!(refused.contains("another mcpwatch writes to it"), "{refused}");
    assert!(refused.ends_with("end the other one, or name another file"), "{refused}");
    assert_eq!(fanout.finish(SECOND), []);
    assert_eq!(seqs(&fs::read_to_string(&path).unwrap()), [0, 1, 2]);
    assert_eq!(open(&path).finish(SECOND), []);
}

#[test]
fn the_end_waits_no_longer_than_asked_and_counts_what_is_left() {
    let (mut fanout, reader) = pipe(DEFAULT_QUEUE_BYTES);
    for _ in 0..200 {
        fanout.publish(samples::one_of_each());
    }
    let start = Instant::now();
    let [loss] = fanout.finish(Duration::from_millis(100)).try_into().unwrap();
    assert!(start.elapsed() < SECOND);
    assert_eq!(loss.reason, LossReason::Ended);
    drop(reader);
}

#[test]
fn what_cannot_be_opened_says_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    for (path, parts) in [
        (folder.path().join("missing/events"), ["missing/events", "mkdir -p"]),
        (folder.path().to_owned(), ["directory", "name a file in it"]),
        (fifo, ["fifo", "start its reader first"]),
    ] {
        let error = Fanout::open(vec![file(&path)], 1, || {}).err().unwrap().to_string();
        assert!(error.starts_with("cannot write events to /"), "{error}");
        for part in parts {
            assert!(error.contains(part), "{error}");
        }
    }
}
