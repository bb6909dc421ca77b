//! The layers of the configuration, strongest last, and where each value came from.
//!
//! A layer is a TOML table of the same shape as the default file. Before a layer goes on top of
//! the others it is held against the defaults: a key that is not there, or a value of another type,
//! is refused with its name and its source.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::machine::Machine;
use super::raw::Raw;
use super::{Config, resolve};
use crate::failure::{Failure, Kind};

/// The default file: manual and defaults in one.
pub(crate) const DEFAULTS: &str = include_str!("../../../../lambic.default.toml");

/// Tables whose keys are the user's own.
const OPEN_TABLES: &[&str] = &["runtimes.interpreters", "kms.keys"];

/// Blocks, which only a file can hold.
const BLOCKS: &[&str] =
    &["user", "sandbox.network", "sandbox.security_group", "sandbox.file_system"];

/// Where configuration comes from, besides the defaults.
pub(crate) struct Sources {
    /// `--config`; must exist when given.
    pub(crate) file: Option<PathBuf>,
    /// Files that are read if they exist and none was given; the first wins.
    pub(crate) files_usual: Vec<PathBuf>,
    /// The environment.
    pub(crate) variables: Vec<(String, String)>,
    /// Flag as it was written (`--listen`), setting, value.
    pub(crate) flags: Vec<(String, String, String)>,
}

impl Sources {
    /// The real environment and the usual places.
    pub(crate) fn real(file: Option<PathBuf>, flags: Vec<(String, String, String)>) -> Sources {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("LAMBIC_"))
            .collect();
        let files_usual = vec!["lambic.toml".into(), "/etc/lambic/lambic.toml".into()];
        Sources { file, files_usual, variables, flags }
    }
}

/// The merged table and the source of every value that is not a default.
pub(super) struct Layers {
    pub(super) table: Table,
    pub(super) origins: BTreeMap<String, String>,
}

/// Reads all sources and resolves them.
pub(crate) fn load(sources: Sources) -> Result<Config, Failure> {
    load_on(&Machine::here(), sources)
}

pub(super) fn load_on(machine: &Machine, sources: Sources) -> Result<Config, Failure> {
    let defaults: Table = DEFAULTS.parse().expect("a test reads the default file");
    let mut layers = Layers { table: defaults.clone(), origins: BTreeMap::new() };
    let file = file_layer(&sources, &defaults, &mut layers)?;
    let variables_unknown = variable_layer(&sources.variables, &defaults, &mut layers)?;
    for (flag, setting, text) in &sources.flags {
        let default = lookup(&defaults, setting)
            .ok_or_else(|| refuse(format!("{flag}: there is no setting '{setting}'")))?;
        let value = parse(text, default).map_err(|e| refuse(format!("{flag}: {e}")))?;
        layers.put(setting, value, flag);
    }
    let raw = Raw::from_table(&layers)?;
    let mut config = resolve::resolve(raw, &layers.origins, machine)?;
    config.file = file;
    config.variables_unknown = variables_unknown;
    Ok(config)
}

fn refuse(message: String) -> Failure {
    Failure::new(Kind::Configuration, message)
}

impl Layers {
    fn put(&mut self, setting: &str, value: Value, origin: &str) {
        self.origins.insert(setting.to_owned(), origin.to_owned());
        let (mut table, mut rest) = (&mut self.table, setting);
        while let Some((word, below)) = rest.split_once('.') {
            let value = table.get_mut(word).expect("the path was found in the defaults");
            table = value.as_table_mut().expect("the path was found in the defaults");
            rest = below;
            // What follows is the user's own key, dots and all.
            if OPEN_TABLES
                .iter()
                .any(|open| setting.strip_suffix(rest) == Some(&format!("{open}.")))
            {
                break;
            }
        }
        table.insert(rest.to_owned(), value);
    }
}

impl Raw {
    fn from_table(layers: &Layers) -> Result<Raw, Failure> {
        layers.table.clone().try_into().map_err(|error: toml::de::Error| {
            // The types of plain settings were seen layer by layer; what is left are the tables that
            // only a file can hold.
            let message = error.to_string();
            refuse(format!("the configuration: {}", message.trim().replace('\n', " ")))
        })
    }
}

/// Puts the configuration file on; gives the path of the one that was read.
fn file_layer(
    sources: &Sources,
    defaults: &Table,
    layers: &mut Layers,
) -> Result<Option<PathBuf>, Failure> {
    let variable = sources.variables.iter().find(|(name, _)| name == "LAMBIC_CONFIG");
    let given = sources.file.clone().or(variable.map(|(_, value)| PathBuf::from(value)));
    let usual = || sources.files_usual.iter().find(|file| file.exists()).cloned();
    let Some(path) = given.or_else(usual) else { return Ok(None) };
    let name = path.display();
    let text = std::fs::read_to_string(&path)
        .map_err(|error| refuse(format!("cannot read the configuration file {name}: {error}")))?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        refuse(format!("{name}{}: {}", line_of(&text, &error), error.message()))
    })?;
    file_table(&path, "", table, defaults, layers)?;
    Ok(Some(path))
}

