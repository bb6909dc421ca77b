//! A function's environment variables between what callers send and see and what is stored: in the
//! clear, or encrypted under the key of `KMSKeyArn`.

use lambic_front::Cx;
use lambic_model_lambda::{EnvironmentError, EnvironmentResponse, errors};
use lambic_wire::{Error, Pairs};

use crate::Lambda;
use crate::keys::{KeyFault, Keys, Owner};
use crate::limits::invalid;
use crate::names::{Target, function_arn};
use crate::state::function::{Configuration, Variables};
use crate::state::version::{SealedVariables, Version};

/// What is to become of a function's variables.
#[derive(Clone, Default)]
pub(crate) struct Change {
    /// New ones.
    pub(crate) variables: Option<Variables>,
    /// Another key; an empty one for none.
    pub(crate) key_arn: Option<String>,
}

impl Change {
    /// Stores the variables in `configuration` as its key wants it.
    ///
    /// # Errors
    /// AWS's, when a key cannot be used.
    pub(crate) fn apply(
        &self,
        cx: &Cx<'_, Lambda>,
        target: &Target,
        configuration: &mut Configuration,
    ) -> Result<(), Error> {
        if self.variables.is_none() && self.key_arn.is_none() {
            return Ok(());
        }
        let keys = &cx.service.config.keys;
        let arn = function_arn(&target.account, &target.region, &target.name);
        let owner = Owner { account: &target.account, region: &target.region, function_arn: &arn };
        let variables = match &self.variables {
            Some(variables) => Some(variables.clone()),
            None => stored(keys, owner, configuration).map_err(|fault| unusable(&fault))?,
        };
        // What is the same stays as it is written: encrypted anew it would look like a change.
        let before = (configuration.kms_key_arn.clone(), configuration.sealed_environment.clone());
        let is_same = stored(keys, owner, configuration).is_ok_and(|present| present == variables);
        if let Some(arn) = &self.key_arn {
            configuration.kms_key_arn = Some(arn.clone()).filter(|arn| !arn.is_empty());
        }
        configuration.environment = None;
        configuration.sealed_environment = None;
        let Some(key) = &configuration.kms_key_arn else {
            configuration.environment = variables;
            return Ok(());
        };
        keys.check(key, owner).map_err(|fault| unusable(&fault))?;
        if is_same && before.1.is_some() && before.0.as_ref() == Some(key) {
            configuration.sealed_environment = before.1;
            return Ok(());
        }
        let Some(variables) = variables else { return Ok(()) };
        let text = serde_json::to_vec(&variables)
            .map_err(|error| Error::internal(format!("variables cannot be encrypted: {error}")))?;
        let sealed = keys.seal(cx.rt, key, owner, &text).map_err(|fault| unusable(&fault))?;
        configuration.sealed_environment = Some(Box::new(sealed));
        Ok(())
    }
}

/// The variables of a configuration, decrypted if need be.
fn stored(
    keys: &Keys,
    owner: Owner<'_>,
    configuration: &Configuration,
) -> Result<Option<Variables>, KeyFault> {
    match (&configuration.sealed_environment, &configuration.kms_key_arn) {
        (Some(sealed), Some(key)) => {
            let text = keys.open(key, owner, sealed)?;
            parse(&text, key).map(Some)
        }
        _ => Ok(configuration.environment.clone()),
    }
}

fn parse(text: &[u8], key: &str) -> Result<Variables, KeyFault> {
    let variables = serde_json::from_slice::<Pairs<String>>(text).map(Variables);
    // It was authenticated, so only another program with the key can have written it.
    variables.map_err(|_| KeyFault::InvalidState(format!("{key} is not valid for Decrypt.")))
}

/// A key that somebody wants to give a function.
fn unusable(fault: &KeyFault) -> Error {
    let (name, text) = fault.parts();
    invalid(format!(
        "Lambda was unable to configure access to your environment variables because the KMS key is \
         invalid for CreateGrant. Please check your KMS key settings. KMS Exception: {name} KMS \
         Message: {text}"
    ))
}

