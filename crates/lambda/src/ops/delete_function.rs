//! Deletes a function. Invokes that run already finish.
//!
//! ```text
//! DELETE /2015-03-31/functions/hello
//!
//! 204
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{DeleteFunctionRequest, DeleteFunctionResponse};
use lambic_store::Transaction;
use lambic_wire::{Arn, Error};

use super::change::{commit, in_progress, read};
use super::code_signing::end_use;
use crate::Lambda;
use crate::limits::invalid;
use crate::names::{self, LATEST};

/// Attempts before a caller is told to try again.
const ATTEMPTS_MAX: usize = 8;

/// The operation.
pub struct DeleteFunction;

impl Serve for DeleteFunction {
    type Service = Lambda;
    type Operation = model::ops::DeleteFunction;

    fn resource(cx: &Cx<'_, Lambda>, input: &DeleteFunctionRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: DeleteFunctionRequest,
    ) -> Result<DeleteFunctionResponse, Error> {
        let qualifier = input.qualifier.as_deref();
        let target = names::resolve(cx.account, cx.region, &input.function_name, qualifier)?;
        if let Some(qualifier) = target.qualifier.as_deref() {
            check_qualifier(qualifier)?;
            // No version but $LATEST is there yet, and AWS says nothing about one that is not.
            read(cx, &target).await?;
            return Ok(DeleteFunctionResponse { status_code: 204 });
        }
        for _ in 0..ATTEMPTS_MAX {
            let stored = read(cx, &target).await?;
            let mut transaction = Transaction::new();
            transaction.remove(&stored);
            end_use(cx, &mut transaction, &stored.value);
            if commit(cx, transaction).await?.is_some() {
                return Ok(DeleteFunctionResponse { status_code: 204 });
            }
        }
        Err(in_progress(&target))
    }
}

fn check_qualifier(qualifier: &str) -> Result<(), Error> {
    if qualifier == LATEST {
        return Err(invalid("$LATEST version cannot be deleted without deleting the function."));
    }
    if !qualifier.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid("Deletion of aliases is not currently supported."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("delete_function.rs"))).await;
        let reply = harness.delete("/2015-03-31/functions/hello").await;
        assert_eq!(reply.status, 404);
        assert!(reply.message().ends_with("function:hello"));
        assert_eq!(harness.get("/2015-03-31/functions/hello").await.status, 404);
    }

    #[tokio::test]
    async fn qualifiers() {
        let harness = Harness::with_hello().await;
        let delete = async |qualifier: &str| {
            harness.delete(&format!("/2015-03-31/functions/hello?Qualifier={qualifier}")).await
        };
        assert_eq!(
            delete("$LATEST").await.message(),
            "$LATEST version cannot be deleted without deleting the function."
        );
        assert_eq!(delete("live").await.status, 400);
        assert_eq!(delete("7").await.status, 204);
        assert_eq!(harness.get("/2015-03-31/functions/hello").await.status, 200);
    }

    #[tokio::test]
    async fn a_deleted_name_is_free_and_unused_code_goes() {
        let harness = Harness::with_hello().await;
        harness.delete("/2015-03-31/functions/hello").await;
        assert_eq!(harness.lambda.sweep().await.unwrap().bundles, 1);
        harness.create("hello").await;
        assert_eq!(harness.lambda.sweep().await.unwrap().bundles, 0);
    }
}
