//! The file system of a function: an access point and where it is mounted. Part of a configuration.

use serde::{Deserialize, Serialize};

/// Part of a function's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystemUse {
    /// ARN of the access point; the operator's configuration says which folder that is.
    pub arn: String,
    /// A folder of `/mnt`.
    pub local_mount_path: String,
}
