//! What the operations on layers share: names, look-ups and how a version is shown; and what a function
//! may reference.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambic_front::Cx;
use lambic_model_lambda::{
    Architecture, GetLayerVersionResponse, LayerVersionContentOutput, LayerVersionsListItem,
    Runtime,
};
use lambic_rt::Timestamp;
use lambic_store::Stored;
use lambic_wire::{Arn, Error, Fault, MessageKey};

use super::change::read_failed;
use super::show::{job_arn, profile_version_arn};
use crate::Lambda;
use crate::limits::{
    LAYERS_MAX, UNZIPPED_BYTES_MAX, code_and_layers_too_large, invalid, layers_too_large,
};
use crate::state::function::Code;
use crate::state::layer::{LayerRecord, LayerUse, LayerVersionRecord, version_key};
use crate::state::layer_policy::LayerPolicyRecord;

/// Attempts before a caller is told to try again. Each one that fails is another caller's success.
pub(super) const ATTEMPTS_MAX: usize = 64;

/// Records read at a time.
const PAGE_RECORDS: usize = 50;

/// Which layer a caller means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerName {
    pub(super) account: String,
    pub(super) region: String,
    pub(super) name: String,
}

impl LayerName {
    /// A plain name or the ARN of a layer.
    pub(super) fn resolve(cx: &Cx<'_, Lambda>, text: &str) -> LayerName {
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            ["arn", _, "lambda", region, account, "layer", name, ..] => LayerName {
                account: (*account).to_owned(),
                region: (*region).to_owned(),
                name: (*name).to_owned(),
            },
            _ => LayerName {
                account: cx.account.to_owned(),
                region: cx.region.to_owned(),
                name: text.to_owned(),
            },
        }
    }

    /// ARN of the layer.
    pub(super) fn arn(&self) -> String {
        format!("arn:aws:lambda:{}:{}:layer:{}", self.region, self.account, self.name)
    }

    /// The same for authorization.
    pub(super) fn resource(&self) -> Arn {
        Arn::new("lambda", &self.region, &self.account, format!("layer:{}", self.name))
    }

    /// One version of it to be read, for authorization: another account's is up to its policy.
    pub(super) fn readable_resource(&self, cx: &Cx<'_, Lambda>, version: i64) -> Arn {
        let account = if self.account == cx.account { cx.account } else { "" };
        Arn::new("lambda", &self.region, account, format!("layer:{}:{version}", self.name))
    }

    /// One version of it, for authorization.
    pub(super) fn version_resource(&self, version: i64) -> Arn {
        let resource = format!("layer:{}:{version}", self.name);
        Arn::new("lambda", &self.region, &self.account, resource)
    }

    pub(super) fn is_of(&self, cx: &Cx<'_, Lambda>) -> bool {
        self.account == cx.account && self.region == cx.region
    }

    /// The segments of the keys of a version and of its policy.
    fn key<'a>(&'a self, number: &'a str) -> [&'a str; 4] {
        [&self.account, &self.region, &self.name, number]
    }
}

/// The ARN of a version, split into layer and number.
pub(super) fn split_version_arn(cx: &Cx<'_, Lambda>, arn: &str) -> Option<(LayerName, i64)> {
    let (layer, version) = arn.rsplit_once(':')?;
    Some((LayerName::resolve(cx, layer), version.parse().ok()?))
}

/// 404: there is no such version, or it is not for this caller.
pub(super) fn no_version(layer: &LayerName, version: i64) -> Error {
    let text = format!("Layer version {}:{version} does not exist.", layer.arn());
    Error::new("ResourceNotFoundException", 404, text)
        .with_message_key(MessageKey::Upper)
        .with_fault(Fault::User)
}

/// 403 for what is another account's.
pub(super) fn denied(cx: &Cx<'_, Lambda>, action: &str, resource: &str) -> Error {
    let text = format!(
        "User: {} is not authorized to perform: {action} on resource: {resource} because no \
         resource-based policy allows the {action} action",
        cx.principal.arn
    );
    Error::new("AccessDeniedException", 403, text).with_message_key(MessageKey::Upper)
}

/// A version number as AWS takes it.
pub(super) fn check_number(version: i64) -> Result<(), Error> {
    if version < 1 {
        return Err(invalid("Layer Version Cannot be less than 1"));
    }
    Ok(())
}

