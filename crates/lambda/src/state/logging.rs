//! How a function's log is written: part of its configuration, and of every snapshot made from it.
//!
//! A function that was stored before there was such a setting logs as text into its own group,
//! which is also AWS's default. Levels exist only where AWS has them, with the JSON format.

use serde::{Deserialize, Serialize};

/// Importance of a line, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// The finest.
    Trace,
    /// For looking into a function.
    Debug,
    /// What normally happens.
    Info,
    /// What may become a problem.
    Warn,
    /// What went wrong.
    Error,
    /// What ended the application.
    Fatal,
}

impl Level {
    /// The level of this name, in whatever case; also by the two names that Python has for its own.
    pub fn of_name(name: &str) -> Option<Level> {
        let is = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        [
            (Level::Trace, &["TRACE"][..]),
            (Level::Debug, &["DEBUG"]),
            (Level::Info, &["INFO"]),
            (Level::Warn, &["WARN", "WARNING"]),
            (Level::Error, &["ERROR"]),
            (Level::Fatal, &["FATAL", "CRITICAL"]),
        ]
        .into_iter()
        .find_map(|(level, names)| is(names).then_some(level))
    }

    /// AWS's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Trace => "TRACE",
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
            Level::Fatal => "FATAL",
        }
    }
}

/// In which form lines are written, and which of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// Everything, as plain text.
    #[default]
    Text,
    /// As JSON objects, from these levels on.
    Json {
        /// Of what the function says.
        application: Level,
        /// Of what the platform says: DEBUG, INFO or WARN.
        system: Level,
    },
}

/// `LoggingConfig` as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    /// The form.
    pub format: LogFormat,
    /// The log group, when it is not the function's own.
    pub group: Option<String>,
}

impl Logging {
    /// The log group of the function of this name.
    pub fn group_of(&self, name: &str) -> String {
        self.group.clone().unwrap_or_else(|| own_group(name))
    }
}

/// The log group that a function has when it was given none.
pub fn own_group(name: &str) -> String {
    format!("/aws/lambda/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_names_and_an_order() {
        let all =
            [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal];
        assert!(all.is_sorted());
        for level in all {
            assert_eq!(Level::of_name(level.name()), Some(level));
            assert_eq!(Level::of_name(&level.name().to_lowercase()), Some(level));
            assert_eq!(serde_json::to_value(level).unwrap(), level.name());
        }
        assert_eq!(Level::of_name("Warning"), Some(Level::Warn));
        assert_eq!(Level::of_name("critical"), Some(Level::Fatal));
        assert_eq!(Level::of_name("loud"), None);
    }

    #[test]
    fn stored_and_read_again() {
        let json = LogFormat::Json { application: Level::Fatal, system: Level::Warn };
        for logging in [
            Logging::default(),
            Logging { format: json, group: None },
            Logging { format: LogFormat::Text, group: Some("/mine".to_owned()) },
        ] {
            let text = serde_json::to_string(&logging).unwrap();
            assert_eq!(serde_json::from_str::<Logging>(&text).unwrap(), logging);
        }
    }

    #[test]
    fn groups() {
        assert_eq!(Logging::default().group_of("f"), "/aws/lambda/f");
        let shared = Logging { group: Some("shared".to_owned()), ..Logging::default() };
        assert_eq!(shared.group_of("f"), "shared");
    }
}
