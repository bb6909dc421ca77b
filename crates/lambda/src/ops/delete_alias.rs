//! Takes a name away, and what was set for it. One that is not there is no error.
//!
//! ```text
//! DELETE /2015-03-31/functions/two/aliases/stable
//!
//! 204
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::DeleteAliasRequest;
use lambic_wire::{Arn, Error};

use super::change::edit;
use crate::Lambda;
use crate::names;

/// The operation.
pub struct DeleteAlias;

impl Serve for DeleteAlias {
    type Service = Lambda;
    type Operation = model::ops::DeleteAlias;

    fn resource(cx: &Cx<'_, Lambda>, input: &DeleteAliasRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(cx: &Cx<'_, Lambda>, input: DeleteAliasRequest) -> Result<(), Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        edit(cx, &target, |record| {
            record.aliases.remove(&input.name);
            record.qualified.remove(&input.name);
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
        let harness = Harness::with_versions().await;
        let path = "/2015-03-31/functions/two";
        assert_eq!(harness.get(&format!("{path}?Qualifier=stable")).await.status, 200);
        let example = documented(include_str!("delete_alias.rs"));
        harness.check(&example).await;
        assert_eq!(harness.get(&format!("{path}?Qualifier=stable")).await.status, 404);
        harness.check(&example).await;
        assert_eq!(harness.delete("/2015-03-31/functions/nobody/aliases/a").await.status, 404);
    }
}
