//! One file per operation. Each opens with one request and its reply, which is also its first test.

mod alias;
mod change;
mod code_signing;
mod file_systems;
mod function_urls;
mod invocation;
mod json;
mod layers;
mod logging;
mod paging;
mod policies;
mod provisioned;
mod publish;
mod qualifier;
pub(crate) mod secrets;
mod settings;
mod show;
mod signatures;
mod tags;

mod add_layer_version_permission;
mod add_permission;
mod create_alias;
mod create_code_signing_config;
mod create_function;
mod create_function_url_config;
mod delete_alias;
mod delete_code_signing_config;
mod delete_function;
mod delete_function_code_signing_config;
mod delete_function_concurrency;
mod delete_function_url_config;
mod delete_layer_version;
mod delete_provisioned_concurrency_config;
mod delete_resource_policy;
mod get_account_settings;
mod get_alias;
mod get_code_signing_config;
mod get_function;
mod get_function_code_signing_config;
mod get_function_concurrency;
mod get_function_configuration;
mod get_function_recursion_config;
mod get_function_url_config;
mod get_layer_version;
mod get_layer_version_by_arn;
mod get_layer_version_policy;
mod get_policy;
mod get_provisioned_concurrency_config;
mod get_resource_policy;
mod get_runtime_management_config;
mod invoke;
mod invoke_with_response_stream;
mod list_aliases;
mod list_code_signing_configs;
mod list_function_url_configs;
mod list_functions;
mod list_functions_by_code_signing_config;
mod list_layer_versions;
mod list_layers;
mod list_provisioned_concurrency_configs;
mod list_tags;
mod list_versions_by_function;
mod publish_layer_version;
mod publish_version;
mod put_function_code_signing_config;
mod put_function_concurrency;
mod put_function_recursion_config;
mod put_provisioned_concurrency_config;
mod put_resource_policy;
mod put_runtime_management_config;
mod remove_layer_version_permission;
mod remove_permission;
mod tag_resource;
mod untag_resource;
mod update_alias;
mod update_code_signing_config;
mod update_function_code;
mod update_function_configuration;
mod update_function_url_config;

pub use add_layer_version_permission::AddLayerVersionPermission;
pub use add_permission::AddPermission;
pub use create_alias::CreateAlias;
pub use create_code_signing_config::CreateCodeSigningConfig;
pub use create_function::CreateFunction;
pub use create_function_url_config::CreateFunctionUrlConfig;
pub use delete_alias::DeleteAlias;
pub use delete_code_signing_config::DeleteCodeSigningConfig;
pub use delete_function::DeleteFunction;
pub use delete_function_code_signing_config::DeleteFunctionCodeSigningConfig;
pub use delete_function_concurrency::DeleteFunctionConcurrency;
pub use delete_function_url_config::DeleteFunctionUrlConfig;
pub use delete_layer_version::DeleteLayerVersion;
pub use delete_provisioned_concurrency_config::DeleteProvisionedConcurrencyConfig;
pub use delete_resource_policy::DeleteResourcePolicy;
pub use get_account_settings::GetAccountSettings;
pub use get_alias::GetAlias;
pub use get_code_signing_config::GetCodeSigningConfig;
pub use get_function::GetFunction;
pub use get_function_code_signing_config::GetFunctionCodeSigningConfig;
pub use get_function_concurrency::GetFunctionConcurrency;
pub use get_function_configuration::GetFunctionConfiguration;
pub use get_function_recursion_config::GetFunctionRecursionConfig;
pub use get_function_url_config::GetFunctionUrlConfig;
pub use get_layer_version::GetLayerVersion;
pub use get_layer_version_by_arn::GetLayerVersionByArn;
pub use get_layer_version_policy::GetLayerVersionPolicy;
pub use get_policy::GetPolicy;
pub use get_provisioned_concurrency_config::GetProvisionedConcurrencyConfig;
pub use get_resource_policy::GetResourcePolicy;
pub use get_runtime_management_config::GetRuntimeManagementConfig;
pub use invoke::Invoke;
pub use invoke_with_response_stream::InvokeWithResponseStream;
pub use list_aliases::ListAliases;
pub use list_code_signing_configs::ListCodeSigningConfigs;
pub use list_function_url_configs::ListFunctionUrlConfigs;
pub use list_functions::ListFunctions;
pub use list_functions_by_code_signing_config::ListFunctionsByCodeSigningConfig;
pub use list_layer_versions::ListLayerVersions;
pub use list_layers::ListLayers;
pub use list_provisioned_concurrency_configs::ListProvisionedConcurrencyConfigs;
pub use list_tags::ListTags;
pub use list_versions_by_function::ListVersionsByFunction;
pub use publish_layer_version::PublishLayerVersion;
pub use publish_version::PublishVersion;
pub use put_function_code_signing_config::PutFunctionCodeSigningConfig;
pub use put_function_concurrency::PutFunctionConcurrency;
pub use put_function_recursion_config::PutFunctionRecursionConfig;
pub use put_provisioned_concurrency_config::PutProvisionedConcurrencyConfig;
pub use put_resource_policy::PutResourcePolicy;
pub use put_runtime_management_config::PutRuntimeManagementConfig;
pub use remove_layer_version_permission::RemoveLayerVersionPermission;
pub use remove_permission::RemovePermission;
pub use tag_resource::TagResource;
pub use untag_resource::UntagResource;
pub use update_alias::UpdateAlias;
pub use update_code_signing_config::UpdateCodeSigningConfig;
pub use update_function_code::UpdateFunctionCode;
pub use update_function_configuration::UpdateFunctionConfiguration;
pub use update_function_url_config::UpdateFunctionUrlConfig;

#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use lambic_front::Cx;
use lambic_wire::Error;

use crate::Lambda;
use crate::catalog::Function;
use crate::names::Target;

/// The function that a target names, if it has the qualifier that it names.
fn find(cx: &Cx<'_, Lambda>, target: &Target) -> Result<Arc<Function>, Error> {
    let found = cx.service.catalog.find(&target.account, &target.region, &target.name);
    let function = found.ok_or_else(|| target.not_found())?;
    match target.qualifier.as_deref() {
        Some(qualifier) if !function.stored.value.has(qualifier) => Err(target.not_found()),
        _ => Ok(function),
    }
}
