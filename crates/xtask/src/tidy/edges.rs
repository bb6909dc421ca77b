//! Which crate may import which: the map of ARCHITECTURE.md, enforced.
//!
//! A new crate or a new edge is a decision of its own, so it has to be written down here.

use super::{File, Sin};

/// Crate folder, and the folders of our own crates that it may import outside its tests.
/// `model-*` stands for every generated model.
const MAP: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("model-*", &["wire"]),
    ("rt", &[]),
    ("store", &["rt"]),
    ("front", &["wire", "model-*", "store", "rt"]),
    ("sandbox", &["rt"]),
    ("lambda", &["front", "sandbox", "model-*", "store", "rt", "wire"]),
    ("server", &["lambda", "front", "sandbox", "model-*", "store", "rt", "wire"]),
    ("xtask", &[]),
];

/// What matters of one crate's manifest.
pub(crate) struct Manifest {
    pub(crate) folder: String,
    pub(crate) package: String,
    /// Packages of ours that it depends on, for building and running (not for its tests).
    pub(crate) imports: Vec<String>,
}

/// Reads every `crates/*/Cargo.toml`.
pub(crate) fn manifests(files: &[File]) -> Result<Vec<Manifest>, String> {
    let mut manifests = Vec::new();
    for file in files {
        let Some(folder) = file.crate_folder() else { continue };
        if file.path != format!("crates/{folder}/Cargo.toml") {
            continue;
        }
        let table: toml::Table =
            file.text.parse().map_err(|error| format!("{}: {error}", file.path))?;
        let package = table.get("package").and_then(|p| p.get("name")).and_then(|n| n.as_str());
        let package =
            package.ok_or_else(|| format!("{}: there is no package.name", file.path))?.to_owned();
        let mut imports = Vec::new();
        for section in ["dependencies", "build-dependencies"] {
            let Some(section) = table.get(section).and_then(|s| s.as_table()) else { continue };
            imports.extend(section.keys().filter(|name| name.starts_with("lambic-")).cloned());
        }
        manifests.push(Manifest { folder: folder.to_owned(), package, imports });
    }
    Ok(manifests)
}

pub(crate) fn check(manifests: &[Manifest]) -> Vec<Sin> {
    let mut sins = Vec::new();
    for manifest in manifests {
        let place = format!("crates/{}/Cargo.toml", manifest.folder);
        let expected = match manifest.folder.as_str() {
            "xtask" => "xtask".to_owned(),
            folder => format!("lambic-{folder}"),
        };
        if manifest.package != expected {
            sins.push(format!("{place}: the package of this folder is called '{expected}'"));
        }
        let Some((_, allowed)) = MAP.iter().find(|(name, _)| matches(name, &manifest.folder))
        else {
            sins.push(format!(
                "{place}: the crate is not on the map (crates/xtask/src/tidy/edges.rs)"
            ));
            continue;
        };
        for import in &manifest.imports {
            let folder = import.trim_start_matches("lambic-");
            if !allowed.iter().any(|name| matches(name, folder)) {
                sins.push(format!("{place}: '{}' may not import '{folder}'", manifest.folder));
            }
        }
    }
    sins
}

fn matches(pattern: &str, folder: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => folder.starts_with(start),
        None => folder == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[track_caller]
    fn finds(folder: &str, manifest: &str, sins: &[&str]) {
        let files = [file(&format!("crates/{folder}/Cargo.toml"), manifest)];
        let found = check(&manifests(&files).unwrap());
        assert_eq!(found.len(), sins.len(), "{found:?}");
        for (found, expected) in found.iter().zip(sins) {
            assert!(found.contains(expected), "{found} should say {expected}");
        }
    }

    #[test]
    fn edges_of_the_map() {
        let manifest = |name: &str, import: &str| {
            format!("[package]\nname = \"{name}\"\n[dependencies]\n{import}.workspace = true\n")
        };
        finds("store", &manifest("lambic-store", "lambic-rt"), &[]);
        finds("store", &manifest("lambic-store", "lambic-wire"), &["may not import 'wire'"]);
        finds("model-s3", &manifest("lambic-model-s3", "lambic-wire"), &[]);
        finds("front", &manifest("lambic-front", "lambic-model-s3"), &[]);
        finds("rt", &manifest("other", "serde"), &["is called 'lambic-rt'"]);
        finds("new", &manifest("lambic-new", "serde"), &["not on the map"]);
    }

    #[test]
    fn imports_of_tests_are_free() {
        let text = "[package]\nname = \"lambic-rt\"\n[dev-dependencies]\nlambic-wire = \"1\"\n";
        finds("rt", text, &[]);
    }
}
