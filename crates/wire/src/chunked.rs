//! aws-chunked bodies. Being built.