/// How callers see the variables; without them, and with the reason, when they cannot be decrypted.
pub(crate) fn shown(
    keys: &Keys,
    owner: Owner<'_>,
    configuration: &Configuration,
) -> Option<EnvironmentResponse> {
    match stored(keys, owner, configuration) {
        Ok(variables) => variables
            .map(|variables| EnvironmentResponse { variables: Some(variables.0), error: None }),
        Err(fault) => {
            let (name, text) = fault.parts();
            let message = format!(
                "Lambda was unable to decrypt your environment variables because {}. Please check \
                 your KMS permissions. KMS Exception: {name} KMS Message: {text}",
                reason(&fault)
            );
            let error =
                EnvironmentError { error_code: Some(name.to_owned()), message: Some(message) };
            Some(EnvironmentResponse { variables: None, error: Some(error) })
        }
    }
}

fn reason(fault: &KeyFault) -> &'static str {
    match fault {
        KeyFault::NotFound(_) => "the KMS key was not found",
        KeyFault::Disabled(_) => "the KMS key used is disabled",
        KeyFault::AccessDenied(_) => "the KMS access was denied",
        KeyFault::InvalidState(_) => "the state of the KMS key used is not valid for Decrypt",
    }
}

/// What an environment of this version gets.
///
/// # Errors
/// AWS's for an invoke whose variables cannot be decrypted.
pub(crate) fn opened(keys: &Keys, version: &Version) -> Result<Vec<(String, String)>, Error> {
    let Some(SealedVariables { key_arn, sealed }) = &version.sealed_environment else {
        return Ok(version.environment.clone());
    };
    let owner = Owner {
        account: &version.account,
        region: &version.region,
        function_arn: &version.function_arn,
    };
    let opened = keys.open(key_arn, owner, sealed).and_then(|text| parse(&text, key_arn));
    opened.map(|variables| variables.0.0).map_err(|fault| {
        let (name, text) = fault.parts();
        let of = |reason: &str| {
            format!(
                "Lambda was unable to decrypt the environment variables because {reason}. Please \
                 check the function's KMS key settings. KMS Exception: {name} KMS Message: {text}"
            )
        };
        match &fault {
            KeyFault::NotFound(_) => errors::kms_not_found(of("the KMS key was not found")),
            KeyFault::Disabled(_) => errors::kms_disabled(of("the KMS key used is disabled")),
            KeyFault::AccessDenied(_) => errors::kms_access_denied(of("KMS access was denied")),
            KeyFault::InvalidState(_) => errors::kms_invalid_state(of(
                "the state of the KMS key used is not valid for Decrypt",
            )),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use lambic_rt::Rt;
    use lambic_store::Store;
    use serde_json::{Value, json};

    use super::*;
    use crate::ops::testing::Harness;

    const KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/k";
    const ALIAS: &str = "arn:aws:kms:us-east-1:000000000000:alias/a";
    const PATH: &str = "/2015-03-31/functions/f/configuration";

    fn keys(folder: &Path) -> Arc<Keys> {
        fs::write(folder.join("k"), [1; 32]).unwrap();
        fs::write(folder.join("a"), [2; 32]).unwrap();
        let files = [(KEY, "k"), (ALIAS, "a")];
        Arc::new(Keys::new(files.map(|(arn, file)| (arn.to_owned(), folder.join(file))).into()))
    }

    fn creation(key: &str) -> Value {
        let mut body = Harness::creation("f");
        body["Environment"] = json!({"Variables": {"TOKEN": "hush-hush"}});
        body["KMSKeyArn"] = json!(key);
        body
    }

    /// With the function `f`, whose variables are under [`KEY`].
    async fn sealed(folder: &Path) -> Harness {
        let harness = Harness::with(|config| config.keys = keys(folder)).await;
        let reply = harness.post("/2015-03-31/functions", &creation(KEY)).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        assert_eq!(reply.json()["KMSKeyArn"], KEY);
        assert_eq!(reply.json()["Environment"], json!({"Variables": {"TOKEN": "hush-hush"}}));
        harness.settle().await;
        harness
    }

    fn stored_text(harness: &Harness) -> String {
        let function = harness.lambda.catalog.find("000000000000", "us-east-1", "f").unwrap();
        serde_json::to_string(&function.stored.value).unwrap()
    }

    fn version(harness: &Harness) -> Arc<Version> {
        harness.lambda.catalog.find("000000000000", "us-east-1", "f").unwrap().latest.clone()
    }

    #[tokio::test]
    async fn variables_with_a_key_are_stored_encrypted_only() {
        let folder = tempfile::tempdir().unwrap();
        let harness = sealed(folder.path()).await;
        let stored = stored_text(&harness);
        assert!(!stored.contains("TOKEN") && !stored.contains("hush"), "{stored}");
        let version = version(&harness);
        assert!(version.environment.is_empty());
        let opened = opened(&harness.lambda.config.keys, &version).unwrap();
        assert_eq!(opened, [("TOKEN".to_owned(), "hush-hush".to_owned())]);
        let listed = harness.get("/2015-03-31/functions").await.json();
        assert_eq!(listed["Functions"][0]["Environment"]["Variables"]["TOKEN"], "hush-hush");
    }

    #[tokio::test]
    async fn keys_come_change_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let harness = sealed(folder.path()).await;
        let update = async |change: Value| {
            let reply = harness.put(PATH, &change).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            harness.settle().await;
            let shown = harness.get(PATH).await.json();
            let is_clear = stored_text(&harness).contains("hush");
            (shown["KMSKeyArn"].clone(), shown["Environment"]["Variables"].clone(), is_clear)
        };
        let old = json!({"TOKEN": "hush-hush"});
        // Something else: nothing is written anew.
        assert_eq!(update(json!({"Timeout": 5})).await, (json!(KEY), old.clone(), false));
        // Another key; the first one is not needed any more.
        assert_eq!(update(json!({"KMSKeyArn": ALIAS})).await, (json!(ALIAS), old.clone(), false));
        fs::remove_file(folder.path().join("k")).unwrap();
        let new = json!({"Environment": {"Variables": {"TOKEN": "hush"}}});
        assert_eq!(update(new).await, (json!(ALIAS), json!({"TOKEN": "hush"}), false));
        assert_eq!(
            update(json!({"KMSKeyArn": ""})).await,
            (Value::Null, json!({"TOKEN": "hush"}), true)
        );
        let back = json!({"KMSKeyArn": ALIAS, "Environment": {"Variables": {}}});
        assert_eq!(update(back).await, (json!(ALIAS), json!({}), false));
    }

    #[tokio::test]
    async fn the_same_variables_once_more_are_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let harness = sealed(folder.path()).await;
        let publish = async || {
            harness.settle().await;
            let versions = PATH.replace("configuration", "versions");
            harness.post(&versions, &json!({})).await.json()["Version"].clone()
        };
        assert_eq!(publish().await, "1");
        let same = json!({"KMSKeyArn": KEY, "Environment": {"Variables": {"TOKEN": "hush-hush"}}});
        assert_eq!(harness.put(PATH, &same).await.status, 200);
        assert_eq!(publish().await, "1");
        let other = json!({"Environment": {"Variables": {"TOKEN": "hush"}}});
        assert_eq!(harness.put(PATH, &other).await.status, 200);
        assert_eq!(publish().await, "2");
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_used_is_refused_in_kms_s_words() {
        let folder = tempfile::tempdir().unwrap();
        let harness = Harness::with(|config| config.keys = keys(folder.path())).await;
        fs::rename(folder.path().join("a"), folder.path().join("a.disabled")).unwrap();
        let unknown = "arn:aws:kms:us-east-1:000000000000:key/none";
        let begin = "Lambda was unable to configure access to your environment variables because \
                     the KMS key is invalid for CreateGrant. Please check your KMS key settings. KMS \
                     Exception: ";
        for (key, end) in [
            (unknown, format!("NotFoundException KMS Message: Key '{unknown}' does not exist")),
            (ALIAS, format!("DisabledException KMS Message: {ALIAS} is disabled.")),
        ] {
            let reply = harness.post("/2015-03-31/functions", &creation(key)).await;
            assert_eq!(
                (reply.status, reply.code().as_str(), reply.message()),
                (400, "InvalidParameterValueException", format!("{begin}{end}"))
            );
            // Without variables, too.
            let mut body = creation(key);
            body.as_object_mut().unwrap().remove("Environment");
            assert_eq!(harness.post("/2015-03-31/functions", &body).await.status, 400);
        }
        assert!(harness.lambda.catalog.find("000000000000", "us-east-1", "f").is_none());
        harness.post("/2015-03-31/functions", &creation(KEY)).await;
        harness.settle().await;
        assert_eq!(harness.put(PATH, &json!({"KMSKeyArn": unknown})).await.status, 400);
        // The variables cannot be brought over without the key that they are under.
        fs::remove_file(folder.path().join("k")).unwrap();
        let reply = harness.put(PATH, &json!({"KMSKeyArn": ""})).await;
        let text = format!("{begin}NotFoundException KMS Message: Key '{KEY}' does not exist");
        assert_eq!((reply.status, reply.message()), (400, text));
        assert!(!stored_text(&harness).contains("hush"));
    }

    #[tokio::test]
    async fn what_cannot_be_decrypted_is_told_instead_of_the_variables() {
        let folder = tempfile::tempdir().unwrap();
        let harness = sealed(folder.path()).await;
        let (file, aside) = (folder.path().join("k"), folder.path().join("k.disabled"));
        let shown = async || harness.get(PATH).await.json()["Environment"].clone();
        let refused =
            || {
                let error = opened(&harness.lambda.config.keys, &version(&harness)).unwrap_err();
                assert!(error.message.starts_with(
                    "Lambda was unable to decrypt the environment variables because "
                ));
                (error.code.into_owned(), error.status)
            };
        let refusal = |code: &str| (code.to_owned(), 502);

        fs::rename(&file, &aside).unwrap();
        assert_eq!(
            shown().await,
            json!({"Error": {
                "ErrorCode": "DisabledException",
                "Message": format!(
                    "Lambda was unable to decrypt your environment variables because the KMS key \
                     used is disabled. Please check your KMS permissions. KMS Exception: \
                     DisabledException KMS Message: {KEY} is disabled."
                )
            }})
        );
        assert_eq!(refused(), refusal("KMSDisabledException"));
        fs::rename(&aside, folder.path().join("elsewhere")).unwrap();
        assert_eq!(shown().await["Error"]["ErrorCode"], "NotFoundException");
        assert_eq!(refused(), refusal("KMSNotFoundException"));
        fs::write(&file, [9; 32]).unwrap();
        assert_eq!(shown().await["Error"]["ErrorCode"], "KMSInvalidStateException");
        assert_eq!(refused(), refusal("KMSInvalidStateException"));
        let unreadable = Keys::new([(KEY.to_owned(), file.join("below"))].into());
        let error = opened(&unreadable, &version(&harness)).unwrap_err();
        assert_eq!((error.code.as_ref(), error.status), ("KMSAccessDeniedException", 502));
        // New variables can be given while the key is back only.
        fs::write(&file, [1; 32]).unwrap();
        assert_eq!(shown().await, json!({"Variables": {"TOKEN": "hush-hush"}}));
    }

    #[tokio::test]
    async fn what_is_sealed_outlives_a_restart() {
        let (folder, rt) = (tempfile::tempdir().unwrap(), Rt::real());
        let store = Store::in_memory(rt.clone()).unwrap();
        let with = |config: &mut crate::ControlConfig| config.keys = keys(folder.path());
        let before = Harness::on(store.clone(), rt.clone(), with).await;
        before.post("/2015-03-31/functions", &creation(KEY)).await;
        before.settle().await;
        let after = Harness::on(store, rt, with).await;
        assert_eq!(after.get(PATH).await.json()["Environment"]["Variables"]["TOKEN"], "hush-hush");
    }
}
