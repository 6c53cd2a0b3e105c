//! The calendar clock is set while the agent runs: by hand, by a daemon, after a suspend. Only the calendar
//! times change; order, durations and what belongs together do not.

use super::*;

const HOUR: i64 = 3_600 * 1_000_000_000;
/// What the scene's clock shows when the event clock is at 0.
const CALENDAR: i64 = 1_750_000_000_000_000_000;

fn time(record: &Value) -> i128 {
    record["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_nanosecond()
}

/// The shell reads both clocks; the calendar's has been set by `step`.
fn set(scene: &mut Scene, step: i64) {
    let boot = scene.now;
    let calendar = CALENDAR + i64::try_from(boot).unwrap() + step;
    scene.input(Input::Clock { boot, calendar });
}

#[test]
fn a_step_changes_the_times_after_it_and_nothing_else() {
    for step in [HOUR, -HOUR, 24 * 365 * HOUR, -CALENDAR] {
        let mut scene = Scene::new();
        scene.server(11);
        scene.call(11, 1, "read", json!({"path": "/data/a"}));
        scene.open(11, "/data/a");
        set(&mut scene, step);
        scene.open(11, "/data/a");
        scene.result(11, 1);
        let records = std::mem::take(&mut scene.records);
        let story: Vec<String> = records.iter().map(line).collect();
        let expected = ["open /data/a requested 1", "open /data/a requested 1", "call 1 read ok"];
        assert_eq!(story, expected, "step of {step}");
        let [before, after, call] = &records[..] else { panic!() };
        let apart = time(after) - time(before);
        assert_eq!(apart, i128::from(step) + i128::from(MILLISECOND), "step of {step}");
        let duration = call["call"]["duration_ns"].as_u64().unwrap();
        assert_eq!(duration, 3 * MILLISECOND, "durations are of the event clock");
    }
}

#[test]
fn candidates_wait_by_the_event_clock_whatever_the_calendar_does() {
    for step in [10 * HOUR, -10 * HOUR] {
        let mut scene = Scene::new();
        scene.candidate(11);
        set(&mut scene, step);
        scene.wait(20 * SECOND);
        assert_eq!(scene.pipeline.standing().candidates, 1, "20 s are not over its time");
        scene.wait(20 * SECOND);
        assert_eq!(scene.pipeline.standing().candidates, 0, "40 s are");
    }
}

#[test]
fn clocks_that_cannot_be_are_survived() {
    let mut scene = Scene::new();
    scene.server(11);
    for calendar in [i64::MIN, i64::MAX, 0, -1] {
        for boot in [0, u64::MAX, scene.now] {
            scene.input(Input::Clock { boot, calendar });
            scene.open(11, "/data/a");
        }
    }
    assert_eq!(scene.of_type("file.open").len(), 12);
}
