//! Builds the kernel object with the nightly toolchain and hands it to `include_bytes!`.

use aya_build::{Package, Toolchain};

fn main() -> anyhow::Result<()> {
    // `cargo xtask` names the nightly it found fitting; a plain `cargo build` tries "nightly".
    println!("cargo::rerun-if-env-changed=MCPWATCH_NIGHTLY");
    let nightly = std::env::var("MCPWATCH_NIGHTLY").unwrap_or_else(|_| "nightly".into());
    let package = Package {
        name: "mcpwatch-ebpf",
        root_dir: concat!(env!("CARGO_MANIFEST_DIR"), "/../mcpwatch-ebpf"),
        ..Package::default()
    };
    aya_build::build_ebpf([package], Toolchain::Custom(&nightly))
}
