//! Leads an alias to another version, or changes the share of its second one. What is not given stays.
//!
//! ```text
//! PUT /2015-03-31/functions/two/aliases/stable
//! {"FunctionVersion": "2"}
//!
//! 200
//! {"AliasArn": "arn:aws:lambda:us-east-1:000000000000:function:two:stable", "Name": "stable",
//!  "FunctionVersion": "2", "Description": "", "RevisionId": "<any>"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{AliasConfiguration, UpdateAliasRequest};
use lambic_wire::{Arn, Error};

use super::alias::{check, check_roles, second, show};
use super::change::{check_revision, edit, read};
use super::put_provisioned_concurrency_config::check_versions;
use crate::Lambda;
use crate::names::{self, Target, not_found};
use crate::state::alias::Alias;
use crate::state::function::FunctionRecord;

/// The operation.
pub struct UpdateAlias;

impl Serve for UpdateAlias {
    type Service = Lambda;
    type Operation = model::ops::UpdateAlias;

    fn resource(cx: &Cx<'_, Lambda>, input: &UpdateAliasRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: UpdateAliasRequest,
    ) -> Result<AliasConfiguration, Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        let given = second(input.routing_config.as_ref())?;
        let revision_id = cx.rt.uuid();
        let next = |record: &FunctionRecord| -> Result<Alias, Error> {
            let mut alias = find(record, &target, &input.name)?.clone();
            check_revision(input.revision_id.as_deref(), &alias.revision_id)?;
            if let Some(version) = &input.function_version {
                alias.version.clone_from(version);
            }
            if let Some(description) = &input.description {
                alias.description.clone_from(description);
            }
            if input.routing_config.is_some() {
                alias.second.clone_from(&given);
            }
            check(record, &target, &alias)?;
            alias.revision_id.clone_from(&revision_id);
            Ok(alias)
        };
        let stored = read(cx, &target).await?.value;
        check_roles(cx, &stored, &next(&stored)?).await?;
        let (record, alias) = edit(cx, &target, |record| {
            let alias = next(record)?;
            record.aliases.insert(input.name.clone(), alias.clone());
            let settings = record.qualified.get(&input.name);
            if settings.is_some_and(|settings| settings.provisioned.is_some()) {
                // Its environments move along, so they have to be allowed there.
                check_versions(record, &input.name)?;
            }
            Ok(alias)
        })
        .await?;
        Ok(show(&record, &input.name, &alias))
    }
}

fn find<'a>(record: &'a FunctionRecord, target: &Target, name: &str) -> Result<&'a Alias, Error> {
    let missing = || not_found(format!("Alias not found: {}:{name}", target.arn()));
    record.aliases.get(name).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2015-03-31/functions/two/aliases/stable";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_versions().await;
        harness.check(&documented(include_str!("update_alias.rs"))).await;
    }

    #[tokio::test]
    async fn what_is_not_given_stays() {
        let harness = Harness::with_versions().await;
        let weights = json!({"AdditionalVersionWeights": {"2": 0.25}});
        let with = json!({"RoutingConfig": weights, "Description": "d"});
        let first = harness.put(PATH, &with).await.json();
        assert_eq!((&first["RoutingConfig"], &first["Description"]), (&weights, &json!("d")));
        let second = harness.put(PATH, &json!({"Description": "e"})).await.json();
        assert_eq!(second["RoutingConfig"], weights);
        assert_ne!(first["RevisionId"], second["RevisionId"]);
        for none in [json!({}), json!({"AdditionalVersionWeights": {}})] {
            harness.put(PATH, &with).await;
            let without = harness.put(PATH, &json!({"RoutingConfig": none})).await.json();
            assert_eq!(without.get("RoutingConfig"), None);
        }
        assert_eq!(harness.get(PATH).await.json()["Description"], "d");
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = Harness::with_versions().await;
        let stale = harness.put(PATH, &json!({"RevisionId": "x"})).await;
        assert_eq!((stale.status, stale.code().as_str()), (412, "PreconditionFailedException"));
        assert!(stale.message().contains("Call the GetFunction/GetAlias API"), "{stale:?}");
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:two";
        let none = harness.put("/2015-03-31/functions/two/aliases/none", &json!({})).await;
        assert_eq!((none.status, none.message()), (404, format!("Alias not found: {arn}:none")));
        let version = harness.put(PATH, &json!({"FunctionVersion": "7"})).await;
        assert_eq!(
            (version.status, version.message()),
            (404, format!("Function not found: {arn}:7"))
        );
        let both = json!({"RoutingConfig": {"AdditionalVersionWeights": {"1": 0.5}}});
        assert_eq!(harness.put(PATH, &both).await.status, 400);
        assert_eq!(harness.put("/2015-03-31/functions/no/aliases/a", &json!({})).await.status, 404);
    }

    #[tokio::test]
    async fn provisioned_environments_move_only_where_they_may_be() {
        let harness = Harness::with_versions().await;
        let put = async |qualifier: &str| {
            let path =
                format!("/2019-09-30/functions/two/provisioned-concurrency?Qualifier={qualifier}");
            harness.put(&path, &json!({"ProvisionedConcurrentExecutions": 1})).await.status
        };
        assert_eq!((put("stable").await, put("2").await), (202, 202));
        let latest = harness.put(PATH, &json!({"FunctionVersion": "$LATEST"})).await;
        assert_eq!(latest.status, 400);
        assert!(latest.message().contains("unpublished function versions"), "{latest:?}");
        let taken = harness.put(PATH, &json!({"FunctionVersion": "2"})).await;
        assert_eq!((taken.status, taken.code().as_str()), (409, "ResourceConflictException"));
        assert_eq!(harness.get(PATH).await.json()["FunctionVersion"], "1");
    }
}
