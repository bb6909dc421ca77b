//! Whom a function's URL lets in: the policies of the function decide, once it is known who asks.

use lambic_front::{Origin, Signer};
use lambic_rt::Timestamp;

use crate::names::Target;
use crate::policy::{self, Asked, Caller};
use crate::state::function::FunctionRecord;
use crate::state::function_url::UrlAuth;

/// Who asks, from where and when.
pub(super) struct Asker<'a> {
    pub(super) signer: Option<&'a Signer>,
    pub(super) origin: &'a Origin,
    pub(super) now: Timestamp,
}

/// Whether this request may invoke the function.
pub(super) fn allows(
    record: &FunctionRecord,
    target: &Target,
    auth: UrlAuth,
    asker: &Asker<'_>,
) -> bool {
    let (auth_type, caller) = match (auth, asker.signer) {
        (UrlAuth::None, _) => ("NONE", Caller::Anonymous),
        // A signature for another place or service says nothing about this request.
        (UrlAuth::AwsIam, Some(signer))
            if signer.service == "lambda" && signer.region == target.region =>
        {
            ("AWS_IAM", Caller::Principal(&signer.principal))
        }
        (UrlAuth::AwsIam, _) => return false,
    };
    let asked = Asked::new(caller, "lambda:InvokeFunctionUrl");
    let asked = asked.at(asker.now);
    let asked = match asker.origin {
        Origin::Remote(address) => asked.from_address(address.ip()),
        // It came over no connection that has an address anybody could write into a policy.
        Origin::Environment(_) | Origin::Process => asked,
    };
    policy::url_lets_in(record, target.qualifier.as_deref(), auth_type, &asked)
}
