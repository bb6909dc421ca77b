//! What an alias leads to.
//!
//! ```text
//! GET /2015-03-31/functions/two/aliases/stable
//!
//! 200
//! {"AliasArn": "arn:aws:lambda:us-east-1:000000000000:function:two:stable", "Name": "stable",
//!  "FunctionVersion": "1", "Description": "", "RevisionId": "<any>"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{AliasConfiguration, GetAliasRequest};
use lambic_wire::{Arn, Error};

use super::alias::{cannot_find, show};
use crate::Lambda;
use crate::names;

/// The operation.
pub struct GetAlias;

impl Serve for GetAlias {
    type Service = Lambda;
    type Operation = model::ops::GetAlias;

    fn resource(cx: &Cx<'_, Lambda>, input: &GetAliasRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(cx: &Cx<'_, Lambda>, input: GetAliasRequest) -> Result<AliasConfiguration, Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        let found = cx.service.catalog.find(&target.account, &target.region, &target.name);
        let missing = || cannot_find(&target, &input.name);
        let function = found.ok_or_else(missing)?;
        let record = &function.stored.value;
        let alias = record.aliases.get(&input.name).ok_or_else(missing)?;
        Ok(show(record, &input.name, alias))
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_versions().await;
        harness.check(&documented(include_str!("get_alias.rs"))).await;
    }

    #[tokio::test]
    async fn one_that_is_not_there() {
        let harness = Harness::with_versions().await;
        for function in ["two", "nobody"] {
            let path = format!("/2015-03-31/functions/{function}/aliases/none");
            let reply = harness.get(&path).await;
            assert_eq!((reply.status, reply.code().as_str()), (404, "ResourceNotFoundException"));
            assert_eq!(
                reply.message(),
                format!(
                    "Cannot find alias arn: \
                     arn:aws:lambda:us-east-1:000000000000:function:{function}:none"
                )
            );
        }
    }
}
