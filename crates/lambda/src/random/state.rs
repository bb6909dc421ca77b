//! What must hold of the state after a sequence of requests: what is listed is there, what is not listed
//! is not, sums are sums, and a server that is started anew finds the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lambic_rt::Rt;
use lambic_wire::uri;
use serde_json::Value;

use super::model::Model;
use super::words::{FUNCTIONS, LAYERS};
use crate::ops::testing::Harness;
use crate::service::{ControlConfig, Lambda};
use crate::state::function::FunctionRecord;
use crate::tasks::mappings;

const ACCOUNT: &str = "000000000000";
const REGION: &str = "us-east-1";
/// More pages than anything here can fill: a marker that leads nowhere new.
const PAGES_MAX: usize = 200;

/// Answers by what was asked.
type Seen = BTreeMap<String, Value>;

/// Checks all of it. Says what does not hold.
pub(super) async fn check(model: &Model, harness: &Harness) -> Result<(), String> {
    let seen = see(model, harness).await?;
    catalog_is_store(harness).await?;
    let again = see(model, &reopened(harness).await).await?;
    for (path, value) in &seen {
        let other = again.get(path).unwrap_or(&Value::Null);
        if path != SETTINGS_OF_ACCOUNT && without_links(value) != without_links(other) {
            return Err(format!("after a restart {path} is {other} and not {value}"));
        }
    }
    if seen.len() != again.len() || seen.get(SETTINGS_OF_ACCOUNT) != again.get(SETTINGS_OF_ACCOUNT)
    {
        return Err(format!(
            "after a restart there is something else: {:?} and not {:?}",
            again.keys(),
            seen.keys()
        ));
    }
    Ok(())
}

const SETTINGS_OF_ACCOUNT: &str = "/2016-08-19/account-settings";

/// Links carry the moment at which they end.
fn without_links(value: &Value) -> Value {
    let mut value = value.clone();
    for part in ["Code", "Content"] {
        if let Some(part) = value.get_mut(part).and_then(Value::as_object_mut) {
            part.remove("Location");
        }
    }
    value
}

/// A service that has just been started on what the other one stored, with the environments it had.
async fn reopened(harness: &Harness) -> Harness {
    let rt = Rt::real();
    let config = ControlConfig { settle_after: Duration::ZERO, ..ControlConfig::default() };
    let store = harness.lambda.store.clone();
    let lambda =
        Lambda::new(config, rt.clone(), store, harness.lambda.runner.clone()).await.unwrap();
    Harness::of(lambda, rt)
}

async fn catalog_is_store(harness: &Harness) -> Result<(), String> {
    let table = harness.lambda.store.table::<FunctionRecord>();
    let stored = table.list(&[], None, 10_000).await.map_err(|error| error.to_string())?;
    for record in &stored {
        let record = &record.value;
        let found = harness.lambda.catalog.find(&record.account, &record.region, &record.name);
        if found.is_none_or(|found| found.stored.value != *record) {
            return Err(format!("the catalog does not have what is stored: {record:?}"));
        }
    }
    let listed = harness.lambda.catalog.list(ACCOUNT, REGION, None, 10_000);
    if listed.len() != stored.len() {
        return Err(format!("the catalog has {} functions, not {}", listed.len(), stored.len()));
    }
    Ok(())
}

/// Everything that can be read, and that it agrees with itself.
async fn see(model: &Model, harness: &Harness) -> Result<Seen, String> {
    let mut eye = Eye { model, harness, seen: Seen::new() };
    let functions = eye.functions().await?;
    eye.layers().await?;
    eye.mappings().await?;
    eye.signing(&functions).await?;
    eye.account(&functions).await?;
    Ok(eye.seen)
}

struct Eye<'a> {
    model: &'a Model,
    harness: &'a Harness,
    seen: Seen,
}

/// What a function's code takes, all versions of it, and what it keeps for itself.
#[derive(Debug, Default)]
struct Sums {
    functions: BTreeMap<String, Value>,
    code_bytes: u64,
    reserved: u64,
}

