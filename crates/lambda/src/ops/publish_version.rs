//! Makes a version of what `$LATEST` is now: it keeps that code and that configuration for ever.
//!
//! A second call without a change in between answers the version that is there.
//!
//! ```text
//! POST /2015-03-31/functions/hello/versions
//! {"Description": "first"}
//!
//! 201
//! {"FunctionName": "hello",
//!  "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello:1",
//!  "Runtime": "python3.13", "Role": "arn:aws:iam::000000000000:role/r",
//!  "Handler": "main.handler", "CodeSize": "<any>", "Description": "first", "Timeout": 3,
//!  "MemorySize": 128, "LastModified": "<any>", "CodeSha256": "<any>", "Version": "1",
//!  "TracingConfig": {"Mode": "PassThrough"}, "RevisionId": "<any>", "State": "Active",
//!  "LastUpdateStatus": "Successful",
//!  "PackageType": "Zip", "Architectures": ["x86_64"], "EphemeralStorage": {"Size": 512},
//!  "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
//!  "RuntimeVersionConfig": {"RuntimeVersionArn": "<any>"},
//!  "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/hello"}}
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{FunctionConfiguration, PublishVersionRequest};
use lambic_store::Transaction;
use lambic_wire::{Arn, Error};

use super::change::{EDIT_ATTEMPTS_MAX, check, commit, in_progress, read};
use super::create_function::check_storage;
use super::publish::{check_publish_to, publish, unchanged};
use super::show::show_version;
use crate::Lambda;
use crate::limits::invalid;
use crate::names;
use crate::state::function::FunctionRecord;

/// The operation.
pub struct PublishVersion;

impl Serve for PublishVersion {
    type Service = Lambda;
    type Operation = model::ops::PublishVersion;

    fn resource(cx: &Cx<'_, Lambda>, input: &PublishVersionRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: PublishVersionRequest,
    ) -> Result<FunctionConfiguration, Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        check_publish_to(input.publish_to.as_ref())?;
        for _ in 0..EDIT_ATTEMPTS_MAX {
            let stored = read(cx, &target).await?;
            check(&stored.value, input.revision_id.as_deref())?;
            check_code(&stored.value, input.code_sha256.as_deref())?;
            let mut record = stored.value.clone();
            let latest = record.running.clone();
            if let Some(version) = unchanged(cx, &record, &latest).await? {
                let number = version.number.to_string();
                return Ok(show_version(cx, &record, &version, &number, cx.rt.now()));
            }
            check_storage(cx, &target.account, latest.code.zip_bytes).await?;
            let mut transaction = Transaction::new();
            let description = input.description.clone();
            let now = cx.rt.now();
            let version = publish(cx, &mut record, &mut transaction, &latest, description, now);
            transaction.replace(&stored, &record);
            if commit(cx, transaction).await?.is_some() {
                let number = version.number.to_string();
                return Ok(show_version(cx, &record, &version, &number, cx.rt.now()));
            }
        }
        Err(in_progress(&target))
    }
}

