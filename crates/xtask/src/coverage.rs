//! What works today, read from the dispatch tables and shown in the README.
//!
//! A service's `src/dispatch.rs` is the truth: an operation is offered when its arm of the match
//! calls `serve::<…>`. `not-offered.txt` beside it lists the others, so that every operation that
//! appears or disappears shows in a diff. Nothing here is written by hand.

use std::collections::BTreeSet;
use std::path::Path;

use crate::shell;

const BEGIN: &str = "<!-- coverage: written by `cargo xtask coverage` -->";
const END: &str = "<!-- /coverage -->";

/// The services that Lambic offers: crate folder, name for people, list of those not offered.
const SERVICES: &[(&str, &str)] = &[("lambda", "Lambda")];

/// One service's operations.
struct Service {
    name: &'static str,
    offered: BTreeSet<String>,
    not_offered: BTreeSet<String>,
}

/// `cargo xtask coverage`
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    if !args.is_empty() {
        return Err("usage: cargo xtask coverage".to_owned());
    }
    let root = shell::root();
    let mut services = Vec::new();
    for (folder, name) in SERVICES {
        let service = service(&root, folder, name)?;
        shell::write(&list_path(&root, folder), &list(&service))?;
        services.push(service);
    }
    let readme = root.join("README.md");
    shell::write(&readme, &splice(&shell::read(&readme)?, &table(&services))?)?;
    println!("coverage: wrote README.md and the lists of operations not offered");
    Ok(())
}

/// What `tidy` says when the README or a list does not tell what the dispatch tables do.
pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let mut sins = Vec::new();
    let mut services = Vec::new();
    for (folder, name) in SERVICES {
        let service = service(root, folder, name)?;
        if shell::read(&list_path(root, folder)).unwrap_or_default() != list(&service) {
            let list = list_path(Path::new(""), folder);
            sins.push(format!("{}: is stale; run `cargo xtask coverage`", list.display()));
        }
        services.push(service);
    }
    let readme = shell::read(&root.join("README.md"))?;
    if splice(&readme, &table(&services))? != readme {
        sins.push("README.md: the table is stale; run `cargo xtask coverage`".to_owned());
    }
    Ok(sins)
}

pub(crate) fn list_path(root: &Path, folder: &str) -> std::path::PathBuf {
    root.join("crates").join(folder).join("not-offered.txt")
}

fn service(root: &Path, folder: &str, name: &'static str) -> Result<Service, String> {
    let model = shell::read(&root.join("models").join(format!("{folder}.json")))?;
    let all = operations(&model).map_err(|error| format!("models/{folder}.json: {error}"))?;
    let dispatch = shell::read(&root.join("crates").join(folder).join("src/dispatch.rs"))?;
    let offered = offered(&dispatch, &all);
    let not_offered = all.difference(&offered).cloned().collect();
    Ok(Service { name, offered, not_offered })
}

/// The names of all operations of a reduced model.
fn operations(model: &str) -> Result<BTreeSet<String>, String> {
    let model: serde_json::Value = serde_json::from_str(model).map_err(|e| e.to_string())?;
    match model.get("operations") {
        Some(serde_json::Value::Object(operations)) => Ok(operations.keys().cloned().collect()),
        Some(serde_json::Value::Array(operations)) => Ok(operations
            .iter()
            .filter_map(|operation| operation.get("name").and_then(|name| name.as_str()))
            .map(str::to_owned)
            .collect()),
        _ => Err("there are no operations".to_owned()),
    }
}

/// The operations that some line of the dispatch table serves.
fn offered(dispatch: &str, all: &BTreeSet<String>) -> BTreeSet<String> {
    let mut offered = BTreeSet::new();
    for (at, call) in dispatch.match_indices("serve::<") {
        let rest = &dispatch[at + call.len()..];
        let path: &str = rest.split('>').next().unwrap_or_default();
        let name = path.rsplit("::").next().unwrap_or_default().trim();
        if all.contains(name) {
            offered.insert(name.to_owned());
        }
    }
    offered
}

fn list(service: &Service) -> String {
    let mut text = String::new();
    for operation in &service.not_offered {
        text.push_str(operation);
        text.push('\n');
    }
    text
}

fn table(services: &[Service]) -> String {
    let mut text = String::from("| Service | Works | Operations |\n|---|---|---|\n");
    for service in services {
        let (works, all) =
            (service.offered.len(), service.offered.len() + service.not_offered.len());
        let names: Vec<&str> = service.offered.iter().map(String::as_str).collect();
        text.push_str(&format!("| {} | {works} of {all} | {} |\n", service.name, names.join(", ")));
    }
    text
}

/// Replaces what stands between the marks.
fn splice(readme: &str, table: &str) -> Result<String, String> {
    let missing = || "README.md: the marks of the coverage table are missing".to_owned();
    let (before, rest) = readme.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_follows_the_dispatch() {
        let all = operations(r#"{"operations": {"GetA": {}, "PutB": {}, "DropC": {}}}"#).unwrap();
        let dispatch = "Op::GetA => serve::<GetA>(cx).await,\nOp::PutB => serve::<ops::PutB>(cx),\
                        Op::DropC => not_offered(op), // serve::<Other>(x)";
        let offered = offered(dispatch, &all);
        let not_offered: BTreeSet<String> = all.difference(&offered).cloned().collect();
        let service = Service { name: "Thing", offered, not_offered };
        assert!(list(&service).eq("DropC\n"));
        let table = table(&[service]);
        assert!(table.ends_with("| Thing | 2 of 3 | GetA, PutB |\n"), "{table}");

        let readme = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = splice(&readme, &table).unwrap();
        assert!(new.starts_with("a\n") && new.ends_with("\nb\n") && !new.contains("old"));
        assert_eq!(splice(&new, &table).unwrap(), new);
        assert!(splice("no marks", &table).is_err());
    }
}
