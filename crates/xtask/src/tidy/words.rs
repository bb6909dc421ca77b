//! Words that have no place in the repository.
//!
//! Unfinished work is an issue, not a comment; `unsafe` lives in one crate; and nothing that is
//! checked in may know on which machine or in whose workplace it was written.

use super::lexer::code_only;
use super::{File, Sin};

/// Marks of unfinished work, refused everywhere.
const UNFINISHED: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];
/// Macros of unfinished work, refused in code.
const MACROS: &[&str] = &["todo!", "unimplemented!", "dbg!"];
/// A place in the documentation that was kept free and never filled.
const PLACEHOLDER: &str = "(The output of the demo comes here.)";
/// Folders of somebody's machine.
const WORKPLACES: &[&str] = &["/work/", "/Users/", "/tmp/lambic/"];

/// The rules themselves have to name what they refuse.
const EXEMPT: &str = "crates/xtask/src/tidy";

pub(crate) fn check(files: &[File]) -> Vec<Sin> {
    let mut sins = Vec::new();
    for file in files {
        if file.path.starts_with(EXEMPT) || !is_ours(file) {
            continue;
        }
        for (index, line) in file.text.lines().enumerate() {
            let place = format!("{}:{}", file.path, index + 1);
            sins.extend(bad_words(&place, line));
        }
        if file.is_rust() {
            sins.extend(bad_code(file));
        }
    }
    sins
}

/// Lock files, models and recorded data hold strangers' words.
fn is_ours(file: &File) -> bool {
    const OURS: &[&str] = &[
        ".rs", ".md", ".toml", ".py", ".js", ".mjs", ".cjs", ".sh", ".yml", ".yaml", ".go", "run",
    ];
    !file.is_generated() && OURS.iter().any(|ending| file.path.ends_with(ending))
}

fn bad_words(place: &str, line: &str) -> Vec<Sin> {
    let mut sins = Vec::new();
    for word in UNFINISHED {
        if contains_word(line, word) {
            sins.push(format!(
                "{place}: '{word}' marks unfinished work; finish it or open an issue"
            ));
        }
    }
    if line.contains(PLACEHOLDER) {
        sins.push(format!("{place}: run `lambic demo --once` and put what it prints here"));
    }
    for path in WORKPLACES {
        if starts_a_path(line, path) {
            sins.push(format!("{place}: '{path}' is a folder of one machine; use a relative path"));
        }
    }
    sins
}

fn bad_code(file: &File) -> Vec<Sin> {
    let mut sins = Vec::new();
    for (index, line) in code_only(&file.text).lines().enumerate() {
        let place = format!("{}:{}", file.path, index + 1);
        for word in MACROS {
            if contains_word(line, word) {
                sins.push(format!("{place}: '{word}' has no place in a commit"));
            }
        }
        if contains_word(line, "unsafe") && !may_be_unsafe(file) {
            sins.push(format!("{place}: 'unsafe' belongs to crates/sandbox only"));
        }
    }
    sins
}

/// The sandbox, and the measurements, which are no part of the product.
fn may_be_unsafe(file: &File) -> bool {
    file.crate_folder() == Some("sandbox") || file.path.starts_with("bench/")
}

/// `word` with no letter, digit or underscore beside it.
fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// `path` where an absolute path could begin, so not in the middle of another one.
fn starts_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(|c| is_name(c) || "./-*}>)~$".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[track_caller]
    fn finds(path: &str, text: &str, sins: &[&str]) {
        let found = check(&[file(path, text)]);
        assert_eq!(found.len(), sins.len(), "{found:?}");
        for (found, expected) in found.iter().zip(sins) {
            assert!(found.contains(expected), "{found} should say {expected}");
        }
    }

    #[test]
    fn unfinished_work_is_found() {
        finds("a.md", "one\nTODO: two\n", &["a.md:2: 'TODO'"]);
        finds("crates/a/src/lib.rs", "fn f() { todo!() }", &["'todo!'"]);
        finds("crates/a/src/lib.rs", "// the todo! macro\nlet s = \"dbg!\";", &[]);
        finds("a.md", "MASTODON and XXXL", &[]);
        finds("Cargo.lock", "TODO", &[]);
        finds("README.md", "```text\n(The output of the demo comes here.)\n```", &["README.md:2"]);
    }

    #[test]
    fn unsafe_is_for_the_sandbox() {
        finds("crates/store/src/lib.rs", "unsafe { x() }", &["crates/sandbox only"]);
        finds("crates/store/src/lib.rs", "#![deny(unsafe_code)] // unsafe", &[]);
        finds("crates/sandbox/src/lib.rs", "unsafe { x() }", &[]);
        finds("bench/src/main.rs", "unsafe { x() }", &[]);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        finds("a.md", "see /work/a", &["'/work/'"]);
        finds("a.rs", "let x = \"/Users/me\";", &["'/Users/'"]);
        finds("a.md", "see work/a, files/work/b, $x/Users/c and https://a.b/work/c", &[]);
    }
}
