//! Reserves a part of the account's concurrency for a function, which is then all that it may have. 0
//! lets nobody invoke it. At least 100 stay for the functions that reserve none.
//!
//! ```text
//! PUT /2017-10-31/functions/hello/concurrency
//! {"ReservedConcurrentExecutions": 5}
//!
//! 200
//! {"ReservedConcurrentExecutions": 5}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{Concurrency, PutFunctionConcurrencyRequest};
use lambic_wire::{Arn, Error};

use super::change::{edit, read};
use crate::Lambda;
use crate::limits::{UNRESERVED_CONCURRENCY_MIN, invalid, invalid_of_nobody};
use crate::names;

/// The operation.
pub struct PutFunctionConcurrency;

impl Serve for PutFunctionConcurrency {
    type Service = Lambda;
    type Operation = model::ops::PutFunctionConcurrency;

    fn resource(cx: &Cx<'_, Lambda>, input: &PutFunctionConcurrencyRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: PutFunctionConcurrencyRequest,
    ) -> Result<Concurrency, Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        let wanted = u32::try_from(input.reserved_concurrent_executions)
            .map_err(|_| invalid("ReservedConcurrentExecutions must not be negative."))?;
        // Nobody else takes what is left while this looks whether it is enough.
        let _dividing = cx.service.dividing.lock().await;
        let record = read(cx, &target).await?.value;
        let provisioned = record.provisioned();
        if wanted < provisioned {
            return Err(invalid_of_nobody(format!(
                " ReservedConcurrentExecutions  {wanted} should not be lower than function's total \
                 provisioned concurrency [{provisioned}]."
            )));
        }
        let own = record.kept_concurrency();
        let usage = cx.service.catalog.usage(&target.account, &target.region);
        let others = usage.kept_concurrency.saturating_sub(u64::from(own));
        let max = u64::from(cx.service.config.concurrency_max);
        let left = max.saturating_sub(others + u64::from(wanted));
        if wanted > own && left < UNRESERVED_CONCURRENCY_MIN {
            return Err(invalid_of_nobody(format!(
                "Specified ReservedConcurrentExecutions for function decreases account's \
                 UnreservedConcurrentExecution below its minimum value of \
                 [{UNRESERVED_CONCURRENCY_MIN}]."
            )));
        }
        edit(cx, &target, |record| {
            record.reserved_concurrency = Some(wanted);
            Ok(())
        })
        .await?;
        Ok(Concurrency {
            reserved_concurrent_executions: Some(input.reserved_concurrent_executions),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    fn path(function: &str) -> String {
        format!("/2017-10-31/functions/{function}/concurrency")
    }

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("put_function_concurrency.rs"))).await;
        let function = harness.get("/2015-03-31/functions/hello").await.json();
        assert_eq!(function["Concurrency"], json!({"ReservedConcurrentExecutions": 5}));
        let settings = harness.get("/2016-08-19/account-settings").await.json();
        assert_eq!(settings["AccountLimit"]["UnreservedConcurrentExecutions"], 995);
    }

    #[tokio::test]
    async fn a_hundred_stay_for_the_others() {
        let harness = Harness::with_hello().await;
        harness.create("other").await;
        let put = async |function: &str, count: u32| {
            let body = json!({"ReservedConcurrentExecutions": count});
            harness.put(&path(function), &body).await
        };
        assert_eq!(put("hello", 800).await.status, 200);
        let refused = put("other", 101).await;
        assert_eq!(
            (refused.status, refused.message().as_str()),
            (
                400,
                "Specified ReservedConcurrentExecutions for function decreases account's \
                 UnreservedConcurrentExecution below its minimum value of [100]."
            )
        );
        assert!(!String::from_utf8_lossy(&refused.body).contains("Type"));
        assert_eq!(put("other", 100).await.status, 200);
        assert_eq!(put("hello", 0).await.status, 200);
        assert_eq!(harness.delete("/2015-03-31/functions/other").await.status, 204);
        assert_eq!(put("hello", 900).await.status, 200);
        assert_eq!(put("nobody", 1).await.status, 404);
        assert_eq!(put("hello:1", 1).await.status, 400);
    }

    #[tokio::test]
    async fn many_at_once_do_not_reserve_more_than_there_is() {
        let harness = Harness::new().await;
        for number in 0..16 {
            harness.create(&format!("f{number}")).await;
        }
        let all = (0..16).map(|number| {
            let harness = &harness;
            async move {
                let body = json!({"ReservedConcurrentExecutions": 200});
                harness.put(&path(&format!("f{number}")), &body).await.status
            }
        });
        let all = futures_util::future::join_all(all).await;
        assert_eq!(all.iter().filter(|status| **status == 200).count(), 4, "{all:?}");
    }
}
