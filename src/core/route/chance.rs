//! Chance that can be repeated: everything random in a decision comes from its seed, in integers, so that
//! native code and wasm agree to the last bit.

/// 64 well-mixed bits from a seed and a name: FNV-1a over the bytes, finished by SplitMix64's mixer.
///
/// Source of both: <http://www.isthe.com/chongo/tech/comp/fnv/>, <https://prng.di.unimi.it/splitmix64.c>.
pub fn mix(seed: u64, name: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325_u64 ^ finish(seed);
    finish(name.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)))
}

fn finish(bits: u64) -> u64 {
    let a = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let b = (a ^ (a >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let c = (b ^ (b >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    c ^ (c >> 31)
}

/// When a runner with this weight reaches the goal: the least time wins with a probability in proportion
/// to its weight, the order of all is one of drawing without putting back, and taking a runner out changes
/// nothing for the others. `None` for weight 0: it never arrives.
///
/// With random bits from a seed this is weighted random choice (Efraimidis and Spirakis 2006, A-ES); with
/// bits from a session it is weighted rendezvous hashing (Mosharaf and Schindelhauer 2005).
pub fn race(bits: u64, weight: u32) -> Option<u64> {
    // At most 2^38 before and 2^62 after the shift.
    (minus_log2(bits) << 24).checked_div(u64::from(weight))
}

/// -log2((bits + 1) / 2^64), in units of 2^-32: by repeated squaring.
fn minus_log2(bits: u64) -> u64 {
    let n = bits.max(1);
    let zeros = n.leading_zeros();
    // Between 1 and 2, as a fraction of 2^63.
    let mut x = u128::from(n << zeros);
    let mut fraction = 0_u64;
    for _ in 0..32 {
        x = x.wrapping_mul(x) >> 63;
        fraction <<= 1;
        if x >= 1 << 64 {
            x >>= 1;
            fraction |= 1;
        }
    }
    // log2(n) = 63 - zeros + fraction.
    let whole = u64::from(zeros).saturating_add(1) << 32;
    whole.saturating_sub(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_that_of_the_library() {
        for n in [1_u64, 2, 3, 1 << 20, 0xdead_beef, u64::MAX / 3, u64::MAX / 2, u64::MAX] {
            let exact = 64.0 - (n as f64).log2();
            let ours = minus_log2(n) as f64 / 4_294_967_296.0;
            assert!((exact - ours).abs() < 1e-6, "{n}: {exact} {ours}");
        }
    }

    #[test]
    fn bits_are_well_mixed() {
        // Each bit of 64 is set in about half of 10,000 hashes of names that are nearly alike.
        let mut set = [0_u32; 64];
        for n in 0..10_000_u64 {
            let bits = mix(n, "openai/gpt-4o");
            (0..64).for_each(|i| set[i] += u32::try_from(bits >> i & 1).unwrap());
        }
        assert!(set.iter().all(|n| (4_800..5_200).contains(n)), "{set:?}");
        assert_ne!(mix(1, "a"), mix(1, "b"));
    }

    #[test]
    fn weight_0_never_arrives() {
        assert_eq!(race(5, 0), None);
        assert!(race(0, 1) > race(0, 2));
        assert!(race(u64::MAX, 1) < race(1, 1));
    }
}
