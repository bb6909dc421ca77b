//! `AWS_LAMBDA_EXEC_WRAPPER`, with real interpreters and real scripts.

use super::client_harness::{Function, Said};

const PYTHON: &str = "import os, sys\ndef handler(event, context):\n    \
                      return [os.environ.get('MARK'), sys._xoptions, sys.argv[0]]\n";
const RUBY: &str = "def handler(event:, context:) = [ENV['MARK'], $VERBOSE]\n";
const NODE: &str = "exports.handler = async () => [process.env.MARK, process.execArgv];";

async fn function(runtime: &str, wrapper: &str, script: &str) -> Function {
    let (handler, file, code) = match runtime {
        "python3.13" => ("app.handler", "app.py", PYTHON),
        "ruby3.4" => ("app.handler", "app.rb", RUBY),
        _ => ("index.handler", "index.js", NODE),
    };
    let files = [(file, code), ("wrapper", script)];
    Function::with(runtime, handler, &files, &[("AWS_LAMBDA_EXEC_WRAPPER", wrapper)], None, false)
        .await
}

/// Adds an argument right before the last one, as AWS's own examples do.
fn adding(argument: &str) -> String {
    format!(
        "#!/bin/bash\nexport MARK=$0\nset -- \"${{@:1:$#-1}}\" {argument} \"${{@: -1}}\"\n\
         echo wrapped\nexec \"$@\"\n"
    )
}

#[tokio::test]
async fn a_wrapper_gets_the_command_line_and_may_change_it() {
    let python = function("python3.13", "/var/task/wrapper", &adding("-X importtime")).await;
    let said = python.call("{}").await;
    assert!(said.value[0].as_str().unwrap().ends_with("/wrapper"), "{said:?}");
    assert_eq!(said.value[1]["importtime"], true, "{said:?}");
    assert!(said.value[2].as_str().unwrap().ends_with("/bootstrap.py"), "{said:?}");
    let node = function("nodejs22.x", "/var/task/wrapper", &adding("--no-warnings")).await;
    let said = node.call("{}").await;
    let arguments = said.value[1].as_array().unwrap();
    assert!(arguments.iter().any(|argument| argument == "--expose-gc"), "{said:?}");
    assert_eq!(arguments.last().unwrap(), "--no-warnings", "{said:?}");
    let ruby = function("ruby3.4", "/var/task/wrapper", &adding("-W2")).await;
    let said = ruby.call("{}").await;
    assert_eq!(said.value[1], true, "{said:?}");
    for function in [python, node, ruby] {
        assert!(!function.call("{}").await.is_error, "a wrapped runtime serves again");
        assert_eq!(function.launches(), 1);
    }
}

#[tokio::test]
async fn a_wrapper_may_close_every_descriptor_it_inherits() {
    let script = "#!/bin/bash\nfor fd in 0 3 4 5; do eval \"exec $fd<&-\"; done\nexec \"$@\"\n";
    for runtime in ["python3.13", "nodejs22.x", "ruby3.4"] {
        let said = function(runtime, "/var/task/wrapper", script).await.call("{}").await;
        assert!(!said.is_error, "{runtime}: {said:?}");
    }
}

async fn refused(wrapper: &str, script: &str) -> Said {
    let said = function("python3.13", wrapper, script).await.call("{}").await;
    assert_eq!((said.is_error, &said.value["errorType"]), (true, &"Runtime.ExitError".into()));
    said
}

#[tokio::test]
async fn a_wrapper_that_cannot_run_ends_the_start_in_the_words_of_aws() {
    let cases = [
        ("/var/task/absent", "#!/bin/sh\n", "/absent: does not exist\n", 127),
        ("/var/task", "#!/bin/sh\n", ": does not exist\n", 127),
        ("/var/task/wrapper", "text", "/wrapper: is not an executable\n", 126),
        ("/var/task/wrapper", "#!/no/such/shell\n", "/wrapper: not found\n", 127),
        ("/var/task/wrapper", "#!/bin/sh\necho no\nexit 7\n", "no\n", 7),
    ];
    for (wrapper, script, printed, code) in cases {
        let said = refused(wrapper, script).await;
        let text = said.value["errorMessage"].as_str().unwrap().to_owned();
        let expected = format!("Error: Runtime exited with error: exit status {code}");
        assert!(text.ends_with(&expected), "{wrapper}: {said:?}");
        assert!(said.log.contains(printed), "{wrapper}: {said:?}");
    }
}

#[tokio::test]
async fn an_empty_wrapper_is_none() {
    let said = function("python3.13", "", "").await.call("{}").await;
    assert_eq!(said.value[0], serde_json::Value::Null, "{said:?}");
}
