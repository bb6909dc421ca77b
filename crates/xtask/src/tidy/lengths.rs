//! How long files and functions may be, and the ratchet for old sins.
//!
//! A line counts when there is code on it: explaining something costs nothing, and neither does a row
//! of a table (`Op::GetAlias => …,` on one line), of which there are as many as operations. A file has
//! at most [`FILE_LINES_MAX`] lines of any kind, a function [`FUNCTION_LINES_MAX`] lines of code.

use std::collections::BTreeMap;

use super::lexer::code_only;
use super::{File, Sin};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Lines per `path`, and code lines per `path::function`; only what is over its limit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lengths {
    files: BTreeMap<String, usize>,
    functions: BTreeMap<String, usize>,
}

/// Finds every file and function that is too long.
pub(crate) fn measure(files: &[File]) -> Lengths {
    let mut lengths = Lengths::default();
    for file in files.iter().filter(|file| file.is_rust() && !file.is_generated()) {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            lengths.files.insert(file.path.clone(), lines);
        }
        for (name, lines) in functions(&file.text) {
            if lines > FUNCTION_LINES_MAX {
                let longest =
                    lengths.functions.entry(format!("{}::{name}", file.path)).or_insert(0);
                *longest = lines.max(*longest);
            }
        }
    }
    lengths
}

/// Name and lines of code of every function with a body.
fn functions(source: &str) -> Vec<(String, usize)> {
    let code = code_only(source);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let name: String =
            code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if !starts_word || name.is_empty() {
            continue;
        }
        if let Some((open, close)) = body(&code, at) {
            let lines = code[open + 1..close].lines().map(str::trim);
            found.push((name, lines.filter(|line| !line.is_empty() && !is_row(line)).count()));
        }
    }
    found
}

/// Whether this line is one row of a table from operations to what does them.
fn is_row(line: &str) -> bool {
    let operation = line.strip_prefix("Op::").and_then(|rest| rest.split_once(" => "));
    operation
        .is_some_and(|(name, does)| name.chars().all(char::is_alphanumeric) && does.ends_with(','))
}

/// Where the braces of the function that starts at `at` are; `None` for a declaration.
fn body(code: &str, at: usize) -> Option<(usize, usize)> {
    let (mut open, mut braces, mut brackets) = (None, 0_usize, 0_usize);
    for (offset, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets = brackets.saturating_sub(1),
            b';' if open.is_none() && brackets == 0 => return None,
            b'{' => {
                open.get_or_insert(offset);
                braces += 1;
            }
            b'}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return open.map(|open| (open, offset));
                }
            }
            _ => {}
        }
    }
    None
}

/// Reads the ratchet file.
pub(crate) fn parse(text: &str) -> Result<Lengths, String> {
    let table: toml::Table = text.parse().map_err(|e| format!("tidy-ratchet.toml: {e}"))?;
    let section = |name: &str| -> Result<BTreeMap<String, usize>, String> {
        let mut entries = BTreeMap::new();
        let Some(section) = table.get(name).and_then(|s| s.as_table()) else { return Ok(entries) };
        for (key, value) in section {
            let lines = value.as_integer().and_then(|lines| usize::try_from(lines).ok());
            let lines = lines.ok_or_else(|| format!("tidy-ratchet.toml: '{key}' is no number"))?;
            entries.insert(key.clone(), lines);
        }
        Ok(entries)
    };
    Ok(Lengths { files: section("file_lines")?, functions: section("function_lines")? })
}

pub(crate) fn check(now: &Lengths, allowed: &Lengths) -> Vec<Sin> {
    let mut sins = compare(&now.files, &allowed.files, FILE_LINES_MAX, "split it by meaning");
    sins.extend(compare(
        &now.functions,
        &allowed.functions,
        FUNCTION_LINES_MAX,
        "branch in the parent, work in helpers",
    ));
    sins
}

