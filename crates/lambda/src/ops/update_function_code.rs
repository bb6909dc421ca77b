//! Gives a function new code. It answers `InProgress`; invokes run the old code until it is in force.
//!
//! ```text
//! PUT /2015-03-31/functions/hello/code
//! {"ZipFile": "<zip>"}
//!
//! 200
//! {"FunctionName": "hello", "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello",
//!  "Runtime": "python3.13", "Role": "arn:aws:iam::000000000000:role/r",
//!  "Handler": "main.handler", "CodeSize": "<any>", "Description": "", "Timeout": 3,
//!  "MemorySize": 128, "LastModified": "<any>", "CodeSha256": "<any>", "Version": "$LATEST",
//!  "TracingConfig": {"Mode": "PassThrough"}, "RevisionId": "<any>", "State": "Active",
//!  "LastUpdateStatus": "InProgress", "LastUpdateStatusReason": "The function is being created.",
//!  "LastUpdateStatusReasonCode": "Creating",
//!  "PackageType": "Zip", "Architectures": ["x86_64"], "EphemeralStorage": {"Size": 512},
//!  "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
//!  "RuntimeVersionConfig": {"RuntimeVersionArn": "<any>"},
//!  "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/hello"}}
//! ```

use bytes::Bytes;
use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{FunctionConfiguration, UpdateFunctionCodeRequest};
use lambic_wire::{Arn, Error};

use super::change::{By, check, read, today, update};
use super::create_function::{check_storage, no_code};
use super::layers::check_size;
use super::publish::check_publish_to;
use super::settings::{self, refuse_if};
use super::show::{show, show_version};
use super::signatures::{admit, check_config, config_of, examine};
use crate::Lambda;
use crate::limits::invalid;
use crate::names;
use crate::state::function::{Code, Configuration, FunctionRecord, new_generation};
use crate::state::runtime_id;

/// The operation.
pub struct UpdateFunctionCode;

impl Serve for UpdateFunctionCode {
    type Service = Lambda;
    type Operation = model::ops::UpdateFunctionCode;

    fn resource(cx: &Cx<'_, Lambda>, input: &UpdateFunctionCodeRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        mut input: UpdateFunctionCodeRequest,
    ) -> Result<FunctionConfiguration, Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        refuse_unoffered(&input)?;
        let architecture =
            input.architectures.as_deref().map(settings::architecture).transpose()?;
        let revision_id = input.revision_id.as_deref();
        // Asked before the package is unpacked, which is the dear part, and once more afterwards.
        let stored = read(cx, &target).await?;
        check(&stored.value, revision_id)?;
        let runtime = &stored.value.shown().runtime;
        runtime_id::check_kept(runtime, &cx.service.config.allow_retired, &today(cx))?;
        let config = config_of(cx, &stored.value).await?;
        let demanded = config.as_ref().map(|config| &config.value);
        let zip = input.zip_file.take().ok_or_else(no_code)?;
        let publishes = input.publish == Some(true);
        check_publish_to(input.publish_to.as_ref())?;
        check_storage(cx, &target.account, zip.0.len() as u64 * if publishes { 2 } else { 1 })
            .await?;
        let signed = async |code: Code, zip: Bytes| {
            let signature = admit(cx, demanded, examine(cx, &zip).await, &target.arn())?;
            Ok::<_, Error>(Code { signature, ..code })
        };
        let next = |record: &FunctionRecord, code: &Code| {
            check_config(&target, record, config.as_ref())?;
            check_size(code, &record.shown().layers)?;
            Ok(Configuration {
                code: code.clone(),
                architecture: architecture.unwrap_or(&record.shown().architecture).to_owned(),
                generation: new_generation(cx.rt),
                ..record.shown().clone()
            })
        };
        if input.dry_run == Some(true) {
            let code = signed(cx.service.packages.check(zip.0.clone()).await?, zip.0).await?;
            let running = next(&stored.value, &code)?;
            return Ok(show(cx, &FunctionRecord { running, ..stored.value }, None));
        }
        let package = cx.service.packages.take(zip.0.clone()).await?;
        let code = signed(package.code.clone(), zip.0).await?;
        let by = By { revision_id, publishes, config: config.as_ref() };
        let updated = update(cx, &target, by, |record| next(record, &code));
        Ok(match Box::pin(updated).await? {
            (record, Some(version)) => {
                show_version(cx, &record, &version, &version.number.to_string(), cx.rt.now())
            }
            (record, None) => show(cx, &record, None),
        })
    }
}