/// The version, whoever asks.
pub(super) async fn find(
    cx: &Cx<'_, Lambda>,
    layer: &LayerName,
    version: i64,
) -> Result<Option<Stored<LayerVersionRecord>>, Error> {
    let Ok(version) = u64::try_from(version) else { return Ok(None) };
    let table = cx.service.store.table::<LayerVersionRecord>();
    table.get(&layer.key(&version_key(version))).await.map_err(read_failed)
}

/// What the layer's versions have in common, if there ever was one.
pub(super) async fn find_layer(
    cx: &Cx<'_, Lambda>,
    layer: &LayerName,
) -> Result<Option<Stored<LayerRecord>>, Error> {
    let table = cx.service.store.table::<LayerRecord>();
    let key = [layer.account.as_str(), &layer.region, &layer.name];
    table.get(&key).await.map_err(read_failed)
}

/// The packages of all layers of an account in the caller's region, zipped, in bytes.
pub(super) async fn stored_bytes(cx: &Cx<'_, Lambda>, account: &str) -> Result<u64, Error> {
    let table = cx.service.store.table::<LayerRecord>();
    let mut bytes = 0;
    let mut after: Option<Vec<String>> = None;
    loop {
        let key = after.as_ref().map(|key| key.iter().map(String::as_str).collect::<Vec<_>>());
        let page = table.list(&[account, cx.region], key.as_deref(), PAGE_RECORDS).await;
        let page = page.map_err(read_failed)?;
        bytes += page.iter().map(|stored| stored.value.code_bytes).sum::<u64>();
        match page.into_iter().last() {
            Some(last) => after = Some(last.key),
            None => return Ok(bytes),
        }
    }
}

/// Who else may read the version, if it has a policy.
pub(super) async fn policy(
    cx: &Cx<'_, Lambda>,
    layer: &LayerName,
    version: i64,
) -> Result<Option<Stored<LayerPolicyRecord>>, Error> {
    let Ok(version) = u64::try_from(version) else { return Ok(None) };
    let table = cx.service.store.table::<LayerPolicyRecord>();
    table.get(&layer.key(&version_key(version))).await.map_err(read_failed)
}

/// A version of a caller that may see and change its policy.
pub(super) async fn own_version(
    cx: &Cx<'_, Lambda>,
    text: &str,
    version: i64,
    action: &str,
) -> Result<(LayerName, Stored<LayerVersionRecord>), Error> {
    let layer = LayerName::resolve(cx, text);
    if !layer.is_of(cx) {
        return Err(denied(cx, action, &format!("{}:{version}", layer.arn())));
    }
    check_number(version)?;
    let found = find(cx, &layer, version).await?.ok_or_else(|| no_version(&layer, version))?;
    Ok((layer, found))
}

/// The version for a caller that may read it.
pub(super) async fn readable(
    cx: &Cx<'_, Lambda>,
    layer: &LayerName,
    version: i64,
) -> Result<LayerVersionRecord, Error> {
    check_number(version)?;
    let is_let_in = layer.account == cx.account || {
        let policy = policy(cx, layer, version).await?;
        let mut statements = policy.iter().flat_map(|policy| &policy.value.statements);
        statements.any(|statement| statement.lets_in(cx.account))
    };
    if !is_let_in || layer.region != cx.region {
        let resource = format!("{}:{version}", layer.arn());
        return Err(denied(cx, "lambda:GetLayerVersion", &resource));
    }
    let found = find(cx, layer, version).await?;
    found.map(|stored| stored.value).ok_or_else(|| no_version(layer, version))
}

/// A version with everything, and a link to its package.
pub(super) fn show(cx: &Cx<'_, Lambda>, record: &LayerVersionRecord) -> GetLayerVersionResponse {
    let item = show_listed(record);
    GetLayerVersionResponse {
        content: Some(content(cx, &record.code)),
        layer_arn: Some(record.layer_arn()),
        layer_version_arn: item.layer_version_arn,
        description: item.description,
        created_date: item.created_date,
        version: item.version,
        compatible_architectures: item.compatible_architectures,
        compatible_runtimes: item.compatible_runtimes,
        license_info: item.license_info,
    }
}

fn content(cx: &Cx<'_, Lambda>, code: &Code) -> LayerVersionContentOutput {
    LayerVersionContentOutput {
        location: Some(cx.service.links.link(cx.endpoint, &code.sha256)),
        code_sha256: Some(STANDARD.encode(code.sha256.to_bytes())),
        code_size: Some(code.zip_bytes as i64),
        signing_profile_version_arn: profile_version_arn(code),
        signing_job_arn: job_arn(code),
        ..LayerVersionContentOutput::default()
    }
}

