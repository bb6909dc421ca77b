//! Whom a function's URL lets in.

use lambic_front::Signer;

use crate::names::Target;
use crate::state::function::FunctionRecord;
use crate::state::function_url::UrlAuth;

/// Whether this request may invoke the function.
pub(super) fn allows(
    _record: &FunctionRecord,
    target: &Target,
    auth: UrlAuth,
    signer: Option<&Signer>,
) -> bool {
    match (auth, signer) {
        (UrlAuth::AwsIam, Some(signer)) => {
            signer.service == "lambda"
                && signer.region == target.region
                && signer.principal.account == target.account
        }
        (UrlAuth::AwsIam, None) => false,
        (UrlAuth::None, _) => false,
    }
}
