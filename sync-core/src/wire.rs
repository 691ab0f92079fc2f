//! Reading CBOR that somebody else wrote: all of it, no list longer than its limit, no number that no database keeps.
//!
//! What is over a limit is refused where its length stands, before anything of it is in memory.

use minicbor::{
    Decode, Decoder,
    decode::{ArrayIterWithCtx, Error},
};

/// A list that is longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{n} {what}, at most {max}")]
pub(crate) struct TooMany {
    /// Of what.
    pub(crate) what: &'static str,
    /// How many there are; one more than `max` where the list does not say.
    pub(crate) n: usize,
    /// How many there may be.
    pub(crate) max: usize,
}

impl TooMany {
    /// The one that made decoding fail, if it was that.
    pub(crate) fn of(error: &Error) -> Option<Self> {
        core::error::Error::source(error)?.downcast_ref().copied()
    }
}

/// Reads one item that is all that the bytes hold.
///
/// # Errors
/// When it is none, or bytes are left behind it.
pub(crate) fn whole<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, Error> {
    let mut decoder = Decoder::new(bytes);
    let item = decoder.decode()?;
    if decoder.position() < bytes.len() {
        return Err(Error::message("bytes behind the item").at(decoder.position()));
    }
    Ok(item)
}

/// Reads a list of at most `max` items.
///
/// # Errors
/// [`TooMany`] before the first item is read, where the list says how long it is.
pub(crate) fn list<'b, C, T: Decode<'b, C>>(
    decoder: &mut Decoder<'b>,
    context: &mut C,
    max: usize,
    what: &'static str,
) -> Result<Vec<T>, Error> {
    if let Some(n) = decoder.probe().array()?
        && n > max as u64
    {
        return Err(Error::custom(TooMany { what, n: usize::try_from(n).unwrap_or(usize::MAX), max }));
    }
    let mut items = Vec::new();
    let rest: ArrayIterWithCtx<'_, 'b, C, T> = decoder.array_iter_with(context)?;
    for item in rest {
        if items.len() == max {
            return Err(Error::custom(TooMany { what, n: max + 1, max }));
        }
        items.push(item?);
    }
    Ok(items)
}

/// Reads a number as databases keep it: 0 to 2^63 - 1.
///
/// # Errors
/// When it is larger.
pub(crate) fn number<C>(decoder: &mut Decoder<'_>, _: &mut C) -> Result<u64, Error> {
    let number = decoder.u64()?;
    if number > i64::MAX as u64 { Err(Error::message("a number is over 2^63 - 1")) } else { Ok(number) }
}

/// The value of an optional field that is not there.
pub(crate) fn missing<T>() -> Option<Option<T>> {
    Some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(bytes: &[u8]) -> Result<Vec<u64>, Error> {
        list(&mut Decoder::new(bytes), &mut (), 2, "numbers")
    }

    #[test]
    fn a_list_says_how_long_it_is_before_it_is_read() {
        assert_eq!(numbers(&[0x82, 1, 2]).unwrap(), [1, 2]);
        // It claims 2^32 items and holds none.
        let error = numbers(&[0x9b, 0, 0, 0, 1, 0, 0, 0, 0]).unwrap_err();
        assert_eq!(TooMany::of(&error), Some(TooMany { what: "numbers", n: 1 << 32, max: 2 }));
        assert_eq!(numbers(&[0x9f, 1, 2, 0xff]).unwrap(), [1, 2]);
        let error = numbers(&[0x9f, 1, 2, 3, 0xff]).unwrap_err();
        assert_eq!(TooMany::of(&error), Some(TooMany { what: "numbers", n: 3, max: 2 }));
    }

    #[test]
    fn an_item_is_all_that_there_is() {
        assert_eq!(whole::<u64>(&[7]).unwrap(), 7);
        assert!(whole::<u64>(&[7, 7]).is_err());
        assert!(whole::<u64>(&[]).is_err());
    }

    #[test]
    fn the_largest_number_is_the_largest_that_a_database_keeps() {
        let read = |number: u64| {
            let bytes = minicbor::to_vec(number).unwrap();
            super::number(&mut Decoder::new(&bytes), &mut ())
        };
        assert_eq!(read(i64::MAX as u64).unwrap(), i64::MAX as u64);
        assert!(read(i64::MAX as u64 + 1).is_err());
    }
}
