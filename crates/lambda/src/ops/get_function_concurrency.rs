//! What a function has reserved; an empty answer when it has reserved nothing.
//!
//! ```text
//! GET /2019-09-30/functions/hello/concurrency
//!
//! 200
//! {}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{GetFunctionConcurrencyRequest, GetFunctionConcurrencyResponse};
use lambic_wire::{Arn, Error};

use super::find;
use crate::Lambda;
use crate::names;

/// The operation.
pub struct GetFunctionConcurrency;

impl Serve for GetFunctionConcurrency {
    type Service = Lambda;
    type Operation = model::ops::GetFunctionConcurrency;

    fn resource(cx: &Cx<'_, Lambda>, input: &GetFunctionConcurrencyRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: GetFunctionConcurrencyRequest,
    ) -> Result<GetFunctionConcurrencyResponse, Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        let reserved = find(cx, &target)?.stored.value.reserved_concurrency;
        Ok(GetFunctionConcurrencyResponse {
            reserved_concurrent_executions: reserved.map(|reserved| reserved as i32),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        let example = documented(include_str!("get_function_concurrency.rs"));
        harness.check(&example).await;
        let put = "/2017-10-31/functions/hello/concurrency";
        let reserved = json!({"ReservedConcurrentExecutions": 0});
        harness.put(put, &reserved).await;
        let get = "/2019-09-30/functions/hello/concurrency";
        assert_eq!(harness.get(get).await.json(), reserved);
        assert_eq!(harness.delete(put).await.status, 204);
        harness.check(&example).await;
        assert_eq!(harness.get("/2019-09-30/functions/nobody/concurrency").await.status, 404);
        assert_eq!(harness.get("/2019-09-30/functions/hello:1/concurrency").await.status, 400);
    }
}