/// A version as lists have it.
pub(super) fn show_listed(record: &LayerVersionRecord) -> LayerVersionsListItem {
    let texts = |all: &[String]| (!all.is_empty()).then(|| all.to_vec());
    let runtimes = texts(&record.runtimes);
    let architectures = texts(&record.architectures);
    LayerVersionsListItem {
        layer_version_arn: Some(record.arn()),
        version: Some(record.version as i64),
        description: Some(record.description.clone()),
        created_date: Some(Timestamp::from_micros(record.created_micros).lambda_text()),
        compatible_architectures: architectures
            .map(|all| all.iter().map(|text| Architecture::from(text.as_str())).collect()),
        compatible_runtimes: runtimes
            .map(|all| all.iter().map(|text| Runtime::from(text.as_str())).collect()),
        license_info: record.license.clone(),
    }
}

/// Which versions a caller wants to see.
pub(super) struct Filter {
    pub(super) runtime: Option<Runtime>,
    pub(super) architecture: Option<Architecture>,
}

impl Filter {
    /// A version that says nothing of runtimes or architectures matches none, as on AWS.
    pub(super) fn lets_pass(&self, record: &LayerVersionRecord) -> bool {
        let has = |all: &[String], wanted: Option<&str>| {
            wanted.is_none_or(|wanted| all.iter().any(|text| text == wanted))
        };
        has(&record.runtimes, self.runtime.as_ref().map(Runtime::as_str))
            && has(&record.architectures, self.architecture.as_ref().map(Architecture::as_str))
    }
}

/// Up to `limit` versions of a layer that pass, newest first, only those older than `before`.
pub(super) async fn versions(
    cx: &Cx<'_, Lambda>,
    layer: &LayerName,
    filter: &Filter,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<LayerVersionRecord>, Error> {
    let table = cx.service.store.table::<LayerVersionRecord>();
    let prefix = [layer.account.as_str(), &layer.region, &layer.name];
    let mut found = Vec::new();
    let mut after = before.map(version_key);
    loop {
        let key = after.as_deref().map(|number| layer.key(number));
        let key = key.as_ref().map(|key| &key[..]);
        let page = table.list(&prefix, key, PAGE_RECORDS).await.map_err(read_failed)?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(version_key(last.value.version));
        let passing = page.into_iter().map(|stored| stored.value);
        let passing = passing.filter(|record| filter.lets_pass(record));
        found.extend(passing.take(limit - found.len()));
        if found.len() == limit {
            return Ok(found);
        }
    }
}

/// What a function is to have in `/opt`, checked: at most five versions that there are, of different
/// layers, of its region.
pub(super) async fn used(cx: &Cx<'_, Lambda>, arns: &[String]) -> Result<Vec<LayerUse>, Error> {
    if arns.len() > LAYERS_MAX {
        return Err(invalid(format!("Cannot reference more than {LAYERS_MAX} layers.")));
    }
    let mut layers: Vec<(LayerName, &String)> = Vec::new();
    let mut used = Vec::new();
    for arn in arns {
        let (layer, version) = split_version_arn(cx, arn)
            .ok_or_else(|| invalid(format!("{arn} is no layer version")))?;
        if layer.region != cx.region {
            return Err(invalid(format!(
                "Layers are not in the same region as the function. Layers are expected to be in \
                 region {}.",
                cx.region
            )));
        }
        if let Some((_, other)) = layers.iter().find(|(known, _)| *known == layer) {
            return Err(invalid(format!(
                "Two different versions of the same layer are not allowed to be referenced in the \
                 same function. {other} and {arn} are versions of the same layer."
            )));
        }
        let record = match readable(cx, &layer, version).await {
            Err(error) if error.code == "ResourceNotFoundException" => {
                return Err(invalid(format!("Layer version {arn} does not exist.")));
            }
            record => record?,
        };
        used.push(LayerUse { arn: record.arn(), code: record.code });
        layers.push((layer, arn));
    }
    Ok(used)
}

/// Whether code and layers fit into 250 MB together.
pub(super) fn check_size(code: &Code, layers: &[LayerUse]) -> Result<(), Error> {
    let bytes = |code: &Code| code.unzipped_bytes.unwrap_or(code.zip_bytes);
    let of_layers: u64 = layers.iter().map(|layer| bytes(&layer.code)).sum();
    if of_layers >= UNZIPPED_BYTES_MAX {
        return Err(layers_too_large());
    }
    let all = of_layers + bytes(code);
    if !layers.is_empty() && all >= UNZIPPED_BYTES_MAX {
        return Err(code_and_layers_too_large(all));
    }
    Ok(())
}
