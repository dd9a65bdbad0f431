//! Lists `web/dist` (made by `make web`) for embedding, so that the binary carries its own pages.

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
    writeln!(f, "pub static ASSETS: &[(&str, &[u8])] = &[").expect("OUT_DIR is writable");
    for (name, path) in files {
        println!("cargo::rerun-if-changed={}", path.display());
        // Copied: the pages may be built anew while the compiler reads.
        let copy = out.with_file_name(name.replace('/', "~"));
        fs::copy(&path, &copy).expect("it was just listed");
        writeln!(f, "    ({name:?}, include_bytes!({:?})),", copy.display()).expect("OUT_DIR is writable");
    }
    writeln!(f, "];").expect("OUT_DIR is writable");
}
