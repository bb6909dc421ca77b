//! The tests of the clients once more, with interpreters that were spares.
#![allow(clippy::duplicate_mod, reason = "they are the same tests")]

mod client_harness {
    pub(super) use crate::runtimes::client_harness::{Said, interpreters, taken};
    pub(super) type Function = crate::runtimes::client_harness::FunctionFrom<true>;
}
use crate::runtimes::{clients, packs};

#[path = "java_tests.rs"]
mod java_tests;
#[path = "nodejs_streaming_tests.rs"]
mod nodejs_streaming_tests;
#[path = "nodejs_tests.rs"]
mod nodejs_tests;
#[path = "python_tests.rs"]
mod python_tests;
#[path = "ruby_tests.rs"]
mod ruby_tests;
#[path = "wrapper_tests.rs"]
mod wrapper_tests;

/// A variable that tells what the process was started with, and those that the function sees.
const PYTHON: &str = "import os\ndef handler(event, context):\n    \
                      began = open('/proc/self/environ').read().split('\\0')\n    \
                      return ['_LAMBIC_SPARE=1' in began, dict(os.environ), os.getcwd()]\n";
const NODEJS: &str = "const fs = require('fs');\nexports.handler = async () => {\n  \
                      const began = fs.readFileSync('/proc/self/environ', 'utf8').split('\\0');\n  \
                      return [began.includes('_LAMBIC_SPARE=1'), { ...process.env }, process.cwd()];\n};";
const RUBY: &str = "def handler(event:, context:)\n  \
                    began = File.read('/proc/self/environ').split(\"\\0\")\n  \
                    [began.include?('_LAMBIC_SPARE=1'), ENV.to_h, Dir.pwd]\nend\n";

#[tokio::test]
async fn these_are_spares_and_functions_cannot_tell() {
    for (runtime, file, code) in [
        ("python3.13", "index.py", PYTHON),
        ("nodejs22.x", "index.js", NODEJS),
        ("ruby3.4", "index.rb", RUBY),
    ] {
        let new = |own: &'static [(&str, &str)]| {
            let files = [(file, code)];
            async move {
                let made = client_harness::Function::with(
                    runtime,
                    "index.handler",
                    &files,
                    own,
                    None,
                    false,
                );
                made.await
            }
        };
        let spare = new(&[("OWN", "1")]).await.call("{}").await;
        let fresh = new(&[("OWN", "1"), ("TZ", ":UTC")]).await.call("{}").await;
        assert_eq!((&spare.value[0], &fresh.value[0]), (&true.into(), &false.into()), "{runtime}");
        let names = |said: &client_harness::Said| -> Vec<String> {
            let variables = said.value[1].as_object().expect("variables");
            variables.keys().cloned().collect()
        };
        let (mut of_spare, mut of_fresh) = (names(&spare), names(&fresh));
        of_spare.sort();
        of_fresh.sort();
        assert_eq!(of_spare, of_fresh, "{runtime}");
        assert!(spare.value[2].as_str().is_some_and(|folder| folder.ends_with("/task")));
    }
}
