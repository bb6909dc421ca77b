//! `cargo xtask new-op <service> <Operation>`: starts a new operation.
//!
//! Offering an operation costs one new file, its line in `ops/mod.rs` (and the name beside it) and
//! its arm of the dispatch table. This command makes them, adds the operation to what `gen` writes
//! shapes for, and leaves the thinking to you.

use std::path::Path;
use std::process::Command;

use crate::shell;
use crate::tidy::camel_case;

const USAGE: &str =
    "usage: cargo xtask new-op <service> <Operation>, as in: new-op lambda GetAlias";

/// `cargo xtask new-op <service> <Operation>`
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let [service, operation] = args else { return Err(USAGE.to_owned()) };
    let module = snake_case(operation);
    if camel_case(&module) != *operation {
        return Err(format!("'{operation}' is not the name of an operation; {USAGE}"));
    }
    let root = shell::root();
    let crate_folder = root.join("crates").join(service);
    let file = crate_folder.join("src/ops").join(format!("{module}.rs"));
    if file.exists() {
        return Err(format!("{} is already there", file.display()));
    }
    let not_offered = shell::read(&crate_folder.join("not-offered.txt"))?;
    if !not_offered.lines().any(|line| line == operation) {
        return Err(format!("crates/{service}/not-offered.txt does not list '{operation}'"));
    }
    edit(&root.join("models").join(format!("offered-{service}.txt")), |text| {
        Ok(with_line(text, operation))
    })?;
    edit(&crate_folder.join("src/ops/mod.rs"), |text| Ok(with_mod(text, &module, operation)))?;
    edit(&crate_folder.join("src/dispatch.rs"), |text| with_arm(text, operation))?;
    shell::write(&file, &TEMPLATE.replace("OPERATION", operation))?;
    for command in ["gen", "coverage"] {
        shell::run(Command::new("cargo").current_dir(&root).args(["xtask", command]))?;
    }
    println!("now write crates/{service}/src/ops/{module}.rs");
    Ok(())
}

fn edit(path: &Path, change: impl Fn(&str) -> Result<String, String>) -> Result<(), String> {
    let new =
        change(&shell::read(path)?).map_err(|error| format!("{}: {error}", path.display()))?;
    shell::write(path, &new)
}

