//! A bounded reader of LEB128 numbers and counted bytes. Only the shortest form of a number is taken.

use crate::Refusal;

/// Longest LEB128 form of a 64-bit number, in bytes.
const LEB_SIZE_BYTES_MAX: usize = 10;

/// Reads forward over borrowed bytes and never past their end.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(super) fn byte(&mut self) -> Result<u8, Refusal> {
        let byte = *self.bytes.get(self.at).ok_or(Refusal::ChangeTruncated { at: self.at })?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn take(&mut self, len: u64) -> Result<&'a [u8], Refusal> {
        let rest = &self.bytes[self.at..];
        let len = usize::try_from(len).ok().filter(|len| *len <= rest.len());
        let len = len.ok_or(Refusal::ChangeTruncated { at: self.bytes.len() })?;
        self.at += len;
        Ok(&rest[..len])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let bytes = self.take(N as u64)?;
        bytes.try_into().map_err(|_| Refusal::ChangeTruncated { at: self.at })
    }

    /// An unsigned number.
    pub(super) fn uleb(&mut self) -> Result<u64, Refusal> {
        let mut value = 0;
        for index in 0..LEB_SIZE_BYTES_MAX {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if index == 9 && bits > 1 {
                return Err(OVERFLOW);
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                // A last byte of zero adds nothing: a shorter form exists.
                return if byte == 0 && index > 0 { Err(Refusal::NotCanonical) } else { Ok(value) };
            }
        }
        Err(OVERFLOW)
    }

    /// A signed number.
    pub(super) fn leb(&mut self) -> Result<i64, Refusal> {
        let mut value: i64 = 0;
        let mut previous = 0u8;
        for index in 0..LEB_SIZE_BYTES_MAX {
            let byte = self.byte()?;
            let bits = byte & 0x7f;
            if index == 9 && bits != 0 && bits != 0x7f {
                return Err(OVERFLOW);
            }
            let shift = 7 * index;
            value |= i64::from(bits).wrapping_shl(shift as u32);
            if byte & 0x80 == 0 {
                let negative = bits & 0x40 != 0;
                if negative && shift + 7 < 64 {
                    value |= -1i64 << (shift + 7);
                }
                let sign_only = (bits == 0 && previous & 0x40 == 0) || (bits == 0x7f && previous & 0x40 != 0);
                return if index > 0 && sign_only { Err(Refusal::NotCanonical) } else { Ok(value) };
            }
            previous = bits;
        }
        Err(OVERFLOW)
    }
}

const OVERFLOW: Refusal = Refusal::ChangeMalformed { what: "number of more than 64 bits" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_their_shortest_form_only() {
        let uleb = |bytes: &[u8]| Reader::new(bytes).uleb();
        assert_eq!(uleb(&[0]), Ok(0));
        assert_eq!(uleb(&[0x7f]), Ok(127));
        assert_eq!(uleb(&[0x80, 1]), Ok(128));
        assert_eq!(uleb(&[0x80, 0]), Err(Refusal::NotCanonical));
        assert_eq!(uleb(&[0x80]), Err(Refusal::ChangeTruncated { at: 1 }));
        assert_eq!(uleb(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Ok(u64::MAX));
        assert!(uleb(&[0xff; 10]).is_err());
        let leb = |bytes: &[u8]| Reader::new(bytes).leb();
        assert_eq!(leb(&[0x7f]), Ok(-1));
        assert_eq!(leb(&[0x3f]), Ok(63));
        assert_eq!(leb(&[0xc0, 0]), Ok(64));
        assert_eq!(leb(&[0x40]), Ok(-64));
        assert_eq!(leb(&[0xff, 0x7f]), Err(Refusal::NotCanonical));
        assert_eq!(leb(&[0x80, 0x7f]), Ok(-128));
        let min = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f];
        assert_eq!(leb(&min), Ok(i64::MIN));
        assert!(leb(&[0xff; 11]).is_err());
    }

    #[test]
    fn a_count_past_the_end_is_truncation() {
        assert!(Reader::new(&[1, 2]).take(2).is_ok());
        assert_eq!(Reader::new(&[1, 2]).take(3), Err(Refusal::ChangeTruncated { at: 2 }));
        assert_eq!(Reader::new(&[]).take(u64::MAX), Err(Refusal::ChangeTruncated { at: 0 }));
    }
}
