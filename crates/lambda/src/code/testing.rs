//! Builds zips for tests, hostile ones too.

/// One entry of a zip to be built; stored, not compressed.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    name: Vec<u8>,
    content: Vec<u8>,
    mode: u32,
    dos: bool,
    flags: u16,
    method: u16,
}

impl Item {
    pub(crate) fn file(name: &str, content: &[u8]) -> Item {
        let (name, content) = (name.as_bytes().to_vec(), content.to_vec());
        Item { name, content, mode: 0o100_644, dos: false, flags: 0, method: 0 }
    }

    pub(crate) fn folder(name: &str) -> Item {
        Item::file(name, b"").mode(0o040_755)
    }

    pub(crate) fn link(name: &str, target: &str) -> Item {
        Item::file(name, target.as_bytes()).mode(0o120_777)
    }

    pub(crate) fn mode(mut self, mode: u32) -> Item {
        self.mode = mode;
        self
    }

    /// As made on Windows: no Unix mode at all.
    pub(crate) fn dos(mut self) -> Item {
        self.dos = true;
        self
    }

    pub(crate) fn encrypted(mut self) -> Item {
        self.flags |= 1;
        self
    }

    pub(crate) fn method(mut self, method: u16) -> Item {
        self.method = method;
        self
    }

    fn common(&self) -> Vec<u8> {
        let size = (self.content.len() as u32).to_le_bytes();
        let mut out = Vec::new();
        out.extend(20_u16.to_le_bytes());
        out.extend(self.flags.to_le_bytes());
        out.extend(self.method.to_le_bytes());
        // 12:30:10 on 2020-02-29.
        out.extend((12_u16 << 11 | 30 << 5 | 5).to_le_bytes());
        out.extend((40_u16 << 9 | 2 << 5 | 29).to_le_bytes());
        out.extend(crc32(&self.content).to_le_bytes());
        out.extend(size);
        out.extend(size);
        out.extend((self.name.len() as u16).to_le_bytes());
        out.extend(0_u16.to_le_bytes());
        out
    }
}

/// A zip of these entries, in this order.
pub(crate) fn zip_of(items: &[Item]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for item in items {
        let offset = out.len() as u32;
        out.extend(b"PK\x03\x04");
        out.extend(item.common());
        out.extend(&item.name);
        out.extend(&item.content);
        let made_by = if item.dos { 0_u16 } else { 3 << 8 } | 20;
        let attributes = if item.dos { 0x20 } else { item.mode << 16 };
        directory.extend(b"PK\x01\x02");
        directory.extend(made_by.to_le_bytes());
        directory.extend(item.common());
        directory.extend([0; 6]);
        directory.extend(attributes.to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(&item.name);
    }
    let (start, count) = (out.len() as u32, items.len() as u16);
    let length = directory.len() as u32;
    out.extend(directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0; 2]);
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}
