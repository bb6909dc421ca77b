//! Gives a version a name, or two versions with a share of the invokes for the second.
//!
//! ```text
//! POST /2015-03-31/functions/two/aliases
//! {"Name": "live", "FunctionVersion": "1", "Description": "what is in use",
//!  "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.1}}}
//!
//! 201
//! {"AliasArn": "arn:aws:lambda:us-east-1:000000000000:function:two:live", "Name": "live",
//!  "FunctionVersion": "1", "Description": "what is in use",
//!  "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.1}}, "RevisionId": "<any>"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{AliasConfiguration, CreateAliasRequest, errors};
use lambic_wire::{Arn, Error};

use super::alias::{check, check_roles, second, show};
use super::change::{edit, read};
use crate::Lambda;
use crate::limits::{ALIASES_MAX, too_many_aliases};
use crate::names::{self, Target};
use crate::state::alias::Alias;

/// The operation.
pub struct CreateAlias;

impl Serve for CreateAlias {
    type Service = Lambda;
    type Operation = model::ops::CreateAlias;

    fn resource(cx: &Cx<'_, Lambda>, input: &CreateAliasRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: CreateAliasRequest,
    ) -> Result<AliasConfiguration, Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        let alias = Alias {
            second: second(input.routing_config.as_ref())?,
            version: input.function_version,
            description: input.description.unwrap_or_default(),
            revision_id: cx.rt.uuid(),
        };
        // AWS names the version when there is not even the function.
        let qualifier = Some(alias.version.clone());
        let named = Target { qualifier, ..target.clone() };
        let stored = read(cx, &target).await.map_err(|error| match error.status {
            404 => named.not_found(),
            _ => error,
        })?;
        check_roles(cx, &stored.value, &alias).await?;
        let name = &input.name;
        let (record, ()) = edit(cx, &target, |record| {
            check(record, &target, &alias)?;
            if record.aliases.contains_key(name) {
                return Err(errors::resource_conflict(format!(
                    "Alias already exists: {}:{name}",
                    target.arn()
                )));
            }
            if record.aliases.len() >= ALIASES_MAX {
                return Err(too_many_aliases());
            }
            record.aliases.insert(name.clone(), alias.clone());
            Ok(())
        })
        .await?;
        Ok(show(&record, name, &alias))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2015-03-31/functions/two/aliases";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_versions().await;
        harness.check(&documented(include_str!("create_alias.rs"))).await;
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = Harness::with_versions().await;
        let refused = async |body: Value| {
            let reply = harness.post(PATH, &body).await;
            format!("{} {}: {}", reply.status, reply.code(), reply.message())
        };
        let alias = |version: &str, weights: Value| {
            json!({"Name": "a", "FunctionVersion": version,
                   "RoutingConfig": {"AdditionalVersionWeights": weights}})
        };
        let invalid = "400 InvalidParameterValueException: ";
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:two";
        let missing = format!("404 ResourceNotFoundException: Function not found: {arn}:10");
        assert_eq!(
            refused(alias("1", json!({"2": 0.1, "3": 0.1}))).await,
            format!(
                "{invalid}Number of items in AdditionalVersionWeights cannot be greater than 1"
            )
        );
        assert_eq!(
            refused(alias("1", json!({"1": 0.1}))).await,
            format!(
                "{invalid}Invalid function version 1. Function version 1 is already included in \
                 routing configuration."
            )
        );
        assert_eq!(
            refused(alias("$LATEST", json!({"1": 0.1}))).await,
            format!(
                "{invalid}$LATEST is not supported for an alias pointing to more than 1 version"
            )
        );
        assert_eq!(refused(alias("10", json!({}))).await, missing);
        assert_eq!(refused(alias("1", json!({"10": 0.1}))).await, missing);
        for weights in [json!({"2": 2.0}), json!({"2": -1.0}), json!({"$LATEST": 0.5})] {
            let text = refused(alias("1", weights)).await;
            assert!(text.starts_with("400 ValidationException: 1 validation error"), "{text}");
        }
        let digits = refused(json!({"Name": "2024", "FunctionVersion": "1"})).await;
        assert!(digits.contains("Value '2024' at 'name' failed to satisfy"), "{digits}");
        assert_eq!(harness.post(PATH, &alias("1", json!({}))).await.status, 201);
        assert_eq!(
            refused(alias("2", json!({}))).await,
            format!("409 ResourceConflictException: Alias already exists: {arn}:a")
        );
        let alias = json!({"Name": "a", "FunctionVersion": "1"});
        let nobody = harness.post("/2015-03-31/functions/nobody/aliases", &alias).await;
        assert!(nobody.message().ends_with("function:nobody:1"));
    }

    #[tokio::test]
    async fn both_versions_run_as_one_role() {
        let harness = Harness::with_versions().await;
        let other = json!({"Role": "arn:aws:iam::000000000000:role/other"});
        harness.put("/2015-03-31/functions/two/configuration", &other).await;
        harness.settle().await;
        harness.post("/2015-03-31/functions/two/versions", &json!({})).await;
        let body = json!({"Name": "a", "FunctionVersion": "1",
                          "RoutingConfig": {"AdditionalVersionWeights": {"3": 0.1}}});
        let reply = harness.post(PATH, &body).await;
        assert_eq!((reply.status, reply.message().contains("execution role")), (400, true));
    }

    #[tokio::test]
    async fn many_at_once_lose_none() {
        let harness = Harness::with_versions().await;
        let all = (0..32).map(|number| {
            let body = json!({"Name": format!("a{number}"), "FunctionVersion": "1"});
            let harness = &harness;
            async move { harness.post(PATH, &body).await.status }
        });
        let all = futures_util::future::join_all(all).await;
        assert!(all.iter().all(|status| *status == 201), "{all:?}");
        let listed = harness.get(PATH).await.json();
        assert_eq!(listed["Aliases"].as_array().unwrap().len(), 33);
    }
}
