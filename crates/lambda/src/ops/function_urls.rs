//! What the operations on functions' URLs share: which function or alias is meant, AWS's texts, and how a
//! configuration is shown.

use std::sync::Arc;

use bytes::Bytes;
use lambic_front::{Call, Cx};
use lambic_model_lambda as model;
use lambic_model_lambda::errors;
use lambic_rt::Timestamp;
use lambic_wire::{Error, Fault, MessageKey};

use super::invocation::{self, Asked};
use crate::Lambda;
use crate::invoke::Invocation;
use crate::names::{self, LATEST, Target};
use crate::state::function::FunctionRecord;
use crate::state::function_url::{FunctionUrl, UrlAuth, UrlCors, UrlInvokeMode};
use crate::state::version::Version;

/// The function, or the alias of it, that a caller means.
pub(super) fn resolve(
    cx: &Cx<'_, Lambda>,
    function_name: &str,
    qualifier: Option<&str>,
) -> Result<Target, Error> {
    names::resolve(cx.account, cx.region, function_name, qualifier)
}

/// Under what its settings are kept.
pub(super) fn key(target: &Target) -> &str {
    target.qualifier.as_deref().unwrap_or(LATEST)
}

/// 404 of CreateFunctionUrlConfig and ListFunctionUrlConfigs: there is no such function or alias.
pub(super) fn no_function() -> Error {
    not_found("Function does not exist")
}

/// 404 of the others: there is no such function, or it has no URL.
pub(super) fn no_url() -> Error {
    not_found("The resource you requested does not exist.")
}

fn not_found(text: &str) -> Error {
    Error::new("ResourceNotFoundException", 404, text)
        .with_message_key(MessageKey::Upper)
        .with_fault(Fault::User)
}

/// For errors on the way to a function's record: `text` stands for one that is not there.
pub(super) fn or(text: fn() -> Error) -> impl Fn(Error) -> Error {
    move |error| if error.status == 404 { text() } else { error }
}

/// 409: it has a URL.
pub(super) fn exists(target: &Target) -> Error {
    errors::resource_conflict(format!(
        "Failed to create function url config for [functionArn = {}]. Error message:  \
         FunctionUrlConfig exists for this Lambda function",
        target.qualified_arn()
    ))
}

/// The URL of `target`, to be changed.
pub(super) fn url_of<'r>(
    record: &'r mut FunctionRecord,
    target: &Target,
) -> Result<&'r mut FunctionUrl, Error> {
    record.qualified.get_mut(key(target)).and_then(|kept| kept.url.as_mut()).ok_or_else(no_url)
}

/// Validation has let only known values through.
pub(super) fn auth(given: &model::FunctionUrlAuthType) -> UrlAuth {
    match given {
        model::FunctionUrlAuthType::AwsIam => UrlAuth::AwsIam,
        _ => UrlAuth::None,
    }
}

/// Validation has let only known values through.
pub(super) fn invoke_mode(given: &model::InvokeMode) -> UrlInvokeMode {
    match given {
        model::InvokeMode::ResponseStream => UrlInvokeMode::ResponseStream,
        _ => UrlInvokeMode::Buffered,
    }
}

/// Nothing is what a caller writes to be rid of it.
pub(super) fn cors(given: model::Cors) -> Option<UrlCors> {
    let cors = UrlCors {
        allow_credentials: given.allow_credentials,
        allow_headers: given.allow_headers,
        allow_methods: given.allow_methods,
        allow_origins: given.allow_origins,
        expose_headers: given.expose_headers,
        max_age_s: given.max_age.and_then(|seconds| u32::try_from(seconds).ok()),
    };
    (cors != UrlCors::default()).then_some(cors)
}

/// What Get and List show; Create and Update show the mode only if somebody ever said it.
pub(super) fn show(
    cx: &Cx<'_, Lambda>,
    target: &Target,
    url: &FunctionUrl,
) -> model::FunctionUrlConfig {
    let mode = show_mode(url).unwrap_or(model::InvokeMode::Buffered);
    model::FunctionUrlConfig {
        function_url: cx.service.config.url_base.url(&url.id, &target.region),
        function_arn: target.qualified_arn(),
        creation_time: time(url.created_micros),
        last_modified_time: time(url.last_modified_micros),
        cors: url.cors.clone().map(show_cors),
        auth_type: match url.auth {
            UrlAuth::None => model::FunctionUrlAuthType::None,
            UrlAuth::AwsIam => model::FunctionUrlAuthType::AwsIam,
        },
        invoke_mode: Some(mode),
    }
}

pub(super) fn show_mode(url: &FunctionUrl) -> Option<model::InvokeMode> {
    url.invoke_mode.map(|mode| match mode {
        UrlInvokeMode::Buffered => model::InvokeMode::Buffered,
        UrlInvokeMode::ResponseStream => model::InvokeMode::ResponseStream,
    })
}

fn show_cors(cors: UrlCors) -> model::Cors {
    model::Cors {
        allow_credentials: cors.allow_credentials,
        allow_headers: cors.allow_headers,
        allow_methods: cors.allow_methods,
        allow_origins: cors.allow_origins,
        expose_headers: cors.expose_headers,
        max_age: cors.max_age_s.and_then(|seconds| i32::try_from(seconds).ok()),
    }
}

impl Lambda {
    /// What an invoke by the URL of `target` runs, in the function's own account whoever asks.
    pub(crate) async fn by_url(
        &self,
        call: &Call,
        target: &Target,
        event: Bytes,
    ) -> Result<(Arc<Version>, Invocation), Error> {
        let cx = call.cx(self);
        let name = target.arn();
        let asked = Asked {
            function_name: &name,
            qualifier: target.qualifier.as_deref(),
            tenant_id: None,
            client_context: None,
            log_tail: false,
        };
        invocation::ready(&cx, &asked).await?.with(&cx, event)
    }
}

/// `2026-11-28T14:23:13.123456Z`.
fn time(micros: i64) -> String {
    let (year, month, day, hour, minute, second, _) = Timestamp::from_micros(micros).utc();
    let fraction = micros.rem_euclid(1_000_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_microseconds() {
        assert_eq!(time(1_763_674_200_000_456), "2025-11-20T21:30:00.000456Z");
    }
}
