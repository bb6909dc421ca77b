//! Makes a function use no code signing configuration any more. One that uses none stays as it is.
//!
//! ```text
//! DELETE /2020-06-30/functions/hello/code-signing-config
//!
//! 204
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::DeleteFunctionCodeSigningConfigRequest;
use lambic_store::Transaction;
use lambic_wire::{Arn, Error};

use super::change::{commit, in_progress, read};
use super::code_signing::{ATTEMPTS_MAX, end_use};
use crate::Lambda;
use crate::names;
use crate::state::function::FunctionRecord;

/// The operation.
pub struct DeleteFunctionCodeSigningConfig;

impl Serve for DeleteFunctionCodeSigningConfig {
    type Service = Lambda;
    type Operation = model::ops::DeleteFunctionCodeSigningConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &DeleteFunctionCodeSigningConfigRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: DeleteFunctionCodeSigningConfigRequest,
    ) -> Result<(), Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        for _ in 0..ATTEMPTS_MAX {
            let stored = read(cx, &target).await?;
            if stored.value.code_signing_config.is_none() {
                return Ok(());
            }
            let next = FunctionRecord { code_signing_config: None, ..stored.value.clone() };
            let mut transaction = Transaction::new();
            end_use(cx, &mut transaction, &stored.value);
            transaction.replace(&stored, &next);
            if commit(cx, transaction).await?.is_some() {
                return Ok(());
            }
        }
        Err(in_progress(&target))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2020-06-30/functions/hello/code-signing-config";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        let config = harness.code_signing_config("Enforce").await;
        harness.put(PATH, &json!({"CodeSigningConfigArn": config})).await;
        let example = documented(include_str!("delete_function_code_signing_config.rs"));
        harness.check(&example).await;
        harness.check(&example).await;
        assert_eq!(harness.get(PATH).await.json(), json!({}));
        let users = format!("/2020-04-22/code-signing-configs/{config}/functions");
        assert_eq!(harness.get(&users).await.json(), json!({"FunctionArns": []}));
        let reply = harness.delete(&PATH.replace("hello", "none")).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "ResourceNotFoundException"));
    }
}
