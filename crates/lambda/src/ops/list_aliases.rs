//! The aliases of a function by name, all or those that lead to one version.
//!
//! ```text
//! GET /2015-03-31/functions/two/aliases?FunctionVersion=1
//!
//! 200
//! {"Aliases": [
//!   {"AliasArn": "arn:aws:lambda:us-east-1:000000000000:function:two:stable", "Name": "stable",
//!    "FunctionVersion": "1", "Description": "", "RevisionId": "<any>"}]}
//! ```

use std::ops::Bound;

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{ListAliasesRequest, ListAliasesResponse};
use lambic_wire::{Arn, Error};

use super::alias::show;
use super::{find, paging};
use crate::Lambda;
use crate::names;
use crate::state::alias::Alias;

/// The operation.
pub struct ListAliases;

impl Serve for ListAliases {
    type Service = Lambda;
    type Operation = model::ops::ListAliases;

    fn resource(cx: &Cx<'_, Lambda>, input: &ListAliasesRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: ListAliasesRequest,
    ) -> Result<ListAliasesResponse, Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        let function = find(cx, &target)?;
        let record = &function.stored.value;
        let after = paging::after(input.marker.as_deref())?;
        let limit = paging::usual_limit(input.max_items);
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let wanted = input.function_version.as_deref().filter(|version| !version.is_empty());
        let leads = |alias: &Alias| {
            let second = alias.second.as_ref().map(|second| second.version.as_str());
            wanted.is_none_or(|wanted| alias.version == wanted || second == Some(wanted))
        };
        let all = record.aliases.range::<str, _>((from, Bound::Unbounded));
        let mut found: Vec<_> = all.filter(|(_, alias)| leads(alias)).take(limit + 1).collect();
        let next_marker = paging::cut(&mut found, limit, |(name, _)| (*name).clone());
        let aliases = found.iter().map(|(name, alias)| show(record, name, alias)).collect();
        Ok(ListAliasesResponse { next_marker, aliases: Some(aliases) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2015-03-31/functions/two/aliases";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_versions().await;
        harness.check(&documented(include_str!("list_aliases.rs"))).await;
    }

    #[tokio::test]
    async fn pages_and_versions() {
        let harness = Harness::with_versions().await;
        for (name, version, weights) in
            [("a", "2", json!({})), ("b", "1", json!({"2": 0.5})), ("c", "$LATEST", json!({}))]
        {
            let body = json!({"Name": name, "FunctionVersion": version,
                              "RoutingConfig": {"AdditionalVersionWeights": weights}});
            assert_eq!(harness.post(PATH, &body).await.status, 201);
        }
        let page = async |query: &str| {
            let reply = harness.get(&format!("{PATH}?{query}")).await.json();
            let names = reply["Aliases"].as_array().unwrap().clone();
            let names: Vec<_> =
                names.iter().map(|alias| alias["Name"].as_str().unwrap().to_owned()).collect();
            (names.join(" "), reply["NextMarker"].as_str().map(str::to_owned))
        };
        let (names, marker) = page("MaxItems=3").await;
        assert_eq!(names, "a b c");
        let marker = marker.unwrap();
        assert_eq!(page(&format!("Marker={marker}")).await, ("stable".into(), None));
        assert_eq!(page("FunctionVersion=2").await.0, "a b");
        assert_eq!(page("FunctionVersion=$LATEST").await.0, "c");
        assert_eq!(harness.get("/2015-03-31/functions/nobody/aliases").await.status, 404);
        assert_eq!(harness.get(&format!("{PATH}?Marker=%21")).await.status, 400);
    }
}
