//! The launchers and the packages known to be MCP: data.

/// How the words of a launcher name what it launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// `[@scope/]name[@version]`, also `npm:` and `jsr:`.
    Npm,
    /// `name[extra]==version`, `name@version`, `git+https://…/name@ref`.
    Python,
    /// `[registry/]repository[:tag][@digest]`.
    Image,
    /// A script or module that an interpreter runs.
    Script,
    /// A whole command line follows.
    Command,
}

/// A program that starts others.
pub(super) struct Launcher {
    /// Shown, and one of the spellings of the program.
    pub(super) name: &'static str,
    /// Further spellings; `*` as in [`super::super::locations::component_matches`].
    pub(super) also: &'static [&'static str],
    /// The words that must follow (flags aside), `|` between alternatives; empty for none.
    pub(super) subcommand: &'static [&'static str],
    pub(super) names: Names,
    /// Flags that take the next word as their value.
    pub(super) valued: &'static [&'static str],
    /// Flags whose value is the package.
    pub(super) package: &'static [&'static str],
    /// Flags whose value is a command line for a shell.
    pub(super) script: &'static [&'static str],
    pub(super) wrapper: bool,
}

/// Name of the row of shells.
pub(super) const SHELL: &str = "sh";

const BASE: Launcher = Launcher {
    name: "",
    also: &[],
    subcommand: &[],
    names: Names::Command,
    valued: &[],
    package: &[],
    script: &[],
    wrapper: true,
};

const NPM_VALUED: &[&str] = &[
    "-w",
    "--workspace",
    "--registry",
    "--cache",
    "--prefix",
    "--userconfig",
    "--loglevel",
    "-C",
    "--dir",
    "--node-arg",
    "-n",
    "--node-options",
];
const NPM_PACKAGE: &[&str] = &["-p", "--package"];
const UV_VALUED: &[&str] = &[
    "--with",
    "--with-editable",
    "--with-requirements",
    "-w",
    "-p",
    "--python",
    "--index-url",
    "-i",
    "--index",
    "--default-index",
    "--extra-index-url",
    "-f",
    "--find-links",
    "--directory",
    "--project",
    "--cache-dir",
    "--config-file",
    "--env-file",
    "--extra",
    "--group",
    "--only-group",
    "--package",
    "--python-platform",
    "--prerelease",
    "--resolution",
    "--refresh-package",
    "--exclude-newer",
    "--link-mode",
    "--color",
    "-P",
    "-C",
    "-c",
    "--constraints",
    "--overrides",
];
const DOCKER_VALUED: &[&str] = &[
    "--add-host",
    "-a",
    "--attach",
    "--cap-add",
    "--cap-drop",
    "--cgroupns",
    "--cidfile",
    "--cpu-shares",
    "-c",
    "--cpus",
    "--cpuset-cpus",
    "--device",
    "--dns",
    "--dns-search",
    "--entrypoint",
    "-e",
    "--env",
    "--env-file",
    "--expose",
    "--gpus",
    "--group-add",
    "-h",
    "--hostname",
    "--ip",
    "--ipc",
    "-l",
    "--label",
    "--link",
    "--log-driver",
    "--log-opt",
    "--mac-address",
    "-m",
    "--memory",
    "--memory-swap",
    "--mount",
    "--name",
    "--net",
    "--network",
    "--network-alias",
    "--pid",
    "--pids-limit",
    "--platform",
    "-p",
    "--publish",
    "--pull",
    "--restart",
    "--runtime",
    "--security-opt",
    "--shm-size",
    "--stop-signal",
    "--stop-timeout",
    "--storage-opt",
    "--sysctl",
    "--tmpfs",
    "--ulimit",
    "-u",
    "--user",
    "--userns",
    "--uts",
    "-v",
    "--volume",
    "--volumes-from",
    "-w",
    "--workdir",
    // Before the subcommand.
    "--config",
    "--context",
    "-H",
    "--host",
    "--log-level",
    "--root",
    "--runroot",
    "--connection",
    "--url",
    "-n",
    "--namespace",
    "-a",
    "--address",
];
const NODE_VALUED: &[&str] = &[
    "-r",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "-C",
    "--conditions",
    "--env-file",
    "--title",
    "--max-old-space-size",
    "--tsconfig",
    "--cwd",
    "--preload",
];
const NODE_INLINE: &[&str] = &["-e", "--eval", "-p", "--print", "-pe"];

