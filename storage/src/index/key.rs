//! Keys of several parts: a part of variable length that is followed by another is escaped and terminated, so that
//! the bytes of the whole sort as the list of parts sorts.
//!
//! Inside a part `00` becomes `00 FF`; the end is `00 01`. The terminator is smaller than any byte that a longer part
//! could continue with (`00 FF` or `01` and up), hence `a` sorts before `a<anything>` whatever follows in the key.

const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xFF;
const END: u8 = 0x01;

/// Appends `part`, escaped and terminated.
pub fn push_escaped(key: &mut Vec<u8>, part: &[u8]) {
    push_escaped_prefix(key, part);
    key.extend_from_slice(&[ESCAPE, END]);
}

/// Appends `prefix`, escaped but not terminated: what the keys of every part that begins with `prefix` begin with.
pub fn push_escaped_prefix(key: &mut Vec<u8>, prefix: &[u8]) {
    key.reserve(prefix.len() + 2);
    for &byte in prefix {
        key.push(byte);
        if byte == ESCAPE {
            key.push(ESCAPED_ZERO);
        }
    }
}

/// The first part of `key` and the bytes after its terminator. None if `key` does not begin with an escaped part.
#[must_use]
pub fn take_escaped(key: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut part = Vec::with_capacity(key.len());
    let mut rest = key;
    loop {
        let zero = rest.iter().position(|&byte| byte == ESCAPE)?;
        part.extend_from_slice(&rest[..zero]);
        let mark = *rest.get(zero + 1)?;
        rest = &rest[zero + 2..];
        match mark {
            END => return Some((part, rest)),
            ESCAPED_ZERO => part.push(ESCAPE),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn escaped(part: &[u8], suffix: &[u8]) -> Vec<u8> {
        let mut key = Vec::new();
        push_escaped(&mut key, part);
        key.extend_from_slice(suffix);
        key
    }

    /// Mostly the bytes at which escaping could go wrong.
    fn part() -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![Just(0x00), Just(0x01), Just(0xFE), Just(0xFF), any::<u8>()], 0..8)
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        assert_eq!(escaped(b"a\x00b", b"!"), b"a\x00\xFFb\x00\x01!");
    }

    #[test]
    fn a_key_without_a_terminated_part_is_refused() {
        for key in [&b""[..], b"a", b"a\x00", b"a\x00\xFF", b"a\x00\x02", b"a\x00\x00"] {
            assert_eq!(take_escaped(key), None, "{key:x?}");
        }
    }

    proptest! {
        #[test]
        fn parts_round_trip(part in part(), suffix in part()) {
            let key = escaped(&part, &suffix);
            let (found, rest) = take_escaped(&key).unwrap();
            prop_assert_eq!(found, part);
            prop_assert_eq!(rest, &suffix[..]);
        }

        #[test]
        fn keys_sort_as_their_parts_do(
            (a, b) in (part(), part()),
            (a_suffix, b_suffix) in (part(), part()),
        ) {
            let expected = (&a, &a_suffix).cmp(&(&b, &b_suffix));
            prop_assert_eq!(escaped(&a, &a_suffix).cmp(&escaped(&b, &b_suffix)), expected);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(key in part()) {
            if let Some((part, rest)) = take_escaped(&key) {
                prop_assert_eq!(escaped(&part, rest), key);
            }
        }
    }
}