/// ` line 7`, or nothing when the error has no place.
fn line_of(text: &str, error: &toml::de::Error) -> String {
    match error.span() {
        Some(span) => {
            let before = &text.as_bytes()[..span.start.min(text.len())];
            format!(" line {}", before.iter().filter(|byte| **byte == b'\n').count() + 1)
        }
        None => String::new(),
    }
}

fn file_table(
    path: &Path,
    prefix: &str,
    table: Table,
    defaults: &Table,
    layers: &mut Layers,
) -> Result<(), Failure> {
    let name = path.display().to_string();
    for (key, value) in table {
        let setting = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let Some(default) = defaults.get(&key) else {
            return Err(refuse(format!("{name}: there is no setting '{setting}'")));
        };
        match (value, default) {
            (Value::Table(below), Value::Table(defaults))
                if !OPEN_TABLES.contains(&setting.as_str()) =>
            {
                file_table(path, &setting, below, defaults, layers)?;
            }
            (value, default) if fits(&value, default) => layers.put(&setting, value, &name),
            (value, default) => {
                let (is, wanted) = (value.type_str(), default.type_str());
                let message = format!("{name}: '{setting}' is of type {is}, {wanted} is wanted");
                return Err(refuse(message));
            }
        }
    }
    Ok(())
}

fn fits(value: &Value, default: &Value) -> bool {
    value.same_type(default) || (is_auto(default) && value.is_integer())
}

fn is_auto(value: &Value) -> bool {
    value.as_str() == Some("auto")
}

/// Puts the variables on; gives the names of those that are not ours.
///
/// An unknown variable is warned about and not refused, because others set them too: Kubernetes
/// gives `LAMBIC_PORT` and the like to every pod beside a service called "lambic".
fn variable_layer(
    variables: &[(String, String)],
    defaults: &Table,
    layers: &mut Layers,
) -> Result<Vec<String>, Failure> {
    let mut settings = BTreeMap::new();
    list_settings(defaults, "", &mut settings);
    let mut unknown = Vec::new();
    for (name, text) in variables {
        if name == "LAMBIC_CONFIG" {
            continue;
        }
        match settings.get(name) {
            None => unknown.push(name.clone()),
            Some((setting, default)) => {
                let value = parse(text, default).map_err(|e| refuse(format!("{name}: {e}")))?;
                layers.put(setting, value, name);
            }
        }
    }
    Ok(unknown)
}

/// Every setting that a variable can hold, by the variable's name.
fn list_settings(table: &Table, prefix: &str, settings: &mut BTreeMap<String, (String, Value)>) {
    for (key, value) in table {
        let setting = format!("{prefix}{key}");
        match value {
            Value::Table(below) => list_settings(below, &format!("{setting}."), settings),
            value if !BLOCKS.contains(&setting.as_str()) => {
                let variable = format!("LAMBIC_{}", setting.replace('.', "_").to_uppercase());
                settings.insert(variable, (setting, value.clone()));
            }
            _ => {}
        }
    }
}

/// The default of a setting, `front.idle_s_max`; what is in an open table has the empty
/// text.
fn lookup<'a>(defaults: &'a Table, setting: &str) -> Option<&'a Value> {
    static TEXT: Value = Value::String(String::new());
    for open in OPEN_TABLES {
        if setting.strip_prefix(open).is_some_and(|rest| rest.starts_with('.')) {
            return Some(&TEXT);
        }
    }
    let mut words = setting.split('.');
    let mut value = defaults.get(words.next()?)?;
    for word in words {
        value = value.as_table()?.get(word)?;
    }
    (!value.is_table() && !BLOCKS.contains(&setting)).then_some(value)
}

/// Reads the text of a flag or variable as a value of the default's type.
fn parse(text: &str, default: &Value) -> Result<Value, String> {
    match default {
        Value::Integer(_) => match text.parse() {
            Ok(number) => Ok(Value::Integer(number)),
            Err(_) => Err(format!("'{text}' is no whole number")),
        },
        Value::Boolean(_) => match text {
            "true" | "1" => Ok(Value::Boolean(true)),
            "false" | "0" => Ok(Value::Boolean(false)),
            _ => Err(format!("'{text}' is neither true nor false")),
        },
        Value::Array(_) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(Value::Array(parts.map(|part| Value::String(part.to_owned())).collect()))
        }
        default if is_auto(default) => {
            let number = text.parse().map(Value::Integer);
            Ok(number.unwrap_or_else(|_| Value::String(text.to_owned())))
        }
        _ => Ok(Value::String(text.to_owned())),
    }
}
