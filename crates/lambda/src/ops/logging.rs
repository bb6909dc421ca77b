//! `LoggingConfig` between the request, the record and the answer.
//!
//! An update changes the members it names. One that asks for text ends the levels, and one that
//! asks for JSON without levels gets AWS's default, INFO, where there was none.

use lambic_model_lambda as model;
use lambic_wire::Error;

use crate::limits::invalid;
use crate::state::logging::{Level, LogFormat, Logging, own_group};

/// AWS's levels when none was chosen.
const LEVEL_DEFAULT: Level = Level::Info;

/// What `current` becomes for the function `name`; a creation begins with the default.
///
/// # Errors
/// 400 when a level is given and the format is text.
pub(crate) fn changed(
    current: &Logging,
    given: Option<&model::LoggingConfig>,
    name: &str,
) -> Result<Logging, Error> {
    let Some(given) = given else { return Ok(current.clone()) };
    let group = match &given.log_group {
        Some(group) => Some(group.clone()).filter(|group| *group != own_group(name)),
        None => current.group.clone(),
    };
    Ok(Logging { format: format(current.format, given)?, group })
}

fn format(current: LogFormat, given: &model::LoggingConfig) -> Result<LogFormat, Error> {
    let is_json = match given.log_format {
        Some(model::LogFormat::Json) => true,
        Some(_) => false,
        None => current != LogFormat::Text,
    };
    let application = given.application_log_level.as_ref().map(|level| level.as_str());
    let system = given.system_log_level.as_ref().map(|level| level.as_str());
    if !is_json {
        if application.is_some() || system.is_some() {
            return Err(no_levels());
        }
        return Ok(LogFormat::Text);
    }
    let (had_application, had_system) = match current {
        LogFormat::Text => (LEVEL_DEFAULT, LEVEL_DEFAULT),
        LogFormat::Json { application, system } => (application, system),
    };
    // The model has let only known names through.
    Ok(LogFormat::Json {
        application: application.and_then(Level::of_name).unwrap_or(had_application),
        system: system.and_then(Level::of_name).unwrap_or(had_system),
    })
}

fn no_levels() -> Error {
    invalid(
        "LogLevel is not supported when LogFormat is set to \"Text\". Remove LogLevel from your \
         request or change the LogFormat to \"Json\" and try again.",
    )
}

