//! Gives back what a function has reserved.
//!
//! ```text
//! DELETE /2017-10-31/functions/hello/concurrency
//!
//! 204
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::DeleteFunctionConcurrencyRequest;
use lambic_wire::{Arn, Error};

use super::change::edit;
use crate::Lambda;
use crate::names;

/// The operation.
pub struct DeleteFunctionConcurrency;

impl Serve for DeleteFunctionConcurrency {
    type Service = Lambda;
    type Operation = model::ops::DeleteFunctionConcurrency;

    fn resource(cx: &Cx<'_, Lambda>, input: &DeleteFunctionConcurrencyRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: DeleteFunctionConcurrencyRequest,
    ) -> Result<(), Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        let _dividing = cx.service.dividing.lock().await;
        edit(cx, &target, |record| {
            record.reserved_concurrency = None;
            Ok(())
        })
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("delete_function_concurrency.rs"))).await;
        let nobody = harness.delete("/2017-10-31/functions/nobody/concurrency").await;
        assert_eq!(nobody.status, 404);
    }
}
