//! Says which version of its runtime a version of a function runs. One version of each runtime is
//! installed, so `Manual` takes no other than that: the one that `RuntimeVersionConfig` shows.
//!
//! ```text
//! PUT /2021-07-20/functions/hello/runtime-management-config
//! {"UpdateRuntimeOn": "FunctionUpdate"}
//!
//! 200
//! {"UpdateRuntimeOn": "FunctionUpdate",
//!  "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{
    PutRuntimeManagementConfigRequest, PutRuntimeManagementConfigResponse, UpdateRuntimeOn,
};
use lambic_wire::{Arn, Error};

use super::change::{edit, read, read_version};
use super::get_runtime_management_config::{show, version};
use crate::Lambda;
use crate::limits::invalid;
use crate::names::{self, LATEST, Target};
use crate::state::function::FunctionRecord;
use crate::state::runtime_id;
use crate::state::runtime_management::RuntimeManagement;

/// The operation.
pub struct PutRuntimeManagementConfig;

impl Serve for PutRuntimeManagementConfig {
    type Service = Lambda;
    type Operation = model::ops::PutRuntimeManagementConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &PutRuntimeManagementConfigRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: PutRuntimeManagementConfigRequest,
    ) -> Result<PutRuntimeManagementConfigResponse, Error> {
        let qualifier = input.qualifier.as_deref();
        let target = names::resolve(cx.account, cx.region, &input.function_name, qualifier)?;
        let version = version(&target)?;
        let mode = mode(&input)?;
        // What a published version runs never changes, so it may be looked at before.
        let record = read(cx, &target).await?.value;
        let published = match record.number(version) {
            Some(number) => read_version(cx, &record, number).await?,
            None => None,
        };
        let published = published.map(|version| version.configuration.runtime);
        edit(cx, &target, |record| {
            if !record.has(version) {
                return Err(target.not_found());
            }
            let runtime = published.as_ref().unwrap_or(&record.shown().runtime);
            check_installed(&target, runtime, mode.as_ref())?;
            let settings = record.qualified.entry(version.to_owned()).or_default();
            settings.runtime_management.clone_from(&mode);
            Ok(())
        })
        .await?;
        let (update_runtime_on, runtime_version_arn) = show(mode);
        let function_arn = target.qualified_arn();
        Ok(PutRuntimeManagementConfigResponse {
            update_runtime_on,
            function_arn,
            runtime_version_arn,
        })
    }
}

/// What is asked for; `None` is `Auto`.
fn mode(input: &PutRuntimeManagementConfigRequest) -> Result<Option<RuntimeManagement>, Error> {
    let version_arn = input.runtime_version_arn.clone();
    match (&input.update_runtime_on, version_arn) {
        (UpdateRuntimeOn::Manual, Some(version_arn)) => {
            Ok(Some(RuntimeManagement::Manual { version_arn }))
        }
        (UpdateRuntimeOn::Manual, None) => Err(invalid(
            "RuntimeVersionArn is mandatory when UpdateRuntimeOn is Manual. Please specify the \
             ARN of a runtime version.",
        )),
        (_, Some(_)) => {
            Err(invalid("RuntimeVersionArn is supported only when UpdateRuntimeOn is Manual."))
        }
        (UpdateRuntimeOn::FunctionUpdate, None) => Ok(Some(RuntimeManagement::FunctionUpdate)),
        (_, None) => Ok(None),
    }
}

fn check_installed(
    target: &Target,
    runtime: &str,
    mode: Option<&RuntimeManagement>,
) -> Result<(), Error> {
    let Some(RuntimeManagement::Manual { version_arn }) = mode else { return Ok(()) };
    let installed = runtime_id::version_arn(&target.region, runtime);
    if *version_arn != installed {
        return Err(not_installed(version_arn, runtime, &installed));
    }
    Ok(())
}

