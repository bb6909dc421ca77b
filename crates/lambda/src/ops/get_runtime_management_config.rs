//! Which version of its runtime a version of a function runs: the newest (`Auto`), the one that was the
//! newest at the function's last update (`FunctionUpdate`), or a certain one (`Manual`).
//!
//! ```text
//! GET /2021-07-20/functions/hello/runtime-management-config
//!
//! 200
//! {"UpdateRuntimeOn": "Auto", "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{
    GetRuntimeManagementConfigRequest, GetRuntimeManagementConfigResponse, UpdateRuntimeOn,
};
use lambic_wire::{Arn, Error};

use super::find;
use crate::Lambda;
use crate::limits::invalid;
use crate::names::{self, LATEST, Target};
use crate::state::runtime_management::RuntimeManagement;

/// The operation.
pub struct GetRuntimeManagementConfig;

impl Serve for GetRuntimeManagementConfig {
    type Service = Lambda;
    type Operation = model::ops::GetRuntimeManagementConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &GetRuntimeManagementConfigRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: GetRuntimeManagementConfigRequest,
    ) -> Result<GetRuntimeManagementConfigResponse, Error> {
        let qualifier = input.qualifier.as_deref();
        let target = names::resolve(cx.account, cx.region, &input.function_name, qualifier)?;
        let version = version(&target)?;
        let function = find(cx, &target)?;
        let settings = function.stored.value.qualified.get(version);
        let mode = settings.and_then(|settings| settings.runtime_management.clone());
        let (update_runtime_on, runtime_version_arn) = show(mode);
        Ok(GetRuntimeManagementConfigResponse {
            update_runtime_on: Some(update_runtime_on),
            function_arn: Some(target.qualified_arn()),
            runtime_version_arn,
        })
    }
}

/// The version that is meant: `$LATEST` or a number. An alias leads to versions with modes of their own.
pub(super) fn version(target: &Target) -> Result<&str, Error> {
    let version = target.qualifier.as_deref().unwrap_or(LATEST);
    if version != LATEST && !version.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid(
            "This operation is permitted on versions of Lambda functions only. Please specify \
             $LATEST or the number of a published version.",
        ));
    }
    Ok(version)
}

/// As both operations answer it; the ARN of the version only where it is pinned.
pub(super) fn show(mode: Option<RuntimeManagement>) -> (UpdateRuntimeOn, Option<String>) {
    match mode {
        None => (UpdateRuntimeOn::Auto, None),
        Some(RuntimeManagement::FunctionUpdate) => (UpdateRuntimeOn::FunctionUpdate, None),
        Some(RuntimeManagement::Manual { version_arn }) => {
            (UpdateRuntimeOn::Manual, Some(version_arn))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2021-07-20/functions/hello/runtime-management-config";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("get_runtime_management_config.rs"))).await;
    }

    #[tokio::test]
    async fn qualifiers() {
        let harness = Harness::with_hello().await;
        let reply = harness.get(&format!("{PATH}?Qualifier=$LATEST")).await.json();
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:hello";
        assert_eq!(
            reply,
            json!({"UpdateRuntimeOn": "Auto", "FunctionArn": format!("{arn}:$LATEST")})
        );
        let cases = [
            (format!("{PATH}?Qualifier=7"), 404, format!("Function not found: {arn}:7")),
            (
                PATH.replace("hello", "none"),
                404,
                format!("Function not found: {}", arn.replace("hello", "none")),
            ),
            (
                format!("{PATH}?Qualifier=live"),
                400,
                "This operation is permitted on versions of Lambda functions only. Please specify \
                 $LATEST or the number of a published version."
                    .to_owned(),
            ),
        ];
        for (path, status, text) in cases {
            let reply = harness.get(&path).await;
            assert_eq!((reply.status, reply.message()), (status, text));
        }
    }
}
