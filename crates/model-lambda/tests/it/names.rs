//! The tables that are looked up by name: operations, actions, statuses, errors, enumerations.

use std::collections::HashSet;

use lambic_model_lambda::{Environment, EnvironmentResponse, Op, Runtime, State, errors, tables};
use lambic_wire::Pairs;

#[test]
fn every_operation_is_there_once() {
    assert_eq!(Op::ALL.len(), 91);
    let names: HashSet<&str> = Op::ALL.iter().map(|op| op.name()).collect();
    assert_eq!(names.len(), 91);
    assert!(Op::OFFERED.iter().all(|op| Op::ALL.contains(op)));
}

#[test]
fn actions_and_statuses() {
    assert_eq!(Op::Invoke.iam_action(), "lambda:InvokeFunction");
    assert_eq!(Op::InvokeWithResponseStream.iam_action(), "lambda:InvokeFunction");
    assert_eq!(Op::InvokeAsync.iam_action(), "lambda:InvokeAsync");
    assert_eq!(Op::GetLayerVersionByArn.iam_action(), "lambda:GetLayerVersion");
    assert_eq!(Op::ListVersionsByFunction.iam_action(), "lambda:ListVersionsByFunction");
    assert_eq!(Op::CreateFunction.success_status(), 201);
    assert_eq!(Op::DeleteFunction.success_status(), 204);
    assert_eq!(Op::UpdateEventSourceMapping.success_status(), 202);
}

#[test]
fn errors_have_their_own_spelling() {
    let missing = errors::resource_not_found("Function not found: x");
    assert_eq!((missing.code.as_ref(), missing.status), ("ResourceNotFoundException", 404));
    assert_eq!(missing.body(), r#"{"Type":"User","Message":"Function not found: x"}"#);
    let wrong = errors::invalid_parameter_value("no");
    assert_eq!(wrong.body(), r#"{"Type":"User","message":"no"}"#);
    assert_eq!(errors::service("x").body(), r#"{"Type":"Service","Message":"x"}"#);
    assert_eq!(errors::too_many_requests("x").status, 429);
}

#[test]
fn enumerations_keep_what_they_do_not_know() {
    assert_eq!(Runtime::from("python3.13"), Runtime::Python3_13);
    assert_eq!(Runtime::from("cobol"), Runtime::Unknown("cobol".into()));
    let state: State = serde_json::from_str("\"ActiveNonInvocable\"").unwrap();
    assert_eq!(state.as_str(), "ActiveNonInvocable");
}

#[test]
fn secrets_are_not_printed() {
    let variables: Pairs<String> = [("KEY".to_owned(), "hunter2".to_owned())].into_iter().collect();
    let environment = Environment { variables: Some(variables.clone()) };
    assert!(!format!("{environment:?}").contains("hunter2"));
    let answer = EnvironmentResponse { variables: Some(variables), error: None };
    assert!(!format!("{answer:?}").contains("hunter2"));
}

#[test]
fn every_pattern_is_understood() {
    for pattern in tables::PATTERNS {
        assert!(pattern.compiles(), "{}", pattern.source);
    }
}
