//! A function's VPC: subnets and security groups by their ids. Part of a configuration.

use serde::{Deserialize, Serialize};

/// Part of a function's record. All empty when it was taken away again, which AWS shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcUse {
    /// The operator's configuration says which network each is.
    pub subnet_ids: Vec<String>,
    /// The operator's configuration says what each allows.
    pub security_group_ids: Vec<String>,
    /// Of all of them.
    pub vpc_id: String,
}

impl VpcUse {
    /// Whether the function is in none.
    pub fn is_none(&self) -> bool {
        self.subnet_ids.is_empty()
    }
}