/// Every launcher. The first row that fits counts, so longer subcommands stand first.
pub(super) static LAUNCHERS: &[Launcher] = &[
    Launcher {
        name: "npx",
        also: &["npx.js", "npx-cli.js", "pnpx"],
        names: Names::Npm,
        valued: NPM_VALUED,
        package: NPM_PACKAGE,
        script: &["-c", "--call"],
        ..BASE
    },
    Launcher {
        name: "npm exec",
        also: &["npm", "npm-cli.js"],
        subcommand: &["exec|x"],
        names: Names::Npm,
        valued: NPM_VALUED,
        package: NPM_PACKAGE,
        script: &["-c", "--call"],
        ..BASE
    },
    Launcher {
        name: "pnpm dlx",
        also: &["pnpm", "pnpm.cjs"],
        subcommand: &["dlx|exec"],
        names: Names::Npm,
        valued: NPM_VALUED,
        package: &["--package"],
        ..BASE
    },
    Launcher {
        name: "yarn dlx",
        also: &["yarn", "yarn.js", "yarnpkg"],
        subcommand: &["dlx|exec"],
        names: Names::Npm,
        valued: NPM_VALUED,
        package: NPM_PACKAGE,
        ..BASE
    },
    Launcher { name: "bunx", names: Names::Npm, valued: NODE_VALUED, package: NPM_PACKAGE, ..BASE },
    Launcher {
        name: "bun x",
        also: &["bun"],
        subcommand: &["x"],
        names: Names::Npm,
        valued: NODE_VALUED,
        package: NPM_PACKAGE,
        ..BASE
    },
    Launcher { name: "uvx", names: Names::Python, valued: UV_VALUED, package: &["--from"], ..BASE },
    Launcher {
        name: "uv tool run",
        also: &["uv"],
        subcommand: &["tool", "run"],
        names: Names::Python,
        valued: UV_VALUED,
        package: &["--from"],
        ..BASE
    },
    Launcher { name: "uv run", also: &["uv"], subcommand: &["run"], valued: UV_VALUED, ..BASE },
    Launcher {
        name: "pipx run",
        also: &["pipx"],
        subcommand: &["run"],
        names: Names::Python,
        valued: &["--python", "--index-url", "-i", "--pip-args", "--with"],
        package: &["--spec"],
        ..BASE
    },
    Launcher {
        name: "poetry run",
        also: &["poetry"],
        subcommand: &["run"],
        valued: &["-C", "--directory", "-P", "--project"],
        ..BASE
    },
    Launcher {
        name: "pdm run",
        also: &["pdm"],
        subcommand: &["run"],
        valued: &["-p", "--project"],
        ..BASE
    },
    Launcher {
        name: "hatch run",
        also: &["hatch"],
        subcommand: &["run"],
        valued: &["-e", "--env", "-p", "--project"],
        ..BASE
    },
    Launcher {
        name: "conda run",
        also: &["conda", "mamba", "micromamba"],
        subcommand: &["run"],
        valued: &["-n", "--name", "-p", "--prefix", "--cwd"],
        ..BASE
    },
    Launcher {
        name: "mise exec",
        also: &["mise"],
        subcommand: &["exec|x"],
        valued: &["-C", "--cd"],
        ..BASE
    },
    Launcher {
        name: "docker mcp",
        also: &["docker"],
        subcommand: &["mcp"],
        names: Names::Script,
        valued: DOCKER_VALUED,
        wrapper: false,
        ..BASE
    },
    Launcher {
        name: "docker",
        also: &["podman", "nerdctl"],
        subcommand: &["run"],
        names: Names::Image,
        valued: DOCKER_VALUED,
        wrapper: false,
        ..BASE
    },
    Launcher {
        name: "docker",
        also: &["podman", "nerdctl"],
        subcommand: &["container", "run"],
        names: Names::Image,
        valued: DOCKER_VALUED,
        wrapper: false,
        ..BASE
    },
    Launcher {
        name: "python",
        also: &["python3", "python2", "python3.*", "pypy3", "pypy"],
        names: Names::Script,
        valued: &["-W", "-X", "--check-hash-based-pycs"],
        package: &["-m"],
        script: &["-c"],
        wrapper: false,
        ..BASE
    },
    Launcher {
        name: "node",
        also: &["nodejs", "tsx", "ts-node"],
        names: Names::Script,
        valued: NODE_VALUED,
        script: NODE_INLINE,
        wrapper: false,
        ..BASE
    },
    Launcher {
        name: "bun",
        subcommand: &["run"],
        names: Names::Script,
        valued: NODE_VALUED,
        wrapper: false,
        ..BASE
    },
    Launcher {
        name: "bun",
        names: Names::Script,
        valued: NODE_VALUED,
        script: NODE_INLINE,
        wrapper: false,
        ..BASE
    },
    Launcher {
        name: "deno",
        subcommand: &["run|serve|x"],
        names: Names::Script,
        valued: &["-c", "--config", "--import-map", "--cert", "--location", "--seed", "--env-file"],
        wrapper: false,
        ..BASE
    },
    Launcher {
        name: "ruby",
        names: Names::Script,
        valued: &["-I", "-r", "-C", "-E"],
        script: &["-e"],
        wrapper: false,
        ..BASE
    },
    // What follows here hands its channel on unchanged.
    Launcher {
        name: SHELL,
        also: &["bash", "dash", "zsh", "ash", "ksh", "fish", "busybox"],
        valued: &["-o", "-O", "--rcfile", "--init-file"],
        script: &["-c", "--command"],
        ..BASE
    },
    Launcher { name: "env", valued: &["-u", "--unset", "-C", "--chdir"], script: &["-S"], ..BASE },
    Launcher { name: "sudo", valued: &["-u", "--user", "-g", "--group", "-D"], ..BASE },
    Launcher { name: "nice", valued: &["-n", "--adjustment"], ..BASE },
    Launcher { name: "ionice", valued: &["-c", "-n", "--class", "--classdata"], ..BASE },
    Launcher { name: "stdbuf", valued: &["-i", "-o", "-e"], ..BASE },
    Launcher { name: "nohup", ..BASE },
    Launcher { name: "setsid", ..BASE },
    Launcher { name: "exec", valued: &["-a"], ..BASE },
    Launcher {
        name: "tini",
        also: &["dumb-init", "catatonit", "docker-init", "podman-init"],
        ..BASE
    },
    Launcher { name: "unbuffer", ..BASE },
    Launcher {
        name: "dotenv",
        also: &["dotenvx"],
        subcommand: &["run|--"],
        valued: &["-f", "-e"],
        ..BASE
    },
    Launcher {
        name: "op run",
        also: &["op"],
        subcommand: &["run"],
        valued: &["--env-file"],
        ..BASE
    },
];

/// Packages that are MCP servers or SDKs though no word of their names says so.
pub(super) const KNOWN: &[&str] = &[
    "@modelcontextprotocol/*",
    "modelcontextprotocol",
    "fastmcp",
    "rmcp",
    "mcpo",
    "supergateway",
    "@wonderwhy-er/desktop-commander",
    "desktop-commander",
    "serena",
    "serena-agent",
    "@agentdeskai/browser-tools-server",
];

/// Packages that speak MCP from the other side, or are tools about it.
pub(super) const NO_SERVERS: &[&str] = &[
    "@modelcontextprotocol/inspector*",
    "@modelcontextprotocol/sdk",
    "@modelcontextprotocol/client*",
    "@modelcontextprotocol/conformance",
    "mcp-inspector*",
    "mcpwatch",
    "mcp-scan",
    "mcp-use",
    "mcp-cli",
    "mcp-client*",
    "mcphost",
    "mcporter",
];
