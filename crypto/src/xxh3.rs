//! XXH3-64: the checksum of chunks on disk. It finds damage as surely as [`crate::crc64`], whatever the processor has, and
//! several times as fast: every byte that is served is checked by it.
//!
//! Like a CRC it finds damage, not forgery: against a forger there is [`crate::seal`].

use std::hash::Hasher as _;

use twox_hash::XxHash3_64;

/// The XXH3-64 of the parts one after another, without a seed.
pub fn xxh3<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> u64 {
    let mut state = XxHash3_64::new();
    for part in parts {
        state.write(part);
    }
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As `xxhsum -H3` prints them.
    #[test]
    fn the_canonical_values() {
        assert_eq!(xxh3([]), 0x2d06_8005_38d3_94c2);
        assert_eq!(xxh3([&b"abc"[..]]), 0x78af_5f94_892f_3950);
        assert_eq!(xxh3([&b"a"[..], b"", b"bc"]), 0x78af_5f94_892f_3950);
    }

    proptest! {
        /// Long enough for each of the wide code paths, which short inputs never reach.
        #[test]
        fn any_division_into_parts_agrees_with_another_implementation(
            bytes in prop::collection::vec(any::<u8>(), 0..5000), cut: prop::sample::Index,
        ) {
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(xxh3([head, tail]), xxhash_rust::xxh3::xxh3_64(&bytes));
        }
    }
}
