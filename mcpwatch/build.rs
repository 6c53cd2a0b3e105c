//! Builds the kernel object with the nightly toolchain and hands it to `include_bytes!`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use aya_build::{Package, Toolchain};
use mcpwatch_common::control::RDONLY_CAST;
use object::build::elf::{Builder, SectionData};
use object::{Object, ObjectSection, SectionKind, elf};

fn main() -> anyhow::Result<()> {
    // `cargo xtask` names the nightly it found fitting; a plain `cargo build` tries "nightly".
    println!("cargo::rerun-if-env-changed=MCPWATCH_NIGHTLY");
    let nightly = std::env::var("MCPWATCH_NIGHTLY").unwrap_or_else(|_| "nightly".into());
    let package = Package {
        name: "mcpwatch-ebpf",
        root_dir: concat!(env!("CARGO_MANIFEST_DIR"), "/../mcpwatch-ebpf"),
        ..Package::default()
    };
    aya_build::build_ebpf([package], Toolchain::Custom(&nightly))?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    let object = out.join("mcpwatch");
    strip(&object)?;
    forget_lines(&object)?;
    note_casts(&object, &out.join("casts"))
}

/// Takes away what only debuggers read, four fifths of the object: it would be part of the agent, and read by the loader.
fn strip(path: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let mut object = Builder::read(&*bytes)?;
    for section in &mut object.sections {
        section.delete =
            [&b".debug_"[..], b".rel.debug_"].iter().any(|prefix| section.name.starts_with(prefix));
    }
    object.delete_orphans();
    // The linker keeps the names of sections with those of symbols, which the builder does not.
    let names = object.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    object.write(&mut stripped)?;
    std::fs::write(path, stripped).with_context(|| path.display().to_string())
}

/// Where `struct btf_ext_header` has `line_info_len`.
const LINE_INFO_LEN: usize = 20;

/// Takes away which source line an instruction comes from, which the verifier's log would show: aya 0.14 keeps a copy of
/// the lines of all functions for each of them, some 80 MiB while it loads.
fn forget_lines(path: &Path) -> anyhow::Result<()> {
    let mut bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let place = object::File::parse(&*bytes)?
        .section_by_name(".BTF.ext")
        .and_then(|section| section.file_range())
        .and_then(|(start, _)| usize::try_from(start).ok())
        .and_then(|start| start.checked_add(LINE_INFO_LEN));
    let length = place.and_then(|place| bytes.get_mut(place..)?.first_chunk_mut::<4>());
    *length.context("the kernel object has no section .BTF.ext")? = [0; 4];
    std::fs::write(path, bytes).with_context(|| path.display().to_string())
}

/// Bytes of an instruction.
const INSTRUCTION: usize = 8;

/// Notes where in the object [`RDONLY_CAST`] is called, four bytes a place, little-endian.
fn note_casts(path: &Path, notes: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    // `BPF_JMP | BPF_CALL`, of a helper.
    let mut call = [0x85, 0, 0, 0, 0, 0, 0, 0];
    call[4..].copy_from_slice(&RDONLY_CAST.to_le_bytes());
    let mut places = Vec::new();
    for section in object::File::parse(&*bytes)?.sections() {
        let Some((start, _)) = section.file_range().filter(|_| section.kind() == SectionKind::Text)
        else {
            continue;
        };
        for (index, instruction) in section.data()?.chunks(INSTRUCTION).enumerate() {
            if instruction == call {
                places.extend(
                    u32::try_from(start)?
                        .saturating_add(u32::try_from(index * INSTRUCTION)?)
                        .to_le_bytes(),
                );
            }
        }
    }
    anyhow::ensure!(!places.is_empty(), "the kernel object never calls {RDONLY_CAST:#x}");
    std::fs::write(notes, places).with_context(|| notes.display().to_string())
}
