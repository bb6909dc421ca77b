//! The URLs of a function and of its aliases, up to fifty on a page: first its own, then those of
//! aliases by name.
//!
//! ```text
//! GET /2021-10-31/functions/hello/urls?MaxItems=1
//!
//! 200
//! {"FunctionUrlConfigs": [
//!   {"FunctionUrl": "<any>", "AuthType": "NONE", "InvokeMode": "BUFFERED",
//!    "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello",
//!    "CreationTime": "<any>", "LastModifiedTime": "<any>"}]}
//! ```

use std::ops::Bound;

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{ListFunctionUrlConfigsRequest, ListFunctionUrlConfigsResponse};
use lambic_wire::{Arn, Error};

use super::function_urls::{no_function, resolve, show};
use super::paging;
use crate::Lambda;
use crate::names::{self, LATEST, Target};

/// The operation.
pub struct ListFunctionUrlConfigs;

impl Serve for ListFunctionUrlConfigs {
    type Service = Lambda;
    type Operation = model::ops::ListFunctionUrlConfigs;

    fn resource(cx: &Cx<'_, Lambda>, input: &ListFunctionUrlConfigsRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: ListFunctionUrlConfigsRequest,
    ) -> Result<ListFunctionUrlConfigsResponse, Error> {
        let target = resolve(cx, &input.function_name, None)?;
        let found = cx.service.catalog.find(&target.account, &target.region, &target.name);
        let function = found.ok_or_else(no_function)?;
        let after = paging::after(input.marker.as_deref())?;
        let limit = paging::usual_limit(input.max_items);
        // `$LATEST`, which stands for the function itself, sorts before all names.
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let all = function.stored.value.qualified.range::<str, _>((from, Bound::Unbounded));
        let with_url = all.filter_map(|(name, settings)| Some((name, settings.url.as_ref()?)));
        let mut found: Vec<_> = with_url.take(limit + 1).collect();
        let next_marker = paging::cut(&mut found, limit, |(name, _)| (*name).clone());
        let shown = found.into_iter().map(|(name, url)| {
            let qualifier = (name != LATEST).then(|| name.clone());
            show(cx, &Target { qualifier, ..target.clone() }, url)
        });
        let function_url_configs = shown.collect();
        Ok(ListFunctionUrlConfigsResponse { function_url_configs, next_marker })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2021-10-31/functions/hello/urls";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        assert_eq!(harness.get(PATH).await.json(), json!({"FunctionUrlConfigs": []}));
        let body = json!({"AuthType": "NONE"});
        harness.post("/2021-10-31/functions/hello/url", &body).await;
        harness.check(&documented(include_str!("list_function_url_configs.rs"))).await;
    }

    #[tokio::test]
    async fn pages_and_aliases() {
        let harness = Harness::with_versions().await;
        let path = "/2021-10-31/functions/two/url";
        let aliases = "/2015-03-31/functions/two/aliases";
        for name in ["b", "a"] {
            let body = json!({"Name": name, "FunctionVersion": "1"});
            assert_eq!(harness.post(aliases, &body).await.status, 201);
        }
        let body = json!({"AuthType": "NONE"});
        for qualifier in ["?Qualifier=b", "", "?Qualifier=a"] {
            assert_eq!(harness.post(&format!("{path}{qualifier}"), &body).await.status, 201);
        }
        let (mut seen, mut marker) = (Vec::new(), String::new());
        loop {
            let page = harness.get(&format!("{path}s?MaxItems=1&Marker={marker}")).await.json();
            for url in page["FunctionUrlConfigs"].as_array().unwrap() {
                seen.push(url["FunctionArn"].as_str().unwrap().to_owned());
            }
            match page["NextMarker"].as_str() {
                Some(next) => marker = next.to_owned(),
                None => break,
            }
        }
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:two";
        assert_eq!(seen, [arn.to_owned(), format!("{arn}:a"), format!("{arn}:b")]);
        // An alias takes its URL with it, and nothing of another.
        assert_eq!(harness.delete(&format!("{aliases}/a")).await.status, 204);
        assert_eq!(harness.get(&format!("{path}?Qualifier=a")).await.status, 404);
        let left = harness.get(&format!("{path}s")).await.json();
        assert_eq!(left["FunctionUrlConfigs"].as_array().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn whom_there_is_not() {
        let harness = Harness::with_hello().await;
        let reply = harness.get("/2021-10-31/functions/nobody/urls").await;
        assert_eq!((reply.status, reply.message().as_str()), (404, "Function does not exist"));
        let reply = harness.get(&format!("{PATH}?Marker=x")).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "InvalidParameterValueException"));
        let reply = harness.get(&format!("{PATH}?MaxItems=51")).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "ValidationException"));
    }
}
