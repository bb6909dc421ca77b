//! `cargo xtask new-op <service> <Operation>`: starts a new operation.
//!
//! Offering an operation costs one new file and two edited lines: the `mod` line and the arm of the
//! dispatch table. This command makes all three, adds the operation to what `gen` writes shapes
//! for, and leaves the thinking to you.

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
    edit(&crate_folder.join("src/ops/mod.rs"), |text| Ok(with_mod(text, &module)))?;
    edit(&crate_folder.join("src/dispatch.rs"), |text| with_arm(text, operation))?;
    shell::write(&file, &template(operation))?;
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

/// `ops/mod.rs` with one more `mod` line, among the others of its kind.
fn with_mod(text: &str, module: &str) -> String {
    let visibility = if text.contains("pub(crate) mod ") { "pub(crate) mod" } else { "mod" };
    let new = format!("{visibility} {module};");
    let mut lines: Vec<&str> = text.lines().collect();
    let is_mod = |line: &str| line.starts_with(visibility) && line.ends_with(';');
    let at = lines
        .iter()
        .position(|line| is_mod(line) && **line > *new)
        .or_else(|| lines.iter().rposition(|line| is_mod(line)).map(|last| last + 1))
        .unwrap_or(lines.len());
    lines.insert(at, &new);
    lines.join("\n") + "\n"
}

/// The dispatch table with the operation served instead of refused.
fn with_arm(text: &str, operation: &str) -> Result<String, String> {
    let model = text
        .lines()
        .find(|line| line.trim_start().starts_with("Op::") && line.contains("serve::<"))
        .ok_or("there is no arm that could be the model for a new one")?;
    let example = model.trim_start().trim_start_matches("Op::");
    let example: String = example.chars().take_while(char::is_ascii_alphanumeric).collect();
    let arm = model.replace(&example, operation);
    let (mut lines, mut refused) = (Vec::new(), false);
    for line in text.lines() {
        match without_refusal(line, operation) {
            Some(rest) => {
                refused = true;
                lines.extend(rest);
            }
            None => lines.push(line.to_owned()),
        }
    }
    if !refused {
        return Err(format!("no arm refuses Op::{operation}"));
    }
    let last = lines.iter().rposition(|line| line.contains("serve::<")).unwrap_or(0);
    lines.insert(last + 1, arm);
    Ok(lines.join("\n") + "\n")
}

/// What is left of a line that refuses the operation among others (`| Op::A | Op::B`), or `None`
/// when the line does not speak of it.
fn without_refusal(line: &str, operation: &str) -> Option<Option<String>> {
    let wanted = format!("Op::{operation}");
    let indent = &line[..line.len() - line.trim_start().len()];
    let (pattern, arrow) = match line.split_once("=>") {
        Some((pattern, action)) => (pattern, Some(action)),
        None => (line, None),
    };
    let names: Vec<&str> = pattern.split('|').map(str::trim).filter(|n| !n.is_empty()).collect();
    if !names.contains(&wanted.as_str()) || line.contains("serve::<") {
        return None;
    }
    let rest: Vec<&str> = names.into_iter().filter(|name| *name != wanted).collect();
    let leading = if pattern.trim_start().starts_with('|') { "| " } else { "" };
    if rest.is_empty() && arrow.is_none() {
        return Some(None);
    }
    let action = arrow.map(|action| format!(" =>{action}")).unwrap_or_default();
    Some(Some(format!("{indent}{leading}{}{action}", rest.join(" | "))))
}

fn template(operation: &str) -> String {
    format!(
        "//! {operation}: what it does, in one sentence, and what it refuses.\n\
         //!\n\
         //! ```text\n\
         //! GET /the/path HTTP/1.1\n\
         //!\n\
         //! HTTP/1.1 200 OK\n\
         //! {{}}\n\
         //! ```\n\
         \n\
         use lambic_front::{{Cx, Serve}};\n\
         use lambic_model_lambda::ops::{operation};\n\
         use lambic_wire::arn::Arn;\n\
         use lambic_wire::error::Error;\n\
         use lambic_wire::operation::Operation;\n\
         \n\
         use crate::Lambda;\n\
         \n\
         impl Serve for {operation} {{\n    \
             type Service = Lambda;\n    \
             type Operation = Self;\n\
         \n    \
             fn resource(cx: &Cx<'_, Lambda>, input: &<Self as Operation>::Input) -> Arn {{\n        \
                 // What authorisation is asked about.\n    \
             }}\n\
         \n    \
             async fn run(\n        \
                 cx: &Cx<'_, Lambda>,\n        \
                 input: <Self as Operation>::Input,\n    \
             ) -> Result<<Self as Operation>::Output, Error> {{\n        \
                 // Store the intent; a reconciler in `tasks/` does what takes long.\n    \
             }}\n\
         }}\n"
    )
}

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
        assert_eq!(with_mod("//! x\n\nmod a;\nmod c;\n", "b"), "//! x\n\nmod a;\nmod b;\nmod c;\n");
        assert_eq!(with_mod("mod a;\nuse x;\n", "b"), "mod a;\nmod b;\nuse x;\n");
    }

    #[test]
    fn the_arm_moves() {
        let text = "match op {\n    Op::GetA => serve::<GetA>(cx, r).await,\n    Op::PutB\n    \
                    | Op::DropC => refuse(op),\n}\n";
        let new = with_arm(text, "PutB").unwrap();
        assert!(new.contains("    Op::PutB => serve::<PutB>(cx, r).await,\n"), "{new}");
        assert!(with_arm(text, "GetA").is_err());
    }
}
