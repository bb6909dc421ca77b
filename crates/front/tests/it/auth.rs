//! Who asks, in both modes. Signatures that verify are tested once the wire signs; see below.
