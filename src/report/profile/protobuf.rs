//! As much of the protocol buffer encoding as a profile needs.

/// A message that is being put together.
#[derive(Debug, Default)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

/// Wire types (encoding.md of protocol buffers).
const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;

impl Message {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// An integer; 0 is the default of every field and is left out.
    pub(super) fn uint(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, VARINT);
            self.varint(value);
        }
    }

    pub(super) fn flag(&mut self, field: u32, value: bool) {
        self.uint(field, u64::from(value));
    }

    /// A string or a message.
    pub(super) fn data(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, LENGTH_DELIMITED);
        self.varint(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.bytes.extend_from_slice(bytes);
    }

    /// Integers in one field.
    pub(super) fn packed(&mut self, field: u32, values: &[u64]) {
        let mut packed = Self::default();
        for &value in values {
            packed.varint(value);
        }
        self.data(field, &packed.bytes);
    }

    fn tag(&mut self, field: u32, wire_type: u64) {
        self.varint(u64::from(field) << 3 | wire_type);
    }

    fn varint(&mut self, mut value: u64) {
        loop {
            let low = u8::try_from(value & 0x7f).unwrap_or(0);
            value >>= 7;
            if value == 0 {
                self.bytes.push(low);
                return;
            }
            self.bytes.push(low | 0x80);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Message;

    #[test]
    fn encodes_as_the_specification_says() {
        let mut message = Message::default();
        message.uint(1, 150);
        message.uint(3, 0);
        message.data(2, b"testing");
        message.packed(6, &[3, 270, 86_942]);
        message.uint(1, u64::MAX);
        let want: &[u8] = &[
            0x08, 0x96, 0x01, 0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67, 0x32, 0x06, 0x03, 0x8e, 0x02, 0x9e,
            0xa7, 0x05, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
        ];
        assert_eq!(message.bytes(), want);
    }
}
