//! The limits of an account, and how much of them is used.
//!
//! ```text
//! GET /2016-08-19/account-settings
//!
//! 200
//! {"AccountLimit": {"TotalCodeSize": 80530636800, "CodeSizeUnzipped": 262144000,
//!   "CodeSizeZipped": 52428800, "ConcurrentExecutions": 1000,
//!   "UnreservedConcurrentExecutions": 1000},
//!  "AccountUsage": {"TotalCodeSize": "<any>", "FunctionCount": 1}}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{
    AccountLimit, AccountUsage, GetAccountSettingsRequest, GetAccountSettingsResponse,
};
use lambic_wire::{Arn, Error};

use super::layers::stored_bytes;
use crate::Lambda;
use crate::limits::{CODE_STORAGE_BYTES_MAX, UNZIPPED_BYTES_MAX, ZIPPED_BYTES_MAX};

/// The operation.
pub struct GetAccountSettings;

impl Serve for GetAccountSettings {
    type Service = Lambda;
    type Operation = model::ops::GetAccountSettings;

    fn resource(cx: &Cx<'_, Lambda>, _input: &GetAccountSettingsRequest) -> Arn {
        Arn::new("lambda", cx.region, cx.account, "*")
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        _input: GetAccountSettingsRequest,
    ) -> Result<GetAccountSettingsResponse, Error> {
        let usage = cx.service.catalog.usage(cx.account, cx.region);
        let code_bytes = usage.code_bytes + stored_bytes(cx, cx.account).await?;
        let concurrency = u64::from(cx.service.config.concurrency_max);
        let unreserved = concurrency.saturating_sub(usage.reserved_concurrency);
        let number = |count: u64| i32::try_from(count).unwrap_or(i32::MAX);
        Ok(GetAccountSettingsResponse {
            account_limit: Some(AccountLimit {
                total_code_size: Some(CODE_STORAGE_BYTES_MAX as i64),
                code_size_unzipped: Some(UNZIPPED_BYTES_MAX as i64),
                code_size_zipped: Some(ZIPPED_BYTES_MAX as i64),
                concurrent_executions: Some(number(concurrency)),
                unreserved_concurrent_executions: Some(number(unreserved)),
            }),
            account_usage: Some(AccountUsage {
                total_code_size: Some(code_bytes as i64),
                function_count: Some(usage.functions as i64),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented, zip, zip_base64};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("get_account_settings.rs"))).await;
        let reply = harness.get("/2016-08-19/account-settings/").await.json();
        assert_eq!(reply["AccountUsage"]["TotalCodeSize"], zip().len());
    }

    #[tokio::test]
    async fn every_version_of_a_layer_takes_room_until_it_is_deleted() {
        let harness = Harness::with_hello().await;
        let used = async || {
            let settings = harness.get("/2016-08-19/account-settings/").await.json();
            settings["AccountUsage"]["TotalCodeSize"].as_u64().unwrap() / zip().len() as u64
        };
        let versions = "/2018-10-31/layers/l/versions";
        let body = json!({"Content": {"ZipFile": zip_base64()}});
        for packages in [2, 3] {
            assert_eq!(harness.post(versions, &body).await.status, 201);
            assert_eq!(used().await, packages);
        }
        for packages in [2, 2] {
            assert_eq!(harness.delete(&format!("{versions}/1")).await.status, 204);
            assert_eq!(used().await, packages);
        }
    }

    #[tokio::test]
    async fn published_versions_take_room_and_are_no_functions() {
        let harness = Harness::with_hello().await;
        let used = async || {
            let mut settings = harness.get("/2016-08-19/account-settings/").await.json();
            let usage = settings["AccountUsage"].take();
            let packages = usage["TotalCodeSize"].as_u64().unwrap() / zip().len() as u64;
            (usage["FunctionCount"].as_u64().unwrap(), packages)
        };
        let function = "/2015-03-31/functions/hello";
        for version in [1, 2] {
            let timeout = json!({"Timeout": 10 + version});
            harness.put(&format!("{function}/configuration"), &timeout).await;
            harness.settle().await;
            assert_eq!(harness.post(&format!("{function}/versions"), &json!({})).await.status, 201);
            assert_eq!(used().await, (1, 1 + version));
        }
        assert_eq!(harness.delete(&format!("{function}?Qualifier=1")).await.status, 204);
        assert_eq!(used().await, (1, 2));
        harness.in_region("eu-west-1").create("elsewhere").await;
        assert_eq!(used().await, (1, 2));
        assert_eq!(harness.delete(function).await.status, 204);
        assert_eq!(used().await, (0, 0));
    }
}
