//! The functions of `examples/`, carried inside the binary, and the answers they must give.

use std::io::{Cursor, Write};

use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

/// One function of the demo.
pub(crate) struct Example {
    /// The function's name; also its folder in `examples/`.
    pub(crate) name: &'static str,
    /// What it shows, in a few words.
    pub(crate) title: &'static str,
    /// The ids of the family of runtimes it runs on, newest first, or one id that needs nothing.
    pub(crate) runtimes: &'static [&'static str],
    pub(crate) handler: &'static str,
    /// File name, contents, Unix mode.
    file: (&'static str, &'static str, u32),
    /// Where the event stands in `examples/events`, and its text.
    pub(crate) event: (&'static str, &'static str),
    /// Says what is wrong with an answer.
    pub(crate) check: fn(&Value) -> Result<(), String>,
}

/// All of them, in the order in which they are shown.
pub(crate) fn all() -> Vec<Example> {
    vec![
        Example {
            name: "hello-python",
            title: "Python, an HTTP API's request",
            runtimes: &["python3.14", "python3.13", "python3.12", "python3.11", "python3.10"],
            handler: "app.handler",
            file: ("app.py", include_str!("../../../../examples/hello-python/app.py"), 0o644),
            event: (
                "api-gateway.json",
                include_str!("../../../../examples/events/api-gateway.json"),
            ),
            check: check_python,
        },
        Example {
            name: "hello-node",
            title: "Node.js, an S3 notification",
            runtimes: &["nodejs24.x", "nodejs22.x", "nodejs20.x", "nodejs18.x"],
            handler: "index.handler",
            file: ("index.mjs", include_str!("../../../../examples/hello-node/index.mjs"), 0o644),
            event: ("s3-put.json", include_str!("../../../../examples/events/s3-put.json")),
            check: check_node,
        },
        Example {
            name: "hello-shell",
            title: "a custom runtime in bash, an SQS message",
            runtimes: &["provided.al2023"],
            handler: "bootstrap",
            file: ("bootstrap", include_str!("../../../../examples/hello-shell/bootstrap"), 0o755),
            event: ("sqs.json", include_str!("../../../../examples/events/sqs.json")),
            check: check_shell,
        },
    ]
}

impl Example {
    /// The deployment package, a zip of one file.
    pub(crate) fn package(&self) -> Vec<u8> {
        let (name, contents, mode) = self.file;
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().unix_permissions(mode);
        let why = "a zip of one small file fits into memory";
        zip.start_file(name, options).expect(why);
        zip.write_all(contents.as_bytes()).expect(why);
        zip.finish().expect(why).into_inner()
    }
}

fn check_python(answer: &Value) -> Result<(), String> {
    let body = answer["body"].as_str().unwrap_or_default();
    let body: Value = serde_json::from_str(body).map_err(|_| "no JSON in the body".to_owned())?;
    equal(&answer["statusCode"], &json!(200))?;
    equal(&body["message"], &json!("Hello, Ada!"))?;
    equal(&body["function"], &json!("hello-python"))
}

fn check_node(answer: &Value) -> Result<(), String> {
    let object =
        json!({"bucket": "holiday-pictures", "key": "2026/lake at dawn.jpg", "kilobytes": 1024});
    equal(&answer["objects"], &json!([object]))?;
    equal(&answer["function"], &json!("hello-node"))
}

fn check_shell(answer: &Value) -> Result<(), String> {
    equal(&answer["messages"], &json!(1))?;
    equal(&answer["function"], &json!("hello-shell"))
}

fn equal(got: &Value, wanted: &Value) -> Result<(), String> {
    if got == wanted { Ok(()) } else { Err(format!("got {got} instead of {wanted}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_hold_their_file_and_its_mode() {
        for example in all() {
            let mut zip = zip::ZipArchive::new(Cursor::new(example.package())).unwrap();
            let file = zip.by_index(0).unwrap();
            assert_eq!(file.name(), example.file.0);
            assert_eq!(file.unix_mode().unwrap() & 0o777, example.file.2);
        }
    }

    #[test]
    fn events_are_json_and_wrong_answers_are_told() {
        for example in all() {
            serde_json::from_str::<Value>(example.event.1).unwrap();
            assert!((example.check)(&json!({})).is_err());
        }
        let body = r#"{"message": "Hello, Ada!", "function": "hello-python"}"#;
        check_python(&json!({"statusCode": 200, "body": body})).unwrap();
    }
}
