//! Folders of servers that are symbolic links.

use super::*;

impl Scene {
    /// The folders that were asked for, since they were asked for last.
    fn folders_wanted(&mut self) -> Vec<(u32, Vec<String>)> {
        let asked = self.actions.iter().filter_map(|action| match action {
            Action::LookForFolders { pid, folders, .. } => Some((*pid, folders.clone())),
            _ => None,
        });
        let asked = asked.collect();
        self.actions.clear();
        asked
    }

    fn folders(&mut self, found: &[(&str, &str)]) {
        let instance = self.watch[&20];
        let owned = |(folder, real): &(&str, &str)| ((*folder).to_owned(), (*real).to_owned());
        let folders = found.iter().map(owned).collect();
        self.input(Input::Folders { time: self.now, instance, folders });
    }

    /// A call of a tool with a path, and the open it leads to.
    fn asked_for(&mut self, id: u64, argument: &str, path: &str) -> usize {
        self.forget();
        self.call(20, id, "read_file", json!({"path": argument}));
        let resolved = components(path);
        let (mut body, _) = opened(path);
        body.argument_len = u16::try_from(argument.len()).unwrap();
        let tail = [resolved, argument.as_bytes().to_vec()].concat();
        self.send(Kind::Open, 20, 5, bytemuck::bytes_of(&body), &tail);
        self.result(20, id);
        self.of_type("alert").len()
    }
}

#[test]
fn a_root_is_looked_up_once_and_known_by_where_it_leads() {
    let mut scene = Scene::new();
    let argv = ["node", "server.js", "/srv/work"];
    scene.spawn(CLIENT, 20, CHANNEL, "/usr/bin/node", &argv);
    scene.initialize(20);
    scene.open(20, "/srv/work/x");
    assert_eq!(scene.folders_wanted(), [(20, vec!["/srv/work".to_owned()])]);
    scene.open(20, "/srv/work/x");
    assert_eq!(scene.folders_wanted(), [], "it is being looked up");
    assert_eq!(scene.asked_for(1, "/srv/work/a", "/data/p7/a"), 1);
    scene.folders(&[("/srv/work", "/data/p7"), ("/never/asked", "/")]);
    assert_eq!(scene.asked_for(2, "/srv/work/a", "/data/p7/a"), 0);
    assert_eq!(scene.asked_for(3, "/srv/work/link", "/data/p8/a"), 1);
    assert_eq!(scene.folders_wanted(), []);
    // The first answer stands.
    scene.folders(&[("/srv/work", "/")]);
    assert_eq!(scene.asked_for(4, "/srv/work/link", "/data/p8/a"), 1);
}

#[test]
fn a_root_that_is_not_found_is_looked_up_again_but_not_for_ever() {
    let mut scene = Scene::new();
    scene.spawn(CLIENT, 20, CHANNEL, "/usr/bin/node", &["node", "server.js", "/srv/work"]);
    scene.initialize(20);
    let mut asked = 0;
    for _ in 0..20 {
        scene.open(20, "/srv/work/x");
        asked += scene.folders_wanted().len();
        scene.folders(&[]);
    }
    assert_eq!(asked, 5);
}

#[test]
fn only_so_many_folders_are_looked_up_and_those_of_a_new_answer_too() {
    let mut scene = Scene::new();
    scene.spawn(CLIENT, 20, CHANNEL, "/usr/bin/node", &["node", "server.js", "/srv/work"]);
    scene.initialize(20);
    let answer = |scene: &mut Scene, id: u64, folders: std::ops::Range<u32>| {
        scene.answered(20, &json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"}));
        let roots: Vec<Value> =
            folders.map(|number| json!({"uri": format!("file:///srv/{number}")})).collect();
        let result = json!({"roots": roots});
        scene.asked(20, &json!({"jsonrpc": "2.0", "id": id, "result": result}));
    };
    let mut asked = Vec::new();
    for (id, folders) in [(100, 0..1), (101, 0..40), (102, 40..90)] {
        answer(&mut scene, id, folders);
        for _ in 0..8 {
            scene.open(20, "/srv/work/x");
            let wanted = scene.folders_wanted();
            asked.push(wanted.iter().map(|(_, folders)| folders.len()).sum::<usize>());
            let found: Vec<(String, String)> =
                wanted.into_iter().flat_map(|(_, all)| all).map(|one| (one.clone(), one)).collect();
            let found: Vec<(&str, &str)> =
                found.iter().map(|(one, real)| (one.as_str(), real.as_str())).collect();
            scene.folders(&found);
        }
    }
    let asked: Vec<usize> = asked.into_iter().filter(|number| *number != 0).collect();
    assert_eq!(asked, [2, 39, 23]);
}

#[test]
fn a_root_that_was_made_a_link_to_everything_is_known_as_it_was_given_only() {
    for real in ["/", "/srv", "/home", "/home/me", "/root"] {
        let mut scene = Scene::new();
        scene.spawn(CLIENT, 20, CHANNEL, "/usr/bin/node", &["node", "server.js", "/srv/work"]);
        scene.initialize(20);
        scene.open(20, "/srv/work/x");
        scene.folders(&[("/srv/work", real)]);
        let path = format!("{}/notes/a", real.trim_end_matches('/'));
        assert_eq!(scene.asked_for(1, "/srv/work/notes/a", &path), 1, "{real}");
        assert_eq!(scene.asked_for(2, "/srv/work/a", "/srv/work/a"), 0, "{real}");
    }
}
