//! Processes that listen and were given no channel: what they are taken for.

use super::*;

/// A process begins to listen; `network::on_socket_state` decides what that founds.
pub(super) fn listens(scene: &mut Scene, pid: u32) {
    let id = instance_id(pid, scene.tasks[&pid].start_time);
    if scene.sniff && !scene.watch.contains_key(&pid) {
        scene.instances.insert(id, Channel::default());
        scene.watch.insert(pid, id);
    }
    if !scene.watch.contains_key(&pid) {
        return;
    }
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[127, 0, 0, 1]);
    let body = wire::Net {
        address,
        family: 2,
        port: 6277,
        socket_type: 1,
        protocol: 6,
        fd: 3,
        unix_len: 0,
        has_result: 1,
    };
    scene.send(Kind::Listen, pid, 0, bytemuck::bytes_of(&body), b"");
}

/// A program without a channel.
fn spawned(settings: &str) -> Scene {
    let mut scene = Scene::with(settings);
    scene.spawn(CLIENT, 11, TERMINAL, "/usr/bin/served", &["served", "--port", "6277"]);
    scene
}

#[test]
fn who_listens_is_a_candidate_until_its_time_is_over() {
    let mut scene = spawned("");
    assert_eq!(scene.pipeline.standing().candidates, 0, "without a channel it is nothing");
    listens(&mut scene, 11);
    assert_eq!(scene.pipeline.standing().candidates, 1);
    assert_eq!(scene.watching(), [true], "its system calls are seen");
    scene.open(11, "/etc/hosts");
    scene.wait(29 * SECOND);
    assert_eq!(scene.pipeline.standing().candidates, 1);
    scene.wait(2 * SECOND);
    assert_eq!(scene.pipeline.standing().candidates, 0);
    assert!(scene.watch.is_empty() && scene.instances.is_empty());
    assert_eq!(scene.story(), [""; 0], "nothing is told of who was no server");
}

#[test]
fn who_listens_and_ends_leaves_nothing() {
    let mut scene = spawned("");
    listens(&mut scene, 11);
    scene.open(11, "/etc/hosts");
    scene.exit(11, 0);
    assert!(scene.watch.is_empty() && scene.instances.is_empty());
    assert_eq!(scene.story(), [""; 0]);
}

#[test]
fn listeners_are_sniffed_as_the_settings_say() {
    let mut scene = spawned("[discovery]\nsniff = \"always\"");
    listens(&mut scene, 11);
    scene.wait(300 * SECOND);
    assert_eq!(scene.pipeline.standing().candidates, 1);
    let mut scene = spawned("[discovery]\nsniff = \"off\"");
    listens(&mut scene, 11);
    assert_eq!(scene.pipeline.standing().candidates, 0);
}

#[test]
fn who_listens_is_a_server_when_the_settings_name_it() {
    let mut scene = spawned("[[server]]\nname = \"web\"\nexe = \"/usr/bin/served\"");
    listens(&mut scene, 11);
    let listen = scene.of_type("net.listen")[0];
    assert_eq!(listen["relation"], "startup");
    assert_eq!(listen["server"]["transport"], "http");
    assert_eq!(
        (&listen["net"]["address"], &listen["net"]["port"]),
        (&json!("127.0.0.1"), &json!(6277))
    );
    assert_eq!(scene.pipeline.standing().candidates, 0);
    scene.wait(300 * SECOND);
    scene.exit(11, 0);
    assert_eq!(
        scene.story(),
        ["discovered web by explicit", "net.listen", "exit 11 0", "exited web"]
    );
}

#[test]
fn a_candidate_or_a_server_that_listens_stays_what_it_is() {
    let mut scene = Scene::new();
    scene.candidate(11);
    listens(&mut scene, 11);
    assert_eq!(scene.pipeline.standing().candidates, 1);
    scene.initialize(11);
    // Held with the rest of what it did, and let go of in its place.
    let story = scene.effects();
    assert_eq!(
        story[..3],
        ["discovered node by handshake", "exec /usr/bin/node startup", "net.listen"]
    );
    listens(&mut scene, 11);
    assert_eq!(scene.story(), ["net.listen"]);
}
