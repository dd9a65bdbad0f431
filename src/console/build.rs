//! Lists `web/dist` (made by `make web`) for embedding, so that the binary carries its own pages, each with what it is
//! compressed (`NAME.br`, `NAME.gz`), where that is there.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
};

fn walk(dir: &Path, root: &Path, out: &mut Vec<(String, PathBuf)>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for e in entries.flatten() {
        let path = e.path();
        if path.is_dir() {
            walk(&path, root, out);
        } else if let Ok(rel) = path.strip_prefix(root) {
            out.push((rel.to_string_lossy().into_owned(), path));
        }
    }
}

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let dist = root.join("../../web/dist");
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut files = Vec::new();
    walk(&dist, &dist, &mut files);
    files.sort();
    if !files.iter().any(|(n, _)| n == "index.html") {
        println!(
            "cargo::warning=web/dist is not there: the console will be a page that says so (run `make web` first)"
        );
    }
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("assets.rs");
    let mut f = fs::File::create(&out).expect("OUT_DIR is writable");
    writeln!(f, "static ASSETS: &[(&str, Asset)] = &[").expect("OUT_DIR is writable");
    let packed = |name: &str| [".br", ".gz"].iter().any(|e| name.ends_with(e));
    for (name, path) in files.iter().filter(|(n, _)| !packed(n)) {
        // Copied: the pages may be built anew while the compiler reads.
        let copy = |path: &Path, name: &str| {
            println!("cargo::rerun-if-changed={}", path.display());
            let copy = out.with_file_name(name.replace('/', "~"));
            fs::copy(path, &copy).expect("it was just listed");
            copy
        };
        let plain = copy(path, name);
        let tag = fnv(&fs::read(&plain).expect("it was just copied"));
        let other = |ending: &str| {
            let name = format!("{name}{ending}");
            match files.iter().find(|(n, _)| *n == name) {
                Some((n, path)) => format!("Some(include_bytes!({:?}))", copy(path, n).display()),
                None => "None".into(),
            }
        };
        writeln!(
            f,
            "    ({name:?}, Asset {{ plain: include_bytes!({:?}), br: {}, gz: {}, tag: \"{tag:016x}\" }}),",
            plain.display(),
            other(".br"),
            other(".gz")
        )
        .expect("OUT_DIR is writable");
    }
    writeln!(f, "];").expect("OUT_DIR is writable");
}

/// FNV-1a: tells one build's files from another's, nothing more.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}
