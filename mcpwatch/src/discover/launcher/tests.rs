//! Command lines as people write them, and what they launch.

use super::*;

fn argv(line: &str) -> Vec<String> {
    shlex::split(line).unwrap()
}

/// `launcher package version`, with `!` before the package when it is MCP, `~` at the end for a wrapper.
fn shown(line: &str) -> Option<String> {
    let argv = argv(line);
    let exe = argv.first().cloned().unwrap_or_default();
    recognise(&exe, &argv).map(|launch| {
        format!(
            "{}: {}{}{}{}",
            launch.launcher,
            if launch.mcp { "!" } else { "" },
            launch.package,
            launch.version.map(|version| format!(" {version}")).unwrap_or_default(),
            if launch.is_wrapper { " ~" } else { "" }
        )
    })
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn command_lines_name_their_packages() {
    let table: &[(&str, Option<&str>)] = &[
        // npm and its kin
        (
            "npx -y @modelcontextprotocol/server-filesystem@2025.8.21 /data",
            Some("npx: !@modelcontextprotocol/server-filesystem 2025.8.21 ~"),
        ),
        (
            "node /usr/bin/npx -y @modelcontextprotocol/server-memory",
            Some("npx: !@modelcontextprotocol/server-memory ~"),
        ),
        (
            "node /usr/lib/node_modules/npm/bin/npx-cli.js --yes mcp-remote@latest https://h/mcp",
            Some("npx: !mcp-remote latest ~"),
        ),
        (
            "'npm exec @modelcontextprotocol/server-everything stdio'",
            Some("npm exec: !@modelcontextprotocol/server-everything ~"),
        ),
        (
            "npm exec --yes --package=mcp-thing@1.0 -- thing --flag",
            Some("npm exec: !mcp-thing 1.0 ~"),
        ),
        ("npx -p tavily-mcp@0.2 tavily", Some("npx: !tavily-mcp 0.2 ~")),
        ("npm x -- exa-mcp-server", Some("npm exec: !exa-mcp-server ~")),
        ("npm install", None),
        ("npm run start", None),
        ("pnpm dlx @playwright/mcp@latest --headless", Some("pnpm dlx: !@playwright/mcp latest ~")),
        ("pnpm --silent dlx firecrawl-mcp", Some("pnpm dlx: !firecrawl-mcp ~")),
        ("yarn dlx -q some-tool", Some("yarn dlx: some-tool ~")),
        ("bunx @upstash/context7-mcp", Some("bunx: !@upstash/context7-mcp ~")),
        ("bun x @upstash/context7-mcp", Some("bun x: !@upstash/context7-mcp ~")),
        ("npx", None),
        ("npx -y", None),
        ("npx ./local", None),
        ("npx -y cowsay hello", Some("npx: cowsay ~")),
        ("npx github:owner/thing-mcp", Some("npx: !thing-mcp ~")),
        // Python
        ("uvx mcp-server-fetch", Some("uvx: !mcp-server-fetch ~")),
        ("uvx mcp-server-git==2025.1.14 --repository /r", Some("uvx: !mcp-server-git 2025.1.14 ~")),
        ("/v/bin/uv tool uvx mcp-server-git", Some("uvx: !mcp-server-git ~")),
        ("uvx mcp-server-git@latest", Some("uvx: !mcp-server-git latest ~")),
        (
            "uvx --from git+https://github.com/oraios/serena@v1 serena-mcp-server",
            Some("uvx: !serena v1 ~"),
        ),
        ("uvx --python 3.12 --from 'mcp[cli]==1.9' mcp run x.py", Some("uvx: !mcp 1.9 ~")),
        (
            "uv tool run --from mcp-server-time mcp-server-time",
            Some("uv tool run: !mcp-server-time ~"),
        ),
        ("uv run mcp-server-time --local-timezone UTC", Some("binary: !mcp-server-time ~")),
        ("uv --directory /p run server.py", None),
        ("uv run --directory /p python -m mcp_server_time", Some("python: !mcp-server-time ~")),
        ("uv run --with mcp mcp run server.py", Some("binary: !mcp ~")),
        ("uv pip install mcp", None),
        ("pipx run mcp-server-fetch", Some("pipx run: !mcp-server-fetch ~")),
        ("pipx run --spec mcp-proxy==0.5 mcp-proxy https://h", Some("pipx run: !mcp-proxy 0.5 ~")),
        ("/usr/bin/python3 -m mcp_server_time", Some("python: !mcp-server-time")),
        ("python3.12 -u -X dev -m mcp_server_git.server --x", Some("python: !mcp-server-git")),
        ("python -m http.server", Some("python: http")),
        ("python /venv/bin/mcp-server-git", Some("python: !mcp-server-git")),
        (
            "/x/bin/python3 /x/lib/python3.11/site-packages/mcp_server_fetch/__main__.py",
            Some("python: !mcp-server-fetch"),
        ),
        ("python server.py", None),
        ("python -c 'import mcp'", None),
        ("poetry run my-mcp --x", Some("binary: !my-mcp ~")),
        // JavaScript
        (
            "node /x/node_modules/@modelcontextprotocol/server-everything/dist/index.js",
            Some("node: !@modelcontextprotocol/server-everything"),
        ),
        (
            "node /h/.npm/_npx/a1/node_modules/.bin/mcp-server-filesystem /data",
            Some("node: !mcp-server-filesystem"),
        ),
        (
            "node --require x.js /s/.pnpm/@playwright+mcp@0.0.30_zod@3/node_modules/@playwright/mcp/cli.js",
            Some("node: !@playwright/mcp 0.0.30"),
        ),
        ("node --inspect build/index.js", None),
        ("node -e 'x'", None),
        ("node", None),
        ("bun run /x/node_modules/exa-mcp/index.ts", Some("bun: !exa-mcp")),
        (
            "deno run -A npm:@negokaz/excel-mcp-server@0.9.1/main.js",
            Some("deno: !@negokaz/excel-mcp-server 0.9.1"),
        ),
        ("deno run --allow-net jsr:@scope/mcp", Some("deno: !@scope/mcp")),
        ("deno test", None),
        // Containers
        (
            "docker run -i --rm -e GITHUB_TOKEN ghcr.io/github/github-mcp-server:v0.5 stdio",
            Some("docker: !ghcr.io/github/github-mcp-server v0.5"),
        ),
        (
            "docker run -i --rm --mount type=bind,src=/a,dst=/b mcp/filesystem /b",
            Some("docker: !mcp/filesystem"),
        ),
        (
            "podman --log-level error run --network=host localhost:5000/x/y@sha256:00",
            Some("docker: localhost:5000/x/y"),
        ),
        ("docker container run --name z mcp/fetch", Some("docker: !mcp/fetch")),
        ("docker mcp gateway run", Some("docker mcp: !docker-mcp-gateway")),
        ("docker ps", None),
        // Wrappers
        ("sh -c 'mcp-server-filesystem /data'", Some("binary: !mcp-server-filesystem ~")),
        ("bash -lc 'cd /x && exec npx -y tavily-mcp@1'", Some("npx: !tavily-mcp 1 ~")),
        ("/bin/sh -c 'A=1 uvx mcp-server-git; echo done'", Some("uvx: !mcp-server-git ~")),
        ("env -u C A=b npx -y exa-mcp", Some("npx: !exa-mcp ~")),
        ("env PATH=/x/bin A= npx -y exa-mcp", Some("npx: !exa-mcp ~")),
        ("sh -c 'cd /x; uvx mcp-server-git'", Some("uvx: !mcp-server-git ~")),
        ("env -S 'uvx mcp-server-git'", Some("uvx: !mcp-server-git ~")),
        ("nice -n 5 node /x/node_modules/a-mcp/i.js", Some("node: !a-mcp ~")),
        ("sh script.sh", None),
        ("bash", None),
        // Programs of their own
        ("/usr/local/bin/github-mcp-server stdio", Some("binary: !github-mcp-server")),
        ("/usr/bin/cat x", None),
        ("mcpwatch run", None),
        (
            "npx @modelcontextprotocol/inspector node x.js",
            Some("npx: @modelcontextprotocol/inspector ~"),
        ),
        ("npx -y supergateway --stdio 'npx -y x'", Some("npx: !supergateway ~")),
        ("mcp-proxy uvx mcp-server-fetch", Some("binary: !mcp-proxy")),
    ];
    let wrong: Vec<String> = table
        .iter()
        .filter(|(line, expected)| shown(line).as_deref() != *expected)
        .map(|(line, expected)| format!("{line}: {:?}, not {expected:?}", shown(line)))
        .collect();
    assert_eq!(wrong, [""; 0]);
    assert_eq!(recognise("sh", &["sh".into(), "-c".into(), "'unclosed".into()]), None);
}

#[test]
fn names_tell_servers_from_what_only_sounds_alike() {
    for package in ["a-mcp", "mcp_x", "awslabs.core-mcp-server", "x/mcp/y", "fastmcp", "MCP"] {
        assert!(is_mcp(package), "{package}");
    }
    for package in ["mcpwatch", "tcmcpx", "node", "", "mcp-scan", "compact"] {
        assert!(!is_mcp(package), "{package}");
    }
}

#[test]
fn wrappers_are_told_from_servers() {
    let table = [
        ("npx -y x", true),
        ("node /usr/bin/npx -y x", true),
        ("'npm exec x'", true),
        ("sh -c x", true),
        ("uv run x", true),
        ("uvx x", true),
        ("node x.js", false),
        ("python -m x", false),
        ("docker run x", false),
        ("mcp-server-git", false),
    ];
    for (line, expected) in table {
        assert_eq!(is_wrapper(&argv(line)), expected, "{line}");
    }
}

#[test]
fn what_a_package_launcher_installed_is_told_from_launchers() {
    let npx = "node /usr/bin/npx -y evil /d";
    let (cache, uv) = ("/home/me/.npm/_npx/1/node_modules", "/home/me/.cache/uv/archive-v0/1");
    let bin = format!("{cache}/.bin");
    let (native, tool) = (format!("{cache}/evil/npx"), format!("{uv}/bin/uvx"));
    let table = [
        ("/usr/bin/node", format!("node {bin}/npx /d"), npx, true),
        ("/usr/bin/node", format!("node {bin}/npx"), "npx evil", true),
        ("/usr/bin/node", format!("node {bin}/npx /d"), "'npm exec evil /d'", true),
        ("/usr/bin/node", "node node_modules/.bin/uvx /d".into(), "npm exec evil /d", true),
        ("/usr/bin/env", format!("env node {bin}/npx /d"), npx, false),
        ("/usr/bin/dash", format!("sh -c '{bin}/weather /d'"), npx, false),
        // A program that needs no interpreter, found by PATH.
        (&*native, "npx /d".into(), npx, true),
        ("/usr/bin/python3.12", format!("{uv}/bin/python {uv}/bin/uvx /d"), "uvx evil /d", true),
        (&*tool, "uvx /d".into(), "uv tool uvx evil /d", true),
        (&*tool, "uvx /d".into(), "pipx run --spec evil uvx /d", true),
        // The launchers themselves, also when they execute themselves anew.
        ("/usr/bin/node", npx.into(), "sh -c 'npx -y evil /d'", false),
        ("/usr/bin/node", npx.into(), npx, false),
        ("/usr/bin/node", "node /usr/lib/node_modules/npm/bin/npx-cli.js x".into(), npx, false),
        ("/usr/bin/node", "node /home/me/.nvm/v20/bin/npx -y x".into(), "npm exec y", false),
        ("/v/bin/uv", "/v/bin/uv tool uvx evil /d".into(), "/v/bin/uvx evil /d", false),
        ("/usr/bin/node", "node /p/node_modules/pnpm/pnpm.cjs dlx x".into(), "pnpm dlx x", false),
        // No package launcher stands before it.
        ("/usr/bin/node", format!("node {bin}/npx /d"), "bash start.sh", false),
        ("/usr/bin/node", format!("node {bin}/npx /d"), "node server.js", false),
        ("/usr/bin/node", format!("node {bin}/npx /d"), "uvx evil /d", false),
    ];
    for (exe, line, by, expected) in table {
        assert_eq!(is_installed_by(exe, &argv(&line), &argv(by)), expected, "{exe} {line}: {by}");
    }
    assert!(is_installed("/usr/bin/node", &argv(&format!("node {bin}/npx /d"))));
    assert!(is_installed(&native, &argv("weather /d")));
    // What is called like no launcher is no more one for where it lies: uv's own scripts begin with a shell.
    assert!(!is_installed("/usr/bin/dash", &argv(&format!("/bin/sh {uv}/bin/weather /d"))));
    assert!(!is_installed("/usr/bin/node", &argv(&format!("node {bin}/weather /d"))));
    assert!(!is_installed("/home/me/.local/bin/uvx", &argv("uvx weather")));
    assert!(!is_installed("/usr/bin/node", &argv(npx)));
    assert!(installs(&argv(npx)) && installs(&argv("uv tool uvx x")));
    assert!(!installs(&argv("sh -c 'npx x'")) && !installs(&argv("uv run x")));
}

#[test]
fn wrappers_give_their_inner_command_line() {
    let table = [
        ("env A=b node x", Some("node x")),
        ("sh -c 'exec node x'", Some("node x")),
        ("uv run python x.py", Some("python x.py")),
        ("npx -y x", None),
        ("node x", None),
    ];
    for (line, expected) in table {
        assert_eq!(unwrap(&argv(line)), expected.map(argv), "{line}");
    }
}

#[test]
fn no_command_line_is_too_strange() {
    let nested = "sh -c ".repeat(40);
    let many = "env ".repeat(1000);
    for line in [
        nested.as_str(),
        many.as_str(),
        "--",
        "",
        "/",
        "npx @",
        "npx @/",
        "docker run :",
        "uvx ==",
        "node node_modules",
        "node /node_modules/@x",
        "deno run npm:",
    ] {
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let _ = recognise("", &argv);
        let _ = is_wrapper(&argv);
        let _ = is_installed_by("", &argv, &argv);
        let _ = unwrap(&argv);
    }
    assert_eq!(recognise("", &[]), None);
}

#[test]
fn what_follows_the_package_reaches_the_server() {
    for (line, expected) in [
        ("npx -y @modelcontextprotocol/server-filesystem /srv/a /srv/b", "/srv/a /srv/b"),
        ("node /usr/bin/npx -y --cache /c pkg@1 /srv/a", "/srv/a"),
        ("npx --package pkg server /srv/a", "/srv/a"),
        ("uvx --directory /code mcp-server-git --repository /r", "--repository /r"),
        ("uv run --directory /code server.py /srv/a", "/srv/a"),
        ("python3 -m mcp_server_git --repository /r", "--repository /r"),
        ("python3 /code/server.py /srv/a", "/srv/a"),
        ("node --enable-source-maps /code/dist/index.js /srv/a", "/srv/a"),
        ("env A=b node /code/index.js /srv/a", "/srv/a"),
        ("/opt/server /srv/a", "/srv/a"),
        ("/opt/server", ""),
        ("", ""),
    ] {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        assert_eq!(arguments(&words).join(" "), expected, "{line}");
    }
    let script = ["sh", "-c", "cd /x && exec node /code/index.js /srv/a"].map(str::to_owned);
    assert_eq!(arguments(&script), ["/srv/a"]);
    let nested = ["sh", "-c", "sh -c 'sh -c x'"].map(str::to_owned);
    assert_eq!(arguments(&nested), [""; 0]);
}