impl Eye<'_> {
    /// The answer, which must be a success.
    async fn get(&mut self, path: &str) -> Result<Value, String> {
        let reply = self.harness.get(path).await;
        if reply.status != 200 {
            return Err(format!("GET {path} answers {reply:?}"));
        }
        let value = reply.json();
        self.seen.insert(path.to_owned(), value.clone());
        Ok(value)
    }

    /// The answer, or `None` for 404.
    async fn find(&mut self, path: &str) -> Result<Option<Value>, String> {
        match self.harness.get(path).await.status {
            404 => Ok(None),
            _ => self.get(path).await.map(Some),
        }
    }

    /// Everything on all pages, in pages of two.
    async fn list(&self, path: &str, member: &str) -> Result<Vec<Value>, String> {
        let (mut all, mut marker) = (Vec::new(), String::new());
        let joint = if path.contains('?') { '&' } else { '?' };
        for _ in 0..PAGES_MAX {
            let page = format!("{path}{joint}MaxItems=2&Marker={}", uri::encode(&marker));
            let page = if marker.is_empty() { format!("{path}{joint}MaxItems=2") } else { page };
            let reply = self.harness.get(&page).await;
            if reply.status != 200 {
                return Err(format!("GET {page} answers {reply:?}"));
            }
            let answer = reply.json();
            let items = answer[member].as_array().ok_or(format!("{page} has no {member}"))?;
            all.extend_from_slice(items);
            match answer["NextMarker"].as_str() {
                Some(next) if !next.is_empty() => next.clone_into(&mut marker),
                _ => {
                    let whole = self.harness.get(path).await.json();
                    let whole = whole[member].as_array().map_or(0, Vec::len);
                    if whole != all.len().min(50) {
                        return Err(format!("{path} has {whole} items, its pages {}", all.len()));
                    }
                    return Ok(all);
                }
            }
        }
        Err(format!("{path} has no last page"))
    }

    async fn functions(&mut self) -> Result<Sums, String> {
        let mut sums = Sums::default();
        let path = "/2015-03-31/functions";
        let mut all_versions = Vec::new();
        for listed in self.list(path, "Functions").await? {
            let name = listed["FunctionName"].as_str().unwrap_or_default().to_owned();
            let own = format!("{path}/{name}");
            let configuration = self.get(&format!("{own}/configuration")).await?;
            includes(&configuration, &listed, &own)?;
            let function = self.get(&own).await?;
            same(&function["Configuration"], &configuration, &own)?;
            sums.code_bytes += listed["CodeSize"].as_u64().unwrap_or_default();
            let versions = self.versions(&own, &mut sums).await?;
            all_versions.extend(versions.iter().map(|number| format!("{name}:{number}")));
            self.aliases(&own, &versions).await?;
            self.settings(&own, &name, &mut sums).await?;
            self.tags(&function, &listed).await?;
            sums.functions.insert(name, listed);
        }
        if self.model.offers("ListVersionsByFunction") {
            let listed = self.list(&format!("{path}?FunctionVersion=ALL"), "Functions").await?;
            let arns = listed.iter().filter_map(|version| version["FunctionArn"].as_str());
            let mut arns: Vec<&str> =
                arns.filter_map(|arn| arn.split(":function:").nth(1)).collect();
            arns.sort_unstable();
            all_versions.sort_unstable();
            if arns != all_versions {
                return Err(format!("the list of all versions is {arns:?}, not {all_versions:?}"));
            }
        }
        for name in FUNCTIONS {
            let found = self.harness.get(&format!("{path}/{name}")).await.status == 200;
            if found != sums.functions.contains_key(name) {
                return Err(format!("{name} is there: {found}, which the list does not say"));
            }
        }
        Ok(sums)
    }

    /// The numbers of all versions.
    async fn versions(&mut self, own: &str, sums: &mut Sums) -> Result<BTreeSet<String>, String> {
        let mut numbers = BTreeSet::from(["$LATEST".to_owned()]);
        if !self.model.offers("ListVersionsByFunction") {
            return Ok(numbers);
        }
        let versions = self.list(&format!("{own}/versions"), "Versions").await?;
        for (index, version) in versions.iter().enumerate() {
            let number = version["Version"].as_str().unwrap_or_default();
            if (index == 0) != (number == "$LATEST") {
                return Err(format!("{own}: {number} is version {index} of the list"));
            }
            let qualifier = uri::encode(number).into_owned();
            let path = format!("{own}/configuration?Qualifier={qualifier}");
            let configuration = self.get(&path).await?;
            includes(&configuration, version, &path)?;
            if index > 0 {
                sums.code_bytes += version["CodeSize"].as_u64().unwrap_or_default();
                if !numbers.insert(number.to_owned()) {
                    return Err(format!("{own} has version {number} twice"));
                }
            }
        }
        Ok(numbers)
    }

    async fn aliases(&mut self, own: &str, versions: &BTreeSet<String>) -> Result<(), String> {
        if !self.model.offers("ListAliases") {
            return Ok(());
        }
        for alias in self.list(&format!("{own}/aliases"), "Aliases").await? {
            let name = alias["Name"].as_str().unwrap_or_default();
            let path = format!("{own}/aliases/{name}");
            same(&self.get(&path).await?, &alias, &path)?;
            let weights = alias["RoutingConfig"]["AdditionalVersionWeights"].as_object();
            let additional = weights.into_iter().flatten().map(|(version, _)| version.as_str());
            for version in additional.chain(alias["FunctionVersion"].as_str()) {
                if !versions.contains(version) {
                    return Err(format!("{path} leads to version {version}, which is not there"));
                }
            }
            self.get(&format!("{own}?Qualifier={name}")).await?;
        }
        Ok(())
    }

    /// What is set beside a function's versions.
    async fn settings(&mut self, own: &str, name: &str, sums: &mut Sums) -> Result<(), String> {
        let dated = |date: &str| format!("/{date}/functions/{name}");
        if self.model.offers("GetFunctionConcurrency") {
            let concurrency = self.get(&format!("{}/concurrency", dated("2019-09-30"))).await?;
            sums.reserved += concurrency["ReservedConcurrentExecutions"].as_u64().unwrap_or(0);
            let shown = self.get(own).await?;
            same(
                &shown["Concurrency"]["ReservedConcurrentExecutions"],
                &concurrency["ReservedConcurrentExecutions"],
                own,
            )?;
        }
        let lists = [
            (
                "ListProvisionedConcurrencyConfigs",
                "2019-09-30",
                "provisioned-concurrency?List=ALL",
                "ProvisionedConcurrencyConfigs",
                "provisioned-concurrency",
            ),
            (
                "ListFunctionEventInvokeConfigs",
                "2019-09-25",
                "event-invoke-config/list",
                "FunctionEventInvokeConfigs",
                "event-invoke-config",
            ),
            ("ListFunctionUrlConfigs", "2021-10-31", "urls", "FunctionUrlConfigs", "url"),
        ];
        for (operation, date, list, member, one) in lists {
            if !self.model.offers(operation) {
                continue;
            }
            let function = dated(date);
            for item in self.list(&format!("{function}/{list}"), member).await? {
                let arn = item["FunctionArn"].as_str().unwrap_or_default();
                let path = match arn.split(':').nth(7) {
                    Some(qualifier) => {
                        format!("{function}/{one}?Qualifier={}", uri::encode(qualifier))
                    }
                    None => format!("{function}/{one}"),
                };
                // A list of some of them says which function, and the item does not, or less of it.
                let got = self.get(&path).await?;
                let common = got.as_object().into_iter().flatten();
                for (member, value) in common.filter(|(member, _)| item.get(member).is_some()) {
                    same(&item[member], value, &format!("{path} {member}"))?;
                }
            }
        }
        for (operation, date, one) in [
            ("GetFunctionRecursionConfig", "2024-08-31", "recursion-config"),
            ("GetRuntimeManagementConfig", "2021-07-20", "runtime-management-config"),
        ] {
            if self.model.offers(operation) {
                self.get(&format!("{}/{one}", dated(date))).await?;
            }
        }
        if self.model.offers("GetPolicy") {
            self.find(&format!("{own}/policy")).await?;
        }
        Ok(())
    }

    async fn tags(&mut self, function: &Value, listed: &Value) -> Result<(), String> {
        if !self.model.offers("ListTags") {
            return Ok(());
        }
        let arn = listed["FunctionArn"].as_str().unwrap_or_default();
        let path = format!("/2017-03-31/tags/{}", uri::encode(arn));
        let tags = self.get(&path).await?["Tags"].clone();
        let shown = function.get("Tags").cloned().unwrap_or_else(|| serde_json::json!({}));
        same(&tags, &shown, &path)
    }

    async fn layer_names(&self) -> Result<BTreeSet<String>, String> {
        let listed = self.list("/2018-10-31/layers", "Layers").await?;
        let names = listed.iter().filter_map(|layer| layer["LayerName"].as_str());
        Ok(names.map(str::to_owned).collect())
    }

    async fn layers(&mut self) -> Result<(), String> {
        let listed = self.layer_names().await?;
        for name in listed.iter().map(String::as_str).chain(LAYERS) {
            let path = format!("/2018-10-31/layers/{name}/versions");
            let versions = self.list(&path, "LayerVersions").await?;
            if versions.is_empty() == listed.contains(name) {
                return Err(format!("the list of layers is wrong about {name}"));
            }
            for version in versions {
                let path = format!("{path}/{}", version["Version"]);
                let got = self.get(&path).await?;
                includes(&got, &version, &path)?;
                self.find(&format!("{path}/policy")).await?;
            }
        }
        Ok(())
    }

    async fn mappings(&mut self) -> Result<(), String> {
        if !self.model.offers("ListEventSourceMappings") {
            return Ok(());
        }
        let path = "/2015-03-31/event-source-mappings";
        for mapping in self.list(path, "EventSourceMappings").await? {
            let uuid = mapping["UUID"].as_str().unwrap_or_default();
            let one = self.get(&format!("{path}/{uuid}")).await?;
            same(&one, &mapping, uuid)?;
        }
        Ok(())
    }

    async fn signing(&mut self, sums: &Sums) -> Result<(), String> {
        if !self.model.offers("ListCodeSigningConfigs") {
            return Ok(());
        }
        let mut by_config = BTreeMap::new();
        for (name, function) in &sums.functions {
            let path = format!("/2020-06-30/functions/{name}/code-signing-config");
            let got = self.get(&path).await?;
            if let Some(arn) = got["CodeSigningConfigArn"].as_str() {
                let users: &mut Vec<Value> = by_config.entry(arn.to_owned()).or_default();
                users.push(function["FunctionArn"].clone());
            }
        }
        let path = "/2020-04-22/code-signing-configs";
        for config in self.list(path, "CodeSigningConfigs").await? {
            let arn = config["CodeSigningConfigArn"].as_str().unwrap_or_default();
            let one = format!("{path}/{}", uri::encode(arn));
            same(&self.get(&one).await?["CodeSigningConfig"], &config, &one)?;
            let users = self.list(&format!("{one}/functions"), "FunctionArns").await?;
            let expected = by_config.remove(arn).unwrap_or_default();
            same(&Value::from(users), &Value::from(expected), &format!("{one}/functions"))?;
        }
        if !by_config.is_empty() {
            return Err(format!("functions use configs that are not there: {by_config:?}"));
        }
        Ok(())
    }

    async fn account(&mut self, sums: &Sums) -> Result<(), String> {
        let settings = self.get(SETTINGS_OF_ACCOUNT).await?;
        let mut layer_bytes = 0;
        for name in self.layer_names().await? {
            let path = format!("/2018-10-31/layers/{name}/versions");
            for version in self.list(&path, "LayerVersions").await? {
                let got = self.get(&format!("{path}/{}", version["Version"])).await?;
                layer_bytes += got["Content"]["CodeSize"].as_u64().unwrap_or_default();
            }
        }
        let usage = &settings["AccountUsage"];
        same(&usage["FunctionCount"], &Value::from(sums.functions.len()), "FunctionCount")?;
        let bytes = sums.code_bytes + layer_bytes;
        same(&usage["TotalCodeSize"], &Value::from(bytes), "TotalCodeSize")?;
        let limit = &settings["AccountLimit"];
        let all = limit["ConcurrentExecutions"].as_u64().unwrap_or_default();
        let left = Value::from(all - sums.reserved);
        same(&limit["UnreservedConcurrentExecutions"], &left, "UnreservedConcurrentExecutions")
    }
}