/// As callers read it; levels only with JSON.
pub(crate) fn shown(logging: &Logging, name: &str) -> model::LoggingConfig {
    let mut shown = model::LoggingConfig {
        log_format: Some(model::LogFormat::Text),
        log_group: Some(logging.group_of(name)),
        ..model::LoggingConfig::default()
    };
    if let LogFormat::Json { application, system } = logging.format {
        shown.log_format = Some(model::LogFormat::Json);
        shown.application_log_level = Some(application.name().into());
        shown.system_log_level = Some(system.name().into());
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ops::testing::Harness;

    /// Applies one `LoggingConfig` after the other to a new function `f`; what it shows then, or
    /// the first error.
    fn check(steps: &[Value]) -> Result<Value, String> {
        let mut logging = Logging::default();
        for step in steps {
            let given: model::LoggingConfig = serde_json::from_value(step.clone()).unwrap();
            logging = changed(&logging, Some(&given), "f").map_err(|error| error.message)?;
        }
        assert_eq!(changed(&logging, None, "f").unwrap(), logging);
        Ok(serde_json::to_value(shown(&logging, "f")).unwrap())
    }

    #[test]
    fn defaults_and_merges() {
        let own = "/aws/lambda/f";
        let json = |application: &str, system: &str, group: &str| {
            json!({"LogFormat": "JSON", "ApplicationLogLevel": application,
                   "SystemLogLevel": system, "LogGroup": group})
        };
        let text = |group: &str| json!({"LogFormat": "Text", "LogGroup": group});
        let cases: &[(&[Value], Value)] = &[
            (&[], text(own)),
            (&[json!({})], text(own)),
            (&[json!({"LogGroup": "g"})], text("g")),
            (&[json!({"LogGroup": "g"}), json!({"LogGroup": own})], text(own)),
            (&[json!({"LogFormat": "JSON"})], json("INFO", "INFO", own)),
            (
                &[json!({"LogFormat": "JSON", "ApplicationLogLevel": "FATAL"})],
                json("FATAL", "INFO", own),
            ),
            (
                &[
                    json!({"LogFormat": "JSON", "SystemLogLevel": "WARN", "LogGroup": "g"}),
                    json!({"ApplicationLogLevel": "TRACE"}),
                ],
                json("TRACE", "WARN", "g"),
            ),
            // JSON again keeps the levels, and text forgets them.
            (
                &[
                    json!({"LogFormat": "JSON", "SystemLogLevel": "DEBUG"}),
                    json!({"LogFormat": "JSON"}),
                ],
                json("INFO", "DEBUG", own),
            ),
            (
                &[
                    json!({"LogFormat": "JSON", "SystemLogLevel": "DEBUG", "LogGroup": "g"}),
                    json!({"LogFormat": "Text"}),
                ],
                text("g"),
            ),
            (
                &[
                    json!({"LogFormat": "JSON", "SystemLogLevel": "DEBUG"}),
                    json!({"LogFormat": "Text"}),
                    json!({"LogFormat": "JSON"}),
                ],
                json("INFO", "INFO", own),
            ),
        ];
        for (steps, expected) in cases {
            assert_eq!(check(steps).as_ref(), Ok(expected), "{steps:?}");
        }
    }

    #[test]
    fn levels_need_json() {
        for steps in [
            &[json!({"ApplicationLogLevel": "INFO"})][..],
            &[json!({"LogFormat": "Text", "SystemLogLevel": "INFO"})],
            &[
                json!({"LogFormat": "JSON"}),
                json!({"LogFormat": "Text", "ApplicationLogLevel": "WARN"}),
            ],
        ] {
            assert_eq!(
                check(steps).unwrap_err(),
                "LogLevel is not supported when LogFormat is set to \"Text\". Remove LogLevel \
                 from your request or change the LogFormat to \"Json\" and try again."
            );
        }
    }

    #[tokio::test]
    async fn through_the_operations() {
        let harness = Harness::new().await;
        let mut body = Harness::creation("f");
        body["LoggingConfig"] = json!({"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"});
        let made = harness.post("/2015-03-31/functions", &body).await;
        let expected = json!({"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG",
                              "SystemLogLevel": "INFO", "LogGroup": "/aws/lambda/f"});
        assert_eq!((made.status, &made.json()["LoggingConfig"]), (201, &expected), "{made:?}");
        harness.settle().await;
        let path = "/2015-03-31/functions/f";
        let configuration = format!("{path}/configuration");
        let change = json!({"LoggingConfig": {"LogGroup": "shared", "SystemLogLevel": "WARN"}});
        let changed = harness.put(&configuration, &change).await.json();
        let expected = json!({"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG",
                              "SystemLogLevel": "WARN", "LogGroup": "shared"});
        assert_eq!(changed["LoggingConfig"], expected);
        let find = || harness.lambda.catalog.find("000000000000", "us-east-1", "f").unwrap();
        assert_eq!(find().latest.log_group, "/aws/lambda/f", "not before the update is in force");
        harness.settle().await;
        assert_eq!(find().latest.log_group, "shared");
        let format = LogFormat::Json { application: Level::Debug, system: Level::Warn };
        assert_eq!(find().latest.log_format, format);
        assert_eq!(harness.get(&configuration).await.json()["LoggingConfig"], expected);
        let shown = harness.get(path).await.json();
        assert_eq!(shown["Configuration"]["LoggingConfig"], expected);
        let other = harness.put(&configuration, &json!({"Timeout": 9})).await.json();
        assert_eq!(other["LoggingConfig"], expected, "another update leaves it alone");
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = Harness::with_hello().await;
        let configuration = "/2015-03-31/functions/hello/configuration";
        for (given, named) in [
            (json!({"LogFormat": "XML"}), "logFormat"),
            (json!({"LogFormat": "JSON", "SystemLogLevel": "ERROR"}), "systemLogLevel"),
            (json!({"LogFormat": "JSON", "ApplicationLogLevel": "LOUD"}), "applicationLogLevel"),
            (json!({"LogGroup": ""}), "logGroup"),
            (json!({"LogGroup": "with space"}), "logGroup"),
            (json!({"LogGroup": "g".repeat(513)}), "logGroup"),
            (json!({"SystemLogLevel": "INFO"}), "LogLevel is not supported"),
        ] {
            let body = json!({"LoggingConfig": given});
            let reply = harness.put(configuration, &body).await;
            let refused = reply.status == 400 && reply.message().contains(named);
            assert!(refused, "{given}: {reply:?}");
            let mut creation = Harness::creation("other");
            creation["LoggingConfig"] = given;
            assert_eq!(harness.post("/2015-03-31/functions", &creation).await.status, 400);
        }
    }
}
