//! Deletes a code signing configuration that no function uses.
//!
//! ```text
//! DELETE /2020-04-22/code-signing-configs/<config>
//!
//! 204
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{
    DeleteCodeSigningConfigRequest, DeleteCodeSigningConfigResponse, errors,
};
use lambic_store::Transaction;
use lambic_wire::{Arn, Error};

use super::change::write;
use super::code_signing::{ATTEMPTS_MAX, read, resource, users};
use crate::Lambda;
use crate::limits::too_many_changes;

/// The operation.
pub struct DeleteCodeSigningConfig;

impl Serve for DeleteCodeSigningConfig {
    type Service = Lambda;
    type Operation = model::ops::DeleteCodeSigningConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &DeleteCodeSigningConfigRequest) -> Arn {
        resource(cx, &input.code_signing_config_arn)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: DeleteCodeSigningConfigRequest,
    ) -> Result<DeleteCodeSigningConfigResponse, Error> {
        let arn = &input.code_signing_config_arn;
        for _ in 0..ATTEMPTS_MAX {
            let stored = read(cx, arn).await?;
            if !users(cx, &stored.value, None, 1).await?.is_empty() {
                return Err(errors::resource_conflict(format!(
                    "Cannot delete the code signing configuration {arn} because it is used by one \
                     or more Lambda functions."
                )));
            }
            let mut transaction = Transaction::new();
            transaction.remove(&stored);
            if write(cx, transaction).await?.is_some() {
                return Ok(DeleteCodeSigningConfigResponse {});
            }
        }
        Err(too_many_changes())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::new().await;
        let config = harness.code_signing_config("Enforce").await;
        let source = include_str!("delete_code_signing_config.rs");
        harness.check(&documented(&source.replace("<config>", &config))).await;
        let path = format!("/2020-04-22/code-signing-configs/{config}");
        assert_eq!(harness.get(&path).await.status, 404);
        let reply = harness.delete(&path).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "ResourceNotFoundException"));
    }

    #[tokio::test]
    async fn one_that_is_used_stays() {
        let harness = Harness::with_hello().await;
        let config = harness.code_signing_config("Warn").await;
        let path = format!("/2020-04-22/code-signing-configs/{config}");
        let of_function = "/2020-06-30/functions/hello/code-signing-config";
        harness.put(of_function, &json!({"CodeSigningConfigArn": config})).await;
        let reply = harness.delete(&path).await;
        assert_eq!(
            (reply.status, reply.code().as_str(), reply.message()),
            (
                409,
                "ResourceConflictException",
                format!(
                    "Cannot delete the code signing configuration {config} because it is used by \
                     one or more Lambda functions."
                )
            )
        );
        assert_eq!(harness.delete("/2015-03-31/functions/hello").await.status, 204);
        assert_eq!(harness.delete(&path).await.status, 204);
    }

    #[tokio::test]
    async fn a_deletion_that_began_before_the_first_use_does_not_happen() {
        let harness = Harness::with_hello().await;
        let config = harness.code_signing_config("Warn").await;
        let call = harness.call();
        let cx = call.cx(&*harness.lambda);
        let stored = read(&cx, &config).await.unwrap();
        let of_function = "/2020-06-30/functions/hello/code-signing-config";
        let put = harness.put(of_function, &json!({"CodeSigningConfigArn": config})).await;
        assert_eq!(put.status, 200);
        let mut transaction = Transaction::new();
        transaction.remove(&stored);
        assert!(write(&cx, transaction).await.unwrap().is_none());
    }
}