fn same(got: &Value, expected: &Value, what: &str) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got} is not {expected}")) }
}

/// Every member of `part` is in `whole`, with the same value.
fn includes(whole: &Value, part: &Value, what: &str) -> Result<(), String> {
    let members = part.as_object().into_iter().flatten();
    for (name, value) in members {
        same(&whole[name], value, &format!("{what}: {name}"))?;
    }
    Ok(())
}

/// Kinds of records that stay when everything that callers can delete is gone: what signs links, and
/// the numbers that versions of layers have had.
const LASTING: [&str; 2] = ["code-link-secret", "layer"];

/// Deletes everything that is listed, and sees that nothing is left of it.
pub(super) async fn clear(model: &Model, harness: &Harness) -> Result<(), String> {
    let eye = Eye { model, harness, seen: Seen::new() };
    let mut paths = Vec::new();
    for mapping in
        eye.offered("ListEventSourceMappings", "/2015-03-31/event-source-mappings").await?
    {
        let uuid = mapping["UUID"].as_str().unwrap_or_default();
        paths.push(format!("/2015-03-31/event-source-mappings/{uuid}"));
    }
    for function in eye.list("/2015-03-31/functions", "Functions").await? {
        let name = function["FunctionName"].as_str().unwrap_or_default();
        paths.push(format!("/2015-03-31/functions/{name}"));
    }
    for config in eye.offered("ListCodeSigningConfigs", "/2020-04-22/code-signing-configs").await? {
        let arn = config["CodeSigningConfigArn"].as_str().unwrap_or_default();
        paths.push(format!("/2020-04-22/code-signing-configs/{}", uri::encode(arn)));
    }
    for name in eye.layer_names().await? {
        let path = format!("/2018-10-31/layers/{name}/versions");
        for version in eye.list(&path, "LayerVersions").await? {
            paths.push(format!("{path}/{}", version["Version"]));
        }
    }
    for path in paths {
        let reply = harness.delete(&path).await;
        if !(200..300).contains(&reply.status) {
            return Err(format!("DELETE {path} answers {reply:?}"));
        }
        harness.settle().await;
    }
    mappings::remove_deleted(&harness.lambda.store, &Rt::real()).await?;
    let usage = harness.get(SETTINGS_OF_ACCOUNT).await.json()["AccountUsage"].clone();
    same(&usage, &serde_json::json!({"FunctionCount": 0, "TotalCodeSize": 0}), "AccountUsage")?;
    let entries = harness.lambda.store.engine().range(vec![b' '], vec![0xff], 10_000).await;
    let entries = entries.map_err(|error| error.to_string())?;
    let keys = entries.iter().map(|entry| String::from_utf8_lossy(&entry.key));
    let left: Vec<String> = keys
        .filter(|key| !LASTING.contains(&key.split(' ').next().unwrap_or_default()))
        .map(std::borrow::Cow::into_owned)
        .collect();
    if left.is_empty() { Ok(()) } else { Err(format!("these records are left: {left:?}")) }
}

impl Eye<'_> {
    /// What is listed there, if the list is offered. The member has the operation's name.
    async fn offered(&self, operation: &str, path: &str) -> Result<Vec<Value>, String> {
        match self.model.offers(operation) {
            true => self.list(path, operation.trim_start_matches("List")).await,
            false => Ok(Vec::new()),
        }
    }
}