fn compare(
    now: &BTreeMap<String, usize>,
    allowed: &BTreeMap<String, usize>,
    max: usize,
    advice: &str,
) -> Vec<Sin> {
    let mut sins = Vec::new();
    for (place, lines) in now {
        let limit = *allowed.get(place).unwrap_or(&max);
        if *lines > limit {
            sins.push(format!("{place}: {lines} lines, {limit} are allowed; {advice}"));
        }
    }
    for (place, limit) in allowed {
        if now.get(place).is_none_or(|lines| lines < limit) {
            sins.push(format!("{place}: has shrunk; lower it with `cargo xtask tidy --ratchet`"));
        }
    }
    sins
}

/// The ratchet after a look at the present: entries shrink or go, none grows, none is new.
pub(crate) fn lowered(now: &Lengths, allowed: &Lengths) -> String {
    let lower = |now: &BTreeMap<String, usize>, allowed: &BTreeMap<String, usize>| {
        let mut kept = BTreeMap::new();
        for (place, limit) in allowed {
            if let Some(lines) = now.get(place) {
                kept.insert(place.clone(), *lines.min(limit));
            }
        }
        kept
    };
    fresh(&Lengths {
        files: lower(&now.files, &allowed.files),
        functions: lower(&now.functions, &allowed.functions),
    })
}

/// A ratchet that allows exactly the present.
pub(crate) fn fresh(now: &Lengths) -> String {
    let mut text = String::from(
        "# What is longer than the rules of `cargo xtask tidy` allow. Numbers may only shrink.\n",
    );
    for (title, entries) in [("file_lines", &now.files), ("function_lines", &now.functions)] {
        text.push_str(&format!("\n[{title}]\n"));
        for (place, lines) in entries {
            text.push_str(&format!("\"{place}\" = {lines}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    fn long_function(lines: usize) -> String {
        format!(
            "trait T {{ fn no(x: [u8; 2]); }}\nfn long() {{\n{}}}\n",
            "x;\n// why\n\n".repeat(lines)
        )
    }

    #[test]
    fn a_row_of_a_table_costs_nothing() {
        let rows = "Op::GetAlias => serve::<GetAlias>(cx).await,\n".repeat(100);
        let source = format!("fn table(op: Op) {{\nmatch op {{\n{rows}}}\n}}\n");
        assert_eq!(functions(&source), [("table".to_owned(), 2)]);
        assert!(!is_row("Op::A | Op::B => work(),") && !is_row("Op::A => {"));
    }

    #[test]
    fn functions_are_measured_in_lines_of_code() {
        let found =
            functions("fn a() {}\nfn b<T: Fn(u8)>(x: [u8; 4]) -> u8 {\n  '}';\n  {\n  }\n}\n");
        assert_eq!(found, [("a".to_owned(), 0), ("b".to_owned(), 3)]);
        assert!(measure(&[file("a.rs", &long_function(70))]).functions.is_empty());
        let over = measure(&[file("a.rs", &long_function(71))]);
        assert_eq!(over.functions, BTreeMap::from([("a.rs::long".to_owned(), 71)]));
    }

    #[test]
    fn files_are_measured_unless_generated() {
        let text = "//\n".repeat(601);
        assert_eq!(measure(&[file("crates/a/src/generated.rs", &text)]), Lengths::default());
        assert_eq!(measure(&[file("a.rs", &text)]).files["a.rs"], 601);
    }

    #[test]
    fn the_ratchet_only_shrinks() {
        let now = measure(&[file("a.rs", &long_function(80))]);
        let allow =
            |lines| parse(&format!("[function_lines]\n\"a.rs::long\" = {lines}\n")).unwrap();
        assert!(check(&now, &Lengths::default())[0].contains("80 lines, 70 are allowed"));
        assert!(check(&now, &allow(80)).is_empty());
        assert!(check(&now, &allow(79))[0].contains("79 are allowed"));
        assert!(check(&now, &allow(90))[0].contains("has shrunk"));
        assert_eq!(parse(&lowered(&now, &allow(90))).unwrap(), allow(80));
        assert_eq!(parse(&lowered(&now, &allow(75))).unwrap(), allow(75));
        assert_eq!(parse(&lowered(&now, &Lengths::default())).unwrap(), Lengths::default());
        assert_eq!(parse(&fresh(&now)).unwrap(), allow(80));
    }
}