/// Whether `$LATEST` may change to `runtime`: not while it is pinned to a version of another one.
pub(super) fn check_change(record: &FunctionRecord, runtime: &str) -> Result<(), Error> {
    let settings = record.qualified.get(LATEST);
    let pinned = settings.and_then(|settings| settings.runtime_management.as_ref());
    let Some(RuntimeManagement::Manual { version_arn }) = pinned else { return Ok(()) };
    let installed = runtime_id::version_arn(&record.region, runtime);
    if *version_arn != installed {
        return Err(not_installed(version_arn, runtime, &installed));
    }
    Ok(())
}

fn not_installed(version_arn: &str, runtime: &str, installed: &str) -> Error {
    invalid(format!(
        "Runtime version {version_arn} is not available for {runtime}. The version that is \
         installed is {installed}."
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2021-07-20/functions/hello/runtime-management-config";
    const CONFIGURATION: &str = "/2015-03-31/functions/hello/configuration";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("put_runtime_management_config.rs"))).await;
        let reply = harness.get(PATH).await.json();
        assert_eq!(reply["UpdateRuntimeOn"], "FunctionUpdate");
        assert!(reply.get("RuntimeVersionArn").is_none());
    }

    #[tokio::test]
    async fn what_is_shown_may_be_pinned_and_then_stays() {
        let harness = Harness::with_hello().await;
        let shown = harness.get(CONFIGURATION).await.json();
        let arn = &shown["RuntimeVersionConfig"]["RuntimeVersionArn"];
        let body = json!({"UpdateRuntimeOn": "Manual", "RuntimeVersionArn": arn});
        let reply = harness.put(PATH, &body).await.json();
        assert_eq!(
            (&reply["UpdateRuntimeOn"], &reply["RuntimeVersionArn"]),
            (&json!("Manual"), arn)
        );
        assert_eq!(harness.get(PATH).await.json(), reply);
        let refused = harness.put(CONFIGURATION, &json!({"Runtime": "python3.12"})).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "InvalidParameterValueException")
        );
        assert!(refused.message().contains(arn.as_str().unwrap()), "{}", refused.message());
        assert_eq!(harness.put(PATH, &json!({"UpdateRuntimeOn": "Auto"})).await.status, 200);
        assert_eq!(harness.get(PATH).await.json()["UpdateRuntimeOn"], "Auto");
        let changed = harness.put(CONFIGURATION, &json!({"Runtime": "python3.12"})).await;
        assert_eq!(changed.status, 200);
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = Harness::with_hello().await;
        let other = "arn:aws:lambda:us-east-1::runtime:07a48df201798d627f2b950f03bb227a";
        let manual = json!({"UpdateRuntimeOn": "Manual"});
        let cases = [
            (PATH.to_owned(), manual.clone(), 400, "RuntimeVersionArn is mandatory"),
            (
                PATH.to_owned(),
                json!({"UpdateRuntimeOn": "Manual", "RuntimeVersionArn": other}),
                400,
                "Runtime version arn:aws:lambda:us-east-1::runtime:07a4",
            ),
            (
                PATH.to_owned(),
                json!({"UpdateRuntimeOn": "Auto", "RuntimeVersionArn": other}),
                400,
                "RuntimeVersionArn is supported only",
            ),
            (
                format!("{PATH}?Qualifier=live"),
                json!({"UpdateRuntimeOn": "Auto"}),
                400,
                "This operation is permitted on versions",
            ),
            (
                format!("{PATH}?Qualifier=7"),
                json!({"UpdateRuntimeOn": "Auto"}),
                404,
                "Function not found: arn:aws:lambda:us-east-1:000000000000:function:hello:7",
            ),
            (
                PATH.replace("hello", "none"),
                json!({"UpdateRuntimeOn": "Auto"}),
                404,
                "Function not found: ",
            ),
            (PATH.to_owned(), json!({"UpdateRuntimeOn": "Never"}), 400, "1 validation error"),
        ];
        for (path, body, status, text) in cases {
            let reply = harness.put(&path, &body).await;
            assert_eq!(reply.status, status, "{body} {reply:?}");
            assert!(reply.message().starts_with(text), "{}", reply.message());
        }
    }
}