/// Whether the code is what the caller has seen.
fn check_code(record: &FunctionRecord, wanted: Option<&str>) -> Result<(), Error> {
    let present = STANDARD.encode(record.running.code.sha256.to_bytes());
    match wanted.filter(|wanted| *wanted != present && !wanted.is_empty()) {
        Some(wanted) => Err(invalid(format!(
            "CodeSHA256 ({wanted}) is different from current CodeSHA256 in $LATEST ({present}). \
             Please try again with the CodeSHA256 in $LATEST."
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::ops::testing::{Harness, documented, other_zip, zip};

    const PATH: &str = "/2015-03-31/functions/hello/versions";
    const FUNCTION: &str = "/2015-03-31/functions/hello";

    async fn publish(harness: &Harness) -> Value {
        let reply = harness.post(PATH, &json!({})).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()
    }

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("publish_version.rs"))).await;
    }

    #[tokio::test]
    async fn without_a_change_the_version_that_is_there() {
        let harness = Harness::with_hello().await;
        let first = publish(&harness).await;
        assert_eq!(publish(&harness).await, first);
        let latest = harness.get(FUNCTION).await.json()["Configuration"].clone();
        assert_ne!(latest["RevisionId"], first["RevisionId"]);

        // An update that changes nothing changes nothing here either.
        harness.put(&format!("{FUNCTION}/configuration"), &json!({"Timeout": 3})).await;
        harness.settle().await;
        assert_eq!(publish(&harness).await, first);
        for (change, number) in [(json!({"Timeout": 4}), "2"), (json!({"Description": "d"}), "3")] {
            harness.put(&format!("{FUNCTION}/configuration"), &change).await;
            harness.settle().await;
            assert_eq!(publish(&harness).await["Version"], number);
        }
        harness.put(&format!("{FUNCTION}/code"), &json!({"ZipFile": other_zip()})).await;
        harness.settle().await;
        assert_eq!(publish(&harness).await["Version"], "4");
        // A number is never given twice.
        assert_eq!(harness.delete(&format!("{FUNCTION}?Qualifier=4")).await.status, 204);
        assert_eq!(publish(&harness).await["Version"], "5");
    }

    #[tokio::test]
    async fn a_version_keeps_what_it_is() {
        let harness = Harness::with_hello().await;
        let first = publish(&harness).await;
        harness.put(&format!("{FUNCTION}/code"), &json!({"ZipFile": other_zip()})).await;
        harness.put(&format!("{FUNCTION}/configuration"), &json!({"Timeout": 30})).await;
        harness.settle().await;
        let shown = harness.get(&format!("{FUNCTION}/configuration?Qualifier=1")).await.json();
        assert_eq!(shown, first);
        let reply = harness.get(&format!("{FUNCTION}?Qualifier=1")).await.json();
        let link = reply["Code"]["Location"].as_str().unwrap();
        assert_eq!(harness.download(link).await, zip());
        let invoked = harness.invoke(&format!("{FUNCTION}:1/invocations"), b"{}", &[]).await;
        assert_eq!(invoked.header("x-amz-executed-version"), Some("1"));
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = Harness::with_hello().await;
        let refused = async |path: &str, body: Value| {
            let reply = harness.post(path, &body).await;
            (reply.status, reply.code(), reply.message())
        };
        let invalid = "InvalidParameterValueException".to_owned();
        let stale = refused(PATH, json!({"RevisionId": "x"})).await;
        assert_eq!((stale.0, stale.1.as_str()), (412, "PreconditionFailedException"));
        let (status, code, text) = refused(PATH, json!({"CodeSha256": "nothing"})).await;
        assert_eq!((status, &code), (400, &invalid));
        assert!(
            text.starts_with(
                "CodeSHA256 (nothing) is different from current CodeSHA256 in $LATEST ("
            ),
            "{text}"
        );
        let (status, code, _) = refused(PATH, json!({"PublishTo": "LATEST_PUBLISHED"})).await;
        assert_eq!((status, &code), (400, &invalid));
        let (status, _, text) = refused("/2015-03-31/functions/nobody/versions", json!({})).await;
        assert_eq!(status, 404);
        assert!(text.ends_with("function:nobody"), "{text}");
        let (status, _, _) = refused("/2015-03-31/functions/hello:1/versions", json!({})).await;
        assert_eq!(status, 400);
        harness.put(&format!("{FUNCTION}/configuration"), &json!({"Timeout": 9})).await;
        let (status, code, text) = refused(PATH, json!({})).await;
        assert_eq!((status, code.as_str()), (409, "ResourceConflictException"));
        assert!(text.contains("An update is in progress"), "{text}");
    }

    #[tokio::test]
    async fn many_at_once_publish_one_version() {
        let harness = Harness::with_hello().await;
        let all = (0..32).map(|_| publish(&harness));
        let all = futures_util::future::join_all(all).await;
        assert!(all.iter().all(|version| version["Version"] == "1"), "{all:?}");
    }
}