/// `CreateFunction` gives `create_function`.
fn snake_case(camel: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in camel.chars().enumerate() {
        if letter.is_ascii_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// The list with one more line, comments first and names sorted.
fn with_line(text: &str, line: &str) -> String {
    let (comments, mut names): (Vec<&str>, Vec<&str>) =
        text.lines().filter(|l| !l.is_empty()).partition(|l| l.starts_with('#'));
    names.push(line);
    names.sort_unstable();
    names.dedup();
    let mut new = String::new();
    for line in comments.iter().chain(&names) {
        new.push_str(line);
        new.push('\n');
    }
    new
}

/// `ops/mod.rs` with one more `mod` line and one more `pub use` line, sorted among the others.
fn with_mod(text: &str, module: &str, operation: &str) -> String {
    let text = with_sorted_line(text, &format!("mod {module};"), |line| {
        // Helpers and the test harness stand apart from the operations.
        line.starts_with("mod ") && text.contains(&format!("pub use {}::", module_of(line)))
    });
    let used = format!("pub use {module}::{operation};");
    with_sorted_line(&text, &used, |line| line.starts_with("pub use "))
}

fn module_of(line: &str) -> &str {
    line.trim_start_matches("mod ").trim_end_matches(';')
}

/// Puts `new` before the first line of its kind that sorts after it, else behind the last.
fn with_sorted_line(text: &str, new: &str, is_kind: impl Fn(&str) -> bool) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let at = lines
        .iter()
        .position(|line| is_kind(line) && *line > new)
        .or_else(|| lines.iter().rposition(|line| is_kind(line)).map(|last| last + 1))
        .unwrap_or(lines.len());
    lines.insert(at, new);
    lines.join("\n") + "\n"
}

/// The dispatch table with the operation served instead of refused.
fn with_arm(text: &str, operation: &str) -> Result<String, String> {
    let is_served = |line: &str| line.trim_start().starts_with("Op::") && line.contains("serve::<");
    let model = text.lines().find(|line| is_served(line));
    let model = model.ok_or("there is no arm that could be the model for a new one")?;
    let example: String = model
        .trim_start()
        .trim_start_matches("Op::")
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    let text = without_refusal(text, operation)?;
    Ok(with_sorted_line(&text, &model.replace(&example, operation), is_served))
}

/// Takes `Op::X` out of the alternatives `Op::W | Op::X | Op::Y => …` of the arm that refuses.
fn without_refusal(text: &str, operation: &str) -> Result<String, String> {
    let wanted = format!("Op::{operation}");
    let ends_name = |at: usize| {
        !text[at + wanted.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
    };
    let place = text.match_indices(&wanted).map(|(at, _)| at).find(|at| ends_name(*at));
    let at = place.ok_or_else(|| format!("no arm refuses {wanted}"))?;
    let (before, after) = (&text[..at], &text[at + wanted.len()..]);
    if after.trim_start().starts_with("=> serve") {
        return Err(format!("{wanted} is served already"));
    }
    if let Some(rest) = after.strip_prefix(" |") {
        let begins_line = before.ends_with(' ') && before.trim_end_matches(' ').ends_with('\n');
        if begins_line {
            // The next name takes its place.
            return Ok(format!("{before}{}", rest.trim_start()));
        }
        let rest = rest.strip_prefix(' ').map_or(rest.to_owned(), |rest| format!(" {rest}"));
        return Ok(format!("{}{rest}", before.trim_end_matches(' ')));
    }
    match before.trim_end().strip_suffix('|') {
        Some(before) => Ok(format!("{}{after}", before.trim_end())),
        None => Err(format!("{wanted} is the last one refused; take its arm out by hand")),
    }
}

const TEMPLATE: &str = r#"//! What it does, in one sentence, and what it refuses.
//!
//! ```text
//! GET /the/path
//!
//! 200 {}
//! ```

use lambic_front::{Cx, InputOf, OutputOf, Serve};
use lambic_model_lambda as model;
use lambic_wire::{Arn, Error};

use crate::Lambda;
use crate::names;

/// The operation.
pub struct OPERATION;

impl Serve for OPERATION {
    type Service = Lambda;
    type Operation = model::ops::OPERATION;

    fn resource(cx: &Cx<'_, Lambda>, input: &InputOf<Self>) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(cx: &Cx<'_, Lambda>, input: InputOf<Self>) -> Result<OutputOf<Self>, Error> {
        // Store the intent; a reconciler in `tasks/` does what takes long.
        Err(Error::not_offered("OPERATION"))
    }
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        assert_eq!(snake_case("CreateFunctionUrlConfig"), "create_function_url_config");
        assert_eq!(camel_case("create_function_url_config"), "CreateFunctionUrlConfig");
    }

    #[test]
    fn lists_and_modules_stay_sorted() {
        assert_eq!(with_line("# why\nA\nC\n", "B"), "# why\nA\nB\nC\n");
        let text = "mod help;\n\nmod a;\nmod c;\n\npub use a::A;\npub use c::C;\n";
        let with_b =
            "mod help;\n\nmod a;\nmod b;\nmod c;\n\npub use a::A;\npub use b::B;\npub use c::C;\n";
        assert_eq!(with_mod(text, "b", "B"), with_b);
        let with_d =
            "mod help;\n\nmod a;\nmod c;\nmod d;\n\npub use a::A;\npub use c::C;\npub use d::D;\n";
        assert_eq!(with_mod(text, "d", "D"), with_d);
    }

    #[test]
    fn the_arm_moves() {
        let table = |served: &str, refused: &str| {
            format!("match op {{\n    {served}\n\n    // No.\n    {refused} => {{\n    }}\n}}\n")
        };
        let a = "Op::GetA => serve::<ops::GetA>(cx, r).await,";
        let before = table(a, "Op::B | Op::Bc |\n    Op::D | Op::E |\n    Op::F");
        let moved = |operation: &str, refused: &str| {
            let served = format!("{a}\n    {}", a.replace("GetA", operation));
            let served = if operation < "GetA" {
                format!("{}\n    {a}", a.replace("GetA", operation))
            } else {
                served
            };
            assert_eq!(with_arm(&before, operation).unwrap(), table(&served, refused));
        };
        moved("B", "Op::Bc |\n    Op::D | Op::E |\n    Op::F");
        moved("Bc", "Op::B |\n    Op::D | Op::E |\n    Op::F");
        moved("D", "Op::B | Op::Bc |\n    Op::E |\n    Op::F");
        moved("E", "Op::B | Op::Bc |\n    Op::D |\n    Op::F");
        moved("F", "Op::B | Op::Bc |\n    Op::D | Op::E");
        assert!(with_arm(&before, "GetA").unwrap_err().contains("served already"));
        assert!(with_arm(&before, "Z").unwrap_err().contains("no arm"));
        assert!(with_arm(&table(a, "Op::B"), "B").unwrap_err().contains("by hand"));
    }
}
