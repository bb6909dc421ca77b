//! Addresses as an operator writes them: `10.1.0.0/16`, or one address.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// All IPv4 addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRange {
    first: Ipv4Addr,
    prefix_bits: u8,
}

impl AddressRange {
    /// `first` has no bits after the first `prefix_bits`, which are at most 32.
    pub(crate) const fn of(first: [u8; 4], prefix_bits: u8) -> AddressRange {
        AddressRange { first: Ipv4Addr::new(first[0], first[1], first[2], first[3]), prefix_bits }
    }

    /// One address.
    pub fn single(address: Ipv4Addr) -> AddressRange {
        AddressRange { first: address, prefix_bits: 32 }
    }

    /// The first of its addresses.
    pub fn first(self) -> Ipv4Addr {
        self.first
    }

    /// How many bits its addresses have in common.
    pub fn prefix_bits(self) -> u8 {
        self.prefix_bits
    }

    /// Whether all addresses of `other` are in it.
    pub fn contains(self, other: AddressRange) -> bool {
        let differing = u32::from(self.first) ^ u32::from(other.first);
        self.prefix_bits <= other.prefix_bits && differing & mask(self.prefix_bits) == 0
    }
}

fn mask(prefix_bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix_bits)).unwrap_or(0)
}

impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<AddressRange, String> {
        let (first, prefix_bits) = match text.split_once('/') {
            Some((first, bits)) => (first, bits.parse().ok().filter(|bits| *bits <= 32)),
            None => (text, Some(32)),
        };
        match (first.parse::<Ipv4Addr>(), prefix_bits) {
            (Ok(first), Some(prefix_bits)) if u32::from(first) & !mask(prefix_bits) == 0 => {
                Ok(AddressRange { first, prefix_bits })
            }
            (Ok(first), Some(prefix_bits)) => {
                let first = Ipv4Addr::from(u32::from(first) & mask(prefix_bits));
                Err(format!("'{text}' begins at {first}/{prefix_bits}"))
            }
            _ => Err(format!("'{text}' is neither an IPv4 address nor a range as 10.1.0.0/16")),
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Result<AddressRange, String> {
        text.parse()
    }

    #[test]
    fn ranges_are_read_and_written() {
        for text in ["10.1.0.0/16", "0.0.0.0/0", "192.0.2.7/32"] {
            assert_eq!(range(text).unwrap().to_string(), text);
        }
        assert_eq!(range("192.0.2.7"), range("192.0.2.7/32"));
        assert_eq!(range("10.1.2.3/16").unwrap_err(), "'10.1.2.3/16' begins at 10.1.0.0/16");
        for text in ["", "10.1", "10.0.0.0/33", "::1", "fd00::/8", "example.test", "10.0.0.0/"] {
            assert!(range(text).unwrap_err().contains("is neither"), "{text}");
        }
    }

    #[test]
    fn a_range_contains_what_begins_with_its_bits() {
        let check = |one: &str, other: &str| range(one).unwrap().contains(range(other).unwrap());
        assert!(check("0.0.0.0/0", "255.0.0.0/8") && check("10.1.0.0/16", "10.1.9.0/24"));
        assert!(check("10.1.2.3", "10.1.2.3"));
        assert!(!check("10.1.9.0/24", "10.1.0.0/16") && !check("10.1.0.0/16", "10.2.0.0/16"));
    }
}