fn refuse_unoffered(input: &UpdateFunctionCodeRequest) -> Result<(), Error> {
    let has_source_key = input.source_kms_key_arn.as_ref().is_some_and(|arn| !arn.is_empty());
    if input.image_uri.is_some() {
        return Err(invalid(
            "Please don't provide ImageUri when updating a function with packageType Zip.",
        ));
    }
    refuse_if(input.s3_bucket.is_some(), "S3Bucket")?;
    refuse_if(input.s3_key.is_some(), "S3Key")?;
    refuse_if(input.s3_object_version.is_some(), "S3ObjectVersion")?;
    refuse_if(input.s3_object_storage_mode.is_some(), "S3ObjectStorageMode")?;
    refuse_if(has_source_key, "SourceKMSKeyArn")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented, other_zip, zip_base64};

    const PATH: &str = "/2015-03-31/functions/hello/code";

    #[tokio::test]
    async fn published_at_once() {
        let harness = Harness::with_hello().await;
        let body = json!({"ZipFile": other_zip(), "Publish": true});
        let reply = harness.put(PATH, &body).await.json();
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:hello:1";
        assert_eq!((&reply["Version"], &reply["FunctionArn"]), (&json!("1"), &json!(arn)));
        let latest = harness.get("/2015-03-31/functions/hello/configuration").await.json();
        assert_eq!(latest["LastUpdateStatus"], "InProgress");
        assert_eq!(latest["CodeSha256"], reply["CodeSha256"]);
        assert_ne!(latest["RevisionId"], reply["RevisionId"]);
        harness.settle().await;
        // The same code once more is no other version.
        let again = harness.put(PATH, &body).await.json();
        assert_eq!((&again["Version"], &again["RevisionId"]), (&json!("1"), &reply["RevisionId"]));
    }

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("update_function_code.rs"))).await;
        let again = harness.put(PATH, &json!({"ZipFile": zip_base64()})).await;
        assert_eq!(
            (again.status, again.code().as_str(), again.message().as_str()),
            (
                409,
                "ResourceConflictException",
                "The operation cannot be performed at this time. An update is in progress for \
                 resource: arn:aws:lambda:us-east-1:000000000000:function:hello"
            )
        );
        harness.settle().await;
        let reply = harness.get("/2015-03-31/functions/hello/configuration").await.json();
        assert_eq!(reply["LastUpdateStatus"], "Successful");
        assert_eq!(harness.put(PATH, &json!({"ZipFile": zip_base64()})).await.status, 200);
    }

    #[tokio::test]
    async fn old_code_runs_until_the_update_is_in_force() {
        let harness = Harness::with_hello().await;
        let running = || {
            let function = harness.lambda.catalog.find("000000000000", "us-east-1", "hello");
            function.unwrap().latest.bundle.clone()
        };
        let before = running();
        let shown = harness.put(PATH, &json!({"ZipFile": other_zip()})).await.json();
        assert_eq!(running(), before);
        // What both versions of the code need is left alone meanwhile.
        assert_eq!(harness.lambda.sweep().await.unwrap().bundles, 0);
        harness.settle().await;
        assert_ne!(running(), before);
        assert_eq!(harness.lambda.sweep().await.unwrap().bundles, 1);
        let settled = harness.get("/2015-03-31/functions/hello/configuration").await.json();
        assert_eq!(settled["CodeSha256"], shown["CodeSha256"]);
        assert_ne!(settled["RevisionId"], shown["RevisionId"]);
    }

    #[tokio::test]
    async fn a_dry_run_changes_nothing() {
        let harness = Harness::with_hello().await;
        let before = harness.get("/2015-03-31/functions/hello/configuration").await.json();
        let body = json!({"ZipFile": other_zip(), "DryRun": true});
        let dry = harness.put(PATH, &body).await.json();
        assert_ne!(dry["CodeSha256"], before["CodeSha256"]);
        let after = harness.get("/2015-03-31/functions/hello/configuration").await.json();
        assert_eq!(after, before);
    }

    #[tokio::test]
    async fn another_revision_is_refused() {
        let harness = Harness::with_hello().await;
        let body = json!({"ZipFile": zip_base64(), "RevisionId": "another"});
        let reply = harness.put(PATH, &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (412, "PreconditionFailedException"));
        let reply = harness.put(PATH, &json!({})).await;
        assert_eq!(reply.message(), "Please provide a source for function code.");
        let body = json!({"ImageUri": "000000000000.dkr.ecr.us-east-1.amazonaws.com/x:1"});
        assert_eq!(
            harness.put(PATH, &body).await.message(),
            "Please don't provide ImageUri when updating a function with packageType Zip."
        );
    }
}
